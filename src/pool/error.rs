//! Why a pool cannot be used. Each message says what to do.

use crate::persist::RegionError;
use std::path::PathBuf;

/// A pool that cannot be created or opened. Nothing has been written to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The file could not be created, mapped or locked.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Not a pool, or only the remains of one.
    #[error(
        "{path} is not a Fencepost pool; name another file with --pool, or move this one away to create a new pool"
    )]
    NotAPool {
        /// The file.
        path: PathBuf,
    },
    /// A device that holds something else.
    #[error(
        "{path} is not a Fencepost pool and not blank either, so it is left as it is; to have a pool made on it, write zeros over its first 2 MiB \
         and its last 64 KiB (`daxio --zero --output {path}` does)"
    )]
    NotBlank {
        /// The device.
        path: PathBuf,
    },
    /// Both superblock copies are damaged.
    #[error(
        "{path} was a Fencepost pool, but both copies of its superblock are damaged ({fault}); \
         try `fencepost pool salvage {path} NEW`, or restore the file from a copy"
    )]
    SuperblocksDamaged {
        /// The pool file.
        path: PathBuf,
        /// What is wrong with them.
        fault: String,
    },
    /// Of a format that this release cannot read.
    #[error(
        "{path} has pool format {version} (features {features:#x}), but this release reads format {supported}; \
         open it with the Fencepost release that wrote it, or name another file with --pool"
    )]
    Version {
        /// The pool file.
        path: PathBuf,
        /// Its format version.
        version: u32,
        /// Its incompatible features.
        features: u32,
        /// What this release reads.
        supported: u32,
    },
    /// Shorter than its superblock says.
    #[error(
        "{path} has {found} bytes, but its superblock says {expected}: the file was cut short; \
         save what is left with `fencepost pool salvage {path} NEW`, or restore the file from a copy"
    )]
    Short {
        /// The pool file.
        path: PathBuf,
        /// Bytes the superblock says.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A size that no pool can have.
    #[error("a pool of {bytes} bytes cannot be made: {why}; choose another --pool-size")]
    Size {
        /// What was asked for.
        bytes: u64,
        /// Why not.
        why: &'static str,
    },
    /// The pool was to grow, and the headers of its new segments could not be synced to the disk. It goes on as it is.
    #[error(transparent)]
    NotSynced(super::SyncFailed),
    /// The system gave no randomness.
    #[error("reading randomness for the pool's identity failed: {0}")]
    Randomness(#[source] std::io::Error),
}

/// No free segment is left for this class of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool is full")]
pub struct PoolFull;
