//! What others were told of in public: bugs of super-servers, of socket activation and of WebAssembly runtimes,
//! with bytes and datagrams. The guest of most of them is a module of a few steps, each a call of WASI 0.1.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Client, Destination, End, Host, Kind, World, each_kind, eventually, run_in};

/// Functions that steps are calls of. What they find out they add to a text, a line each; `tell` and `send` write
/// it. A line begins with the errno.
///
/// Memory: lists of buffers at 0 and 16, results at 64, `fdstat` and `filestat` at 128 and 192, two subscriptions
/// at 256, two events at 384, the buffers at 1024, and the text from 32768 on.
const FUNCTIONS: &str = r#"
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv"
    (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags"
    (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $end (mut i32) (i32.const 32768))

  (func $character (param $character i32)
    (i32.store8 (global.get $end) (local.get $character))
    (global.set $end (i32.add (global.get $end) (i32.const 1))))
  (func $digits (param $number i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (call $digits (i32.div_u (local.get $number) (i32.const 10)))))
    (call $character (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
  (func $and (param $number i32)
    (call $character (i32.const 32))
    (call $digits (local.get $number)))
  (func $line (call $character (i32.const 10)))

  ;; The text, as the one buffer of the list at 0.
  (func $text
    (i32.store (i32.const 0) (i32.const 32768))
    (i32.store (i32.const 4) (i32.sub (global.get $end) (i32.const 32768)))
    (global.set $end (i32.const 32768)))
  (func $whole (param $errno i32)
    (if (local.get $errno) (then unreachable))
    (if (i32.ne (i32.load (i32.const 64)) (i32.load (i32.const 4))) (then unreachable)))
  (func $tell (param $fd i32)
    (call $text)
    (call $whole (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 64))))
  (func $send (param $fd i32)
    (call $text)
    (call $whole (call $sock_send (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 64))))

  ;; Two buffers of these sizes, one behind the other, as the list at 16.
  (func $buffers (param $first i32) (param $second i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (local.get $first))
    (i32.store (i32.const 24) (i32.add (i32.const 1024) (local.get $first)))
    (i32.store (i32.const 28) (local.get $second)))
  ;; How many bytes came, and the bytes.
  (func $received (param $errno i32)
    (call $digits (local.get $errno))
    (if (i32.eqz (local.get $errno))
      (then
        (call $and (i32.load (i32.const 64)))
        (call $character (i32.const 32))
        (memory.copy (global.get $end) (i32.const 1024) (i32.load (i32.const 64)))
        (global.set $end (i32.add (global.get $end) (i32.load (i32.const 64))))))
    (call $line))
  (func $read (param $fd i32) (param $room i32)
    (call $buffers (local.get $room) (i32.const 0))
    (call $received (call $fd_read (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 64))))
  ;; The same, again and again as long as nothing is there (EAGAIN).
  (func $read_at_last (param $fd i32) (param $room i32) (local $errno i32)
    (call $buffers (local.get $room) (i32.const 0))
    (loop $again
      (local.set $errno (call $fd_read (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 64)))
      (br_if $again (i32.eq (local.get $errno) (i32.const 6))))
    (call $received (local.get $errno)))
  ;; Flags come with nothing.
  (func $recv (param $fd i32) (param $first i32) (param $second i32) (param $flags i32) (local $errno i32)
    (call $buffers (local.get $first) (local.get $second))
    (i32.store (i32.const 68) (i32.const -1))
    (local.set $errno
      (call $sock_recv (local.get $fd) (i32.const 16) (i32.const 2) (local.get $flags)
        (i32.const 64) (i32.const 68)))
    (if (i32.eqz (local.get $errno))
      (then (if (i32.load16_u (i32.const 68)) (then unreachable))))
    (call $received (local.get $errno)))

  ;; Writes one byte, and sends one with flags.
  (func $write (param $fd i32)
    (call $buffers (i32.const 1) (i32.const 0))
    (call $digits (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 64)))
    (call $line))
  (func $send_flagged (param $fd i32) (param $flags i32)
    (call $buffers (i32.const 1) (i32.const 0))
    (call $digits
      (call $sock_send (local.get $fd) (i32.const 16) (i32.const 1) (local.get $flags) (i32.const 64)))
    (call $line))
  ;; Writes 64 KiB again and again, until that fails: how much went, and the errno. 64 MiB are more than ever goes.
  (func $fill (param $fd i32) (local $errno i32) (local $total i32)
    (i32.store (i32.const 16) (i32.const 65536))
    (i32.store (i32.const 20) (i32.const 65536))
    (loop $again
      (local.set $errno (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 64)))
      (if (i32.eqz (local.get $errno))
        (then
          (local.set $total (i32.add (local.get $total) (i32.load (i32.const 64))))
          (br_if $again (i32.lt_u (local.get $total) (i32.const 0x4000000))))))
    (call $digits (local.get $errno))
    (call $and (local.get $total))
    (call $line))

  (func $shutdown (param $fd i32) (param $how i32)
    (call $digits (call $sock_shutdown (local.get $fd) (local.get $how)))
    (call $line))
  (func $set_flags (param $fd i32) (param $flags i32)
    (call $digits (call $fd_fdstat_set_flags (local.get $fd) (local.get $flags)))
    (call $line))
  (func $flags (param $fd i32)
    (call $digits (call $fd_fdstat_get (local.get $fd) (i32.const 128)))
    (call $and (i32.load16_u (i32.const 130)))
    (call $line))
  ;; What both functions say of the type.
  (func $type (param $fd i32)
    (call $digits (call $fd_fdstat_get (local.get $fd) (i32.const 128)))
    (call $and (i32.load8_u (i32.const 128)))
    (call $and (call $fd_filestat_get (local.get $fd) (i32.const 192)))
    (call $and (i32.load8_u (i32.const 208)))
    (call $line))

  ;; Waits for a descriptor (1: to be read, 2: to be written), whose number here is 7, and for a time, which is 9:
  ;; number, error and type of each event.
  (func $poll (param $type i32) (param $fd i32) (param $milliseconds i32) (local $event i32)
    (i64.store (i32.const 256) (i64.const 7))
    (i32.store8 (i32.const 264) (local.get $type))
    (i32.store (i32.const 272) (local.get $fd))
    (i64.store (i32.const 304) (i64.const 9))
    (i32.store (i32.const 320) (i32.const 1))
    (i64.store (i32.const 328)
      (i64.mul (i64.extend_i32_u (local.get $milliseconds)) (i64.const 1000000)))
    (call $digits
      (call $poll_oneoff (i32.const 256) (i32.const 384) (i32.const 2) (i32.const 64)))
    (local.set $event (i32.const 384))
    (loop $again
      (call $and (i32.load8_u (local.get $event)))
      (call $and (i32.load16_u offset=8 (local.get $event)))
      (call $and (i32.load8_u offset=10 (local.get $event)))
      (local.set $event (i32.add (local.get $event) (i32.const 32)))
      (i32.store (i32.const 64) (i32.sub (i32.load (i32.const 64)) (i32.const 1)))
      (br_if $again (i32.gt_s (i32.load (i32.const 64)) (i32.const 0))))
    (call $line))
  ;; Does the first event say that there are bytes?
  (func $bytes
    (call $digits (i64.ne (i64.load (i32.const 400)) (i64.const 0)))
    (call $line))
"#;

/// Flags of `sock_recv` (`__wasi_riflags_t`).
const PEEK: u16 = 1;
const WAITALL: u16 = 2;

/// How to `sock_shutdown` (`__wasi_sdflags_t`).
const RD: u8 = 1;
const WR: u8 = 2;

/// The flag of a descriptor (`__wasi_fdflags_t`).
const NONBLOCK: u16 = 4;

/// Types of descriptors (`__wasi_filetype_t`).
const SOCKET_DGRAM: u8 = 5;
const SOCKET_STREAM: u8 = 6;

/// What waits long enough for anything that should happen, in milliseconds.
const LONG: u32 = 60_000;

/// A module that takes these steps, which are separated by `;`: a function and its arguments each.
fn module(steps: &str) -> Vec<u8> {
    let mut calls = String::new();
    for step in steps.split(';') {
        let mut words = step.split_whitespace();
        let function = words.next().expect("a step");
        let arguments: String = words.map(|word| format!(" (i32.const {word})")).collect();
        writeln!(calls, "(call ${function}{arguments})").unwrap();
    }
    let text = format!("(module {FUNCTIONS} (func (export \"_start\") {calls}))");
    wat::parse_str(text).expect("valid text")
}

/// A guest takes these steps on a TCP connection, and another one on one of a Unix socket; `talk` is its client.
fn on_streams(steps: &str, talk: impl Fn(&mut Client, &Host)) {
    let world = World::new(Kind::P1);
    world.compile(&module(steps), "steps");
    for address in [world.tcp("steps"), world.unix("steps")] {
        let host = world.start(&[]);
        talk(&mut address.connect(), &host);
    }
}

/// A guest takes these steps with each datagram `hello`: what it answers, over UDP and on a Unix socket.
fn on_datagrams(steps: &str) -> [String; 2] {
    let world = World::new(Kind::P1);
    world.compile(&module(steps), "steps");
    let destinations = [world.udp("steps"), world.unix_datagrams("steps")];
    let _host = world.start(&[]);
    destinations.map(|to| String::from_utf8(to.ask("hello")).expect("text"))
}

/// The next line of the guest, where an empty text leaves a blank.
#[track_caller]
fn expect_line(client: &mut Client, line: &str) {
    assert_eq!(client.line().trim_end(), line);
}

/// The guest waits.
#[track_caller]
fn expect_silence(client: &Client) {
    let time = Duration::from_millis(100);
    assert!(!client.hears_anything_within(time), "it did not wait");
}

// A reset is not the end of the input.

/// A guest takes these steps, and its client resets the connection after the first, which tells it what it sent.
/// After that the guest is told of the reset so often.
fn is_reset_in_between(steps: &str, times: usize) {
    let world = World::new(Kind::P1);
    let steps = format!("read 0 64; tell 1; {steps}");
    world.compile(&module(&steps), "steps");
    let address = world.tcp("steps");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.send("half of it");
    expect_line(&mut client, "0 10 half of it");
    client.vanish();
    host.log.expect("10 bytes in");
    // ECONNRESET
    let told = host.log.lines();
    let told = told.iter().filter(|line| line.ends_with(": 15")).count();
    assert_eq!(told, times, "{}", host.log.text());
}

#[test]
fn a_core_module_that_reads_from_a_client_that_reset_is_told_so_whenever_it_reads() {
    is_reset_in_between("read 0 64; tell 2; read 0 64; tell 2", 2);
}

#[test]
fn a_core_module_that_waited_first_is_told_of_the_reset_too() {
    let wait = format!("poll 1 0 {LONG}");
    is_reset_in_between(&format!("{wait}; tell 2; read 0 64; tell 2"), 1);
}

#[test]
fn a_core_module_that_met_the_reset_when_it_wrote_does_not_read_an_end_afterwards() {
    is_reset_in_between("fill 1; tell 2; read 0 64; tell 2", 1);
}

/// A guest plays `part`, its client resets the connection after half of an upload, and stderr gets a line with
/// `words`.
fn is_told_of_a_reset(kind: Kind, part: &str, words: &str) {
    let world = World::new(kind);
    let address = world.actor_port("upload", part, "");
    let host = world.start(&[]);
    let mut client = address.connect();
    assert_eq!(client.line(), "ready");
    client.send("half of it");
    client.vanish();
    host.log.expect("10 bytes in");
    assert_eq!(host.log.count(words), 1, "{kind:?}: {}", host.log.text());
}

each_kind! { ALL: an_upload_that_was_reset_is_not_taken_for_a_whole_one_by_std }
fn an_upload_that_was_reset_is_not_taken_for_a_whole_one_by_std(kind: Kind) {
    is_told_of_a_reset(kind, "receive", ": broken after ");
}

#[test]
fn a_stream_whose_client_reset_fails_and_is_not_closed() {
    is_told_of_a_reset(Kind::P2, "receive-raw", ": last-operation-failed: ");
}

each_kind! { ALL: an_upload_that_was_ended_is_whole }
fn an_upload_that_was_ended_is_whole(kind: Kind) {
    let world = World::new(kind);
    world.actor("upload", "receive", "");
    for address in [world.tcp("upload"), world.unix("upload")] {
        let host = world.start(&[]);
        address.ask("all of it").expect_whole("ready\n");
        host.log.expect(": whole: 9 bytes");
    }
}

// Descriptors 0 and 1 are a socket, and may be used as one.

#[test]
fn sock_recv_and_sock_send_do_what_reading_and_writing_does_on_both_descriptors() {
    let steps = "recv 0 3 0 0; recv 1 64 0 0; send 1; recv 0 64 0 0; send 0";
    on_streams(steps, |client, _| {
        client.send("hello");
        expect_line(client, "0 3 hel");
        expect_line(client, "0 2 lo");
        client.finish();
        expect_line(client, "0 0");
        client.answer().expect_whole("");
    });
}

#[test]
fn either_descriptor_is_read_and_written() {
    // As programs of inetd do it, and those that make a connection of descriptor 0: Go's `net.FileConn`, Rust's
    // `TcpStream::from_raw_fd`.
    let steps = "read 1 3; tell 0; read 0 64; tell 0";
    on_streams(steps, |client, _| {
        client.send("hello");
        expect_line(client, "0 3 hel");
        client.answer().expect_whole("0 2 lo\n");
    });
    for answer in on_datagrams(steps) {
        assert_eq!(answer, "0 3 hel\n0 2 lo\n");
    }
}

#[test]
fn what_sock_recv_peeks_at_is_there_for_the_next_read() {
    let steps = format!(
        "recv 0 3 0 {PEEK}; recv 0 64 0 {PEEK}; read 0 64; tell 1;
         recv 0 64 0 {PEEK}; read 0 64; tell 1;
         recv 0 64 0 {PEEK}; read 0 64; tell 1"
    );
    on_streams(&steps, |client, _| {
        client.send("hello");
        expect_line(client, "0 3 hel");
        expect_line(client, "0 5 hello");
        expect_line(client, "0 5 hello");
        expect_silence(client);
        client.send("more");
        expect_line(client, "0 4 more");
        expect_line(client, "0 4 more");
        client.finish();
        expect_line(client, "0 0");
        expect_line(client, "0 0");
    });
}

#[test]
fn sock_recv_of_all_waits_until_its_buffers_are_full_or_the_end_comes() {
    let steps = format!("recv 0 64 0 {PEEK}; tell 1; recv 0 2 3 {WAITALL}; tell 1; recv 0 2 3 {WAITALL}; tell 1");
    on_streams(&steps, |client, _| {
        client.send("hel");
        expect_line(client, "0 3 hel");
        expect_silence(client);
        client.send("lo, w");
        expect_line(client, "0 5 hello");
        client.finish();
        expect_line(client, "0 3 , w");
    });
}

#[test]
fn a_guest_that_shuts_down_its_output_still_reads() {
    for fd in [0, 1] {
        // The byte that it writes afterwards meets EPIPE.
        let steps = format!("shutdown {fd} {WR}; write 1; read 0 64; tell 2; read 0 64; tell 2");
        on_streams(&steps, |client, host| {
            client.answer().expect_whole("");
            client.send("more");
            host.log.expect(": 0 4 more");
            client.finish();
            host.log.expect(": 0 0 ");
            host.log.expect(": 64");
        });
    }
}

#[test]
fn a_guest_that_shuts_down_its_input_reads_the_end_and_still_writes() {
    for fd in [0, 1] {
        let steps = format!("shutdown {fd} {RD}; read 0 64; recv 0 64 0 0; tell 1");
        on_streams(&steps, |client, _| {
            client.answer().expect_whole("0\n0 0 \n0 0 \n");
        });
    }
}

#[test]
fn a_guest_that_shuts_down_both_reads_the_end_and_its_client_does() {
    let both = RD | WR;
    for fd in [0, 1] {
        let steps = format!("shutdown {fd} {both}; read 0 64; tell 2");
        on_streams(&steps, |client, host| {
            client.answer().expect_whole("");
            host.log.expect(": 0 0 ");
        });
    }
}

#[test]
fn sock_recv_takes_no_more_than_one_packet_and_loses_nothing_of_it() {
    let steps = format!(
        "recv 0 2 0 0; recv 0 64 0 {PEEK}; recv 0 64 0 0; recv 0 64 0 {PEEK}; read 0 64; recv 0 64 0 {WAITALL};
         send 1; recv 0 64 0 0; send 1"
    );
    let world = World::new(Kind::P1);
    world.compile(&module(&steps), "steps");
    let destination = world.packets("steps");
    let _host = world.start(&[]);
    let client = destination.connect();
    for packet in ["abcdef", "gh", "ij"] {
        client.send(packet);
    }
    let expected = "0 2 ab\n0 4 cdef\n0 4 cdef\n0 2 gh\n0 2 gh\n0 2 ij\n";
    assert_eq!(client.text(), expected);
    client.finish();
    let (packets, end) = client.packets();
    assert_eq!((packets.concat(), end), (b"0 0 \n".to_vec(), End::Closed));
}

#[test]
fn sock_recv_and_sock_send_read_a_datagram_and_write_its_answer() {
    let steps =
        format!("recv 0 2 0 0; send 1; recv 0 64 0 {PEEK}; read 0 64; recv 0 64 0 {PEEK}; recv 0 64 0 0; send 1");
    for answer in on_datagrams(&steps) {
        assert_eq!(answer, "0 2 he\n0 3 llo\n0 3 llo\n0 0 \n0 0 \n");
    }
}

#[test]
fn the_types_of_both_descriptors_are_those_of_sockets() {
    let steps = "type 0; type 1; tell 1";
    let line = |filetype| format!("0 {filetype} 0 {filetype}\n").repeat(2);
    on_streams(steps, |client, _| {
        client.answer().expect_whole(&line(SOCKET_STREAM));
    });
    for answer in on_datagrams(steps) {
        assert_eq!(answer, line(SOCKET_DGRAM));
    }
}

#[test]
fn the_type_of_standard_error_is_none_of_a_socket() {
    on_streams("type 2; tell 1", |client, _| {
        client.answer().expect_whole("0 0 0 0\n");
    });
}

#[test]
fn flags_that_mean_nothing_are_refused_and_cost_no_byte() {
    let steps = "recv 0 64 0 4; recv 0 64 0 128; send_flagged 1 1; shutdown 0 4; shutdown 1 8; read 0 64; tell 1";
    on_streams(steps, |client, _| {
        client.send("hello");
        for _ in 0..5 {
            let errno = client.line();
            // EINVAL or ENOTSUP.
            assert!(["28", "58"].contains(&errno.as_str()), "{errno}");
        }
        client.answer().expect_whole("0 5 hello\n");
    });
}

// A guest that does not want to wait need not.

#[test]
fn a_descriptor_that_does_not_block_says_that_nothing_is_there() {
    let wait = format!("poll 1 0 {LONG}");
    let steps = format!(
        "set_flags 0 {NONBLOCK}; read 0 64; tell 1; {wait}; read 0 64; read 0 64; tell 1; {wait}; read 0 64; tell 1"
    );
    on_streams(&steps, |client, _| {
        expect_line(client, "0");
        // EAGAIN
        expect_line(client, "6");
        client.send("data");
        expect_line(client, "0 7 0 1");
        expect_line(client, "0 4 data");
        expect_line(client, "6");
        client.finish();
        expect_line(client, "0 7 0 1");
        expect_line(client, "0 0");
    });
}

#[test]
fn sock_recv_does_not_block_either_where_a_read_would_not() {
    let steps = format!(
        "set_flags 0 {NONBLOCK}; recv 0 64 0 0; recv 0 64 0 {PEEK}; recv 0 64 0 {WAITALL}; tell 1;
         poll 1 0 {LONG}; recv 0 2 0 {PEEK}; recv 0 64 0 {WAITALL}; tell 1"
    );
    on_streams(&steps, |client, _| {
        for line in ["0", "6", "6", "6"] {
            expect_line(client, line);
        }
        client.send("data");
        client.answer().expect_whole("0 7 0 1\n0 2 da\n0 4 data\n");
    });
}

#[test]
fn a_guest_that_asks_again_and_again_is_told_what_comes_in_between() {
    let steps = format!(
        "set_flags 0 {NONBLOCK}; tell 1; read_at_last 0 64; tell 1; read_at_last 0 64; tell 1; read_at_last 0 64; tell 1"
    );
    on_streams(&steps, |client, _| {
        expect_line(client, "0");
        for text in ["once", "more"] {
            expect_silence(client);
            client.send(text);
            expect_line(client, &format!("0 4 {text}"));
        }
        expect_silence(client);
        client.finish();
        expect_line(client, "0 0");
    });
}

#[test]
fn a_descriptor_that_does_not_block_still_reads_the_whole_of_a_datagram() {
    let steps = format!("set_flags 0 {NONBLOCK}; read 0 2; read 0 64; read 0 64; tell 1");
    for answer in on_datagrams(&steps) {
        assert_eq!(answer, "0\n0 2 he\n0 3 llo\n0 0 \n");
    }
}

#[test]
fn whether_a_descriptor_blocks_is_kept_with_it() {
    for fd in [0, 1] {
        let steps =
            format!("flags {fd}; set_flags {fd} {NONBLOCK}; flags {fd}; set_flags {fd} 0; flags {fd}; tell 1");
        on_streams(&steps, |client, _| {
            let expected = format!("0 0\n0\n0 {NONBLOCK}\n0\n0 0\n");
            client.answer().expect_whole(&expected);
        });
    }
}

#[test]
fn a_descriptor_blocks_again_when_it_is_told_to() {
    let steps = format!("set_flags 0 {NONBLOCK}; read 0 64; set_flags 0 0; tell 1; read 0 64; tell 1");
    on_streams(&steps, |client, _| {
        for line in ["0", "6", "0"] {
            expect_line(client, line);
        }
        expect_silence(client);
        client.send("data");
        client.answer().expect_whole("0 4 data\n");
    });
}

#[test]
fn a_write_that_does_not_block_ends_when_its_client_takes_no_more() {
    let steps = format!("set_flags 1 {NONBLOCK}; fill 1; tell 2; poll 2 1 {LONG}; set_flags 1 0; tell 1");
    on_streams(&steps, |client, host| {
        let line = host.log.expect(": 6 ");
        let (_, total) = line.rsplit_once(' ').expect("errno and total");
        let total: usize = total.parse().expect("a number");
        assert!(total > 0, "{line}");
        let answer = client.answer();
        assert_eq!(answer.end, End::Closed);
        assert!(answer.bytes.len() > total, "{} of {total}", answer.bytes.len());
        let rest = String::from_utf8_lossy(&answer.bytes[total..]);
        assert_eq!(rest, "0 7 0 2\n0\n");
    });
}

#[test]
fn a_guest_that_waits_for_its_client_and_a_time_is_told_which_came() {
    for flags in [0, NONBLOCK] {
        let steps = format!(
            "set_flags 0 {flags}; poll 1 0 50; tell 1; poll 1 0 {LONG}; bytes; read 0 64; tell 1;
             poll 1 0 {LONG}; read 0 64; poll 2 1 {LONG}; tell 1"
        );
        on_streams(&steps, |client, _| {
            expect_line(client, "0");
            expect_line(client, "0 9 0 0");
            client.send("data");
            for line in ["0 7 0 1", "1", "0 4 data"] {
                expect_line(client, line);
            }
            client.finish();
            for line in ["0 7 0 1", "0 0", "0 7 0 2"] {
                expect_line(client, line);
            }
        });
    }
}

/// Ticks on standard error every 50 ms, while another goroutine echoes the lines that come.
const TICKS: &str = r#"
package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"time"
)

func main() {
	if err := syscall.SetNonblock(0, true); err != nil {
		panic(err)
	}
	go func() {
		for range time.Tick(50 * time.Millisecond) {
			fmt.Fprintln(os.Stderr, "tick")
		}
	}()
	lines := bufio.NewScanner(os.NewFile(0, "connection"))
	for lines.Scan() {
		fmt.Println(lines.Text())
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}
"#;

/// The Go that `make language-guests` installs.
fn go() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/venv/go/bin/go")
}

#[test]
fn goroutines_go_on_while_one_of_them_waits_for_the_client() {
    if !go().exists() {
        return harness::skip("there is no Go: run `make language-guests`");
    }
    let world = World::new(Kind::P1);
    let (source, wasm) = (world.path("run/ticks.go"), world.path("run/ticks.wasm"));
    fs::write(&source, TICKS).unwrap();
    let mut build = Command::new(go());
    build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
    build.arg(&wasm).arg(&source);
    let built = build.envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]).status();
    assert!(built.expect("run go").success());
    world.compile(&fs::read(&wasm).unwrap(), "ticks");
    for address in [world.tcp("ticks"), world.unix("ticks")] {
        let host = world.start(&[]);
        let mut client = address.connect();
        for line in ["before", "after"] {
            let ticks = host.log.count(": tick");
            eventually("it ticks while nothing is sent", || {
                host.log.count(": tick") >= ticks + 3
            });
            client.send(format!("{line}\n"));
            assert_eq!(client.line(), line);
        }
        client.finish();
        client.answer().expect_whole("");
        host.log.expect("served");
    }
}

// Sockets that were passed to a parent.

#[test]
fn a_host_below_an_init_says_which_option_brought_it_there() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.tcp("hello");
    // Podman passes the sockets to the first process of the container, which is the init.
    for pid in [1, std::process::id()] {
        let mut host = world.launch().env("LISTEN_PID", &pid.to_string()).start();
        host.expect_exit(1);
        let line = host.log.expect("LISTEN_PID");
        for word in ["--init", "tini", "first process"] {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
    }
}

// Clients of Unix datagrams that do not read.

/// How often those ask who never read.
const UNREAD: usize = 50;

/// What they ask: the answers are more than the buffer of the host's socket has room for.
fn large() -> Vec<u8> {
    vec![b'x'; 20_000]
}

/// Another client is answered soon, and so is the next.
fn expect_answers(destination: &Destination) {
    let start = Instant::now();
    for _ in 0..5 {
        let client = destination.connect();
        assert_eq!(client.ask("ping"), b"ping");
        assert_eq!(client.ask("pong"), b"pong");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

each_kind! { ALL: a_client_that_reads_no_answer_keeps_no_other_from_being_answered }
fn a_client_that_reads_no_answer_keeps_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    let deaf = destination.connect();
    for _ in 0..2 {
        for _ in 0..UNREAD {
            deaf.send(large());
        }
        expect_answers(&destination);
    }
    host.log.expect("its answer was not sent");
    host.expect_in_flight(0);
    expect_answers(&destination);
}

each_kind! { ALL: a_client_that_reads_is_answered_as_often_as_it_asks_beside_one_that_does_not }
/// What was read is no longer counted, though something always stays unread.
fn a_client_that_reads_is_answered_as_often_as_it_asks_beside_one_that_does_not(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let _host = world.start(&[]);
    let deaf = destination.connect();
    deaf.send([large(), large()].concat());
    let client = destination.connect();
    for _ in 0..500 {
        assert_eq!(client.ask("x".repeat(1000)).len(), 1000);
    }
}

each_kind! { ALL: several_clients_that_read_no_answer_keep_no_other_from_being_answered }
fn several_clients_that_read_no_answer_keep_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    // An eighth of the buffer each is room for one answer, and leaves a quarter of it.
    let deaf = [(); 6].map(|()| destination.connect());
    for _ in 0..UNREAD / deaf.len() {
        for client in &deaf {
            client.send(large());
        }
    }
    expect_answers(&destination);
    host.log.expect("its answer was not sent");
}

each_kind! { ALL: many_clients_that_read_no_small_answer_keep_no_other_from_being_answered }
fn many_clients_that_read_no_small_answer_keep_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let _host = world.start(&[]);
    let deaf = [(); UNREAD].map(|()| destination.connect());
    for client in &deaf {
        client.send("never mind");
    }
    expect_answers(&destination);
}

// Sockets that systemd gives up.

/// What `wasm-sock check` says where `systemctl show` tells of a socket with these properties.
fn checked(world: &World, properties: &str) -> String {
    let systemctl = format!(
        "#!/bin/sh\ncase \"$*\" in *Triggers*) printf 'Id=hello.socket\\nFileDescriptorName=hello\\n\
         Triggers=wasm-sock.service\\nListen=7000 (Stream)\\n{properties}' ;; esac\n"
    );
    let (folder, config, state) = (world.path("run"), world.path("config"), world.path("state"));
    let program = folder.join("systemctl");
    fs::write(&program, systemctl).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let environment = [
        ("CONFIGURATION_DIRECTORY", config.as_path()),
        ("STATE_DIRECTORY", state.as_path()),
        ("PATH", folder.as_path()),
    ];
    let output = run_in(Path::new("/"), &["check"], &environment);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("hello.socket"), "{said}");
    said
}

#[test]
fn check_warns_of_a_socket_that_systemd_gives_up_when_its_service_fails_too_often() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    for (interval, burst) in [("2s", "200"), ("2s", "20"), ("1min 30s", "1")] {
        let limit = format!("TriggerLimitIntervalUSec={interval}\\nTriggerLimitBurst={burst}\\n");
        let said = checked(&world, &limit);
        let warning = said.lines().find(|line| line.starts_with("warning: "));
        let warning = warning.unwrap_or_else(|| panic!("{limit}: {said}"));
        for word in ["hello.socket", "TriggerLimitIntervalSec=0"] {
            assert!(warning.contains(word), "{word:?} is not in: {warning}");
        }
    }
    for (interval, burst) in [("0", "200"), ("2s", "0"), ("0", "0")] {
        let limit = format!("TriggerLimitIntervalUSec={interval}\\nTriggerLimitBurst={burst}\\n");
        let said = checked(&world, &limit);
        assert!(!said.contains("warning: "), "{limit}: {said}");
    }
}

#[test]
fn no_socket_of_ours_is_given_up_by_systemd() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let readme = read(&root.join("README.md"));
    let mut sockets: Vec<(String, String)> = readme
        .split("<<'EOF'\n")
        .skip(1)
        .map(|rest| rest.split_once("\nEOF\n").expect("the end").0)
        .filter(|unit| unit.contains("[Socket]"))
        .map(|unit| ("README.md".to_owned(), unit.to_owned()))
        .collect();
    assert!(!sockets.is_empty(), "README.md has no socket");
    for entry in fs::read_dir(root.join("units/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "socket") {
            sockets.push((path.display().to_string(), read(&path)));
        }
    }
    for (place, unit) in sockets {
        let is_unlimited = unit.lines().any(|line| line == "TriggerLimitIntervalSec=0");
        assert!(is_unlimited, "{place}: {unit}");
    }
}
