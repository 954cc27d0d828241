//! Which keyspace each logical database is, and the index of each keyspace.

use super::Db;
use crate::index::{Index, IndexOptions};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One keyspace: an id that records bear, and an index that is made on first use.
pub struct Keyspace {
    /// Never used again once FLUSHDB has retired it.
    pub id: u32,
    index: OnceLock<Index>,
    /// Keys with an expiry.
    expires: AtomicU64,
    /// Sum of their expiry times, in wrapping milliseconds.
    deadline_sum_ms: AtomicU64,
    /// Hashes with fields that have an expiry.
    field_expires: AtomicU64,
}

/// Keys that an index has address space for at least: some 32 MB of it.
const LEAST_ENTRIES: u64 = 1 << 20;

impl Keyspace {
    /// An empty keyspace.
    pub fn new(id: u32) -> Self {
        Self {
            id,
            index: OnceLock::new(),
            expires: AtomicU64::new(0),
            deadline_sum_ms: AtomicU64::new(0),
            field_expires: AtomicU64::new(0),
        }
    }

    /// Its index, if anything was ever stored.
    #[inline]
    pub fn index(&self) -> Option<&Index> {
        self.index.get()
    }

    /// Its index, made now if need be. Where the system refuses address space for as many keys as the options ask for, it is made for fewer.
    ///
    /// # Panics
    /// If the system has no address space left for it.
    pub fn index_or_make(&self, options: &IndexOptions) -> &Index {
        self.index.get_or_init(|| {
            let mut options = options.clone();
            // Ends: the number of keys is halved each time.
            loop {
                match Index::new(&options) {
                    Ok(index) => return index,
                    Err(_) if options.max_entries > LEAST_ENTRIES => options.max_entries /= 2,
                    Err(error) => panic!("the system grants no address space for an index: {error}"),
                }
            }
        })
    }

    /// Number of keys.
    pub fn len(&self) -> u64 {
        self.index().map_or(0, Index::len)
    }

    /// Counts a key with an expiry in.
    pub fn count_deadline(&self, at_ms: u64) {
        self.expires.fetch_add(1, Ordering::Relaxed);
        self.deadline_sum_ms.fetch_add(at_ms, Ordering::Relaxed);
    }

    /// Counts a key with an expiry out.
    pub fn uncount_deadline(&self, at_ms: u64) {
        self.expires.fetch_sub(1, Ordering::Relaxed);
        self.deadline_sum_ms.fetch_sub(at_ms, Ordering::Relaxed);
    }

    /// Counts a hash with fields that have an expiry in or out.
    pub fn count_field_expires(&self, comes: bool) {
        match comes {
            true => self.field_expires.fetch_add(1, Ordering::Relaxed),
            false => self.field_expires.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// Number of hashes with fields that have an expiry.
    pub fn field_expires(&self) -> u64 {
        self.field_expires.load(Ordering::Relaxed)
    }

    /// Number of keys with an expiry, and their mean remaining life at `now_ms` in milliseconds.
    pub fn expires(&self, now_ms: u64) -> (u64, u64) {
        let expires = self.expires.load(Ordering::Relaxed);
        let sum = self.deadline_sum_ms.load(Ordering::Relaxed);
        (expires, sum.checked_div(expires).map_or(0, |mean| mean.saturating_sub(now_ms)))
    }
}

/// The keyspace of each database. Replaced whole by FLUSHDB and SWAPDB, while all stripes are held.
#[derive(Clone)]
pub struct DbTable {
    keyspaces: Vec<Arc<Keyspace>>,
    /// Each keyspace's id and the database it belongs to, by id.
    by_id: Vec<(u32, Db)>,
}

impl DbTable {
    /// Fresh keyspaces of these ids, for databases 0, 1, ...
    pub fn new(ids: &[u32]) -> Self {
        let keyspaces = ids.iter().map(|&id| Arc::new(Keyspace::new(id))).collect();
        let mut table = Self { keyspaces, by_id: Vec::new() };
        table.sort();
        table
    }

    fn sort(&mut self) {
        self.by_id = (0..).zip(&self.keyspaces).map(|(db, keyspace)| (keyspace.id, db)).collect();
        self.by_id.sort_unstable();
    }

    /// The keyspace of this id and the database that has it, if one does.
    #[inline]
    pub fn find(&self, id: u32) -> Option<(Db, &Arc<Keyspace>)> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let db = self.by_id[at].1;
        Some((db, self.get(db)))
    }

    /// The keyspace of `db`.
    ///
    /// # Panics
    /// If `db` is not below [`DbTable::len`]: commands check it.
    #[inline]
    pub fn get(&self, db: Db) -> &Arc<Keyspace> {
        &self.keyspaces[db as usize]
    }

    /// How many databases there are.
    pub fn len(&self) -> u32 {
        self.keyspaces.len() as u32
    }

    /// All keyspaces, database 0 first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.keyspaces.iter()
    }

    /// Puts another keyspace in the place of `db` and returns the former one.
    pub fn replace(&mut self, db: Db, keyspace: Keyspace) -> Arc<Keyspace> {
        let former = std::mem::replace(&mut self.keyspaces[db as usize], Arc::new(keyspace));
        self.sort();
        former
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: Db, b: Db) {
        self.keyspaces.swap(a as usize, b as usize);
        self.sort();
    }
}
