//! Locks and atomics, from one place, so that who explores interleavings can take them over.
//!
//! | build | what they are |
//! |---|---|
//! | ordinary | those of `std`, nothing in between |
//! | feature `mutants` (the crash explorer's) | those of `std`, but each use is a place where a scheduler may let another thread go on; a thread without one notices nothing |
//! | feature `loom` (the package `tests/loom`) | those of `loom` |
//!
//! Only those locks and atomics need to come from here that threads meet at: figures and counters that decide nothing do not.

#[cfg(feature = "mutants")]
mod scheduled;

#[cfg(feature = "mutants")]
pub use scheduled::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, point, schedule, yield_now};

#[cfg(feature = "loom")]
pub use loom::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(feature = "loom")]
pub use loom::thread::yield_now;

#[cfg(not(any(feature = "mutants", feature = "loom")))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(any(feature = "mutants", feature = "loom")))]
pub use std::thread::yield_now;

pub use std::sync::{PoisonError, TryLockError};

/// Sleeps for a moment, for who has spun for long. `false` where time is not to pass: under a scheduler or under loom.
#[cfg(not(any(feature = "mutants", feature = "loom")))]
pub fn pause() -> bool {
    std::thread::sleep(std::time::Duration::from_micros(50));
    true
}

/// Sleeps for a moment, for who has spun for long. `false` where time is not to pass: under a scheduler or under loom.
#[cfg(any(feature = "mutants", feature = "loom"))]
pub fn pause() -> bool {
    false
}

/// A place where another thread may go on, in the crash explorer's build; nothing elsewhere.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub fn point() {}
