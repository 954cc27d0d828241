//! Which segment to clean next: pure arithmetic over how full each is.

use crate::pool::{Phase, SegmentUse};

/// How much cleaning is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// Nobody waits for room: what costs nothing is taken.
    None,
    /// Free segments are to be had before somebody waits for them.
    Soon,
    /// Somebody waits.
    Now,
    /// A delete waits, which must be possible however little there is to be gained.
    ToDelete,
}

/// What is known of the whole pool when one of its segments is judged.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Segments in all.
    pub segments: u32,
    /// Segments opened since the pool was.
    pub opened: u64,
    /// Segments freed since then.
    pub freed: u64,
}

impl Demand {
    /// A segment that gives back less than one part in so many is not worth being copied: to free one, so many would be written.
    fn least_gain(self) -> u64 {
        if self == Demand::ToDelete { 1024 } else { 32 }
    }
}

impl Surroundings {
    /// What a segment's turn is worth; `None` if it is not to be cleaned for this demand. The highest goes first.
    ///
    /// The benefit over the cost, as in Sprite LFS: free space gained, times how long it will last, over bytes to be copied. A segment's age in
    /// segments opened since stands for how long.
    pub fn score(&self, usage: &SegmentUse, demand: Demand) -> Option<f64> {
        if usage.phase != Phase::Settled {
            return None;
        }
        // A count may be taken while a record changes its place.
        let live = usage.live_bytes.min(self.segment_bytes);
        // Tombstones that were needed once are taken to be needed until half of the pool has turned over. Where somebody waits another look may
        // be worth it sooner.
        let held_lately = self.freed - usage.held_at < u64::from(self.segments / 2).max(1);
        let held = if held_lately { usage.held_bytes } else { 0 };
        let kept = (live + held).min(self.segment_bytes);
        // What the cleaner has packed once gets no smaller by being packed again: only what has become garbage since is gained.
        let gained = (if usage.survivors { usage.packed_bytes } else { self.segment_bytes }).saturating_sub(kept);
        match demand {
            Demand::None if kept > 0 => return None,
            _ if kept > 0 && gained < self.segment_bytes / demand.least_gain() => return None,
            _ => {}
        }
        let age = (self.opened - usage.opened_at.min(self.opened)) as f64;
        let gained = if kept == 0 { self.segment_bytes } else { gained.min(self.segment_bytes - kept) };
        let share = gained as f64 / self.segment_bytes as f64;
        Some(share / (1.0 - share + 1.0 / 1024.0) * (1.0 + age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: Surroundings = Surroundings { segment_bytes: 1 << 20, segments: 64, opened: 1000, freed: 900 };

    fn segment(live_share: f64, opened_at: u64) -> SegmentUse {
        SegmentUse {
            phase: Phase::Settled,
            used_bytes: 1 << 20,
            live_bytes: (live_share * f64::from(1 << 20)) as u64,
            held_bytes: 0,
            held_at: 0,
            opened_at,
            survivors: false,
            packed_bytes: 0,
        }
    }

    #[test]
    fn emptier_and_older_segments_go_first() {
        let score = |live, opened_at| POOL.score(&segment(live, opened_at), Demand::Soon);
        assert!(score(0.2, 500) > score(0.8, 500));
        assert!(score(0.5, 100) > score(0.5, 900));
        assert!(score(0.5, 0) > score(0.4, 999), "an old one's space lasts longer");
        assert_eq!(score(0.99, 0), None, "too little to gain");
        assert!(score(0.0, 1000).is_some_and(f64::is_finite));
        assert!(score(3.0, 1000).is_none(), "a count caught half-way");
    }

    #[test]
    fn only_what_costs_nothing_is_taken_without_demand() {
        assert!(POOL.score(&segment(0.0, 0), Demand::None).is_some());
        assert!(POOL.score(&segment(0.1, 0), Demand::None).is_none());
    }

    #[test]
    fn what_is_packed_is_not_packed_again() {
        let packed = |live| SegmentUse { survivors: true, packed_bytes: 900_000, ..segment(live, 0) };
        assert_eq!(POOL.score(&packed(900_000.0 / f64::from(1 << 20)), Demand::Now), None);
        assert!(POOL.score(&packed(0.5), Demand::Now).is_some());
    }

    #[test]
    fn only_settled_segments_are_taken() {
        for phase in [Phase::Free, Phase::Open, Phase::Sealed, Phase::Cleaning, Phase::Kept] {
            assert_eq!(POOL.score(&SegmentUse { phase, ..segment(0.0, 0) }, Demand::Now), None);
        }
    }

    #[test]
    fn tombstones_carried_on_lately_are_not_looked_at_again() {
        let held = |held_at| SegmentUse { held_bytes: 1 << 20, held_at, ..segment(0.0, 0) };
        assert_eq!(POOL.score(&held(899), Demand::Now), None);
        assert!(POOL.score(&held(860), Demand::Now).is_some());
    }
}
