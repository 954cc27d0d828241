//! How many superseded records of a key are left in the pool, so that a tombstone is known to be needed or not (I8).

use crate::base::sync::atomic::{AtomicU8, Ordering};

/// Bytes of pool for each counter. A record takes a line at least and mostly two, so there are fewer superseded ones than counters.
const POOL_BYTES_PER_COUNTER: u64 = 128;

/// Counts, by the hash of their keys, the records with a value that are in the pool and that no index leads to.
///
/// Keys share counters, and one that has reached its maximum stays there: it errs only towards telling of records that are not left. Whoever
/// takes a record of a key out of an index adds one while it holds the key's stripe; it is taken back once the record's segment is durably free.
///
/// A byte for each 128 bytes of pool, and one cache line touched for each record superseded.
#[derive(Debug)]
pub struct StaleFilter {
    counters: Box<[AtomicU8]>,
    shift: u32,
}

impl StaleFilter {
    /// A filter for a pool of `pool_bytes`.
    pub fn new(pool_bytes: u64) -> Self {
        let count = (pool_bytes / POOL_BYTES_PER_COUNTER).next_power_of_two().max(1024);
        Self { counters: (0..count).map(|_| AtomicU8::new(0)).collect(), shift: 64 - count.ilog2() }
    }

    /// One of the same size that counts nothing. The pool may have grown since this one was made.
    pub fn empty_twin(&self) -> Self {
        Self { counters: self.counters.iter().map(|_| AtomicU8::new(0)).collect(), shift: self.shift }
    }

    fn counter(&self, hash: u64) -> &AtomicU8 {
        // The index and the stripes go by the hash's own bits, from either end.
        &self.counters[(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize]
    }

    /// One more record of a key of this hash is superseded.
    #[inline]
    pub fn add(&self, hash: u64) {
        self.change(hash, |count| count.checked_add(1));
    }

    /// One that was is no longer in the pool.
    #[inline]
    pub fn take(&self, hash: u64) {
        self.change(hash, |count| if count == u8::MAX { None } else { count.checked_sub(1) });
    }

    #[inline]
    fn change(&self, hash: u64, change: impl Fn(u8) -> Option<u8>) {
        let counter = self.counter(hash);
        let mut count = counter.load(Ordering::Relaxed);
        // Ends: each turn but the last meets a change by someone else. Relaxed: who decides by a count holds the stripe that it was added under,
        // and takes are the cleaner's own.
        while let Some(changed) = change(count) {
            match counter.compare_exchange(count, changed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => count = seen,
            }
        }
    }

    /// Has the processor fetch what [`StaleFilter::add`] will change, without waiting for it.
    #[inline]
    pub fn warm(&self, hash: u64) {
        std::hint::black_box(self.counter(hash).load(Ordering::Relaxed));
    }

    /// At least how many superseded records of keys of this hash are in the pool, as far as 255. The stripe of the hash is held.
    pub fn count(&self, hash: u64) -> u8 {
        self.counter(hash).load(Ordering::Relaxed)
    }

    /// Counts nothing any more.
    pub fn clear(&self) {
        self.counters.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// Counts what `other`, a twin of this one, has counted.
    pub fn replace_with(&self, other: &StaleFilter) {
        for (mine, theirs) in self.counters.iter().zip(&other.counters) {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether `other`, a twin of this one, has counted more of some key.
    pub fn falls_short_of(&self, other: &StaleFilter) -> bool {
        let counts = |filter: &AtomicU8| filter.load(Ordering::Relaxed);
        self.counters.iter().zip(&other.counters).any(|(mine, theirs)| counts(mine) < counts(theirs))
    }

    /// DRAM that it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.counters.len() as u64
    }

    /// Whether it counts nothing.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.counters.iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_up_and_down_and_stay_at_their_maximum() {
        let filter = StaleFilter::new(1 << 20);
        assert_eq!(filter.bytes(), 8192);
        filter.add(7);
        filter.add(7);
        assert_eq!((filter.count(7), filter.count(8)), (2, 0));
        filter.take(7);
        filter.take(7);
        assert!(filter.is_empty());
        filter.take(7);
        assert_eq!(filter.count(7), 0, "never below nothing");
        (0..300).for_each(|_| filter.add(7));
        (0..300).for_each(|_| filter.take(7));
        assert_eq!(filter.count(7), 255, "how many there are is not known any more");
    }
}
