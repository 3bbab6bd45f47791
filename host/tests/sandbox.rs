//! From inside the confined host: what it was not granted, the kernel refuses.
//!
//! A debug build tries what it is told to after it has confined itself. Each attempt is made without
//! the sandbox, too, where it has to work, or its failure would prove nothing.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-sock");

const EPERM: i32 = libc::EPERM;
const EACCES: i32 = libc::EACCES;
const WORKS: i32 = 0;

/// Files of which some are granted to the handler `it`.
struct World {
    dir: TempDir,
    settings: String,
    host: String,
    program: PathBuf,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["modules", "cache", "secret", "read", "write", "empty"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("file"), "x").unwrap();
        }
        fs::write(dir.path().join("modules/it.cwasm"), "").unwrap();
        let mut world = Self {
            dir,
            settings: String::new(),
            host: String::new(),
            program: PROGRAM.into(),
        };
        let (read, write) = (world.path("read"), world.path("write"));
        world.settings = format!(
            "dirs = [{{ host = {read:?}, guest = \"/r\" }}, \
             {{ host = {write:?}, guest = \"/w\", access = \"read-write\" }}]\n"
        );
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn allow_outbound(mut self, listener: &TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        self.settings += &format!("allow-outbound = [\"{address}\"]\n");
        self
    }

    /// Something has to be compiled.
    fn with_source(self) -> Self {
        fs::write(self.path("modules/it.wasm"), "").unwrap();
        self
    }

    fn configure(&self) -> PathBuf {
        let config = self.path("wasm-sock.toml");
        let modules = self.path("modules");
        let text = format!(
            "[host]\nmodules = {modules:?}\n{}\n[handler.it]\n{}",
            self.host, self.settings
        );
        fs::write(&config, text).unwrap();
        config
    }

    /// Starts a host as systemd does, with a socket for `it`.
    fn start(&self, variables: &[(&str, &str)]) -> Output {
        let socket = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        Command::new("/bin/sh")
            .args(["-c", "export LISTEN_PID=$$; exec 3<&0; exec \"$@\" </dev/null"])
            .arg("sh")
            .arg(&self.program)
            .args(["host", "--config"])
            .arg(self.configure())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "it")
            .env("CACHE_DIRECTORY", self.path("cache"))
            .envs(variables.iter().copied())
            .stdin(socket)
            .output()
            .unwrap()
    }

    /// The error that an attempt ends with, which works without the sandbox.
    #[track_caller]
    fn expect(&self, attempt: &str, error: i32) {
        let tried = [("WASM_SOCK_ATTEMPT", attempt)];
        let free = [tried[0], ("WASM_SOCK_UNCONFINED", "1")];
        let output = self.start(&free);
        assert_eq!(
            output.status.code(),
            Some(WORKS),
            "{attempt} without the sandbox: {output:?}"
        );
        let output = self.start(&tried);
        assert_eq!(output.status.code(), Some(error), "{attempt}: {output:?}");
    }

    /// It is the filter of system calls that refuses.
    #[track_caller]
    fn expect_refused(&self, attempt: &str) {
        let output = self.start(&[("WASM_SOCK_ATTEMPT", attempt)]);
        assert_eq!(output.status.code(), Some(EPERM), "{attempt}: {output:?}");
    }

    #[track_caller]
    fn expect_file(&self, attempt: &str, file: &str, error: i32) {
        self.expect(&format!("{attempt}:{}", self.path(file).display()), error);
    }
}

#[test]
fn files_are_opened_where_they_were_granted_and_nowhere_else() {
    let world = World::new();
    world.expect_file("read", "secret/file", EACCES);
    world.expect_file("list", "secret", EACCES);
    world.expect_file("write", "secret/new", EACCES);
    world.expect("read:/etc/passwd", EACCES);
    world.expect_file("read", "read/file", WORKS);
    world.expect_file("list", "read", WORKS);
    world.expect_file("write", "read/file", EACCES);
    world.expect_file("write", "read/new", EACCES);
    world.expect_file("write", "write/new", WORKS);
    world.expect_file("open-beneath", "secret/file", EACCES);
    world.expect_file("open-beneath", "read/file", WORKS);
    // What the next start is to run, and to be granted, lies here.
    world.expect_file("write", "cache/modules/new", EACCES);
    world.expect_file("write", "cache/new", EACCES);
    world.expect_file("write", "cache/file", EACCES);
    world.expect_file("read", "modules/it.cwasm", WORKS);
    world.expect_file("write", "modules/it.cwasm", EACCES);
    // For a reload.
    world.expect_file("read", "wasm-sock.toml", WORKS);
    world.expect_file("write", "wasm-sock.toml", EACCES);
}

#[test]
fn a_host_that_hands_over_every_reload_cannot_read_the_configuration() {
    let mut world = World::new();
    world.host = "reload = \"hand-over\"\n".to_owned();
    world.expect_file("read", "wasm-sock.toml", EACCES);
}

/// Truncating the file would kill all hosts that have mapped it.
#[test]
fn the_files_of_the_counters_are_out_of_reach() {
    let world = World::new();
    fs::create_dir(world.path("stats")).unwrap();
    let directory = world.dir.path().to_str().unwrap().to_owned();
    let file = world.path("stats/it");
    for attempt in ["read", "write"] {
        let attempt = format!("{attempt}:{}", file.display());
        let tried = [
            ("WASM_SOCK_ATTEMPT", attempt.as_str()),
            ("RUNTIME_DIRECTORY", &directory),
        ];
        let output = world.start(&tried);
        assert!(file.exists(), "nothing is counted: {output:?}");
        assert_eq!(output.status.code(), Some(EACCES), "{attempt}: {output:?}");
    }
}

#[test]
fn a_handler_with_a_store_reaches_its_own_folder_and_no_other_handlers() {
    let mut world = World::new();
    world.settings += "keyvalue = { default = \"embedded\" }\n";
    for handler in ["it", "other"] {
        let folder = world.path("state/state").join(handler);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("keyvalue.sqlite"), "x").unwrap();
    }
    let state = world.path("state").to_str().unwrap().to_owned();
    let try_to = |attempt: &str, file: &str, error: i32| {
        let attempt = format!("{attempt}:{}", world.path("state/state").join(file).display());
        let tried = [("WASM_SOCK_ATTEMPT", attempt.as_str()), ("STATE_DIRECTORY", &state)];
        let output = world.start(&[tried[0], tried[1], ("WASM_SOCK_UNCONFINED", "1")]);
        assert_eq!(
            output.status.code(),
            Some(WORKS),
            "{attempt} without the sandbox: {output:?}"
        );
        let output = world.start(&tried);
        assert_eq!(output.status.code(), Some(error), "{attempt}: {output:?}");
    };
    try_to("read", "it/keyvalue.sqlite", WORKS);
    try_to("write", "it/keyvalue.sqlite", WORKS);
    try_to("write", "it/keyvalue.sqlite-wal", WORKS);
    try_to("list", "it", WORKS);
    for way in ["other", "it/../other"] {
        try_to("list", way, EACCES);
        for attempt in ["read", "write", "open-beneath"] {
            try_to(attempt, &format!("{way}/keyvalue.sqlite"), EACCES);
        }
        try_to("write", &format!("{way}/new"), EACCES);
    }
    // Nor are the handlers' names to be had.
    try_to("list", "", EACCES);
    try_to("write", "new", EACCES);
    // A link that a host had made there would lead nowhere.
    symlink(
        world.path("state/state/other/keyvalue.sqlite"),
        world.path("state/state/it/link"),
    )
    .unwrap();
    try_to("read", "it/link", EACCES);
}

#[test]
fn without_a_grant_no_socket_is_made() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::new();
    let connect = format!("connect:{}", server.local_addr().unwrap());
    world.expect(&connect, EPERM);
    world.expect("listen:127.0.0.1:0", EPERM);
    let path = world.path("socket");
    let _socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    world.expect(&format!("unix:{}", path.display()), EPERM);
    let name = format!("wasm-sock-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _socket = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
    world.expect(&format!("abstract:{name}"), EPERM);
}

#[test]
fn with_a_grant_no_socket_is_made_and_only_the_one_is_connected() {
    let server = server();
    let world = World::new().allow_outbound(&server);
    world.expect(&format!("connect:{}", server.local_addr().unwrap()), EPERM);
    world.expect("listen:127.0.0.1:0", EPERM);
    let egress = world.path("egress");
    let _egress = packets(&egress);
    world.expect(&format!("reach-out:{}", egress.display()), WORKS);
    // Without a grant there is no such socket.
    let output = World::new().start(&[("WASM_SOCK_ATTEMPT", "reach-out:/x"), ("WASM_SOCK_UNCONFINED", "1")]);
    assert_eq!(output.status.code(), Some(libc::EBADF), "{output:?}");
}

/// Most services of a machine listen at such a socket: D-Bus, Docker.
#[test]
fn the_one_socket_is_not_connected_to_a_stream_and_not_replaced() {
    let server = server();
    let world = World::new().allow_outbound(&server);
    let path = world.path("stream");
    let _stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let output = world.start(&[("WASM_SOCK_ATTEMPT", &format!("reach-out:{}", path.display()))]);
    assert_eq!(output.status.code(), Some(libc::EPROTOTYPE), "{output:?}");
    // Another socket could get its number, such as a connection, which can be disconnected and connected.
    world.expect("close-the-way-out", EPERM);
}

/// A listening socket of packets.
fn packets(path: &std::path::Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    // Not for the host, which has no other such socket.
    let flags = SocketFlags::CLOEXEC;
    let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&fd, 8).unwrap();
    fd
}

fn server() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_socket_that_was_passed_is_not_connected() {
    let server = server();
    let attempt = format!("fast-open:{}", server.local_addr().unwrap());
    World::new().expect(&attempt, EPERM);
    // Its port was granted, which is another thing.
    World::new().allow_outbound(&server).expect(&attempt, EPERM);
}

#[test]
fn no_program_is_run_not_even_the_compiler() {
    for mut world in [World::new(), World::new().with_source()] {
        // Something static to stand for the compiler, which is looked for beside the program.
        world.program = world.path("wasm-sock");
        fs::copy(PROGRAM, &world.program).unwrap();
        symlink(PROGRAM, world.path("wasm-sock-compile")).unwrap();
        let compiler = world.program.with_file_name("wasm-sock-compile");
        world.expect("execute:/bin/true", EPERM);
        world.expect(&format!("execute:{}", compiler.display()), EPERM);
        let granted = world.path("read/program");
        fs::copy("/bin/true", &granted).unwrap();
        world.expect(&format!("run-memory:{}", granted.display()), EPERM);
    }
}

#[test]
fn memory_that_was_written_is_not_made_executable() {
    let world = World::new();
    world.expect("map", EPERM);
    world.expect("protect", EPERM);
    world.expect("run-written", EPERM);
}

/// Ways around a sandbox that have led out of others.
#[test]
fn what_no_host_needs_is_refused() {
    let world = World::new();
    world.expect("dumpable", EPERM);
    for number in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_clone3,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_kcmp,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_fsopen,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_mknodat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_setxattr,
        libc::SYS_fsetxattr,
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_setgroups,
        libc::SYS_capset,
        libc::SYS_personality,
        libc::SYS_socketpair,
        libc::SYS_listen,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_splice,
        libc::SYS_vmsplice,
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_msgget,
        libc::SYS_semget,
        libc::SYS_mq_open,
        libc::SYS_inotify_init1,
        libc::SYS_fanotify_init,
        libc::SYS_seccomp,
        libc::SYS_setrlimit,
        libc::SYS_sched_setscheduler,
        libc::SYS_ioprio_set,
        libc::SYS_remap_file_pages,
        libc::SYS_pkey_mprotect,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_settimeofday,
    ] {
        world.expect_refused(&format!("call:{number}"));
    }
    // Older calls, which newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    for number in [
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_mknod,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_modify_ldt,
    ] {
        world.expect_refused(&format!("call:{number}"));
    }
    // There is no terminal here: without the sandbox it fails, too.
    world.expect_refused("type-into-terminal");
}

#[test]
fn no_other_process_is_sent_a_signal() {
    let world = World::new();
    world.expect(&format!("signal:{}", std::process::id()), EPERM);
    // kill(2) may only ask whether a process exists.
    world.expect(&format!("continue:{}", std::process::id()), EPERM);
}

#[test]
fn what_the_host_needs_works() {
    let world = World::new();
    world.expect("thread", WORKS);
    world.expect("pagemap", WORKS);
}

#[test]
fn what_is_granted_is_printed_in_plain_words() {
    let server = server();
    let world = World::new().allow_outbound(&server);
    let output = Command::new(PROGRAM)
        .args(["host", "--print-sandbox", "--config"])
        .arg(world.configure())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        format!("  {}: read, list\n", world.path("read").display()),
        format!("  {}: read, list, write\n", world.path("write").display()),
        "  none: no sockets are made\n  (guests reach out through wasm-sock-egress, at ".to_owned(),
        "  and connect* close*\n".to_owned(),
        "  no program is run\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line:?} is not in {said}");
    }
}

#[test]
fn where_the_kernel_cannot_confine_it_and_it_must_the_host_resets_connections_and_says_why() {
    let mut world = World::new();
    world.host = "require-sandbox = true".to_owned();
    let output = world.start(&[("WASM_SOCK_MISSING", "files are not confined")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("files are not confined, and `require-sandbox` is set"),
        "{said}"
    );
}
