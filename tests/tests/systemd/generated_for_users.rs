//! The generator of a user's own service manager, and what `check` tells a user.

use std::fs;
use std::process::Command;

use harness::systemctl::{install, output, systemctl};
use harness::{Address, eventually};

/// A user with a service manager, and the guest `echo` as modules of these names.
struct User {
    name: &'static str,
    id: String,
}

impl User {
    fn new(name: &'static str, modules: &[&str]) -> Self {
        install();
        output(Command::new("useradd").args(["-m", name]));
        let id = output(Command::new("id").args(["-u", name])).trim().to_owned();
        systemctl(&["start", &format!("user@{id}.service")]);
        let user = Self { name, id };
        let folder = user.home(".local/state/wasm-sock/modules");
        user.run(&[
            "mkdir",
            "-p",
            &folder,
            &user.home(".config/wasm-sock/handlers.d"),
            &user.home(".config/systemd/user"),
        ]);
        for module in modules {
            fs::copy(
                harness::wasm(harness::Kind::P1, "echo"),
                format!("{folder}/{module}.wasm"),
            )
            .unwrap();
        }
        user
    }

    fn home(&self, path: &str) -> String {
        format!("/home/{}/{path}", self.name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let id = &self.id;
        let identity = [&format!("--reuid={id}"), &format!("--regid={id}"), "--init-groups"];
        command.args(identity).args(arguments).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.home(""));
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{id}"));
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        output(&mut self.command(arguments))
    }

    fn systemctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["systemctl", "--user"], arguments].concat())
    }

    fn configure(&self, handler: &str, lines: &str) {
        let file = self.home(&format!(".config/wasm-sock/handlers.d/{handler}.toml"));
        fs::write(format!("{file}.new"), format!("[handler.{handler}]\n{lines}")).unwrap();
        fs::rename(format!("{file}.new"), &file).unwrap();
    }

    /// What `wasm-sock check` prints, whatever it finds.
    fn check(&self) -> String {
        let checked = self.command(&["wasm-sock", "check"]).output().unwrap();
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr)
    }
}

fn echoes(port: u16) {
    let address = Address::Tcp(([127, 0, 0, 1], port).into());
    address.ask("x\n").expect_whole("x\n");
}

#[test]
fn a_user_has_handlers_of_their_own_and_adds_addresses_while_they_run() {
    let gina = User::new("gina", &["mine"]);
    gina.configure("mine", "listen = '24110'");
    gina.systemctl(&["daemon-reload"]);
    gina.systemctl(&["start", "wasm-sock@mine.socket"]);
    echoes(24_110);
    assert_eq!(gina.systemctl(&["is-active", "wasm-sock@mine.service"]), "active\n");
    gina.configure("mine", "listen = ['24110', '24111']");
    gina.systemctl(&["daemon-reload"]);
    gina.systemctl(&["start", "wasm-sock@mine:24111.socket"]);
    echoes(24_111);
    echoes(24_110);
}

#[test]
fn a_users_handlers_may_be_parked() {
    let kim = User::new("kim", &["swift"]);
    fs::write(
        kim.home(".config/wasm-sock/wasm-sock.toml"),
        "[host]\nwhen-idle = 'park'\nidle-timeout = '200ms'\n",
    )
    .unwrap();
    kim.configure("swift", "listen = '24120'");
    kim.systemctl(&["daemon-reload"]);
    kim.systemctl(&["start", "wasm-sock@swift.socket"]);
    let service = "wasm-sock@swift.service";
    let show = |what: &str| kim.systemctl(&["show", "-P", what, service]);
    echoes(24_120);
    let keeper = show("MainPID");
    eventually("it is parked", || show("StatusText").starts_with("asleep since "));
    echoes(24_120);
    assert_eq!((show("MainPID"), show("ActiveState").trim()), (keeper, "active"));
    kim.systemctl(&["reload", service]);
    kim.systemctl(&["stop", service]);
    assert_eq!(show("Result").trim(), "success");
    echoes(24_120);
}

#[test]
fn check_tells_what_systemd_does_not_do_of_the_configuration() {
    let hugo = User::new("hugo", &["a", "b", "c"]);
    let unit = "wasm-sock@a.socket";
    hugo.configure("a", "listen = '24112'");
    let unknown =
        format!("{unit}: systemd does not know it yet, and nothing listens at 24112 (systemctl daemon-reload");
    let said = hugo.check();
    assert!(said.contains(&unknown), "{said}");
    hugo.systemctl(&["daemon-reload"]);
    let said = hugo.check();
    assert!(
        said.contains(&format!("{unit}: nothing listens at 24112 (systemctl start '{unit}')")),
        "{said}"
    );
    hugo.systemctl(&["start", unit]);
    let said = hugo.check();
    assert!(!said.contains("warning"), "{said}");
    assert!(said.contains("wasm-sock@a.socket  [::]:24112  Stream  a"), "{said}");

    // A mistake, at the wrong moment: systemd closes the socket.
    hugo.configure("a", "listen = '24112");
    hugo.systemctl(&["daemon-reload"]);
    hugo.configure("a", "listen = '24112'");
    hugo.systemctl(&["daemon-reload"]);
    let said = hugo.check();
    let closed =
        format!("{unit}: systemd has closed its socket at 24112 when the unit changed (systemctl restart '{unit}')");
    assert!(said.contains(&closed), "{said}");
    hugo.systemctl(&["restart", unit]);
    echoes(24_112);

    let changed = || {
        hugo.configure("a", "listen = '24112' # again");
        hugo.check()
            .contains(&format!("{unit}: its file has changed since systemd read it"))
    };
    eventually("check saw that the file is newer", changed);

    let written = hugo.home(".config/systemd/user/wasm-sock@b.socket");
    fs::write(&written, "[Socket]\nListenStream=127.0.0.1:24113\n").unwrap();
    hugo.configure("b", "listen = '24114'");
    hugo.configure("c", "schedule = ['dayly', 'daily']");
    hugo.systemctl(&["daemon-reload"]);
    hugo.systemctl(&["start", "wasm-sock@b.socket"]);
    let said = hugo.check();
    let hidden =
        format!("wasm-sock@b.socket: {written} is used, and not \"listen\" of the configuration, which has 24114");
    assert!(said.contains(&hidden), "{said}");
    let schedule = "c: schedule: systemd does not understand \"dayly\", and the handler runs at the other times only";
    assert!(said.contains(schedule), "{said}");
    assert!(said.contains("wasm-sock@c.timer  dayly, daily  c"), "{said}");
}

#[test]
fn a_user_has_secrets_in_a_store_of_their_own() {
    let iris = User::new("iris", &[]);
    let modules = iris.home(".local/state/wasm-sock/modules");
    fs::copy(
        harness::wasm(harness::Kind::P2, "config-actor"),
        format!("{modules}/keeper.wasm"),
    )
    .unwrap();
    let store = iris.home(".config/credstore");
    iris.run(&["mkdir", "-p", &store]);
    let secret = format!("{store}/keeper.token");
    iris.run(&["sh", "-c", &format!("umask 077; echo hers > {secret}")]);
    iris.configure("keeper", "listen = '24115'\nsecrets = ['token', 'missing']");
    assert!(
        iris.check()
            .contains("there is no credential keeper.missing (put it into /home/iris/.config/credstore/")
    );
    iris.systemctl(&["daemon-reload"]);
    iris.systemctl(&["start", "wasm-sock@keeper.socket"]);
    let address = Address::Tcp(([127, 0, 0, 1], 24_115).into());
    address.ask("rc.1 get token\n").expect_whole("value \"hers\"\n");
    // systemd is not asked for it: it would look into stores of root's (as Debian 13 has them), may not, and start nothing.
    let answer = address.ask("rc.1 get missing\n").text();
    assert!(answer.starts_with("Error::Io("), "{answer}");
}
