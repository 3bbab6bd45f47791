//! What the socket tells of the client: whether it speaks HTTP, and whether it has left.

use crate::net::Connection;
use crate::serve::stream::vanished;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{sleep, timeout};

/// How long a client whose handler has no program is given to show that it speaks HTTP.
const FIRST_BYTES: Duration = Duration::from_millis(200);

/// The first bytes of every request of HTTP/1, and of a connection of HTTP/2.
const METHODS: [&[u8]; 10] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ",
];

/// How long a client that has closed its side (half-close) may take none of its answer.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Does the client of a handler without a program speak HTTP? Then it can be told so.
pub async fn speaks_http(connection: &Connection) -> bool {
    let mut first = [0; 4];
    let arrived = timeout(FIRST_BYTES, connection.readable()).await;
    matches!(arrived, Ok(Ok(()))) && matches!(connection.peek(&mut first), Ok(4)) && METHODS.contains(&&first[..])
}

/// Waits until the client can no longer be reached, or is taken to have left.
///
/// An HTTP client that leaves in the middle of an answer closes the connection, which looks like a half-close: nginx,
/// HAProxy and Go's server take it for the end of the request. Here a client that half-closes (`nc -N`) still gets what
/// is sent within [`HALF_CLOSE_GRACE`].
pub async fn left(connection: &Connection) {
    let has_left = async {
        loop {
            // A half-close is announced so, and stays so; but other things are, too.
            let _ = connection.wait(Interest::PRIORITY).await;
            let (moved, is_half_closed) = (connection.moved(), connection.is_half_closed());
            sleep(HALF_CLOSE_GRACE).await;
            // A client that takes its answer is there, and one whose guest has not read all of its body may be.
            if is_half_closed && connection.moved() == moved && !connection.has_unread() {
                return;
            }
        }
    };
    tokio::select! {
        () = vanished(connection) => {}
        () = has_left => {}
    }
}
