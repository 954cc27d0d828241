//! Why a region could not be had, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a pool file could not be created, opened or mapped. Nothing that existed before has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// There is no such file.
    #[error("{path}: there is no such pool; check the path, or create the pool first", path = .path.display())]
    NotFound {
        /// The pool.
        path: PathBuf,
    },
    /// The directory that should hold the pool is missing.
    #[error("{path}: the directory {dir} does not exist; create it first", path = .path.display(), dir = .directory.display())]
    DirectoryMissing {
        /// The pool.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// A file is in the way of the pool to be created.
    #[error("{path}: the file exists already and is left as it is; open it, or choose another path", path = .path.display())]
    AlreadyExists {
        /// The pool.
        path: PathBuf,
    },
    /// Another process is creating the same pool at this moment.
    #[error("{path}: another process is creating this pool; wait for it, or choose another path", path = .path.display())]
    BeingCreated {
        /// The pool.
        path: PathBuf,
    },
    /// Another process has the pool open.
    #[error("{path}: the pool is in use by another process; stop that one first, or choose another path", path = .path.display())]
    InUse {
        /// The pool.
        path: PathBuf,
    },
    /// The path names something that cannot hold a pool.
    #[error("{path}: this is {kind}, not a regular file; choose another path", path = .path.display())]
    NotAFile {
        /// The pool.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A character device that cannot hold a pool.
    #[error("{path}: no pool can be on this character device: {why}", path = .path.display())]
    CharacterDevice {
        /// The device.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The file system, or the device under it, is read-only.
    #[error(
        "{path}: could not {action}: the file system is read-only; mount it for writing. If that fails, see the kernel's log: persistent memory \
         whose modules say that they cannot save their contents is read-only",
        path = .path.display()
    )]
    ReadOnly {
        /// The pool.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
    },
    /// The process may not write the pool or its directory.
    #[error("{path}: no permission to {action}; check the owner and mode of the file and of its directory", path = .path.display())]
    NotPermitted {
        /// The pool.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
    },
    /// The file system has no room for the pool.
    #[error(
        "{path}: no space: the pool needs {needed} bytes, the file system has {available} free; free some, or choose a smaller size",
        path = .path.display()
    )]
    NoSpace {
        /// The pool.
        path: PathBuf,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that the file system says are free.
        available: u64,
    },
    /// The file system has no room for the pool to become larger. It goes on as it is.
    #[error(
        "{path}: no space for the pool to grow: {needed} bytes more are needed, the file system has {available} free; free some, or lower pool-max-size",
        path = .path.display()
    )]
    NoSpaceToGrow {
        /// The pool.
        path: PathBuf,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that the file system says are free.
        available: u64,
    },
    /// The region would leave the address space that was set aside for it.
    #[error(
        "{needed} bytes are more than the {reserved} that this process has set aside address space for; restart with a --pool-max-size of as much"
    )]
    NotReserved {
        /// The length asked for, in bytes.
        needed: u64,
        /// The longest possible.
        reserved: u64,
    },
    /// The memory for a pool without a file could not be had.
    #[error("no memory: a pool in DRAM needs {needed} bytes of address space ({source}); choose a smaller size")]
    NoMemory {
        /// Bytes asked for.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A file without a byte.
    #[error("{path}: the file is empty, so it is not a pool; remove it, or choose another path", path = .path.display())]
    Empty {
        /// The pool.
        path: PathBuf,
    },
    /// A size that no region can have, or that the file system has no files of.
    #[error("a pool of {len} bytes is not possible here; choose another size")]
    BadLength {
        /// Bytes asked for.
        len: u64,
    },
    /// The flush instruction that was asked for does not exist here.
    #[error("this processor has no {instruction} instruction; let it be chosen automatically")]
    FlushUnsupported {
        /// Its name.
        instruction: &'static str,
    },
    /// Anything else that the system refused.
    #[error("{path}: could not {action}: {source}", path = .path.display())]
    Io {
        /// The pool.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl RegionError {
    /// The error for a failed system call on `path`.
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { path, action },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, action },
            _ => Self::Io { path, action, source },
        }
    }
}
