//! The operating system's bound on open files, which bounds the clients.

use crate::command::Settings;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are open besides the clients' sockets: the pool, the listeners, the runtimes, standard streams.
const OTHER_FILES: u64 = 64;

/// Raises the bound so that `maxclients` clients fit, or, where the system does not allow that, lowers `maxclients`.
pub(super) fn raise_file_limit(settings: &Settings) {
    let wanted = settings.maxclients() as u64 + OTHER_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= wanted {
        return;
    }
    let raised = if hard >= wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        return;
    } else if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        hard
    } else {
        soft
    };
    let fit = raised.saturating_sub(OTHER_FILES).max(1);
    tracing::warn!(
        maxclients = fit,
        "the system allows {raised} open files, so maxclients is lowered from {}; raise it with 'ulimit -n {wanted}'",
        settings.maxclients()
    );
    // Cannot fail: the number is in the setting's range.
    let _ = settings.set(&[(b"maxclients", fit.to_string().as_bytes())]);
}
