//! When the pool grows, by how much, and what becomes of a growth that fails.
//!
//! A thread of its own does it: allocating on the medium may take a while, and neither writers nor the rest of the upkeep wait for it. It is woken whenever a segment
//! is opened, and looks whether it is time ([`target`] decides). A write that finds no room waits for it as it waits for the cleaner ([`super::clean`]).

use super::Store;
use crate::base::SegmentId;
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::persist::RegionError;
use crate::pool::{MAX_POOL_BYTES, PoolError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A step is this part of the present size, within these bounds, in bytes and, at least, in segments.
const STEP_PART: u64 = 8;
const STEP_BYTES: (u64, u64) = (4 << 20, 1 << 30);
const STEP_SEGMENTS_MIN: u64 = 4;

/// With so many free segments above the reserve, or this part of all, nothing is due.
const LOW_SEGMENTS: u64 = 8;
const LOW_PART: u64 = 16;

/// Per cent of live bytes from which cleaning costs more than it gains.
const LIVE_PER_CENT: u64 = 70;

/// How long a growth that failed is not tried again, in milliseconds: the first time, and at most. It doubles each time.
const WAIT_MS: (u64, u64) = (1_000, 60_000);

/// The longest time from one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How full a pool is.
#[derive(Clone, Copy, Debug)]
struct Fullness {
    /// Segments that hold nothing.
    free: u64,
    /// Of those, how many only deletes may take.
    reserve: u64,
    /// Bytes that keys refer to.
    live_bytes: u64,
    /// Bytes of a segment.
    segment_bytes: u64,
    /// Bytes of the pool.
    total_bytes: u64,
    /// Bytes that it may get.
    max_bytes: u64,
}

impl Fullness {
    fn segments(&self) -> u64 {
        self.total_bytes / self.segment_bytes
    }

    /// Whether there is a segment more to be had.
    fn can_grow(&self) -> bool {
        self.max_bytes >= self.total_bytes + self.segment_bytes
    }

    /// Whether so few segments are free that growing comes into question.
    fn is_low(&self) -> bool {
        self.free <= self.reserve + LOW_SEGMENTS.max(self.segments() / LOW_PART)
    }

    /// Whether writers find none any more: the cleaner is not fast enough, or has nothing to gain.
    fn is_urgent(&self) -> bool {
        self.free <= self.reserve
    }
}

/// The size that the pool should grow to now; `None` if it should not grow.
///
/// Cleaning comes first: while much of a pool is garbage that gives room as well. So it grows where little is free and most is live, or where
/// writers find no room.
fn target(fullness: &Fullness) -> Option<u64> {
    let mostly_live = fullness.live_bytes / LIVE_PER_CENT >= fullness.total_bytes / 100;
    let due = fullness.is_urgent() || fullness.is_low() && mostly_live;
    let step = (fullness.total_bytes / STEP_PART)
        .clamp(STEP_BYTES.0, STEP_BYTES.1)
        .max(STEP_SEGMENTS_MIN * fullness.segment_bytes);
    let to = fullness.max_bytes.min(fullness.total_bytes + step);
    (due && fullness.can_grow()).then_some(to)
}

/// A growth that failed, and when.
#[derive(Debug)]
struct Trouble {
    /// Its error, numbers left out: what is logged once.
    kind: String,
    at_ms: u64,
    wait_ms: u64,
}

/// Growth so far, and how far it may go.
#[derive(Debug, Default)]
pub(super) struct Growth {
    max_bytes: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

impl Growth {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes: AtomicU64::new(max_bytes), ..Self::default() }
    }

    /// Growths that succeeded, and that failed, since the start.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last failure is too recent to try again.
    fn waits(&self, now_ms: u64) -> bool {
        // A clock that was set back does not make it wait longer.
        let since = |trouble: &Trouble| now_ms.checked_sub(trouble.at_ms).unwrap_or(u64::MAX);
        self.trouble().as_ref().is_some_and(|trouble| since(trouble) < trouble.wait_ms)
    }

    fn note_failure(&self, error: &PoolError, now_ms: u64) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.trouble();
        let kind: String = error.to_string().chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let wait_ms = trouble.as_ref().map_or(WAIT_MS.0, |former| (2 * former.wait_ms).min(WAIT_MS.1));
        if trouble.as_ref().is_none_or(|former| former.kind != kind) {
            tracing::warn!("the pool cannot grow: {error}");
        }
        *trouble = Some(Trouble { kind, at_ms: now_ms, wait_ms });
    }
}

impl Store {
    /// The size in bytes that the pool may get: its own where it does not grow.
    pub fn pool_max_bytes(&self) -> u64 {
        let max_bytes = self.growth.max_bytes.load(Ordering::Relaxed);
        max_bytes.min(self.pool.growth_limit()).max(self.pool.bytes())
    }

    /// Lets the pool grow to that size in bytes and no further; it never shrinks. A growth that has failed is tried again at once.
    pub fn set_pool_max_bytes(&self, max_bytes: u64) {
        // Relaxed: a word of its own.
        self.growth.max_bytes.store(max_bytes.min(MAX_POOL_BYTES), Ordering::Relaxed);
        *self.growth.trouble() = None;
        self.tell_writers();
        self.pool.ask_for_growth();
    }

    /// There is a thread in [`grow_until_ended`](Self::grow_until_ended), or will be at once.
    pub(super) fn begin_growing(&self) {
        self.pool.set_grower(true);
        self.tell_writers();
    }

    /// Makes the pool larger in time, on a thread of its own, until it is told to end.
    pub(super) fn grow_until_ended(&self) {
        while self.pool.await_demand(LOOK_EVERY) {
            self.look_at_room();
        }
    }

    /// Says whether writers that find no room may wait for the pool to grow.
    fn tell_writers(&self) {
        self.pool.expect_growth(self.fullness_if_growing().is_some());
    }

    /// How full the pool is, what is live left out; `None` when it cannot grow, or should not try it so soon again.
    fn fullness_if_growing(&self) -> Option<Fullness> {
        let fullness = Fullness {
            free: u64::from(self.pool.free_segments()),
            reserve: u64::from(self.pool.reserved_segments()),
            live_bytes: 0,
            segment_bytes: self.pool.segment_bytes(),
            total_bytes: self.pool.segment_offset(SegmentId(self.pool.segment_count())),
            max_bytes: self.growth.max_bytes.load(Ordering::Relaxed).min(self.pool.growth_limit()),
        };
        let grows = fullness.can_grow() && !self.growth.waits(self.clock.now_ms());
        grows.then_some(fullness)
    }

    /// The size to grow to, if it is time. Looks at each segment when few are free.
    fn growth_due(&self) -> Option<u64> {
        let mut fullness = self.fullness_if_growing()?;
        if fullness.is_low() {
            fullness.live_bytes = self.pool.segment_ids().map(|id| self.pool.segment_use(id).live_bytes).sum();
        }
        target(&fullness)
    }

    /// Looks whether it is time, and if it is, grows the pool.
    fn look_at_room(&self) {
        let due = self.growth_due();
        if let Some(to) = due {
            self.grow(to);
        }
        self.tell_writers();
        if due.is_some() {
            self.room_has_changed();
        }
    }

    /// Grows the pool to `to` bytes, or less where the medium has no room for so much.
    fn grow(&self, to: u64) {
        let from = self.pool.bytes();
        let mut grown = self.pool.grow(to);
        let mut step = to.saturating_sub(from);
        // Ends: the step is halved each time, down to a segment.
        while matches!(grown, Err(PoolError::Region(RegionError::NoSpaceToGrow { .. })))
            && step > self.pool.segment_bytes()
        {
            step /= 2;
            grown = self.pool.grow(from + step);
        }
        match grown {
            Ok(0) => {}
            Ok(segments) => {
                self.growth.done.fetch_add(1, Ordering::Relaxed);
                *self.growth.trouble() = None;
                tracing::info!("the pool has grown by {segments} segments to {} bytes", self.pool.bytes());
            }
            Err(error) => self.growth.note_failure(&error, self.clock.now_ms()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::persist::RegionOptions;
    use crate::recovery::Progress;
    use crate::store::{Maintenance, StoreOptions};
    use pmem_emulation::FailingCalls;
    use std::sync::Arc;

    const MIB: u64 = 1 << 20;

    /// 128 segments of 8 MiB, of which so many are free and so much per cent of the bytes is live.
    fn gigabyte(free: u64, live_per_cent: u64) -> Fullness {
        Fullness {
            free,
            reserve: 4,
            live_bytes: 1024 * MIB / 100 * live_per_cent,
            segment_bytes: 8 * MIB,
            total_bytes: 1024 * MIB,
            max_bytes: 1 << 40,
        }
    }

    #[test]
    fn a_pool_grows_when_little_is_free_and_most_is_live_or_nearly_nothing_is_free() {
        assert_eq!(target(&gigabyte(100, 99)), None, "plenty is free");
        assert_eq!(target(&gigabyte(13, 99)), None);
        assert_eq!(target(&gigabyte(12, 99)), Some(1152 * MIB));
        assert_eq!(target(&gigabyte(12, 71)), Some(1152 * MIB));
        assert_eq!(target(&gigabyte(12, 69)), None, "cleaning comes first");
        assert_eq!(target(&gigabyte(5, 0)), None);
        assert_eq!(target(&gigabyte(4, 0)), Some(1152 * MIB), "but it is too slow");
        assert_eq!(target(&gigabyte(0, 0)), Some(1152 * MIB));
    }

    #[test]
    fn steps_are_an_eighth_within_bounds_and_end_at_the_maximum() {
        let to = |total: u64, segment: u64, max: u64| {
            target(&Fullness {
                free: 0,
                reserve: 1,
                live_bytes: 0,
                segment_bytes: segment,
                total_bytes: total,
                max_bytes: max,
            })
        };
        assert_eq!(to(4 * MIB, MIB / 4, 1 << 40), Some(8 * MIB), "4 MiB at least");
        assert_eq!(to(64 * MIB, 2 * MIB, 1 << 40), Some(72 * MIB), "or four segments");
        assert_eq!(to(1 << 40, 8 * MIB, 1 << 44), Some((1 << 40) + (1 << 30)), "1 GiB at most");
        assert_eq!(to(1 << 40, 256 * MIB, 1 << 44), Some((1 << 40) + (1 << 30)));
        assert_eq!(to(100 * MIB, MIB, 102 * MIB), Some(102 * MIB));
        assert_eq!(to(100 * MIB, MIB, 101 * MIB - 1), None, "not a whole segment");
        assert_eq!(to(100 * MIB, MIB, 0), None);
    }

    /// A store that is all but full, in a region in which system calls fail as `calls` says.
    fn nearly_full(calls: Option<&Arc<FailingCalls>>, max_bytes: u64) -> Store {
        let mut options = StoreOptions::dram(2 * MIB);
        options.pool.max_bytes = max_bytes;
        options.pool.region = RegionOptions {
            hook: calls.map(|calls| Arc::clone(calls) as _),
            reserve_bytes: 64 * MIB,
            ..RegionOptions::default()
        };
        let store = Store::open(&options, Clock::manual(1_000_000), &Progress::default()).unwrap();
        while store.pool.free_segments() > 2 {
            store.pool.open_segment(crate::pool::Urgency::Frees).unwrap();
        }
        store
    }

    #[test]
    fn a_pool_grows_in_steps_up_to_its_maximum() {
        let store = nearly_full(None, 0);
        assert_eq!((store.growth_due(), store.pool_max_bytes()), (None, 2 * MIB));
        store.set_pool_max_bytes(7 * MIB);
        store.grow(store.growth_due().unwrap());
        assert_eq!(store.pool.bytes(), 6 * MIB, "4 MiB more");
        assert_eq!(store.growth_due(), None, "there is room");
        while store.pool.open_segment(crate::pool::Urgency::Normal).is_ok() {}
        store.grow(store.growth_due().unwrap());
        assert_eq!((store.pool.bytes(), store.growth.counts()), (7 * MIB, (2, 0)));
        while store.pool.open_segment(crate::pool::Urgency::Normal).is_ok() {}
        assert_eq!(store.growth_due(), None, "the maximum");
        store.set_pool_max_bytes(1 << 50);
        assert_eq!(store.pool_max_bytes(), 64 * MIB, "what is reserved");
    }

    /// Such a write was once refused, if the cleaner's thread had not been scheduled yet.
    #[test]
    fn who_finds_no_room_right_after_the_start_waits_for_the_pool_to_grow() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..20 {
            let store = Arc::new(nearly_full(None, 16 * MIB));
            while store.pool.open_segment(crate::pool::Urgency::Normal).is_ok() {}
            let _threads = Maintenance::start(Arc::clone(&store)).unwrap();
            assert!(runtime.block_on(store.wait_for_room(false)));
        }
    }

    #[test]
    fn a_growth_that_fails_changes_nothing_and_is_tried_again_after_a_while() {
        // The first call maps the region.
        let calls = FailingCalls::new(2, false, 12);
        let store = nearly_full(Some(&calls), 16 * MIB);
        let segments = (store.pool.segment_count(), store.pool.free_segments(), store.pool.bytes());
        store.grow(store.growth_due().unwrap());
        assert_eq!(calls.failed(), Some("mmap"));
        assert_eq!((store.pool.segment_count(), store.pool.free_segments(), store.pool.bytes()), segments);
        assert_eq!(store.growth.counts(), (0, 1));
        assert_eq!(store.growth_due(), None, "not at once");
        store.clock.advance(WAIT_MS.0);
        store.grow(store.growth_due().unwrap());
        assert_eq!(store.growth.counts(), (1, 1));
        assert!(store.pool.bytes() > segments.2);
    }

    #[test]
    fn the_time_between_failures_doubles_up_to_a_minute_and_a_new_maximum_ends_it() {
        let calls = FailingCalls::new(2, true, 12);
        let store = nearly_full(Some(&calls), 16 * MIB);
        for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            store.grow(store.growth_due().unwrap());
            store.clock.advance(wait_ms - 1);
            assert_eq!(store.growth_due(), None);
            store.clock.advance(1);
        }
        store.grow(store.growth_due().unwrap());
        assert_eq!(store.growth_due(), None);
        store.set_pool_max_bytes(32 * MIB);
        assert!(store.growth_due().is_some());
    }
}
