//! What a region lies on, and what that survives.
#![expect(unsafe_code, reason = "statfs")]

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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

/// Sectors of the file's device that its driver knows to be bad; `None` where it keeps no list. They may lie in the file or not.
pub(super) fn bad_sectors(file: &File) -> Option<u64> {
    let device = file.metadata().ok()?.dev();
    let node = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
    // A partition has its disk's list.
    [format!("{node}/badblocks"), format!("{node}/../badblocks")]
        .iter()
        .find_map(|path| bad_sectors_in(Path::new(path)))
}

/// The list has a line for each stretch: first sector, number of sectors.
fn bad_sectors_in(list: &Path) -> Option<u64> {
    let list = fs::read_to_string(list).ok()?;
    Some(list.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

/// Whether the CPU caches survive a power cut (eADR) on every persistent-memory region of this machine.
///
/// As in libpmem2, one region that says anything but `cpu_cache`, or none at all, means no.
pub(super) fn caches_are_persistent() -> bool {
    caches_are_persistent_under(Path::new("/sys/bus/nd/devices"))
}

fn caches_are_persistent_under(devices: &Path) -> bool {
    let Ok(entries) = fs::read_dir(devices) else { return false };
    let mut regions = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"region"))
        .map(|entry| fs::read_to_string(entry.path().join("persistence_domain")))
        .peekable();
    regions.peek().is_some() && regions.all(|domain| domain.is_ok_and(|domain| domain.trim() == "cpu_cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eadr_needs_every_region_to_say_cpu_cache() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!caches_are_persistent_under(dir.path()), "no region at all");
        let add = |name: &str, domain: &str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("persistence_domain"), domain).unwrap();
        };
        add("namespace0.0", "memory_controller\n");
        assert!(!caches_are_persistent_under(dir.path()), "not a region");
        add("region0", "cpu_cache\n");
        assert!(caches_are_persistent_under(dir.path()));
        add("region1", "memory_controller\n");
        assert!(!caches_are_persistent_under(dir.path()), "one exception");
    }

    #[test]
    fn bad_sectors_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("badblocks");
        assert_eq!(bad_sectors_in(&list), None);
        fs::write(&list, "").unwrap();
        assert_eq!(bad_sectors_in(&list), Some(0));
        fs::write(&list, "8 8\n2048 1\n").unwrap();
        assert_eq!(bad_sectors_in(&list), Some(9));
    }

    #[test]
    fn a_region_without_a_domain_is_not_eadr() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("region0")).unwrap();
        assert!(!caches_are_persistent_under(dir.path()));
    }
}
