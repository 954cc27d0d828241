//! Fencepost beside `redis-server`, in one run on one machine.
//!
//! ```text
//! cargo build --release && cargo run --release -p fencepost-compare
//! cargo run --release -p fencepost-compare -- --quick
//! cargo run --release -p fencepost-compare -- --servers redis-everysec,fencepost-everysec,redis-always,fencepost-always --workloads SET,INCR \
//!     --values 64 --pipelines 1 --connections 1,50 --memory-keys 0
//! cargo run --release -p fencepost-compare -- --workloads HSET,LPUSH,SADD,ZADD,LRANGE,ZRANGE --values 20 --memory-keys 0
//! ```
//!
//! What is measured: operations a second, server CPU microseconds per operation (user and system time of all of its
//! threads over the run), and the latency of each command from when its pipeline was sent to when its reply was read;
//! then DRAM per key and the time to recover.
//!
//! How the comparison is kept fair: each server is pinned to one core and Fencepost runs one worker, the load
//! generator has another core; the same generator, keys, seeds and sizes for everyone; repetitions are interleaved
//! (every server's first, then every server's second, ...), so that a slow moment of the machine hits all; the median
//! over repetitions is reported. CPU per operation is the figure to look at, as it does not depend on how fast the
//! generator is.
#![forbid(unsafe_code)]

mod collections;
mod contestant;
mod histogram;
mod load;
mod memory;
mod process;
mod report;

use clap::Parser;
use contestant::{Contestant, Kind};
use load::{Load, Outcome, Workload};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Compares Fencepost with redis-server on this machine.
#[derive(Parser, Clone, Debug)]
#[command(name = "fencepost-compare")]
pub struct Options {
    /// The fencepost binary; by default the one beside this program.
    #[arg(long)]
    fencepost: Option<PathBuf>,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    servers: Vec<Kind>,
    /// What they do: SET, GET, 1:10 (one SET to ten GETs); HSET, SADD, ZADD, LPUSH, LRANGE and ZRANGE of 100, each on one collection of as many
    /// elements as there are keys; HSET-small and HGET-small, on hashes of eight fields, which have as many fields in all.
    #[arg(long, value_delimiter = ',', default_values_t = Workload::STRINGS)]
    workloads: Vec<Workload>,
    /// Value sizes in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024])]
    values: Vec<usize>,
    /// Commands sent at once on a connection.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pipelines: Vec<usize>,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [50])]
    connections: Vec<usize>,
    /// Distinct keys, all stored beforehand.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Runs of each kind; the median counts.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Seconds per run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A run also ends after this many operations of 64 bytes, and a quarter of it of more: it bounds the pool, as
    /// overwritten records take room until they are cleaned.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Keys for the memory and recovery part; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    memory_keys: u64,
    /// Measure what collections take, and how long DEL of one of so many elements takes, instead of everything else; 0 does not.
    #[arg(long, default_value_t = 0)]
    drop_elements: usize,
    /// How often each is deleted; the longest counts.
    #[arg(long, default_value_t = 3)]
    drop_trials: usize,
    /// The core that servers run on.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core that the load generator runs on.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Where files are made that belong on a disk (Redis' append-only file).
    #[arg(long, default_value = "/var/tmp")]
    disk: PathBuf,
    /// Also write the results as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A short run on small data that shows only that everything works.
    #[arg(long)]
    quick: bool,
}

impl Options {
    fn shortened(mut self) -> Self {
        if self.quick {
            self.keys = 20_000;
            self.repetitions = 1;
            self.seconds = 0.15;
            self.operations = 100_000;
            self.memory_keys = self.memory_keys.min(50_000);
        }
        self
    }

    fn fencepost(&self) -> PathBuf {
        let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("fencepost"));
        self.fencepost.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("fencepost"))
    }

    fn operations_max(&self, value_bytes: usize) -> u64 {
        if value_bytes > 64 { self.operations / 4 } else { self.operations }
    }

    /// Writes that one server gets over all runs with a value size: what its pool has to hold.
    fn writes(&self, value_bytes: usize) -> u64 {
        let runs = (self.workloads.len() * self.connections.len() * self.pipelines.len() * self.repetitions) as u64;
        self.keys + runs * (self.operations_max(value_bytes) + self.in_flight())
    }

    fn in_flight(&self) -> u64 {
        let most = |numbers: &[usize]| numbers.iter().copied().max().unwrap_or(1);
        (most(&self.connections) * most(&self.pipelines)) as u64
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse().shortened();
    let mut report = report::Report::new(&options);
    if let Err(error) = process::pin_self(options.client_core) {
        eprintln!("the load generator cannot be pinned to core {}: {error}", options.client_core);
    }
    if options.drop_elements > 0 {
        print!("{}", collections::measure(&options)?);
        return Ok(());
    }
    for &value_bytes in &options.values {
        compare(&options, value_bytes, &mut report)?;
    }
    print!("{}", report.tables());
    let memory = if options.memory_keys > 0 { memory::measure(&options)? } else { Vec::new() };
    print!("{}", report::memory_table(&memory, options.memory_keys));
    if let Some(path) = &options.json {
        std::fs::write(path, report.json(&memory))?;
    }
    Ok(())
}

/// All runs with one value size: the servers stay up, so that their repetitions can take turns.
fn compare(options: &Options, value_bytes: usize, report: &mut report::Report) -> io::Result<()> {
    let mut contestants = Vec::new();
    for &kind in &options.servers {
        let contestant = Contestant::start(kind, options, value_bytes, options.writes(value_bytes));
        eprintln!("{kind}: storing {} keys of {value_bytes} bytes", options.keys);
        let mut fills: Vec<Workload> = options.workloads.iter().map(|workload| workload.filled_by()).collect();
        fills.dedup();
        for fill in fills {
            load::fill(contestant.address(), fill, options.keys, value_bytes)?;
        }
        contestants.push(contestant);
    }
    for &workload in &options.workloads {
        let kinds = options
            .connections
            .iter()
            .flat_map(|connections| options.pipelines.iter().map(move |&pipeline| (*connections, pipeline)));
        for (connections, pipeline) in kinds {
            let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); contestants.len()];
            for repetition in 0..options.repetitions {
                for (contestant, outcomes) in contestants.iter().zip(&mut outcomes) {
                    let load = Load {
                        workload,
                        value_bytes,
                        pipeline,
                        connections,
                        keys: options.keys,
                        time_max: Duration::from_secs_f64(options.seconds),
                        operations_max: options.operations_max(value_bytes),
                        seed: repetition as u64,
                    };
                    outcomes.push(contestant.measure(&load)?);
                }
            }
            for (contestant, outcomes) in contestants.iter().zip(outcomes) {
                report.add(workload, value_bytes, connections, pipeline, contestant.kind(), &outcomes);
            }
            eprint!("{}", report.last_table(contestants.len()));
        }
    }
    Ok(())
}
