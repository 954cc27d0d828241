//! Commands that read a hash.

use crate::command::collection::{Random, random_count, scan};
use crate::command::parse::is_word;
use crate::command::{CommandError, Ctx, Look};
use crate::log::ObjectType;
use crate::protocol::{Args, Protocol, ReplyWriter};
use crate::store::{Element, View};

fn view<'a>(ctx: &Ctx<'a>, args: Args<'_>) -> Result<Option<View<'a>>, CommandError> {
    ctx.view(args.at(1), ObjectType::Hash)
}

fn value(reply: &mut ReplyWriter<'_>, view: Option<&View<'_>>, name: &[u8]) {
    match view.and_then(|view| view.get(name)) {
        Some(field) => reply.bulk(field.value()),
        None => reply.null(),
    }
}

/// `HGET key field`
pub const HGET: Look =
    Look { kind: ObjectType::Hash, by_name: true, reply: |reply, view, args| value(reply, view, args.at(2)) };

/// `HMGET key field [field ...]`
pub const HMGET: Look = Look {
    kind: ObjectType::Hash,
    by_name: true,
    reply: |reply, view, args| {
        reply.array_header(args.len() - 2);
        args.from(2).iter().for_each(|name| value(reply, view, name));
    },
};

/// `HLEN key`
pub const HLEN: Look = Look::len(ObjectType::Hash);

/// `HEXISTS key field`
pub const HEXISTS: Look = Look {
    kind: ObjectType::Hash,
    by_name: true,
    reply: |reply, view, args| {
        let is_there = view.is_some_and(|view| view.get(args.at(2)).is_some());
        reply.integer(i64::from(is_there));
    },
};

/// `HSTRLEN key field`
pub const HSTRLEN: Look = Look {
    kind: ObjectType::Hash,
    by_name: true,
    reply: |reply, view, args| {
        let len = view.and_then(|view| view.get(args.at(2))).map_or(0, |field| field.value().len());
        reply.integer(len as i64);
    },
};

/// `HGETALL key`
pub fn hgetall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let view = view(ctx, args)?;
    ctx.reply.map_header(view.as_ref().map_or(0, View::len));
    for field in view.iter().flat_map(View::iter) {
        ctx.reply.bulk(field.name());
        ctx.reply.bulk(field.value());
    }
    Ok(())
}

/// `HKEYS key`
pub fn hkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, |field| field.name())
}

/// `HVALS key`
pub fn hvals(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, |field| field.value())
}

fn list<'a>(ctx: &mut Ctx<'a>, args: Args<'_>, part: impl Fn(&Element<'a>) -> &'a [u8]) -> Result<(), CommandError> {
    let view = view(ctx, args)?;
    ctx.reply.array_header(view.as_ref().map_or(0, View::len));
    view.iter().flat_map(View::iter).for_each(|field| ctx.reply.bulk(part(&field)));
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub fn hrandfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(count) = args.get(2) else {
        match view(ctx, args)? {
            Some(view) => ctx.reply.bulk(view.member_at(Random::new().below(view.len())).name()),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let with_values = match args.get(3) {
        None => false,
        Some(word) if args.len() == 4 && is_word(word, "WITHVALUES") => true,
        Some(_) => return Err(CommandError::SYNTAX),
    };
    let count = random_count(count, with_values)?;
    let Some(view) = view(ctx, args)? else {
        ctx.reply.array_header(0);
        return Ok(());
    };
    let (all, places) = ctx.random_places(count, view.len(), with_values)?;
    let nested = with_values && ctx.reply.protocol() == Protocol::Resp3;
    ctx.reply.array_header(all * if with_values && !nested { 2 } else { 1 });
    for place in places {
        let field = view.member_at(place);
        if nested {
            ctx.reply.array_header(2);
        }
        ctx.reply.bulk(field.name());
        if with_values {
            ctx.reply.bulk(field.value());
        }
    }
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
pub fn hscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan(ctx, args, ObjectType::Hash, Some(|reply, field| reply.bulk(field.value())))
}
