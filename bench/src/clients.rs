//! Clients of stream sockets: each connects, says a line, hears it again, and hangs up.

use crate::statistics::Samples;
use crate::turns::Load;
use crate::{Effort, PATIENCE, Result};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const LINE: &[u8] = b"how do you do\n";

/// Load from `clients` clients for a turn.
pub fn echo_lines(server: SocketAddr, effort: &Effort) -> Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients = runtime.block_on(async {
        let began = Instant::now();
        let until = began + effort.turn;
        let clients: Vec<_> = (0..effort.clients)
            .map(|index| tokio::spawn(client(server, index as u8, until)))
            .collect();
        let mut waited = Samples::default();
        for client in clients {
            waited.merge(client.await??);
        }
        Ok::<_, Box<dyn std::error::Error>>((waited, began.elapsed()))
    });
    let (waited, took) = clients?;
    Ok(Load {
        count: waited.count() as u64,
        took,
        p10: waited.p10(),
        median: waited.median(),
        p99: waited.p99(),
    })
}

/// Microseconds that each of its connections waited for the line.
async fn client(server: SocketAddr, index: u8, until: Instant) -> io::Result<Samples> {
    let mut waited = Samples::default();
    while Instant::now() < until {
        let connection = tokio::time::timeout(PATIENCE, one_connection(server, index));
        let time = connection.await.map_err(|_| io::ErrorKind::TimedOut)??;
        waited.add(time.as_secs_f64() * 1e6);
    }
    Ok(waited)
}

/// From before it connects until the line is back. It ends when the server has hung up, too.
async fn one_connection(server: SocketAddr, index: u8) -> io::Result<Duration> {
    let began = Instant::now();
    let mut connection = connect(server, index).await?;
    connection.write_all(LINE).await?;
    let mut answer = [0; LINE.len()];
    connection.read_exact(&mut answer).await?;
    let waited = began.elapsed();
    connection.shutdown().await?;
    if answer != LINE || connection.read(&mut answer).await? != 0 {
        return Err(io::Error::other("this is no echo"));
    }
    Ok(waited)
}

/// Every client has an address of its own: together they have more ports than close in a turn.
async fn connect(server: SocketAddr, index: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let late: libc::c_int = 1;
    // SAFETY: the option takes an integer of this size.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const late).cast(),
            size_of_val(&late) as libc::socklen_t,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind((Ipv4Addr::new(127, 0, 1, 1 + index), 0).into())?;
    socket.connect(server).await
}
