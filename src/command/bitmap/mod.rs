//! The bitmap commands, over the same strings as GET and SET. Bit 0 is the top bit of byte 0.
//!
//! Long values are walked piece by piece and never joined; what writes single bits or fields goes through patches,
//! so that only the touched chunks of a long value are rewritten.

mod bit;
mod count;
mod field;
mod op;
mod words;

use super::string::value;
use super::{Arity, CommandError, CommandSpec, Flags, Group, KeySpec, Shared, parse};

/// What the specs of this family have in common.
const READ: CommandSpec = CommandSpec {
    name: "getbit",
    summary: "Returns one bit of the string at a key.",
    since: "2.2.0",
    group: Group::Bitmap,
    arity: Arity::Exact(3),
    flags: Flags::READONLY.union(Flags::FAST),
    keys: KeySpec::one(1),
    complexity: "O(1); writes nothing.",
    subcommands: &[],
    run: bit::getbit,
    together: None,
    look: None,
};

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    READ,
    CommandSpec {
        name: "setbit",
        summary: "Sets or clears one bit of the string at a key and returns what it was.",
        arity: Arity::Exact(4),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        complexity: "O(1) for the bit; writes the record of a short value or one chunk of a long one, unless the bit is as it should be.",
        run: bit::setbit,
        ..READ
    },
    CommandSpec {
        name: "bitcount",
        summary: "Counts the bits that are set in the string at a key or a part of it.",
        since: "2.6.0",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        complexity: "O(N) in the bytes looked at; writes nothing.",
        run: count::bitcount,
        ..READ
    },
    CommandSpec {
        name: "bitpos",
        summary: "Finds the first bit that is set, or clear, in the string at a key or a part of it.",
        since: "2.8.7",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        complexity: "O(N) in the bytes looked at; writes nothing.",
        run: count::bitpos,
        ..READ
    },
    CommandSpec {
        name: "bitop",
        summary: "Combines strings bit by bit and stores the result at a key.",
        since: "2.6.0",
        arity: Arity::AtLeast(4),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: KeySpec::all_from(2),
        complexity: "O(N) in the bytes of all sources; writes the result.",
        run: op::bitop,
        ..READ
    },
    CommandSpec {
        name: "bitfield",
        summary: "Reads and writes integers of any width within the string at a key.",
        since: "3.2.0",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        complexity: "O(1) for each operation; writes the record of a short value or the touched chunks of a long one.",
        run: field::bitfield,
        ..READ
    },
    CommandSpec {
        name: "bitfield_ro",
        summary: "Reads integers of any width within the string at a key.",
        since: "6.0.0",
        arity: Arity::AtLeast(2),
        complexity: "O(1) for each operation; writes nothing.",
        run: field::bitfield_ro,
        ..READ
    },
];

/// A bit's place, which must lie within the longest string. With `width` (of a field) `#n` means n times that.
///
/// # Errors
/// `ERR bit offset is not an integer or out of range`.
fn bit_offset(shared: &Shared, text: &[u8], width: Option<u32>) -> Result<usize, CommandError> {
    let offset = match (text, width) {
        ([b'#', number @ ..], Some(width)) => {
            parse::integer(number).and_then(|number| number.checked_mul(i64::from(width)))
        }
        _ => parse::integer(text),
    };
    offset
        .and_then(|offset| usize::try_from(offset).ok())
        .filter(|offset| offset >> 3 < value::max_bytes(shared))
        .ok_or(CommandError::fixed("ERR bit offset is not an integer or out of range"))
}

#[cfg(test)]
mod tests;
