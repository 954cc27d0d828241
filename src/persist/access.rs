//! The operations on a region's bytes: writing, making durable, reading.
//!
//! Each has a short way, taken when there is no hook and the range is good, and a long one in
//! [`hooked`](super::hooked). One comparison decides: the limits `plain_read_end` and `plain_write_end` are 0 where
//! the long way must be taken.
#![expect(unsafe_code, reason = "access to mapped memory")]

use std::panic::Location;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use pmem_emulation::{MediaError, Note};

use super::flush::{self, CACHE_LINE_BYTES, FlushInstruction};
use super::region::Region;
use crate::base::mutant::{self, Mutant};

/// Writing.
impl Region {
    /// Stores the 8 bytes at `at`, little-endian, in one piece: a crash, and every reader, sees all or none of it.
    /// Releases what this thread wrote before to whoever acquires the value by [`load_u64`](Self::load_u64).
    ///
    /// # Panics
    /// When `at` is no multiple of 8 or not inside the region.
    #[inline]
    #[track_caller]
    pub fn store_u64(&self, at: u64, value: u64) {
        assert!(at.is_multiple_of(8), "offset {at:#x} is not a multiple of 8");
        if ends_within(at, 8, self.plain_write_end()) {
            self.raw_store(at, value);
        } else {
            self.hooked_store(at, value, Location::caller());
        }
    }

    /// Copies `bytes` to `at` with plain stores, in no order. Not durable, not flushed.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn copy(&self, at: u64, bytes: &[u8]) {
        if ends_within(at, bytes.len() as u64, self.plain_write_end()) {
            self.raw_copy(at, bytes);
        } else {
            self.hooked_copy(at, bytes, Location::caller());
        }
    }

    /// Copies `bytes` to `at` round the cache: whole lines by non-temporal stores, the ends by plain stores and a
    /// flush. Durable after this thread's next fence. Where the medium takes no fence, this is [`copy`](Self::copy).
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn copy_nt(&self, at: u64, bytes: &[u8]) {
        if ends_within(at, bytes.len() as u64, self.plain_write_end()) {
            for piece in pieces(at, bytes) {
                match piece {
                    Piece::Lines(at, bytes) => self.raw_copy_nt(at, bytes),
                    Piece::Part(at, bytes) => {
                        self.raw_copy(at, bytes);
                        self.raw_flush(at, bytes.len() as u64);
                    }
                }
            }
        } else {
            self.hooked_copy_nt(at, bytes, Location::caller());
        }
    }

    /// Copies `bytes` to `at` by the cheaper of copy and flush, or non-temporal copy. Durable after this thread's next
    /// fence.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn write(&self, at: u64, bytes: &[u8]) {
        if bytes.len() as u64 >= self.nt_threshold {
            self.copy_nt(at, bytes);
        } else {
            self.copy(at, bytes);
            self.flush(at, bytes.len() as u64);
        }
    }

    /// Writes back every line that `at..at + len` touches. Durable after this thread's next fence.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn flush(&self, at: u64, len: u64) {
        let Some((at, len)) = mutated_flush(at, len) else { return };
        if ends_within(at, len, self.plain_write_end()) {
            self.raw_flush(at, len);
        } else {
            self.hooked_flush(at, len, Location::caller());
        }
    }

    /// Waits until what this thread has flushed is durable.
    #[inline]
    #[track_caller]
    pub fn fence(&self) {
        if self.hook.is_some() {
            self.hooked_fence(Location::caller());
        } else {
            self.raw_fence();
        }
    }

    /// Flushes `at..at + len` and fences: what this thread wrote there is durable on return.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn persist(&self, at: u64, len: u64) {
        self.flush(at, len);
        self.fence();
    }

    /// Tells the hook, if there is one, how far the caller has come.
    #[inline]
    #[track_caller]
    pub fn note(&self, note: Note) {
        if self.hook.is_some() {
            self.hooked_note(note, Location::caller());
        }
    }
}

/// Reading.
impl Region {
    /// The bytes `at..at + len`. Nobody may write there while the slice is in use (invariant 3 of the module).
    ///
    /// # Errors
    /// When the medium cannot give them back.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[inline]
    #[track_caller]
    pub fn read(&self, at: u64, len: u64) -> Result<&[u8], MediaError> {
        if ends_within(at, len, self.plain_read_end()) {
            Ok(self.raw_read(at, len))
        } else {
            self.hooked_read(at, len, Location::caller())
        }
    }

    /// The 8 bytes at `at`, little-endian, in one piece; acquires what was released by the
    /// [`store_u64`](Self::store_u64) that wrote them.
    ///
    /// # Errors
    /// When the medium cannot give them back.
    ///
    /// # Panics
    /// When `at` is no multiple of 8 or not inside the region.
    #[inline]
    #[track_caller]
    pub fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        assert!(at.is_multiple_of(8), "offset {at:#x} is not a multiple of 8");
        if !ends_within(at, 8, self.plain_read_end()) {
            self.hooked_read(at, 8, Location::caller())?;
        }
        Ok(self.raw_load(at))
    }

    /// Asks for `lines` cache lines from `at` on to be brought near. A hint: it may go past the end.
    #[inline]
    pub fn prefetch(&self, at: u64, lines: u32) {
        for line in 0..u64::from(lines) {
            let offset = at.wrapping_add(line * CACHE_LINE_BYTES) as usize;
            flush::prefetch(self.base.as_ptr().wrapping_add(offset));
        }
    }
}

/// The bare operations. Their callers have checked the range; `pub(super)` for the hooked twins.
impl Region {
    #[inline(always)]
    pub(super) fn raw_store(&self, at: u64, value: u64) {
        // SAFETY: the caller checked that 8 bytes at `at` lie inside and are aligned, as the base is. What goes through
        // this atomic is not accessed otherwise at the same time (invariant 3).
        let unit = unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at as usize).cast()) };
        // Pairs with the Acquire in `raw_load`.
        unit.store(value.to_le(), Ordering::Release);
    }

    #[inline(always)]
    fn raw_load(&self, at: u64) -> u64 {
        // SAFETY: as in `raw_store`.
        let unit = unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at as usize).cast()) };
        // Pairs with the Release in `raw_store`.
        u64::from_le(unit.load(Ordering::Acquire))
    }

    #[inline(always)]
    pub(super) fn raw_copy(&self, at: u64, bytes: &[u8]) {
        // SAFETY: the caller checked the range (invariant 1); nobody holds a slice of it (invariant 3), so `bytes`
        // does not overlap it either.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(at as usize), bytes.len()) };
    }

    /// `at` and the length are whole lines.
    #[inline(always)]
    pub(super) fn raw_copy_nt(&self, at: u64, bytes: &[u8]) {
        if self.fences {
            let lines = bytes.len() / CACHE_LINE_BYTES as usize;
            // SAFETY: as in `raw_copy`; the base is aligned to a page, so `at` is to a line.
            unsafe { flush::copy_lines_nt(self.base.as_ptr().add(at as usize), bytes.as_ptr(), lines) };
        } else {
            // Without a fence nothing would order these stores before the ones that publish them.
            self.raw_copy(at, bytes);
        }
    }

    #[inline(always)]
    pub(super) fn raw_flush(&self, at: u64, len: u64) {
        if self.instruction != FlushInstruction::None && len > 0 {
            // SAFETY: the caller checked the range; the instruction was found in CPUID when it was chosen.
            unsafe { flush::flush_lines(self.instruction, self.base.as_ptr().add(at as usize), len as usize) };
        }
    }

    #[inline(always)]
    pub(super) fn raw_fence(&self) {
        if self.fences {
            flush::fence();
        }
    }

    #[inline(always)]
    pub(super) fn raw_read(&self, at: u64, len: u64) -> &[u8] {
        // SAFETY: the caller checked the range (invariant 1); the mapping lives as long as `self`; nobody writes there
        // (invariant 3).
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(at as usize), len as usize) }
    }
}

/// Checks, for the long ways.
impl Region {
    /// Asserts that a range lies inside.
    #[track_caller]
    pub(super) fn check_range(&self, at: u64, len: u64) {
        assert!(
            ends_within(at, len, self.len()),
            "{len} bytes at offset {at:#x} are not inside the region of {} bytes",
            self.len()
        );
    }

    /// Asserts that a range lies inside and may be written.
    #[track_caller]
    pub(super) fn check_write(&self, at: u64, len: u64) {
        assert!(self.writable, "the region was opened read-only, so offset {at:#x} cannot be written");
        self.check_range(at, len);
    }
}

/// What a flush with a defect is left with.
#[inline(always)]
fn mutated_flush(at: u64, len: u64) -> Option<(u64, u64)> {
    if mutant::active(Mutant::FlushNothing) {
        return None;
    }
    if mutant::active(Mutant::FlushStartsLate) {
        let start = at.next_multiple_of(CACHE_LINE_BYTES);
        return (start < at + len).then(|| (start, at + len - start));
    }
    if mutant::active(Mutant::FlushOneLineShort) && len > CACHE_LINE_BYTES {
        return Some((at, len - CACHE_LINE_BYTES));
    }
    Some((at, len))
}

/// A stretch of a copy: whole lines, or part of one line.
pub(super) enum Piece<'a> {
    /// Lines from an aligned offset on.
    Lines(u64, &'a [u8]),
    /// Bytes inside one line.
    Part(u64, &'a [u8]),
}

/// Cuts a copy into the part of its first line, its whole lines, and the part of its last line.
#[inline]
pub(super) fn pieces(at: u64, bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let head_len = (at.next_multiple_of(CACHE_LINE_BYTES) - at).min(bytes.len() as u64) as usize;
    let (head, rest) = bytes.split_at(head_len);
    let (lines, tail) = rest.split_at(rest.len() - rest.len() % CACHE_LINE_BYTES as usize);
    let lines_at = at + head.len() as u64;
    let tail_at = lines_at + lines.len() as u64;
    [Piece::Part(at, head), Piece::Lines(lines_at, lines), Piece::Part(tail_at, tail)].into_iter().filter(|piece| {
        let (Piece::Lines(_, bytes) | Piece::Part(_, bytes)) = piece;
        !bytes.is_empty()
    })
}

/// Whether `at..at + len` ends at or before `end`.
#[inline(always)]
fn ends_within(at: u64, len: u64, end: u64) -> bool {
    at.checked_add(len).is_some_and(|range_end| range_end <= end)
}
