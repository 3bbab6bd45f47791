//! Clients of databases in a guest: `databases redis HOST:PORT`, `databases postgres HOST:PORT`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, thread};

use redis::Commands;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{Config, NoTls};

fn main() {
    let (part, address) = (env::args().nth(1).unwrap_or_default(), env::args().nth(2).unwrap_or_default());
    let result = match part.as_str() {
        "redis" => redis(&address),
        "postgres" => postgres(&address),
        _ => Err("which part? redis HOST:PORT, postgres HOST:PORT".into()),
    };
    match result {
        Ok(text) => println!("{text}"),
        Err(error) => println!("error: {error}"),
    }
}

fn redis(address: &str) -> Result<String, Box<dyn Error>> {
    let mut connection = redis::Client::open(format!("redis://{address}/"))?.get_connection()?;
    let _: () = connection.set("greeting", "hello")?;
    let count: i64 = connection.incr("count", 2)?;
    let greeting: String = connection.get("greeting")?;
    let large = "x".repeat(300_000);
    let _: () = connection.set("large", &large)?;
    let back: String = connection.get("large")?;
    Ok(format!("greeting {greeting}, count {count}, large {}", back == large))
}

fn postgres(address: &str) -> Result<String, Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut config = Config::new();
        config.user("guest").password("secret").dbname("guest");
        let (client, connection) = config.connect_raw(Stream(stream), NoTls).await?;
        tokio::task::spawn_local(connection);
        client.batch_execute("CREATE TEMPORARY TABLE visits (name text, count int)").await?;
        for (name, count) in [("a", 1), ("b", 2), ("c", 39)] {
            client.execute("INSERT INTO visits VALUES ($1, $2)", &[&name, &count]).await?;
        }
        let row = client.query_one("SELECT count(*), sum(count) FROM visits WHERE name <> $1", &[&"x"]).await?;
        let (rows, sum): (i64, i64) = (row.get(0), row.get(1));
        Ok(format!("rows {rows}, sum {sum}"))
    })
}

/// A socket that does not block, for a runtime that does not know sockets.
struct Stream(TcpStream);

/// What to do when nothing can be done: the runtime asks again.
fn again<T>(context: &mut Context<'_>) -> Poll<T> {
    thread::sleep(Duration::from_millis(1));
    context.waker().wake_by_ref();
    Poll::Pending
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0.read(buffer.initialize_unfilled()) {
            Ok(count) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => again(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => again(context),
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Write))
    }
}
