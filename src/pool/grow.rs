//! A pool becomes larger while it is used.
//!
//! The order is what makes a crash at any point harmless:
//!
//! 1. the region grows: the file is longer, durably, and mapped ([`Region::grow`]);
//! 2. the headers of the new segments are written, as free ones of no life yet, and are durable;
//! 3. the superblock says that the pool is larger: one update, whole or not at all;
//! 4. the segments are there for whoever wants one.
//!
//! A crash before the third step has come to its end leaves a file that is longer than its pool. Nobody looks behind a pool's end, and the next
//! growth starts there again. No batch lies there that could ever pass for one of the pool's: bytes get into a segment only after the
//! fourth step, and a superblock never goes back behind the third.

use super::format::{SEGMENT_HEADER_BYTES, Superblock, seal_word, state_word};
use super::{Pool, PoolError};
use crate::base::SegmentId;
use crate::base::mutant::{self, Mutant};
use crate::base::sync::PoisonError;
use crate::persist::Region;
use std::ops::Range;
use std::time::Duration;

/// The largest pool there can be, in bytes: what the addresses of the index reach.
pub const MAX_POOL_BYTES: u64 = 1 << 44;

/// Writes the headers of free segments that have had no life yet. One line flushed for each; durable after the next fence.
pub(super) fn write_free_headers(region: &Region, superblock: &Superblock, segments: Range<u32>) {
    for id in segments.map(SegmentId) {
        let at = superblock.data_offset + u64::from(id.0) * superblock.segment_bytes;
        clear_rest(region, at);
        region.store_u64(at + 8, seal_word(&superblock.uuid, id, 0, 0));
        region.store_u64(at, state_word(&superblock.uuid, id, 0));
        region.flush(at, 16);
    }
}

/// Has the reserved bytes of a header read as zeros. A file that was made longer by hand may have anything there.
fn clear_rest(region: &Region, at: u64) {
    const REST: u64 = SEGMENT_HEADER_BYTES - 16;
    if region.read(at + 16, REST).is_ok_and(|rest| rest.iter().any(|&byte| byte != 0)) {
        region.copy(at + 16, &[0; REST as usize]);
    }
}

impl Pool {
    /// The pool's size in bytes. Its file may be longer.
    pub fn bytes(&self) -> u64 {
        self.lock_superblock().pool_bytes
    }

    /// The size in bytes that this process can let the pool grow to: that of the address space set aside for it.
    pub fn growth_limit(&self) -> u64 {
        self.region.reserved_bytes().min(MAX_POOL_BYTES)
    }

    /// Makes the pool as large as it gets in whole segments within `bytes`, beside everything that uses it. Returns how many segments that are
    /// more; 0 when it is as large already. Durable on return.
    ///
    /// For each new segment one line flushed, then one fence and an update of the superblock. Nothing that writers wait for is held while the file
    /// is extended and the headers are written.
    ///
    /// # Errors
    /// No space on the medium, or `bytes` is more than [`growth_limit`](Self::growth_limit): the pool is as it was and goes on.
    pub fn grow(&self, bytes: u64) -> Result<u32, PoolError> {
        // One at a time; it is held through all of the steps.
        let _one = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grown = self.superblock();
        let former = grown.segment_count;
        let count = bytes.min(MAX_POOL_BYTES).saturating_sub(grown.data_offset) / grown.segment_bytes;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count <= former {
            return Ok(0);
        }
        let end = grown.data_offset + u64::from(count) * grown.segment_bytes;
        self.region.grow(grown.pool_bytes, end)?;
        (grown.segment_count, grown.pool_bytes) = (count, end);
        if mutant::active(Mutant::GrowthSuperblockFirst) {
            self.record_growth(&grown);
        }
        self.write_new_headers(&grown, former)?;
        // The superblock says that there are segments: their headers must be durable first.
        if !mutant::active(Mutant::GrowthSuperblockFirst) && !mutant::active(Mutant::GrowthNotRecorded) {
            self.record_growth(&grown);
        }
        self.segments.grow(count);
        Ok(count - former)
    }

    /// For the one thread that makes the pool larger: it is there from now on, or is to end.
    pub fn set_grower(&self, present: bool) {
        self.demand.set_present(present);
    }

    /// Sleeps until a segment has been opened or was wanted, or for so long. `false` when the thread is to end.
    pub fn await_demand(&self, at_most: Duration) -> bool {
        self.demand.sleep(at_most)
    }

    /// Says whether the pool will grow when room is short. It is taken back when the thread ends.
    pub fn expect_growth(&self, expected: bool) {
        self.demand.expect(expected);
    }

    /// Whether the pool will grow when room is short, or is doing so.
    pub fn is_growth_expected(&self) -> bool {
        self.demand.is_expected()
    }

    /// Has the thread, if there is one that may do something, look at the pool soon.
    #[inline]
    pub fn ask_for_growth(&self) {
        if self.demand.is_expected() {
            self.demand.raise();
        }
    }

    /// Durable on return, on a disk too: there the superblock could otherwise get to the medium before them.
    fn write_new_headers(&self, grown: &Superblock, former: u32) -> Result<(), PoolError> {
        write_free_headers(&self.region, grown, former..grown.segment_count);
        self.region.fence();
        self.touch();
        self.sync().map_err(PoolError::NotSynced)
    }

    fn record_growth(&self, grown: &Superblock) {
        self.update_superblock(|superblock| {
            superblock.segment_count = grown.segment_count;
            superblock.pool_bytes = grown.pool_bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{RegionError, RegionOptions};
    use crate::pool::{PoolOptions, SegmentHeader, Urgency};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SEGMENT: u64 = 64 << 10;

    fn options(path: Option<&Path>, segments: u64, reserve: u64) -> PoolOptions {
        PoolOptions {
            path: path.map(Path::to_path_buf),
            bytes: (1 + segments) * SEGMENT,
            max_bytes: 0,
            segment_bytes: Some(SEGMENT),
            stripes: 4,
            now_ms: 0,
            region: RegionOptions { reserve_bytes: (1 + reserve) * SEGMENT, ..RegionOptions::default() },
        }
    }

    /// Writers open segments, fill them and read them back while the pool grows from 4 segments to 400 under them, in memory and in a file.
    #[test]
    fn writers_go_on_while_the_pool_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        for path in [None, Some(path.as_path())] {
            let options = options(path, 4, 400);
            let (pool, _) = Pool::open_or_create(&options).unwrap();
            let grown = AtomicBool::new(false);
            let mut opened: Vec<SegmentId> = std::thread::scope(|scope| {
                let write = || {
                    let mut mine = Vec::new();
                    // Ends: the pool has grown to its full size, and every segment is taken.
                    loop {
                        let last_look = grown.load(Ordering::Acquire);
                        match pool.open_segment(Urgency::Cleans) {
                            Ok(open) => {
                                let bytes = vec![open.id.0 as u8; 4096];
                                pool.region().write(open.start + SEGMENT - 4096, &bytes);
                                pool.region().fence();
                                pool.set_used(open.id, SEGMENT);
                                pool.add_live(open.id, 4096);
                                assert_eq!(pool.segment_of(open.start), Some(open.id));
                                assert_eq!(pool.read(open.start + SEGMENT - 4096, 4096), bytes);
                                mine.push(open.id);
                            }
                            Err(_) if last_look => return mine,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                };
                let writers = [scope.spawn(write), scope.spawn(write)];
                for segments in (4..=400).step_by(9) {
                    pool.grow((1 + segments) * SEGMENT).unwrap();
                }
                grown.store(true, Ordering::Release);
                writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
            });
            opened.sort_unstable();
            assert_eq!(opened, (0..400).map(SegmentId).collect::<Vec<_>>());
            let whole = |pool: &Pool| {
                assert_eq!((pool.segment_count(), pool.bytes()), (400, 401 * SEGMENT));
                for id in pool.segment_ids() {
                    assert_eq!(pool.segment_header(id), Ok(SegmentHeader::Open { incarnation: 1 }));
                    assert_eq!(pool.read(pool.segment_offset(id) + SEGMENT - 1, 1), [id.0 as u8]);
                }
            };
            whole(&pool);
            assert!(pool.segment_ids().all(|id| pool.segment_use(id).live_bytes == 4096));
            if let Some(path) = path {
                drop(pool);
                assert_eq!(std::fs::metadata(path).unwrap().len(), 401 * SEGMENT);
                whole(&Pool::open(path, &RegionOptions::default()).unwrap());
            }
        }
    }

    /// What lies behind the end of a pool, from a growth that a crash has cut off or from whoever, is no part of it, and is gone when it grows.
    #[test]
    fn a_file_may_be_longer_than_its_pool() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        drop(Pool::open_or_create(&options(Some(&path), 4, 0)).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len();
        bytes.resize(end + 3 * SEGMENT as usize + 100, 0xa5);
        std::fs::write(&path, &bytes).unwrap();
        assert!(std::fs::read(&path).unwrap() == bytes);

        let pool = Pool::open(&path, &options(None, 4, 10).region).unwrap();
        assert_eq!((pool.segment_count(), pool.bytes()), (4, 5 * SEGMENT));
        assert_eq!(pool.segment_of(5 * SEGMENT), None);
        assert_eq!(pool.grow(6 * SEGMENT).unwrap(), 1);
        assert_eq!(pool.grow(11 * SEGMENT).unwrap(), 5);
        for id in pool.segment_ids() {
            assert_eq!(pool.segment_header(id), Ok(SegmentHeader::Free { incarnation: 0 }), "{id:?}");
            let at = pool.segment_offset(id);
            assert_eq!(pool.read(at + 16, SEGMENT_HEADER_BYTES - 16), [0; 48], "{id:?}");
        }
        drop(pool);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 11 * SEGMENT);
        assert_eq!(Pool::open_read_only(&path).unwrap().segment_count(), 10);
    }

    /// The thread sleeps until something is wanted of it, and nothing is expected of one that is not there.
    #[test]
    fn the_thread_that_makes_the_pool_larger_is_woken_when_a_segment_is_opened() {
        let (pool, _) = Pool::open_or_create(&options(None, 8, 20)).unwrap();
        pool.expect_growth(true);
        assert!(!pool.is_growth_expected(), "nobody is there");
        pool.set_grower(true);
        pool.expect_growth(true);
        std::thread::scope(|scope| {
            let grower = scope.spawn(|| {
                assert!(pool.await_demand(Duration::MAX));
                pool.grow(21 * SEGMENT).unwrap();
                assert!(!pool.await_demand(Duration::MAX), "told to end");
            });
            pool.open_segment(Urgency::Normal).unwrap();
            // Ends: the thread was woken.
            while pool.segment_count() == 8 {
                std::thread::yield_now();
            }
            pool.set_grower(false);
            grower.join().unwrap();
        });
        assert!(!pool.is_growth_expected());
    }

    #[test]
    fn a_pool_grows_by_whole_segments_within_what_is_reserved_and_never_shrinks() {
        let (pool, _) = Pool::open_or_create(&options(None, 4, 10)).unwrap();
        assert_eq!(pool.growth_limit(), 11 * SEGMENT);
        assert_eq!(pool.grow(0).unwrap(), 0);
        assert_eq!(pool.grow(6 * SEGMENT - 1).unwrap(), 0);
        assert_eq!(pool.grow(8 * SEGMENT - 1).unwrap(), 2);
        assert_eq!((pool.bytes(), pool.free_segments()), (7 * SEGMENT, 6));
        let refused = pool.grow(12 * SEGMENT).unwrap_err();
        assert!(matches!(refused, PoolError::Region(RegionError::NotReserved { .. })), "{refused}");
        assert_eq!((pool.bytes(), pool.free_segments(), pool.region().len()), (7 * SEGMENT, 6, 7 * SEGMENT));
        assert_eq!(pool.grow(11 * SEGMENT).unwrap(), 4);
        let opened: BTreeSet<u32> =
            std::iter::from_fn(|| pool.open_segment(Urgency::Cleans).ok()).map(|open| open.id.0).collect();
        assert_eq!(opened, (0..10).collect());
    }
}
