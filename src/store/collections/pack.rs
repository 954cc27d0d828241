//! A small collection that is being changed: its elements as its record will have them, and what becomes of it when they do not fit into one any more.

use super::{Collection, Edit, Extent, LABEL_STEP, is_integer, with_element_key};
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, ObjectType, PACKED_MOST, Packed, PackedElement, PackedElements};
use crate::store::StoreError;
use std::ops::Range;

/// See the module. Reused from change to change: allocates only to grow.
#[derive(Default)]
pub struct Pack {
    len: usize,
    /// What its record's value will be, but for what stands before the elements.
    elements: Vec<u8>,
    extent: Extent,
    /// An element that is being put in.
    encoded: Vec<u8>,
}

/// Where an element is: which one, and its bytes.
pub(super) struct Place {
    pub at: usize,
    bytes: Range<usize>,
}

impl Extent {
    /// Of a packed collection.
    pub(super) fn of_packed(packed: &Packed<'_>) -> Self {
        Self {
            most: packed.most as usize,
            longest: packed.longest as usize,
            only_integers: packed.only_integers,
            has_expiry: packed.has_expiry,
            has_fractions: false,
        }
    }

    /// Counts an element of a collection that then has `len`.
    pub(super) fn note_packed(&mut self, kind: ObjectType, element: PackedElement<'_>, len: usize) {
        let value_bytes = if kind == ObjectType::SortedSet { 0 } else { element.value.len() };
        self.longest = self.longest.max(element.name.len()).max(value_bytes);
        self.only_integers = self.only_integers && kind == ObjectType::Set && is_integer(element.name);
        self.most = self.most.max(len);
    }
}

fn score_of(element: PackedElement<'_>) -> f64 {
    element.value.try_into().map_or(0.0, f64::from_le_bytes)
}

/// Puts `by` in the place of the bytes there.
fn replace_bytes(bytes: &mut Vec<u8>, place: Range<usize>, by: &[u8]) {
    let (former, behind) = (bytes.len(), place.start + by.len());
    if by.len() > place.len() {
        bytes.resize(former + by.len() - place.len(), 0);
    }
    if by.len() != place.len() {
        bytes.copy_within(place.end..former, behind);
        bytes.truncate(former - place.len() + by.len());
    }
    bytes[place.start..behind].copy_from_slice(by);
}

impl Pack {
    /// Begins with these, or with nothing.
    pub(super) fn begin(&mut self, base: Option<&Packed<'_>>) {
        self.len = base.map_or(0, Packed::len);
        self.elements.clear();
        self.elements.extend_from_slice(base.map_or(&[], Packed::elements));
        self.extent = base.map_or(Extent::NONE, Extent::of_packed);
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What it has had counts as this.
    pub(super) fn take_after(&mut self, extent: Extent) {
        self.extent = extent;
    }

    /// The elements in their order.
    pub(super) fn iter(&self, kind: ObjectType) -> PackedElements<'_> {
        PackedElements::over(kind, &self.elements)
    }

    fn places(&self, kind: ObjectType) -> impl Iterator<Item = (Place, PackedElement<'_>)> {
        let mut all = PackedElements::over(kind, &self.elements);
        let (mut at, mut start) = (0, 0);
        std::iter::from_fn(move || {
            let element = all.next()?;
            let end = self.elements.len() - all.rest_len();
            let place = Place { at, bytes: start..end };
            (at, start) = (at + 1, end);
            Some((place, element))
        })
    }

    /// The element of this name, of a hash, set or sorted set.
    pub(super) fn find(&self, kind: ObjectType, name: &[u8]) -> Option<(Place, PackedElement<'_>)> {
        let (at, bytes, element) = self.iter(kind).find(name)?;
        Some((Place { at, bytes }, element))
    }

    /// Where the element at this position is, or the end.
    fn place(&self, kind: ObjectType, at: usize) -> Place {
        let end = Place { at: self.len, bytes: self.elements.len()..self.elements.len() };
        self.places(kind).nth(at).map_or(end, |(place, _)| place)
    }

    /// Puts an element in the place of the one of its name, or where it belongs. False, and nothing has happened: there is no room for it in `limit`
    /// bytes.
    pub(super) fn put(&mut self, kind: ObjectType, element: PackedElement<'_>, limit: usize) -> bool {
        let former = self.find(kind, element.name).map(|(place, former)| (place, former.value == element.value));
        if kind != ObjectType::SortedSet {
            let place = former.map_or_else(|| self.place(kind, usize::MAX), |(place, _)| place);
            return self.replace(kind, place, Some(element), limit);
        }
        if let Some((place, is_same)) = former {
            if is_same {
                return true;
            }
            if element.encoded_bytes(kind).is_none_or(|bytes| self.elements.len() - place.bytes.len() + bytes > limit) {
                return false;
            }
            self.replace(kind, place, None, limit);
        }
        let rank = (score_of(element), element.name);
        let after = |other: PackedElement<'_>| (score_of(other), other.name) > rank;
        let place = self.places(kind).find(|(_, other)| after(*other)).map(|(place, _)| place);
        let place = place.unwrap_or_else(|| self.place(kind, usize::MAX));
        self.replace(kind, Place { at: place.at, bytes: place.bytes.start..place.bytes.start }, Some(element), limit)
    }

    /// Puts a list's element before position `at`, or in the place of the one there. As [`Pack::put`].
    pub(super) fn put_at(&mut self, at: usize, replaces: bool, value: &[u8], limit: usize) -> bool {
        let Place { at, bytes } = self.place(ObjectType::List, at);
        let bytes = if replaces { bytes } else { bytes.start..bytes.start };
        self.replace(ObjectType::List, Place { at, bytes }, Some(PackedElement { name: &[], value }), limit)
    }

    /// Removes what is at a place of a collection of this type.
    pub(super) fn remove(&mut self, kind: ObjectType, place: Place) {
        self.replace(kind, place, None, usize::MAX);
    }

    /// Removes a list's element at a position.
    pub(super) fn remove_at(&mut self, at: usize) {
        if at < self.len {
            self.remove(ObjectType::List, self.place(ObjectType::List, at));
        }
    }

    /// Removes all of a list's elements but those at these positions.
    pub(super) fn keep(&mut self, positions: Range<usize>) {
        let (from, to) = (self.place(ObjectType::List, positions.start), self.place(ObjectType::List, positions.end));
        self.elements.truncate(to.bytes.start);
        self.elements.drain(..from.bytes.start.min(to.bytes.start));
        self.len = to.at.saturating_sub(from.at);
    }

    fn replace(&mut self, kind: ObjectType, place: Place, by: Option<PackedElement<'_>>, limit: usize) -> bool {
        let len = self.len - usize::from(!place.bytes.is_empty()) + usize::from(by.is_some());
        let bytes = by.map_or(Some(0), |element| element.encoded_bytes(kind));
        let fits = bytes.is_some_and(|bytes| self.elements.len() - place.bytes.len() + bytes <= limit);
        if by.is_some() && (len > PACKED_MOST || !fits) {
            return false;
        }
        self.encoded.clear();
        if let Some(element) = by {
            element.encode(kind, &mut self.encoded);
            self.extent.note_packed(kind, element, len);
        }
        replace_bytes(&mut self.elements, place.bytes, &self.encoded);
        self.len = len;
        true
    }

    /// What is in it counts as all that it has had.
    pub(super) fn forget(&mut self, kind: ObjectType) {
        let (mut extent, len) = (Extent::NONE, self.len);
        self.iter(kind).for_each(|element| extent.note_packed(kind, element, len));
        self.extent = extent;
    }

    /// As it is to be written.
    pub(super) fn packed(&self, kind: ObjectType) -> Packed<'_> {
        let (extent, mut packed) = (self.extent, Packed::new(kind, self.len, &self.elements));
        packed.only_integers = extent.only_integers;
        packed.has_expiry = extent.has_expiry;
        packed.most = u32::try_from(extent.most).unwrap_or(u32::MAX);
        packed.longest = u32::try_from(extent.longest).unwrap_or(u32::MAX);
        packed
    }
}

impl Edit<'_, '_> {
    /// Begins with these elements, or none, in one record.
    pub(super) fn begin_pack(&mut self, base: Option<&Packed<'_>>) {
        let mut pack = std::mem::take(&mut self.txn.worker.pack);
        pack.begin(base);
        self.pack = Some(pack);
    }

    pub(super) fn make_fresh(&mut self, extent: Extent) {
        let mut collection = Collection::new(self.kind);
        collection.take_after(extent);
        self.id = self.txn.store.new_object();
        self.fresh = Some(Box::new(collection));
    }

    /// Puts an element into the packed collection. False if it is not packed, or no longer, as there is no room: then nothing has been put.
    pub(super) fn put_packed(&mut self, name: &[u8], value: &[u8], expire_at: Option<u64>) -> Result<bool, StoreError> {
        let Some(pack) = &mut self.pack else { return Ok(false) };
        let limit = self.txn.store.packed_bytes();
        if expire_at.is_some() || !pack.put(self.kind, PackedElement { name, value }, limit) {
            self.unpack()?;
            return Ok(false);
        }
        (self.len, self.changed, self.frees) = (pack.len(), true, false);
        Ok(true)
    }

    /// As [`Edit::put_packed`], at a position of a list; it is for the caller to unpack it then.
    pub(super) fn put_packed_at(&mut self, at: usize, replaces: bool, value: &[u8]) -> bool {
        let limit = self.txn.store.packed_bytes();
        let is_put = self.pack.as_mut().is_some_and(|pack| pack.put_at(at, replaces, value, limit));
        self.changed |= is_put;
        self.frees &= !is_put;
        is_put
    }

    /// The packed list, for a change that makes it no longer.
    pub(super) fn shorten(&mut self) -> Option<&mut Pack> {
        self.changed |= self.pack.is_some();
        self.pack.as_mut()
    }

    /// Makes it a collection of element records, if it is packed. The labels of a list's elements begin at 0 and go in steps.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub(super) fn unpack(&mut self) -> Result<(), StoreError> {
        let Some(pack) = self.pack.take() else { return Ok(()) };
        if mutant::active(Mutant::OutgrownSplit) && self.base.is_some() && self.txn.worker.batch.is_empty() {
            self.txn.stage(self.key, Kind::Tombstone, 0, None, &[]);
            self.txn.commit_part();
            self.mark = self.txn.worker.batch.mark();
        }
        self.make_fresh(pack.extent);
        for (element, label) in pack.iter(self.kind).zip((0..).step_by(LABEL_STEP as usize)) {
            match self.kind {
                ObjectType::List => self.stage_unhashed(Kind::Element, &i64::to_le_bytes(label), element.value),
                _ => with_element_key(self.id, element.name, |key| {
                    self.stage(Kind::Element, self.txn.tools().hasher.hash(key), [key, &[]], element.value, None);
                }),
            }
        }
        self.txn.worker.pack = pack;
        self.frees = false;
        self.spill()
    }

    /// Stages the record of a collection that is packed, if it has changed.
    pub(super) fn finish_pack(&mut self, mut pack: Pack) {
        if self.forgets {
            pack.forget(self.kind);
        }
        if self.changed {
            self.txn.frees &= self.frees;
            let packed = pack.packed(self.kind);
            self.txn.stage_with(self.key, Kind::Packed, 0, self.expire_at, packed.encoded_bytes(), |bytes| {
                packed.encode(bytes)
            });
        }
        self.txn.worker.pack = pack;
    }
}
