//! What the socket shows of the client: whether it speaks HTTP (protocol detection), and whether it has left.

use crate::net::Connection;
use crate::serve::stream::vanished;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{sleep, timeout};

/// How long protocol detection waits for the first bytes of a client.
const DETECTION_TIMEOUT: Duration = Duration::from_millis(200);

/// The first bytes of HTTP/1 requests, by method, and of an HTTP/2 connection (its preface).
const FIRST_BYTES: [&[u8]; 10] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ",
];

/// How long a half-closed client may receive nothing of its answer before it is taken to have left.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Does the client speak HTTP? Asked where the handler has no program: an HTTP client gets an answer that says so.
pub async fn speaks_http(connection: &Connection) -> bool {
    let mut first = [0; 4];
    let arrived = timeout(DETECTION_TIMEOUT, connection.readable()).await;
    matches!(arrived, Ok(Ok(()))) && matches!(connection.peek(&mut first), Ok(4)) && FIRST_BYTES.contains(&&first[..])
}

/// Waits until the client can no longer be reached, or is taken to have left.
///
/// An HTTP client that leaves in the middle of an answer closes the connection, which looks like a half-close: nginx,
/// HAProxy and Go's server take it for the end of the request. Here a client that half-closes (`nc -N`) still gets what
/// is sent within [`HALF_CLOSE_GRACE`].
pub async fn left(connection: &Connection) {
    let has_left = async {
        loop {
            // PRIORITY becomes ready with a half-close, and stays ready; but not only then.
            let _ = connection.wait(Interest::PRIORITY).await;
            let (moved, is_half_closed) = (connection.moved(), connection.is_half_closed());
            sleep(HALF_CLOSE_GRACE).await;
            // A client that receives its answer exists, and one whose body the guest has not read to the end may exist.
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
