//! When a pool on a file is synced, and who waits for it. On other media nothing of this happens: a fence is all there is.
//!
//! | `appendfsync` | a sync begins | a reply |
//! |---|---|---|
//! | `always` | as soon as somebody waits for one, and the last is over | waits until everything that it may speak of is synced. All that were waiting when a sync began share it |
//! | `everysec` | a second after the last one began, if something was written | waits only where the last sync began more than two seconds ago and is not over: the disk cannot follow |
//! | `no` | when the cleaner needs one, for SAVE and at the end | waits for nothing |
//!
//! Commands are run at once in any case, so that a hot key is changed by many clients within one sync.

use super::{Store, SyncFailed};
use crate::pool::Pool;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// When what was written to a file is synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fsync {
    /// Before the reply.
    Always,
    /// Each second.
    EverySec,
    /// When there is another reason to.
    No,
}

impl Fsync {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EverySec, Self::Always, Self::No];

    /// Its name in `appendfsync`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySec => "everysec",
            Self::No => "no",
        }
    }
}

/// With `everysec`, from one sync's beginning to the next one's.
const PERIOD: Duration = Duration::from_secs(1);

/// With `everysec`, how old the last sync that has ended may be before replies wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a sync that has ended changes.
struct State {
    /// Whether replies wait: as the policy says, or because the disk cannot follow.
    holds: AtomicBool,
    failed: AtomicBool,
    /// Raised after each sync, failed or not.
    ended: watch::Sender<u64>,
}

/// Who syncs, and who waits for it.
pub(super) struct Syncing {
    policy: AtomicU8,
    state: Arc<State>,
    /// Somebody waits for a sync.
    wanted: AtomicBool,
    thread: OnceLock<Thread>,
    started: Instant,
    /// When the last sync that has ended began, in milliseconds since `started`.
    covered_ms: AtomicU64,
}

impl Syncing {
    pub(super) fn new(pool: &Pool) -> Self {
        let (holds, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let state = Arc::new(State { holds, failed, ended: watch::Sender::new(0) });
        let told = Arc::clone(&state);
        pool.on_sync(Box::new(move |succeeded| {
            if !succeeded {
                told.failed.store(true, Ordering::Release);
                told.holds.store(false, Ordering::Release);
            }
            told.ended.send_modify(|count| *count += 1);
        }));
        Self {
            policy: AtomicU8::new(Fsync::EverySec as u8),
            state,
            wanted: AtomicBool::new(false),
            thread: OnceLock::new(),
            started: Instant::now(),
            covered_ms: AtomicU64::new(0),
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Store {
    /// When the pool is synced, if it is on a file.
    pub fn fsync(&self) -> Fsync {
        let policy = self.syncing.policy.load(Ordering::Relaxed);
        Fsync::ALL.into_iter().find(|fsync| *fsync as u8 == policy).unwrap_or(Fsync::Always)
    }

    /// Has the pool be synced so from now on.
    pub fn set_fsync(&self, fsync: Fsync) {
        self.syncing.policy.store(fsync as u8, Ordering::Relaxed);
        self.judge_syncing();
        self.syncing.wake();
    }

    /// Finds out whether replies have to wait, now that time has passed, a sync has ended, or the policy is another.
    pub(super) fn judge_syncing(&self) {
        if !self.pool.needs_sync() {
            return;
        }
        let syncing = &self.syncing;
        let holds = match self.fsync() {
            _ if self.has_failed_to_sync() => false,
            Fsync::Always => true,
            Fsync::EverySec => {
                let covered = Duration::from_millis(syncing.covered_ms.load(Ordering::Relaxed));
                self.has_unsynced() && syncing.started.elapsed().saturating_sub(covered) > PATIENCE
            }
            Fsync::No => false,
        };
        syncing.state.holds.store(holds, Ordering::Release);
        // It may have failed just now.
        if self.has_failed_to_sync() {
            syncing.state.holds.store(false, Ordering::Release);
        }
    }

    /// Whether what is answered is on the disk by then.
    pub(super) fn is_synced_before_replies(&self) -> bool {
        self.pool.needs_sync() && self.fsync() == Fsync::Always && !self.has_failed_to_sync()
    }

    fn has_unsynced(&self) -> bool {
        self.pool.synced_epoch() < self.pool.written_epoch()
    }

    /// Whether a sync has failed: then no more writes are to be taken.
    #[inline]
    pub fn has_failed_to_sync(&self) -> bool {
        self.syncing.state.failed.load(Ordering::Acquire)
    }

    /// Whether replies have to wait for [`Store::unsynced`].
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.syncing.state.holds.load(Ordering::Acquire)
    }

    /// The epoch that must be synced before anyone is told what was read or written so far; `None` if it is.
    pub fn unsynced(&self) -> Option<u64> {
        let written = self.pool.written_epoch();
        (self.pool.synced_epoch() < written).then_some(written)
    }

    /// Everything of this epoch and before is synced.
    #[inline]
    pub fn synced_epoch(&self) -> u64 {
        self.pool.synced_epoch()
    }

    /// Tells of each sync that has ended, failed or not.
    pub fn sync_ends(&self) -> watch::Receiver<u64> {
        self.syncing.state.ended.subscribe()
    }

    /// Has what was written so far synced soon, by another thread.
    pub fn want_sync(&self) {
        // Release: who takes it sees what is to be synced.
        if !self.syncing.wanted.swap(true, Ordering::Release) {
            self.syncing.wake();
        }
    }

    /// Syncs as the policy says, until it is to end: the work of a thread.
    pub(super) fn sync_until(&self, is_over: impl Fn() -> bool) {
        let syncing = &self.syncing;
        if !self.pool.needs_sync() || syncing.thread.set(std::thread::current()).is_err() {
            return;
        }
        let mut began = Instant::now();
        while !is_over() && !self.has_failed_to_sync() {
            let wanted = syncing.wanted.swap(false, Ordering::Acquire);
            let due = self.fsync() == Fsync::EverySec && began.elapsed() >= PERIOD;
            if wanted || due {
                began = Instant::now();
                // Noted by the pool, which tells all who wait.
                let _ = self.sync();
                self.judge_syncing();
            } else if self.fsync() == Fsync::EverySec {
                std::thread::park_timeout(PERIOD.saturating_sub(began.elapsed()));
            } else {
                std::thread::park();
            }
        }
    }

    /// The thread of [`Store::sync_until`] is to look whether it is over.
    pub(super) fn wake_syncing(&self) {
        self.syncing.wake();
    }

    /// Makes everything durable that was written before the call, where a fence has not done so: on a file. See [`Pool::sync`].
    ///
    /// # Errors
    /// The file could not be synced, now or once before.
    pub fn sync(&self) -> Result<(), SyncFailed> {
        let (started_ms, started) = (self.clock.now_ms(), self.syncing.started.elapsed());
        let synced = self.pool.sync();
        if synced.is_ok() {
            // Relaxed: maxima of single words that carry no other data.
            self.last_sync_ms.fetch_max(started_ms, Ordering::Relaxed);
            self.syncing.covered_ms.fetch_max(started.as_millis() as u64, Ordering::Relaxed);
        }
        synced
    }
}
