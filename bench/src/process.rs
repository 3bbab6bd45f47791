//! Starting a program as systemd does: sockets from descriptor 3 on, and their number and the
//! process's own id in the environment.

use crate::Result;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::{io, ptr};

/// The first passed descriptor (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// A program with its arguments, and what is added to its environment.
pub struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    inetd: bool,
}

impl Program {
    pub fn new<T: AsRef<OsStr>>(arguments: impl IntoIterator<Item = T>) -> Self {
        Self {
            arguments: arguments.into_iter().map(|text| c_string(&text)).collect(),
            environment: Vec::new(),
            inetd: false,
        }
    }

    pub fn arguments<T: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(more.into_iter().map(|text| c_string(&text)));
        self
    }

    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        self.environment.push(c_string(&variable));
        self
    }

    /// One connection is passed, as standard input and output: `Accept=yes` with
    /// `StandardInput=socket`, and inetd.
    pub fn inetd(mut self) -> Self {
        self.inetd = true;
        self
    }

    /// Whether it is passed a connection, not the socket that listens.
    pub fn wants_connection(&self) -> bool {
        self.inetd
    }

    /// What was called, for messages.
    pub fn name(&self) -> String {
        let words = self.arguments.iter().map(|text| text.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }
}

fn c_string(text: &impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).expect("it has no NUL in it")
}

/// A started program with all that it starts; ended and reaped when dropped.
pub struct Process {
    pub pid: i32,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the process is our child, was not waited for, and leads a group of its own.
        unsafe {
            libc::kill(-self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

impl Process {
    /// Whether it has not ended yet.
    pub fn runs(&self) -> bool {
        // SAFETY: waitid writes what it is given. WNOWAIT leaves the process for `drop` to reap.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.pid as u32, &mut info, options);
            info.si_pid() == 0
        }
    }

    /// Waits for its end. Returns the status, or the signal that ended it.
    pub fn wait(&self) -> io::Result<i32> {
        // SAFETY: waitid writes what it is given. WNOWAIT leaves the process for `drop` to reap.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOWAIT;
            match libc::waitid(libc::P_PID, self.pid as u32, &mut info, options) {
                0 => Ok(info.si_status()),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }
}

/// A moment that a child tells its parent, in nanoseconds of the monotonic clock.
pub struct SharedTime(*mut u64);

impl SharedTime {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping, checked below.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(page.cast()))
    }

    /// Microseconds from then to now.
    pub fn elapsed(&self) -> f64 {
        // SAFETY: the mapping lives as long as `self`.
        let then = unsafe { self.0.read_volatile() };
        (now() - then) as f64 / 1000.0
    }
}

impl Drop for SharedTime {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this length.
        unsafe {
            libc::munmap(self.0.cast(), size_of::<u64>());
        }
    }
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes the time it is given.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Starts a program that is passed nothing.
pub fn spawn(program: &Program) -> Result<Process> {
    start(program, &[], &SharedTime::new()?)
}

/// Starts `program` with the sockets. The time just before `execve` goes to `started`.
pub fn start(program: &Program, sockets: &[OwnedFd], started: &SharedTime) -> Result<Process> {
    let mut pid_variable = *b"LISTEN_PID=0000000000\0";
    let count = CString::new(format!("LISTEN_FDS={}", sockets.len()))?;
    let mut environment = vec![c"PATH=/usr/bin:/bin".as_ptr()];
    if !program.inetd && !sockets.is_empty() {
        environment.extend([pid_variable.as_ptr().cast(), count.as_ptr()]);
    }
    environment.extend(program.environment.iter().map(|text| text.as_ptr()));
    environment.push(ptr::null());
    let arguments = program.arguments.iter();
    let mut arguments: Vec<*const libc::c_char> = arguments.map(|text| text.as_ptr()).collect();
    arguments.push(ptr::null());
    let mut fds: Vec<i32> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let kept = if program.inetd { 0 } else { fds.len() as i32 };
    // Out of the way of the numbers that they are to have.
    let above = FIRST + fds.len() as i32 + 16;
    // SAFETY: until it calls execve, the child only makes system calls and writes to memory of its own
    // and to the shared word. It allocates nothing: another thread may have held that lock.
    unsafe {
        let parent = libc::getpid();
        let pid = libc::fork();
        if pid < 0 {
            return Err(io::Error::last_os_error().into());
        }
        if pid > 0 {
            // Both do it, so that it has happened whoever comes first.
            libc::setpgid(pid, pid);
            return Ok(Process { pid });
        }
        // With whoever measures, everything ends that is measured.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        libc::setpgid(0, 0);
        for fd in &mut fds {
            *fd = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, above);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        let standard = if program.inetd { fds[0] } else { null };
        libc::dup2(standard, 0);
        libc::dup2(standard, 1);
        libc::dup2(null, 2);
        for (index, fd) in fds.iter().take(kept as usize).enumerate() {
            libc::dup2(*fd, FIRST + index as i32);
        }
        libc::syscall(libc::SYS_close_range, FIRST + kept, u32::MAX, 0);
        write_number(&mut pid_variable[11..], libc::getpid() as u32);
        started.0.write_volatile(now());
        libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127);
    }
}

/// Writes `number` and a NUL. Without leading zeros, which would make it octal for `sd_listen_fds(3)`.
fn write_number(text: &mut [u8], number: u32) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    for (index, byte) in text.iter_mut().take(digits as usize).enumerate() {
        let place = 10_u32.pow(digits - 1 - index as u32);
        *byte = b'0' + (number / place % 10) as u8;
    }
    text[digits as usize] = 0;
}

/// Lets us, and what we start, have `wanted` descriptors if the system allows it. Returns how many
/// it allows.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    // SAFETY: getrlimit and setrlimit only write and read the value they are given.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Only root may have more than the hard limit.
        let more = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max.max(wanted),
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &more) == 0 {
            return Ok(wanted);
        }
        limit.rlim_cur = limit.rlim_max.min(wanted);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
            return Ok(limit.rlim_cur);
        }
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_leading_zeros() {
        for number in [0, 7, 10, 1090, 4_194_304] {
            let mut text = *b"0000000000\0";
            write_number(&mut text, number);
            let end = text.iter().position(|byte| *byte == 0).unwrap();
            assert_eq!(text[..end], *number.to_string().as_bytes());
        }
    }
}
