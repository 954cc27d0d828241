//! How long calls of a command take: counts in buckets that are an eighth of a power of two wide.
//!
//! A bucket's bounds are at most 12.5 % apart, from 1 us to 17 s; shorter calls are told apart by 128 ns, longer ones share the last bucket. As with all
//! counters one thread writes a histogram and others read it.

use super::stats::Counter;

/// Powers of two: the first takes what is below 1024 ns, each further one twice as much as the one before.
const OCTAVES: usize = 25;
/// Nanoseconds below which everything is in the first octave, as a power of two.
const FIRST_BITS: u32 = 10;
/// Buckets of an octave, as a power of two.
const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;
const BUCKETS: usize = OCTAVES * SUBS;

/// One thread's counts of one command.
#[derive(Debug)]
pub struct Histogram([Counter; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Histogram {
    /// Counts `calls` that took so many nanoseconds each. For the thread whose it is.
    pub fn add(&self, nanos: u64, calls: u64) {
        self.0[bucket_of(nanos)].add(calls);
    }
}

fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let octave = bits.saturating_sub(FIRST_BITS);
    // The three bits behind the leading one; of the first octave those below 1024.
    let shift = FIRST_BITS - SUB_BITS + octave.saturating_sub(1);
    let sub = (nanos >> shift) as usize & (SUBS - 1);
    (octave as usize * SUBS + sub).min(BUCKETS - 1)
}

/// Nanoseconds that everything in the bucket is below.
fn end_of(bucket: usize) -> u64 {
    let (octave, sub) = (bucket / SUBS, (bucket % SUBS) as u64);
    match octave {
        0 => (sub + 1) << (FIRST_BITS - SUB_BITS),
        _ => (SUBS as u64 + sub + 1) << (FIRST_BITS - SUB_BITS + octave as u32 - 1),
    }
}

/// The counts of all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<u64>);

impl Times {
    /// Adds one thread's.
    pub(super) fn take_in(&mut self, histogram: &Histogram) {
        self.0.resize(BUCKETS, 0);
        self.0.iter_mut().zip(&histogram.0).for_each(|(sum, counter)| *sum = sum.wrapping_add(counter.get()));
    }

    /// What has come since there was `before`.
    pub(super) fn since(&mut self, before: &Times) {
        self.0.iter_mut().zip(&before.0).for_each(|(sum, before)| *sum = sum.saturating_sub(*before));
    }

    /// How many calls were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// For each octave that has any: its end in microseconds, and how many calls were below that, of `calls` calls that those counted stand for.
    pub fn by_octave(&self, calls: u64) -> Vec<(u64, u64)> {
        let total = self.total();
        let (mut below, mut found) = (0, Vec::new());
        for (octave, counts) in self.0.chunks(SUBS).enumerate() {
            let here: u64 = counts.iter().sum();
            below += here;
            if here > 0 {
                let share = u128::from(below) * u128::from(calls) / u128::from(total);
                found.push((end_of(octave * SUBS + SUBS - 1) / 1000, share as u64));
            }
        }
        found
    }

    /// The microseconds that `percent` of the calls have not taken longer than; 0 if there was none.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let wanted = ((percent / 100.0 * self.total() as f64).ceil() as u64).max(1);
        let mut below = 0;
        let reached = self.0.iter().position(|&count| {
            below += count;
            below >= wanted
        });
        reached.map_or(0.0, |bucket| end_of(bucket) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_each_time_is_in_its_own() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(end_of(bucket) - 1), bucket);
            assert_eq!(bucket_of(end_of(bucket)), bucket + 1);
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
        let widest = (SUBS..BUCKETS - 1).map(|at| end_of(at + 1) as f64 / end_of(at) as f64).fold(0.0, f64::max);
        assert!(widest <= 1.126, "{widest}");
    }

    #[test]
    fn what_was_counted_stands_for_all_calls() {
        let histogram = Histogram::default();
        histogram.add(900, 1);
        histogram.add(1500, 16);
        histogram.add(3_000_000, 3);
        let mut times = Times::default();
        times.take_in(&histogram);
        assert_eq!(times.total(), 20);
        assert_eq!(times.by_octave(20), [(1, 1), (2, 17), (4194, 20)]);
        assert_eq!(times.by_octave(40), [(1, 2), (2, 34), (4194, 40)]);
        assert_eq!(
            [0.0, 50.0, 85.0, 86.0, 100.0].map(|p| times.percentile_us(p)),
            [1.024, 1.536, 1.536, 3145.728, 3145.728]
        );
        let before = times.clone();
        histogram.add(900, 2);
        let mut times = Times::default();
        times.take_in(&histogram);
        times.since(&before);
        assert_eq!(times.by_octave(2), [(1, 2)]);
        assert_eq!((Times::default().percentile_us(50.0), Times::default().by_octave(0)), (0.0, vec![]));
    }
}
