//! The background threads of a store: expiry, index growth and pages of segments ahead of demand on one; cleaning, and taking flushed databases
//! apart, on another; making the pool larger on the third; syncing a pool on a file on the fourth.

use super::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Between two looks at the index's growth frontier.
const TICK: Duration = Duration::from_millis(5);
/// Between two expiry cycles.
const EXPIRY_PERIOD: Duration = Duration::from_millis(100);
/// Time for expiry in each period: a quarter of a core at most.
const EXPIRY_BUDGET: Duration = Duration::from_millis(25);
/// Time in each tick for moving access clocks to a table of another size.
const CLOCKS_BUDGET: Duration = Duration::from_millis(1);

/// Segments whose pages are mapped before they are opened.
const POPULATED_SEGMENTS: usize = 2;
/// Bytes of them mapped in each tick: about a millisecond, and ahead of 800 MB of new records a second.
const POPULATED_BYTES: u64 = 4 << 20;

/// Runs a store's background work until it is dropped: upkeep on one thread, cleaning on another, growth on a third, syncing on a
/// fourth.
pub struct Maintenance {
    store: Arc<Store>,
    stop_upkeep: Option<Sender<()>>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let ending = Arc::new(AtomicBool::new(false));
        let mut started = Self { store, stop_upkeep: Some(stop), ending: Arc::clone(&ending), threads: Vec::new() };
        let store = Arc::clone(&started.store);
        started.spawn("maintenance", move || store.keep_up(&stopped))?;
        let store = Arc::clone(&started.store);
        let is_over = Arc::clone(&ending);
        let cleaner = started.spawn("cleaner", move || store.clean_until(|| is_over.load(Ordering::Acquire)))?;
        started.store.begin_cleaning(cleaner);
        started.store.begin_growing();
        let store = Arc::clone(&started.store);
        started.spawn("growth", move || store.grow_until_ended())?;
        if started.store.pool.needs_sync() {
            let store = Arc::clone(&started.store);
            started.spawn("sync", move || store.sync_until(|| ending.load(Ordering::Acquire)))?;
        }
        Ok(started)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
        let spawned = std::thread::Builder::new().name(name.into()).spawn(work)?;
        let thread = spawned.thread().clone();
        self.threads.push(spawned);
        Ok(thread)
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        drop(self.stop_upkeep.take());
        self.ending.store(true, Ordering::Release);
        self.store.wake_cleaner();
        self.store.wake_syncing();
        self.store.pool.set_grower(false);
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!("the {name} thread had failed");
            }
        }
    }
}

impl Store {
    /// Expiry and memory ahead of demand, until the other end of `stopped` is dropped.
    fn keep_up(&self, stopped: &Receiver<()>) {
        let mut next_expiry = Instant::now();
        let mut look_at_clocks = true;
        // Ends when the other end of the channel is dropped.
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            self.maintain_indexes();
            // On a file a page that is mapped for writing is written to the disk with the next sync, and mapped for reading again.
            if !self.pool.needs_sync() {
                self.pool.populate_ahead(POPULATED_SEGMENTS, POPULATED_BYTES);
            }
            look_at_clocks = self.fit_access_clocks(look_at_clocks, CLOCKS_BUDGET);
            if Instant::now() >= next_expiry {
                look_at_clocks = true;
                self.judge_syncing();
                next_expiry = Instant::now() + EXPIRY_PERIOD;
                if self.active_expire.load(Ordering::Relaxed) {
                    self.expire_cycle(self.clock.now_ms(), EXPIRY_BUDGET);
                }
            }
        }
    }

    /// Lets each index prepare its growth and give back memory after shrinking.
    fn maintain_indexes(&self) {
        let guard = crossbeam_epoch::pin();
        for keyspace in self.table.load(&guard).iter() {
            if let Some(index) = keyspace.index() {
                index.maintain(&guard, &mut |number: usize, work: &mut dyn FnMut()| {
                    let _held = self.stripes.at(number as u32).lock();
                    work();
                });
            }
        }
    }
}
