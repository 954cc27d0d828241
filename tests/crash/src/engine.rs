//! The engine under test: the real store and the real commands over a region in memory, run by one thread.

use bytes::BytesMut;
use fencepost::base::Clock;
use fencepost::cleaner::{CleanStep, Demand};
use fencepost::command::Direct;
use fencepost::persist::{Medium, Region, RegionOptions};
use fencepost::pool::{Pool, PoolError, PoolOptions};
use fencepost::recovery::Progress;
use fencepost::store::{OpenError, Store, StoreOptions, Worker};
use pmem_emulation::{Hook, Note};
use std::path::Path;
use std::sync::Arc;

/// What the clock shows when a pool is made, and when it is recovered: so far back that only what is durable says what has expired.
pub const START_MS: u64 = 1_700_000_000_000;

/// Databases that are served.
pub const DATABASES: u32 = 3;

/// Bytes of a segment: the least there can be.
pub const SEGMENT_BYTES: u64 = 4096;

/// Segments of the pools under test, unless a workload says otherwise.
pub const SEGMENTS: u32 = 16;

/// Segments that those pools can grow to.
pub const MOST_SEGMENTS: u32 = 24;

/// One request: its arguments.
pub type Request = Vec<Vec<u8>>;

/// What runs requests. One per thread, used for one engine after the other.
pub struct Driver {
    direct: Direct,
    out: BytesMut,
}

impl Driver {
    pub fn new() -> Self {
        Self { direct: Direct::new(Clock::manual(START_MS)), out: BytesMut::new() }
    }

    /// A new connection: database 0.
    pub fn reconnect(&mut self) {
        self.direct.session.select(0);
        self.direct.session.multi = None;
        self.direct.session.watches.clear();
    }

    /// The database that the session has selected.
    pub fn database(&self) -> u32 {
        self.direct.session.db
    }
}

/// What an engine runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Whether the pool is a file on a disk; else it is persistent memory.
    pub disk: bool,
    /// Which boot of the system it is.
    boot: u8,
}

impl Machine {
    pub const PMEM: Self = Self { disk: false, boot: 1 };
    pub const DISK: Self = Self { disk: true, boot: 1 };

    /// The same one when the power is back.
    pub fn rebooted(self) -> Self {
        Self { boot: self.boot + 1, ..self }
    }
}

/// A store with its clock and the one worker that writes to it.
pub struct Engine {
    pub store: Arc<Store>,
    worker: Worker,
}

/// Bytes of a pool of so many segments.
fn pool_bytes(segments: u32) -> u64 {
    // Superblock copies and sync marks, a page each.
    4 * 4096 + u64::from(segments) * SEGMENT_BYTES
}

fn region_options(machine: Machine, hook: Option<Arc<dyn Hook>>) -> RegionOptions {
    RegionOptions {
        hook,
        reserve_bytes: pool_bytes(MOST_SEGMENTS),
        acts_as: machine.disk.then_some(Medium::File),
        boot_id: Some([machine.boot; 16]),
        ..RegionOptions::default()
    }
}

fn store_options(segments: u32, machine: Machine, hook: Option<Arc<dyn Hook>>) -> StoreOptions {
    let pool = PoolOptions {
        path: None,
        bytes: pool_bytes(segments),
        max_bytes: 0,
        segment_bytes: Some(SEGMENT_BYTES),
        stripes: 4,
        now_ms: START_MS,
        region: region_options(machine, hook),
    };
    StoreOptions { pool, databases: DATABASES, recovery_threads: 1, salvage: false }
}

/// Why an image did not become an engine.
#[derive(Debug)]
pub enum Refusal {
    Pool(PoolError),
    Store(OpenError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pool(error) => write!(f, "the pool does not open: {error}"),
            Self::Store(error) => write!(f, "the store does not open: {error}"),
        }
    }
}

impl Engine {
    /// A store over a new pool of so many segments, always with the same identity.
    pub fn create(segments: u32, machine: Machine, hook: Option<Arc<dyn Hook>>) -> Self {
        let options = store_options(segments, machine, hook);
        let identity: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x5a);
        let pool = Pool::create_with_identity(&options.pool, identity).expect("a small pool in memory");
        // For the recorder: from here on there is a pool.
        pool.region().note(Note::RecoveryDone);
        let store = Store::recover(pool, &options, Clock::manual(START_MS), &Progress::default());
        Self::over(store.expect("a new pool opens"))
    }

    fn over(store: Store) -> Self {
        let worker = store.worker();
        Self { store: Arc::new(store), worker }
    }

    /// Recovers from what a crash has left.
    ///
    /// # Errors
    /// The engine's own, for an image that it refuses.
    pub fn recover(image: &[u8], machine: Machine, hook: Option<Arc<dyn Hook>>) -> Result<Self, Refusal> {
        let region = Region::from_image(image, &region_options(machine, hook)).expect("memory for a small region");
        let pool = Pool::from_region(region, Path::new("image")).map_err(Refusal::Pool)?;
        let options = store_options(SEGMENTS, machine, None);
        let store = Store::recover(pool, &options, Clock::manual(START_MS), &Progress::default());
        Ok(Self::over(store.map_err(Refusal::Store)?))
    }

    /// Runs requests as one pipeline and gives back their replies' bytes.
    pub fn run(&mut self, driver: &mut Driver, requests: &[Request]) -> Vec<u8> {
        driver.out.clear();
        driver.direct.run(&self.store, &mut self.worker, requests, &mut driver.out);
        driver.out.to_vec()
    }

    /// The clock's time.
    pub fn now_ms(&self) -> u64 {
        self.store.clock().now_ms()
    }

    /// Moves the clock on.
    pub fn advance(&self, by_ms: u64) {
        self.store.clock().advance(by_ms);
    }

    /// One pass of the background removal of expired keys.
    pub fn expire(&self) {
        self.store.expire_cycle(self.now_ms(), std::time::Duration::from_secs(60));
    }

    /// Steps of the cleaner, as many as asked for, or until there is nothing to be gained.
    pub fn clean(&self, steps: usize) {
        self.store.reap(std::time::Duration::from_secs(60));
        let mut left = steps;
        // Ends: other threads are not pinned for ever.
        while left > 0 {
            match self.store.clean_step(Demand::Now) {
                CleanStep::Worked => left -= 1,
                CleanStep::Waiting => std::thread::yield_now(),
                CleanStep::Idle => return,
            }
        }
    }

    /// Seals the worker's segment.
    pub fn seal(&mut self) {
        self.store.close_worker(&mut self.worker);
    }

    /// Makes the pool so many segments large, as the background does when it gets full.
    pub fn grow(&self, segments: u32) {
        self.store.pool().grow(pool_bytes(segments)).expect("no workload grows beyond what is reserved");
    }

    /// Syncs the file, as the background and SAVE do.
    pub fn sync(&self) {
        self.store.sync().expect("memory can be synced");
    }

    /// Closes the worker's segment and then the store, as a shutdown does. Nothing may be run after it.
    pub fn close(&mut self) {
        self.store.close_worker(&mut self.worker);
        self.store.close().expect("nothing to sync in memory");
    }

    /// The region's bytes as they are in memory now.
    pub fn image(&self) -> Vec<u8> {
        let region = self.store.pool().region();
        region.read(0, region.len()).expect("memory reads").to_vec()
    }
}
