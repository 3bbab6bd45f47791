//! The system calls that a host which has confined itself still needs, and the values of arguments that it needs them
//! with. Data: the compiler makes filters of it, and `--print-sandbox` prints it.
//!
//! A call that is not listed fails with `EPERM`. To leave a call out is always safe for the machine; to add one takes
//! a reason.

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// As in section 2 of the manual, or the kernel's table where the two differ (`newfstatat`, `pread64`).
    pub name: &'static str,
    /// All of these must hold. Without any, the call is allowed with whatever arguments.
    pub conditions: &'static [Condition],
}

/// What an argument must be. Only its lower 32 bits count: the kernel ignores the others of an `int`, and flags have
/// no bit there.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// From 0 to 5.
    pub argument: u32,
    /// The bits that are compared.
    pub mask: u32,
    /// At least one value, none with a bit outside of the mask.
    pub values: &'static [u32],
    /// Must they be none of the values, instead of one?
    pub excludes: bool,
}

macro_rules! calls {
    ($($name:ident $(: $conditions:expr)?),* $(,)?) => {
        &[$(Call {
            name: stringify!($name),
            conditions: calls!(@ $($conditions)?),
        }),*]
    };
    (@) => { &[] };
    (@ $conditions:expr) => { &$conditions };
}

/// The argument is one of these.
const fn is(argument: u32, values: &'static [u32]) -> Condition {
    bits(argument, u32::MAX, values)
}

/// The argument is none of these.
const fn is_not(argument: u32, values: &'static [u32]) -> Condition {
    Condition {
        excludes: true,
        ..is(argument, values)
    }
}

/// These bits of the argument are one of these; the others may be anything.
const fn bits(argument: u32, mask: u32, values: &'static [u32]) -> Condition {
    Condition {
        argument,
        mask,
        values,
        excludes: false,
    }
}

/// None of these bits is set.
const fn without(argument: u32, mask: u32) -> Condition {
    bits(argument, mask, &[0])
}

// The values of these constants are the same on x86_64 and aarch64.

/// mmap(2): memory is writable or executable, and never both.
const WRITE_XOR_EXECUTE: Condition = bits(2, WRITE | EXECUTE, &[0, WRITE, EXECUTE]);
const WRITE: u32 = libc::PROT_WRITE as u32;
const EXECUTE: u32 = libc::PROT_EXEC as u32;

/// clone(2): a thread of this process, in no namespace of its own. (clone3(2) has its flags behind a pointer, where
/// a filter cannot see them.)
const A_THREAD: Condition = bits(0, THREAD | libc::CLONE_VFORK as u32 | NAMESPACES, &[THREAD]);
const THREAD: u32 = libc::CLONE_THREAD as u32;
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// The flags of sendto(2) and its kin: TCP fast open connects a socket, which Landlock does not ask about.
const FAST_OPEN: u32 = libc::MSG_FASTOPEN as u32;

/// The requests of ioctl(2): what non-blocking sockets need, answers by Unix datagrams, the pool of instances, and
/// asking whether a descriptor is a terminal.
const REQUESTS: &[u32] = &[
    libc::FIONBIO as u32,
    libc::FIONREAD as u32,
    libc::FIOCLEX as u32,
    libc::TIOCOUTQ as u32,
    libc::TCGETS as u32,
    libc::TIOCGWINSZ as u32,
    PAGEMAP_SCAN,
];
/// `linux/fs.h`: which pages of a guest were written to.
const PAGEMAP_SCAN: u32 = 0xc060_6610;

/// socket(2): `SOCK_TYPE_MASK` of `linux/net.h`; the other bits are `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const SOCKET_TYPE: u32 = 0xf;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;

/// What every host needs.
pub const ALWAYS: &[Call] = calls![
    // Descriptors, of whatever kind.
    read, write, readv, writev, pread64, pwrite64, preadv, pwritev, pwritev2, lseek, dup, fcntl, sendfile,
    poll, ppoll, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, eventfd2, signalfd4,
    // Sockets that are there already. None is made.
    accept, accept4, getpeername, getsockname, getsockopt, setsockopt, shutdown,
    recvfrom, recvmsg, recvmmsg,
    // Files: which, is Landlock's to say. No modes, owners or attributes.
    open, openat, openat2, stat, lstat, fstat, newfstatat, statx, statfs, fstatfs,
    access, faccessat, faccessat2, readlink, readlinkat, getdents64, getcwd,
    mkdir, mkdirat, rename, renameat, renameat2, unlink, unlinkat, rmdir, link, linkat, symlink, symlinkat,
    ftruncate, fallocate, fadvise64, fsync, fdatasync, utimensat,
    // Memory.
    munmap, mremap, madvise, brk, memfd_create,
    // Threads and this process. tkill and tgkill are how a process aborts itself.
    futex, set_robust_list, set_tid_address, rseq, sched_yield, sched_getaffinity,
    getpid, gettid, getppid, getuid, geteuid, getgid, getegid, uname, getrusage, getrlimit, sysinfo,
    tkill, tgkill, exit, exit_group, restart_syscall,
    // Time, signals, random numbers.
    clock_gettime, clock_getres, clock_nanosleep, nanosleep, gettimeofday, time, setitimer, getitimer,
    rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack, getrandom,
    // With some arguments only.
    mmap: [WRITE_XOR_EXECUTE],
    // Code is mapped as executable and never made so: memory that was written is not run.
    mprotect: [without(2, EXECUTE)],
    clone: [A_THREAD],
    sendto: [without(3, FAST_OPEN)],
    sendmsg: [without(2, FAST_OPEN)],
    sendmmsg: [without(3, FAST_OPEN)],
    ioctl: [is(1, REQUESTS)],
    // The names of threads.
    prctl: [is(0, &[libc::PR_SET_NAME as u32])],
    // No signal (0): whether a process is still there.
    kill: [is(1, &[0])],
    // The limits of this process (0), and of no other one of its user.
    prlimit64: [is(0, &[0])],
];

/// Stands in a filter for the number of the socket to `wasm-sock-egress`, which is known when the filter is installed.
/// As it is, it is the number of no descriptor.
pub const EGRESS_SOCKET: u32 = 0x7fff_e6e5;

/// For hosts whose guests do not reach out.
pub const CLOSE: &[Call] = calls![close];

/// To reach out, through `wasm-sock-egress`. The one socket is not closed, and so no other gets its number: it is what it
/// was made as, a Unix socket of packets that was not connected (dup2(2) is not allowed).
pub const REACH_OUT: &[Call] = calls![
    connect: [is(0, &[EGRESS_SOCKET])],
    close: [is_not(0, &[EGRESS_SOCKET])],
];

/// To become the compiler, which inherits the filter.
pub const COMPILE: &[Call] = calls![execve, arch_prctl];

/// socket(2) of `wasm-sock-egress`: the domain. Unix sockets are for stores at this machine.
const ANY_DOMAIN: Condition = is(0, &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32]);
/// socketpair(2): the type.
const PACKETS: u32 = libc::SOCK_SEQPACKET as u32;

/// What `wasm-sock-egress` needs, and nothing else: it connects, reads files, and has threads.
pub const EGRESS: &[Call] = calls![
    // Descriptors, of whatever kind.
    read, write, readv, writev, pread64, close, lseek, fcntl, poll, ppoll, epoll_create1, epoll_ctl, epoll_wait,
    epoll_pwait, eventfd2,
    // Sockets.
    accept4, connect, bind, getpeername, getsockname, getsockopt, setsockopt, shutdown, sendto, sendmsg, sendmmsg,
    recvfrom, recvmsg, recvmmsg,
    socket: [ANY_DOMAIN, bits(1, SOCKET_TYPE, &[STREAM, DATAGRAM])],
    socketpair: [is(0, &[libc::AF_UNIX as u32]), bits(1, SOCKET_TYPE, &[STREAM, PACKETS])],
    // Files: which, is Landlock's to say. None is changed.
    open, openat, stat, lstat, fstat, newfstatat, statx, access, faccessat, faccessat2, readlink, readlinkat,
    getdents64, getcwd,
    // Memory.
    munmap, mremap, madvise, brk,
    // Threads and this process.
    futex, set_robust_list, set_tid_address, rseq, sched_yield, sched_getaffinity, getpid, gettid, getuid, geteuid,
    getgid, getegid, uname, sysinfo, tkill, tgkill, exit, exit_group, restart_syscall,
    // Time, signals, random numbers.
    clock_gettime, clock_nanosleep, nanosleep, gettimeofday, rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack,
    getrandom,
    // With some arguments only.
    mmap: [bits(2, EXECUTE, &[0])],
    mprotect: [without(2, EXECUTE)],
    clone: [A_THREAD],
    ioctl: [is(1, REQUESTS)],
    prctl: [is(0, &[libc::PR_SET_NAME as u32])],
];
