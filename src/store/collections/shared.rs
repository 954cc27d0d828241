//! A collection behind its lock, and what is known of it without one.

use super::Collection;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A collection as everyone shares it.
pub type SharedCollection = Arc<Shared>;

/// See the module.
pub struct Shared {
    data: RwLock<Collection>,
    /// [`Collection::ends_at_ms`], as the last who changed it has left it.
    ends_at_ms: AtomicU64,
}

/// A collection of which only this thread knows.
pub fn share(collection: Collection) -> SharedCollection {
    Arc::new(Shared { ends_at_ms: AtomicU64::new(collection.ends_at_ms()), data: RwLock::new(collection) })
}

impl Shared {
    /// Locks it for reading.
    ///
    /// A panic while it was held is no reason to refuse it later: whatever can panic does so before anything is published.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, Collection> {
        self.data.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks it for changing.
    #[track_caller]
    pub fn write(&self) -> Changing<'_> {
        Changing { data: self.data.write().unwrap_or_else(PoisonError::into_inner), ends_at_ms: &self.ends_at_ms }
    }

    /// Locks it for changing if nobody has it.
    #[track_caller]
    pub fn try_write(&self) -> Option<Changing<'_>> {
        let data = match self.data.try_write() {
            Ok(data) => data,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Changing { data, ends_at_ms: &self.ends_at_ms })
    }

    /// When the last of its elements has expired, and it with them, in Unix milliseconds: as it is now if the stripe of its key is held.
    #[inline]
    pub fn ends_at_ms(&self) -> u64 {
        // Acquire: pairs with the store when it has been changed.
        self.ends_at_ms.load(Ordering::Acquire)
    }
}

/// A collection that is being changed.
pub struct Changing<'a> {
    data: RwLockWriteGuard<'a, Collection>,
    ends_at_ms: &'a AtomicU64,
}

impl Deref for Changing<'_> {
    type Target = Collection;

    fn deref(&self) -> &Collection {
        &self.data
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Collection {
        &mut self.data
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        // Relaxed: who changes it has the lock. Most collections never have another than the first.
        let ends_at_ms = self.data.ends_at_ms();
        if self.ends_at_ms.load(Ordering::Relaxed) != ends_at_ms {
            self.ends_at_ms.store(ends_at_ms, Ordering::Release);
        }
    }
}
