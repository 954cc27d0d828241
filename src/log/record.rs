//! One record: pure encoding and decoding.

use super::AtomId;
use super::cuts::Cut;
use super::format::{
    CHUNK_SHIFTS, EXPIRY_BYTES, FLAG_EXPIRY, FLAG_KEYSPACE, FLAG_RAW, FLAG_SHORT, KEYSPACE_BYTES,
    MAX_LONG_STRING_BYTES, OBJECT_HEAD_BYTES, RECORD_HEADER_BYTES, SHORT_HEADER_BYTES, padded_bytes,
};
use super::packed::Packed;
use crate::base::SegmentId;
use crate::pool::format::DatabaseMap;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A key with its value.
    String = 1,
    /// A key is gone.
    Tombstone = 2,
    /// A key whose value is an object.
    ObjectHead = 3,
    /// An element of a collection.
    Element = 4,
    /// An element of a collection is gone.
    ElementTombstone = 5,
    /// Between which labels the elements of a list are.
    Bounds = 6,
    /// A piece of a long string.
    Chunk = 7,
    /// A time that expiry has reached.
    ClockMark = 8,
    /// The batch that it ends is part of an atom.
    Part = 9,
    /// An atom is complete.
    Commit = 10,
    /// Which keyspace each database is.
    DatabaseMap = 11,
    /// Which ranges were cut out of a sorted set.
    Cuts = 12,
    /// A key with a small collection as its value.
    Packed = 13,
}

impl Kind {
    /// Whether such a record says what a key's value is, or that it is gone.
    #[inline]
    pub fn is_of_key(self) -> bool {
        matches!(self, Kind::String | Kind::Tombstone | Kind::ObjectHead | Kind::Packed)
    }

    /// Whether such a record belongs to an object, by its id, and not to a key.
    #[inline]
    pub fn is_of_object(self) -> bool {
        matches!(self, Kind::Element | Kind::ElementTombstone | Kind::Bounds | Kind::Cuts | Kind::Chunk)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Kind::String,
            2 => Kind::Tombstone,
            3 => Kind::ObjectHead,
            4 => Kind::Element,
            5 => Kind::ElementTombstone,
            6 => Kind::Bounds,
            7 => Kind::Chunk,
            8 => Kind::ClockMark,
            9 => Kind::Part,
            10 => Kind::Commit,
            11 => Kind::DatabaseMap,
            12 => Kind::Cuts,
            13 => Kind::Packed,
            _ => return None,
        })
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// What it says.
    pub kind: Kind,
    /// [`FLAG_RAW`] or 0.
    pub flags: u8,
    /// Keyspace id; 0 for records of objects.
    pub keyspace: u32,
    /// Decides between two records of one key.
    pub version: u64,
    /// Unix milliseconds; 0 = none.
    pub expiry_ms: u64,
    /// The key, in two parts that are written one behind the other.
    pub key: [&'a [u8]; 2],
    /// The value.
    pub value: &'a [u8],
}

impl NewRecord<'_> {
    fn key_len(&self) -> usize {
        self.key[0].len() + self.key[1].len()
    }

    fn header_bytes(&self) -> usize {
        if self.key_len() > usize::from(u16::MAX) {
            return RECORD_HEADER_BYTES;
        }
        let keyspace = if self.kind.is_of_key() { KEYSPACE_BYTES } else { 0 };
        let expiry = if self.expiry_ms != 0 { EXPIRY_BYTES } else { 0 };
        SHORT_HEADER_BYTES + keyspace + expiry
    }

    /// The header, of a record whose value has `value_len` bytes, and how many bytes it has.
    #[inline]
    pub(super) fn header(&self, value_len: usize) -> ([u8; RECORD_HEADER_BYTES], usize) {
        let mut header = [0; RECORD_HEADER_BYTES];
        header[0] = self.kind as u8;
        let (value_len, bytes) = (value_len as u32, self.header_bytes());
        let Ok(key_len) = u16::try_from(self.key_len()) else {
            header[1] = self.flags;
            header[4..8].copy_from_slice(&(self.key_len() as u32).to_le_bytes());
            header[8..12].copy_from_slice(&value_len.to_le_bytes());
            header[12..16].copy_from_slice(&self.keyspace.to_le_bytes());
            header[16..24].copy_from_slice(&self.version.to_le_bytes());
            header[24..32].copy_from_slice(&self.expiry_ms.to_le_bytes());
            return (header, bytes);
        };
        header[1] = self.flags | FLAG_SHORT;
        header[2..4].copy_from_slice(&key_len.to_le_bytes());
        header[4..8].copy_from_slice(&value_len.to_le_bytes());
        header[8..16].copy_from_slice(&self.version.to_le_bytes());
        if self.kind.is_of_key() {
            header[1] |= FLAG_KEYSPACE;
            header[SHORT_HEADER_BYTES..][..KEYSPACE_BYTES].copy_from_slice(&self.keyspace.to_le_bytes());
        }
        if self.expiry_ms != 0 {
            header[1] |= FLAG_EXPIRY;
            header[bytes - EXPIRY_BYTES..bytes].copy_from_slice(&self.expiry_ms.to_le_bytes());
        }
        (header, bytes)
    }

    /// Its size with padding.
    pub fn bytes(&self) -> usize {
        padded_bytes(self.header_bytes(), self.key_len(), self.value.len())
    }
}

/// A record as it lies in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// [`FLAG_RAW`] or 0.
    pub flags: u8,
    /// Keyspace id.
    pub keyspace: u32,
    /// Decides between two records of one key.
    pub version: u64,
    /// Unix milliseconds; 0 = none.
    pub expiry_ms: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Of its header.
    header_bytes: u8,
}

/// Bytes that are no record of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// An unknown kind, flag or object type.
    #[error("unknown {0}")]
    Unknown(&'static str),
    /// It would reach beyond what it is in.
    #[error("its lengths reach beyond its batch")]
    Length,
    /// Its value has not the size that its kind needs.
    #[error("a malformed {0}")]
    Malformed(&'static str),
}

/// How long the parts of a record are, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Lengths {
    /// Its header.
    pub header: usize,
    /// Its key.
    pub key: u64,
    /// Its value.
    pub value: u64,
}

/// A header, or what is in the place of one that is shorter.
type Header = [u8; RECORD_HEADER_BYTES];

#[inline(always)]
fn word(header: &Header, at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline(always)]
fn long(header: &Header, at: usize) -> u64 {
    u64::from(word(header, at)) | u64::from(word(header, at + 4)) << 32
}

impl Lengths {
    /// As the header says that `header` begins with.
    #[inline(always)]
    pub fn of(header: &Header) -> Self {
        let flags = header[1];
        if flags & FLAG_SHORT == 0 {
            let (key, value) = (u64::from(word(header, 4)), u64::from(word(header, 8)));
            return Self { header: RECORD_HEADER_BYTES, key, value };
        }
        // A part is there or not: without a branch, as this is on the way of every read.
        let part = |flag: u8, bytes: usize| usize::from(flags & flag != 0) * bytes;
        let bytes = SHORT_HEADER_BYTES + part(FLAG_KEYSPACE, KEYSPACE_BYTES) + part(FLAG_EXPIRY, EXPIRY_BYTES);
        let key = u16::from_le_bytes([header[2], header[3]]);
        Self { header: bytes, key: u64::from(key), value: u64::from(word(header, 4)) }
    }

    /// All of it, without padding.
    #[inline(always)]
    pub fn sum(self) -> u64 {
        self.header as u64 + self.key + self.value
    }

    /// All of it, with padding.
    pub fn padded(self) -> usize {
        padded_bytes(self.header, self.key as usize, self.value as usize)
    }
}

impl<'a> Record<'a> {
    /// Reads the record at the front of `bytes`.
    ///
    /// # Errors
    /// [`RecordError`].
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = bytes.first_chunk::<RECORD_HEADER_BYTES>().ok_or(RecordError::Length)?;
        let lengths = Lengths::of(header);
        if lengths.sum() > bytes.len() as u64 {
            return Err(RecordError::Length);
        }
        Self::with_lengths(bytes, header, lengths)
    }

    /// Reads the record at the front of `bytes`, which are not fewer than it has by `lengths`; these are what `header` says, which are the same bytes.
    #[inline(always)]
    pub(super) fn with_lengths(bytes: &'a [u8], header: &Header, lengths: Lengths) -> Result<Self, RecordError> {
        let kind = Kind::from_byte(header[0]).ok_or(RecordError::Unknown("record kind"))?;
        let flags = header[1];
        let (version, keyspace, expiry_ms, is_known) = if flags & FLAG_SHORT != 0 {
            let has_keyspace = flags & FLAG_KEYSPACE != 0;
            let keyspace = if has_keyspace { word(header, SHORT_HEADER_BYTES) } else { 0 };
            let expiry_ms = match flags & FLAG_EXPIRY {
                0 => 0,
                _ if has_keyspace => long(header, SHORT_HEADER_BYTES + KEYSPACE_BYTES),
                _ => long(header, SHORT_HEADER_BYTES),
            };
            // The keyspace goes with the kind, so that neither can change without being noticed.
            let known = FLAG_SHORT | FLAG_KEYSPACE | FLAG_EXPIRY | FLAG_RAW;
            (long(header, 8), keyspace, expiry_ms, kind.is_of_key() == has_keyspace && flags & !known == 0)
        } else {
            let is_known = flags & !FLAG_RAW == 0 && header[2] == 0 && header[3] == 0;
            (long(header, 16), word(header, 12), long(header, 24), is_known)
        };
        if !is_known {
            return Err(RecordError::Unknown("record flag"));
        }
        let (key, rest) = bytes[lengths.header..].split_at(lengths.key as usize);
        let (value, flags) = (&rest[..lengths.value as usize], flags & FLAG_RAW);
        Ok(Record { kind, flags, keyspace, version, expiry_ms, key, value, header_bytes: lengths.header as u8 })
    }

    /// What stands for one that cannot be made out.
    pub fn damaged() -> Self {
        let header_bytes = RECORD_HEADER_BYTES as u8;
        Self { kind: Kind::String, flags: 0, keyspace: 0, version: 0, expiry_ms: 0, key: &[], value: &[], header_bytes }
    }

    /// Whether key and value are what the kind needs.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn check(&self) -> Result<(), RecordError> {
        // Counted up from 0: no pool gets there, and the next one would overflow.
        if self.version >> 63 != 0 {
            return Err(RecordError::Malformed("version"));
        }
        match self.kind {
            Kind::ObjectHead if self.object()?.id >> 63 != 0 => Err(RecordError::Malformed("object id")),
            Kind::Chunk if self.chunk_key()?.0 >> 63 != 0 => Err(RecordError::Malformed("object id")),
            Kind::Element | Kind::ElementTombstone | Kind::Bounds | Kind::Cuts if self.object_key()?.0 >> 63 != 0 => {
                Err(RecordError::Malformed("object id"))
            }
            Kind::Tombstone | Kind::ElementTombstone if !self.value.is_empty() => {
                Err(RecordError::Malformed("tombstone"))
            }
            Kind::Bounds if self.bounds().is_none() => Err(RecordError::Malformed("bounds")),
            Kind::Cuts if self.cuts().is_none() => Err(RecordError::Malformed("cuts")),
            Kind::Packed => self.packed()?.check(),
            Kind::DatabaseMap => self.database_map().map(|_| ()),
            Kind::Part if !self.value.is_empty() => Err(RecordError::Malformed("part")),
            Kind::Part => self.atom().map(|_| ()),
            Kind::Commit => self.parts().and(self.atom()).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Bytes of its header.
    pub fn header_bytes(&self) -> usize {
        usize::from(self.header_bytes)
    }

    /// Its size with padding.
    #[inline]
    pub fn bytes(&self) -> usize {
        padded_bytes(usize::from(self.header_bytes), self.key.len(), self.value.len())
    }

    /// The same record, to be written once more. It may take less room: records of earlier releases have a long header.
    pub fn copy(&self) -> NewRecord<'a> {
        let Record { kind, flags, keyspace, version, expiry_ms, key, value, .. } = *self;
        NewRecord { kind, flags, keyspace, version, expiry_ms, key: [key, &[]], value }
    }

    /// Whether it is expired at `now_ms`.
    #[inline]
    pub fn expired(&self, now_ms: u64) -> bool {
        self.expiry_ms != 0 && self.expiry_ms <= now_ms
    }

    /// The object that an object head names.
    ///
    /// # Errors
    /// [`RecordError`] when its value is not an object head's.
    pub fn object(&self) -> Result<Object, RecordError> {
        Object::decode(self.value)
    }

    /// The atom that a part or commit names.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when its key is no atom id.
    pub fn atom(&self) -> Result<AtomId, RecordError> {
        let id = self.key.try_into().map(u64::from_le_bytes).map_err(|_| RecordError::Malformed("atom id"))?;
        if id >> 63 == 0 { Ok(id) } else { Err(RecordError::Malformed("atom id")) }
    }

    /// The database map of a record of one.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when it is none.
    pub fn database_map(&self) -> Result<DatabaseMap, RecordError> {
        let generation = self.key.try_into().map(u64::from_le_bytes).ok();
        let map = generation.and_then(|generation| DatabaseMap::decode(generation, self.value));
        map.ok_or(RecordError::Malformed("database map"))
    }

    /// The segments that a commit says its atom has parts in, each with its incarnation then.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when its value is no list of them.
    pub fn parts(&self) -> Result<impl Iterator<Item = (SegmentId, u32)> + use<'a>, RecordError> {
        let (pairs, []) = self.value.as_chunks::<8>() else { return Err(RecordError::Malformed("commit")) };
        let word = |pair: &[u8; 8], at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        Ok(pairs.iter().map(move |pair| (SegmentId(word(pair, 0)), word(pair, 4))))
    }

    /// The object id that the key of a chunk or element begins with, and the rest of the key.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when the key is too short.
    pub fn object_key(&self) -> Result<(u64, &'a [u8]), RecordError> {
        let (id, rest) = self.key.split_first_chunk::<8>().ok_or(RecordError::Malformed("object key"))?;
        Ok((u64::from_le_bytes(*id), rest))
    }

    /// The first and the last label of a list's elements, as a bounds record has them; `None` if it is none.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let (first, last) = self.value.split_first_chunk::<8>()?;
        let last: &[u8; 8] = last.try_into().ok()?;
        (self.key.len() == 8).then(|| (i64::from_le_bytes(*first), i64::from_le_bytes(*last)))
    }

    /// The ranges that were cut out of a sorted set, as a cuts record has them, the newest last; `None` if it is none.
    pub fn cuts(&self) -> Option<Vec<Cut<'a>>> {
        let cuts = Cut::decode_all(self.value)?;
        let is_newest = cuts.last()?.version == self.version;
        (self.key.len() == 8 && is_newest && cuts.is_sorted_by_key(|cut| cut.version)).then_some(cuts)
    }

    /// The small collection of a packed record. Its elements are not looked at.
    ///
    /// # Errors
    /// [`RecordError`] when its value is none.
    #[inline]
    pub fn packed(&self) -> Result<Packed<'a>, RecordError> {
        Packed::decode(self.value)
    }

    /// Object id and number of a chunk.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] when the key has another size.
    pub fn chunk_key(&self) -> Result<(u64, u64), RecordError> {
        let (id, rest) = self.object_key()?;
        let number = rest.try_into().map_err(|_| RecordError::Malformed("chunk key"))?;
        Ok((id, u64::from_le_bytes(number)))
    }
}

/// From one element pushed to the next. Between them is room for this many others less one, before labels have to be shifted.
pub const LABEL_STEP: i64 = 1 << 16;

/// Whether a list's bounds say whether an element of this label is there. One between two steps is only ever removed by a tombstone.
pub fn is_whole(label: i64) -> bool {
    label & (LABEL_STEP - 1) == 0
}

/// What kind of object a head names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ObjectType {
    /// A string in chunks.
    LongString = 1,
    /// A hash: its elements are fields with their values.
    Hash = 2,
    /// A list: its elements are values in the order of their labels.
    List = 3,
    /// A set: its elements are members without a value.
    Set = 4,
    /// A sorted set: its elements are members with their scores.
    SortedSet = 5,
}

impl ObjectType {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::LongString,
            2 => Self::Hash,
            3 => Self::List,
            4 => Self::Set,
            5 => Self::SortedSet,
            _ => return None,
        })
    }
}

/// The value of an object head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    /// Never used for another object while a record that bears it is in the pool.
    pub id: u64,
    /// Its type.
    pub kind: ObjectType,
    /// log2 of the size of a long string's chunks; 0 for other types.
    pub chunk_shift: u8,
    /// Bytes of a long string; 0 for other types.
    pub len: u64,
    /// Sum of [`chunk_mark`] over the chunks that belong to the value; `None` in heads that were written before there were sums.
    pub chunk_sum: Option<u32>,
}

/// What chunk `number` adds to the sum in its object's head when `version` is the current one. Sums wrap around.
///
/// A head says by its sum which chunks make its value. Where a chunk, or the newest version of one, has been lost from the pool, the sum of
/// what is left is another, so that a hole or an old piece is never taken for the value.
#[inline]
pub fn chunk_mark(number: u64, version: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &version.to_le_bytes())
}

impl Object {
    /// A collection.
    pub fn collection(id: u64, kind: ObjectType) -> Self {
        Self { id, kind, chunk_shift: 0, len: 0, chunk_sum: None }
    }

    /// The 24 bytes of an object head's value.
    pub fn encode(&self) -> [u8; OBJECT_HEAD_BYTES] {
        let mut bytes = [0; OBJECT_HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8] = self.kind as u8;
        bytes[9] = self.chunk_shift;
        if let Some(sum) = self.chunk_sum {
            bytes[10] = 1;
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        }
        bytes[16..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes: &[u8; OBJECT_HEAD_BYTES] = bytes.try_into().map_err(|_| RecordError::Malformed("object head"))?;
        let kind = ObjectType::from_byte(bytes[8]).ok_or(RecordError::Unknown("object type"))?;
        let sum = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
        let chunk_sum = match (bytes[10], bytes[11], sum) {
            (1, 0, sum) => Some(sum),
            (0, 0, 0) => None,
            _ => return Err(RecordError::Malformed("object head")),
        };
        let object = Self {
            id: u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
            kind,
            chunk_shift: bytes[9],
            len: u64::from_le_bytes(bytes[16..].try_into().expect("eight bytes")),
            chunk_sum,
        };
        if kind != ObjectType::LongString {
            let plain = object.chunk_shift == 0 && object.len == 0 && chunk_sum.is_none();
            return if plain { Ok(object) } else { Err(RecordError::Malformed("object head")) };
        }
        // Bounds the table of chunks that recovery makes for it: at most 2^23 entries.
        if !CHUNK_SHIFTS.contains(&object.chunk_shift) || object.len > MAX_LONG_STRING_BYTES {
            return Err(RecordError::Malformed("object head"));
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_arbitrary_bytes_never_panics_or_reads_beyond(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert!(SHORT_HEADER_BYTES + record.key.len() + record.value.len() <= bytes.len());
                let _ = record.object();
                let _ = record.chunk_key();
                let _ = record.atom();
                let _ = record.parts().map(Iterator::count);
            }
        }

        #[test]
        fn a_record_reads_back_as_written(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..200),
            keyspace: Option<u32>, version: u64, expiry_ms: Option<u64>, raw: bool, has_long_key: bool,
        ) {
            let key = if has_long_key { key.repeat(2000) } else { key };
            let (keyspace, expiry_ms, flags) = (keyspace.unwrap_or(0), expiry_ms.unwrap_or(0), u8::from(raw));
            let parts = key.split_at(key.len() / 2);
            let new = NewRecord {
                kind: Kind::String, flags, keyspace, version, expiry_ms, key: [parts.0, parts.1], value: &value,
            };
            let mut batch = crate::log::BatchBuilder::default();
            let before = batch.mark();
            let at = batch.push(&new);
            prop_assert_eq!(batch.bytes_since(before), new.bytes());
            let record = batch.record(at);
            prop_assert_eq!(record.bytes(), new.bytes());
            prop_assert_eq!((record.kind, record.flags, record.keyspace), (Kind::String, flags, keyspace));
            prop_assert_eq!((record.version, record.expiry_ms), (version, expiry_ms));
            prop_assert_eq!((record.key, record.value), (&key[..], &value[..]));
            let copy = record.copy();
            prop_assert_eq!(copy.bytes(), new.bytes());
        }

        #[test]
        fn a_record_of_an_earlier_release_reads_back(
            key in proptest::collection::vec(any::<u8>(), 0..40),
            value in proptest::collection::vec(any::<u8>(), 0..200),
            keyspace: u32, version: u64, expiry_ms: u64, raw: bool,
        ) {
            let lengths = [key.len() as u32, value.len() as u32, keyspace].map(u32::to_le_bytes).concat();
            let times = [version, expiry_ms].map(u64::to_le_bytes).concat();
            let bytes = [&[Kind::String as u8, u8::from(raw), 0, 0], &lengths[..], &times, &key, &value].concat();
            let record = Record::decode(&bytes).expect("whole");
            prop_assert_eq!(record.bytes(), bytes.len().next_multiple_of(16));
            prop_assert_eq!((record.flags, record.keyspace), (u8::from(raw), keyspace));
            prop_assert_eq!((record.version, record.expiry_ms), (version, expiry_ms));
            prop_assert_eq!((record.key, record.value), (&key[..], &value[..]));
        }
    }

    #[test]
    fn what_the_next_write_would_overflow_is_no_record() {
        let checked = |kind, version, id: u64| {
            let object = Object { id, kind: ObjectType::LongString, chunk_shift: 16, len: 1, chunk_sum: None }.encode();
            let chunk = [id.to_le_bytes(), [0; 8]].concat();
            let (key, value): (&[u8], &[u8]) = if kind == Kind::Chunk { (&chunk, b"") } else { (b"key", &object) };
            Record { kind, version, key, value, ..Record::damaged() }.check()
        };
        for kind in [Kind::ObjectHead, Kind::Chunk] {
            assert_eq!(checked(kind, 1, 1), Ok(()));
            assert_eq!(checked(kind, u64::MAX, 1), Err(RecordError::Malformed("version")));
            assert_eq!(checked(kind, 1, u64::MAX), Err(RecordError::Malformed("object id")));
        }
        assert_eq!(checked(Kind::Tombstone, 1, 1), Err(RecordError::Malformed("tombstone")));
    }

    #[test]
    fn an_object_head_reads_back_as_written() {
        let mut object =
            Object { id: 77, kind: ObjectType::LongString, chunk_shift: 16, len: 1 << 29, chunk_sum: Some(5) };
        assert_eq!(Object::decode(&object.encode()), Ok(object));
        object.chunk_sum = None;
        assert_eq!(Object::decode(&object.encode()), Ok(object));
        let mut unknown = object.encode();
        unknown[8] = 9;
        assert_eq!(Object::decode(&unknown), Err(RecordError::Unknown("object type")));
    }
}
