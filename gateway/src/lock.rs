//! Locks a mutex, also a poisoned one.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Use only where a panic under the lock cannot leave a half-made change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
