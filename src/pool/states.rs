//! A table with an entry for each segment that grows without moving any of them.
//!
//! Entries lie in chunks, each twice as long as the one before, and a chunk is made when the first of its entries is needed. So an entry
//! keeps its address for as long as the table lives, and finding it takes no lock: the number's highest bit names the chunk.
//! A pool of 2^32 segments would need 27 chunks.

use crate::base::SegmentId;
use std::sync::OnceLock;

/// Entries of the first chunk, a power of two.
const FIRST: u64 = 64;

/// Chunks that hold 2^32 entries.
const CHUNKS: usize = (33 - FIRST.trailing_zeros()) as usize;

/// Entries by segment number.
pub(super) struct States<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> States<T> {
    /// A table of `count` entries, all at their defaults.
    pub(super) fn new(count: u32) -> Self {
        let states = Self { chunks: [const { OnceLock::new() }; CHUNKS] };
        states.grow(count);
        states
    }

    /// The entry of segment `id`. A shift and two dependent loads.
    ///
    /// # Panics
    /// When the table was never grown so far.
    #[inline]
    pub(super) fn get(&self, id: SegmentId) -> &T {
        let (chunk, within) = place(id.0);
        &self.chunks[chunk].get().expect("the table has grown to every segment that there is")[within]
    }

    /// Makes room for `to` entries. Those that come to be have their defaults.
    pub(super) fn grow(&self, to: u32) {
        let chunks = to.checked_sub(1).map_or(0, |last| place(last).0 + 1);
        for (number, chunk) in self.chunks[..chunks].iter().enumerate() {
            chunk.get_or_init(|| (0..FIRST << number).map(|_| T::default()).collect());
        }
    }

    /// The first `count` entries.
    pub(super) fn iter(&self, count: u32) -> impl Iterator<Item = &T> {
        (0..count).map(|number| self.get(SegmentId(number)))
    }
}

/// The chunk of entry `number`, and its place there.
#[inline]
fn place(number: u32) -> (usize, usize) {
    let shifted = u64::from(number) + FIRST;
    // With the lowest bit set the compiler sees that it is not 0, and the highest stays the same.
    let highest = (shifted | 1).ilog2();
    ((highest - FIRST.ilog2()) as usize, (shifted ^ (1 << highest)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn entries_follow_each_other_without_a_gap() {
        assert_eq!(
            (place(0), place(63), place(64), place(191), place(192)),
            ((0, 0), (0, 63), (1, 0), (1, 127), (2, 0))
        );
        assert_eq!(place(u32::MAX), (CHUNKS - 1, FIRST as usize - 1));
    }

    #[test]
    fn growing_moves_nothing_and_forgets_nothing() {
        let states: States<AtomicU32> = States::new(1);
        for (number, state) in states.iter(1).enumerate() {
            state.store(number as u32 + 7, Ordering::Relaxed);
        }
        let first: *const AtomicU32 = states.get(SegmentId(0));
        states.grow(100_000);
        assert_eq!(states.iter(100_000).count(), 100_000);
        assert!(std::ptr::eq(first, states.get(SegmentId(0))));
        assert_eq!(states.get(SegmentId(0)).load(Ordering::Relaxed), 7);
        states.get(SegmentId(99_999)).store(3, Ordering::Relaxed);
        states.grow(5);
        assert_eq!(states.get(SegmentId(99_999)).load(Ordering::Relaxed), 3);
    }
}
