//! Pool files: created beside their final name, locked, published by one rename; and device DAX, which is opened and locked only.
//!
//! A pool comes to be as `<path>.creating`, which its creator holds locked, and gets its name only when its contents
//! are synced. So a crash while creating leaves either no pool or a whole one. A `.creating` file without a lock is a
//! leftover and may be taken over. The lock is a `flock` on the file itself and goes with it through the rename; the
//! kernel drops it when its holder dies.
#![expect(unsafe_code, reason = "flock, posix_fallocate and renameat2")]

use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pmem_emulation::Hook;

use super::error::RegionError;
use super::medium;
use super::sysfs::DaxDevice;
use crate::base::mutant::{self, Mutant};

/// How often a creator may find that its file was renamed or removed under it before it gives up.
const CREATE_ATTEMPTS: u32 = 16;

/// An open and locked pool file, or character device.
pub(super) struct PoolFile {
    file: File,
    path: PathBuf,
    len: u64,
    /// Set for device DAX: the alignment of its mappings.
    align: Option<NonZeroU32>,
    /// Set for a reader that found the pool locked by a server.
    in_use: bool,
    asked: Asked,
}

/// Who is told of every system call before it is made, and may refuse it.
#[derive(Clone, Default)]
pub(super) struct Asked(pub(super) Option<Arc<dyn Hook>>);

impl Asked {
    pub(super) fn before(&self, name: &'static str) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |hook| hook.system_call(name))
    }
}

impl PoolFile {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Set for device DAX: start, length and address of a mapping are multiples of so many bytes. A device has its length, and nothing about it can be
    /// allocated, named or synced.
    pub(super) fn device_align(&self) -> Option<usize> {
        self.align.map(|align| align.get() as usize)
    }

    pub(super) fn in_use(&self) -> bool {
        self.in_use
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Makes `<path>.creating` with `len` allocated zero bytes.
    pub(super) fn create(path: &Path, len: u64, asked: Asked) -> Result<Self, RegionError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(RegionError::AlreadyExists { path: path.to_path_buf() });
        }
        let directory = directory_of(path);
        if !directory.is_dir() {
            return Err(RegionError::DirectoryMissing { path: path.to_path_buf(), directory: directory.to_path_buf() });
        }
        let file = lock_unpublished(path, &asked)?;
        // From here on the file is ours, so a failure takes it away again.
        let pool = Self { file, path: path.to_path_buf(), len, align: None, in_use: false, asked };
        pool.allocate().inspect_err(|_| pool.remove_unpublished())?;
        Ok(pool)
    }

    /// Empties a leftover and gives the file all of its blocks, as zeros.
    fn allocate(&self) -> Result<(), RegionError> {
        let failed = |source| RegionError::io(&self.path, "allocate the pool file", source);
        let len = libc::off_t::try_from(self.len).map_err(|_| RegionError::BadLength { len: self.len })?;
        self.asked.before("ftruncate").and_then(|()| self.file.set_len(0)).map_err(failed)?;
        if let Err(error) = self.asked.before("fallocate") {
            return Err(self.not_allocated(error));
        }
        loop {
            // SAFETY: the descriptor is open; the call touches no memory of ours.
            match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, len) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(self.not_allocated(io::Error::from_raw_os_error(code))),
            }
        }
    }

    /// Allocates the bytes `from..to` of the file, of which `mapped` bytes are in use: it is longer then, or when that fails as long as it was.
    pub(super) fn extend(&self, from: u64, to: u64, mapped: u64) -> io::Result<()> {
        if self.align.is_some() {
            return Ok(()); // it has the bytes that it has, and all of them are mapped
        }
        self.asked.before("fallocate")?;
        // Not tried where it cannot succeed: a file system may take all that it has before it finds that out, and others would find it full.
        if to.saturating_sub(from.max(mapped)) > medium::available_bytes(&self.file).unwrap_or(u64::MAX) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let offset = |bytes: u64| libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
        let (start, len) = (offset(from)?, offset(to - from)?);
        // Ends: signals stop coming.
        loop {
            // SAFETY: the descriptor is open; the call touches no memory of ours.
            match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), start, len) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => {
                    self.cut_back(mapped);
                    return Err(io::Error::from_raw_os_error(code));
                }
            }
        }
    }

    /// Gives back what a failed extension took. If that fails too the file stays longer than its pool, which hurts nobody.
    pub(super) fn cut_back(&self, mapped: u64) {
        if self.file.metadata().is_ok_and(|file| file.len() > mapped) {
            let _ = self.file.set_len(mapped);
        }
    }

    /// What it means that the file could not become `needed` bytes longer.
    pub(super) fn not_extended(&self, needed: u64, error: io::Error) -> RegionError {
        let path = self.path.clone();
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => {
                RegionError::NoSpaceToGrow { path, needed, available: medium::available_bytes(&self.file).unwrap_or(0) }
            }
            _ => RegionError::io(&self.path, "make the pool file longer", error),
        }
    }

    fn not_allocated(&self, error: io::Error) -> RegionError {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => self.no_space(),
            Some(libc::EFBIG) => RegionError::BadLength { len: self.len },
            _ => RegionError::io(&self.path, "allocate the pool file", error),
        }
    }

    fn no_space(&self) -> RegionError {
        // What the failed attempt took is given back first, so that the number is the one to compare with.
        let _ = self.file.set_len(0);
        let available = medium::available_bytes(&self.file).unwrap_or(0);
        RegionError::NoSpace { path: self.path.clone(), needed: self.len, available }
    }

    /// Syncs the file, then gives it its name. The name is durable after [`sync_directory`](Self::sync_directory).
    pub(super) fn publish(&self) -> Result<(), RegionError> {
        let synced = match mutant::active(Mutant::NewPoolNotSynced) {
            false => self.asked.before("fsync").and_then(|()| self.file.sync_all()),
            true => Ok(()),
        };
        synced.map_err(|source| RegionError::io(&self.path, "sync the new pool", source))?;
        let rename = || rename_without_replacing(&unpublished(&self.path), &self.path);
        self.asked.before("rename").and_then(|()| rename()).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RegionError::AlreadyExists { path: self.path.clone() },
            _ => RegionError::io(&self.path, "give the new pool its name", source),
        })
    }

    /// Makes the pool's name durable.
    pub(super) fn sync_directory(&self) -> Result<(), RegionError> {
        if mutant::active(Mutant::DirectoryNotSynced) {
            return Ok(());
        }
        self.asked
            .before("open directory")
            .and_then(|()| File::open(directory_of(&self.path)))
            .and_then(|directory| self.asked.before("fsync directory").and_then(|()| directory.sync_all()))
            .map_err(|source| RegionError::io(&self.path, "sync the directory of the new pool", source))
    }

    /// Takes away what was never published; only its creator calls this, who still holds the lock.
    pub(super) fn remove_unpublished(&self) {
        // If it fails, a leftover stays that the next creator takes over.
        let _ = fs::remove_file(unpublished(&self.path));
    }

    /// Opens the pool for reading and writing, and locks out everyone else.
    pub(super) fn open(path: &Path, asked: Asked) -> Result<Self, RegionError> {
        let pool = Self::open_with(path, true, asked)?;
        if try_lock(&pool.file, libc::LOCK_EX, &pool.asked)
            .map_err(|source| RegionError::io(path, "lock the pool", source))?
        {
            Ok(pool)
        } else {
            Err(RegionError::InUse { path: path.to_path_buf() })
        }
    }

    /// Opens the pool for reading, beside a server if need be.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, RegionError> {
        let mut pool = Self::open_with(path, false, Asked::default())?;
        let locked = try_lock(&pool.file, libc::LOCK_SH, &pool.asked)
            .map_err(|source| RegionError::io(path, "lock the pool", source))?;
        pool.in_use = !locked;
        Ok(pool)
    }

    fn open_with(path: &Path, writable: bool, asked: Asked) -> Result<Self, RegionError> {
        // Looked at before it is opened, as opening a device or a pipe may have effects or block.
        let found = asked.before("stat").and_then(|()| fs::metadata(path));
        let found = found.map_err(|source| RegionError::io(path, "look at the pool", source))?;
        check_kind(path, &found, writable)?;
        let file = asked
            .before("open")
            .and_then(|()| OpenOptions::new().read(true).write(writable).custom_flags(libc::O_NONBLOCK).open(path))
            .map_err(|source| RegionError::io(path, "open the pool", source))?;
        let opened = file.metadata().map_err(|source| RegionError::io(path, "look at the pool", source))?;
        let device = check_kind(path, &opened, writable)?;
        let len = device.map_or(opened.len(), |device| device.len);
        if len == 0 {
            return Err(RegionError::Empty { path: path.to_path_buf() });
        }
        let align = device.map(|device| device.align);
        Ok(Self { file, path: path.to_path_buf(), len, align, in_use: false, asked })
    }
}

/// Which of the two that can hold a pool it is: a file, or a device.
fn check_kind(path: &Path, found: &fs::Metadata, writable: bool) -> Result<Option<DaxDevice>, RegionError> {
    let path = path.to_path_buf();
    let kind = match found.file_type() {
        kind if kind.is_file() => return Ok(None),
        kind if kind.is_char_device() => {
            return DaxDevice::find(found, writable)
                .map(Some)
                .map_err(|why| RegionError::CharacterDevice { path, why });
        }
        found if found.is_dir() => "a directory",
        found if found.is_block_device() => "a block device",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "something unknown",
    };
    Err(RegionError::NotAFile { path, kind })
}

/// Opens and locks `<path>.creating`, new or left over.
fn lock_unpublished(path: &Path, asked: &Asked) -> Result<File, RegionError> {
    let temporary = unpublished(path);
    let failed = |source| match RegionError::io(path, "create the pool file", source) {
        // The directory is there, so what was not found can only be a link's target.
        RegionError::NotFound { path } => RegionError::NotPermitted { path, action: "create the pool file" },
        error => error,
    };
    for _ in 0..CREATE_ATTEMPTS {
        asked.before("create").map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)
            .map_err(failed)?;
        if !try_lock(&file, libc::LOCK_EX, asked).map_err(failed)? {
            return Err(RegionError::BeingCreated { path: path.to_path_buf() });
        }
        // Between our opening and locking it, its creator may have published or removed it.
        if !is_named(&file, &temporary).map_err(failed)? {
            continue;
        }
        // A leftover with a second name is a pool, published by `link_and_remove` up to the crash. It keeps that one.
        if file.metadata().map_err(failed)?.nlink() > 1 {
            fs::remove_file(&temporary).map_err(failed)?;
            continue;
        }
        return Ok(file);
    }
    Err(RegionError::BeingCreated { path: path.to_path_buf() })
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock if that is possible at once; `false` when another process is in the way.
fn try_lock(file: &File, how: i32, asked: &Asked) -> io::Result<bool> {
    asked.before("flock")?;
    loop {
        // SAFETY: the descriptor is open; the call touches no memory of ours.
        if unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(false),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    let from_c = CString::new(from.as_os_str().as_bytes())?;
    let to_c = CString::new(to.as_os_str().as_bytes())?;
    let cwd = libc::AT_FDCWD;
    // SAFETY: both are strings that end in NUL and outlive the call. Made as a raw system call, since not every C
    // library has the wrapper.
    let result =
        unsafe { libc::syscall(libc::SYS_renameat2, cwd, from_c.as_ptr(), cwd, to_c.as_ptr(), libc::RENAME_NOREPLACE) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // The file system cannot do it. A hard link does not replace either.
        Some(libc::EINVAL | libc::ENOSYS) => link_and_remove(from, to),
        _ => Err(error),
    }
}

/// The way for file systems without such a rename. A crash between the two leaves both names; [`lock_unpublished`]
/// sees to it that the pool is not taken for a leftover then.
fn link_and_remove(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// The name a pool has until it is published.
fn unpublished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".creating");
    name.into()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_rename_never_replace() {
        for rename in [rename_without_replacing, link_and_remove] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"new".to_vec(), b"old".to_vec()));
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            assert!(!from.exists());
        }
    }

    #[test]
    fn a_file_that_was_renamed_or_replaced_is_not_taken_for_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool");
        let file = File::create(&path).unwrap();
        assert!(is_named(&file, &path).unwrap());
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        assert!(!is_named(&file, &path).unwrap());
        fs::write(&path, "another").unwrap();
        assert!(!is_named(&file, &path).unwrap());
    }

    #[test]
    fn a_bare_file_name_lies_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("pool")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/pool")), Path::new("a"));
        assert_eq!(directory_of(Path::new("/pool")), Path::new("/"));
    }
}
