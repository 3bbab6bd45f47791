//! Finds the programs that are installed with the host: the compiler (`wasm-sock-compile`), the commands for people
//! (`wasm-sock-cli`), and the keeper (`wasm-sock-keeper`).

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// A program that is installed with the host and not linked into it.
pub struct Sibling {
    /// Its file name.
    pub name: &'static str,
    /// What an administrator can do when it is missing.
    advice: &'static str,
}

/// Compiles modules: `.wasm` to `.cwasm`.
pub const COMPILER: Sibling = Sibling {
    name: "wasm-sock-compile",
    advice: "install it, or run `wasm-sock compile` where it is and install the .cwasm",
};

/// The verbs for people: `check`, `inspect`, `help`.
pub const COMMANDS: Sibling = Sibling {
    name: "wasm-sock-cli",
    advice: "install it: this command is a part of it",
};

/// Holds the sockets while no host runs (`when-idle = "park"`).
pub const KEEPER: Sibling = Sibling {
    name: "wasm-sock-keeper",
    advice: "install it, or leave out `when-idle`",
};

impl Sibling {
    /// The path of the program: in the directory of the host (`build/`), or in `PREFIX/lib/wasm-sock` if the host is in
    /// `PREFIX/bin`.
    ///
    /// # Errors
    /// The message for a program that is missing.
    pub fn find(&self) -> Result<PathBuf, String> {
        let host = env::current_exe().map_err(|error| format!("cannot run {}: {error}", self.name))?;
        let candidates = self.candidates(&host);
        let missing = || {
            let [beside, installed] = &candidates;
            let (beside, installed) = (beside.display(), installed.display());
            let Self { name, advice } = self;
            format!("cannot run {name}: it is neither {beside} nor {installed} ({advice})")
        };
        candidates
            .iter()
            .find(|path| path.is_file())
            .cloned()
            .ok_or_else(missing)
    }

    /// The two paths that the program may have, by the path of the `host`.
    fn candidates(&self, host: &Path) -> [PathBuf; 2] {
        let prefix = host.ancestors().nth(2).unwrap_or(Path::new("/"));
        [
            host.with_file_name(self.name),
            prefix.join("lib/wasm-sock").join(self.name),
        ]
    }
}

/// The message for a program that exists and cannot be run.
pub fn cannot_run(program: &Path, error: &io::Error) -> String {
    format!("cannot run {}: {error}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sibling_is_beside_the_host_or_where_it_is_installed() {
        let candidates = COMPILER.candidates(Path::new("/usr/bin/wasm-sock"));
        let expected = ["/usr/bin/wasm-sock-compile", "/usr/lib/wasm-sock/wasm-sock-compile"];
        assert_eq!(candidates, expected.map(PathBuf::from));
    }
}
