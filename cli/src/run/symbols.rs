//! Names and source lines of a backtrace, from the DWARF sections of a `.wasm`.
//!
//! Addresses in them are relative to the code section of their module (*DWARF for WebAssembly*, tool conventions). A
//! component has several modules; the host tells offsets in the whole file.

use crate::log_line::Frame;
use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use std::collections::HashMap;
use std::ops::Range;
use wasmparser::{Parser, Payload};

/// A function that a guest was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub function: String,
    /// `src/main.rs:12:5`
    pub source: Option<String>,
    /// It is a part of Rust's standard library.
    pub is_standard: bool,
}

/// A core module, alone or in a component.
#[derive(Default)]
struct Module<'a> {
    /// Its code, as offsets in the file.
    code: Range<usize>,
    /// Its debugging sections, by name.
    sections: HashMap<&'a str, &'a [u8]>,
}

/// Where Rust's standard library was built.
const RUSTS_SOURCE: &str = "/rustc/";

/// Functions of the C library and of toolchains below a program, which have no lines.
const RUNTIME: [&str; 6] = [
    "abort",
    "_start",
    "__main_void",
    "__original_main",
    "main",
    "__wasm_call_ctors",
];

/// The places of a backtrace, the innermost first. A function that was inlined has a place of its own.
pub fn places(wasm: &[u8], frames: &[Frame]) -> Vec<Place> {
    let modules = modules(wasm);
    frames.iter().flat_map(|frame| places_of(&modules, frame)).collect()
}

fn places_of(modules: &[Module<'_>], frame: &Frame) -> Vec<Place> {
    let offset = frame.offset.and_then(|offset| usize::try_from(offset).ok());
    let inlined = offset.and_then(|offset| {
        let module = modules.iter().find(|module| module.code.contains(&offset))?;
        inlined(module, u64::try_from(offset - module.code.start).ok()?)
    });
    let name = frame.function.clone();
    let name = name.unwrap_or_else(|| format!("function {}", frame.index));
    let Some(mut places) = inlined.filter(|places| !places.is_empty()) else {
        return vec![Place {
            is_standard: RUNTIME.contains(&&*name),
            function: name,
            source: None,
        }];
    };
    for place in &mut places {
        if place.function.is_empty() {
            place.function.clone_from(&name);
        }
    }
    places
}

/// What the debugging sections say of an address.
fn inlined(module: &Module<'_>, address: u64) -> Option<Vec<Place>> {
    let section = |id: SectionId| -> Result<_, addr2line::gimli::Error> {
        let data = module.sections.get(id.name()).copied().unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    let context = Context::from_dwarf(Dwarf::load(section).ok()?).ok()?;
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut places = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame
            .function
            .as_ref()
            .and_then(|name| name.demangle().ok().map(|name| name.into_owned()));
        let file = frame.location.as_ref().and_then(|location| location.file);
        let is_standard = file.is_some_and(|file| file.starts_with(RUSTS_SOURCE));
        let source = frame.location.and_then(|location| {
            let file = shortened(location.file?);
            Some(match (location.line, location.column) {
                (Some(line), Some(column)) if column > 0 => format!("{file}:{line}:{column}"),
                (Some(line), _) => format!("{file}:{line}"),
                (None, _) => file.to_owned(),
            })
        });
        places.push(Place {
            function: without_hash(function.unwrap_or_default()),
            source,
            is_standard,
        });
    }
    Some(places)
}

/// `alloc::vec::from_elem::h1b2c3d4e5f607182`: Rust's hash tells a reader nothing.
fn without_hash(mut name: String) -> String {
    if let Some((path, hash)) = name.rsplit_once("::h")
        && hash.len() == 16
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        name.truncate(path.len());
    }
    name
}

/// Relative to this folder; for Rust's standard library, below its `library` folder.
fn shortened(file: &str) -> &str {
    if file.starts_with(RUSTS_SOURCE)
        && let Some((_, rest)) = file.split_once("/library/")
    {
        return rest;
    }
    let here = std::env::current_dir().ok();
    let here = here.as_ref().and_then(|here| here.to_str());
    let below = here
        .and_then(|here| file.strip_prefix(here))
        .and_then(|rest| rest.strip_prefix('/'));
    below.unwrap_or(file)
}

/// The core modules of a file; none if it is not valid.
fn modules(wasm: &[u8]) -> Vec<Module<'_>> {
    let mut done = Vec::new();
    let mut open: Vec<Module<'_>> = vec![Module::default()];
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => open.push(Module::default()),
            Payload::End(_) => done.extend(open.pop()),
            Payload::CodeSectionStart { range, .. } => {
                if let Some(module) = open.last_mut() {
                    module.code = range;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(".debug_") => {
                if let Some(module) = open.last_mut() {
                    module.sections.insert(section.name(), section.data());
                }
            }
            _ => {}
        }
    }
    done.retain(|module| !module.sections.is_empty());
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_debugging_sections_a_place_is_a_name_or_a_number() {
        let frame = |function: Option<&str>| Frame {
            function: function.map(str::to_owned),
            index: 7,
            offset: Some(100),
        };
        let places = places(b"\0asm\x01\0\0\0", &[frame(Some("parse")), frame(None)]);
        let names: Vec<&str> = places.iter().map(|place| place.function.as_str()).collect();
        assert_eq!(names, ["parse", "function 7"]);
    }

    #[test]
    fn a_hash_of_rust_is_left_out_and_nothing_else() {
        let shown = |name: &str| without_hash(name.to_owned());
        assert_eq!(shown("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(shown("a::hello"), "a::hello");
    }
}
