//! The one source of time for expiry, so that tests turn it by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds that never runs backwards within a process. Cheap to clone.
///
/// Expiry depends on it: a key seen as expired must not come back because the wall clock was set back, so
/// the clock stands still until the wall clock has caught up.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The latest time given out; for a manual clock the time itself.
    latest_ms: AtomicU64,
    manual: bool,
}

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self { inner: Arc::new(Inner { latest_ms: AtomicU64::new(0), manual: false }) }
    }

    /// A clock that stands at `now_ms` until [`Clock::advance`] moves it.
    pub fn manual(now_ms: u64) -> Self {
        Self { inner: Arc::new(Inner { latest_ms: AtomicU64::new(now_ms), manual: true }) }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        if self.inner.manual {
            return self.inner.latest_ms.load(Ordering::Relaxed);
        }
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        // Relaxed: a monotonic maximum of a single word carries no other data.
        let latest_ms = self.inner.latest_ms.load(Ordering::Relaxed);
        if wall_ms <= latest_ms {
            return latest_ms;
        }
        self.inner.latest_ms.fetch_max(wall_ms, Ordering::Relaxed).max(wall_ms)
    }

    /// Never give out a time below `floor_ms` again: what recovery found to have been reached already.
    pub fn raise_floor(&self, floor_ms: u64) {
        self.inner.latest_ms.fetch_max(floor_ms, Ordering::Relaxed);
    }

    /// Moves a manual clock on by `by_ms`; a system clock ignores it.
    pub fn advance(&self, by_ms: u64) {
        if self.inner.manual {
            self.inner.latest_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}
