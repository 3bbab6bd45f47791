use super::*;
use crate::config::{Config, Environment};
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A folder with these empty files, and a handler `it` with these settings.
fn needs(files: &[&str], settings: &str) -> (TempDir, Needs) {
    let dir = tempfile::tempdir().unwrap();
    let modules = dir.path().join("modules");
    fs::create_dir(&modules).unwrap();
    for file in files {
        fs::write(modules.join(file), "").unwrap();
    }
    let needs = of(&modules, settings);
    (dir, needs)
}

fn of(modules: &Path, settings: &str) -> Needs {
    let file = modules.with_file_name("wasm-sock.toml");
    let text = format!("[host]\nmodules = {modules:?}\n[handler.it]\n{settings}\n");
    fs::write(&file, text).unwrap();
    let environment = Environment {
        user_manager: false,
        variable: &|_| None,
    };
    let config = Config::load(Some(&file), &environment).unwrap();
    let settings = config.handler("it");
    let mut needs = Needs::default();
    let path = |extension| match &settings.module {
        Some(module) => module.with_extension(extension),
        None => modules.join("it").with_extension(extension),
    };
    crate::wasi::add_needs("it", &settings, &mut needs);
    needs.add_module(&path("cwasm"), &path("wasm"));
    needs
}

#[test]
fn a_handler_without_grants_needs_its_modules_only() {
    let (dir, needs) = needs(&["it.cwasm"], "");
    let expected = Needs {
        paths: BTreeMap::from([(dir.path().join("modules"), Use::Read)]),
        ..Needs::default()
    };
    assert_eq!(needs, expected);
}

#[test]
fn directories_are_granted_as_they_are_configured() {
    let dirs =
        r#"dirs = [{ host = "/srv/a", guest = "/a" }, { host = "/srv/b", guest = "/b", access = "read-write" }]"#;
    let (_dir, needs) = needs(&["it.cwasm"], dirs);
    assert_eq!(needs.paths[Path::new("/srv/a")], Use::List);
    assert_eq!(needs.paths[Path::new("/srv/b")], Use::Write);
}

#[test]
fn a_directory_that_is_granted_twice_has_the_wider_access() {
    let dirs = r#"dirs = [{ host = "/srv", guest = "/a", access = "read-write" }, { host = "/srv", guest = "/b" }]"#;
    let (_dir, needs) = needs(&["it.cwasm"], dirs);
    assert_eq!(needs.paths[Path::new("/srv")], Use::Write);
}

#[test]
fn a_guest_that_may_connect_takes_no_port_no_file_and_no_other_right_than_to_reach_out() {
    for granted in [
        "192.0.2.7:5432",
        "example.org:1-65535",
        "udp:192.0.2.7:53",
        "https://example.org/",
    ] {
        let (_dir, plain) = needs(&["it.cwasm"], "");
        let (_other, needs) = needs(&["it.cwasm"], &format!("allow-outbound = [{granted:?}]"));
        assert!(needs.reaches_out && !plain.reaches_out, "{granted}");
        assert_eq!(needs.paths.len(), plain.paths.len(), "{granted}");
    }
}

#[test]
fn only_a_module_that_is_an_artifact_and_nothing_else_is_never_compiled() {
    for (files, compiles) in [
        (&["it.cwasm"][..], false),
        (&["it.wasm"], true),
        (&["it.wasm", "it.cwasm"], true),
        (&[], true),
    ] {
        let (_dir, needs) = needs(files, "");
        assert_eq!(needs.compiles, compiles, "{files:?}");
    }
}

#[test]
fn a_module_elsewhere_is_granted_with_its_folder_and_that_of_the_file_it_links_to() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    for folder in ["modules", "app", "builds"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    fs::write(dir.join("builds/1.cwasm"), "").unwrap();
    symlink("../builds/1.cwasm", dir.join("app/it.cwasm")).unwrap();
    let module = format!("module = {:?}", dir.join("app/it.cwasm"));
    let needs = of(&dir.join("modules"), &module);
    let expected = [dir.join("app"), dir.join("builds")];
    assert_eq!(needs.paths.into_keys().collect::<Vec<_>>(), expected);
    assert!(!needs.compiles);
}

#[test]
fn a_module_in_the_root_directory_does_not_grant_all_that_there_is() {
    let (_dir, needs) = needs(&[], "module = \"/no-such-module.wasm\"");
    assert!(!needs.paths.contains_key(Path::new("/")), "{needs:?}");
}

#[test]
fn what_is_narrower_is_there_already() {
    let mut wide = Needs::default();
    wide.add_path(Path::new("/srv/data"), Use::Write);
    wide.add_reaching_out();
    let mut narrow = Needs::default();
    narrow.add_path(Path::new("/srv/data"), Use::List);
    narrow.add_path(Path::new("/srv/data/a/b"), Use::Write);
    narrow.add_reaching_out();
    assert_eq!(wide.lacks(&narrow), None);
    assert_eq!(narrow.lacks(&narrow), None);
    assert_eq!(narrow.lacks(&Needs::default()), None);
}

#[test]
fn what_is_wider_is_named() {
    let lacks = |add: fn(&mut Needs)| {
        let mut granted = Needs::default();
        granted.add_path(Path::new("/srv/data"), Use::List);
        let mut needs = granted.clone();
        add(&mut needs);
        granted.lacks(&needs).expect("it is more")
    };
    let text = lacks(|needs| needs.add_path(Path::new("/srv/data"), Use::Write));
    assert_eq!(text, "to read, list and write /srv/data");
    let text = lacks(|needs| needs.add_path(Path::new("/srv/database"), Use::List));
    assert_eq!(text, "to read and list /srv/database");
    let text = lacks(|needs| needs.add_path(Path::new("/srv/data/../other"), Use::List));
    assert_eq!(text, "to read and list /srv/data/../other");
    assert_eq!(lacks(Needs::add_reaching_out), "to reach out (`allow-outbound`)");
    assert_eq!(lacks(|needs| needs.compiles = true), "to compile its module");
}
