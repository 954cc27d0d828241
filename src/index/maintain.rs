//! Upkeep by a background thread: memory populated ahead of growth and given back after a shrink.
//!
//! Populating ahead keeps writers from faulting at the growth frontier, where the kernel would zero a huge page in the middle
//! of an insert. Giving back is a protocol, because readers with an old hint may still look at a dead bucket:
//!
//! 1. set `row_limit`, which splits respect, below the memory to be released;
//! 2. pass once through all stripe locks: whoever holds one from then on has seen the limit. On the way, overflow buckets in
//!    the tail of their range move down;
//! 3. wait an epoch, so that nobody stands in what was dead before;
//! 4. drop the pages, lift the limit.

use super::chain::slots_of;
use super::raw::{BUCKET_BYTES, Bucket, CHUNK_BYTES};
use super::resize::publish;
use super::sync::{AtomicBool, Ordering};
use super::word::{Header, Word};
use super::{BASE_ROWS, Index, Table, chain};
use crossbeam_epoch::Guard;
use std::ops::Range;
use std::sync::Arc;

/// Stripes whose hint is brought up to date in one call.
const HINTS_PER_CALL: usize = 64;

/// Most bytes to populate in one call: a few milliseconds of zeroing.
const POPULATE_PER_CALL: usize = 16 << 20;

/// Rows whose chains are looked at under one hold of a stripe's lock: about 10 microseconds.
const ROWS_PER_HOLD: u32 = 64;

/// Stripe locks taken in one call.
const HOLDS_PER_CALL: usize = 128;

/// What the upkeep remembers from call to call.
#[derive(Default)]
pub(super) struct Upkeep {
    next_hint: usize,
    release: Option<Release>,
}

/// A release of memory under way.
struct Release {
    /// Bytes of the main range to be dropped; empty if none.
    mains: Range<usize>,
    /// Bytes of the overflow range to be run empty and dropped; empty if none.
    overflow: Range<usize>,
    /// Where the pass through the stripes stands.
    stripe: usize,
    row: u32,
    /// Set once an epoch has passed since the pass ended.
    epoch_passed: Option<Arc<AtomicBool>>,
}

/// How the pass goes on after one hold of a lock.
enum Hold {
    Next,
    SameStripe,
    Abandon,
}

impl Index {
    /// A round of upkeep, for one background thread to call every few milliseconds with a guard pinned for this call alone.
    /// `with_stripe(stripe, work)` must call `work` once while it holds the lock of `stripe`, and may decline by not calling it.
    ///
    /// Keeps the next MiB of each range resident, corrects hints, and, after a shrink, gives memory back over several calls.
    /// Usually microseconds; up to some milliseconds, none of them under a lock, when it populates.
    pub fn maintain(&self, guard: &Guard, with_stripe: &mut dyn FnMut(usize, &mut dyn FnMut())) {
        let table = &*self.table;
        // Held by another caller, or poisoned by one that panicked: then this round is not needed, or upkeep is over.
        let Ok(mut upkeep) = table.upkeep.try_lock() else { return };
        table.refresh_hints(&mut upkeep.next_hint);
        match upkeep.release.take() {
            Some(release) => upkeep.release = table.go_on(release, guard, with_stripe),
            None => {
                table.populate_ahead();
                upkeep.release = table.plan_release();
            }
        }
    }
}

impl Table {
    fn row_bytes(&self) -> usize {
        BUCKET_BYTES << self.stripe_bits
    }

    /// Bytes of the main range in use, by the highest stripe.
    fn frontier_bytes(&self) -> usize {
        self.frontier.load(Ordering::Relaxed) as usize * self.row_bytes()
    }

    fn overflow_bytes(&self) -> usize {
        self.pool.extent() * BUCKET_BYTES
    }

    /// Resident bytes as far as we know.
    pub(super) fn bytes(&self) -> u64 {
        let mains = self.populated_mains.load(Ordering::Relaxed).max(self.frontier_bytes() as u64);
        let overflow = self.populated_overflow.load(Ordering::Relaxed).max(self.overflow_bytes() as u64);
        let stripes = self.space.stripes() * (size_of::<super::raw::Stripe>() + size_of::<u32>());
        // The bitmap is a bit per overflow bucket.
        mains + overflow + overflow / (BUCKET_BYTES as u64 * 8) + (stripes + size_of::<Table>()) as u64
    }

    /// Sets the hints of the next few stripes right. Unlocked: a hint may be wrong, and a split in between only makes it so.
    fn refresh_hints(&self, next: &mut usize) {
        for _ in 0..HINTS_PER_CALL.min(self.space.stripes()) {
            let stripe = *next % self.space.stripes();
            *next = stripe + 1;
            let rows = self.space.stripe(stripe).grown_by.load(Ordering::Relaxed);
            if self.space.hint(stripe).load(Ordering::Relaxed) != rows {
                self.space.hint(stripe).store(rows, Ordering::Relaxed);
            }
        }
    }

    fn populate_ahead(&self) {
        let frontier = self.frontier_bytes();
        if frontier < CHUNK_BYTES {
            return;
        }
        let ahead = |populated: &super::AtomicU64, wanted: usize, populate: &dyn Fn(Range<usize>)| {
            let from = populated.load(Ordering::Relaxed) as usize;
            let to = wanted.min(from + POPULATE_PER_CALL);
            if from < to {
                populate(from..to);
                // Relaxed: a figure; only the upkeep writes it.
                populated.store(to as u64, Ordering::Relaxed);
            }
        };
        ahead(&self.populated_mains, with_slack(frontier), &|range| self.space.populate_mains(range));
        ahead(&self.populated_overflow, overflow_with_slack(self.overflow_bytes()), &|range| {
            self.space.populate_overflow(range);
        });
    }

    /// Starts a release if merges have left at least two chunks more than growth would keep ready.
    fn plan_release(&self) -> Option<Release> {
        // Relaxed: a merge missed now is seen in the next round.
        if !self.shrunk.swap(false, Ordering::Relaxed) {
            return None;
        }
        let highest = (0..self.space.stripes()).map(|stripe| self.rows(self.space.stripe(stripe))).max()?;
        let used = self.sum(|cell| u64::from(cell.overflow.load(Ordering::Relaxed))) as usize * BUCKET_BYTES;
        let surplus = |keep: usize, populated: &super::AtomicU64, touched: usize| {
            let have = touched.max(populated.load(Ordering::Relaxed) as usize).next_multiple_of(CHUNK_BYTES);
            if have >= keep + 2 * CHUNK_BYTES { keep..have } else { 0..0 }
        };
        let mains =
            surplus(with_slack(highest as usize * self.row_bytes()), &self.populated_mains, self.frontier_bytes());
        // A fifth more than is used, because the buckets that move down need others than their own.
        let overflow = surplus(overflow_with_slack(used / 5 * 6), &self.populated_overflow, self.overflow_bytes());
        if mains.is_empty() && overflow.is_empty() {
            return None;
        }
        if !mains.is_empty() {
            // Release: pairs with the Acquire in `split`.
            self.row_limit.store((mains.start / self.row_bytes()) as u32, Ordering::Release);
        }
        Some(Release { mains, overflow, stripe: 0, row: 0, epoch_passed: None })
    }

    /// Takes a release a bit further; `None` when it is over.
    fn go_on(
        &self,
        mut release: Release,
        guard: &Guard,
        with_stripe: &mut dyn FnMut(usize, &mut dyn FnMut()),
    ) -> Option<Release> {
        if let Some(passed) = &release.epoch_passed {
            // Acquire: pairs with the Release store of the deferred call, which comes after all pins of its time.
            if !passed.load(Ordering::Acquire) {
                guard.flush();
                return Some(release);
            }
            self.drop_pages(&release);
            self.lift_limit();
            return None;
        }
        for _ in 0..HOLDS_PER_CALL {
            let mut hold = None;
            with_stripe(release.stripe, &mut || hold = Some(self.hold(&release, guard)));
            match hold {
                None => return Some(release),
                Some(Hold::Abandon) => {
                    self.lift_limit();
                    return None;
                }
                Some(Hold::SameStripe) => release.row += ROWS_PER_HOLD,
                Some(Hold::Next) => (release.stripe, release.row) = (release.stripe + 1, 0),
            }
            if release.stripe == self.space.stripes() {
                let passed = Arc::new(AtomicBool::new(false));
                release.epoch_passed = Some(Arc::clone(&passed));
                // Release: pairs with the Acquire above.
                guard.defer(move || passed.store(true, Ordering::Release));
                guard.flush();
                break;
            }
        }
        Some(release)
    }

    /// The part of the pass that one hold of the lock covers.
    fn hold(&self, release: &Release, guard: &Guard) -> Hold {
        let rows = self.rows(self.space.stripe(release.stripe));
        if rows > self.row_limit.load(Ordering::Relaxed) {
            // It grew before it saw the limit.
            return Hold::Abandon;
        }
        if release.overflow.is_empty() {
            return Hold::Next;
        }
        let end = rows.min(release.row + ROWS_PER_HOLD);
        for row in release.row..end {
            let main = self.space.main(self.number(release.stripe, row));
            self.lower(release.stripe, main, release.overflow.start / BUCKET_BYTES, guard);
        }
        if end < rows { Hold::SameStripe } else { Hold::Next }
    }

    /// Moves the overflow buckets of a chain that lie from bucket `end` on to free ones further down. The stripe is held.
    pub(super) fn lower(&self, stripe: usize, main: &Bucket, end: usize, guard: &Guard) {
        let mut before = main;
        loop {
            let link = Header(before.header.load(Ordering::Relaxed)).link();
            if link == 0 {
                return;
            }
            before = if link as usize > end { self.replace_bucket(stripe, main, before, link, guard) } else { None }
                .unwrap_or_else(|| self.space.linked(link));
        }
    }

    /// Puts a lower bucket in the place of the one that `link`, in `before`, leads to; `None` when there is none lower.
    fn replace_bucket(
        &self,
        stripe: usize,
        main: &Bucket,
        before: &Bucket,
        link: u32,
        guard: &Guard,
    ) -> Option<&Bucket> {
        let (fresh_link, fresh) = self.take_overflow(stripe);
        if fresh_link >= link {
            let count = &self.space.stripe(stripe).overflow;
            count.store(count.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
            self.pool.give_back(&self.space, fresh_link);
            return None;
        }
        let old = self.space.linked(link);
        // Copy, locked; link to the copy.
        for (from, to) in slots_of(old).zip(slots_of(fresh)) {
            if !from.load().is_free() {
                to.store(from.lock());
            }
        }
        chain::set_link(fresh, Header(old.header.load(Ordering::Relaxed)).link());
        chain::set_link(before, fresh_link);
        // Bump. Only then may the old bucket lose its link, on which readers with the old version may stand.
        publish(main, |header| header);
        chain::set_link(old, 0);
        // Clear, then unlock.
        self.retire(stripe, link, guard);
        for slot in slots_of(fresh) {
            let word = slot.load();
            if word != Word::FREE {
                slot.store(word.unlocked());
            }
        }
        Some(fresh)
    }

    fn drop_pages(&self, release: &Release) {
        if !release.mains.is_empty() && self.space.drop_mains(release.mains.clone()).is_ok() {
            // Relaxed: figures. A split that goes on beyond this moment raises the frontier again.
            self.populated_mains.store(release.mains.start as u64, Ordering::Relaxed);
            let rows = (0..self.space.stripes()).map(|stripe| self.rows(self.space.stripe(stripe))).max();
            self.frontier.store(rows.unwrap_or(BASE_ROWS), Ordering::Relaxed);
        }
        if !release.overflow.is_empty() {
            let end = self.pool.trim(&self.space, release.overflow.start, release.overflow.end);
            self.populated_overflow.store(end as u64, Ordering::Relaxed);
        }
    }

    fn lift_limit(&self) {
        let rows = self.space.mains() >> self.stripe_bits;
        self.row_limit.store(rows as u32, Ordering::Release);
    }
}

/// Bytes of main buckets to keep resident when `bytes` are in use: 1/64 more, at least half a chunk and at most 16 MiB. It may
/// be that little because the highest stripe sets the frontier, and most of the others are well behind.
fn with_slack(bytes: usize) -> usize {
    (bytes + (bytes / 64).clamp(CHUNK_BYTES / 2, POPULATE_PER_CALL)).next_multiple_of(CHUNK_BYTES)
}

/// The same for overflow buckets, of which there are far fewer.
fn overflow_with_slack(bytes: usize) -> usize {
    (bytes + (bytes / 64).clamp(CHUNK_BYTES / 4, POPULATE_PER_CALL)).next_multiple_of(CHUNK_BYTES)
}
