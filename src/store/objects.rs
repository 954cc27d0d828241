//! The DRAM side of objects: for a long string where its chunks are, for a collection where its elements are.

use super::StrValue;
use super::collections::{Dropping, SharedCollection, Tools};
use super::fields::move_field_deadline;
use super::keyspaces::Keyspace;
use super::stripes::{Held, Stripe};
use crate::base::{EpochMap, LogAddr};
use crate::log::{Kind, NewRecord, ObjectType, Record, chunk_mark, record_at};
use crossbeam_epoch::Guard;
use std::collections::BTreeSet;

/// A long string as it is at one moment. Replaced whole by every change, so that a reader's copy stays what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkTable {
    /// Length of the string in bytes.
    pub len: u64,
    /// log2 of the chunk size.
    pub shift: u8,
    /// The highest version given to a chunk.
    pub version: u64,
    /// Sum of [`chunk_mark`] over the chunks that are there, as the head has it.
    pub sum: u32,
    /// Where each chunk is; `None` is a hole, which reads as zeros.
    pub chunks: Vec<Option<LogAddr>>,
}

impl ChunkTable {
    /// A string of `len` zeros: all holes.
    pub fn zeros(len: u64, shift: u8) -> Self {
        Self { len, shift, version: 0, sum: 0, chunks: vec![None; Self::chunks_for(len, shift)] }
    }

    /// Counts in that `version` of chunk `number` is the current one, in the place of `old`.
    pub fn count_chunk(&mut self, number: usize, old: Option<u64>, version: u64) {
        let mark = |version| chunk_mark(number as u64, version);
        self.sum = self.sum.wrapping_sub(old.map_or(0, mark)).wrapping_add(mark(version));
    }

    /// How many chunks a string of `len` bytes has.
    pub fn chunks_for(len: u64, shift: u8) -> usize {
        len.div_ceil(1 << shift) as usize
    }

    /// Bytes of chunk `number`: the chunk size, but for the last.
    pub fn chunk_len(&self, number: usize) -> usize {
        let start = (number as u64) << self.shift;
        (self.len - start).min(1 << self.shift) as usize
    }
}

/// From object id to object.
#[derive(Default)]
pub struct Objects {
    /// Long strings.
    pub strings: EpochMap<ChunkTable>,
    /// Hashes, lists, sets and sorted sets.
    pub collections: EpochMap<SharedCollection>,
    /// Collections that are gone and not yet taken apart.
    pub dropping: Dropping,
}

impl Objects {
    /// Forgets an object to which no key leads any more: its records are garbage. A collection of many elements is taken apart later.
    pub fn forget(&self, tools: Tools<'_>, id: u64, guard: &Guard) {
        if let Some(table) = self.strings.remove(id, guard) {
            for &addr in table.chunks.iter().flatten() {
                tools.books.count_garbage(addr, record_at(tools.books.pool, addr).bytes());
            }
        } else if let Some(shared) = self.collections.get(id, guard) {
            let later = self.dropping.drop_collection(tools, id, shared, || {
                self.collections.remove(id, guard);
            });
            if later {
                // This thread may do nothing for long, and would keep the collection until then.
                guard.flush();
            }
        }
    }

    /// The record at `addr` has gone from the index of `keyspace`, and no other takes its place: it is garbage, and so is the object that it may be the
    /// head of. The stripe is held.
    #[expect(clippy::too_many_arguments, reason = "recovery has the parts of a store and no store yet")]
    pub(super) fn leave<'p>(
        &self,
        tools: Tools<'p>,
        keyspace: &Keyspace,
        stripe: &Stripe,
        held: &mut Held<'_>,
        hash: u64,
        addr: LogAddr,
        guard: &Guard,
    ) -> Record<'p> {
        let record = record_at(tools.books.pool, addr);
        tools.books.count_out(keyspace, stripe, held, hash, (addr, &record));
        move_field_deadline(keyspace, stripe, held, hash, self.field_deadline_ms(&record, guard), None);
        if let Some(object) = (record.kind == Kind::ObjectHead).then(|| record.object().ok()).flatten() {
            self.forget(tools, object.id, guard);
        }
        record
    }

    /// When the first field expires of the hash whose head this is, if it is one with fields that do.
    pub fn field_deadline_ms(&self, head: &Record<'_>, guard: &Guard) -> Option<u64> {
        if head.kind != Kind::ObjectHead {
            return None;
        }
        let object = head.object().ok().filter(|object| object.kind == ObjectType::Hash)?;
        self.collections.get(object.id, guard)?.read().first_deadline_ms()
    }

    /// Puts everything of `other` in the place of everything here.
    pub fn replace_all(&self, other: Objects, guard: &Guard) {
        self.strings.replace_all(other.strings, guard);
        self.collections.replace_all(other.collections, guard);
        self.dropping.clear();
    }
}

/// The key of a chunk's record.
pub(super) fn chunk_key(id: u64, number: usize) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&id.to_le_bytes());
    key[8..].copy_from_slice(&(number as u64).to_le_bytes());
    key
}

/// The record of a chunk.
pub(super) fn chunk_record<'a>(key: &'a [u8; 16], version: u64, bytes: &'a [u8]) -> NewRecord<'a> {
    NewRecord { kind: Kind::Chunk, flags: 0, keyspace: 0, version, expiry_ms: 0, key: [key, &[]], value: bytes }
}

/// The chunks that the parts (offset, length) of a string touch.
pub(super) fn chunks_of(parts: impl Iterator<Item = (usize, usize)>, shift: u8) -> BTreeSet<usize> {
    parts.filter(|(_, len)| *len > 0).flat_map(|(offset, len)| offset >> shift..=(offset + len - 1) >> shift).collect()
}

/// Chunk `number` of the string that `table` describes: the old bytes, zeros behind them, the patches on top.
pub(super) fn chunk_after(
    table: &ChunkTable,
    number: usize,
    old: Option<&StrValue<'_>>,
    patches: &[(usize, &[u8])],
) -> Vec<u8> {
    let (start, len) = (number << table.shift, table.chunk_len(number));
    let old_len = old.map_or(0, StrValue::len);
    let mut bytes = match old {
        Some(old) if start < old_len => old.range(start, old_len.min(start + len)).into_owned(),
        _ => Vec::new(),
    };
    bytes.resize(len, 0);
    overlay(&mut bytes, start, patches);
    bytes
}

/// Writes onto `bytes`, which stand at `start` of the whole, what each patch has for them.
pub(super) fn overlay(bytes: &mut [u8], start: usize, patches: &[(usize, &[u8])]) {
    for (offset, patch) in patches {
        let from = (*offset).max(start);
        let to = (offset + patch.len()).min(start + bytes.len());
        if from < to {
            bytes[from - start..to - start].copy_from_slice(&patch[from - offset..to - offset]);
        }
    }
}
