//! BZPOPMIN, BZPOPMAX, BZMPOP: as their namesakes, but they wait for a sorted set that has something.

use super::pop::{End, Form, multi_pop_args, pop_first};
use crate::command::blocking::{Wait, timeout_arg};
use crate::command::{CommandError, Ctx};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};

/// `BZPOPMIN key [key ...] timeout`
pub fn bzpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Min)
}

/// `BZPOPMAX key [key ...] timeout`
pub fn bzpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let names = args.from(1).first(args.len() - 2);
    first_of(ctx, args, names, args.at(args.len() - 1), (end, 1, Form::KeyAndOne))
}

/// `BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]`
pub fn bzmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (names, end, count) = multi_pop_args(args.from(2))?;
    first_of(ctx, args, args.from(3).first(names.len()), args.at(1), (end, count, Form::KeyAndPairs))
}

fn first_of(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    names: Args<'_>,
    timeout: &[u8],
    (end, count, form): (End, usize, Form),
) -> Result<(), CommandError> {
    let timeout = timeout_arg(timeout)?;
    let nothing = |reply: &mut ReplyWriter<'_>| reply.null_array();
    let wait = Wait { kind: ObjectType::SortedSet, names, timeout, args, nothing };
    let names: Vec<&[u8]> = names.iter().collect();
    ctx.wait_for(wait, |ctx| pop_first(ctx, &names, end, count, form))
}
