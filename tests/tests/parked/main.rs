//! `when-idle = "park"`: the keeper holds the sockets while no host runs, and starts one when a client knocks.

mod asleep;
#[cfg(target_arch = "x86_64")]
mod attacked;
mod failing;
mod signals;
mod waking;

use harness::{Host, Kind, World, eventually};
use rustix::process::Pid;

/// A world with handler `hello`, of which no host runs yet.
fn world() -> World {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world
}

/// The keeper of the world's sockets, whose hosts leave soon; it has begun to watch.
fn keeper(world: &World) -> Host {
    keeper_for(world, "20ms")
}

fn keeper_for(world: &World, idle_timeout: &str) -> Host {
    let keeper = world.start(&["--when-idle", "park", "--idle-timeout", idle_timeout]);
    keeper.notifications.expect("READY=1");
    keeper
}

/// The host that the keeper has started.
fn host(keeper: &Host) -> Pid {
    let mut host = None;
    eventually("a host runs", || {
        host = keeper.children().first().copied();
        host.is_some()
    });
    host.expect("there is one")
}

fn wait_until_asleep(keeper: &Host) {
    eventually("no host runs", || keeper.children().is_empty());
}
