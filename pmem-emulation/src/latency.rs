//! Memory made as slow as a persistent one, for `--emulate-latency`.
//!
//! A [`LatencyModel`] is read from a text such as `optane`, `flush=62ns,fence=30ns,read=170ns` or `cxl,fence=300ns`:
//!
//! | key | unit | meaning |
//! |---|---|---|
//! | `flush` | ns, us | a flushed line, or a line written round the cache, takes at least this long |
//! | `fence` | ns, us | a fence takes at least this long |
//! | `read` | ns, us | added to every read |
//! | `write-bandwidth`, `read-bandwidth` | mb/s, gb/s | cap on all threads together |
//! | `block` | bytes | writes cost bandwidth in whole blocks of this size |
//!
//! What the machine takes anyway counts towards `flush` and `fence`; a machine that is slower than the model stays
//! so. Waiting is spinning: the thread that waits for a real medium does not sleep either. The clock is read for each
//! wait, which takes some 25 ns itself; shorter waits cannot be told apart.

use std::fmt;
use std::hint;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::hook::{Call, Hook, MediaError};
use crate::model::LINE_BYTES;

/// How slow each operation is. All zeros by default: nothing is delayed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LatencyModel {
    /// Nanoseconds that one line takes to be written back.
    pub flush_ns: u64,
    /// Nanoseconds that a fence takes.
    pub fence_ns: u64,
    /// Nanoseconds added to each read.
    pub read_ns: u64,
    /// Bytes a second that can be written by all threads together; 0 for no cap.
    pub write_bytes_per_second: u64,
    /// Bytes a second that can be read by all threads together; 0 for no cap.
    pub read_bytes_per_second: u64,
    /// Writes are counted in blocks of this many bytes; 0 for lines.
    pub block_bytes: u64,
}

impl LatencyModel {
    /// Six interleaved Optane modules of the first generation.
    ///
    /// - read: 305 ns for a random read (a summary of measurements; arXiv 1903.05714 reports 346 ns), less the 90 ns of
    ///   DRAM that the host takes itself;
    /// - flush: about 62 ns for a CLWB to the ADR domain (from memory, not re-checked);
    /// - fence: with one flush 130 ns, the write latency that the processor sees (a table in the Plush paper, which
    ///   is also where the 90 ns come from);
    /// - bandwidth: 39.4 GB/s read, 13.9 GB/s write (arXiv 1903.05714; one module has 6.6 and 2.3);
    /// - block: the 256-byte line of the medium: less is read, changed and written.
    pub const OPTANE: Self = Self {
        flush_ns: 62,
        fence_ns: 130 - 62,
        read_ns: 305 - 90,
        write_bytes_per_second: 13_900_000_000,
        read_bytes_per_second: 39_400_000_000,
        block_bytes: 256,
    };

    /// DRAM with its own energy source behind CXL: about 200 ns for the round trip and 32 GB/s, as the maker says of
    /// the SMART NV-CMM. The round trip is taken to be paid at the fence; of a read the 90 ns of DRAM are the host's
    /// own.
    pub const CXL: Self = Self {
        flush_ns: 0,
        fence_ns: 200,
        read_ns: 200 - 90,
        write_bytes_per_second: 32_000_000_000,
        read_bytes_per_second: 32_000_000_000,
        block_bytes: 0,
    };
}

/// A text that is no latency model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseLatencyError(String);

impl fmt::Display for ParseLatencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; a latency model is a preset (none, optane, cxl) and settings such as flush=62ns,fence=30ns,read=170ns,\
             write-bandwidth=2.3gb/s,read-bandwidth=6.6gb/s,block=256",
            self.0
        )
    }
}

impl std::error::Error for ParseLatencyError {}

impl FromStr for LatencyModel {
    type Err = ParseLatencyError;

    fn from_str(text: &str) -> Result<Self, ParseLatencyError> {
        let mut model = Self::default();
        for (index, part) in text.split(',').map(str::trim).enumerate() {
            match part.split_once('=') {
                Some((key, value)) => model.set(key.trim(), value.trim())?,
                None if index == 0 => model = Self::preset(part)?,
                None => return Err(ParseLatencyError(format!("{part:?} has no value"))),
            }
        }
        Ok(model)
    }
}

impl LatencyModel {
    fn preset(name: &str) -> Result<Self, ParseLatencyError> {
        match name {
            "none" => Ok(Self::default()),
            "optane" => Ok(Self::OPTANE),
            "cxl" => Ok(Self::CXL),
            _ => Err(ParseLatencyError(format!("{name:?} is not a known medium"))),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ParseLatencyError> {
        let (field, units): (&mut u64, &[(&str, f64)]) = match key {
            "flush" => (&mut self.flush_ns, TIMES),
            "fence" => (&mut self.fence_ns, TIMES),
            "read" => (&mut self.read_ns, TIMES),
            "write-bandwidth" => (&mut self.write_bytes_per_second, RATES),
            "read-bandwidth" => (&mut self.read_bytes_per_second, RATES),
            "block" => (&mut self.block_bytes, &[("", 1.0)]),
            _ => return Err(ParseLatencyError(format!("{key:?} is not a known setting"))),
        };
        *field = quantity(value, units).ok_or_else(|| ParseLatencyError(format!("{value:?} is no value for {key}")))?;
        Ok(())
    }
}

const TIMES: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3)];
const RATES: &[(&str, f64)] = &[("mb/s", 1e6), ("gb/s", 1e9)];

/// A number with one of the units, as a whole number of the smallest; not negative, and within what makes sense (a
/// second of delay, a terabyte a second).
fn quantity(value: &str, units: &[(&str, f64)]) -> Option<u64> {
    let value = value.to_ascii_lowercase();
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| value.strip_suffix(unit).map(|number| (number, *factor)))?;
    let number = number.trim().parse::<f64>().ok()? * factor;
    let limit = if units == RATES { 1e12 } else { 1e9 };
    (0.0..=limit).contains(&number).then_some(number.round() as u64)
}

impl fmt::Display for LatencyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flush={}ns,fence={}ns,read={}ns", self.flush_ns, self.fence_ns, self.read_ns)?;
        let rates = [("write-bandwidth", self.write_bytes_per_second), ("read-bandwidth", self.read_bytes_per_second)];
        for (name, rate) in rates.into_iter().filter(|(_, rate)| *rate > 0) {
            write!(f, ",{name}={}mb/s", rate / 1_000_000)?;
        }
        if self.block_bytes > 0 {
            write!(f, ",block={}", self.block_bytes)?;
        }
        Ok(())
    }
}

/// The hook that delays.
pub struct Latency {
    model: LatencyModel,
    started: Instant,
    writes: Pipe,
    reads: Pipe,
}

/// A pipe of limited width that all threads share.
#[derive(Default)]
struct Pipe {
    /// When the last byte that is in it will have passed, in picoseconds after the start.
    free_at_ps: AtomicU64,
}

impl Pipe {
    /// Queues `bytes` at `now` and gives the time that they will have passed; both in picoseconds.
    fn pass(&self, now_ps: u64, bytes: u64, bytes_per_second: u64) -> u64 {
        if bytes_per_second == 0 {
            return now_ps;
        }
        let takes = (u128::from(bytes) * 1_000_000_000_000 / u128::from(bytes_per_second)) as u64;
        let next = |free_at: u64| Some(free_at.max(now_ps) + takes);
        // Relaxed: the number stands for itself, and the update cannot fail as `next` always has a value.
        let (Ok(before) | Err(before)) = self.free_at_ps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.max(now_ps) + takes
    }
}

impl Latency {
    /// A hook that delays by `model`.
    pub fn new(model: LatencyModel) -> Arc<Self> {
        Arc::new(Self { model, started: Instant::now(), writes: Pipe::default(), reads: Pipe::default() })
    }

    /// Spins until both `ns` after `from` and the time that the pipe gives have come. Ends, as time does not stand
    /// still.
    fn wait(&self, from: Instant, ns: u64, pipe_free_ps: u64) {
        let at_least = Duration::from_nanos(ns);
        let pipe_free = Duration::from_nanos(pipe_free_ps / 1000);
        loop {
            let now = Instant::now();
            if now - from >= at_least && now - self.started >= pipe_free {
                return;
            }
            hint::spin_loop();
        }
    }

    fn ps(&self, at: Instant) -> u64 {
        (at - self.started).as_nanos() as u64 * 1000
    }

    fn write_back(&self, at: u64, len: u64, apply: &mut dyn FnMut()) {
        let from = Instant::now();
        apply();
        let block = self.model.block_bytes.max(LINE_BYTES);
        let bytes = (at % block + len).div_ceil(block) * block;
        let pipe_free = self.writes.pass(self.ps(from), bytes, self.model.write_bytes_per_second);
        let lines = (at % LINE_BYTES + len).div_ceil(LINE_BYTES);
        self.wait(from, lines * self.model.flush_ns, pipe_free);
    }
}

impl Hook for Latency {
    fn copy_nt(&self, at: u64, bytes: &[u8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.write_back(at, bytes.len() as u64, apply);
    }

    fn flush(&self, at: u64, len: u64, _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.write_back(at, len, apply);
    }

    fn fence(&self, _call: Call<'_>, apply: &mut dyn FnMut()) {
        let from = Instant::now();
        apply();
        self.wait(from, self.model.fence_ns, 0);
    }

    fn read(&self, at: u64, len: u64, _call: Call<'_>) -> Result<(), MediaError> {
        let from = Instant::now();
        let bytes = (at % LINE_BYTES + len).div_ceil(LINE_BYTES) * LINE_BYTES;
        let pipe_free = self.reads.pass(self.ps(from), bytes, self.model.read_bytes_per_second);
        self.wait(from, self.model.read_ns, pipe_free);
        Ok(())
    }
}
