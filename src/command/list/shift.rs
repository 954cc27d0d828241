//! LMOVE and RPOPLPUSH: from the end of one list to an end of another, or of the same.

use super::{EndEvents, end_arg};
use crate::command::{CommandError, Ctx, Events};
use crate::protocol::Args;
use crate::store::End;

/// From where to where one element goes.
#[derive(Clone, Copy)]
pub(super) struct Shift<'r> {
    pub from: (&'r [u8], End),
    pub to: (&'r [u8], End),
}

impl<'r> Shift<'r> {
    /// Reads `source destination LEFT|RIGHT LEFT|RIGHT`.
    ///
    /// # Errors
    /// `ERR syntax error`.
    pub fn parse(args: Args<'r>) -> Result<Self, CommandError> {
        Ok(Self { from: (args.at(0), end_arg(args.at(2))?), to: (args.at(1), end_arg(args.at(3))?) })
    }

    /// From the tail of `source` to the head of `destination`.
    pub fn rpoplpush(args: Args<'r>) -> Self {
        Self { from: (args.at(0), End::Right), to: (args.at(1), End::Left) }
    }

    /// Moves an element and answers with it; says whether the source has one.
    ///
    /// # Errors
    /// `WRONGTYPE`; nothing is moved then.
    pub fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, CommandError> {
        let (from, to) = (ctx.key(self.from.0), ctx.key(self.to.0));
        let mut txn = ctx.store.write(ctx.worker, &[from, to], ctx.now_ms, ctx.guard);
        let mut source = txn.list(from)?;
        let Some(element) = source.pop(self.from.1) else { return Ok(false) };
        let (mut is_gone, mut is_new) = (false, false);
        if from.name == to.name {
            source.push(self.to.1, element.value())?;
            source.finish()?;
        } else {
            is_gone = source.is_empty();
            source.finish()?;
            let mut destination = txn.list(to)?;
            is_new = destination.base().is_none();
            destination.push(self.to.1, element.value())?;
            destination.finish()?;
        }
        txn.commit()?;
        ctx.reply.bulk(element.value());
        ctx.notify_write(is_new, Events::LIST, self.to.1.push_event(), to);
        ctx.notify_removal(is_gone, Events::LIST, self.from.1.pop_event(), from);
        Ok(true)
    }
}

pub(super) fn lmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let shift = Shift::parse(args.from(1))?;
    or_null(ctx, shift)
}

pub(super) fn rpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    or_null(ctx, Shift::rpoplpush(args.from(1)))
}

fn or_null(ctx: &mut Ctx<'_>, shift: Shift<'_>) -> Result<(), CommandError> {
    if !shift.run(ctx)? {
        ctx.reply.null();
    }
    Ok(())
}
