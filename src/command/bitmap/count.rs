//! BITCOUNT and BITPOS: reading many bits.

use super::{value, words};
use crate::command::parse::{integer_arg, is_word};
use crate::command::{CommandError, Ctx};
use crate::protocol::Args;
use crate::store::StrValue;

/// The bits looked at: from `start` up to `end`, the latter not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BitRange {
    start: usize,
    end: usize,
}

/// `BITCOUNT key [start end [BYTE|BIT]]`
pub fn bitcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(found) = value::read(ctx, args.at(1))? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let range = match args.len() {
        2 => BitRange { start: 0, end: found.len() * 8 },
        4 | 5 => {
            let (start, end) = (integer_arg(args.at(2))?, integer_arg(args.at(3))?);
            let crossed = start < 0 && end < 0 && start > end;
            // What comes first decides, as in Redis: such a range counts nothing even before a bad unit.
            if crossed { BitRange { start: 0, end: 0 } } else { bits(start, end, unit(args.get(4))?, found.len()) }
        }
        _ => return Err(CommandError::SYNTAX),
    };
    ctx.reply.integer(count(found, range) as i64);
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE|BIT]]]`
pub fn bitpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let bit = match integer_arg(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let Some(found) = value::read(ctx, args.at(1))? else {
        // As if it were nothing but zeros.
        ctx.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    if args.len() > 6 {
        return Err(CommandError::SYNTAX);
    }
    let start = args.get(3).map_or(Ok(0), integer_arg)?;
    let unit = unit(args.get(5))?;
    let end = args.get(4).map(integer_arg).transpose()?;
    let range = bits(start, end.unwrap_or(-1), unit, found.len());
    let at = find(found, range, bit).map_or(-1, |at| at as i64);
    let at = if at == -1 && !bit && end.is_none() && range.start < range.end {
        // Without an end the value is followed by zeros.
        range.end as i64
    } else {
        at
    };
    ctx.reply.integer(at);
    Ok(())
}

/// Bits of the unit that a range counts in.
fn unit(word: Option<&[u8]>) -> Result<usize, CommandError> {
    match word {
        None => Ok(8),
        Some(word) if is_word(word, "BYTE") => Ok(8),
        Some(word) if is_word(word, "BIT") => Ok(1),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

/// The bits from unit `start` to unit `end`, both counted in, negative ones counted from the end of `len` bytes.
fn bits(start: i64, end: i64, unit: usize, len: usize) -> BitRange {
    let units = (len * 8 / unit) as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(units).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(units - 1));
    if start > end {
        return BitRange { start: 0, end: 0 };
    }
    BitRange { start: start as usize * unit, end: (end as usize + 1) * unit }
}

/// How many bits of the range are set.
fn count(value: StrValue<'_>, range: BitRange) -> u64 {
    if range.start >= range.end {
        return 0;
    }
    let (first, last) = (range.start / 8, (range.end - 1) / 8);
    let mut total = 0;
    value::visit(value, first..last + 1, |bytes| {
        total += words::count_ones(bytes);
        true
    });
    let outside = |at: usize, mask: u8| u64::from((value.range(at, at + 1)[0] & mask).count_ones());
    total - outside(first, !head_mask(range.start)) - outside(last, !tail_mask(range.end))
}

/// The place of the first bit of the range that is set or clear.
fn find(value: StrValue<'_>, range: BitRange, bit: bool) -> Option<usize> {
    if range.start >= range.end {
        return None;
    }
    let (first, last) = (range.start / 8, (range.end - 1) / 8);
    let mut at = first;
    let mut found = None;
    // The first byte alone, with the bits before the range made such that they are passed over.
    let head = value.range(first, first + 1)[0];
    let head = if bit { head & head_mask(range.start) } else { head | !head_mask(range.start) };
    if let Some(place) = words::find(&[head], bit) {
        found = Some(first * 8 + place);
    } else if first < last {
        at += 1;
        value::visit(value, at..last + 1, |bytes| {
            found = words::find(bytes, bit).map(|place| at * 8 + place);
            at += bytes.len();
            found.is_none()
        });
    }
    found.filter(|place| *place < range.end)
}

/// The bits of a byte from `start` on.
fn head_mask(start: usize) -> u8 {
    0xff >> (start & 7)
}

/// The bits of a byte before `end`, which is not at its front unless the whole byte is meant.
fn tail_mask(end: usize) -> u8 {
    match end & 7 {
        0 => 0xff,
        bits => !(0xff >> bits),
    }
}
