//! The keeper's sandbox: a filter of system calls (`seccomp(2)`) that holds for the keeper's own code.
//!
//! A filter is inherited by the host, which needs files and memory for code until it has confined itself. So this one
//! asks where a system call comes from: the code of the keeper is at addresses at which no other program is
//! (build.rs), and there is no other code in its memory. What is not the keeper's may pass.

use crate::host::CLONE;
use crate::manager::Manager;
use core::ffi::{c_char, c_long};
use libc::{
    AT_SYSINFO_EHDR, BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, Elf64_Ehdr, Elf64_Phdr,
    PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PT_LOAD, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    sock_filter, sock_fprog,
};

/// `AUDIT_ARCH_X86_64`, `AUDIT_ARCH_AARCH64` (`linux/audit.h`).
const ARCHITECTURE: u32 = if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0xc000_003e
};

/// `struct seccomp_data`, on a machine with the low half of a word first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ADDRESS: u32 = 8;
const ARGUMENT: u32 = 16;

/// The calls of the keeper that any argument may be given to. They are allowed wherever they come from.
const ANY: &[c_long] = &[
    libc::SYS_write,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_kill,
    libc::SYS_wait4,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
];

unsafe extern "C" {
    /// By the linker: the keeper's code is between these.
    static __executable_start: u8;
    static etext: u8;
}

/// Confines the keeper: it may wait, write its log, tell this manager what hosts have to tell it, send signals, and execute
/// the program whose path is at `path`, which cannot be written to.
///
/// `false`: the kernel has no such filters, or does not allow to install one.
pub fn confine(manager: &Manager, path: *const c_char) -> bool {
    unmap_vdso();
    // SAFETY: it has no conditions. Other processes of this user cannot look into the keeper (`ptrace(2)`).
    unsafe { libc::prctl(PR_SET_DUMPABLE, 0) };
    let (start, end) = (&raw const __executable_start as u64, &raw const etext as u64);
    let mut filter = Filter::new();
    filter.load(ARCH);
    let other = filter.unless(ARCHITECTURE);
    filter.load(NUMBER);
    for number in ANY {
        filter.allow_if(*number as u32);
    }
    // Who makes this call?
    filter.load(ADDRESS + 4);
    let high = filter.unless((start >> 32) as u32);
    filter.load(ADDRESS);
    let below = filter.if_less(start as u32);
    let above = filter.unless_less(end as u32);
    // The keeper.
    for (number, first_argument) in [
        (libc::SYS_clone, CLONE as u64),
        (libc::SYS_execve, path as u64),
        (libc::SYS_sendto, manager.descriptor() as u64),
        (libc::SYS_recvfrom, manager.of_hosts() as u64),
        (libc::SYS_prctl, PR_SET_PDEATHSIG as u64),
    ] {
        filter.load(NUMBER);
        let another = filter.unless(number as u32);
        filter.load(ARGUMENT);
        let low = filter.unless(first_argument as u32);
        filter.load(ARGUMENT + 4);
        filter.allow_if((first_argument >> 32) as u32);
        filter.land(low);
        filter.land(another);
    }
    filter.land(other);
    filter.give(SECCOMP_RET_ERRNO | libc::EPERM as u32);
    for jump in [high, below, above] {
        filter.land(jump);
    }
    filter.give(SECCOMP_RET_ALLOW);
    filter.install()
}

/// A program of classic BPF, while it is written.
struct Filter {
    steps: [sock_filter; 96],
    length: usize,
}

/// A jump forward, whose target is not known yet.
struct Jump {
    from: usize,
    is_taken_if_true: bool,
}

impl Filter {
    fn new() -> Self {
        let none = sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        };
        Self {
            steps: [none; 96],
            length: 0,
        }
    }

    fn add(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> usize {
        let from = self.length;
        if let Some(step) = self.steps.get_mut(from) {
            *step = sock_filter {
                code: code as u16,
                jt,
                jf,
                k,
            };
        }
        self.length += 1;
        from
    }

    /// Loads a word of `struct seccomp_data`.
    fn load(&mut self, offset: u32) {
        self.add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
    }

    /// Ends with this verdict.
    fn give(&mut self, verdict: u32) {
        self.add(BPF_RET | BPF_K, 0, 0, verdict);
    }

    /// Allows the call if the word is this one.
    fn allow_if(&mut self, word: u32) {
        self.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, word);
        self.give(SECCOMP_RET_ALLOW);
    }

    /// Jumps unless the word is this one.
    fn unless(&mut self, word: u32) -> Jump {
        let from = self.add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, word);
        Jump {
            from,
            is_taken_if_true: false,
        }
    }

    /// Jumps if the word is less.
    fn if_less(&mut self, word: u32) -> Jump {
        let from = self.add(BPF_JMP | BPF_JGE | BPF_K, 0, 0, word);
        Jump {
            from,
            is_taken_if_true: false,
        }
    }

    /// Jumps unless the word is less.
    fn unless_less(&mut self, word: u32) -> Jump {
        let from = self.add(BPF_JMP | BPF_JGE | BPF_K, 0, 0, word);
        Jump {
            from,
            is_taken_if_true: true,
        }
    }

    /// The target of a jump is what comes next.
    fn land(&mut self, jump: Jump) {
        let distance = (self.length - jump.from - 1) as u8;
        if let Some(step) = self.steps.get_mut(jump.from) {
            match jump.is_taken_if_true {
                true => step.jt = distance,
                false => step.jf = distance,
            }
        }
    }

    fn install(&mut self) -> bool {
        let program = sock_fprog {
            len: self.length as u16,
            filter: self.steps.as_mut_ptr(),
        };
        // SAFETY: the program is as long as it says; the kernel copies and checks it.
        unsafe {
            libc::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                    &raw const program,
                ) == 0
        }
    }
}

/// Removes the kernel's page of code (`vdso(7)`): system calls from there would not be the keeper's.
fn unmap_vdso() {
    // SAFETY: the kernel tells where the page is, an ELF file in memory (`getauxval(3)`). Nothing uses it: no time is
    // asked for by clock_gettime(3), which would, and the keeper has no handlers of signals.
    unsafe {
        let base = libc::getauxval(AT_SYSINFO_EHDR) as *const u8;
        if base.is_null() {
            return;
        }
        let file = &*base.cast::<Elf64_Ehdr>();
        let parts = base.add(file.e_phoff as usize).cast::<Elf64_Phdr>();
        let mut length = 0;
        for number in 0..file.e_phnum {
            let part = &*parts.add(number.into());
            if part.p_type == PT_LOAD {
                length = length.max(part.p_vaddr + part.p_memsz);
            }
        }
        libc::munmap(base.cast_mut().cast(), length as usize);
    }
}
