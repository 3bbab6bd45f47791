//! The templates: the example guests of this repository, with another name.

use super::{Kind, Language};
use std::path::PathBuf;

/// The path of a file in an example, and its content.
type File = (&'static str, &'static [u8]);

// EXAMPLES: each example with its files, embedded when this program is built.
include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// An example that projects are made from.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    pub language: Language,
    kinds: &'static [Kind],
    /// The name of the example, and of its folder.
    example: &'static str,
    /// For a person.
    pub title: &'static str,
    /// The file that is to be changed.
    pub source: &'static str,
    pub build: &'static str,
    pub test: &'static str,
    /// The module that is built.
    pub module: &'static str,
}

const BYTES: &[Kind] = &[Kind::Stream, Kind::Datagram];

/// In their texts NAME is the project's.
const TEMPLATES: &[Template] = &[
    rust("hello", &[Kind::Stream]),
    rust("echo", &[Kind::Datagram]),
    rust("http-hello", &[Kind::Http]),
    with_make(Language::Go, BYTES, "hello-go", "Go", "main.go"),
    with_make(Language::C, BYTES, "hello-c", "C", "NAME.c"),
    with_make(Language::Cpp, BYTES, "hello-cpp", "C++", "NAME.cpp"),
    with_make(Language::Zig, BYTES, "hello-zig", "Zig", "NAME.zig"),
    with_make(Language::Js, &[Kind::Http], "http-javascript", "JavaScript", "app.js"),
    with_make(Language::Ts, &[Kind::Http], "http-typescript", "TypeScript", "app.ts"),
    with_make(Language::Python, &[Kind::Http], "http-python", "Python", "app.py"),
    with_make(
        Language::Assemblyscript,
        BYTES,
        "hello-assemblyscript",
        "AssemblyScript",
        "NAME.ts",
    ),
];

const fn rust(example: &'static str, kinds: &'static [Kind]) -> Template {
    Template {
        language: Language::Rust,
        kinds,
        example,
        title: "Rust",
        source: "src/main.rs",
        build: "cargo build --release --target wasm32-wasip2",
        test: "cargo test",
        module: "target/wasm32-wasip2/release/NAME.wasm",
    }
}

const fn with_make(
    language: Language,
    kinds: &'static [Kind],
    example: &'static str,
    title: &'static str,
    source: &'static str,
) -> Template {
    Template {
        language,
        kinds,
        example,
        title,
        source,
        build: "make",
        test: "make test",
        module: "build/NAME.wasm",
    }
}

/// What a language's guests are for, if nothing else is said.
pub fn default_kind(language: Language) -> Kind {
    match Template::find(language, Kind::Stream) {
        Ok(_) => Kind::Stream,
        Err(_) => Kind::Http,
    }
}

impl Template {
    /// # Errors
    /// When there is none; which there are instead.
    pub fn find(language: Language, kind: Kind) -> Result<&'static Self, String> {
        let mut templates = TEMPLATES.iter();
        let found = templates.find(|template| template.language == language && template.kinds.contains(&kind));
        found.ok_or_else(|| {
            let name = |language: Language| format!("{language:?}").to_lowercase();
            let others = TEMPLATES.iter().filter(|template| template.kinds.contains(&kind));
            let others: Vec<String> = others.map(|template| name(template.language)).collect();
            let why = match kind {
                Kind::Http => "its toolchain makes core modules (WASI 0.1), which answer no HTTP",
                Kind::Stream | Kind::Datagram => "its toolchain is for components that answer HTTP",
            };
            let (language, kind) = (name(language), format!("{kind:?}").to_lowercase());
            format!(
                "--lang {language} --kind {kind}: {why} (--kind {kind} goes with {})",
                others.join(", ")
            )
        })
    }

    /// The files of a project of this name.
    pub fn files(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let examples = EXAMPLES.iter().find(|(example, _)| *example == self.example);
        let files = examples.map(|(_, files)| *files).unwrap_or_default();
        let renamed = files.iter().map(|(path, content)| {
            let path = self.renamed(path, name);
            // It names packages of the toolchain, and the project once.
            let is_lock = path == "package-lock.json";
            let content = match std::str::from_utf8(content) {
                Ok(text) if is_lock => renamed_lock(text, name).into_bytes(),
                Ok(text) => self.renamed(text, name).into_bytes(),
                Err(_) => content.to_vec(),
            };
            (path.into(), content)
        });
        renamed.collect()
    }

    /// `text` with the project's name for that of the example.
    fn renamed(&self, text: &str, name: &str) -> String {
        let example = self.example;
        if self.language == Language::Rust {
            // The word alone may be another one.
            let package = text.replace(&format!("name = {example:?}"), &format!("name = {name:?}"));
            return package.replace(
                &format!("CARGO_BIN_EXE_{example}\""),
                &format!("CARGO_BIN_EXE_{name}\""),
            );
        }
        let mut text = text.replace(example, name);
        if let Some(extension) = self.source.strip_prefix("NAME.") {
            text = text.replace(&format!("hello.{extension}"), &format!("{name}.{extension}"));
        }
        text
    }
}

/// npm's lock file, with the project's name in its second line.
fn renamed_lock(text: &str, name: &str) -> String {
    let renamed = text.lines().map(|line| match line.starts_with("  \"name\": ") {
        true => format!("  \"name\": {name:?},\n"),
        false => format!("{line}\n"),
    });
    renamed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_that_has_only_http_needs_no_kind() {
        for (language, kind) in [
            (Language::Rust, Kind::Stream),
            (Language::Go, Kind::Stream),
            (Language::Js, Kind::Http),
            (Language::Python, Kind::Http),
        ] {
            assert_eq!(default_kind(language), kind);
        }
    }

    #[test]
    fn every_template_is_an_example_and_nothing_of_its_name_is_left() {
        for template in TEMPLATES {
            let files = template.files("knock");
            assert!(!files.is_empty(), "{}", template.example);
            let source = template.source.replace("NAME", "knock");
            assert!(files.iter().any(|(path, _)| path.as_os_str() == &*source), "{source}");
            for (path, content) in files {
                let text = String::from_utf8(content).unwrap();
                assert!(
                    !text.contains("../"),
                    "{}: a path that holds in this repository only",
                    path.display()
                );
                if template.language != Language::Rust {
                    assert!(!text.contains(template.example), "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn rusts_package_has_the_new_name_in_all_places() {
        let template = Template::find(Language::Rust, Kind::Stream).unwrap();
        let files = template.files("knock");
        let text = |name: &str| {
            let (_, content) = files.iter().find(|(path, _)| path.as_os_str() == name).unwrap();
            String::from_utf8(content.clone()).unwrap()
        };
        assert!(text("Cargo.toml").contains("name = \"knock\""));
        assert!(text("Cargo.lock").contains("name = \"knock\""));
        assert!(text("tests/greets.rs").contains("CARGO_BIN_EXE_knock\""));
    }

    #[test]
    fn what_no_toolchain_can_do_is_refused_with_what_is_possible() {
        let why = Template::find(Language::Go, Kind::Http).unwrap_err();
        assert!(why.contains("goes with rust, js, ts, python"), "{why}");
        let why = Template::find(Language::Python, Kind::Datagram).unwrap_err();
        assert!(why.contains("goes with rust, go, c, cpp, zig, assemblyscript"), "{why}");
    }
}
