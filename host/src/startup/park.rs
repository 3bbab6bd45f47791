//! `when-idle = "park"`: the process that the service manager has started becomes the keeper of its sockets.

use super::plan::Plan;
use crate::activation::{self, Kind, Passed};
use crate::journal::{self, Level};
use crate::keeper;

/// Becomes the keeper, if the plan is to park and this process is the one that the service manager has started. Returns
/// if not, or if it is not possible, which is logged: then this process serves, and exits when it is idle.
pub fn park(plan: &Plan, passed: &Passed) {
    if plan.parks() != Some(true) || keeper::is_kept() || !can_be_kept(passed) {
        return;
    }
    let count = passed.sockets.len() + passed.not_open.len();
    let why = keeper::become_keeper(count, passed.sockets.iter().map(|socket| &socket.fd));
    let message = format_args!("cannot park: {why}; the host exits when it is idle");
    journal::log(Level::Error, message);
}

/// Connections are served once; and what inetd passes as standard input is not passed on as `sd_listen_fds(3)` has it.
fn can_be_kept(passed: &Passed) -> bool {
    let is_connection = |kind| matches!(kind, Ok(Kind::Connection(_)));
    let mut sockets = passed.sockets.iter();
    passed.is_listed && !sockets.any(|socket| is_connection(activation::kind(&socket.fd)))
}
