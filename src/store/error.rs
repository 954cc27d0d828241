//! What can go wrong in the store.

use crate::log::AppendError;
use crate::persist::MediaError;
use crate::pool::{PoolError, SyncFailed};
use crate::recovery::Damage;

/// Why a store operation did not happen. Nothing has changed when one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The pool has no room for the write.
    #[error("the pool is full")]
    OutOfSpace,
    /// The key holds another type.
    #[error("operation against a key holding the wrong kind of value")]
    WrongType,
    /// A key and its value, or some other piece of a value, that is too long to lie in a segment.
    #[error(
        "a key and its value take {bytes} bytes in one piece, more than the {limit} bytes that this pool's segments can take"
    )]
    RecordTooLarge {
        /// Bytes that it takes.
        bytes: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// The key's record makes no sense any more: its bytes have changed in the pool.
    #[error("the key's record in the pool is damaged; stop the server and see `fencepost pool check`")]
    DamagedRecord,
    /// Damage found while the pool was read again.
    #[error("the pool is damaged: {0}")]
    Damaged(Damage),
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full(_) => StoreError::OutOfSpace,
            AppendError::TooLarge { bytes, limit } => StoreError::RecordTooLarge { bytes, limit },
        }
    }
}

/// Why a store cannot be opened. The pool is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The pool cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Damage below the durable end of the log.
    #[error(
        "{path} is damaged in {count} places, the first: {first}; see all with `fencepost pool check {path}`, then \
         restore the file from a copy, save everything that is intact with `fencepost pool salvage {path} NEW`, \
         or start with --pool-damage salvage to go on with it in place"
    )]
    Damaged {
        /// The pool file.
        path: String,
        /// How many places.
        count: usize,
        /// One of them.
        first: Damage,
    },
    /// The medium cannot read the pool everywhere. No server runs on it, salvaging or not: what it writes might be lost there.
    #[error(
        "{path} cannot be read everywhere ({fault}); save everything that is intact with `fencepost pool salvage {path} NEW` \
         onto a sound medium, or restore the file from a copy"
    )]
    Unreadable {
        /// The pool file.
        path: String,
        /// The first such place.
        fault: MediaError,
    },
    /// The disk does not take what the opening has written.
    #[error(transparent)]
    NotSynced(#[from] SyncFailed),
    /// The pool's map has room for so many databases only.
    #[error("{wanted} databases were asked for, but a pool has at most {limit}; lower --databases")]
    TooManyDatabases {
        /// What was asked for.
        wanted: u32,
        /// What is possible.
        limit: u32,
    },
}
