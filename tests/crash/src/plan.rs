//! What is explored in which order, by how many threads, and until when.
//!
//! The work is an endless list of tasks that the seed decides: first the gate (all short sequences, a workload for each command, those about
//! the pool, some random mixes), then ever more random mixes and longer sequences. Threads take tasks off its front; what a task tries
//! depends on nothing but the task.

use crate::engine::Driver;
use crate::explore::{Effort, Explorer, Flaw, Tally};
use crate::mechanism;
use crate::violation::{Level, Token, Violation};
use crate::workload::{Start, Workload, ace, commands, random, special};
use fencepost::store::Fsync;
use fencepost_harness::Seed;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When exploring ends.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything that is random.
    pub seed: u64,
    /// Ends it after so long; without it the gate is run and then it ends.
    pub time: Option<Duration>,
    /// Goes on beyond the gate until so many states are tried.
    pub at_least_states: u64,
    /// Begins no further workload after so many states.
    pub at_most_states: u64,
    /// Threads.
    pub threads: usize,
    /// Whether the first violation ends it.
    pub stop_at_first: bool,
    /// Whether every workload of the gate is looked at quickly before any is looked at well: for finding what is easily found soon.
    pub skim: bool,
}

impl Plan {
    /// The fixed amount of work that CI does.
    pub fn gate(seed: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            seed,
            time: None,
            at_least_states: 0,
            at_most_states: u64::MAX,
            threads,
            stop_at_first: false,
            skim: false,
        }
    }
}

/// One piece of work.
enum Task {
    Explore(Box<Workload>, Effort),
    /// The checksum's mechanism, part so much of [`mechanism::PARTS`].
    Mechanism(usize),
}

/// Random mixes in the gate, and how long they are.
const GATE_MIXES: usize = 60;
const MIX_LENGTH: usize = 24;

/// Of those with their pool on a disk.
const GATE_DISK_MIXES: usize = 9;

/// Whether what a workload is about can happen on a disk as well, and is another thing there. A new pool gets its name only with a sync, of which a region in
/// memory knows nothing; and how a collection lies in its records has no part in when they reach the disk.
fn can_be_on_disk(workload: &Workload) -> bool {
    !workload.exhaustive && !matches!(workload.start, Start::Nothing | Start::Recycled) && workload.packed_bytes > 0
}

/// Steps of the random mixes behind the gate.
const LONG_LENGTHS: [usize; 4] = [8, 24, 60, 120];

/// The gate's tasks, the quickest to fail first.
fn gate(seed: u64) -> Vec<Task> {
    let small = Effort { exhaustive_units: 4, lazily: true, random_per_cut: 2, depth: 1, seed };
    let mixed = Effort { exhaustive_units: 2, lazily: false, random_per_cut: 8, depth: 1, seed };
    let mut tasks: Vec<Task> = (0..mechanism::PARTS).map(Task::Mechanism).collect();
    let mut add = |workload: Workload, effort: Effort| {
        let seed = effort.seed ^ hash(&workload.name);
        tasks.push(Task::Explore(Box::new(workload), Effort { seed, ..effort }));
    };
    ace::sequences(1).for_each(|workload| add(workload, small));
    for workload in special::all() {
        // Where opening is the point, its recovery is cut, and the recovery from that in turn.
        let depth = if workload.start == Start::Open { 1 } else { 2 };
        add(workload, Effort { depth, ..small });
    }
    commands::all().into_iter().for_each(|workload| add(workload, small));
    ace::sequences(2).for_each(|workload| add(workload, Effort { depth: 0, ..small }));
    let disk = Effort { exhaustive_units: 0, lazily: true, random_per_cut: 2, depth: 1, seed };
    for fsync in Fsync::ALL {
        special::all().into_iter().filter(can_be_on_disk).for_each(|workload| add(workload.on_disk(fsync), disk));
    }
    ace::sequences(1).for_each(|workload| add(workload.on_disk(Fsync::EverySec), disk));
    let mut rng = Seed(seed).rng(3);
    for number in 0..GATE_DISK_MIXES {
        add(random::workload(rng.next(), MIX_LENGTH).on_disk(Fsync::ALL[number % Fsync::ALL.len()]), disk);
    }
    let mut rng = Seed(seed).rng(2);
    (0..GATE_MIXES).for_each(|_| add(random::workload(rng.next(), MIX_LENGTH), mixed));
    tasks
}

/// The same workloads with nothing but the images that cost least.
fn skim(tasks: &[Task]) -> impl Iterator<Item = Task> + use<> {
    let quick = |task: &Task| match task {
        Task::Mechanism(_) => None,
        Task::Explore(workload, effort) => {
            let effort = Effort { exhaustive_units: 0, lazily: false, random_per_cut: 0, depth: 0, ..*effort };
            let mut workload = workload.clone();
            workload.exhaustive = false;
            Some(Task::Explore(workload, effort))
        }
    };
    tasks.iter().filter_map(quick).collect::<Vec<_>>().into_iter()
}

/// Task `number` behind the gate.
fn beyond(seed: u64, number: usize) -> Task {
    let mut rng = Seed(seed).rng(1000 + number as u64);
    let effort = Effort { exhaustive_units: 2, lazily: false, random_per_cut: 16, depth: 1, seed: rng.next() };
    let workload = if number % 4 == 3 {
        let chosen = rng.below(ace::count(3) as u64) as usize;
        let effort = Effort { exhaustive_units: 4, lazily: true, random_per_cut: 4, depth: 1, ..effort };
        return Task::Explore(Box::new(ace::nth(3, chosen).expect("below their number")), effort);
    } else {
        let mix = random::workload(rng.next(), LONG_LENGTHS[number / 4 % LONG_LENGTHS.len()]);
        match number % 8 {
            0 => mix.on_disk(Fsync::ALL[number / 8 % Fsync::ALL.len()]),
            _ => mix,
        }
    };
    Task::Explore(Box::new(workload), effort)
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What exploring came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub tally: Tally,
    pub elapsed: Duration,
    /// Workloads that were begun.
    pub workloads: usize,
    /// Whether all of the gate was explored.
    pub gate_done: bool,
}

/// Explores by a plan.
pub fn run(plan: &Plan) -> Outcome {
    let started = Instant::now();
    let deadline = plan.time.map(|time| started + time);
    let mut gate = gate(plan.seed);
    if plan.skim {
        gate = skim(&gate).chain(gate).collect();
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let total = Mutex::new(Tally::default());
    let work = || {
        let mut driver = Driver::new();
        // Ends: the plan says when.
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let so_far = total.lock().unwrap_or_else(PoisonError::into_inner).total();
            let enough = number >= gate.len() && deadline.is_none() && so_far >= plan.at_least_states;
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if enough || late || so_far >= plan.at_most_states || stop.load(Ordering::Relaxed) {
                return;
            }
            let later;
            let task = match gate.get(number) {
                Some(task) => task,
                None => {
                    later = beyond(plan.seed, number - gate.len());
                    &later
                }
            };
            let tally = run_task(task, plan, deadline, &mut driver);
            if plan.stop_at_first && !tally.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(work);
        }
    });
    let workloads = next.into_inner().saturating_sub(plan.threads);
    Outcome {
        tally: total.into_inner().unwrap_or_else(PoisonError::into_inner),
        elapsed: started.elapsed(),
        workloads,
        gate_done: workloads >= gate.len(),
    }
}

fn run_task(task: &Task, plan: &Plan, deadline: Option<Instant>, driver: &mut Driver) -> Tally {
    match task {
        Task::Explore(workload, effort) => {
            let tally = Tally::default();
            let mut explorer =
                Explorer { driver, tally, deadline, stop_at_first: plan.stop_at_first, flaw: Flaw::None };
            explorer.workload(workload, *effort);
            explorer.tally
        }
        Task::Mechanism(part) => {
            let mut tally = Tally::default();
            if let Err(what) = mechanism::part(*part) {
                let token = Token { workload: format!("mechanism/{part}"), steps: Vec::new(), cuts: Vec::new() };
                tally.violations.push(Violation { level: Level::Mechanism, token, what });
            }
            tally
        }
    }
}
