//! What a process uses, from `/proc`, and pinning.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::io;

/// The kernel counts CPU time in hundredths of a second towards user space, on every Linux of today.
const TICK_US: u64 = 10_000;

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time of all threads, in microseconds.
    pub cpu_us: u64,
    /// Resident anonymous memory in bytes: heap and stacks, not the pool.
    pub anonymous_bytes: u64,
}

impl Usage {
    /// Reads `/proc/PID/stat` and `/proc/PID/status`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid} reads strangely"));
        Ok(Self {
            cpu_us: cpu_ticks(&stat).ok_or_else(broken)? * TICK_US,
            anonymous_bytes: kibibytes(&status, "RssAnon:").ok_or_else(broken)? * 1024,
        })
    }
}

/// The 14th and 15th field; the second is a name in parentheses that may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Keeps this thread on one core.
pub fn pin_self(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_usage_is_read() {
        let usage = Usage::of(std::process::id()).expect("/proc is there");
        assert!(usage.anonymous_bytes > 0);
    }

    #[test]
    fn fields_are_found_behind_a_strange_name() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 70 30 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(kibibytes("VmRSS:\t  10 kB\nRssAnon:\t   8 kB\n", "RssAnon:"), Some(8));
    }
}
