//! Hashes, lists, sets and sorted sets: what DRAM holds of them, and how a record changes it.
//!
//! A collection is an object: a head record under its key's name, and one element record for each element. DRAM holds only where the elements' records
//! are, in a shape that suits the type; names, values and scores stay in the pool. Whatever changes a collection is a record of it (an element, an
//! element's tombstone, a list's bounds, a sorted set's cuts), and [`Collection::apply`] is the only thing that brings it into DRAM, after it has become durable.
//!
//! Locks: who writes a key holds its stripe, and for the moment of publishing the collection. Who reads takes the stripe to find the collection and
//! then holds only that, shared. Nobody takes a stripe while holding a collection; the cleaner, which has no stripe, never waits for one.

mod cut;
mod deadlines;
mod dropping;
mod edit;
mod list;
mod load;
mod members;
mod pack;
mod sequence;
mod shared;
mod view;

pub use deadlines::NEVER;
pub use dropping::Dropping;
pub use edit::{CollectionChange, Edit, StagedElement};
pub use list::{End, ListEdit};
pub use load::Loading;
pub use pack::Pack;
pub use shared::{SharedCollection, share};
pub use view::{Element, Purpose, View};

use super::accounting::Books;
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, LABEL_STEP, ObjectType, Record, is_whole, record_at};
use deadlines::Deadlines;
use members::Members;
use sequence::Sequence;
use siphasher::sip::SipHasher13;

/// What changing a collection needs of the store.
#[derive(Clone, Copy)]
pub struct Tools<'p> {
    /// Live bytes and superseded records.
    pub books: Books<'p>,
    /// The pool's hash.
    pub hasher: &'p SipHasher13,
}

impl<'p> Tools<'p> {
    // Not as a call: what is taken out of the record would have to wait until it has been written to the stack.
    #[inline(always)]
    fn record(self, addr: LogAddr) -> Record<'p> {
        record_at(self.books.pool, addr)
    }

    /// The hash of an element's key: object id and sub-key.
    fn hash_at(self, addr: LogAddr) -> u64 {
        self.hasher.hash(self.record(addr).key)
    }

    /// Nothing leads to this element any more.
    fn retire(self, addr: LogAddr) {
        self.retire_hashed(addr, self.hash_at(addr));
    }

    /// As [`Tools::retire`], where the hash of its key is known.
    fn retire_hashed(self, addr: LogAddr, hash: u64) {
        let record = self.record(addr);
        self.books.count_garbage(addr, record.bytes());
        // What counts are records that an older tombstone of their key has to outlive.
        if record.kind == Kind::Element {
            self.books.stale.add(hash);
        }
    }
}

/// An element of a sorted set in its order.
#[derive(Clone, Copy)]
struct Scored {
    score: f64,
    addr: LogAddr,
}

/// An element of a list in its order.
#[derive(Clone, Copy)]
struct Labelled {
    label: i64,
    addr: LogAddr,
}

enum Shape {
    /// Hashes and sets.
    Plain(Members),
    /// Sorted sets: by member, and in the order of score and member.
    Sorted { members: Members, order: Sequence<Scored>, cuts: Option<LogAddr> },
    /// Lists: in the order of labels.
    List { order: Sequence<Labelled>, bounds: Option<LogAddr> },
}

/// What the elements of a collection have been like since it was made or recovered: Redis's encodings depend on it, and do not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The most elements it has had.
    pub most: usize,
    /// The longest member or value, in bytes.
    pub longest: usize,
    /// Whether all members were integers.
    pub only_integers: bool,
    /// Whether an element ever had an expiry.
    pub has_expiry: bool,
    /// Whether a list's element was ever put between two steps.
    has_fractions: bool,
}

impl Default for Extent {
    fn default() -> Self {
        Self::NONE
    }
}

impl Extent {
    /// Of one that has had nothing.
    pub const NONE: Self = Self { most: 0, longest: 0, only_integers: true, has_expiry: false, has_fractions: false };

    /// Counts an element of this name.
    pub fn note_member(&mut self, name: &[u8]) {
        self.most += 1;
        self.longest = self.longest.max(name.len());
        self.only_integers &= is_integer(name);
    }
}

/// What DRAM holds of a collection.
pub struct Collection {
    kind: ObjectType,
    shape: Shape,
    deadlines: Deadlines,
    /// The highest version that a record of it bears.
    version: u64,
    extent: Extent,
}

/// The name part of an element's key.
pub fn name_of<'p>(record: &Record<'p>) -> &'p [u8] {
    record.key.get(8..).unwrap_or_default()
}

/// The score of a sorted set's element.
pub fn score_of(record: &Record<'_>) -> f64 {
    record.value.try_into().map_or(0.0, f64::from_le_bytes)
}

/// The label of a list's element.
pub fn label_of(record: &Record<'_>) -> i64 {
    name_of(record).try_into().map_or(0, i64::from_le_bytes)
}

/// Runs `act` with the whole key of an element: object id and name.
pub fn with_element_key<R>(id: u64, name: &[u8], act: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; 128];
    short[..8].copy_from_slice(&id.to_le_bytes());
    match short.get_mut(8..8 + name.len()) {
        Some(place) => {
            place.copy_from_slice(name);
            act(&short[..8 + name.len()])
        }
        None => act(&[&id.to_le_bytes(), name].concat()),
    }
}

/// Whether Redis would take these bytes for an integer in a set.
fn is_integer(name: &[u8]) -> bool {
    let digits = name.strip_prefix(b"-").unwrap_or(name);
    let is_plain = match digits {
        [b'0'] => digits.len() == name.len(),
        [b'1'..=b'9', ..] => name.len() <= 20,
        _ => false,
    };
    is_plain && std::str::from_utf8(name).is_ok_and(|text| text.parse::<i64>().is_ok())
}

impl Collection {
    /// An empty one.
    pub fn new(kind: ObjectType) -> Self {
        let shape = match kind {
            ObjectType::SortedSet => {
                Shape::Sorted { members: Members::default(), order: Sequence::default(), cuts: None }
            }
            ObjectType::List => Shape::List { order: Sequence::default(), bounds: None },
            _ => Shape::Plain(Members::default()),
        };
        Self { kind, shape, deadlines: Deadlines::default(), version: 0, extent: Extent::NONE }
    }

    /// How many elements there are, those included that are due and not removed yet.
    pub fn len(&self) -> usize {
        match &self.shape {
            Shape::Plain(members) | Shape::Sorted { members, .. } => members.len(),
            Shape::List { order, .. } => order.len(),
        }
    }

    /// Bytes of DRAM.
    pub fn dram_bytes(&self) -> usize {
        let shape = match &self.shape {
            Shape::Plain(members) => members.dram_bytes(),
            Shape::Sorted { members, order, .. } => members.dram_bytes() + order.dram_bytes(),
            Shape::List { order, .. } => order.dram_bytes(),
        };
        size_of::<shared::Shared>() + shape + self.deadlines.dram_bytes()
    }

    /// The addresses of all its records in the pool but the head, in no order.
    pub fn addrs(&self) -> Vec<LogAddr> {
        match &self.shape {
            Shape::Plain(members) => members.iter().collect(),
            Shape::Sorted { members, cuts, .. } => members.iter().chain(*cuts).collect(),
            Shape::List { order, bounds } => order.iter_from(0).map(|element| element.addr).chain(*bounds).collect(),
        }
    }

    /// Where the element is whose key, of this hash, is `key`.
    pub fn find(&self, tools: Tools<'_>, hash: u64, key: &[u8]) -> Option<LogAddr> {
        match &self.shape {
            Shape::Plain(members) | Shape::Sorted { members, .. } => {
                members.find(hash, |addr| tools.record(addr).key == key).map(|place| members.at(place))
            }
            Shape::List { order, .. } => {
                let label = i64::from_le_bytes(key.get(8..)?.try_into().ok()?);
                let at = order.partition_point(|element| element.label < label);
                order.get(at).filter(|element| element.label == label).map(|element| element.addr)
            }
        }
    }

    /// Asks for the cache lines that finding, and perhaps replacing, the elements of these hashes will touch, so that the misses overlap instead of
    /// following one another. Takes no candidate for a match. At most [`RUN`] at a time.
    fn warm(&self, tools: Tools<'_>, hashes: &[u64], purpose: Purpose) {
        let (Shape::Plain(members) | Shape::Sorted { members, .. }) = &self.shape else { return };
        members.candidates(hashes, |addr, hash| {
            // Header and key may straddle a line.
            tools.books.pool.region().prefetch(addr.offset(), 2);
            if purpose == Purpose::Change {
                tools.books.stale.warm(hash);
            }
        });
    }

    /// A record of this collection has become durable at `addr` (an element, an element's tombstone, bounds or cuts), and is the newest of its key, whose
    /// hash is `hash`, which matters for elements other than a list's. It is counted as live already. Returns elements that are cut off or out, which are for the caller to retire.
    pub fn apply(&mut self, tools: Tools<'_>, addr: LogAddr, hash: u64, record: &Record<'_>) -> Vec<LogAddr> {
        self.version = self.version.max(record.version);
        match record.kind {
            Kind::Element => self.put(tools, addr, hash, record),
            Kind::ElementTombstone => self.remove(tools, hash, record),
            Kind::Bounds => return self.trim(tools, addr, record),
            Kind::Cuts => return self.cut_out(tools, addr, record),
            _ => {}
        }
        Vec::new()
    }

    fn put(&mut self, tools: Tools<'_>, addr: LogAddr, hash: u64, record: &Record<'_>) {
        let former = match &mut self.shape {
            Shape::Plain(members) => put_member(members, tools, hash, addr, record),
            Shape::Sorted { members, order, .. } => {
                let former = put_member(members, tools, hash, addr, record);
                if let Some(former) = former {
                    remove_scored(order, tools, former);
                }
                let (score, name) = (score_of(record), name_of(record));
                let at = order.partition_point(|other| is_before(tools, other, score, name));
                order.insert(at, Scored { score, addr });
                former
            }
            Shape::List { order, .. } => {
                let former = put_labelled(order, Labelled { label: label_of(record), addr });
                former.into_iter().for_each(|former| tools.retire(former));
                None
            }
        };
        self.note_extent(record);
        self.time(addr, record);
        if let Some(former) = former {
            self.untime_at(former, tools);
            tools.retire_hashed(former, hash);
        }
    }

    /// `tombstone` is a record with the element's key.
    fn remove(&mut self, tools: Tools<'_>, hash: u64, tombstone: &Record<'_>) {
        let removed = match &mut self.shape {
            Shape::Plain(members) => remove_member(members, tools, hash, tombstone.key),
            Shape::Sorted { members, order, .. } => {
                let removed = remove_member(members, tools, hash, tombstone.key);
                if let Some(removed) = removed {
                    remove_scored(order, tools, removed);
                }
                removed
            }
            Shape::List { order, .. } => {
                let label = label_of(tombstone);
                let at = order.partition_point(|element| element.label < label);
                if order.get(at).is_some_and(|element| element.label == label) {
                    tools.retire(order.remove(at).addr);
                }
                None
            }
        };
        if let Some(removed) = removed {
            self.untime_at(removed, tools);
            tools.retire_hashed(removed, hash);
        }
    }

    fn trim(&mut self, tools: Tools<'_>, addr: LogAddr, record: &Record<'_>) -> Vec<LogAddr> {
        let (Shape::List { order, bounds }, Some((first, last))) = (&mut self.shape, record.bounds()) else {
            return Vec::new();
        };
        let former = bounds.replace(addr);
        let end = order.partition_point(|element| element.label <= last);
        let mut removed = order.remove_range(end, order.len() - end);
        removed.extend(order.remove_range(0, order.partition_point(|element| element.label < first)));
        if let Some(former) = former {
            tools.books.count_garbage(former, tools.record(former).bytes());
        }
        removed.into_iter().map(|element| element.addr).collect()
    }

    fn note_extent(&mut self, record: &Record<'_>) {
        let is_list = self.kind == ObjectType::List;
        let name_bytes = if is_list { 0 } else { name_of(record).len() };
        let value_bytes = if self.kind == ObjectType::SortedSet { 0 } else { record.value.len() };
        let most = self.len();
        let extent = &mut self.extent;
        extent.has_fractions |= is_list && !is_whole(label_of(record));
        extent.longest = extent.longest.max(name_bytes).max(value_bytes);
        extent.only_integers = extent.only_integers && self.kind == ObjectType::Set && is_integer(name_of(record));
        extent.most = extent.most.max(most);
        extent.has_expiry |= record.expiry_ms != 0;
    }

    /// Where the record of this kind is that says which elements are gone, if there is one; `None` for other kinds.
    fn limits_of(&mut self, kind: Kind) -> Option<&mut Option<LogAddr>> {
        match (&mut self.shape, kind) {
            (Shape::List { bounds, .. }, Kind::Bounds) => Some(bounds),
            (Shape::Sorted { cuts, .. }, Kind::Cuts) => Some(cuts),
            _ => None,
        }
    }

    /// It is made of one that has been like this.
    fn take_after(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// What is in it, of a hash or a set, is all that it has had.
    fn forget(&mut self, tools: Tools<'_>) {
        self.extent = Extent::NONE;
        self.addrs().into_iter().for_each(|addr| self.note_extent(&tools.record(addr)));
    }

    /// The cleaner has copied the record at `from` to `to`. Says whether this collection leads there now: not if `from` was superseded meanwhile.
    pub fn relocate(&mut self, tools: Tools<'_>, from: LogAddr, to: LogAddr) -> bool {
        let record = tools.record(from);
        if let Some(limits) = self.limits_of(record.kind) {
            let is_it = *limits == Some(from);
            if is_it {
                *limits = Some(to);
            }
            return is_it;
        }
        let hash = tools.hasher.hash(record.key);
        let moved = match &mut self.shape {
            Shape::Plain(members) => relocate_member(members, tools, hash, from, to),
            Shape::Sorted { members, order, .. } => {
                let moved = relocate_member(members, tools, hash, from, to);
                if moved {
                    let (score, name) = (score_of(&record), name_of(&record));
                    let at = order.partition_point(|other| is_before(tools, other, score, name));
                    order.replace(at, Scored { score, addr: to });
                }
                moved
            }
            Shape::List { order, .. } => {
                let label = label_of(&record);
                let at = order.partition_point(|element| element.label < label);
                let moved = order.get(at).is_some_and(|element| element.addr == from);
                if moved {
                    order.replace(at, Labelled { label, addr: to });
                }
                moved
            }
        };
        if moved {
            self.untime(from, &record);
            self.time(to, &record);
        }
        moved
    }

    /// Whether it leads to the record at `addr`.
    pub fn leads_to(&self, tools: Tools<'_>, addr: LogAddr, record: &Record<'_>) -> bool {
        match (&self.shape, record.kind) {
            (Shape::List { bounds, .. }, Kind::Bounds) => return *bounds == Some(addr),
            (Shape::Sorted { cuts, .. }, Kind::Cuts) => return *cuts == Some(addr),
            (_, Kind::Bounds | Kind::Cuts) => return false,
            _ => {}
        }
        match &self.shape {
            Shape::Plain(members) | Shape::Sorted { members, .. } => {
                members.find(tools.hasher.hash(record.key), |other| other == addr).is_some()
            }
            Shape::List { .. } => self.find(tools, 0, record.key) == Some(addr),
        }
    }
}

fn put_labelled(order: &mut Sequence<Labelled>, element: Labelled) -> Option<LogAddr> {
    let label = element.label;
    // Nearly always it goes to an end.
    if order.first().is_none_or(|first| label < first.label) {
        order.push(End::Left, element);
        return None;
    }
    if order.last().is_some_and(|last| last.label < label) {
        order.push(End::Right, element);
        return None;
    }
    let at = order.partition_point(|other| other.label < label);
    if order.get(at).is_some_and(|other| other.label == label) {
        return Some(order.replace(at, element).addr);
    }
    order.insert(at, element);
    None
}

fn put_member(
    members: &mut Members,
    tools: Tools<'_>,
    hash: u64,
    addr: LogAddr,
    record: &Record<'_>,
) -> Option<LogAddr> {
    match members.find(hash, |other| tools.record(other).key == record.key) {
        Some(place) => Some(members.replace(place, addr)),
        None => {
            members.insert(hash, addr, |addr| tools.hash_at(addr));
            None
        }
    }
}

fn remove_member(members: &mut Members, tools: Tools<'_>, hash: u64, key: &[u8]) -> Option<LogAddr> {
    let place = members.find(hash, |other| tools.record(other).key == key)?;
    Some(members.remove(place, |addr| tools.hash_at(addr)))
}

fn relocate_member(members: &mut Members, tools: Tools<'_>, hash: u64, from: LogAddr, to: LogAddr) -> bool {
    let takes_any = mutant::active(Mutant::StaleElementTaken);
    let is_same = |other| takes_any && tools.record(other).key == tools.record(from).key;
    let place = members.find(hash, |other| other == from || is_same(other));
    if let Some(place) = place {
        members.replace(place, to);
    }
    place.is_some()
}

fn remove_scored(order: &mut Sequence<Scored>, tools: Tools<'_>, addr: LogAddr) {
    let record = tools.record(addr);
    let (score, name) = (score_of(&record), name_of(&record));
    let at = order.partition_point(|other| is_before(tools, other, score, name));
    debug_assert_eq!(order.get(at).map(|found| found.addr), Some(addr), "every member is in the order");
    order.remove(at);
}

/// Whether an element of a sorted set comes before one of this score and name.
fn is_before(tools: Tools<'_>, element: &Scored, score: f64, name: &[u8]) -> bool {
    // No score is NaN; 0 and -0 are one score.
    element.score < score || (element.score == score && name_of(&tools.record(element.addr)) < name)
}
