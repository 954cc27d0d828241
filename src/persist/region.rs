//! The region: what it is made of, how it comes to be, and what it says about itself.
#![expect(unsafe_code, reason = "access to mapped memory")]

use std::fmt;
use std::io;
use std::panic::Location;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pmem_emulation::{Hook, MediaError};

use super::error::RegionError;
use super::file::{Asked, PoolFile};
use super::flush::{self, FlushChoice, FlushInstruction};
use super::mapping::Mapping;
use super::medium::{self, Granularity, Medium};
use super::sysfs::{self, MemoryHealth};

/// Length from which [`Region::write`] goes round the cache.
///
/// Measured by `benches/persist.rs` on an AMD EPYC (Zen 3) virtual machine, tmpfs, median nanoseconds per append and
/// fence, alone and with one early read of what was written:
///
/// | bytes | CLWB | NT | CLWB, read | NT, read |
/// |---|---|---|---|---|
/// | 64 | 190 | 119 | 190 | 224 |
/// | 128 | 196 | 123 | 200 | 213 |
/// | 256 | 211 | 139 | 218 | 146 |
/// | 512 | 233 | 153 | 234 | 159 |
/// | 2048 | 401 | 245 | 394 | 274 |
/// | 16384 | 3153 | 1067 | 3803 | 2358 |
///
/// CLWB leaves the line in the cache for the next reader, so small records gain by it; from 256 bytes on even a
/// record that is read at once is cheaper to write round the cache. It is also the media block of the persistent
/// memory that was sold, and libpmem's default.
pub const NT_THRESHOLD_BYTES: u64 = 256;

/// How to map a region.
#[derive(Clone, Default)]
pub struct RegionOptions {
    /// Who is told of every operation; nobody by default.
    pub hook: Option<Arc<dyn Hook>>,
    /// The flush instruction.
    pub flush: FlushChoice,
    /// Length from which [`Region::write`] goes round the cache, [`NT_THRESHOLD_BYTES`] by default. Media without a
    /// flush never do.
    pub nt_threshold_bytes: Option<u64>,
    /// Address space to set aside, so that the region can [`grow`](Region::grow) to so many bytes; less where the system refuses so much, and
    /// the region's length at least. Costs no memory.
    pub reserve_bytes: u64,
    /// What a region without a file says that it lies on: for tests of what is done for a medium. What is durable then is the hook's affair.
    pub acts_as: Option<Medium>,
    /// The boot of the operating system that the region is mapped under; `None` asks the system.
    pub boot_id: Option<[u8; 16]>,
}

impl fmt::Debug for RegionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionOptions")
            .field("hook", &self.hook.is_some())
            .field("flush", &self.flush)
            .field("nt_threshold_bytes", &self.nt_threshold_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("acts_as", &self.acts_as)
            .finish_non_exhaustive()
    }
}

/// A pool's bytes. See the [module](super) for what a crash keeps.
pub struct Region {
    pub(super) base: NonNull<u8>,
    /// Reads that end at or before this take the short path: all of the region, or 0 with a hook.
    plain_read_end: AtomicU64,
    /// Writes that end at or before this take the short path: 0 with a hook or when read-only.
    plain_write_end: AtomicU64,
    pub(super) hook: Option<Arc<dyn Hook>>,
    pub(super) instruction: FlushInstruction,
    pub(super) fences: bool,
    pub(super) nt_threshold: u64,
    len: AtomicU64,
    pub(super) writable: bool,
    medium: Medium,
    granularity: Granularity,
    boot_id: [u8; 16],
    mapping: Mapping,
    file: Option<PoolFile>,
    /// Whether the file still bears its temporary name.
    unpublished: AtomicBool,
}

// SAFETY: the pointer is into `mapping`, which may be shared; those who read and write through `&Region` from several
// threads keep to invariant 3 of the module.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Making, opening, describing.
impl Region {
    /// Makes a file of `len` zero bytes under the temporary name `<path>.creating`, with all of its space allocated,
    /// and maps it. [`publish_file`](Self::publish_file) gives it its name; dropped before that, it is removed.
    ///
    /// # Errors
    /// When `path` exists, its directory does not, another process is creating it, or there is no room. Nothing is left
    /// behind.
    pub fn create(path: &Path, len: u64, options: &RegionOptions) -> Result<Self, RegionError> {
        let len_in_memory = address_len(len)?;
        let file = PoolFile::create(path, len, Asked(options.hook.clone()))?;
        let region = Self::of_file(file, len_in_memory, true, options).map_err(|(file, error)| {
            file.remove_unpublished();
            error
        })?;
        region.unpublished.store(true, Ordering::Relaxed);
        region.serve();
        Ok(region)
    }

    /// Gives a created file its name, durably: syncs it, renames it without ever replacing another file, syncs the
    /// directory. Does nothing for a region that has its name, or needs none.
    ///
    /// # Errors
    /// When a file of that name has appeared in the meantime, or the system refuses. The region stays usable.
    pub fn publish_file(&self) -> Result<(), RegionError> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unpublished.load(Ordering::Relaxed)) {
            file.publish()?;
            self.unpublished.store(false, Ordering::Relaxed);
            file.sync_directory()?;
        }
        Ok(())
    }

    /// Opens and maps the whole of an existing file, and locks out other servers until the region is dropped.
    ///
    /// # Errors
    /// When there is no such file, it is in use, it is empty or no regular file, or may not be written.
    pub fn open(path: &Path, options: &RegionOptions) -> Result<Self, RegionError> {
        let file = PoolFile::open(path, Asked(options.hook.clone()))?;
        let len = address_len(file.len())?;
        Self::of_file(file, len, true, options).map_err(|(_, error)| error)
    }

    /// Opens and maps an existing file for looking at. Every write to the region panics. Works while a server has the
    /// pool open ([`in_use`](Self::in_use) then says so): what is read may then change between two reads.
    ///
    /// # Errors
    /// When there is no such file, it is empty or no regular file, or may not be read.
    pub fn open_read_only(path: &Path) -> Result<Self, RegionError> {
        let file = PoolFile::open_read_only(path)?;
        let len = address_len(file.len())?;
        Self::of_file(file, len, false, &RegionOptions::default()).map_err(|(_, error)| error)
    }

    /// As [`open_read_only`](Self::open_read_only), of a file that has been cut short of `len` bytes: what is missing reads as zeros and is
    /// [`unreadable`](Self::unreadable).
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn open_cut_short(path: &Path, len: u64) -> Result<Self, RegionError> {
        let file = PoolFile::open_read_only(path)?;
        let (file_len, len) = (address_len(file.len().min(len))?, address_len(len)?);
        let failed = |source| RegionError::io(path, "map the pool", source);
        let medium = if medium::is_memory_backed(file.file()).map_err(failed)? { Medium::Tmpfs } else { Medium::File };
        let mapping = Mapping::of_short_file(file.file(), file_len, len).map_err(failed)?;
        let options = RegionOptions::default();
        Ok(Self::assemble(mapping, Some(file), medium, FlushInstruction::None, false, &options))
    }

    /// A region of `len` zero bytes without a file. Flushes and fences are left out, but a hook still sees them.
    ///
    /// # Errors
    /// When there is no address space of that size.
    pub fn anonymous(len: u64, options: &RegionOptions) -> Result<Self, RegionError> {
        Self::of_memory(len, &[], options)
    }

    /// A region like [`anonymous`](Self::anonymous) that starts as a copy of `image`: what a crash has left, for
    /// example. The hook is attached after the copy.
    ///
    /// # Errors
    /// When there is no address space of that size, or `image` is empty.
    pub fn from_image(image: &[u8], options: &RegionOptions) -> Result<Self, RegionError> {
        Self::of_memory(image.len() as u64, image, options)
    }

    fn of_memory(len: u64, image: &[u8], options: &RegionOptions) -> Result<Self, RegionError> {
        let addressable = address_len(len)?;
        let reserve = reserve_len(options);
        let mapping =
            Asked(options.hook.clone()).before("mmap").and_then(|()| Mapping::anonymous(addressable, reserve));
        let mapping = mapping.map_err(|source| RegionError::NoMemory { needed: len, source })?;
        debug_assert!(image.len() <= mapping.len());
        // SAFETY: the image is no longer than the mapping, which is new, so nobody else has it.
        unsafe { ptr::copy_nonoverlapping(image.as_ptr(), mapping.base().as_ptr(), image.len()) };
        let medium = options.acts_as.unwrap_or(Medium::Dram);
        let instruction = choose_instruction(options.flush, medium)?;
        Ok(Self::assemble(mapping, None, medium, instruction, true, options))
    }

    fn of_file(
        file: PoolFile,
        len: usize,
        writable: bool,
        options: &RegionOptions,
    ) -> Result<Self, (PoolFile, RegionError)> {
        let mapped = map_file(&file, len, reserve_len(options), writable)
            .map_err(|source| RegionError::io(file.path(), "map the pool", source))
            .and_then(|(mapping, medium)| Ok((mapping, medium, choose_instruction(options.flush, medium)?)));
        match mapped {
            Ok((mapping, medium, instruction)) => {
                Ok(Self::assemble(mapping, Some(file), medium, instruction, writable, options))
            }
            Err(error) => Err((file, error)),
        }
    }

    fn assemble(
        mapping: Mapping,
        file: Option<PoolFile>,
        medium: Medium,
        instruction: FlushInstruction,
        writable: bool,
        options: &RegionOptions,
    ) -> Self {
        // An instruction that was asked for by name is meant to be seen working, on any medium.
        let forced = !matches!(options.flush, FlushChoice::Auto | FlushChoice::None);
        let fences = forced || matches!(medium, Medium::Dax | Medium::Tmpfs);
        let len = mapping.len() as u64;
        let plain_read_end = if options.hook.is_some() { 0 } else { len };
        let region = Self {
            base: mapping.base(),
            plain_read_end: AtomicU64::new(plain_read_end),
            plain_write_end: AtomicU64::new(if writable { plain_read_end } else { 0 }),
            hook: options.hook.clone(),
            instruction,
            fences,
            // Without a fence there is no non-temporal copy; a hook sees one all the same.
            nt_threshold: match options.nt_threshold_bytes {
                _ if !fences && options.hook.is_none() => u64::MAX,
                chosen => chosen.unwrap_or(NT_THRESHOLD_BYTES),
            },
            len: AtomicU64::new(len),
            writable,
            medium,
            granularity: match medium {
                Medium::Dax if instruction == FlushInstruction::None => Granularity::Byte,
                Medium::Dax => Granularity::CacheLine,
                Medium::File => Granularity::Page,
                Medium::Tmpfs => Granularity::Emulated,
                Medium::Dram => Granularity::None,
            },
            boot_id: options.boot_id.unwrap_or_else(medium::boot_id),
            mapping,
            file,
            unpublished: AtomicBool::new(false),
        };
        region.attach_hook();
        region
    }

    /// Length in bytes, at least 1. It may grow, and never shrinks.
    #[inline]
    pub fn len(&self) -> u64 {
        // Acquire: pairs with the Release in `raw_grow`.
        self.len.load(Ordering::Acquire)
    }

    /// The length that it can grow to.
    pub fn reserved_bytes(&self) -> u64 {
        self.mapping.reserved() as u64
    }

    /// Where the short path of reading ends.
    #[inline(always)]
    pub(super) fn plain_read_end(&self) -> u64 {
        // Relaxed: whoever has an address behind a former end got it from someone who had seen the new one.
        self.plain_read_end.load(Ordering::Relaxed)
    }

    /// Where the short path of writing ends.
    #[inline(always)]
    pub(super) fn plain_write_end(&self) -> u64 {
        // Relaxed: as above.
        self.plain_write_end.load(Ordering::Relaxed)
    }

    /// Always `false`: a region has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the bytes lie on.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// The smallest piece that becomes durable on its own.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The boot of the operating system under which it is mapped: 16 bytes, zeros where the system does not tell.
    pub fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    /// The flush instruction in use: `clwb`, `clflushopt`, `clflush` or `none`.
    pub fn flush_instruction(&self) -> &'static str {
        self.instruction.name()
    }

    /// The pool file; `None` for anonymous memory.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(PoolFile::path)
    }

    /// For a region that was opened read-only: whether another process holds the pool.
    pub fn in_use(&self) -> bool {
        self.file.as_ref().is_some_and(PoolFile::in_use)
    }

    /// Whether it is a character device (device DAX), mapped whole: it was there before the pool, is never made, named or removed, and has its
    /// length.
    pub fn is_device(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.device_align().is_some())
    }

    /// What the kernel says of the memory that the pool lies on. Reads some files in sysfs.
    pub fn memory_health(&self) -> MemoryHealth {
        self.file.as_ref().map_or_else(MemoryHealth::default, |file| sysfs::health(file.file()))
    }

    /// Whether writes are possible.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// From here on a place that the medium cannot read ends the process, with a message that names it. Before, it reads as zeros and is
    /// [`unreadable`](Self::unreadable): for whoever checks what it reads. Regions that were just created are served from the start.
    pub fn serve(&self) {
        self.mapping.serve();
    }

    /// The stretches of `at..at + len` in which the medium could not give back what was read since the region was opened. They have read as
    /// zeros. To be asked after reading, and before anything is made of what was read. Places of which nothing was read are not known.
    pub fn unreadable(&self, at: u64, len: u64) -> Vec<MediaError> {
        self.mapping.unreadable(at, len)
    }

    /// Writes all that is dirty in a `file` region to the disk and waits for it; elsewhere the fence has done that. A hook is told on any
    /// medium.
    ///
    /// # Errors
    /// What the system reports. The state of the file is then unknown, and trying again proves nothing.
    #[track_caller]
    pub fn sync(&self) -> io::Result<()> {
        self.hooked_sync(Location::caller())
    }

    pub(super) fn raw_sync(&self) -> io::Result<()> {
        match &self.file {
            // Pages that were dirtied through the mapping are the file's, and Linux writes them too: an msync would only wait for the disk twice.
            Some(file) if self.writable && self.medium == Medium::File => file.file().sync_data(),
            _ => Ok(()),
        }
    }

    /// Makes the region at least `to` bytes long without moving it, and allocates the bytes from `from` on: those behind its former end are zeros. Durable on
    /// return; what is written there afterwards is as durable as elsewhere. Others may use the region meanwhile. Takes as long as the file system
    /// needs to allocate: some 0.1 ms for a MiB in `tmpfs`, less on disks.
    ///
    /// # Errors
    /// No space, or no address space: the region is as it was. The file may be longer then, by bytes that nobody uses.
    ///
    /// # Panics
    /// When the region is read-only, or `from` is behind its end.
    #[track_caller]
    pub fn grow(&self, from: u64, to: u64) -> Result<(), RegionError> {
        self.check_write(from, 0);
        if to > self.reserved_bytes() {
            return Err(RegionError::NotReserved { needed: to, reserved: self.reserved_bytes() });
        }
        let grown = self.hooked_grow(from, to.max(self.len()), Location::caller());
        grown.map_err(|source| match &self.file {
            Some(file) => file.not_extended(to.saturating_sub(from), source),
            None => RegionError::NoMemory { needed: to, source },
        })
    }

    /// Extends the file, maps what is new, has the file's length durable, and only then lets anybody use it.
    pub(super) fn raw_grow(&self, from: u64, to: u64) -> io::Result<()> {
        let (former, file) = (self.mapping.len() as u64, self.file.as_ref());
        let asked = Asked(self.hook.clone());
        if let Some(file) = file.filter(|_| from < to) {
            file.extend(from, to, former)?;
        }
        let mapped = asked.before("mmap").and_then(|()| self.mapping.grow(file.map(PoolFile::file), to as usize));
        if let Err(error) = mapped {
            file.iter().for_each(|file| file.cut_back(former));
            return Err(error);
        }
        if let Some(file) =
            file.filter(|file| self.medium != Medium::Tmpfs && file.device_align().is_none() && from < to)
        {
            // Of this range, not of the whole file: what else is dirty in the page cache can wait.
            file.asked().before("msync").and_then(|()| self.mapping.sync(from as usize, (to - from) as usize))?;
        }
        self.len.fetch_max(to, Ordering::Release);
        if self.hook.is_none() {
            self.plain_read_end.fetch_max(to, Ordering::Relaxed);
            self.plain_write_end.fetch_max(to, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Has the pages of `at..at + len` ready for writing before they are needed, as far as the kernel can.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[track_caller]
    pub fn populate(&self, at: u64, len: u64) {
        self.check_range(at, len);
        if len > 0 && self.writable {
            self.mapping.populate(at as usize, len as usize);
        }
    }

    /// Has `at..at + len` brought from the disk in large pieces, before somebody reads all of it: a file is otherwise read page by page. A hint.
    ///
    /// # Panics
    /// When the range is not inside the region.
    #[track_caller]
    pub fn read_ahead(&self, at: u64, len: u64) {
        self.check_range(at, len);
        if len > 0 {
            self.mapping.read_ahead(at as usize, len as usize);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| *self.unpublished.get_mut()) {
            file.remove_unpublished();
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("path", &self.path())
            .field("len", &self.len())
            .field("medium", &self.medium)
            .field("flush", &self.instruction)
            .finish_non_exhaustive()
    }
}

/// A length as one of address space: not 0, and addressable.
fn address_len(len: u64) -> Result<usize, RegionError> {
    match usize::try_from(len) {
        Ok(addressable) if addressable > 0 && addressable <= isize::MAX as usize => Ok(addressable),
        _ => Err(RegionError::BadLength { len }),
    }
}

/// How much address space the options ask for.
fn reserve_len(options: &RegionOptions) -> usize {
    usize::try_from(options.reserve_bytes).unwrap_or(usize::MAX).min(isize::MAX as usize)
}

/// Maps `file` and tells what it lies on.
fn map_file(file: &PoolFile, len: usize, reserve: usize, writable: bool) -> io::Result<(Mapping, Medium)> {
    if let Some(align) = file.device_align() {
        return map_device(file, len, align, writable);
    }
    // Asked first, so that no kernel's leniency about MAP_SYNC can make tmpfs look persistent.
    file.asked().before("fstatfs")?;
    let medium = if medium::is_memory_backed(file.file())? { Medium::Tmpfs } else { Medium::File };
    let map = |on| file.asked().before("mmap").and_then(|()| Mapping::of_file(file.file(), len, reserve, writable, on));
    // A build that cannot write lines back must not call anything `dax`.
    if flush::CAN_FLUSH && medium == Medium::File {
        match map(Medium::Dax) {
            Ok(mapping) => return Ok((mapping, Medium::Dax)),
            // No such medium, or a kernel that does not know the flag. Any other failure must not make less of a medium than it is.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((map(medium)?, medium))
}

/// Device DAX is never less than `dax`: what is not persistent was refused before it was opened.
fn map_device(file: &PoolFile, len: usize, align: usize, writable: bool) -> io::Result<(Mapping, Medium)> {
    if !flush::CAN_FLUSH {
        return Err(io::ErrorKind::Unsupported.into());
    }
    file.asked().before("mmap")?;
    Ok((Mapping::of_device(file.file(), len, align, writable)?, Medium::Dax))
}

fn choose_instruction(choice: FlushChoice, medium: Medium) -> Result<FlushInstruction, RegionError> {
    match choice {
        FlushChoice::Auto => Ok(match medium {
            Medium::Dax if sysfs::caches_are_persistent() => FlushInstruction::None,
            Medium::Dax | Medium::Tmpfs => FlushInstruction::best(),
            // The page cache gains nothing by a flush: only a sync reaches the disk.
            Medium::File | Medium::Dram => FlushInstruction::None,
        }),
        FlushChoice::Clwb => FlushInstruction::Clwb.required(),
        FlushChoice::Clflushopt => FlushInstruction::Clflushopt.required(),
        FlushChoice::Clflush => FlushInstruction::Clflush.required(),
        FlushChoice::None => Ok(FlushInstruction::None),
    }
}
