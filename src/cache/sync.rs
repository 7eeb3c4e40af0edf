//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock. What is under the locks of this module is whole between any two statements, so that a panic with one
/// held spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
