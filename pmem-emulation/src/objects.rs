//! What is pending at a cut, taken apart into pieces that are kept or lost on their own, and what each can be after a crash.
//!
//! An [`Object`] is what one write left pending: the lines of a commit batch, a header word. A line into which several
//! writes went is an object of its own. Objects are independent, so the images of a cut are all combinations of their
//! values, and [`Values`] says how many values of each are tried:
//!
//! - all of them, where they are few: each subset of the units that the write changed (each prefix of a line's groups);
//! - else those that a checksum has to tell from the whole: none, all, each unit alone missing, each unit alone there, the
//!   same of lines, and each prefix of lines. That is enough where "it validates" has been shown to mean "all of it is
//!   there", on objects small enough to try everything.

use std::collections::BTreeSet;
use std::panic::Location;

use crate::kept::{Kept, KeptLine};
use crate::model::{Line, Model, StoreKind, UNITS};

/// How many values of an object are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Values {
    /// Objects of at most so many changed units have all of their values tried; the others those of the checksum rule.
    pub exhaustive_units: u32,
}

/// What one write left pending, or a line that several wrote to.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where the newest write in it came from.
    pub site: &'static Location<'static>,
    /// The order of its newest write among all writes.
    pub write: u64,
    /// The lines that a crash can leave different from what is durable, ascending.
    lines: Vec<u64>,
    /// The units that it changes: line and unit.
    units: Vec<(u64, u8)>,
    /// How many groups each line has: 1 where the object is a whole write.
    groups: usize,
}

impl Object {
    /// The lines that a crash can leave different from what is durable, ascending.
    pub fn lines(&self) -> &[u64] {
        &self.lines
    }

    /// How many units a crash can leave different from what is durable.
    pub fn changed_units(&self) -> usize {
        self.units.len()
    }

    /// Whether it is one write, rather than a line that several wrote to.
    pub fn is_one_write(&self) -> bool {
        self.groups == 1
    }
}

/// All objects at the model's state, oldest first. What would change nothing is left out.
pub(crate) fn objects(model: &Model) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for (line, entry) in model.pending() {
        let newest = entry.pending.last().expect("a line that is pending has a group");
        let units = changed_units(model, line, entry);
        if units.is_empty() {
            continue;
        }
        let units = units.into_iter().map(|unit| (line, unit));
        let groups = entry.pending.len();
        let same_write = |object: &&mut Object| groups == 1 && object.groups == 1 && object.write == newest.write;
        if let Some(object) = objects.iter_mut().rev().find(same_write) {
            object.lines.push(line);
            object.units.extend(units);
        } else {
            let units = units.collect();
            objects.push(Object { site: newest.site, write: newest.write, lines: vec![line], units, groups });
        }
    }
    objects.sort_by_key(|object| (object.write, object.lines[0]));
    objects
}

/// The units of a line that some choice of its groups leaves different from what is durable.
fn changed_units(model: &Model, line: u64, entry: &Line) -> Vec<u8> {
    let durable = model.line_after(line, &[]);
    let unit_bytes = durable.len().div_ceil(UNITS);
    let mut changed = BTreeSet::new();
    for index in 0..entry.pending.len() {
        let mut units = vec![0; index];
        units.push(u8::MAX);
        let after = model.line_after(line, &units);
        let differs = |unit: &usize| {
            let range = unit * unit_bytes..((unit + 1) * unit_bytes).min(durable.len());
            after[range.clone()] != durable[range]
        };
        changed.extend((0..UNITS).filter(differs).map(|unit| unit as u8));
    }
    changed.into_iter().collect()
}

/// The values of an object: first nothing of it, then all of it, then the others.
pub(crate) fn values(model: &Model, object: &Object, how: Values) -> Vec<Kept> {
    if object.is_one_write() {
        values_of_write(model, object, how)
    } else {
        values_of_line(model, object.lines[0], how)
    }
}

fn values_of_write(model: &Model, object: &Object, how: Values) -> Vec<Kept> {
    let count = object.units.len();
    let mut subsets: Vec<Vec<bool>> = vec![vec![false; count], vec![true; count]];
    let exhaustive = count as u32 <= how.exhaustive_units;
    if model.tears() && exhaustive {
        // Count is at most 64 here, as nobody tries 2^64 values.
        subsets.extend((1..(1u64 << count) - 1).map(|bits| (0..count).map(|unit| bits >> unit & 1 == 1).collect()));
    } else if model.tears() {
        for wrong in 0..count {
            subsets.push((0..count).map(|unit| unit != wrong).collect());
            subsets.push((0..count).map(|unit| unit == wrong).collect());
        }
    }
    let of_lines = |keep: &dyn Fn(u64) -> bool| object.units.iter().map(|&(line, _)| keep(line)).collect::<Vec<_>>();
    if !exhaustive || !model.tears() {
        for &line in &object.lines {
            subsets.push(of_lines(&|other| other != line));
            subsets.push(of_lines(&|other| other == line));
            subsets.push(of_lines(&|other| other <= line));
        }
    }
    let mut seen = BTreeSet::new();
    subsets.retain(|subset| seen.insert(subset.clone()));
    subsets.iter().map(|subset| kept_units(&object.units, subset)).collect()
}

/// Of each line the units that the subset has.
fn kept_units(units: &[(u64, u8)], subset: &[bool]) -> Kept {
    let mut kept = Kept::default();
    for line in units.chunk_by(|a, b| a.0 == b.0) {
        let start = line.as_ptr_range().start;
        let offset = units.iter().position(|unit| std::ptr::eq(unit, start)).expect("a part of the slice");
        let bits = line.iter().zip(&subset[offset..]).filter(|(_, kept)| **kept);
        let mask = bits.fold(0, |mask, ((_, unit), _)| mask | 1 << unit);
        kept.push(KeptLine { line: line[0].0, units: vec![mask] });
    }
    kept
}

/// Prefixes of the plain groups, the one at the cut torn; of non-temporal ones any, as they have no order.
fn values_of_line(model: &Model, line: u64, how: Values) -> Vec<Kept> {
    let (_, entry) = model.pending().find(|(other, _)| *other == line).expect("the object's line is pending");
    let count = entry.pending.len();
    let mut choices: Vec<Vec<u8>> = vec![vec![0; count], vec![u8::MAX; count]];
    let torn: Vec<u8> = match (model.tears(), how.exhaustive_units >= UNITS as u32) {
        (false, _) => vec![],
        (true, true) => (1..u8::MAX).collect(),
        (true, false) => (0..UNITS).flat_map(|unit| [1 << unit, !(1 << unit)]).collect(),
    };
    if entry.pending.iter().all(|group| group.kind == StoreKind::Plain) {
        for cut in 0..count {
            let prefix = |mask: u8| {
                let mut units = vec![u8::MAX; cut];
                units.push(mask);
                units.resize(count, 0);
                units
            };
            choices.push(prefix(0));
            choices.extend(torn.iter().map(|&mask| prefix(mask)));
        }
    } else {
        // Without an order each group has a fate of its own: none, all, and one of them torn.
        let subsets = 1usize << count.min(8);
        for subset in 0..subsets {
            let whole = |index: usize| if subset >> index & 1 == 1 { u8::MAX } else { 0 };
            let units: Vec<u8> = (0..count).map(whole).collect();
            for index in 0..count {
                choices.extend(torn.iter().map(|&mask| {
                    let mut units = units.clone();
                    units[index] = mask;
                    units
                }));
            }
            choices.push(units);
        }
    }
    // Different choices often leave the same bytes.
    let mut seen = BTreeSet::new();
    choices.retain(|units| seen.insert(model.line_after(line, units)));
    let kept = |units| {
        let mut kept = Kept::default();
        kept.push(KeptLine { line, units });
        kept
    };
    choices.into_iter().map(kept).collect()
}

/// Most objects of which all combinations of kept and lost are tried at level L2.
const COMBINED_OBJECTS: usize = 4;

/// The images that stand for all others (level L2): nothing kept, everything kept; each object alone, each alone missing, and
/// all combinations of kept and lost where they are few; each line alone, each alone missing; of the newest object each unit
/// alone missing and alone there, with and without the others.
pub(crate) fn representatives(model: &Model, objects: &[Object]) -> Vec<Kept> {
    let whole: Vec<Kept> = objects.iter().map(|object| all_of(model, object, |_| true)).collect();
    let join = |keep: &dyn Fn(usize) -> bool| {
        let mut kept = Kept::default();
        whole.iter().enumerate().filter(|(index, _)| keep(*index)).for_each(|(_, object)| kept.extend(object));
        kept
    };
    let mut states = vec![join(&|_| false), join(&|_| true)];
    for index in 0..objects.len() {
        states.push(join(&|other| other == index));
        states.push(join(&|other| other != index));
    }
    if objects.len() <= COMBINED_OBJECTS {
        states.extend((0..1usize << objects.len()).map(|subset| join(&|index| subset >> index & 1 == 1)));
    }
    for (index, object) in objects.iter().enumerate() {
        let others = join(&|other| other != index);
        let parts = object.lines.iter().flat_map(|&line| {
            [all_of(model, object, move |other| other == line), all_of(model, object, move |other| other != line)]
        });
        for part in parts {
            states.extend(with_and_without(&part, &others));
        }
    }
    if let Some(newest) = objects.last() {
        let others = join(&|other| other != objects.len() - 1);
        for value in values(model, newest, Values { exhaustive_units: 0 }) {
            states.extend(with_and_without(&value, &others));
        }
    }
    let mut seen = BTreeSet::new();
    states.retain(|state| seen.insert(state.to_string()));
    states
}

fn with_and_without(part: &Kept, others: &Kept) -> [Kept; 2] {
    let mut both = others.clone();
    both.extend(part);
    [part.clone(), both]
}

/// All that is pending of those lines of an object that `lines` says.
fn all_of(model: &Model, object: &Object, lines: impl Fn(u64) -> bool) -> Kept {
    let mut kept = Kept::default();
    for &line in object.lines.iter().filter(|line| lines(**line)) {
        let groups = model.pending_groups(line);
        kept.push(KeptLine { line, units: vec![u8::MAX; groups] });
    }
    kept
}
