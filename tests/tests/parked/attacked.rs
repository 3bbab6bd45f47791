//! A keeper whose code an attacker uses: only the calls that it makes itself succeed. (Its registers are those of x86-64.)

use super::{keeper, world};
use harness::skip;
use rustix::process::geteuid;

/// As if the keeper's code were used by an attacker: system calls, made where the keeper makes its own.
#[test]
fn its_code_can_open_nothing_connect_nowhere_and_run_nothing_else() {
    if !geteuid().is_root() {
        return skip("only root may trace a keeper");
    }
    let world = world();
    world.tcp("hello");
    let keeper = keeper(&world);
    let traced = trace::Traced::attach(keeper.pid());
    let refused = -i64::from(libc::EPERM);
    // The keeper's code begins with a path for open(2): any readable text will do.
    let text = 0x7000_0000;
    let pages = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let writable = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let executable = i64::from(libc::PROT_READ | libc::PROT_EXEC);
    for (what, call, arguments) in [
        ("a file", libc::SYS_open, [text, 0, 0, 0]),
        ("a file by openat(2)", libc::SYS_openat, [-100, text, 0, 0]),
        ("a socket", libc::SYS_socket, [2, 1, 0, 0]),
        ("what a client sent", libc::SYS_read, [3, text, 1, 0]),
        ("a connection", libc::SYS_accept4, [3, 0, 0, 0]),
        ("another program", libc::SYS_execve, [text, 0, 0, 0]),
        ("a program by execveat(2)", libc::SYS_execveat, [-100, text, 0, 0]),
        ("a process", libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0]),
        ("a process by fork(2)", libc::SYS_fork, [0; 4]),
        ("memory", libc::SYS_mmap, [0, 4096, writable, pages]),
        ("memory for code", libc::SYS_mprotect, [text, 4096, executable, 0]),
        ("a message to another socket", libc::SYS_sendto, [3, text, 1, 0]),
        ("i386's open(2) by its number", 5 | 0x4000_0000, [text, 0, 0, 0]),
    ] {
        assert_eq!(traced.call(call, arguments), refused, "{what}");
    }
    let own = traced.call(libc::SYS_getpid, [0; 4]);
    assert_eq!(
        own,
        i64::from(keeper.pid().as_raw_nonzero().get()),
        "what it may, works"
    );
}

mod trace {
    //! Has another process make system calls (`ptrace(2)`).

    use libc::{PTRACE_ATTACH, PTRACE_DETACH, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SINGLESTEP, c_void, pid_t};
    use rustix::process::Pid;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::ptr::null_mut;

    pub struct Traced {
        pid: pid_t,
        before: libc::user_regs_struct,
        /// Where there is a `syscall` in its code.
        instruction: u64,
    }

    impl Traced {
        pub fn attach(pid: Pid) -> Self {
            let pid = pid.as_raw_nonzero().get();
            let mut code = [0; 0x7000];
            let memory = File::open(format!("/proc/{pid}/mem")).expect("open its memory");
            memory.read_exact_at(&mut code, 0x7000_0000).expect("read its code");
            let at = code
                .windows(2)
                .position(|two| two == [0x0f, 0x05])
                .expect("a system call");
            // SAFETY: it is stopped, and a child's child of this process.
            let before = unsafe {
                assert_eq!(
                    libc::ptrace(PTRACE_ATTACH, pid, null_mut::<c_void>(), null_mut::<c_void>()),
                    0
                );
                wait(pid);
                let mut registers = std::mem::zeroed();
                libc::ptrace(PTRACE_GETREGS, pid, null_mut::<c_void>(), &raw mut registers);
                registers
            };
            Self {
                pid,
                before,
                instruction: 0x7000_0000 + at as u64,
            }
        }

        /// The result of a system call: negative, a number of errno(3).
        pub fn call(&self, number: i64, arguments: [i64; 4]) -> i64 {
            let [rdi, rsi, rdx, r10] = arguments.map(|argument| argument as u64);
            let registers = libc::user_regs_struct {
                rip: self.instruction,
                rax: number as u64,
                // It is no system call that is to be restarted.
                orig_rax: u64::MAX,
                rdi,
                rsi,
                rdx,
                r10,
                ..self.before
            };
            self.set(&registers);
            let mut after = registers;
            // SAFETY: as above.
            unsafe {
                libc::ptrace(PTRACE_SINGLESTEP, self.pid, null_mut::<c_void>(), null_mut::<c_void>());
                wait(self.pid);
                libc::ptrace(PTRACE_GETREGS, self.pid, null_mut::<c_void>(), &raw mut after);
            }
            after.rax as i64
        }

        fn set(&self, registers: &libc::user_regs_struct) {
            // SAFETY: as above.
            let set = unsafe { libc::ptrace(PTRACE_SETREGS, self.pid, null_mut::<c_void>(), registers) };
            assert_eq!(set, 0, "set its registers");
        }
    }

    impl Drop for Traced {
        fn drop(&mut self) {
            self.set(&self.before);
            // SAFETY: as above.
            unsafe { libc::ptrace(PTRACE_DETACH, self.pid, null_mut::<c_void>(), null_mut::<c_void>()) };
        }
    }

    unsafe fn wait(pid: pid_t) {
        let mut status = 0;
        // SAFETY: it writes the status there.
        let stopped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        assert!(stopped == pid && libc::WIFSTOPPED(status), "it did not stop: {status}");
    }
}
