//! From records to a store: what recovery finds is put into fresh indexes, stripes and objects.
//!
//! For each key the highest version wins, whatever the order records come in; tombstones and expired records win like any other
//! and are taken out at the end. Chunks attach to the objects whose heads won. Losers are simply not counted as live.

use super::accounting::Books;
use super::atom;
use super::collections::{Loading, Tools, share};
use super::expiry::remove_due;
use super::fields::move_field_deadline;
use super::keyspaces::DbTable;
use super::objects::{ChunkTable, Objects};
use super::stripes::Stripes;
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::index::{IndexOptions, Upsert};
use crate::log::{Kind, Object, ObjectType, Record, SegmentFault, record_at};
use crate::pool::format::DatabaseMap;
use crate::recovery::{Damage, Progress, RecoveryReport, Visitor, preference, scan_pool};
use siphasher::sip::SipHasher13;
use std::collections::{HashMap, HashSet};

/// A store's DRAM state, made from the pool alone.
pub(super) struct Rebuilt {
    pub(super) table: DbTable,
    pub(super) stripes: Stripes,
    pub(super) objects: Objects,
    /// Above every object id in the pool.
    pub(super) next_object: u64,
    /// The latest time that expiry is known to have reached.
    pub(super) clock_floor_ms: u64,
    /// Tombstones in segments that are not sealed, of whose keys there is a copy or a newer record elsewhere.
    pub(super) outdone: HashSet<LogAddr>,
    /// A database map that counts and that the superblock does not have yet.
    pub(super) map: Option<DatabaseMap>,
    pub(super) report: RecoveryReport,
}

/// What all scanning threads share.
struct Target<'p> {
    books: Books<'p>,
    hasher: SipHasher13,
    index_options: IndexOptions,
    table: DbTable,
    stripes: Stripes,
    collections: Loading,
}

/// A key's record that decides something once all records are known.
struct Pending {
    keyspace: u32,
    hash: u64,
    addr: LogAddr,
}

/// A chunk record.
struct Chunk {
    object: u64,
    number: u64,
    version: u64,
    addr: LogAddr,
}

/// What one scanning thread collects.
struct Collector<'t, 'p> {
    target: &'t Target<'p>,
    tombstones: Vec<Pending>,
    heads: Vec<Pending>,
    chunks: Vec<Chunk>,
    outdone: Vec<LogAddr>,
    max_object: u64,
    clock_floor_ms: u64,
    /// The newest database map.
    map: Option<DatabaseMap>,
}

impl Target<'_> {
    fn tools(&self) -> Tools<'_> {
        Tools { books: self.books, hasher: &self.hasher }
    }
}

impl<'t, 'p> Collector<'t, 'p> {
    fn new(target: &'t Target<'p>) -> Self {
        Self {
            target,
            tombstones: Vec::new(),
            heads: Vec::new(),
            chunks: Vec::new(),
            outdone: Vec::new(),
            max_object: 0,
            clock_floor_ms: 0,
            map: None,
        }
    }

    /// A record of a key: into the index if it is the newest so far.
    fn key_record(&mut self, addr: LogAddr, record: Record<'p>) {
        let Target { books, hasher, stripes, index_options, table, .. } = self.target;
        let hash = hasher.hash(record.key);
        let superseded = |kind| {
            if kind != Kind::Tombstone {
                books.stale.add(hash);
            }
        };
        // A keyspace that no database maps to was flushed: its records are garbage.
        let Some((_, keyspace)) = table.find(record.keyspace) else { return superseded(record.kind) };
        let guard = crossbeam_epoch::pin();
        let stripe = stripes.of(hash);
        let mut held = stripe.lock();
        if !mutant::active(Mutant::VersionsNotRestored) {
            held.version = held.version.max(record.version);
        }
        let index = keyspace.index_or_make(index_options);
        let same_key = |other| record_at(books.pool, other).key == record.key;
        let older_wins = mutant::active(Mutant::OlderVersionWins);
        let newer = |other| {
            let (mine, theirs) = (record.version, record_at(books.pool, other).version);
            ((mine, preference(books.pool, addr)) > (theirs, preference(books.pool, other))) != older_wins
        };
        match index.upsert_if(hash, addr, &guard, same_key, newer) {
            Upsert::Inserted => {}
            Upsert::Replaced(old) => {
                let old_record = record_at(books.pool, old);
                books.count_out(keyspace, stripe, &mut held, hash, (old, &old_record));
                self.note_outdone(old, &old_record);
            }
            Upsert::Kept(_) => {
                self.note_outdone(addr, &record);
                return superseded(record.kind);
            }
        }
        books.count_in(keyspace, stripe, &mut held, hash, (addr, &record));
        drop(held);
        let pending = Pending { keyspace: record.keyspace, hash, addr };
        match record.kind {
            Kind::Tombstone => self.tombstones.push(pending),
            Kind::ObjectHead => self.heads.push(pending),
            _ => {}
        }
    }

    /// The loser of two records of a key. If it is a tombstone it is not needed: the other one, or a newer one, says that older records do not
    /// count. That has to be known where the cleaner may have no room to copy it.
    fn note_outdone(&mut self, addr: LogAddr, loser: &Record<'_>) {
        let pool = self.target.books.pool;
        let in_open_segment = || pool.segment_of(addr.offset()).is_some_and(|segment| pool.is_open(segment));
        if loser.kind == Kind::Tombstone && in_open_segment() {
            self.outdone.push(addr);
        }
    }

    fn element_record(&mut self, addr: LogAddr, record: Record<'p>) {
        if let Ok((object, _)) = record.object_key() {
            if !mutant::active(Mutant::ObjectIdsNotRestored) {
                self.max_object = self.max_object.max(object);
            }
            let loser = self.target.collections.add(self.target.tools(), object, addr, &record);
            let in_open_segment = |addr: &LogAddr| {
                let pool = self.target.books.pool;
                pool.segment_of(addr.offset()).is_some_and(|segment| pool.is_open(segment))
            };
            self.outdone.extend(loser.filter(in_open_segment));
        }
    }

    fn chunk_record(&mut self, addr: LogAddr, record: Record<'p>) {
        if let Ok((object, number)) = record.chunk_key() {
            if !mutant::active(Mutant::ObjectIdsNotRestored) {
                self.max_object = self.max_object.max(object);
            }
            self.chunks.push(Chunk { object, number, version: record.version, addr });
        }
    }
}

impl Collector<'_, '_> {
    /// An atom's id is not given out again.
    fn atom_seen(&mut self, record: &Record<'_>) {
        if let (Ok(id), false) = (record.atom(), mutant::active(Mutant::AtomIdsNotRestored)) {
            self.max_object = self.max_object.max(id);
        }
    }

    /// Nothing of what it says has happened. But it is in the pool: its ids and its version are not given out again, so that it is newer than all that
    /// there is of its key and older than all that will be, and it is counted as superseded, as the cleaner will find it to be.
    fn uncommitted_record(&mut self, record: &Record<'_>) {
        let Target { books, hasher, stripes, .. } = self.target;
        match record.kind {
            Kind::String | Kind::Tombstone | Kind::ObjectHead | Kind::Packed => {
                let hash = hasher.hash(record.key);
                let stripe = stripes.of(hash);
                let mut held = stripe.lock();
                held.version = held.version.max(record.version);
                atom::count_uncommitted(*books, record, hash);
                if record.kind == Kind::ObjectHead
                    && let Ok(object) = record.object()
                {
                    self.max_object = self.max_object.max(object.id);
                }
            }
            Kind::Chunk => self.max_object = self.max_object.max(record.chunk_key().map_or(0, |(object, _)| object)),
            Kind::Element | Kind::ElementTombstone | Kind::Bounds | Kind::Cuts => {
                if let Ok((object, _)) = record.object_key() {
                    self.max_object = self.max_object.max(object);
                    self.target.collections.raise_version(object, record.version);
                }
                atom::count_uncommitted(*books, record, hasher.hash(record.key));
            }
            Kind::ClockMark | Kind::DatabaseMap => {}
            Kind::Part | Kind::Commit => self.atom_seen(record),
        }
    }
}

impl<'p> Visitor<'p> for Collector<'_, 'p> {
    fn record(&mut self, addr: LogAddr, record: Record<'p>) {
        match record.kind {
            Kind::Tombstone if mutant::active(Mutant::TombstonesForgotten) => {}
            Kind::Packed if mutant::active(Mutant::PackedForgotten) => {}
            Kind::String | Kind::Tombstone | Kind::Packed => self.key_record(addr, record),
            Kind::ObjectHead => {
                if let Ok(object) = record.object() {
                    if !mutant::active(Mutant::ObjectIdsNotRestored) {
                        self.max_object = self.max_object.max(object.id);
                    }
                    self.key_record(addr, record);
                }
            }
            Kind::Chunk => self.chunk_record(addr, record),
            Kind::Element | Kind::ElementTombstone | Kind::Bounds | Kind::Cuts => self.element_record(addr, record),
            Kind::ClockMark if mutant::active(Mutant::ClockMarkIgnored) => {}
            Kind::ClockMark => self.clock_floor_ms = self.clock_floor_ms.max(record.expiry_ms),
            Kind::Part | Kind::Commit => self.atom_seen(&record),
            Kind::DatabaseMap => {
                let newer = record
                    .database_map()
                    .ok()
                    .filter(|map| self.map.as_ref().is_none_or(|known| known.generation < map.generation));
                self.map = newer.or(self.map.take());
            }
        }
    }

    fn uncommitted(&mut self, _addr: LogAddr, record: Record<'p>) {
        self.uncommitted_record(&record);
    }
}

/// Reads the whole pool with `threads` threads. `keyspace_ids` are those of databases 0, 1, ...; writes nothing to the pool.
///
/// Where a transaction has changed the databases, and its server ended after its commit and before the superblock had that, the pool is read a second
/// time, by the map from the log: of a keyspace that no database has nothing is kept.
pub(super) fn rebuild(
    books: Books<'_>,
    index_options: &IndexOptions,
    keyspace_ids: &[u32],
    threads: usize,
    now_ms: u64,
    progress: &Progress,
) -> Rebuilt {
    let mut rebuilt = rebuild_once(books, index_options, keyspace_ids, threads, now_ms, progress);
    if let Some(map) = rebuilt.map.take().filter(|map| map.generation > books.pool.superblock().map_generation)
        && !mutant::active(Mutant::DatabaseMapIgnored)
    {
        books.stale.clear();
        rebuilt = rebuild_once(books, index_options, &map.keyspaces, threads, now_ms, progress);
        rebuilt.map = Some(map);
    }
    rebuilt
}

fn rebuild_once(
    books: Books<'_>,
    index_options: &IndexOptions,
    keyspace_ids: &[u32],
    threads: usize,
    now_ms: u64,
    progress: &Progress,
) -> Rebuilt {
    let pool = books.pool;
    pool.reset_live();
    let target = Target {
        books,
        hasher: SipHasher13::new_with_key(pool.hash_key()),
        index_options: index_options.clone(),
        table: DbTable::new(keyspace_ids),
        stripes: Stripes::new(pool.stripe_count()),
        collections: Loading::default(),
    };
    let mut collectors: Vec<Collector<'_, '_>> = (0..threads).map(|_| Collector::new(&target)).collect();
    let mut report = scan_pool(pool, &mut collectors, progress);
    let started = std::time::Instant::now();
    let next_object = 1 + collectors.iter().map(|collector| collector.max_object).max().unwrap_or(0);
    let clock_floor_ms = collectors.iter().map(|collector| collector.clock_floor_ms).max().unwrap_or(0);
    let durable_ms = clock_floor_ms.max(pool.superblock().clock_floor_ms);
    let expired_at_ms = now_ms.max(durable_ms);
    let times = (durable_ms, expired_at_ms);
    let (objects, incomplete) = attach_chunks(&target, &mut collectors, times, !report.damage.is_empty());
    for pending in &incomplete {
        report.damage.push(take_out(&target, pending));
    }
    remove_tombstones(&target, &collectors);
    let outdone = collectors.iter_mut().flat_map(|collector| std::mem::take(&mut collector.outdone)).collect();
    let map = collectors.iter_mut().filter_map(|collector| collector.map.take()).max_by_key(|map| map.generation);
    drop(collectors);
    for number in 0..target.stripes.count() {
        let stripe = target.stripes.at(number);
        let guard = crossbeam_epoch::pin();
        remove_due(
            target.tools(),
            &target.table,
            &objects,
            stripe,
            &mut stripe.lock(),
            expired_at_ms,
            usize::MAX,
            &guard,
            |_, _| {},
        );
    }
    report.elapsed += started.elapsed();
    let Target { table, stripes, collections, books, hasher, .. } = target;
    collections.finish(Tools { books, hasher: &hasher });
    objects.dropping.settle_all(Tools { books, hasher: &hasher });
    Rebuilt { table, stripes, objects, next_object, clock_floor_ms: expired_at_ms, outdone, map, report }
}

/// Makes the objects whose heads won, and gives each the newest of its chunks. Returns the heads, too, whose chunks are not the ones that
/// make the value; in a `damaged` pool also those that cannot tell.
fn attach_chunks(
    target: &Target<'_>,
    collectors: &mut [Collector<'_, '_>],
    (durable_ms, expired_at_ms): (u64, u64),
    damaged: bool,
) -> (Objects, Vec<Pending>) {
    let mut tables: HashMap<u64, ChunkTable> = HashMap::new();
    let mut heads = Vec::new();
    for pending in collectors.iter_mut().flat_map(|collector| std::mem::take(&mut collector.heads)) {
        let record = record_at(target.books.pool, pending.addr);
        // Of one that has durably expired the chunks may have been cleaned away.
        if is_current(target, &pending)
            && !record.expired(durable_ms)
            && let Ok(object) = record.object()
        {
            if object.kind == ObjectType::LongString {
                tables.insert(object.id, ChunkTable::zeros(object.len, object.chunk_shift));
            }
            heads.push((pending, object));
        }
    }
    let mut versions: HashMap<(u64, u64), u64> = HashMap::new();
    for chunk in collectors.iter_mut().flat_map(|collector| std::mem::take(&mut collector.chunks)) {
        // An object without a head: its chunks were written for a value that was never set, or is gone.
        let Some(table) = tables.get_mut(&chunk.object) else { continue };
        table.version = table.version.max(chunk.version);
        let Some(number) = usize::try_from(chunk.number).ok().filter(|&number| number < table.chunks.len()) else {
            continue;
        };
        let newest = versions.get(&(chunk.object, chunk.number)).copied();
        let newer = newest.is_none_or(|newest| match mutant::active(Mutant::ChunkVersionsIgnored) {
            false => {
                let rank = |addr| preference(target.books.pool, addr);
                (chunk.version, Some(rank(chunk.addr))) > (newest, table.chunks[number].map(rank))
            }
            true => false,
        });
        if newer {
            versions.insert((chunk.object, chunk.number), chunk.version);
            table.count_chunk(number, newest, chunk.version);
            table.chunks[number] = Some(chunk.addr);
        }
    }
    let objects = Objects::default();
    let is_whole = |object: &Object| match object.chunk_sum {
        _ if object.kind != ObjectType::LongString => {
            let found = target.collections.take(target.tools(), object.id, object.kind);
            found.is_some_and(|found| {
                objects.collections.set(object.id, share(found), &crossbeam_epoch::pin());
                true
            })
        }
        Some(sum) => tables.get(&object.id).is_some_and(|table| table.sum == sum),
        None => !damaged,
    };
    // Two heads of one object are left where a RENAME was half lost. Which name is the right one cannot be told; one keeps the value.
    heads.sort_unstable_by_key(|(pending, _)| std::cmp::Reverse(pending.addr));
    let mut whole = HashSet::new();
    let (complete, incomplete): (Vec<_>, Vec<_>) =
        heads.into_iter().partition(|(_, object)| is_whole(object) && whole.insert(object.id));
    tables.retain(|id, _| whole.contains(id));
    for (pending, object) in complete.iter().filter(|(_, object)| object.kind == ObjectType::Hash) {
        time_fields(target, &objects, pending, object.id, expired_at_ms);
    }
    let incomplete = incomplete.into_iter().map(|(pending, _)| pending).collect();
    for (id, table) in tables {
        for &addr in table.chunks.iter().flatten() {
            target.books.count_live(addr, record_at(target.books.pool, addr).bytes());
        }
        objects.strings.set(id, table, &crossbeam_epoch::pin());
    }
    (objects, incomplete)
}

/// Removes fields of a hash that have expired, and has the stripe know when the first of the others will. Of a hash without any other the last one stays,
/// which nobody is shown: it goes with a tombstone of the key, and recovery writes nothing.
fn time_fields(target: &Target<'_>, objects: &Objects, pending: &Pending, id: u64, expired_at_ms: u64) {
    let guard = crossbeam_epoch::pin();
    let Some(shared) = objects.collections.get(id, &guard) else { return };
    if shared.read().first_deadline_ms().is_none() {
        return;
    }
    let mut fields = shared.write();
    fields.remove_due(target.tools(), expired_at_ms, usize::MAX);
    if let (Some((_, keyspace)), Some(at_ms)) = (target.table.find(pending.keyspace), fields.first_deadline_ms()) {
        let stripe = target.stripes.of(pending.hash);
        move_field_deadline(keyspace, stripe, &mut stripe.lock(), pending.hash, None, Some(at_ms));
    }
}

/// Takes a long string out of the index whose chunks are not all there: it is lost as a whole.
fn take_out(target: &Target<'_>, pending: &Pending) -> Damage {
    let Pending { keyspace, hash, addr } = *pending;
    let (stripe, record) = (target.stripes.of(hash), record_at(target.books.pool, addr));
    if let Some((_, keyspace)) = target.table.find(keyspace)
        && let Some(index) = keyspace.index()
        && index.remove(hash, &crossbeam_epoch::pin(), |other| other == addr).is_some()
    {
        target.books.count_out(keyspace, stripe, &mut stripe.lock(), hash, (addr, &record));
    }
    let segment = target.books.pool.segment_of(addr.offset()).expect("a record lies in a segment");
    Damage { segment, range: addr.offset()..addr.offset() + record.bytes() as u64, fault: SegmentFault::Chunks }
}

/// Whether the index still leads to this record: no newer one of its key was found.
fn is_current(target: &Target<'_>, pending: &Pending) -> bool {
    let index = target.table.find(pending.keyspace).and_then(|(_, keyspace)| keyspace.index());
    index.is_some_and(|index| index.get(pending.hash, &crossbeam_epoch::pin(), |addr| addr == pending.addr).is_some())
}

fn remove_tombstones(target: &Target<'_>, collectors: &[Collector<'_, '_>]) {
    for pending in collectors.iter().flat_map(|collector| &collector.tombstones) {
        if let Some(index) = target.table.find(pending.keyspace).and_then(|(_, keyspace)| keyspace.index()) {
            let _held = target.stripes.of(pending.hash).lock();
            index.remove(pending.hash, &crossbeam_epoch::pin(), |addr| addr == pending.addr);
        }
    }
}
