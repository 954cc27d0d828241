//! LPOP, RPOP, LMPOP.

use super::{EndEvents, end_arg};
use crate::command::parse::{integer, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::{Element, End, Key, Txn};

const NOT_POSITIVE: CommandError = CommandError::fixed("ERR value is out of range, must be positive");

pub(super) fn lpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Left, "lpop")
}

pub(super) fn rpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Right, "rpop")
}

/// With a count the answer is an array, or none when there is no list; without one it is the element.
fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End, name: &str) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::arity(name));
    }
    let count = args.get(2).map(|count| {
        let count = integer(count).and_then(|count| usize::try_from(count).ok());
        count.ok_or(NOT_POSITIVE)
    });
    let count = count.transpose()?;
    let key = ctx.key(args.at(1));
    let mut txn = ctx.store.write(ctx.worker, &[key], ctx.now_ms, ctx.guard);
    let popped = pop_some(&mut txn, key, end, count.unwrap_or(1))?;
    txn.commit()?;
    let (popped, removal) = (popped.as_ref().map(|popped| &popped.elements), popped.as_ref().and_then(Popped::removal));
    match (popped, count) {
        (None, None) => ctx.reply.null(),
        (None, Some(_)) => ctx.reply.null_array(),
        (Some(popped), None) => ctx.reply.bulk(popped[0].value()),
        (Some(popped), Some(_)) => {
            ctx.reply.array_header(popped.len());
            popped.iter().for_each(|element| ctx.reply.bulk(element.value()));
        }
    }
    if let Some(is_gone) = removal {
        ctx.notify_removal(is_gone, Events::LIST, end.pop_event(), key);
    }
    Ok(())
}

/// What was taken off an end of a list.
pub(super) struct Popped<'a> {
    pub elements: Vec<Element<'a>>,
    /// Whether nothing is left.
    pub is_gone: bool,
}

impl Popped<'_> {
    /// Whether nothing is left, if anything was taken off.
    fn removal(&self) -> Option<bool> {
        (!self.elements.is_empty()).then_some(self.is_gone)
    }
}

/// Stages the removal of up to `count` elements at an end and returns them, the outermost first; `None` when there is no list.
///
/// # Errors
/// `WRONGTYPE`.
pub(super) fn pop_some<'a>(
    txn: &mut Txn<'a>,
    key: Key<'_>,
    end: End,
    count: usize,
) -> Result<Option<Popped<'a>>, CommandError> {
    let mut edit = txn.list(key)?;
    if edit.base().is_none() {
        return Ok(None);
    }
    let elements = std::iter::from_fn(|| edit.pop(end)).take(count).collect();
    let is_gone = edit.is_empty();
    edit.finish()?;
    Ok(Some(Popped { elements, is_gone }))
}

/// Which keys are tried in turn, and what is popped from the first that has a list.
#[derive(Clone, Copy)]
pub(super) struct PopFirst<'r> {
    pub names: Args<'r>,
    pub end: End,
    /// `None`: one element, which is then no array in the reply.
    pub count: Option<usize>,
}

impl<'r> PopFirst<'r> {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]`.
    ///
    /// # Errors
    /// `ERR numkeys should be greater than 0`, `ERR count should be greater than 0`, `ERR syntax error`.
    pub fn parse(args: Args<'r>) -> Result<Self, CommandError> {
        let positive = |bytes: &[u8]| integer(bytes).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let keys = positive(args.at(0)).ok_or(CommandError::fixed("ERR numkeys should be greater than 0"))?;
        let end = keys.checked_add(1).and_then(|at| args.get(at)).ok_or(CommandError::SYNTAX)?;
        let end = end_arg(end)?;
        let count = match (args.get(keys + 2), args.get(keys + 3)) {
            (None, _) => 1,
            (Some(word), Some(count)) if is_word(word, "COUNT") => {
                positive(count).ok_or(CommandError::fixed("ERR count should be greater than 0"))?
            }
            _ => return Err(CommandError::SYNTAX),
        };
        if args.len() > keys + 4 {
            return Err(CommandError::SYNTAX);
        }
        Ok(Self { names: args.from(1).first(keys), end, count: Some(count) })
    }

    /// Pops, and answers with the key's name and what was popped; says whether any of the keys has a list. All of one moment.
    ///
    /// # Errors
    /// `WRONGTYPE`, when a key before the first that has a list holds something else.
    pub fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, CommandError> {
        let keys: Vec<_> = self.names.iter().map(|name| ctx.key(name)).collect();
        let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
        for key in keys {
            let Some(popped) = pop_some(&mut txn, key, self.end, self.count.unwrap_or(1))? else { continue };
            txn.commit()?;
            ctx.reply.array_header(2);
            ctx.reply.bulk(key.name);
            if self.count.is_some() {
                ctx.reply.array_header(popped.elements.len());
            }
            popped.elements.iter().for_each(|element| ctx.reply.bulk(element.value()));
            let removal = popped.removal();
            if let Some(is_gone) = removal {
                ctx.notify_removal(is_gone, Events::LIST, self.end.pop_event(), key);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

pub(super) fn lmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !PopFirst::parse(args.from(1))?.run(ctx)? {
        ctx.reply.null_array();
    }
    Ok(())
}
