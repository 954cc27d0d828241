//! The results as Markdown tables and as JSON.

use crate::Options;
use crate::contestant::Kind;
use crate::histogram::Histogram;
use crate::load::{Outcome, Workload};
use crate::memory::Memory;
use std::fmt::Write;

/// One server's figures for one workload.
#[derive(Clone, Debug)]
struct Row {
    workload: Workload,
    value_bytes: usize,
    connections: usize,
    pipeline: usize,
    kind: Kind,
    ops_per_s: f64,
    cpu_us_per_op: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    misses: u64,
}

/// All figures of a run.
pub struct Report {
    machine: String,
    rows: Vec<Row>,
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

impl Report {
    /// Nothing measured yet.
    pub fn new(options: &Options) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("?", |(_, name)| name);
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!(
            "{model}, {cores} cores; {} keys, median of {} runs of {} s; servers on core {}, load on core {}",
            options.keys, options.repetitions, options.seconds, options.server_core, options.client_core
        );
        Self { machine, rows: Vec::new() }
    }

    /// Adds the repetitions of one server.
    pub fn add(
        &mut self,
        workload: Workload,
        value_bytes: usize,
        connections: usize,
        pipeline: usize,
        kind: Kind,
        outcomes: &[Outcome],
    ) {
        let mut latency = Histogram::default();
        outcomes.iter().for_each(|outcome| latency.merge(&outcome.latency));
        let quantile_us = |share| latency.quantile(share) / 1000.0;
        let rate = |outcome: &Outcome| outcome.operations as f64 / outcome.elapsed.as_secs_f64();
        let cpu = |outcome: &Outcome| outcome.server_cpu_us as f64 / outcome.operations as f64;
        self.rows.push(Row {
            workload,
            value_bytes,
            connections,
            pipeline,
            kind,
            ops_per_s: median(outcomes.iter().map(rate).collect()),
            cpu_us_per_op: median(outcomes.iter().map(cpu).collect()),
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
            p999_us: quantile_us(0.999),
            misses: outcomes.iter().map(|outcome| outcome.misses).sum(),
        });
    }

    /// The figures for the same workload of whom a server's ratios are to.
    fn base(&self, row: &Row) -> Option<&Row> {
        let what = |row: &Row| (row.workload, row.value_bytes, row.connections, row.pipeline);
        self.rows.iter().filter(|other| what(other) == what(row)).find(|other| other.kind == row.kind.base())
    }

    fn ratios(&self, row: &Row) -> Option<(f64, f64)> {
        let base = self.base(row)?;
        Some((row.ops_per_s / base.ops_per_s, base.cpu_us_per_op / row.cpu_us_per_op))
    }

    fn line(&self, row: &Row) -> String {
        let ratios = self.ratios(row).map_or("- | -".to_owned(), |(rate, cpu)| format!("{rate:.2} | {cpu:.2}"));
        format!(
            "| {} | {} B | {} | {} | {:<18} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {ratios} |{}\n",
            row.workload,
            row.value_bytes,
            row.connections,
            row.pipeline,
            row.kind,
            row.ops_per_s,
            row.cpu_us_per_op,
            row.p50_us,
            row.p99_us,
            row.p999_us,
            if row.misses > 0 { format!(" {} keys missing!", row.misses) } else { String::new() },
        )
    }

    /// The last few lines, for a look while the run goes on.
    pub fn last_table(&self, lines: usize) -> String {
        self.rows[self.rows.len().saturating_sub(lines)..].iter().map(|row| self.line(row)).collect()
    }

    /// The table of all runs. The ratios are to Redis without persistence, or with that of the same promise: operations a second, and operations per
    /// CPU second.
    pub fn tables(&self) -> String {
        let head = "| workload | value | connections | pipeline | server | ops/s | CPU us/op | p50 us | p99 us | p99.9 us | ops/s ratio | ops/CPU-s ratio |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n";
        let lines: String = self.rows.iter().map(|row| self.line(row)).collect();
        format!("{}\n\n{head}{lines}\n", self.machine)
    }

    /// Everything as one JSON object.
    pub fn json(&self, memory: &[Memory]) -> String {
        let rows = self.rows.iter().map(|row| {
            let (rate, cpu) = self.ratios(row).unwrap_or((f64::NAN, f64::NAN));
            format!(
                "{{\"workload\":\"{}\",\"value_bytes\":{},\"connections\":{},\"pipeline\":{},\"server\":\"{}\",\"ops_per_s\":{},\"cpu_us_per_op\":{},\
                 \"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"ops_ratio\":{},\"ops_per_cpu_ratio\":{}}}",
                row.workload,
                row.value_bytes,
                row.connections,
                row.pipeline,
                row.kind,
                number(row.ops_per_s),
                number(row.cpu_us_per_op),
                number(row.p50_us),
                number(row.p99_us),
                number(row.p999_us),
                number(rate),
                number(cpu),
            )
        });
        let memory = memory.iter().map(|memory| {
            format!(
                "{{\"server\":\"{}\",\"dram_bytes_per_key\":{},\"recovery_ms\":{},\"scan_ms\":{}}}",
                memory.kind,
                number(memory.bytes_per_key),
                memory.recovery.map_or("null".to_owned(), |took| number(took.as_secs_f64() * 1000.0)),
                memory.scan_ms.map_or("null".to_owned(), number),
            )
        });
        let join = |items: Vec<String>| items.join(",\n    ");
        let machine = self.machine.replace(['\\', '"'], "");
        format!(
            "{{\n  \"machine\": \"{machine}\",\n  \"runs\": [\n    {}\n  ],\n  \"memory\": [\n    {}\n  ]\n}}\n",
            join(rows.collect()),
            join(memory.collect())
        )
    }
}

/// JSON knows no infinities.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "null".to_owned() }
}

/// The table of memory and recovery.
pub fn memory_table(memory: &[Memory], keys: u64) -> String {
    if memory.is_empty() {
        return String::new();
    }
    let mut table = format!(
        "{keys} keys of 16 bytes with values of 64 bytes\n\n\
         | server | DRAM bytes/key over an empty server | kill -9 to first answer | scan | records/s |\n|---|---|---|---|---|\n"
    );
    for row in memory {
        let recovery = row.recovery.map_or("-".to_owned(), |took| format!("{:.0} ms", took.as_secs_f64() * 1000.0));
        let scan = row.scan_ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let rate = row
            .scan_ms
            .filter(|ms| *ms > 0.0)
            .map_or("-".to_owned(), |ms| format!("{:.2} M", keys as f64 / ms / 1000.0));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {} | {:.1} | {recovery} | {scan} | {rate} |", row.kind, row.bytes_per_key);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert_eq!((number(f64::NAN), number(1.0)), ("null".to_owned(), "1.000".to_owned()));
    }
}
