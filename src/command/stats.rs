//! What the server counts. Each worker counts for itself, on cache lines that no other thread writes; readers add up.
//!
//! Invariants:
//! 1. A [`Counter`] has one writing thread, so that counting is a plain load and store, without a locked instruction.
//! 2. CONFIG RESETSTAT never writes a counter: it remembers the sums so far, and readers subtract them.

use super::histogram::{Histogram, Times};
use super::table::CommandId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Most different error prefixes that are counted; what comes after them is not.
pub const MAX_ERROR_PREFIXES: usize = 128;

/// A count that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call it: two callers at once would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a single writer, and the count carries no other data.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one command.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Times it ran, failures included.
    pub calls: Counter,
    /// Time spent in it, in nanoseconds.
    pub nanos: Counter,
    /// Times it was refused before it ran (arity, authentication, loading, no room).
    pub rejected: Counter,
    /// Times it ran and answered with an error.
    pub failed: Counter,
}

/// The counters of one thread.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Commands that ran.
    pub commands_processed: Counter,
    /// Connections accepted (counted by the listener).
    pub connections_received: Counter,
    /// Connections turned away because of `maxclients` or protected mode (counted by the listener).
    pub connections_rejected: Counter,
    /// Bytes read from sockets.
    pub net_input_bytes: Counter,
    /// Bytes written to sockets.
    pub net_output_bytes: Counter,
    /// Reads from sockets that brought something.
    pub reads_processed: Counter,
    /// Writes to sockets that took something.
    pub writes_processed: Counter,
    /// Lookups that found a key.
    pub keyspace_hits: Counter,
    /// Lookups that found none.
    pub keyspace_misses: Counter,
    /// Keys evicted to make room.
    pub evicted_keys: Counter,
    /// Error replies.
    pub error_replies: Counter,
    /// Clients closed because they read their replies too slowly.
    pub output_limit_disconnections: Counter,
    /// Clients closed because they sent more than `client-query-buffer-limit` without completing a request.
    pub query_limit_disconnections: Counter,
    commands: Box<[CommandCounters]>,
    /// By command; of those that were timed.
    times: Box<[OnceLock<Box<Histogram>>]>,
    /// Locked on error replies and by readers only.
    errors: Mutex<BTreeMap<String, u64>>,
}

impl WorkerStats {
    /// Zeros, for `commands` commands.
    pub fn new(commands: usize) -> Self {
        Self {
            commands_processed: Counter::default(),
            connections_received: Counter::default(),
            connections_rejected: Counter::default(),
            net_input_bytes: Counter::default(),
            net_output_bytes: Counter::default(),
            reads_processed: Counter::default(),
            writes_processed: Counter::default(),
            keyspace_hits: Counter::default(),
            keyspace_misses: Counter::default(),
            evicted_keys: Counter::default(),
            error_replies: Counter::default(),
            output_limit_disconnections: Counter::default(),
            query_limit_disconnections: Counter::default(),
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
            times: (0..commands).map(|_| OnceLock::new()).collect(),
            errors: Mutex::default(),
        }
    }

    /// The counters of a command.
    ///
    /// # Panics
    /// If `id` is not one of the joined table's.
    #[inline]
    pub fn command(&self, id: CommandId) -> &CommandCounters {
        &self.commands[id.index()]
    }

    /// Counts `calls` of a command that took so many nanoseconds each.
    ///
    /// # Panics
    /// If `id` is not one of the joined table's.
    #[inline]
    pub fn note_times(&self, id: CommandId, nanos: u64, calls: u64) {
        self.times[id.index()].get_or_init(Box::default).add(nanos, calls);
    }

    /// Counts an error reply by its first word.
    pub fn count_error(&self, prefix: &str) {
        self.error_replies.add(1);
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < MAX_ERROR_PREFIXES {
            errors.insert(prefix.to_owned(), 1);
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            commands_processed: self.commands_processed.get(),
            connections_received: self.connections_received.get(),
            connections_rejected: self.connections_rejected.get(),
            net_input_bytes: self.net_input_bytes.get(),
            net_output_bytes: self.net_output_bytes.get(),
            reads_processed: self.reads_processed.get(),
            writes_processed: self.writes_processed.get(),
            keyspace_hits: self.keyspace_hits.get(),
            keyspace_misses: self.keyspace_misses.get(),
            evicted_keys: self.evicted_keys.get(),
            error_replies: self.error_replies.get(),
            output_limit_disconnections: self.output_limit_disconnections.get(),
            query_limit_disconnections: self.query_limit_disconnections.get(),
        }
    }
}

/// Sums over all threads since the start or the last CONFIG RESETSTAT; see [`WorkerStats`] for what each one counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is documented where it is counted, in WorkerStats")]
pub struct Totals {
    pub commands_processed: u64,
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub evicted_keys: u64,
    pub error_replies: u64,
    pub output_limit_disconnections: u64,
    pub query_limit_disconnections: u64,
}

impl Totals {
    fn combine(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            commands_processed: f(self.commands_processed, other.commands_processed),
            connections_received: f(self.connections_received, other.connections_received),
            connections_rejected: f(self.connections_rejected, other.connections_rejected),
            net_input_bytes: f(self.net_input_bytes, other.net_input_bytes),
            net_output_bytes: f(self.net_output_bytes, other.net_output_bytes),
            reads_processed: f(self.reads_processed, other.reads_processed),
            writes_processed: f(self.writes_processed, other.writes_processed),
            keyspace_hits: f(self.keyspace_hits, other.keyspace_hits),
            keyspace_misses: f(self.keyspace_misses, other.keyspace_misses),
            evicted_keys: f(self.evicted_keys, other.evicted_keys),
            error_replies: f(self.error_replies, other.error_replies),
            output_limit_disconnections: f(self.output_limit_disconnections, other.output_limit_disconnections),
            query_limit_disconnections: f(self.query_limit_disconnections, other.query_limit_disconnections),
        }
    }
}

/// Sums of one command's counters over all threads since the start or the last CONFIG RESETSTAT.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CommandTotals {
    /// Times it ran, failures included.
    pub calls: u64,
    /// Time spent in it, in nanoseconds.
    pub nanos: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered with an error.
    pub failed: u64,
}

impl CommandTotals {
    fn combine(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            calls: f(self.calls, other.calls),
            nanos: f(self.nanos, other.nanos),
            rejected: f(self.rejected, other.rejected),
            failed: f(self.failed, other.failed),
        }
    }

    fn of(counters: &CommandCounters) -> Self {
        Self {
            calls: counters.calls.get(),
            nanos: counters.nanos.get(),
            rejected: counters.rejected.get(),
            failed: counters.failed.get(),
        }
    }
}

/// Rates over the last second or so, as INFO's `instantaneous_*` fields give them.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Commands a second.
    pub ops_per_sec: u64,
    /// Bytes read a second.
    pub input_bytes_per_sec: f64,
    /// Bytes written a second.
    pub output_bytes_per_sec: f64,
}

/// The counters of all threads.
#[derive(Debug)]
pub struct Stats {
    /// One for each worker, then one for the listener.
    threads: Box<[WorkerStats]>,
    commands: usize,
    baseline: Mutex<Baseline>,
    sampler: Mutex<Sampler>,
}

#[derive(Debug)]
struct Baseline {
    totals: Totals,
    commands: Box<[CommandTotals]>,
    /// By command; of those that had been timed.
    times: BTreeMap<usize, Times>,
}

/// Samples that [`Rates`] are worked out from.
const SAMPLES: usize = 16;

#[derive(Debug, Default)]
struct Sampler {
    last: Option<(u64, Totals)>,
    samples: [Rates; SAMPLES],
    next: usize,
}

impl Stats {
    /// Zeros, for `workers` workers and a listener, and for `commands` commands.
    pub fn new(workers: usize, commands: usize) -> Self {
        Self {
            threads: (0..=workers).map(|_| WorkerStats::new(commands)).collect(),
            commands,
            baseline: Mutex::new(Baseline {
                totals: Totals::default(),
                commands: vec![CommandTotals::default(); commands].into_boxed_slice(),
                times: BTreeMap::new(),
            }),
            sampler: Mutex::default(),
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len() - 1
    }

    /// The counters that worker `i` writes.
    ///
    /// # Panics
    /// If there is no worker `i`.
    pub fn worker(&self, i: usize) -> &WorkerStats {
        assert!(i < self.workers(), "worker {i} of {}", self.workers());
        &self.threads[i]
    }

    /// The counters that the listener writes.
    pub fn listener(&self) -> &WorkerStats {
        &self.threads[self.threads.len() - 1]
    }

    fn raw_totals(&self) -> Totals {
        self.threads.iter().fold(Totals::default(), |sum, t| sum.combine(t.totals(), u64::wrapping_add))
    }

    /// The sums over all threads since the last reset.
    pub fn totals(&self) -> Totals {
        let baseline = lock(&self.baseline);
        self.raw_totals().combine(baseline.totals, u64::saturating_sub)
    }

    fn raw_command(&self, index: usize) -> CommandTotals {
        self.threads.iter().fold(CommandTotals::default(), |sum, t| {
            sum.combine(CommandTotals::of(&t.commands[index]), u64::wrapping_add)
        })
    }

    /// One command's sums over all threads since the last reset.
    ///
    /// # Panics
    /// If `id` is not one of the joined table's.
    pub fn command(&self, id: CommandId) -> CommandTotals {
        let baseline = lock(&self.baseline);
        self.raw_command(id.index()).combine(baseline.commands[id.index()], u64::saturating_sub)
    }

    fn raw_times(&self, index: usize) -> Times {
        let mut times = Times::default();
        self.threads.iter().filter_map(|t| t.times[index].get()).for_each(|histogram| times.take_in(histogram));
        times
    }

    /// How long one command's calls took since the last reset, on all threads; `None` if none was timed.
    ///
    /// # Panics
    /// If `id` is not one of the joined table's.
    pub fn times(&self, id: CommandId) -> Option<Times> {
        let mut times = self.raw_times(id.index());
        if let Some(before) = lock(&self.baseline).times.get(&id.index()) {
            times.since(before);
        }
        (times.total() > 0).then_some(times)
    }

    /// Error replies by prefix, in alphabetical order.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for thread in &self.threads {
            for (prefix, count) in lock(&thread.errors).iter() {
                *sum.entry(prefix.clone()).or_insert(0) += count;
            }
        }
        sum
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        let mut baseline = lock(&self.baseline);
        baseline.totals = self.raw_totals();
        for i in 0..self.commands {
            baseline.commands[i] = self.raw_command(i);
        }
        let timed = (0..self.commands).map(|i| (i, self.raw_times(i))).filter(|(_, times)| times.total() > 0);
        baseline.times = timed.collect();
        for thread in &self.threads {
            lock(&thread.errors).clear();
        }
        *lock(&self.sampler) = Sampler::default();
    }

    /// Takes a sample for [`Stats::rates`]; called about ten times a second.
    pub fn sample(&self, now_ms: u64) {
        let totals = self.raw_totals();
        let mut sampler = lock(&self.sampler);
        if let Some((then_ms, before)) = sampler.last {
            let elapsed_ms = now_ms.saturating_sub(then_ms);
            if elapsed_ms == 0 {
                return;
            }
            let per_sec = |count: u64| count as f64 * 1000.0 / elapsed_ms as f64;
            let at = sampler.next;
            sampler.samples[at] = Rates {
                ops_per_sec: per_sec(totals.commands_processed - before.commands_processed) as u64,
                input_bytes_per_sec: per_sec(totals.net_input_bytes - before.net_input_bytes),
                output_bytes_per_sec: per_sec(totals.net_output_bytes - before.net_output_bytes),
            };
            sampler.next = (at + 1) % SAMPLES;
        }
        sampler.last = Some((now_ms, totals));
    }

    /// Means of the last samples.
    pub fn rates(&self) -> Rates {
        let sampler = lock(&self.sampler);
        let n = SAMPLES as f64;
        Rates {
            ops_per_sec: sampler.samples.iter().map(|s| s.ops_per_sec).sum::<u64>() / SAMPLES as u64,
            input_bytes_per_sec: sampler.samples.iter().map(|s| s.input_bytes_per_sec).sum::<f64>() / n,
            output_bytes_per_sec: sampler.samples.iter().map(|s| s.output_bytes_per_sec).sum::<f64>() / n,
        }
    }
}

/// A lock whose holder may have panicked: the data is counts, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ID_COUNT, all};

    #[test]
    fn sums_span_threads_and_reset_subtracts_them() {
        let stats = Stats::new(2, ID_COUNT);
        let ping = all().next().expect("there are commands").id;
        stats.worker(0).commands_processed.add(5);
        stats.worker(1).commands_processed.add(7);
        stats.listener().connections_received.add(1);
        stats.worker(1).command(ping).calls.add(4);
        stats.worker(0).count_error("ERR");
        stats.worker(1).count_error("ERR");
        assert_eq!(stats.totals().commands_processed, 12);
        assert_eq!(stats.totals().connections_received, 1);
        assert_eq!(stats.command(ping).calls, 4);
        assert_eq!(stats.errors().get("ERR"), Some(&2));

        stats.reset();
        assert_eq!(stats.totals(), Totals::default());
        assert_eq!(stats.command(ping), CommandTotals::default());
        assert!(stats.errors().is_empty());

        stats.worker(0).commands_processed.add(1);
        assert_eq!(stats.totals().commands_processed, 1);
    }

    #[test]
    fn error_prefixes_are_bounded() {
        let stats = WorkerStats::new(0);
        for i in 0..2 * MAX_ERROR_PREFIXES {
            stats.count_error(&format!("E{i}"));
        }
        assert_eq!(lock(&stats.errors).len(), MAX_ERROR_PREFIXES);
        assert_eq!(stats.error_replies.get(), 2 * MAX_ERROR_PREFIXES as u64);
    }

    #[test]
    fn rates_follow_the_samples() {
        let stats = Stats::new(1, 0);
        let mut now_ms = 1000;
        stats.sample(now_ms);
        for _ in 0..SAMPLES {
            stats.worker(0).commands_processed.add(100);
            now_ms += 100;
            stats.sample(now_ms);
        }
        assert_eq!(stats.rates().ops_per_sec, 1000);
    }
}
