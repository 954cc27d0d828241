//! Expiry of a hash's fields. A field's record has the time, and each look at a hash goes by it: what has expired is not there, though it may not have
//! been removed yet. So removing decides nothing, and may be late.
//!
//! A stripe knows of each hash with such fields when the first of them expires, and a cycle removes exactly what is due, as with keys (`expiry.rs`).
//! An expired record is its field's tombstone: removing it from DRAM writes nothing. Only the last of a hash's fields needs a record, the tombstone of
//! the key: until that is durable the field stays, so that recovery finds no head without an element.

use super::collections::SharedCollection;
use super::expiry::NOBODY;
use super::keyspaces::Keyspace;
use super::stripes::{Due, Held, Stripe, in_transaction};
use super::{Change, Store, Worker};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, NewRecord, Record, record_at, try_record_at};
use crate::pool::Urgency;
use crossbeam_epoch::Guard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Fields removed when a hash is read on whose stripe some are due.
const REMOVED_PER_READ: usize = 16;

/// The first field of the hash at a key expires at `to` now and not at `from` any more; `None` is never. The stripe is held.
pub(super) fn move_field_deadline(
    keyspace: &Keyspace,
    stripe: &Stripe,
    held: &mut Held<'_>,
    hash: u64,
    from: Option<u64>,
    to: Option<u64>,
) {
    if let Some(at_ms) = from {
        stripe.remove_deadline(held, Due::Field, (at_ms, keyspace.id, hash));
        keyspace.count_field_expires(false);
    }
    if let Some(at_ms) = to {
        stripe.add_deadline(held, Due::Field, (at_ms, keyspace.id, hash));
        keyspace.count_field_expires(true);
    }
}

/// A hash with fields that are due.
struct DueHash<'g> {
    hash: u64,
    addr: LogAddr,
    head: Record<'g>,
    shared: &'g SharedCollection,
}

impl Store {
    /// Removes at most `limit` fields of a held stripe that are due at `now_ms`, which must be durably past, and tells of each hash; says how many. With
    /// `buries` a hash without any other field goes, too: a line and a fence for each.
    pub(super) fn expire_fields(
        &self,
        stripe: &Stripe,
        held: &mut Held<'_>,
        now_ms: u64,
        limit: usize,
        buries: bool,
        guard: &Guard,
    ) -> usize {
        let table = self.table.load(guard);
        let (mut removed, mut looks, mut left) = (0, 0, Vec::new());
        // Ends: each turn takes a deadline out.
        while removed < limit
            && looks < limit
            && let Some(deadline) = stripe.pop_due(held, Due::Field, now_ms)
        {
            looks += 1;
            let (at_ms, keyspace_id, hash) = deadline;
            // A keyspace that was flushed since leaves its deadlines behind.
            let Some((db, keyspace)) = table.find(keyspace_id) else { continue };
            let Some(found) = self.due_hash(keyspace, hash, at_ms, guard) else { continue };
            let mut change = Change::FieldsExpired;
            let here = match found.shared.ends_at_ms() <= now_ms && buries {
                true if self.bury(keyspace, stripe, held, &found, guard) => {
                    change = Change::Ended;
                    found.shared.read().len()
                }
                // Not waiting for readers: one may be this thread's.
                _ => found
                    .shared
                    .try_write()
                    .map_or(0, |mut fields| fields.remove_due(self.tools(), now_ms, limit - removed)),
            };
            match change {
                Change::Ended => {}
                _ if here == 0 => left.push(deadline),
                _ => match found.shared.read().first_deadline_ms() {
                    Some(next_ms) => stripe.add_deadline(held, Due::Field, (next_ms, keyspace_id, hash)),
                    None => keyspace.count_field_expires(false),
                },
            }
            if here > 0 {
                self.changes.tell(db, found.head.key, change, NOBODY);
            }
            removed += here;
        }
        left.into_iter().for_each(|deadline| stripe.add_deadline(held, Due::Field, deadline));
        self.expired_fields.fetch_add(removed as u64, Ordering::Relaxed);
        removed
    }

    fn due_hash<'g>(&'g self, keyspace: &Keyspace, hash: u64, at_ms: u64, guard: &'g Guard) -> Option<DueHash<'g>> {
        let is_it = |addr| {
            try_record_at(&self.pool, addr).is_ok_and(|head| {
                self.hash(head.key) == hash && self.objects.field_deadline_ms(&head, guard) == Some(at_ms)
            })
        };
        let addr = keyspace.index()?.get(hash, guard, is_it)?;
        let head = record_at(&self.pool, addr);
        let shared = self.objects.collections.get(head.object().ok()?.id, guard)?;
        Some(DueHash { hash, addr, head, shared })
    }

    /// Removes a hash all of whose fields have expired, if there is room for the tombstone. The stripe is held.
    fn bury(
        &self,
        keyspace: &Keyspace,
        stripe: &Stripe,
        held: &mut Held<'_>,
        found: &DueHash<'_>,
        guard: &Guard,
    ) -> bool {
        let Some(index) = keyspace.index() else { return false };
        let DueHash { hash, addr, head, .. } = *found;
        held.version += 1;
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let Worker { writer, batch, .. } = &mut *marks;
        batch.clear();
        batch.push(&NewRecord {
            kind: Kind::Tombstone,
            flags: 0,
            keyspace: keyspace.id,
            version: held.version,
            expiry_ms: 0,
            key: [head.key, &[]],
            value: &[],
        });
        // A crash before its fence leaves the hash with a field at least, and that expired.
        let is_left_out = mutant::active(Mutant::LastFieldWithoutTombstone);
        if !is_left_out && writer.commit(&self.pool, batch, Urgency::Frees).is_err() {
            return false;
        }
        drop(marks);
        // The cleaner may have moved the head.
        let is_it = |other| other == addr || self.is_copy(other, &head);
        if let Some(addr) = stripe.publishing_one(|| index.remove(hash, guard, is_it)) {
            self.objects.leave(self.tools(), keyspace, stripe, held, hash, addr, guard);
        }
        true
    }

    /// Before a hash of a held stripe is looked at: removes some fields of the stripe that are due, so that in most cases none are left that the look has
    /// to pass over. One load where nothing is due.
    #[inline]
    pub(super) fn expire_fields_met(&self, stripe: &Stripe, held: &mut Held<'_>, now_ms: u64, guard: &Guard) {
        let first_ms = stripe.next_deadline_ms(Due::Field);
        if first_ms <= now_ms && !in_transaction() {
            self.mark_fields(first_ms, now_ms);
            let marked_ms = self.clock_floor_ms.load(Ordering::Acquire);
            self.expire_fields(stripe, held, marked_ms.min(now_ms), REMOVED_PER_READ, false, guard);
        }
    }

    /// [`Store::mark_clock`], before anyone may notice that a field has expired.
    pub(super) fn mark_fields(&self, needed_ms: u64, now_ms: u64) {
        if !mutant::active(Mutant::FieldMarkLeftOut) {
            self.mark_clock(needed_ms, now_ms);
        }
    }

    /// Removes all fields that are durably past but for the last of a hash; writes nothing. For who counts what is in use. All stripes are held.
    pub(super) fn settle_fields(&self, held: &mut [Held<'_>], guard: &Guard) {
        let floor_ms = self.clock_floor_ms.load(Ordering::Acquire);
        for (number, held) in held.iter_mut().enumerate() {
            self.expire_fields(self.stripes.at(number as u32), held, floor_ms, usize::MAX, false, guard);
        }
    }

    /// Fields removed because they had expired, since the store was opened.
    pub fn expired_fields(&self) -> u64 {
        self.expired_fields.load(Ordering::Relaxed)
    }
}
