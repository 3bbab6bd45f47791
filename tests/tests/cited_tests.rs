//! docs/security.md names the tests that show each promise, as `` `file`: `test`, `module::test`; `file`: `test` ``
//! in the last column of its tables. Each of them is there, in that file, and is run.
//!
//! Only a test that is written as such, or with `each_kind!`, counts: what another macro makes is not found, and
//! cannot be named.

use std::fs;
use std::path::{Path, PathBuf};

const TESTS: &str = env!("CARGO_MANIFEST_DIR");

/// The threats of the rows that name no test.
const WITHOUT_TESTS: [&str; 2] = [
    // Wasmtime's own tests show it.
    "Reads or writes the memory of the host or of another guest",
    // It is out of scope, as the row says.
    "Fills the disk with files",
];

/// A row of a table of promises.
struct Row<'a> {
    wanted: &'a str,
    shown_by: &'a str,
}

/// A test as the document names it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    file: &'a str,
    module: Option<&'a str>,
    test: &'a str,
}

/// The rows of all tables that have a column *Test*.
fn rows(document: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut is_inside = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", _, _, "Test", ""] => is_inside = true,
            ["", _, _, "---", ""] if is_inside => {}
            ["", wanted, _, shown_by, ""] if is_inside => rows.push(Row { wanted, shown_by }),
            [""] => is_inside = false,
            _ => assert!(!is_inside, "a row of other than three cells: {line}"),
        }
    }
    rows
}

/// The tests that a cell names, or the part of it that is not understood.
fn named(shown_by: &str) -> Result<Vec<Named<'_>>, &str> {
    let mut all = Vec::new();
    for group in shown_by.split("; ") {
        let (file, names) = group.split_once(": ").ok_or(group)?;
        let file = unquoted(file).ok_or(group)?;
        for name in names.split(", ") {
            let name = unquoted(name).ok_or(group)?;
            let (module, test) = match name.split_once("::") {
                Some((module, test)) => (Some(module), test),
                None => (None, name),
            };
            all.push(Named { file, module, test });
        }
    }
    Ok(all)
}

/// What is between backquotes, if that is a name.
fn unquoted(text: &str) -> Option<&str> {
    let name = text.strip_prefix('`')?.strip_suffix('`')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    (!name.is_empty() && name.chars().all(fits)).then_some(name)
}

impl Named<'_> {
    /// Why this is no test that is run; `None`: it is one.
    fn fault(&self) -> Option<String> {
        let Some((folder, main)) = crate_of(self.file) else {
            return Some(format!("there is no test crate {}", self.file));
        };
        let Some(module) = self.module else {
            return fault_in(&main, self.test);
        };
        if !main.contains(&format!("\nmod {module};\n")) {
            return Some(format!("{} has no module {module}", self.file));
        }
        let source = fs::read_to_string(folder.join(format!("{module}.rs")));
        fault_in(&source.unwrap_or_default(), self.test)
    }
}

/// The folder of a test crate's modules, and the source of its root: where cargo finds test crates.
fn crate_of(name: &str) -> Option<(PathBuf, String)> {
    ["tests", "../host/tests"].iter().find_map(|folder| {
        let folder = Path::new(TESTS).join(folder).join(name);
        let root = [folder.with_extension("rs"), folder.join("main.rs")]
            .into_iter()
            .find_map(|path| fs::read_to_string(path).ok())?;
        Some((folder, root))
    })
}

/// Why this source has no such test that is run; `None`: it has one.
fn fault_in(source: &str, test: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let functions = [format!("fn {test}() "), format!("fn {test}(kind: Kind) ")];
    let is_function = |line: &str| functions.iter().any(|start| line.starts_with(start));
    let Some(at) = lines.iter().position(|line| is_function(line)) else {
        return Some("there is no such function".into());
    };
    let mut attributes = Vec::new();
    for line in lines[..at].iter().rev().take_while(|line| !line.is_empty()) {
        if !line.starts_with("//") {
            attributes.push(*line);
        }
    }
    let of_each_kind = ["BOTH", "HTTP", "ALL"].map(|kinds| format!("each_kind! {{ {kinds}: {test} }}"));
    // `#[ignore]`, `#[cfg(...)]` and `#[should_panic]` would each make it show less, or nothing.
    let is_run = match attributes[..] {
        ["#[test]"] => true,
        [one] => of_each_kind.iter().any(|each| each == one),
        _ => false,
    };
    (!is_run).then(|| format!("above it is {attributes:?}, not only #[test] or each_kind!"))
}

#[test]
fn every_test_that_the_threat_model_names_is_there_and_is_run() {
    let document = Path::new(TESTS).join("../docs/security.md");
    let document = fs::read_to_string(document).expect("read the threat model");
    let (mut without, mut faults, mut count) = (Vec::new(), Vec::new(), 0);
    for Row { wanted, shown_by } in rows(&document) {
        if !shown_by.contains('`') {
            without.push(wanted);
            continue;
        }
        match named(shown_by) {
            Err(part) => faults.push(format!("{wanted}: this names no tests: {part}")),
            Ok(tests) => {
                count += tests.len();
                let faulty = tests.iter().filter_map(|test| Some((test, test.fault()?)));
                faults.extend(faulty.map(|(test, fault)| format!("{wanted}: {test:?}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(without, WITHOUT_TESTS);
    // Of three tables.
    assert!(count > 70, "only {count} tests");
}

#[test]
fn a_test_that_is_missing_or_not_run_is_noticed() {
    let source = "//! Tests.\n\n\
        /// It is.\n#[test]\nfn run() {\n}\n\n\
        #[test]\n#[ignore = \"it takes long\"]\nfn ignored() {\n}\n\n\
        #[cfg(windows)]\n#[test]\nfn elsewhere() {\n}\n\n\
        each_kind! { HTTP: of_kinds }\n/// It is.\nfn of_kinds(kind: Kind) {\n}\n\n\
        fn of_no_kind(kind: Kind) {\n}\n\n\
        fn helper() {\n}\n\n\
        // fn gone() {\n";
    assert_eq!(fault_in(source, "run"), None);
    assert_eq!(fault_in(source, "of_kinds"), None);
    for test in ["of_no_kind", "ignored", "elsewhere", "helper", "gone", "ru"] {
        assert!(fault_in(source, test).is_some(), "{test}");
    }
}

#[test]
fn tests_are_read_as_the_threat_model_names_them() {
    let document = "| a | b |\n|---|---|\n| no | `row` |\n\n\
        | Threat | Mitigation | Test |\n|---|---|---|\n\
        | x | y | `one`: `first_test`, `more::second`; `two`: `third` |\n\nText.\n";
    let rows = rows(document);
    assert_eq!((rows.len(), rows[0].wanted), (1, "x"));
    let test = |file, module, test| Named { file, module, test };
    let expected = [
        test("one", None, "first_test"),
        test("one", Some("more"), "second"),
        test("two", None, "third"),
    ];
    assert_eq!(named(rows[0].shown_by).unwrap(), expected);
    for text in ["`test`", "`file`: test", "`a`: `b` and `c`", "`a`: `b`, see c"] {
        assert!(named(text).is_err(), "{text}");
    }
    let elsewhere = test("hostile", None, "every_way_into_the_network_is_refused");
    assert!(elsewhere.fault().is_some(), "it is in a module");
    assert!(test("escapes", None, "any").fault().is_some());
}
