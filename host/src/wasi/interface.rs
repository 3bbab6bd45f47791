//! A WASI interface as the host describes it: its name, and how its functions are added to a linker.

use super::state::GuestState;
use wasmtime::component::{Linker, LinkerInstance};

/// An interface of WASI that components may import.
pub struct Interface {
    /// Without its version: `wasi:cli/stdin`.
    pub name: &'static str,
    pub minor: Minor,
    pub define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
    /// The setting that the interface needs to be of use, and for what; `-`: none.
    pub needs: &'static str,
}

/// The minor versions of WASI that components are linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minor {
    Two,
    Three,
}

/// Splits the name of an import (`wasi:cli/stdin@0.2.6`) into interface and minor version. All patch versions of a
/// minor version are compatible, so a component gets the one that the host has. `None`: not WASI 0.2 or 0.3, or a
/// pre-release (`0.3.0-rc-2026-03-15`), which is compatible with itself only.
pub fn parse(import: &str) -> Option<(&str, Minor)> {
    let (interface, version) = import.split_once('@')?;
    if version.contains('-') {
        None
    } else if version.starts_with("0.2.") {
        Some((interface, Minor::Two))
    } else if version.starts_with("0.3.") {
        Some((interface, Minor::Three))
    } else {
        None
    }
}

/// An interface of WASI 0.2.
pub const fn p2(name: &'static str, define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>) -> Interface {
    Interface {
        name,
        minor: Minor::Two,
        define,
        needs: "-",
    }
}

/// An interface of WASI 0.3.
pub const fn p3(name: &'static str, define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>) -> Interface {
    Interface {
        minor: Minor::Three,
        ..p2(name, define)
    }
}

impl Interface {
    /// The same interface, marked as needing a setting.
    pub const fn needs(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }
}

/// Replaces functions of an interface of WASI 0.2 that was defined before.
///
/// # Errors
/// When the interface was not defined.
pub fn redefine(
    linker: &mut Linker<GuestState>,
    interface: &str,
    define: impl FnOnce(&mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    // The version that Wasmtime defines; a component may ask for another.
    define(&mut linker.instance(&format!("{interface}@0.2.12"))?)?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_versions_are_one_interface_and_pre_releases_are_none() {
        assert_eq!(parse("wasi:cli/stdin@0.2.6"), Some(("wasi:cli/stdin", Minor::Two)));
        assert_eq!(parse("wasi:cli/stdin@0.3.1"), Some(("wasi:cli/stdin", Minor::Three)));
        for other in [
            "wasi:cli/stdin@0.3.0-rc-2026-03-15",
            "wasi:config/store@0.2.0-rc.1",
            "wasi:cli/stdin@1.0.0",
            "a:b/c",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
