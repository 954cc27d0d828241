//! DEBUG PROTOCOL: one reply of each type, for the tests of client libraries, which expect just these.

use crate::command::parse::is_word;
use crate::command::{CommandError, Ctx};
use crate::protocol::{Args, Protocol};
use bytes::BufMut;

pub(super) fn write(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.at(2);
    let (_, write) = TYPES.iter().find(|(word, _)| is_word(name, word)).ok_or(
        const {
            CommandError::fixed(
                "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            )
        },
    )?;
    write(ctx)
}

type Sample = fn(&mut Ctx<'_>) -> Result<(), CommandError>;

const TYPES: &[(&str, Sample)] = &[
    ("STRING", |ctx| {
        ctx.reply.bulk(b"Hello World");
        Ok(())
    }),
    ("INTEGER", |ctx| {
        ctx.reply.integer(12345);
        Ok(())
    }),
    ("DOUBLE", |ctx| {
        ctx.reply.double(3141.0 / 1000.0);
        Ok(())
    }),
    ("NULL", |ctx| {
        ctx.reply.null();
        Ok(())
    }),
    ("ARRAY", |ctx| {
        ctx.reply.array_header(3);
        (0..3).for_each(|i| ctx.reply.integer(i));
        Ok(())
    }),
    ("SET", |ctx| {
        ctx.reply.set_header(3);
        (0..3).for_each(|i| ctx.reply.integer(i));
        Ok(())
    }),
    ("MAP", |ctx| {
        ctx.reply.map_header(3);
        for i in 0..3 {
            ctx.reply.integer(i);
            ctx.reply.boolean(i == 1);
        }
        Ok(())
    }),
    ("ATTRIB", |ctx| {
        if is_resp3(ctx) {
            ctx.reply.raw().put_slice(b"|1\r\n");
            ctx.reply.bulk(b"key-popularity");
            ctx.reply.array_header(2);
            ctx.reply.bulk(b"key:123");
            ctx.reply.integer(90);
        }
        ctx.reply.bulk(b"Some real reply following the attribute");
        Ok(())
    }),
    ("PUSH", |ctx| {
        if !is_resp3(ctx) {
            return Err(CommandError::fixed("ERR RESP2 is not supported by this command"));
        }
        ctx.reply.push_header(2);
        ctx.reply.bulk(b"server-cpu-usage");
        ctx.reply.integer(42);
        // A push is no reply: this one is.
        ctx.reply.bulk(b"Some real reply following the push reply");
        Ok(())
    }),
    ("BIGNUM", |ctx| {
        const BIG: &[u8] = b"1234567999999999999999999999999999999";
        if is_resp3(ctx) {
            ctx.reply.raw().put_slice(b"(");
            ctx.reply.raw().put_slice(BIG);
            ctx.reply.bulk_end();
        } else {
            ctx.reply.bulk(BIG);
        }
        Ok(())
    }),
    ("VERBATIM", |ctx| {
        ctx.reply.verbatim("txt", b"This is a verbatim\nstring");
        Ok(())
    }),
    ("TRUE", |ctx| {
        ctx.reply.boolean(true);
        Ok(())
    }),
    ("FALSE", |ctx| {
        ctx.reply.boolean(false);
        Ok(())
    }),
];

fn is_resp3(ctx: &Ctx<'_>) -> bool {
    ctx.reply.protocol() == Protocol::Resp3
}
