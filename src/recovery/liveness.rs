//! How much of each segment is in use, from its records alone.
//!
//! A store counts this while it runs, through its index. This does without one, so that it can look at a pool that is damaged, or that a server is
//! changing meanwhile: everything it needs of a record it notes when it meets it, and never goes back to the pool.
//!
//! DRAM: 50 to 100 bytes for each key that the pool has a record of, deleted ones included, and for each chunk of a long string.

use super::Visitor;
use crate::base::{LogAddr, SegmentId};
use crate::log::{Cut, Kind, Object, ObjectType, Record, is_whole, record_at};
use crate::pool::Pool;
use siphasher::sip::SipHasher13;
use std::collections::{HashMap, HashSet};

/// Which of two identical copies counts: the one with the greater rank. It must be the same one each time, whatever order the threads come in. What
/// the cleaner was just copying counts where it was, so that the segment begun for the copies can be freed at once: there may be no other.
pub fn preference(pool: &Pool, addr: LogAddr) -> (bool, LogAddr) {
    let settled = pool.segment_of(addr.offset()).is_some_and(|segment| !pool.is_open(segment));
    (settled, addr)
}

/// The newest record of a key or chunk so far.
struct Newest {
    version: u64,
    /// See [`preference`].
    preference: (bool, LogAddr),
    expiry_ms: u64,
    bytes: u32,
    is_value: bool,
}

impl Newest {
    fn new(pool: &Pool, addr: LogAddr, record: &Record<'_>) -> Self {
        Self {
            version: record.version,
            preference: preference(pool, addr),
            expiry_ms: record.expiry_ms,
            bytes: record.bytes() as u32,
            is_value: !matches!(record.kind, Kind::Tombstone | Kind::ElementTombstone),
        }
    }

    fn addr(&self) -> LogAddr {
        self.preference.1
    }

    fn rank(&self) -> (u64, (bool, LogAddr)) {
        (self.version, self.preference)
    }

    /// Whether it is a value that has not expired by `floor_ms`.
    fn is_live(&self, floor_ms: u64) -> bool {
        self.is_value && (self.expiry_ms == 0 || self.expiry_ms > floor_ms)
    }
}

/// Takes all records of a pool, and then says how much of each segment is in use.
pub(super) struct Liveness<'p> {
    pool: &'p Pool,
    hasher: SipHasher13,
    keyspaces: HashSet<u32>,
    /// By the hash of name and keyspace. Should two keys share one, one record too many is taken for garbage.
    keys: HashMap<u64, Newest>,
    /// By object and number.
    chunks: HashMap<(u64, u64), Newest>,
    /// Elements of collections, by the hash of their key, with their object and label.
    elements: HashMap<u64, (Newest, u64, Option<i64>)>,
    /// The bounds of lists, by object.
    bounds: HashMap<u64, (Newest, (i64, i64))>,
    /// The cuts of sorted sets, by object.
    cuts: HashMap<u64, (Newest, Vec<Cut<'p>>)>,
    heads: Vec<(u64, LogAddr, Object)>,
    clock_floor_ms: u64,
}

impl<'p> Liveness<'p> {
    pub(super) fn new(pool: &'p Pool) -> Self {
        let superblock = pool.superblock();
        Self {
            pool,
            hasher: SipHasher13::new_with_key(pool.hash_key()),
            keyspaces: superblock.keyspaces.iter().copied().collect(),
            keys: HashMap::new(),
            chunks: HashMap::new(),
            elements: HashMap::new(),
            bounds: HashMap::new(),
            cuts: HashMap::new(),
            heads: Vec::new(),
            clock_floor_ms: superblock.clock_floor_ms,
        }
    }

    fn key_record(&mut self, addr: LogAddr, record: &Record<'_>) {
        // What no database has was flushed.
        if !self.keyspaces.contains(&record.keyspace) {
            return;
        }
        let hash = self.hasher.hash(record.key) ^ u64::from(record.keyspace).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        keep_newer(&mut self.keys, hash, Newest::new(self.pool, addr, record));
        if record.kind == Kind::ObjectHead
            && let Ok(object) = record.object()
        {
            self.heads.push((hash, addr, object));
        }
    }

    /// Bytes in use of each segment. What has durably expired is not.
    pub(super) fn live_bytes(self) -> Vec<u64> {
        let floor_ms = self.clock_floor_ms;
        let mut live = vec![0; self.pool.segment_count() as usize];
        let mut count = |found: &Newest| {
            let segment = self.pool.segment_of(found.addr().offset());
            if let Some(bytes) = segment.and_then(|SegmentId(number)| live.get_mut(number as usize)) {
                *bytes += u64::from(found.bytes);
            }
        };
        self.keys.values().filter(|key| key.is_live(floor_ms)).for_each(&mut count);
        let is_current = |hash: u64, addr: LogAddr| {
            self.keys.get(&hash).is_some_and(|key| key.addr() == addr && key.is_live(floor_ms))
        };
        let current: Vec<_> = self.heads.iter().filter(|(hash, addr, _)| is_current(*hash, *addr)).collect();
        let types: HashMap<u64, ObjectType> = current.iter().map(|(_, _, object)| (object.id, object.kind)).collect();
        for (element, object, label) in self.elements.values().filter(|(element, ..)| element.is_live(floor_ms)) {
            let Some(&kind) = types.get(object) else { continue };
            let is_cut = match (kind, label, self.bounds.get(object)) {
                (ObjectType::List, &Some(label), Some((bounds, (first, last)))) => {
                    is_whole(label) && element.version < bounds.version && !(first..=last).contains(&&label)
                }
                (ObjectType::SortedSet, ..) => self.cuts.get(object).is_some_and(|(_, cuts)| {
                    let record = record_at(self.pool, element.addr());
                    let (name, score) = (record.key.get(8..).unwrap_or_default(), record.value.try_into());
                    let place = (score.map_or(0.0, f64::from_le_bytes), name);
                    cuts.iter().any(|cut| cut.covers(record.version, place))
                }),
                _ => false,
            };
            if !is_cut {
                count(element);
            }
        }
        self.bounds.iter().filter(|(object, _)| types.contains_key(object)).for_each(|(_, (bounds, _))| count(bounds));
        self.cuts.iter().filter(|(object, _)| types.contains_key(object)).for_each(|(_, (cuts, _))| count(cuts));
        let chunk_counts: HashMap<u64, u64> = current
            .iter()
            .filter(|(_, _, object)| object.kind == ObjectType::LongString)
            .map(|(_, _, object)| (object.id, object.len.div_ceil(1 << object.chunk_shift)))
            .collect();
        let is_chunk_of_value =
            |(object, number): &(u64, u64)| chunk_counts.get(object).is_some_and(|count| number < count);
        self.chunks.iter().filter(|(place, _)| is_chunk_of_value(place)).for_each(|(_, chunk)| count(chunk));
        live
    }
}

fn keep_newer<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Newest>, key: K, newest: Newest) {
    match all.get_mut(&key) {
        Some(former) if former.rank() >= newest.rank() => {}
        Some(former) => *former = newest,
        None => drop(all.insert(key, newest)),
    }
}

impl<'p> Visitor<'p> for Liveness<'p> {
    fn record(&mut self, addr: LogAddr, record: Record<'p>) {
        match record.kind {
            Kind::String | Kind::Tombstone | Kind::ObjectHead | Kind::Packed => self.key_record(addr, &record),
            Kind::Element | Kind::ElementTombstone => {
                if let Ok((object, name)) = record.object_key() {
                    let label = name.try_into().ok().map(i64::from_le_bytes);
                    let newest = Newest::new(self.pool, addr, &record);
                    let hash = self.hasher.hash(record.key);
                    match self.elements.get_mut(&hash) {
                        Some((former, ..)) if former.rank() >= newest.rank() => {}
                        _ => drop(self.elements.insert(hash, (newest, object, label))),
                    }
                }
            }
            Kind::Bounds => {
                if let (Ok((object, _)), Some(bounds)) = (record.object_key(), record.bounds()) {
                    let newest = Newest::new(self.pool, addr, &record);
                    match self.bounds.get_mut(&object) {
                        Some((former, _)) if former.rank() >= newest.rank() => {}
                        _ => drop(self.bounds.insert(object, (newest, bounds))),
                    }
                }
            }
            Kind::Cuts => {
                if let (Ok((object, _)), Some(cuts)) = (record.object_key(), record.cuts()) {
                    let newest = Newest::new(self.pool, addr, &record);
                    match self.cuts.get_mut(&object) {
                        Some((former, _)) if former.rank() >= newest.rank() => {}
                        _ => drop(self.cuts.insert(object, (newest, cuts))),
                    }
                }
            }
            Kind::Chunk => {
                if let Ok(place) = record.chunk_key() {
                    keep_newer(&mut self.chunks, place, Newest::new(self.pool, addr, &record));
                }
            }
            Kind::ClockMark => self.clock_floor_ms = self.clock_floor_ms.max(record.expiry_ms),
            Kind::Part | Kind::Commit | Kind::DatabaseMap => {}
        }
    }
}
