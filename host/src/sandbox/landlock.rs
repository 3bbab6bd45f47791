//! Landlock (`landlock(7)`): restricts access to files, folders and TCP ports, and the processes that signals can
//! reach.

use super::needs::{Needs, Use};
use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::io;
use std::path::Path;

/// The newest ABI that is used. Abstract Unix sockets are not scoped (ABI 6), because datagrams of clients with such
/// an address are answered; a socket that could connect to others cannot be created.
const KNOWN: ABI = ABI::V6;

/// Restricts this thread, and those that it starts. Returns what the kernel does not support.
pub fn restrict(needs: &Needs) -> Option<String> {
    let status = match ruleset(needs).and_then(RulesetCreated::restrict_self) {
        Ok(status) => status,
        Err(error) => return Some(format!("files and ports are not confined ({error})")),
    };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => None,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => Some(format!(
            "Landlock is of ABI {}, and {} knows more ({})",
            effective_abi as i32,
            KNOWN as i32,
            lacking(effective_abi)
        )),
        _ => Some(
            "files and ports are not confined: no Landlock (Linux 5.13, and `landlock` in the kernel's lsm=)"
                .to_owned(),
        ),
    }
}

/// `LANDLOCK_CREATE_RULESET_VERSION` (`linux/landlock.h`).
const VERSION: u32 = 1;

/// The Landlock support of the kernel, as text.
pub fn found() -> String {
    // SAFETY: landlock_create_ruleset(2) reads nothing when it is asked for its version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<()>(), 0, VERSION) };
    if version < 0 {
        return format!("not in this kernel ({})", io::Error::last_os_error());
    }
    match ABI::from(version as i32) {
        abi if abi < KNOWN => format!("ABI {version} ({})", lacking(abi)),
        _ => format!("ABI {version}"),
    }
}

fn lacking(abi: ABI) -> &'static str {
    if abi < ABI::V4 {
        "TCP ports are not confined"
    } else {
        "signals are not confined"
    }
}

fn ruleset(needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    for (path, access) in &needs.paths {
        ruleset = beneath(ruleset, path, rights(*access))?;
    }
    if let Some(compiler) = &needs.compiler {
        ruleset = beneath(ruleset, compiler, AccessFs::Execute | AccessFs::ReadFile)?;
    }
    Ok(ruleset)
}

/// Allows access beneath `path`. A path that does not exist is skipped; the error is reported when it is used.
fn beneath(ruleset: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => ruleset.add_rule(PathBeneath::new(fd, rights)),
        Err(_) => Ok(ruleset),
    }
}

fn rights(access: Use) -> BitFlags<AccessFs> {
    match access {
        Use::Read => AccessFs::ReadFile.into(),
        Use::List => AccessFs::ReadFile | AccessFs::ReadDir,
        // What a guest can create: no devices, sockets or pipes.
        Use::Write => {
            AccessFs::ReadFile
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::RemoveDir
                | AccessFs::RemoveFile
                | AccessFs::MakeDir
                | AccessFs::MakeReg
                | AccessFs::MakeSym
                | AccessFs::Refer
        }
    }
}
