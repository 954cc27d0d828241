//! Client-side caching: who may hold a copy of which key, and telling them when it has changed.
//!
//! A client's read commands leave its id under each key they name, *before* the key is read. A writer takes the ids out after its change is visible, and
//! posts an invalidation to each. Both go through the lock of the key's part of the table: if the reader came first the writer finds its id;
//! if the writer did, the reader finds the new value. So a client that was sent a value is sent its invalidation, and later in its stream than the value, as what is
//! posted comes behind the replies that are written already.
//!
//! Clients in BCAST mode leave nothing: they are told of all keys with their prefixes.
//!
//! The table names no databases: a change of a key in one of them invalidates its namesakes in the others, as in Redis. A client that has gone
//! stays in it under the keys it had read until they change. While no client tracks, the store tells nothing of its changes, and nothing is paid.

mod prefixes;

use super::clients::{Client, Clients};
use super::settings::Settings;
use super::spec::KeySpec;
use super::{Ctx, Flags, Found};
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use crate::protocol::{Args, Protocol, ReplyWriter};
use crate::store::{Change, Changes, Db, Store, Watcher};
pub use prefixes::Prefixes;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

bitflags::bitflags! {
    /// The options of CLIENT TRACKING.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Options: u8 {
        /// Told of all keys with given prefixes, read or not.
        const BCAST = 1;
        /// Keys are tracked only after CLIENT CACHING YES.
        const OPTIN = 1 << 1;
        /// Keys are tracked except after CLIENT CACHING NO.
        const OPTOUT = 1 << 2;
        /// Not told of its own changes.
        const NOLOOP = 1 << 3;
    }
}

/// What a session tracks.
#[derive(Debug, Default)]
pub struct SessionTracking {
    /// How.
    pub options: Options,
    /// What CLIENT CACHING has said for the next command.
    pub caching: bool,
    /// In BCAST mode.
    pub prefixes: BTreeSet<Vec<u8>>,
}

impl SessionTracking {
    /// Whether the keys of the command that runs now are remembered.
    fn remembers(&self) -> bool {
        if self.options.contains(Options::BCAST) {
            false
        } else if self.options.contains(Options::OPTIN) {
            self.caching
        } else {
            !(self.options.contains(Options::OPTOUT) && self.caching)
        }
    }
}

/// A client that tracks, as writers see it.
#[derive(Debug)]
struct Tracked {
    client: Arc<Client>,
    /// Who is told in its stead.
    redirect: Option<Arc<Client>>,
    options: Options,
}

/// Parts that the table is spread over.
const PARTS: usize = 64;

type Part = HashMap<Box<[u8]>, Vec<u64>>;

/// Who may hold a copy of which key.
pub struct Tracking {
    parts: Vec<Mutex<Part>>,
    hasher: RandomState,
    clients: RwLock<HashMap<u64, Tracked>>,
    prefixes: RwLock<Prefixes>,
    /// Keys that have changed and whose followers by prefix were not told yet, with who changed them.
    changed: Mutex<BTreeSet<(Box<[u8]>, u64)>>,
    /// Whether there are any.
    has_changed: AtomicBool,
    keys: AtomicU64,
    items: AtomicU64,
    /// Where the next key is looked for that is forgotten for want of room.
    hand: AtomicU64,
    settings: Arc<Settings>,
    registry: Arc<Clients>,
    /// The store that tells of its changes, if any does. Held by who changes that.
    watched: Mutex<Option<Arc<Changes>>>,
}

impl std::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tracking({} keys)", self.total_keys())
    }
}

/// What INFO tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackingFigures {
    /// Clients that track.
    pub clients: usize,
    /// Keys that somebody may hold a copy of.
    pub keys: usize,
    /// Pairs of such a key and a client.
    pub items: usize,
    /// Prefixes that somebody is told of.
    pub prefixes: usize,
}

impl Tracking {
    /// Nobody tracks.
    pub fn new(settings: &Arc<Settings>, registry: &Arc<Clients>) -> Arc<Self> {
        Arc::new(Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            clients: RwLock::default(),
            prefixes: RwLock::default(),
            changed: Mutex::default(),
            has_changed: AtomicBool::new(false),
            keys: AtomicU64::new(0),
            items: AtomicU64::new(0),
            hand: AtomicU64::new(0),
            settings: Arc::clone(settings),
            registry: Arc::clone(registry),
            watched: Mutex::default(),
        })
    }

    /// Has `client` track, or track otherwise than before. When this returns no change is missed. Waits for the writes under way if it is the first; from
    /// within a transaction, which holds stripes itself, that must be left out (`waits`).
    pub fn start(
        self: &Arc<Self>,
        store: &Store,
        client: &Arc<Client>,
        redirect: Option<Arc<Client>>,
        options: Options,
        prefixes: &BTreeSet<Vec<u8>>,
        waits: bool,
    ) {
        let mut watched = lock(&self.watched);
        {
            let mut all = self.prefixes.write().unwrap_or_else(PoisonError::into_inner);
            prefixes.iter().for_each(|prefix| all.add(prefix, client.id()));
        }
        let tracked = Tracked { client: Arc::clone(client), redirect, options };
        {
            let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
            clients.insert(client.id(), tracked);
        }
        self.watch(store, &mut watched, waits);
    }

    /// Has `client` track no more.
    pub fn stop(self: &Arc<Self>, client: &Client, prefixes: &BTreeSet<Vec<u8>>) {
        let mut watched = lock(&self.watched);
        {
            let mut all = self.prefixes.write().unwrap_or_else(PoisonError::into_inner);
            prefixes.iter().for_each(|prefix| all.remove(prefix, client.id()));
        }
        let is_last = {
            let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
            clients.remove(&client.id()).is_some() && clients.is_empty()
        };
        if is_last {
            if let Some(changes) = watched.take() {
                let watcher: Arc<dyn Watcher> = Arc::clone(self) as _;
                changes.unwatch_all(&watcher);
            }
            self.forget_all();
        }
    }

    /// The store has just been opened: has it tell of its changes if anybody tracks.
    pub fn follow(self: &Arc<Self>, store: &Store) {
        let mut watched = lock(&self.watched);
        if self.figures().clients > 0 {
            self.watch(store, &mut watched, false);
        }
        self.make_room();
    }

    fn watch(self: &Arc<Self>, store: &Store, watched: &mut Option<Arc<Changes>>, waits: bool) {
        if watched.as_ref().is_some_and(|changes| Arc::ptr_eq(changes, store.changes())) {
            return;
        }
        *watched = Some(Arc::clone(store.changes()));
        store.changes().watch_all(Arc::clone(self) as _);
        if waits {
            // A write that began before may not tell. Its change is there once this has had its stripe. Without the wait only a processor that reorders
            // more than x86 does could let one pass: the index is swapped by a locked instruction before the writer looks whether it is watched.
            store.await_writes();
        }
    }

    /// `client` is about to read `key`.
    pub fn remember(&self, client: u64, key: &[u8]) {
        let mut part = self.part_of(key);
        match part.get_mut(key) {
            Some(ids) if ids.contains(&client) => return,
            Some(ids) => ids.push(client),
            None => {
                part.insert(key.into(), vec![client]);
                self.keys.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.items.fetch_add(1, Ordering::Relaxed);
        drop(part);
        self.make_room();
    }

    /// Forgets keys, whichever, down to `tracking-table-max-keys`; who may hold copies is told as if they had changed.
    fn make_room(&self) {
        let max_keys = self.settings.tracking_max_keys();
        // Ends: each turn forgets a key, or finds none.
        while max_keys > 0 && self.total_keys() > max_keys {
            let first = self.hand.fetch_add(1, Ordering::Relaxed) as usize;
            let Some((key, ids)) = (0..PARTS).find_map(|i| self.take_any(lock(&self.parts[(first + i) % PARTS])))
            else {
                return;
            };
            self.invalidate(&key, &ids, 0);
        }
    }

    fn take_any(&self, mut part: MutexGuard<'_, Part>) -> Option<(Box<[u8]>, Vec<u64>)> {
        let key = part.keys().next()?.clone();
        let ids = part.remove(&key)?;
        self.count_out(&ids);
        Some((key, ids))
    }

    fn part_of(&self, key: &[u8]) -> MutexGuard<'_, Part> {
        lock(&self.parts[self.hasher.hash_one(key) as usize % PARTS])
    }

    fn count_out(&self, ids: &[u64]) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_sub(ids.len() as u64, Ordering::Relaxed);
    }

    fn forget_all(&self) {
        for part in &self.parts {
            let mut part = lock(part);
            part.values().for_each(|ids| self.count_out(ids));
            *part = Part::default();
        }
    }

    fn total_keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed) as usize
    }

    /// What there is to tell of it.
    pub fn figures(&self) -> TrackingFigures {
        TrackingFigures {
            clients: self.clients.read().unwrap_or_else(PoisonError::into_inner).len(),
            keys: self.total_keys(),
            items: self.items.load(Ordering::Relaxed) as usize,
            prefixes: self.prefixes.read().unwrap_or_else(PoisonError::into_inner).len(),
        }
    }

    /// The client of that id, to be told in another's stead.
    pub fn target(&self, id: u64) -> Option<Arc<Client>> {
        self.registry.get(id)
    }

    /// Tells those who follow prefixes of the keys that have changed: one message for all that a command, or a transaction, has changed under a prefix.
    #[inline]
    pub fn broadcast(&self) {
        // Relaxed: who has put a key there looks itself, later.
        if self.has_changed.load(Ordering::Relaxed) {
            self.broadcast_changed();
        }
    }

    #[cold]
    fn broadcast_changed(&self) {
        self.has_changed.store(false, Ordering::Relaxed);
        let changed = std::mem::take(&mut *lock(&self.changed));
        let prefixes = self.prefixes.read().unwrap_or_else(PoisonError::into_inner);
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        for (prefix, ids) in prefixes.iter() {
            for tracked in ids.iter().filter_map(|id| clients.get(id)) {
                let skips = |by: u64| tracked.options.contains(Options::NOLOOP) && tracked.client.id() == by;
                let is_told = |(key, by): &&(Box<[u8]>, u64)| key.starts_with(prefix) && !skips(*by);
                let keys: Vec<&[u8]> = changed.iter().filter(is_told).map(|(key, _)| &**key).collect();
                if !keys.is_empty() {
                    tracked.send(Some(&keys));
                }
            }
        }
    }

    /// Tells the clients `ids` that `key` has changed, but for `writer` if it does not want to hear of its own changes, and for those that follow prefixes
    /// by now.
    fn invalidate(&self, key: &[u8], ids: &[u64], writer: u64) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        for tracked in ids.iter().filter_map(|id| clients.get(id)) {
            let is_own = tracked.options.contains(Options::NOLOOP) && tracked.client.id() == writer;
            if !is_own && !tracked.options.contains(Options::BCAST) {
                tracked.send(Some(&[key]));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher for Tracking {
    fn changed(&self, db: Db, name: &[u8], change: Change) -> bool {
        self.changed_by(db, name, change, 0)
    }

    fn changed_by(&self, _db: Db, name: &[u8], change: Change, client: u64) -> bool {
        if change == Change::Database {
            self.forget_all();
            let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
            clients.values().for_each(|tracked| tracked.send(None));
            return true;
        }
        let removed = {
            let mut part = self.part_of(name);
            part.remove(name).inspect(|ids| self.count_out(ids))
        };
        if let Some(ids) = removed {
            self.invalidate(name, &ids, client);
        }
        if self.prefixes.read().unwrap_or_else(PoisonError::into_inner).has(name) {
            lock(&self.changed).insert((name.into(), client));
            // Release: pairs with the swap in `broadcast`.
            self.has_changed.store(true, Ordering::Release);
        }
        if change.is_expiry() {
            // Whoever removed it may not be in the middle of a command.
            self.broadcast();
        }
        true
    }
}

/// Where clients of RESP2 that are told in others' stead are subscribed.
const INVALIDATIONS: &[u8] = b"__redis__:invalidate";

impl Tracked {
    /// Posts that these keys have changed, or all keys.
    fn send(&self, changed: Option<&[&[u8]]>) {
        let target = self.redirect.as_ref().unwrap_or(&self.client);
        if target.has_left() {
            if self.redirect.is_some() {
                self.client.note_broken_redirect();
                self.send_broken();
            }
            return;
        }
        // One that goes meanwhile needs no telling.
        let _ = match target.protocol() {
            Protocol::Resp3 => target.post(|reply| {
                reply.push_header(2);
                reply.bulk(b"invalidate");
                keys(reply, changed);
            }),
            Protocol::Resp2 if self.redirect.is_some() && target.is_subscribed() => target.post(|reply| {
                reply.push_header(3);
                reply.bulk(b"message");
                reply.bulk(INVALIDATIONS);
                keys(reply, changed);
            }),
            // It cannot tell a message from a reply.
            Protocol::Resp2 => true,
        };
    }

    /// The client that was to be told in its stead has gone.
    fn send_broken(&self) {
        let Some(redirect) = self.redirect.as_ref().filter(|_| self.client.protocol() == Protocol::Resp3) else {
            return;
        };
        let _ = self.client.post(|reply| {
            reply.push_header(2);
            reply.bulk(b"tracking-redir-broken");
            reply.integer(redirect.id() as i64);
        });
    }
}

fn keys(reply: &mut ReplyWriter<'_>, changed: Option<&[&[u8]]>) {
    match changed {
        Some(keys) => {
            reply.array_header(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
        None => reply.null(),
    }
}

/// Leaves the client under the keys of a command that is about to run, if it reads and the client asks for that.
#[cold]
pub(super) fn before(ctx: &Ctx<'_>, found: &Found, args: Args<'_>) {
    if !found.spec.flags.contains(Flags::READONLY) || !ctx.session.tracking.remembers() {
        return;
    }
    let client = ctx.session.client.id();
    for at in positions(found.spec.keys, args) {
        ctx.shared.tracking.remember(client, args.at(at));
    }
}

/// Where the keys are in a request; nowhere when it cannot be right.
fn positions(keys: KeySpec, args: Args<'_>) -> std::iter::StepBy<std::ops::Range<usize>> {
    match keys {
        KeySpec::None => (0..0).step_by(1),
        KeySpec::Range { first, last, step } => {
            let end = if last < 0 { args.len().saturating_add_signed(last + 1) } else { last as usize + 1 };
            (first..end.min(args.len())).step_by(step)
        }
        KeySpec::OneAndStored { first, .. } => (first..(first + 1).min(args.len())).step_by(1),
        // What is written is not read.
        KeySpec::Counted { at } | KeySpec::TargetAndCounted { at, .. } => {
            let count = args.get(at).and_then(super::parse::integer).and_then(|count| usize::try_from(count).ok());
            let end = count.map_or(0, |count| count.saturating_add(at + 1)).min(args.len());
            (at + 1..end.max(at + 1)).step_by(1)
        }
    }
}

#[cfg(test)]
mod tests;
