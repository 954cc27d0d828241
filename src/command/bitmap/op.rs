//! BITOP: AND, OR, XOR and NOT of whole strings.

use super::value;
use crate::command::lookups::Lookups;
use crate::command::parse::is_word;
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::{Key, StrValue};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

/// `BITOP AND|OR|XOR|NOT destkey key [key ...]`
pub fn bitop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let operation = operation(args.at(1))?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(CommandError::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    // The destination first, then the sources; all are locked, for the result must be of one moment.
    let keys: Vec<Key<'_>> = args.from(2).iter().map(|name| ctx.key(name)).collect();
    let lookups = Lookups::new(ctx.shared, ctx.stats, ctx.session);
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    let mut sources = Vec::with_capacity(keys.len() - 1);
    for key in &keys[1..] {
        sources.push(value::string_of(lookups.get(&txn, *key))?);
    }
    let result = combine(operation, &sources);
    let old = txn.peek(keys[0]).is_some();
    if result.is_empty() {
        txn.delete(keys[0])?;
    } else {
        value::set(&mut txn, keys[0], &result, None)?;
    }
    txn.commit()?;
    match result.is_empty() {
        false => ctx.notify_write(!old, Events::STRING, "set", keys[0]),
        true if old => ctx.notify(Events::GENERIC, "del", keys[0].name),
        true => {}
    }
    ctx.reply.integer(result.len() as i64);
    Ok(())
}

fn operation(word: &[u8]) -> Result<Operation, CommandError> {
    let words = [("AND", Operation::And), ("OR", Operation::Or), ("XOR", Operation::Xor), ("NOT", Operation::Not)];
    words.iter().find(|(name, _)| is_word(word, name)).map(|(_, operation)| *operation).ok_or(CommandError::SYNTAX)
}

/// The result, as long as the longest source; shorter and absent ones are followed by zeros.
fn combine(operation: Operation, sources: &[Option<StrValue<'_>>]) -> Vec<u8> {
    let len = sources.iter().flatten().map(|source| source.len()).max().unwrap_or(0);
    let mut result = vec![0; len];
    for (at, source) in sources.iter().enumerate() {
        let mut rest = &mut result[..];
        for piece in source.iter().flat_map(|source| source.pieces()) {
            let (here, behind) = rest.split_at_mut(piece.len());
            match operation {
                _ if at == 0 => here.copy_from_slice(piece),
                Operation::And => apply(here, piece, |a, b| a & b),
                Operation::Or => apply(here, piece, |a, b| a | b),
                Operation::Xor => apply(here, piece, |a, b| a ^ b),
                // A single source.
                Operation::Not => {}
            }
            rest = behind;
        }
        if operation == Operation::And {
            rest.fill(0);
        }
    }
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    result
}

/// Combines two slices of one length; plain enough a loop for the compiler to take many bytes at a time.
fn apply(into: &mut [u8], from: &[u8], combine: impl Fn(u8, u8) -> u8) {
    for (into, from) in into.iter_mut().zip(from) {
        *into = combine(*into, *from);
    }
}
