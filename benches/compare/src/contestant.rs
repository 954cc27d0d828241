//! The servers that are compared, and how each is started.

use crate::Options;
use crate::load::{self, Load, Outcome};
use crate::process::Usage;
use fencepost_harness::{Frame, Program, Server, Storage};
use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

/// A way to run a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redis without persistence: the base of the ratios.
    Redis,
    /// Redis with an append-only file on the disk, synced every second.
    RedisEverysec,
    /// Redis with an append-only file on the disk, synced before each answer.
    RedisAlways,
    /// Fencepost over a pool in `/dev/shm`: every cost of durability but the medium's own.
    Fencepost,
    /// The same over a pool of which every page has been written to before, as in one that has been in use or on a medium of its own. Pages of a fresh
    /// file in `/dev/shm` are cleared by the kernel, and on a virtual machine first found by the host, when they are touched.
    FencepostUsed,
    /// The same as the first with a record for each element of a collection, however small it is.
    FencepostRecords,
    /// Fencepost over anonymous memory, without flushes and fences.
    FencepostDram,
    /// Fencepost with its pool on the disk, synced every second.
    FencepostEverysec,
    /// Fencepost with its pool on the disk, synced before each answer.
    FencepostAlways,
}

const NAMES: [(Kind, &str); 9] = [
    (Kind::Redis, "redis"),
    (Kind::RedisEverysec, "redis-everysec"),
    (Kind::RedisAlways, "redis-always"),
    (Kind::Fencepost, "fencepost"),
    (Kind::FencepostUsed, "fencepost-used"),
    (Kind::FencepostRecords, "fencepost-records"),
    (Kind::FencepostDram, "fencepost-dram"),
    (Kind::FencepostEverysec, "fencepost-everysec"),
    (Kind::FencepostAlways, "fencepost-always"),
];

impl Kind {
    /// Those that take part unless others are named, the base first.
    pub const ALL: [Kind; 5] =
        [Kind::Redis, Kind::RedisEverysec, Kind::RedisAlways, Kind::Fencepost, Kind::FencepostDram];

    /// Whom its ratios are to: who makes the same promise, or Redis without persistence.
    pub fn base(self) -> Kind {
        match self {
            Kind::FencepostEverysec => Kind::RedisEverysec,
            Kind::FencepostAlways => Kind::RedisAlways,
            _ => Kind::Redis,
        }
    }

    /// Whether it keeps its data in a pool file.
    pub fn has_pool(self) -> bool {
        self == Kind::Fencepost
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| format!("one of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// Writes to each page of a file what is there.
fn write_all_pages(path: &Path) -> io::Result<()> {
    const STEP_BYTES: usize = 1 << 20;
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let mut bytes = vec![0; STEP_BYTES];
    for at in (0..len).step_by(STEP_BYTES) {
        let step = &mut bytes[..STEP_BYTES.min((len - at) as usize)];
        file.read_exact_at(step, at)?;
        file.write_all_at(step, at)?;
    }
    Ok(())
}

/// A running server.
pub struct Contestant {
    kind: Kind,
    server: Server,
}

impl Contestant {
    /// Starts it on its core with room for this many records of this size.
    pub fn start(kind: Kind, options: &Options, value_bytes: usize, records: u64) -> Self {
        let (program, storage) = match kind {
            Kind::Redis => (Program::Redis, Storage::Memory),
            Kind::RedisEverysec | Kind::RedisAlways => (Program::Redis, Storage::Disk(options.disk.clone())),
            Kind::FencepostEverysec | Kind::FencepostAlways => {
                (Program::Fencepost(options.fencepost()), Storage::Disk(options.disk.clone()))
            }
            Kind::Fencepost | Kind::FencepostUsed | Kind::FencepostRecords | Kind::FencepostDram => {
                (Program::Fencepost(options.fencepost()), Storage::Memory)
            }
        };
        // Header of the batch and of the record, key, value, and up to a line of padding; then a tenth for segments'
        // ends.
        let record_bytes = (value_bytes as u64 + 16 + 64).next_multiple_of(64) + 64;
        let pool_size = (records * record_bytes * 11 / 10).max(64 << 20).to_string();
        let redis_aof =
            |policy| vec!["--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0"];
        let arguments = match kind {
            Kind::Redis => vec![],
            Kind::RedisEverysec => redis_aof("everysec"),
            Kind::RedisAlways => redis_aof("always"),
            Kind::Fencepost | Kind::FencepostUsed | Kind::FencepostRecords => {
                vec!["--workers", "1", "--pool-size", &pool_size]
            }
            Kind::FencepostDram => vec!["--workers", "1", "--pool-size", &pool_size, "--medium", "dram"],
            Kind::FencepostEverysec => vec!["--workers", "1", "--pool-size", &pool_size, "--fsync", "everysec"],
            Kind::FencepostAlways => vec!["--workers", "1", "--pool-size", &pool_size, "--fsync", "always"],
        };
        let mut server =
            Server::new(program, &storage, &arguments).under(&["taskset", "-c", &options.server_core.to_string()]);
        server.run();
        if kind == Kind::FencepostUsed {
            server.terminate();
            write_all_pages(&server.pool_path()).expect("the pool can be written to");
            server.run();
        }
        if kind == Kind::FencepostRecords {
            server.client().must(&["CONFIG", "SET", "packed-collection-max-bytes", "0"]);
        }
        Self { kind, server }
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The process.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// What its process has used so far.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.server.pid())
    }

    /// One run, with the CPU time that it cost the server.
    pub fn measure(&self, load: &Load) -> io::Result<Outcome> {
        let before = self.usage()?;
        let mut outcome = load::run(self.address(), load)?;
        outcome.server_cpu_us = self.usage()?.cpu_us - before.cpu_us;
        Ok(outcome)
    }

    /// A number out of `INFO`, where there is such a field.
    pub fn info(&self, field: &str) -> Option<f64> {
        let Frame::Bulk(text) = self.server.client().must(&["INFO", "everything"]) else { return None };
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok())
    }
}
