//! The manual pages and the schemas of the configuration, as `make` writes them and packages contain them. mandoc,
//! groff and man-db read the pages; a validator from PyPI reads the schemas (`jsonschema`, see tools/kubernetes.txt).

mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::run;
use tempfile::TempDir;

/// The pages by the names of their files, in a folder.
fn pages() -> (TempDir, BTreeMap<String, String>) {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["man", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let pages = fs::read_dir(&folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).expect("a page is text");
        (entry.file_name().into_string().unwrap(), text)
    });
    let pages = pages.collect();
    (folder, pages)
}

fn said(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a program of `tools/setup tests` says of each page.
fn each_page(program: &str, arguments: &[&str]) -> Vec<(String, Output)> {
    let (folder, pages) = pages();
    let of_page = |name: String| {
        let mut command = Command::new(program);
        command.args(arguments).arg(&name).current_dir(&folder);
        let output = command.output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error} (tools/setup tests)"));
        (name, output)
    };
    pages.into_keys().map(of_page).collect()
}

/// The commands that `wasm-sock help` lists.
fn commands() -> Vec<String> {
    let help = said(&run(&["help"]));
    let (_, commands) = help.split_once("Commands:\n").expect("the commands");
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    names.collect()
}

#[test]
fn each_command_has_a_page_with_all_of_its_options_and_examples() {
    let (_folder, pages) = pages();
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for command in &commands {
        let page = &pages[&format!("wasm-sock-{command}.1")];
        let help = said(&run(&[command.as_str(), "--help"]));
        let options = help.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
        for option in options.filter(|word| word.starts_with("--") && word.len() > 2) {
            let escaped = option.replace('-', "\\-");
            assert!(page.contains(&escaped), "{command}: {option} is not in: {page}");
        }
        if let Some((_, examples)) = help.split_once("Examples:\n") {
            assert!(page.contains(".SH EXAMPLES"), "{page}");
            let lines = examples.lines().filter(|line| !line.trim().is_empty());
            assert!(page.matches("\nwasm\\-sock").count() + 2 >= lines.count(), "{page}");
        }
        assert!(pages["wasm-sock.1"].contains(&format!("wasm\\-sock\\-{}(1)", command.replace('-', "\\-"))));
    }
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command-line.md")).unwrap();
    for command in &commands {
        assert!(
            guide.contains(&format!("`wasm-sock {command}")) || guide.contains(&format!("`{command} ")),
            "{command}"
        );
    }
    for page in ["wasm-sock.1", "wasm-sock.toml.5", "wasm-sock.7"] {
        assert!(pages.contains_key(page), "{page}");
    }
    assert!(!pages.contains_key("wasm-sock-activate.1"), "the hidden verb");
}

#[test]
fn mandoc_has_no_warning_about_the_pages() {
    for (page, output) in each_page("mandoc", &["-T", "lint", "-W", "warning"]) {
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{page}: {}",
            said(&output)
        );
    }
}

#[test]
fn groff_has_no_warning_about_the_pages() {
    for (page, output) in each_page("groff", &["-man", "-Tutf8", "-ww", "-z"]) {
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{page}: {}",
            said(&output)
        );
    }
}

/// `apropos` and `whatis` know a page by this line.
#[test]
fn man_db_finds_the_name_of_each_page() {
    for (page, output) in each_page("lexgrog", &[]) {
        let name = page.rsplit_once('.').unwrap().0;
        let line = said(&output);
        assert!(
            output.status.success() && line.contains(&format!("\"{name} - ")),
            "{page}: {line}"
        );
    }
}

#[test]
fn a_reader_sees_the_examples_line_by_line() {
    let (folder, _) = pages();
    let mut man = Command::new("man");
    man.args(["-l", "./wasm-sock-exec.1"])
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C");
    let text = said(&man.current_dir(&folder).output().expect("run man"));
    assert!(
        text.contains("\n           echo Ada | wasm-sock exec hello\n"),
        "{text}"
    );
    assert!(
        text.contains("\nSEE ALSO\n       wasm-sock(1), wasm-sock.toml(5), wasm-sock(7)\n"),
        "{text}"
    );
}

#[test]
fn the_same_source_makes_the_same_pages_with_the_date_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str, seconds: &str| {
        let folder = folder.path().join(name);
        let mut command = Command::new(harness::wasm_sock());
        command.arg("man").arg(&folder).env("SOURCE_DATE_EPOCH", seconds);
        (
            command.output().unwrap(),
            fs::read_to_string(folder.join("wasm-sock.1")),
        )
    };
    let first = page("first", "1700000000").1.unwrap();
    assert!(first.starts_with(".TH WASM-SOCK 1 2023-11-14 "), "{first}");
    assert_eq!(first, page("second", "1700003600").1.unwrap());
    let (output, _) = page("third", "yesterday");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("$SOURCE_DATE_EPOCH: \"yesterday\""),
        "{}",
        said(&output)
    );
}
