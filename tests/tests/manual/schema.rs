//! The JSON schemas: what they accept and refuse, compared with the configuration's own parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::run;
use serde_json::Value;
use tempfile::TempDir;

const MAIN: &str = "wasm-sock.schema.json";
const DROP_IN: &str = "handler.schema.json";

/// The schemas, and files of TOML beside them.
struct Schemas(TempDir);

impl Schemas {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = run(&["json-schemas", folder.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", super::said(&output));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The mistakes that the validator finds in these files, by their names.
    fn mistakes(&self, schema: &str, files: &[PathBuf]) -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = root.join("build/venv/kubernetes/bin/python3");
        let mut mistakes = Vec::new();
        for files in files.chunks(500) {
            let mut command = Command::new(&python);
            command
                .arg(root.join("tests/tests/manual/validate.py"))
                .arg(self.path(schema))
                .args(files);
            let output = command
                .output()
                .unwrap_or_else(|error| panic!("{}: {error} (make build/venv/kubernetes/ready)", python.display()));
            assert!(output.status.success(), "{}", super::said(&output));
            let text = String::from_utf8(output.stdout).unwrap();
            let pairs = text.lines().filter_map(|line| line.split_once('\t'));
            mistakes.extend(pairs.map(|(file, mistake)| {
                let name = Path::new(file).file_name().unwrap().to_str().unwrap();
                (name.to_owned(), mistake.to_owned())
            }));
        }
        mistakes
    }

    /// The same for one text.
    fn mistake(&self, schema: &str, toml: &str) -> Option<String> {
        let path = self.path("one.toml");
        fs::write(&path, toml).unwrap();
        let mistakes = self.mistakes(schema, &[path]);
        mistakes.into_iter().next().map(|(_, mistake)| mistake)
    }
}

/// The settings in the documents of the repository: files, blocks of TOML, and files that their commands write.
fn settings_of_the_repository() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/how-to",
        "docs/replace",
        "guests",
        "units",
        "units/examples",
    ] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => found.push((name, fs::read_to_string(&path).unwrap())),
                Some("md") => {
                    let text = fs::read_to_string(&path).unwrap();
                    let blocks = text.split("```toml\n").skip(1);
                    found.extend(blocks.map(|rest| (name.clone(), before(rest, "```"))));
                    let files = text.split(".toml <<'EO").skip(1);
                    found.extend(files.map(|rest| (name.clone(), before(&rest[3..], "\nEO"))));
                }
                _ => {}
            }
        }
    }
    let is_ours = |text: &str| {
        text.lines()
            .any(|line| line.starts_with("[host]") || line.starts_with("[handler."))
    };
    found.retain(|(_, text)| is_ours(text));
    found
}

fn before(text: &str, end: &str) -> String {
    text.split_once(end).map_or(text, |(text, _)| text).to_owned()
}

#[test]
fn all_settings_in_the_repository_are_valid() {
    let schemas = Schemas::new();
    let found = settings_of_the_repository();
    let places: BTreeSet<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert!(
        places.contains("units/handler.toml") && places.contains("docs/settings.md"),
        "{places:?}"
    );
    assert!(found.len() >= 10, "{}: {places:?}", found.len());
    for (place, text) in &found {
        assert_eq!(schemas.mistake(MAIN, text), None, "{place}:\n{text}");
        if !text.contains("[host]") {
            assert_eq!(schemas.mistake(DROP_IN, text), None, "{place}:\n{text}");
        }
    }
}

#[test]
fn wrong_keys_and_values_are_refused() {
    let schemas = Schemas::new();
    for (toml, word) in [
        ("[hots]", "'hots'"),
        ("[host]\nidle-timeut = '1s'", "'idle-timeut'"),
        ("[host]\nidle-timeout = 'soon'", "'soon'"),
        ("[host]\nreload = 'now'", "'now'"),
        ("[host]\nstack = 1", "1"),
        ("[host]\nmodules = 'modules'", "'modules'"),
        ("[defaults]\nmemory = '64 bananas'", "bananas"),
        ("[defaults]\ntimeout = 0", "0"),
        ("[defaults]\ntimeout = '0s'", "'0s'"),
        ("[defaults]\nmax-connections = 'infinity'", "'infinity'"),
        ("[defaults]\nlisten = '70'", "'listen'"),
        ("[handler.'a/b']", "'a/b'"),
        ("[handler.'..']", "'..'"),
        ("[handler.a]\nmemroy = '1MiB'", "'memroy'"),
        ("[handler.a]\nlisten = 7000", "7000"),
        ("[handler.a]\nargs = '--x'", "'--x'"),
        ("[handler.a]\nenv = { PORT = 80 }", "80"),
        ("[handler.a]\ndirs = [{ host = '/srv' }]", "'guest'"),
        ("[handler.a]\ndirs = [{ host = 'srv', guest = '/x' }]", "'srv'"),
        (
            "[handler.a]\ndirs = [{ host = '/srv', guest = '/x', access = 'rw' }]",
            "'rw'",
        ),
        ("[handler.a]\nkeyvalue = { default = 'memory' }", "'memory'"),
        ("[handler.a]\nkeyvalue = { default = { expire = '1h' } }", "expire"),
        ("[handler.a]\nsecrets = ['a.b']", "'a.b'"),
        ("[handler.a]\ntls-key = '/k'", "'tls-certificate'"),
        ("[handler.a]\nsocket = { mode = '0888' }", "'0888'"),
        ("[handler.a]\nprocess = 'mine'", "'mine'"),
        ("[handler.a]\nenabled = 'no'", "'no'"),
    ] {
        let mistake = schemas.mistake(MAIN, toml);
        assert!(
            mistake.as_ref().is_some_and(|mistake| mistake.contains(word)),
            "{toml}: {mistake:?}"
        );
    }
    let mistake = schemas.mistake(DROP_IN, "[host]\nidle-timeout = 1");
    assert!(
        mistake.is_some_and(|mistake| mistake.contains("'host'")),
        "in the file of a handler"
    );
}

/// Taplo is what editors use.
#[test]
fn taplo_reads_the_schema_that_the_first_line_names() {
    let schemas = Schemas::new();
    let taplo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/venv/schemas/bin/taplo");
    let lint = |text: &str| {
        let file = schemas.path("one.toml");
        let schema = schemas.path(DROP_IN);
        fs::write(&file, format!("#:schema {}\n{text}", schema.display())).unwrap();
        let output = Command::new(&taplo).arg("lint").arg(&file).output();
        let output =
            output.unwrap_or_else(|error| panic!("{}: {error} (make build/venv/schemas/ready)", taplo.display()));
        (output.status.success(), super::said(&output))
    };
    let (valid, said) = lint("[handler.a]\nlisten = ['70', 'udp:70']\nkeyvalue = { default = 'embedded' }\n");
    assert!(valid, "{said}");
    let (valid, said) = lint("[handler.a]\nmemroy = '64MiB'\n");
    assert!(!valid && said.contains("'memroy' was unexpected"), "{said}");
}

/// Values of all types, in TOML.
const VALUES: [&str; 44] = [
    "true",
    "0",
    "1",
    "8191",
    "0o660",
    "65536",
    "99999999",
    "4294967296",
    "-1",
    "1.5",
    "''",
    "'x'",
    "'/x'",
    "'/x y'",
    "'..'",
    "'infinity'",
    "'0'",
    "'0s'",
    "'30s'",
    "'1min 30s'",
    "'1 h 3m'",
    "'5 usec'",
    "'1h30m'",
    "'s'",
    "'1s1'",
    "'64MiB'",
    "'8K'",
    "'1 GiB'",
    "'1kb'",
    "'0660'",
    "'7000'",
    "'udp:53'",
    "'example.org:443'",
    "'https://a.example/*'",
    "'embedded'",
    "'redis://h'",
    "'all'",
    "'daily'",
    "['x']",
    "['/x']",
    "[]",
    "{}",
    "{ x = 'y' }",
    "1979-05-27",
];

/// Each value for each key: a schema that refuses what is right would mark it in an editor.
#[test]
fn what_a_schema_refuses_the_parser_refuses() {
    let schemas = Schemas::new();
    let schema = schemas.read(MAIN);
    let keys = |table: &Value| {
        table["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let handler = &schema["properties"]["handler"]["additionalProperties"];
    let sub = |key: &str| keys(&handler["properties"][key]);
    let stores = handler["properties"]["keyvalue"]["additionalProperties"]["anyOf"][1].clone();
    let mut lines = Vec::new();
    for value in VALUES {
        lines.extend(keys(handler).iter().map(|key| format!("{key} = {value}")));
        lines.extend(sub("outbound").iter().map(|key| format!("outbound.{key} = {value}")));
        lines.extend(
            sub("socket")
                .iter()
                .map(|key| format!("socket.{key} = {value}\nlisten = 'unix:/s'")),
        );
        lines.extend(keys(&stores).iter().map(|key| format!("keyvalue.s.{key} = {value}")));
        lines.push(format!("config = {{ motd = {value} }}"));
        lines.push(format!("dirs = [{{ host = {value}, guest = '/x' }}]"));
        lines.push(format!("dirs = [{{ host = '/x', guest = {value} }}]"));
    }
    let folder = tempfile::tempdir().unwrap();
    let drop_ins = folder.path().join("handlers.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(folder.path().join("wasm-sock.toml"), "").unwrap();
    let files: Vec<PathBuf> = (0..lines.len())
        .map(|index| drop_ins.join(format!("h{index}.toml")))
        .collect();
    for (index, (file, line)) in files.iter().zip(&lines).enumerate() {
        fs::write(file, format!("[handler.h{index}]\n{line}\n")).unwrap();
    }
    let refused: BTreeSet<String> = schemas
        .mistakes(DROP_IN, &files)
        .into_iter()
        .map(|(file, _)| file)
        .collect();
    let config = folder.path().join("wasm-sock.toml");
    let check = run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(78), "{}", super::said(&check));
    let said = super::said(&check);
    let is_wrong =
        |index: usize| said.contains(&format!("/h{index}.toml:2:")) || said.contains(&format!("/h{index}.toml:1:"));
    let (mut both, mut neither) = (0, 0);
    for (index, line) in lines.iter().enumerate() {
        match (refused.contains(&format!("h{index}.toml")), is_wrong(index)) {
            (true, true) => both += 1,
            (false, false) => neither += 1,
            (false, true) => {}
            (true, false) => panic!("the schema refuses what is right: {line}"),
        }
    }
    let most = lines.len();
    assert!(
        both > most / 2 && both + neither > most * 9 / 10,
        "{both} and {neither} of {most}"
    );
}
