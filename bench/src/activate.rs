//! Starting a program as systemd does: sockets from descriptor 3 on, and their number and the
//! process's own id in the environment.

use crate::Result;
use std::ffi::{CString, OsString};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, ptr, thread};

/// The first passed descriptor.
const FIRST: i32 = 3;

/// A program with its arguments, and what is added to its environment.
pub struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    pub fn new(arguments: &[PathBuf]) -> Self {
        Self {
            arguments: arguments.iter().map(|path| c_string(path)).collect(),
            environment: Vec::new(),
        }
    }

    /// With `$CACHE_DIRECTORY`, which the unit of a service makes (`systemd.exec(5)`).
    pub fn with_cache(mut self, directory: &Path) -> Self {
        let mut variable = OsString::from("CACHE_DIRECTORY=");
        variable.push(directory);
        self.environment.push(c_string(variable.as_ref()));
        self
    }
}

fn c_string(text: &Path) -> CString {
    CString::new(text.as_os_str().as_encoded_bytes()).expect("it has no NUL in it")
}

/// A started program; ended and reaped when dropped.
pub struct Process {
    pub pid: i32,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the process is our child and was not waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

/// A word that parent and child both see.
struct SharedTime(*mut u64);

impl SharedTime {
    fn new() -> io::Result<Self> {
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

    fn get(&self) -> u64 {
        // SAFETY: the mapping lives as long as `self`.
        unsafe { self.0.read_volatile() }
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
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes the time it is given.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Starts `program` with the sockets. The time just before `execve` goes to `started`.
fn start(program: &Program, sockets: &[OwnedFd], started: &SharedTime) -> Result<Process> {
    let mut pid_variable = *b"LISTEN_PID=0000000000\0";
    let count = CString::new(format!("LISTEN_FDS={}", sockets.len()))?;
    let path = c"PATH=/usr/bin:/bin";
    let mut environment = vec![path.as_ptr(), count.as_ptr(), pid_variable.as_ptr().cast()];
    environment.extend(program.environment.iter().map(|text| text.as_ptr()));
    environment.push(ptr::null());
    let arguments = program.arguments.iter();
    let mut arguments: Vec<*const libc::c_char> = arguments.map(|text| text.as_ptr()).collect();
    arguments.push(ptr::null());
    let fds: Vec<i32> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    // Out of the way of the numbers that they are to have.
    let above = FIRST + fds.len() as i32 + 16;
    // SAFETY: this process has one thread, so the child may do anything until it calls execve; it
    // only calls system calls and writes to memory of its own and to the shared word.
    unsafe {
        let pid = libc::fork();
        if pid < 0 {
            return Err(io::Error::last_os_error().into());
        }
        if pid > 0 {
            return Ok(Process { pid });
        }
        let moved: Vec<i32> = fds
            .iter()
            .map(|&fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above))
            .collect();
        for (index, fd) in moved.iter().enumerate() {
            libc::dup2(*fd, FIRST + index as i32);
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        libc::dup2(null, 2);
        libc::syscall(libc::SYS_close_range, FIRST + fds.len() as i32, u32::MAX, 0);
        // Without leading zeros, which would make it octal for sd_listen_fds(3).
        let pid = libc::getpid().to_string();
        pid_variable[11..11 + pid.len()].copy_from_slice(pid.as_bytes());
        pid_variable[11 + pid.len()] = 0;
        environment[2] = pid_variable.as_ptr().cast();
        started.0.write_volatile(now());
        libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127);
    }
}

/// Lets us have as many descriptors as the system allows: a thousand sockets are held twice.
pub fn raise_descriptor_limit() -> io::Result<()> {
    // SAFETY: getrlimit and setrlimit only write and read the value they are given.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max.min(65536);
            if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
                return Ok(());
            }
        }
    }
    Err(io::Error::last_os_error())
}

/// Microseconds from just before `execve` to the first byte of the answer, for a client that is
/// already waiting at the last of `sockets` sockets, and has said `words`.
pub fn cold_start(program: &Program, sockets: usize, words: &[u8]) -> Result<f64> {
    Ok(first_byte(program, sockets, words)?.1)
}

/// Starts `program` once for somebody who says `words`, and gives it the time to keep what it likes in
/// its cache.
pub fn settle(program: &Program, words: &[u8]) -> Result<()> {
    let _process = first_byte(program, 1, words)?;
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

fn first_byte(program: &Program, sockets: usize, words: &[u8]) -> Result<(Process, f64)> {
    let (listeners, mut client) = sockets_with_a_client(sockets)?;
    client.write_all(words)?;
    let started = SharedTime::new()?;
    let process = start(program, &listeners, &started)?;
    let mut byte = [0];
    client
        .read_exact(&mut byte)
        .map_err(|error| format!("no answer from {:?}: {error}", program.arguments))?;
    Ok((process, (now() - started.get()) as f64 / 1000.0))
}

/// Starts `program` and waits until it has answered its first client, who stays.
pub fn awake(program: &Program) -> Result<(Process, TcpListener, TcpStream)> {
    let (listeners, client) = sockets_with_a_client(1)?;
    let process = start(program, &listeners, &SharedTime::new()?)?;
    let listener = listeners.into_iter().next().ok_or("no listener")?;
    Ok((process, listener.into(), client))
}

/// Starts `program` with any sockets, and lets it run.
pub fn start_with(program: &Program, sockets: Vec<OwnedFd>) -> Result<Process> {
    start(program, &sockets, &SharedTime::new()?)
}

fn sockets_with_a_client(sockets: usize) -> Result<(Vec<OwnedFd>, TcpStream)> {
    let listen = |_| TcpListener::bind("127.0.0.1:0");
    let listeners = (0..sockets).map(listen).collect::<io::Result<Vec<_>>>()?;
    let last = listeners.last().ok_or("no sockets")?;
    let client = TcpStream::connect(last.local_addr()?)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok((listeners.into_iter().map(OwnedFd::from).collect(), client))
}
