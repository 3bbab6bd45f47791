//! Sends replies, with descriptors.

use super::Session;
use super::answer::Answered;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use wasm_sock_egress_protocol::{Failure, MAX_TEXT, Reply, encode};

impl Session {
    /// Sends the reply, and starts the relay behind its descriptor.
    pub(super) async fn reply(&self, id: u32, result: Result<Answered, Failure>) {
        let (result, descriptor, relay) = match result {
            Ok(Answered {
                answer,
                descriptor,
                relay,
            }) => (Ok(answer), descriptor, relay),
            Err(failure) => (Err(shortened(failure)), None, None),
        };
        let Ok(packet) = encode(&Reply { id, result }) else {
            return;
        };
        let descriptors = descriptor.as_ref().map(AsFd::as_fd);
        let send = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(descriptor) = &descriptors {
                control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
            }
            let packet = [IoSlice::new(&packet)];
            Ok(sendmsg(socket, &packet, &mut control, SendFlags::NOSIGNAL)?)
        };
        // It fails when the host has ended.
        let sent = self.socket.async_io(tokio::io::Interest::WRITABLE, send).await;
        if sent.is_ok()
            && let Some(relay) = relay
        {
            tokio::spawn(relay);
        }
    }
}

fn shortened(failure: Failure) -> Failure {
    let short = |mut text: String| {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text
    };
    match failure {
        Failure::Denied(text) => Failure::Denied(short(text)),
        Failure::Dns(text) => Failure::Dns(short(text)),
        Failure::Unreachable(text) => Failure::Unreachable(short(text)),
        Failure::TlsCertificate(text) => Failure::TlsCertificate(short(text)),
        Failure::Tls(text) => Failure::Tls(short(text)),
        Failure::Internal(text) => Failure::Internal(short(text)),
        other => other,
    }
}
