//! A second, plain way to read a pool: all records into a map, the newest of each key and chunk, and from these the state.
//!
//! Written apart from the store's own recovery, so that a mistake there has something to differ from. It shares the reading of batches.

use crate::engine::DATABASES;
use crate::state::{Fields, State, Value, parted};
use fencepost::base::LogAddr;
use fencepost::log::{Kind, Object, ObjectType, Record, is_whole};
use fencepost::pool::Pool;
use fencepost::recovery::{Progress, Visitor, scan_pool};
use std::collections::BTreeMap;

#[derive(Default)]
struct Newest<'p> {
    /// By keyspace and name.
    keys: BTreeMap<(u32, &'p [u8]), Record<'p>>,
    /// By object id and number.
    chunks: BTreeMap<(u64, u64), Record<'p>>,
    /// Elements and their tombstones, by object id and name.
    elements: BTreeMap<(u64, &'p [u8]), (LogAddr, Record<'p>)>,
    /// Bounds of lists, by object id.
    bounds: BTreeMap<u64, Record<'p>>,
    /// Cuts of sorted sets, by object id.
    cuts: BTreeMap<u64, Record<'p>>,
}

impl<'p> Visitor<'p> for Newest<'p> {
    fn record(&mut self, addr: LogAddr, record: Record<'p>) {
        match record.kind {
            Kind::String | Kind::Tombstone | Kind::ObjectHead | Kind::Packed => {
                let newest = self.keys.entry((record.keyspace, record.key)).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            Kind::Chunk => {
                let key = record.chunk_key().expect("a chunk names its object");
                let newest = self.chunks.entry(key).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            Kind::Element | Kind::ElementTombstone => {
                let key = record.object_key().expect("an element names its object");
                let newest = self.elements.entry(key).or_insert((addr, record));
                if record.version > newest.1.version {
                    *newest = (addr, record);
                }
            }
            Kind::Bounds => {
                let (object, _) = record.object_key().expect("bounds name their object");
                let newest = self.bounds.entry(object).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            Kind::Cuts => {
                let (object, _) = record.object_key().expect("cuts name their object");
                let newest = self.cuts.entry(object).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            // A map that counts has been put in force when the pool was opened.
            Kind::ClockMark | Kind::Part | Kind::Commit | Kind::DatabaseMap => {}
        }
    }
}

/// What an open pool holds. Its clock floor is that of the opening, so what expires by it is gone.
pub fn read(pool: &Pool) -> State {
    let mut newest = [Newest::default()];
    scan_pool(pool, &mut newest, &Progress::default());
    let [newest] = newest;
    let superblock = pool.superblock();
    let mut state = State::default();
    for (&(keyspace, name), record) in &newest.keys {
        let db = superblock.keyspaces.iter().position(|&id| id == keyspace).filter(|&db| db < DATABASES as usize);
        let expired = record.expiry_ms != 0 && record.expiry_ms <= superblock.clock_floor_ms;
        let (Some(db), false, false) = (db, record.kind == Kind::Tombstone, expired) else { continue };
        let object = (record.kind == Kind::ObjectHead).then(|| record.object().expect("a head describes an object"));
        let (kind, (bytes, fields)) = match &object {
            None if record.kind == Kind::Packed => packed(record),
            None => ("string", (record.value.to_vec(), Fields::new())),
            Some(object) => match object.kind {
                ObjectType::LongString => ("string", (long_string(record, &newest.chunks), Fields::new())),
                _ => collection(object, &newest, superblock.clock_floor_ms),
            },
        };
        let long = object.is_some_and(|object| object.kind == ObjectType::LongString);
        let value = Value {
            kind,
            bytes,
            fields,
            raw: record.flags & fencepost::log::format::FLAG_RAW != 0 || long,
            expire_at: (record.expiry_ms != 0).then_some(record.expiry_ms),
        };
        state.0.insert((db as u32, name.to_vec()), value);
    }
    state
}

fn long_string(head: &Record<'_>, chunks: &BTreeMap<(u64, u64), Record<'_>>) -> Vec<u8> {
    let object = head.object().expect("a head describes an object");
    let mut bytes = vec![0; object.len as usize];
    for (&(_, number), chunk) in chunks.range((object.id, 0)..(object.id + 1, 0)) {
        let start = (number as usize) << object.chunk_shift;
        if start < bytes.len() {
            let end = bytes.len().min(start + chunk.value.len());
            bytes[start..end].copy_from_slice(&chunk.value[..end - start]);
        }
    }
    bytes
}

/// Type and elements of a packed collection.
fn packed(record: &Record<'_>) -> (&'static str, (Vec<u8>, Fields)) {
    let packed = record.packed().expect("a small collection");
    let kind = match packed.kind {
        ObjectType::Hash => "hash",
        ObjectType::Set => "set",
        ObjectType::SortedSet => "zset",
        _ => "list",
    };
    (kind, parted(kind, packed.iter().map(|element| (element.name, element.value, None))))
}

/// Type and elements of a collection. Those that have expired are gone, but for the last of all.
fn collection(object: &Object, newest: &Newest<'_>, floor_ms: u64) -> (&'static str, (Vec<u8>, Fields)) {
    let mut found: Vec<&(LogAddr, Record<'_>)> = newest
        .elements
        .range((object.id, &[][..])..(object.id + 1, &[][..]))
        .map(|(_, found)| found)
        .filter(|(_, record)| record.kind == Kind::Element)
        .collect();
    let last = found.iter().map(|(addr, record)| (record.expiry_ms, *addr)).max();
    let lasts = found.iter().any(|(_, record)| !record.expired(floor_ms));
    found.retain(|(addr, record)| !record.expired(floor_ms) || !lasts && last == Some((record.expiry_ms, *addr)));
    let mut elements: Vec<&Record<'_>> = found.into_iter().map(|(_, record)| record).collect();
    let name = |record: &Record<'_>| record.key[8..].to_vec();
    let kind = match object.kind {
        ObjectType::Hash => "hash",
        ObjectType::Set => "set",
        ObjectType::SortedSet => {
            let score = |record: &Record<'_>| f64::from_le_bytes(record.value.try_into().expect("a score"));
            if let Some(cuts) = newest.cuts.get(&object.id) {
                let cuts = cuts.cuts().expect("cuts");
                elements.retain(|record| {
                    !cuts.iter().any(|cut| cut.covers(record.version, (score(record), &record.key[8..])))
                });
            }
            elements
                .sort_by(|a, b| score(a).partial_cmp(&score(b)).expect("a number").then_with(|| name(a).cmp(&name(b))));
            "zset"
        }
        _ => {
            let label = |record: &Record<'_>| i64::from_le_bytes(record.key[8..].try_into().expect("a label"));
            if let Some(bounds) = newest.bounds.get(&object.id) {
                let (first, last) = bounds.bounds().expect("bounds");
                elements.retain(|record| {
                    let label = label(record);
                    !is_whole(label) || record.version > bounds.version || (first..=last).contains(&label)
                });
            }
            elements.sort_by_key(|record| label(record));
            "list"
        }
    };
    let expire_at = |record: &Record<'_>| (record.expiry_ms != 0).then_some(record.expiry_ms);
    (kind, parted(kind, elements.iter().map(|record| (&record.key[8..], record.value, expire_at(record)))))
}
