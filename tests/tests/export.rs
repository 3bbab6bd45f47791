//! `wasm-sock export` and `wasm-sock serve`: manifests that engines accept, and a container that serves.
//!
//! Kubernetes' schemas come from PyPI (`kubernetes-validate`, see Makefile). Nomad and Spin have none in a package: of
//! these the syntax is checked here, by a parser of others.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::{Kind, PATIENCE, eventually, skip, wasm, wasm_sock};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// Handlers `web` (HTTP) and `hello` (bytes), configured in a folder of their own.
struct Handlers {
    folder: TempDir,
    web: u16,
    metrics: u16,
    hello: u16,
}

impl Handlers {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("modules");
        fs::create_dir(&modules).unwrap();
        fs::copy(wasm(Kind::P2, "http-hello"), modules.join("web.wasm")).unwrap();
        fs::copy(wasm(Kind::P1, "hello"), modules.join("hello.wasm")).unwrap();
        let [web, metrics, hello] = free_ports();
        let text = format!(
            "[host]\nmodules = \"{}\"\n[handler.web]\nlisten = [\"127.0.0.1:{web}\"]\nenv = {{ GREETING = \"Hi ${{x}} \
             {{{{y}}}}\" }}\n{settings}\n[handler.hello]\nlisten = [\"{hello}\", \"udp:{hello}\"]\n",
            modules.display()
        );
        fs::write(folder.path().join("wasm-sock.toml"), text).unwrap();
        Self {
            folder,
            web,
            metrics,
            hello,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(wasm_sock());
        command
            .arg("export")
            .args(arguments)
            .arg("--config")
            .arg(self.path("wasm-sock.toml"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    #[track_caller]
    fn exported(&self, arguments: &[&str]) -> String {
        let (code, printed, said) = self.export(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        printed
    }
}

/// Ports that nothing has at the moment.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Checks manifests against the schemas of this version of Kubernetes; none may have a field that is not known.
#[track_caller]
fn validate(manifests: &str, version: &str, resources: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = root.join("build/venv/kubernetes/bin/kubernetes-validate");
    let mut command = Command::new(&program);
    command.args(["--strict", "-k", version, "/dev/stdin"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error} (make build/venv/kubernetes/ready)", program.display()));
    child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    let result = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned();
    assert!(result.status.success(), "{said}\n{manifests}");
    for resource in resources {
        assert!(
            said.contains(&format!("passed for resource {resource} ")),
            "{resource}: {said}"
        );
    }
}

#[test]
fn kubernetes_accepts_the_manifests() {
    let handlers = Handlers::new("dirs = [{ host = \"/srv/web\", guest = \"/data\" }]");
    for version in ["1.30", "1.37"] {
        let manifests = handlers.exported(&["kubernetes", "web", "--image", "ghcr.io/me/web:1"]);
        validate(
            &manifests,
            version,
            &[
                "configmap/web",
                "persistentvolumeclaim/web-dir-0",
                "deployment/web",
                "service/web",
            ],
        );
        let manifests = handlers.exported(&["kubernetes", "hello", "--image", "ghcr.io/me/hello:1"]);
        validate(
            &manifests,
            version,
            &["configmap/hello", "deployment/hello", "service/hello"],
        );
        let shim = [
            "kubernetes",
            "web",
            "--image",
            "ghcr.io/me/web:1",
            "--runtime-class",
            "wasmtime",
        ];
        let manifests = handlers.exported(&shim);
        validate(
            &manifests,
            version,
            &["runtimeclass/wasmtime", "deployment/web", "service/web"],
        );
    }
}

#[test]
#[should_panic(expected = "replica")]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let handlers = Handlers::new("");
    let manifests = handlers.exported(&["kubernetes", "web", "--image", "i"]);
    validate(&manifests.replace("replicas:", "replica:"), "1.37", &[]);
}

#[test]
fn the_job_for_nomad_is_hcl_and_has_the_settings_as_they_were() {
    let handlers = Handlers::new("");
    let job = handlers.exported(&["nomad", "web", "--image", "ghcr.io/me/web:1"]);
    let body: hcl::Body = hcl::parse(&job).unwrap_or_else(|error| panic!("{error}\n{job}"));
    let find = |body: &hcl::Body, kind: &str| {
        let block = body.blocks().find(|block| block.identifier() == kind);
        block.unwrap_or_else(|| panic!("no {kind}: {job}")).body().clone()
    };
    let task = find(&find(&find(&body, "job"), "group"), "task");
    let template = find(&task, "template");
    let data = template
        .attributes()
        .find(|attribute| attribute.key() == "data")
        .unwrap();
    let context = hcl::eval::Context::new();
    let data = hcl::eval::Evaluate::evaluate(data.expr(), &context).unwrap();
    // What Nomad's own templates then make of it.
    let settings = data.as_str().unwrap().replace("{{ \"{{\" }}", "{{");
    let settings: toml::Table = settings.parse().unwrap();
    let greeting = settings["handler"]["web"]["env"]["GREETING"].as_str();
    assert_eq!(greeting, Some("Hi ${x} {{y}}"));
}

#[test]
fn spin_gets_the_module_and_a_manifest_beside_it() {
    let handlers = Handlers::new("");
    let folder = handlers.path("spin");
    handlers.exported(&["spin", "web", "-o", folder.to_str().unwrap()]);
    let manifest: toml::Table = fs::read_to_string(folder.join("spin.toml")).unwrap().parse().unwrap();
    let source = manifest["component"]["web"]["source"].as_str().unwrap();
    assert_eq!(
        fs::read(folder.join(source)).unwrap(),
        fs::read(wasm(Kind::P2, "http-hello")).unwrap()
    );
    assert_eq!(manifest["trigger"]["http"][0]["component"].as_str(), Some("web"));
}

#[test]
fn what_cannot_be_exported_says_why() {
    let handlers = Handlers::new("");
    for (arguments, words) in [
        (&["spin", "hello"][..], "HTTP components only"),
        (
            &["kubernetes", "hello", "--image", "i", "--runtime-class", "wasmtime"],
            "HTTP components only",
        ),
        (&["kubernetes", "web"], "which image?"),
        (&["container", "web"], "several files"),
        (&["nomad", "nothing", "--image", "i"], "nothing: "),
    ] {
        let (code, printed, said) = handlers.export(arguments);
        assert_eq!((code, printed.as_str()), (1, ""), "{arguments:?}: {said}");
        assert!(said.starts_with("wasm-sock: ") && said.contains(words), "{said}");
    }
}

#[test]
fn a_mistake_of_another_handler_is_in_the_way_of_none() {
    let handlers = Handlers::new("");
    let image = ["nomad", "web", "--image", "i"];
    let before = handlers.exported(&image);
    fs::create_dir(handlers.path("handlers.d")).unwrap();
    fs::write(handlers.path("handlers.d/other.toml"), "= no TOML\n").unwrap();
    assert_eq!(handlers.exported(&image), before);
    fs::write(
        handlers.path("handlers.d/web.toml"),
        "[handler.web]\nmemroy = \"1MiB\"\n",
    )
    .unwrap();
    let (code, _, said) = handlers.export(&image);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("memroy") && !said.contains("other.toml"), "{said}");
}

/// A process that is killed when the test ends.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        // A process group of its own, for what a namespace's first process leaves.
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .process_group(0)
                .spawn()
                .unwrap(),
        )
    }

    /// Asks it to end; returns its exit code.
    fn end(&mut self, pid: u32) -> Option<i32> {
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        let mut code = None;
        eventually("it ends after SIGTERM", || match self.0.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The answer to a request; empty while nothing answers.
fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is no answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn serve_opens_what_the_configuration_says_and_drains_on_sigterm() {
    let handlers = Handlers::new("");
    let mut command = Command::new(wasm_sock());
    command
        .arg("serve")
        .arg("--config")
        .arg(handlers.path("wasm-sock.toml"));
    command
        .env("CACHE_DIRECTORY", handlers.path("cache"))
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    eventually("HTTP is answered", || get(handlers.web, "/").contains("Hi ${x} {{y}}"));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    eventually("a datagram is answered", || {
        udp.send_to(b"Ada", ("127.0.0.1", handlers.hello)).unwrap();
        let mut answer = [0; 100];
        udp.recv(&mut answer)
            .is_ok_and(|length| String::from_utf8_lossy(&answer[..length]).contains("over UDP"))
    });
    let pid = process.0.id();
    assert_eq!(process.end(pid), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", handlers.web)).is_err());
}

#[test]
fn serve_may_park() {
    let handlers = Handlers::new("");
    let file = handlers.path("wasm-sock.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[host]", "[host]\nidle-timeout = \"100ms\"")).unwrap();
    let mut command = Command::new(wasm_sock());
    command.args(["serve", "--when-idle", "park", "--config"]).arg(file);
    command
        .env("CACHE_DIRECTORY", handlers.path("cache"))
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let pid = process.0.id();
    let is = |command: &str| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == command)
    };
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for _ in 0..2 {
        eventually("HTTP is answered", || get(handlers.web, "/").contains("Hi ${x} {{y}}"));
        eventually("the keeper is alone", || is("wasm-sock-keepe") && children().is_empty());
    }
    assert_eq!(process.end(pid), Some(0));
}

#[test]
fn serve_without_anything_that_listens_is_a_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wasm-sock.toml");
    fs::write(&file, "[handler.a]\n").unwrap();
    for (name, words) in [
        (None, "no handler has a `listen`"),
        (Some("b"), "b: no enabled handler"),
    ] {
        let mut command = Command::new(wasm_sock());
        let output = command
            .arg("serve")
            .args(name)
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// What a container engine does with the folder: the files of the `Containerfile` as the root, read-only, a user that
/// owns nothing, and `/proc`; the command is the first process.
const ENGINE: &str = r#"
set -eu
root=$1; shift
mkdir "$root/proc" "$root/tmp" "$root/run" "$root/run/wasm-sock" "$root/var/cache" "$root/var/cache/wasm-sock"
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
for folder in tmp run/wasm-sock var/cache/wasm-sock; do
  mount -t tmpfs -o mode=755,uid=65532,gid=65532 tmpfs "$root/$folder"
done
exec env -i RUNTIME_DIRECTORY=/run/wasm-sock CACHE_DIRECTORY=/var/cache/wasm-sock \
  setpriv --no-new-privs --bounding-set=-all,+setgid,+setuid,+sys_chroot "$(command -v chroot)" --userspec=65532:65532 "$root" "$@"
"#;

/// Makes the root of a container from the folder of an image, as its `Containerfile` says: the whole folder is copied, and
/// nothing else has to be in it. Returns the command.
fn build(folder: &Path, root: &Path) -> Vec<String> {
    let containerfile = fs::read_to_string(folder.join("Containerfile")).unwrap();
    let (mut entrypoint, mut command_line) = (Vec::new(), Vec::new());
    for line in containerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let list = |rest: &str| -> Vec<String> { serde_json::from_str(rest).unwrap() };
        match words[..] {
            ["COPY", from, to] => {
                let to = root.join(to.trim_start_matches('/'));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                let copied = Command::new("cp")
                    .arg("-a")
                    .arg(folder.join(from))
                    .arg(&to)
                    .status()
                    .unwrap();
                assert!(copied.success());
            }
            ["ENTRYPOINT", ..] => entrypoint = list(line.trim_start_matches("ENTRYPOINT ")),
            ["CMD", ..] => command_line = list(line.trim_start_matches("CMD ")),
            _ => {}
        }
    }
    entrypoint.into_iter().chain(command_line).collect()
}

/// The process that a namespace began with, of the process that made the namespace.
fn first_process(outer: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

#[track_caller]
fn assert_has_no_rights(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    for line in [
        "Uid:\t65532\t65532\t65532\t65532",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
}

#[test]
fn the_container_serves_as_a_user_without_rights_from_a_read_only_root() {
    if !geteuid().is_root() {
        return skip("root, for a root folder of its own");
    }
    let handlers = Handlers::new("");
    let folder = handlers.path("image");
    handlers.exported(&["container", "web", "-o", folder.to_str().unwrap()]);
    let root = handlers.path("root");
    let command_line = build(&folder, &root);
    // The counters' port is fixed; another test, or a Prometheus, may have it here.
    let file = root.join("etc/wasm-sock/wasm-sock.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"9464\"", &format!("\"{}\"", handlers.metrics))).unwrap();
    let log = handlers.path("log");
    let mut engine = Command::new("unshare");
    engine.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "bash",
        "-c",
        ENGINE,
        "engine",
    ]);
    engine.arg(&root).args(command_line);
    engine.stderr(fs::File::create(&log).unwrap());
    let mut process = Process::start(&mut engine);
    let said = || fs::read_to_string(&log).unwrap();
    eventually("the container answers", || {
        assert!(process.0.try_wait().unwrap().is_none(), "it has ended: {}", said());
        get(handlers.web, "/").contains("Hi ${x} {{y}}")
    });
    // The probe, which the host answers itself.
    let metrics = get(handlers.metrics, "/metrics");
    assert!(
        metrics.contains("wasm_sock_served_total{handler=\"web\",outcome=\"ok\"} 1\n"),
        "{metrics}"
    );
    let first = first_process(process.0.id());
    assert_has_no_rights(first);
    assert_eq!(process.end(first), Some(0), "{}", said());
}
