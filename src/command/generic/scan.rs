//! KEYS and SCAN.

use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx, glob};
use crate::protocol::Args;
use crate::store::Entry;

/// Keys that one SCAN looks at when COUNT does not say.
const DEFAULT_COUNT: u64 = 10;

/// SCAN looks at up to so many buckets for each key of COUNT before it answers with what it has: enough that a walk over a handful of
/// keys, which are spread thinly, takes one call.
const STEPS_PER_KEY: u64 = 64;

pub(super) fn keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let filter = Filter { pattern: Some(args.at(1)).filter(|pattern| *pattern != b"*"), type_name: None };
    let mut found = Vec::new();
    let mut cursor = 0;
    // Ends: the store's cursor comes round to 0.
    loop {
        cursor = ctx.store.scan(ctx.session.db, cursor, ctx.now_ms, ctx.guard, &mut |entry| {
            if filter.admits(&entry) {
                found.push(entry.key());
            }
        });
        if cursor == 0 {
            break;
        }
    }
    // A key that a resize moved between two steps may have been seen twice; KEYS names each once.
    found.sort_unstable();
    found.dedup();
    ctx.reply.array_header(found.len());
    for name in found {
        ctx.reply.bulk(name);
    }
    Ok(())
}

/// What SCAN lets through.
#[derive(Default)]
struct Filter<'a> {
    /// MATCH, unless it matches everything.
    pattern: Option<&'a [u8]>,
    /// TYPE.
    type_name: Option<&'a [u8]>,
}

impl Filter<'_> {
    fn admits(&self, entry: &Entry<'_>) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, entry.key()))
            && self.type_name.is_none_or(|name| is_word(name, entry.type_name()))
    }
}

pub(super) fn scan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut cursor = cursor_arg(args.at(1)).ok_or(const { CommandError::fixed("ERR invalid cursor") })?;
    let (filter, count) = options(args)?;
    let mut found = Vec::new();
    let mut seen = 0;
    let mut steps = count.saturating_mul(STEPS_PER_KEY);
    // Ends: the store's cursor comes round to 0, and `steps` runs out.
    loop {
        cursor = ctx.store.scan(ctx.session.db, cursor, ctx.now_ms, ctx.guard, &mut |entry| {
            seen += 1;
            if filter.admits(&entry) {
                found.push(entry.key());
            }
        });
        steps -= 1;
        if cursor == 0 || steps == 0 || seen >= count {
            break;
        }
    }
    ctx.reply.array_header(2);
    ctx.reply.bulk_display(cursor);
    ctx.reply.array_header(found.len());
    for name in found {
        ctx.reply.bulk(name);
    }
    Ok(())
}

fn options(args: Args<'_>) -> Result<(Filter<'_>, u64), CommandError> {
    let (mut filter, mut count) = (Filter::default(), DEFAULT_COUNT);
    let mut i = 2;
    while i < args.len() {
        let (word, value) = (args.at(i), args.get(i + 1).ok_or(CommandError::SYNTAX)?);
        match word {
            _ if is_word(word, "COUNT") => {
                count = u64::try_from(integer_arg(value)?).ok().filter(|&n| n > 0).ok_or(CommandError::SYNTAX)?;
            }
            _ if is_word(word, "MATCH") => filter.pattern = Some(value).filter(|pattern| *pattern != b"*"),
            _ if is_word(word, "TYPE") => filter.type_name = Some(value),
            _ => return Err(CommandError::SYNTAX),
        }
        i += 2;
    }
    Ok((filter, count))
}

/// A cursor as C's `strtoul` reads it, up to the first NUL, but without spaces before it: an optional sign and digits, or nothing for 0.
pub(in crate::command) fn cursor_arg(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let (negative, digits) = match bytes {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

#[test]
fn cursors_are_read_as_redis_reads_them() {
    for (text, cursor) in [
        ("0", 0),
        ("", 0),
        ("\0\r\n", 0),
        ("7\0x", 7),
        ("007", 7),
        ("+3", 3),
        ("-1", u64::MAX),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(cursor_arg(text.as_bytes()), Some(cursor), "{text:?}");
    }
    for text in [" 1", "1 ", "a", "-", "1a", "18446744073709551616"] {
        assert_eq!(cursor_arg(text.as_bytes()), None, "{text:?}");
    }
}
