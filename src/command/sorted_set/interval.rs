//! Which members a command means: by rank, by score, or by name among members of one score.

use super::score::border;
use crate::command::CommandError;
use crate::command::parse::integer_arg;
use crate::store::View;
use std::ops::Range;

/// An end of a range of names.
#[derive(Clone, Copy, Debug)]
pub enum NameEnd<'r> {
    /// `-`: before all names.
    Least,
    /// `+`: behind all names.
    Most,
    /// `[name`
    Including(&'r [u8]),
    /// `(name`
    Excluding(&'r [u8]),
}

/// An end of a range of scores: the score, and whether members that have just that are left out.
#[derive(Clone, Copy, Debug)]
pub struct ScoreEnd {
    score: f64,
    excluding: bool,
}

/// What a command says of the members that it means.
#[derive(Clone, Copy, Debug)]
pub enum Interval<'r> {
    /// Both ends counted in, negative ones from the end.
    Rank(i64, i64),
    /// From the least to the greatest.
    Score(ScoreEnd, ScoreEnd),
    /// From the least to the greatest.
    Name(NameEnd<'r>, NameEnd<'r>),
}

impl<'r> Interval<'r> {
    /// `start stop`
    ///
    /// # Errors
    /// `ERR value is not an integer or out of range`.
    pub fn by_rank(start: &[u8], stop: &[u8]) -> Result<Self, CommandError> {
        Ok(Self::Rank(integer_arg(start)?, integer_arg(stop)?))
    }

    /// `min max`, each perhaps with `(` before it.
    ///
    /// # Errors
    /// `ERR min or max is not a float`.
    pub fn by_score(min: &[u8], max: &[u8]) -> Result<Self, CommandError> {
        let end = |text: &[u8]| {
            let (excluding, number) = text.strip_prefix(b"(").map_or((false, text), |number| (true, number));
            border(number).map(|score| ScoreEnd { score, excluding })
        };
        let ends = end(min).zip(end(max)).ok_or(CommandError::fixed("ERR min or max is not a float"))?;
        Ok(Self::Score(ends.0, ends.1))
    }

    /// `min max`, each `-`, `+`, `[name` or `(name`.
    ///
    /// # Errors
    /// `ERR min or max not valid string range item`.
    pub fn by_name(min: &'r [u8], max: &'r [u8]) -> Result<Self, CommandError> {
        let end = |text: &'r [u8]| match text {
            b"-" => Some(NameEnd::Least),
            b"+" => Some(NameEnd::Most),
            [b'[', name @ ..] => Some(NameEnd::Including(name)),
            [b'(', name @ ..] => Some(NameEnd::Excluding(name)),
            _ => None,
        };
        let ends = end(min).zip(end(max)).ok_or(CommandError::fixed("ERR min or max not valid string range item"))?;
        Ok(Self::Name(ends.0, ends.1))
    }

    /// The ranks it means; `reversed` says that ranks are given from the end. O(log n).
    pub fn ranks(&self, view: &View<'_>, reversed: bool) -> Range<usize> {
        let len = view.len();
        let (start, end) = match *self {
            Self::Rank(start, stop) => {
                let Range { start, end } = clip(start, stop, len);
                if reversed { (len - end, len - start) } else { (start, end) }
            }
            Self::Score(min, max) => {
                (view.rank_of_score(min.score, min.excluding), view.rank_of_score(max.score, !max.excluding))
            }
            Self::Name(min, max) => (rank_of_end(view, min, false), rank_of_end(view, max, true)),
        };
        start..end.max(start)
    }
}

/// The members that come before an end of a range.
fn rank_of_end(view: &View<'_>, end: NameEnd<'_>, is_upper: bool) -> usize {
    match end {
        NameEnd::Least => 0,
        NameEnd::Most => view.len(),
        NameEnd::Including(name) => view.rank_of_name(name, is_upper),
        NameEnd::Excluding(name) => view.rank_of_name(name, !is_upper),
    }
}

/// The places among `len` that `start` and `stop` mean.
fn clip(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

#[test]
fn ranks_are_clipped() {
    for (start, stop, range) in [
        (0, -1, 0..5),
        (1, 2, 1..3),
        (-2, -1, 3..5),
        (-100, 100, 0..5),
        (3, 1, 0..0),
        (5, 9, 0..0),
        (0, -6, 0..0),
        (i64::MIN, i64::MAX, 0..5),
        (i64::MAX, i64::MIN, 0..0),
    ] {
        assert_eq!(clip(start, stop, 5), range, "{start} {stop}");
    }
}
