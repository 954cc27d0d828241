//! A hook that writes down everything, in the order in which memory changed, and checks the cheap rules on the way.
//!
//! The recorder carries each operation out under its own lock, so the recorded order is the real one, and threads that
//! use the region at the same time take turns. It keeps three images of the region (at the start, in memory, durable).
//! When the limits are reached the trace stops growing and says so; the rules and the counters go on.

use std::collections::HashMap;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::finding::{Finding, FindingKind};
use crate::hook::{Call, Hook, Mapping, MediaError, Note};
use crate::model::{Domain, LINE_BYTES, Model, StoreKind, sparse_copy};
use crate::trace::{Event, EventKind, Span, Trace};

/// Findings that are kept; later ones are only counted.
const MAX_FINDINGS: usize = 1000;

/// Limits and choices of a [`Recorder`].
#[derive(Clone, Copy, Debug)]
pub struct RecorderOptions {
    /// What keeps its contents.
    pub domain: Domain,
    /// Events that the trace holds; 48 bytes each.
    pub max_events: usize,
    /// Bytes of written data that the trace holds.
    pub max_data_bytes: usize,
    /// Regions of at most this length are compared with the recorded image at each fence, to find writes that went
    /// round the region. 0 for never.
    pub compare_up_to_bytes: u64,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self { domain: Domain::Adr, max_events: 1 << 21, max_data_bytes: 256 << 20, compare_up_to_bytes: 1 << 20 }
    }
}

/// How much of everything happened. Take one before and one after, and [`since`](Self::since) gives the difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// 8-byte stores.
    pub stores: u64,
    /// Plain copies.
    pub copies: u64,
    /// Lines written by non-temporal copies.
    pub nt_lines: u64,
    /// Bytes written by all of them.
    pub bytes_written: u64,
    /// Lines flushed, each time it was asked for.
    pub lines_flushed: u64,
    /// Of these, lines that had nothing to flush.
    pub clean_flushes: u64,
    /// Fences.
    pub fences: u64,
    /// Of these, fences with nothing to wait for.
    pub empty_fences: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Reads.
    pub reads: u64,
    /// Findings that are not about performance only.
    pub errors: u64,
}

impl Counters {
    /// What was added after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            stores: self.stores - earlier.stores,
            copies: self.copies - earlier.copies,
            nt_lines: self.nt_lines - earlier.nt_lines,
            bytes_written: self.bytes_written - earlier.bytes_written,
            lines_flushed: self.lines_flushed - earlier.lines_flushed,
            clean_flushes: self.clean_flushes - earlier.clean_flushes,
            fences: self.fences - earlier.fences,
            empty_fences: self.empty_fences - earlier.empty_fences,
            syncs: self.syncs - earlier.syncs,
            reads: self.reads - earlier.reads,
            errors: self.errors - earlier.errors,
        }
    }
}

/// The recording hook. Share it in an [`Arc`]: one clone goes to the region, the other stays with the test.
pub struct Recorder {
    options: RecorderOptions,
    state: Mutex<State>,
}

struct State {
    model: Model,
    trace: Trace,
    threads: HashMap<ThreadId, u32>,
    counters: Counters,
    findings: Vec<Finding>,
    events: u64,
    /// Set by the first difference, after which comparing would find it again and again.
    bypassed: bool,
}

impl Recorder {
    /// A recorder for one region; its first image comes with [`Hook::attach`].
    pub fn new(options: RecorderOptions) -> Arc<Self> {
        Arc::new(Self { options, state: Mutex::new(State::new(options.domain, &[])) })
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// The first 1,000 findings.
    pub fn findings(&self) -> Vec<Finding> {
        self.lock().findings.clone()
    }

    /// Those findings that are not about performance only.
    pub fn errors(&self) -> Vec<Finding> {
        self.lock().findings.iter().copied().filter(|finding| !finding.kind.is_performance()).collect()
    }

    /// The history so far.
    pub fn trace(&self) -> Trace {
        self.lock().trace.clone()
    }

    /// The region as a power cut now would leave it at least: only what is surely durable.
    pub fn durable_image(&self) -> Vec<u8> {
        sparse_copy(self.lock().model.durable())
    }

    /// The number of the byte in `mapped` that was not written through the region, if any. `mapped` is the whole
    /// region.
    pub fn first_bypass(&self, mapped: &[u8]) -> Option<u64> {
        first_difference(self.lock().model.volatile(), mapped)
    }

    /// Forgets the history, the counts and the findings and starts again from the image as it is in memory, all of it
    /// taken to be durable.
    pub fn restart(&self) {
        let mut state = self.lock();
        *state = State::new(self.options.domain, state.model.volatile());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics in `apply` (the region's own checks come earlier) leaves the state as good as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one event out, records it, and runs the model on it.
    fn record(&self, kind: EventKind, data: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        let mut state = self.lock();
        apply();
        state.append(&self.options, kind, data, call.site);
    }
}

impl State {
    fn new(domain: Domain, image: &[u8]) -> Self {
        let trace = Trace { base: Arc::new(sparse_copy(image)), ..Trace::default() };
        Self {
            model: Model::new(domain, image),
            trace,
            threads: HashMap::new(),
            counters: Counters::default(),
            findings: Vec::new(),
            events: 0,
            bypassed: false,
        }
    }

    fn append(&mut self, options: &RecorderOptions, kind: EventKind, data: &[u8], site: &'static Location<'static>) {
        let next_thread = self.threads.len() as u32;
        let thread = *self.threads.entry(std::thread::current().id()).or_insert(next_thread);
        self.count(kind, data);
        let Self { model, counters, findings, events, .. } = self;
        step(model, thread, kind, data, site, &mut |kind| {
            report(counters, findings, Finding { kind, event: *events, thread, site });
        });
        self.keep(options, Event { thread, site, kind }, data);
        self.events += 1;
    }

    fn count(&mut self, kind: EventKind, data: &[u8]) {
        let counters = &mut self.counters;
        counters.bytes_written += data.len() as u64;
        match kind {
            EventKind::Store { .. } => counters.stores += 1,
            EventKind::Copy { .. } => counters.copies += 1,
            EventKind::CopyNt { .. } => counters.nt_lines += (data.len() as u64).div_ceil(LINE_BYTES),
            EventKind::Flush { at, len } => counters.lines_flushed += (at % LINE_BYTES + len).div_ceil(LINE_BYTES),
            EventKind::Fence => counters.fences += 1,
            EventKind::Sync => counters.syncs += 1,
            EventKind::Grow { .. } | EventKind::Note(_) => {}
        }
    }

    fn keep(&mut self, options: &RecorderOptions, event: Event, data: &[u8]) {
        let trace = &mut self.trace;
        // Once truncated always truncated: a trace with a hole would give images that never were.
        trace.truncated |=
            trace.events.len() >= options.max_events || trace.data.len() + data.len() > options.max_data_bytes;
        if !trace.truncated {
            let span = Span { start: trace.data.len(), len: data.len() };
            let kind = match event.kind {
                EventKind::Copy { at, .. } => EventKind::Copy { at, bytes: span },
                EventKind::CopyNt { at, .. } => EventKind::CopyNt { at, bytes: span },
                other => other,
            };
            if matches!(kind, EventKind::Copy { .. } | EventKind::CopyNt { .. }) {
                trace.data.extend_from_slice(data);
            }
            trace.events.push(Event { kind, ..event });
        }
    }

    fn compare(&mut self, mapped: &[u8], call: Call<'_>) {
        if let Some(at) = first_difference(self.model.volatile(), mapped) {
            self.bypassed = true;
            let thread = self.threads.get(&std::thread::current().id()).copied().unwrap_or(0);
            let finding = Finding { kind: FindingKind::Bypass { at }, event: self.events, thread, site: call.site };
            report(&mut self.counters, &mut self.findings, finding);
        }
    }
}

/// Runs the model on one event; `data` is what a copy wrote.
pub(crate) fn step(
    model: &mut Model,
    thread: u32,
    kind: EventKind,
    data: &[u8],
    site: &'static Location<'static>,
    found: &mut dyn FnMut(FindingKind),
) {
    match kind {
        EventKind::Store { at, bytes } => model.store(thread, at, &bytes, StoreKind::Plain, site, found),
        EventKind::Copy { at, .. } => model.store(thread, at, data, StoreKind::Plain, site, found),
        EventKind::CopyNt { at, .. } => model.store(thread, at, data, StoreKind::NonTemporal, site, found),
        EventKind::Flush { at, len } => model.flush(thread, at, len, found),
        EventKind::Fence => model.fence(thread, found),
        EventKind::Sync => model.sync(thread),
        EventKind::Grow { len } => model.grow(len),
        EventKind::Note(note) => model.note(thread, note, found),
    }
}

fn report(counters: &mut Counters, findings: &mut Vec<Finding>, finding: Finding) {
    match finding.kind {
        FindingKind::CleanFlush { .. } => counters.clean_flushes += 1,
        FindingKind::EmptyFence => counters.empty_fences += 1,
        _ => counters.errors += 1,
    }
    if findings.len() < MAX_FINDINGS {
        findings.push(finding);
    }
}

fn first_difference(recorded: &[u8], mapped: &[u8]) -> Option<u64> {
    // The comparison of whole slices is much faster than the search, and nearly always all that is needed.
    if recorded == mapped {
        return None;
    }
    let at = recorded.iter().zip(mapped).position(|(recorded, mapped)| recorded != mapped);
    Some(at.unwrap_or(recorded.len().min(mapped.len())) as u64)
}

/// For the span of a copy before it is known where the trace keeps it.
const UNPLACED: Span = Span { start: 0, len: 0 };

impl Hook for Recorder {
    fn attach(&self, mapping: &dyn Mapping) {
        *self.lock() = State::new(self.options.domain, mapping.bytes());
    }

    fn store(&self, at: u64, bytes: [u8; 8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.record(EventKind::Store { at, bytes }, &bytes, call, apply);
    }

    fn copy(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.record(EventKind::Copy { at, bytes: UNPLACED }, bytes, call, apply);
    }

    fn copy_nt(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.record(EventKind::CopyNt { at, bytes: UNPLACED }, bytes, call, apply);
    }

    fn flush(&self, at: u64, len: u64, call: Call<'_>, apply: &mut dyn FnMut()) {
        self.record(EventKind::Flush { at, len }, &[], call, apply);
    }

    fn fence(&self, call: Call<'_>, apply: &mut dyn FnMut()) {
        let mut state = self.lock();
        apply();
        state.append(&self.options, EventKind::Fence, &[], call.site);
        // Under the lock no thread writes through the region, so what differs did not come through it.
        let len = state.model.volatile().len() as u64;
        if len <= self.options.compare_up_to_bytes && !state.bypassed {
            state.compare(call.mapping.bytes(), call);
        }
    }

    fn sync(&self, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        apply()?;
        state.append(&self.options, EventKind::Sync, &[], call.site);
        Ok(())
    }

    fn grow(&self, len: u64, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        apply()?;
        state.append(&self.options, EventKind::Grow { len }, &[], call.site);
        Ok(())
    }

    fn read(&self, _at: u64, _len: u64, _call: Call<'_>) -> Result<(), MediaError> {
        self.lock().counters.reads += 1;
        Ok(())
    }

    fn note(&self, note: Note, call: Call<'_>) {
        self.record(EventKind::Note(note), &[], call, &mut || ());
    }
}
