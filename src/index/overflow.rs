//! Which overflow buckets are taken: a bitmap, the lowest free one first.
//!
//! Taking the lowest keeps the range dense, so that after a shrink its tail runs empty and its pages can be given back.
//! A bit is set by whoever takes the bucket and cleared only an epoch after the bucket left its chain (X8), so a free
//! bit means that no reader can be inside. A summary bit per word says "found full"; it may lag, never for good.

use super::raw::{BUCKET_BYTES, BUCKETS_PER_USE_WORD, Bucket, CHUNK_BYTES, SLOTS, Space};
use super::sync::{AtomicU32, Ordering};

/// Usage words that one chunk of page memory spans.
const WORDS_PER_CHUNK: usize = CHUNK_BYTES / BUCKET_BYTES / BUCKETS_PER_USE_WORD;

/// The allocator of overflow buckets.
pub(super) struct Pool {
    /// No summary word below this one has a free bit, unless a release is just lowering it.
    lowest: AtomicU32,
    /// Buckets from here on were not taken since the last trim.
    extent: AtomicU32,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { lowest: AtomicU32::new(0), extent: AtomicU32::new(0) }
    }

    /// Takes the lowest free bucket and returns its link and itself, empty; `None` when the whole range is taken.
    ///
    /// Lock-free: a failed attempt means that another thread took the bit, or that the summary was brought up to date.
    pub(super) fn take<'a>(&self, space: &'a Space) -> Option<(u32, &'a Bucket)> {
        let mut summary = self.lowest.load(Ordering::Relaxed) as usize;
        while summary < space.full_words() {
            // Relaxed: a hint; what counts is the bit itself.
            let open = !space.full(summary).load(Ordering::Relaxed);
            if open == 0 {
                summary += 1;
                continue;
            }
            let word = summary * 64 + open.trailing_zeros() as usize;
            let Some(bit) = take_bit(space, word) else { continue };
            self.note_taken(summary, word * BUCKETS_PER_USE_WORD + bit as usize + 1);
            let link = (word * BUCKETS_PER_USE_WORD + bit as usize + 1) as u32;
            let bucket = space.linked(link);
            // Relaxed: published by the Release store of the link (or header) that leads here. Its header is left over
            // from its former life, its slots were cleared then.
            bucket.header.store(0, Ordering::Relaxed);
            debug_assert!((0..SLOTS).all(|i| bucket.word(i, Ordering::Relaxed).is_free()));
            return Some((link, bucket));
        }
        None
    }

    fn note_taken(&self, summary: usize, end: usize) {
        // Relaxed throughout: hints. `lowest` only moves up here when nobody moved it down meanwhile.
        let lowest = self.lowest.load(Ordering::Relaxed);
        if (lowest as usize) < summary {
            let _ = self.lowest.compare_exchange(lowest, summary as u32, Ordering::Relaxed, Ordering::Relaxed);
        }
        if (self.extent.load(Ordering::Relaxed) as usize) < end {
            self.extent.fetch_max(end as u32, Ordering::Relaxed);
        }
    }

    /// Gives a bucket back that was never linked, or that left its chain an epoch ago. Its slots are clear.
    pub(super) fn give_back(&self, space: &Space, link: u32) {
        let i = link as usize - 1;
        let (word, bit) = (i / BUCKETS_PER_USE_WORD, i % BUCKETS_PER_USE_WORD);
        // Release: our clearing of the bucket comes before it is taken again (Acquire in `take_bit`). SeqCst: either we
        // see the summary bit of a taker that found the word full, or that taker sees our free bit (`take_bit`).
        space.used(word).fetch_and(!(1 << bit), Ordering::SeqCst);
        self.reopen(space, word);
    }

    fn reopen(&self, space: &Space, word: usize) {
        let mask = 1 << (word % 64);
        if space.full(word / 64).load(Ordering::SeqCst) & mask != 0 {
            space.full(word / 64).fetch_and(!mask, Ordering::SeqCst);
        }
        if (self.lowest.load(Ordering::Relaxed) as usize) > word / 64 {
            self.lowest.fetch_min((word / 64) as u32, Ordering::Relaxed);
        }
    }

    /// The end, in buckets, of what was taken since the last trim.
    pub(super) fn extent(&self) -> usize {
        self.extent.load(Ordering::Relaxed) as usize
    }

    /// Drops the pages of every chunk from byte `from` (chunk-aligned) up to `to` in which no bucket is taken, and returns
    /// the end, in bytes, of what stays. A chunk with a taken bucket stays, and so does all below it.
    pub(super) fn trim(&self, space: &Space, from: usize, to: usize) -> usize {
        let mut end = to.next_multiple_of(CHUNK_BYTES);
        while end > from && self.drop_chunk(space, end / CHUNK_BYTES - 1) {
            end -= CHUNK_BYTES;
            // A bucket taken above meanwhile raises the extent again; a store that comes too late for that only makes
            // the figure too low until the next one.
            self.extent.store((end / BUCKET_BYTES) as u32, Ordering::Relaxed);
        }
        end
    }

    /// Takes all buckets of a chunk, drops its pages, gives the buckets back. Says whether it could.
    fn drop_chunk(&self, space: &Space, chunk: usize) -> bool {
        let words = chunk * WORDS_PER_CHUNK..((chunk + 1) * WORDS_PER_CHUNK).min(space.full_words() * 64);
        let free_until = words
            .clone()
            .find(|&word| space.used(word).compare_exchange(0, u64::MAX, Ordering::SeqCst, Ordering::Relaxed).is_err());
        let claimed = words.start..free_until.unwrap_or(words.end);
        let dropped =
            free_until.is_none() && space.drop_overflow(chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES).is_ok();
        for word in claimed {
            // SeqCst: as in `give_back`. The pages were dropped before anyone can take a bucket there.
            space.used(word).store(0, Ordering::SeqCst);
            self.reopen(space, word);
        }
        dropped
    }
}

/// Takes a bit of usage word `word`; on `None` the summary has been updated or the bit went to another thread.
fn take_bit(space: &Space, word: usize) -> Option<u32> {
    let used = space.used(word);
    // Relaxed: the RMW decides.
    let bit = (!used.load(Ordering::Relaxed)).trailing_zeros();
    if bit == u64::BITS {
        note_full(space, word);
        return None;
    }
    // Acquire: pairs with the SeqCst of `give_back`, so that the clearing of the bucket's last life is behind us.
    let before = used.fetch_or(1 << bit, Ordering::SeqCst);
    if before & (1 << bit) != 0 {
        return None;
    }
    if before | (1 << bit) == u64::MAX {
        note_full(space, word);
    }
    Some(bit)
}

/// Marks `word` as full, unless a bit of it is given back meanwhile.
fn note_full(space: &Space, word: usize) {
    let mask = 1 << (word % 64);
    space.full(word / 64).fetch_or(mask, Ordering::SeqCst);
    if space.used(word).load(Ordering::SeqCst) != u64::MAX {
        space.full(word / 64).fetch_and(!mask, Ordering::SeqCst);
    }
}
