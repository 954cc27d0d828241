//! What is live and what is garbage, and which keys expire: the DRAM bookkeeping of each record that the index gains or loses.

use super::keyspaces::Keyspace;
use super::stripes::{Held, Stripe};
use crate::base::LogAddr;
use crate::log::{Kind, Record, record_at};
use crate::pool::Pool;

/// Counts `bytes` at `addr` as live.
#[inline]
pub(super) fn count_live(pool: &Pool, addr: LogAddr, bytes: usize) {
    if let Some(segment) = pool.segment_of(addr.offset()) {
        pool.add_live(segment, bytes as u64);
    }
}

/// Counts `bytes` at `addr` as garbage.
#[inline]
pub(super) fn count_garbage(pool: &Pool, addr: LogAddr, bytes: usize) {
    if let Some(segment) = pool.segment_of(addr.offset()) {
        pool.sub_live(segment, bytes as u64);
    }
}

/// The record at `addr` has come into the index of `keyspace`. The stripe is held.
#[inline]
pub(super) fn count_in<'p>(
    pool: &'p Pool,
    keyspace: &Keyspace,
    stripe: &Stripe,
    held: &mut Held<'_>,
    hash: u64,
    addr: LogAddr,
) -> Record<'p> {
    let record = record_at(pool, addr);
    if record.kind != Kind::Tombstone {
        count_live(pool, addr, record.bytes());
    }
    if record.expiry_ms != 0 {
        stripe.add_deadline(held, (record.expiry_ms, keyspace.id, hash));
        keyspace.count_deadline(record.expiry_ms);
    }
    record
}

/// The record at `addr` has gone from the index of `keyspace`: it is garbage now. The stripe is held.
#[inline]
pub(super) fn count_out<'p>(
    pool: &'p Pool,
    keyspace: &Keyspace,
    stripe: &Stripe,
    held: &mut Held<'_>,
    hash: u64,
    addr: LogAddr,
) -> Record<'p> {
    let record = record_at(pool, addr);
    if record.kind != Kind::Tombstone {
        count_garbage(pool, addr, record.bytes());
    }
    if record.expiry_ms != 0 {
        stripe.remove_deadline(held, (record.expiry_ms, keyspace.id, hash));
        keyspace.uncount_deadline(record.expiry_ms);
    }
    record
}
