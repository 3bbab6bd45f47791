//! docs/scale-out.md: another engine, a registry, two machines behind a proxy, manifests. In the box without a network:
//! the guide makes networks of its own.

use harness::systemctl::{checkout, install};

use crate::guides::follow_with;

/// What `tools/setup tests` unpacks, and what `make systemd` installs.
const PROGRAMS: [&str; 3] = [
    "build/servers/usr/bin",
    "build/servers/usr/sbin",
    "build/venv/wasmtime/bin",
];

#[test]
fn every_command_of_the_guide_to_more_machines_works() {
    install();
    let _ports = crate::ports();
    follow_with("docs/scale-out.md", &checkout(), &PROGRAMS);
}
