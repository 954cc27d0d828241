//! What is live, what is superseded and which keys expire: the DRAM bookkeeping of each record that the index gains or loses.

use super::keyspaces::Keyspace;
use super::stripes::{Due, Held, Stripe};
use crate::base::LogAddr;
use crate::cleaner::StaleFilter;
use crate::log::{Kind, Record};
use crate::pool::Pool;

/// What is counted of records: bytes that are live, by segment, and records that are superseded, by key.
#[derive(Clone, Copy)]
pub(super) struct Books<'p> {
    pub(super) pool: &'p Pool,
    pub(super) stale: &'p StaleFilter,
}

impl Books<'_> {
    /// Counts `bytes` at `addr` as live.
    #[inline]
    pub(super) fn count_live(self, addr: LogAddr, bytes: usize) {
        if let Some(segment) = self.pool.segment_of(addr.offset()) {
            self.pool.add_live(segment, bytes as u64);
        }
    }

    /// Counts `bytes` at `addr` as garbage.
    #[inline]
    pub(super) fn count_garbage(self, addr: LogAddr, bytes: usize) {
        if let Some(segment) = self.pool.segment_of(addr.offset()) {
            self.pool.sub_live(segment, bytes as u64);
        }
    }

    /// `record`, at `addr`, has come into the index of `keyspace`. The stripe is held.
    #[inline]
    pub(super) fn count_in(
        self,
        keyspace: &Keyspace,
        stripe: &Stripe,
        held: &mut Held<'_>,
        hash: u64,
        (addr, record): (LogAddr, &Record<'_>),
    ) {
        if record.kind != Kind::Tombstone {
            self.count_live(addr, record.bytes());
        }
        if record.expiry_ms != 0 {
            stripe.add_deadline(held, Due::Key, (record.expiry_ms, keyspace.id, hash));
            keyspace.count_deadline(record.expiry_ms);
        }
    }

    /// `record`, at `addr`, has gone from the index of `keyspace`: it is garbage now, and superseded. The stripe is held.
    #[inline]
    pub(super) fn count_out(
        self,
        keyspace: &Keyspace,
        stripe: &Stripe,
        held: &mut Held<'_>,
        hash: u64,
        (addr, record): (LogAddr, &Record<'_>),
    ) {
        if record.kind != Kind::Tombstone {
            self.count_garbage(addr, record.bytes());
            self.stale.add(hash);
        }
        if record.expiry_ms != 0 {
            stripe.remove_deadline(held, Due::Key, (record.expiry_ms, keyspace.id, hash));
            keyspace.uncount_deadline(record.expiry_ms);
        }
    }
}
