//! Growth and shrink, one bucket at a time, and the compaction of chains.
//!
//! Every move has the same shape: lock the entries, copy them, bump the version, clear the old copies, unlock. Each step is
//! a Release store, so a reader that sees one of them sees those before it. Readers go on through all of it (X1, X2), the
//! cleaner waits for the unlock (X3), and the stripe lock keeps other movers out (X4).

use super::chain::{Appender, Slot, set_link, slots_of};
use super::raw::{Bucket, SLOTS, Stripe};
use super::sync::{Ordering, step};
use super::word::{Header, Word};
use super::{BASE_ROWS, LOAD_DEN, LOAD_NUM, Table};
use crossbeam_epoch::Guard;

/// Bucket numbers of a split or merge and the depth before the one and after the other.
struct Pair {
    low: usize,
    high: usize,
    depth: u32,
}

impl Table {
    /// Whether a stripe of `rows` buckets is too full with `entries` keys.
    #[inline]
    fn is_crowded(rows: u32, entries: u64) -> bool {
        entries * LOAD_DEN > u64::from(rows) * LOAD_NUM
    }

    /// Whether a stripe of `rows` buckets is too empty with `entries` keys: below 3/4 of the load it grows at.
    #[inline]
    fn is_sparse(rows: u32, entries: u64) -> bool {
        rows > BASE_ROWS && entries * LOAD_DEN * 4 < u64::from(rows) * LOAD_NUM * 3
    }

    /// The buckets that the last row `high_row` of a stripe splits off from.
    fn pair(&self, stripe: usize, high_row: u32) -> Pair {
        let level = high_row.ilog2();
        let low_row = high_row & !(1 << level);
        Pair { low: self.number(stripe, low_row), high: self.number(stripe, high_row), depth: self.stripe_bits + level }
    }

    /// Counts a key in that is about to be stored: a walk passes over stripes without keys, and must not pass over one that somebody has found a key
    /// in. The stripe is held.
    #[inline]
    pub(super) fn count_in(&self, stripe: usize) {
        let cell = self.space.stripe(stripe);
        // Relaxed: only the holder of the stripe writes it, and the Release store of the key's word comes after it.
        cell.entries.store(cell.entries.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Splits a bucket if the stripe, which is held, has become crowded.
    #[inline]
    pub(super) fn make_room(&self, stripe: usize, guard: &Guard) {
        let cell = self.space.stripe(stripe);
        // Relaxed: only the holder of the stripe writes it.
        if Self::is_crowded(self.rows(cell), cell.entries.load(Ordering::Relaxed)) {
            self.split(stripe, guard);
        }
    }

    /// Counts a key out, merges a bucket when that makes the stripe sparse, or else compacts the chain that starts with
    /// `main`, from which the key was taken. The stripe is held.
    #[inline]
    pub(super) fn count_out(&self, stripe: usize, main: &Bucket, guard: &Guard) {
        let cell = self.space.stripe(stripe);
        // Relaxed: only the holder of the stripe writes it. Saturating: a broken lock contract may lose a count.
        let entries = cell.entries.load(Ordering::Relaxed).saturating_sub(1);
        cell.entries.store(entries, Ordering::Relaxed);
        self.compact(stripe, main, guard);
        if Self::is_sparse(self.rows(cell), entries) {
            self.merge(stripe, guard);
        }
    }

    /// The numbers of the buckets that the next insert into the stripe would split, if one is due.
    #[inline]
    pub(super) fn due_split(&self, stripe: usize) -> Option<(usize, usize)> {
        let cell = self.space.stripe(stripe);
        let rows = self.rows(cell);
        Self::is_crowded(rows, cell.entries.load(Ordering::Relaxed) + 1).then(|| {
            let pair = self.pair(stripe, rows);
            (pair.low, pair.high)
        })
    }

    /// Splits the next bucket of the stripe, unless its memory is being released or at its end. The stripe is held.
    #[cold]
    #[inline(never)]
    fn split(&self, stripe: usize, guard: &Guard) {
        let cell = self.space.stripe(stripe);
        let rows = self.rows(cell);
        // Acquire: pairs with the Release store in `maintain`, though what orders the two is the stripe lock.
        if rows >= self.row_limit.load(Ordering::Acquire) {
            return;
        }
        let pair = self.pair(stripe, rows);
        let (low, high) = (self.space.main(pair.low), self.space.main(pair.high));
        self.divide(stripe, low, high, pair.depth);
        self.compact(stripe, low, guard);
        self.set_rows(stripe, cell, rows + 1);
    }

    /// Moves the entries of `low` whose hash bit `depth` is set to `high`, a dead bucket.
    fn divide(&self, stripe: usize, low: &Bucket, high: &Bucket, depth: u32) {
        let bit = depth - self.base_depth;
        // Copy, locked. The cleaner cannot set or clear tag bits, so the test may come before the lock.
        let mut to = Appender::new(self, stripe, high);
        for slot in self.slots(low) {
            let word = slot.load();
            if !word.is_free() && word.tag_bit(bit) {
                to.push(slot.lock());
            }
        }
        // Bump: `high` comes alive first, so that its keys have a home at every moment.
        publish(high, |header| header.with_depth(depth + 1));
        publish(low, |header| header.with_depth(depth + 1));
        // Clear, then unlock.
        for slot in self.slots(low) {
            if slot.load().is_locked() {
                slot.store(Word::FREE);
            }
        }
        self.unlock(high);
    }

    /// Merges the last bucket of the stripe into the one that it was split off from. The stripe is held.
    #[cold]
    #[inline(never)]
    fn merge(&self, stripe: usize, guard: &Guard) {
        let cell = self.space.stripe(stripe);
        let rows = self.rows(cell) - 1;
        let pair = self.pair(stripe, rows);
        let (low, high) = (self.space.main(pair.low), self.space.main(pair.high));
        // Copy, locked.
        let mut to = Appender::new(self, stripe, low);
        for slot in self.slots(high) {
            if !slot.load().is_free() {
                to.push(slot.lock());
            }
        }
        // Bump: `low` takes the keys over first; then `high` dies.
        publish(low, |header| header.with_depth(pair.depth));
        let chain = Header(high.header.load(Ordering::Relaxed)).link();
        publish(high, |header| header.with_depth(0).with_link(0));
        // Clear, then unlock.
        clear(slots_of(high));
        self.retire(stripe, chain, guard);
        self.unlock(low);
        self.set_rows(stripe, cell, rows);
        // Relaxed: a hint for `maintain`; loaded first so that the line stays shared.
        if !self.shrunk.load(Ordering::Relaxed) {
            self.shrunk.store(true, Ordering::Relaxed);
        }
    }

    /// Moves the entries of a chain together when that empties an overflow bucket. The stripe is held.
    #[inline]
    pub(super) fn compact(&self, stripe: usize, main: &Bucket, guard: &Guard) {
        if Header(main.header.load(Ordering::Relaxed)).link() != 0 {
            self.compact_chain(stripe, main, guard);
        }
    }

    #[inline(never)]
    fn compact_chain(&self, stripe: usize, main: &Bucket, guard: &Guard) {
        let (buckets, entries) = self.chain(main).fold((0, 0), |(buckets, entries), bucket| {
            (buckets + 1, entries + slots_of(bucket).filter(|slot| !slot.load().is_free()).count())
        });
        let kept = entries.div_ceil(SLOTS).max(1);
        if kept >= buckets {
            return;
        }
        // Copy, locked, from the buckets that go to the free slots of those that stay: there is room by the count.
        let mut to = Appender::new(self, stripe, main);
        for bucket in self.chain(main).skip(kept) {
            slots_of(bucket).filter(|slot| !slot.load().is_free()).for_each(|slot| to.push(slot.lock()));
        }
        // Bump.
        publish(main, |header| header);
        let last = self.chain(main).nth(kept - 1).unwrap_or(main);
        let link = Header(last.header.load(Ordering::Relaxed)).link();
        set_link(last, 0);
        // Clear, then unlock.
        self.retire(stripe, link, guard);
        self.unlock(main);
    }

    /// Clears the unlinked overflow buckets from `link` on and gives them back once an epoch has passed (X8).
    pub(super) fn retire(&self, stripe: usize, link: u32, guard: &Guard) {
        if link == 0 {
            return;
        }
        let retired = self.chain(self.space.linked(link));
        let count = retired.map(|bucket| clear(slots_of(bucket))).count() as u32;
        // Relaxed: only the holder of the stripe writes it.
        let overflow = &self.space.stripe(stripe).overflow;
        overflow.store(overflow.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
        // Weak: a table that is gone needs nothing back, and its end is not to be left to whoever runs this.
        let table = self.me.clone();
        guard.defer(move || {
            if let Some(table) = table.upgrade() {
                table.give_back_chain(link);
            }
        });
    }

    /// Gives back the buckets from `link` on.
    fn give_back_chain(&self, mut link: u32) {
        while link != 0 {
            // Relaxed: the thread that linked them deferred this call. Read before the bucket is anyone else's.
            let next = Header(self.space.linked(link).header.load(Ordering::Relaxed)).link();
            self.pool.give_back(&self.space, link);
            link = next;
        }
    }

    pub(super) fn unlock(&self, main: &Bucket) {
        for slot in self.slots(main) {
            let word = slot.load();
            if word.is_locked() {
                // A plain store: nobody else changes a locked word (X4).
                slot.store(word.unlocked());
            }
        }
    }

    fn set_rows(&self, stripe: usize, cell: &Stripe, rows: u32) {
        // Relaxed throughout: the count is the stripe holder's, hint and frontier may be wrong either way.
        cell.grown_by.store(rows - BASE_ROWS, Ordering::Relaxed);
        let hint = self.space.hint(stripe);
        let off_by = (hint.load(Ordering::Relaxed) + BASE_ROWS).abs_diff(rows);
        // Written at each split it would bounce between the cores of all writers and readers.
        if off_by * super::HINT_SLACK >= rows {
            hint.store(rows - BASE_ROWS, Ordering::Relaxed);
        }
        if rows > self.frontier.load(Ordering::Relaxed) {
            self.frontier.fetch_max(rows, Ordering::Relaxed);
        }
    }
}

/// Stores what `change` makes of the header, with the next version.
pub(super) fn publish(bucket: &Bucket, change: impl FnOnce(Header) -> Header) {
    step();
    // Relaxed load: only the holder of the stripe writes headers. Release store: the copies made before are seen by whoever
    // reads this header; what is cleared after it is not seen without it (X2).
    let header = Header(bucket.header.load(Ordering::Relaxed));
    bucket.header.store(change(header).bumped().0, Ordering::Release);
}

fn clear<'a>(slots: impl Iterator<Item = Slot<'a>>) {
    slots.for_each(|slot| slot.store(Word::FREE));
}
