//! A scheduler of threads that a seed decides: exactly one of them runs at a time, and where it may be made to wait another one may go on.
//!
//! The threads are real ones, because the engine's epochs and the recorder tell threads apart by what the operating system calls a thread.
//! They hand over to each other under one lock, so everything a thread did before is seen by the next: what varies is the order of steps.
//!
//! Invariants:
//! 1. Only the thread `current` runs engine code; all others wait for their turn.
//! 2. Every choice is drawn from the seed, in the order of the steps: the same seed and the same programs give the same schedule.

use fencepost::base::sync::schedule::{self, Place};
use fencepost_harness::{Rng, Seed};
use pmem_emulation::{Call, Hook, MediaError, Note};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place in the source.
pub type Site = &'static Location<'static>;

/// Steps after which a schedule has got stuck: a run has some thousands.
const STEPS_MAX: u64 = 400_000;

/// How the next thread is chosen.
#[derive(Debug)]
enum Strategy {
    /// At each place, with the chance of one in `sparse`, any thread that can run.
    Random {
        /// See there.
        sparse: u64,
    },
    /// Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): always the thread of the highest priority, which drops to the
    /// lowest at a few steps chosen beforehand. A bug that needs d orderings between threads is met with a chance of at least 1 in n * k^(d-1), for
    /// n threads and k steps.
    Priorities {
        /// Of each thread; the highest runs.
        of: Vec<i64>,
        /// Steps at which the running thread drops below all others, in order.
        drops: Vec<u64>,
        /// The lowest priority so far.
        lowest: i64,
    },
}

impl Strategy {
    fn draw(rng: &mut Rng, threads: usize) -> Self {
        if rng.one_in(2) {
            return Strategy::Random { sparse: 1 << rng.below(6) };
        }
        let mut of: Vec<i64> = (1..=threads as i64).collect();
        for i in (1..threads).rev() {
            of.swap(i, rng.below(i as u64 + 1) as usize);
        }
        // The number of steps is not known beforehand, and depends on the schedule; horizons of several sizes cover them all.
        let horizon = 64 << rng.below(7);
        let mut drops: Vec<u64> = (0..1 + rng.below(4)).map(|_| 1 + rng.below(horizon)).collect();
        drops.sort_unstable();
        Strategy::Priorities { of, drops, lowest: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Runnable,
    /// Waits for a lock, by its address.
    Blocked(usize),
    Done,
}

/// One change of the running thread, for people.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Steps taken before it, by all threads.
    pub step: u64,
    /// Who stopped.
    pub from: usize,
    /// Who goes on.
    pub to: usize,
    /// Where the first one stopped; `None` when it was done.
    pub site: Option<Site>,
    /// Whether it had to wait for a lock.
    pub blocked: bool,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Switch { step, from, to, site, blocked } = self;
        let why = if *blocked { "waits for the lock" } else { "stops before" };
        match site {
            Some(site) => {
                let file = site.file().rsplit_once("src/").map_or(site.file(), |(_, file)| file);
                write!(f, "step {step:5}: thread {from} {why} at {file}:{}, thread {to} goes on", site.line())
            }
            None => write!(f, "step {step:5}: thread {from} is done, thread {to} goes on"),
        }
    }
}

/// Why a schedule did not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// Every thread waits for a lock.
    Deadlock,
    /// Threads go on and on.
    NoProgress,
}

struct State {
    status: Vec<Status>,
    current: usize,
    rng: Rng,
    strategy: Strategy,
    /// Whether atomic operations are places too; else locks and the region only.
    fine: bool,
    steps: u64,
    switches: Vec<Switch>,
    stuck: Option<Stuck>,
}

impl State {
    /// The thread that runs next, among those that can. `me` is `None` when the running one cannot go on.
    fn choose(&mut self, me: Option<usize>, place: Place) -> Option<usize> {
        let runnable: Vec<usize> = (0..self.status.len()).filter(|&t| self.status[t] == Status::Runnable).collect();
        if runnable.is_empty() {
            return None;
        }
        match &mut self.strategy {
            Strategy::Random { sparse } => match me {
                Some(me) if place == Place::Spin => {
                    let others: Vec<usize> = runnable.iter().copied().filter(|&t| t != me).collect();
                    Some(if others.is_empty() { me } else { *self.rng.pick(&others) })
                }
                Some(me) if !self.rng.one_in(*sparse) => Some(me),
                _ => Some(*self.rng.pick(&runnable)),
            },
            Strategy::Priorities { of, drops, lowest } => {
                let due = drops.first().is_some_and(|&step| step <= self.steps);
                if due {
                    drops.remove(0);
                }
                if let Some(me) = me.filter(|_| due || place == Place::Spin) {
                    *lowest -= 1;
                    of[me] = *lowest;
                }
                runnable.into_iter().max_by_key(|&t| of[t])
            }
        }
    }
}

/// Runs threads one at a time.
pub struct Scheduler {
    state: Mutex<State>,
    /// Wakes the thread whose turn it is.
    turns: Vec<Condvar>,
    /// Wakes who waits for the end.
    over: Condvar,
}

impl Scheduler {
    /// A scheduler of `threads` threads whose choices `seed` decides.
    pub fn new(threads: usize, seed: u64) -> Arc<Self> {
        let mut rng = Seed(seed).rng(0x5c4e_d01e);
        let strategy = Strategy::draw(&mut rng, threads);
        let fine = rng.one_in(2);
        let mut state = State {
            status: vec![Status::Runnable; threads],
            current: 0,
            rng,
            strategy,
            fine,
            steps: 0,
            switches: Vec::new(),
            stuck: None,
        };
        state.current = state.choose(None, Place::Lock).expect("there are threads");
        Arc::new(Self {
            state: Mutex::new(state),
            turns: (0..threads).map(|_| Condvar::new()).collect(),
            over: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `body` as thread `me` of this schedule: it begins when its turn comes.
    pub fn run<R>(self: &Arc<Self>, me: usize, body: impl FnOnce() -> R) -> R {
        self.wait_for_turn(self.lock(), me);
        schedule::follow(Some(Arc::new(Follower { scheduler: Arc::clone(self), me })));
        let result = body();
        schedule::follow(None);
        let mut state = self.lock();
        state.status[me] = Status::Done;
        match state.choose(None, Place::Lock) {
            Some(next) => self.hand_over(&mut state, me, next, None, false),
            None => {
                if state.status.iter().any(|&status| status != Status::Done) {
                    state.stuck = Some(Stuck::Deadlock);
                }
                self.over.notify_all();
            }
        }
        result
    }

    /// Waits until every thread is done, or until they got stuck: then they never end.
    pub fn wait_for_end(&self) -> Option<Stuck> {
        let mut state = self.lock();
        while state.stuck.is_none() && state.status.iter().any(|&status| status != Status::Done) {
            state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stuck
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// What the schedule was, for people: its kind, and each change of threads.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 150;
        let state = self.lock();
        let places = if state.fine { "locks, region and atomics" } else { "locks and region" };
        let mut text = format!("{:?}, switching at {places}, {} steps\n", state.strategy, state.steps);
        for switch in state.switches.iter().take(SHOWN) {
            text.push_str(&format!("  {switch}\n"));
        }
        if state.switches.len() > SHOWN {
            text.push_str(&format!("  ... and {} more\n", state.switches.len() - SHOWN));
        }
        text
    }

    fn hand_over(&self, state: &mut State, from: usize, to: usize, site: Option<Site>, blocked: bool) {
        let step = state.steps;
        state.switches.push(Switch { step, from, to, site, blocked });
        state.current = to;
        self.turns[to].notify_one();
    }

    fn wait_for_turn(&self, mut state: MutexGuard<'_, State>, me: usize) {
        // Never ends once the schedule is stuck: the thread must not run on, and cannot be undone.
        while state.current != me || state.stuck.is_some() {
            state = self.turns[me].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_up(&self, mut state: MutexGuard<'_, State>, me: usize, why: Stuck) {
        state.stuck = Some(why);
        self.over.notify_all();
        self.wait_for_turn(state, me);
    }
}

/// A scheduler as one of its threads sees it.
struct Follower {
    scheduler: Arc<Scheduler>,
    me: usize,
}

impl schedule::Scheduler for Follower {
    fn reached(&self, place: Place, site: Site) {
        let mut state = self.scheduler.lock();
        if place == Place::Atomic && !state.fine {
            return;
        }
        state.steps += 1;
        if state.steps > STEPS_MAX {
            return self.scheduler.give_up(state, self.me, Stuck::NoProgress);
        }
        let next = state.choose(Some(self.me), place).expect("this thread can run");
        if next != self.me {
            self.scheduler.hand_over(&mut state, self.me, next, Some(site), false);
            self.scheduler.wait_for_turn(state, self.me);
        }
    }

    fn blocked(&self, lock: usize, site: Site) {
        let mut state = self.scheduler.lock();
        state.status[self.me] = Status::Blocked(lock);
        match state.choose(None, Place::Lock) {
            Some(next) => {
                self.scheduler.hand_over(&mut state, self.me, next, Some(site), true);
                self.scheduler.wait_for_turn(state, self.me);
            }
            None => self.scheduler.give_up(state, self.me, Stuck::Deadlock),
        }
    }

    fn released(&self, lock: usize) {
        for status in &mut self.scheduler.lock().status {
            if *status == Status::Blocked(lock) {
                *status = Status::Runnable;
            }
        }
    }
}

/// A hook that makes every operation of a region a place where threads may change.
pub struct SwitchPoints;

impl Hook for SwitchPoints {
    fn store(&self, _at: u64, _bytes: [u8; 8], call: Call<'_>, apply: &mut dyn FnMut()) {
        schedule::reach(Place::Region, call.site);
        apply();
    }

    fn copy(&self, _at: u64, _bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        schedule::reach(Place::Region, call.site);
        apply();
    }

    fn copy_nt(&self, _at: u64, _bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        schedule::reach(Place::Region, call.site);
        apply();
    }

    fn flush(&self, _at: u64, _len: u64, call: Call<'_>, apply: &mut dyn FnMut()) {
        schedule::reach(Place::Region, call.site);
        apply();
    }

    fn fence(&self, call: Call<'_>, apply: &mut dyn FnMut()) {
        schedule::reach(Place::Region, call.site);
        apply();
    }

    fn read(&self, _at: u64, _len: u64, call: Call<'_>) -> Result<(), MediaError> {
        schedule::reach(Place::Region, call.site);
        Ok(())
    }

    fn note(&self, _note: Note, call: Call<'_>) {
        schedule::reach(Place::Region, call.site);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fencepost::base::sync;
    use std::collections::BTreeSet;

    /// Two threads add to a counter in two steps each, without a lock: the sums that come about.
    fn lost_update(seed: u64) -> (u64, String) {
        let scheduler = Scheduler::new(2, seed);
        let counter = Arc::new(sync::Mutex::new(0));
        let threads: Vec<_> = (0..2)
            .map(|me| {
                let (scheduler, counter) = (Arc::clone(&scheduler), Arc::clone(&counter));
                std::thread::spawn(move || {
                    scheduler.run(me, || {
                        let seen = *counter.lock().expect("not poisoned");
                        *counter.lock().expect("not poisoned") = seen + 1;
                    });
                })
            })
            .collect();
        assert_eq!(scheduler.wait_for_end(), None);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let sum = *counter.lock().expect("not poisoned");
        (sum, scheduler.describe())
    }

    #[test]
    fn interleavings_vary_with_the_seed_and_repeat_with_it() {
        let sums: BTreeSet<u64> = (0..60).map(|seed| lost_update(seed).0).collect();
        assert_eq!(sums, BTreeSet::from([1, 2]));
        for seed in 0..20 {
            assert_eq!(lost_update(seed), lost_update(seed));
        }
    }

    #[test]
    fn a_deadlock_is_found_and_said() {
        let stuck = (0..200).find_map(|seed| {
            let scheduler = Scheduler::new(2, seed);
            let locks = Arc::new([sync::Mutex::new(()), sync::Mutex::new(())]);
            for me in 0..2 {
                let (scheduler, locks) = (Arc::clone(&scheduler), Arc::clone(&locks));
                std::thread::spawn(move || {
                    scheduler.run(me, || {
                        let _first = locks[me].lock();
                        let _second = locks[1 - me].lock();
                    });
                });
            }
            scheduler.wait_for_end()
        });
        assert_eq!(stuck, Some(Stuck::Deadlock));
    }

    #[test]
    fn threads_that_wait_by_spinning_let_others_run() {
        for seed in 0..100 {
            let scheduler = Scheduler::new(2, seed);
            let flag = Arc::new(sync::atomic::AtomicBool::new(false));
            for me in 0..2 {
                let (scheduler, flag) = (Arc::clone(&scheduler), Arc::clone(&flag));
                std::thread::spawn(move || {
                    scheduler.run(me, || {
                        use sync::atomic::Ordering::SeqCst;
                        if me == 0 {
                            while !flag.load(SeqCst) {
                                sync::yield_now();
                            }
                        } else {
                            flag.store(true, SeqCst);
                        }
                    });
                });
            }
            assert_eq!(scheduler.wait_for_end(), None, "seed {seed}");
        }
    }
}
