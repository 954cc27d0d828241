//! The value of a packed record: a small collection, whole. `docs/format.md` has the same tables for people.
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 1 | type, as in an object head: 2 = hash, 3 = list, 4 = set, 5 = sorted set |
//! | 1 | 1 | flags: bit 0 = all members that it has had were integers; bit 1 = one has had an expiry |
//! | 2 | 1 | number of elements, 1 to 64 |
//! | 3 | 1 | reserved, 0 |
//! | 4 | 4 | the most elements that it has had |
//! | 8 | 4 | the longest member or value that it has had, in bytes |
//! | 12 | .. | the elements |
//!
//! An element is what its type needs: of a hash field and value, of a list the value, of a set the member, of a sorted set the member and its score, an
//! IEEE 754 double of 8 bytes. Before each field, member and value but a score stands its length: one byte below 128, else two, of which the first is
//! the high seven bits with the top bit set. Lists are in their order, sorted sets in that of score and member.

use super::{ObjectType, RecordError};
use std::ops::Range;

/// Bytes before the first element.
const HEADER_BYTES: usize = 12;
/// The most elements in one record.
pub const PACKED_MOST: usize = 64;
/// The longest field, member or value in one, in bytes.
const LONGEST: usize = (1 << 15) - 1;

const FLAG_ONLY_INTEGERS: u8 = 1;
const FLAG_HAS_EXPIRY: u8 = 2;

/// A small collection as it lies in its key's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a> {
    /// Its type, which is none but a collection's.
    pub kind: ObjectType,
    /// Whether all members that it has had were integers.
    pub only_integers: bool,
    /// Whether an element of it has had an expiry.
    pub has_expiry: bool,
    /// The most elements that it has had.
    pub most: u32,
    /// The longest member or value that it has had, in bytes.
    pub longest: u32,
    len: u8,
    elements: &'a [u8],
}

/// An element of a packed collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedElement<'a> {
    /// Field or member; empty for a list's.
    pub name: &'a [u8],
    /// A field's value, a list's element, the bytes of a score, or nothing.
    pub value: &'a [u8],
}

impl<'a> Packed<'a> {
    /// What is to be written; `elements` are `len` as [`PackedElement::encode`] gives them.
    ///
    /// # Panics
    /// If there are more than [`PACKED_MOST`].
    pub fn new(kind: ObjectType, len: usize, elements: &'a [u8]) -> Self {
        assert!(len <= PACKED_MOST, "a packed collection has {PACKED_MOST} elements at most");
        Self { kind, only_integers: false, has_expiry: false, most: 0, longest: 0, len: len as u8, elements }
    }

    /// How many bytes [`Packed::encode`] appends.
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.elements.len()
    }

    /// Appends the value.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.only_integers, FLAG_ONLY_INTEGERS) | flag(self.has_expiry, FLAG_HAS_EXPIRY);
        into.extend_from_slice(&[self.kind as u8, flags, self.len, 0]);
        into.extend_from_slice(&self.most.to_le_bytes());
        into.extend_from_slice(&self.longest.to_le_bytes());
        into.extend_from_slice(self.elements);
    }

    /// Reads a packed record's value. Elements are looked at only as they are asked for.
    ///
    /// # Errors
    /// [`RecordError`].
    #[inline]
    pub fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let malformed = RecordError::Malformed("packed collection");
        let (header, elements) = value.split_first_chunk::<HEADER_BYTES>().ok_or(malformed)?;
        let [kind, flags, len, reserved, most @ .., l0, l1, l2, l3] = *header;
        let kind = ObjectType::from_byte(kind).filter(|kind| *kind != ObjectType::LongString);
        let kind = kind.ok_or(RecordError::Unknown("object type"))?;
        if flags & !(FLAG_ONLY_INTEGERS | FLAG_HAS_EXPIRY) != 0 || reserved != 0 {
            return Err(RecordError::Unknown("flag of a packed collection"));
        }
        if !(1..=PACKED_MOST).contains(&usize::from(len)) {
            return Err(malformed);
        }
        Ok(Self {
            kind,
            only_integers: flags & FLAG_ONLY_INTEGERS != 0,
            has_expiry: flags & FLAG_HAS_EXPIRY != 0,
            most: u32::from_le_bytes(most),
            longest: u32::from_le_bytes([l0, l1, l2, l3]),
            len,
            elements,
        })
    }

    /// Whether the elements are what the header says, and nothing else.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check(&self) -> Result<(), RecordError> {
        let end = match self.kind {
            ObjectType::Hash => self.end_of(|at| Span::at(self.elements, Span::at(self.elements, at)?.end)),
            ObjectType::SortedSet => self.end_of(|at| {
                let Span { end: start, .. } = Span::at(self.elements, at)?;
                let score = self.elements.get(start..)?.first_chunk()?;
                (!f64::from_le_bytes(*score).is_nan()).then_some(Span { start, end: start + score.len() })
            }),
            _ => self.end_of(|at| Span::at(self.elements, at)),
        };
        if end == Some(self.elements.len()) { Ok(()) } else { Err(RecordError::Malformed("packed collection")) }
    }

    /// Where the last element ends; `last_part` tells where that of an element is that begins where it is given.
    #[inline]
    fn end_of(&self, last_part: impl Fn(usize) -> Option<Span>) -> Option<usize> {
        (0..self.len).try_fold(0, |at, _| Some(last_part(at)?.end))
    }

    /// The element of this name, of a hash, set or sorted set.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<PackedElement<'a>> {
        find(self.kind, self.elements, name).map(|(_, _, element)| element)
    }

    /// How many elements there are; never 0.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, encoded.
    pub fn elements(&self) -> &'a [u8] {
        self.elements
    }

    /// The elements in their order.
    #[inline]
    pub fn iter(&self) -> PackedElements<'a> {
        PackedElements { kind: self.kind, left: self.len(), rest: self.elements }
    }
}

/// The elements of a packed collection. Ends where bytes make no sense.
#[derive(Clone, Debug)]
pub struct PackedElements<'a> {
    kind: ObjectType,
    left: usize,
    rest: &'a [u8],
}

impl<'a> PackedElements<'a> {
    /// Over elements that are encoded one behind the other.
    pub fn over(kind: ObjectType, elements: &'a [u8]) -> Self {
        Self { kind, left: usize::MAX, rest: elements }
    }

    /// Bytes that were not looked at yet.
    pub fn rest_len(&self) -> usize {
        self.rest.len()
    }

    /// The element of this name, of a hash, set or sorted set; how many are before it, and where its bytes are.
    pub fn find(self, name: &[u8]) -> Option<(usize, Range<usize>, PackedElement<'a>)> {
        find(self.kind, self.rest, name)
    }
}

/// See [`PackedElements::find`].
#[inline]
fn find<'a>(kind: ObjectType, bytes: &'a [u8], name: &[u8]) -> Option<(usize, Range<usize>, PackedElement<'a>)> {
    let (mut at, mut before) = (0, 0);
    // Ends: each turn goes on by a byte or more, or leaves.
    loop {
        let Span { start, end } = Span::at(bytes, at)?;
        if end - start == name.len() && bytes.get(start..end)? == name {
            let (element, rest) = PackedElement::decode(kind, &bytes[at..])?;
            return Some((before, at..bytes.len() - rest.len(), element));
        }
        at = match kind {
            ObjectType::Hash => Span::at(bytes, end)?.end,
            ObjectType::SortedSet => end + size_of::<f64>(),
            _ => end,
        };
        before += 1;
    }
}

/// Where the bytes of a field, member or value are. They may go beyond the end of what holds them.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Of the one whose length is told at `at`.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let first = *bytes.get(at)?;
        let (start, len) = match first {
            0..128 => (at + 1, usize::from(first)),
            _ => (at + 2, usize::from(first & 127) << 8 | usize::from(*bytes.get(at + 1)?)),
        };
        Some(Self { start, end: start + len })
    }
}

impl<'a> Iterator for PackedElements<'a> {
    type Item = PackedElement<'a>;

    #[inline]
    fn next(&mut self) -> Option<PackedElement<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (element, rest) = PackedElement::decode(self.kind, self.rest)?;
        self.rest = rest;
        Some(element)
    }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let Span { start, end } = Span::at(bytes, 0)?;
    Some((bytes.get(start..end)?, bytes.get(end..)?))
}

fn sized_bytes(len: usize) -> usize {
    len + if len < 128 { 1 } else { 2 }
}

fn put_sized(bytes: &[u8], into: &mut Vec<u8>) {
    match bytes.len() {
        len @ 0..128 => into.push(len as u8),
        len => into.extend_from_slice(&[128 | (len >> 8) as u8, len as u8]),
    }
    into.extend_from_slice(bytes);
}

impl<'a> PackedElement<'a> {
    #[inline]
    fn decode(kind: ObjectType, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (name, rest) = if kind == ObjectType::List { (&[][..], bytes) } else { sized(bytes)? };
        let (value, rest) = match kind {
            ObjectType::Set | ObjectType::LongString => (&[][..], rest),
            ObjectType::SortedSet => rest.split_at_checked(size_of::<f64>())?,
            ObjectType::Hash | ObjectType::List => sized(rest)?,
        };
        Some((Self { name, value }, rest))
    }

    /// How many bytes [`PackedElement::encode`] appends; `None` if it is too long to be packed.
    #[inline]
    pub fn encoded_bytes(&self, kind: ObjectType) -> Option<usize> {
        if self.name.len().max(self.value.len()) > LONGEST {
            return None;
        }
        let (name, value) = (sized_bytes(self.name.len()), sized_bytes(self.value.len()));
        Some(match kind {
            ObjectType::Hash => name + value,
            ObjectType::List => value,
            ObjectType::SortedSet => name + size_of::<f64>(),
            ObjectType::Set | ObjectType::LongString => name,
        })
    }

    /// Appends it as an element of a collection of this type.
    pub fn encode(&self, kind: ObjectType, into: &mut Vec<u8>) {
        if kind != ObjectType::List {
            put_sized(self.name, into);
        }
        match kind {
            ObjectType::Hash | ObjectType::List => put_sized(self.value, into),
            ObjectType::SortedSet => into.extend_from_slice(self.value),
            ObjectType::Set | ObjectType::LongString => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [ObjectType; 4] = [ObjectType::Hash, ObjectType::List, ObjectType::Set, ObjectType::SortedSet];

    proptest! {
        #[test]
        fn decoding_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(packed) = Packed::decode(&bytes) {
                let _ = packed.check();
                prop_assert!(packed.iter().count() <= packed.len());
            }
        }

        #[test]
        fn a_packed_collection_reads_back_as_written(
            elements in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), proptest::collection::vec(any::<u8>(), 0..300)), 1..64),
            only_integers: bool, has_expiry: bool, most: u32, longest: u32, kind in 0usize..4, score: f64,
        ) {
            let kind = KINDS[kind];
            let score = if score.is_nan() { 0.5 } else { score }.to_le_bytes();
            let all: Vec<PackedElement<'_>> = elements.iter().map(|(name, value)| match kind {
                ObjectType::Hash => PackedElement { name, value },
                ObjectType::List => PackedElement { name: &[], value },
                ObjectType::SortedSet => PackedElement { name, value: &score },
                _ => PackedElement { name, value: &[] },
            }).collect();
            let mut encoded = Vec::new();
            for element in &all {
                let before = encoded.len();
                element.encode(kind, &mut encoded);
                prop_assert_eq!(Some(encoded.len() - before), element.encoded_bytes(kind));
            }
            let packed = Packed { only_integers, has_expiry, most, longest, ..Packed::new(kind, all.len(), &encoded) };
            let mut value = Vec::new();
            packed.encode(&mut value);
            prop_assert_eq!(value.len(), packed.encoded_bytes());
            let read = Packed::decode(&value).expect("whole");
            prop_assert_eq!(read, packed);
            prop_assert_eq!(read.check(), Ok(()));
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), all);
            // A byte less, or one more, is none.
            let is_whole = |value: &[u8]| Packed::decode(value).and_then(|packed| packed.check()).is_ok();
            prop_assert!(!is_whole(&value[..value.len() - 1]));
            value.push(0);
            prop_assert!(!is_whole(&value));
        }
    }

    #[test]
    fn what_no_release_writes_is_no_packed_collection() {
        let mut elements = Vec::new();
        PackedElement { name: b"member", value: &[] }.encode(ObjectType::Set, &mut elements);
        let mut whole = Vec::new();
        Packed::new(ObjectType::Set, 1, &elements).encode(&mut whole);
        assert!(Packed::decode(&whole).and_then(|packed| packed.check()).is_ok());
        for (at, byte) in [(0, 1), (0, 9), (1, 4), (2, 0), (2, 65), (3, 1)] {
            let mut changed = whole.clone();
            changed[at] = byte;
            assert!(Packed::decode(&changed).is_err(), "byte {at} is {byte}");
        }
        let (mut scored, mut value) = (Vec::new(), Vec::new());
        PackedElement { name: b"member", value: &f64::NAN.to_le_bytes() }.encode(ObjectType::SortedSet, &mut scored);
        Packed::new(ObjectType::SortedSet, 1, &scored).encode(&mut value);
        assert!(Packed::decode(&value).and_then(|packed| packed.check()).is_err());
        let long = vec![0; LONGEST + 1];
        assert_eq!(PackedElement { name: &long, value: &[] }.encoded_bytes(ObjectType::Set), None);
    }
}
