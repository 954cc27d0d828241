//! Reading: lock-free, and of one moment where several keys are asked for at once.

use super::access::access_hash;
use super::keyspaces::{DbTable, Keyspace};
use super::stripes::{Due, in_transaction};
use super::{Db, Entry, Key, Store, StoreError, View};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, ObjectType, Record, RecordError, try_record_at};
use crossbeam_epoch::Guard;
use std::ptr;
use std::sync::atomic::Ordering;

/// Keys whose memory accesses are overlapped at a time.
pub const RUN: usize = 32;

/// Tries without locks before a read of several keys takes their stripes.
const OPTIMISTIC_TRIES: usize = 8;

impl Store {
    /// Looks a key up, and notes its use where an eviction policy asks for that. Lock-free: one index probe and one record. `now_ms` decides
    /// about expiry.
    #[inline]
    pub fn read<'g>(&'g self, key: Key<'_>, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        let hash = self.hash(key.name);
        let entry = self.look(key, hash, now_ms, guard);
        if self.access.is_on() && entry.is_some() {
            self.note_use(key.db, hash, now_ms, guard);
        }
        entry
    }

    /// As [`Store::read`], for a look that does not count as a use.
    #[inline]
    pub fn peek<'g>(&'g self, key: Key<'_>, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        self.look(key, self.hash(key.name), now_ms, guard)
    }

    #[inline]
    fn look<'g>(&'g self, key: Key<'_>, hash: u64, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        self.stripes.before_reading(self.stripes.number(hash));
        let read = || self.in_one_table(guard, |table| self.entry(table, key, hash, now_ms, guard));
        match self.stripes.without_transaction(read) {
            Some(found) => found,
            None => self.look_beside_transactions(key, hash, now_ms, guard),
        }
    }

    /// As [`Store::look`], while a transaction is open: perhaps on the key's stripe, perhaps elsewhere.
    #[cold]
    fn look_beside_transactions<'g>(
        &'g self,
        key: Key<'_>,
        hash: u64,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Option<Entry<'g>> {
        let number = self.stripes.number(hash);
        let mut sequences = Vec::with_capacity(1);
        for _ in 0..OPTIMISTIC_TRIES {
            self.stripes.at(number).wait_for_publisher();
            let read = || self.in_one_table(guard, |table| self.entry(table, key, hash, now_ms, guard));
            if let Some(found) = self.stripes.at_one_moment(&[number], &mut sequences, read) {
                return found;
            }
        }
        let _held = self.stripes.at(number).lock();
        self.entry_held(self.table.load(guard), key, hash, self.expiry_time(now_ms), guard)
    }

    /// A key of `db` was used. Not told by its entry, which would have to be kept in memory for this.
    #[inline(never)]
    pub(super) fn note_use(&self, db: Db, hash: u64, now_ms: u64, guard: &Guard) {
        self.access.touch(access_hash(self.table.load(guard).get(db).id, hash), now_ms, guard);
    }

    /// The keys that were found were used.
    #[cold]
    fn note_uses(&self, keys: &[Key<'_>], entries: &[Option<Entry<'_>>], now_ms: u64, guard: &Guard) {
        for (key, _) in keys.iter().zip(entries).filter(|(_, entry)| entry.is_some()) {
            self.note_use(key.db, self.hash(key.name), now_ms, guard);
        }
    }

    /// The collection that an entry leads to, whatever its type, as it is now, but for what has expired by `now_ms`: that is as it was with the entry if
    /// the entry's stripe is held, or nobody writes meanwhile.
    ///
    /// # Errors
    /// [`StoreError::WrongType`] when it is a string, [`StoreError::DamagedRecord`].
    pub fn view<'g>(&'g self, entry: Entry<'g>, now_ms: u64) -> Result<View<'g>, StoreError> {
        entry.check()?;
        if entry.record.kind == Kind::Packed {
            // As soon as it makes no sense: positions are counted on from here on.
            let packed = entry.record.packed().and_then(|packed| packed.check().map(|()| packed));
            return packed.map(|packed| View::packed(entry, packed)).map_err(|_| StoreError::DamagedRecord);
        }
        let shared = entry.collection.ok_or(StoreError::WrongType)?;
        let view = View::new(self.tools(), entry, shared, now_ms);
        if let Some(last_ms) = view.last_due_ms() {
            self.mark_fields(last_ms, now_ms);
        }
        Ok(view)
    }

    /// As [`Store::view`], of one type or any.
    #[inline]
    pub(super) fn view_as<'g>(
        &'g self,
        entry: Entry<'g>,
        kind: Option<ObjectType>,
        now_ms: u64,
    ) -> Result<View<'g>, StoreError> {
        entry.check()?;
        if kind.is_some_and(|kind| entry.kind() != kind) {
            return Err(StoreError::WrongType);
        }
        self.view(entry, now_ms)
    }

    /// The collection at `key`, of one type or any; `None` when the key is absent. Counts as so many uses of the key. Takes the key's stripe only when
    /// somebody writes to it meanwhile, or fields are due.
    ///
    /// # Errors
    /// [`StoreError::WrongType`], [`StoreError::DamagedRecord`].
    pub fn collection<'g>(
        &'g self,
        key: Key<'_>,
        kind: Option<ObjectType>,
        uses: usize,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Result<Option<View<'g>>, StoreError> {
        self.collection_hashed(key, self.hash(key.name), kind, uses, now_ms, guard)
    }

    /// As [`Store::collection`], of a key whose hash is known.
    ///
    /// # Errors
    /// As [`Store::collection`].
    #[inline]
    pub fn collection_hashed<'g>(
        &'g self,
        key: Key<'_>,
        hash: u64,
        kind: Option<ObjectType>,
        uses: usize,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Result<Option<View<'g>>, StoreError> {
        let found = match self.collection_undisturbed(key, hash, kind, now_ms, guard) {
            Some(found) => found?,
            None => self.collection_held(key, kind, now_ms, guard)?,
        };
        if uses > 0 && self.access.is_on() && found.is_some() {
            (0..uses).for_each(|_| self.note_use(key.db, hash, now_ms, guard));
        }
        Ok(found)
    }

    /// Without the stripe: `None` if somebody writes to a key of it meanwhile, as then the collection may be another key's by the time that its lock is
    /// had, and what it holds of a time when it was; or if something in it has expired.
    #[inline]
    fn collection_undisturbed<'g>(
        &'g self,
        key: Key<'_>,
        hash: u64,
        kind: Option<ObjectType>,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Option<Result<Option<View<'g>>, StoreError>> {
        let (stripe, table) = (self.stripes.of(hash), self.table.load(guard));
        let before = stripe.sequence();
        if before % 2 == 1 {
            return None;
        }
        let time_ms = self.expiry_time(now_ms);
        let Some(entry) = self.look(key, hash, time_ms, guard) else { return Some(Ok(None)) };
        // Nothing changes in a record.
        let is_settled = entry.collection.is_none();
        if !is_settled && stripe.next_deadline_ms(Due::Field) <= time_ms {
            return None;
        }
        let view = self.view_as(entry, kind, time_ms);
        // The lock of the collection has been acquired: if its elements had been changed for another key, or with those of another one, or for another
        // database, then the counter had been stepped, or the table replaced, before.
        let is_undisturbed = stripe.sequence() == before && ptr::eq(table, self.table.load(guard))
            || mutant::active(Mutant::CollectionOutsideStripe);
        (is_settled || is_undisturbed).then_some(view.map(Some))
    }

    /// As [`Store::collection`], with the stripe held until the collection's lock is had: whoever writes to the key and has not seen what the caller did
    /// before is waited for. Does not count as a use.
    ///
    /// # Errors
    /// As [`Store::collection`].
    pub fn collection_held<'g>(
        &'g self,
        key: Key<'_>,
        kind: Option<ObjectType>,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Result<Option<View<'g>>, StoreError> {
        let hash = self.hash(key.name);
        let stripe = self.stripes.of(hash);
        let mut held = stripe.lock();
        let time_ms = self.expiry_time(now_ms);
        let Some(entry) = self.entry_held(self.table.load(guard), key, hash, time_ms, guard) else { return Ok(None) };
        self.expire_fields_met(stripe, &mut held, time_ms, guard);
        self.view_as(entry, kind, time_ms).map(Some)
    }

    /// What `look` finds while databases are what its argument says. SWAPDB in between could have made another database of a keyspace, and writes to
    /// that one would be seen.
    #[inline]
    fn in_one_table<'g, R>(&'g self, guard: &'g Guard, mut look: impl FnMut(&'g DbTable) -> R) -> R {
        // Ends: each turn but the last meets another table, and those change with all stripes held.
        loop {
            let table = self.table.load(guard);
            let found = look(table);
            // What `look` has seen of a later table's time it has acquired, so a later table is seen here, too. None comes back: as long as the
            // guard is pinned its memory is not used again.
            if ptr::eq(table, self.table.load(guard)) {
                return found;
            }
        }
    }

    /// The live entry of a key, for a reader that holds no stripe: an expired one is removed.
    #[inline]
    fn entry<'g>(
        &'g self,
        table: &DbTable,
        key: Key<'_>,
        hash: u64,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Option<Entry<'g>> {
        let keyspace = table.get(key.db);
        let mut without_object = None;
        // Ends: it goes round again only when the key was changed since it was found, and leads to another record then.
        loop {
            let (addr, record) = self.newest(keyspace, key, hash, guard)?;
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(self.damaged_entry(addr, error)),
            };
            if !record.expired(now_ms) {
                match self.entry_of(record, guard) {
                    Some(entry) if !entry.is_over(now_ms) => return Some(entry),
                    Some(_) => return self.entry_at_end(key, hash, now_ms, guard),
                    None => {}
                }
                if without_object == Some(addr) {
                    return Some(self.damaged_entry(addr, RecordError::Malformed("object head")));
                }
                without_object = Some(addr);
            } else if self.remove_expired(keyspace, hash, addr, &record, now_ms, guard) {
                return None;
            }
        }
    }

    /// As [`Store::entry`], of a hash whose last field seems to have expired. As with a key that has, it waits for the stripe: a writer who holds it may
    /// have found the hash alive. What has no field any more is left to the expiry cycle.
    #[cold]
    fn entry_at_end<'g>(&'g self, key: Key<'_>, hash: u64, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        let _held = self.stripes.of(hash).lock();
        self.entry_held(self.table.load(guard), key, hash, self.expiry_time(now_ms), guard)
    }

    /// The live entry of a key whose stripe the caller holds.
    #[inline]
    pub(super) fn entry_held<'g>(
        &'g self,
        table: &DbTable,
        key: Key<'_>,
        hash: u64,
        now_ms: u64,
        guard: &'g Guard,
    ) -> Option<Entry<'g>> {
        let (addr, record) = self.newest(table.get(key.db), key, hash, guard)?;
        let found = record.and_then(|record| {
            if record.expired(now_ms) {
                self.mark_clock(record.expiry_ms, now_ms);
                return Ok(None);
            }
            let entry = self.entry_of(record, guard).ok_or(RecordError::Malformed("object head"))?;
            let ends_at_ms = entry.ends_at_ms();
            if ends_at_ms <= now_ms {
                self.mark_fields(ends_at_ms, now_ms);
                return Ok(None);
            }
            Ok(Some(entry))
        });
        found.unwrap_or_else(|error| Some(self.damaged_entry(addr, error)))
    }

    /// The record that the index has for a key, expired or not; an error if it makes no sense any more.
    #[inline]
    fn newest<'g>(
        &'g self,
        keyspace: &Keyspace,
        key: Key<'_>,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<(LogAddr, Result<Record<'g>, RecordError>)> {
        let (mut found, mut damaged) = (None, None);
        let addr = keyspace.index()?.get(hash, guard, |addr| match try_record_at(&self.pool, addr) {
            Ok(record) => {
                let same = record.key == key.name;
                found = same.then_some(record);
                same
            }
            Err(error) => {
                damaged = Some((addr, Err(error)));
                false
            }
        });
        match (addr, found) {
            (Some(addr), Some(record)) => Some((addr, Ok(record))),
            _ => damaged,
        }
    }

    /// The time that expiry goes by for a command that began at `now_ms`: not before any that a key may already have been missed at. Asked
    /// for with the stripes held, or between two looks at their counters.
    #[inline]
    pub(super) fn expiry_time(&self, now_ms: u64) -> u64 {
        // A transaction has asked when it began, and its time stands still.
        if in_transaction() {
            return now_ms;
        }
        // Acquire: pairs with the store in `mark_clock`.
        now_ms.max(self.clock_floor_ms.load(Ordering::Acquire))
    }

    /// The entry of a record that the index leads to; `None` if it is a long string that has gone meanwhile, or is damaged.
    #[inline]
    pub(super) fn entry_of<'g>(&'g self, record: Record<'g>, guard: &'g Guard) -> Option<Entry<'g>> {
        let (mut table, mut collection) = (None, None);
        match record.kind {
            Kind::String | Kind::Packed => {}
            Kind::ObjectHead => {
                let object = record.object().ok()?;
                match object.kind {
                    ObjectType::LongString => table = Some(self.objects.strings.get(object.id, guard)?),
                    _ => collection = Some(self.objects.collections.get(object.id, guard)?),
                }
            }
            // No key has such a record.
            _ => return None,
        }
        Some(Entry { pool: &self.pool, record, table, collection, damaged: false })
    }

    /// What stands for a key whose record makes no sense any more: in all likelihood this key's, as 16 bits and more of its hash led there. It
    /// must not be taken for absent.
    #[cold]
    fn damaged_entry<'g>(&'g self, addr: LogAddr, error: RecordError) -> Entry<'g> {
        self.damaged_record_seen(addr, error);
        Entry { pool: &self.pool, record: Record::damaged(), table: None, collection: None, damaged: true }
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

    /// Looks several keys up, each for itself and in their order, their memory accesses overlapped. `out` must have a place for each key. Counts as
    /// a use of each.
    pub fn read_batch<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard, out: &mut [Option<Entry<'g>>]) {
        self.peek_batch(keys, now_ms, guard, out);
        if self.access.is_on() {
            self.note_uses(keys, out, now_ms, guard);
        }
    }

    /// As [`Store::read_batch`], for looks that do not count as uses.
    pub fn peek_batch<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard, out: &mut [Option<Entry<'g>>]) {
        let read = |table: &DbTable| self.read_overlapped(table, keys, Self::entry, now_ms, guard, out);
        if self.stripes.undisturbed(|| self.in_one_table(guard, read)).is_some() {
            return;
        }
        for (key, place) in keys.iter().zip(out) {
            *place = self.peek(*key, now_ms, guard);
        }
    }

    /// `entry` is what looks at a key by itself: with its stripe held, or not.
    fn read_overlapped<'g>(
        &'g self,
        table: &DbTable,
        keys: &[Key<'_>],
        entry: impl Fn(&'g Self, &DbTable, Key<'_>, u64, u64, &'g Guard) -> Option<Entry<'g>>,
        now_ms: u64,
        guard: &'g Guard,
        out: &mut [Option<Entry<'g>>],
    ) {
        for (run, out) in keys.chunks(RUN).zip(out.chunks_mut(RUN)) {
            let index = table.get(run[0].db).index();
            let (Some(index), true) = (index, run.iter().all(|key| key.db == run[0].db)) else {
                for (key, place) in run.iter().zip(out) {
                    *place = entry(self, table, *key, self.hash(key.name), now_ms, guard);
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
            // Keys are read in their order. So once one was looked up again, those behind it are, too.
            let mut again = false;
            for (i, (key, place)) in run.iter().zip(out).enumerate() {
                *place = match (found[i], records[i]) {
                    (None, _) if !again && !damaged => None,
                    (_, Some(record)) if !again && record.kind == Kind::String && !record.expired(now_ms) => {
                        self.entry_of(record, guard)
                    }
                    // Expired, long or perhaps damaged: the plain way knows what to do.
                    _ => {
                        again = true;
                        entry(self, table, *key, hashes[i], now_ms, guard)
                    }
                };
            }
        }
    }

    /// Looks several keys up so that all entries are of one moment: no half of a multi-key write is seen, nor an older state of one key
    /// beside a newer one of another. Counts as a use of each.
    pub fn read_many<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard) -> Vec<Option<Entry<'g>>> {
        let entries = self.peek_many(keys, now_ms, guard);
        if self.access.is_on() {
            self.note_uses(keys, &entries, now_ms, guard);
        }
        entries
    }

    /// As [`Store::read_many`], for looks that do not count as uses.
    pub fn peek_many<'g>(&'g self, keys: &[Key<'_>], now_ms: u64, guard: &'g Guard) -> Vec<Option<Entry<'g>>> {
        let mut numbers: Vec<u32> = keys.iter().map(|key| self.stripes.number(self.hash(key.name))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut entries = vec![None; keys.len()];
        let mut sequences = Vec::with_capacity(numbers.len());
        for _ in 0..OPTIMISTIC_TRIES {
            let read = || {
                let time_ms = self.expiry_time(now_ms);
                self.in_one_table(guard, |table| {
                    self.read_overlapped(table, keys, Self::entry, time_ms, guard, &mut entries);
                });
            };
            if self.stripes.at_one_moment(&numbers, &mut sequences, read).is_some() {
                return entries;
            }
        }
        // Writers keep coming: hold them off.
        let _held: Vec<_> = numbers.iter().map(|&number| self.stripes.at(number).lock()).collect();
        let table = self.table.load(guard);
        self.read_overlapped(table, keys, Self::entry_held, self.expiry_time(now_ms), guard, &mut entries);
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
        // Shown only once it is sure that they were keys of this database.
        let mut entries = Vec::new();
        let mut step = |table: &'g DbTable| {
            entries.clear();
            let Some(index) = table.get(db).index() else { return 0 };
            index.scan(cursor, guard, |addr| {
                let record = match try_record_at(&self.pool, addr) {
                    Ok(record) => record,
                    // Its name is not known.
                    Err(error) => return self.damaged_record_seen(addr, error),
                };
                let entry = self.entry_of(record, guard).filter(|entry| !entry.is_over(now_ms)).or_else(|| {
                    // Expired, or a long string that was replaced since its head was found: the key itself may well be there.
                    let key = Key { db, name: record.key };
                    self.entry(table, key, self.hash(key.name), now_ms, guard)
                });
                // The name of a damaged one is not known.
                entries.extend(entry.filter(|entry| !entry.damaged));
            })
        };
        let next = self.stripes.beside_transactions(|| {
            self.stripes.wait_for_publishers();
            self.in_one_table(guard, &mut step)
        });
        entries.into_iter().for_each(emit);
        next
    }

    /// A random live key.
    pub fn random<'g>(&'g self, db: Db, now_ms: u64, guard: &'g Guard) -> Option<Entry<'g>> {
        // Expired keys that are not removed yet are passed over, but not for ever.
        const TRIES: usize = 100;
        let look = |table: &'g DbTable| {
            let index = table.get(db).index()?;
            for _ in 0..TRIES {
                let addr = index.random(&mut self.random_source(), guard)?;
                match self.entry_at(addr, guard) {
                    Some(entry) if !entry.is_over(now_ms) => return Some(entry),
                    _ => {}
                }
            }
            None
        };
        self.stripes.beside_transactions(|| self.in_one_table(guard, look))
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
