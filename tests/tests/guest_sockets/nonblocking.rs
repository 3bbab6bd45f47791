//! A guest that does not want to wait need not: `O_NONBLOCK` and `poll_oneoff`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{End, Kind, World, eventually};

use super::{LONG, NONBLOCK, PEEK, WAITALL, expect_line, expect_silence, on_datagrams, on_streams};

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
