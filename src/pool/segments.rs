//! Segment states: free -> open -> sealed -> free, and how much of each is live.
//!
//! Opening a segment raises its incarnation durably before anything is appended, so that bytes of its former life never
//! validate again. Sealing says where its log ends, so that anything invalid below is known to be damage.

use super::format::{
    LINE_BYTES, SEGMENT_HEADER_BYTES, Superblock, decode_seal_word, decode_state_word, in_use, seal_word, segment_seed,
    state_word,
};
use super::{Pool, PoolFull};
use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::persist::{MediaError, Region};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Who wants a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// A write that makes the pool fuller: must leave the reserve alone.
    Normal,
    /// A delete or an expiry, which a full pool must still take.
    Frees,
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentHeader {
    /// Holds nothing.
    Free {
        /// Its incarnation, even.
        incarnation: u32,
    },
    /// Has been appended to and not sealed.
    Open {
        /// Its incarnation, odd.
        incarnation: u32,
    },
    /// Full up to `end` bytes from its start.
    Sealed {
        /// Its incarnation, odd.
        incarnation: u32,
        /// Bytes from the segment's start to the end of its log.
        end: u64,
    },
    /// In use, but the word that says where its log ends fails its check. Its batches can still be told from other bytes.
    SealDamaged {
        /// Its incarnation, odd.
        incarnation: u32,
    },
    /// The state word fails its check: whether it is in use, and in which life, is not known.
    Damaged,
}

/// A segment that one thread appends to.
#[derive(Debug)]
pub struct OpenSegment {
    /// Which one.
    pub id: SegmentId,
    /// Where it starts in the pool.
    pub start: u64,
    /// Bytes from its start to the end of its log, a multiple of 64.
    pub end: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// What the checks in it are seeded with.
    pub seed: u32,
}

/// How a segment is used, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Whether it holds records.
    pub in_use: bool,
    /// Bytes from its start to the end of its log.
    pub used_bytes: u64,
    /// Bytes of records that the index or an object refers to.
    pub live_bytes: u64,
}

/// DRAM state of one segment.
#[derive(Debug, Default)]
struct State {
    incarnation: AtomicU32,
    used: AtomicU64,
    live: AtomicU64,
    /// Bytes from its start whose pages are mapped for writing, so that appending meets no page fault.
    populated: AtomicU64,
}

/// DRAM state of all segments.
pub(super) struct Segments {
    states: Box<[State]>,
    free: Mutex<VecDeque<SegmentId>>,
    free_count: AtomicU32,
    /// Segments that only [`Urgency::Frees`] may take.
    reserve: u32,
}

/// Reads the header of the segment at `at`.
///
/// # Errors
/// The medium cannot read it.
pub(super) fn read_header(
    region: &Region,
    uuid: &[u8; 16],
    id: SegmentId,
    at: u64,
) -> Result<SegmentHeader, MediaError> {
    let (state, seal) = (region.load_u64(at)?, region.load_u64(at + 8)?);
    let Some(incarnation) = decode_state_word(uuid, id, state) else { return Ok(SegmentHeader::Damaged) };
    if !in_use(incarnation) {
        return Ok(SegmentHeader::Free { incarnation });
    }
    Ok(match decode_seal_word(uuid, id, incarnation, seal) {
        Some(0) => SegmentHeader::Open { incarnation },
        Some(end_lines) => SegmentHeader::Sealed { incarnation, end: u64::from(end_lines) * LINE_BYTES },
        None => SegmentHeader::SealDamaged { incarnation },
    })
}

impl Segments {
    /// Looks at every header: free ones become available, the rest waits for recovery. A header that cannot be read counts
    /// as in use; recovery reports it.
    pub(super) fn load(region: &Region, superblock: &Superblock) -> Self {
        let states: Box<[State]> = (0..superblock.segment_count).map(|_| State::default()).collect();
        let mut free = VecDeque::new();
        for (number, state) in states.iter().enumerate() {
            let id = SegmentId(number as u32);
            let at = superblock.data_offset + number as u64 * superblock.segment_bytes;
            match read_header(region, &superblock.uuid, id, at) {
                Ok(SegmentHeader::Free { incarnation }) => {
                    state.incarnation.store(incarnation, Ordering::Relaxed);
                    free.push_back(id);
                }
                Ok(
                    SegmentHeader::Open { incarnation }
                    | SegmentHeader::Sealed { incarnation, .. }
                    | SegmentHeader::SealDamaged { incarnation },
                ) => {
                    state.incarnation.store(incarnation, Ordering::Relaxed);
                }
                Ok(SegmentHeader::Damaged) | Err(_) => {}
            }
        }
        let free_count = AtomicU32::new(free.len() as u32);
        let reserve = (superblock.segment_count / 32).clamp(1, 8);
        Self { states, free: Mutex::new(free), free_count, reserve }
    }

    pub(super) fn count(&self) -> u32 {
        self.states.len() as u32
    }

    fn lock_free(&self) -> MutexGuard<'_, VecDeque<SegmentId>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_free(&self, urgency: Urgency) -> Result<SegmentId, PoolFull> {
        let mut free = self.lock_free();
        if urgency == Urgency::Normal && free.len() <= self.reserve as usize {
            return Err(PoolFull);
        }
        let id = free.pop_front().ok_or(PoolFull)?;
        self.free_count.store(free.len() as u32, Ordering::Relaxed);
        Ok(id)
    }
}

impl Pool {
    /// Takes a free segment and makes it an open one in its next life. One line flushed, one fence.
    ///
    /// # Errors
    /// [`PoolFull`] when no segment is left for this urgency.
    pub fn open_segment(&self, urgency: Urgency) -> Result<OpenSegment, PoolFull> {
        let id = self.segments.take_free(urgency)?;
        let state = &self.segments.states[id.0 as usize];
        let incarnation = state.incarnation.load(Ordering::Relaxed) + 1;
        let at = self.segment_offset(id);
        // Both words are in one line, so they reach the medium in this order: a crash leaves the segment free, or open and empty.
        let mut words =
            [(at + 8, seal_word(&self.uuid, id, incarnation, 0)), (at, state_word(&self.uuid, id, incarnation))];
        if mutant::active(Mutant::HeaderWordsSwapped) {
            words.reverse();
        }
        for (at, word) in words {
            self.region.store_u64(at, word);
        }
        if !mutant::active(Mutant::OpeningNotPersisted) {
            self.region.persist(at, 16);
        }
        state.incarnation.store(incarnation, Ordering::Relaxed);
        state.live.store(0, Ordering::Relaxed);
        state.used.store(SEGMENT_HEADER_BYTES, Ordering::Relaxed);
        Ok(OpenSegment {
            id,
            start: at,
            end: SEGMENT_HEADER_BYTES,
            bytes: self.segment_bytes,
            seed: segment_seed(&self.uuid, id, incarnation),
        })
    }

    /// Records that the log of segment `id` ends `end` bytes from its start. One line flushed; durable after the next fence of
    /// this thread, which it need not wait for: an unsealed segment is read up to the same end.
    pub fn seal_segment(&self, id: SegmentId, end: u64) {
        let incarnation = self.segments.states[id.0 as usize].incarnation.load(Ordering::Relaxed);
        let at = self.segment_offset(id) + 8;
        let too_far = u64::from(mutant::active(Mutant::SealTooFar)) * LINE_BYTES;
        self.region.store_u64(at, seal_word(&self.uuid, id, incarnation, ((end + too_far) / LINE_BYTES) as u32));
        self.region.flush(at, 8);
    }

    /// What the header of segment `id` says on the medium.
    ///
    /// # Errors
    /// The medium cannot read it.
    pub fn segment_header(&self, id: SegmentId) -> Result<SegmentHeader, MediaError> {
        read_header(&self.region, &self.uuid, id, self.segment_offset(id))
    }

    /// Whether the seal word of segment `id`, a free one of this incarnation, is one that its last life, its freeing or the beginning of its
    /// next life left there. Nothing depends on it; only a check asks.
    ///
    /// # Errors
    /// The medium cannot read it.
    pub fn free_seal_is_whole(&self, id: SegmentId, incarnation: u32) -> Result<bool, MediaError> {
        let word = self.region.load_u64(self.segment_offset(id) + 8)?;
        let lives = [incarnation, incarnation.wrapping_sub(1), incarnation.wrapping_add(1)];
        Ok(lives.iter().any(|&life| decode_seal_word(&self.uuid, id, life, word).is_some()))
    }

    /// Bytes of the log of segment `id` from the segment's start: set while it is appended to and by recovery.
    #[inline]
    pub fn set_used(&self, id: SegmentId, end: u64) {
        self.segments.states[id.0 as usize].used.store(end, Ordering::Relaxed);
    }

    /// Counts `bytes` of records of segment `id` as live.
    #[inline]
    pub fn add_live(&self, id: SegmentId, bytes: u64) {
        self.segments.states[id.0 as usize].live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` of records of segment `id` as garbage that were live.
    #[inline]
    pub fn sub_live(&self, id: SegmentId, bytes: u64) {
        self.segments.states[id.0 as usize].live.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Forgets what is live, before recovery counts it again.
    pub fn reset_live(&self) {
        for state in &self.segments.states {
            state.live.store(0, Ordering::Relaxed);
        }
    }

    /// How segment `id` is used now.
    pub fn segment_use(&self, id: SegmentId) -> SegmentUse {
        let state = &self.segments.states[id.0 as usize];
        SegmentUse {
            in_use: in_use(state.incarnation.load(Ordering::Relaxed)),
            used_bytes: state.used.load(Ordering::Relaxed),
            live_bytes: state.live.load(Ordering::Relaxed),
        }
    }

    /// Number of free segments.
    pub fn free_segments(&self) -> u32 {
        self.segments.free_count.load(Ordering::Relaxed)
    }

    /// Number of free segments that only deletes may take.
    pub fn reserved_segments(&self) -> u32 {
        self.segments.reserve
    }

    /// Maps the next `bytes` of the `count` segments that will be opened next, for a background thread that calls it again and again. Some
    /// 250 us per MiB the first time; nothing once they are mapped.
    pub fn populate_ahead(&self, count: usize, bytes: u64) {
        let next: Vec<SegmentId> = self.segments.lock_free().iter().take(count).copied().collect();
        let mut left = bytes;
        for id in next {
            // Relaxed: only this thread writes it.
            let populated = &self.segments.states[id.0 as usize].populated;
            let from = populated.load(Ordering::Relaxed);
            let step = left.min(self.segment_bytes - from);
            if step > 0 {
                self.region.populate(self.segment_offset(id) + from, step);
                populated.store(from + step, Ordering::Relaxed);
                left -= step;
            }
        }
    }

    /// All segment numbers.
    pub fn segment_ids(&self) -> impl Iterator<Item = SegmentId> + use<> {
        (0..self.segment_count()).map(SegmentId)
    }
}
