//! What the conditions in the lists are there for, in numbers of the kernel's headers.

use super::interpreter::run;
use super::{ALLOW, Model, REFUSE, filters};
use wasm_sock_seccomp::Architecture;
use wasm_sock_seccomp::Variant::{self, Compile, ReachOut, Serve};
use wasm_sock_seccomp::lists::EGRESS_SOCKET;

/// The call is allowed by these variants, and by no others, whatever the upper halves of its arguments are, on every
/// architecture that has it.
#[track_caller]
fn expect(variants: &[Variant], name: &str, arguments: &[(usize, u32)]) {
    for (architecture, variant, program) in filters() {
        let Some(number) = number(&architecture, name) else {
            let is_lacking = architecture.lacks.contains(&name) || name == "dup2";
            assert!(is_lacking, "{}: {name}", architecture.name);
            continue;
        };
        let model = Model::new(&architecture, &[]);
        let expected = if variants.contains(&variant) { ALLOW } else { REFUSE };
        for upper in [0, 1, 0xdead_beef, u32::MAX] {
            let mut values = [u64::from(upper) << 32; 6];
            for (index, value) in arguments {
                values[*index] |= u64::from(*value);
            }
            let answer = run(&program, &model.call(number, values));
            assert_eq!(
                answer, expected,
                "{}, {variant:?}: {name} {values:x?}",
                architecture.name
            );
        }
    }
}

fn number(architecture: &Architecture, name: &str) -> Option<u32> {
    match (name, architecture.name) {
        // No list has these.
        ("dup2", "x86_64") => Some(33),
        ("dup3", "x86_64") => Some(292),
        ("dup3", "aarch64") => Some(24),
        _ => architecture.number(name),
    }
}

#[track_caller]
fn allowed(name: &str, arguments: &[(usize, u32)]) {
    expect(&Variant::ALL, name, arguments);
}

#[track_caller]
fn refused(name: &str, arguments: &[(usize, u32)]) {
    expect(&[], name, arguments);
}

const READ: u32 = 1;
const WRITE: u32 = 2;
const EXECUTE: u32 = 4;
/// `PROT_GROWSDOWN`.
const GROWS_DOWN: u32 = 0x0100_0000;

#[test]
fn memory_is_writable_or_executable_and_is_not_made_executable() {
    for other in [0, READ, GROWS_DOWN, READ | GROWS_DOWN] {
        allowed("mmap", &[(2, other)]);
        allowed("mmap", &[(2, other | WRITE)]);
        allowed("mmap", &[(2, other | EXECUTE)]);
        refused("mmap", &[(2, other | WRITE | EXECUTE)]);
        allowed("mprotect", &[(2, other)]);
        allowed("mprotect", &[(2, other | WRITE)]);
        refused("mprotect", &[(2, other | EXECUTE)]);
        refused("mprotect", &[(2, other | WRITE | EXECUTE)]);
    }
}

#[test]
fn threads_are_made_and_neither_processes_nor_namespaces() {
    // musl's pthread_create(3): CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID |
    // CHILD_CLEARTID | DETACHED.
    let thread = 0x007d_0f00;
    allowed("clone", &[(0, thread)]);
    // SIGCHLD: fork(2). And CLONE_VM | CLONE_VFORK: vfork(2).
    refused("clone", &[(0, 17)]);
    refused("clone", &[(0, 17 | 0x100 | 0x4000)]);
    refused("clone", &[(0, thread | 0x4000)]);
    // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    for namespace in [1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30] {
        refused("clone", &[(0, thread | namespace)]);
        refused("clone", &[(0, namespace)]);
    }
}

#[test]
fn nothing_is_connected_by_being_sent_something() {
    const FAST_OPEN: u32 = 0x2000_0000;
    // MSG_DONTWAIT | MSG_NOSIGNAL.
    let usual = 0x40 | 0x4000;
    for (name, flags) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
        allowed(name, &[(flags, 0)]);
        allowed(name, &[(flags, usual)]);
        allowed(name, &[(flags, !FAST_OPEN)]);
        refused(name, &[(flags, FAST_OPEN)]);
        refused(name, &[(flags, usual | FAST_OPEN)]);
    }
}

#[test]
fn no_socket_is_made_and_one_is_connected_by_those_that_reach_out() {
    for domain in 0..50 {
        for kind in [1, 2, 3, 5, 1 | 0x8_0800, 2 | 0x8_0800] {
            refused("socket", &[(0, domain), (1, kind)]);
        }
    }
    refused("bind", &[]);
    expect(&[ReachOut], "connect", &[(0, EGRESS_SOCKET)]);
    for other in [0, 1, 3, 7, 1023, EGRESS_SOCKET - 1, EGRESS_SOCKET + 1, u32::MAX] {
        refused("connect", &[(0, other)]);
        allowed("close", &[(0, other)]);
    }
    // Else another socket could get its number.
    expect(&[Serve, Compile], "close", &[(0, EGRESS_SOCKET)]);
    expect(&[], "dup2", &[]);
    expect(&[], "dup3", &[]);
}

#[test]
fn a_terminal_is_asked_and_not_typed_into() {
    // TCGETS, TIOCOUTQ, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX, PAGEMAP_SCAN.
    for request in [0x5401, 0x5411, 0x5413, 0x541b, 0x5421, 0x5451, 0xc060_6610] {
        allowed("ioctl", &[(1, request)]);
    }
    // TCSETS, TIOCSCTTY, TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD; PROCMAP_QUERY.
    for request in [0x5402, 0x540e, 0x5412, 0x541c, 0x541d, 0x5423, 0xc068_6611] {
        refused("ioctl", &[(1, request)]);
    }
}

#[test]
fn a_process_names_its_threads_and_changes_nothing_else_of_itself() {
    // PR_SET_NAME.
    allowed("prctl", &[(0, 15)]);
    // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_MM, PR_SET_NO_NEW_PRIVS,
    // PR_SET_PTRACER.
    for option in [1, 4, 22, 24, 35, 38, 0x5961_6d61] {
        refused("prctl", &[(0, option)]);
    }
    allowed("prlimit64", &[(0, 0)]);
    refused("prlimit64", &[(0, 1)]);
    refused("prlimit64", &[(0, u32::MAX)]);
}

#[test]
fn a_program_is_run_by_what_becomes_the_compiler_only() {
    expect(&[Compile], "execve", &[]);
    expect(&[Compile], "arch_prctl", &[]);
    expect(&[Serve, ReachOut, Compile], "read", &[]);
}
