//! What an x86 processor promises about stores to persistent memory, and what it does not.
//!
//! The unit is the aligned 8 bytes; lines have 64. For each line the model keeps the *groups* that are not surely
//! durable, in the order of their stores. A group is what one store or copy put into the line.
//!
//! - A crash keeps, for each line on its own, any prefix of its groups; of the group at the cut any subset of the
//!   units, never part of a unit. A non-temporal group has no order with any other.
//! - A flush marks the line's groups as flushed by that thread, up to the last one that happened before the flush:
//!   the thread's own, and those that were handed over to it. It does not reach non-temporal stores.
//! - A fence makes durable what its thread has flushed, and nothing that another thread has.
//! - On **eADR** a store counts as flushed at once, and a crash keeps a prefix of each thread's stores.
//!
//! This follows Px86 (Raad et al., POPL 2020 and 2022), made a little weaker: what the model calls durable is durable
//! there.

use std::collections::{BTreeMap, HashMap};
use std::panic::Location;

use crate::finding::{FindingKind, NotDurable};
use crate::hook::Note;
use crate::trace::Rng;

/// Bytes in a cache line.
pub const LINE_BYTES: u64 = 64;

/// Bytes that are stored in one piece when aligned.
pub const UNIT_BYTES: u64 = 8;

const UNITS: usize = (LINE_BYTES / UNIT_BYTES) as usize;

/// What keeps its contents when the power fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Domain {
    /// The medium and the memory controller's queues: lines must be flushed.
    #[default]
    Adr,
    /// The processor's caches as well.
    Eadr,
}

/// What sort of store a group comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreKind {
    Plain,
    NonTemporal,
}

/// What one store or copy put into one line.
struct Group {
    /// In the order of stores, unique.
    id: u64,
    thread: u32,
    /// The writing thread's own clock at the store.
    clock: u64,
    kind: StoreKind,
    /// First byte in the line.
    start: usize,
    bytes: Vec<u8>,
    /// The threads that flushed it and have not fenced since.
    flushed_by: Vec<u32>,
    /// Whether a thread flushed the line that could not know of this group.
    missed_by_a_flush: bool,
    site: &'static Location<'static>,
}

impl Group {
    /// Writes those of its units for which `keep` says so into an image.
    fn apply(&self, image: &mut [u8], line: u64, mut keep: impl FnMut(usize) -> bool) {
        let unit_bytes = UNIT_BYTES as usize;
        let end = self.start + self.bytes.len();
        for unit in self.start / unit_bytes..end.div_ceil(unit_bytes) {
            if keep(unit) {
                let from = self.start.max(unit * unit_bytes);
                let to = end.min((unit + 1) * unit_bytes);
                let at = line as usize;
                image[at + from..at + to].copy_from_slice(&self.bytes[from - self.start..to - self.start]);
            }
        }
    }
}

#[derive(Default)]
struct Line {
    pending: Vec<Group>,
    /// The newest group that is durable in each unit, while others are pending.
    newest_durable: [u64; UNITS],
}

#[derive(Default)]
struct Thread {
    /// What of each thread's doing has happened before this one's next step.
    seen: Vec<u64>,
    /// Lines that hold something this thread has flushed since its last fence.
    flushed: Vec<u64>,
}

impl Thread {
    fn has_seen(&self, thread: u32, clock: u64) -> bool {
        self.seen.get(thread as usize).is_some_and(|&seen| seen >= clock)
    }

    fn learn(&mut self, other: &[u64]) {
        if self.seen.len() < other.len() {
            self.seen.resize(other.len(), 0);
        }
        for (mine, theirs) in self.seen.iter_mut().zip(other) {
            *mine = (*mine).max(*theirs);
        }
    }

    fn tick(&mut self, own: u32) -> u64 {
        let own = own as usize;
        if self.seen.len() <= own {
            self.seen.resize(own + 1, 0);
        }
        self.seen[own] += 1;
        self.seen[own]
    }
}

/// An operation that was begun and not yet acknowledged.
struct OpenOperation {
    thread: u32,
    /// The first group that can belong to it.
    first_group: u64,
}

/// The state of the region after some prefix of a trace.
pub(crate) struct Model {
    domain: Domain,
    volatile: Vec<u8>,
    durable: Vec<u8>,
    lines: BTreeMap<u64, Line>,
    threads: Vec<Thread>,
    handed: HashMap<u64, Vec<u64>>,
    open: HashMap<u64, OpenOperation>,
    next_group: u64,
}

impl Model {
    pub(crate) fn new(domain: Domain, image: &[u8]) -> Self {
        Self {
            domain,
            volatile: sparse_copy(image),
            durable: sparse_copy(image),
            lines: BTreeMap::new(),
            threads: Vec::new(),
            handed: HashMap::new(),
            open: HashMap::new(),
            next_group: 1,
        }
    }

    /// What memory holds.
    pub(crate) fn volatile(&self) -> &[u8] {
        &self.volatile
    }

    /// What a crash keeps at least.
    pub(crate) fn durable(&self) -> &[u8] {
        &self.durable
    }

    fn thread(&mut self, thread: u32) -> &mut Thread {
        let index = thread as usize;
        if self.threads.len() <= index {
            self.threads.resize_with(index + 1, Thread::default);
        }
        &mut self.threads[index]
    }

    pub(crate) fn store(
        &mut self,
        thread: u32,
        at: u64,
        bytes: &[u8],
        kind: StoreKind,
        site: &'static Location<'static>,
        found: &mut dyn FnMut(FindingKind),
    ) {
        self.volatile[at as usize..][..bytes.len()].copy_from_slice(bytes);
        let clock = self.thread(thread).tick(thread);
        // On eADR a plain store needs no flush; a non-temporal one needs none anywhere. Both need the fence.
        let counts_as_flushed = kind == StoreKind::NonTemporal || self.domain == Domain::Eadr;
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let line = at - at % LINE_BYTES;
            let (here, later) = rest.split_at(rest.len().min((line + LINE_BYTES - at) as usize));
            let entry = self.lines.entry(line).or_default();
            if entry.pending.iter().any(|group| group.kind != kind) {
                found(FindingKind::MixedStores { line });
            }
            entry.pending.push(Group {
                id: self.next_group,
                thread,
                clock,
                kind,
                start: (at - line) as usize,
                bytes: here.to_vec(),
                flushed_by: if counts_as_flushed { vec![thread] } else { Vec::new() },
                missed_by_a_flush: false,
                site,
            });
            if counts_as_flushed {
                self.thread(thread).flushed.push(line);
            }
            self.next_group += 1;
            at += here.len() as u64;
            rest = later;
        }
    }

    pub(crate) fn flush(&mut self, thread: u32, at: u64, len: u64, found: &mut dyn FnMut(FindingKind)) {
        self.thread(thread).tick(thread);
        let first = at - at % LINE_BYTES;
        for line in (first..at + len).step_by(LINE_BYTES as usize) {
            self.flush_line(thread, line, found);
        }
    }

    fn flush_line(&mut self, thread: u32, line: u64, found: &mut dyn FnMut(FindingKind)) {
        let seen = &self.threads[thread as usize];
        let pending = self.lines.get_mut(&line).map_or(&mut [][..], |line| &mut line.pending);
        // Whoever stored later into the line has taken the earlier stores along, so all up to the last one seen go
        // with it. Non-temporal ones are not in the cache: only the fence of their own thread reaches them.
        let in_cache = |group: &Group| group.kind == StoreKind::Plain;
        let covered = pending
            .iter()
            .rposition(|group| in_cache(group) && seen.has_seen(group.thread, group.clock))
            .map_or(0, |last| last + 1);
        let mut anything = false;
        for group in &mut pending[..covered] {
            if in_cache(group) && !group.flushed_by.contains(&thread) {
                group.flushed_by.push(thread);
                anything = true;
            }
        }
        pending[covered..].iter_mut().for_each(|group| group.missed_by_a_flush = true);
        if anything {
            self.threads[thread as usize].flushed.push(line);
        } else if self.domain == Domain::Adr {
            found(FindingKind::CleanFlush { line });
        }
    }

    pub(crate) fn fence(&mut self, thread: u32, found: &mut dyn FnMut(FindingKind)) {
        self.thread(thread).tick(thread);
        let flushed = std::mem::take(&mut self.thread(thread).flushed);
        if flushed.is_empty() {
            found(FindingKind::EmptyFence);
        }
        for line in flushed {
            let Some(entry) = self.lines.get_mut(&line) else { continue };
            let Line { pending, newest_durable } = entry;
            pending.retain(|group| {
                if !group.flushed_by.contains(&thread) {
                    return true;
                }
                // A group that was overtaken by a newer durable one of no order with it does not come back.
                group.apply(&mut self.durable, line, |unit| {
                    let newer = group.id > newest_durable[unit];
                    if newer {
                        newest_durable[unit] = group.id;
                    }
                    newer
                });
                false
            });
            if pending.is_empty() {
                self.lines.remove(&line);
            }
        }
    }

    pub(crate) fn note(&mut self, thread: u32, note: Note, found: &mut dyn FnMut(FindingKind)) {
        self.thread(thread).tick(thread);
        match note {
            Note::Begin(op) => {
                self.open.insert(op, OpenOperation { thread, first_group: self.next_group });
            }
            Note::Ack(op) => self.acknowledge(op, found),
            Note::Abandon(op) => {
                self.open.remove(&op);
            }
            Note::HandOver(token) => {
                let seen = self.thread(thread).seen.clone();
                self.handed.insert(token, seen);
            }
            Note::TakeOver(token) => {
                if let Some(seen) = self.handed.get(&token) {
                    let seen = seen.clone();
                    self.thread(thread).learn(&seen);
                }
            }
            Note::RecoveryDone => {}
        }
    }

    /// Everything that the operation's thread wrote since the operation began must be durable.
    fn acknowledge(&mut self, op: u64, found: &mut dyn FnMut(FindingKind)) {
        let Some(operation) = self.open.remove(&op) else { return found(FindingKind::AckUnknown { op }) };
        for (&line, entry) in &self.lines {
            let lost = |group: &&Group| group.thread == operation.thread && group.id >= operation.first_group;
            if let Some(group) = entry.pending.iter().find(lost) {
                let why = match group {
                    group if !group.flushed_by.is_empty() => NotDurable::NotFenced,
                    group if group.missed_by_a_flush => NotDurable::NotHandedOver,
                    _ => NotDurable::NotFlushed,
                };
                found(FindingKind::AckNotDurable { op, line, why, written_by: group.site });
            }
        }
    }

    /// An image that a crash now could leave, by the seed's choice.
    pub(crate) fn random_image(&self, seed: u64) -> Vec<u8> {
        let mut rng = Rng::new(seed);
        let mut image = sparse_copy(&self.durable);
        match self.domain {
            Domain::Adr => self.lose_by_line(&mut image, &mut rng),
            Domain::Eadr => self.lose_by_thread(&mut image, &mut rng),
        }
        image
    }

    /// Each line keeps a prefix of its own.
    fn lose_by_line(&self, image: &mut [u8], rng: &mut Rng) {
        for (&line, entry) in &self.lines {
            let count = entry.pending.len() as u64;
            let (cut, torn) = match Fate::draw(rng) {
                Fate::Lost => (0, false),
                Fate::Kept => (count, false),
                Fate::Torn => (rng.below(count), true),
            };
            for (index, group) in (0..).zip(&entry.pending) {
                let fate = match group.kind {
                    StoreKind::NonTemporal => Fate::draw(rng),
                    StoreKind::Plain if index < cut => Fate::Kept,
                    StoreKind::Plain if torn && index == cut => Fate::Torn,
                    StoreKind::Plain => Fate::Lost,
                };
                Self::meet(fate, group, entry, line, image, rng);
            }
        }
    }

    /// Each thread keeps a prefix of its stores, whichever lines they went to.
    fn lose_by_thread(&self, image: &mut [u8], rng: &mut Rng) {
        let mut groups: Vec<_> = self
            .lines
            .iter()
            .flat_map(|(&line, entry)| entry.pending.iter().map(move |group| (line, entry, group)))
            .collect();
        groups.sort_by_key(|(_, _, group)| group.id);
        let cuts: Vec<u64> = (0..self.threads.len()).map(|thread| self.draw_cut(thread, &groups, rng)).collect();
        for (line, entry, group) in groups {
            let cut = cuts[group.thread as usize];
            let fate = match group.kind {
                StoreKind::NonTemporal => Fate::draw(rng),
                StoreKind::Plain if group.clock < cut => Fate::Kept,
                StoreKind::Plain if group.clock == cut => Fate::Torn,
                StoreKind::Plain => Fate::Lost,
            };
            Self::meet(fate, group, entry, line, image, rng);
        }
    }

    /// The clock of the store at which a thread's history is cut off: one of its pending stores, or past the last.
    fn draw_cut(&self, thread: usize, groups: &[(u64, &Line, &Group)], rng: &mut Rng) -> u64 {
        let own: Vec<u64> = groups
            .iter()
            .filter(|(.., group)| group.thread as usize == thread)
            .map(|(.., group)| group.clock)
            .collect();
        own.get(rng.below(own.len() as u64 + 1) as usize).copied().unwrap_or(u64::MAX)
    }

    fn meet(fate: Fate, group: &Group, entry: &Line, line: u64, image: &mut [u8], rng: &mut Rng) {
        group.apply(image, line, |unit| {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn => rng.coin(),
            };
            kept && group.id > entry.newest_durable[unit]
        });
    }

    /// Whether anything could still be lost.
    pub(crate) fn has_pending(&self) -> bool {
        !self.lines.is_empty()
    }
}

/// What becomes of a group in a crash.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    Torn,
}

impl Fate {
    /// Mostly all or nothing, as that is where most bugs show.
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0..4 => Self::Lost,
            4..8 => Self::Kept,
            _ => Self::Torn,
        }
    }
}

/// A copy that leaves pages of zeros untouched, so that a large and mostly empty region costs little.
pub(crate) fn sparse_copy(image: &[u8]) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut copy = vec![0; image.len()];
    for (to, from) in copy.chunks_mut(PAGE).zip(image.chunks(PAGE)) {
        if from.iter().any(|&byte| byte != 0) {
            to.copy_from_slice(from);
        }
    }
    copy
}
