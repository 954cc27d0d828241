//! BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH: as their namesakes, but they wait for a list that has something.

use super::pop::PopFirst;
use super::shift::Shift;
use crate::command::blocking::{Wait, timeout_arg};
use crate::command::{CommandError, Ctx};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::End;

pub(super) fn blpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Left)
}

pub(super) fn brpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Right)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let request = PopFirst { names: args.from(1).first(args.len() - 2), end, count: None };
    first_of(ctx, args, request, args.at(args.len() - 1))
}

/// `BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]`
pub(super) fn blmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = PopFirst::parse(args.from(2))?;
    first_of(ctx, args, request, args.at(1))
}

fn first_of(ctx: &mut Ctx<'_>, args: Args<'_>, request: PopFirst<'_>, timeout: &[u8]) -> Result<(), CommandError> {
    let timeout = timeout_arg(timeout)?;
    let nothing = |reply: &mut ReplyWriter<'_>| reply.null_array();
    let wait = Wait { kind: ObjectType::List, names: request.names, timeout, args, nothing };
    ctx.wait_for(wait, |ctx| request.run(ctx))
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`
pub(super) fn blmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let shift = Shift::parse(args.from(1))?;
    shift_when_there(ctx, args, shift, args.at(5))
}

/// `BRPOPLPUSH source destination timeout`
pub(super) fn brpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    shift_when_there(ctx, args, Shift::rpoplpush(args.from(1)), args.at(3))
}

fn shift_when_there(ctx: &mut Ctx<'_>, args: Args<'_>, shift: Shift<'_>, timeout: &[u8]) -> Result<(), CommandError> {
    let timeout = timeout_arg(timeout)?;
    let names = args.from(1).first(1);
    let nothing = |reply: &mut ReplyWriter<'_>| reply.null();
    let wait = Wait { kind: ObjectType::List, names, timeout, args, nothing };
    ctx.wait_for(wait, |ctx| shift.run(ctx))
}
