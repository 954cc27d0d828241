//! Segment phases: free -> open -> sealed -> settled -> cleaning -> free, and how much of each is live.
//!
//! Opening a segment raises its incarnation durably before anything is appended, so that bytes of its former life never
//! validate again. Sealing says where its log ends, so that anything invalid below is known to be damage. Freeing it raises the incarnation
//! once more, which takes all of its records out of the pool at once. The other phases are DRAM state.
//!
//! | who wants a segment | what it leaves to the others |
//! |---|---|
//! | a write that makes the pool fuller | the reserve: what deletes and the cleaner may take |
//! | a delete, an expiry | the cleaner's part of the reserve |
//! | the cleaner, which gives back more than it takes | nothing |

use super::format::{
    LINE_BYTES, SEGMENT_HEADER_BYTES, Superblock, decode_seal_word, decode_state_word, in_use, seal_word, segment_seed,
    state_word,
};
use super::states::States;
use super::{Pool, PoolFull, SyncFailed};
use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::persist::{MediaError, Region};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;

/// Who wants a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// A write that makes the pool fuller: must leave the reserve alone.
    Normal,
    /// A delete or an expiry, which a full pool must still take.
    Frees,
    /// The cleaner, without which a full pool would stay full.
    Cleans,
}

/// Where a segment is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Holds nothing.
    Free,
    /// One thread appends to it.
    Open,
    /// Nothing more is appended, but who did may not have published everything in it yet.
    Sealed,
    /// Everything in it is published, or never will be: it may be cleaned.
    Settled,
    /// The cleaner empties it.
    Cleaning,
    /// Damaged in places: what is in it stays where it is.
    Kept,
}

impl Phase {
    fn from_byte(byte: u8) -> Self {
        use Phase::{Cleaning, Free, Kept, Open, Sealed, Settled};
        [Free, Open, Sealed, Settled, Cleaning, Kept][byte as usize]
    }
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
    /// Opened behind the cut that recovery goes by: nothing in it counts.
    BehindCut {
        /// Its incarnation, odd.
        incarnation: u32,
    },
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
    /// Whether it was taken from the reserve: then only who may take from there may append to it.
    pub reserved: bool,
}

/// How a segment is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentUse {
    /// Where it is in its life.
    pub phase: Phase,
    /// Bytes from its start to the end of its log.
    pub used_bytes: u64,
    /// Bytes of records that the index or an object refers to.
    pub live_bytes: u64,
    /// Bytes of tombstones that the cleaner has carried on, as older records of their keys were left.
    pub held_bytes: u64,
    /// How many segments had been freed when the last of these was carried on.
    pub held_at: u64,
    /// How many segments had been opened when it was.
    pub opened_at: u64,
    /// Whether the cleaner has filled it: what is in it has outlived a segment already.
    pub survivors: bool,
    /// Bytes of records that the cleaner has put there.
    pub packed_bytes: u64,
}

impl SegmentUse {
    /// Whether it holds records.
    pub fn in_use(&self) -> bool {
        self.phase != Phase::Free
    }
}

/// DRAM state of one segment.
#[derive(Debug, Default)]
struct State {
    incarnation: AtomicU32,
    /// A [`Phase`].
    phase: AtomicU8,
    survivors: AtomicBool,
    used: AtomicU64,
    live: AtomicU64,
    held: AtomicU64,
    packed: AtomicU64,
    held_at: AtomicU64,
    opened_at: AtomicU64,
    /// Bytes from its start whose pages are mapped for writing, so that appending meets no page fault.
    populated: AtomicU64,
}

impl State {
    fn phase(&self) -> Phase {
        // Acquire: who sees a segment sealed sees how full it is.
        Phase::from_byte(self.phase.load(Ordering::Acquire))
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }
}

/// DRAM state of all segments.
pub(super) struct Segments {
    states: States<State>,
    /// How many there are. Raised only after their states are there.
    count: AtomicU32,
    free: Mutex<VecDeque<SegmentId>>,
    free_count: AtomicU32,
    /// Segments that were sealed and are not settled yet.
    sealed: Mutex<Vec<SegmentId>>,
    opened: AtomicU64,
    freed: AtomicU64,
    /// Who is woken when few segments are left.
    alarm: OnceLock<Thread>,
}

/// Free segments that only the cleaner may take: to empty a segment it needs at most one more than it has.
const CLEANING_RESERVE: u32 = 1;

/// Of `count` segments, how many are kept back from a taker of this urgency.
fn kept_back(count: u32, urgency: Urgency) -> u32 {
    match urgency {
        Urgency::Normal => CLEANING_RESERVE + (count / 64).clamp(1, 8),
        Urgency::Frees => CLEANING_RESERVE,
        Urgency::Cleans => 0,
    }
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
        let count = superblock.segment_count;
        let states: States<State> = States::new(count);
        let mut free = VecDeque::new();
        for (number, state) in states.iter(count).enumerate() {
            let id = SegmentId(number as u32);
            let at = superblock.data_offset + number as u64 * superblock.segment_bytes;
            match read_header(region, &superblock.uuid, id, at) {
                Ok(SegmentHeader::Free { incarnation }) => {
                    state.incarnation.store(incarnation, Ordering::Relaxed);
                    free.push_back(id);
                }
                Ok(SegmentHeader::Open { incarnation }) => {
                    state.incarnation.store(incarnation, Ordering::Relaxed);
                    state.set_phase(Phase::Open);
                }
                Ok(SegmentHeader::Sealed { incarnation, .. } | SegmentHeader::SealDamaged { incarnation }) => {
                    state.incarnation.store(incarnation, Ordering::Relaxed);
                    state.set_phase(Phase::Sealed);
                }
                // Only a cut tells what is behind it, and there is none yet.
                Ok(SegmentHeader::Damaged | SegmentHeader::BehindCut { .. }) | Err(_) => state.set_phase(Phase::Kept),
            }
        }
        Self {
            states,
            count: AtomicU32::new(count),
            free_count: AtomicU32::new(free.len() as u32),
            free: Mutex::new(free),
            sealed: Mutex::default(),
            opened: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            alarm: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn count(&self) -> u32 {
        // Acquire: pairs with the Release in `grow`, so there is a state for each.
        self.count.load(Ordering::Acquire)
    }

    /// There are `count` segments from now on; the new ones are free and durably so.
    pub(super) fn grow(&self, count: u32) {
        self.states.grow(count);
        let former = self.count();
        // Pairs with the Acquire in `count`.
        self.count.store(count, Ordering::Release);
        let mut free = self.lock_free();
        free.extend((former..count).map(SegmentId));
        self.free_count.store(free.len() as u32, Ordering::Relaxed);
    }

    fn lock_free(&self) -> MutexGuard<'_, VecDeque<SegmentId>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free segment, and whether it is from the reserve.
    fn take_free(&self, urgency: Urgency) -> Result<(SegmentId, bool), PoolFull> {
        let mut free = self.lock_free();
        let there = free.len() as u32;
        if there <= kept_back(self.count(), urgency) {
            return Err(PoolFull);
        }
        let id = free.pop_front().ok_or(PoolFull)?;
        self.free_count.store(there - 1, Ordering::Relaxed);
        Ok((id, there <= kept_back(self.count(), Urgency::Normal)))
    }
}

impl Pool {
    /// Takes a free segment and makes it an open one in its next life. One line flushed, one fence.
    ///
    /// # Errors
    /// [`PoolFull`] when no segment is left for this urgency.
    pub fn open_segment(&self, urgency: Urgency) -> Result<OpenSegment, PoolFull> {
        let taken = if self.is_mark_full() { Err(PoolFull) } else { self.segments.take_free(urgency) };
        if self.is_low()
            && let Some(thread) = self.segments.alarm.get()
        {
            thread.unpark();
        }
        self.ask_for_growth();
        let (id, reserved) = taken?;
        let incarnation = self.incarnation(id) + 1;
        match &self.epochs {
            Some(epochs) => epochs.opening(id, |epoch| {
                self.write_opened_epoch(id, incarnation, epoch);
                self.write_open_header(id, incarnation);
                self.begin_life(id, incarnation, urgency);
            }),
            None => {
                self.write_open_header(id, incarnation);
                self.begin_life(id, incarnation, urgency);
            }
        }
        Ok(OpenSegment {
            id,
            start: self.segment_offset(id),
            end: SEGMENT_HEADER_BYTES,
            bytes: self.segment_bytes,
            seed: segment_seed(&self.uuid, id, incarnation),
            reserved,
        })
    }

    /// Makes the header say that the segment is open in this life. One line flushed, one fence.
    fn write_open_header(&self, id: SegmentId, incarnation: u32) {
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
    }

    fn begin_life(&self, id: SegmentId, incarnation: u32, urgency: Urgency) {
        let state = self.segments.states.get(id);
        state.incarnation.store(incarnation, Ordering::Relaxed);
        state.live.store(0, Ordering::Relaxed);
        state.held.store(0, Ordering::Relaxed);
        state.packed.store(0, Ordering::Relaxed);
        state.used.store(SEGMENT_HEADER_BYTES, Ordering::Relaxed);
        state.opened_at.store(self.segments.opened.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        state.survivors.store(urgency == Urgency::Cleans, Ordering::Relaxed);
        state.set_phase(Phase::Open);
    }

    /// Records that the log of segment `id` ends `end` bytes from its start. One line flushed; durable after the next fence of
    /// this thread, which it need not wait for: an unsealed segment is read up to the same end.
    pub fn seal_segment(&self, id: SegmentId, end: u64) {
        let incarnation = self.segments.states.get(id).incarnation.load(Ordering::Relaxed);
        let at = self.segment_offset(id) + 8;
        let too_far = u64::from(mutant::active(Mutant::SealTooFar)) * LINE_BYTES;
        self.region.store_u64(at, seal_word(&self.uuid, id, incarnation, ((end + too_far) / LINE_BYTES) as u32));
        self.region.flush(at, 8);
        self.segments.states.get(id).set_phase(Phase::Sealed);
        self.lock_sealed().push(id);
    }

    fn lock_sealed(&self) -> MutexGuard<'_, Vec<SegmentId>> {
        self.segments.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments that were sealed since this was last asked. Whoever asks settles them once nobody can be publishing records of theirs any
    /// more.
    pub fn take_sealed(&self) -> Vec<SegmentId> {
        std::mem::take(&mut self.lock_sealed())
    }

    /// Whoever asked for them will not settle these.
    pub fn put_back_sealed(&self, ids: &[SegmentId]) {
        self.lock_sealed().extend(ids);
    }

    /// Everything in these segments is published: they may be cleaned.
    pub fn settle(&self, ids: &[SegmentId]) {
        for id in ids {
            self.segments.states.get(*id).set_phase(Phase::Settled);
        }
    }

    /// Recovery is over and nobody writes yet: what it has found whole may be cleaned, what is damaged may not.
    pub fn settle_recovered(&self, is_damaged: impl Fn(SegmentId) -> bool) {
        self.take_sealed();
        for id in self.segment_ids() {
            let state = self.segments.states.get(id);
            if matches!(state.phase(), Phase::Open | Phase::Sealed) {
                state.set_phase(if is_damaged(id) { Phase::Kept } else { Phase::Settled });
            }
        }
    }

    /// Whether segment `id` is still open, or was when the last user of the pool ended.
    #[inline]
    pub fn is_open(&self, id: SegmentId) -> bool {
        self.segments.states.get(id).phase() == Phase::Open
    }

    /// A settled segment is to be emptied. `false` if it is not settled.
    pub fn begin_cleaning(&self, id: SegmentId) -> bool {
        let state = self.segments.states.get(id);
        let settled = state.phase() == Phase::Settled;
        if settled {
            state.set_phase(Phase::Cleaning);
        }
        settled
    }

    /// The segment is not emptied after all; for good when what is in it is damaged.
    pub fn end_cleaning(&self, id: SegmentId, damaged: bool) {
        let phase = if damaged { Phase::Kept } else { Phase::Settled };
        self.segments.states.get(id).set_phase(phase);
    }

    /// Frees segments that were emptied: what is left in them is out of the pool. Each must be in [`Phase::Cleaning`], what was live in it
    /// durable elsewhere, and nobody may hold an address in it. Durable on return: a line each flushed, one fence; on a file two syncs.
    ///
    /// # Errors
    /// The file could not be synced: they are not free.
    pub fn release_segments(&self, ids: &[SegmentId]) -> Result<(), SyncFailed> {
        // What they held is in other places, or superseded, in epochs that a sync has not covered yet.
        if !mutant::active(Mutant::FreedBeforeSync) {
            self.sync()?;
        }
        for &id in ids {
            let incarnation = self.incarnation(id) + 1;
            // A crash before the fence finds the segment in use, with nothing in it that counts, or free.
            self.write_free_header(id, incarnation);
        }
        if !mutant::active(Mutant::FreeingNotPersisted) {
            self.region.fence();
        }
        if !mutant::active(Mutant::FreedBeforeSync) {
            self.touch();
            self.sync()?;
        }
        self.segments.freed.fetch_add(ids.len() as u64, Ordering::Relaxed);
        self.give_back(ids);
        Ok(())
    }

    fn write_free_header(&self, id: SegmentId, incarnation: u32) {
        let at = self.segment_offset(id);
        self.region.store_u64(at, state_word(&self.uuid, id, incarnation));
        if !mutant::active(Mutant::FreeingNotPersisted) {
            self.region.flush(at, 8);
        }
        self.set_incarnation(id, incarnation);
    }

    /// The header of segment `id` says that it is in this life.
    pub(super) fn set_incarnation(&self, id: SegmentId, incarnation: u32) {
        self.segments.states.get(id).incarnation.store(incarnation, Ordering::Relaxed);
    }

    /// Segments that are durably free are there for whoever wants one.
    pub(super) fn give_back(&self, ids: &[SegmentId]) {
        for &id in ids {
            let state = self.segments.states.get(id);
            state.live.store(0, Ordering::Relaxed);
            state.held.store(0, Ordering::Relaxed);
            state.used.store(0, Ordering::Relaxed);
            state.set_phase(Phase::Free);
        }
        let mut free = self.segments.lock_free();
        free.extend(ids);
        self.segments.free_count.store(free.len() as u32, Ordering::Relaxed);
    }

    /// What the checks in segment `id` are seeded with in its present life.
    pub fn segment_seed(&self, id: SegmentId) -> u32 {
        segment_seed(&self.uuid, id, self.incarnation(id))
    }

    /// The life that segment `id` is in: raised when it is opened and when it is freed.
    pub fn incarnation(&self, id: SegmentId) -> u32 {
        self.segments.states.get(id).incarnation.load(Ordering::Relaxed)
    }

    /// What the header of segment `id` says on the medium; where recovery goes by a cut, what it said at the cut.
    ///
    /// # Errors
    /// The medium cannot read it.
    pub fn segment_header(&self, id: SegmentId) -> Result<SegmentHeader, MediaError> {
        let header = self.raw_header(id)?;
        Ok(match self.cut_in_force() {
            Some(cut) => self.header_at(&cut, id, header),
            None => header,
        })
    }

    pub(super) fn raw_header(&self, id: SegmentId) -> Result<SegmentHeader, MediaError> {
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
        self.segments.states.get(id).used.store(end, Ordering::Relaxed);
    }

    /// Counts `bytes` of records of segment `id` as live.
    #[inline]
    pub fn add_live(&self, id: SegmentId, bytes: u64) {
        self.segments.states.get(id).live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` of records of segment `id` as garbage that were live.
    #[inline]
    pub fn sub_live(&self, id: SegmentId, bytes: u64) {
        self.segments.states.get(id).live.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` of records that the cleaner has put into segment `id`, `held_bytes` of them tombstones that it has carried on.
    pub fn add_survivors(&self, id: SegmentId, bytes: u64, held_bytes: u64) {
        let state = self.segments.states.get(id);
        state.packed.fetch_add(bytes, Ordering::Relaxed);
        if held_bytes > 0 {
            state.held.fetch_add(held_bytes, Ordering::Relaxed);
            state.held_at.store(self.segments_freed(), Ordering::Relaxed);
        }
    }

    /// Forgets what is live, before recovery counts it again.
    pub fn reset_live(&self) {
        for state in self.segments.states.iter(self.segment_count()) {
            state.live.store(0, Ordering::Relaxed);
            state.held.store(0, Ordering::Relaxed);
        }
    }

    /// How segment `id` is used now.
    pub fn segment_use(&self, id: SegmentId) -> SegmentUse {
        let state = self.segments.states.get(id);
        SegmentUse {
            phase: state.phase(),
            used_bytes: state.used.load(Ordering::Relaxed),
            live_bytes: state.live.load(Ordering::Relaxed),
            held_bytes: state.held.load(Ordering::Relaxed),
            held_at: state.held_at.load(Ordering::Relaxed),
            opened_at: state.opened_at.load(Ordering::Relaxed),
            survivors: state.survivors.load(Ordering::Relaxed),
            packed_bytes: state.packed.load(Ordering::Relaxed),
        }
    }

    /// Number of free segments.
    pub fn free_segments(&self) -> u32 {
        self.segments.free_count.load(Ordering::Relaxed)
    }

    /// Number of free segments that only deletes and the cleaner may take.
    pub fn reserved_segments(&self) -> u32 {
        kept_back(self.segments.count(), Urgency::Normal)
    }

    /// Whether a segment is left for this urgency.
    pub fn has_room(&self, urgency: Urgency) -> bool {
        self.free_segments() > kept_back(self.segments.count(), urgency)
    }

    /// Free segments that the cleaner keeps ahead of the writers: the reserve, and a few for them.
    pub fn wanted_free(&self) -> u32 {
        self.reserved_segments() + (self.segments.count() / 32).clamp(1, 16)
    }

    /// Whether there are fewer free segments than there should be.
    pub fn is_low(&self) -> bool {
        self.free_segments() < self.wanted_free()
    }

    /// Has `thread` unparked whenever a segment is asked for and few are left. The first who asks for this stays.
    pub fn wake_when_low(&self, thread: Thread) {
        let _first_one_stays = self.segments.alarm.set(thread);
    }

    /// Segments opened since the pool was.
    pub fn segments_opened(&self) -> u64 {
        self.segments.opened.load(Ordering::Relaxed)
    }

    /// Segments freed since the pool was opened.
    pub fn segments_freed(&self) -> u64 {
        self.segments.freed.load(Ordering::Relaxed)
    }

    /// Maps the next `bytes` of the `count` segments that will be opened next, for a background thread that calls it again and again. Some
    /// 250 us per MiB the first time; nothing once they are mapped.
    pub fn populate_ahead(&self, count: usize, bytes: u64) {
        let next: Vec<SegmentId> = self.segments.lock_free().iter().take(count).copied().collect();
        let mut left = bytes;
        for id in next {
            // Relaxed: only this thread writes it.
            let populated = &self.segments.states.get(id).populated;
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
