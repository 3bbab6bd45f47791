//! The HTTP server (HTTP/1.1 and HTTP/2): serves one connection; each request is answered by a guest.
//!
//! `hyper` implements the protocols. This module adds timeouts, keep-alive, graceful shutdown, limits, the access log,
//! and the answers of the host where no guest answers. A connection's way through the files:
//!
//! | file | what |
//! |---|---|
//! | [`driver`] | the task of a connection: polls hyper, keeps the deadlines, shuts down |
//! | [`phase`], [`deadlines`], [`closing`] | the state machines that it consults: the phase of the connection, its deadline, and how it ends |
//! | [`state`] | what the task, hyper's reads and the requests share of these |
//! | [`io`], [`read_budget`] | the socket as hyper reads it |
//! | [`protocol`], [`client`] | hyper's settings; whether the client speaks HTTP, and whether it has left |
//! | [`session`] | what the requests of the connection share |
//! | [`request`], [`head`] | one request, and its head as the guest gets it |
//! | [`request_body`], [`upload`], [`download`], [`prefetch`] | the bodies of request and answer |
//! | [`exchange`], [`respond`] | counters and access log of a request; the host's own answers |
//! | [`post_return`] | what counts for an instance of WASI 0.3 that goes on after its answers |

mod client;
mod closing;
mod deadlines;
mod download;
mod driver;
mod exchange;
mod head;
mod io;
mod phase;
mod post_return;
mod prefetch;
mod protocol;
mod read_budget;
mod request;
mod request_body;
mod respond;
mod session;
mod state;
mod upload;

use self::closing::Close;
use self::phase::Phase;
use self::session::Session;
use self::state::ConnectionState;
use super::handler::Handler;
use super::shared::Shared;
use super::stream::{ResetOnDrop, linger};
use crate::lifecycle::InFlight;
use crate::net::{Connection, Peer};
use ::http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

pub use self::client::speaks_http;

/// Serves one connection, from its acceptance to its end. It counts as in flight until its first request has arrived,
/// and then while a request is answered. `guard` resets it unless it is closed after a complete answer.
pub async fn serve(
    host: &Arc<Shared>,
    handler: &Arc<Handler>,
    connection: &Arc<Connection>,
    guard: ResetOnDrop<'_>,
    peer: Peer,
    in_flight: InFlight,
) {
    let _open = host.activity.open();
    let session = Arc::new(Session {
        host: host.clone(),
        handler: handler.clone(),
        connection: connection.clone(),
        peer,
        state: Arc::new(ConnectionState::new(in_flight)),
        requests: AtomicU32::new(0),
        must_reset: AtomicBool::new(false),
        has_stalled: AtomicBool::new(false),
    });
    let close = driver::run(&session).await;
    if close == Close::HeadTimeout {
        let answer = respond::over_http1(StatusCode::REQUEST_TIMEOUT);
        if connection.send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
    if close == Close::Reset || session.must_reset.load(Relaxed) {
        return;
    }
    guard.disarm();
    let is_idle = session.state.phase().0 == Phase::Idle && !session.state.is_http2();
    if !is_idle || connection.has_unread() {
        linger(connection).await;
    }
}
