//! What the operating system knows of this process.

use crate::store::StoreInfo;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Memory of this process, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident, the mapped pool included.
    pub resident: u64,
    /// The most that was ever resident, without a pool in DRAM.
    pub resident_max: u64,
    /// Resident besides the pool: the heap, the stacks and the index.
    pub besides_pool: u64,
}

/// As `/proc/self/status` has it, for a store over the pool that `store` describes; zeros where there is no such file.
pub(super) fn memory(store: &StoreInfo) -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // A pool in DRAM is anonymous memory itself.
    let pool = if store.medium == "dram" { store.pool_bytes } else { 0 };
    Memory {
        resident: kib_field(&status, "VmRSS:"),
        resident_max: kib_field(&status, "VmHWM:").saturating_sub(pool),
        besides_pool: kib_field(&status, "RssAnon:").saturating_sub(pool),
    }
}

/// The machine's memory, in bytes.
pub(super) fn system_memory() -> u64 {
    kib_field(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:")
}

/// The value of a line `name   123 kB`, in bytes.
fn kib_field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Processor time in seconds: of the process in the kernel and out of it, then of this thread.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct CpuTime {
    pub process_system: f64,
    pub process_user: f64,
    pub thread_system: f64,
    pub thread_user: f64,
}

/// Processor time used so far.
pub(super) fn cpu_time() -> CpuTime {
    let (process, thread) = (getrusage(UsageWho::RUSAGE_SELF).ok(), getrusage(UsageWho::RUSAGE_THREAD).ok());
    let seconds = |usage: &Option<Usage>, field: fn(&Usage) -> TimeVal| {
        usage.as_ref().map(field).map_or(0.0, |time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
    };
    CpuTime {
        process_system: seconds(&process, Usage::system_time),
        process_user: seconds(&process, Usage::user_time),
        thread_system: seconds(&thread, Usage::system_time),
        thread_user: seconds(&thread, Usage::user_time),
    }
}

/// The operating system's name, release and architecture.
pub(super) fn operating_system() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |name| {
            [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy().into_owned()).join(" ")
        },
    )
}

#[test]
fn a_field_is_found_by_its_name() {
    let status = "VmHWM:\t    9000 kB\nVmRSS:\t     123 kB\n";
    assert_eq!(kib_field(status, "VmRSS:"), 123 * 1024);
    assert_eq!(kib_field(status, "RssAnon:"), 0);
    let memory = memory(&StoreInfo::default());
    assert!(memory.besides_pool > 0 && memory.resident_max >= memory.besides_pool);
}
