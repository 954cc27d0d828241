//! The list commands.
//!
//! Those that write lock their keys, change the lists through [`ListEdit`](crate::store::ListEdit), commit one batch and answer then. What is cut
//! off at the ends, however much, costs one record that says where the list begins and ends; an element in the middle costs a record of its own.
//! A list that has become empty is gone.

mod block;
mod edit;
mod encoding;
mod pop;
mod push;
mod read;
mod shift;
#[cfg(test)]
mod tests;

pub(super) use encoding::encoding;

use super::parse::is_word;
use super::{Arity, CommandError, CommandSpec, Flags, Group, Handler, KeySpec, Together};
use crate::store::End;

const PUSH: &str = "O(N) for N elements; one record for each, all in one batch with one fence";
const POP: &str = "O(N) for N elements, O(log M) beside M that stay; one record of the list's new bounds, or a tombstone for the last";
const MOVE: &str = "O(log N); one record of the element, one of the bounds of the list it leaves, in one batch";

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = WRITE.union(Flags::DENYOOM);
const WAITS: Flags = WRITE.union(Flags::BLOCKING);

/// All keys, and a timeout behind them.
const ALL_BUT_LAST: KeySpec = KeySpec::Range { first: 1, last: -2, step: 1 };

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Moves an element as LMOVE does, waiting for one if there is none.",
        complexity: MOVE,
        keys: KeySpec::two(1),
        ..one("blmove", "6.2.0", Arity::Exact(6), GROWS.union(Flags::BLOCKING), block::blmove)
    },
    CommandSpec {
        summary: "Pops elements as LMPOP does, waiting for some if there are none.",
        complexity: POP,
        keys: KeySpec::Counted { at: 2 },
        ..one("blmpop", "7.0.0", Arity::AtLeast(5), WAITS.union(Flags::MOVABLEKEYS), block::blmpop)
    },
    CommandSpec {
        summary: "Pops the head of the first of several lists that is there, waiting for one if none is.",
        complexity: POP,
        keys: ALL_BUT_LAST,
        ..one("blpop", "2.0.0", Arity::AtLeast(3), WAITS, block::blpop)
    },
    CommandSpec {
        summary: "Pops the tail of the first of several lists that is there, waiting for one if none is.",
        complexity: POP,
        keys: ALL_BUT_LAST,
        ..one("brpop", "2.0.0", Arity::AtLeast(3), WAITS, block::brpop)
    },
    CommandSpec {
        summary: "Moves the last element of a list to the head of another, waiting for one if there is none.",
        complexity: MOVE,
        keys: KeySpec::two(1),
        ..one("brpoplpush", "2.2.0", Arity::Exact(4), GROWS.union(Flags::BLOCKING), block::brpoplpush)
    },
    CommandSpec {
        summary: "Returns the element at an index, which counts from the end when negative.",
        complexity: "O(log N); writes nothing",
        ..one("lindex", "1.0.0", Arity::Exact(3), READ, read::lindex)
    },
    CommandSpec {
        summary: "Inserts an element before or after another.",
        complexity: "O(N) for N elements up to the other; one record, where there is no room left between two labels a few more",
        ..one("linsert", "2.2.0", Arity::Exact(5), GROWS, edit::linsert)
    },
    CommandSpec {
        summary: "Says how many elements a list has.",
        complexity: "O(1); writes nothing",
        ..one("llen", "1.0.0", Arity::Exact(2), READ.union(Flags::FAST), read::llen)
    },
    CommandSpec {
        summary: "Moves an element from an end of a list to an end of another, or of the same, and returns it.",
        complexity: MOVE,
        keys: KeySpec::two(1),
        ..one("lmove", "6.2.0", Arity::Exact(5), GROWS, shift::lmove)
    },
    CommandSpec {
        summary: "Pops elements from the first of several lists that is there.",
        complexity: POP,
        keys: KeySpec::Counted { at: 1 },
        ..one("lmpop", "7.0.0", Arity::AtLeast(4), WRITE.union(Flags::MOVABLEKEYS), pop::lmpop)
    },
    CommandSpec {
        summary: "Pops one element or several from the head of a list.",
        complexity: POP,
        ..one("lpop", "1.0.0", Arity::AtLeast(2), WRITE.union(Flags::FAST), pop::lpop)
    },
    CommandSpec {
        summary: "Finds the positions of elements that equal a value.",
        complexity: "O(N) for N elements; writes nothing",
        ..one("lpos", "6.0.6", Arity::AtLeast(3), READ, read::lpos)
    },
    CommandSpec {
        summary: "Pushes elements at the head of a list, which is made if it is absent.",
        complexity: PUSH,
        together: Some(Together::List(push::stage_lpush)),
        ..one("lpush", "1.0.0", Arity::AtLeast(3), GROWS.union(Flags::FAST), push::lpush)
    },
    CommandSpec {
        summary: "Pushes elements at the head of a list that is there.",
        complexity: PUSH,
        ..one("lpushx", "2.2.0", Arity::AtLeast(3), GROWS.union(Flags::FAST), push::lpushx)
    },
    CommandSpec {
        summary: "Returns the elements from one index to another.",
        complexity: "O(log N + M) for M elements returned; writes nothing",
        ..one("lrange", "1.0.0", Arity::Exact(4), READ, read::lrange)
    },
    CommandSpec {
        summary: "Removes elements that equal a value.",
        complexity: "O(N) for N elements; a tombstone for each that is removed, all in one batch",
        ..one("lrem", "1.0.0", Arity::Exact(4), WRITE, edit::lrem)
    },
    CommandSpec {
        summary: "Gives the element at an index another value.",
        complexity: "O(log N); one record",
        ..one("lset", "1.0.0", Arity::Exact(4), GROWS, edit::lset)
    },
    CommandSpec {
        summary: "Removes all elements but those from one index to another.",
        complexity: "O(N) for N elements removed, in the background; one record of the list's new bounds",
        ..one("ltrim", "1.0.0", Arity::Exact(4), WRITE, edit::ltrim)
    },
    CommandSpec {
        summary: "Pops one element or several from the tail of a list.",
        complexity: POP,
        ..one("rpop", "1.0.0", Arity::AtLeast(2), WRITE.union(Flags::FAST), pop::rpop)
    },
    CommandSpec {
        summary: "Moves the last element of a list to the head of another, or of the same, and returns it.",
        complexity: MOVE,
        keys: KeySpec::two(1),
        ..one("rpoplpush", "1.2.0", Arity::Exact(3), GROWS, shift::rpoplpush)
    },
    CommandSpec {
        summary: "Pushes elements at the tail of a list, which is made if it is absent.",
        complexity: PUSH,
        together: Some(Together::List(push::stage_rpush)),
        ..one("rpush", "1.0.0", Arity::AtLeast(3), GROWS.union(Flags::FAST), push::rpush)
    },
    CommandSpec {
        summary: "Pushes elements at the tail of a list that is there.",
        complexity: PUSH,
        ..one("rpushx", "2.2.0", Arity::AtLeast(3), GROWS.union(Flags::FAST), push::rpushx)
    },
];

/// A command on the list at its first argument.
const fn one(name: &'static str, since: &'static str, arity: Arity, flags: Flags, run: Handler) -> CommandSpec {
    CommandSpec { flags, keys: KeySpec::one(1), ..CommandSpec::new(name, since, Group::List, arity, run) }
}

/// `LEFT` or `RIGHT`.
///
/// # Errors
/// `ERR syntax error`.
fn end_arg(bytes: &[u8]) -> Result<End, CommandError> {
    match bytes {
        word if is_word(word, "LEFT") => Ok(End::Left),
        word if is_word(word, "RIGHT") => Ok(End::Right),
        _ => Err(CommandError::SYNTAX),
    }
}

/// The events of an end of a list.
trait EndEvents {
    /// Of a push.
    fn push_event(self) -> &'static str;

    /// Of a pop.
    fn pop_event(self) -> &'static str;
}

impl EndEvents for End {
    fn push_event(self) -> &'static str {
        match self {
            End::Left => "lpush",
            End::Right => "rpush",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            End::Left => "lpop",
            End::Right => "rpop",
        }
    }
}
