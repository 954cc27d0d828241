//! `maxmemory`: room for a command that makes the pool fuller, by evicting keys, before it runs.
//!
//! Nothing is asked for but one atomic while no limit is set. With a limit, each worker has a share of what is left below it, and only when that
//! is used up are the bytes in use summed up again (`store/evict.rs`).

use super::context::RoomWaits;
use super::server::latency;
use super::{CommandSpec, Ctx, Events, Flags, Modes, ReplyMode};
use crate::protocol::Args;
use crate::store::{Evicted, EvictionRules, Key};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// More than what the log adds to a plain SET: record header, batch header and padding.
const LOG_BYTES_PER_SET: u64 = 128;

/// Time for evictions in one command at a tenacity of `tenacity`, as Redis has it; `None` for no limit.
fn time_limit(tenacity: u64) -> Option<Duration> {
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * tenacity)),
        11..=99 => Some(Duration::from_micros((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64)),
        _ => None,
    }
}

/// For how long there has been more than the limit, as far as commands have looked.
#[derive(Debug, Default)]
pub struct OverLimit {
    /// Since when, in Unix milliseconds; 0 when there is not.
    since_ms: AtomicU64,
    total_ms: AtomicU64,
}

impl OverLimit {
    /// A command has looked.
    fn note(&self, over: bool, now_ms: u64) {
        if over {
            // The first who finds it so sets it; the others' times are later.
            let _ = self.since_ms.compare_exchange(0, now_ms, Relaxed, Relaxed);
        } else {
            let since_ms = self.since_ms.swap(0, Relaxed);
            if since_ms != 0 {
                self.total_ms.fetch_add(now_ms.saturating_sub(since_ms), Relaxed);
            }
        }
    }

    /// Milliseconds of the times that are over and of the one that is not, if there is one.
    pub(super) fn total_and_current_ms(&self, now_ms: u64) -> (u64, u64) {
        let since_ms = self.since_ms.load(Relaxed);
        let current_ms = if since_ms == 0 { 0 } else { now_ms.saturating_sub(since_ms) };
        (self.total_ms.load(Relaxed) + current_ms, current_ms)
    }

    /// CONFIG RESETSTAT.
    pub(super) fn reset(&self) {
        self.since_ms.store(0, Relaxed);
        self.total_ms.store(0, Relaxed);
    }
}

impl Ctx<'_> {
    /// Whether a command that makes the pool fuller may run: below `maxmemory`, or when evicting keys has helped or is under way.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        let limit_bytes = self.shared.settings.maxmemory_bytes();
        limit_bytes == 0 || self.store.is_within_share(self.worker, limit_bytes, 0) || self.make_room(limit_bytes, 0)
    }

    /// The limit, or how to stay below it, may be another now: evicts keys for as long as one command may. What is above the limit after that goes with
    /// the next writes. Inside a transaction, which holds stripes, all of it does.
    pub(super) fn follow_limit(&mut self) {
        if !self.session.in_exec && !self.loading {
            self.has_room();
        }
    }

    /// Whether `sets` plain SETs of so many bytes of keys and values may run together: room for all of them is made ahead then. Where keys are not
    /// evicted, near the limit, each must ask for itself.
    #[inline]
    pub(super) fn has_room_for_run(&mut self, sets: usize, bytes: usize) -> bool {
        let limit_bytes = self.shared.settings.maxmemory_bytes();
        if limit_bytes == 0 {
            return true;
        }
        let ahead = bytes as u64 + sets as u64 * LOG_BYTES_PER_SET;
        self.store.is_within_share(self.worker, limit_bytes, ahead) || self.make_room(limit_bytes, ahead)
    }

    #[cold]
    fn make_room(&mut self, limit_bytes: u64, ahead: u64) -> bool {
        let rules = self.eviction_rules(limit_bytes);
        if ahead > limit_bytes / 2 {
            // Not for what is as large as the data.
            return false;
        }
        let (evicted, enough) =
            self.evicting(|ctx| ctx.store.make_room_below(ctx.worker, &rules, ahead, ctx.now_ms, ctx.guard));
        self.count_evicted(evicted);
        if ahead == 0 {
            self.shared.over_limit.note(!enough, self.now_ms);
        }
        // One command goes on when time was up, as every one that does has evicted something. Not so many at once.
        enough || (ahead == 0 && evicted.out_of_time)
    }

    /// The pool itself has no room for a command, and cleaning has made none. Whether keys were evicted, `maxmemory` or not, so that the command should
    /// wait for the cleaner once more. That ends at last: each time keys go, for no longer than one command may evict.
    #[cold]
    pub(super) fn may_evict_for_room(&mut self, spec: &CommandSpec, args: Args<'_>) -> bool {
        let pool = self.store.pool();
        let bytes: u64 = args.iter().map(|arg| arg.len() as u64).sum();
        let is_hopeless = bytes > pool.region().len() / 2;
        let may =
            spec.flags.contains(Flags::DENYOOM) && !is_hopeless && self.evict_for_pool(bytes + pool.segment_bytes());
        if may {
            self.session.room_waits = RoomWaits::default();
        }
        may
    }

    /// Evicts keys whose records take `bytes`, as the policy says, or as many as there is time for. Says whether any went: their records are garbage
    /// then, which it takes the cleaner to make room of.
    fn evict_for_pool(&mut self, bytes: u64) -> bool {
        let rules = self.eviction_rules(0);
        let evicted = self.evicting(|ctx| ctx.store.evict(ctx.worker, &rules, bytes, ctx.now_ms, ctx.guard));
        self.count_evicted(evicted);
        evicted.bytes > 0
    }

    /// Evicts. It is nobody's doing: a client that is not told of its own changes is told of these.
    fn evicting<R>(&mut self, evict: impl FnOnce(&mut Self) -> R) -> R {
        let client = std::mem::take(&mut self.worker.client);
        let started = Instant::now();
        let result = evict(self);
        latency::note(self, "eviction-cycle", started.elapsed());
        self.worker.client = client;
        result
    }

    fn count_evicted(&mut self, evicted: Evicted) {
        self.stats.evicted_keys.add(evicted.keys);
        for (db, name) in std::mem::take(&mut self.worker.evicted) {
            self.notify_of(Events::EVICTED, "evicted", Key { db, name: &name });
        }
        if evicted.keys > 0 && self.session.modes.contains(Modes::LISTENING) && self.session.reply_mode == ReplyMode::On
        {
            // The client hears that these have gone before the command's reply, which is written behind this.
            self.take_posted();
        }
    }

    fn eviction_rules(&self, limit_bytes: u64) -> EvictionRules {
        let settings = &self.shared.settings;
        EvictionRules {
            limit_bytes,
            policy: settings.maxmemory_policy(),
            samples: settings.maxmemory_samples(),
            writers: self.shared.stats.workers() as u64,
            names: self.wants(Events::EVICTED),
            time: time_limit(settings.eviction_tenacity()),
        }
    }
}

#[cfg(test)]
mod tests;
