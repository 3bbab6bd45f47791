//! A WASI interface as the host describes it: its name, and how its functions are added to a linker.

use super::state::GuestState;
use wasmtime::component::{Linker, LinkerInstance};

/// An interface of WASI that components may import.
pub struct Interface {
    /// Without its version (`wasi:cli/stdin`), unless that is [`Version::Exact`].
    pub name: &'static str,
    pub version: Version,
    pub define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
    /// The setting that the interface needs to be of use, and for what; `-`: none.
    pub needs: &'static str,
}

/// The versions of WASI that components are linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 0.2.x
    Two,
    /// 0.3.x
    Three,
    /// A pre-release, which is compatible with itself only. The interface's name has it.
    Exact,
}

/// Splits the name of an import (`wasi:cli/stdin@0.2.6`) into interface and version. All patch versions of a minor
/// version are compatible, so a component gets the one that the host has. `None`: neither WASI 0.2 nor 0.3.
pub fn parse(import: &str) -> Option<(&str, Version)> {
    let (interface, version) = import.split_once('@')?;
    if version.contains('-') {
        Some((import, Version::Exact))
    } else if version.starts_with("0.2.") {
        Some((interface, Version::Two))
    } else if version.starts_with("0.3.") {
        Some((interface, Version::Three))
    } else {
        None
    }
}

/// An interface of WASI 0.2.
pub const fn p2(name: &'static str, define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>) -> Interface {
    Interface {
        name,
        version: Version::Two,
        define,
        needs: "-",
    }
}

/// An interface of WASI 0.3.
pub const fn p3(name: &'static str, define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>) -> Interface {
    Interface {
        version: Version::Three,
        ..p2(name, define)
    }
}

/// An interface of a draft, whose `name` ends with its version: `wasi:config/store@0.2.0-rc.1`.
pub const fn draft(name: &'static str, define: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>) -> Interface {
    Interface {
        version: Version::Exact,
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
    fn patch_versions_are_one_interface_and_pre_releases_are_each_their_own() {
        assert_eq!(parse("wasi:cli/stdin@0.2.6"), Some(("wasi:cli/stdin", Version::Two)));
        assert_eq!(parse("wasi:cli/stdin@0.3.1"), Some(("wasi:cli/stdin", Version::Three)));
        for draft in ["wasi:cli/stdin@0.3.0-rc-2026-03-15", "wasi:config/store@0.2.0-rc.1"] {
            assert_eq!(parse(draft), Some((draft, Version::Exact)));
        }
        assert_eq!(parse("a:b/c"), None);
        assert_eq!(parse("wasi:cli/stdin@1.0.0"), None);
    }
}
