//! Seeds and a small random generator, so that every random run can be run again.
//!
//! SplitMix64: statistically good enough to draw test cases, four lines long, and the same everywhere and for ever,
//! which a generator from a crate does not promise over its versions.

use std::time::{SystemTime, UNIX_EPOCH};

/// The number that decides a random run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed from the environment variable `FENCEPOST_SEED`, else one from the clock; printed with how to run again.
    ///
    /// # Panics
    /// When the variable is set and is not a number.
    pub fn from_env(test: &str) -> Self {
        let seed = match std::env::var("FENCEPOST_SEED") {
            Ok(text) => text.parse().expect("FENCEPOST_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64) >> 8,
        };
        println!("{test}: seed {seed} (run again with FENCEPOST_SEED={seed})");
        Seed(seed)
    }

    /// A generator of its own for each `stream`, so that one part's draws do not move another's.
    pub fn rng(self, stream: u64) -> Rng {
        let mut rng = Rng { state: self.0 ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93) };
        rng.next();
        rng
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The next 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "an endless source of bits, not an iterator to adapt")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; `bound` is above 0. The bias of the multiplication is below 2^-32 for bounds below 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high.abs_diff(low) + 1) as i64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_streams_differ() {
        let draw = |seed, stream| {
            let mut rng = Seed(seed).rng(stream);
            [rng.next(), rng.next()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn bounds_hold() {
        let mut rng = Seed(3).rng(0);
        for _ in 0..1000 {
            assert!(rng.below(3) < 3);
            assert!((-2..=2).contains(&rng.between(-2, 2)));
        }
        assert_eq!(rng.bytes(13).len(), 13);
    }
}
