//! DRAM per key and the time to recover.
//!
//! DRAM is resident anonymous memory (`RssAnon`) beyond that of the same server when empty: for Fencepost the index
//! and whatever else grows with the keys, not the pool, which is a file. Recovery is the time from the start of the
//! process to its first answer after `kill -9`.

use crate::Options;
use crate::contestant::{Contestant, Kind};
use crate::load::{self, Workload};
use std::io;
use std::time::Duration;

/// Bytes of the values here; keys have 16.
const VALUE_BYTES: usize = 64;

/// What one server needed for the keys.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Which server.
    pub kind: Kind,
    /// Resident anonymous memory per key beyond the empty server's, in bytes.
    pub bytes_per_key: f64,
    /// From the start of the process after `kill -9` to its first answer, for servers that come back with their data.
    pub recovery: Option<Duration>,
    /// What the server says of the scan alone (`pool_recovery_ms` of INFO), in milliseconds.
    pub scan_ms: Option<f64>,
}

/// Fills a fresh server of each kind, one after the other.
pub fn measure(options: &Options) -> io::Result<Vec<Memory>> {
    let measured = options.servers.iter().filter(|kind| matches!(kind, Kind::Redis | Kind::Fencepost));
    measured.map(|&kind| measure_one(kind, options)).collect()
}

fn measure_one(kind: Kind, options: &Options) -> io::Result<Memory> {
    let keys = options.memory_keys;
    let mut contestant = Contestant::start(kind, options, VALUE_BYTES, keys);
    let empty = contestant.usage()?.anonymous_bytes;
    eprintln!("{kind}: storing {keys} keys for the memory and recovery part");
    load::fill(contestant.address(), Workload::Set, keys, VALUE_BYTES)?;
    let full = contestant.usage()?.anonymous_bytes;
    let mut memory =
        Memory { kind, bytes_per_key: full.saturating_sub(empty) as f64 / keys as f64, recovery: None, scan_ms: None };
    if kind.has_pool() {
        memory.recovery = Some(contestant.server().crash());
        memory.scan_ms = contestant.info("pool_recovery_ms");
        let found = contestant.server().client().must(&["DBSIZE"]).integer();
        if found != i64::try_from(keys).ok() {
            return Err(io::Error::other(format!("{kind} came back with {found:?} of {keys} keys")));
        }
    }
    Ok(memory)
}
