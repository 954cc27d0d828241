//! From a violation to the smallest workload that still shows one, and to a report that a person can act on.

use crate::engine::Driver;
use crate::explore::{Effort, Explorer, Flaw, Tally};
use crate::judge::judge;
use crate::recording::Recording;
use crate::violation::{Cut, Level, Violation};
use crate::workload::{self, Workload};
use pmem_emulation::{Domain, EventKind, Replay, Trace};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The longest that shrinking one violation takes.
const SHRINK_TIME: Duration = Duration::from_secs(20);

/// Events that are shown on each side of a cut.
const EVENTS_SHOWN: usize = 12;

/// Leaves steps out of the violation's workload for as long as some violation of the same kind remains.
pub fn shrink(violation: &Violation, driver: &mut Driver) -> Violation {
    let Some(whole) = workload::by_name(&violation.token.workload) else { return violation.clone() };
    let deadline = Instant::now() + SHRINK_TIME;
    let mut best = violation.clone();
    let effort = Effort {
        exhaustive_units: 4,
        lazily: violation.level == Level::Exhaustive,
        random_per_cut: 16,
        depth: violation.token.cuts.len().saturating_sub(1) as u32,
        seed: 1,
    };
    let mut at = best.token.steps.len();
    // Ends: `at` falls each turn.
    while at > 0 && Instant::now() < deadline {
        at -= 1;
        let mut steps = best.token.steps.clone();
        steps.remove(at);
        let smaller = whole.with_steps(&steps);
        let tally = Tally::default();
        let mut explorer = Explorer { driver, tally, deadline: Some(deadline), stop_at_first: true, flaw: Flaw::None };
        explorer.workload(&smaller, effort);
        let alike = |found: &Violation| found.level == violation.level;
        if let Some(found) = explorer.tally.violations.into_iter().find(alike) {
            best = found;
        }
    }
    best
}

/// Tries the one state that a token names. `Ok` holds a description of it.
///
/// # Errors
/// The violation, or why there is no such state.
pub fn replay(token: &crate::violation::Token, driver: &mut Driver) -> Result<String, String> {
    let whole = workload::by_name(&token.workload).ok_or_else(|| format!("there is no workload {}", token.workload))?;
    let workload = whole.with_steps(&token.steps);
    let mut text = describe_workload(&workload);
    let mut recording = Recording::of(&workload, driver).map_err(|refusal| format!("{text}{refusal}"))?;
    for (depth, cut) in token.cuts.iter().enumerate() {
        if let Some((_, what)) = recording.found.first() {
            return Err(format!("{text}{what}"));
        }
        let mut replay = Replay::new(&recording.trace, cut.domain);
        while replay.position() < cut.position {
            if !replay.step() {
                return Err(format!("the trace has only {} events", replay.position()));
            }
        }
        describe_cut(&mut text, &recording.trace, cut, depth);
        let (done, begun) = (replay.promises().acknowledged.len(), replay.promises().unanswered.len());
        let expected = match workload.disk {
            None => recording.expected(cut.position, done, begun > 0),
            Some(_) => recording.expected_on_disk(cut.position, done, begun > 0, cut.domain == Domain::Eadr),
        };
        let verdict = replay.with_image(&cut.kept, |image| judge(image, &expected, true, None, driver));
        verdict.map_err(|what| format!("{text}{what}"))?;
        if depth + 1 == token.cuts.len() && (expected.may_be_missing || workload.disk.is_some()) {
            return Ok(text);
        }
        let next = replay.with_image(&cut.kept, |image| recording.goes_on(image, driver));
        recording = next.map_err(|refusal| format!("{text}{refusal}"))?;
    }
    match recording.found.first() {
        Some((_, what)) => Err(format!("{text}{what}")),
        None => Ok(text),
    }
}

fn describe_workload(workload: &Workload) -> String {
    let mut text = format!("workload {} ({:?}, {} segments)\n", workload.name, workload.start, workload.segments);
    for step in &workload.prelude {
        let _ = writeln!(text, "  before: {step}");
    }
    for (number, step) in workload.steps.iter().enumerate() {
        let _ = writeln!(text, "  step {number}: {step}");
    }
    text
}

/// The events around a cut, with where they come from, and what the cut keeps of what is pending.
fn describe_cut(text: &mut String, trace: &Trace, cut: &Cut, depth: usize) {
    let place = if depth == 0 { "cut" } else { "cut in the recovery from it" };
    let _ = writeln!(text, "{place} after event {}:", cut.position);
    let from = cut.position.saturating_sub(EVENTS_SHOWN);
    let until = trace.events().len().min(cut.position + EVENTS_SHOWN / 3);
    for (number, event) in trace.events()[from..until].iter().enumerate() {
        if from + number == cut.position {
            let _ = writeln!(text, "  ---- power fails; kept: {}", kept_text(cut));
        }
        let what = match event.kind {
            EventKind::Store { at, .. } => format!("store of 8 bytes at {at:#x}"),
            EventKind::Copy { at, bytes } => format!("copy of {} bytes to {at:#x}", trace.bytes(bytes).len()),
            EventKind::CopyNt { at, bytes } => {
                format!("non-temporal copy of {} bytes to {at:#x}", trace.bytes(bytes).len())
            }
            EventKind::Flush { at, len } => format!("flush of {len} bytes at {at:#x}"),
            EventKind::Fence => "fence".to_owned(),
            EventKind::Sync => "sync".to_owned(),
            EventKind::Grow { len } => format!("growth to {len} bytes"),
            EventKind::Note(note) => format!("{note:?}"),
        };
        let _ = writeln!(text, "  {:>4} {what} ({})", from + number, event.site);
    }
    if until == cut.position {
        let _ = writeln!(text, "  ---- power fails; kept: {}", kept_text(cut));
    }
}

fn kept_text(cut: &Cut) -> String {
    if cut.kept.lines().is_empty() {
        return "nothing that was not durable".to_owned();
    }
    format!("{} (line = units of each pending write)", cut.kept)
}
