//! The host's end: requests of all threads go over one socket, and a thread of its own receives the replies.

use super::connected::Connected;
use super::wire::Wire;
use crate::sandbox;
use crate::sync::lock;
use rustix::net::SendFlags;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, thread};
use tokio::sync::oneshot;
use wasm_sock_egress_protocol::{Answer, Ask, Failure, MAX_MESSAGE, Malformed, Reply, Request, encode};

/// The most requests of a host that wait for their replies.
const MOST_WAITING: usize = 1024;

/// How much longer than its time-out a request is waited for: `wasm-sock-egress` is told the time-out, and says what
/// has taken so long.
const GRACE: Duration = Duration::from_secs(1);

/// How long a request waits before it is sent again, when the socket is full.
const PAUSE: Duration = Duration::from_millis(1);

/// Access to `wasm-sock-egress`. Costs nothing until it is used.
pub struct Egress {
    shared: Arc<Shared>,
    next: AtomicU32,
}

struct Shared {
    wire: Wire,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    waiting: HashMap<u32, oneshot::Sender<Outcome>>,
}

#[derive(Default)]
enum Stage {
    /// It was not tried, or could not be reached.
    #[default]
    Idle,
    /// The thread connects the socket. The packets to send when it has.
    Connecting(Vec<Vec<u8>>),
    Connected,
    /// It has ended. A socket can be connected only once, so that only the next host reaches the next one.
    Gone,
}

type Outcome = Result<(Answer, Option<OwnedFd>), Failure>;

impl Egress {
    /// Makes the socket, which must be done before the sandbox is entered.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let (wire, state) = (Wire::new()?, Mutex::default());
        let shared = Arc::new(Shared { wire, path, state });
        Ok(Self {
            shared,
            next: AtomicU32::new(0),
        })
    }

    /// The number of the descriptor that connect(2) must be allowed for.
    pub fn descriptor(&self) -> RawFd {
        self.shared.wire.number()
    }

    /// Asks for a connection ([`Ask::Connect`], [`Ask::Store`]), for a guest of `handler`. Can be called in any thread.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::TimedOut`] after `timeout`.
    pub async fn connect(&self, handler: &str, ask: Ask, timeout: Duration) -> Result<Connected, Failure> {
        match self.ask(handler, ask, timeout).await? {
            (Answer::Connected { peer, local, protocol }, Some(fd)) => {
                rustix::io::ioctl_fionbio(&fd, true).map_err(|error| Failure::Internal(error.to_string()))?;
                Ok(Connected {
                    fd,
                    peer,
                    local,
                    protocol,
                })
            }
            // The kernel drops descriptors that this process has no room for (`MSG_CTRUNC`).
            (Answer::Connected { .. }, None) => Err(Failure::Limit),
            (Answer::Addresses(_), _) => Err(Failure::Internal(Malformed.to_string())),
        }
    }

    /// Asks for the addresses of a name, for a guest of `handler`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn resolve(&self, handler: &str, name: String, timeout: Duration) -> Result<Vec<IpAddr>, Failure> {
        match self.ask(handler, Ask::Resolve { name }, timeout).await? {
            (Answer::Addresses(addresses), _) => Ok(addresses),
            (Answer::Connected { .. }, _) => Err(Failure::Internal(Malformed.to_string())),
        }
    }

    async fn ask(&self, handler: &str, ask: Ask, timeout: Duration) -> Outcome {
        let id = self.next.fetch_add(1, Relaxed);
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let request = Request {
            id,
            handler: handler.to_owned(),
            ask,
            timeout_ms,
        };
        // Only a name can be so long.
        let packet = encode(&request).map_err(|Malformed| Failure::NotFound)?;
        let answered = async {
            let (_waiting, outcome) = loop {
                match self.send(id, &packet)? {
                    Some(waiting) => break waiting,
                    None => tokio::time::sleep(PAUSE).await,
                }
            };
            outcome.await.unwrap_or_else(|_| Err(gone()))
        };
        match tokio::time::timeout(timeout.saturating_add(GRACE), answered).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// `None`: the socket is full.
    fn send(&self, id: u32, packet: &[u8]) -> Result<Option<(Waiting<'_>, oneshot::Receiver<Outcome>)>, Failure> {
        let mut state = lock(&self.shared.state);
        if state.waiting.len() >= MOST_WAITING {
            return Err(Failure::Limit);
        }
        match &mut state.stage {
            Stage::Gone => return Err(gone()),
            Stage::Connected => match self.shared.wire.send(packet, SendFlags::DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(gone()),
            },
            Stage::Connecting(packets) => packets.push(packet.to_vec()),
            Stage::Idle => {
                let shared = self.shared.clone();
                let thread = thread::Builder::new().name("egress".into());
                if let Err(error) = thread.spawn(move || shared.run()) {
                    return Err(Failure::Internal(format!(
                        "no thread for it: {error} (raise TasksMax=)"
                    )));
                }
                state.stage = Stage::Connecting(vec![packet.to_vec()]);
            }
        }
        let (sender, outcome) = oneshot::channel();
        state.waiting.insert(id, sender);
        let shared = &self.shared;
        Ok(Some((Waiting { shared, id }, outcome)))
    }
}

/// Forgets the request when its caller does not wait any more.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.shared.state).waiting.remove(&self.id);
    }
}

impl Shared {
    /// Connects the socket and receives replies as long as there is a connection.
    fn run(&self) {
        if let Err(error) = self.wire.connect(&self.path) {
            return self.end(Stage::Idle, &Failure::Internal(out_of_reach(&self.path, &error)));
        }
        let packets = match std::mem::replace(&mut lock(&self.state).stage, Stage::Connected) {
            Stage::Connecting(packets) => packets,
            _ => Vec::new(),
        };
        let all_sent = packets
            .iter()
            .all(|packet| self.wire.send(packet, SendFlags::empty()).is_ok());
        let mut buffer = Box::new([0; MAX_MESSAGE]);
        while all_sent && let Some((Reply { id, result }, descriptor)) = self.wire.receive(&mut buffer) {
            if let Some(waiting) = lock(&self.state).waiting.remove(&id) {
                // The guest may have ended meanwhile.
                let _ = waiting.send(result.map(|answer| (answer, descriptor)));
            }
        }
        self.wire.shut_down();
        self.end(Stage::Gone, &gone());
        sandbox::leave_soon();
    }

    fn end(&self, stage: Stage, why: &Failure) {
        let mut state = lock(&self.state);
        state.stage = stage;
        for (_, waiting) in state.waiting.drain() {
            let _ = waiting.send(Err(why.clone()));
        }
    }
}

fn gone() -> Failure {
    Failure::Internal("wasm-sock-egress has ended (the next host connects to the next one)".to_owned())
}

fn out_of_reach(path: &Path, error: &io::Error) -> String {
    format!(
        "cannot reach wasm-sock-egress at {}: {error} (enable wasm-sock-egress.socket)",
        path.display()
    )
}
