//! Mutation fuzzing of the real host: requests, datagrams and modules that were good
//! before they were damaged. `FUZZ_TIME=60` lets each go on for a minute; `FUZZ_SEED` repeats a run.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Address, End, Host, Kind, World, each_kind, wasm};
use rustix::process::Signal;

/// Requests that are good, for the most part.
const REQUESTS: [&[u8]; 5] = [
    b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /count HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"GET http://a/head?x=%20 HTTP/1.0\r\nExpect: 100-continue\r\nConnection: close, te\r\nX-Forwarded-For: 1\r\n\r\n",
    // SETTINGS, a WINDOW_UPDATE, HEADERS of GET / over http at `a`, PING, RST_STREAM, GOAWAY.
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\0\0\xff\xff\
      \0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a\0\0\x08\x06\0\0\0\0\0abcdefgh\
      \0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

/// Damages what it is given, in another way each time (xorshift64*).
struct Damage {
    state: u64,
    until: Instant,
}

impl Damage {
    fn begin() -> Self {
        let variable = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("the clock is right").as_nanos() as u64;
        let seed = variable("FUZZ_SEED").unwrap_or(now) | 1;
        eprintln!("FUZZ_SEED={seed}");
        let time = Duration::from_secs(variable("FUZZ_TIME").unwrap_or(5));
        Self {
            state: seed,
            until: Instant::now() + time,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        random as usize % limit.max(1)
    }

    /// One bit: what was a module is often one afterwards, and does something else.
    fn slightly_done_to(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = self.below(bytes.len());
        bytes[at] ^= 1 << self.below(8);
        bytes
    }

    /// Up to eight changes: a bit, a byte, a piece that is missing, doubled or from elsewhere.
    fn done_to(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                _ if bytes.is_empty() => bytes.push(self.below(256) as u8),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => bytes[at] = [0, 0x7f, 0x80, 0xff, b'\n', b' '][self.below(6)],
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

/// Nothing of it has harmed the host. Returns its log.
#[track_caller]
fn ends_well(mut host: Host) -> Vec<String> {
    host.expect_in_flight(0);
    host.signal(Signal::TERM);
    host.expect_exit(0);
    let lines = host.log.lines();
    // A guest may say that it has panicked. What it says is logged with its client's address.
    let is_panic = |line: &&String| line.contains("panicked") && !line.contains(" 127.0.0.1:");
    assert_eq!(lines.iter().find(is_panic), None, "{lines:#?}");
    lines
}

each_kind! { HTTP: damaged_requests_harm_nobody }
fn damaged_requests_harm_nobody(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("target", "timeout = \"2s\"\nhead-timeout = \"2s\"");
    let host = world.start(&[]);
    let mut damage = Damage::begin();
    let mut count = 0;
    while !damage.is_over() {
        let request = REQUESTS[damage.below(REQUESTS.len())];
        let request = damage.done_to(request);
        let mut client = address.connect();
        // The host may have had enough before the end.
        let _ = client.write_all(&request);
        client.finish();
        let end = client.read_until_end(|_| {});
        assert_ne!(end, End::TimedOut, "{}", request.escape_ascii());
        count += 1;
        if count % 100 == 0 {
            address.get("/hello").expect(200, "hello\n");
        }
    }
    eprintln!("{count} requests");
    ends_well(host);
}

each_kind! { BOTH: damaged_datagrams_harm_nobody }
fn damaged_datagrams_harm_nobody(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let sockets = [world.udp("echo"), world.unix_datagrams("echo")];
    let host = world.start(&[]);
    let mut damage = Damage::begin();
    let mut datagram = b"some words\0\n".repeat(50);
    while !damage.is_over() {
        datagram = damage.done_to(&datagram);
        datagram.truncate(4000);
        let socket = &sockets[damage.below(2)];
        // Nothing is what nothing is answered with.
        if !datagram.is_empty() {
            assert_eq!(socket.ask(&datagram), datagram);
        }
    }
    ends_well(host);
}

/// Damaged modules that one host tries.
const MODULES: usize = 20;

/// What was written this very moment may be half a file, and would be tried until it is older.
const SETTLED: Duration = Duration::from_millis(600);

each_kind! { BOTH: damaged_modules_harm_nobody }
/// Whatever is in the file, its clients are answered or reset, and the others do not notice. (Only
/// `.wasm`: a `.cwasm` is native code, and is trusted for whom it belongs to and not for what is in it.)
fn damaged_modules_harm_nobody(kind: Kind) {
    let whole = fs::read(wasm(kind, "hello")).unwrap();
    let mut damage = Damage::begin();
    let mut tried = Tried::default();
    // Modules of either kind are to be tried, however short the time.
    while !damage.is_over() || (!tried.has_both() && tried.run + tried.refused < 10 * MODULES) {
        let world = World::new(kind);
        world.configure("[defaults]\ntimeout = \"2s\"\ncpu-time = \"200ms\"\n");
        world.install("neighbour", "hello");
        let neighbour = world.tcp("neighbour");
        // Each has a name of its own: of a module that replaces another and makes no sense, the host keeps
        // serving the former one for a time, and would not try the next ones at all.
        let names: Vec<String> = (0..MODULES).map(|n| format!("damaged{n}")).collect();
        for (number, name) in names.iter().enumerate() {
            let damaged = match number % 2 {
                0 => damage.slightly_done_to(&whole),
                _ => damage.done_to(&whole),
            };
            fs::write(world.module(&format!("{name}.wasm")), damaged).unwrap();
        }
        let targets: Vec<Address> = names.iter().map(|name| world.tcp(name)).collect();
        thread::sleep(SETTLED);
        let host = world.start(&[]);
        for target in &targets {
            assert_ne!(target.knock().end, End::TimedOut);
            assert!(neighbour.knock().text().starts_with("Hello"));
        }
        let log = ends_well(host);
        names.iter().for_each(|name| tried.count(&log, name));
    }
    eprintln!("{tried:?}");
    assert!(tried.has_both(), "{tried:?}");
}

/// Damaged modules that were loaded or refused.
#[derive(Debug, Default)]
struct Tried {
    run: usize,
    refused: usize,
}

impl Tried {
    fn has_both(&self) -> bool {
        self.run > 0 && self.refused > 0
    }

    /// The log tells what came of the module: what its guest said and how it ended, or once why it has none.
    #[track_caller]
    fn count(&mut self, log: &[String], name: &str) {
        let (of_guest, of_module) = (format!("{name} 127.0.0.1:"), format!("{name}: "));
        let is_refusal = |line: &&String| line.contains(&of_module) && line.contains("cannot be used");
        match (
            log.iter().filter(|line| line.contains(&of_guest)).count(),
            log.iter().filter(is_refusal).count(),
        ) {
            (1.., 0) => self.run += 1,
            (0, 1) => self.refused += 1,
            other => {
                panic!("{name}: lines of its guest and of its refusal: {other:?}, in {log:#?}")
            }
        }
    }
}

#[test]
fn damage_is_done_and_can_be_repeated() {
    let damage = || Damage {
        state: 1,
        until: Instant::now(),
    };
    let (mut first, mut second) = (damage(), damage());
    let mut differ = 0;
    for _ in 0..1000 {
        let damaged = first.done_to(REQUESTS[0]);
        assert_eq!(damaged, second.done_to(REQUESTS[0]));
        differ += usize::from(damaged != REQUESTS[0]);
    }
    assert!(differ > 900, "{differ} of 1000");
}
