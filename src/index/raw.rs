//! The memory of an index: one reservation of address space, cut into arrays of atomics.
//!
//! Nothing here needs initialising, because a page that was never touched (or was dropped) reads as zeros, and zero is
//! a valid value of everything kept here: a dead bucket, a free slot, a stripe of the smallest size.
//!
//! # Invariants
//!
//! - R1 Every array lies inside `map`, is aligned for its element, and the arrays do not overlap.
//! - R2 The elements consist of atomics only, so any thread may read and write any of them at any time, and every bit
//!   pattern, zero included, is valid.
//! - R3 `map` is neither unmapped, moved nor remapped while the [`Space`] lives; references handed out borrow from it.
//! - R4 Pages are dropped only by [`Space::drop_mains`] and [`Space::drop_overflow`]. To other threads that is as if zeros
//!   were stored into every word of them; R2 makes it sound, and the callers' protocols make it correct.
//! - R5 Every access by number is checked against the array's length. A broken lock contract can therefore lose keys, but
//!   never touch memory outside of `map`.

#![expect(unsafe_code, reason = "arrays over reserved address space, page advice and prefetch instructions")]

use super::sync::{AtomicU32, AtomicU64};
use super::word::{Tag, Word};
use super::{BASE_ROWS, IndexOptions, LOAD_DEN, LOAD_NUM};
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;

/// Entries in a bucket.
pub(super) const SLOTS: usize = 7;

/// Bytes in a bucket: one cache line.
pub(super) const BUCKET_BYTES: usize = 64;

/// Page memory is populated and dropped in chunks of this size, the huge page of the platforms we know.
#[cfg(not(test))]
pub(super) const CHUNK_BYTES: usize = 2 << 20;

/// Small enough that small tables populate and release chunks.
#[cfg(test)]
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Overflow buckets that one word of the usage bitmap stands for.
pub(super) const BUCKETS_PER_USE_WORD: usize = 64;

/// A main or an overflow bucket.
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) header: AtomicU64,
    pub(super) slots: [AtomicU64; SLOTS],
}

/// What the holder of a stripe's lock keeps about it. Only the holder writes; others may peek.
#[repr(C, align(64))]
pub(super) struct Stripe {
    /// True number of buckets, less the smallest number.
    pub(super) grown_by: AtomicU32,
    /// Overflow buckets in its chains.
    pub(super) overflow: AtomicU32,
    /// Keys.
    pub(super) entries: AtomicU64,
}

const _: () = assert!(size_of::<Bucket>() == BUCKET_BYTES && size_of::<Stripe>() == 64);

/// An array inside of the mapping (R1).
struct Array<T> {
    start: NonNull<T>,
    len: usize,
}

impl<T> Array<T> {
    /// The element `i`, which lives as long as the borrowed array's owner.
    ///
    /// # Panics
    /// When `i` is beyond the array (R5).
    #[inline]
    fn at(&self, i: usize) -> &T {
        assert!(i < self.len);
        // SAFETY: in bounds by the check, inside the mapping by R1, valid and shareable by R2, mapped by R3.
        unsafe { self.start.add(i).as_ref() }
    }
}

/// The memory of one index.
pub(super) struct Space {
    hints: Array<AtomicU32>,
    stripes: Array<Stripe>,
    mains: Array<Bucket>,
    overflow: Array<Bucket>,
    used: Array<AtomicU64>,
    full: Array<AtomicU64>,
    mains_at: usize,
    overflow_at: usize,
    map: MmapRaw,
}

// SAFETY: all that is reachable through the pointers is atomics in a mapping owned by the Space (R2, R3).
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves address space for `options`; touches none of it.
    ///
    /// # Errors
    /// `InvalidInput` when the options ask for more than the layout can number; whatever `mmap` says otherwise.
    pub(super) fn reserve(options: &IndexOptions) -> io::Result<Self> {
        let plan = Plan::of(options).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "an index of that many stripes or entries cannot be laid out")
        })?;
        let mut mapping = MmapOptions::new();
        mapping.len(plan.bytes + CHUNK_BYTES);
        // Miri knows mapped memory, but nothing special about it.
        if !cfg!(miri) {
            mapping.no_reserve_swap();
        }
        // Raw, so that no reference to all of it comes to be: the arrays are written through shared references.
        let map = MmapRaw::from(mapping.map_anon()?);
        // The kernel aligns to small pages; the chunks are aligned to huge ones.
        let start = map.as_ptr().align_offset(CHUNK_BYTES);
        // R1: the plan's offsets are disjoint, line-aligned, and `start + plan.bytes` is within the mapping.
        let space = Self {
            hints: array(&map, start + plan.hints, plan.stripes),
            stripes: array(&map, start + plan.cells, plan.stripes),
            full: array(&map, start + plan.full, plan.full_words),
            used: array(&map, start + plan.used, plan.use_words),
            mains: array(&map, start + plan.mains, plan.main_buckets),
            overflow: array(&map, start + plan.overflow, plan.overflow_buckets),
            mains_at: start + plan.mains,
            overflow_at: start + plan.overflow,
            map,
        };
        if !cfg!(test) {
            // The chunks of tests are smaller than huge pages.
            space.advise_huge_pages(plan.stripes);
        }
        Ok(space)
    }

    /// Asks for huge pages, but not for a smallest table that would leave most of its first one unused.
    fn advise_huge_pages(&self, stripes: usize) {
        let skip = if stripes * BASE_ROWS as usize * BUCKET_BYTES >= CHUNK_BYTES { 0 } else { CHUNK_BYTES };
        for (at, len) in [(self.mains_at, self.mains.len), (self.overflow_at, self.overflow.len)] {
            let bytes = (len * BUCKET_BYTES).saturating_sub(skip);
            // A refusal (no huge pages in this kernel) costs speed only.
            let _ = self.map.advise_range(Advice::HugePage, at + skip, bytes);
        }
    }

    #[inline]
    pub(super) fn hint(&self, stripe: usize) -> &AtomicU32 {
        self.hints.at(stripe)
    }

    #[inline]
    pub(super) fn stripe(&self, stripe: usize) -> &Stripe {
        self.stripes.at(stripe)
    }

    #[inline]
    pub(super) fn stripes(&self) -> usize {
        self.stripes.len
    }

    #[inline]
    pub(super) fn main(&self, number: usize) -> &Bucket {
        self.mains.at(number)
    }

    /// Main buckets that fit the reservation.
    #[inline]
    pub(super) fn mains(&self) -> usize {
        self.mains.len
    }

    /// The overflow bucket that `link`, which is not 0, leads to.
    #[inline]
    pub(super) fn linked(&self, link: u32) -> &Bucket {
        self.overflow.at(link as usize - 1)
    }

    /// Usage bits of the overflow buckets `64 * i ..`: 1 = taken.
    pub(super) fn used(&self, i: usize) -> &AtomicU64 {
        self.used.at(i)
    }

    /// A bit for each word of the usage bits: 1 = found full.
    pub(super) fn full(&self, i: usize) -> &AtomicU64 {
        self.full.at(i)
    }

    /// Words in the summary of the usage bits.
    pub(super) fn full_words(&self) -> usize {
        self.full.len
    }

    /// Makes the main range's bytes `range` resident, so that no writer faults there. Milliseconds per 10 MiB.
    pub(super) fn populate_mains(&self, range: Range<usize>) {
        self.populate(self.mains_at, self.mains.len, range);
    }

    /// The same for the overflow range.
    pub(super) fn populate_overflow(&self, range: Range<usize>) {
        self.populate(self.overflow_at, self.overflow.len, range);
    }

    fn populate(&self, at: usize, buckets: usize, range: Range<usize>) {
        let end = range.end.min(buckets * BUCKET_BYTES);
        if range.start < end && !cfg!(miri) {
            // A refusal (an old kernel, no memory) only means that writers fault the pages in themselves.
            let _ = self.map.advise_range(Advice::PopulateWrite, at + range.start, end - range.start);
        }
    }

    /// Gives the main range's bytes `range` back to the system; they read as dead buckets from now on.
    ///
    /// Correct only when every bucket there is dead, none can be revived, and an epoch has passed since (X8).
    pub(super) fn drop_mains(&self, range: Range<usize>) -> io::Result<()> {
        self.drop_pages(self.mains_at, self.mains.len, range)
    }

    /// Gives the overflow range's bytes `range` back. Correct only while the caller owns every bucket there.
    pub(super) fn drop_overflow(&self, range: Range<usize>) -> io::Result<()> {
        self.drop_pages(self.overflow_at, self.overflow.len, range)
    }

    fn drop_pages(&self, at: usize, buckets: usize, range: Range<usize>) -> io::Result<()> {
        let end = range.end.min(buckets * BUCKET_BYTES);
        if range.start >= end {
            return Ok(());
        }
        // SAFETY: the range lies in one of our own arrays of atomics, for which zeros are valid (R2, R4).
        unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, at + range.start, end - range.start) }
    }

    /// Starts to fetch main bucket `number`, if there is such a one, for reading.
    #[inline]
    pub(super) fn prefetch_main(&self, number: usize) {
        if number < self.mains.len {
            prefetch_read(self.mains.at(number));
        }
    }

    /// The same for writing.
    #[inline]
    pub(super) fn prefetch_main_write(&self, number: usize) {
        if number < self.mains.len {
            prefetch_write(self.mains.at(number));
        }
    }

    /// Starts to fetch the overflow bucket that `link` leads to.
    #[inline]
    pub(super) fn prefetch_linked(&self, link: u32) {
        prefetch_read(self.linked(link));
    }
}

/// The array of `len` elements at byte `at` of the mapping.
fn array<T>(map: &MmapRaw, at: usize, len: usize) -> Array<T> {
    assert!(at.is_multiple_of(align_of::<T>()) && at + len * size_of::<T>() <= map.len());
    let start = map.as_mut_ptr().wrapping_add(at).cast();
    Array { start: NonNull::new(start).expect("a mapping does not start at address 0"), len }
}

/// Where the arrays lie, in bytes from an aligned start.
struct Plan {
    stripes: usize,
    main_buckets: usize,
    overflow_buckets: usize,
    use_words: usize,
    full_words: usize,
    hints: usize,
    cells: usize,
    full: usize,
    used: usize,
    mains: usize,
    overflow: usize,
    bytes: usize,
}

impl Plan {
    fn of(options: &IndexOptions) -> Option<Self> {
        if options.stripe_bits > super::MAX_STRIPE_BITS || options.max_entries > 1 << 40 {
            return None;
        }
        let stripes = 1_usize << options.stripe_bits;
        let entries = usize::try_from(options.max_entries).ok()?;
        // A quarter more than the load asks for, because stripes fill unevenly; past it chains get longer, nothing fails.
        let rows = (entries / LOAD_NUM as usize * LOAD_DEN as usize / 4 * 5).div_ceil(stripes) + 2 * BASE_ROWS as usize;
        let main_buckets = rows.min(super::MAX_ROWS as usize).checked_mul(stripes)?;
        // Chains are compacted at once, so at most a seventh of the entries; the rest is for buckets that wait an epoch.
        let overflow_buckets = (entries / 4 + (1 << 16)).min(u32::MAX as usize / 4096 * 4096);
        let use_words = overflow_buckets.div_ceil(BUCKETS_PER_USE_WORD);
        let full_words = use_words.div_ceil(64);
        let (use_words, overflow_buckets) = (full_words * 64, full_words * 64 * BUCKETS_PER_USE_WORD);
        let mut end = 0;
        let mut place = |bytes: usize, align: usize| {
            let at = usize::next_multiple_of(end, align);
            end = at + bytes;
            at
        };
        let hints = place(stripes * size_of::<AtomicU32>(), BUCKET_BYTES);
        let cells = place(stripes * size_of::<Stripe>(), BUCKET_BYTES);
        let full = place(full_words * 8, BUCKET_BYTES);
        let used = place(use_words * 8, BUCKET_BYTES);
        let mains = place(main_buckets * BUCKET_BYTES, CHUNK_BYTES);
        let overflow = place(overflow_buckets * BUCKET_BYTES, CHUNK_BYTES);
        Some(Self {
            stripes,
            main_buckets,
            overflow_buckets,
            use_words,
            full_words,
            hints,
            cells,
            full,
            used,
            mains,
            overflow,
            bytes: end,
        })
    }
}

impl Bucket {
    /// A bit for each slot whose tag is `tag`, without a branch: leaving early costs a misprediction per lookup and keeps
    /// the CPU from overlapping the misses of several lookups. A hint only, to be confirmed on the loaded word.
    #[inline]
    pub(super) fn matches(&self, tag: Tag) -> u32 {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return vector::matches(self, tag);
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        self.matches_portably(tag)
    }

    /// [`Bucket::matches`], word by word.
    #[cfg(any(test, miri, not(target_arch = "x86_64")))]
    fn matches_portably(&self, tag: Tag) -> u32 {
        // Acquire, so that a miss sees what the clearing of a slot was preceded by, and candidates are read after.
        let words = self.slots.iter().map(|slot| slot.load(super::sync::Ordering::Acquire));
        words.enumerate().fold(0, |mask, (i, word)| mask | (u32::from(tag.is_in(word)) << i))
    }

    /// The word in slot `i`.
    #[inline]
    pub(super) fn word(&self, i: usize, order: super::sync::Ordering) -> Word {
        Word(self.slots[i].load(order))
    }
}

/// Starts to fetch a line for reading.
#[inline]
fn prefetch_read<T>(line: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on the program's state; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Starts to fetch a line for writing, which spares the second trip to take it from other cores.
#[inline]
fn prefetch_write<T>(line: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHW changes no program state, and CPUs without it take it for a no-op.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) std::ptr::from_ref(line), options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    prefetch_read(line);
}

impl Stripe {
    /// Starts to fetch the stripe's line for writing.
    #[inline]
    pub(super) fn prefetch_write(&self) {
        prefetch_write(self);
    }
}

/// Matching of a whole bucket at once: half the instructions, so that the CPU sees further ahead.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod vector {
    use super::{Bucket, Tag};
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// The bucket's line: header and slot 0, slots 1 and 2, 3 and 4, 5 and 6.
    ///
    /// Other threads may be writing to it, so the loads are not for the compiler to reason about. Each word comes whole, as
    /// x86-64 never tears an aligned 8-byte half of a vector load, and in program order with other loads.
    #[inline]
    fn load(bucket: &Bucket) -> [__m128; 4] {
        let (a, b, c, d);
        // SAFETY: reads 64 aligned bytes that the reference keeps mapped (R3); SSE is part of x86-64.
        unsafe {
            asm!(
                "movaps {a}, [{line}]",
                "movaps {b}, [{line} + 16]",
                "movaps {c}, [{line} + 32]",
                "movaps {d}, [{line} + 48]",
                line = in(reg) std::ptr::from_ref(bucket),
                a = lateout(xmm_reg) a,
                b = lateout(xmm_reg) b,
                c = lateout(xmm_reg) c,
                d = lateout(xmm_reg) d,
                options(nostack, preserves_flags, readonly),
            );
        }
        [a, b, c, d]
    }

    #[inline]
    pub(super) fn matches(bucket: &Bucket, tag: Tag) -> u32 {
        const HIGH_HALVES: i32 = 0b11_01_11_01;
        let [a, b, c, d] = load(bucket);
        // SAFETY: SSE2 is part of x86-64, and no memory is touched.
        unsafe {
            let wanted = _mm_set1_epi32(tag.high_half().cast_signed());
            let zero = _mm_setzero_si128();
            // The tag is the upper 22 bits of a word: shift out the rest of its upper half.
            let differs = |low, high| {
                let halves = _mm_castps_si128(_mm_shuffle_ps::<HIGH_HALVES>(low, high));
                _mm_srli_epi32::<10>(_mm_xor_si128(halves, wanted))
            };
            let first = _mm_cmpeq_epi32(differs(a, b), zero);
            let second = _mm_cmpeq_epi32(differs(c, d), zero);
            let bytes = _mm_packs_epi16(_mm_packs_epi32(first, second), zero);
            // Bit 0 is the header.
            _mm_movemask_epi8(bytes).cast_unsigned() >> 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LogAddr;
    use crate::index::sync::Ordering;

    /// The vector match and the portable one agree on every slot, on free ones and on neighbours of a tag.
    #[test]
    fn matches_says_which_slots_have_the_tag() {
        let space = Space::reserve(&IndexOptions { stripe_bits: 0, max_entries: 1 }).unwrap();
        let bucket = space.main(3);
        bucket.header.store(u64::MAX, Ordering::Relaxed);
        let addr = LogAddr::from_units((1 << 40) - 1).unwrap();
        let tags = [0, 1, 2, 1 << 21, (1 << 22) - 1].map(|bits| Tag::of(bits, 0));
        for placement in 0..4_u32.pow(SLOTS as u32) {
            let choice = |i: usize| (placement >> (2 * i) & 3) as usize;
            for i in 0..SLOTS {
                let word = if choice(i) == 3 { Word::FREE } else { Word::new(tags[choice(i) + 2], addr).locked() };
                bucket.slots[i].store(word.0, Ordering::Relaxed);
            }
            for (t, &tag) in tags.iter().enumerate() {
                let expected = (0..SLOTS).filter(|&i| choice(i) + 2 == t || (choice(i) == 3 && t == 0));
                let expected = expected.fold(0, |mask, i| mask | 1 << i);
                assert_eq!((bucket.matches(tag), bucket.matches_portably(tag)), (expected, expected));
            }
        }
    }
}
