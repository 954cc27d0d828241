//! EXEC: runs the queued requests as one.

use super::{Queue, leave};
use crate::command::table::run_within;
use crate::command::{After, CommandError, Ctx};
use crate::protocol::Args;
use crate::store::{Key, Touches};

/// `EXEC`
pub(super) fn exec(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let Some(queue) = ctx.session.multi.take() else {
        return Err(CommandError::fixed("ERR EXEC without MULTI"));
    };
    if queue.is_refused() {
        leave(ctx);
        return Err(CommandError::fixed("EXECABORT Transaction discarded because of previous errors."));
    }
    let (db, now_ms, mark) = (ctx.session.db, ctx.now_ms, ctx.reply.mark());
    let mut ran = run_queue(ctx, &queue, true);
    if let Err(NoRoom { at }) = ran {
        // Nothing was written, so all of it can be run again from the start: when there may be room, or else for the errors.
        ctx.reply.truncate(mark);
        ctx.session.select(db);
        ctx.now_ms = now_ms;
        let (found, args) = queue.request(at);
        if ctx.may_wait_for_room(args) || ctx.may_evict_for_room(found.spec, args) {
            ctx.after = ctx.room_for(found.spec);
            ctx.session.multi = Some(queue);
            return Ok(());
        }
        ran = run_queue(ctx, &queue, false);
    }
    debug_assert!(ran.is_ok(), "it was told to take no room for an answer");
    ctx.now_ms = now_ms;
    leave(ctx);
    // Everything is durable and seen: what the commands have raised is published behind this (`table::execute`), and clients that wait for their keys
    // are served.
    Ok(())
}

/// Request number `at` found no room in the pool, and nothing was written so far.
struct NoRoom {
    at: usize,
}

/// Runs all requests, or none when a watched key has changed, and writes the reply. A `patient` one gives up when there is no room for the first thing that
/// is to be written.
fn run_queue(ctx: &mut Ctx<'_>, queue: &Queue, patient: bool) -> Result<(), NoRoom> {
    let (store, guard) = (ctx.store, ctx.guard);
    let transaction = {
        // Keys of one name are on one stripe, whatever the database.
        let keys = queue.keys().map(|names| {
            let named = names.into_iter().map(|name| Key { db: 0, name });
            named.chain(ctx.session.watches.keys()).collect::<Vec<_>>()
        });
        let touches = keys.as_deref().map_or(Touches::Everything, Touches::Keys);
        store.begin_transaction(ctx.worker, touches, queue.may_write_severally(), ctx.now_ms, guard)
    };
    if ctx.session.watches.have_changed(|key| transaction.key_state(key, guard)) {
        transaction.abandon(ctx.worker);
        ctx.reply.null_array();
        return Ok(());
    }
    // Once something is written there is no way back: where there is hardly any room it is waited for first, so that the pool being full of garbage
    // does not make half of the commands fail.
    if let Some(at) = queue.first_that_needs_room()
        && patient
        && !store.has_room_for(ctx.worker, queue.record_bytes(store.packed_bytes()))
    {
        transaction.abandon(ctx.worker);
        return Err(NoRoom { at });
    }
    ctx.now_ms = transaction.now_ms();
    ctx.session.in_exec = true;
    ctx.reply.array_header(queue.len());
    let mut after = After::Continue;
    for (at, (found, args)) in queue.requests().enumerate() {
        let outcome = run_within(ctx, found, args);
        let no_room = outcome.is_err_and(|error| error == CommandError::OUT_OF_SPACE);
        if no_room && patient && transaction.is_unwritten(ctx.worker) {
            ctx.session.in_exec = false;
            transaction.abandon(ctx.worker);
            ctx.drop_events();
            return Err(NoRoom { at });
        }
        let asked = std::mem::take(&mut ctx.after);
        if asked != After::Continue {
            after = asked;
        }
    }
    transaction.commit(ctx.worker);
    ctx.session.in_exec = false;
    ctx.after = after;
    Ok(())
}
