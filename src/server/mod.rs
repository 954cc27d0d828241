//! Sockets to commands and back: N workers, each with its own thread, runtime and connections, and one listener in front.
//!
//! [`run`] listens at once, opens the store on a thread of its own, and answers `LOADING` until that is done. It returns after a
//! shutdown was asked for, by SHUTDOWN or by a signal: nobody is let in any more, commands under way finish, replies are sent, the workers end, and
//! only then is the store closed.

mod connection;
mod dispatch;
mod held;
mod limits;
mod listener;
mod opening;
mod shutdown;
mod stream;
mod worker;

use crate::base::Clock;
use crate::command::{ID_COUNT, Identity, Settings, Shared};
use crate::store::{OpenError, StoreOptions, SyncFailed};
use listener::{Door, Listeners};
use opening::StoreSlot;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A place that was to be listened on cannot be.
    #[error(
        "cannot listen on {place}: {error}; choose another with --port, --bind or --unixsocket, or stop what uses it"
    )]
    Listen {
        /// Address and port, or path.
        place: String,
        /// The system's reason.
        error: io::Error,
    },
    /// None of the addresses could be listened on.
    #[error("cannot listen on any of the addresses; give one of this machine's with --bind")]
    NowhereToListen,
    /// A thread or runtime could not be made.
    #[error("cannot start the server's threads: {0}")]
    Threads(#[from] io::Error),
    /// The store could not be opened; nothing was changed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The thread that opened the store failed; what it said is in the log.
    #[error("opening the pool failed in an unexpected way; see the log above")]
    OpeningFailed,
    /// The pool could not be closed. What was acknowledged is as safe as before; the next start recovers as after a kill.
    #[error("cannot close the pool: {0}; the next start recovers it")]
    Close(SyncFailed),
}

/// What a server needs to start.
pub struct Options {
    /// The configuration.
    pub settings: Settings,
    /// The file it came from, for CONFIG REWRITE.
    pub config_file: Option<PathBuf>,
    /// The time.
    pub clock: Clock,
    /// The store to open.
    pub store: StoreOptions,
    /// Takes the log to the level that `loglevel` has been changed to.
    pub set_log_level: Box<dyn Fn(&str)>,
}

/// Serves clients until a shutdown is asked for.
///
/// # Errors
/// See [`ServerError`]; nobody is connected any more then.
pub fn run(options: Options) -> Result<(), ServerError> {
    let Options { settings, config_file, clock, store, set_log_level } = options;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = Listeners::open(&settings)?;
    limits::raise_file_limit(&settings);
    let workers = workers(&settings);
    let identity = Identity {
        run_id: run_id(),
        started_at_ms: clock.now_ms(),
        port: listeners.port(),
        executable: std::env::current_exe().unwrap_or_default(),
        config_file,
    };
    let stand_in = opening::stand_in(&store, &clock)?;
    let shared = Arc::new(Shared::new(settings, identity, clock, workers, ID_COUNT));
    let slot: Arc<StoreSlot> = Arc::default();
    let workers = (0..workers)
        .map(|i| worker::start(i, Arc::clone(&shared), Arc::clone(&slot), Arc::clone(&stand_in)))
        .collect::<io::Result<Vec<_>>>()?;
    drop(stand_in);

    let served = runtime.block_on(async {
        let door = Arc::new(Door { shared: Arc::clone(&shared), workers });
        let places = listeners.places().join(", ");
        let mut accepting = listeners.accept(&door)?;
        tracing::info!(workers = door.workers.len(), "listening on {places}");
        let opening = opening::start(&shared, &slot, store)?;
        let ended = shutdown::wait(&shared, opening, &*set_log_level).await;

        accepting.shutdown().await;
        let door = Arc::into_inner(door).expect("the accepting tasks that shared it have ended");
        let request = ended.as_ref().map(|ended| ended.request).unwrap_or_default();
        shutdown::end_workers(&shared, door.workers, request).await;
        // With the workers gone only the background work is left; it ends when this is dropped.
        ended.map(|ended| drop(ended.maintenance))
    });
    // Nobody uses the store any more. When it is still being opened, nothing was written, and the process may end as it is.
    let closed = slot.get().map_or(Ok(()), |store| store.close().map_err(ServerError::Close));
    served?;
    closed?;
    tracing::info!("ended");
    Ok(())
}

/// How many workers the settings ask for; by default, one for each core.
fn workers(settings: &Settings) -> usize {
    let asked =
        settings.get("workers").and_then(|text| String::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    match asked.unwrap_or(0) {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// Forty hexadecimal digits that no other run has.
fn run_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each `RandomState` has keys of its own.
    let words: Vec<String> = (0..3u8).map(|i| format!("{:016x}", RandomState::new().hash_one(i))).collect();
    words.concat()[..40].to_owned()
}
