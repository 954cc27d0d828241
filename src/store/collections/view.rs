//! Reading a collection: it stays as it is while the view is held; elements stay readable as long as the guard is pinned.

use super::{
    Collection, Extent, Members, Scored, Shape, SharedCollection, Tools, is_before, name_of, with_element_key,
};
use crate::base::LogAddr;
use crate::base::sync::RwLockReadGuard;
use crate::log::{Cut, ObjectType, Packed, PackedElement, Record};
use crate::store::{Entry, RUN};
use std::cell::OnceCell;
use std::ops::Range;

/// An element as it lies in the pool.
#[derive(Clone, Copy, Debug)]
pub struct Element<'g> {
    name: &'g [u8],
    value: &'g [u8],
    expiry_ms: u64,
}

impl<'g> Element<'g> {
    #[inline]
    pub(super) fn new(record: Record<'g>) -> Self {
        Self { name: name_of(&record), value: record.value, expiry_ms: record.expiry_ms }
    }

    pub(super) fn packed(element: PackedElement<'g>) -> Self {
        Self { name: element.name, value: element.value, expiry_ms: 0 }
    }

    /// The field of a hash, or the member of a set or sorted set.
    #[inline]
    pub fn name(&self) -> &'g [u8] {
        self.name
    }

    /// The value of a hash's field or of a list's element.
    #[inline]
    pub fn value(&self) -> &'g [u8] {
        self.value
    }

    /// The score of a sorted set's member.
    #[inline]
    pub fn score(&self) -> f64 {
        self.value.try_into().map_or(0.0, f64::from_le_bytes)
    }

    /// When a hash's field expires, in Unix milliseconds.
    #[inline]
    pub fn expire_at(&self) -> Option<u64> {
        (self.expiry_ms != 0).then_some(self.expiry_ms)
    }

    fn is_live(&self, now_ms: u64) -> bool {
        self.expiry_ms == 0 || self.expiry_ms > now_ms
    }
}

/// A collection at one moment. One of element records holds its lock, shared: keep it no longer than needed, and take no stripe meanwhile.
///
/// Elements that have expired and were not removed yet are not there, but for the places of [`View::members_in`].
pub struct View<'g> {
    entry: Entry<'g>,
    form: Form<'g>,
}

/// What keys or elements are about to be looked up for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be read.
    Look,
    /// To be changed.
    Change,
}

/// How a collection lies in the pool.
enum Form<'g> {
    /// Whole in its key's record. Finding something is going through at most [`PACKED_MOST`](crate::log::PACKED_MOST) elements.
    Packed(Packed<'g>),
    /// A record for each element.
    Records(Records<'g>),
}

/// A collection of element records at one moment.
pub(super) struct Records<'g> {
    tools: Tools<'g>,
    id: u64,
    shared: &'g SharedCollection,
    data: RwLockReadGuard<'g, Collection>,
    now_ms: u64,
    /// How many elements have expired.
    hidden: usize,
    /// The others, in some order, once that is needed.
    live: OnceCell<Vec<LogAddr>>,
}

impl<'g> Records<'g> {
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

    #[inline]
    fn element(&self, addr: LogAddr) -> Element<'g> {
        Element::new(self.tools.record(addr))
    }

    /// The element at `addr`, unless it has expired.
    #[inline]
    fn live(&self, addr: LogAddr) -> Option<Element<'g>> {
        let element = self.element(addr);
        (self.hidden == 0 || element.is_live(self.now_ms)).then_some(element)
    }

    /// Elements of these names are asked for next: has their memory fetched, all at once.
    pub(super) fn warm<'n>(&self, names: impl Iterator<Item = &'n [u8]>, purpose: Purpose) {
        let (mut hashes, mut count) = ([0; RUN], 0);
        for name in names {
            hashes[count] = with_element_key(self.id, name, |key| self.tools.hasher.hash(key));
            count += 1;
            if count == RUN {
                self.data.warm(self.tools, &hashes, purpose);
                count = 0;
            }
        }
        self.data.warm(self.tools, &hashes[..count], purpose);
    }

    fn get(&self, name: &[u8]) -> Option<Element<'g>> {
        with_element_key(self.id, name, |key| {
            let hash = self.tools.hasher.hash(key);
            self.data.find(self.tools, hash, key).and_then(|addr| self.live(addr))
        })
    }

    fn members(&self) -> Option<&Members> {
        match &self.data.shape {
            Shape::Plain(members) | Shape::Sorted { members, .. } => Some(members),
            Shape::List { .. } => None,
        }
    }

    fn member_at(&self, place: usize) -> Element<'g> {
        match &self.data.shape {
            Shape::Plain(members) if self.hidden > 0 => {
                let is_live = |addr: &LogAddr| self.live(*addr).is_some();
                self.element(self.live.get_or_init(|| members.iter().filter(is_live).collect())[place])
            }
            Shape::Plain(members) | Shape::Sorted { members, .. } => self.element(members.at(place)),
            Shape::List { .. } => panic!("a list has no members"),
        }
    }

    fn iter_from(&self, at: usize) -> impl Iterator<Item = Element<'g>> + '_ {
        let (list, sorted) = match &self.data.shape {
            Shape::List { order, .. } => (Some(order.iter_from(at)), None),
            Shape::Sorted { order, .. } => (None, Some(order.iter_from(at))),
            Shape::Plain(_) => (None, None),
        };
        let listed = list.into_iter().flatten().map(|element| element.addr);
        listed.chain(sorted.into_iter().flatten().map(|element| element.addr)).map(|addr| self.element(addr))
    }

    fn nth(&self, at: usize) -> Option<Element<'g>> {
        let addr = match &self.data.shape {
            Shape::List { order, .. } => order.get(at)?.addr,
            Shape::Sorted { order, .. } => order.get(at)?.addr,
            Shape::Plain(_) => return None,
        };
        Some(self.element(addr))
    }

    /// How many members of a sorted set come before the first of which this does not hold.
    fn rank_where(&self, comes_before: impl Fn(&Scored) -> bool) -> usize {
        match &self.data.shape {
            Shape::Sorted { order, .. } => order.partition_point(comes_before),
            _ => 0,
        }
    }

    fn cuts(&self) -> Vec<Cut<'g>> {
        match &self.data.shape {
            Shape::Sorted { cuts: Some(addr), .. } => self.tools.record(*addr).cuts().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// How many members of a packed sorted set come before the first of which this does not hold.
fn packed_rank<'g>(packed: &Packed<'g>, comes_before: impl Fn(&Element<'g>) -> bool) -> usize {
    let is_sorted = packed.kind == ObjectType::SortedSet;
    packed.iter().map(Element::packed).take_while(|element| is_sorted && comes_before(element)).count()
}

impl<'g> View<'g> {
    /// The stripe of the key is held, or nobody else can know the collection. Where something has expired by `now_ms` the caller sees to it that this
    /// is durable: [`View::last_due_ms`].
    pub(in crate::store) fn new(tools: Tools<'g>, entry: Entry<'g>, shared: &'g SharedCollection, now_ms: u64) -> Self {
        let id = entry.record.object().map_or(0, |object| object.id);
        let data = shared.read();
        let hidden = data.due(now_ms);
        let records = Records { tools, id, shared, data, now_ms, hidden, live: OnceCell::new() };
        Self { entry, form: Form::Records(records) }
    }

    /// Of a packed collection, which lies in the record of `entry` and never changes.
    pub(in crate::store) fn packed(entry: Entry<'g>, packed: Packed<'g>) -> Self {
        Self { entry, form: Form::Packed(packed) }
    }

    /// The latest time by which this view has left something out.
    pub(in crate::store) fn last_due_ms(&self) -> Option<u64> {
        match &self.form {
            Form::Records(records) if records.hidden > 0 => records.data.last_due_ms(records.now_ms),
            _ => None,
        }
    }

    /// Whether it lies in its key's record, whole.
    pub fn is_packed(&self) -> bool {
        self.as_packed().is_some()
    }

    /// The collection, if it is packed.
    pub(super) fn as_packed(&self) -> Option<&Packed<'g>> {
        match &self.form {
            Form::Packed(packed) => Some(packed),
            Form::Records(_) => None,
        }
    }

    /// The collection, if it is one of element records.
    pub(super) fn records(&self) -> Option<&Records<'g>> {
        match &self.form {
            Form::Records(records) => Some(records),
            Form::Packed(_) => None,
        }
    }

    /// The key's entry.
    pub fn entry(&self) -> &Entry<'g> {
        &self.entry
    }

    /// Its type.
    pub fn kind(&self) -> ObjectType {
        match &self.form {
            Form::Packed(packed) => packed.kind,
            Form::Records(records) => records.data.kind,
        }
    }

    /// How many elements there are; never 0.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.len(),
            Form::Records(records) => records.data.len() - records.hidden,
        }
    }

    /// Places for [`View::members_in`]: as many as elements, if none has expired.
    pub fn places(&self) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.len(),
            Form::Records(records) => records.data.len(),
        }
    }

    /// Whether there is none. No key leads to such a collection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its elements have been like.
    pub fn extent(&self) -> Extent {
        match &self.form {
            Form::Packed(packed) => Extent::of_packed(packed),
            Form::Records(records) => records.data.extent,
        }
    }

    /// Bytes of DRAM that it takes, beside its key's.
    pub fn dram_bytes(&self) -> usize {
        self.records().map_or(0, |records| records.data.dram_bytes())
    }

    /// Elements of these names are looked up next: has their memory fetched, all at once.
    pub fn warm<'n>(&self, names: impl Iterator<Item = &'n [u8]>) {
        if let Some(records) = self.records() {
            records.warm(names, Purpose::Look);
        }
    }

    /// The element of this name, of a hash, set or sorted set. O(1).
    pub fn get(&self, name: &[u8]) -> Option<Element<'g>> {
        match &self.form {
            Form::Packed(packed) => packed.get(name).map(Element::packed),
            Form::Records(records) => records.get(name),
        }
    }

    /// The elements of a hash, set or sorted set at places below [`View::places`], the last one first, in no order that means anything. The member at
    /// a place of a collection of element records only ever moves to a lower place while it stays, so that a scan from the end to the front misses none.
    /// O(n) for a packed one.
    pub fn members_in(&self, places: Range<usize>) -> impl Iterator<Item = Element<'g>> + '_ {
        let records = self.records().and_then(|records| Some((records, records.members()?)));
        let packed =
            self.as_packed().into_iter().flat_map(|packed| packed.iter().skip(places.start).take(places.len()));
        let packed: Vec<Element<'g>> = packed.map(Element::packed).collect();
        let recorded = records.into_iter().flat_map(move |(records, members)| {
            places.clone().rev().filter_map(move |place| records.live(members.at(place)))
        });
        packed.into_iter().rev().chain(recorded)
    }

    /// The member at a place below [`View::len`], of a hash, set or sorted set. O(1), but O(n) for the first if some have expired, and in a packed one.
    ///
    /// # Panics
    /// If the place is none, or it is a list.
    pub fn member_at(&self, place: usize) -> Element<'g> {
        match &self.form {
            Form::Packed(packed) => {
                packed.iter().nth(place).map(Element::packed).expect("a place is below the number of elements")
            }
            Form::Records(records) => records.member_at(place),
        }
    }

    /// All elements: a list and a sorted set in their order, others in none.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Element<'g>> + '_> {
        match &self.form {
            Form::Packed(packed) => Box::new(packed.iter().map(Element::packed)),
            Form::Records(records) => match &records.data.shape {
                Shape::Plain(members) => Box::new(members.iter().filter_map(|addr| records.live(addr))),
                _ => Box::new(records.iter_from(0)),
            },
        }
    }

    /// The elements of a list or sorted set from a position on. O(log n) for the first.
    pub fn iter_from(&self, at: usize) -> impl Iterator<Item = Element<'g>> + '_ {
        match &self.form {
            Form::Packed(packed) => {
                let most = if is_ordered(packed.kind) { usize::MAX } else { 0 };
                Either::Packed(packed.iter().skip(at).take(most).map(Element::packed))
            }
            Form::Records(records) => Either::Records(records.iter_from(at)),
        }
    }

    /// The element at a position of a list or sorted set. O(log n).
    pub fn nth(&self, at: usize) -> Option<Element<'g>> {
        match &self.form {
            Form::Packed(packed) if is_ordered(packed.kind) => packed.iter().nth(at).map(Element::packed),
            Form::Packed(_) => None,
            Form::Records(records) => records.nth(at),
        }
    }

    /// The position of a member of a sorted set. O(log n).
    pub fn rank(&self, name: &[u8]) -> Option<usize> {
        let element = self.get(name)?;
        Some(self.rank_of(element.score(), name))
    }

    /// How many members of a sorted set come before the first of `score`, or with `after` before the first above it. O(log n).
    pub fn rank_of_score(&self, score: f64, after: bool) -> usize {
        let is_before = |other: f64| other < score || (after && other == score);
        match &self.form {
            Form::Packed(packed) => packed_rank(packed, |other| is_before(other.score())),
            Form::Records(records) => records.rank_where(|other| is_before(other.score)),
        }
    }

    /// How many members come before the first named `name` or above, or with `after` before the first above it, of a sorted set whose members all
    /// have one score. O(log n).
    pub fn rank_of_name(&self, name: &[u8], after: bool) -> usize {
        let is_before = |other: &[u8]| other < name || (after && other == name);
        match &self.form {
            Form::Packed(packed) => packed_rank(packed, |other| is_before(other.name)),
            Form::Records(records) => records.rank_where(|other| is_before(name_of(&records.tools.record(other.addr)))),
        }
    }

    /// How many members of a sorted set come before where one of this score and name is, or would be. O(log n).
    pub fn rank_of(&self, score: f64, name: &[u8]) -> usize {
        match &self.form {
            Form::Packed(packed) => {
                packed_rank(packed, |other| other.score() < score || (other.score() == score && other.name < name))
            }
            Form::Records(records) => records.rank_where(|other| is_before(records.tools, other, score, name)),
        }
    }

    /// What was cut out of a sorted set and still matters, the newest last.
    pub(super) fn cuts(&self) -> Vec<Cut<'g>> {
        self.records().map_or_else(Vec::new, Records::cuts)
    }

    /// The label of the element at a position of a list of element records.
    pub(super) fn label(&self, at: usize) -> Option<i64> {
        match &self.records()?.data.shape {
            Shape::List { order, .. } => order.get(at).map(|element| element.label),
            _ => None,
        }
    }
}

/// Elements of a collection of either form.
enum Either<P, R> {
    Packed(P),
    Records(R),
}

impl<'g, P: Iterator<Item = Element<'g>>, R: Iterator<Item = Element<'g>>> Iterator for Either<P, R> {
    type Item = Element<'g>;

    #[inline]
    fn next(&mut self) -> Option<Element<'g>> {
        match self {
            Self::Packed(elements) => elements.next(),
            Self::Records(elements) => elements.next(),
        }
    }
}

fn is_ordered(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::List | ObjectType::SortedSet)
}
