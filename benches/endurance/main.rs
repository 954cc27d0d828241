//! What a pool that is written over and over costs, the fuller it is: throughput, write amplification, latency.
//!
//! ```sh
//! cargo bench --bench endurance                                            # a minute: 64 MiB, each level overwritten three times
//! cargo bench --bench endurance -- --full --markdown --svg docs/endurance.svg
//! cargo bench --bench endurance -- --churn 10000000                        # keys that are made and deleted
//! ```
//!
//! Each row has a new pool on tmpfs with a store right on it, no sockets, and the store's own background threads. It is filled with keys of 16 bytes
//! until so much of the pool's bytes is live, as the store counts them, and then one thread writes over existing keys, one commit each: values of
//! 280 bytes on the average (see [`load::Values`]), keys drawn uniformly or by Zipf's law with exponent 0.99. One pool's worth of writes goes
//! before what is measured, so that all pages are mapped and segments have aged. A write that finds no room does what the server does: it lets go of
//! everything and waits for the cleaner. In the end every key is read and the store's books are checked.
#![forbid(unsafe_code)]

mod churn;
#[path = "../compare/src/histogram.rs"]
#[expect(dead_code, unused_imports, reason = "nothing is merged here, and no tests are run")]
mod histogram;
mod load;
mod report;
mod run;

use clap::Parser;
use load::Draw;
use run::Row;
use std::path::PathBuf;

/// Live share of the pool's bytes in percent; the first stands for an all but empty pool, to which others are compared.
const LEVELS: [u32; 5] = [20, 50, 70, 80, 90];

#[derive(Parser)]
struct Args {
    /// Pools of 64 MiB and 1 GiB, written over `FULL` times.
    #[arg(long)]
    full: bool,
    /// Only pools of so many MiB.
    #[arg(long, value_delimiter = ',')]
    pool_mib: Vec<u64>,
    /// Only these live shares, in percent.
    #[arg(long, value_delimiter = ',', default_values_t = LEVELS)]
    live: Vec<u32>,
    /// How many times the pool's bytes are written, keys and values.
    #[arg(long)]
    turnovers: Option<f64>,
    /// Each row so many times; the median by throughput is told.
    #[arg(long, default_value_t = 1)]
    repetitions: usize,
    /// Prints the table as in docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
    /// Draws throughput and amplification over live share into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Makes and deletes so many keys instead, each once.
    #[arg(long)]
    churn: Option<u64>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Times that each pool is written over: in the quick form, and in the full one by size.
fn turnovers(full: bool, pool_mib: u64) -> f64 {
    match (full, pool_mib) {
        (false, _) => 3.0,
        (true, ..=255) => 20.0,
        (true, _) => 5.0,
    }
}

fn main() {
    let args = Args::parse();
    if let Some(keys) = args.churn {
        return churn::run(keys);
    }
    let default: &[u64] = if args.full { &[64, 1024] } else { &[64] };
    let pools = if args.pool_mib.is_empty() { default } else { &args.pool_mib };
    let mut rows: Vec<Row> = Vec::new();
    report::heading(args.markdown);
    for &pool_mib in pools {
        let turnovers = args.turnovers.unwrap_or_else(|| turnovers(args.full, pool_mib));
        for draw in [Draw::Uniform, Draw::Zipf] {
            let first = rows.len();
            for &live in &args.live {
                let mut runs: Vec<Row> =
                    (0..args.repetitions.max(1)).map(|_| run::run(pool_mib, live, draw, turnovers)).collect();
                runs.sort_by(|a, b| a.ops_per_second().total_cmp(&b.ops_per_second()));
                rows.push(runs.swap_remove(runs.len() / 2));
                report::row(&rows[rows.len() - 1], &rows[first], args.markdown);
            }
        }
    }
    if let Some(path) = args.svg {
        std::fs::write(&path, report::plot(&rows)).expect("the plot can be written");
    }
    let wrong: u64 = rows.iter().map(|row| row.waits_beside_room).sum();
    assert_eq!(wrong, 0, "writes waited while a segment was free for them");
}
