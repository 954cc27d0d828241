//! Lines that cannot be read any more, and system calls that fail.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::hook::{Call, Hook, MediaError};
use crate::model::LINE_BYTES;

/// A hook under which chosen lines are poisoned: a read that touches one fails. Writing to a poisoned line does not
/// heal it, as real media do not promise that.
#[derive(Default)]
pub struct Faults {
    poisoned: RwLock<BTreeSet<u64>>,
    hits: AtomicU64,
}

impl Faults {
    /// No line is poisoned yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Poisons every line that `at..at + len` touches.
    pub fn poison(&self, at: u64, len: u64) {
        let mut poisoned = self.poisoned.write().unwrap_or_else(PoisonError::into_inner);
        poisoned.extend(lines(at, len));
    }

    /// Heals every line that `at..at + len` touches.
    pub fn heal(&self, at: u64, len: u64) {
        let mut poisoned = self.poisoned.write().unwrap_or_else(PoisonError::into_inner);
        lines(at, len).for_each(|line| {
            poisoned.remove(&line);
        });
    }

    /// How many reads have failed.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

/// A hook under which the N-th system call fails, and those behind it too if it is to stay so. Run something with N = 1, 2, ... until
/// [`failed`](Self::failed) is `None`: then it has seen every one of its calls fail.
pub struct FailingCalls {
    fails_at: u64,
    stays: bool,
    code: i32,
    calls: AtomicU64,
    failed: Mutex<Option<&'static str>>,
}

impl FailingCalls {
    /// The call of number `fails_at`, from 1, fails with the system's error `code`; all later ones too if it `stays`.
    pub fn new(fails_at: u64, stays: bool, code: i32) -> Arc<Self> {
        Arc::new(Self { fails_at, stays, code, calls: AtomicU64::new(0), failed: Mutex::new(None) })
    }

    /// The first call that failed.
    pub fn failed(&self) -> Option<&'static str> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str) -> io::Result<()> {
        let number = 1 + self.calls.fetch_add(1, Ordering::Relaxed);
        if number < self.fails_at || (number > self.fails_at && !self.stays) {
            return Ok(());
        }
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(name);
        Err(io::Error::from_raw_os_error(self.code))
    }
}

impl Hook for FailingCalls {
    fn system_call(&self, name: &'static str) -> io::Result<()> {
        self.call(name)
    }

    fn sync(&self, _call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.call("sync")?;
        apply()
    }
}

fn lines(at: u64, len: u64) -> impl Iterator<Item = u64> {
    (at - at % LINE_BYTES..at.saturating_add(len)).step_by(LINE_BYTES as usize)
}

impl Hook for Faults {
    fn read(&self, at: u64, len: u64, _call: Call<'_>) -> Result<(), MediaError> {
        let poisoned = self.poisoned.read().unwrap_or_else(PoisonError::into_inner);
        let start = at - at % LINE_BYTES;
        if len == 0 || poisoned.is_empty() {
            return Ok(());
        }
        let Some(&first) = poisoned.range(start..at.saturating_add(len)).next() else { return Ok(()) };
        let run = (first..).step_by(LINE_BYTES as usize).take_while(|line| poisoned.contains(line)).count() as u64;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Err(MediaError { at: first, len: run * LINE_BYTES })
    }
}
