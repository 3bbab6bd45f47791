//! What differs between processors: the numbers of the system calls. A further processor is a further table.

mod aarch64;
mod x86_64;

pub use aarch64::AARCH64;
pub use x86_64::X86_64;

/// A processor architecture.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// Rust's `target_arch`.
    pub name: &'static str,
    /// `AUDIT_ARCH_*` of `linux/audit.h`, which `struct seccomp_data` has beside the number. A program of another
    /// architecture that the kernel runs, too, (i386 on x86_64) has other numbers for the same calls.
    pub audit: u32,
    /// Names as in C, `SYS_read`, and numbers.
    pub calls: &'static [(&'static str, u32)],
    /// Calls that others have and this one never had, without `SYS_`: they are left out of its filters.
    pub lacks: &'static [&'static str],
}

/// What [`Architecture::lacks`] of the architecture that this is compiled for.
pub const LACKS: &[&str] = if cfg!(target_arch = "aarch64") {
    AARCH64.lacks
} else {
    X86_64.lacks
};

impl Architecture {
    /// All that there are filters for.
    pub const ALL: &'static [Self] = &[X86_64, AARCH64];

    /// The architecture of this `target_arch`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.name == name)
    }

    /// The number of a system call, whose name is without `SYS_`.
    pub fn number(&self, call: &str) -> Option<u32> {
        let is_it = |name: &str| name.strip_prefix("SYS_") == Some(call);
        let found = self.calls.iter().find(|(name, _)| is_it(name));
        found.map(|(_, number)| *number)
    }
}
