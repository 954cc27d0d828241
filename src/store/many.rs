//! Several independent writes in one commit batch: one fence for a whole pipeline of plain SETs.

use super::read::RUN;
use super::txn::{HeldStripes, Txn};
use super::{Db, Key, Purpose, Store, StoreError, Worker};
use crate::base::LogAddr;
use crate::log::{Kind, Record, try_record_at};
use crate::persist::CACHE_LINE_BYTES;
use crossbeam_epoch::Guard;

/// Lines of a record that are asked for before anything is known of it.
const FIRST_LINES: u32 = 2;
/// Most lines of one that are.
const MOST_LINES: u64 = 16;

impl Store {
    /// Sets each key to its value, without expiry. All of them are durable before any is visible, with one fence; readers may see one
    /// changed before another, as these are separate commands. Values must be at most [`Store::inline_max`] long; at most [`RUN`] pairs.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`] or [`StoreError::RecordTooLarge`]: nothing has happened then.
    ///
    /// # Panics
    /// If there are none, or more than [`RUN`].
    pub fn set_independent(
        &self,
        worker: &mut Worker,
        pairs: &[(Key<'_>, &[u8])],
        now_ms: u64,
        guard: &Guard,
    ) -> Result<(), StoreError> {
        let mut hashes = [0u64; RUN];
        let hashes = &mut hashes[..pairs.len()];
        for (hash, (key, _)) in hashes.iter_mut().zip(pairs) {
            *hash = self.hash(key.name);
        }
        let mut txn = self.write_hashed(worker, pairs[0].0.db, hashes, now_ms, guard);
        txn.independent = true;
        for ((key, value), &hash) in pairs.iter().zip(&*hashes) {
            txn.stage_independent(*key, hash, value);
        }
        txn.commit()
    }

    /// As [`Store::write`], of the keys of a database that have these hashes. Asks for the cache lines that finding them will touch.
    ///
    /// # Panics
    /// If there are none, or more than [`RUN`].
    pub fn write_hashed<'a>(
        &'a self,
        worker: &'a mut Worker,
        db: Db,
        hashes: &[u64],
        now_ms: u64,
        guard: &'a Guard,
    ) -> Txn<'a> {
        if hashes.len() > 1 {
            self.warm(db, hashes, Purpose::Change, guard);
        }
        let mut numbers = [0u32; RUN];
        let numbers = &mut numbers[..hashes.len()];
        for (number, &hash) in numbers.iter_mut().zip(hashes) {
            *number = self.stripes.number(hash);
        }
        let held: HeldStripes<'_> = self.lock_stripes(numbers);
        self.begin(worker, held, now_ms, guard)
    }

    /// Asks for the cache lines that finding, and perhaps replacing, these keys will touch (buckets, the records that are there now, what is counted of
    /// superseded ones), so that the misses overlap instead of following one another. At most [`RUN`] at a time.
    pub fn warm(&self, db: Db, hashes: &[u64], purpose: Purpose, guard: &Guard) {
        if purpose == Purpose::Change {
            hashes.iter().for_each(|&hash| self.stale.warm(hash));
        }
        let table = self.table.load(guard);
        let Some(index) = table.get(db).index() else { return };
        let region = self.pool.region();
        // Header and key may straddle a line.
        let prefetch = |addr: LogAddr| region.prefetch(addr.offset(), FIRST_LINES);
        let mut none = [None; RUN];
        // No candidate is taken for a match: the point is what was asked for on the way. What is packed will be gone through, whole.
        let longer = |_, addr: LogAddr| {
            if let Ok(Record { kind: Kind::Packed, key, value, .. }) = try_record_at(&self.pool, addr) {
                let lines = ((key.len() + value.len()) as u64 / CACHE_LINE_BYTES).min(MOST_LINES) as u32;
                region.prefetch(addr.offset() + u64::from(FIRST_LINES) * CACHE_LINE_BYTES, lines.saturating_sub(1));
            }
            false
        };
        index.get_batch(hashes, guard, prefetch, longer, &mut none[..hashes.len()]);
    }
}
