//! LCS: the longest common subsequence of two strings, by the textbook's table.
//!
//! Redis's bound on the table (4 bytes a cell, at most the longest bulk string) is kept, its error too, so that a
//! client sees the same limit here; with LEN alone two rows are enough and no more is allocated.

use super::value;
use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx};
use crate::protocol::{Args, ReplyWriter};
use std::borrow::Cow;

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`
pub fn lcs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = [ctx.key(args.at(1)), ctx.key(args.at(2))];
    let entries = ctx.read_many(&keys);
    let text = |at: usize| match entries.get(at).copied().flatten() {
        None => Ok(Cow::Borrowed(&b""[..])),
        Some(entry) => entry
            .string()
            .map(|value| value.bytes())
            .map_err(|_| CommandError::fixed("ERR The specified keys must contain string values")),
    };
    let (a, b) = (text(0)?, text(1)?);
    let options = Options::parse(args.from(3))?;
    if options.len && options.idx {
        return Err(CommandError::fixed("ERR If you want both the length and indexes, please just use IDX."));
    }
    if (a.len() + 1).saturating_mul(b.len() + 1).saturating_mul(size_of::<u32>()) > value::max_bytes(ctx.shared) {
        return Err(CommandError::fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    if options.len {
        ctx.reply.integer(i64::from(length(&a, &b)));
        return Ok(());
    }
    let matches = matches(&a, &b);
    if options.idx {
        reply_indexes(&mut ctx.reply, &matches, &options);
    } else {
        let total: usize = matches.iter().map(|run| run.len).sum();
        ctx.reply.bulk_header(total);
        for run in matches.iter().rev() {
            ctx.reply.raw().extend_from_slice(&a[run.a..run.a + run.len]);
        }
        ctx.reply.bulk_end();
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 0;
        while let Some(word) = args.get(at) {
            if is_word(word, "IDX") {
                options.idx = true;
            } else if is_word(word, "LEN") {
                options.len = true;
            } else if is_word(word, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if is_word(word, "MINMATCHLEN") {
                at += 1;
                options.min_match_len = integer_arg(args.get(at).ok_or(CommandError::SYNTAX)?)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// Bytes that both strings have in common without a gap.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Run {
    /// Where they start in the first string.
    a: usize,
    /// Where they start in the second string.
    b: usize,
    /// How many they are.
    len: usize,
}

/// The length of the longest common subsequence.
fn length(a: &[u8], b: &[u8]) -> u32 {
    let mut row = vec![0u32; b.len() + 1];
    for &x in a {
        let mut diagonal = 0;
        let mut left = 0;
        for (cell, &y) in row[1..].iter_mut().zip(b) {
            let above = *cell;
            *cell = if x == y { diagonal + 1 } else { above.max(left) };
            diagonal = above;
            left = *cell;
        }
    }
    row[b.len()]
}

/// The runs that make up one longest common subsequence, the last first. Of several subsequences it is the one that
/// Redis finds: on the way back a tie skips a byte of the second string.
fn matches(a: &[u8], b: &[u8]) -> Vec<Run> {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for (i, &x) in a.iter().enumerate() {
        let (above, below) = table.split_at_mut((i + 1) * width);
        let above = &above[i * width..];
        let mut left = 0;
        for ((cell, corner), &y) in below[1..width].iter_mut().zip(above.windows(2)).zip(b) {
            left = if x == y { corner[0] + 1 } else { corner[1].max(left) };
            *cell = left;
        }
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut adjacent = false;
    let (mut i, mut j) = (a.len(), b.len());
    // Ends: each turn takes one from i, j or both.
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            i -= 1;
            j -= 1;
            match runs.last_mut() {
                Some(run) if adjacent => *run = Run { a: i, b: j, len: run.len + 1 },
                _ => runs.push(Run { a: i, b: j, len: 1 }),
            }
            adjacent = true;
        } else {
            adjacent = false;
            if table[(i - 1) * width + j] > table[i * width + j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }
    runs
}

fn reply_indexes(reply: &mut ReplyWriter<'_>, matches: &[Run], options: &Options) {
    let shown = |run: &&Run| run.len as i64 >= options.min_match_len;
    reply.map_header(2);
    reply.bulk(b"matches");
    reply.array_header(matches.iter().filter(shown).count());
    for run in matches.iter().filter(shown) {
        reply.array_header(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            reply.array_header(2);
            reply.integer(start as i64);
            reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(run.len as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(matches.iter().map(|run| run.len as i64).sum());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, without a table.
    fn slow(a: &[u8], b: &[u8]) -> u32 {
        match (a, b) {
            ([x, a @ ..], [y, b @ ..]) if x == y => 1 + slow(a, b),
            ([_, rest_a @ ..], [_, rest_b @ ..]) => slow(rest_a, b).max(slow(a, rest_b)),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn both_ways_find_a_longest_common_subsequence(a in "[ab]{0,9}", b in "[abc]{0,9}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let want = slow(a, b);
            prop_assert_eq!(length(a, b), want);
            let runs = matches(a, b);
            prop_assert_eq!(runs.iter().map(|run| run.len as u32).sum::<u32>(), want);
            let mut before = (usize::MAX, usize::MAX);
            for run in runs {
                prop_assert_eq!(&a[run.a..run.a + run.len], &b[run.b..run.b + run.len]);
                prop_assert!(run.a + run.len <= before.0 && run.b + run.len <= before.1);
                before = (run.a, run.b);
            }
        }
    }
}
