//! ZPOPMIN, ZPOPMAX and ZMPOP, and what their blocking kin need of them.

use crate::command::parse::{integer, is_word};
use crate::command::{CommandError, Ctx, Events};
use crate::log::ObjectType;
use crate::protocol::{Args, Protocol};
use crate::store::Key;

/// Which members are popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Those of the lowest scores.
    Min,
    /// Those of the highest scores.
    Max,
}

impl End {
    /// `MIN` or `MAX`
    ///
    /// # Errors
    /// `ERR syntax error`.
    pub fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word {
            _ if is_word(word, "MIN") => Ok(Self::Min),
            _ if is_word(word, "MAX") => Ok(Self::Max),
            _ => Err(CommandError::SYNTAX),
        }
    }

    /// The event of popping there.
    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }
}

/// How popped members are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// ZPOPMIN and ZPOPMAX: members and scores in turns.
    Flat,
    /// Those with a count, in RESP3: pairs.
    Pairs,
    /// BZPOPMIN and BZPOPMAX: the key, the one member and its score.
    KeyAndOne,
    /// ZMPOP and BZMPOP: the key, and an array of pairs.
    KeyAndPairs,
}

/// `ZPOPMIN key [count]`
pub fn zpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Min)
}

/// `ZPOPMAX key [count]`
pub fn zpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let out_of_range = CommandError::fixed("ERR value is out of range, must be positive");
    let (count, form) = match args.get(2) {
        None => (1, Form::Flat),
        Some(text) => {
            let form = if ctx.reply.protocol() == Protocol::Resp3 { Form::Pairs } else { Form::Flat };
            (integer(text).and_then(|count| usize::try_from(count).ok()).ok_or(out_of_range)?, form)
        }
    };
    if !pop_first(ctx, &[args.at(1)], end, count, form)? {
        ctx.reply.array_header(0);
    }
    Ok(())
}

/// `ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]`
pub fn zmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (names, end, count) = multi_pop_args(args.from(1))?;
    if !pop_first(ctx, &names, end, count, Form::KeyAndPairs)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// Reads `numkeys key [key ...] MIN|MAX [COUNT count]`.
///
/// # Errors
/// `ERR numkeys should be greater than 0`, `ERR count should be greater than 0`, `ERR syntax error`.
pub fn multi_pop_args<'r>(args: Args<'r>) -> Result<(Vec<&'r [u8]>, End, usize), CommandError> {
    let positive = |text, error| {
        integer(text).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0).ok_or(error)
    };
    let keys = positive(args.at(0), CommandError::fixed("ERR numkeys should be greater than 0"))?;
    let end = keys.checked_add(1).and_then(|at| args.get(at)).ok_or(CommandError::SYNTAX)?;
    let end = End::parse(end)?;
    let count = match (args.get(keys + 2), args.get(keys + 3)) {
        (None, _) => 1,
        (Some(word), Some(count)) if is_word(word, "COUNT") => {
            positive(count, CommandError::fixed("ERR count should be greater than 0"))?
        }
        _ => return Err(CommandError::SYNTAX),
    };
    if args.len() > keys + 4 {
        return Err(CommandError::SYNTAX);
    }
    Ok((args.from(1).iter().take(keys).collect(), end, count))
}

/// Pops up to `count` members of the first of these sorted sets that there is, and replies with them. Says whether there was one; nothing is
/// replied if not. One tombstone a member, one fence.
///
/// # Errors
/// Those of the store.
pub fn pop_first(ctx: &mut Ctx<'_>, names: &[&[u8]], end: End, count: usize, form: Form) -> Result<bool, CommandError> {
    let keys: Vec<Key<'_>> = names.iter().map(|name| ctx.key(name)).collect();
    let mut txn = ctx.store.write(ctx.worker, &keys, ctx.now_ms, ctx.guard);
    for key in keys {
        let Some(view) = txn.view(key, ObjectType::SortedSet)? else { continue };
        let (len, count) = (view.len(), count.min(view.len()));
        let start = if end == End::Min { 0 } else { len - count };
        let mut popped: Vec<_> = view.iter_from(start).take(count).collect();
        if end == End::Max {
            popped.reverse();
        }
        txn.remove_ranks(key, view, start..start + count)?;
        txn.commit()?;
        match form {
            Form::Flat => ctx.reply.array_header(2 * count),
            Form::Pairs => ctx.reply.array_header(count),
            Form::KeyAndOne => {
                ctx.reply.array_header(3);
                ctx.reply.bulk(key.name);
            }
            Form::KeyAndPairs => {
                ctx.reply.array_header(2);
                ctx.reply.bulk(key.name);
                ctx.reply.array_header(count);
            }
        }
        for element in popped {
            if matches!(form, Form::Pairs | Form::KeyAndPairs) {
                ctx.reply.array_header(2);
            }
            ctx.reply.bulk(element.name());
            ctx.reply.double(element.score());
        }
        if count > 0 {
            ctx.notify_removal(count == len, Events::ZSET, end.event(), key);
        }
        return Ok(true);
    }
    Ok(false)
}
