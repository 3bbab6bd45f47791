//! The programs that belong to the host and are not linked into it: the compiler, and the commands that people type.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// A program that is installed with the host.
pub struct Sibling {
    pub name: &'static str,
    /// What to do where it is missing.
    advice: &'static str,
}

pub const COMPILER: Sibling = Sibling {
    name: "wasm-sock-compile",
    advice: "install it, or run `wasm-sock compile` where it is and install the .cwasm",
};

pub const COMMANDS: Sibling = Sibling {
    name: "wasm-sock-cli",
    advice: "install it: this command is a part of it",
};

impl Sibling {
    /// Where it is: beside this program (`build/`), or in `PREFIX/lib/wasm-sock` where this is in `PREFIX/bin`.
    ///
    /// # Errors
    /// What to say of a program that is missing.
    pub fn find(&self) -> Result<PathBuf, String> {
        let ourselves = env::current_exe().map_err(|error| format!("cannot run {}: {error}", self.name))?;
        let places = self.places(&ourselves);
        let missing = || {
            let [beside, installed] = &places;
            let (beside, installed) = (beside.display(), installed.display());
            let Self { name, advice } = self;
            format!("cannot run {name}: it is neither {beside} nor {installed} ({advice})")
        };
        places.iter().find(|path| path.is_file()).cloned().ok_or_else(missing)
    }

    fn places(&self, ourselves: &Path) -> [PathBuf; 2] {
        let prefix = ourselves.ancestors().nth(2).unwrap_or(Path::new("/"));
        [
            ourselves.with_file_name(self.name),
            prefix.join("lib/wasm-sock").join(self.name),
        ]
    }
}

/// What is said of a program that is there and cannot be run.
pub fn cannot_run(program: &Path, error: &io::Error) -> String {
    format!("cannot run {}: {error}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sibling_is_beside_the_host_or_where_it_is_installed() {
        let places = COMPILER.places(Path::new("/usr/bin/wasm-sock"));
        let expected = ["/usr/bin/wasm-sock-compile", "/usr/lib/wasm-sock/wasm-sock-compile"];
        assert_eq!(places, expected.map(PathBuf::from));
    }
}
