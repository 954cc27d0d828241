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
//! - In the **page cache** of a file the piece that is lost or kept is a page, the piece that is never torn a sector. The
//!   kernel writes a page whenever it likes, so a crash keeps any prefix of what was stored into it since the last sync, and
//!   of the write that it interrupts any subset of the sectors. Neither flush nor fence matters.
//!
//! This follows Px86 (Raad et al., POPL 2020 and 2022), made a little weaker: what the model calls durable is durable
//! there.

use std::collections::{BTreeMap, HashMap};
use std::panic::Location;

use crate::finding::{FindingKind, NotDurable};
use crate::hook::Note;
use crate::kept::{Kept, KeptLine};
use crate::trace::Rng;

/// Bytes in a cache line.
pub const LINE_BYTES: u64 = 64;

/// Bytes that are stored in one piece when aligned.
pub const UNIT_BYTES: u64 = 8;

/// Bytes of a page, and of the sectors that it is written in.
const PAGE_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;

/// Units in a line, sectors in a page.
pub(crate) const UNITS: usize = (LINE_BYTES / UNIT_BYTES) as usize;

const _: () = assert!(UNITS == 8 && (PAGE_BYTES / SECTOR_BYTES) as usize == UNITS, "a byte has a bit for each unit");

/// What keeps its contents when the power fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Domain {
    /// The medium and the memory controller's queues: lines must be flushed.
    #[default]
    Adr,
    /// The processor's caches as well.
    Eadr,
    /// A file on a disk: what was synced. Lines are pages of 4096 bytes then, units sectors of 512.
    PageCache,
}

impl Domain {
    /// Bytes that are kept or lost on their own.
    pub(crate) fn line_bytes(self) -> u64 {
        if self == Self::PageCache { PAGE_BYTES } else { LINE_BYTES }
    }

    /// Bytes that are never torn.
    fn unit_bytes(self) -> usize {
        if self == Self::PageCache { SECTOR_BYTES as usize } else { UNIT_BYTES as usize }
    }
}

/// A part of the model that is left out, to show that what is found depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flaw {
    /// Nothing is left out.
    #[default]
    None,
    /// Copies are never torn.
    NoTearing,
    /// A fence makes durable what any thread has flushed.
    AnyFence,
}

/// What sort of store a group comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoreKind {
    Plain,
    NonTemporal,
}

/// What one store or copy put into one line.
pub(crate) struct Group {
    /// In the order of stores, unique.
    pub(crate) id: u64,
    /// The store or copy: the `id` of its first group.
    pub(crate) write: u64,
    thread: u32,
    /// The writing thread's own clock at the store.
    clock: u64,
    pub(crate) kind: StoreKind,
    /// First byte in the line.
    start: usize,
    bytes: Vec<u8>,
    /// The threads that flushed it and have not fenced since.
    flushed_by: Vec<u32>,
    /// Whether a thread flushed the line that could not know of this group.
    missed_by_a_flush: bool,
    pub(crate) site: &'static Location<'static>,
}

impl Group {
    /// Writes those of its units for which `keep` says so into a line.
    fn apply(&self, line: &mut [u8], unit_bytes: usize, mut keep: impl FnMut(usize) -> bool) {
        let end = self.start + self.bytes.len();
        for unit in self.start / unit_bytes..end.div_ceil(unit_bytes) {
            if keep(unit) {
                let from = self.start.max(unit * unit_bytes);
                let to = end.min((unit + 1) * unit_bytes);
                line[from..to].copy_from_slice(&self.bytes[from - self.start..to - self.start]);
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Line {
    pub(crate) pending: Vec<Group>,
    /// The newest group that is durable in each unit, while others are pending.
    newest_durable: [u64; UNITS],
}

impl Line {
    /// Writes into `bytes`, the line as it is durable, the units that `units` has a bit for, group by group.
    pub(crate) fn apply(&self, bytes: &mut [u8], unit_bytes: usize, units: &[u8]) {
        for (group, &mask) in self.pending.iter().zip(units) {
            // A group that was overtaken by a newer durable one of no order with it does not come back.
            let kept = |unit: usize| mask & (1 << unit) != 0 && group.id > self.newest_durable[unit];
            group.apply(bytes, unit_bytes, kept);
        }
    }
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
    flaw: Flaw,
    volatile: Vec<u8>,
    durable: Vec<u8>,
    /// Sum of [`line_hash`] over the durable image; kept up only once it was asked for.
    durable_hash: Option<u64>,
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
            flaw: Flaw::None,
            volatile: sparse_copy(image),
            durable: sparse_copy(image),
            durable_hash: None,
            lines: BTreeMap::new(),
            threads: Vec::new(),
            handed: HashMap::new(),
            open: HashMap::new(),
            next_group: 1,
        }
    }

    pub(crate) fn with_flaw(self, flaw: Flaw) -> Self {
        Self { flaw, ..self }
    }

    pub(crate) fn tears(&self) -> bool {
        self.flaw != Flaw::NoTearing
    }

    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }

    /// The lines that hold something that can still be lost.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (u64, &Line)> {
        self.lines.iter().map(|(&line, entry)| (line, entry))
    }

    /// How many groups of a line can still be lost.
    pub(crate) fn pending_groups(&self, line: u64) -> usize {
        self.lines.get(&line).map_or(0, |entry| entry.pending.len())
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
        let kind = if self.domain == Domain::PageCache { StoreKind::Plain } else { kind };
        let counts_as_flushed = kind == StoreKind::NonTemporal || self.domain == Domain::Eadr;
        let line_bytes = self.domain.line_bytes();
        let write = self.next_group;
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let line = at - at % line_bytes;
            let (here, later) = rest.split_at(rest.len().min((line + line_bytes - at) as usize));
            let entry = self.lines.entry(line).or_default();
            if entry.pending.iter().any(|group| group.kind != kind) {
                found(FindingKind::MixedStores { line });
            }
            entry.pending.push(Group {
                id: self.next_group,
                write,
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
        if self.domain == Domain::PageCache {
            return;
        }
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
        if self.domain == Domain::PageCache {
            return;
        }
        let flushed = match self.flaw {
            Flaw::AnyFence => self.threads.iter_mut().flat_map(|thread| std::mem::take(&mut thread.flushed)).collect(),
            Flaw::None | Flaw::NoTearing => std::mem::take(&mut self.thread(thread).flushed),
        };
        if flushed.is_empty() {
            found(FindingKind::EmptyFence);
        }
        let any_fence = self.flaw == Flaw::AnyFence;
        let completes = |group: &Group| group.flushed_by.contains(&thread) || any_fence && !group.flushed_by.is_empty();
        for line in flushed {
            self.make_durable(line, completes);
        }
    }

    /// Everything that was stored is on the disk. On other media than a file that changes nothing.
    pub(crate) fn sync(&mut self, thread: u32) {
        self.thread(thread).tick(thread);
        if self.domain == Domain::PageCache {
            let lines: Vec<u64> = self.lines.keys().copied().collect();
            for line in lines {
                self.make_durable(line, |_| true);
            }
        }
    }

    /// The region has `len` bytes from now on, the new ones zeros.
    pub(crate) fn grow(&mut self, len: u64) {
        let len = self.volatile.len().max(len as usize);
        self.volatile.resize(len, 0);
        self.durable.resize(len, 0);
        // Counted anew when it is asked for.
        self.durable_hash = None;
    }

    /// Makes those groups of a line durable that `completes` says.
    fn make_durable(&mut self, line: u64, completes: impl Fn(&Group) -> bool) {
        let Some(entry) = self.lines.get_mut(&line) else { return };
        let Line { pending, newest_durable } = entry;
        let (from, unit_bytes) = (line as usize, self.domain.unit_bytes());
        let to = self.durable.len().min(from + self.domain.line_bytes() as usize);
        let bytes = &mut self.durable[from..to];
        let before = self.durable_hash.map(|sum| sum.wrapping_sub(line_hash(line, bytes)));
        pending.retain(|group| {
            if !completes(group) {
                return true;
            }
            // A group that was overtaken by a newer durable one of no order with it does not come back.
            group.apply(bytes, unit_bytes, |unit| {
                let newer = group.id > newest_durable[unit];
                if newer {
                    newest_durable[unit] = group.id;
                }
                newer
            });
            false
        });
        self.durable_hash = before.map(|sum| sum.wrapping_add(line_hash(line, bytes)));
        if pending.is_empty() {
            self.lines.remove(&line);
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

    /// What a crash now could keep, by the seed's choice.
    pub(crate) fn random(&self, seed: u64) -> Kept {
        let mut rng = Rng::new(seed);
        match self.domain {
            Domain::Adr | Domain::PageCache => self.lose_by_line(&mut rng),
            Domain::Eadr => self.lose_by_thread(&mut rng),
        }
    }

    /// Each line keeps a prefix of its own.
    fn lose_by_line(&self, rng: &mut Rng) -> Kept {
        let mut kept = Kept::default();
        for (&line, entry) in &self.lines {
            let count = entry.pending.len() as u64;
            let (cut, torn) = match Fate::draw(rng) {
                Fate::Lost => (0, false),
                Fate::Kept => (count, false),
                Fate::Torn => (rng.below(count), true),
            };
            let units = (0..).zip(&entry.pending).map(|(index, group)| {
                let fate = match group.kind {
                    StoreKind::NonTemporal => Fate::draw(rng),
                    StoreKind::Plain if index < cut => Fate::Kept,
                    StoreKind::Plain if torn && index == cut => Fate::Torn,
                    StoreKind::Plain => Fate::Lost,
                };
                self.meet(fate, rng)
            });
            kept.push(KeptLine { line, units: units.collect() });
        }
        kept
    }

    /// Each thread keeps a prefix of its stores, whichever lines they went to.
    fn lose_by_thread(&self, rng: &mut Rng) -> Kept {
        let clocks = |thread: usize| {
            let groups = self.lines.values().flat_map(|line| &line.pending);
            let mut own: Vec<_> =
                groups.filter(|group| group.thread as usize == thread).map(|group| (group.id, group.clock)).collect();
            own.sort_unstable();
            own
        };
        // The clock of the store at which a thread's history is cut off: one of its pending stores, or past the last.
        let cuts: Vec<u64> = (0..self.threads.len())
            .map(|thread| {
                let own = clocks(thread);
                own.get(rng.below(own.len() as u64 + 1) as usize).map_or(u64::MAX, |&(_, clock)| clock)
            })
            .collect();
        let mut kept = Kept::default();
        for (&line, entry) in &self.lines {
            let units = entry.pending.iter().map(|group| {
                let cut = cuts[group.thread as usize];
                let fate = match group.kind {
                    StoreKind::NonTemporal => Fate::draw(rng),
                    StoreKind::Plain if group.clock < cut => Fate::Kept,
                    StoreKind::Plain if group.clock == cut => Fate::Torn,
                    StoreKind::Plain => Fate::Lost,
                };
                self.meet(fate, rng)
            });
            kept.push(KeptLine { line, units: units.collect() });
        }
        kept
    }

    /// The units of a group that its fate leaves.
    fn meet(&self, fate: Fate, rng: &mut Rng) -> u8 {
        match fate {
            Fate::Lost => 0,
            Fate::Torn if self.tears() => rng.next() as u8,
            Fate::Kept | Fate::Torn => u8::MAX,
        }
    }

    /// The bytes of a line after a crash that keeps these units of its groups.
    pub(crate) fn line_after(&self, line: u64, units: &[u8]) -> Vec<u8> {
        let from = line as usize;
        let mut bytes = self.durable[from..self.durable.len().min(from + self.domain.line_bytes() as usize)].to_vec();
        if let Some(entry) = self.lines.get(&line) {
            entry.apply(&mut bytes, self.domain.unit_bytes(), units);
        }
        bytes
    }

    /// Shows the image of a crash that keeps `kept`. The changes are made in place and taken back: no copy of the region.
    pub(crate) fn with_image<R>(&mut self, kept: &Kept, visit: impl FnOnce(&[u8]) -> R) -> R {
        let mut undo = Vec::with_capacity(kept.lines().len());
        for KeptLine { line, units } in kept.lines() {
            let mut bytes = self.line_after(*line, units);
            self.durable[*line as usize..][..bytes.len()].swap_with_slice(&mut bytes);
            undo.push((*line, bytes));
        }
        let result = visit(&self.durable);
        for (line, bytes) in undo {
            self.durable[line as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        result
    }

    /// A hash of the image of a crash that keeps `kept`, at the cost of the kept lines.
    pub(crate) fn image_hash(&mut self, kept: &Kept) -> u64 {
        let line_bytes = self.domain.line_bytes();
        let durable = &self.durable;
        let sum = *self.durable_hash.get_or_insert_with(|| {
            let lines = durable.chunks(line_bytes as usize).zip((0..).step_by(line_bytes as usize));
            lines.fold(0, |sum: u64, (bytes, line)| sum.wrapping_add(line_hash(line, bytes)))
        });
        kept.lines().iter().fold(sum, |sum, KeptLine { line, units }| {
            let after = self.line_after(*line, units);
            let before = &self.durable[*line as usize..][..after.len()];
            sum.wrapping_sub(line_hash(*line, before)).wrapping_add(line_hash(*line, &after))
        })
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

/// A hash of one line in its place. Sums of them tell images apart.
fn line_hash(line: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(0x9e37_79b9_7f4a_7c15_u64 ^ word.rotate_left(29));
        (product as u64) ^ (product >> 64) as u64
    };
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    // Zero lines count as nothing, so that images of zeros cost nothing to tell apart from their first bytes.
    words.fold(mix(line | 1, 0x5851_f42d_4c95_7f2d), mix)
}
