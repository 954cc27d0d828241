//! Explores what power cuts can leave of a pool. See `docs/testing.md`.
//!
//! ```text
//! cargo run --release -p crash-explorer -- --seed 1                  the gate: a fixed amount of work
//! cargo run --release -p crash-explorer -- --seed 1 --seconds 600    the gate, then ever more, for ten minutes
//! cargo run --release -p crash-explorer -- --replay TOKEN            one state again
//! cargo run --release -p crash-explorer -- --mutants                 with each defect of the engine switched on: it must be found
//! ```
#![forbid(unsafe_code)]

mod concurrent;
mod damage;
mod engine;
mod explore;
mod file_layer;
mod judge;
mod logview;
mod mechanism;
mod mutants;
mod plan;
mod recording;
mod recycle;
mod rules;
mod shrink;
mod state;
mod violation;
mod workload;

use clap::Parser;
use engine::Driver;
use plan::{Outcome, Plan};
use std::process::ExitCode;
use std::time::Duration;
use violation::{Level, Token};

/// Explores what power cuts can leave of a pool.
#[derive(Parser, Debug)]
struct Arguments {
    /// Decides everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Explore for so long; without it the gate, a fixed amount of work.
    #[arg(long)]
    seconds: Option<u64>,
    /// Go on behind the gate until so many states are tried.
    #[arg(long, default_value_t = 0)]
    states: u64,
    /// Threads; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Try the one state of this token, and describe it.
    #[arg(long)]
    replay: Option<String>,
    /// Switch each of the engine's defects on, one after the other: all must be found.
    #[arg(long, conflicts_with_all = ["replay", "seconds", "states"])]
    mutants: bool,
    /// Switch this defect on and look for it.
    #[arg(long, conflicts_with_all = ["replay", "seconds", "states", "mutants"])]
    mutant: Option<String>,
}

/// Violations that are shrunk and described; of the others the token is shown.
const DESCRIBED: usize = 3;

/// Schedules of the gate.
const GATE_SCHEDULES: u64 = 2_000;

/// The share of a given time that goes to concurrent histories.
const SCHEDULES_SHARE: f64 = 0.25;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of the engine is a verdict, and is told of there.
    std::panic::set_hook(Box::new(|_| ()));
    let threads =
        arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let good = if let Some(token) = &arguments.replay {
        replay(token)
    } else if let Some(name) = &arguments.mutant {
        mutants::run_one(name, arguments.seed)
    } else if arguments.mutants {
        mutants::run_all(arguments.seed, threads).map_err(|error| error.to_string())
    } else {
        Ok(explore(&arguments, threads))
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash-explorer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows the state or the schedule of a token; whether it is as it should be.
///
/// # Errors
/// The token is none.
fn replay(token: &str) -> Result<bool, String> {
    if token.starts_with(concurrent::TOKEN_PREFIX) {
        let outcome = concurrent::replay(token.parse()?);
        outcome.violations.iter().for_each(|violation| println!("{}", violation.text));
        println!("{outcome}");
        return Ok(outcome.violations.is_empty());
    }
    let token: Token = token.parse()?;
    let shown = shrink::replay(&token, &mut Driver::new());
    println!("{}", shown.as_ref().map_or_else(String::clone, |text| format!("{text}no violation")));
    Ok(shown.is_ok())
}

/// Explores crash states of single threads, concurrent histories and damage; whether all is as it should be.
fn explore(arguments: &Arguments, threads: usize) -> bool {
    let seed = arguments.seed;
    println!("seed {seed}, {threads} threads");
    let time = arguments.seconds.map(|seconds| Duration::from_secs(seconds).mul_f64(1.0 - SCHEDULES_SHARE));
    let plan = Plan { time, at_least_states: arguments.states, threads, ..Plan::gate(seed) };
    let outcome = plan::run(&plan);
    tell(&outcome);

    let time = arguments.seconds.map(|seconds| Duration::from_secs(seconds).mul_f64(SCHEDULES_SHARE));
    let histories = explore_schedules(seed, threads, time);
    histories.violations.iter().for_each(|violation| {
        println!("\nviolation [histories]\n{}\nreplay: --replay '{}'", violation.text, violation.token)
    });
    println!("histories: {histories}");

    let damage = damage::explore(seed);
    damage.violation.iter().for_each(|violation| println!("\nviolation [damage]\n{violation}"));
    println!("damage: {} damaged pools", damage.states);

    let states = outcome.tally.total() + histories.states + damage.states;
    let violations =
        outcome.tally.violations.len() + histories.violations.len() + usize::from(damage.violation.is_some());
    println!("crash states: {states}, violations: {violations}");
    violations == 0
}

/// Explores schedules with so many explorers at once, for so long or as many as the gate has.
fn explore_schedules(seed: u64, threads: usize, time: Option<Duration>) -> concurrent::Outcome {
    let budget = concurrent::Budget {
        time: time.unwrap_or(Duration::MAX),
        schedules: time.map_or(GATE_SCHEDULES / threads as u64, |_| u64::MAX),
        ..concurrent::Budget::default()
    };
    std::thread::scope(|scope| {
        let budget = &budget;
        let part = |number: u64| move || concurrent::explore(seed.wrapping_add(number << 32), budget);
        let parts: Vec<_> = (0..threads as u64).map(|number| scope.spawn(part(number))).collect();
        let mut whole = concurrent::Outcome::default();
        for part in parts {
            match part.join() {
                Ok(part) => whole.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        whole
    })
}

fn tell(outcome: &Outcome) {
    let Outcome { tally, elapsed, workloads, gate_done } = outcome;
    let mut driver = Driver::new();
    for (number, violation) in tally.violations.iter().enumerate() {
        if number < DESCRIBED {
            let smaller = shrink::shrink(violation, &mut driver);
            let text = shrink::replay(&smaller.token, &mut driver).unwrap_or_else(|text| text);
            println!("\nviolation [{}]\n{text}\nreplay: --replay '{}'", smaller.level.name(), smaller.token);
        } else {
            println!("violation {violation}");
        }
    }
    for level in Level::ALL {
        if let Some(count) = tally.states.get(&level) {
            println!("{:>10}: {count} states", level.name());
        }
    }
    let seconds = elapsed.as_secs_f64();
    println!(
        "{workloads} workloads{} in {seconds:.1} s, {:.0} states a second; {} repeated, {} cuts of L1 cut short",
        if *gate_done { "" } else { " (the gate was not finished)" },
        tally.total() as f64 / seconds,
        tally.repeated,
        tally.cut_short
    );
}
