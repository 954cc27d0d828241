//! Free segments out of full ones: what is live in a segment is copied to another, and the segment is freed.
//!
//! The cleaner works in steps of some ten microseconds, whoever calls for them. A step copies a few dozen records, with their versions unchanged, in
//! one batch with one fence, and only then has the owner of the records look for them in their new place. An emptied segment waits until everyone
//! who could still hold an address in it is gone; then its incarnation is raised, durably, and it is free.
//!
//! What counts as live only the owner knows (the store): [`Owner`]. Which segment is worth the work: [`mod@policy`].
//!
//! # Why nothing is lost
//!
//! - A segment is chosen only once it is settled: everyone who was pinned when it was sealed is gone. So whoever has appended a record there has
//!   published it since, or never will.
//! - What is copied is durable before anything leads to it (I1) and before its source is freed (I6).
//! - A copy has the version of its source, so that it does not matter which of them recovery finds (I4).
//! - Each batch is verified before a record is taken out of it. A segment with a damaged one stays as it is.
//! - The segment that copies go to is sealed only when there is another. So if the cleaner is cut short with the last free segment in its hands, that
//!   one is open still; recovery prefers what the copies in it were made of, nothing in it is needed, and it can be freed again.
//! - A tombstone is copied on as long as a record with a value of its key, older than it, may be in the pool (I8): [`StaleFilter`].
#![forbid(unsafe_code)]

pub mod policy;
mod relocate;
mod stale;

pub use policy::Demand;
pub use relocate::{Fate, Move, Owner};
pub use stale::StaleFilter;

use crate::base::mutant::{self, Mutant};
use crate::base::{Grace, SegmentId};
use crate::log::Writer;
use crate::pool::Pool;
use policy::Surroundings;
use relocate::{Copies, Slice, Stuck, Victim};

/// Segments of a pool in which survivors of survivors get segments of their own.
const LEAST_FOR_TWO: u32 = 64;

/// What a step has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum CleanStep {
    /// Something; there may be more to do.
    Worked,
    /// Nothing, until readers and writers that are at work now are done.
    Waiting,
    /// Nothing: no segment is worth it for this demand.
    Idle,
}

/// Whether segments are cleaned while others wait to be freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// They are: no time is lost.
    Overlapping,
    /// They are not: what happens does not depend on how long other threads take.
    OneByOne,
}

/// The cleaner's own state. Whoever holds it may take a step.
#[derive(Default)]
pub struct Cleaner {
    /// Where survivors go: of segments that writers filled, and of segments of survivors, which are likely to stay.
    writers: [Writer; 2],
    copies: Copies,
    /// What is being emptied. More than one only where there was no room for copies, and others need none.
    victims: Vec<Victim>,
    emptied: Vec<Emptied>,
    waiting: Option<Waiting>,
}

/// A segment in which nothing is live any more.
struct Emptied {
    id: SegmentId,
    /// Hashes of what the stale filter counts in it.
    counted: Vec<u64>,
}

/// What happens when those who are pinned now no longer are.
struct Waiting {
    grace: Grace,
    emptied: Vec<Emptied>,
    sealed: Vec<SegmentId>,
}

impl Cleaner {
    /// Takes a step. The caller must not be pinned: emptied segments are freed only once nobody is who was.
    ///
    /// Cost: at most about 32 KiB copied with one fence, or one more record that is longer; or a line and a fence for each few segments freed.
    pub fn step(
        &mut self,
        pool: &Pool,
        owner: &impl Owner,
        stale: &StaleFilter,
        demand: Demand,
        pace: Pace,
    ) -> CleanStep {
        let freed = self.end_wait(pool, owner, stale);
        self.begin_wait(pool);
        if pace == Pace::OneByOne && self.waiting.is_some() {
            return if freed { CleanStep::Worked } else { CleanStep::Waiting };
        }
        if self.victims.is_empty() {
            self.victims.extend(choose(pool, demand));
        }
        let Some(victim) = self.victims.last_mut() else {
            return match (freed, &self.waiting) {
                (true, _) => CleanStep::Worked,
                (false, Some(_)) => CleanStep::Waiting,
                (false, None) => CleanStep::Idle,
            };
        };
        // In a small pool a second one that is half full would be missed.
        let apart = victim.survivors && pool.segment_count() >= LEAST_FOR_TWO;
        let writer = &mut self.writers[usize::from(apart)];
        let slice = Slice { pool, owner, writer, copies: &mut self.copies };
        match slice.run(victim) {
            Ok(false) => {}
            Ok(true) => {
                let Victim { id, counted, .. } = self.victims.pop().expect("the one that was just looked at");
                self.emptied.push(Emptied { id, counted });
            }
            Err(Stuck::Damaged) => {
                tracing::error!(segment = %victim.id, "damage in the pool: this segment is not cleaned any more");
                pool.end_cleaning(victim.id, true);
                self.victims.pop();
            }
            Err(Stuck::Undecided) => return CleanStep::Waiting,
            // There may be others that need no copies.
            Err(Stuck::Full) => match choose(pool, Demand::None) {
                Some(other) => self.victims.push(other),
                None if freed => {}
                None if self.waiting.is_some() || !self.emptied.is_empty() => return CleanStep::Waiting,
                None => return CleanStep::Idle,
            },
        }
        CleanStep::Worked
    }

    /// Frees what waited long enough, and settles what was sealed before.
    fn end_wait(&mut self, pool: &Pool, owner: &impl Owner, stale: &StaleFilter) -> bool {
        let hasty = mutant::active(Mutant::FreedUnderReaders);
        let Some(Waiting { emptied, sealed, .. }) = self.waiting.take_if(|waiting| hasty || waiting.grace.is_over())
        else {
            return false;
        };
        pool.settle(&sealed);
        if emptied.is_empty() {
            return false;
        }
        let ids: Vec<SegmentId> = emptied.iter().map(|emptied| emptied.id).collect();
        if pool.release_segments(&ids).is_err() {
            // The disk has failed, and no more writes are taken: nobody needs them.
            return false;
        }
        owner.released(&ids);
        // Only now is nothing of them in the pool, whatever a crash leaves.
        emptied.iter().flat_map(|emptied| &emptied.counted).for_each(|&hash| stale.take(hash));
        true
    }

    /// Has what was emptied and sealed since wait for those who are pinned now.
    fn begin_wait(&mut self, pool: &Pool) {
        if self.waiting.is_some() {
            return;
        }
        let mut sealed = pool.take_sealed();
        if mutant::active(Mutant::CleanedBeforeSettled) {
            pool.settle(&std::mem::take(&mut sealed));
        }
        if sealed.is_empty() && self.emptied.is_empty() {
            return;
        }
        let emptied = std::mem::take(&mut self.emptied);
        self.waiting = Some(Waiting { grace: Grace::begin(), emptied, sealed });
    }

    /// Segments that are being emptied, or are empty and wait.
    pub fn backlog(&self) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.emptied.len());
        self.emptied.len() + waiting + self.victims.len()
    }

    /// Gives up what it is in the middle of: segments that were emptied count as full again. For whoever has made the indexes anew from the
    /// whole pool, as these may lead to what was copied.
    pub fn abandon(&mut self, pool: &Pool) {
        let waiting = self.waiting.take();
        // A value that is being prepared may still have its chunks there.
        pool.put_back_sealed(waiting.as_ref().map_or(&[], |waiting| &waiting.sealed));
        let emptied = self.emptied.drain(..).chain(waiting.into_iter().flat_map(|waiting| waiting.emptied));
        let victims = emptied.map(|emptied| emptied.id).chain(self.victims.drain(..).map(|victim| victim.id));
        victims.for_each(|id| pool.end_cleaning(id, false));
    }

    /// Seals its open segments; says whether there was one. Durable after the next fence.
    pub fn close(&mut self, pool: &Pool) -> bool {
        let closed = self.writers.each_mut().map(|writer| writer.close(pool));
        closed.contains(&true)
    }
}

/// The segment to clean next, now in [`Phase::Cleaning`](crate::pool::Phase::Cleaning).
fn choose(pool: &Pool, demand: Demand) -> Option<Victim> {
    let surroundings = Surroundings {
        segment_bytes: pool.max_batch_bytes(),
        segments: pool.segment_count(),
        opened: pool.segments_opened(),
        freed: pool.segments_freed(),
    };
    let scored = pool.segment_ids().filter_map(|id| Some((surroundings.score(&pool.segment_use(id), demand)?, id)));
    let (_, id) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let usage = pool.segment_use(id);
    pool.begin_cleaning(id).then(|| Victim::new(pool, id, &usage))
}
