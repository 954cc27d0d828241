//! What all connections of the server share, as commands see it.

use super::blocking::Blocking;
use super::clients::Clients;
use super::events::ExpiryEvents;
use super::eviction::OverLimit;
use super::monitor::Monitors;
use super::pubsub::Channels;
use super::server::latency::events::LatencyEvents;
use super::server::slowlog::SlowLog;
use super::settings::Settings;
use super::stats::Stats;
use super::tracking::Tracking;
use crate::base::Clock;
use crate::store::Store;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// The version of Redis whose replies are given: what clients decide by.
pub const REDIS_VERSION: &str = "7.2.4";

/// Who this server is, for INFO server.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Forty hexadecimal digits, new with each start.
    pub run_id: String,
    /// Unix milliseconds of the start.
    pub started_at_ms: u64,
    /// The TCP port that is listened on; 0 for none. It is the real one when port 0 was asked for.
    pub port: u16,
    /// The running program's path.
    pub executable: PathBuf,
    /// The configuration file, when one was given.
    pub config_file: Option<PathBuf>,
}

/// How SHUTDOWN was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShutdownRequest {
    /// NOW: does not wait for clients to take their replies.
    pub now: bool,
    /// FORCE: goes on when something fails on the way.
    pub force: bool,
}

/// Recovery's progress while the store is being opened.
#[derive(Debug, Default)]
pub struct Loading {
    active: AtomicBool,
    started_at_ms: AtomicU64,
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
}

impl Loading {
    /// Recovery of about `total_bytes` begins.
    pub fn begin(&self, now_ms: u64, total_bytes: u64) {
        self.started_at_ms.store(now_ms, Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.loaded_bytes.store(0, Relaxed);
        self.active.store(true, Relaxed);
    }

    /// So many bytes are scanned by now.
    pub fn set_loaded(&self, bytes: u64) {
        self.loaded_bytes.store(bytes, Relaxed);
    }

    /// Recovery is over.
    pub fn end(&self) {
        self.active.store(false, Relaxed);
    }

    /// Whether the store is still being opened.
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Unix milliseconds at which it began.
    pub fn started_at_ms(&self) -> u64 {
        self.started_at_ms.load(Relaxed)
    }

    /// Bytes to scan.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Relaxed)
    }

    /// Bytes scanned.
    pub fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes.load(Relaxed)
    }
}

/// What CLIENT PAUSE holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseScope {
    /// Every command.
    All,
    /// Commands that may write.
    Write,
}

/// A pause of clients, in force until its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseWindow {
    /// What waits.
    pub scope: PauseScope,
    /// Unix milliseconds at which it ends by itself.
    pub until_ms: u64,
}

/// CLIENT PAUSE and UNPAUSE. Costs an ordinary command one read of a word that hardly ever changes.
#[derive(Debug)]
pub struct Pause {
    active: AtomicBool,
    window: watch::Sender<Option<PauseWindow>>,
    held: Arc<AtomicU32>,
}

/// A client that is held back; counted while this lives.
#[derive(Debug)]
pub struct Held(Arc<AtomicU32>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self { active: AtomicBool::new(false), window: watch::Sender::new(None), held: Arc::default() }
    }
}

impl Pause {
    /// CLIENT PAUSE. While one is in force a new one never ends it earlier, nor makes it hold back less.
    pub fn begin(&self, asked: PauseWindow, now_ms: u64) {
        self.window.send_modify(|window| {
            let current = window.filter(|w| w.until_ms > now_ms);
            *window = Some(match current {
                None => asked,
                Some(current) => PauseWindow {
                    scope: if current.scope == PauseScope::All { PauseScope::All } else { asked.scope },
                    until_ms: current.until_ms.max(asked.until_ms),
                },
            });
            // Relaxed: commands that overlap this one may see it or not.
            self.active.store(true, Relaxed);
        });
    }

    /// CLIENT UNPAUSE.
    pub fn end(&self) {
        self.end_unless(|_| false);
    }

    fn end_unless(&self, in_force: impl FnOnce(&PauseWindow) -> bool) {
        self.window.send_if_modified(|window| {
            if window.as_ref().is_some_and(in_force) {
                return false;
            }
            self.active.store(false, Relaxed);
            window.take().is_some()
        });
    }

    /// The pause in force, if any.
    #[inline]
    pub fn window(&self, now_ms: u64) -> Option<PauseWindow> {
        if self.active.load(Relaxed) { self.current(now_ms) } else { None }
    }

    #[cold]
    fn current(&self, now_ms: u64) -> Option<PauseWindow> {
        let window = self.window.borrow().filter(|w| w.until_ms > now_ms);
        if window.is_none() {
            self.end_unless(|w| w.until_ms > now_ms);
        }
        window
    }

    /// How many clients are held back, each with a command that waits for the end of the pause.
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// One more client is held back, until what this returns is dropped.
    pub fn hold(&self) -> Held {
        self.held.fetch_add(1, Relaxed);
        Held(Arc::clone(&self.held))
    }

    /// Resolves when no pause is in force any more.
    pub async fn over(&self, clock: &Clock) {
        let mut changes = self.window.subscribe();
        // Ends with the pause: each turn waits for its end or for a change of it.
        while let Some(window) = self.window(clock.now_ms()) {
            let left = Duration::from_millis(window.until_ms.saturating_sub(clock.now_ms()));
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// CONFIG.
    pub settings: Arc<Settings>,
    /// Counters.
    pub stats: Stats,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Who is subscribed to which channels.
    pub hub: Arc<Channels>,
    expiry_events: Arc<ExpiryEvents>,
    /// Who may hold a copy of which key.
    pub(super) tracking: Arc<Tracking>,
    /// Who this server is.
    pub identity: Identity,
    /// The time.
    pub clock: Clock,
    /// Recovery's progress.
    pub loading: Loading,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// Who waits for which keys.
    pub blocking: Blocking,
    /// MONITOR.
    pub monitors: Monitors,
    /// LATENCY.
    pub latency: LatencyEvents,
    /// SLOWLOG.
    pub slowlog: SlowLog,
    /// How long the limit of `maxmemory` was exceeded.
    pub over_limit: OverLimit,
    shutdown: watch::Sender<Option<ShutdownRequest>>,
}

impl Shared {
    /// The state of a server with `workers` workers and a table of `commands` commands.
    pub fn new(settings: Settings, identity: Identity, clock: Clock, workers: usize, commands: usize) -> Self {
        let clients = Arc::new(Clients::new(Arc::clone(settings.output_limits())));
        let (settings, hub) = (Arc::new(settings), Arc::default());
        Self {
            expiry_events: ExpiryEvents::new(&hub, &settings),
            tracking: Tracking::new(&settings, &clients),
            settings,
            stats: Stats::new(workers, commands),
            clients,
            hub,
            identity,
            clock,
            loading: Loading::default(),
            pause: Pause::default(),
            blocking: Blocking::default(),
            monitors: Monitors::default(),
            latency: LatencyEvents::default(),
            slowlog: SlowLog::default(),
            over_limit: OverLimit::default(),
            shutdown: watch::Sender::new(None),
        }
    }

    /// Has `store` tell what the settings ask for. To be called when they have changed, and for a store that has just been opened.
    pub fn follow_settings(&self, store: &Store) {
        self.settings.apply_tracking(store);
        store.set_fsync(self.settings.fsync());
        store.set_packed_bytes(self.settings.packed_bytes());
        self.expiry_events.follow_settings(store);
        self.tracking.follow(store);
    }

    /// Asks the server to shut down.
    pub fn request_shutdown(&self, request: ShutdownRequest) {
        self.shutdown.send_replace(Some(request));
    }

    /// Follows requests to shut down.
    pub fn watch_shutdown(&self) -> watch::Receiver<Option<ShutdownRequest>> {
        self.shutdown.subscribe()
    }
}
