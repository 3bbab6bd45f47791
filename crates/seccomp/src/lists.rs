//! The system calls that a host which has confined itself still needs: data, read by `build.rs`, which
//! makes the filters of it, and by `--print-sandbox`.
//!
//! What is not listed fails with `EPERM`. To leave a call out is always safe for the machine; to add
//! one takes a reason.

/// A system call that is allowed, with every argument or with some.
#[derive(Clone, Copy)]
pub struct Call {
    /// For `--print-sandbox`.
    pub name: &'static str,
    pub number: i64,
    /// All of these must hold.
    pub only: &'static [Only],
}

/// What an argument must be.
#[derive(Clone, Copy)]
pub struct Only {
    /// Which half of which argument (`seccomp_data`): twice its index is the low one.
    pub word: u32,
    /// The bits that matter.
    pub mask: u32,
    /// What they may be.
    pub values: &'static [u32],
}

macro_rules! calls {
    ($($name:ident $(: $only:expr)?),* $(,)?) => {
        &[$(Call {
            name: stringify!($name),
            number: number::$name,
            only: calls!(@ $($only)?),
        }),*]
    };
    (@) => { &[] };
    (@ $only:expr) => { &$only };
}

/// `SYS_read` as `read`: so that a table reads as one.
macro_rules! numbers {
    ($($name:ident = $number:ident),* $(,)?) => {
        #[allow(non_upper_case_globals)]
        mod number {
            $(pub const $name: i64 = libc::$number;)*
        }
    };
}

numbers! {
    accept = SYS_accept,
    accept4 = SYS_accept4,
    access = SYS_access,
    arch_prctl = SYS_arch_prctl,
    bind = SYS_bind,
    brk = SYS_brk,
    clock_getres = SYS_clock_getres,
    clock_gettime = SYS_clock_gettime,
    clock_nanosleep = SYS_clock_nanosleep,
    clone = SYS_clone,
    close = SYS_close,
    connect = SYS_connect,
    dup = SYS_dup,
    epoll_create1 = SYS_epoll_create1,
    epoll_ctl = SYS_epoll_ctl,
    epoll_pwait = SYS_epoll_pwait,
    epoll_wait = SYS_epoll_wait,
    eventfd2 = SYS_eventfd2,
    execve = SYS_execve,
    exit = SYS_exit,
    exit_group = SYS_exit_group,
    faccessat = SYS_faccessat,
    faccessat2 = SYS_faccessat2,
    fadvise64 = SYS_fadvise64,
    fallocate = SYS_fallocate,
    fcntl = SYS_fcntl,
    fdatasync = SYS_fdatasync,
    fstat = SYS_fstat,
    fstatfs = SYS_fstatfs,
    fsync = SYS_fsync,
    ftruncate = SYS_ftruncate,
    futex = SYS_futex,
    getcwd = SYS_getcwd,
    getdents64 = SYS_getdents64,
    getegid = SYS_getegid,
    geteuid = SYS_geteuid,
    getgid = SYS_getgid,
    getitimer = SYS_getitimer,
    getpeername = SYS_getpeername,
    getpid = SYS_getpid,
    getppid = SYS_getppid,
    getrandom = SYS_getrandom,
    getrlimit = SYS_getrlimit,
    getrusage = SYS_getrusage,
    getsockname = SYS_getsockname,
    getsockopt = SYS_getsockopt,
    gettid = SYS_gettid,
    gettimeofday = SYS_gettimeofday,
    getuid = SYS_getuid,
    ioctl = SYS_ioctl,
    link = SYS_link,
    linkat = SYS_linkat,
    lseek = SYS_lseek,
    lstat = SYS_lstat,
    madvise = SYS_madvise,
    memfd_create = SYS_memfd_create,
    mkdir = SYS_mkdir,
    mkdirat = SYS_mkdirat,
    mmap = SYS_mmap,
    mprotect = SYS_mprotect,
    mremap = SYS_mremap,
    munmap = SYS_munmap,
    nanosleep = SYS_nanosleep,
    newfstatat = SYS_newfstatat,
    open = SYS_open,
    openat = SYS_openat,
    openat2 = SYS_openat2,
    poll = SYS_poll,
    ppoll = SYS_ppoll,
    prctl = SYS_prctl,
    pread64 = SYS_pread64,
    preadv = SYS_preadv,
    prlimit64 = SYS_prlimit64,
    pwrite64 = SYS_pwrite64,
    pwritev = SYS_pwritev,
    pwritev2 = SYS_pwritev2,
    read = SYS_read,
    readlink = SYS_readlink,
    readlinkat = SYS_readlinkat,
    readv = SYS_readv,
    recvfrom = SYS_recvfrom,
    recvmmsg = SYS_recvmmsg,
    recvmsg = SYS_recvmsg,
    rename = SYS_rename,
    renameat = SYS_renameat,
    renameat2 = SYS_renameat2,
    restart_syscall = SYS_restart_syscall,
    rmdir = SYS_rmdir,
    rseq = SYS_rseq,
    rt_sigaction = SYS_rt_sigaction,
    rt_sigprocmask = SYS_rt_sigprocmask,
    rt_sigreturn = SYS_rt_sigreturn,
    sched_getaffinity = SYS_sched_getaffinity,
    sched_yield = SYS_sched_yield,
    sendfile = SYS_sendfile,
    sendmmsg = SYS_sendmmsg,
    sendmsg = SYS_sendmsg,
    sendto = SYS_sendto,
    set_robust_list = SYS_set_robust_list,
    set_tid_address = SYS_set_tid_address,
    setitimer = SYS_setitimer,
    setsockopt = SYS_setsockopt,
    shutdown = SYS_shutdown,
    sigaltstack = SYS_sigaltstack,
    signalfd4 = SYS_signalfd4,
    socket = SYS_socket,
    stat = SYS_stat,
    statfs = SYS_statfs,
    statx = SYS_statx,
    symlink = SYS_symlink,
    symlinkat = SYS_symlinkat,
    sysinfo = SYS_sysinfo,
    tgkill = SYS_tgkill,
    time = SYS_time,
    tkill = SYS_tkill,
    uname = SYS_uname,
    unlink = SYS_unlink,
    unlinkat = SYS_unlinkat,
    utimensat = SYS_utimensat,
    write = SYS_write,
    writev = SYS_writev,
}

/// The low half of an argument; numbers and flags have no other.
const fn low(argument: u32, mask: u32, values: &'static [u32]) -> Only {
    Only {
        word: 2 * argument,
        mask,
        values,
    }
}

/// Memory is writable or executable, and never both.
const WRITE_XOR_EXECUTE: Only = low(2, WRITE | EXECUTE, &[0, WRITE, EXECUTE]);
const WRITE: u32 = libc::PROT_WRITE as u32;
const EXECUTE: u32 = libc::PROT_EXEC as u32;

/// A thread of this process, in no namespace of its own.
const THREAD: u32 = libc::CLONE_THREAD as u32;
const KIND_OF_CHILD: u32 = THREAD | libc::CLONE_VFORK as u32 | NAMESPACES;
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

const FAST_OPEN: u32 = libc::MSG_FASTOPEN as u32;

/// `PAGEMAP_SCAN` (`linux/fs.h`): which pages of a guest were written to.
const PAGEMAP_SCAN: u32 = 0xc060_6610;

/// What non-blocking sockets need, answers by Unix datagrams, the pool of instances, and asking whether something is a terminal.
const REQUESTS: &[u32] = &[
    libc::FIONBIO as u32,
    libc::FIONREAD as u32,
    libc::FIOCLEX as u32,
    libc::TIOCOUTQ as u32,
    libc::TCGETS as u32,
    libc::TIOCGWINSZ as u32,
    PAGEMAP_SCAN,
];

const INTERNET: Only = low(0, !0, &[libc::AF_INET as u32, libc::AF_INET6 as u32]);
const SOCKET_TYPE: u32 = 0xf;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;

/// What every host needs.
pub const ALWAYS: &[Call] = calls![
    // Descriptors, of whatever kind.
    read, write, readv, writev, pread64, pwrite64, preadv, pwritev, pwritev2, close, lseek, dup, fcntl, sendfile,
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
    // Code is mapped so (`guest/code_memory.rs`): none that was written is ever run.
    mprotect: [low(2, EXECUTE, &[0])],
    clone: [low(0, KIND_OF_CHILD, &[THREAD])],
    // Nothing is connected by being sent something (TCP fast open), which Landlock does not ask about.
    sendto: [low(3, FAST_OPEN, &[0])],
    sendmsg: [low(2, FAST_OPEN, &[0])],
    sendmmsg: [low(3, FAST_OPEN, &[0])],
    ioctl: [low(1, !0, REQUESTS)],
    // The names of threads.
    prctl: [low(0, !0, &[libc::PR_SET_NAME as u32])],
    // Limits of its own, not of other processes of its user.
    prlimit64: [low(0, !0, &[0])],
];

/// What it takes to connect to addresses (`allow-outbound`).
pub const CONNECT: &[Call] = calls![
    socket: [INTERNET, low(1, SOCKET_TYPE, &[STREAM])],
    connect,
    bind,
];

/// And to names, which are asked for by UDP.
pub const RESOLVE: &[Call] = calls![
    socket: [INTERNET, low(1, SOCKET_TYPE, &[STREAM, DATAGRAM])],
    connect,
    bind,
];

/// What it takes to become the compiler, which inherits the filter.
pub const COMPILE: &[Call] = calls![execve, arch_prctl];

/// The kinds of network, and the compiler.
pub const VARIANTS: [&[&[Call]]; 4] = [&[ALWAYS], &[ALWAYS, CONNECT], &[ALWAYS, RESOLVE], &[ALWAYS, COMPILE]];
