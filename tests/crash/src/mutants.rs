//! The proof that the explorer can fail: each defect of [`fencepost::base::mutant`] is switched on in a process of its own, which must find a
//! violation. A defect that survives fails the run.
//!
//! Some are no defects after all: they are listed with the reason, and must survive, so that the reason stays true.

use crate::plan::{self, Plan};
use crate::{concurrent, damage};
use fencepost::base::mutant::{self, Mutant};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Crash states of one thread's run that are tried for one defect.
const STATES: u64 = 40_000;

/// Schedules that are tried for one defect.
const SCHEDULES: u64 = 2_000;

/// Where a defect shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hunt {
    /// In the crash states of one thread's run.
    Crashes,
    /// Only when several threads run.
    Schedules,
    /// Only when bytes at rest are damaged.
    Damage,
    /// Nowhere, for this reason: it changes nothing that a crash, a reader or damage could show.
    Equivalent(&'static str),
}

fn hunt(mutant: Mutant) -> Hunt {
    match mutant {
        Mutant::PublishWithoutMark
        | Mutant::FlushVisibleEarly
        | Mutant::FreedUnderReaders
        | Mutant::CleanedBeforeSettled
        | Mutant::LateCopyNotCounted
        | Mutant::CollectionOutsideStripe
        | Mutant::StaleElementTaken
        | Mutant::TransactionSeenEarly
        | Mutant::TransactionNotNoticed => Hunt::Schedules,
        Mutant::HeaderUnchecked
        | Mutant::BatchUnchecked
        | Mutant::BatchCheckShort
        | Mutant::BatchCheckAnywhere
        | Mutant::HoleAccepted
        | Mutant::SealIgnored
        | Mutant::MediaErrorIgnored
        | Mutant::OlderSuperblockWins => Hunt::Damage,
        Mutant::BatchHeadUnchecked => {
            Hunt::Equivalent("the batch's own checksum covers its header as well; this one only saves reading the rest")
        }
        _ => Hunt::Crashes,
    }
}

/// The workloads that a defect shows in, where it shows in few of them.
fn theme(mutant: Mutant) -> Option<concurrent::Theme> {
    match mutant {
        Mutant::CleanedBeforeSettled | Mutant::LateCopyNotCounted => Some(concurrent::Theme::Cleaning),
        Mutant::TransactionNotNoticed => Some(concurrent::Theme::Transactions),
        Mutant::CollectionOutsideStripe => Some(concurrent::Theme::Elements),
        Mutant::StaleElementTaken => Some(concurrent::Theme::CleanedElements),
        _ => None,
    }
}

/// Looks for one defect and prints the result: `caught by L1 after 120 crash states`, `survived 50000 crash states`. Says whether it was
/// caught.
///
/// # Errors
/// There is no such defect.
pub fn run_one(name: &str, seed: u64) -> Result<bool, String> {
    let chosen = by_name(name).ok_or_else(|| format!("there is no defect {name}"))?;
    mutant::activate(chosen);
    let hunts = match hunt(chosen) {
        Hunt::Equivalent(_) => vec![Hunt::Crashes, Hunt::Schedules, Hunt::Damage],
        hunt => vec![hunt],
    };
    let mut survived = Vec::new();
    for hunt in hunts {
        match search(hunt, theme(chosen), seed) {
            Ok(tried) => survived.push(tried),
            Err(caught) => {
                println!("caught {caught}");
                return Ok(true);
            }
        }
    }
    println!("survived {}", survived.join(", "));
    Ok(false)
}

/// What was tried without finding anything.
///
/// # Errors
/// What was found and after how much: `by L1 after 120 crash states`.
fn search(hunt: Hunt, theme: Option<concurrent::Theme>, seed: u64) -> Result<String, String> {
    match hunt {
        Hunt::Crashes | Hunt::Equivalent(_) => {
            let plan = Plan { stop_at_first: true, skim: true, threads: 1, at_most_states: STATES, ..Plan::gate(seed) };
            let outcome = plan::run(&plan);
            let tried = format!("{} crash states", outcome.tally.total());
            match outcome.tally.violations.first() {
                Some(found) => {
                    println!("{found}");
                    Err(format!("by {} after {tried}", found.level.name()))
                }
                None => Ok(tried),
            }
        }
        Hunt::Schedules => {
            let budget = concurrent::Budget { schedules: SCHEDULES, theme, ..concurrent::Budget::default() };
            let outcome = concurrent::explore(seed, &budget);
            let tried = format!("{} schedules, {} crash states", outcome.schedules, outcome.states);
            if outcome.violations.is_empty() { Ok(tried) } else { Err(format!("by histories after {tried}")) }
        }
        Hunt::Damage => {
            let outcome = damage::explore(seed);
            let tried = format!("{} damaged pools", outcome.states);
            if outcome.violation.is_none() { Ok(tried) } else { Err(format!("by damage after {tried}")) }
        }
    }
}

fn by_name(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
}

/// Tries every defect, `threads` at a time, and tells of each. Says whether all were caught.
///
/// # Errors
/// A process could not be started.
pub fn run_all(seed: u64, threads: usize) -> io::Result<bool> {
    let started = Instant::now();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (caught, equivalent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let program = std::env::current_exe()?;
    let work = || {
        while let Some(&mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let text = child(&program, mutant, seed).unwrap_or_else(|error| format!("no result: {error}"));
            let line = match (hunt(mutant), text.strip_prefix("caught ")) {
                (Hunt::Equivalent(why), None) if text.starts_with("survived ") => {
                    equivalent.fetch_add(1, Ordering::Relaxed);
                    format!("equivalent: {why}; {text}")
                }
                (Hunt::Equivalent(_), _) => {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(mutant.name());
                    format!("is listed as equivalent, but: {text}")
                }
                (_, Some(by)) => {
                    caught.fetch_add(1, Ordering::Relaxed);
                    format!("caught {by}")
                }
                (_, None) => {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(mutant.name());
                    format!("NOT CAUGHT: {text}")
                }
            };
            println!("{:<26} {line} ({:.1} s)", mutant.name(), began.elapsed().as_secs_f64());
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} equivalent; {:.0} s", equivalent.into_inner(), started.elapsed().as_secs_f64());
    if !failures.is_empty() {
        println!("wrong: {}", failures.join(" "));
    }
    println!("mutants: {} caught, {} survived", caught.into_inner(), failures.len());
    Ok(failures.is_empty())
}

/// What a process is killed by that aborts.
const SIGABRT: i32 = 6;

/// Runs one defect in a process of its own and returns its result. Whatever kills the process is told of in the place of one; an engine that stops, as
/// what it was about to show makes no sense, has found the defect itself.
fn child(program: &std::path::Path, mutant: Mutant, seed: u64) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(["--mutant", mutant.name(), "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text)?;
    }
    let status = child.wait()?;
    let result = text.lines().rev().find(|line| line.starts_with("caught ") || line.starts_with("survived "));
    Ok(match result {
        Some(result) => result.to_owned(),
        None if status.signal() == Some(SIGABRT) => "caught by the engine, which stopped".to_owned(),
        None => format!("the process ended without a result: {status}"),
    })
}
