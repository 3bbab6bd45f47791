//! Serves a directory over Gopher (RFC 1436): one selector in, one menu or file out.
//!
//! The directory is the first argument, `/data` if there is none. This guest can see nothing else:
//! the sandbox, not this program, protects the rest of the machine.

mod menu;
mod selector;
mod transfer;

use std::env::{args, var};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use menu::Server;
use selector::{ItemType, Refusal};

fn main() -> io::Result<()> {
    let root = PathBuf::from(args().nth(1).unwrap_or("/data".into()));
    let stdout = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    answer(&root, &Server::from_env(), io::stdin().lock(), stdout)
}

impl Server {
    /// The server in menus: the address that the client connected to, unless the administrator
    /// configures a name.
    fn from_env() -> Server {
        let host = var("GOPHER_HOST").or_else(|_| var("TCPLOCALIP"));
        let port = var("GOPHER_PORT").or_else(|_| var("TCPLOCALPORT"));
        Server {
            host: host.unwrap_or("localhost".into()),
            port: port.unwrap_or("70".into()),
        }
    }
}

/// Reads one selector and writes its menu or file. A mistake in the request is answered with a
/// menu that has the error; this function fails only if the client has left.
fn answer(
    root: &Path,
    server: &Server,
    request: impl BufRead,
    mut reply: impl Write,
) -> io::Result<()> {
    match read_selector(request).and_then(|selector| find(root, &selector, server)) {
        Ok(Found::Menu(menu)) => reply.write_all(menu.as_bytes())?,
        Ok(Found::Text(file)) => transfer::text(BufReader::new(file), &mut reply)?,
        Ok(Found::Bytes(mut file)) => {
            io::copy(&mut file, &mut reply)?;
        }
        Err(refusal) => reply.write_all(menu::of_error(refusal).as_bytes())?,
    }
    reply.flush()
}

/// The selector ends at the end of the line, or at a tab, after which a search or a Gopher+
/// request continues.
fn read_selector(request: impl BufRead) -> Result<String, Refusal> {
    let mut line = Vec::new();
    let limit = selector::MAX_LENGTH + "\r\n".len();
    let read = request.take(limit as u64).read_until(b'\n', &mut line);
    read.map_err(|_| Refusal::Malformed)?;
    let mut parts = line.split(|byte| matches!(byte, b'\t' | b'\r' | b'\n'));
    let selector = parts.next().unwrap_or_default();
    selector::resolve(str::from_utf8(selector).map_err(|_| Refusal::Malformed)?)
}

enum Found {
    Menu(String),
    Text(File),
    Bytes(File),
}

/// Opens the file or directory of a selector. The sandbox refuses a link out of the directory, so
/// that is not found either.
fn find(root: &Path, selector: &str, server: &Server) -> Result<Found, Refusal> {
    let path = root.join(selector.trim_start_matches('/'));
    let not_found = |_| Refusal::NotFound;
    let metadata = path.metadata().map_err(not_found)?;
    if metadata.is_dir() {
        let menu = menu::of_directory(&path, selector, server).map_err(not_found)?;
        return Ok(Found::Menu(menu));
    }
    // Not a FIFO or a device, where reading may never end.
    if !metadata.is_file() {
        return Err(Refusal::NotFound);
    }
    let file = File::open(&path).map_err(not_found)?;
    match ItemType::of_file(selector) {
        ItemType::Text => Ok(Found::Text(file)),
        _ => Ok(Found::Bytes(file)),
    }
}

#[cfg(test)]
mod tests;
