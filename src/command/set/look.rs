//! Commands that read one set.

use crate::command::collection::{Random, random_count, scan};
use crate::command::{CommandError, Ctx, Look};
use crate::log::ObjectType;
use crate::protocol::{Args, ReplyWriter};
use crate::store::View;

fn view<'a>(ctx: &Ctx<'a>, args: Args<'_>) -> Result<Option<View<'a>>, CommandError> {
    ctx.view(args.at(1), ObjectType::Set)
}

fn is_member(reply: &mut ReplyWriter<'_>, view: Option<&View<'_>>, name: &[u8]) {
    let is_there = view.is_some_and(|view| view.get(name).is_some());
    reply.integer(i64::from(is_there));
}

/// `SCARD key`
pub const SCARD: Look = Look::len(ObjectType::Set);

/// `SISMEMBER key member`
pub const SISMEMBER: Look =
    Look { kind: ObjectType::Set, by_name: true, reply: |reply, view, args| is_member(reply, view, args.at(2)) };

/// `SMISMEMBER key member [member ...]`
pub const SMISMEMBER: Look = Look {
    kind: ObjectType::Set,
    by_name: true,
    reply: |reply, view, args| {
        reply.array_header(args.len() - 2);
        args.from(2).iter().for_each(|member| is_member(reply, view, member));
    },
};

/// `SMEMBERS key`
pub fn smembers(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let view = view(ctx, args)?;
    ctx.reply.set_header(view.as_ref().map_or(0, View::len));
    view.iter().flat_map(View::iter).for_each(|member| ctx.reply.bulk(member.name()));
    Ok(())
}

/// `SRANDMEMBER key [count]`
pub fn srandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(count) = args.get(2) else {
        match view(ctx, args)? {
            Some(view) => ctx.reply.bulk(view.member_at(Random::new().below(view.len())).name()),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    if args.len() > 3 {
        return Err(CommandError::SYNTAX);
    }
    let count = random_count(count, false)?;
    let Some(view) = view(ctx, args)? else {
        ctx.reply.array_header(0);
        return Ok(());
    };
    let (all, places) = ctx.random_places(count, view.len(), false)?;
    ctx.reply.array_header(all);
    places.for_each(|place| ctx.reply.bulk(view.member_at(place).name()));
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
pub fn sscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan(ctx, args, ObjectType::Set, None)
}
