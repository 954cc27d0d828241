//! Changing a hash, set or sorted set: one record for each element that changes, or the collection's only record if it is packed.
//!
//! A new collection is packed, and stays so as long as it is small; what is too large for that, or has an element that expires, becomes one of element
//! records, and stays that.
//!
//! An edit belongs to a transaction. It shows the collection as it will be, stages records, and is visible to nobody before the transaction commits.
//! Dropping it without [`Edit::finish`] takes back what it staged.

use super::view::{Purpose, Records};
use super::{Collection, Element, End, Extent, ListEdit, Pack, SharedCollection, Tools, View, share, with_element_key};
use crate::log::{BatchMark, Cut, Kind, NewRecord, Object, ObjectType, Record, Writer};
use crate::pool::Urgency;
use crate::store::txn::Txn;
use crate::store::{Db, Key, StoreError};
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::ops::Range;

/// A record of a collection in the batch.
#[derive(Clone, Copy)]
pub struct StagedElement {
    /// Of its key; 0 for those of lists.
    hash: u64,
    /// Where in the batch it is.
    pub(in crate::store) offset: usize,
}

/// What a batch does to one collection.
pub struct CollectionChange {
    pub(in crate::store) id: u64,
    db: Db,
    /// The key's name, in the worker's buffer of names; of a collection whose key has no record in the batch.
    name: Option<Range<usize>>,
    /// The collection itself, if it is new.
    fresh: Option<Box<Collection>>,
    /// The collection, if it is not. The stripe of its key is held until it is published, so it stays the key's.
    shared: Option<SharedCollection>,
    /// Its records among the staged ones.
    records: Range<usize>,
    /// Bytes of those that are no tombstones.
    live_bytes: usize,
    /// Whether what stays is to count as all that there has been.
    forgets: bool,
}

impl CollectionChange {
    /// Whether elements alone change, and nothing in the batch speaks of the key.
    pub(in crate::store) fn is_of_key_without_record(&self) -> bool {
        self.name.is_some()
    }
}

/// Bytes of elements of a new collection after which they are written to the log in a batch of their own, before the one that makes them a value.
const SPILL_BYTES: usize = 64 * 1024;

/// Changes after which they are found by a table.
const LOOK_THROUGH: usize = 32;

/// See the module.
pub struct Edit<'t, 'a> {
    pub(super) txn: &'t mut Txn<'a>,
    pub(super) key: Key<'t>,
    pub(super) id: u64,
    pub(super) kind: ObjectType,
    /// The collection before the transaction, if it is changed and not made anew.
    pub(super) base: Option<View<'a>>,
    /// The collection as it will be, while it is packed.
    pub(super) pack: Option<Pack>,
    /// Whether that is another than before.
    pub(super) changed: bool,
    /// The collection of element records that is made.
    pub(super) fresh: Option<Box<Collection>>,
    pub(super) expire_at: Option<u64>,
    version: u64,
    pub(super) len: usize,
    pub(super) mark: BatchMark,
    first: usize,
    /// Bytes of staged records that are no tombstones.
    live_bytes: usize,
    pub(super) frees: bool,
    pub(super) forgets: bool,
    table: HashTable<usize>,
    finished: bool,
}

impl<'a> Txn<'a> {
    /// The tools of collections.
    pub(in crate::store) fn tools(&self) -> Tools<'a> {
        self.store.tools()
    }

    /// The collection at `key` as it was before this transaction; `None` when the key is absent.
    ///
    /// # Errors
    /// [`StoreError::WrongType`], [`StoreError::DamagedRecord`].
    pub fn view(&self, key: Key<'_>, kind: ObjectType) -> Result<Option<View<'a>>, StoreError> {
        self.get(key).map(|entry| self.store.view_as(entry, Some(kind), self.now_ms())).transpose()
    }

    /// Begins to change the collection at `key`, which is made when the key is absent. It keeps its expiry.
    ///
    /// # Errors
    /// [`StoreError::WrongType`], [`StoreError::DamagedRecord`].
    pub fn edit<'t>(&'t mut self, key: Key<'t>, kind: ObjectType) -> Result<Edit<'t, 'a>, StoreError> {
        let Some(view) = self.view(key, kind)? else { return Ok(self.edit_new(key, kind, None)) };
        let (id, version) = view.records().map_or((0, 0), |records| (records.id(), records.version()));
        let mut edit = self.begin_edit(id, key, kind);
        if let Some(packed) = view.as_packed() {
            edit.begin_pack(Some(packed));
            edit.expire_at = view.entry().expire_at();
        }
        (edit.version, edit.len, edit.base) = (version, view.len(), Some(view));
        Ok(edit)
    }

    /// Begins to make a collection that takes the place of whatever is at `key`, unless it stays empty: then that is deleted.
    pub fn edit_new<'t>(&'t mut self, key: Key<'t>, kind: ObjectType, expire_at: Option<u64>) -> Edit<'t, 'a> {
        let mut edit = self.begin_edit(0, key, kind);
        edit.expire_at = expire_at;
        match edit.txn.store.packed_bytes() {
            0 => edit.make_fresh(Extent::NONE),
            _ => edit.begin_pack(None),
        }
        edit
    }

    fn begin_edit<'t>(&'t mut self, id: u64, key: Key<'t>, kind: ObjectType) -> Edit<'t, 'a> {
        let (mark, first) = (self.worker.batch.mark(), self.worker.elements.len());
        let frees = self.frees;
        Edit {
            id,
            txn: self,
            key,
            kind,
            base: None,
            pack: None,
            changed: false,
            fresh: None,
            expire_at: None,
            version: 0,
            len: 0,
            mark,
            first,
            live_bytes: 0,
            frees,
            forgets: false,
            table: HashTable::new(),
            finished: false,
        }
    }

    /// Stages a collection with the same elements under `to` (COPY).
    pub(in crate::store) fn copy_collection(
        &mut self,
        source: &View<'a>,
        to: Key<'_>,
        expire_at: Option<u64>,
    ) -> Result<(), StoreError> {
        let kind = source.kind();
        let mut edit = self.edit_new(to, kind, expire_at);
        edit.comes_of(source.extent());
        if kind == ObjectType::List {
            let mut edit = ListEdit::new(edit);
            for element in source.iter() {
                edit.push(End::Right, element.value())?;
            }
            return edit.finish();
        }
        for element in source.iter() {
            edit.add_until(element.name(), element.value(), element.expire_at())?;
        }
        edit.finish()
    }

    /// Makes the changes of collections in the batch at `at` visible.
    #[inline]
    pub(in crate::store) fn publish_collections(&mut self, at: u64) {
        if !self.worker.collections.is_empty() {
            self.publish_changes(at);
        }
    }

    fn publish_changes(&mut self, at: u64) {
        let tools = self.tools();
        let objects = &self.store.objects;
        let mut changes = std::mem::take(&mut self.worker.collections);
        for change in changes.drain(..) {
            let (records, batch) = (&self.worker.elements[change.records.clone()], &self.worker.batch);
            if at > 0 && change.live_bytes > 0 {
                // A batch lies in one segment.
                tools.books.count_live(Writer::record_addr(at, records[0].offset), change.live_bytes);
            }
            let mut cut = Vec::new();
            let mut apply = |collection: &mut Collection| {
                for staged in records {
                    let addr = Writer::record_addr(at, staged.offset);
                    // Where it can be it is read from the batch: the pool's lines have just been flushed from the cache.
                    let record = if at > 0 { batch.record(staged.offset) } else { tools.record(addr) };
                    if at == 0 && record.kind != Kind::ElementTombstone {
                        tools.books.count_live(addr, record.bytes());
                    }
                    cut.extend(collection.apply(tools, addr, staged.hash, &record));
                }
            };
            if let Some(mut collection) = change.fresh {
                apply(&mut collection);
                objects.collections.set(change.id, share(*collection), self.guard);
            } else if let Some(shared) = change.shared {
                let mut collection = shared.write();
                let before = collection.first_deadline_ms();
                apply(&mut collection);
                if change.forgets {
                    collection.forget(tools);
                }
                // Before the lock is let go: what the cleaner does not find here any more it finds there.
                objects.dropping.drop_elements(tools, change.id, cut);
                let after = collection.first_deadline_ms();
                drop(collection);
                if before != after
                    && let Some(name) = &change.name
                {
                    self.move_field_deadline(change.db, name.clone(), before, after);
                }
            }
            if let Some(name) = change.name {
                self.store.changes.tell(
                    change.db,
                    &self.worker.names[name],
                    crate::store::Change::Written,
                    self.worker.client,
                );
            }
        }
        self.worker.collections = changes;
        self.worker.elements.clear();
        self.worker.names.clear();
    }

    /// Takes back collections that were made and are not to be: what of them is in the log is garbage.
    #[inline]
    pub(in crate::store) fn abandon_collections(&mut self) {
        if !self.worker.collections.is_empty() {
            self.abandon_changes();
        }
    }

    fn abandon_changes(&mut self) {
        let tools = self.tools();
        for change in std::mem::take(&mut self.worker.collections) {
            if let Some(collection) = change.fresh {
                abandon(tools, &collection);
            }
        }
        self.worker.elements.clear();
        self.worker.names.clear();
    }
}

fn abandon(tools: Tools<'_>, collection: &Collection) {
    collection.addrs().into_iter().for_each(|addr| tools.retire(addr));
}

impl<'t, 'a> Edit<'t, 'a> {
    /// The time that expiry goes by, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.txn.now_ms()
    }

    /// Elements there will be.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there will be none: then the key will be gone.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there was something before the transaction, and is to be nothing: what is put there now belongs to another collection.
    pub fn is_gone(&self) -> bool {
        self.base.is_some() && self.len == 0
    }

    /// What is made here takes after a collection that has been like this: Redis makes it of that one, and keeps its encoding. Nothing for one that is
    /// not made anew.
    pub fn comes_of(&mut self, extent: Extent) {
        // Labels are given anew.
        let extent = Extent { has_fractions: false, ..extent };
        match (&mut self.pack, &mut self.fresh) {
            (Some(pack), _) if self.base.is_none() => pack.take_after(extent),
            (None, Some(collection)) => collection.take_after(extent),
            _ => {}
        }
    }

    /// What stays in the collection counts as all that it has had: Redis makes another of it.
    pub fn forget(&mut self) {
        self.forgets = true;
    }

    /// The collection before the transaction; `None` when it was absent or is made anew.
    pub fn base(&self) -> Option<&View<'a>> {
        self.base.as_ref()
    }

    /// Elements of these names are asked for next: has their memory fetched, all at once.
    pub fn warm<'n>(&self, names: impl Iterator<Item = &'n [u8]>) {
        if let Some(records) = self.base.as_ref().and_then(View::records) {
            records.warm(names, Purpose::Change);
        }
    }

    /// The element of this name as it will be.
    pub fn get(&self, name: &[u8]) -> Option<Element<'_>> {
        if let Some(pack) = &self.pack {
            return pack.find(self.kind, name).map(|(_, element)| Element::packed(element));
        }
        with_element_key(self.id, name, |key| self.find(self.txn.tools().hasher.hash(key), key))
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<Element<'_>> {
        if let Some(staged) = self.staged(hash, key) {
            let record = self.record_at(staged);
            return (record.kind == Kind::Element).then(|| Element::new(record));
        }
        let tools = self.txn.tools();
        let before = self.base.as_ref().and_then(View::records).map(Records::collection);
        let known = self.fresh.as_deref().or(before);
        let addr = known?.find(tools, hash, key)?;
        let record = tools.record(addr);
        (!record.expired(self.txn.now_ms())).then(|| Element::new(record))
    }

    fn record_at(&self, staged: StagedElement) -> Record<'_> {
        self.txn.worker.batch.record(staged.offset)
    }

    /// The newest staged record of this key.
    fn staged(&self, hash: u64, key: &[u8]) -> Option<StagedElement> {
        let all = &self.txn.worker.elements;
        let same = |at: &usize| all[*at].hash == hash && self.record_at(all[*at]).key == key;
        if all.len() - self.first > LOOK_THROUGH {
            return self.table.find(hash, same).map(|&at| all[at]);
        }
        (self.first..all.len()).rev().find(same).map(|at| all[at])
    }

    /// Gives the element `name` this value, and no expiry; says whether it is new.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], when a long new collection is written piece by piece.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        self.put_until(name, value, None)
    }

    /// As [`Edit::put`], for an element that expires, at a time that has not come yet.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn put_until(&mut self, name: &[u8], value: &[u8], expire_at: Option<u64>) -> Result<bool, StoreError> {
        let len = self.len;
        if self.put_packed(name, value, expire_at)? {
            return Ok(self.len > len);
        }
        let is_new = with_element_key(self.id, name, |key| {
            let hash = self.txn.tools().hasher.hash(key);
            let is_new = self.find(hash, key).is_none();
            self.stage(Kind::Element, hash, [key, &[]], value, expire_at);
            is_new
        });
        self.len += usize::from(is_new);
        self.frees = false;
        self.spill()?;
        Ok(is_new)
    }

    /// As [`Edit::put`], of an element of which the caller knows that it is new.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.add_until(name, value, None)
    }

    /// As [`Edit::put_until`], of an element of which the caller knows that it is new.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn add_until(&mut self, name: &[u8], value: &[u8], expire_at: Option<u64>) -> Result<(), StoreError> {
        if self.put_packed(name, value, expire_at)? {
            return Ok(());
        }
        with_element_key(self.id, name, |key| {
            self.stage(Kind::Element, self.txn.tools().hasher.hash(key), [key, &[]], value, expire_at);
        });
        self.len += 1;
        self.frees = false;
        self.spill()
    }

    /// Adds the element `name` unless it is there; says whether it is new.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn add_new(&mut self, name: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        if self.pack.is_some() && self.get(name).is_some() {
            return Ok(false);
        }
        if self.put_packed(name, value, None)? {
            return Ok(true);
        }
        let is_new = with_element_key(self.id, name, |key| {
            let hash = self.txn.tools().hasher.hash(key);
            let is_new = self.find(hash, key).is_none();
            if is_new {
                self.stage(Kind::Element, hash, [key, &[]], value, None);
            }
            is_new
        });
        self.len += usize::from(is_new);
        self.frees &= !is_new;
        self.spill()?;
        Ok(is_new)
    }

    /// Gives the element `name`, if it is there, another expiry, which has not come yet, or none. Takes room for no longer than it takes to clean.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn set_expiry(&mut self, name: &[u8], expire_at: Option<u64>) -> Result<(), StoreError> {
        let Some(value) = self.get(name).map(|element| element.value().to_vec()) else { return Ok(()) };
        if expire_at.is_none() && self.pack.is_some() {
            return Ok(());
        }
        self.unpack()?;
        with_element_key(self.id, name, |key| {
            self.stage(Kind::Element, self.txn.tools().hasher.hash(key), [key, &[]], &value, expire_at);
        });
        self.spill()
    }

    /// Removes the element `name`; says whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        if let Some(pack) = &mut self.pack {
            let place = pack.find(self.kind, name).map(|(place, _)| place);
            let there = place.map(|place| pack.remove(self.kind, place)).is_some();
            self.len = pack.len();
            self.changed |= there;
            return there;
        }
        let there = with_element_key(self.id, name, |key| {
            let hash = self.txn.tools().hasher.hash(key);
            let there = self.find(hash, key).is_some();
            if there {
                self.stage(Kind::ElementTombstone, hash, [key, &[]], &[], None);
            }
            there
        });
        self.len -= usize::from(there);
        there
    }

    /// Removes the elements of these names; says how many were there.
    pub fn remove_all<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) -> usize {
        names.filter(|name| self.remove(name)).count()
    }

    /// Removes everything at once: the key will be gone.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Removes the `removed` elements that the newest of these cuts is about; it gets its version here.
    pub(super) fn cut(&mut self, mut cuts: Vec<Cut<'_>>, removed: usize) {
        if let Some(newest) = cuts.last_mut() {
            newest.version = self.version + 1;
        }
        let mut value = Vec::new();
        cuts.iter().for_each(|cut| cut.encode(&mut value));
        self.stage_unhashed(Kind::Cuts, &[], &value);
        self.len -= removed;
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    pub(super) fn takes_room(&mut self) {
        self.frees = false;
    }

    /// Stages a record under the sub-key `name` of which nobody needs the hash.
    pub(super) fn stage_unhashed(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        let id = self.id.to_le_bytes();
        self.stage(kind, 0, [&id, name], value, None);
    }

    pub(super) fn stage(&mut self, kind: Kind, hash: u64, key: [&[u8]; 2], value: &[u8], expire_at: Option<u64>) {
        self.version += 1;
        let (version, expiry_ms) = (self.version, expire_at.unwrap_or(0));
        let record = NewRecord { kind, flags: 0, keyspace: 0, version, expiry_ms, key, value };
        if kind != Kind::ElementTombstone {
            self.live_bytes += record.bytes();
        }
        let worker = &mut *self.txn.worker;
        let offset = worker.batch.push(&record);
        worker.elements.push(StagedElement { hash, offset });
        let (all, batch) = (&worker.elements, &worker.batch);
        let newest = all.len() - 1;
        if self.kind == ObjectType::List {
            // Nobody asks for an element by its label.
            return;
        }
        let table = &mut self.table;
        let mut enter = |at: usize| {
            let key = batch.record(all[at].offset).key;
            let same = |other: &usize| all[*other].hash == all[at].hash && batch.record(all[*other].offset).key == key;
            match table.find_mut(all[at].hash, same) {
                Some(known) => *known = at,
                None => drop(table.insert_unique(all[at].hash, at, |&at| all[at].hash)),
            }
        };
        match (newest - self.first).cmp(&LOOK_THROUGH) {
            Ordering::Less => {}
            Ordering::Equal => (self.first..=newest).for_each(enter),
            Ordering::Greater => enter(newest),
        }
    }

    /// Writes what is staged of a new collection to the log, if it has become much.
    pub(super) fn spill(&mut self) -> Result<(), StoreError> {
        let Some(collection) = &mut self.fresh else { return Ok(()) };
        let most = SPILL_BYTES.min(self.txn.store.pool.max_batch_bytes() as usize / 2);
        if self.txn.worker.batch.bytes_since(self.mark) < most {
            return Ok(());
        }
        let worker = &mut *self.txn.worker;
        let shift = worker.batch.move_tail(self.mark, &mut worker.chunk_batch);
        let at = worker.writer.commit(&self.txn.store.pool, &mut worker.chunk_batch, Urgency::Normal);
        let records = worker.elements.split_off(self.first);
        self.table.clear();
        let (at, tools) = (at?, self.txn.store.tools());
        if let Some(first) = records.first() {
            let live_bytes = std::mem::take(&mut self.live_bytes);
            tools.books.count_live(Writer::record_addr(at, first.offset - shift), live_bytes);
        }
        for staged in records {
            let addr = Writer::record_addr(at, staged.offset - shift);
            collection.apply(tools, addr, staged.hash, &worker.chunk_batch.record(staged.offset - shift));
        }
        Ok(())
    }

    /// Stages what is needed besides: the key's head if the collection is new, the key's end if nothing is left of it.
    ///
    /// # Errors
    /// None today.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.finished = true;
        if self.len == 0 {
            self.take_back();
            if self.txn.peek(self.key).is_some() {
                self.txn.stage(self.key, Kind::Tombstone, 0, None, &[]);
            }
            return Ok(());
        }
        if let Some(pack) = self.pack.take() {
            self.finish_pack(pack);
            return Ok(());
        }
        let txn = &mut *self.txn;
        let records = self.first..txn.worker.elements.len();
        let fresh = self.fresh.take();
        if fresh.is_none() && records.is_empty() {
            return Ok(());
        }
        txn.frees &= self.frees;
        let name = match &fresh {
            Some(_) => {
                let head = Object::collection(self.id, self.kind).encode();
                txn.stage(self.key, Kind::ObjectHead, 0, self.expire_at, &head);
                None
            }
            None => {
                let start = txn.worker.names.len();
                txn.worker.names.extend_from_slice(self.key.name);
                Some(start..txn.worker.names.len())
            }
        };
        let shared = self.base.as_ref().and_then(View::records).map(Records::shared);
        let (id, db, live_bytes, forgets) = (self.id, self.key.db, self.live_bytes, self.forgets);
        txn.worker.collections.push(CollectionChange { id, db, name, fresh, shared, records, live_bytes, forgets });
        Ok(())
    }

    fn take_back(&mut self) {
        if let Some(pack) = self.pack.take() {
            self.txn.worker.pack = pack;
        }
        self.txn.worker.batch.truncate(self.mark);
        self.txn.worker.elements.truncate(self.first);
        if let Some(collection) = self.fresh.take() {
            abandon(self.txn.tools(), &collection);
        }
    }
}

impl Drop for Edit<'_, '_> {
    fn drop(&mut self) {
        if !self.finished {
            self.take_back();
        }
    }
}
