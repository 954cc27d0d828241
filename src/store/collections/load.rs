//! Collections found by recovery: the newest record of each element, put together once all records and all heads are known.

use super::cut::is_cut_out;
use super::{Collection, Labelled, Scored, Sequence, Shape, Tools, is_before, is_whole, label_of, name_of, score_of};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, ObjectType, Record};
use crate::recovery::preference;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Parts that the objects are shared out to, against contention.
const SHARDS: usize = 64;

/// The records of one object.
#[derive(Default)]
struct Found {
    /// Elements and their tombstones.
    members: super::Members,
    /// A list's bounds, or a sorted set's cuts.
    limits: Option<LogAddr>,
    version: u64,
}

/// What is found of all objects. Threads add to it as they meet records, in any order.
pub struct Loading {
    shards: Vec<Mutex<HashMap<u64, Found>>>,
}

impl Default for Loading {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Loading {
    fn with<R>(&self, object: u64, act: impl FnOnce(&mut HashMap<u64, Found>) -> R) -> R {
        act(&mut self.shards[object as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A record of an object. Returns the tombstone that is not needed because of another record, if one is not.
    pub fn add(&self, tools: Tools<'_>, object: u64, addr: LogAddr, record: &Record<'_>) -> Option<LogAddr> {
        let rank = |addr| (tools.record(addr).version, preference(tools.books.pool, addr));
        let loser = self.with(object, |objects| {
            let found = objects.entry(object).or_default();
            found.version = found.version.max(record.version);
            if matches!(record.kind, Kind::Bounds | Kind::Cuts) {
                if found.limits.is_none_or(|limits| rank(limits) < rank(addr)) {
                    found.limits = Some(addr);
                }
                return None;
            }
            let hash = tools.hasher.hash(record.key);
            match found.members.find(hash, |other| tools.record(other).key == record.key) {
                Some(place) if rank(found.members.at(place)) < rank(addr) => Some(found.members.replace(place, addr)),
                Some(_) => Some(addr),
                None => {
                    found.members.insert(hash, addr, |addr| tools.hash_at(addr));
                    None
                }
            }
        })?;
        if tools.record(loser).kind == Kind::ElementTombstone {
            return Some(loser);
        }
        tools.books.stale.add(tools.hash_at(loser));
        None
    }

    /// A record of an object that never came to count has this version, which is not to be given out again.
    pub fn raise_version(&self, object: u64, version: u64) {
        self.with(object, |objects| {
            let found = objects.entry(object).or_default();
            found.version = found.version.max(version);
        });
    }

    /// The collection of an object whose head won; `None` when nothing is left of it. What is due is still in it.
    pub fn take(&self, tools: Tools<'_>, object: u64, kind: ObjectType) -> Option<Collection> {
        let found = self.with(object, |objects| objects.remove(&object))?;
        let limits = found.limits.map(|addr| tools.record(addr));
        let bounds = limits.as_ref().and_then(Record::bounds).filter(|_| kind == ObjectType::List);
        let cuts = limits.as_ref().and_then(Record::cuts).filter(|_| kind == ObjectType::SortedSet).unwrap_or_default();
        let is_cut = |record: &Record<'_>| match bounds {
            Some((first, last)) => {
                let (label, version) = (label_of(record), limits.as_ref().map_or(0, |limits| limits.version));
                is_whole(label) && record.version < version && !(first..=last).contains(&label)
            }
            None => is_cut_out(&cuts, record) && !mutant::active(Mutant::CutsForgotten),
        };
        let mut members = super::Members::default();
        for addr in found.members.iter() {
            let record = tools.record(addr);
            if record.kind != Kind::Element {
                continue;
            }
            if is_cut(&record) {
                tools.books.stale.add(tools.hash_at(addr));
            } else {
                members.insert(tools.hasher.hash(record.key), addr, |addr| tools.hash_at(addr));
            }
        }
        let mut collection = Collection::new(kind);
        collection.version = found.version;
        if members.len() == 0 {
            return None;
        }
        for addr in members.iter().chain(found.limits) {
            tools.books.count_live(addr, tools.record(addr).bytes());
        }
        let all: Vec<LogAddr> = members.iter().collect();
        collection.shape = match kind {
            ObjectType::SortedSet => {
                let mut order: Vec<Scored> =
                    all.iter().map(|&addr| Scored { score: score_of(&tools.record(addr)), addr }).collect();
                order.sort_unstable_by(|a, b| {
                    let record = tools.record(b.addr);
                    match is_before(tools, a, score_of(&record), name_of(&record)) {
                        true => std::cmp::Ordering::Less,
                        false if a.addr == b.addr => std::cmp::Ordering::Equal,
                        false => std::cmp::Ordering::Greater,
                    }
                });
                Shape::Sorted { members, order: order.into_iter().collect::<Sequence<_>>(), cuts: found.limits }
            }
            ObjectType::List => {
                let mut order: Vec<Labelled> =
                    all.iter().map(|&addr| Labelled { label: label_of(&tools.record(addr)), addr }).collect();
                order.sort_unstable_by_key(|element| element.label);
                Shape::List { order: order.into_iter().collect(), bounds: found.limits }
            }
            _ => Shape::Plain(members),
        };
        for &addr in &all {
            let record = tools.record(addr);
            collection.note_extent(&record);
            collection.time(addr, &record);
        }
        Some(collection)
    }

    /// Counts what belongs to no head: it was never part of a value, or no longer is.
    pub fn finish(self, tools: Tools<'_>) {
        for shard in self.shards {
            let objects = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            for addr in objects.into_values().flat_map(|found| found.members.iter().collect::<Vec<_>>()) {
                let record = tools.record(addr);
                if record.kind == Kind::Element {
                    tools.books.stale.add(tools.hasher.hash(record.key));
                }
            }
        }
    }
}
