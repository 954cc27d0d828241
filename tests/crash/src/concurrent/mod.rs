//! Concurrent histories: several workers run real commands on one store, one step at a time in an order that a seed decides; then the power
//! goes, and what recovery finds must fit all that anyone was told.
//!
//! - [`schedule`]: real threads of which one runs at a time; they change at locks, atomics and operations of the region.
//! - [`workload`]: a few commands for each worker, by seed. [`engine`]: the store they run on. [`run`]: one schedule.
//! - [`history`], [`check`]: calls with their replies, and whether they are durably linearizable.
//! - [`judge`]: cuts the power at many points of the schedule's trace and checks each read-out.
//!
//! One number decides everything about a schedule; with a cut it is a token such as `concurrent:0x1f:17:durable`.

mod check;
mod engine;
mod history;
mod judge;
mod run;
mod schedule;
mod workload;

#[cfg(test)]
mod regressions;

use fencepost::command::Shared;
use fencepost_harness::Seed;
use judge::{Fault, Judge};
use pmem_emulation::CrashToken;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use workload::Theme;
use workload::Workload;

/// How much to explore.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// No schedule is begun after this time.
    pub time: Duration,
    /// Schedules at most.
    pub schedules: u64,
    /// Crash states tried of each schedule, about.
    pub states_per_schedule: u64,
    /// Ends after so many violations.
    pub violations: usize,
    /// Only workloads about this.
    pub theme: Option<Theme>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { time: Duration::MAX, schedules: u64::MAX, states_per_schedule: 40, violations: 1, theme: None }
    }
}

/// Names one schedule, and one cut in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Decides workload, schedule and domain.
    pub seed: u64,
    /// The cut; `None` for the schedule without a crash.
    pub cut: Option<CrashToken>,
}

/// What tokens of concurrent histories begin with.
pub const TOKEN_PREFIX: &str = "concurrent:";

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN_PREFIX}{:#x}", self.seed)?;
        self.cut.as_ref().map_or(Ok(()), |cut| write!(f, ":{cut}"))
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a token such as {TOKEN_PREFIX}0x1f or {TOKEN_PREFIX}0x1f:17:durable");
        let rest = text.strip_prefix(TOKEN_PREFIX).ok_or_else(wrong)?;
        let (seed, cut) = rest.split_once(':').map_or((rest, None), |(seed, cut)| (seed, Some(cut)));
        let seed = seed.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Ok(Self { seed: seed.ok_or_else(wrong)?, cut: cut.map(str::parse).transpose()? })
    }
}

/// Something that must not be.
#[derive(Debug)]
pub struct Violation {
    /// Shows it again.
    pub token: Token,
    /// What it is: the history, the read-out and the schedule.
    pub text: String,
}

/// What an exploration came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Schedules that were run and judged.
    pub schedules: u64,
    /// Schedules left out because the pool was full.
    pub left_out: u64,
    /// Crash states that were recovered.
    pub states: u64,
    /// Histories that were checked: crash states that say the same as another of their schedule are not checked again.
    pub histories: u64,
    /// Places where threads might have changed.
    pub steps: u64,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Outcome {
    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.left_out += other.left_out;
        self.states += other.states;
        self.histories += other.histories;
        self.steps += other.steps;
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, left_out, states, histories, steps, violations } = self;
        write!(
            f,
            "{schedules} schedules ({left_out} left out for want of room), {steps} steps, {states} crash states, {histories} histories checked, {} violations",
            violations.len()
        )
    }
}

/// Explores schedules and their crashes, from `seed` on.
pub fn explore(seed: u64, budget: &Budget) -> Outcome {
    let mut seeds = Seed(seed).rng(0xc0c0);
    let shared = engine::shared();
    let mut outcome = Outcome::default();
    let started = Instant::now();
    while outcome.schedules + outcome.left_out < budget.schedules
        && started.elapsed() < budget.time
        && outcome.violations.len() < budget.violations
    {
        let seed = seeds.next();
        if budget.theme.is_none_or(|theme| Workload::draw(seed, engine::keys()).theme == theme) {
            one(seed, None, budget, &shared, &mut outcome);
        }
    }
    outcome
}

/// Runs the schedule of a token again, and judges the one cut that it names, or the run without a crash.
pub fn replay(token: Token) -> Outcome {
    let mut outcome = Outcome::default();
    one(token.seed, Some(token), &Budget::default(), &engine::shared(), &mut outcome);
    outcome
}

fn one(seed: u64, only: Option<Token>, budget: &Budget, shared: &Arc<Shared>, outcome: &mut Outcome) {
    let workload = Workload::draw(seed, engine::keys());
    let run = run::run(workload, seed, &Token { seed, cut: None }.to_string(), shared);
    outcome.steps += run.steps;
    if run.was_full {
        outcome.left_out += 1;
        return;
    }
    outcome.schedules += 1;
    let mut judge = Judge::new(&run, seed, shared);
    let fault: Option<Fault> = match only {
        None => judge.without_crash().or_else(|| judge.explore(budget.states_per_schedule)),
        Some(Token { cut: None, .. }) => judge.without_crash(),
        Some(Token { cut: Some(cut), .. }) => judge.at(cut),
    };
    outcome.states += judge.states;
    outcome.histories += judge.verdicts;
    if let Some((cut, text)) = fault {
        let token = Token { seed, cut };
        let text = format!("{token}, {:?}\n{text}schedule: {}", run.theme, run.schedule);
        outcome.violations.push(Violation { token, text });
    }
}
