//! Whole databases at once: FLUSHDB, FLUSHALL, SWAPDB. Each is one durable change of the superblock's map, made while all stripes are
//! held, so no write is in flight; what was flushed is taken apart in the background.

use super::keyspaces::{DbTable, Keyspace};
use super::{Db, Store, StoreError, Worker};
use crate::base::mutant::{self, Mutant};
use crate::base::sync::MutexGuard;
use crate::log::{Kind, NewRecord};
use crate::pool::Urgency;
use crate::pool::format::DatabaseMap;
use crossbeam_epoch::Guard;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

impl Store {
    /// Empties one database: one durable step, whatever is in it. Within a transaction it is part of that, if `worker` is the transaction's.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], within a transaction only.
    pub fn flush_db(&self, db: Db, worker: Option<&mut Worker>) -> Result<(), StoreError> {
        self.flush(&[db], worker)
    }

    /// Empties all databases in one durable step, also those beyond [`Store::databases`].
    ///
    /// # Errors
    /// As [`Store::flush_db`].
    pub fn flush_all(&self, worker: Option<&mut Worker>) -> Result<(), StoreError> {
        let all: Vec<Db> = (0..self.table.load(&crossbeam_epoch::pin()).len()).collect();
        self.flush(&all, worker)
    }

    /// Changes the map of databases: durably, or as part of the transaction that `worker` is in the middle of.
    fn change_map(&self, worker: Option<&mut Worker>, change: impl FnOnce(&mut DatabaseMap)) -> Result<(), StoreError> {
        let Some((worker, mut atom)) = worker.and_then(|worker| worker.atom.take().map(|atom| (worker, atom))) else {
            self.pool.update_superblock(|superblock| {
                let mut map = superblock.map();
                change(&mut map);
                superblock.set_map(&map);
            });
            return Ok(());
        };
        let mut map = worker.map.clone().unwrap_or_else(|| self.pool.superblock().map());
        change(&mut map);
        map.generation += 1;
        worker.batch.clear();
        worker.batch.push(&NewRecord {
            kind: Kind::DatabaseMap,
            flags: 0,
            keyspace: 0,
            version: 0,
            expiry_ms: 0,
            key: [&map.generation.to_le_bytes(), &[]],
            value: &map.encode(),
        });
        let appended = worker.writer.commit_part(&self.pool, &mut worker.batch, Urgency::Frees, &mut atom);
        worker.batch.clear();
        worker.atom = Some(atom);
        appended?;
        worker.map = Some(map);
        Ok(())
    }

    fn flush(&self, dbs: &[Db], worker: Option<&mut Worker>) -> Result<(), StoreError> {
        let _held = self.stripes.lock_all();
        let guard = crossbeam_epoch::pin();
        let mut table = self.table.load(&guard).clone();
        // A database without an index never had a key: it keeps its keyspace.
        let used: Vec<Db> = dbs.iter().copied().filter(|&db| table.get(db).index().is_some()).collect();
        if used.is_empty() {
            self.changes.tell_of_databases(0);
            return Ok(());
        }
        let mut fresh = Vec::with_capacity(used.len());
        if mutant::active(Mutant::FlushVisibleEarly) {
            let mut early = table.clone();
            used.iter().for_each(|&db| drop(early.replace(db, Keyspace::new(0))));
            self.table.replace(early, &guard);
        }
        // A crash during this leaves all of these databases as they were, or all of them empty.
        let mut change = |map: &mut DatabaseMap| {
            for &db in &used {
                map.keyspaces[db as usize] = map.next_keyspace;
                fresh.push(map.next_keyspace);
                map.next_keyspace += u32::from(!mutant::active(Mutant::KeyspaceIdReused));
            }
        };
        match mutant::active(Mutant::FlushNotRecorded) {
            false => self.change_map(worker, change)?,
            true => change(&mut self.pool.superblock().map()),
        }
        let retired: Vec<_> = used.iter().zip(fresh).map(|(&db, id)| table.replace(db, Keyspace::new(id))).collect();
        // First, so that who does not find a keyspace in the table finds it there.
        self.lock_retired().extend(retired);
        let before = self.table.load(&guard);
        self.table.replace(table.clone(), &guard);
        used.iter().for_each(|&db| self.tell_of_database(db, before, &table, &guard));
        self.changes.tell_of_databases(used[0]);
        self.wake_cleaner();
        Ok(())
    }

    /// Waits until no write is under way that was when this was called.
    pub fn await_writes(&self) {
        drop(self.stripes.lock_all());
    }

    /// Swaps two databases in one durable step.
    ///
    /// # Errors
    /// As [`Store::flush_db`].
    pub fn swap_db(&self, a: Db, b: Db, worker: Option<&mut Worker>) -> Result<(), StoreError> {
        if a == b {
            return Ok(());
        }
        let _held = self.stripes.lock_all();
        let guard = crossbeam_epoch::pin();
        let mut table: DbTable = self.table.load(&guard).clone();
        // A crash during this leaves both as they were, or both swapped.
        if !mutant::active(Mutant::SwapNotRecorded) {
            self.change_map(worker, |map| map.keyspaces.swap(a as usize, b as usize))?;
        }
        table.swap(a, b);
        let before = self.table.load(&guard);
        self.table.replace(table.clone(), &guard);
        [a, b].into_iter().for_each(|db| self.tell_of_database(db, before, &table, &guard));
        self.changes.tell_of_databases(a);
        Ok(())
    }

    pub(super) fn lock_retired(&self) -> MutexGuard<'_, Vec<Arc<Keyspace>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes flushed keyspaces and large collections that are gone apart for at most about `budget`: counts their records as garbage, frees their objects and indexes. Says
    /// whether there is more to do.
    pub fn reap(&self, budget: Duration) -> bool {
        let _cleaner = self.lock_cleaner();
        self.reap_until(Instant::now() + budget)
    }

    /// [`Store::reap`], by who holds the cleaner.
    pub(super) fn reap_until(&self, deadline: Instant) -> bool {
        let unfinished = self.objects.dropping.work(self.tools(), deadline);
        // Ends: each turn takes a keyspace out, or leaves.
        loop {
            // It stays in the list meanwhile: the cleaner must not take its records for nobody's.
            let Some(keyspace) = self.lock_retired().last().cloned() else { return unfinished };
            if is_seen(&keyspace) || !self.take_apart(&keyspace, deadline) {
                // A reader may still look at the table that has it, and must find it whole; or it is not empty yet. Come back later. Freeing
                // its index never falls to a worker so.
                crossbeam_epoch::pin().flush();
                return true;
            }
            self.lock_retired().retain(|other| !Arc::ptr_eq(other, &keyspace));
        }
    }

    /// Removes the keys of a flushed keyspace from its index until `deadline`; whether it is empty.
    fn take_apart(&self, keyspace: &Keyspace, deadline: Instant) -> bool {
        let Some(index) = keyspace.index() else { return true };
        // Ends: every pass over the index removes all keys it meets but those whose records are damaged, and nobody adds any.
        while !index.is_empty() {
            let before = index.len();
            let mut cursor = 0;
            loop {
                let guard = crossbeam_epoch::pin();
                let mut addrs = Vec::new();
                cursor = index.scan(cursor, &guard, |addr| addrs.push(addr));
                for addr in addrs {
                    self.take_out(keyspace, addr, &guard);
                }
                if Instant::now() >= deadline {
                    return false;
                }
                if cursor == 0 {
                    break;
                }
            }
            if index.len() == before {
                break;
            }
        }
        true
    }

    /// Removes one key of a flushed keyspace that nobody looks at any more.
    pub(super) fn take_out(&self, keyspace: &Keyspace, addr: crate::base::LogAddr, guard: &Guard) {
        let Some(index) = keyspace.index() else { return };
        let Ok(record) = crate::log::try_record_at(&self.pool, addr) else { return };
        let hash = self.hash(record.key);
        let stripe = self.stripes.of(hash);
        let mut held = stripe.lock();
        if index.remove(hash, guard, |other| other == addr).is_some() {
            self.objects.leave(self.tools(), keyspace, stripe, &mut held, hash, addr, guard);
        }
    }
}

/// Whether a table may still have this retired keyspace, of which the caller has a count of its own beside the list's: then a reader may look at
/// it, and must find it whole.
pub(super) fn is_seen(keyspace: &Arc<Keyspace>) -> bool {
    Arc::strong_count(keyspace) > 2
}
