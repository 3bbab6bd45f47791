//! Datagrams while awake: one is one run of a guest.

use crate::activate::start_with;
use crate::process::Program;
use crate::report::Report;
use crate::statistics::Samples;
use crate::turns::{Contender, Load, alternate};
use crate::{Bench, Effort, PATIENCE, Result};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let programs = [
        ("native, tokio", Program::new([bench.build.join("udp-echo")])),
        ("wasm-sock, core module", bench.awake_host("p1", "echo")),
        ("wasm-sock, component", bench.awake_host("p2", "echo")),
    ];
    let mut servers = Vec::new();
    for (name, program) in &programs {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        servers.push((*name, start_with(program, vec![socket.into()])?, address));
    }
    let contenders: Vec<Contender> = servers
        .iter()
        .map(|(name, process, address)| Contender {
            name,
            process,
            load: Box::new(|| datagrams(*address, &bench.effort)),
        })
        .collect();
    let all = alternate(&contenders, bench.effort.turns)?;
    let title = format!(
        "UDP, {} clients, one run of the guest for each datagram",
        bench.effort.clients
    );
    report.table(all.table(&title, "datagrams per second"));
    let (native, core) = (&all.turns[0], &all.turns[1]);
    report.measure("UDP, datagrams per second", core.rate.turn_by_turn(&native.rate))
}

/// Sends from many sockets, one datagram from each at a time, and waits for the answers.
fn datagrams(server: SocketAddr, effort: &Effort) -> Result<Load> {
    let client = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let clients = (0..effort.clients).map(|_| client()).collect::<io::Result<Vec<_>>>()?;
    let (mut waited, began, mut buffer) = (Samples::default(), Instant::now(), [0; 64]);
    while began.elapsed() < effort.turn {
        let sent = Instant::now();
        for client in &clients {
            client.send(b"how do you do")?;
        }
        for client in &clients {
            client.recv(&mut buffer)?;
            waited.add(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(Load {
        count: waited.count() as u64,
        took: began.elapsed(),
        p10: waited.p10(),
        median: waited.median(),
        p99: waited.p99(),
    })
}
