//! What wasm-sock is measured beside: programs that `bench/setup` brings. Each may be missing.

use crate::activate::free_address;
use crate::authority::Authority;
use crate::process::Program;
use crate::{Bench, Result, run};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why somebody is not measured.
pub const MISSING: &str = "not installed: `make bench` brings it";

/// A server that opens its socket itself.
pub struct Peer {
    pub program: Program,
    pub address: SocketAddr,
}

/// Where the peers lie.
pub struct Peers {
    build: PathBuf,
}

/// What is called every time a connection is accepted: the words of a command.
pub type Command = Vec<String>;

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Peers {
    pub fn new(build: &Path) -> Self {
        Self { build: build.into() }
    }

    /// A file below build/ if it is there.
    fn find(&self, path: &str) -> Option<PathBuf> {
        let path = self.build.join(path);
        path.exists().then_some(path)
    }

    fn wasmtime(&self) -> Option<PathBuf> {
        self.find("peers/bin/wasmtime")
    }

    /// Wasmtime's own artifact of a guest.
    fn wasmtime_artifact(&self, bench: &Bench, wasmtime: &Path, world: &str, guest: &str) -> Result<PathBuf> {
        let artifact = bench.scratch.join(format!("wasmtime-{guest}-{world}.cwasm"));
        if !artifact.exists() {
            let module = bench.artifacts.module(world, guest);
            run(wasmtime, &["compile", "-o", &text(&artifact), &text(&module)])?;
        }
        Ok(artifact)
    }

    /// What an administrator would write as `ExecStart=` of a service with `Accept=yes`.
    pub fn wasmtime_run(&self, bench: &Bench, world: &str, guest: &str) -> Result<Option<Command>> {
        let Some(wasmtime) = self.wasmtime() else {
            return Ok(None);
        };
        let artifact = self.wasmtime_artifact(bench, &wasmtime, world, guest)?;
        let words = [
            text(&wasmtime),
            "run".into(),
            "--allow-precompiled".into(),
            text(&artifact),
        ];
        Ok(Some(words.into()))
    }

    /// `wasmtime serve` with an artifact that it made itself.
    pub fn wasmtime_serve(&self, bench: &Bench, world: &str, guest: &str) -> Result<Option<Peer>> {
        let Some(wasmtime) = self.wasmtime() else {
            return Ok(None);
        };
        let artifact = self.wasmtime_artifact(bench, &wasmtime, world, guest)?;
        let (program, address) = serve(&wasmtime)?;
        let program = program.arguments(["--allow-precompiled"]).arguments([artifact]);
        Ok(Some(Peer { program, address }))
    }

    /// `wasmtime serve` with a component and the cache of what it has compiled.
    pub fn wasmtime_serve_with_cache(&self, bench: &Bench, world: &str, guest: &str) -> Result<Option<Peer>> {
        let Some(wasmtime) = self.wasmtime() else {
            return Ok(None);
        };
        let (program, address) = serve(&wasmtime)?;
        let home = bench.scratch.join("wasmtime-home");
        fs::create_dir_all(&home)?;
        let program = program
            .arguments(["-C", "cache"])
            .arguments([bench.artifacts.module(world, guest)])
            .variable("HOME", home);
        Ok(Some(Peer { program, address }))
    }

    fn workerd_command(&self) -> Option<Program> {
        let workerd = self.find("peers/node_modules/@cloudflare/workerd-linux-64/bin/workerd")?;
        let configuration = self.find("peers/workerd.capnp")?;
        Some(Program::new([workerd]).arguments(["serve"]).arguments([configuration]))
    }

    /// workerd that is passed the socket that listens.
    pub fn workerd_activated(&self) -> Option<Program> {
        Some(self.workerd_command()?.arguments(["--socket-fd=http=3"]))
    }

    pub fn workerd(&self) -> Result<Option<Peer>> {
        let Some(program) = self.workerd_command() else {
            return Ok(None);
        };
        let address = free_address()?;
        let program = program.arguments([format!("--socket-addr=http={address}")]);
        Ok(Some(Peer { program, address }))
    }

    /// nginx with the same answer as the guest, in its configuration; by TLS with a certificate of this authority, and
    /// no session is resumed.
    pub fn nginx(&self, scratch: &Path, tls: Option<&Authority>) -> Result<Option<Peer>> {
        let Some(nginx) = self.find("servers/usr/sbin/nginx") else {
            return Ok(None);
        };
        let address = free_address()?;
        let folder = text(scratch);
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let places = places.map(|what| format!("{what}_temp_path {folder}/nginx-{what};\n"));
        let listen = match tls {
            None => format!("listen {address};\n"),
            Some(tls) => format!(
                "listen {address} ssl;\nssl_certificate {};\nssl_certificate_key {};\nssl_session_tickets off;\n\
                 ssl_protocols TLSv1.2 TLSv1.3;\n",
                text(&tls.certificate),
                text(&tls.key)
            ),
        };
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {folder}/nginx-{0}.pid;\nerror_log stderr;\n\
             events {{ }}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000000;\n{1}\
             server {{\n{listen}\
             location / {{ default_type text/plain; return 200 \"Hello, stranger!\\n\"; }}\n}}\n}}\n",
            address.port(),
            places.concat()
        );
        let path = scratch.join(format!("nginx-{}.conf", address.port()));
        fs::write(&path, configuration)?;
        let program = Program::new([nginx]).arguments(["-c"]).arguments([path]);
        Ok(Some(Peer { program, address }))
    }

    /// Debian's Redis, which keeps nothing on the disk.
    pub fn redis(&self, scratch: &Path) -> Result<Option<Peer>> {
        let unpacked = self.find("servers/usr/bin/redis-server");
        let Some(redis) = unpacked.or_else(|| installed("redis-server")) else {
            return Ok(None);
        };
        let address = free_address()?;
        let program = Program::new([redis])
            .arguments(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arguments([address.port().to_string()])
            .arguments(["--dir"])
            .arguments([scratch]);
        Ok(Some(Peer { program, address }))
    }

    /// OpenBSD's inetd, which starts a program for every connection.
    pub fn inetd(&self, scratch: &Path, native: &Path) -> Result<Option<Peer>> {
        let Some(inetd) = self.find("servers/usr/sbin/inetd") else {
            return Ok(None);
        };
        let address = free_address()?;
        let (ip, port) = (address.ip(), address.port());
        let path = scratch.join("inetd.conf");
        // After the program comes its own name for itself.
        let (user, native) = (user()?, native.display());
        let line = format!("{ip}:{port} stream tcp nowait {user} {native} {native}\n");
        fs::write(&path, line)?;
        // -R: as often as anybody likes. As root it would leave its process number where the
        // machine's own inetd does.
        let program = if user == "root" {
            let script = "mount -t tmpfs none /run && exec \"$@\"";
            Program::new(["/usr/bin/unshare", "--mount", "sh", "-c", script, "sh"]).arguments([inetd])
        } else {
            Program::new([inetd])
        };
        let program = program.arguments(["-i", "-R", "1000000000"]).arguments([path]);
        Ok(Some(Peer { program, address }))
    }

    /// xinetd, which does the same.
    pub fn xinetd(&self, scratch: &Path, native: &Path) -> Result<Option<Peer>> {
        let Some(xinetd) = self.find("servers/usr/sbin/xinetd") else {
            return Ok(None);
        };
        let address = free_address()?;
        let path = scratch.join("xinetd.conf");
        let configuration = format!(
            "service bench\n{{\ntype = UNLISTED\nsocket_type = stream\nprotocol = tcp\nwait = no\n\
             bind = {}\nport = {}\nuser = {}\nserver = {}\n\
             cps = 1000000 1\ninstances = UNLIMITED\nper_source = UNLIMITED\n}}\n",
            address.ip(),
            address.port(),
            user()?,
            native.display()
        );
        fs::write(&path, configuration)?;
        let program = Program::new([xinetd])
            .arguments(["-dontfork", "-filelog", "/dev/null", "-pidfile"])
            .arguments([scratch.join("xinetd.pid")])
            .arguments(["-f"])
            .arguments([path]);
        Ok(Some(Peer { program, address }))
    }

    /// A process for every connection, and no more around it than that takes: systemd with
    /// `Accept=yes` makes a unit of each, which costs it milliseconds.
    pub fn accept(&self, command: &Command) -> Result<Peer> {
        let address = free_address()?;
        let program = Program::new(["/usr/bin/systemd-socket-activate", "--accept", "--inetd", "-l"])
            .arguments([address.to_string()])
            .arguments(command);
        Ok(Peer { program, address })
    }
}

fn serve(wasmtime: &Path) -> Result<(Program, SocketAddr)> {
    let address = free_address()?;
    let program = Program::new([wasmtime])
        .arguments(["serve", "-S", "cli", "--addr"])
        .arguments([address.to_string()]);
    Ok((program, address))
}

/// A program of the machine.
pub fn installed(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"];
    folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// As whom inetd is to start programs.
fn user() -> Result<String> {
    let output = std::process::Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
