//! Lines that cannot be read any more.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

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
