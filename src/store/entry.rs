//! What a read returns: an entry that borrows its record from the pool.

use super::StoreError;
use super::collections::{NEVER, SharedCollection};
use super::objects::ChunkTable;
use crate::log::format::FLAG_RAW;
use crate::log::{Kind, ObjectType, Record, record_at, try_record_at};
use crate::pool::Pool;
use std::borrow::Cow;

/// A live (not expired) key as it was when it was read. Its bytes stay as they are while the guard is pinned.
#[derive(Clone, Copy)]
pub struct Entry<'g> {
    pub(super) pool: &'g Pool,
    pub(super) record: Record<'g>,
    /// The chunks, if it is a long string.
    pub(super) table: Option<&'g ChunkTable>,
    /// The collection, if it is one of element records.
    pub(super) collection: Option<&'g SharedCollection>,
    /// Whether the record makes no sense any more. The rest says nothing then.
    pub(super) damaged: bool,
}

impl<'g> Entry<'g> {
    /// The key's name.
    #[inline]
    pub fn key(&self) -> &'g [u8] {
        self.record.key
    }

    /// When it expires, in Unix milliseconds.
    #[inline]
    pub fn expire_at(&self) -> Option<u64> {
        (self.record.expiry_ms != 0).then_some(self.record.expiry_ms)
    }

    /// When the last of its elements expires, if it is a collection of elements that all do: with it the key is gone.
    pub(super) fn ends_at_ms(&self) -> u64 {
        self.collection.map_or(NEVER, |shared| shared.ends_at_ms())
    }

    /// Whether it has expired at `now_ms`: the key, or all that it holds.
    #[inline]
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.record.expired(now_ms) || self.ends_at_ms() <= now_ms
    }

    /// The type's name as `TYPE` gives it.
    pub fn type_name(&self) -> &'static str {
        match self.kind() {
            ObjectType::LongString => "string",
            ObjectType::Hash => "hash",
            ObjectType::List => "list",
            ObjectType::Set => "set",
            ObjectType::SortedSet => "zset",
        }
    }

    /// The type; that of a string is [`ObjectType::LongString`], however long.
    pub fn kind(&self) -> ObjectType {
        match self.record.kind {
            Kind::ObjectHead => self.record.object().map_or(ObjectType::LongString, |object| object.kind),
            Kind::Packed => self.record.packed().map_or(ObjectType::LongString, |packed| packed.kind),
            _ => ObjectType::LongString,
        }
    }

    /// Whether it is no string.
    pub fn is_collection(&self) -> bool {
        self.collection.is_some() || self.record.kind == Kind::Packed
    }

    /// Whether the record can be made out. Everything but [`Entry::string`], which asks itself, answers as for an empty string otherwise.
    ///
    /// # Errors
    /// [`StoreError::DamagedRecord`].
    #[inline]
    pub fn check(&self) -> Result<(), StoreError> {
        if self.damaged { Err(StoreError::DamagedRecord) } else { Ok(()) }
    }

    /// The string it holds.
    ///
    /// # Errors
    /// [`StoreError::WrongType`] when it holds another type, [`StoreError::DamagedRecord`].
    #[inline]
    pub fn string(&self) -> Result<StrValue<'g>, StoreError> {
        self.check()?;
        if self.is_collection() {
            return Err(StoreError::WrongType);
        }
        Ok(match &self.table {
            None => StrValue(Form::Inline(self.record.value)),
            Some(table) => StrValue(Form::Chunks(self.pool, table)),
        })
    }

    /// Whether the string was made by APPEND, SETRANGE, SETBIT and the like, so that Redis calls its encoding `raw`.
    pub fn is_raw(&self) -> bool {
        self.record.flags & FLAG_RAW != 0 || self.table.is_some()
    }

    /// Bytes of its records in the pool. O(n) for a collection of n elements.
    pub fn pool_bytes(&self) -> u64 {
        if let Some(shared) = self.collection {
            let collection = shared.read();
            let stored = |addr| try_record_at(self.pool, addr).map_or(0, |record| record.bytes());
            return (self.record.bytes() + collection.addrs().into_iter().map(stored).sum::<usize>()) as u64;
        }
        let chunks: usize = self.table.as_ref().map_or(0, |table| {
            // As they were written: a chunk of a string that has grown since is shorter than its place in it.
            let stored = |&addr| try_record_at(self.pool, addr).map_or(0, |record| record.bytes());
            table.chunks.iter().flatten().map(stored).sum()
        });
        (self.record.bytes() + chunks) as u64
    }

    /// Bytes that the key takes: its records in the pool, its index word, and the DRAM table of a long string's chunks, or what DRAM has of a
    /// collection.
    pub fn memory_bytes(&self) -> u64 {
        const INDEX_WORD_BYTES: u64 = 16;
        let mut table = self.table.as_ref().map_or(0, |table| 8 * table.chunks.len() as u64);
        if let Some(shared) = self.collection {
            table += shared.read().dram_bytes() as u64;
        }
        self.pool_bytes() + INDEX_WORD_BYTES + table
    }
}

/// A string value in the pool: one piece for most, pieces of the chunk size for long ones.
#[derive(Clone, Copy)]
pub struct StrValue<'g>(Form<'g>);

#[derive(Clone, Copy)]
enum Form<'g> {
    Inline(&'g [u8]),
    Chunks(&'g Pool, &'g ChunkTable),
}

/// What holes read as; chunks are at most this long.
static ZEROS: [u8; super::INLINE_MAX_BYTES] = [0; super::INLINE_MAX_BYTES];

/// The bytes of chunk `number`: what is stored, and how many zeros follow (the string may have grown since the chunk was written).
fn chunk<'g>(pool: &'g Pool, table: &ChunkTable, number: usize) -> (&'g [u8], usize) {
    let len = table.chunk_len(number);
    let stored = table.chunks[number].map_or(&[][..], |addr| record_at(pool, addr).value);
    let stored = &stored[..stored.len().min(len)];
    (stored, len - stored.len())
}

impl<'g> StrValue<'g> {
    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Inline(bytes) => bytes.len(),
            Form::Chunks(_, table) => table.len as usize,
        }
    }

    /// Whether it is the empty string.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value, when it lies in one piece.
    #[inline]
    pub fn inline(&self) -> Option<&'g [u8]> {
        match &self.0 {
            Form::Inline(bytes) => Some(bytes),
            Form::Chunks(..) => None,
        }
    }

    /// The whole value: borrowed when it lies in one piece, copied together otherwise.
    pub fn bytes(&self) -> Cow<'g, [u8]> {
        self.range(0, self.len())
    }

    /// The bytes `start..end`. Borrowed when they lie in one piece.
    ///
    /// # Panics
    /// Unless `start <= end <= len`.
    pub fn range(&self, start: usize, end: usize) -> Cow<'g, [u8]> {
        assert!(start <= end && end <= self.len(), "a range beyond the value");
        match &self.0 {
            Form::Inline(bytes) => Cow::Borrowed(&bytes[start..end]),
            Form::Chunks(pool, table) => {
                let number = start >> table.shift;
                let within = start - (number << table.shift)..end - (number << table.shift);
                if let Some(bytes) = table.chunks.get(number).and_then(|_| chunk(pool, table, number).0.get(within)) {
                    return Cow::Borrowed(bytes);
                }
                let mut bytes = Vec::with_capacity(end - start);
                let mut at = start;
                // Ends: each turn takes at least one byte of the rest.
                while at < end {
                    let number = at >> table.shift;
                    let from = at - (number << table.shift);
                    let take = (table.chunk_len(number) - from).min(end - at);
                    let (stored, _) = chunk(pool, table, number);
                    let have = stored.get(from..stored.len().min(from + take)).unwrap_or(&[]);
                    bytes.extend_from_slice(have);
                    bytes.resize(bytes.len() + take - have.len(), 0);
                    at += take;
                }
                Cow::Owned(bytes)
            }
        }
    }

    /// The pieces in order; a hole in a sparse value reads as a piece of zeros. For copying out once, or for counting bits without joining.
    pub fn pieces(&self) -> impl Iterator<Item = &'g [u8]> + use<'g> {
        let (inline, chunks) = match &self.0 {
            Form::Inline(bytes) => (Some(*bytes), None),
            Form::Chunks(pool, table) => (None, Some((*pool, *table))),
        };
        let chunked = chunks.into_iter().flat_map(|(pool, table)| {
            (0..table.chunks.len()).flat_map(move |number| {
                let (stored, zeros) = chunk(pool, table, number);
                [stored, &ZEROS[..zeros]]
            })
        });
        inline.into_iter().chain(chunked).filter(|piece| !piece.is_empty())
    }
}
