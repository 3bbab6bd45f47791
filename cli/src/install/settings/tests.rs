use super::*;
use crate::install::arguments::ProcessName;

fn arguments(listen: &[&str]) -> Install {
    Install {
        listen: listen.iter().map(|address| (*address).to_owned()).collect(),
        ..Install::default()
    }
}

#[test]
fn a_new_file_has_a_header_and_what_was_given() {
    let arguments = Install {
        env: vec!["GREETING=hi = there".parse().unwrap()],
        dir: vec![
            "/srv/hello:/data:rw".parse().unwrap(),
            "/srv/a:b:/other".parse().unwrap(),
        ],
        set: vec![
            "memory=128MiB".parse().unwrap(),
            "max-connections=5".parse().unwrap(),
            "socket.mode=0600".parse().unwrap(),
        ],
        arg: vec!["--loud".to_owned()],
        process: Some(ProcessName::Shared),
        ..arguments(&["7000", "unix:/run/hello"])
    };
    let text = changed(None, "hello.v2", &arguments, None).unwrap();
    let expected = format!(
        "{HEADER}[handler.\"hello.v2\"]\n{}",
        r#"listen = ["7000", "unix:/run/hello"]
process = "shared"
args = ["--loud"]
env = { GREETING = "hi = there" }
dirs = [{ host = "/srv/hello", guest = "/data", access = "read-write" }, { host = "/srv/a:b", guest = "/other" }]
memory = "128MiB"
max-connections = 5
socket = { mode = "0600" }
"#
    );
    assert_eq!(text, expected);
    let again = changed(Some(&text), "hello.v2", &arguments, None).unwrap();
    assert_eq!(again, expected);
}

#[test]
fn an_update_changes_what_is_given_and_keeps_comments_and_order() {
    let former = "# Ask Ada before you change this.\n\n\
        [handler.hello] # ours\n\
        memory = \"1MiB\"   # it is small\n\
        listen = [\"7000\", \"7001\"]  # two\n\
        env = { A = \"1\", B = \"2\" }\n\
        \n\
        [[handler.hello.dirs]]\n\
        host = \"/srv/old\" # moved in May\n\
        guest = \"/data\"\n";
    let arguments = Install {
        env: vec!["B=3".parse().unwrap(), "C=4".parse().unwrap()],
        dir: vec!["/srv/new:/data".parse().unwrap(), "/srv/more:/more:ro".parse().unwrap()],
        ..arguments(&["7002", "7001"])
    };
    let expected = "# Ask Ada before you change this.\n\n\
        [handler.hello] # ours\n\
        memory = \"1MiB\"   # it is small\n\
        listen = [\"7001\", \"7002\"]  # two\n\
        env = { A = \"1\", B = \"3\", C = \"4\" }\n\
        \n\
        [[handler.hello.dirs]]\n\
        host = \"/srv/new\" # moved in May\n\
        guest = \"/data\"\n\
        \n\
        [[handler.hello.dirs]]\n\
        host = \"/srv/more\"\n\
        guest = \"/more\"\n\
        access = \"read-only\"\n";
    assert_eq!(changed(Some(former), "hello", &arguments, None).unwrap(), expected);
    assert_eq!(
        changed(Some(former), "hello", &Install::default(), None).unwrap(),
        former
    );
}

#[test]
fn a_file_that_is_no_handlers_file_is_an_error() {
    let error = |text: &str| changed(Some(text), "a", &arguments(&["1"]), None).unwrap_err();
    assert_eq!(error("= 3"), "it is not valid TOML");
    assert_eq!(error("handler = 3"), "\"handler\" is no table in it");
    assert_eq!(error("[handler]\na = 3"), "\"handler.a\" is no table in it");
}

#[test]
fn the_command_line_says_what_is_missing() {
    assert!("GREETING".parse::<Variable>().unwrap_err().contains("has no \"=\""));
    assert!("/srv".parse::<Directory>().unwrap_err().contains("two paths"));
    assert!("/srv:ro".parse::<Directory>().unwrap_err().contains("two paths"));
    assert!("memory".parse::<Setting>().unwrap_err().contains("has no \"=\""));
    assert!("a b=3".parse::<Setting>().unwrap_err().contains("is no key"));
}

#[test]
fn a_new_file_names_the_schema_that_is_installed_in_its_first_line() {
    let schema = Path::new("/usr/share/wasm-sock/handler.schema.json");
    let text = changed(None, "a", &arguments(&["1"]), Some(schema)).unwrap();
    assert!(
        text.starts_with("#:schema /usr/share/wasm-sock/handler.schema.json\n# Made by"),
        "{text}"
    );
    assert!(text.ends_with("[handler.a]\nlisten = [\"1\"]\n"), "{text}");
    assert_eq!(
        changed(Some(&text), "a", &Install::default(), Some(schema)).unwrap(),
        text
    );
    assert!(
        !changed(Some("[handler.a]"), "a", &Install::default(), Some(schema))
            .unwrap()
            .contains("#:schema")
    );
}
