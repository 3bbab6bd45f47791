//! A guest's descriptors 0 and 1 are its connection, and may be used as a socket: `sock_recv`, `sock_send`,
//! `sock_shutdown`, and what their types and flags are. Many of these are bugs of other runtimes.
//!
//! The guest of most tests is a module of a few steps, each a call of WASI 0.1.

mod nonblocking;
mod reset;

use std::fmt::Write as _;
use std::time::Duration;

use harness::{Client, End, Host, Kind, World};

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
