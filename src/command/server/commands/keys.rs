//! Where the keys are in a request, and what a command does to each.

use super::facts;
use crate::command::parse::{integer, is_word};
use crate::command::{Flags, Found, KeySpec};
use crate::protocol::Args;

/// How the keys are found that begin at [`KeyRange::first`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To the position so much after the first, every `step`th; negative counts from the end, -1 is the last argument.
    Range { last: i64, step: usize },
    /// As many as the argument at the first position says, after it.
    Counted,
    /// One, behind this word, which is at the first position or later, or not there.
    After(&'static str),
    /// Nobody can tell from the spec.
    Unknown,
}

/// One run of keys with which the same is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRange {
    /// What is done to them: `RO`, `RW`, `OW` or `RM`, then `access`, `update`, `insert` or `delete`.
    pub flags: &'static [&'static str],
    /// Why, where it is not obvious.
    pub notes: Option<&'static str>,
    /// Where they begin.
    pub first: usize,
    /// How far they go.
    pub extent: Extent,
}

/// The runs of keys that a command takes.
pub(super) fn specs_of(found: &Found) -> Vec<KeyRange> {
    let mut ranges = listed(found);
    if found.spec.name == "sort" || found.spec.name == "sort_ro" {
        ranges.push(unknown(&["RO", "access"], "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort"));
    }
    if found.spec.name == "sort" {
        ranges.push(unknown(&["OW", "update"], "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array"));
    }
    ranges
}

fn unknown(flags: &'static [&'static str], notes: &'static str) -> KeyRange {
    KeyRange { flags, notes: Some(notes), first: 0, extent: Extent::Unknown }
}

/// Those that the spec tells.
fn listed(found: &Found) -> Vec<KeyRange> {
    let extent = |first: usize, last: isize, step: usize| Extent::Range {
        last: if last < 0 { last as i64 } else { last as i64 - first as i64 },
        step,
    };
    let uses = facts::of(&found.full_name()).map_or(&[][..], |facts| facts.keys);
    let (first, extent) = match found.spec.keys {
        KeySpec::None => return Vec::new(),
        KeySpec::Range { first, last, step } => (first, extent(first, last, step)),
        KeySpec::Counted { at } => (at, Extent::Counted),
        KeySpec::TargetAndCounted { target, at } => {
            return ranges(&[(target, Extent::Range { last: 0, step: 1 }), (at, Extent::Counted)], uses);
        }
        KeySpec::OneAndStored { first, from } => {
            let one = (first, Extent::Range { last: 0, step: 1 });
            return ranges(&[one, (from, Extent::After("STORE")), (from, Extent::After("STOREDIST"))], uses);
        }
    };
    match uses {
        [] => {
            let flags: &[&str] =
                if found.spec.flags.contains(Flags::WRITE) { &["RW", "update"] } else { &["RO", "access"] };
            vec![KeyRange { flags, notes: None, first, extent }]
        }
        [use_of] => vec![KeyRange { flags: use_of.flags, notes: use_of.notes, first, extent }],
        // The first key is used in one way, the rest in another.
        [of_first, of_rest, ..] => {
            let Extent::Range { last, step } = extent else { return Vec::new() };
            let last = if last > 0 { last - 1 } else { last };
            vec![
                KeyRange {
                    flags: of_first.flags,
                    notes: of_first.notes,
                    first,
                    extent: Extent::Range { last: 0, step },
                },
                KeyRange {
                    flags: of_rest.flags,
                    notes: of_rest.notes,
                    first: first + 1,
                    extent: Extent::Range { last, step },
                },
            ]
        }
    }
}

/// Runs of keys where the first is used in one way, the others in another.
fn ranges(places: &[(usize, Extent)], uses: &[facts::Use]) -> Vec<KeyRange> {
    let of = |at: usize| uses.get(at).or(uses.last());
    let range = |(at, &(first, extent)): (usize, &(usize, Extent))| {
        of(at).map(|of| KeyRange { flags: of.flags, notes: of.notes, first, extent })
    };
    places.iter().enumerate().filter_map(range).collect()
}

impl KeyRange {
    /// The positions of its keys in a request; `None` when the request cannot be right.
    pub fn positions(&self, request: Args<'_>) -> Option<std::iter::StepBy<std::ops::Range<usize>>> {
        match self.extent {
            Extent::Range { last, step } => {
                let from = if last < 0 { request.len() as i64 } else { self.first as i64 };
                let last = usize::try_from(from + last).ok()?;
                Some((self.first..(last + 1).min(request.len())).step_by(step))
            }
            Extent::Unknown => Some((0..0).step_by(1)),
            Extent::After(word) => {
                let found = (self.first..request.len()).find(|&at| is_word(request.at(at), word));
                let key = found.map(|at| at + 1).filter(|&key| key < request.len());
                Some(key.map_or(0..0, |key| key..key + 1).step_by(1))
            }
            Extent::Counted => {
                let count = usize::try_from(integer(request.get(self.first)?)?).ok()?;
                let first = self.first + 1;
                (count <= request.len() - first).then(|| (first..first + count).step_by(1))
            }
        }
    }
}

/// What a request does to keys of which its spec says `flags`: SET and BITFIELD do less with some options than with others.
pub(super) fn flags_in(flags: &'static [&'static str], request: Args<'_>) -> &'static [&'static str] {
    let name = request.at(0);
    if !flags.contains(&"variable_flags") {
        return flags;
    }
    if is_word(name, "SET") && !request.from(3).iter().any(|word| is_word(word, "GET")) {
        return &["OW", "update"];
    }
    if is_word(name, "BITFIELD") && only_gets(request.from(2)) {
        return &["RO", "access"];
    }
    &["RW", "access", "update"]
}

/// Whether all operations of a BITFIELD are GETs.
fn only_gets(operations: Args<'_>) -> bool {
    let mut at = 0;
    // Ends: each turn takes two words or more.
    while let Some(word) = operations.get(at) {
        at += match () {
            () if is_word(word, "GET") => 3,
            () if is_word(word, "OVERFLOW") => 2,
            () => return false,
        };
    }
    true
}

/// The position of the key behind SORT's last STORE, which no spec can tell: the words before it take one more word or two.
pub(super) fn stored_by_sort(request: Args<'_>) -> Option<usize> {
    let (mut at, mut stored) = (2, None);
    // Ends: each turn takes at least one word.
    while let Some(word) = request.get(at) {
        at += match () {
            () if is_word(word, "LIMIT") => 3,
            () if is_word(word, "GET") || is_word(word, "BY") => 2,
            () if is_word(word, "STORE") && at + 1 < request.len() => {
                stored = Some(at + 1);
                2
            }
            () => 1,
        };
    }
    stored
}
