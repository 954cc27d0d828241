//! Removing expired keys: exactly those that are due, found through the stripes' deadlines, never by sampling.
//!
//! An expired record is its own tombstone: removing its key writes nothing. But before anyone may notice that a key has expired (a cycle that
//! removes it, a read that does not find it), "expiry has gone by at least this time" is made durable, so that a wall clock set back over a
//! restart brings no key back. That is a clock mark: one line, one fence, at most once per millisecond of time, and none for keys whose expiry
//! lies below the last mark.

use super::collections::Tools;
use super::keyspaces::{DbTable, Keyspace};
use super::objects::Objects;
use super::stripes::{Due, Held, Stripe};
use super::{Change, Db, Store, Worker};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, NewRecord, Record, try_record_at};
use crate::pool::Urgency;
use crossbeam_epoch::Guard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Removes at most `limit` keys of a held stripe that are due at `now_ms` and tells of each; says how many.
#[expect(clippy::too_many_arguments, reason = "shared by recovery, which has the parts of a store and no store yet")]
pub(super) fn remove_due(
    tools: Tools<'_>,
    table: &DbTable,
    objects: &Objects,
    stripe: &Stripe,
    held: &mut Held<'_>,
    now_ms: u64,
    limit: usize,
    guard: &Guard,
    mut tell: impl FnMut(Db, &[u8]),
) -> usize {
    let Tools { books, hasher } = tools;
    let mut removed = 0;
    // Ends: each turn takes a deadline out.
    while removed < limit
        && let Some((at_ms, keyspace_id, hash)) = stripe.pop_due(held, Due::Key, now_ms)
    {
        // A keyspace that was flushed since leaves its deadlines behind.
        let Some((db, keyspace)) = table.find(keyspace_id) else { continue };
        let Some(index) = keyspace.index() else { continue };
        let is_expired = |addr| {
            let found = try_record_at(books.pool, addr);
            found.is_ok_and(|record| record.expiry_ms == at_ms && hasher.hash(record.key) == hash)
        };
        if let Some(addr) = stripe.publishing_one(|| index.remove(hash, guard, is_expired)) {
            let record = objects.leave(tools, keyspace, stripe, held, hash, addr, guard);
            tell(db, record.key);
            removed += 1;
        }
    }
    removed
}

/// Keys that expire are written by no client.
pub(super) const NOBODY: u64 = 0;

/// Keys removed when a read meets an expired one: it takes more of its stripe's due keys along.
const REMOVED_PER_READ: usize = 16;

/// Keys removed from one stripe before its lock is let go for a moment.
const REMOVED_PER_LOCK: usize = 64;

impl Store {
    /// Removes keys and fields that are due at `now_ms`, for at most about `budget`; says how many. Writes one clock mark (one line, one fence) if
    /// there are any, and a tombstone, of the same cost, for each hash whose last field goes.
    pub fn expire_cycle(&self, now_ms: u64, budget: Duration) -> usize {
        let due = |number: &u32| self.stripes.at(*number).is_due(now_ms);
        let mut numbers = (0..self.stripes.count()).filter(due).peekable();
        if numbers.peek().is_none() {
            return 0;
        }
        self.mark_clock(now_ms, now_ms);
        let started = Instant::now();
        let mut removed = 0;
        for number in numbers {
            // Ends: each turn removes keys, until a turn finds none or time is up.
            loop {
                let here = self.expire_stripe(number, now_ms, REMOVED_PER_LOCK);
                removed += here;
                if started.elapsed() >= budget {
                    return removed;
                }
                if here < REMOVED_PER_LOCK {
                    break;
                }
            }
        }
        removed
    }

    /// Removes keys and fields of one stripe that are due, if nobody holds it.
    fn expire_stripe(&self, number: u32, now_ms: u64, limit: usize) -> usize {
        let stripe = self.stripes.at(number);
        let Some(mut held) = stripe.try_lock() else { return 0 };
        let keys = self.expire_held(stripe, &mut held, now_ms, limit);
        keys + self.expire_fields(stripe, &mut held, now_ms, limit - keys, true, &crossbeam_epoch::pin())
    }

    fn expire_held(&self, stripe: &Stripe, held: &mut Held<'_>, now_ms: u64, limit: usize) -> usize {
        let guard = crossbeam_epoch::pin();
        let table = self.table.load(&guard);
        let (tools, objects) = (self.tools(), &self.objects);
        let tell = |db, name: &[u8]| self.changes.tell(db, name, Change::Expired, NOBODY);
        let removed = remove_due(tools, table, objects, stripe, held, now_ms, limit, &guard, tell);
        self.expired_keys.fetch_add(removed as u64, Ordering::Relaxed);
        removed
    }

    /// A reader that holds no stripe has found `record` of `hash` at `addr`, which has expired: makes durable that time has come so far, and removes
    /// the key, with others of its stripe that are due. Says whether it did: not when the index has something else for the key by now.
    ///
    /// It waits for the stripe: a writer who holds it may have found the key alive, at an earlier time, and be giving it a longer life. Nobody may
    /// be told that the key has expired and find it there later. Whoever takes the stripe afterwards goes by the time that was marked.
    #[cold]
    pub(super) fn remove_expired(
        &self,
        keyspace: &Keyspace,
        hash: u64,
        addr: LogAddr,
        record: &Record<'_>,
        now_ms: u64,
        guard: &Guard,
    ) -> bool {
        self.mark_clock(record.expiry_ms, now_ms);
        let Some(index) = keyspace.index() else { return false };
        let stripe = self.stripes.of(hash);
        let mut held = stripe.lock();
        // The cleaner may have moved it: a copy has the same version.
        let is_same = |other| other == addr || self.is_copy(other, record);
        let removed = stripe.publishing_one(|| index.remove(hash, guard, is_same));
        if let Some(addr) = removed {
            self.objects.leave(self.tools(), keyspace, stripe, &mut held, hash, addr, guard);
            if let Some((db, _)) = self.table.load(guard).find(keyspace.id) {
                self.changes.tell(db, record.key, Change::Expired, NOBODY);
            }
            self.expired_keys.fetch_add(1, Ordering::Relaxed);
        }
        // Of the others only those that are durably due. That may be fewer than are due now: the mark that this record needed can be an older
        // one.
        let marked_ms = self.clock_floor_ms.load(Ordering::Acquire);
        self.expire_held(stripe, &mut held, marked_ms.min(now_ms), REMOVED_PER_READ);
        removed.is_some()
    }

    /// Whether the record at `addr` is a copy of `record`.
    pub(super) fn is_copy(&self, addr: LogAddr, record: &Record<'_>) -> bool {
        try_record_at(&self.pool, addr).is_ok_and(|other| other == *record)
    }

    /// Makes it durable that expiry has gone by `now_ms`, unless it is durable already that it has gone by `needed_ms`: by a clock mark, or in
    /// a pool too full even for that by the superblock's clock floor, at the cost of two copies and two fences.
    pub(super) fn mark_clock(&self, needed_ms: u64, now_ms: u64) {
        // Acquire: pairs with the store below, after the fence.
        if self.clock_floor_ms.load(Ordering::Acquire) >= needed_ms || mutant::active(Mutant::ClockMarkLeftOut) {
            return;
        }
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.clock_floor_ms.load(Ordering::Acquire) >= needed_ms {
            return;
        }
        let Worker { writer, batch, .. } = &mut *marks;
        batch.clear();
        batch.push(&NewRecord {
            kind: Kind::ClockMark,
            flags: 0,
            keyspace: 0,
            version: 0,
            expiry_ms: now_ms,
            key: [&[], &[]],
            value: &[],
        });
        if writer.commit(&self.pool, batch, Urgency::Frees).is_err() {
            self.pool.raise_clock_floor(now_ms);
        }
        self.clock_floor_ms.store(now_ms, Ordering::Release);
    }

    /// Whether expired keys are removed in the background (DEBUG SET-ACTIVE-EXPIRE).
    pub fn set_active_expire(&self, on: bool) {
        self.active_expire.store(on, Ordering::Relaxed);
    }

    /// Keys removed because they had expired, since the store was opened.
    pub fn expired_keys(&self) -> u64 {
        self.expired_keys.load(Ordering::Relaxed)
    }
}
