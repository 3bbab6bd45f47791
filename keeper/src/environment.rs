//! The environment, as C has it: pointers to `NAME=value`, ended by a null pointer.

use core::ffi::{CStr, c_char};

unsafe extern "C" {
    static environ: *mut *const c_char;
}

/// The value of a variable.
pub fn value(name: &str) -> Option<&'static CStr> {
    let entry = place(name)?;
    // SAFETY: the entry is `name`, `=` and the value, and lives as long as the process.
    Some(unsafe { CStr::from_ptr((*entry).add(name.len() + 1)) })
}

/// Where the pointer to a variable is.
pub fn place(name: &str) -> Option<*mut *const c_char> {
    // SAFETY: `environ` and its strings are valid, and no other thread changes them.
    unsafe {
        let mut entry = environ;
        while !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            if text
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'='))
            {
                return Some(entry);
            }
            entry = entry.add(1);
        }
    }
    None
}

/// All of it, for `execve(2)`.
pub fn all() -> *const *const c_char {
    // SAFETY: it is set before `main`, and never changed.
    unsafe { environ }
}
