//! What the kernel tells in sysfs of the persistent memory under a pool: its modules, what is wrong with them, and device DAX.
//!
//! Everything hangs on the **node** of the device that holds the pool: the block device under its file system (`dev/block/259:0`), or the pool's
//! own character device (`dev/char/252:1`). Of persistent memory the node lies below its **region**, a folder `region0` of an `ndbus0`; a region
//! is made of pieces of modules, `nmem0` and so on.

use std::fs::{self, File, Metadata};
use std::num::NonZeroU32;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const SYS: &str = "/sys";

/// What the kernel says of the memory that a pool lies on, as far as it says anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryHealth {
    /// Sectors of 512 bytes that the driver of the pool's device knows to be bad, in the pool or elsewhere.
    pub bad_sectors: Option<u64>,
    /// How often the modules of the pool's region lost power without saving all that was on its way to them: the sum over those that count it.
    pub dirty_shutdowns: Option<u64>,
}

/// The health of what holds `file`.
pub(super) fn health(file: &File) -> MemoryHealth {
    file.metadata().map_or_else(|_| MemoryHealth::default(), |found| health_under(Path::new(SYS), &node_of(&found)))
}

fn health_under(sys: &Path, node: &str) -> MemoryHealth {
    let Ok(device) = sys.join(node).canonicalize() else { return MemoryHealth::default() };
    // A partition has its disk's list, device DAX its region's.
    let list = device.ancestors().find_map(|folder| fs::read_to_string(folder.join("badblocks")).ok());
    MemoryHealth {
        bad_sectors: list.as_deref().map(bad_sectors_in),
        dirty_shutdowns: region_of(&device).and_then(|region| dirty_shutdowns_of(sys, region)),
    }
}

/// Where a device stands below `/sys`: that of a file is the one that its file system is on.
fn node_of(found: &Metadata) -> String {
    let (kind, number) =
        if found.file_type().is_char_device() { ("char", found.rdev()) } else { ("block", found.dev()) };
    format!("dev/{kind}/{}:{}", libc::major(number), libc::minor(number))
}

/// The list has a line for each stretch: first sector, number of sectors.
fn bad_sectors_in(list: &str) -> u64 {
    list.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// The region that a device is in.
fn region_of(device: &Path) -> Option<&Path> {
    let named = |path: Option<&Path>, start: &str| {
        path.and_then(Path::file_name).is_some_and(|name| name.as_encoded_bytes().starts_with(start.as_bytes()))
    };
    device.ancestors().find(|folder| named(Some(folder), "region") && named(folder.parent(), "ndbus"))
}

/// The sum over the modules of a region, of which each is named in a file `mapping0`, ...: `nmem0,0,1073741824,0`.
fn dirty_shutdowns_of(sys: &Path, region: &Path) -> Option<u64> {
    let mappings = (0..).map_while(|number| fs::read_to_string(region.join(format!("mapping{number}"))).ok());
    let counts = mappings.filter_map(|mapping| {
        let module = sys.join("bus/nd/devices").join(mapping.split(',').next()?.trim());
        // Each kind of bus keeps it in a folder of its own.
        let counts = ["nfit", "papr", "cxl"].map(|bus| fs::read_to_string(module.join(bus).join("dirty_shutdown")));
        counts.into_iter().flatten().find_map(|count| count.trim().parse::<u64>().ok())
    });
    counts.reduce(u64::saturating_add)
}

/// Whether the CPU caches survive a power cut (eADR) on every persistent-memory region of this machine.
///
/// As in libpmem2, one region that says anything but `cpu_cache`, or none at all, means no.
pub(super) fn caches_are_persistent() -> bool {
    caches_are_persistent_under(Path::new(SYS))
}

fn caches_are_persistent_under(sys: &Path) -> bool {
    let Ok(entries) = fs::read_dir(sys.join("bus/nd/devices")) else { return false };
    let mut regions = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"region"))
        .map(|entry| fs::read_to_string(entry.path().join("persistence_domain")))
        .peekable();
    regions.peek().is_some() && regions.all(|domain| domain.is_ok_and(|domain| domain.trim() == "cpu_cache"))
}

/// A character device that is persistent memory (device DAX, `/dev/dax0.0`): mapped without a file system between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DaxDevice {
    /// Usable bytes, a multiple of `align`.
    pub(super) len: u64,
    /// Start, length and address of a mapping are multiples of this, a power of two: 4 KiB, 2 MiB or 1 GiB.
    pub(super) align: NonZeroU32,
}

impl DaxDevice {
    /// The character device of which this was found, to be written or only looked at.
    ///
    /// # Errors
    /// Why no pool can be on it.
    pub(super) fn find(found: &Metadata, writable: bool) -> Result<Self, &'static str> {
        Self::find_under(Path::new(SYS), &node_of(found), writable)
    }

    fn find_under(sys: &Path, node: &str, writable: bool) -> Result<Self, &'static str> {
        const NOT_DAX: &str = "it is not device DAX; name a file or a /dev/daxN.M";
        let device = sys.join(node).canonicalize().map_err(|_| NOT_DAX)?;
        let subsystem = device.join("subsystem").canonicalize().map_err(|_| NOT_DAX)?;
        if subsystem.file_name() != Some("dax".as_ref()) {
            return Err(NOT_DAX);
        }
        let region =
            region_of(&device).ok_or("it is memory that loses power: no region of persistent memory has it")?;
        if region.ancestors().filter_map(Path::file_name).any(|name| name.as_encoded_bytes().starts_with(b"virtio")) {
            return Err("it is virtio-pmem, of which only the host can make bytes durable; \
                        use a file on it, with the durability of a disk");
        }
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        if writable && number(region.join("read_only")) == Some(1) {
            return Err("the kernel says that it is read-only: its modules could not save what is written to them");
        }
        let size = number(device.join("size")).ok_or("the kernel does not tell its size")?;
        // Older kernels keep it one device up.
        let align = number(device.join("align")).or_else(|| number(device.join("device/align")));
        Self::of(size, align.ok_or("the kernel does not tell its alignment")?)
    }

    fn of(size: u64, align: u64) -> Result<Self, &'static str> {
        let sensible = |align: &u32| align.is_power_of_two() && *align >= 4096;
        let align = u32::try_from(align).ok().filter(sensible).and_then(NonZeroU32::new);
        let align = align.ok_or("the kernel tells an alignment that no mapping can have")?;
        match size - size % u64::from(align.get()) {
            0 => Err("it is smaller than its alignment, so nothing of it can be mapped"),
            len => Ok(Self { len, align }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const REGION: &str = "devices/ACPI0012:00/ndbus0/region0";

    /// A sysfs with these files.
    fn sys(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            put(&dir, path, text);
        }
        dir
    }

    fn put(sys: &TempDir, path: &str, text: &str) {
        let path = sys.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn link(sys: &TempDir, from: &str, to: &str) {
        let from = sys.path().join(from);
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        symlink(sys.path().join(to), from).unwrap();
    }

    /// A sysfs with a device DAX of this size and alignment at this place, which is `dev/char/252:1`.
    fn with_device(place: &str, size: &str, align: &str) -> TempDir {
        let sys = sys(&[(&format!("{place}/size"), size), (&format!("{place}/align"), align), ("bus/dax/uevent", "")]);
        link(&sys, "dev/char/252:1", place);
        link(&sys, &format!("{place}/subsystem"), "bus/dax");
        sys
    }

    fn found(sys: &TempDir) -> Result<DaxDevice, &'static str> {
        DaxDevice::find_under(sys.path(), "dev/char/252:1", true)
    }

    #[test]
    fn a_device_is_as_long_as_whole_alignments_of_it() {
        const MIB: u64 = 1 << 20;
        let of = |size: u64, align: u64| DaxDevice::of(size, align).map(|device| device.len);
        assert_eq!(of(254 * MIB, 2 * MIB), Ok(254 * MIB));
        assert_eq!(of(255 * MIB + 4096, 2 * MIB), Ok(254 * MIB));
        assert_eq!(of(255 * MIB + 4096, 4096), Ok(255 * MIB + 4096));
        assert_eq!(of(3 << 30, 1 << 30), Ok(3 << 30));
        assert!(of(2 * MIB - 1, 2 * MIB).unwrap_err().contains("smaller"));
        for align in [0, 512, 3 * MIB, 1 << 32] {
            assert!(of(254 * MIB, align).unwrap_err().contains("alignment"), "{align}");
        }
    }

    #[test]
    fn size_and_alignment_of_a_device_come_from_the_kernel() {
        let place = format!("{REGION}/dax0.1/dax0.0");
        let sys = with_device(&place, "266338304", "2097152");
        assert_eq!(found(&sys), DaxDevice::of(266_338_304, 2 << 20));
        put(&sys, &format!("{place}/size"), "266338305");
        assert_eq!(found(&sys).unwrap().len, 266_338_304);

        fs::remove_file(sys.path().join(&place).join("align")).unwrap();
        assert!(found(&sys).unwrap_err().contains("alignment"));
        put(&sys, &format!("{place}/device/align"), "4096");
        assert_eq!(found(&sys), DaxDevice::of(266_338_304, 4096));
        fs::remove_file(sys.path().join(&place).join("size")).unwrap();
        assert!(found(&sys).unwrap_err().contains("size"));
    }

    #[test]
    fn what_would_not_keep_its_bytes_is_no_pool() {
        let in_region = format!("{REGION}/dax0.1/dax0.0");
        let sys = with_device(&in_region, "266338304", "2097152");
        put(&sys, &format!("{REGION}/read_only"), "0");
        assert!(found(&sys).is_ok());
        put(&sys, &format!("{REGION}/read_only"), "1");
        assert!(found(&sys).unwrap_err().contains("read-only"));
        assert!(DaxDevice::find_under(sys.path(), "dev/char/252:1", false).is_ok(), "it can be looked at");

        let volatile = with_device("devices/platform/hmem.0/dax0.0", "266338304", "2097152");
        assert!(found(&volatile).unwrap_err().contains("loses power"));
        let host = with_device("devices/pci0000:00/virtio2/ndbus0/region0/dax0.1/dax0.0", "266338304", "2097152");
        assert!(found(&host).unwrap_err().contains("virtio-pmem"));

        let other = with_device(&in_region, "266338304", "2097152");
        fs::remove_file(other.path().join(&in_region).join("subsystem")).unwrap();
        assert!(found(&other).unwrap_err().contains("not device DAX"));
        link(&other, &format!("{in_region}/subsystem"), "bus");
        assert!(found(&other).unwrap_err().contains("not device DAX"));
        assert!(DaxDevice::find_under(other.path(), "dev/char/1:3", true).unwrap_err().contains("not device DAX"));
    }

    #[test]
    fn dirty_shutdowns_are_those_of_the_modules_of_the_pools_region() {
        let pmem = format!("{REGION}/pfn0.1/block/pmem0");
        let sys = sys(&[
            (&format!("{pmem}/size"), "520192"),
            (&format!("{REGION}/mapping0"), "nmem0,0,134217728,0"),
            (&format!("{REGION}/mapping1"), "nmem2,0,134217728,1"),
        ]);
        link(&sys, "dev/block/259:0", &pmem);
        let shutdowns = || health_under(sys.path(), "dev/block/259:0").dirty_shutdowns;
        assert_eq!(shutdowns(), None, "modules that do not count");
        put(&sys, "bus/nd/devices/nmem0/nfit/dirty_shutdown", "3");
        put(&sys, "bus/nd/devices/nmem1/nfit/dirty_shutdown", "100");
        assert_eq!(shutdowns(), Some(3), "the other module is another region's");
        put(&sys, "bus/nd/devices/nmem2/papr/dirty_shutdown", "4");
        assert_eq!(shutdowns(), Some(7));
        assert_eq!(health_under(sys.path(), "dev/block/8:1"), MemoryHealth::default());
        let disk = self::sys(&[("devices/pci0000:00/virtio0/block/vda/size", "1")]);
        link(&disk, "dev/block/254:0", "devices/pci0000:00/virtio0/block/vda");
        assert_eq!(health_under(disk.path(), "dev/block/254:0"), MemoryHealth::default());
    }

    #[test]
    fn bad_sectors_are_counted_on_the_device_or_above_it() {
        let place = format!("{REGION}/dax0.1/dax0.0");
        let sys = with_device(&place, "266338304", "2097152");
        let bad = || health_under(sys.path(), "dev/char/252:1").bad_sectors;
        assert_eq!(bad(), None);
        put(&sys, &format!("{REGION}/badblocks"), "");
        assert_eq!(bad(), Some(0));
        put(&sys, &format!("{REGION}/badblocks"), "8 8\n2048 1");
        assert_eq!(bad(), Some(9));
    }

    #[test]
    fn eadr_needs_every_region_to_say_cpu_cache() {
        let sys = sys(&[("bus/nd/devices/namespace0.0/persistence_domain", "memory_controller")]);
        let persistent = || caches_are_persistent_under(sys.path());
        assert!(!persistent(), "no region at all");
        put(&sys, "bus/nd/devices/region0/persistence_domain", "cpu_cache");
        assert!(persistent());
        put(&sys, "bus/nd/devices/region1/persistence_domain", "memory_controller");
        assert!(!persistent(), "one exception");
        fs::remove_file(sys.path().join("bus/nd/devices/region1/persistence_domain")).unwrap();
        assert!(!persistent(), "a region that does not say");
        fs::remove_dir_all(sys.path().join("bus")).unwrap();
        assert!(!persistent(), "no bus");
    }
}
