//! Transactions of several commands (MULTI and EXEC): their stripes are taken for all of it, each command writes and publishes as ever, and nothing of it
//! counts or is seen by anyone else before all of it does.
//!
//! 1. [`Store::begin_transaction`] takes the stripes of all keys that the commands may look at or change. From then on time stands still.
//! 2. Each command runs as it would alone. What it writes is a part of one atom (`log/atom.rs`), durable but not counting yet, and published at once, so that
//!    the commands behind it find it. Readers of these keys wait; readers that did not know yet look again (`stripes.rs`).
//! 3. [`Transaction::commit`] writes the atom's commit, for which there is room, so that it cannot fail. Only then are the stripes given back.
//!
//! There is no way back once a part is published. If a command panics then the process ends, and recovery shows nothing of the transaction.
//!
//! The caller is pinned throughout: so nothing of the atom is cleaned before it counts, and nothing that it supersedes is freed before that.

use super::keyspaces::DbTable;
use super::stripes::Taken;
use super::txn::Worker;
use super::{Change, Db, Key, Store, Watcher};
use crate::base::mutant::{self, Mutant};
use crate::log::{Atom, try_record_at};
use crate::pool::Urgency;
use crossbeam_epoch::Guard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a transaction may look at or change.
#[derive(Clone, Copy, Debug)]
pub enum Touches<'a, 'k> {
    /// These keys and no others.
    Keys(&'a [Key<'k>]),
    /// Anything.
    Everything,
}

/// Whether there is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// There is none.
    Absent,
    /// It has expired and was not removed yet.
    Expired,
    /// It is there.
    Live,
}

/// A transaction of several commands on this thread. Nothing may wait while there is one.
pub struct Transaction<'a> {
    store: &'a Store,
    taken: Option<Taken<'a>>,
    now_ms: u64,
    /// Whether it may have published something that only its commit lets count.
    is_atom: bool,
}

impl Store {
    /// Begins a transaction: waits for the stripes. If `several` commands of it may write they become one atom; a single one is an ordinary batch.
    ///
    /// `guard` must stay pinned until the commit. The thread must hold no stripe, and be in no other transaction.
    pub fn begin_transaction<'a>(
        &'a self,
        worker: &mut Worker,
        touches: Touches<'_, '_>,
        several: bool,
        now_ms: u64,
        guard: &'a Guard,
    ) -> Transaction<'a> {
        // Only its life matters.
        let _ = guard;
        let numbers = match touches {
            Touches::Keys(keys) => keys.iter().map(|key| self.stripes.number(self.hash(key.name))).collect(),
            Touches::Everything => (0..self.stripes.count()).collect(),
        };
        let taken = self.stripes.take(numbers);
        // With the stripes: nobody can have missed one of these keys at a later time.
        let now_ms = now_ms.max(self.clock_floor_ms.load(Ordering::Acquire));
        let several = several && !mutant::active(Mutant::TransactionSplit);
        worker.atom = several.then(|| Atom::new(self.new_object()));
        worker.map = None;
        Transaction { store: self, taken: Some(taken), now_ms, is_atom: several }
    }

    /// Whether so many bytes of records, roughly, can be written by this worker now: into its open segment, or as there is a free one.
    pub fn has_room_for(&self, worker: &Worker, bytes: u64) -> bool {
        worker.writer.room() >= bytes || self.pool.has_room(Urgency::Normal)
    }

    /// Whether there is a key where databases are what `table` says, for who holds its stripe or has taken it.
    fn key_state(&self, table: &DbTable, key: Key<'_>, now_ms: u64, guard: &Guard) -> KeyState {
        let hash = self.hash(key.name);
        let mut state = KeyState::Absent;
        if let Some(index) = table.get(key.db).index() {
            let _addr = index.get(hash, guard, |addr| {
                let Ok(record) = try_record_at(&self.pool, addr) else { return false };
                let same = record.key == key.name;
                if same {
                    let is_over = record.expired(now_ms)
                        || self.entry_of(record, guard).is_some_and(|entry| entry.is_over(now_ms));
                    state = if is_over { KeyState::Expired } else { KeyState::Live };
                }
                same
            });
        }
        state
    }

    /// Has `watcher` told of changes of a key, and says to `note` whether there is one now, before it is told of any.
    pub fn watch(
        &self,
        key: Key<'_>,
        watcher: Arc<dyn Watcher>,
        now_ms: u64,
        guard: &Guard,
        note: impl FnOnce(KeyState),
    ) {
        let _held = self.stripes.of(self.hash(key.name)).lock();
        self.changes.watch(key.db, key.name, watcher);
        note(self.key_state(self.table.load(guard), key, self.expiry_time(now_ms), guard));
    }

    /// Databases are what `after` says now, not `before`: tells who watches keys of `db` of those that are in it either way. All stripes are held.
    pub(super) fn tell_of_database(&self, db: Db, before: &DbTable, after: &DbTable, guard: &Guard) {
        let now_ms = self.expiry_time(self.clock.now_ms());
        self.changes.tell_database(db, |name| {
            let state = |table| self.key_state(table, Key { db, name }, now_ms, guard);
            match (state(before), state(after)) {
                (KeyState::Absent, KeyState::Absent) | (KeyState::Expired, KeyState::Expired) => None,
                (KeyState::Expired, KeyState::Absent) => Some(Change::Expired),
                (KeyState::Absent, KeyState::Expired) => Some(Change::CameExpired),
                _ => Some(Change::Database),
            }
        });
    }
}

impl Transaction<'_> {
    /// The time at which all of it happens, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether there is a key, one of those that the transaction may look at.
    pub fn key_state(&self, key: Key<'_>, guard: &Guard) -> KeyState {
        self.store.key_state(self.store.table.load(guard), key, self.now_ms, guard)
    }

    /// Whether nothing was written so far, so that dropping the transaction leaves no trace of it.
    pub fn is_unwritten(&self, worker: &Worker) -> bool {
        worker.atom.as_ref().is_none_or(Atom::is_empty)
    }

    /// Makes all that was written count, and lets everyone see it. Durable on return.
    ///
    /// Cost: nothing if nothing was written, or by one command alone; otherwise a line flushed and a fence. If databases were changed two copies of the
    /// superblock as well.
    pub fn commit(mut self, worker: &mut Worker) {
        if mutant::active(Mutant::TransactionSeenEarly) {
            self.taken = None;
        }
        if let Some(atom) = worker.atom.take() {
            if mutant::active(Mutant::DatabaseMapEarly) {
                self.put_map_in_force(worker);
            }
            worker.writer.commit_atom(&self.store.pool, atom);
            self.put_map_in_force(worker);
        }
        self.is_atom = false;
    }

    /// What the transaction has made of the databases goes into the superblock. A crash before that leaves it to recovery, which finds the map in the log.
    fn put_map_in_force(&self, worker: &mut Worker) {
        if let Some(map) = worker.map.take() {
            self.store.pool.update_superblock(|superblock| superblock.set_map(&map));
        }
    }

    /// Gives the stripes back without a trace.
    ///
    /// # Panics
    /// If something was written.
    pub fn abandon(mut self, worker: &mut Worker) {
        assert!(self.is_unwritten(worker), "what was published must be committed");
        worker.atom = None;
        self.is_atom = false;
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Still set: a command has panicked.
        if self.is_atom {
            tracing::error!("a transaction failed half-way; stopping: recovery will show nothing of it");
            std::process::abort();
        }
    }
}
