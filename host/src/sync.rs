//! Locks that outlive whoever held them.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also when somebody panicked who had it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
