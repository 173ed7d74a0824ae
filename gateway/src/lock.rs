//! Locks a mutex. A poisoned lock stays usable, because no code that holds a lock of this crate can panic half-way
//! through a change.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
