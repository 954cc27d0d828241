//! Writing long strings: their chunks before the batch that makes them a value, or within it.

use super::objects::{ChunkTable, chunk_after, chunk_key, chunk_record, chunks_of, overlay};
use super::stripes::in_transaction;
use super::txn::{Txn, Worker};
use super::{Entry, Key, Store, StoreError, StrValue};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::format::{FLAG_RAW, object_record_bytes};
use crate::log::{Kind, Object, ObjectType, Writer, record_at};
use crate::pool::Urgency;
use crossbeam_epoch::Guard;
use std::sync::PoisonError;

/// A long string as it is after the commit.
pub(super) struct ObjectChange {
    pub(super) id: u64,
    pub(super) table: ChunkTable,
    /// Chunks in the same batch: number and where in the batch.
    pub(super) in_batch: Vec<(usize, usize)>,
}

/// A value to be stored, made by [`Store::prepare`].
pub struct NewValue<'a>(pub(super) Prepared<'a>);

pub(super) enum Prepared<'a> {
    Inline(&'a [u8]),
    Long { id: u64, table: ChunkTable },
}

impl Store {
    /// Makes a value ready to be stored. Short ones are only borrowed; a long one (above [`Store::inline_max`]) is written to the log as
    /// chunks now, before any lock is taken, and becomes live only when a transaction that sets it commits. That must be under the same guard, which
    /// keeps them from being cleaned away until then.
    ///
    /// Cost of a long one: every line of it flushed, one fence for each chunk.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`] when the pool has no room.
    #[inline]
    pub fn prepare<'a>(
        &self,
        worker: &mut Worker,
        value: &'a [u8],
        guard: &'a Guard,
    ) -> Result<NewValue<'a>, StoreError> {
        // Only its life matters: as long as it is pinned, chunks to which nothing leads yet are not taken for garbage.
        let _ = guard;
        if value.len() <= self.inline_max() {
            return Ok(NewValue(Prepared::Inline(value)));
        }
        // A transaction's stripes hold off a reload; one that waits for them holds this.
        let _appending = (!in_transaction()).then(|| self.appending.read().unwrap_or_else(PoisonError::into_inner));
        self.prepare_long(worker, value)
    }

    /// [`Store::prepare`] of a long value. The caller holds off [`Store::reload`].
    fn prepare_long<'a>(&self, worker: &mut Worker, value: &[u8]) -> Result<NewValue<'a>, StoreError> {
        let shift = self.chunk_shift;
        let mut table = ChunkTable::zeros(value.len() as u64, shift);
        let id = self.new_object();
        for (number, piece) in value.chunks(1 << shift).enumerate() {
            table.chunks[number] = Some(self.append_chunk(worker, id, number, 1, piece)?);
            table.count_chunk(number, None, 1);
        }
        table.version = 1;
        Ok(NewValue(Prepared::Long { id, table }))
    }

    /// Appends a chunk in a batch of its own. Durable on return: the head that makes chunks a value may reach the medium as soon as it is
    /// stored, so they must be there first.
    fn append_chunk(
        &self,
        worker: &mut Worker,
        id: u64,
        number: usize,
        version: u64,
        bytes: &[u8],
    ) -> Result<LogAddr, StoreError> {
        worker.chunk_batch.clear();
        let key = chunk_key(id, number);
        let offset = worker.chunk_batch.push(&chunk_record(&key, version, bytes));
        let at = worker.writer.commit(&self.pool, &mut worker.chunk_batch, Urgency::Normal)?;
        Ok(Writer::record_addr(at, offset))
    }
}

impl<'a> Txn<'a> {
    /// As [`Store::prepare`], for a value that could only be made with the stripes held.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`].
    pub fn prepare<'v>(&mut self, value: &'v [u8]) -> Result<NewValue<'v>, StoreError> {
        if value.len() <= self.store.inline_max() {
            return Ok(NewValue(Prepared::Inline(value)));
        }
        // The stripes are held, which holds off a reload.
        self.store.prepare_long(self.worker, value)
    }

    /// Stages the head of a long string.
    pub(super) fn stage_head(&mut self, key: Key<'_>, id: u64, table: &ChunkTable, flags: u8, expire_at: Option<u64>) {
        let (kind, chunk_sum) = (ObjectType::LongString, Some(table.sum));
        let object = Object { id, kind, chunk_shift: table.shift, len: table.len, chunk_sum };
        self.stage(key, Kind::ObjectHead, flags, expire_at, &object.encode());
    }

    /// Stages overwriting parts of the string at `key` (taken as empty when absent): each patch is (offset, bytes), and what lies between
    /// the end and an offset beyond it fills up with zeros. Keeps the expiry; marks the value `raw`.
    ///
    /// A long string has only the touched chunks rewritten, in this transaction's batch; when they do not fit into one batch, all of it is
    /// written anew under another object id.
    ///
    /// # Errors
    /// [`StoreError::WrongType`]; [`StoreError::OutOfSpace`].
    pub fn patch(&mut self, key: Key<'_>, patches: &[(usize, &[u8])]) -> Result<(), StoreError> {
        let entry = self.peek(key);
        let old = entry.as_ref().map(Entry::string).transpose()?;
        let expire_at = entry.as_ref().and_then(Entry::expire_at);
        let old_len = old.as_ref().map_or(0, StrValue::len);
        let new_len = patches.iter().map(|(offset, bytes)| offset + bytes.len()).fold(old_len, usize::max);
        self.frees = false;
        if new_len <= self.store.inline_max() {
            let old = old.as_ref().map_or(Default::default(), StrValue::bytes);
            self.stage_with(key, Kind::String, FLAG_RAW, expire_at, new_len, |out| {
                let start = out.len();
                out.extend_from_slice(&old);
                out.resize(start + new_len, 0);
                overlay(&mut out[start..], 0, patches);
            });
            return Ok(());
        }
        self.patch_long(key, entry.as_ref(), old.as_ref(), new_len, patches, expire_at)
    }

    fn patch_long(
        &mut self,
        key: Key<'_>,
        entry: Option<&Entry<'a>>,
        old: Option<&StrValue<'a>>,
        new_len: usize,
        patches: &[(usize, &[u8])],
        expire_at: Option<u64>,
    ) -> Result<(), StoreError> {
        let existing = entry.and_then(|entry| Some((entry.record.object().ok()?.id, entry.table?)));
        if let Some((id, table)) = existing {
            let mut table = table.clone();
            table.len = new_len as u64;
            table.chunks.resize(ChunkTable::chunks_for(table.len, table.shift), None);
            let touched = chunks_of(patches.iter().map(|(offset, bytes)| (*offset, bytes.len())), table.shift);
            let bytes = touched.len() * object_record_bytes(16, 1 << table.shift);
            // Half a segment leaves room for the head and whatever else is in the batch.
            if bytes as u64 <= self.store.pool.max_batch_bytes() / 2 {
                table.version += 1;
                let mut in_batch = Vec::with_capacity(touched.len());
                for number in touched {
                    let bytes = chunk_after(&table, number, old, patches);
                    let key = chunk_key(id, number);
                    let replaced = table.chunks[number].map(|addr| record_at(&self.store.pool, addr).version);
                    table.count_chunk(number, replaced, table.version);
                    if mutant::active(Mutant::ChunksOutsideBatch) {
                        let addr = self.store.append_chunk(self.worker, id, number, table.version, &bytes)?;
                        table.chunks[number] = Some(addr);
                        continue;
                    }
                    in_batch.push((number, self.worker.batch.push(&chunk_record(&key, table.version, &bytes))));
                }
                self.stage_head(key, id, &table, FLAG_RAW, expire_at);
                self.worker.objects.push(ObjectChange { id, table, in_batch });
                return Ok(());
            }
        }
        // A new object: nothing refers to its chunks before the head is durable.
        let id = self.store.new_object();
        let mut table = ChunkTable::zeros(new_len as u64, self.store.chunk_shift);
        table.version = 1;
        let kept = old.map_or(0, StrValue::len);
        let parts = patches.iter().map(|(offset, bytes)| (*offset, bytes.len())).chain([(0, kept)]);
        for number in chunks_of(parts, table.shift) {
            let bytes = chunk_after(&table, number, old, patches);
            // A chunk of zeros is a hole.
            if bytes.iter().any(|&byte| byte != 0) {
                table.chunks[number] = Some(self.store.append_chunk(self.worker, id, number, 1, &bytes)?);
                table.count_chunk(number, None, 1);
            }
        }
        self.stage_head(key, id, &table, FLAG_RAW, expire_at);
        self.worker.objects.push(ObjectChange { id, table, in_batch: Vec::new() });
        Ok(())
    }

    /// Stages the value of `from` under `to` as well (COPY), with an expiry of its own. A long string is copied chunk by chunk.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`].
    pub fn copy(&mut self, from: Key<'_>, to: Key<'_>, expire_at: Option<u64>) -> Result<(), StoreError> {
        let Some(entry) = self.peek(from) else { return Ok(()) };
        entry.check()?;
        if entry.is_collection() {
            let view = self.store.view(entry, self.now_ms())?;
            return self.copy_collection(&view, to, expire_at);
        }
        self.frees = false;
        let flags = entry.record.flags;
        let Some(source) = entry.table else {
            self.stage(to, entry.record.kind, flags, expire_at, entry.record.value);
            return Ok(());
        };
        let id = self.store.new_object();
        let mut table = ChunkTable { version: 1, ..ChunkTable::zeros(source.len, source.shift) };
        for (number, place) in source.chunks.iter().enumerate() {
            if let Some(addr) = *place {
                let bytes = record_at(&self.store.pool, addr).value;
                table.chunks[number] = Some(self.store.append_chunk(self.worker, id, number, 1, bytes)?);
                table.count_chunk(number, None, 1);
            }
        }
        self.stage_head(to, id, &table, flags, expire_at);
        self.worker.objects.push(ObjectChange { id, table, in_batch: Vec::new() });
        Ok(())
    }

    /// The objects of the batch that were not published yet. Who has their heads from before sees the new contents from here on.
    #[inline]
    pub(super) fn publish_objects(&mut self, at: u64) {
        for change in std::mem::take(&mut self.worker.objects) {
            self.publish_object(change, at);
        }
        self.publish_collections(at);
    }

    fn publish_object(&mut self, change: ObjectChange, at: u64) {
        let (pool, objects) = (&self.store.pool, &self.store.objects.strings);
        let books = self.store.books();
        let ObjectChange { id, table, in_batch } = change;
        let mut table = Some(table);
        objects.update(id, self.guard, |current| {
            let mut table = table.take()?;
            // The cleaner may have moved chunks since the transaction looked at them.
            if !mutant::active(Mutant::ChunksOutsideBatch) {
                table.chunks.iter_mut().zip(&current.chunks).for_each(|(mine, now)| *mine = *now);
            }
            for (number, offset) in in_batch {
                let addr = Writer::record_addr(at, offset);
                books.count_live(addr, record_at(pool, addr).bytes());
                if let Some(old) = table.chunks[number].replace(addr) {
                    books.count_garbage(old, record_at(pool, old).bytes());
                }
            }
            Some(table)
        });
        if let Some(table) = table {
            // New: its chunks were written before, as garbage until now.
            for &addr in table.chunks.iter().flatten() {
                books.count_live(addr, record_at(pool, addr).bytes());
            }
            objects.set(id, table, self.guard);
        }
    }
}
