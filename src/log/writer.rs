//! Appending commit batches to this thread's open segment.

use super::format::{BATCH_HEADER_BYTES, batch_seed};
use super::{BatchBuilder, Kind, Record};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::pool::{Appender, Flow, OpenSegment, Pool, PoolFull, Urgency};
use std::sync::Arc;

/// Why a batch was not appended. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No free segment.
    #[error(transparent)]
    Full(#[from] PoolFull),
    /// Larger than a segment.
    #[error("a commit batch of {bytes} bytes is larger than a segment takes, {limit} bytes")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest possible.
        limit: u64,
    },
}

/// One thread's end of the log.
#[derive(Debug, Default)]
pub struct Writer {
    open: Option<OpenSegment>,
    /// What it has appended since it last told the pool.
    flow: Flow,
    appended: u64,
    /// Bytes of the open segment that are kept free for the commit of an atom that is being written.
    pub(super) held_back: u64,
    /// Segments that come next.
    spare: Vec<OpenSegment>,
    /// What keeps a sync's cut from falling into a batch, in a pool on a file.
    appender: Option<Arc<Appender>>,
    /// What there was no room for last.
    refused: Option<Urgency>,
}

impl Writer {
    /// Appends `batch`, makes it durable and returns where it starts: before this returns a crash finds all of it or none, afterwards all.
    ///
    /// Each batch has its own fence, even where several belong together: commits within a segment are ordered, and that is how recovery
    /// tells a log's end from damage.
    ///
    /// Cost: the batch's lines flushed, one fence; a new segment now and then (two lines flushed, one more fence).
    ///
    /// # Errors
    /// [`AppendError`]; pool and writer are as before then.
    #[inline]
    pub fn commit(&mut self, pool: &Pool, batch: &mut BatchBuilder, urgency: Urgency) -> Result<u64, AppendError> {
        self.room_for(pool, batch.bytes() as u64, urgency)?;
        Ok(self.append(pool, batch, urgency))
    }

    /// Appends `batch`, for which there is room, and makes it durable.
    #[inline]
    pub(super) fn append(&mut self, pool: &Pool, batch: &mut BatchBuilder, urgency: Urgency) -> u64 {
        if pool.needs_sync() && self.appender.is_none() {
            self.appender = pool.appender();
        }
        let _appending = self.appender.as_deref().and_then(|appender| pool.append_as(appender));
        let segment = self.open.as_mut().expect("an open segment, which has room");
        let bytes = batch.bytes() as u64;
        let image = batch.seal(batch_seed(segment.seed, segment.end));
        let at = segment.start + segment.end;
        // A crash from here to the fence leaves any part of these lines: the checksum then fails, and nothing refers to them.
        pool.region().write(at, image);
        fence(pool, image, urgency);
        segment.end += bytes;
        pool.set_used(segment.id, segment.end);
        self.flow.count(at, bytes, batch.user_bytes(), urgency == Urgency::Cleans);
        self.appended += bytes;
        at
    }

    /// Bytes that the open segment has room for.
    pub fn room(&self) -> u64 {
        self.open.as_ref().map_or(0, |segment| segment.bytes - segment.end)
    }

    /// Sees to it that the open segment has room for `bytes`, and for what is held back: if not, it is sealed and a fresh one opened.
    #[inline]
    pub(super) fn room_for(&mut self, pool: &Pool, bytes: u64, urgency: Urgency) -> Result<(), AppendError> {
        let bytes = bytes + self.held_back;
        let fits = self.open.as_ref().is_some_and(|segment| segment.bytes - segment.end >= bytes && !segment.reserved);
        if !fits {
            self.find_room(pool, bytes, urgency).inspect_err(|error| self.note_refusal(error, urgency))?;
        }
        Ok(())
    }

    fn note_refusal(&mut self, error: &AppendError, urgency: Urgency) {
        if matches!(error, AppendError::Full(_)) {
            self.refused = Some(urgency);
        }
    }

    /// What there was no room for last, if that was not asked for before.
    pub fn take_refusal(&mut self) -> Option<Urgency> {
        self.refused.take()
    }

    #[cold]
    fn find_room(&mut self, pool: &Pool, bytes: u64, urgency: Urgency) -> Result<(), AppendError> {
        pool.make_room_in_mark();
        if bytes > pool.max_batch_bytes() {
            return Err(AppendError::TooLarge { bytes, limit: pool.max_batch_bytes() });
        }
        if let Some(segment) = &mut self.open
            && segment.bytes - segment.end >= bytes
        {
            // From the reserve: a write that makes the pool fuller must not use up what a delete has taken.
            if urgency != Urgency::Normal {
                return Ok(());
            }
            if pool.has_room(Urgency::Normal) {
                segment.reserved = false;
                return Ok(());
            }
            return Err(PoolFull.into());
        }
        let may_use = |spare: &mut OpenSegment| !spare.reserved || urgency != Urgency::Normal;
        let fresh = match self.spare.pop_if(may_use) {
            Some(spare) => spare,
            None => pool.open_segment(urgency)?,
        };
        if let Some(full) = self.open.replace(fresh) {
            pool.seal_segment(full.id, full.end);
        }
        pool.count_flow(std::mem::take(&mut self.flow));
        Ok(())
    }

    /// Makes sure that batches of these sizes find room, and that what is to be `held` back does: with it, they cannot fail. Room that is not used is
    /// for what comes after.
    ///
    /// Cost: a line flushed and a fence for each segment.
    ///
    /// # Errors
    /// There is not so much room.
    pub(super) fn reserve(
        &mut self,
        pool: &Pool,
        batches: impl Iterator<Item = u64>,
        held: u64,
        urgency: Urgency,
    ) -> Result<(), AppendError> {
        let may_use = |segment: &&OpenSegment| !segment.reserved || urgency != Urgency::Normal;
        let mut room = self.open.as_ref().filter(may_use).map_or(0, |segment| segment.bytes - segment.end);
        let mut fresh = 0;
        for bytes in batches {
            if bytes + held > room {
                fresh += 1;
                room = pool.max_batch_bytes();
            }
            room -= bytes;
        }
        while self.spare.iter().filter(may_use).count() < fresh {
            pool.make_room_in_mark();
            let opened = pool.open_segment(urgency).map_err(AppendError::from);
            let opened = opened.inspect_err(|error| self.note_refusal(error, urgency))?;
            self.spare.push(opened);
        }
        Ok(())
    }

    /// Bytes of batches appended so far.
    #[inline]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Seals the open segment, if there is one, and says whether there was: nothing more will be appended by this writer. Durable after the
    /// next fence.
    pub fn close(&mut self, pool: &Pool) -> bool {
        let open = self.open.take();
        if let Some(segment) = &open {
            pool.seal_segment(segment.id, segment.end);
        }
        let spare = std::mem::take(&mut self.spare);
        spare.iter().for_each(|segment| pool.seal_segment(segment.id, segment.end));
        pool.count_flow(std::mem::take(&mut self.flow));
        open.is_some() || !spare.is_empty()
    }

    /// The address of the record `offset` bytes into the batch that was appended at `at`.
    ///
    /// # Panics
    /// If the two are not from this log.
    #[inline]
    pub fn record_addr(at: u64, offset: usize) -> LogAddr {
        LogAddr::from_offset(at + offset as u64)
            .expect("records start on 16-byte boundaries of a pool of at most 16 TiB")
    }
}

/// Whether this batch is a part of an atom: for a defect.
#[cold]
fn ends_part(image: &[u8]) -> bool {
    let mut at = BATCH_HEADER_BYTES;
    let mut last = None;
    let records = u32::from_le_bytes(image[12..16].try_into().expect("four bytes"));
    for record in (0..records).map_while(|_| {
        let record = Record::decode(image.get(at..)?).ok()?;
        at += record.bytes();
        Some(record)
    }) {
        last = Some(record.kind);
    }
    last == Some(Kind::Part)
}

/// The fence of a commit, and what defects make of it.
#[inline(always)]
fn fence(pool: &Pool, image: &[u8], urgency: Urgency) {
    let left_out = mutant::active(Mutant::CommitWithoutFence)
        || mutant::active(Mutant::PublishBeforeFence)
        || (mutant::active(Mutant::LargeCommitWithoutFence) && image.len() > 1024)
        || (mutant::active(Mutant::CopiesNotFenced) && urgency == Urgency::Cleans)
        || (mutant::active(Mutant::ChunksNotFenced) && image[BATCH_HEADER_BYTES] == Kind::Chunk as u8)
        || (mutant::active(Mutant::PartsNotFenced) && ends_part(image));
    if mutant::active(Mutant::FenceByAnotherThread) {
        std::thread::scope(|scope| drop(scope.spawn(|| pool.region().fence())));
    } else if !left_out {
        pool.region().fence();
    }
}
