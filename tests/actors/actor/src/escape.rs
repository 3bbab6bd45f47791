//! Parts that try to get at files and networks that they were not granted.
//!
//! Every attempt is told as `WHAT: refused`, or `WHAT: done` with what it came by.

use std::ffi::{CStr, c_char, c_int};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::SystemTime;

use crate::say;

/// Out of `/rw` (read-write), and into `/ro` (read-only); `secret` is a folder beside both of them,
/// by its name on the host, with the file `key` in it. What the links in `/rw` are called is what
/// they lead to.
pub fn escape(secret: &str) -> io::Result<()> {
    let links = ["relative", "absolute", "root", "parent/secret", "self/cwd"];
    let mut ways: Vec<String> = links.iter().map(|link| format!("/rw/{link}")).collect();
    ways.extend([
        "/rw/../secret".to_owned(),
        "/rw/sub/../../secret".to_owned(),
        "/rw/sub/./..//../secret".to_owned(),
        "/rw/parent/../secret".to_owned(),
        "/ro/../secret".to_owned(),
        "/rw/../../../../../../../..".to_owned() + secret,
        "/rw/self/root".to_owned() + secret,
        "/proc/self/root".to_owned() + secret,
        "/rw/loop".to_owned(),
        secret.to_owned(),
        "..".to_owned() + secret,
    ]);
    for way in &ways {
        read(way)?;
        change(way)?;
    }
    below_an_open_folder()?;
    links_of_its_own(secret)?;
    read_only()
}

fn read(way: &str) -> io::Result<()> {
    let key = format!("{way}/key");
    tell("read", &key, fs::read_to_string(&key))?;
    tell("look at", &key, fs::metadata(&key))?;
    let list = |way: &str| Ok(fs::read_dir(way)?.next().transpose()?.map(|e| e.file_name()));
    tell("list", way, list(way))?;
    tell("write to", &key, fs::write(&key, "changed"))?;
    let append = OpenOptions::new().append(true).open(&key);
    tell("append to", &key, append)
}

fn change(way: &str) -> io::Result<()> {
    let (key, new) = (format!("{way}/key"), format!("{way}/new"));
    tell("make", &new, fs::write(&new, "new"))?;
    tell("make the folder", &new, fs::create_dir(&new))?;
    tell("link in", &key, fs::hard_link(&key, "/rw/linked"))?;
    tell("link out", &new, fs::hard_link("/rw/own", &new))?;
    tell("take", &key, fs::rename(&key, "/rw/taken"))?;
    tell("give", &new, fs::rename("/rw/own", &new))?;
    tell("put a link", &new, symlink("own", &new))?;
    tell("remove", &key, fs::remove_file(&key))?;
    tell("remove the folder", way, fs::remove_dir(way))
}

/// std opens paths; C opens them below a folder that is open already.
fn below_an_open_folder() -> io::Result<()> {
    unsafe extern "C" {
        fn openat(folder: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    }
    const O_RDONLY: c_int = 0x0400_0000;
    let below = |folder: &File, path: &CStr| {
        // SAFETY: the path ends with NUL; a descriptor that comes back is nobody else's.
        let file = match unsafe { openat(folder.as_raw_fd(), path.as_ptr(), O_RDONLY) } {
            -1 => return Err(io::Error::last_os_error()),
            fd => unsafe { File::from_raw_fd(fd) },
        };
        io::read_to_string(file)
    };
    let folder = File::open("/rw/sub")?;
    for path in [c"../../secret/key", c"../relative/key", c"../own/../../secret/key"] {
        tell("open below /rw/sub", path.to_str().unwrap(), below(&folder, path))?;
    }
    Ok(())
}

fn symlink(target: &str, link: &str) -> io::Result<()> {
    unsafe extern "C" {
        fn symlink(target: *const c_char, link: *const c_char) -> c_int;
    }
    let [target, link] = [target, link].map(|path| format!("{path}\0"));
    // SAFETY: both end with NUL.
    match unsafe { symlink(target.as_ptr().cast(), link.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// It may make links, as long as they lead nowhere.
fn links_of_its_own(secret: &str) -> io::Result<()> {
    for (number, target) in [secret, "../secret", "sub/../../secret", "relative", "."]
        .iter()
        .enumerate()
    {
        let link = format!("/rw/mine-{number}");
        // Whether this is let is no matter.
        let _ = symlink(target, &link);
        let way = link + if *target == "." { "/../secret" } else { "" };
        read(&way)?;
        change(&way)?;
    }
    Ok(())
}

/// Nothing below `/ro` can be changed, by whatever way to it.
fn read_only() -> io::Result<()> {
    let file = "/ro/file";
    tell("write to", file, fs::write(file, "changed"))?;
    for (how, options) in [
        ("append to", OpenOptions::new().append(true)),
        ("cut", OpenOptions::new().write(true).truncate(true)),
        ("update", OpenOptions::new().read(true).write(true)),
    ] {
        tell(how, file, options.open(file))?;
    }
    let open = File::open(file)?;
    tell("write by reader", file, (&open).write_all(b"changed"))?;
    tell("shorten by reader", file, open.set_len(0))?;
    let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    tell("age by reader", file, open.set_times(old))?;
    tell("make", "/ro/new", File::create_new("/ro/new"))?;
    tell("make the folder", "/ro/new", fs::create_dir("/ro/new"))?;
    tell("put a link", "/ro/new", symlink("file", "/ro/new"))?;
    tell("rename", file, fs::rename(file, "/ro/new"))?;
    tell("link", file, fs::hard_link(file, "/ro/new"))?;
    tell("give", "/ro/new", fs::rename("/rw/own", "/ro/new"))?;
    tell("link to", "/ro/new", fs::hard_link("/rw/own", "/ro/new"))?;
    tell("take", file, fs::rename(file, "/rw/taken"))?;
    tell("link from", file, fs::hard_link(file, "/rw/alias"))?;
    tell(
        "write to",
        "/rw/alias",
        OpenOptions::new().write(true).open("/rw/alias"),
    )?;
    tell("remove", file, fs::remove_file(file))?;
    tell("remove the folder", "/ro/empty", fs::remove_dir("/ro/empty"))
}

/// Opens a path again and again, and says how often it read which word.
pub fn peek(path: &str, times: usize) -> io::Result<()> {
    let (mut own, mut refused) = (0, 0);
    for _ in 0..times {
        match fs::read_to_string(path).as_deref() {
            Ok("own") => own += 1,
            Ok(other) => return say(format_args!("done: {other}\n")),
            Err(_) => refused += 1,
        }
    }
    say(format_args!("own {own}, refused {refused}\n"))
}

/// Every way to reach, or to be reached by, somebody else.
pub fn network(address: &str, name: &str) -> io::Result<()> {
    let port = address.rsplit(':').next().unwrap_or_default();
    let connect = |to: &str| {
        let mut heard = String::new();
        TcpStream::connect(to)?.read_to_string(&mut heard)?;
        Ok(heard)
    };
    let datagram = |from: &str, to: &str| UdpSocket::bind(from)?.send_to(b"out", to);
    tell("connect", address, connect(address))?;
    let mapped = format!("[::ffff:127.0.0.1]:{port}");
    tell("connect", &mapped, connect(&mapped))?;
    tell("connect", name, connect(&format!("{name}:{port}")))?;
    let wildcard = format!("0.0.0.0:{port}");
    tell("connect", &wildcard, connect(&wildcard))?;
    tell("send to", address, datagram("0.0.0.0:0", address))?;
    tell("send to", "[::1]:53", datagram("[::]:0", "[::1]:53"))?;
    tell(
        "send to",
        "255.255.255.255:67",
        datagram("0.0.0.0:0", "255.255.255.255:67"),
    )?;
    for own in ["0.0.0.0:0", "127.0.0.1:0", "[::]:0", "[::1]:0", "0.0.0.0:8080"] {
        tell("listen", own, TcpListener::bind(own))?;
        tell("bind", own, UdpSocket::bind(own))?;
    }
    for name in [name, "localhost", "example.org", "exfiltrated-secret.example.org"] {
        let found = (name, 80).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        tell("look up", name, found)?;
    }
    Ok(())
}

fn tell<T: std::fmt::Debug>(what: &str, path: &str, result: io::Result<T>) -> io::Result<()> {
    match result {
        Ok(got) => say(format_args!("{what} {path}: done: {got:?}\n")),
        Err(error) => say(format_args!("{what} {path}: refused: {error}\n")),
    }
}
