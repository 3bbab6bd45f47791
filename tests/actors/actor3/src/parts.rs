use std::hint::spin_loop;
use std::net::SocketAddrV4;
use std::process::abort;

use wasip3::cli::environment::{get_arguments, get_environment};
use wasip3::cli::exit::exit_with_code;
use wasip3::cli::{stderr, stdin, stdout};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket};
use wasip3::wit_bindgen::yield_async;
use wasip3::wit_stream;

use crate::Result;
use crate::stdio::{CHUNK, Input, Output};

fn stdout() -> Output {
    Output::to(stdout::write_via_stream)
}

/// The arguments, each after `arg: `.
pub async fn args() -> Result {
    let arguments = get_arguments().into_iter();
    tell(arguments.map(|value| format!("arg: {value}\n"))).await
}

/// Writes `bytes` bytes, of which the nth is n modulo 251: a prime, so that no power of two of
/// lost or repeated bytes goes unseen.
pub async fn big(bytes: u64) -> Result {
    let mut stdout = stdout();
    let mut chunk = Vec::new();
    for start in (0..bytes).step_by(CHUNK) {
        let end = bytes.min(start + CHUNK as u64);
        chunk.extend((start..end).map(|n| (n % 251) as u8));
        chunk = stdout.write(chunk).await?;
    }
    stdout.close().await
}

/// An address of IPv4.
fn address(text: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = text.parse().expect("an address of IPv4");
    let [a, b, c, d] = address.ip().octets();
    let port = address.port();
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port,
        address: (a, b, c, d),
    })
}

/// Sends `hello` and ends its direction; passes on what comes, after `connected`.
pub async fn connect(to: String) -> Result {
    let connected = async {
        let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
        socket.connect(address(&to)).await?;
        let (mut writer, reader) = wit_stream::new();
        let sent = socket.send(reader);
        let rest = writer.write_all(b"hello".to_vec()).await;
        drop(writer);
        let (received, end) = socket.receive();
        let heard = received.collect().await;
        end.await?;
        sent.await?;
        std::result::Result::<_, ErrorCode>::Ok((heard, rest.len()))
    };
    let line = match connected.await {
        Ok((heard, 0)) => format!("connected\n{}", String::from_utf8_lossy(&heard)),
        Ok((_, rest)) => format!("connected, {rest} bytes were not taken\n"),
        Err(error) => format!("connect: {error:?}\n"),
    };
    tell([line]).await
}

/// Sends a datagram, and passes the answer on.
pub async fn datagram(to: String) -> Result {
    let exchanged = async {
        let socket = UdpSocket::create(IpAddressFamily::Ipv4)?;
        socket.send(b"hello".to_vec(), Some(address(&to))).await?;
        socket.receive().await
    };
    let line = match exchanged.await {
        Ok((answer, from)) => format!("answer: {} {from:?}\n", String::from_utf8_lossy(&answer)),
        Err(error) => format!("datagram: {error:?}\n"),
    };
    tell([line]).await
}

/// The addresses of a name, one a line; or why there are none, after `resolve: `.
pub async fn resolve(name: String) -> Result {
    let lines: Vec<String> = match resolve_addresses(name).await {
        Ok(addresses) => addresses.iter().map(|ip| format!("{ip:?}\n")).collect(),
        Err(error) => vec![format!("resolve: {error:?}\n")],
    };
    tell(lines).await
}

/// Copies stdin to stdout, through its own memory.
pub async fn echo() -> Result {
    let mut stdin = Input::from(stdin::read_via_stream);
    let mut stdout = stdout();
    let mut chunk = Vec::new();
    while let Some(read) = stdin.read(chunk).await {
        chunk = stdout.write(read).await?;
    }
    stdin.close().await?;
    stdout.close().await
}

/// The environment, sorted, a variable a line.
pub async fn env() -> Result {
    let mut variables = get_environment();
    variables.sort();
    let variables = variables.into_iter();
    tell(variables.map(|(name, value)| format!("{name}={value}\n"))).await
}

/// Ends by calling the host, and without closing its stdout.
pub async fn exit(code: u8) -> Result {
    let mut stdout = stdout();
    stdout.say("bye\n").await?;
    exit_with_code(code);
    Ok(())
}

/// Fails in the only way that `run` itself knows.
pub async fn fail() -> Result {
    tell(["bye\n"]).await?;
    Err(())
}

/// Is gone without waiting until its output has gone anywhere.
pub async fn hasty() -> Result {
    stdout().say("hasty\n").await
}

pub async fn hello() -> Result {
    tell(["hello from 0.3\n"]).await
}

/// Answers and is gone, whatever the client has sent or is still sending.
pub async fn never_read() -> Result {
    tell(["early\n"]).await
}

/// Says that it is ready, reads to the end, and tells stderr what the future says of it: `whole`, or `broken` and
/// why.
pub async fn receive() -> Result {
    let mut stdout = stdout();
    stdout.say("ready\n").await?;
    let mut stdin = Input::from(stdin::read_via_stream);
    let (mut count, mut chunk) = (0, Vec::new());
    while let Some(read) = stdin.read(chunk).await {
        count += read.len();
        chunk = read;
        chunk.clear();
    }
    let told = match stdin.end().await {
        Ok(()) => format!("whole: {count} bytes\n"),
        Err(error) => format!("broken after {count} bytes: {error:?}\n"),
    };
    let mut stderr = Output::to(stderr::write_via_stream);
    stderr.say(told).await?;
    stderr.close().await
}

pub async fn sleep(milliseconds: u64) -> Result {
    let mut stdout = stdout();
    stdout.say("up\n").await?;
    wait_for(milliseconds * 1_000_000).await;
    stdout.say("done\n").await?;
    stdout.close().await
}

/// Uses the processor without ever calling out of the sandbox.
pub fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Uses the processor, but gives the host its turn again and again.
pub async fn spin_yield() -> ! {
    loop {
        yield_async().await;
    }
}

/// Copies stdin to stdout by handing the one stream to the other: the host moves the bytes.
pub async fn splice() -> Result {
    let (bytes, end) = stdin::read_via_stream();
    stdout::write_via_stream(bytes).await.map_err(drop)?;
    end.await.map_err(drop)
}

/// Tells stderr a line, then the client that it did.
pub async fn stderr(line: String) -> Result {
    let mut stderr = Output::to(stderr::write_via_stream);
    stderr.say(format_args!("{line}\n")).await?;
    stderr.close().await?;
    tell(["ok\n"]).await
}

/// On WebAssembly, `abort` is the instruction `unreachable`.
pub async fn trap() -> Result {
    let mut stdout = stdout();
    stdout.say("before\n").await?;
    abort()
}

/// Writes lines to the client, and waits until they are on their way.
async fn tell(lines: impl IntoIterator<Item: AsRef<str>>) -> Result {
    let mut stdout = stdout();
    for line in lines {
        stdout.say(line.as_ref()).await?;
    }
    stdout.close().await
}
