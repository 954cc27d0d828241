//! Walking the index: cursors for SCAN, and keys at random.

use super::chain::slots_of;
use super::probe::BATCH;
use super::raw::{Bucket, SLOTS};
use super::sync::Ordering;
use super::word::{Header, Word, low_bits};
use super::{BASE_ROWS, Index, Table};
use crate::base::LogAddr;
use crossbeam_epoch::Guard;

/// Keys that are copied out of a bucket before they are emitted; longer chains spill to the heap.
const INLINE_KEYS: usize = SLOTS * 4;

/// Buckets that RANDOMKEY tries before it counts its way to a key. A well-filled table needs about five.
const RANDOM_TRIES: usize = 4 * BATCH;

/// Keys of a bucket, scaled to the depth of the table's small buckets, at which RANDOMKEY takes the bucket for sure. Fuller
/// ones (a few in a million) come up a little too seldom.
const RANDOM_BOUND: u64 = 16;

/// The addresses of one bucket.
struct Keys {
    inline: [Option<LogAddr>; INLINE_KEYS],
    len: usize,
    spilled: Vec<LogAddr>,
}

impl Keys {
    fn new() -> Self {
        Self { inline: [None; INLINE_KEYS], len: 0, spilled: Vec::new() }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.spilled.clear();
    }

    /// Adds the entry's address. A locked entry may be met twice, as its old copy and its new one.
    fn push_once(&mut self, word: Word) {
        let Some(addr) = word.addr() else { return };
        if word.is_locked() && self.iter().any(|known| known == addr) {
            return;
        }
        match self.inline.get_mut(self.len) {
            Some(at) => *at = Some(addr),
            // A chain that long is rarer than one in 10^9, so this allocation is too.
            None => self.spilled.push(addr),
        }
        self.len += 1;
    }

    fn get(&self, i: usize) -> Option<LogAddr> {
        if i < INLINE_KEYS { self.inline[i] } else { self.spilled.get(i - INLINE_KEYS).copied() }
    }

    fn iter(&self) -> impl Iterator<Item = LogAddr> {
        (0..self.len).filter_map(|i| self.get(i))
    }
}

impl Table {
    /// Copies the keys of the bucket where `hash` is at home, all of one moment, and returns the bucket's depth.
    fn snapshot(&self, hash: u64, keys: &mut Keys) -> u32 {
        loop {
            let (number, bucket, header) = self.locate(hash);
            // A bucket that was never written has depth 0 in its header and the base depth in effect.
            let depth = header.depth().max(self.base_depth);
            keys.clear();
            self.collect(bucket, header, |word| self.belongs(word, number, depth), keys);
            if Self::still(bucket, header) {
                return depth;
            }
        }
    }

    /// Whether an entry is at home in bucket `number` of this depth. One that was split off and is about to be cleared is not.
    fn belongs(&self, word: Word, number: usize, depth: u32) -> bool {
        word.tag_low(depth - self.base_depth) == (number >> self.base_depth) as u64
    }

    fn collect(&self, main: &Bucket, header: Header, wanted: impl Fn(Word) -> bool, keys: &mut Keys) {
        let mut bucket = main;
        let mut link = header.link();
        loop {
            // Acquire, in `load`: as for a lookup.
            slots_of(bucket).map(|slot| slot.load()).filter(|&word| wanted(word)).for_each(|word| keys.push_once(word));
            if link == 0 {
                return;
            }
            bucket = self.space.linked(link);
            // Acquire: pairs with the Release store of the link.
            link = Header(bucket.header.load(Ordering::Acquire)).link();
        }
    }

    /// One try for a random key: a bucket is met with probability 2^-depth and taken in proportion to its keys times 2^depth.
    fn draw(&self, depth: u32, rng: &mut impl FnMut() -> u64, keys: &mut Keys) -> Option<LogAddr> {
        let met_depth = self.snapshot(rng(), keys);
        if keys.len == 0 {
            return None;
        }
        // Scaled by 2^8, so that shallower buckets do not lose their fraction; a stripe is at most a level off the others.
        let weight = ((keys.len as u64) << 8 << met_depth.saturating_sub(depth).min(8))
            >> depth.saturating_sub(met_depth).min(63);
        let draw = rng();
        if low_bits(draw >> 32, 12) >= weight.min(RANDOM_BOUND << 8) {
            return None;
        }
        keys.get((((draw & u64::from(u32::MAX)) * keys.len as u64) >> 32) as usize)
    }

    /// The key at `position` of those in all buckets one after the other; `None` when there are fewer.
    fn nth(&self, mut position: u64, keys: &mut Keys) -> Option<LogAddr> {
        for stripe in 0..self.space.stripes() {
            let cell = self.space.stripe(stripe);
            // Relaxed: an estimate while writers are about.
            let entries = cell.entries.load(Ordering::Relaxed);
            if position >= entries {
                position -= entries;
                continue;
            }
            for row in 0..self.rows(cell) {
                self.snapshot(self.number(stripe, row) as u64, keys);
                if position < keys.len as u64 {
                    return keys.get(position as usize);
                }
                position -= keys.len as u64;
            }
        }
        None
    }
}

/// The cursor behind all hashes that share the lowest `bits` bits with `cursor`: counts up from the last of them, in reversed bits.
fn after_all_of(cursor: u64, bits: u32) -> u64 {
    (cursor | u64::MAX << bits).reverse_bits().wrapping_add(1).reverse_bits()
}

const _: () = assert!(RANDOM_BOUND << 8 == 1 << 12, "the acceptance draw has as many bits as the bound");

impl Index {
    /// One step of a walk over all keys: emits those of one bucket and returns the cursor of the next step, 0 at the end.
    /// Starts at 0.
    ///
    /// Keeps the guarantee of Redis's SCAN: a key that is there from the first step to the last is emitted at least once,
    /// whatever is split or merged meanwhile (X9: all keys whose bit-reversed hash lies below the bit-reversed cursor have been
    /// emitted). Lock-free. The addresses are valid while the guard is pinned.
    pub fn scan(&self, cursor: u64, _guard: &Guard, emit: impl FnMut(LogAddr)) -> u64 {
        let table = &*self.table;
        let mut keys = Keys::new();
        let mut cursor = cursor;
        // A stripe without keys is passed over whole, so that a walk over a small table is short. Ends: the cursor comes round to 0.
        // Relaxed: a key is counted before it is stored, so who has found it finds it counted.
        while table.space.stripe(table.stripe_of(cursor)).entries.load(Ordering::Relaxed) == 0 {
            cursor = after_all_of(cursor, table.stripe_bits);
            if cursor == 0 {
                return 0;
            }
        }
        let depth = table.snapshot(cursor, &mut keys);
        keys.iter().for_each(emit);
        after_all_of(cursor, depth)
    }

    /// A key at random, each with the same probability; `None` when there is none. `rng` yields uniform words.
    ///
    /// A handful of buckets in a well-filled index, a pass over the stripes' counts (tens of microseconds) in a sparse one.
    /// While keys come and go quickly it may also miss those that there are.
    pub fn random(&self, rng: &mut impl FnMut() -> u64, _guard: &Guard) -> Option<LogAddr> {
        let table = &*self.table;
        let mut keys = Keys::new();
        // Relaxed: a hint for the scale; any value leaves the draw unbiased.
        let rows = table.space.hint(table.stripe_of(rng())).load(Ordering::Relaxed) + BASE_ROWS;
        let depth = table.stripe_bits + rows.ilog2() + u32::from(!rows.is_power_of_two());
        for _ in 0..RANDOM_TRIES {
            if let Some(addr) = table.draw(depth, rng, &mut keys) {
                return Some(addr);
            }
        }
        // Sparse, so the stripes are small: count the way to a key. The sum may be out of date when it gets there.
        for _ in 0..BATCH {
            let len = self.len();
            if len == 0 {
                return None;
            }
            let position = ((u128::from(rng()) * u128::from(len)) >> 64) as u64;
            if let Some(addr) = table.nth(position, &mut keys) {
                return Some(addr);
            }
        }
        None
    }
}
