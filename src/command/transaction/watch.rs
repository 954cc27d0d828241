//! WATCH: the keys whose change keeps the next EXEC from running.
//!
//! Each key has a watcher of its own that sets the connection's flag. It is registered while the key's stripe is held, and EXEC looks at the flag with the
//! stripes of all watched keys taken: so no change in between is missed, and none by others can follow.

use crate::command::clients::{Client, ClientFlags};
use crate::command::{CommandError, Ctx};
use crate::protocol::Args;
use crate::store::{Change, Changes, Db, Key, KeyState, Watcher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One watched key.
struct Watched {
    /// Whether it had expired, and was not removed yet, when WATCH came, or when SWAPDB has brought it: to be removed is no change then.
    expired: AtomicBool,
    /// Whether it has changed.
    changed: AtomicBool,
    client: Arc<Client>,
}

impl Watcher for Watched {
    fn changed(&self, _db: Db, _name: &[u8], change: Change) -> bool {
        if matches!(change, Change::Expired | Change::Ended) && self.expired.swap(false, Ordering::AcqRel) {
            return true;
        }
        if change == Change::CameExpired {
            self.expired.store(true, Ordering::Release);
            return true;
        }
        // Release: pairs with the load of EXEC, which has the key's stripe by then.
        self.changed.store(true, Ordering::Release);
        self.client.set_flag(ClientFlags::DIRTY, true);
        false
    }
}

/// The keys that a connection watches.
#[derive(Default)]
pub struct Watches {
    keys: Vec<(Db, Vec<u8>, Arc<Watched>)>,
    changes: Option<Arc<Changes>>,
    client: Arc<Client>,
}

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watches({} keys)", self.keys.len())
    }
}

impl Watches {
    /// Forgets all keys.
    pub fn clear(&mut self) {
        let Some(changes) = self.changes.take() else { return };
        for (db, name, watched) in self.keys.drain(..) {
            let watcher: Arc<dyn Watcher> = watched;
            changes.unwatch(db, &name, &watcher);
        }
        self.client.set_flag(ClientFlags::DIRTY, false);
    }

    /// The keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.keys.iter().map(|(db, name, _)| Key { db: *db, name })
    }

    /// Whether one of them has changed, or has expired since; `state` says of each whether it is there now. Their stripes are taken.
    pub(super) fn have_changed(&self, state: impl Fn(Key<'_>) -> KeyState) -> bool {
        self.keys.iter().any(|(db, name, watched)| {
            watched.changed.load(Ordering::Acquire)
                || (!watched.expired.load(Ordering::Acquire) && state(Key { db: *db, name }) == KeyState::Expired)
        })
    }

    fn contains(&self, key: Key<'_>) -> bool {
        self.keys().any(|known| known.db == key.db && known.name == key.name)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `WATCH key [key ...]`
pub(super) fn watch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if ctx.session.multi.is_some() {
        return Err(CommandError::fixed("ERR WATCH inside MULTI is not allowed"));
    }
    for name in args.from(1).iter() {
        let key = ctx.key(name);
        if !ctx.session.watches.contains(key) {
            let client = Arc::clone(&ctx.session.client);
            // What is watched in the stand-in of a store that is being recovered is not told of changes in the store.
            let (expired, changed) = (AtomicBool::new(false), AtomicBool::new(ctx.loading));
            let watched = Arc::new(Watched { expired, changed, client: Arc::clone(&client) });
            let note = |state| watched.expired.store(state == KeyState::Expired, Ordering::Release);
            ctx.store.watch(key, Arc::clone(&watched) as Arc<dyn Watcher>, ctx.now_ms, ctx.guard, note);
            let watches = &mut ctx.session.watches;
            (watches.client, watches.changes) = (client, Some(Arc::clone(ctx.store.changes())));
            watches.keys.push((key.db, name.to_vec(), watched));
        }
    }
    ctx.reply.ok();
    Ok(())
}
