//! What commands talk to: keys, values and expiry over the index and the log.
//!
//! Reads take no lock; they return [`Entry`] values that borrow immutable records from the pool for as long as the epoch guard is
//! pinned. Writes go through a [`Txn`]: lock the stripes of the keys, look, stage records, commit. Commit is one batch and one fence; only
//! then does the index change.
//!
//! DRAM holds the index, the stripes, and for long strings where their chunks are: all of it is rebuilt from the pool by recovery.
#![forbid(unsafe_code)]

mod access;
mod accounting;
mod atom;
mod changes;
mod clean;
mod collections;
mod databases;
mod entry;
mod error;
mod evict;
mod expiry;
mod fields;
mod growth;
mod info;
mod keyspaces;
mod long_strings;
mod maintenance;
mod many;
mod objects;
mod open;
mod read;
mod rebuild;
mod salvage;
mod stripes;
mod syncing;
mod transaction;
mod txn;

#[cfg(test)]
mod tests;

pub use access::Tracking;
pub use changes::{Change, Changes, Watcher};
pub use collections::{Edit, Element, End, Extent, ListEdit, Purpose, View};
pub use entry::{Entry, StrValue};
pub use error::{OpenError, StoreError};
pub use evict::{Evicted, EvictionPolicy, EvictionRules};
pub use info::{DbStats, StoreInfo};
pub use long_strings::NewValue;
pub use maintenance::Maintenance;
pub use open::StoreOptions;
pub use read::RUN;
pub use salvage::{SalvageError, SalvageReport, salvage, salvage_pool};
pub use stripes::in_transaction;
pub use syncing::Fsync;
pub use transaction::{KeyState, Touches, Transaction};
pub use txn::{Txn, Worker};

pub use crate::pool::SyncFailed;

use crate::base::sync::atomic::AtomicU32;
use crate::base::sync::{Mutex, RwLock};
use crate::base::{Clock, EpochCell};
use crate::cleaner::{Cleaner, StaleFilter};
use crate::index::IndexOptions;
use crate::pool::Pool;
use access::Access;
use keyspaces::{DbTable, Keyspace};
use objects::Objects;
use siphasher::sip::SipHasher13;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use stripes::Stripes;

/// The number of a logical database, as `SELECT` takes it.
pub type Db = u32;

/// A key in a logical database.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The logical database; must be below [`Store::databases`].
    pub db: Db,
    /// The key's bytes.
    pub name: &'a [u8],
}

/// Values up to this many bytes lie in their key's record, where the segments are large enough; longer ones are cut into chunks of this size.
pub const INLINE_MAX_BYTES: usize = 64 * 1024;

/// Up to how many bytes of elements a collection lies in its key's record, unless [`Store::set_packed_bytes`] says otherwise.
pub const PACKED_BYTES: usize = 512;

/// The most that may be.
pub const PACKED_BYTES_MOST: usize = 4096;

/// A store over one pool. Shared by all threads; each writes with a [`Worker`] of its own.
pub struct Store {
    pool: Pool,
    hasher: SipHasher13,
    stripes: Stripes,
    table: EpochCell<DbTable>,
    objects: Objects,
    access: Access,
    /// What is left below the limit of `maxmemory`, as the last who measured it has found it.
    room_level: AtomicU32,
    index_options: IndexOptions,
    clock: Clock,
    /// Databases served; the table has all that a pool can map.
    databases: u32,
    next_object: AtomicU64,
    chunk_shift: u8,
    active_expire: AtomicBool,
    /// Bytes of elements up to which a collection lies in one record.
    packed_bytes: AtomicUsize,
    expired_keys: AtomicU64,
    expired_fields: AtomicU64,
    /// How often a record was met that makes no sense any more.
    damaged_records_seen: AtomicU64,
    /// When [`Store::sync`] last began that succeeded; the opening counts as one.
    last_sync_ms: AtomicU64,
    /// Writes clock marks.
    marks: Mutex<Worker>,
    /// Held shared by who appends without holding a stripe, exclusively by who reads the whole pool.
    appending: RwLock<()>,
    /// Expiry has durably gone by this time.
    clock_floor_ms: AtomicU64,
    /// Keyspaces that were flushed and wait to be taken apart.
    retired: Mutex<Vec<Arc<Keyspace>>>,
    /// How many superseded records of a key are in the pool.
    stale: StaleFilter,
    /// Held by who cleans, or takes flushed keyspaces apart.
    cleaner: Mutex<Cleaner>,
    cleaning: clean::Cleaning,
    recovery: Mutex<info::RecoveryFacts>,
    growth: growth::Growth,
    changes: Arc<Changes>,
    syncing: syncing::Syncing,
}

impl Store {
    /// What a thread needs to write to this store. Give it back with [`Store::close_worker`].
    pub fn worker(&self) -> Worker {
        Worker::default()
    }

    /// The pool beneath.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The clock that expiry goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who is told of keys that change.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// How many logical databases there are.
    pub fn databases(&self) -> u32 {
        self.databases
    }

    /// The longest value that lies in its key's record, in bytes; also the chunk size of longer ones.
    #[inline]
    pub fn inline_max(&self) -> usize {
        1 << self.chunk_shift
    }

    /// The hash of a key's name.
    #[inline]
    pub fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash(name)
    }

    #[inline]
    fn books(&self) -> accounting::Books<'_> {
        accounting::Books { pool: &self.pool, stale: &self.stale }
    }

    #[inline]
    fn tools(&self) -> collections::Tools<'_> {
        collections::Tools { books: self.books(), hasher: &self.hasher }
    }

    /// Up to how many bytes of elements a collection that is made or changed from now on lies in its key's record, at most [`PACKED_BYTES_MOST`]; 0:
    /// none does. Others stay as they are.
    pub fn set_packed_bytes(&self, bytes: usize) {
        let fits = self.pool.max_batch_bytes() as usize / 4;
        // Relaxed: whichever of two values is met, the collection is the same.
        self.packed_bytes.store(bytes.min(PACKED_BYTES_MOST).min(fits), Ordering::Relaxed);
    }

    /// See [`Store::set_packed_bytes`].
    #[inline]
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes.load(Ordering::Relaxed)
    }

    fn new_object(&self) -> u64 {
        // Relaxed: only uniqueness matters.
        self.next_object.fetch_add(1, Ordering::Relaxed)
    }
}
