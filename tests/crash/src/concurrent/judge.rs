//! The verdict on one schedule: without a crash, and after power cuts at many points of its trace.

use super::check::{ReadOut, check};
use super::engine::{Connection, complaints, keys, read_out, recover};
use super::history::{Call, Touches, show_contents};
use super::run::Run;
use super::workload::{START_MS, Workload};
use fencepost::command::Shared;
use fencepost_harness::Frame;
use fencepost_harness::{Rng, Seed};
use pmem_emulation::{Choice, CrashToken, Domain, EventKind, Note, Recorder, RecorderOptions, Replay, Trace};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What is wrong with one crash state; `None` for the schedule itself.
pub type Fault = (Option<CrashToken>, String);

/// Judges the cuts of one run.
pub struct Judge<'a> {
    run: &'a Run,
    seed: u64,
    shared: &'a Arc<Shared>,
    /// Verdicts already passed: of what was asked, answered and read out.
    passed: HashSet<u64>,
    /// Images recovered.
    pub states: u64,
    /// Verdicts that were not the same as one before.
    pub verdicts: u64,
}

/// The caches that lose their contents, for most seeds.
pub fn domain_of(seed: u64) -> Domain {
    if Seed(seed).rng(0xd0).one_in(4) { Domain::Eadr } else { Domain::Adr }
}

impl<'a> Judge<'a> {
    /// The judge of the run of `seed`.
    pub fn new(run: &'a Run, seed: u64, shared: &'a Arc<Shared>) -> Self {
        Self { run, seed, shared, passed: HashSet::new(), states: 0, verdicts: 0 }
    }

    /// What is wrong without any crash.
    pub fn without_crash(&self) -> Option<Fault> {
        if let Some(failure) = self.run.failures.first() {
            let calls = self.run.calls.iter().map(|call| format!("  {call}\n"));
            let start = show_contents(&self.run.start);
            return Some((None, format!("{failure}\nat the start:\n{start}calls:\n{}", calls.collect::<String>())));
        }
        let Run { start, calls, end, .. } = self.run;
        let refusal = check(start, calls, usize::MAX, end).err()?;
        Some((None, refusal.describe(start, calls, usize::MAX, end)))
    }

    /// Tries about `budget` images of the trace, chosen by the seed; the first that is wrong.
    pub fn explore(&mut self, budget: u64) -> Option<Fault> {
        let mut rng = Seed(self.seed).rng(0xc07);
        let trace = &self.run.trace;
        let wanted = (0..=trace.events().len()).filter(|&position| is_telling(trace, position)).count() as u64;
        let mut replay = Replay::new(trace, domain_of(self.seed));
        loop {
            // Two images at most places, three where something is pending.
            let telling = is_telling(trace, replay.position());
            if (telling && rng.below(wanted * 5) < budget * 2) || (!telling && rng.one_in(40)) {
                for choice in choices(&replay, &mut rng) {
                    let position = replay.position();
                    if let Some(fault) = self.image(position, &replay.image(&choice)) {
                        let token = CrashToken { position, choice };
                        return Some((Some(token), fault));
                    }
                }
            }
            if !replay.step() {
                return None;
            }
        }
    }

    /// What is wrong with the image that a token names.
    pub fn at(&mut self, token: CrashToken) -> Option<Fault> {
        let mut fault = None;
        let there = self.run.trace.crash_at(domain_of(self.seed), &token, &mut |crash| {
            fault = self.image(token.position, crash.image);
        });
        if !there {
            fault = Some("the trace is not so long: the token is of another build".into());
        }
        fault.map(|text| (Some(token), text))
    }

    fn image(&mut self, position: usize, image: &[u8]) -> Option<String> {
        self.states += 1;
        let Run { start, calls, .. } = self.run;
        // The wall clock after the crash: set back to the beginning, or where it was.
        let reached = calls.iter().filter(|call| call.has_begun(position)).map(|call| call.now_ms).max();
        let wall_ms = if position.is_multiple_of(2) { START_MS } else { reached.unwrap_or(START_MS) };
        let mut rng = Seed(self.seed).rng(position as u64 ^ 0xe7a);
        let recorder = rng.one_in(6).then(|| Recorder::new(RecorderOptions::default()));
        let hook = recorder.clone().map(|recorder| recorder as _);
        let store = match recover(image, wall_ms, hook) {
            Ok(store) => store,
            Err(error) => return Some(format!("the pool does not open: {error}")),
        };
        let found = ReadOut { contents: read_out(&store), now_ms: store.clock().now_ms() };
        if self.is_new(position, &found)
            && let Err(refusal) = check(start, calls, position, &found)
        {
            return Some(refusal.describe(start, calls, position, &found));
        }
        if rng.one_in(4)
            && let Some(complaints) = complaints(&store)
        {
            return Some(format!("pool check after recovery: {complaints}"));
        }
        let recorder = recorder?;
        self.go_on(position, &store, &recorder, found)
    }

    /// Life after the crash: a few commands, all answered, and the power goes again.
    fn go_on(
        &self,
        position: usize,
        store: &fencepost::store::Store,
        recorder: &Recorder,
        start: ReadOut,
    ) -> Option<String> {
        let mut connection = Connection::new(Arc::clone(self.shared), 0, store);
        // What the crash has left of a small pool may be full.
        if !store.make_room(false) {
            return None;
        }
        let mut calls = Vec::new();
        for (i, (db, command)) in
            Workload::draw_after(self.seed, position, self.run.theme, keys()).into_iter().enumerate()
        {
            let now_ms = store.clock().now_ms();
            let reply = connection.run(store, db, now_ms, std::slice::from_ref(&command)).pop();
            if matches!(&reply, Some(Frame::Error(text)) if text.starts_with(b"OOM")) {
                return None;
            }
            let (invoked, returned) = (2 * i, 2 * i + 1);
            let touches = Touches::of(db, &command);
            calls.push(Call {
                op: i as u64,
                client: 0,
                db,
                now_ms,
                until_ms: now_ms,
                command,
                more: Vec::new(),
                touches,
                invoked,
                returned,
                reply,
                after: None,
            });
        }
        let again = match recover(&recorder.durable_image(), start.now_ms, None) {
            Ok(store) => store,
            Err(error) => return Some(format!("the pool does not open after the second crash: {error}")),
        };
        let end = ReadOut { contents: read_out(&again), now_ms: again.clock().now_ms() };
        let refusal = check(&start.contents, &calls, usize::MAX, &end).err()?;
        let text = refusal.describe(&start.contents, &calls, usize::MAX, &end);
        Some(format!("after recovery, four commands and a second crash:\n{text}"))
    }

    /// Whether this has not been judged yet: the same calls asked and answered, and the same read out.
    fn is_new(&mut self, position: usize, found: &ReadOut) -> bool {
        let mut hasher = DefaultHasher::new();
        for call in &self.run.calls {
            (call.has_begun(position), call.is_answered(position)).hash(&mut hasher);
        }
        found.contents.hash(&mut hasher);
        found.now_ms.hash(&mut hasher);
        let new = self.passed.insert(hasher.finish());
        self.verdicts += u64::from(new);
        new
    }
}

/// Whether a cut here can tell more than the ones around it: what is surely there changes only at fences, what must be there at answers.
fn is_telling(trace: &Trace, position: usize) -> bool {
    let next = trace.events().get(position).map(|event| event.kind);
    let last = position.checked_sub(1).map(|last| trace.events()[last].kind);
    matches!(next, Some(EventKind::Fence) | None) || matches!(last, Some(EventKind::Note(Note::Ack(_))))
}

fn choices(replay: &Replay<'_>, rng: &mut Rng) -> Vec<Choice> {
    match replay.has_pending() {
        true => vec![Choice::Prefix, Choice::Durable, Choice::Random(rng.next())],
        false => vec![Choice::Durable],
    }
}
