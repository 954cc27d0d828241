//! BITFIELD: integers of 1 to 64 bits anywhere in a string, read, set and added to with a choice of overflow.

use super::{bit_offset, value};
use crate::command::parse::{integer, integer_arg, is_word};
use crate::command::{CommandError, Ctx, Events, Shared};
use crate::protocol::Args;
use crate::store::StrValue;
use std::collections::BTreeMap;

/// `BITFIELD key [GET t o | SET t o v | INCRBY t o n | OVERFLOW WRAP|SAT|FAIL] ...`
pub fn bitfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let operations = parse(ctx.shared, args.from(2))?;
    let write_end = operations.iter().filter(|operation| operation.writes()).map(Operation::end).max();
    let Some(write_end) = write_end else {
        return read_all(ctx, args.at(1), &operations);
    };
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let found = value::locked(&txn, key)?;
    let is_new = found.is_none();
    let mut bits = Bits { found, changed: BTreeMap::new() };
    let results: Vec<Option<i64>> = operations.iter().map(|operation| bits.run(operation)).collect();
    // Even a write that overflows and fails has made the string long enough for it.
    let needed = write_end.div_ceil(8);
    if found.map_or(0, |found| found.len()) < needed {
        let last = bits.byte(needed - 1);
        bits.changed.insert(needed - 1, last);
    }
    let runs = bits.runs();
    if !runs.is_empty() {
        let patches: Vec<(usize, &[u8])> = runs.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        txn.patch(key, &patches)?;
    }
    txn.commit()?;
    if !runs.is_empty() {
        ctx.notify_write(is_new, Events::STRING, "setbit", key);
    }
    reply(ctx, &results);
    Ok(())
}

/// `BITFIELD_RO key [GET t o] ...`
pub fn bitfield_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let operations = parse(ctx.shared, args.from(2))?;
    if operations.iter().any(Operation::writes) {
        return Err(CommandError::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_all(ctx, args.at(1), &operations)
}

fn read_all(ctx: &mut Ctx<'_>, name: &[u8], operations: &[Operation]) -> Result<(), CommandError> {
    let mut bits = Bits { found: value::read(ctx, name)?, changed: BTreeMap::new() };
    let results: Vec<Option<i64>> = operations.iter().map(|operation| bits.run(operation)).collect();
    reply(ctx, &results);
    Ok(())
}

fn reply(ctx: &mut Ctx<'_>, results: &[Option<i64>]) {
    ctx.reply.array_header(results.len());
    for result in results {
        match result {
            Some(value) => ctx.reply.integer(*value),
            None => ctx.reply.null(),
        }
    }
}

/// An integer type: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldType {
    signed: bool,
    width: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    field: FieldType,
    offset: usize,
    action: Action,
}

impl Operation {
    fn writes(&self) -> bool {
        self.action != Action::Get
    }

    /// The bit behind its last one.
    fn end(&self) -> usize {
        self.offset + self.field.width as usize
    }
}

fn parse(shared: &Shared, args: Args<'_>) -> Result<Vec<Operation>, CommandError> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let following = args.len() - at - 1;
        if is_word(word, "OVERFLOW") && following >= 1 {
            overflow = overflow_of(args.at(at + 1))?;
            at += 2;
            continue;
        }
        let wanted = if is_word(word, "GET") {
            2
        } else if is_word(word, "SET") || is_word(word, "INCRBY") {
            3
        } else {
            return Err(CommandError::SYNTAX);
        };
        if following < wanted {
            return Err(CommandError::SYNTAX);
        }
        let field = field_type(args.at(at + 1))?;
        let offset = bit_offset(shared, args.at(at + 2), Some(field.width))?;
        let action = match wanted {
            2 => Action::Get,
            _ if is_word(word, "SET") => Action::Set(integer_arg(args.at(at + 3))?, overflow),
            _ => Action::Increment(integer_arg(args.at(at + 3))?, overflow),
        };
        operations.push(Operation { field, offset, action });
        at += 1 + wanted;
    }
    Ok(operations)
}

fn overflow_of(word: &[u8]) -> Result<Overflow, CommandError> {
    let words = [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
    words
        .iter()
        .find(|(name, _)| is_word(word, name))
        .map(|(_, overflow)| *overflow)
        .ok_or(CommandError::fixed("ERR Invalid OVERFLOW type specified"))
}

fn field_type(text: &[u8]) -> Result<FieldType, CommandError> {
    let (signed, width, widest) = match text {
        [b'i', width @ ..] => (true, width, 64),
        [b'u', width @ ..] => (false, width, 63),
        _ => (false, &b""[..], 0),
    };
    match integer(width) {
        Some(width) if (1..=widest).contains(&width) => Ok(FieldType { signed, width: width as u32 }),
        _ => Err(CommandError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        )),
    }
}

impl FieldType {
    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) } else { (0, (1 << self.width) - 1) }
    }

    /// The integer that the field's low bits mean.
    fn decode(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        // Shifting up and down again extends the sign.
        if self.signed { (bits << unused) as i64 >> unused } else { (bits << unused >> unused) as i64 }
    }

    /// What is stored for `value`, with its overflow dealt with; `None` to store nothing.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.range();
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.decode(value as u64)),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

/// A string while its fields are being changed.
struct Bits<'g> {
    /// As it was.
    found: Option<StrValue<'g>>,
    /// The bytes that are different now.
    changed: BTreeMap<usize, u8>,
}

impl Bits<'_> {
    fn run(&mut self, operation: &Operation) -> Option<i64> {
        let Operation { field, offset, action } = *operation;
        let old = field.decode(self.load(offset, field.width));
        let (new, result) = match action {
            Action::Get => return Some(old),
            Action::Set(value, overflow) => {
                // An unsigned field takes a negative number for the large one of the same bits.
                let value = if field.signed { i128::from(value) } else { i128::from(value as u64) };
                (field.fit(value, overflow)?, old)
            }
            Action::Increment(by, overflow) => {
                let new = field.fit(i128::from(old) + i128::from(by), overflow)?;
                (new, new)
            }
        };
        self.store(offset, field.width, new as u64);
        Some(result)
    }

    /// A byte as it is now, 0 beyond the end.
    fn byte(&self, at: usize) -> u8 {
        if let Some(byte) = self.changed.get(&at) {
            return *byte;
        }
        match self.found {
            Some(found) if at < found.len() => found.range(at, at + 1)[0],
            _ => 0,
        }
    }

    /// The field's bits, lowest last.
    fn load(&self, offset: usize, width: u32) -> u64 {
        let (bytes, below) = span(offset, width);
        let wide = bytes.fold(0u128, |wide, at| wide << 8 | u128::from(self.byte(at)));
        (wide >> below) as u64 & mask(width)
    }

    fn store(&mut self, offset: usize, width: u32, bits: u64) {
        let (bytes, below) = span(offset, width);
        let new = u128::from(bits & mask(width)) << below;
        let outside = !(u128::from(mask(width)) << below);
        for (place, at) in bytes.rev().enumerate() {
            let (new, outside) = ((new >> (8 * place)) as u8, (outside >> (8 * place)) as u8);
            let old = self.byte(at);
            if old & outside | new != old {
                self.changed.insert(at, old & outside | new);
            }
        }
    }

    /// The changed bytes, neighbours together.
    fn runs(&self) -> Vec<(usize, Vec<u8>)> {
        let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
        for (&at, &byte) in &self.changed {
            match runs.last_mut() {
                Some((start, bytes)) if *start + bytes.len() == at => bytes.push(byte),
                _ => runs.push((at, vec![byte])),
            }
        }
        runs
    }
}

/// The bytes that a field touches (9 at most), and how many bits of the last one are behind it.
fn span(offset: usize, width: u32) -> (std::ops::Range<usize>, u32) {
    let end = offset + width as usize;
    let bytes = offset / 8..end.div_ceil(8);
    let below = bytes.end * 8 - end;
    (bytes, below as u32)
}

fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits() -> Bits<'static> {
        Bits { found: None, changed: BTreeMap::new() }
    }

    proptest! {
        /// Fields are laid out bit by bit, the highest first, and writing one leaves its neighbours alone.
        #[test]
        fn a_field_is_its_bits_in_order(offset in 0usize..40, width in 1u32..=64, value: u64, around: [u8; 16]) {
            let mut bits = bits();
            bits.changed = around.iter().copied().enumerate().collect();
            let before = bits.changed.clone();
            bits.store(offset, width, value);
            prop_assert_eq!(bits.load(offset, width), value & mask(width));
            let bit = |bytes: &BTreeMap<usize, u8>, at: usize| bytes[&(at / 8)] >> (7 - at % 8) & 1 == 1;
            for at in 0..128 {
                let want = if (offset..offset + width as usize).contains(&at) {
                    value >> (offset + width as usize - 1 - at) & 1 == 1
                } else {
                    bit(&before, at)
                };
                prop_assert_eq!(bit(&bits.changed, at), want, "bit {}", at);
            }
        }
    }

    #[test]
    fn overflow_is_wrapped_saturated_or_refused() {
        let u8 = FieldType { signed: false, width: 8 };
        let i8 = FieldType { signed: true, width: 8 };
        assert_eq!(u8.fit(256, Overflow::Wrap), Some(0));
        assert_eq!(u8.fit(-1, Overflow::Wrap), Some(255));
        assert_eq!(u8.fit(-1, Overflow::Saturate), Some(0));
        assert_eq!(u8.fit(300, Overflow::Saturate), Some(255));
        assert_eq!(i8.fit(128, Overflow::Wrap), Some(-128));
        assert_eq!(i8.fit(-129, Overflow::Wrap), Some(127));
        assert_eq!(i8.fit(-129, Overflow::Saturate), Some(-128));
        assert_eq!(i8.fit(128, Overflow::Fail), None);
        let i64 = FieldType { signed: true, width: 64 };
        assert_eq!(i64.fit(i128::from(i64::MAX) + 1, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(i64.fit(i128::from(i64::MIN) - 1, Overflow::Saturate), Some(i64::MIN));
    }

    #[test]
    fn neighbouring_bytes_make_one_patch() {
        let mut bits = bits();
        bits.store(8, 16, 0x0102);
        bits.store(48, 8, 3);
        assert_eq!(bits.runs(), [(1, vec![1, 2]), (6, vec![3])]);
    }
}
