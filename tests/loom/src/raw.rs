//! The memory of an index for loom: the interface of `src/index/raw.rs` over vectors, and as little of everything as will do.

use super::IndexOptions;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::word::{Tag, Word};
use std::io;
use std::ops::Range;

/// Entries in a bucket.
pub(super) const SLOTS: usize = 2;

/// As in the real one; nothing here has bytes.
pub(super) const BUCKET_BYTES: usize = 64;
pub(super) const CHUNK_BYTES: usize = 2 << 20;

/// Overflow buckets that one word of the usage bitmap stands for.
pub(super) const BUCKETS_PER_USE_WORD: usize = 64;

const MAINS: usize = 8;
const OVERFLOW: usize = 4;

/// A main or an overflow bucket.
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) header: AtomicU64,
    pub(super) slots: [AtomicU64; SLOTS],
}

/// What the holder of a stripe's lock keeps about it.
#[derive(Default)]
pub(super) struct Stripe {
    pub(super) grown_by: AtomicU32,
    pub(super) overflow: AtomicU32,
    pub(super) entries: AtomicU64,
}

/// The memory of one index.
pub(super) struct Space {
    hints: Vec<AtomicU32>,
    stripes: Vec<Stripe>,
    mains: Vec<Bucket>,
    overflow: Vec<Bucket>,
    used: Vec<AtomicU64>,
    full: Vec<AtomicU64>,
}

fn many<T: Default>(count: usize) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

impl Space {
    pub(super) fn reserve(options: &IndexOptions) -> io::Result<Self> {
        let stripes = 1 << options.stripe_bits;
        let (mains, overflow) = (many(MAINS * stripes), many(OVERFLOW));
        Ok(Self { hints: many(stripes), stripes: many(stripes), mains, overflow, used: many(1), full: many(1) })
    }

    pub(super) fn hint(&self, stripe: usize) -> &AtomicU32 {
        &self.hints[stripe]
    }

    pub(super) fn stripe(&self, stripe: usize) -> &Stripe {
        &self.stripes[stripe]
    }

    pub(super) fn stripes(&self) -> usize {
        self.stripes.len()
    }

    pub(super) fn main(&self, number: usize) -> &Bucket {
        &self.mains[number]
    }

    pub(super) fn mains(&self) -> usize {
        self.mains.len()
    }

    pub(super) fn linked(&self, link: u32) -> &Bucket {
        &self.overflow[link as usize - 1]
    }

    pub(super) fn used(&self, i: usize) -> &AtomicU64 {
        &self.used[i]
    }

    pub(super) fn full(&self, i: usize) -> &AtomicU64 {
        &self.full[i]
    }

    pub(super) fn full_words(&self) -> usize {
        self.full.len()
    }

    pub(super) fn populate_mains(&self, _range: Range<usize>) {}

    pub(super) fn populate_overflow(&self, _range: Range<usize>) {}

    pub(super) fn drop_mains(&self, _range: Range<usize>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn drop_overflow(&self, _range: Range<usize>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn prefetch_main(&self, _number: usize) {}

    pub(super) fn prefetch_main_write(&self, _number: usize) {}

    pub(super) fn prefetch_linked(&self, _link: u32) {}
}

impl Bucket {
    /// As the real one's portable twin.
    pub(super) fn matches(&self, tag: Tag) -> u32 {
        let words = self.slots.iter().map(|slot| slot.load(Ordering::Acquire));
        words.enumerate().fold(0, |mask, (i, word)| mask | (u32::from(tag.is_in(word)) << i))
    }

    pub(super) fn word(&self, i: usize, order: Ordering) -> Word {
        Word(self.slots[i].load(order))
    }
}

impl Stripe {
    pub(super) fn prefetch_write(&self) {}
}
