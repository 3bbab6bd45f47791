//! Menus: the contents of a directory, one item in each line (RFC 1436, section 2).

use std::fs;
use std::io;
use std::path::Path;

use crate::selector::{ItemType, Refusal, is_public};

/// The server from which the items of a menu are fetched.
pub struct Server {
    pub host: String,
    pub port: String,
}

/// Host and port of an item that is text only.
const NOWHERE: &str = "error.host\t1";

const END: &str = ".\r\n";

/// The menu that a `gophermap` in the directory describes, or else a list of its files.
pub fn of_directory(path: &Path, selector: &str, server: &Server) -> io::Result<String> {
    match fs::read(path.join("gophermap")) {
        Ok(map) => {
            let map = String::from_utf8_lossy(&map);
            Ok(from_gophermap(&map, selector, server))
        }
        Err(_) => from_listing(path, selector, server),
    }
}

pub fn of_error(refusal: Refusal) -> String {
    let letter = ItemType::Error.letter();
    format!("{letter}{}\t\t{NOWHERE}\r\n{END}", refusal.message())
}

fn from_listing(path: &Path, selector: &str, server: &Server) -> io::Result<String> {
    let mut items: Vec<_> = fs::read_dir(path)?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            // Follows links: one that leads out of the sandbox fails here and is left out.
            let metadata = fs::metadata(path.join(&name)).ok()?;
            let item_type = match metadata.is_dir() {
                true => ItemType::Directory,
                false => ItemType::of_file(&name),
            };
            is_public(&name).then_some((name, item_type))
        })
        .collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));

    let Server { host, port } = server;
    let mut menu = String::new();
    for (name, item_type) in items {
        let letter = item_type.letter();
        menu += &format!("{letter}{name}\t{selector}/{name}\t{host}\t{port}\r\n");
    }
    Ok(menu + END)
}

/// The format that other Gopher servers (Bucktooth, Gophernicus) read: a line with a tab in it
/// is an item whose selector, host and port may be left out; any other is a line of text.
fn from_gophermap(map: &str, selector: &str, server: &Server) -> String {
    let mut menu = String::new();
    for line in map.lines().take_while(|line| *line != ".") {
        match line.split_once('\t') {
            Some((item, rest)) => menu += &complete(item, rest, selector, server),
            None => menu += &format!("{}{line}\t\t{NOWHERE}\r\n", ItemType::Info.letter()),
        }
    }
    menu + END
}

/// Fills in what an item of a gophermap leaves out. Its selector is then its name, and one that
/// does not begin at the root is in the gophermap's own directory, if it is on this server.
fn complete(item: &str, rest: &str, directory: &str, server: &Server) -> String {
    let mut fields = rest.split('\t');
    let mut field = || fields.next().filter(|text| !text.is_empty());
    let name: String = item.chars().skip(1).collect();
    let (target, host, port) = (field().unwrap_or(&name), field(), field());
    let is_whole = host.is_some() || target.starts_with('/') || target.starts_with("URL:");
    let directory = if is_whole {
        ""
    } else {
        &format!("{directory}/")
    };
    let host = host.unwrap_or(&server.host);
    let port = port.unwrap_or(&server.port);
    format!("{item}\t{directory}{target}\t{host}\t{port}\r\n")
}
