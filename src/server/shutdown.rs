//! From the first word of a shutdown to the last worker's end, and the small jobs that go on until then.

use super::ServerError;
use super::opening::Opening;
use super::worker::WorkerHandle;
use crate::command::clients::Signals;
use crate::command::{Shared, ShutdownRequest};
use crate::store::Maintenance;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often counters are sampled for INFO's rates.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Samples from one search for idle clients to the next.
const SAMPLES_PER_SEARCH: u32 = 10;

/// How the serving ended.
pub(super) struct Told {
    /// What was asked for.
    pub request: ShutdownRequest,
    /// The store's background work, when the store was open.
    pub maintenance: Option<Maintenance>,
}

/// Waits until the server is told to end, by SHUTDOWN, SIGTERM or SIGINT, or until the store turns out not to open.
pub(super) async fn wait(
    shared: &Shared,
    mut opening: Opening,
    set_log_level: &dyn Fn(&str),
) -> Result<Told, ServerError> {
    let mut requests = shared.watch_shutdown();
    let mut signals = EndSignals::new()?;
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut maintenance = None;
    let mut samples = 0u32;
    let mut log_level = shared.settings.get("loglevel");
    // Ends when told to.
    loop {
        tokio::select! {
            opened = &mut opening, if maintenance.is_none() => {
                maintenance = Some(opened.unwrap_or(Err(ServerError::OpeningFailed))?);
                tracing::info!("ready to serve");
            }
            name = signals.next() => {
                tracing::info!("{name}: shutting down");
                return Ok(Told { request: ShutdownRequest::default(), maintenance });
            }
            Ok(()) = requests.changed() => {
                let request = *requests.borrow_and_update();
                if let Some(request) = request {
                    tracing::info!("SHUTDOWN: shutting down");
                    return Ok(Told { request, maintenance });
                }
            }
            _ = ticks.tick() => {
                let now_ms = shared.clock.now_ms();
                shared.stats.sample(now_ms);
                let wanted = shared.settings.get("loglevel");
                if wanted != log_level {
                    set_log_level(&String::from_utf8_lossy(wanted.as_deref().unwrap_or_default()));
                    log_level = wanted;
                }
                samples = samples.wrapping_add(1);
                if samples.is_multiple_of(SAMPLES_PER_SEARCH) {
                    search_idle_clients(shared, now_ms);
                }
            }
        }
    }
}

/// Tells clients that seem idle for longer than `timeout` to look whether they are.
fn search_idle_clients(shared: &Shared, now_ms: u64) {
    let Some(limit) = shared.settings.timeout() else { return };
    for client in shared.clients.all() {
        if u128::from(now_ms.saturating_sub(client.last_active_ms())) > limit.as_millis() {
            client.signal(Signals::CHECK_IDLE);
        }
    }
}

/// Lets connections send what they have to send, for as long as `shutdown-timeout`, and ends the workers. A second signal ends the waiting.
pub(super) async fn end_workers(shared: &Shared, workers: Vec<WorkerHandle>, request: ShutdownRequest) {
    let mut endings: Vec<_> = workers.into_iter().map(WorkerHandle::let_go).collect();
    tell_all(shared, Signals::DRAIN);
    let patience = if request.now { Duration::ZERO } else { shared.settings.shutdown_timeout() };
    let drained = {
        let all = async {
            for ending in &mut endings {
                ending.ended().await;
            }
        };
        let second_signal = async {
            match EndSignals::new() {
                Ok(mut signals) => signals.next().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            done = timeout(patience, all) => done.is_ok(),
            _ = second_signal => false,
        }
    };
    if !drained {
        tracing::warn!(clients = shared.clients.len(), "closing clients that have not taken their replies");
        tell_all(shared, Signals::KILL);
    }
    for mut ending in endings {
        ending.ended().await;
        if !ending.join() {
            tracing::error!("a worker thread panicked");
        }
    }
}

fn tell_all(shared: &Shared, signal: Signals) {
    for client in shared.clients.all() {
        client.signal(signal);
    }
}

/// The signals that end the server.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one that comes.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
