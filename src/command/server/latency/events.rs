//! What the latency monitor remembers: for each event the last times that it took too long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Samples kept of an event.
const KEPT: usize = 160;

/// An event that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) struct Sample {
    /// When, in Unix seconds.
    pub at_s: u64,
    /// How long.
    pub ms: u64,
}

/// The samples of one event.
#[derive(Clone, Debug, Default)]
pub(in crate::command) struct Series {
    /// Oldest first; at most one for each second, the longest.
    pub samples: VecDeque<Sample>,
    /// The longest since the event was last forgotten.
    pub longest_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.longest_ms = self.longest_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == KEPT {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }

    /// The least and the greatest of what is kept.
    pub fn bounds_ms(&self) -> (u64, u64) {
        let all = || self.samples.iter().map(|sample| sample.ms);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }

    /// The mean of what is kept, and the mean distance from it.
    pub fn mean_and_deviation_ms(&self) -> (f64, f64) {
        let count = self.samples.len().max(1) as f64;
        let mean = self.samples.iter().map(|sample| sample.ms as f64).sum::<f64>() / count;
        (mean, self.samples.iter().map(|sample| (sample.ms as f64 - mean).abs()).sum::<f64>() / count)
    }
}

/// The events that the monitor has seen.
#[derive(Debug, Default)]
pub struct LatencyEvents {
    by_name: Mutex<BTreeMap<&'static str, Series>>,
}

impl LatencyEvents {
    /// Enters one that took too long.
    #[cold]
    pub(in crate::command) fn add(&self, event: &'static str, now_ms: u64, ms: u64) {
        self.lock().entry(event).or_default().add(Sample { at_s: now_ms / 1000, ms });
    }

    /// All events, by name.
    pub(in crate::command) fn all(&self) -> BTreeMap<&'static str, Series> {
        self.lock().clone()
    }

    /// The samples of an event.
    pub(in crate::command) fn get(&self, event: &[u8]) -> Option<Series> {
        self.all().into_iter().find(|(name, _)| name.as_bytes() == event).map(|(_, series)| series)
    }

    /// Forgets the events that are `meant`; says how many there were.
    pub(in crate::command) fn forget(&self, meant: impl Fn(&str) -> bool) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|name, _| !meant(name));
        before - events.len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Series>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Columns of a graph: the newest samples.
const COLUMNS: usize = 80;
/// Lines of a graph, above those that tell the ages.
const LINES: u64 = 4;

/// The samples as columns, from the lowest on the ground to the highest, and below each how long ago it was.
pub(in crate::command) fn graph(series: &Series, now_s: u64) -> String {
    let (low, high) = series.bounds_ms();
    let first = series.samples.len().saturating_sub(COLUMNS);
    let shown: Vec<Sample> = series.samples.iter().skip(first).copied().collect();
    let steps = |sample: &Sample| (sample.ms - low) * LINES / (high - low).max(1);
    let mut text = String::new();
    for line in (0..=LINES).rev() {
        let mark = |sample: &Sample| match steps(sample).cmp(&line) {
            std::cmp::Ordering::Less => ' ',
            std::cmp::Ordering::Equal => {
                if line == 0 {
                    '_'
                } else {
                    'o'
                }
            }
            std::cmp::Ordering::Greater => '|',
        };
        push_line(&mut text, shown.iter().map(mark));
    }
    text.push('\n');
    let ages: Vec<String> = shown.iter().map(|sample| age(now_s.saturating_sub(sample.at_s))).collect();
    let longest = ages.iter().map(String::len).max().unwrap_or(0);
    for line in 0..longest {
        push_line(&mut text, ages.iter().map(|age| age.as_bytes().get(line).map_or(' ', |&byte| char::from(byte))));
    }
    text
}

fn push_line(text: &mut String, marks: impl Iterator<Item = char>) {
    let line: String = marks.collect();
    text.push_str(line.trim_end());
    text.push('\n');
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_second_the_longest_is_kept_and_of_all_the_newest() {
        let events = LatencyEvents::default();
        for (now_ms, ms) in [(1000, 5), (1999, 9), (1500, 7), (2000, 3)] {
            events.add("command", now_ms, ms);
        }
        let series = events.get(b"command").expect("seen");
        assert_eq!(series.samples, [Sample { at_s: 1, ms: 9 }, Sample { at_s: 2, ms: 3 }]);
        assert_eq!((series.bounds_ms(), series.mean_and_deviation_ms()), ((3, 9), (6.0, 3.0)));
        (3..400).for_each(|second| events.add("command", second * 1000, 1));
        let series = events.get(b"command").expect("seen");
        assert_eq!((series.samples.len(), series.samples[0].at_s, series.longest_ms), (KEPT, 240, 9));
        assert_eq!(events.forget(|name| name == "other"), 0);
        assert_eq!(events.forget(|_| true), 1);
        assert!(events.get(b"command").is_none());
    }

    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let mut series = Series::default();
        for (at_s, ms) in [(0, 10), (60, 30), (119, 50)] {
            series.add(Sample { at_s, ms });
        }
        assert_eq!(graph(&series, 120), "  o\n  |\n o|\n ||\n_||\n\n211\nmms\n");
    }
}
