//! The background thread of a store: expiry, index growth and pages of segments ahead of demand, and taking flushed databases apart.

use super::Store;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the index's growth frontier.
const TICK: Duration = Duration::from_millis(5);
/// Between two expiry cycles.
const EXPIRY_PERIOD: Duration = Duration::from_millis(100);
/// Time for expiry in each period: a quarter of a core at most.
const EXPIRY_BUDGET: Duration = Duration::from_millis(25);
/// Time for flushed databases in each tick.
const REAP_BUDGET: Duration = Duration::from_millis(1);

/// Segments whose pages are mapped before they are opened.
const POPULATED_SEGMENTS: usize = 2;
/// Bytes of them mapped in each tick: about a millisecond, and ahead of 800 MB of new records a second.
const POPULATED_BYTES: u64 = 4 << 20;

/// Runs a store's background work until it is dropped.
pub struct Maintenance {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("maintenance".into()).spawn(move || {
            let mut next_expiry = Instant::now();
            // Ends when the other end of the channel is dropped.
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                store.maintain_indexes();
                store.pool.populate_ahead(POPULATED_SEGMENTS, POPULATED_BYTES);
                store.reap(REAP_BUDGET);
                if Instant::now() >= next_expiry {
                    next_expiry = Instant::now() + EXPIRY_PERIOD;
                    if store.active_expire.load(Ordering::Relaxed) {
                        store.expire_cycle(store.clock.now_ms(), EXPIRY_BUDGET);
                    }
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the maintenance thread had failed");
        }
    }
}

impl Store {
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
