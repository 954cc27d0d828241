//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB: commands on whole databases.

use crate::command::parse::{existing_db, int32_arg, is_word};
use crate::command::{CommandError, Ctx};
use crate::protocol::Args;

pub(super) fn dbsize(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let keys = ctx.store.len(ctx.session.db);
    ctx.reply.integer(keys as i64);
    Ok(())
}

pub(super) fn flushdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_flush_mode(args, 1)?;
    ctx.store.flush_db(ctx.session.db, Some(ctx.worker))?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn flushall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_flush_mode(args, 1)?;
    ctx.store.flush_all(Some(ctx.worker))?;
    ctx.reply.ok();
    Ok(())
}

/// Accepts nothing, `SYNC` or `ASYNC` at `position`: it is all the same to a store that flushes in constant time.
///
/// # Errors
/// `ERR syntax error`.
pub(in crate::command) fn check_flush_mode(args: Args<'_>, position: usize) -> Result<(), CommandError> {
    match args.get(position) {
        None => Ok(()),
        Some(mode) if args.len() == position + 1 && (is_word(mode, "SYNC") || is_word(mode, "ASYNC")) => Ok(()),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

pub(super) fn swapdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = |i, message| int32_arg(args.at(i)).map_err(|_| CommandError::fixed(message));
    let (a, b) = (number(1, "ERR invalid first DB index")?, number(2, "ERR invalid second DB index")?);
    let databases = ctx.store.databases();
    ctx.store.swap_db(existing_db(a, databases)?, existing_db(b, databases)?, Some(ctx.worker))?;
    ctx.reply.ok();
    Ok(())
}
