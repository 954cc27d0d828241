//! Values that readers go on using while they are replaced.
//!
//! Invariants:
//! 1. The pointer in a cell or a map's entry is never null and leads to a live `Box`.
//! 2. A value that was taken out is dropped only after every guard that was pinned then has gone, and just once.
#![expect(unsafe_code, reason = "reclaiming what a pointer owned once no reader can hold it")]

use super::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, point};
use crossbeam_epoch::{Atomic, Guard, Owned, Shared, unprotected};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared, replaceable value. Reading is one load.
pub struct EpochCell<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync + 'static> EpochCell<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self(Atomic::new(value))
    }

    /// The value in force, valid as long as both the cell is borrowed and the guard is pinned.
    #[inline]
    pub fn load<'g>(&'g self, guard: &'g Guard) -> &'g T {
        point();
        // Acquire: pairs with the swap in `replace`, so that the value is seen whole.
        let shared = self.0.load(Ordering::Acquire, guard);
        // SAFETY: never null and alive (1); not dropped while `guard` is pinned (2) or while `self` is borrowed.
        unsafe { shared.deref() }
    }

    /// Puts `value` in force. The former one is dropped when no reader can hold it any more.
    pub fn replace(&self, value: T, guard: &Guard) {
        point();
        let former = self.0.swap(Owned::new(value), Ordering::AcqRel, guard);
        // SAFETY: the swap took it out of the cell, so no new reader can get it, and it is retired just once (2).
        unsafe { guard.defer_destroy(former) };
        // Somebody may wait for it to go; this thread may do nothing more for a long time.
        guard.flush();
    }
}

impl<T: Send + Sync + 'static> Drop for EpochCell<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: nobody else has the cell, and no reference from `load` outlives its borrow.
        unsafe { drop(self.0.load(Ordering::Relaxed, unprotected()).into_owned()) };
    }
}

/// The time until everyone who is pinned now no longer is.
#[derive(Debug)]
pub struct Grace(Arc<AtomicBool>);

impl Grace {
    /// It begins now.
    pub fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let guard = crossbeam_epoch::pin();
        let told = Arc::clone(&over);
        // Release: pairs with the Acquire in `is_over`. What the pinned ones have done comes before it.
        guard.defer(move || told.store(true, Ordering::Release));
        guard.flush();
        Self(over)
    }

    /// Whether it is over. Asking moves it on; the caller must not be pinned then, or it never ends.
    pub fn is_over(&self) -> bool {
        if !self.0.load(Ordering::Acquire) {
            crossbeam_epoch::pin().flush();
        }
        self.0.load(Ordering::Acquire)
    }
}

/// Number of parts that a map is cut into, against contention.
const SHARDS: usize = 64;

type Shard<T> = HashMap<u64, Atomic<T>, BuildHasherDefault<IdHasher>>;

/// Hashes ids, which are given out one after the other: nobody can choose them.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("ids are of 64 bits");
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// A map from ids to values that readers borrow for as long as they are pinned. Looking up takes a shard's read lock for a moment.
pub struct EpochMap<T: Send + Sync + 'static> {
    shards: Box<[RwLock<Shard<T>>]>,
}

impl<T: Send + Sync + 'static> Default for EpochMap<T> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }
}

impl<T: Send + Sync + 'static> EpochMap<T> {
    fn read(&self, id: u64) -> RwLockReadGuard<'_, Shard<T>> {
        self.shards[id as usize % SHARDS].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: u64) -> RwLockWriteGuard<'_, Shard<T>> {
        self.shards[id as usize % SHARDS].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `id` as it is now.
    pub fn get<'g>(&'g self, id: u64, guard: &'g Guard) -> Option<&'g T> {
        let shared = self.read(id).get(&id)?.load(Ordering::Acquire, guard);
        // SAFETY: never null and alive (1); whoever takes it out after this retires it under a guard later than ours (2), and the map
        // itself, which is borrowed, is not dropped.
        Some(unsafe { shared.deref() })
    }

    /// Gives `id` a value and says whether it had one before.
    pub fn set(&self, id: u64, value: T, guard: &Guard) -> bool {
        let former = self.write(id).insert(id, Atomic::new(value));
        former.is_some_and(|former| {
            retire(former.load(Ordering::Acquire, guard), guard);
            true
        })
    }

    /// Changes the value of `id`, if it has one, to what `change` makes of it; `None` leaves it. Nobody else changes it meanwhile. Says whether it
    /// was changed.
    pub fn update(&self, id: u64, guard: &Guard, change: impl FnOnce(&T) -> Option<T>) -> bool {
        let mut shard = self.write(id);
        let Some(place) = shard.get_mut(&id) else { return false };
        // SAFETY: never null and alive (1): it is retired only by who takes it out under the write lock, which we hold.
        let former = unsafe { place.load(Ordering::Acquire, guard).deref() };
        let Some(value) = change(former) else { return false };
        let former = place.swap(Owned::new(value), Ordering::AcqRel, guard);
        drop(shard);
        retire(former, guard);
        true
    }

    /// Takes the value of `id` out; it stays readable while the guard is pinned.
    pub fn remove<'g>(&'g self, id: u64, guard: &'g Guard) -> Option<&'g T> {
        let shared = self.write(id).remove(&id)?.load(Ordering::Acquire, guard);
        retire(shared, guard);
        // SAFETY: retired under this guard, so alive while it is pinned (2).
        Some(unsafe { shared.deref() })
    }

    /// Puts everything of `other` in the place of everything here.
    pub fn replace_all(&self, mut other: EpochMap<T>, guard: &Guard) {
        for (mine, theirs) in self.shards.iter().zip(&mut other.shards) {
            let theirs = std::mem::take(theirs.get_mut().unwrap_or_else(PoisonError::into_inner));
            let former = std::mem::replace(&mut *mine.write().unwrap_or_else(PoisonError::into_inner), theirs);
            for value in former.into_values() {
                retire(value.load(Ordering::Acquire, guard), guard);
            }
        }
    }
}

/// Drops a value that was just taken out, when no reader can hold it any more.
fn retire<T: Send + Sync + 'static>(shared: Shared<'_, T>, guard: &Guard) {
    // SAFETY: the callers have taken it out of a map under its write lock: no new reader gets it, and nobody retires it again (2).
    unsafe { guard.defer_destroy(shared) };
}

impl<T: Send + Sync + 'static> Drop for EpochMap<T> {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            for (_, value) in std::mem::take(shard.get_mut().unwrap_or_else(PoisonError::into_inner)) {
                // SAFETY: `&mut self`: nobody else has the map, and no reference from `get` outlives its borrow (1).
                unsafe { drop(value.into_owned()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_the_value_it_loaded() {
        let cell = EpochCell::new(vec![1, 2, 3]);
        let guard = crossbeam_epoch::pin();
        let seen = cell.load(&guard);
        cell.replace(vec![4], &crossbeam_epoch::pin());
        assert_eq!(seen, &[1, 2, 3]);
        assert_eq!(cell.load(&guard), &[4]);
    }

    #[test]
    fn a_grace_lasts_until_who_was_pinned_no_longer_is() {
        let (pinned, unpin) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _guard = crossbeam_epoch::pin();
                pinned.0.send(()).expect("the test waits");
                let _told = unpin.1.recv();
            });
            pinned.1.recv().expect("the thread runs");
            let grace = Grace::begin();
            assert!((0..100).all(|_| !grace.is_over()));
            drop(unpin.0);
            // Ends: nobody stays pinned.
            while !grace.is_over() {
                std::thread::yield_now();
            }
        });
    }

    /// What a cell held was kept by a thread that had replaced it and then had nothing to do.
    #[test]
    fn a_former_value_goes_although_the_thread_that_replaced_it_rests() {
        let (cell, former) = (EpochCell::new(Arc::new(())), Arc::new(()));
        let (replaced, end) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        std::thread::scope(|scope| {
            let (cell, ours) = (&cell, Arc::clone(&former));
            scope.spawn(move || {
                cell.replace(ours, &crossbeam_epoch::pin());
                cell.replace(Arc::new(()), &crossbeam_epoch::pin());
                replaced.0.send(()).expect("the test waits");
                let _told = end.1.recv();
            });
            replaced.1.recv().expect("the thread runs");
            // Ends: nobody stays pinned.
            while Arc::strong_count(&former) > 1 {
                crossbeam_epoch::pin().flush();
                std::thread::yield_now();
            }
            drop(end.0);
        });
    }

    #[test]
    fn a_map_keeps_what_its_readers_hold() {
        let map = EpochMap::default();
        let guard = crossbeam_epoch::pin();
        assert!(!map.set(1, "one".to_string(), &guard));
        assert!(!map.set(65, "same shard".to_string(), &guard));
        let one = map.get(1, &guard).expect("there");
        assert!(map.set(1, "uno".to_string(), &guard));
        assert!(!map.update(1, &guard, |_| None) && !map.update(7, &guard, |_| Some(String::new())));
        assert!(map.update(1, &guard, |uno| Some(format!("{uno}, due"))));
        assert_eq!(map.get(1, &guard).map(String::as_str), Some("uno, due"));
        assert!(map.update(1, &guard, |_| Some("uno".to_string())));
        let uno = map.remove(1, &guard).expect("there");
        assert_eq!((one.as_str(), uno.as_str()), ("one", "uno"));
        assert!(map.get(1, &guard).is_none());
        let other = EpochMap::default();
        other.set(2, "two".to_string(), &guard);
        map.replace_all(other, &guard);
        assert_eq!((map.get(65, &guard), map.get(2, &guard)), (None, Some(&"two".to_string())));
    }
}
