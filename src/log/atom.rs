//! Atoms: several batches that count together or not at all.
//!
//! Each batch of an atom ends with a record that says so, a *part*; it is written, flushed and fenced like any other. After the last one comes a
//! *commit*, in a batch that is no part. A part counts only if the pool has the commit of its atom. So whatever a crash leaves, it is all of the atom
//! or nothing: the parts are durable before the commit is stored at all.
//!
//! The room for the commit is kept free from the first part on ([`Writer::held_back`](super::Writer)), in the segment that is open then: once a part is
//! written nothing can keep the atom from being completed but the end of the process, and recovery shows none of it then.
//!
//! A commit is needed for as long as a part of its atom is in the pool. It bears the segments that have one, with their incarnations: once none of these
//! lives goes on, the commit is garbage, and nothing in DRAM has to remember atoms.
//!
//! An atom's id is never given to another as long as anything that bears it is in the pool: else the commit of one would complete what a crash has left
//! of another.

use super::format::{BATCH_HEADER_BYTES, batch_bytes, object_record_bytes};
use super::{AppendError, BatchBuilder, Kind, NewRecord, Writer};
use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::pool::{Pool, Urgency};

/// Tells an atom from all others that the pool has anything of.
pub type AtomId = u64;

/// Bytes of the record that ends a part.
pub(super) const PART_BYTES: usize = object_record_bytes(8, 0);

/// An atom that is being written by one thread.
#[derive(Debug)]
pub struct Atom {
    id: AtomId,
    /// Segments that have a part of it, and in which life. Ascending in time, each once.
    segments: Vec<(SegmentId, u32)>,
}

impl Atom {
    /// An atom of which nothing is written yet.
    pub fn new(id: AtomId) -> Self {
        Self { id, segments: Vec::new() }
    }

    /// Whether no part of it was written.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The size of its commit's batch, should so many more segments get a part.
    fn commit_bytes(&self, more: usize) -> u64 {
        batch_bytes(BATCH_HEADER_BYTES + object_record_bytes(8, 8 * (self.segments.len() + more))) as u64
    }

    /// Bytes of records that one part may take when `bytes` of them are to be added to the atom.
    pub fn part_limit(&self, pool: &Pool, bytes: usize) -> usize {
        let segment = pool.max_batch_bytes() as usize;
        // Of two parts that follow each other at least one is more than half full.
        let more = 2 * bytes / (segment / 2) + 2;
        segment.saturating_sub(self.commit_bytes(more) as usize + BATCH_HEADER_BYTES + PART_BYTES)
    }

    fn note(&mut self, pool: &Pool, at: u64) {
        let segment = pool.segment_of(at).expect("batches lie in segments");
        let life = (segment, pool.incarnation(segment));
        if !self.segments.contains(&life) {
            self.segments.push(life);
        }
    }
}

fn record<'a>(kind: Kind, id: &'a [u8; 8], value: &'a [u8]) -> NewRecord<'a> {
    NewRecord { kind, flags: 0, keyspace: 0, version: 0, expiry_ms: 0, key: [id, &[]], value }
}

impl Writer {
    /// Appends `batch` as a part of `atom`, and returns where it starts. Durable on return, but it counts only with [`Writer::commit_atom`].
    ///
    /// Cost: as [`Writer::commit`], the batch being 32 bytes longer.
    ///
    /// # Errors
    /// [`AppendError`]: pool, writer and batch are as before then, and the atom can still be committed without this part.
    pub fn commit_part(
        &mut self,
        pool: &Pool,
        batch: &mut BatchBuilder,
        urgency: Urgency,
        atom: &mut Atom,
    ) -> Result<u64, AppendError> {
        let before = std::mem::replace(&mut self.held_back, atom.commit_bytes(1));
        if let Err(error) = self.room_for(pool, batch.bytes_with(PART_BYTES) as u64, urgency) {
            self.held_back = before;
            return Err(error);
        }
        batch.push(&record(Kind::Part, &atom.id.to_le_bytes(), &[]));
        let at = self.append(pool, batch, urgency);
        atom.note(pool, at);
        if mutant::active(Mutant::AtomCommittedEarly) {
            self.append_commit(pool, atom);
        }
        Ok(at)
    }

    /// Makes sure that parts with so many bytes of records each find room: they cannot fail then.
    ///
    /// # Errors
    /// There is not so much room; nothing was written.
    pub fn reserve_parts(
        &mut self,
        pool: &Pool,
        parts: impl ExactSizeIterator<Item = usize>,
        urgency: Urgency,
        atom: &Atom,
    ) -> Result<(), AppendError> {
        let held = atom.commit_bytes(parts.len());
        let sizes = parts.map(|bytes| batch_bytes(BATCH_HEADER_BYTES + bytes + PART_BYTES) as u64);
        self.reserve(pool, sizes, held, urgency)
    }

    /// Completes `atom`: before this returns a crash finds all of its parts or none, afterwards all. Nothing happens if it has no part.
    ///
    /// Cost: a line flushed (two or more for an atom in more than one segment), one fence.
    pub fn commit_atom(&mut self, pool: &Pool, atom: Atom) {
        if atom.is_empty() || mutant::active(Mutant::AtomCommittedEarly) {
            self.held_back = 0;
        } else {
            self.append_commit(pool, &atom);
        }
    }

    /// What was written of `atom` is garbage.
    pub fn abandon_atom(&mut self, atom: Atom) {
        self.held_back = 0;
        drop(atom);
    }

    fn append_commit(&mut self, pool: &Pool, atom: &Atom) {
        self.held_back = 0;
        let parts: Vec<u8> = atom
            .segments
            .iter()
            .flat_map(|(SegmentId(number), life)| [number.to_le_bytes(), life.to_le_bytes()])
            .flatten()
            .collect();
        let mut batch = BatchBuilder::default();
        batch.push(&record(Kind::Commit, &atom.id.to_le_bytes(), &parts));
        // Room was held back for it; and it is not what fills a pool.
        self.commit(pool, &mut batch, Urgency::Frees).expect("the open segment has room for the commit");
    }
}
