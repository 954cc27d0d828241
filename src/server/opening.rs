//! Opening the store while clients are already answered, and closing it when none is left.

use super::ServerError;
use crate::base::Clock;
use crate::command::Shared;
use crate::recovery::Progress;
use crate::store::{Maintenance, OpenError, Store, StoreInfo, StoreOptions};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Where the store appears once the pool is recovered.
pub(super) type StoreSlot = OnceLock<Arc<Store>>;

/// Memory for the stand-in: the least that a store can be made of.
const STAND_IN_BYTES: u64 = 4 * 1024 * 1024;

/// Between two looks at how far recovery is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks from one line of progress in the log to the next.
const LOOKS_PER_LINE: u32 = 20;

/// Cells of the bar on a terminal.
const BAR_CELLS: u32 = 40;

/// An empty store for commands that run while the real one is being opened. They are the ones flagged `LOADING`, none of which writes.
pub(super) fn stand_in(options: &StoreOptions, clock: &Clock) -> Result<Arc<Store>, OpenError> {
    let options = StoreOptions { databases: options.databases, ..StoreOptions::dram(STAND_IN_BYTES) };
    Store::open(&options, clock.clone(), &Progress::default()).map(Arc::new)
}

/// The opening under way: resolves to the store's background work.
pub(super) type Opening = oneshot::Receiver<Result<Maintenance, ServerError>>;

/// Opens the store on a thread of its own, and then puts it where the workers see it.
pub(super) fn start(shared: &Arc<Shared>, slot: &Arc<StoreSlot>, options: StoreOptions) -> io::Result<Opening> {
    let (done, opening) = oneshot::channel();
    let (shared, slot) = (Arc::clone(shared), Arc::clone(slot));
    let pool_bytes = options.pool.path.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len());
    shared.loading.begin(shared.clock.now_ms(), pool_bytes);
    thread::Builder::new().name("opening".to_owned()).spawn(move || {
        let opened = open(&shared, &options).map_err(ServerError::from).and_then(|store| {
            let maintenance = Maintenance::start(Arc::clone(&store))?;
            // Fails only when it is set already, and this is the only place that sets it.
            let _ = slot.set(Arc::clone(&store));
            // It may have been set otherwise meanwhile.
            let (wanted, limit) = (shared.settings.pool_max_bytes(), store.pool().growth_limit());
            store.set_pool_max_bytes(wanted);
            if wanted > limit {
                tracing::warn!("pool-max-size is {wanted}, but the system grants address space for {limit} bytes: the pool grows no further");
            }
            shared.loading.end();
            Ok(maintenance)
        });
        drop(slot);
        // Nobody waits for it when the server was told to end meanwhile.
        let _ = done.send(opened);
    })?;
    Ok(opening)
}

/// Opens the store, telling how far that is, and then what its data survives.
fn open(shared: &Shared, options: &StoreOptions) -> Result<Arc<Store>, OpenError> {
    let progress = Progress::default();
    let store = thread::scope(|scope| {
        let (working, ended) = channel::<()>();
        let watcher = thread::Builder::new().name("progress".to_owned());
        if let Err(error) = watcher.spawn_scoped(scope, || watch(shared, &progress, ended)) {
            tracing::warn!("progress is not shown: {error}");
        }
        let opened = Store::open(options, shared.clock.clone(), &progress);
        drop(working);
        opened
    })?;
    store.set_fsync(shared.settings.fsync());
    store.set_packed_bytes(shared.settings.packed_bytes());
    tell(&store.info());
    Ok(Arc::new(store))
}

/// Follows recovery until the other end of `ended` is dropped.
fn watch(shared: &Shared, progress: &Progress, ended: Receiver<()>) {
    let bar = io::stderr().is_terminal();
    let (mut looks, mut drawn) = (0u32, false);
    // Ends with the opening.
    while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let (scanned, total) = progress.segments();
        looks += 1;
        if total == 0 {
            continue;
        }
        shared.loading.set_loaded(shared.loading.total_bytes() * u64::from(scanned) / u64::from(total));
        if bar {
            draw(scanned, total);
            drawn = true;
        } else if looks.is_multiple_of(LOOKS_PER_LINE) {
            tracing::info!("recovering: {scanned} of {total} segments");
        }
    }
    if drawn {
        // The bar is no part of the log: it goes when it has done its work.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn draw(scanned: u32, total: u32) {
    let share = u64::from(scanned) * u64::from(BAR_CELLS) / u64::from(total);
    let mut line = String::from("\rrecovering [");
    for cell in 0..u64::from(BAR_CELLS) {
        line.push(if cell < share { '#' } else { '.' });
    }
    let _ = write!(line, "] {:3} %", u64::from(scanned) * 100 / u64::from(total));
    // A terminal that is gone is no reason to stop.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// What the data lies on, what that survives, and what to do to be safer.
fn tell(info: &StoreInfo) {
    let place = if info.path.is_empty() { "memory only" } else { &info.path };
    let line = format!(
        "pool: {place}, medium {}, flush {}: {}",
        info.medium,
        info.flush_instruction,
        promise(info.medium, info.fsync)
    );
    if info.power_loss_safe {
        tracing::info!("{line}")
    } else {
        tracing::warn!("{line}")
    }
    tracing::info!(
        records = info.recovery_records,
        bytes = info.recovery_bytes,
        threads = info.recovery_threads,
        "recovered in {} ms",
        info.recovery_ms
    );
}

/// What an acknowledged write survives on a medium, with the `appendfsync` that is in force there.
fn promise(medium: &str, fsync: &str) -> &'static str {
    match (medium, fsync) {
        ("dax", _) => {
            "an acknowledged write survives the end of the process and power loss: it is past the fence before it is answered"
        }
        ("file", "always") => {
            "an acknowledged write survives the end of the process and power loss: the file is synced before it is answered. Persistent memory would spare the wait for the disk"
        }
        ("file", "everysec") => {
            "an acknowledged write survives the end of the process at once, and power loss once the file is synced, each second: a power cut takes back \
             at most about the last second, in whole. To lose nothing use --fsync always, or put the pool on a DAX mount"
        }
        ("file", _) => {
            "an acknowledged write survives the end of the process, but a power cut takes back everything since the last sync, which may be long ago. \
             To be safer use --fsync everysec or always, or put the pool on a DAX mount"
        }
        ("tmpfs", _) => {
            "an acknowledged write survives the end of the process, but DOES NOT survive power loss or a restart of the system: tmpfs is memory, \
             good for trying things out. To be safer give --pool a path on a disk, or on a DAX mount"
        }
        _ => {
            "an acknowledged write IS LOST with the process: this mode is for comparison. To keep data start without --medium dram"
        }
    }
}
