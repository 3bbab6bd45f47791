use super::*;

fn find(program: &str, variables: &[(&str, &str)]) -> Scope {
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Scope::find(Path::new(program), &variable)
}

#[test]
fn systemd_tells_for_whom_or_the_folder_of_the_program_does() {
    let system = "/usr/lib/systemd/system-generators/wasm-sock-generator";
    let user = "/usr/lib/systemd/user-generators/wasm-sock-generator";
    assert!(!find(system, &[]).is_user);
    assert!(find(user, &[]).is_user);
    assert!(find(system, &[("SYSTEMD_SCOPE", "user")]).is_user);
    assert!(!find(user, &[("SYSTEMD_SCOPE", "system")]).is_user);
}

#[test]
fn the_prefix_is_where_the_program_is_installed() {
    let prefix = |program| find(program, &[]).prefix;
    assert_eq!(
        prefix("/usr/local/lib/systemd/system-generators/g"),
        Path::new("/usr/local")
    );
    assert_eq!(prefix("/usr/lib/systemd/user-generators/g"), Path::new("/usr"));
    assert_eq!(prefix("/lib/systemd/system-generators/g"), Path::new("/usr"));
    assert_eq!(prefix("/etc/systemd/system-generators/g"), Path::new("/usr"));
    assert_eq!(prefix("build/wasm-sock-generator"), Path::new("/usr"));
}

#[test]
fn the_units_that_a_user_has_written_are_known() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".config/systemd/user");
    fs::create_dir_all(&folder).expect("make a folder");
    fs::write(folder.join("wasm-sock@a.socket"), "").expect("write a unit");
    std::os::unix::fs::symlink("/dev/null", folder.join("wasm-sock@masked.socket")).expect("mask a unit");
    let home = home.path().to_str().expect("a path");
    let scope = find(
        "g",
        &[
            ("SYSTEMD_SCOPE", "user"),
            ("HOME", home),
            ("XDG_CONFIG_HOME", "relative"),
        ],
    );
    let units = scope.written_units();
    for unit in ["wasm-sock@a.socket", "wasm-sock@masked.socket"] {
        assert!(units.contains(unit), "{units:?}");
    }
}
