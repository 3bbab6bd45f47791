//! What a client may ask for, and of what type it is.

/// In bytes. RFC 1436 asks for selectors of no more than 255 characters.
pub const MAX_LENGTH: usize = 255;

/// Why a client gets an error instead of a menu or a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    Malformed,
    NotFound,
}

impl Refusal {
    pub fn message(self) -> &'static str {
        match self {
            Refusal::Malformed => "This is not a selector",
            Refusal::NotFound => "There is nothing by this name here",
        }
    }
}

/// Checks and normalizes a selector: `""` for the root, else `"/a/b"`.
///
/// A part that begins with a dot is refused: `.` and `..`, and hidden files such as `.git`.
pub fn resolve(selector: &str) -> Result<String, Refusal> {
    if selector.len() > MAX_LENGTH || selector.contains(char::is_control) {
        return Err(Refusal::Malformed);
    }
    let path = selector.strip_prefix('/').unwrap_or(selector);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(String::new());
    }
    match path.split('/').all(is_public) {
        true => Ok(format!("/{path}")),
        false => Err(Refusal::NotFound),
    }
}

/// Whether a file of this name is listed and served.
pub fn is_public(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(char::is_control)
}

/// RFC 1436, section 3.8, and two later ones: `I` and `h`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum ItemType {
    Text = b'0',
    Directory = b'1',
    Error = b'3',
    Binary = b'9',
    Gif = b'g',
    Image = b'I',
    Html = b'h',
    Info = b'i',
}

impl ItemType {
    pub fn letter(self) -> char {
        self as u8 as char
    }

    /// By its extension. A name without one (`README`, `gophermap`) is text; an unknown one is
    /// binary, since bytes sent as they are harm no text, but line ends added harm bytes.
    pub fn of_file(path: &str) -> ItemType {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((_, extension)) = name.rsplit_once('.') else {
            return ItemType::Text;
        };
        match extension.to_ascii_lowercase().as_str() {
            "txt" | "md" | "rst" | "asc" | "csv" | "log" | "json" | "toml" | "yaml" | "yml"
            | "xml" | "ini" | "conf" | "c" | "h" | "rs" | "py" | "js" | "css" | "sh" => {
                ItemType::Text
            }
            "gif" => ItemType::Gif,
            "png" | "jpg" | "jpeg" | "webp" | "bmp" | "svg" => ItemType::Image,
            "html" | "htm" => ItemType::Html,
            _ => ItemType::Binary,
        }
    }
}
