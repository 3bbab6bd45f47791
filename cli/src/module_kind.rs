//! What a `.wasm` is, told from its exports, without compiling it.

use std::fs;
use std::path::Path;
use wasmparser::{Parser, Payload};

/// Interfaces that a component exports which answers HTTP requests.
const HTTP: [&str; 2] = ["wasi:http/incoming-handler@", "wasi:http/handler@"];

/// Does the module in this file answer HTTP requests? `None`: it cannot be read.
pub fn is_http(wasm: &Path) -> Option<bool> {
    is_http_component(&fs::read(wasm).ok()?)
}

/// As [`is_http`], of the module's content.
pub fn is_http_component(wasm: &[u8]) -> Option<bool> {
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(exports) if depth == 0 => {
                let mut exports = exports.into_iter().filter_map(Result::ok);
                if exports.any(|export| HTTP.iter().any(|name| export.name.name.starts_with(name))) {
                    return Some(true);
                }
            }
            _ => {}
        }
    }
    Some(false)
}
