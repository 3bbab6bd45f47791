//! docs/security.md names a test for each promise, and each of them is there.

use std::fs;
use std::path::Path;

const TESTS: &str = env!("CARGO_MANIFEST_DIR");

/// All that the tests are written in.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("read a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(path).expect("read a test");
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let document = Path::new(TESTS).join("../docs/security.md");
    let document = fs::read_to_string(document).expect("read the threat model");
    let mut tests = String::new();
    sources(Path::new(TESTS), &mut tests);
    sources(&Path::new(TESTS).join("../host/tests"), &mut tests);
    // What is quoted and has several words in it is a test; nothing else has.
    let quoted = document.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted
        .map(|name| name.rsplit("::").next().unwrap_or(name))
        .filter(|name| name.matches('_').count() > 2)
        .collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(
            tests.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
}
