//! Tries the crash states of one recording, level by level.
//!
//! At each cut that can show something new: everything that was stored (L0), what recovery's reads single out (L1, where the
//! workload is small), images that stand for the others (L2), and choices by seed (L3), the last also for caches that keep their contents
//! (eADR); where the pool is a file on a disk, in the place of all that, what the page cache may have written. The recovery of some of these images is recorded and cut in turn, together with a run that goes on after it.
//!
//! A state is tried once: states with the same image and the same promises are one. Cuts that are alike, by the place of the fence and by
//! what is pending, are tried in full [`ALIKE_IN_FULL`] times in a recording, and by sample from then on.

use crate::engine::{Driver, Refusal};
use crate::judge::{CONTINUATION, Expected, judge};
use crate::recording::Recording;
use crate::violation::{Cut, Level, Token, Violation};
use crate::workload::Workload;
use fencepost::store::Fsync;
use fencepost_harness::{Rng, Seed};
use pmem_emulation::{Domain, Hook, Kept, Promises, Replay, Values};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Cuts alike that are tried in full.
const ALIKE_IN_FULL: u32 = 16;

/// The same where the pool is on a disk: cuts are few kinds there, and have many states each.
const ALIKE_ON_DISK: u32 = 2;

/// Cuts alike whose recovery is cut in turn.
const ALIKE_NESTED: u32 = 1;

/// States by seed at a cut that is tried by sample.
const SAMPLE: u64 = 4;

/// Most runs of recovery at one cut of level L1.
const RUNS_PER_CUT: u64 = 1 << 14;

/// One thorough verdict in so many, beyond those at new kinds of cuts.
const THOROUGH_ONE_IN: u64 = 4;

/// Violations after which a workload is given up: one mistake shows in many states.
const VIOLATIONS_PER_WORKLOAD: usize = 8;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Objects of at most so many changed units have every subset of them tried at level L1.
    pub exhaustive_units: u32,
    /// Whether level L1 is tried at all.
    pub lazily: bool,
    /// States by seed at each cut and in each domain.
    pub random_per_cut: u64,
    /// How deep recoveries are cut in turn.
    pub depth: u32,
    /// What decides the random ones.
    pub seed: u64,
}

impl Effort {
    /// Whether only the two plainest images of each cut are tried: all that was stored, and only what is durable.
    fn skims(&self) -> bool {
        !self.lazily && self.random_per_cut == 0
    }
}

/// What was found and how much was tried.
#[derive(Default, Debug)]
pub struct Tally {
    /// Crash states that were recovered, by level.
    pub states: HashMap<Level, u64>,
    /// States that were not tried again.
    pub repeated: u64,
    /// Cuts of level L1 that had more to try than [`RUNS_PER_CUT`].
    pub cut_short: u64,
    pub violations: Vec<Violation>,
}

impl Tally {
    /// All states.
    pub fn total(&self) -> u64 {
        self.states.values().sum()
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        for (level, count) in other.states {
            *self.states.entry(level).or_default() += count;
        }
        self.repeated += other.repeated;
        self.cut_short += other.cut_short;
        self.violations.extend(other.violations);
    }
}

/// A part of the exploring that is left out, to show that finding depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flaw {
    #[default]
    None,
    /// States with the same image are one, whatever is promised.
    PromisesIgnored,
    /// What is in flight must not be there.
    PendingIgnored,
}

/// Explores recordings, one after the other.
pub struct Explorer<'a> {
    pub driver: &'a mut Driver,
    pub tally: Tally,
    /// The end of all exploring.
    pub deadline: Option<Instant>,
    /// Whether the first violation ends it.
    pub stop_at_first: bool,
    pub flaw: Flaw,
}

/// One recording being explored.
struct Tour<'r> {
    recording: &'r Recording,
    effort: Effort,
    workload: &'r Workload,
    path: Vec<Cut>,
    explore_from: usize,
    /// Image and promises of what was tried.
    seen: HashSet<(u64, u64)>,
    /// How often a cut like it was met.
    alike: HashMap<(usize, u64), u32>,
    rng: Rng,
}

impl Explorer<'_> {
    /// Whether there is no point in going on.
    fn is_over(&self) -> bool {
        let enough = if self.stop_at_first { 1 } else { VIOLATIONS_PER_WORKLOAD };
        self.tally.violations.len() >= enough || self.deadline.is_some_and(|end| Instant::now() >= end)
    }

    /// Runs a workload and tries its crash states.
    pub fn workload(&mut self, workload: &Workload, effort: Effort) {
        let recording = match Recording::of(workload, self.driver) {
            Ok(recording) => recording,
            Err(refusal) => return self.violation(workload, Vec::new(), Level::Run, refusal.to_string()),
        };
        for (level, what) in &recording.found {
            self.violation(workload, Vec::new(), *level, what.clone());
        }
        let effort = if workload.exhaustive { Effort { exhaustive_units: 14, ..effort } } else { effort };
        self.recording(&recording, workload, effort, Vec::new(), workload.explore_from);
    }

    fn violation(&mut self, workload: &Workload, cuts: Vec<Cut>, level: Level, what: String) {
        let token = Token { workload: workload.name.clone(), steps: workload.numbers(), cuts };
        self.tally.violations.push(Violation { level, token, what });
    }

    fn recording(
        &mut self,
        recording: &Recording,
        workload: &Workload,
        effort: Effort,
        path: Vec<Cut>,
        explore_from: usize,
    ) {
        let seed = Seed(effort.seed).rng(path.iter().fold(7, |mix, cut| mix * 31 + cut.position as u64));
        let mut tour = Tour {
            recording,
            effort,
            workload,
            path,
            explore_from,
            seen: HashSet::new(),
            alike: HashMap::new(),
            rng: seed,
        };
        if recording.machine.disk {
            self.page_cache(&mut tour);
            self.kills(&mut tour);
        } else {
            self.adr(&mut tour);
            self.eadr(&mut tour);
        }
    }

    fn adr(&mut self, tour: &mut Tour<'_>) {
        let mut replay = Replay::new(&tour.recording.trace, Domain::Adr);
        // Before the first event, there is the base.
        if tour.explore_from == 0 {
            self.try_state(tour, &mut replay, &Kept::default(), Level::Prefix, true, None);
        }
        while !self.is_over() && replay.next_cut() {
            if replay.promises().acknowledged.len() < tour.explore_from {
                continue;
            }
            self.cut(tour, &mut replay);
        }
    }

    fn cut(&mut self, tour: &mut Tour<'_>, replay: &mut Replay<'_>) {
        let (site, shape) = replay.shape();
        let alike = tour.alike.entry((site.map_or(0, |site| std::ptr::from_ref(site) as usize), shape)).or_default();
        *alike += 1;
        let alike = *alike;
        let begun = replay.promises().acknowledged.len() + replay.promises().unanswered.len();
        let everything = replay.everything();
        self.try_state(tour, replay, &everything, Level::Prefix, alike <= ALIKE_NESTED, None);
        // What goes on after a recovery is the same few steps each time: a sample of each of its cuts will do.
        let in_full = !tour.effort.skims() && alike <= ALIKE_IN_FULL && (tour.path.is_empty() || begun == 0);
        let random = if in_full {
            if tour.effort.lazily {
                self.lazily(tour, replay);
            }
            for kept in replay.representatives() {
                let thorough = alike <= ALIKE_NESTED && (kept.lines().is_empty() || kept == everything);
                self.try_state(tour, replay, &kept, Level::Representative, thorough, None);
            }
            tour.effort.random_per_cut
        } else {
            self.try_state(tour, replay, &Kept::default(), Level::Prefix, false, None);
            tour.effort.random_per_cut.min(SAMPLE)
        };
        for _ in 0..random {
            let kept = replay.random(tour.rng.next());
            self.try_state(tour, replay, &kept, Level::Random, false, None);
        }
        if tour.effort.depth > 0 && alike <= ALIKE_NESTED && (tour.path.is_empty() || begun == 0) {
            self.nested(tour, replay, &everything);
        }
    }

    fn lazily(&mut self, tour: &mut Tour<'_>, replay: &mut Replay<'_>) {
        let mut lazy = replay.lazy(Values { exhaustive_units: tour.effort.exhaustive_units });
        // Ends: the runs of one cut are finite, and counted.
        while let Some(run) = lazy.next_run() {
            if self.is_over() {
                return;
            }
            if lazy.runs() > RUNS_PER_CUT {
                self.tally.cut_short += 1;
                return;
            }
            let hook = Arc::clone(&run.reads) as Arc<dyn Hook>;
            if self.try_state(tour, replay, &run.kept, Level::Exhaustive, false, Some(&hook)) {
                lazy.done(&run);
            }
        }
    }

    fn eadr(&mut self, tour: &mut Tour<'_>) {
        let mut replay = Replay::new(&tour.recording.trace, Domain::Eadr);
        while !self.is_over() && replay.next_cut() {
            if replay.promises().acknowledged.len() >= tour.explore_from {
                for _ in 0..tour.effort.random_per_cut.min(2) {
                    let kept = replay.random(tour.rng.next());
                    self.try_state(tour, &mut replay, &kept, Level::Random, false, None);
                }
            }
        }
    }

    /// A file on a disk: any of the pages written since the last sync may be there, in any of their versions.
    fn page_cache(&mut self, tour: &mut Tour<'_>) {
        let mut replay = Replay::new(&tour.recording.trace, Domain::PageCache);
        while !self.is_over() && replay.next_cut() {
            if replay.promises().acknowledged.len() < tour.explore_from {
                continue;
            }
            let (site, shape) = replay.shape();
            let place = (site.map_or(0, |site| std::ptr::from_ref(site) as usize), shape);
            let alike = *tour.alike.entry(place).and_modify(|count| *count += 1).or_insert(1);
            let everything = replay.everything();
            let mut states = vec![Kept::default(), everything.clone()];
            // A recovery writes to most pages, each of which has images that stand for it alone: of these a sample will do.
            if !tour.effort.skims() && alike <= ALIKE_ON_DISK && tour.path.is_empty() {
                states.extend(replay.representatives());
            }
            states.extend((0..tour.effort.random_per_cut.max(2)).map(|_| replay.random(tour.rng.next())));
            for kept in &states {
                self.try_on_disk(tour, &mut replay, kept);
            }
            if tour.effort.depth > 0 && alike <= ALIKE_NESTED {
                self.nested(tour, &mut replay, &everything);
            }
        }
    }

    /// A file on a disk, and the end of the process alone: everything that was stored is there, and nothing is to be lost.
    fn kills(&mut self, tour: &mut Tour<'_>) {
        let mut replay = Replay::new(&tour.recording.trace, Domain::Eadr);
        while !self.is_over() && replay.next_cut() {
            if replay.promises().acknowledged.len() >= tour.explore_from {
                let everything = replay.everything();
                self.try_on_disk(tour, &mut replay, &everything);
            }
        }
    }

    fn try_on_disk(&mut self, tour: &mut Tour<'_>, replay: &mut Replay<'_>, kept: &Kept) {
        let killed = u64::from(replay.domain() == Domain::Eadr);
        let promised = obligations(replay.promises()) << 1 | killed;
        let synced = tour.recording.synced(replay.position()) as u64;
        if !tour.seen.insert((replay.image_hash(kept), promised << 16 | synced)) {
            self.tally.repeated += 1;
            return;
        }
        *self.tally.states.entry(Level::PageCache).or_default() += 1;
        let thorough = tour.rng.below(THOROUGH_ONE_IN) == 0;
        if let Err(what) = judge_on_disk(tour.recording, replay, kept, thorough, self.driver) {
            let mut path = tour.path.clone();
            path.push(Cut { domain: replay.domain(), position: replay.position(), kept: kept.clone() });
            self.violation(tour.workload, path, Level::PageCache, what);
        }
    }

    /// Judges one state unless it was judged before. `false` when it is a violation.
    fn try_state(
        &mut self,
        tour: &mut Tour<'_>,
        replay: &mut Replay<'_>,
        kept: &Kept,
        level: Level,
        thorough: bool,
        hook: Option<&Arc<dyn Hook>>,
    ) -> bool {
        let promised = if self.flaw == Flaw::PromisesIgnored { 0 } else { obligations(replay.promises()) };
        let hash = replay.image_hash(kept);
        let new = tour.seen.insert((hash, promised));
        // A run whose reads are followed is made even so: what it reads says what to try next.
        if !new && hook.is_none() {
            self.tally.repeated += 1;
            return true;
        }
        let thorough = new && (thorough || tour.rng.below(THOROUGH_ONE_IN) == 0);
        let position = replay.position();
        let (acknowledged, unanswered) = (replay.promises().acknowledged.len(), replay.promises().unanswered.len());
        let in_flight = unanswered > 0 && self.flaw != Flaw::PendingIgnored;
        let expected = tour.recording.expected(position, acknowledged, in_flight);
        let driver = &mut *self.driver;
        let verdict = replay.with_image(kept, |image| judge(image, &expected, thorough, hook, driver));
        let level = tour.level(level, acknowledged + unanswered);
        *self.tally.states.entry(level).or_default() += u64::from(new);
        let Err(what) = verdict else { return true };
        let mut path = tour.path.clone();
        path.push(Cut { domain: replay.domain(), position, kept: kept.clone() });
        self.violation(tour.workload, path, level, what);
        false
    }

    /// Records the recovery of some images of this cut, with a run that goes on after it, and cuts that.
    fn nested(&mut self, tour: &mut Tour<'_>, replay: &mut Replay<'_>, everything: &Kept) {
        let random = replay.random(tour.rng.next());
        let mut chosen = vec![everything.clone(), random];
        if tour.path.is_empty() {
            chosen.push(Kept::default());
        } else {
            // Deeper down by sample.
            chosen.remove(0);
        }
        let mut seen = HashSet::new();
        chosen.retain(|kept| seen.insert(kept.to_string()));
        for kept in chosen {
            let mut path = tour.path.clone();
            path.push(Cut { domain: replay.domain(), position: replay.position(), kept: kept.clone() });
            let driver = &mut *self.driver;
            let recorded = replay.with_image(&kept, |image| tour.recording.goes_on(image, driver));
            // That it opens was judged before.
            let Ok(recording) = recorded else { continue };
            for (level, what) in &recording.found {
                self.violation(tour.workload, path.clone(), *level, what.clone());
            }
            let effort = Effort {
                depth: tour.effort.depth - 1,
                lazily: tour.path.is_empty() && tour.effort.lazily,
                random_per_cut: tour.effort.random_per_cut.min(2),
                seed: tour.rng.next(),
                ..tour.effort
            };
            self.recording(&recording, tour.workload, effort, path, 0);
        }
    }
}

impl Tour<'_> {
    /// The level of a state, by whether it lies in the recovery from an earlier crash or behind it.
    fn level(&self, level: Level, begun: usize) -> Level {
        match (self.path.is_empty(), begun) {
            (true, _) => level,
            (false, 0) => Level::Nested,
            (false, _) => Level::Continued,
        }
    }
}

/// Judges what a power cut, or in the domain of eADR the end of the process, leaves of a pool on a disk.
///
/// # Errors
/// What is wrong.
pub fn judge_on_disk(
    recording: &Recording,
    replay: &mut Replay<'_>,
    kept: &Kept,
    thorough: bool,
    driver: &mut Driver,
) -> Result<(), String> {
    let killed = replay.domain() == Domain::Eadr;
    let (done, begun) = (replay.promises().acknowledged.len(), replay.promises().unanswered.len());
    let expected = recording.expected_on_disk(replay.position(), done, begun > 0, killed);
    replay.with_image(kept, |image| judge(image, &expected, thorough, None, driver))
}

/// The promises at a cut as a number.
fn obligations(promises: Promises<'_>) -> u64 {
    (promises.acknowledged.len() as u64) << 1 | u64::from(!promises.unanswered.is_empty())
}

impl Recording {
    /// What a crash at a position may leave, so many steps being acknowledged and one more in flight or not.
    pub fn expected(&self, position: usize, acknowledged: usize, in_flight: bool) -> Expected<'_> {
        let until = acknowledged + usize::from(in_flight);
        Expected {
            states: &self.states[self.ends[acknowledged]..=self.ends[until]],
            now_ms: self.times[until],
            gone: &self.gone[acknowledged],
            may_be_missing: position < self.created_at,
            machine: self.machine,
        }
    }

    /// What a power cut may leave of a pool on a disk: a state that there was, not older than the last sync; with `always` not older than the last
    /// reply. The end of the process takes back nothing.
    pub fn expected_on_disk(
        &self,
        position: usize,
        acknowledged: usize,
        in_flight: bool,
        killed: bool,
    ) -> Expected<'_> {
        let until = acknowledged + usize::from(in_flight);
        let everything = killed || self.fsync == Some(Fsync::Always);
        let from = if everything { acknowledged } else { self.synced(position).min(acknowledged) };
        Expected {
            states: &self.states[self.ends[from]..=self.ends[until]],
            now_ms: self.times[until],
            gone: &self.gone[from],
            may_be_missing: false,
            machine: if killed { self.machine } else { self.machine.rebooted() },
        }
    }

    /// How many steps had been acknowledged when the last sync before a position was made.
    fn synced(&self, position: usize) -> usize {
        self.syncs.iter().rev().find(|(at, _)| *at <= position).map_or(0, |&(_, done)| done)
    }

    /// What comes after this one, when a crash has left `image`.
    ///
    /// # Errors
    /// The engine refuses it.
    pub fn goes_on(&self, image: &[u8], driver: &mut Driver) -> Result<Self, Refusal> {
        let machine = if self.machine.disk { self.machine.rebooted() } else { self.machine };
        Self::of_image(image, machine, self.fsync, &CONTINUATION, driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::START_MS;
    use crate::workload::{ace, special, steps};

    const SMALL: Effort = Effort { exhaustive_units: 4, lazily: false, random_per_cut: 2, depth: 0, seed: 1 };

    fn workload(lines: &[&str]) -> Workload {
        Workload::new("test", Vec::new(), steps(lines.iter().copied()))
    }

    fn explore(recording: &Recording, workload: &Workload, flaw: Flaw) -> Tally {
        let mut driver = Driver::new();
        let tally = Tally::default();
        let mut explorer = Explorer { driver: &mut driver, tally, deadline: None, stop_at_first: true, flaw };
        explorer.recording(recording, workload, SMALL, Vec::new(), 0);
        explorer.tally
    }

    /// An engine that answers a write and does nothing: the run of a read, taken for that of a write. Before and after the answer the
    /// image is the same, so that only the promise tells the two states apart.
    #[test]
    fn without_promises_in_the_comparison_of_states_a_write_that_is_forgotten_would_pass() {
        let read = workload(&["GET a"]);
        let mut recording = Recording::of(&read, &mut Driver::new()).unwrap();
        let written = Recording::of(&workload(&["SET a 1"]), &mut Driver::new()).unwrap();
        recording.states = written.states;
        assert!(!explore(&recording, &read, Flaw::None).violations.is_empty());
        assert!(explore(&recording, &read, Flaw::PromisesIgnored).violations.is_empty());
    }

    /// A good engine fails under an oracle that forbids what is in flight.
    #[test]
    fn an_oracle_that_ignores_what_is_in_flight_refuses_a_good_engine() {
        let write = workload(&["SET a 1"]);
        let recording = Recording::of(&write, &mut Driver::new()).unwrap();
        assert!(explore(&recording, &write, Flaw::None).violations.is_empty());
        assert!(!explore(&recording, &write, Flaw::PendingIgnored).violations.is_empty());
    }

    /// A key that a reply has shown to have expired must not come back, and one that none has shown may.
    #[test]
    fn only_a_key_that_was_shown_to_be_gone_has_to_stay_away() {
        let shown = workload(&["SET a 1 PX 10", "!tick 20", "GET a"]);
        let mut recording = Recording::of(&shown, &mut Driver::new()).unwrap();
        assert!(explore(&recording, &shown, Flaw::None).violations.is_empty());
        // As if the tick had shown it already.
        recording.gone[2].insert((((0, b"a".to_vec()), None), START_MS + 10));
        assert!(!explore(&recording, &shown, Flaw::None).violations.is_empty());
    }

    /// A small part of the gate, so that a plain `cargo test` cuts the power, too.
    #[test]
    fn every_cut_leaves_whole_operations_and_every_acknowledged_one() {
        let mut driver = Driver::new();
        let tally = Tally::default();
        let mut explorer =
            Explorer { driver: &mut driver, tally, deadline: None, stop_at_first: true, flaw: Flaw::None };
        for workload in ace::sequences(1).chain(special::all()).filter(|workload| !workload.exhaustive) {
            explorer.workload(&workload, SMALL);
        }
        assert!(explorer.tally.violations.is_empty(), "{}", explorer.tally.violations[0]);
        assert!(explorer.tally.total() > 8_000, "only {} states were tried", explorer.tally.total());
    }
}
