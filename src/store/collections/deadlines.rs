//! Elements with an expiry, which only hashes have: when each expires, in order.
//!
//! The expiry is in the element's record, and that decides at every look; this is only by what what is due is found, and counted. A collection that has
//! no such element pays a word for it. DRAM: 16 bytes an element, and what a tree of them takes beside.

use super::{Collection, Kind, ObjectType, Record, Sequence, Tools};
use crate::base::LogAddr;

/// A time later than all.
pub const NEVER: u64 = u64::MAX;

/// An element and when it expires, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timed {
    at_ms: u64,
    addr: LogAddr,
}

/// See the module.
#[derive(Default)]
pub(super) struct Deadlines(Option<Box<Sequence<Timed>>>);

impl Deadlines {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |order| order.len())
    }

    fn at(&self, place: usize) -> Option<u64> {
        Some(self.0.as_ref()?.get(place)?.at_ms)
    }

    /// How many are not after `now_ms`.
    fn due(&self, now_ms: u64) -> usize {
        self.0.as_ref().map_or(0, |order| order.partition_point(|timed| timed.at_ms <= now_ms))
    }

    fn add(&mut self, timed: Timed) {
        let order = self.0.get_or_insert_default();
        order.insert(order.partition_point(|other| *other < timed), timed);
    }

    fn remove(&mut self, timed: Timed) {
        let Some(order) = &mut self.0 else { return };
        let at = order.partition_point(|other| *other < timed);
        debug_assert!(order.get(at) == Some(timed), "every element with an expiry is in the order");
        order.remove(at);
        if order.len() == 0 {
            self.0 = None;
        }
    }

    pub(super) fn dram_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |order| size_of_val(&**order) + order.dram_bytes())
    }
}

impl Collection {
    fn timed(&self, addr: LogAddr, record: &Record<'_>) -> Option<Timed> {
        let expires = record.expiry_ms != 0 && self.kind == ObjectType::Hash;
        expires.then_some(Timed { at_ms: record.expiry_ms, addr })
    }

    /// An element's record has come in.
    pub(super) fn time(&mut self, addr: LogAddr, record: &Record<'_>) {
        if let Some(timed) = self.timed(addr, record) {
            self.deadlines.add(timed);
        }
    }

    /// An element's record goes out.
    pub(super) fn untime(&mut self, addr: LogAddr, record: &Record<'_>) {
        if let Some(timed) = self.timed(addr, record) {
            self.deadlines.remove(timed);
        }
    }

    /// The element at `addr` goes out. Its record is read only where there are elements that expire.
    pub(super) fn untime_at(&mut self, addr: LogAddr, tools: Tools<'_>) {
        if self.deadlines.0.is_some() {
            self.untime(addr, &tools.record(addr));
        }
    }

    /// When the first of its elements expires, in Unix milliseconds.
    pub fn first_deadline_ms(&self) -> Option<u64> {
        self.deadlines.at(0)
    }

    /// When the last of its elements has expired, and it with them, in Unix milliseconds: [`NEVER`] while one of them has no expiry.
    pub fn ends_at_ms(&self) -> u64 {
        match self.deadlines.len() {
            0 => NEVER,
            timed if timed < self.len() => NEVER,
            timed => self.deadlines.at(timed - 1).unwrap_or(NEVER),
        }
    }

    /// How many of its elements are due at `now_ms`. O(log n).
    pub fn due(&self, now_ms: u64) -> usize {
        self.deadlines.due(now_ms)
    }

    /// The latest deadline that has come by `now_ms`.
    pub fn last_due_ms(&self, now_ms: u64) -> Option<u64> {
        self.deadlines.at(self.due(now_ms).checked_sub(1)?)
    }

    /// Removes at most `limit` of the elements that are due at `now_ms`, which must be durably past, the earliest first; says how many. Their expired
    /// records are their tombstones. The last of all elements stays: it goes with a tombstone of the key, as a head without an element is damaged.
    pub fn remove_due(&mut self, tools: Tools<'_>, now_ms: u64, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit
            && self.len() > 1
            && let Some(first) = self.deadlines.0.as_ref().and_then(|order| order.get(0))
            && first.at_ms <= now_ms
        {
            let record = tools.record(first.addr);
            debug_assert!(record.kind == Kind::Element);
            self.remove(tools, tools.hasher.hash(record.key), &record);
            removed += 1;
        }
        removed
    }
}
