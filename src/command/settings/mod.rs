//! Everything that CONFIG GET and CONFIG SET know by name.
//!
//! Every name that Redis 7.2 has is here, so that clients and test suites that turn its knobs go on working. Each says
//! what it does: see [`Effect`]. A value is kept as its canonical text; the few that are read on busy paths are kept as atomics too.
//!
//! Invariants:
//! 1. A text in `values` is canonical for its kind: it was parsed and printed again.
//! 2. The atomics in `Live` follow the texts; both change under the write lock of `values`.
//! 3. A change of several settings happens as a whole or not at all.

pub mod file;
mod kind;
mod output;
mod table;

pub use kind::{Kind, OutputLimit, size};
pub use output::OutputLimits;
pub use table::SETTINGS;

use super::clients::ClientClass;
use super::events::Events;
use super::{Attention, AttentionWord};
use crate::store::{EvictionPolicy, Fsync, Store};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// What setting a value does in this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It takes effect at once.
    Live,
    /// It takes effect at the start; CONFIG SET is refused.
    Start,
    /// It is accepted and kept, and has no effect: the thing it tunes does not exist here.
    Ignored,
    /// It has no effect and, as in Redis, CONFIG SET is refused.
    IgnoredFixed,
}

/// One name that CONFIG knows.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Its name.
    pub name: &'static str,
    /// Another name that it answers to.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// Its value when nothing is said: Redis 7.2's, unless noted in the table.
    pub default: &'static str,
    /// What it does.
    pub effect: Effect,
}

impl Effect {
    /// In words, for the table of settings.
    pub fn describe(self) -> &'static str {
        match self {
            Effect::Live => "at once",
            Effect::Start => "at the start",
            Effect::Ignored => "none",
            Effect::IgnoredFixed => "none; cannot be set while the server runs",
        }
    }
}

/// All settings as a table in Markdown: what `fencepost settings` prints and `docs/settings.md` holds.
pub fn describe() -> String {
    let mut text = String::from(
        "# Settings\n\nThe names that CONFIG GET, CONFIG SET and the configuration file know. Those without effect tune \
         something in Redis that does not exist here; they are accepted so that clients and scripts that set them go on working. \
         This page is what `fencepost settings` prints.\n\n| name | default | takes effect |\n|---|---|---|\n",
    );
    for spec in SETTINGS {
        let alias = spec.alias.map(|alias| format!(" (`{alias}`)")).unwrap_or_default();
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        text.push_str(&format!("| `{}`{alias} | {default} | {} |\n", spec.name, spec.effect.describe()));
    }
    text
}

/// Why a setting was not changed. The text is what Redis says in brackets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The value will not do.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Refused {
        /// The setting, as the client wrote it.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// When even faster commands than this one are to be logged as slow, in microseconds, every call is timed.
const SAMPLED_ABOVE_US: i64 = 1000;

/// Values of the settings that connections and commands read all the time.
#[derive(Debug, Default)]
struct Live {
    maxclients: AtomicU64,
    timeout_secs: AtomicU64,
    tcp_keepalive_secs: AtomicU64,
    max_bulk_bytes: AtomicU64,
    hll_sparse_max_bytes: AtomicU64,
    query_limit_bytes: AtomicU64,
    protected_mode: AtomicBool,
    password_set: AtomicBool,
    hz: AtomicU64,
    slowlog_threshold_us: AtomicI64,
    attention: AttentionWord,
    latency_threshold_ms: AtomicU64,
    latency_tracking: AtomicBool,
    slowlog_max_len: AtomicU64,
    databases: AtomicU64,
    shutdown_timeout_secs: AtomicU64,
    maxmemory_bytes: AtomicU64,
    /// The place in [`EvictionPolicy::ALL`].
    maxmemory_policy: AtomicU64,
    maxmemory_samples: AtomicU64,
    eviction_tenacity: AtomicU64,
    lfu_log_factor: AtomicU64,
    lfu_decay_minutes: AtomicU64,
    /// Place in [`Fsync::ALL`].
    fsync: AtomicU64,
    packed_bytes: AtomicU64,
    events: AtomicU32,
    tracking_max_keys: AtomicU64,
    output_limits: Arc<OutputLimits>,
}

/// The settings of a running server.
#[derive(Debug)]
pub struct Settings {
    values: RwLock<Vec<Vec<u8>>>,
    live: Live,
}

impl Default for Settings {
    fn default() -> Self {
        let values = SETTINGS.iter().map(|spec| spec.default.as_bytes().to_vec()).collect();
        let settings = Self { values: RwLock::new(values), live: Live::default() };
        settings.refresh(&settings.read());
        settings
    }
}

impl Settings {
    /// All settings at their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The setting of that name or alias, whatever its case.
    pub fn find(name: &[u8]) -> Option<usize> {
        SETTINGS.iter().position(|spec| {
            name.eq_ignore_ascii_case(spec.name.as_bytes())
                || spec.alias.is_some_and(|alias| name.eq_ignore_ascii_case(alias.as_bytes()))
        })
    }

    /// What is known of the setting of that name.
    ///
    /// # Errors
    /// [`SettingError::Unknown`].
    pub fn spec(name: &[u8]) -> Result<&'static SettingSpec, SettingError> {
        Self::find(name).map(|at| &SETTINGS[at]).ok_or_else(|| SettingError::Unknown(printable(name)))
    }

    /// The value of a setting as CONFIG GET gives it.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        Self::find(name.as_bytes()).map(|at| self.value(at))
    }

    /// The value of setting `at` of [`SETTINGS`].
    ///
    /// # Panics
    /// If there is no setting `at`.
    pub fn value(&self, at: usize) -> Vec<u8> {
        self.read()[at].clone()
    }

    /// Names and values of all settings whose name or alias `matches`, names in table order.
    pub fn matching(&self, matches: impl Fn(&str) -> bool) -> Vec<(&'static str, Vec<u8>)> {
        let values = self.read();
        let mut found = Vec::new();
        for (spec, value) in SETTINGS.iter().zip(values.iter()) {
            for name in [Some(spec.name), spec.alias].into_iter().flatten() {
                if matches(name) {
                    found.push((name, value.clone()));
                }
            }
        }
        found
    }

    /// CONFIG SET: changes all of `pairs` or, on an error, none.
    ///
    /// # Errors
    /// An unknown name, one named twice, one that cannot be changed while the server runs, a value that will not do.
    pub fn set(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), SettingError> {
        self.set_if(pairs, |_, _| Ok(()))
    }

    /// As [`set`](Self::set), where `check` may refuse a value that only the rest of the server can judge: it is given each setting with its canonical value.
    ///
    /// # Errors
    /// As [`set`](Self::set), and what `check` says.
    pub fn set_if(
        &self,
        pairs: &[(&[u8], &[u8])],
        check: impl Fn(&SettingSpec, &[u8]) -> Result<(), String>,
    ) -> Result<(), SettingError> {
        let mut chosen: Vec<usize> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let at = Self::find(name).ok_or_else(|| SettingError::Unknown(printable(name)))?;
            if matches!(SETTINGS[at].effect, Effect::Start | Effect::IgnoredFixed) {
                return Err(refused(name, "can't set immutable config"));
            }
            if chosen.contains(&at) {
                return Err(refused(name, "duplicate parameter"));
            }
            chosen.push(at);
        }
        let mut values = self.write();
        let mut changed = Vec::with_capacity(pairs.len());
        for (&at, (name, value)) in chosen.iter().zip(pairs) {
            let canonical = SETTINGS[at].kind.canonical(value, &values[at]).map_err(|reason| refused(name, &reason))?;
            check(&SETTINGS[at], &canonical).map_err(|reason| refused(name, &reason))?;
            changed.push((at, canonical));
        }
        for (at, canonical) in changed {
            values[at] = canonical;
        }
        self.refresh(&values);
        Ok(())
    }

    /// Sets one value at the start of the server, when everything may still be changed.
    ///
    /// # Errors
    /// An unknown name; a value that will not do.
    pub fn load(&self, name: &[u8], value: &[u8]) -> Result<&'static SettingSpec, SettingError> {
        let at = Self::find(name).ok_or_else(|| SettingError::Unknown(printable(name)))?;
        let mut values = self.write();
        values[at] = SETTINGS[at].kind.canonical(value, &values[at]).map_err(|reason| refused(name, &reason))?;
        self.refresh(&values);
        Ok(&SETTINGS[at])
    }

    /// Most clients at once.
    pub fn maxclients(&self) -> usize {
        self.live.maxclients.load(Relaxed) as usize
    }

    /// How long a client may be idle; `None` for ever.
    pub fn timeout(&self) -> Option<Duration> {
        seconds(self.live.timeout_secs.load(Relaxed))
    }

    /// Time between probes of an idle TCP connection; `None` for none.
    pub fn tcp_keepalive(&self) -> Option<Duration> {
        seconds(self.live.tcp_keepalive_secs.load(Relaxed))
    }

    /// Longest bulk string of a request, in bytes.
    #[inline]
    pub fn max_bulk_bytes(&self) -> usize {
        self.live.max_bulk_bytes.load(Relaxed) as usize
    }

    /// Longest sparse HyperLogLog value in bytes, its header included.
    #[inline]
    pub fn hll_sparse_max_bytes(&self) -> usize {
        self.live.hll_sparse_max_bytes.load(Relaxed) as usize
    }

    /// Most bytes that a client may have sent and that are not executed yet.
    #[inline]
    pub fn query_limit_bytes(&self) -> usize {
        self.live.query_limit_bytes.load(Relaxed) as usize
    }

    /// Whether clients from other machines are turned away while no password is set.
    pub fn protected_mode(&self) -> bool {
        self.live.protected_mode.load(Relaxed)
    }

    /// Whether clients must authenticate.
    #[inline]
    pub fn password_required(&self) -> bool {
        self.live.password_set.load(Relaxed)
    }

    /// Whether `password` is the one that `requirepass` asks for. Takes the same time wherever the two differ.
    pub fn password_matches(&self, password: &[u8]) -> bool {
        let expected = self.get("requirepass").unwrap_or_default();
        let differences = expected.iter().zip(password).fold(0, |sum, (a, b)| sum | (a ^ b));
        expected.len() == password.len() && differences == 0
    }

    /// `hz`, which is shown and does nothing.
    pub fn hz(&self) -> u64 {
        self.live.hz.load(Relaxed)
    }

    /// Commands that take longer, in microseconds, are logged; none when negative.
    #[inline]
    pub fn slowlog_threshold_us(&self) -> i64 {
        self.live.slowlog_threshold_us.load(Relaxed)
    }

    /// Events that take so many milliseconds or longer are remembered; none when 0.
    #[inline]
    pub fn latency_threshold_ms(&self) -> u64 {
        self.live.latency_threshold_ms.load(Relaxed)
    }

    /// Whether it is counted how long calls of commands take.
    #[inline]
    pub fn latency_tracking(&self) -> bool {
        self.live.latency_tracking.load(Relaxed)
    }

    /// What has each command looked at more closely. Of it [`Attention::TIMES`] and [`Attention::SINGLY`] follow the settings.
    #[inline]
    pub fn attention(&self) -> &AttentionWord {
        &self.live.attention
    }

    /// Most entries of the slow log.
    pub fn slowlog_max_len(&self) -> usize {
        self.live.slowlog_max_len.load(Relaxed) as usize
    }

    /// How many logical databases there are.
    pub fn databases(&self) -> u32 {
        self.live.databases.load(Relaxed) as u32
    }

    /// The size that the pool may grow to, in bytes.
    pub fn pool_max_bytes(&self) -> u64 {
        let text = self.get("pool-max-size").unwrap_or_default();
        std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How long a shutdown waits for clients to take their replies.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.live.shutdown_timeout_secs.load(Relaxed))
    }

    /// Bytes of live records that there may be; 0 for no limit.
    #[inline]
    pub fn maxmemory_bytes(&self) -> u64 {
        self.live.maxmemory_bytes.load(Relaxed)
    }

    /// Which keys are evicted to stay below the limit.
    pub fn maxmemory_policy(&self) -> EvictionPolicy {
        EvictionPolicy::ALL[self.live.maxmemory_policy.load(Relaxed) as usize]
    }

    /// Keys sampled in each round of eviction.
    pub fn maxmemory_samples(&self) -> usize {
        self.live.maxmemory_samples.load(Relaxed) as usize
    }

    /// How long a command may go on evicting, from 0 to 100.
    pub fn eviction_tenacity(&self) -> u64 {
        self.live.eviction_tenacity.load(Relaxed)
    }

    /// When a pool on a file is synced.
    pub fn fsync(&self) -> Fsync {
        Fsync::ALL[self.live.fsync.load(Relaxed) as usize]
    }

    /// Up to how many bytes of elements a collection lies in one record.
    pub fn packed_bytes(&self) -> usize {
        self.live.packed_bytes.load(Relaxed) as usize
    }

    /// Has `store` track the uses of keys as the eviction policy asks for. To be called when these settings have changed, and for a store that has
    /// just been opened.
    pub fn apply_tracking(&self, store: &Store) {
        store.track_access(|| {
            let factor = |cell: &AtomicU64| cell.load(Relaxed) as u32;
            self.maxmemory_policy().tracking(factor(&self.live.lfu_log_factor), factor(&self.live.lfu_decay_minutes))
        });
    }

    /// Keyspace events asked for, with the channels they go to; nothing when there are none of either.
    #[inline]
    pub fn events(&self) -> Events {
        Events::from_bits_truncate(self.live.events.load(Relaxed))
    }

    /// Most keys that are remembered for clients that track; 0 for no limit.
    pub fn tracking_max_keys(&self) -> usize {
        self.live.tracking_max_keys.load(Relaxed) as usize
    }

    /// How much may wait to be sent to a client of that class.
    pub fn output_limit(&self, class: ClientClass) -> OutputLimit {
        self.live.output_limits.of(class)
    }

    /// The limits of all classes, which follow CONFIG SET.
    pub fn output_limits(&self) -> &Arc<OutputLimits> {
        &self.live.output_limits
    }

    /// Brings the atomics in line with the texts.
    fn refresh(&self, values: &[Vec<u8>]) {
        let text = |name: &str| {
            let at = Self::find(name.as_bytes()).expect("the names below are in the table, as a test shows");
            std::str::from_utf8(&values[at]).unwrap_or_default()
        };
        let number = |name: &str| text(name).parse::<i64>().unwrap_or(0);
        let unsigned = |name: &str| number(name).max(0) as u64;
        let live = &self.live;
        live.maxclients.store(unsigned("maxclients"), Relaxed);
        live.timeout_secs.store(unsigned("timeout"), Relaxed);
        live.tcp_keepalive_secs.store(unsigned("tcp-keepalive"), Relaxed);
        live.max_bulk_bytes.store(unsigned("proto-max-bulk-len"), Relaxed);
        live.hll_sparse_max_bytes.store(unsigned("hll-sparse-max-bytes"), Relaxed);
        live.query_limit_bytes.store(unsigned("client-query-buffer-limit"), Relaxed);
        live.protected_mode.store(text("protected-mode") == "yes", Relaxed);
        let password_at = Self::find(b"requirepass").expect("the name is in the table");
        live.password_set.store(!values[password_at].is_empty(), Relaxed);
        live.hz.store(unsigned("hz"), Relaxed);
        let slowlog_threshold_us = number("slowlog-log-slower-than");
        live.slowlog_threshold_us.store(slowlog_threshold_us, Relaxed);
        let latency_threshold_ms = unsigned("latency-monitor-threshold");
        live.latency_threshold_ms.store(latency_threshold_ms, Relaxed);
        let is_short = (0..SAMPLED_ABOVE_US).contains(&slowlog_threshold_us);
        live.attention.set(Attention::TIMES, is_short || latency_threshold_ms > 0);
        live.attention.set(Attention::SINGLY, is_short);
        live.latency_tracking.store(text("latency-tracking") == "yes", Relaxed);
        live.slowlog_max_len.store(unsigned("slowlog-max-len"), Relaxed);
        live.databases.store(unsigned("databases"), Relaxed);
        live.shutdown_timeout_secs.store(unsigned("shutdown-timeout"), Relaxed);
        live.maxmemory_bytes.store(unsigned("maxmemory"), Relaxed);
        let policy = EvictionPolicy::ALL.iter().position(|policy| policy.name() == text("maxmemory-policy"));
        live.maxmemory_policy.store(policy.expect("each word of the setting is a policy's name") as u64, Relaxed);
        let fsync = Fsync::ALL.iter().position(|fsync| fsync.name() == text("appendfsync"));
        live.fsync.store(fsync.expect("each word of the setting is a policy's name") as u64, Relaxed);
        live.packed_bytes.store(unsigned("packed-collection-max-bytes"), Relaxed);
        live.maxmemory_samples.store(unsigned("maxmemory-samples"), Relaxed);
        live.eviction_tenacity.store(unsigned("maxmemory-eviction-tenacity"), Relaxed);
        live.lfu_log_factor.store(unsigned("lfu-log-factor"), Relaxed);
        live.lfu_decay_minutes.store(unsigned("lfu-decay-time"), Relaxed);
        live.events.store(Events::asked_for(text("notify-keyspace-events")).bits(), Relaxed);
        live.tracking_max_keys.store(unsigned("tracking-table-max-keys"), Relaxed);
        live.output_limits.set(kind::output_limits(text("client-output-buffer-limit")));
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Vec<u8>>> {
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Vec<u8>>> {
        self.values.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(secs: u64) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs))
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refused(name: &[u8], reason: &str) -> SettingError {
    SettingError::Refused { name: printable(name), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
