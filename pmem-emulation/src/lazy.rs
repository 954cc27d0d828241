//! Chooses what is uncertain only when recovery reads it (level L1).
//!
//! All combinations of all objects are too many, and most differ only in what recovery never looks at. So recovery runs with
//! its reads tracked: everything uncertain has its first value, nothing of it kept, until it is read. After a run each object
//! that it read and that had no value chosen gets each of its other values, one run for each. Objects are independent and
//! recovery is deterministic, so a run that starts with the same values reads the same objects first: the runs are exactly
//! all combinations of the objects that matter, each once. What is never read has one value only.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hook::{Call, Hook, Mapping, MediaError};
use crate::kept::Kept;
use crate::objects::Object;

/// A hook that notes in which order the lines of objects are first read.
pub struct Reads {
    line_bytes: u64,
    state: Mutex<ReadState>,
}

#[derive(Default)]
struct ReadState {
    /// Lines that were neither read nor overwritten, with their object's number.
    unread: BTreeMap<u64, usize>,
    order: Vec<usize>,
    read: HashSet<usize>,
}

impl Reads {
    /// Watches the lines of `objects`. `line_bytes` is 64, or 4096 for pages.
    pub(crate) fn new(objects: &[Object], line_bytes: u64) -> Arc<Self> {
        let lines = objects
            .iter()
            .enumerate()
            .flat_map(|(index, object)| object.lines().iter().map(move |&line| (line, index)));
        let state = ReadState { unread: lines.collect(), ..ReadState::default() };
        Arc::new(Self { line_bytes, state: Mutex::new(state) })
    }

    /// The objects that were read, by number, in the order of the first reads.
    pub fn order(&self) -> Vec<usize> {
        self.lock().order.clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_read(&self, at: u64, len: u64) {
        let mut state = self.lock();
        let state = &mut *state;
        let start = at - at % self.line_bytes;
        while let Some((&line, &object)) = state.unread.range(start..at + len).next() {
            state.unread.remove(&line);
            if state.read.insert(object) {
                state.order.push(object);
            }
        }
    }

    /// A line that is overwritten as a whole is certain from then on.
    fn note_write(&self, at: u64, len: u64) {
        let (first, end) = (at.next_multiple_of(self.line_bytes), (at + len) / self.line_bytes * self.line_bytes);
        if first < end {
            let mut state = self.lock();
            let lines: Vec<u64> = state.unread.range(first..end).map(|(&line, _)| line).collect();
            lines.iter().for_each(|line| {
                state.unread.remove(line);
            });
        }
    }
}

impl Hook for Reads {
    fn attach(&self, _mapping: &dyn Mapping) {}

    fn copy(&self, at: u64, bytes: &[u8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.note_write(at, bytes.len() as u64);
        apply();
    }

    fn copy_nt(&self, at: u64, bytes: &[u8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.note_write(at, bytes.len() as u64);
        apply();
    }

    fn read(&self, at: u64, len: u64, _call: Call<'_>) -> Result<(), MediaError> {
        self.note_read(at, len);
        Ok(())
    }
}

/// The runs that are still to be made at one cut.
pub struct Lazy {
    objects: Vec<Object>,
    values: Vec<Vec<Kept>>,
    line_bytes: u64,
    /// Choices to run with: object and number of its value, in the order of reads.
    todo: Vec<Vec<(usize, usize)>>,
    runs: u64,
}

/// One run: what the image keeps, and the hook that recovery must have on its region.
pub struct LazyRun {
    /// What the image keeps.
    pub kept: Kept,
    /// To be attached to the region that recovery works on.
    pub reads: Arc<Reads>,
    choices: Vec<(usize, usize)>,
}

impl Lazy {
    pub(crate) fn new(objects: Vec<Object>, values: Vec<Vec<Kept>>, line_bytes: u64) -> Self {
        Self { objects, values, line_bytes, todo: vec![Vec::new()], runs: 0 }
    }

    /// How many images there would be without laziness; saturating.
    pub fn product(&self) -> u64 {
        self.values.iter().fold(1, |product: u64, values| product.saturating_mul(values.len() as u64))
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The next run, if there is one. It has to be given back with [`done`](Self::done).
    pub fn next_run(&mut self) -> Option<LazyRun> {
        let choices = self.todo.pop()?;
        let mut kept = Kept::default();
        choices.iter().for_each(|&(object, value)| kept.extend(&self.values[object][value]));
        self.runs += 1;
        Some(LazyRun { kept, reads: Reads::new(&self.objects, self.line_bytes), choices })
    }

    /// Takes a run back after recovery, and plans those that its reads ask for.
    ///
    /// # Panics
    /// When recovery did not read again what it read with the same values before: it is not deterministic.
    pub fn done(&mut self, run: &LazyRun) {
        let order = run.reads.order();
        let chosen: Vec<usize> = run.choices.iter().map(|&(object, _)| object).collect();
        assert!(order.starts_with(&chosen), "the same values were read in another order: {order:?} after {chosen:?}");
        let mut choices = run.choices.clone();
        for &object in &order[chosen.len()..] {
            for value in 1..self.values[object].len() {
                let mut other = choices.clone();
                other.push((object, value));
                self.todo.push(other);
            }
            choices.push((object, 0));
        }
    }
}
