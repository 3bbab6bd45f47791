//! Every command that a guide tells its reader to type is typed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::systemctl::{checkout, install};

/// Runs the ```sh blocks of a guide, one after the other in one shell, in `folder`. What is in other
/// blocks (```text, ```console) is for reading.
#[track_caller]
pub fn follow(guide: &str, folder: &Path) {
    follow_with(guide, folder, &[]);
}

/// The same, with the programs in these folders of the repository.
#[track_caller]
pub fn follow_with(guide: &str, folder: &Path, programs: &[&str]) {
    let text = fs::read_to_string(checkout().join(guide)).expect("read the guide");
    let script = shell_blocks(&text);
    assert!(!script.is_empty(), "{guide} has no ```sh block");
    let mut shell = Command::new("bash");
    shell
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(folder)
        // As a reader has it, not as cargo has made it for the tests.
        .env_clear();
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = env::var_os(name) {
            shell.env(name, value);
        }
    }
    let mut path: Vec<_> = programs.iter().map(|folder| checkout().join(folder)).collect();
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    shell.env("PATH", env::join_paths(path).expect("folders without a colon"));
    let start = Instant::now();
    let result = shell.output().expect("run bash");
    eprintln!("{guide}: {:.1?}", start.elapsed());
    let (printed, said) = (
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(&result.stderr),
    );
    assert!(
        result.status.success(),
        "{guide}: a command fails ({}):\n{said}\nprinted:\n{printed}",
        result.status
    );
}

/// The contents of all ```sh blocks.
fn shell_blocks(text: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim_end() {
            "```sh" => inside = true,
            fence if fence.starts_with("```") => inside = false,
            _ if inside => {
                script += line;
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// Pages with tests of their own, which make networks: in a box that has none.
const ELSEWHERE: [&str; 2] = ["docs/scale-out.md", "docs/how-to/containers.md"];

/// The other pages of the book that have commands, as `docs/SUMMARY.md` lists them.
fn pages() -> Vec<String> {
    let summary = fs::read_to_string(checkout().join("docs/SUMMARY.md")).expect("read the table of contents");
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let pages = links
        .filter(|(page, _)| !page.starts_with("../"))
        .map(|(page, _)| format!("docs/{page}"));
    let has_commands = |page: &String| {
        let text = fs::read_to_string(checkout().join(page)).expect("read a page");
        !shell_blocks(&text).is_empty()
    };
    pages
        .filter(|page| !ELSEWHERE.contains(&page.as_str()))
        .filter(has_commands)
        .collect()
}

#[test]
fn every_command_of_the_guides_works() {
    install();
    let _ports = crate::ports();
    let elsewhere = tempfile::tempdir().unwrap();
    follow("guests/README.md", elsewhere.path());
    follow("README.md", &checkout());
    let pages = pages();
    assert!(pages.len() >= 18, "{pages:?}");
    for page in pages {
        follow(&page, elsewhere.path());
    }
}

#[test]
fn only_shell_blocks_are_commands() {
    let text = "a\n```sh\none\n```\n```text\nno\n```\n```console\n$ no\n```\n```sh\ntwo\n```\n";
    assert_eq!(shell_blocks(text), "one\ntwo\n");
}
