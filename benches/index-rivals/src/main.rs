//! The index beside papaya, std's `HashMap` and a bare hashbrown table of addresses, in one run.
//!
//! Workload: keys of 16 bytes, values of 64, in an arena of ordinary memory that stands for the log; one thread; the order of
//! access is random. All tables hash with SipHash-1-3, and every hit reads the value's first word. A lookup compares the key
//! where the table keeps it: the index and the bare table in the record, papaya and std in their own entry.
//!
//! Rounds of the tables are interleaved; a figure is the median over slices of 960 operations, in nanoseconds an operation.
//! Inserts are the mean of building the whole table, the median of the rounds. Then the latency of each insert while the index
//! grows from empty, with the upkeep in another thread, beside a control that does all but the insert.
//!
//! Read the figures as ratios: they are of this machine at this moment, and others may use it too.

mod growth;
mod memory;
mod tables;
mod workload;

use std::env;
use tables::{Bare, Fencepost, Papaya, Std, Table};
use workload::{Workload, median};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Slices of each kind, table and round.
const SLICES: usize = 1_000;

fn main() {
    let mut numbers = env::args().skip(1).filter_map(|argument| argument.parse::<f64>().ok());
    let keys = (numbers.next().unwrap_or(1.0) * 1e6) as usize;
    let rounds = numbers.next().unwrap_or(3.0) as usize;
    let growth = (numbers.next().unwrap_or(10.0) * 1e6) as usize;
    let workload = Workload::new(keys);
    println!("{keys} keys, {rounds} rounds, one thread, ns an operation");

    let mut columns: Vec<Column> = Vec::new();
    for _ in 0..rounds {
        let mut tables = build(&workload, &mut columns);
        for _ in 0..SLICES {
            for (table, column) in tables.iter_mut().zip(&mut columns) {
                column.measure(table.as_mut(), &workload);
            }
        }
    }
    println!(
        "{:<30}{:>8}{:>8}{:>12}{:>8}{:>8}{:>12}",
        "table", "insert", "hit", "hit, 1 pin", "miss", "batch", "DRAM B/key"
    );
    columns.iter().for_each(Column::print);
    print_ratios(&columns);
    drop(workload);
    growth::run(growth, rounds);
}

type Maker = fn(&Workload) -> Box<dyn Table>;

/// Builds all tables, one after the other, and notes what it took.
fn build(workload: &Workload, columns: &mut Vec<Column>) -> Vec<Box<dyn Table>> {
    let makers: [Maker; 4] = [
        |workload| Box::new(Fencepost::new(workload.keys)),
        |_| Box::new(Papaya::default()),
        |_| Box::new(Std::default()),
        |_| Box::new(Bare::default()),
    ];
    let mut tables = Vec::new();
    for (i, make) in makers.iter().enumerate() {
        let before = memory::allocated();
        let mut table = make(workload);
        if columns.len() == i {
            columns.push(Column { name: table.name(), ..Column::default() });
        }
        columns[i].insert.push(table.fill(workload));
        columns[i].bytes = (memory::allocated() - before + table.mapped()) as f64 / workload.keys as f64;
        tables.push(table);
    }
    tables
}

/// The figures of one table.
#[derive(Default)]
struct Column {
    name: &'static str,
    insert: Vec<f64>,
    hit: Vec<f64>,
    miss: Vec<f64>,
    batch: Vec<f64>,
    pinned: Vec<f64>,
    bytes: f64,
}

impl Column {
    /// A slice of each kind.
    fn measure(&mut self, table: &mut dyn Table, workload: &Workload) {
        self.hit.push(table.hits(&workload.some_present()));
        self.miss.push(table.misses(&workload.some_absent()));
        self.batch.extend(table.batched_hits(&workload.some_present()));
        self.pinned.extend(table.pinned_hits(&workload.some_present()));
    }

    fn print(&self) {
        let figure = |figures: &[f64]| match figures {
            [] => "-".to_owned(),
            figures => format!("{:.0}", median(figures)),
        };
        println!(
            "{:<30}{:>8}{:>8}{:>12}{:>8}{:>8}{:>12.1}",
            self.name,
            figure(&self.insert),
            figure(&self.hit),
            figure(&self.pinned),
            figure(&self.miss),
            figure(&self.batch),
            self.bytes
        );
    }
}

fn print_ratios(columns: &[Column]) {
    let [index, papaya, std, ..] = columns else { return };
    let ratio = |ours: &[f64], theirs: &[f64]| median(ours) / median(theirs);
    println!(
        "index to papaya: insert {:.2}, hit {:.2}, miss {:.2}; to std: hit {:.2}, batched hit to its single hit {:.2}",
        ratio(&index.insert, &papaya.insert),
        ratio(&index.hit, &papaya.hit),
        ratio(&index.miss, &papaya.miss),
        ratio(&index.hit, &std.hit),
        ratio(&index.batch, &std.hit),
    );
}
