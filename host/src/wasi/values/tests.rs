use super::*;
use std::fs;

fn config(values: &[(&str, ConfigValue)]) -> HandlerConfig {
    HandlerConfig {
        config: values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
        ..HandlerConfig::default()
    }
}

fn read(path: &Path) -> Result<String, String> {
    text(path)
        .map(|text| text.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn one_newline_at_the_end_is_left_out_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    for (content, value) in [
        ("", ""),
        ("\n", ""),
        ("a", "a"),
        ("a\n", "a"),
        (" a\n\n", " a\n"),
        ("a\nb\n", "a\nb"),
    ] {
        fs::write(&file, content).unwrap();
        assert_eq!(read(&file), Ok(value.to_owned()), "{content:?}");
    }
    let large = "x".repeat(MOST);
    fs::write(&file, &large).unwrap();
    assert_eq!(read(&file), Ok(large));
    // It has no size.
    assert!(read(Path::new("/proc/sys/kernel/ostype")).is_ok_and(|text| text == "Linux"));
}

#[test]
fn what_is_no_text_or_no_file_is_refused_and_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("latin1"), b"caf\xe9").unwrap();
    fs::write(at("large"), "x".repeat(MOST + 1)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(read(&at("latin1")), Err("it is not UTF-8".to_owned()));
    assert_eq!(read(&at("large")), Err("it has more than 1 MiB".to_owned()));
    assert_eq!(read(&at("fifo")), Err("it is no regular file".to_owned()));
    assert_eq!(read(folder.path()), Err("it is no regular file".to_owned()));
}

#[test]
fn a_file_is_read_once_and_one_that_is_missing_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("motd");
    let config = config(&[
        ("motd", ConfigValue::File(file.clone())),
        ("a", ConfigValue::Text("b".into())),
    ]);
    let values = Values::default();
    let get = |key| {
        values
            .get("hello", &config, key)
            .map(|value| value.as_deref().map(str::to_owned))
    };
    assert_eq!(get("a").unwrap().as_deref(), Some("b"));
    assert_eq!(get("c").unwrap(), None);
    let why = get("motd").unwrap_err().to_string();
    assert!(
        why.starts_with("config: motd: cannot read ") && why.contains("No such file"),
        "{why}"
    );
    assert!(values.all(&config).is_err());
    fs::write(&file, "one\n").unwrap();
    assert_eq!(get("motd").unwrap().as_deref(), Some("one"));
    fs::write(&file, "two\n").unwrap();
    assert_eq!(get("motd").unwrap().as_deref(), Some("one"));
    let all: Vec<_> = values.all(&config).unwrap();
    assert_eq!(all, [("motd".to_owned(), "one".into()), ("a".to_owned(), "b".into())]);
}

#[test]
fn a_secret_without_a_credential_is_told_with_where_to_put_it() {
    let config = HandlerConfig {
        secrets: vec!["token".into()],
        ..HandlerConfig::default()
    };
    let values = Values::default();
    let why = values.get("hello", &config, "token").unwrap_err().to_string();
    assert!(
        why.contains("no credential hello.token (put it into /etc/credstore/hello.token"),
        "{why}"
    );
    assert!(values.get("hello", &config, "other").unwrap().is_none());
    assert_eq!(values.all(&config).unwrap(), []);
}
