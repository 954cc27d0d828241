//! What a region lies on, and what that survives.
#![expect(unsafe_code, reason = "statfs")]

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// What holds the bytes of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// Persistent memory, mapped with MAP_SYNC: a flushed and fenced line is durable.
    Dax,
    /// A file in the page cache of a disk file system.
    File,
    /// A file in tmpfs or ramfs: emulation.
    Tmpfs,
    /// Anonymous memory.
    Dram,
}

impl Medium {
    /// The word for it in logs and `INFO`: `dax`, `file`, `tmpfs` or `dram`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dax => "dax",
            Self::File => "file",
            Self::Tmpfs => "tmpfs",
            Self::Dram => "dram",
        }
    }

    /// Whether a fenced write survives the death of the process.
    pub fn survives_process_kill(self) -> bool {
        self != Self::Dram
    }

    /// Whether a fenced write survives a power cut. A `file` survives one only where it was synced.
    pub fn survives_power_loss(self) -> bool {
        self == Self::Dax
    }
}

/// The smallest piece that becomes durable without touching its neighbours, in the terms of libpmem2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// The CPU caches are in the persistence domain (eADR): no flush is needed.
    Byte,
    /// Lines have to be flushed.
    CacheLine,
    /// Pages have to be synced.
    Page,
    /// Lines are flushed, to the same cost, into memory that loses power.
    Emulated,
    /// Nothing becomes durable.
    None,
}

impl Granularity {
    /// The word for it in logs and `INFO`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::CacheLine => "cache_line",
            Self::Page => "page",
            Self::Emulated => "emulated",
            Self::None => "none",
        }
    }
}

/// The 16 bytes that name this boot of the operating system; zeros where it does not tell. It is read once: a process does not live through
/// a boot.
pub(super) fn boot_id() -> [u8; 16] {
    static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut id = [0; 16];
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (pair[0] << 4 | pair[1]) as u8;
        }
        id
    })
}

/// Whether `file` lies in memory: tmpfs, ramfs or hugetlbfs.
pub(super) fn is_memory_backed(file: &File) -> io::Result<bool> {
    let stat = statfs(file)?;
    // The magic numbers are 32 bits wide; the field's type differs between C libraries.
    let magic = stat.f_type as u32;
    Ok([libc::TMPFS_MAGIC as u32, RAMFS_MAGIC, libc::HUGETLBFS_MAGIC as u32].contains(&magic))
}

/// `RAMFS_MAGIC` of linux/magic.h.
const RAMFS_MAGIC: u32 = 0x8584_58f6;

/// Bytes that the file system of `file` has free for us; `None` when it does not say, as one without a limit.
pub(super) fn available_bytes(file: &File) -> Option<u64> {
    let stat = statfs(file).ok().filter(|stat| stat.f_blocks > 0)?;
    Some(stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(0)))
}

fn statfs(file: &File) -> io::Result<libc::statfs> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open and `stat` is as large as the call expects.
    if unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid statfs, and the call has filled it.
    Ok(unsafe { stat.assume_init() })
}
