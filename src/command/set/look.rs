//! Commands that read one set.

use crate::command::collection::{Random, random_count, scan};
use crate::command::{CommandError, Ctx};
use crate::log::ObjectType;
use crate::protocol::Args;
use crate::store::View;

fn view<'a>(ctx: &Ctx<'a>, args: Args<'_>) -> Result<Option<View<'a>>, CommandError> {
    ctx.view(args.at(1), ObjectType::Set)
}

/// `SCARD key`
pub fn scard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let len = view(ctx, args)?.map_or(0, |view| view.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

/// `SISMEMBER key member`
pub fn sismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let there = view(ctx, args)?.is_some_and(|view| view.get(args.at(2)).is_some());
    ctx.reply.integer(i64::from(there));
    Ok(())
}

/// `SMISMEMBER key member [member ...]`
pub fn smismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let view = view(ctx, args)?;
    ctx.reply.array_header(args.len() - 2);
    for member in args.from(2).iter() {
        let there = view.as_ref().is_some_and(|view| view.get(member).is_some());
        ctx.reply.integer(i64::from(there));
    }
    Ok(())
}

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
