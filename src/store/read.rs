//! Reading: lock-free, and of one moment where several keys are asked for at once.

use super::keyspaces::DbTable;
use super::{Db, Entry, Key, Store};
use crate::base::LogAddr;
use crate::base::sync::yield_now;
use crate::log::{Kind, Record, RecordError, try_record_at};
use crossbeam_epoch::Guard;
use std::sync::atomic::Ordering;

/// Keys whose memory accesses are overlapped at a time.
pub const RUN: usize = 32;

/// Tries without locks before a read of several keys takes their stripes.
const OPTIMISTIC_TRIES: usize = 8;

impl Store {
    /// Looks a key up. Lock-free: one index probe and one record. `now_ms` decides about expiry.
    #[inline]
    pub fn read<'g>(&'g self, key: Key<'_>, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        let hash = self.hash(key.name);
        if self.stripes.exclusive().1 {
            self.stripes.of(hash).wait_for_publisher();
        }
        self.entry(self.table.load(guard), key, hash, now_ms, guard)
    }

    /// The live entry of a key.
    #[inline]
    pub(super) fn entry<'g>(
        &'g self,
        table: &DbTable,
        key: Key<'_>,
        hash: u64,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Option<Entry<'g>> {
        let index = table.get(key.db).index()?;
        let mut without_object = None;
        // Ends: it goes round again only when the key's object was replaced since its head was found, and leads to another head then.
        loop {
            let (mut found, mut damaged) = (None, None);
            let addr = index.get(hash, guard, |addr| match try_record_at(&self.pool, addr) {
                Ok(record) => {
                    let same = record.key == key.name;
                    found = same.then_some(record);
                    same
                }
                Err(error) => {
                    damaged = Some((addr, error));
                    false
                }
            });
            let (Some(addr), Some(record)) = (addr, found) else {
                return damaged.map(|(addr, error)| self.damaged_entry(addr, error));
            };
            if record.expired(now_ms) {
                self.expired_key_seen(self.stripes.number(hash), record.expiry_ms, now_ms);
                return None;
            }
            if let Some(entry) = self.entry_of(record, guard) {
                return Some(entry);
            }
            if without_object == Some(addr) {
                return Some(self.damaged_entry(addr, RecordError::Malformed("object head")));
            }
            without_object = Some(addr);
        }
    }

    /// The entry of a record that the index leads to; `None` if it is a long string that has gone meanwhile, or is damaged.
    #[inline]
    fn entry_of<'g>(&'g self, record: Record<'g>, guard: &'g Guard) -> Option<Entry<'g>> {
        let table = match record.kind {
            Kind::String => None,
            Kind::ObjectHead => Some(self.objects.get(record.object().ok()?.id, guard)?),
            // No key has such a record.
            _ => return None,
        };
        Some(Entry { pool: &self.pool, record, table, damaged: false })
    }

    /// What stands for a key whose record makes no sense any more: in all likelihood this key's, as 16 bits and more of its hash led there. It
    /// must not be taken for absent.
    #[cold]
    fn damaged_entry<'g>(&'g self, addr: LogAddr, error: RecordError) -> Entry<'g> {
        self.damaged_record_seen(addr, error);
        let kind = Kind::String;
        let record = Record { kind, flags: 0, keyspace: 0, version: 0, expiry_ms: 0, key: &[], value: &[] };
        Entry { pool: &self.pool, record, table: None, damaged: true }
    }

    /// Counts a record that makes no sense, and says so in the log, the more seldom the more often it happens.
    #[cold]
    fn damaged_record_seen(&self, addr: LogAddr, error: RecordError) {
        let seen = 1 + self.damaged_records_seen.fetch_add(1, Ordering::Relaxed);
        if seen.is_power_of_two() {
            tracing::error!(seen, "the record at byte {:#x} of the pool is damaged: {error}", addr.offset());
        }
    }

    fn entry_at<'g>(&'g self, addr: LogAddr, guard: &'g Guard) -> Option<Entry<'g>> {
        match try_record_at(&self.pool, addr) {
            Ok(record) => self.entry_of(record, guard),
            Err(error) => {
                self.damaged_record_seen(addr, error);
                None
            }
        }
    }

    /// Looks several keys up, each for itself, their memory accesses overlapped. `out` must have a place for each key.
    pub fn read_batch<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard, out: &mut [Option<Entry<'g>>]) {
        let before = self.stripes.exclusive();
        if !before.1 {
            self.read_overlapped(keys, now_ms, guard, out);
            // Unchanged: no write of several keys was published meanwhile, so no half of one was seen.
            if self.stripes.exclusive() == before {
                return;
            }
        }
        for (key, place) in keys.iter().zip(out) {
            *place = self.read(*key, now_ms, guard);
        }
    }

    fn read_overlapped<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard, out: &mut [Option<Entry<'g>>]) {
        let table = self.table.load(guard);
        for (run, out) in keys.chunks(RUN).zip(out.chunks_mut(RUN)) {
            let index = table.get(run[0].db).index();
            let (Some(index), true) = (index, run.iter().all(|key| key.db == run[0].db)) else {
                for (key, place) in run.iter().zip(out) {
                    *place = self.entry(table, *key, self.hash(key.name), now_ms, guard);
                }
                continue;
            };
            let (mut hashes, mut found, mut records) = ([0; RUN], [None; RUN], [const { None }; RUN]);
            for (hash, key) in hashes.iter_mut().zip(run) {
                *hash = self.hash(key.name);
            }
            let prefetch = |addr: LogAddr| self.pool.region().prefetch(addr.offset(), 2);
            let mut damaged = false;
            let is_match = |i: usize, addr| match try_record_at(&self.pool, addr) {
                Ok(record) if record.key == run[i].name => {
                    records[i] = Some(record);
                    true
                }
                Ok(_) => false,
                Err(_) => {
                    damaged = true;
                    false
                }
            };
            index.get_batch(&hashes[..run.len()], guard, prefetch, is_match, &mut found[..run.len()]);
            for (i, (key, place)) in run.iter().zip(out).enumerate() {
                *place = match (found[i], records[i]) {
                    (None, _) if !damaged => None,
                    (_, Some(record)) if record.kind == Kind::String && !record.expired(now_ms) => {
                        self.entry_of(record, guard)
                    }
                    // Expired, long or perhaps damaged: the plain way knows what to do.
                    _ => self.entry(table, *key, hashes[i], now_ms, guard),
                };
            }
        }
    }

    /// Looks several keys up so that all entries are of one moment: no half of a multi-key write is seen, nor an older state of one key
    /// beside a newer one of another.
    pub fn read_many<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard) -> Vec<Option<Entry<'g>>> {
        let mut numbers: Vec<u32> = keys.iter().map(|key| self.stripes.number(self.hash(key.name))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut entries = vec![None; keys.len()];
        let mut sequences = Vec::with_capacity(numbers.len());
        for _ in 0..OPTIMISTIC_TRIES {
            sequences.clear();
            sequences.extend(numbers.iter().map(|&number| self.stripes.at(number).sequence()));
            if sequences.iter().any(|sequence| sequence % 2 == 1) {
                yield_now();
                continue;
            }
            self.read_overlapped(keys, now_ms, guard, &mut entries);
            // The index's loads are Acquire, so the counters read now are not older than the words.
            if numbers.iter().zip(&sequences).all(|(&number, &seen)| self.stripes.at(number).sequence() == seen) {
                return entries;
            }
        }
        // Writers keep coming: hold them off.
        let _held: Vec<_> = numbers.iter().map(|&number| self.stripes.at(number).lock()).collect();
        self.read_overlapped(keys, now_ms, guard, &mut entries);
        entries
    }

    /// One step of SCAN: calls `emit` for the live keys of one bucket and returns the next cursor, 0 at the end. A key that is there
    /// throughout a whole scan is emitted at least once, whatever else happens.
    pub fn scan<'g>(
        &'g self,
        db: Db,
        cursor: u64,
        now_ms: u64,
        guard: &'g Guard,
        emit: &mut dyn FnMut(Entry<'g>),
    ) -> u64 {
        let table = self.table.load(guard);
        let Some(index) = table.get(db).index() else { return 0 };
        index.scan(cursor, guard, |addr| {
            let record = match try_record_at(&self.pool, addr) {
                Ok(record) => record,
                // Its name is not known.
                Err(error) => return self.damaged_record_seen(addr, error),
            };
            let entry = self.entry_of(record, guard).filter(|entry| !entry.record.expired(now_ms)).or_else(|| {
                // Expired, or a long string that was replaced since its head was found: the key itself may well be there.
                let key = Key { db, name: record.key };
                self.entry(table, key, self.hash(key.name), now_ms, guard)
            });
            // The name of a damaged one is not known.
            if let Some(entry) = entry.filter(|entry| !entry.damaged) {
                emit(entry);
            }
        })
    }

    /// A random live key.
    pub fn random<'g>(&'g self, db: Db, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        // Expired keys that are not removed yet are passed over, but not for ever.
        const TRIES: usize = 100;
        let index = self.table.load(guard).get(db).index()?;
        for _ in 0..TRIES {
            let addr = index.random(&mut self.random_source(), guard)?;
            match self.entry_at(addr, guard) {
                Some(entry) if !entry.record.expired(now_ms) => return Some(entry),
                _ => {}
            }
        }
        None
    }

    /// A generator of its own for each call, seeded by the system.
    fn random_source(&self) -> impl FnMut() -> u64 + use<> {
        use std::hash::{BuildHasher, RandomState};
        let state = RandomState::new();
        let mut counter = 0u64;
        move || {
            counter += 1;
            state.hash_one(counter)
        }
    }
}
