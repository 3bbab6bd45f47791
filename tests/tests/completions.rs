//! Shells complete commands, options and names of handlers. Each in the real shell, if there is one.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{Kind, World, skip, wasm_sock};

/// A world with two handlers, and the script of `shell` in `completions`.
fn world(shell: &str) -> World {
    let world = World::new(Kind::P1);
    world.actor("gopher", "env", "");
    world.actor("greeter", "env", "");
    let script = command(&world, wasm_sock().to_str().unwrap())
        .args(["completions", shell])
        .output()
        .unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    fs::write(world.path("run/completions"), script.stdout).unwrap();
    world
}

/// A command in which `wasm-sock` is in the path and has the world's configuration.
fn command(world: &World, program: &str) -> Command {
    let mut command = Command::new(program);
    let build = wasm_sock().parent().unwrap().display().to_string();
    command
        .env_clear()
        .env("PATH", format!("{build}:/usr/bin:/bin"))
        .env("HOME", world.path("run"));
    command
        .env("TERM", "dumb")
        .env("CONFIGURATION_DIRECTORY", world.path("config"));
    command.env("STATE_DIRECTORY", world.path("state")).stdin(Stdio::null());
    command.current_dir(world.path("run"));
    command
}

/// What `shell` prints for this script; `None` if it is not installed.
fn said(world: &World, shell: &str, script: &str) -> Option<String> {
    if !["/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(shell).exists())
    {
        skip(&format!("{shell} (apt-get install {shell})"));
        return None;
    }
    let output = command(world, shell)
        .args(["-c", script])
        .output()
        .expect("run a shell");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Some(format!("{stdout}{stderr}"))
}

/// Bash, as if these words were typed and then the tabulator.
fn bash(world: &World, words: &[&str]) -> Vec<String> {
    let (last, command) = (words.last().unwrap(), words[0]);
    let script = format!(
        "source ./completions; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9\n\
         function=$(complete -p {command} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function {command} '{last}' x 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        words.len() - 1
    );
    let said = said(world, "bash", &script).expect("bash is everywhere");
    said.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_options_and_handlers() {
    let world = world("bash");
    assert_eq!(bash(&world, &["wasm-sock", "comp"]), ["compile", "completions"]);
    assert_eq!(bash(&world, &["wasm-sock", "run", "--wa"]), ["--watch"]);
    assert_eq!(
        bash(&world, &["wasm-sock", "new", "x", "--lang", "ass"]),
        ["assemblyscript"]
    );
    assert_eq!(bash(&world, &["wasm-sock", "exec", "g"]), ["gopher", "greeter"]);
    assert_eq!(bash(&world, &["wasm-sock", "exec", "gr"]), ["greeter"]);
    let all = bash(&world, &["wasm-sock", ""]);
    assert!(
        all.iter().any(|name| name == "install") && !all.iter().any(|name| name == "activate"),
        "{all:?}"
    );
}

#[test]
fn fish_completes_commands_and_handlers() {
    let world = world("fish");
    let script = "source ./completions; complete -C 'wasm-sock exec g'; complete -C 'wasm-sock inst'";
    let Some(said) = said(&world, "fish", script) else {
        return;
    };
    for name in ["gopher", "greeter", "install"] {
        assert!(
            said.lines().any(|line| line.split('\t').next() == Some(name)),
            "{name}: {said}"
        );
    }
}

#[test]
fn zsh_takes_the_script() {
    let world = world("zsh");
    let script = "autoload -U compinit; compinit -D -u; source ./completions; print -r -- ${_comps[wasm-sock]}";
    let Some(said) = said(&world, "zsh", script) else {
        return;
    };
    assert!(said.contains("wasm_sock"), "{said}");
}

/// What `make install` installs, below `run/installed` of the world.
fn install(world: &World) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut make = Command::new("make");
    make.args(["-s", "install", "PREFIX=/usr"]).current_dir(root);
    let output = make
        .arg(format!("DESTDIR={}", world.path("run/installed").display()))
        .output();
    let output = output.expect("run make");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bash_loads_the_installed_file_at_the_first_tabulator() {
    let world = world("bash");
    install(&world);
    let script = "export XDG_DATA_DIRS=$PWD/installed/usr/share; . /usr/share/bash-completion/bash_completion\n\
                  complete -p wasm-sock 2>/dev/null && exit 1; _completion_loader wasm-sock; complete -p wasm-sock";
    let said = said(&world, "bash", script).expect("bash is everywhere");
    assert!(said.contains("-F _clap_complete_wasm_sock wasm-sock"), "{said}");
}

#[test]
fn fish_finds_the_installed_file() {
    let world = world("fish");
    install(&world);
    let mut fish = command(&world, "fish");
    fish.env("XDG_DATA_DIRS", world.path("run/installed/usr/share"));
    let Ok(output) = fish.args(["-c", "complete -C 'wasm-sock exec gr'"]).output() else {
        return skip("fish (apt-get install fish)");
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.split_whitespace().next(), Some("greeter"), "{said}");
}

/// In a terminal, as a person types it: the file is the function that completes, and is read at the first tabulator.
#[test]
fn zsh_completes_by_the_installed_file_at_the_first_tabulator() {
    let world = world("zsh");
    install(&world);
    let script = "zmodload zsh/zpty; zpty typed zsh -f -i\n\
                  zpty -w typed 'fpath=($PWD/installed/usr/share/zsh/site-functions $fpath); autoload -U compinit'\n\
                  zpty -w typed 'compinit -D -u; PS1=READY'\n\
                  zpty -r -m typed line '*READY*' || exit 1\n\
                  zpty -n -w typed $'wasm-sock exec gr\\t'\n\
                  zpty -r -m typed line '*exec greeter*' && print -r -- $line";
    let mut zsh = command(&world, "timeout");
    zsh.args(["20", "zsh", "-f", "-c", script]);
    let output = zsh.output().expect("timeout is everywhere");
    if output.status.code() == Some(127) {
        return skip("zsh (apt-get install zsh)");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("greeter"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
