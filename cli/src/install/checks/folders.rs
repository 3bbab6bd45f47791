//! Can the service's user open the folders that the guest is granted? Tried with that user's rights.

use crate::installation::interrupt::Interrupts;
use crate::installation::program;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use wasm_sock_config::{Access as Granted, DirGrant};

/// A user, and the groups that the user is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    uid: Uid,
    groups: Vec<Gid>,
}

impl User {
    /// Looks a user up, by way of `id(1)`, which knows all of `nsswitch.conf(5)`. A service may have another `group`
    /// than the user's, and `more` groups.
    ///
    /// # Errors
    /// When there is no such user or group.
    pub fn find(name: &str, group: &str, more: &str, interrupts: &Interrupts) -> Result<Self, String> {
        let id = |option: &str| program::run(Command::new("id").arg(option).arg(name), "", interrupts);
        let number = |text: &str| {
            text.trim()
                .parse::<u32>()
                .map_err(|error| format!("id {name}: {error}"))
        };
        let uid = Uid::from_raw(number(&id("-u")?)?);
        let mut groups = Vec::new();
        for group in [group]
            .into_iter()
            .chain(more.split_whitespace())
            .filter(|group| !group.is_empty())
        {
            let mut lookup = Command::new("getent");
            let entry = program::run(lookup.args(["group", group]), "", interrupts)
                .map_err(|_| format!("there is no group {group}"))?;
            groups.push(Gid::from_raw(number(entry.split(':').nth(2).unwrap_or_default())?));
        }
        if group.is_empty() {
            groups.insert(0, Gid::from_raw(number(&id("-g")?)?));
        }
        for group in id("-G")?.split_whitespace() {
            groups.push(Gid::from_raw(number(group)?));
        }
        let name = name.to_owned();
        Ok(Self { name, uid, groups })
    }

    /// The user's own group, or the service's.
    pub fn group(&self) -> u32 {
        self.groups.first().map_or(0, |group| group.as_raw())
    }
}

/// The problems of these folders for a user; `None`: for the user who runs this.
pub fn problems(folders: &[DirGrant], user: Option<&User>) -> Vec<String> {
    let Some(user) = user else {
        return folders.iter().filter_map(|grant| problem(grant, "you")).collect();
    };
    // The kernel keeps these rights for each thread: only this one gives up root's, and it ends here.
    let check = || -> io::Result<Vec<String>> {
        set_thread_groups(&user.groups)?;
        let (uid, gid) = (user.uid, user.groups.first().copied().unwrap_or(Gid::ROOT));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        let name = format!("user {}", user.name);
        Ok(folders.iter().filter_map(|grant| problem(grant, &name)).collect())
    };
    let checked = thread::scope(|scope| scope.spawn(check).join());
    match checked {
        Ok(Ok(problems)) => problems,
        Ok(Err(error)) => vec![format!("cannot act as user {}: {error}", user.name)],
        Err(_) => vec![format!("cannot act as user {}", user.name)],
    }
}

/// Why this thread cannot use a folder as it is granted.
fn problem(grant: &DirGrant, user: &str) -> Option<String> {
    let path = &grant.host;
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Err(error) = open(path, flags, Mode::empty()) {
        let error = io::Error::from(error);
        return Some(match error.kind() {
            io::ErrorKind::NotFound => format!("folder {shown}: there is none (mkdir it)"),
            io::ErrorKind::NotADirectory => format!("folder {shown}: it is none (grant the folder that it is in)"),
            io::ErrorKind::PermissionDenied => denied(path, user, "read", error),
            _ => format!("folder {shown}: {error}"),
        });
    }
    if grant.access == Granted::ReadWrite {
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        if let Err(error) = accessat(CWD, path, rights, AtFlags::EACCESS) {
            return Some(denied(path, user, "write to", error.into()));
        }
    }
    None
}

fn denied(path: &Path, user: &str, what: &str, error: io::Error) -> String {
    let name = user.strip_prefix("user ").unwrap_or("$USER");
    let right = if what == "read" { "rX" } else { "rwX" };
    let path = path.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => format!("folder {path}: its file system is read-only"),
        _ => format!(
            "folder {path}: {user} cannot {what} it (chown it, or: setfacl -m u:{name}:{right} {path}; the folders \
             above it need x)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn grant(path: &Path, access: Granted) -> DirGrant {
        DirGrant {
            host: path.to_owned(),
            guest: "/data".to_owned(),
            access,
        }
    }

    #[test]
    fn what_is_missing_or_no_folder_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let missing = dir.path().join("missing");
        let of = |path: &Path| problems(&[grant(path, Granted::ReadOnly)], None).join("");
        assert!(of(&missing).ends_with("there is none (mkdir it)"));
        assert!(of(&file).contains("it is none"));
        assert_eq!(of(dir.path()), "");
    }

    #[test]
    fn rights_are_those_of_the_services_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        let user = User {
            name: "wasm-sock".to_owned(),
            uid: Uid::from_raw(4321),
            groups: [4321, 4322].map(Gid::from_raw).into(),
        };
        let of = |access| problems(&[grant(&closed, access)], Some(&user)).join("");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(of(Granted::ReadOnly).contains("user wasm-sock cannot read it"));
        // The second of the user's groups.
        chown(&closed, None, Some(4322)).unwrap();
        assert_eq!(of(Granted::ReadOnly), "");
        assert!(of(Granted::ReadWrite).contains("user wasm-sock cannot write to it"));
        chown(&closed, Some(4321), None).unwrap();
        assert_eq!(of(Granted::ReadWrite), "");
        assert!(
            rustix::process::geteuid().is_root(),
            "another thread has lost its rights"
        );
    }
}
