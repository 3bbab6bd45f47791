//! `when-idle = "park"`: how long a client waits that wakes a host of a keeper, and what the keeper takes.

use crate::activate::{ask, start_with};
use crate::http::REQUEST;
use crate::process::{Process, Program};
use crate::report::{Report, Table};
use crate::statistics::Samples;
use crate::{Bench, PATIENCE, Result, tree};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// The kinds of guests: world, guest, what the client says.
const KINDS: [(&str, &str, &str, &[u8]); 3] = [
    ("core module", "p1", "hello", b""),
    ("component", "p2", "hello", b""),
    ("HTTP component", "p2", "http-hello", REQUEST),
];

/// How many sockets a keeper may have.
const SOCKETS: usize = 1000;

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let columns = ["", "p10 µs", "median µs", "p99 µs", "× started directly"];
    let mut table = Table::new("Parked, connect to first byte", &columns);
    for (kind, world, guest, words) in KINDS {
        let host = bench.host(world, guest).arguments(["--idle-timeout", "0"]);
        let keeper = Keeper::start(bench.host(world, guest), 1)?;
        let (mut parked, mut direct) = (Samples::default(), Samples::default());
        for round in 0..=bench.effort.rounds {
            let times = (keeper.knock(words)?, directly(&host, words)?);
            // The first round fills the caches.
            if round > 0 {
                parked.add(times.0);
                direct.add(times.1);
            }
        }
        let ratio = parked.ratio_to(&direct);
        for (name, times, ratio) in [("parked", &parked, ratio), ("started directly", &direct, 1.0)] {
            let name = format!("{kind}, {name}");
            table.row(&name, &[times.p10(), times.median(), times.p99(), ratio]);
        }
        report.measure(&format!("parked, {kind}"), ratio)?;
        if world == "p1" {
            let busy = busy(|| {
                let mut times = Samples::default();
                for _ in 0..bench.effort.rounds {
                    times.add(keeper.knock(words)?);
                }
                Ok(times)
            })?;
            let row = [busy.p10(), busy.median(), busy.p99(), busy.median() / direct.median()];
            table.row(&format!("{kind}, parked, busy machine"), &row);
            report.measure("parked, p99 on a busy machine", busy.p99() / parked.p99())?;
        }
    }
    report.table(table);
    memory(bench, report)
}

/// What a keeper takes that is asleep.
fn memory(bench: &Bench, report: &mut Report) -> Result<()> {
    for (what, sockets) in [("one socket", 1), ("1,000 sockets", SOCKETS)] {
        let keeper = Keeper::start(bench.host("p1", "hello"), sockets)?;
        keeper.knock(b"")?;
        report.measure(&format!("keeper asleep, {what}"), tree::pss(&keeper.process)?)?;
    }
    Ok(())
}

struct Keeper {
    process: Process,
    /// The last of its sockets.
    address: SocketAddr,
}

impl Keeper {
    fn start(host: Program, sockets: usize) -> Result<Self> {
        let host = host.arguments(["--idle-timeout", "0", "--when-idle", "park"]);
        let listeners = (0..sockets).map(|_| TcpListener::bind("127.0.0.1:0"));
        let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
        let address = listeners.last().ok_or("no sockets")?.local_addr()?;
        let process = start_with(&host, listeners.into_iter().map(OwnedFd::from).collect())?;
        let keeper = Self { process, address };
        keeper.settle(|name| name == "wasm-sock-keepe")?;
        Ok(keeper)
    }

    /// Microseconds from before a client connects until it has the first byte; then waits until the host has left.
    fn knock(&self, words: &[u8]) -> Result<f64> {
        let began = Instant::now();
        let mut client = TcpStream::connect(self.address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        ask(&mut client, words)?;
        let took = began.elapsed().as_secs_f64() * 1e6;
        drop(client);
        self.settle(|_| true)?;
        Ok(took)
    }

    /// Waits until no host runs, and a while more: what it tells the service manager is not the client's.
    fn settle(&self, is_ready: impl Fn(&str) -> bool) -> Result<()> {
        let pid = self.process.pid;
        let give_up = Instant::now() + PATIENCE;
        let read = |path: &str| fs::read_to_string(format!("/proc/{pid}/{path}"));
        while !read(&format!("task/{pid}/children"))?.is_empty() || !is_ready(read("comm")?.trim_end()) {
            if Instant::now() > give_up {
                return Err("the host of a keeper does not end".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(3));
        Ok(())
    }
}

/// Microseconds from before a client connects until it has the first byte from a host that is started when it has
/// connected.
fn directly(host: &Program, words: &[u8]) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let began = Instant::now();
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let _process = start_with(host, vec![listener.into()])?;
    ask(&mut client, words)?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// What `measure` returns while each processor is busy.
fn busy<T>(measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    let processors = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = measure();
        done.store(true, Relaxed);
        result
    })
}
