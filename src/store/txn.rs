//! Writing: lock the stripes, look, stage records, commit.
//!
//! The order that everything rests on is in [`Txn::commit`]: the batch is durable before the index changes, and the index has changed
//! before the caller can answer.

use super::access::access_hash;
use super::collections::{CollectionChange, Pack, StagedElement};
use super::evict::Evictor;
use super::fields::move_field_deadline;
use super::keyspaces::DbTable;
use super::long_strings::{NewValue, ObjectChange, Prepared};
use super::stripes::Held;
use super::{Change, Db, Entry, Key, Store, StoreError};
use crate::base::mutant::{self, Mutant};
use crate::log::{AppendError, Atom, BatchBuilder, Kind, NewRecord, Record, Writer, record_at, try_record_at};
use crate::pool::Urgency;
use crate::pool::format::DatabaseMap;
use crossbeam_epoch::Guard;
use std::cell::Cell;
use std::ops::Range;

/// What one thread needs to write: its open segment and its scratch buffers.
#[derive(Default)]
pub struct Worker {
    pub(super) writer: Writer,
    pub(super) batch: BatchBuilder,
    pub(super) chunk_batch: BatchBuilder,
    pub(super) staged: Vec<Staged>,
    pub(super) objects: Vec<ObjectChange>,
    pub(super) elements: Vec<StagedElement>,
    pub(super) collections: Vec<CollectionChange>,
    /// A small collection that is being changed.
    pub(super) pack: Pack,
    /// Names of keys whose collections change.
    pub(super) names: Vec<u8>,
    pub(super) evictor: Evictor,
    /// What the transaction of several commands writes that this thread is in the middle of.
    pub(super) atom: Option<Atom>,
    /// Which keyspace each database will be when that counts, if it changes them.
    pub(super) map: Option<DatabaseMap>,
    /// Keys that were evicted, where [`EvictionRules::names`](super::EvictionRules::names) asks for them. Taken out by who reads them.
    pub evicted: Vec<(Db, Vec<u8>)>,
    /// The client whose commands are run, for who is told of changes; 0 for nobody's.
    pub client: u64,
    /// Whether this thread's commands leave the access clocks of keys that there are alone: CLIENT NO-TOUCH.
    pub no_touch: bool,
}

impl Worker {
    /// Whether what there was no room for last would have made room itself, so that it needs less; `None` where nothing was refused since this was asked.
    pub fn take_refusal(&mut self) -> Option<bool> {
        self.writer.take_refusal().map(|urgency| urgency != Urgency::Normal)
    }
}

/// A record in the batch that changes the index.
pub(super) struct Staged {
    hash: u64,
    stripe: u32,
    db: Db,
    /// Where in the batch the record is.
    pub(super) offset: usize,
}

/// The stripes of a transaction, the first one inline: most have only one.
pub(super) struct HeldStripes<'a> {
    first: (u32, Held<'a>),
    rest: Vec<(u32, Held<'a>)>,
}

impl<'a> HeldStripes<'a> {
    /// Which ones, in ascending order.
    fn numbers(&self) -> Vec<u32> {
        std::iter::once(self.first.0).chain(self.rest.iter().map(|(number, _)| *number)).collect()
    }

    fn get(&mut self, number: u32) -> &mut Held<'a> {
        if self.first.0 == number {
            return &mut self.first.1;
        }
        let at = self.rest.binary_search_by_key(&number, |(number, _)| *number);
        &mut self.rest[at.expect("the transaction was begun with this key")].1
    }
}

/// A write in progress: stripes held, records staged. Nothing is durable or visible before [`Txn::commit`]; dropping it undoes all.
pub struct Txn<'a> {
    pub(super) store: &'a Store,
    pub(super) worker: &'a mut Worker,
    pub(super) guard: &'a Guard,
    table: &'a DbTable,
    held: HeldStripes<'a>,
    now_ms: u64,
    /// Where a key's name lies, and its hash: saves hashing it again.
    hashed: (usize, usize, u64),
    /// Whether everything staged makes room (deletes) or at least takes none for long (expiry changes).
    pub(super) frees: bool,
    /// Whether readers may see some of the keys changed before others.
    pub(super) independent: bool,
    /// Whether a look at a key has counted as its use, so that its change is no other; or nothing is to.
    used: Cell<bool>,
}

impl Store {
    /// Locks the stripes of `keys`, which must not be empty, for writing. Holds them until commit or drop: never across an `.await`. The
    /// transaction may get, set and delete only these keys.
    ///
    /// # Panics
    /// If `keys` is empty.
    pub fn write<'a>(&'a self, worker: &'a mut Worker, keys: &[Key<'_>], now_ms: u64, guard: &'a Guard) -> Txn<'a> {
        let (first_key, more) = keys.split_first().expect("a write names its keys");
        let first_hash = self.hash(first_key.name);
        let first_number = self.stripes.number(first_hash);
        let held = if more.is_empty() {
            HeldStripes { first: (first_number, self.stripes.at(first_number).lock()), rest: Vec::new() }
        } else {
            let mut numbers: Vec<u32> = more.iter().map(|key| self.stripes.number(self.hash(key.name))).collect();
            numbers.push(first_number);
            self.lock_stripes(&mut numbers)
        };
        let mut txn = self.begin(worker, held, now_ms, guard);
        txn.remember_hash(*first_key, first_hash);
        txn
    }

    /// In ascending order, so that no two transactions wait for each other. Sorts `numbers`, which must not be empty.
    pub(super) fn lock_stripes(&self, numbers: &mut [u32]) -> HeldStripes<'_> {
        numbers.sort_unstable();
        let first = numbers[0];
        let first_held = self.stripes.at(first).lock();
        let is_one = numbers[numbers.len() - 1] == first;
        let mut rest = if is_one { Vec::new() } else { Vec::with_capacity(numbers.len() - 1) };
        let mut last = first;
        for &number in &numbers[1..] {
            if number != last {
                rest.push((number, self.stripes.at(number).lock()));
                last = number;
            }
        }
        HeldStripes { first: (first, first_held), rest }
    }

    pub(super) fn begin<'a>(
        &'a self,
        worker: &'a mut Worker,
        held: HeldStripes<'a>,
        now_ms: u64,
        guard: &'a Guard,
    ) -> Txn<'a> {
        worker.batch.clear();
        worker.staged.clear();
        worker.objects.clear();
        worker.elements.clear();
        worker.names.clear();
        // Loaded with stripes held: FLUSHDB and SWAPDB replace it only while they hold all.
        let table = self.table.load(guard);
        let now_ms = self.expiry_time(now_ms);
        let used = Cell::new(worker.no_touch);
        Txn {
            store: self,
            worker,
            guard,
            table,
            held,
            now_ms,
            hashed: (0, 0, 0),
            frees: true,
            independent: false,
            used,
        }
    }
}

impl<'a> Txn<'a> {
    /// The live entry of `key`, as it was before this transaction. Counts as a use of it.
    pub fn get(&self, key: Key<'_>) -> Option<Entry<'a>> {
        let entry = self.peek(key);
        if self.store.access.is_on() && entry.is_some() && !self.worker.no_touch {
            self.used.set(true);
            self.store.note_use(key.db, self.hash(key.name), self.now_ms, self.guard);
        }
        entry
    }

    /// Counts so many uses of a key more, where uses are counted and the key is there.
    pub fn count_uses(&self, key: Key<'_>, times: usize) {
        if self.store.access.is_on() {
            for _ in 0..times {
                let _counted = self.get(key);
            }
        }
    }

    /// As [`Txn::get`], for a look that does not count as a use.
    pub fn peek(&self, key: Key<'_>) -> Option<Entry<'a>> {
        self.store.entry_held(self.table, key, self.hash(key.name), self.now_ms, self.guard)
    }

    /// The hash of `key`, which comes next, is known.
    #[inline]
    pub fn remember_hash(&mut self, key: Key<'_>, hash: u64) {
        self.hashed = (key.name.as_ptr() as usize, key.name.len(), hash);
    }

    /// The time that expiry goes by in it.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The first field of a hash that exists expires at another time now. `name` is the key's, in the worker's buffer of names.
    pub(super) fn move_field_deadline(&mut self, db: Db, name: Range<usize>, from: Option<u64>, to: Option<u64>) {
        let hash = self.hash(&self.worker.names[name]);
        let number = self.store.stripes.number(hash);
        let held = self.held.get(number);
        move_field_deadline(self.table.get(db), self.store.stripes.at(number), held, hash, from, to);
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let (start, len, hash) = self.hashed;
        if name.as_ptr() as usize == start && name.len() == len { hash } else { self.store.hash(name) }
    }

    /// Stages `key` = `value` as one of several independent writes that share a batch: readers may see one changed before another.
    pub(super) fn stage_independent(&mut self, key: Key<'_>, hash: u64, value: &[u8]) {
        self.frees = false;
        self.stage_hashed(key, hash, Kind::String, 0, None, value.len(), |bytes| bytes.extend_from_slice(value));
    }

    /// Stages a record of `key`; its version and keyspace are filled in.
    pub(super) fn stage(&mut self, key: Key<'_>, kind: Kind, flags: u8, expiry_ms: Option<u64>, value: &[u8]) {
        self.stage_with(key, kind, flags, expiry_ms, value.len(), |bytes| bytes.extend_from_slice(value));
    }

    pub(super) fn stage_with(
        &mut self,
        key: Key<'_>,
        kind: Kind,
        flags: u8,
        expiry_ms: Option<u64>,
        value_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        self.stage_hashed(key, self.hash(key.name), kind, flags, expiry_ms, value_len, fill);
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    fn stage_hashed(
        &mut self,
        key: Key<'_>,
        hash: u64,
        kind: Kind,
        flags: u8,
        expiry_ms: Option<u64>,
        value_len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        if mutant::active(Mutant::BatchSplit) && !self.worker.staged.is_empty() {
            self.commit_part();
        }
        let stripe = self.store.stripes.number(hash);
        let held = self.held.get(stripe);
        held.version += 1;
        let record = NewRecord {
            kind,
            flags,
            keyspace: self.table.get(key.db).id,
            version: held.version,
            expiry_ms: expiry_ms.unwrap_or(0),
            key: [key.name, &[]],
            value: &[],
        };
        let offset = self.worker.batch.push_with(&record, value_len, fill);
        self.worker.staged.push(Staged { hash, stripe, db: key.db, offset });
    }

    /// Stages `key` = `value`, with or without an expiry.
    ///
    /// # Errors
    /// None today; conditions that only staging can find will come with collections.
    #[inline]
    pub fn set(&mut self, key: Key<'_>, value: NewValue<'_>, expire_at: Option<u64>) -> Result<(), StoreError> {
        match value.0 {
            Prepared::Inline(bytes) => self.set_inline(key, bytes, expire_at),
            Prepared::Long { id, table } => {
                self.frees = false;
                self.stage_head(key, id, &table, 0, expire_at);
                self.worker.objects.push(ObjectChange { id, table, in_batch: Vec::new() });
                Ok(())
            }
        }
    }

    /// Stages `key` = a short value that the caller made (a counter, a small string).
    ///
    /// # Errors
    /// None today, as [`Txn::set`].
    #[inline]
    pub fn set_inline(&mut self, key: Key<'_>, value: &[u8], expire_at: Option<u64>) -> Result<(), StoreError> {
        self.frees = false;
        self.stage(key, Kind::String, 0, expire_at, value);
        Ok(())
    }

    /// Stages moving the value of `from` to `to`, keeping its expiry (RENAME, MOVE). `to` is replaced. Whatever the value's size, this is
    /// two records; a long string's chunks stay where they are.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`].
    pub fn rename(&mut self, from: Key<'_>, to: Key<'_>) -> Result<(), StoreError> {
        if from.db == to.db && from.name == to.name {
            return Ok(());
        }
        let Some(entry) = self.peek(from) else { return Ok(()) };
        entry.check()?;
        self.restage(to, &entry, entry.expire_at());
        self.stage(from, Kind::Tombstone, 0, None, &[]);
        Ok(())
    }

    /// Stages a new expiry of `key` (or none), the value unchanged.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`].
    pub fn set_expiry(&mut self, key: Key<'_>, expire_at: Option<u64>) -> Result<(), StoreError> {
        if let Some(entry) = self.peek(key) {
            entry.check()?;
            self.restage(key, &entry, expire_at);
        }
        Ok(())
    }

    /// The same value (the same object) again.
    fn restage(&mut self, key: Key<'_>, entry: &Entry<'a>, expire_at: Option<u64>) {
        let Record { kind, flags, value, .. } = entry.record;
        self.stage(key, kind, flags, expire_at, value);
    }

    /// Stages the removal of `key`; says whether it was there.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`]: what is there cannot be taken out of the index.
    pub fn delete(&mut self, key: Key<'_>) -> Result<bool, StoreError> {
        let entry = self.peek(key);
        entry.as_ref().map_or(Ok(()), Entry::check)?;
        let there = entry.is_some();
        if there {
            self.stage(key, Kind::Tombstone, 0, None, &[]);
        }
        Ok(there)
    }

    /// Makes all staged records durable (one batch, one fence; an atom of several batches where they do not fit into a segment), then visible, then
    /// lets the stripes go. With nothing staged it only unlocks.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`] or [`StoreError::RecordTooLarge`]: nothing has happened then.
    #[inline]
    pub fn commit(mut self) -> Result<(), StoreError> {
        if self.worker.batch.is_empty() {
            return Ok(());
        }
        let urgency = if self.frees { Urgency::Frees } else { Urgency::Normal };
        // Before this returns a crash finds all of the batch or none of it, and nobody has seen any of it.
        let at = match self.append(urgency) {
            Err(AppendError::TooLarge { .. }) => self.commit_in_parts(urgency).map(|()| 0)?,
            committed => committed?,
        };
        // From here on a crash finds all of it.
        self.publish(at);
        if mutant::active(Mutant::PublishBeforeFence) {
            self.store.pool.region().fence();
        }
        Ok(())
    }

    /// Appends the batch: as a part of the transaction that this thread is in, if that is an atom of several.
    #[inline]
    fn append(&mut self, urgency: Urgency) -> Result<u64, AppendError> {
        let Worker { writer, batch, atom, .. } = &mut *self.worker;
        match atom {
            None => writer.commit(&self.store.pool, batch, urgency),
            Some(atom) => writer.commit_part(&self.store.pool, batch, urgency, atom),
        }
    }

    /// Commits what is staged so far for itself: a defect.
    #[cold]
    pub(super) fn commit_part(&mut self) {
        if let Ok(at) = self.worker.writer.commit(&self.store.pool, &mut self.worker.batch, Urgency::Normal) {
            self.publish(at);
            self.worker.batch.clear();
            self.worker.staged.clear();
        }
    }

    /// Makes the batch at `at` visible.
    fn publish(&mut self, at: u64) {
        let staged = std::mem::take(&mut self.worker.staged);
        // Half-published is a state that nobody may see: a panic here would leave it behind unlocked stripes.
        let stop = AbortOnUnwind;
        let store = self.store;
        let elements_alone = self.worker.collections.iter().filter(|change| change.is_of_key_without_record()).count();
        let is_one_key = staged.len() + elements_alone <= 1 || mutant::active(Mutant::PublishWithoutMark);
        if staged.is_empty() && is_one_key {
            // Elements alone: nobody looks at them without the collection.
            self.publish_objects(at);
        } else if is_one_key || self.independent {
            for one in &staged {
                store.stripes.at(one.stripe).publishing_one(|| {
                    self.publish_objects(at);
                    self.publish_key(one, &staged, at);
                });
            }
        } else {
            // Who reads two of the keys one after the other must not find one changed and then the other one not.
            let numbers = self.held.numbers();
            store.stripes.publishing_many(numbers.iter().copied(), || {
                self.publish_objects(at);
                for one in &staged {
                    self.publish_key(one, &staged, at);
                }
            });
        }
        std::mem::forget(stop);
        self.worker.staged = staged;
    }

    #[inline]
    fn publish_key(&mut self, one: &Staged, all: &[Staged], at: u64) {
        let Store { pool, stripes, index_options, .. } = self.store;
        let books = self.store.books();
        let addr = Writer::record_addr(at, one.offset);
        // Where it can be it is read from the batch: the pool's lines have just been flushed from the cache.
        let new = if at > 0 { self.worker.batch.record(one.offset) } else { record_at(pool, addr) };
        let keyspace = self.table.get(one.db);
        let mut met = None;
        // One that makes no sense any more is none: the key gets a word beside it.
        let same_key = |other| {
            let record = try_record_at(pool, other).ok().filter(|record| record.key == new.key);
            met = record.map(|record| (other, record)).or(met);
            record.is_some()
        };
        let old = if new.kind == Kind::Tombstone {
            keyspace.index().and_then(|index| index.remove(one.hash, self.guard, same_key))
        } else {
            keyspace.index_or_make(index_options).upsert(one.hash, addr, self.guard, same_key)
        };
        if self.store.access.is_on() && new.kind != Kind::Tombstone {
            match old {
                Some(_) if self.used.get() => {}
                Some(_) => self.store.note_use(one.db, one.hash, self.now_ms, self.guard),
                None => self.store.access.start(access_hash(keyspace.id, one.hash), self.now_ms, self.guard),
            }
        }
        let (stripe, held) = (stripes.at(one.stripe), self.held.get(one.stripe));
        if let Some(addr) = old {
            // The cleaner may have moved it since.
            let old =
                met.filter(|(place, _)| *place == addr).map_or_else(|| record_at(pool, addr), |(_, record)| record);
            books.count_out(keyspace, stripe, held, one.hash, (addr, &old));
            let deadline = self.store.objects.field_deadline_ms(&old, self.guard);
            move_field_deadline(keyspace, stripe, held, one.hash, deadline, None);
            if let Some(id) = object_id(&old)
                && !all.iter().any(|one| object_id(&record_at(pool, Writer::record_addr(at, one.offset))) == Some(id))
            {
                self.store.objects.forget(self.store.tools(), id, self.guard);
            }
        }
        if new.kind != Kind::Tombstone {
            books.count_in(keyspace, stripe, held, one.hash, (addr, &new));
            let deadline = self.store.objects.field_deadline_ms(&new, self.guard);
            move_field_deadline(keyspace, stripe, held, one.hash, None, deadline);
        }
        self.store.changes.tell(one.db, new.key, Change::Written, self.worker.client);
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        self.worker.batch.clear();
        self.worker.staged.clear();
        self.worker.objects.clear();
        self.abandon_collections();
    }
}

/// Ends the process when it is dropped: while a batch is being published there is no way back.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        tracing::error!("a write failed half-way between durable and visible; stopping: recovery will show all of it");
        std::process::abort();
    }
}

fn object_id(record: &Record<'_>) -> Option<u64> {
    (record.kind == Kind::ObjectHead).then(|| record.object().ok()).flatten().map(|object| object.id)
}
