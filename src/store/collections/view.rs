//! Reading a collection: it stays as it is while the view is held; elements stay readable as long as the guard is pinned.

use super::{
    Collection, Extent, Scored, Shape, SharedCollection, Tools, is_before, name_of, score_of, with_element_key,
};
use crate::base::LogAddr;
use crate::base::sync::RwLockReadGuard;
use crate::log::{Cut, ObjectType, Record};
use crate::store::Entry;
use std::cell::OnceCell;
use std::ops::Range;

/// An element as it lies in the pool.
#[derive(Clone, Copy, Debug)]
pub struct Element<'g> {
    pub(super) record: Record<'g>,
}

impl<'g> Element<'g> {
    pub(super) fn new(record: Record<'g>) -> Self {
        Self { record }
    }

    /// The field of a hash, or the member of a set or sorted set.
    #[inline]
    pub fn name(&self) -> &'g [u8] {
        name_of(&self.record)
    }

    /// The value of a hash's field or of a list's element.
    #[inline]
    pub fn value(&self) -> &'g [u8] {
        self.record.value
    }

    /// The score of a sorted set's member.
    #[inline]
    pub fn score(&self) -> f64 {
        score_of(&self.record)
    }

    /// When a hash's field expires, in Unix milliseconds.
    #[inline]
    pub fn expire_at(&self) -> Option<u64> {
        (self.record.expiry_ms != 0).then_some(self.record.expiry_ms)
    }

    /// Bytes of its record in the pool.
    pub fn pool_bytes(&self) -> usize {
        self.record.bytes()
    }
}

/// A collection at one moment. Holds its lock, shared: keep it no longer than needed, and take no stripe meanwhile.
///
/// Elements that have expired and were not removed yet are not there, but for the places of [`View::members_in`].
pub struct View<'g> {
    tools: Tools<'g>,
    id: u64,
    entry: Entry<'g>,
    shared: &'g SharedCollection,
    data: RwLockReadGuard<'g, Collection>,
    now_ms: u64,
    /// How many elements have expired.
    hidden: usize,
    /// The others, in some order, once that is needed.
    live: OnceCell<Vec<LogAddr>>,
}

impl<'g> View<'g> {
    /// The stripe of the key is held, or nobody else can know the collection. Where something has expired by `now_ms` the caller sees to it that this
    /// is durable: [`View::last_due_ms`].
    pub(in crate::store) fn new(tools: Tools<'g>, entry: Entry<'g>, shared: &'g SharedCollection, now_ms: u64) -> Self {
        let id = entry.record.object().map_or(0, |object| object.id);
        let data = shared.read();
        let hidden = data.due(now_ms);
        Self { tools, id, entry, shared, data, now_ms, hidden, live: OnceCell::new() }
    }

    /// The latest time by which this view has left something out.
    pub(in crate::store) fn last_due_ms(&self) -> Option<u64> {
        if self.hidden == 0 { None } else { self.data.last_due_ms(self.now_ms) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn shared(&self) -> SharedCollection {
        self.shared.clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.data.version
    }

    pub(super) fn collection(&self) -> &Collection {
        &self.data
    }

    /// The key's entry.
    pub fn entry(&self) -> &Entry<'g> {
        &self.entry
    }

    /// Its type.
    pub fn kind(&self) -> ObjectType {
        self.data.kind
    }

    /// How many elements there are; never 0.
    pub fn len(&self) -> usize {
        self.data.len() - self.hidden
    }

    /// Places for [`View::members_in`]: as many as elements, if none has expired.
    pub fn places(&self) -> usize {
        self.data.len()
    }

    /// Whether there is none. No key leads to such a collection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its elements have been like.
    pub fn extent(&self) -> Extent {
        self.data.extent
    }

    /// Bytes of DRAM that it takes.
    pub fn dram_bytes(&self) -> usize {
        self.data.dram_bytes()
    }

    fn element(&self, addr: LogAddr) -> Element<'g> {
        Element::new(self.tools.record(addr))
    }

    /// The element of this name, of a hash, set or sorted set. O(1).
    pub fn get(&self, name: &[u8]) -> Option<Element<'g>> {
        with_element_key(self.id, name, |key| {
            let hash = self.tools.hasher.hash(key);
            self.data.find(self.tools, hash, key).and_then(|addr| self.live(addr))
        })
    }

    /// The element at `addr`, unless it has expired.
    #[inline]
    fn live(&self, addr: LogAddr) -> Option<Element<'g>> {
        let element = self.element(addr);
        (self.hidden == 0 || !element.record.expired(self.now_ms)).then_some(element)
    }

    /// The elements of a hash, set or sorted set at places below [`View::places`], the last one first, in no order that means anything. The member at
    /// a place only ever moves to a lower place while it stays, so that a scan from the end to the front misses none.
    pub fn members_in(&self, places: Range<usize>) -> impl Iterator<Item = Element<'g>> + '_ {
        let members = match &self.data.shape {
            Shape::Plain(members) | Shape::Sorted { members, .. } => Some(members),
            Shape::List { .. } => None,
        };
        members
            .into_iter()
            .flat_map(move |members| places.clone().rev().filter_map(move |place| self.live(members.at(place))))
    }

    /// The member at a place below [`View::len`], of a hash, set or sorted set. O(1), but O(n) for the first if some have expired.
    ///
    /// # Panics
    /// If the place is none, or it is a list.
    pub fn member_at(&self, place: usize) -> Element<'g> {
        match &self.data.shape {
            Shape::Plain(members) if self.hidden > 0 => {
                let is_live = |addr: &LogAddr| self.live(*addr).is_some();
                self.element(self.live.get_or_init(|| members.iter().filter(is_live).collect())[place])
            }
            Shape::Plain(members) | Shape::Sorted { members, .. } => self.element(members.at(place)),
            Shape::List { .. } => panic!("a list has no members"),
        }
    }

    /// All elements: a list and a sorted set in their order, others in none.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Element<'g>> + '_> {
        match &self.data.shape {
            Shape::Plain(members) => Box::new(members.iter().filter_map(|addr| self.live(addr))),
            _ => Box::new(self.iter_from(0)),
        }
    }

    /// The elements of a list or sorted set from a position on. O(log n) for the first.
    pub fn iter_from(&self, at: usize) -> impl Iterator<Item = Element<'g>> + '_ {
        let (list, sorted) = match &self.data.shape {
            Shape::List { order, .. } => (Some(order.iter_from(at)), None),
            Shape::Sorted { order, .. } => (None, Some(order.iter_from(at))),
            Shape::Plain(_) => (None, None),
        };
        let listed = list.into_iter().flatten().map(|element| element.addr);
        listed.chain(sorted.into_iter().flatten().map(|element| element.addr)).map(|addr| self.element(addr))
    }

    /// The element at a position of a list or sorted set. O(log n).
    pub fn nth(&self, at: usize) -> Option<Element<'g>> {
        let addr = match &self.data.shape {
            Shape::List { order, .. } => order.get(at)?.addr,
            Shape::Sorted { order, .. } => order.get(at)?.addr,
            Shape::Plain(_) => return None,
        };
        Some(self.element(addr))
    }

    /// The position of a member of a sorted set. O(log n).
    pub fn rank(&self, name: &[u8]) -> Option<usize> {
        let element = self.get(name)?;
        Some(self.data.rank(self.tools, element.score(), name))
    }

    /// How many members of a sorted set come before the first of `score`, or with `after` before the first above it. O(log n).
    pub fn rank_of_score(&self, score: f64, after: bool) -> usize {
        let before = |other: &Scored| other.score < score || (after && other.score == score);
        match &self.data.shape {
            Shape::Sorted { order, .. } => order.partition_point(before),
            _ => 0,
        }
    }

    /// How many members come before the first named `name` or above, or with `after` before the first above it, of a sorted set whose members all
    /// have one score. O(log n).
    pub fn rank_of_name(&self, name: &[u8], after: bool) -> usize {
        let before = |other: &Scored| {
            let other = name_of(&self.tools.record(other.addr));
            other < name || (after && other == name)
        };
        match &self.data.shape {
            Shape::Sorted { order, .. } => order.partition_point(before),
            _ => 0,
        }
    }

    /// How many members of a sorted set come before where one of this score and name is, or would be. O(log n).
    pub fn rank_of(&self, score: f64, name: &[u8]) -> usize {
        match &self.data.shape {
            Shape::Sorted { order, .. } => order.partition_point(|other| is_before(self.tools, other, score, name)),
            _ => 0,
        }
    }

    /// What was cut out of a sorted set and still matters, the newest last.
    pub(super) fn cuts(&self) -> Vec<Cut<'g>> {
        match &self.data.shape {
            Shape::Sorted { cuts: Some(addr), .. } => self.tools.record(*addr).cuts().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    pub(super) fn label(&self, at: usize) -> Option<i64> {
        match &self.data.shape {
            Shape::List { order, .. } => order.get(at).map(|element| element.label),
            _ => None,
        }
    }
}
