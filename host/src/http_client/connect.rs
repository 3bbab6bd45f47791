//! Makes connections: asks `wasm-sock-egress`, and starts the task that drives the connection.

use super::client::GuestClient;
use super::failure;
use super::io::{OutgoingIo, outgoing};
use super::origin::Origin;
use super::pool::{Http1, Ready, STREAMS, Streams};
use super::upload::Upload;
use crate::egress::{Alpn, Ask, Connected, Failure, Transport};
use crate::net;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error;

/// What the server may send of an answer's body before the guest reads it, over HTTP/2, in bytes.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// The most fields of an answer's head (and of its trailers).
const MOST_FIELDS: usize = 256;

/// The time that is left for a connection without a time-out.
const NO_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A connection as its task has set it up.
enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>, Arc<Streams>),
}

impl GuestClient {
    /// Makes a connection. `timeout`: what is left. `report` is called when there is none.
    ///
    /// # Errors
    /// Those of `wasm-sock-egress`.
    pub(super) async fn connect(
        &self,
        origin: &Arc<Origin>,
        timeout: Option<Duration>,
        report: &(impl Fn(&Failure) + Send + Sync),
    ) -> Result<Ready, Error> {
        let client = &self.client;
        let transport = if origin.is_tls {
            Transport::Https
        } else {
            Transport::Http
        };
        let ask = Ask::Connect {
            host: origin.host.clone(),
            port: origin.port,
            transport,
        };
        let timeout = timeout.unwrap_or(NO_TIMEOUT);
        let connected = client.egress.connect(&client.handler, ask, timeout).await;
        let connected = connected.map_err(|failure| {
            report(&failure);
            failure::of_egress(failure)
        })?;
        let is_http2 = connected.protocol == Some(Alpn::H2);
        if origin.is_tls {
            client.pool.learn(origin, is_http2);
        }
        let (sender, thread) = self.drive(connected, origin.is_tls).await?;
        match sender {
            Sender::Http1(sender) => Ok(Ready::Http1(Http1::new(sender, origin.clone(), thread))),
            Sender::Http2(sender, streams) => {
                let stream = client.pool.share(sender, origin.clone(), thread, streams);
                stream.map(Ready::Http2).ok_or(Error::ConnectionTerminated)
            }
        }
    }

    /// Starts the task of a connection, in the thread that the guest began in.
    async fn drive(&self, connected: Connected, is_tls: bool) -> Result<(Sender, ThreadId), Error> {
        let (sender, receiver) = oneshot::channel();
        let max_head = self.client.limits.max_head;
        self.home.spawn(async move {
            let transport = if is_tls {
                net::Transport::Stream
            } else {
                net::Transport::Tcp
            };
            let io = TokioIo::new(outgoing(connected.fd, transport));
            match connected.protocol {
                Some(Alpn::H2) => drive_http2(io, max_head, sender).await,
                _ => drive_http1(io, max_head, sender).await,
            }
        });
        // A task that ends early drops its end.
        match receiver.await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(failure::of_hyper(&error)),
            Err(_) => Err(Error::ConnectionTerminated),
        }
    }
}

type Made = oneshot::Sender<hyper::Result<(Sender, ThreadId)>>;

async fn drive_http1(io: TokioIo<OutgoingIo>, max_head: u32, made: Made) {
    let handshake = http1::Builder::new()
        .max_header_size(max_head as usize)
        // A head has to fit into the buffer, with what follows it.
        .max_buf_size(2 * max_head as usize)
        .max_headers(MOST_FIELDS)
        .handshake(io);
    match handshake.await {
        Ok((sender, connection)) => {
            let _ = made.send(Ok((Sender::Http1(sender), thread::current().id())));
            // Requests learn of its errors.
            let _ = connection.await;
        }
        Err(error) => drop(made.send(Err(error))),
    }
}

async fn drive_http2(io: TokioIo<OutgoingIo>, max_head: u32, made: Made) {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * (STREAMS as u32 + 1))
        .max_header_list_size(max_head)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .handshake(io);
    match handshake.await {
        Ok((sender, mut connection)) => {
            let streams = Streams::new();
            let sender = Sender::Http2(sender, streams.clone());
            let _ = made.send(Ok((sender, thread::current().id())));
            poll_fn(|context| {
                let poll = Pin::new(&mut connection).poll(context);
                streams.allow(connection.current_max_send_streams());
                poll.map(drop)
            })
            .await;
        }
        Err(error) => drop(made.send(Err(error))),
    }
}
