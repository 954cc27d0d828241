//! Writes of several commit batches: what is too much for one is committed as an atom, all of it or nothing (`log/atom.rs`).

use super::accounting::Books;
use super::txn::Worker;
use super::{Store, StoreError, Txn};
use crate::base::mutant::{self, Mutant};
use crate::base::{LogAddr, SegmentId};
use crate::cleaner::Fate;
use crate::log::{Atom, BatchBuilder, Kind, Record, record_at};
use crate::pool::Urgency;
use std::ops::Range;

/// What a batch of an atom is filled up to, in bytes: much more than a fence costs, and little beside a segment, the end of which may stay empty.
const PART_FILL_BYTES: usize = 64 * 1024;

/// A record of a part that never counted, or never will: the cleaner will find it superseded, if it has a value. The stripe of `hash` is held.
pub(super) fn count_uncommitted(books: Books<'_>, record: &Record<'_>, hash: u64) {
    if matches!(record.kind, Kind::String | Kind::ObjectHead | Kind::Packed | Kind::Element)
        && !mutant::active(Mutant::UncommittedNotCounted)
    {
        books.stale.add(hash);
    }
}

impl Store {
    /// A commit is needed as long as a part of its atom is in the pool.
    pub(super) fn fate_of_commit(&self, record: &Record<'_>) -> Fate {
        let is_there = |(segment, life): (SegmentId, u32)| {
            segment.0 < self.pool.segment_count() && self.pool.incarnation(segment) == life
        };
        let needed = record.parts().is_ok_and(|mut parts| parts.any(is_there));
        if needed && !mutant::active(Mutant::CommitDropped) { Fate::Needed } else { Fate::Dead { counted: None } }
    }
}

impl Worker {
    /// Every place in the batch that something staged has noted.
    fn offsets(&mut self) -> impl Iterator<Item = &mut usize> {
        let staged = self.staged.iter_mut().map(|one| &mut one.offset);
        let chunks = self.objects.iter_mut().flat_map(|change| &mut change.in_batch).map(|(_, offset)| offset);
        let elements = self.elements.iter_mut().map(|element| &mut element.offset);
        staged.chain(chunks).chain(elements)
    }
}

impl Txn<'_> {
    /// Makes all staged records durable as an atom of several batches. What is noted of their places is from the pool's start then.
    ///
    /// Cost: a fence for each 64 KiB or so, and one for the commit.
    ///
    /// # Errors
    /// As [`Txn::commit`]. Parts that were written before room ran out are left behind as garbage.
    #[cold]
    pub(super) fn commit_in_parts(&mut self, urgency: Urgency) -> Result<(), StoreError> {
        // Within a transaction they are parts of that one.
        let within = self.worker.atom.take();
        let is_within = within.is_some();
        let mut atom = within.unwrap_or_else(|| Atom::new(self.store.new_object()));
        let result = self.append_parts(urgency, &mut atom, is_within);
        match &result {
            _ if is_within => self.worker.atom = Some(atom),
            Ok(_) => self.worker.writer.commit_atom(&self.store.pool, atom),
            Err(_) => self.worker.writer.abandon_atom(atom),
        }
        // From here on a crash finds all of it, unless it is within a transaction.
        let placed = match result {
            Ok(placed) => placed,
            Err((written, error)) => {
                debug_assert!(!is_within || written.is_empty(), "room was made sure of");
                self.count_abandoned(&written);
                return Err(error);
            }
        };
        for offset in self.worker.offsets() {
            let behind = placed.partition_point(|(piece, _)| piece.start <= *offset);
            let (piece, at) = &placed[behind - 1];
            *offset = *offset - piece.start + at;
        }
        Ok(())
    }

    /// Writes what is staged as parts of `atom`. Where that is to be `all_or_none`, room is made sure of first: parts of an atom that will be committed
    /// cannot be taken back. Returns where in the batch each began and ended, and where in the pool its first record is. With an error
    /// come those that were written.
    fn append_parts(
        &mut self,
        urgency: Urgency,
        atom: &mut Atom,
        all_or_none: bool,
    ) -> Result<Placed, (Placed, StoreError)> {
        let pool = &self.store.pool;
        let limit = atom.part_limit(pool, self.worker.batch.bytes());
        let pieces = self.worker.batch.cut(limit.min(PART_FILL_BYTES));
        let mut placed = Placed::with_capacity(pieces.len());
        if let Some(piece) = pieces.iter().find(|piece| piece.len() > limit) {
            let (bytes, limit) = (piece.len() as u64, limit as u64);
            return Err((placed, StoreError::RecordTooLarge { bytes, limit }));
        }
        if all_or_none {
            let sizes = pieces.iter().map(Range::len);
            let reserved = self.worker.writer.reserve_parts(pool, sizes, urgency, atom);
            reserved.map_err(|error| (Vec::new(), error.into()))?;
        }
        let mut part = BatchBuilder::default();
        for piece in pieces {
            part.clear();
            let start = part.push_piece(&self.worker.batch, piece.clone());
            match self.worker.writer.commit_part(pool, &mut part, urgency, atom) {
                Ok(at) => placed.push((piece, at as usize + start)),
                Err(error) => return Err((placed, error.into())),
            }
        }
        Ok(placed)
    }

    /// These parts will never count, but are in the pool.
    fn count_abandoned(&self, parts: &[(Range<usize>, usize)]) {
        let store = self.store;
        for (piece, at) in parts {
            let (mut at, end) = (*at as u64, (*at + piece.len()) as u64);
            // Ends: `at` grows each turn.
            while at < end {
                let addr = LogAddr::from_offset(at).expect("records start on 16-byte boundaries of the pool");
                let record = record_at(&store.pool, addr);
                count_uncommitted(store.books(), &record, store.hash(record.key));
                at += record.bytes() as u64;
            }
        }
    }
}

/// Stretches of the batch, and where in the pool each of them is.
type Placed = Vec<(Range<usize>, usize)>;
