//! Debian's `docker-registry`, which `tools/setup` unpacks.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::artifacts::unpacked;
use crate::eventually;

/// A registry of a test's own, on loopback. It ends with this.
pub struct Registry {
    pub address: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl Registry {
    /// Starts one. `http` and `more` are lines of its configuration: below `http:`, and at the top.
    ///
    /// # Panics
    /// When it is not there: `tools/setup tests` unpacks it.
    pub fn start(http: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        // Free until somewhere else takes it, in the moment before the registry does.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("find a free port");
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: \
             {address}\n{http}{more}",
            storage.display()
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).expect("write the registry's configuration");
        let program = unpacked("usr/bin/docker-registry");
        let mut command = Command::new(&program);
        command.arg("serve").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error} (tools/setup tests)", program.display()));
        let registry = Self {
            address,
            process,
            folder,
        };
        eventually("the registry listens", || TcpStream::connect(address).is_ok());
        registry
    }

    /// The address of a repository in it, for `wasm-sock`.
    pub fn oci(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// The file that a blob is in.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let digits = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = Path::new("storage/docker/registry/v2/blobs/sha256");
        self.folder
            .path()
            .join(blobs)
            .join(&digits[..2])
            .join(digits)
            .join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
