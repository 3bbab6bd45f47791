//! The task of one connection: loads the handler's program, whose kind decides the protocol: HTTP, or a stream of
//! bytes.

use super::admission::admit::Admitted;
use super::handler::Handler;
use super::http;
use super::metrics;
use super::record::{End, LogLine, Unrecorded};
use super::shared::Shared;
use super::stream::{self, ResetOnDrop};
use crate::activation::Protocol;
use crate::lifecycle::InFlight;
use crate::net::{Connection, Peer, Transport};
use crate::trace::{self, Mark};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Serves a connection in a task of its own, on one of the threads. `remote` is the address that `accept(2)` returned
/// for an internet socket; `admitted` is held until the connection ends.
pub fn spawn(
    shared: &Arc<Shared>,
    handler: &Arc<Handler>,
    fd: OwnedFd,
    protocol: Protocol,
    remote: Option<SocketAddr>,
    admitted: Option<Admitted>,
) {
    trace::pass(Mark::Accept);
    let in_flight = match handler.is_metrics {
        true => shared.activity.begin_unnoticed(),
        false => shared.activity.begin(),
    };
    let fd = Arc::new(fd);
    let peer = Peer::of(&fd, protocol, remote);
    let transport = match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Unix | Protocol::Vsock => Transport::Stream,
        Protocol::UnixPackets => Transport::Packets,
    };
    let connection = Arc::new(Connection::new(fd, transport));
    let (serving, served) = (shared.clone(), handler.clone());
    // Boxed at once: the future has two kilobytes, and would be copied from one stack frame to the next.
    let connection = Box::pin(async move {
        serve(&serving, &served, &connection, peer, in_flight).await;
        drop(admitted);
    });
    shared.threads.spawn(|| handler.is_known_as_http(), connection);
}

async fn serve(
    shared: &Arc<Shared>,
    handler: &Arc<Handler>,
    connection: &Arc<Connection>,
    peer: Peer,
    in_flight: InFlight,
) {
    let guard = ResetOnDrop::new(connection);
    if handler.is_metrics {
        return metrics::serve(connection, guard).await;
    }
    let unrecorded = Unrecorded::new(handler, connection, peer);
    // Here the program decides how the connection is served. An HTTP connection gets it again for each request, the
    // first one included: that may arrive long after the client connected, and a module that was replaced meanwhile
    // answers it. Two calls in quick succession cost one stat(2) of the files (see `Handler::program`).
    let program = handler.program(&shared.engines, Some(&shared.compiled)).await;
    let is_http = match &program {
        Ok(program) => program.is_http(),
        Err(_) => http::speaks_http(connection).await,
    };
    match program {
        _ if is_http && connection.transport() == Transport::Packets => {
            let why = "an HTTP guest cannot answer packets (use ListenStream= in the .socket unit)";
            handler.report_unfit(why).await;
            unrecorded.write(End::no_module(), LogLine::None);
        }
        _ if is_http => {
            let peer = unrecorded.carries_requests();
            Box::pin(http::serve(shared, handler, connection, guard, peer, in_flight)).await;
        }
        Ok(program) => {
            stream::serve(shared, handler, program, connection, guard, unrecorded).await;
            drop(in_flight);
        }
        // The reason was logged, once for all connections.
        Err(_) => unrecorded.write(End::no_module(), LogLine::None),
    }
}
