//! `outbound`: limits of the HTTP requests that a handler's guests make.

use std::time::Duration;

/// `outbound`: limits of the HTTP requests that a handler's guests make. A guest can ask for shorter time-outs, not for
/// longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundLimits {
    /// How long a connection may take to be made, TLS included; never zero. `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// How long a server may take, once it has all of the request, to send the head of its answer; never zero.
    /// `None`: no limit.
    pub first_byte_timeout: Option<Duration>,
    /// How long a server may send nothing while the guest waits for it, or take nothing of what the guest sends; never
    /// zero. `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Requests that all guests of the handler in one process make at a time, at least 1; more wait.
    pub max_requests: u32,
    /// The body of one answer, in bytes. `None`: no limit.
    pub max_body: Option<u64>,
    /// The head of one answer, in bytes: 8 KiB, the least that hyper takes, to 1 MiB.
    pub max_head: u32,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        OutboundLimits {
            connect_timeout: Some(Duration::from_secs(10)),
            first_byte_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(30)),
            max_requests: 64,
            max_body: Some(64 << 20),
            max_head: 64 << 10,
        }
    }
}
