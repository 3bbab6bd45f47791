//! Finding, reading and joining files, on a real file system.

use std::ffi::OsString;
use std::fs;

use tempfile::TempDir;

use super::*;

/// A configuration directory of a test's own, which the environment points to.
pub(crate) struct World {
    folder: TempDir,
    variables: Vec<(&'static str, PathBuf)>,
    user_manager: bool,
}

impl World {
    pub(crate) fn new(files: &[(&str, &str)]) -> World {
        let folder = TempDir::new().expect("a temporary folder");
        let variables = vec![("CONFIGURATION_DIRECTORY", folder.path().to_owned())];
        let world = World {
            folder,
            variables,
            user_manager: false,
        };
        for (name, text) in files {
            world.write(name, text);
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("to make the folder");
        fs::write(path, content).expect("to write the file");
    }

    fn load_file(&self, explicit: Option<&Path>) -> Result<Config, ConfigErrors> {
        self.in_environment(|environment| Config::load(explicit, environment))
    }

    /// What a host reads whose sockets have these names.
    fn load_for(&self, names: &[&str]) -> (Config, String) {
        let names = names.iter().copied().collect();
        let read = self.in_environment(|environment| Config::load_for(&names, None, environment));
        let (config, mistakes) = read.expect("a usable configuration");
        (config, self.without_folder(&ConfigErrors(mistakes)))
    }

    pub(crate) fn in_environment<T>(&self, load: impl FnOnce(&Environment<'_>) -> T) -> T {
        let variable = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let environment = Environment {
            user_manager: self.user_manager,
            variable: &variable,
        };
        load(&environment)
    }

    fn load(&self) -> Config {
        self.load_file(None).expect("a valid configuration")
    }

    /// The errors as text, without the world's own folder.
    pub(crate) fn errors(&self) -> String {
        let errors = self.load_file(None).expect_err("errors");
        self.without_folder(&errors)
    }

    pub(crate) fn without_folder(&self, errors: &ConfigErrors) -> String {
        let folder = format!("{}/", self.folder.path().display());
        errors.to_string().replace(&folder, "")
    }
}

#[test]
fn without_any_file_the_built_in_defaults_hold() {
    let config = World::new(&[]).load();
    assert_eq!(config.host.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.host.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.host.modules, Path::new("/var/lib/wasm-sock/modules"));
    assert_eq!(config.defaults.memory, 64 * 1024 * 1024);
    assert_eq!(config.defaults.timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.defaults.cpu_time, Some(Duration::from_secs(5)));
    assert_eq!(config.defaults.max_connections, 256);
    assert_eq!(config.http.head_timeout, Some(Duration::from_secs(10)));
    assert_eq!(config.http.keep_alive, Some(Duration::from_secs(60)));
    assert_eq!(config.http.max_head, 32 * 1024);
    assert_eq!(config.http.max_body, 16 * 1024 * 1024);
    assert_eq!(config.http.reuse, 128);
    assert_eq!(config.http.concurrency, 16);
    assert_eq!(config.http.forwarded_for, ForwardedFor::Set);
    assert!(config.handlers.is_empty());
    assert!(config.files.is_empty());
}

#[test]
fn a_handler_without_a_table_gets_the_configured_defaults() {
    let world = World::new(&[(
        "wasm-sock.toml",
        "[defaults]\nmemory = '1MiB'\nforwarded-for = 'trust'\n[handler.a]",
    )]);
    let config = world.load();
    assert_eq!(config.handler("b").limits.memory, 1 << 20);
    assert_eq!(config.handler("b").http.forwarded_for, ForwardedFor::Trust);
    assert_eq!(config.handler("b").location, None);
    assert!(config.handler("a").location.is_some());
}

#[test]
fn drop_ins_follow_in_the_order_of_their_names() {
    let world = World::new(&[
        ("handlers.d/c.toml", "[handler.c]"),
        ("handlers.d/b.toml", "[handler.b]"),
        ("wasm-sock.toml", "[handler.a]"),
    ]);
    let config = world.load();
    let names: Vec<_> = config.handlers.keys().collect();
    assert_eq!(names, ["a", "b", "c"]);
    let files = ["wasm-sock.toml", "handlers.d/b.toml", "handlers.d/c.toml"];
    assert_eq!(config.files, files.map(|name| world.path(name)));
}

#[test]
fn a_host_reads_the_files_of_its_own_handlers_only() {
    let world = World::new(&[
        ("wasm-sock.toml", "[handler.m]\nmemory = '1MiB'"),
        ("handlers.d/a.toml", "[handler.a]\nmemory = '1MiB'"),
        ("handlers.d/api.v2.toml", "[handler.\"api.v2\"]\nmemory = '1MiB'"),
        ("handlers.d/broken.toml", "["),
        ("handlers.d/.hidden.toml", "["),
    ]);
    let (config, mistakes) = world.load_for(&["a", "api.v2", "m", "none", ".hidden", "../wasm-sock", "x/y"]);
    assert_eq!(mistakes, "");
    let files = ["wasm-sock.toml", "handlers.d/a.toml", "handlers.d/api.v2.toml"];
    assert_eq!(config.files, files.map(|name| world.path(name)));
    for name in ["a", "api.v2", "m"] {
        assert_eq!(config.handler(name).limits.memory, 1 << 20, "{name}");
    }
}

#[test]
fn a_mistake_in_a_file_of_one_handler_costs_that_one() {
    let world = World::new(&[
        ("handlers.d/a.toml", "[handler.a]\nmemory = 1.5"),
        ("handlers.d/b.toml", "["),
        ("handlers.d/c.toml", "[handler.c]\n[handler.good]"),
        ("handlers.d/d.toml/x", ""),
        ("handlers.d/good.toml", "[handler.good]"),
    ]);
    std::os::unix::fs::symlink("/nowhere", world.path("handlers.d/e.toml")).expect("to link");
    let (config, mistakes) = world.load_for(&["a", "b", "c", "d", "e", "good"]);
    let about = |name| config.mistake_about(name).map(Path::to_owned);
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(about(name), Some(world.path(&format!("handlers.d/{name}.toml"))));
        assert!(
            mistakes.contains(&format!("handlers.d/{name}.toml:")),
            "{name}: {mistakes}"
        );
        assert!(!config.handlers.contains_key(name), "{name}");
    }
    assert_eq!(about("good"), None);
    assert!(config.mistaken().contains(&world.path("handlers.d").as_path()));
}

#[test]
fn a_handler_in_the_file_of_another_is_told_with_the_file_it_belongs_in() {
    let world = World::new(&[("handlers.d/10-hello.toml", "[handler.hello]\nmemory = 1")]);
    let expected = "\
handlers.d/10-hello.toml:1:10: handler \"hello\" is in the file of handler \"10-hello\", and is not found there \
(move it to handlers.d/hello.toml, or to wasm-sock.toml)
  1 | [handler.hello]
    |          ^^^^^";
    assert_eq!(world.errors(), expected);
}

#[test]
fn a_mistake_about_all_handlers_is_an_error_whatever_the_names() {
    let world = World::new(&[("wasm-sock.toml", "[host]\nnonsense = 1"), ("handlers.d/a.toml", "[")]);
    let names = BTreeSet::from(["a"]);
    let errors = world.in_environment(|environment| Config::load_for(&names, None, environment));
    assert_eq!(errors.expect_err("errors").0.len(), 2);
}

#[test]
fn drop_ins_need_no_main_file_and_build_on_its_tables_if_there_is_one() {
    let world = World::new(&[("handlers.d/a.toml", "[handler.a]\nmodule = 'a.wasm'")]);
    let module = |world: &World| world.load().handler("a").module.clone();
    assert_eq!(module(&world), Some("/var/lib/wasm-sock/modules/a.wasm".into()));
    world.write("wasm-sock.toml", "[host]\nmodules = '/m'\n[defaults]\nmemory = '1MiB'");
    assert_eq!(module(&world), Some("/m/a.wasm".into()));
    assert_eq!(world.load().handler("a").limits.memory, 1 << 20);
}

#[test]
fn only_visible_toml_files_are_drop_ins_and_a_link_to_dev_null_masks_one() {
    let world = World::new(&[
        ("handlers.d/.hidden.toml", "["),
        ("handlers.d/.toml", "["),
        ("handlers.d/README", "["),
        ("handlers.d/a.toml~", "["),
    ]);
    let masked = world.path("handlers.d/masked.toml");
    std::os::unix::fs::symlink("/dev/null", &masked).expect("to link");
    assert_eq!(world.load().files, [masked]);
}

#[test]
fn an_empty_folder_of_drop_ins_is_fine() {
    let world = World::new(&[]);
    fs::create_dir(world.path("handlers.d")).expect("to make the folder");
    assert!(world.load().handlers.is_empty());
}

#[test]
fn an_explicit_file_comes_with_the_drop_ins_beside_it_and_nothing_else() {
    let world = World::new(&[
        ("wasm-sock.toml", "[handler.elsewhere]"),
        ("other/my.toml", "[handler.a]"),
        ("other/handlers.d/b.toml", "[handler.b]"),
    ]);
    let config = world.load_file(Some(&world.path("other/my.toml"))).expect("valid");
    let names: Vec<_> = config.handlers.keys().collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn an_explicit_file_must_exist() {
    let world = World::new(&[]);
    let errors = world.load_file(Some(&world.path("no.toml"))).expect_err("an error");
    assert_eq!(world.without_folder(&errors), "no.toml: no such file (see --config)");
}

#[test]
fn a_user_is_served_from_the_xdg_folders_or_from_home() {
    let mut world = World::new(&[
        (".config/wasm-sock/wasm-sock.toml", "[handler.home]"),
        ("xdg/wasm-sock/wasm-sock.toml", "[handler.xdg]"),
    ]);
    let home = world.folder.path().to_owned();
    world.user_manager = true;
    world.variables = vec![("HOME", home.clone())];
    let config = world.load();
    assert!(config.handlers.contains_key("home"));
    assert_eq!(config.host.modules, home.join(".local/state/wasm-sock/modules"));
    world.variables.push(("XDG_CONFIG_HOME", home.join("xdg")));
    world.variables.push(("XDG_STATE_HOME", home.join("state")));
    let config = world.load();
    assert!(config.handlers.contains_key("xdg"));
    assert_eq!(config.host.modules, home.join("state/wasm-sock/modules"));
}

#[test]
fn the_folders_that_systemd_names_win_and_of_several_the_first_counts() {
    let mut world = World::new(&[("conf/wasm-sock.toml", "[handler.systemd]")]);
    let several = world.path("conf:/elsewhere");
    for user_manager in [false, true] {
        world.user_manager = user_manager;
        world.variables = vec![
            ("HOME", "/nowhere".into()),
            ("CONFIGURATION_DIRECTORY", several.clone()),
            ("STATE_DIRECTORY", "/var/lib/private/mine".into()),
        ];
        let config = world.load();
        assert!(config.handlers.contains_key("systemd"));
        assert_eq!(config.host.modules, Path::new("/var/lib/private/mine/modules"));
    }
}

#[test]
fn modules_are_beside_the_state_directory_of_the_shipped_units_and_below_that_of_other_units() {
    let folders = |user_manager, variables: &'static [(&str, &str)]| {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let environment = Environment {
            user_manager,
            variable: &variable,
        };
        (environment.modules_directory(), environment.state_directory())
    };
    let expected = |modules: &str, state: &str| (PathBuf::from(modules), Some(PathBuf::from(state)));
    let system = expected("/var/lib/wasm-sock/modules", "/var/lib/wasm-sock/state");
    assert_eq!(folders(false, &[]), system);
    let shipped = &[("STATE_DIRECTORY", "/var/lib/wasm-sock/state")];
    assert_eq!(folders(false, shipped), system);
    let own = &[("STATE_DIRECTORY", "/var/lib/mine:/var/lib/wasm-sock/state")];
    assert_eq!(
        folders(false, own),
        expected("/var/lib/mine/modules", "/var/lib/mine/state")
    );
    // As systemd 252 has it for users.
    let old = &[("STATE_DIRECTORY", "/h/.config/wasm-sock/state"), ("HOME", "/h")];
    let modules = "/h/.local/state/wasm-sock/modules";
    assert_eq!(folders(true, old), expected(modules, "/h/.config/wasm-sock/state"));
    assert_eq!(
        folders(true, &[("HOME", "/h")]),
        expected(modules, "/h/.local/state/wasm-sock/state")
    );
}

#[test]
fn a_relative_or_missing_variable_counts_as_unset() {
    let file = |user_manager, variables: &'static [(&str, &str)]| {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Environment {
            user_manager,
            variable: &variable,
        }
        .main_file()
    };
    let system = Some("/etc/wasm-sock/wasm-sock.toml".into());
    assert_eq!(file(false, &[]), system);
    assert_eq!(file(false, &[("HOME", "/root")]), system);
    assert_eq!(file(false, &[("CONFIGURATION_DIRECTORY", "here")]), system);
    let home = Some("/h/.config/wasm-sock/wasm-sock.toml".into());
    assert_eq!(file(true, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "")]), home);
    assert_eq!(file(true, &[("HOME", "h")]), None);
    assert_eq!(file(true, &[]), None);
}

#[test]
fn a_user_without_a_home_runs_with_the_defaults() {
    let mut world = World::new(&[]);
    world.user_manager = true;
    world.variables.clear();
    assert_eq!(world.load().host.modules, Path::new("/var/lib/wasm-sock/modules"));
}

#[test]
fn everything_wrong_in_every_file_is_told_at_once_with_the_lines_in_question() {
    let world = World::new(&[
        (
            "wasm-sock.toml",
            "[host]\nidle-timeout = 30s\n\n[defaults]\nmemroy = \"64MiB\"\n",
        ),
        ("handlers.d/a.toml", "[handler.a]\n\tmodule = 1"),
    ]);
    world.write("handlers.d/b.toml", b"[handler.b]\nargs = ['\xff']");
    let expected = "\
wasm-sock.toml:2:16: not valid TOML: string values must be quoted, expected literal string
  2 | idle-timeout = 30s
    |                ^^^
wasm-sock.toml:5:1: unknown key \"memroy\" (did you mean \"memory\"? allowed: memory, table-elements, timeout, cpu-time, idle-connection-timeout, max-connections, max-connections-per-source, max-output, max-datagram, max-log, log, log-sample, head-timeout, keep-alive, max-head, max-body, reuse, concurrency, forwarded-for)
  5 | memroy = \"64MiB\"
    | ^^^^^^
handlers.d/a.toml:2:11: module: expected a string, found an integer (write it in quotes)
  2 |  module = 1
    |           ^
handlers.d/b.toml:2:10: not UTF-8 text (save the file as UTF-8)
  2 | args = ['\u{fffd}']
    |          ^";
    assert_eq!(world.errors(), expected);
}

#[test]
fn a_handler_defined_in_two_files_is_told_with_both_places() {
    let world = World::new(&[
        ("wasm-sock.toml", "\n[handler.a]"),
        ("handlers.d/a.toml", "[handler.a]"),
    ]);
    let expected = "\
handlers.d/a.toml:1:10: handler \"a\" is defined twice (first at wasm-sock.toml:2:10; remove one)
  1 | [handler.a]
    |          ^";
    assert_eq!(world.errors(), expected);
}

#[test]
fn a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder_are_told() {
    let world = World::new(&[("wasm-sock.toml/x", ""), ("handlers.d", "")]);
    let expected = "\
wasm-sock.toml: cannot read it: Is a directory (os error 21) (name a file, such as wasm-sock.toml in it)
handlers.d: cannot list it: Not a directory (os error 20) (it must be a folder of *.toml files, or absent)";
    assert_eq!(world.errors(), expected);
}

#[test]
fn an_unreadable_file_is_told_with_the_way_out() {
    // As root every file is readable, so the kernel's answer is made up.
    let denied = std::io::Error::from_raw_os_error(13);
    let error = ConfigError::unreadable(Path::new("/etc/x.toml"), &denied);
    assert_eq!(
        error.to_string(),
        "/etc/x.toml: cannot read it: Permission denied (os error 13) (let the user that the host \
         runs as read it: chmod and chown it or the folders above)"
    );
}

#[test]
fn a_dangling_drop_in_is_told_instead_of_running_its_handler_with_the_defaults() {
    let world = World::new(&[("handlers.d/z", "")]);
    let link = world.path("handlers.d/a.toml");
    std::os::unix::fs::symlink("/nowhere/a.toml", link).expect("to link");
    let expected = "handlers.d/a.toml: no such file (a dangling link? remove it)";
    assert_eq!(world.errors(), expected);
}

#[test]
fn a_file_of_1_mib_is_read_and_a_larger_one_is_not() {
    let world = World::new(&[]);
    world.write("wasm-sock.toml", "#".repeat(1 << 20));
    assert_eq!(world.load().files.len(), 1);
    world.write("wasm-sock.toml", "#".repeat((1 << 20) + 1));
    let expected = "wasm-sock.toml: larger than 1 MiB \
                    (is this the right file? split it into handlers.d)";
    assert_eq!(world.errors(), expected);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_matter() {
    let world = World::new(&[("wasm-sock.toml", "\u{feff}[handler.a]\r\nargs = ['x']\r\nz = 1\r\n")]);
    let errors = world.errors();
    assert!(errors.starts_with("wasm-sock.toml:3:1: unknown key \"z\""), "{errors}");
    assert!(errors.ends_with("\n  3 | z = 1\n    | ^"), "{errors:?}");
}

#[test]
fn of_a_long_line_the_part_around_the_error_is_quoted() {
    let line = format!("args = ['{}', 1, '{}']", "x".repeat(300), "y".repeat(300));
    let world = World::new(&[("wasm-sock.toml", &format!("[handler.a]\n{line}"))]);
    let errors = world.errors();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(lines[0].starts_with("wasm-sock.toml:2:313: "), "{errors}");
    assert_eq!(lines[1].chars().count(), "  2 | ".len() + 100);
    let mark = lines[2].find('^').expect("a mark");
    assert_eq!(&lines[1][mark..=mark], "1", "{errors}");
}

#[test]
fn handlers_are_those_that_are_configured_and_those_that_are_only_a_module() {
    let world = World::new(&[("wasm-sock.toml", "[handler.configured]\n")]);
    let mut config = world.load();
    config.host.modules = world.path("modules");
    let (names, error) = config.handler_names();
    assert!(
        names.iter().eq(["configured"]) && error.is_none(),
        "{names:?} {error:?}"
    );
    for file in ["a.wasm", "a.cwasm", "b.c.cwasm", ".d.wasm", "notes.txt", "e"] {
        world.write(&format!("modules/{file}"), "");
    }
    let (names, error) = config.handler_names();
    assert!(names.iter().eq(["a", "b.c", "configured"]), "{names:?}");
    assert!(error.is_none(), "{error:?}");
    config.host.modules = world.path("wasm-sock.toml");
    let (names, error) = config.handler_names();
    assert!(names.iter().eq(["configured"]) && error.is_some(), "{names:?}");
}

#[test]
fn a_handler_name_is_what_systemd_allows_and_safe_as_a_file_name() {
    for name in [
        "a",
        "hello",
        "hello-2.0_x",
        "a b",
        "...",
        "wasm@x",
        "\\x2d",
        &"n".repeat(255),
    ] {
        assert!(valid_handler_name(name), "{name}");
    }
    for name in ["", ".", "..", "a/b", "a:b", "a\n", "a\0", "\x7f", "ü", &"n".repeat(256)] {
        assert!(!valid_handler_name(name), "{name}");
    }
}
