//! Locks and atomics whose every use may hand over to another thread.
//!
//! A scheduler lets exactly one of its threads run at a time. So none of them may ever wait inside a lock of the operating
//! system: taking a lock is trying to, and telling the scheduler when another thread has it.
//!
//! All orderings are as strong as the lock of the scheduler makes them: what is explored is interleavings, not weak memory. That is
//! loom's part.

use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// Who decides which thread goes on.
pub mod schedule {
    use std::cell::{Cell, RefCell};
    use std::panic::Location;
    use std::sync::Arc;

    /// Where in the engine a thread is when it may be made to wait.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Place {
        /// Before an atomic operation.
        Atomic,
        /// Before it tries to take a lock.
        Lock,
        /// Before an operation of the region; a hook of the region says so.
        Region,
        /// In a loop that waits for another thread: it gains nothing by going on at once.
        Spin,
    }

    /// Decides which of its threads runs. Its methods are called by the thread that runs, and return when that thread is to go on.
    pub trait Scheduler: Send + Sync {
        /// The thread is about to do something that others can notice.
        fn reached(&self, place: Place, site: &'static Location<'static>);

        /// The thread found `lock` taken. Returns when it was let go since.
        fn blocked(&self, lock: usize, site: &'static Location<'static>);

        /// The thread has let `lock` go.
        fn released(&self, lock: usize);
    }

    thread_local! {
        static SCHEDULED: Cell<bool> = const { Cell::new(false) };
        static SCHEDULER: RefCell<Option<Arc<dyn Scheduler>>> = const { RefCell::new(None) };
    }

    /// Puts this thread under a scheduler, or under none.
    pub fn follow(scheduler: Option<Arc<dyn Scheduler>>) {
        SCHEDULED.set(scheduler.is_some());
        SCHEDULER.replace(scheduler);
    }

    /// The thread has come to `place`: for what lies outside the engine, such as a hook.
    pub fn reach(place: Place, site: &'static Location<'static>) {
        ask(|scheduler| scheduler.reached(place, site));
    }

    #[inline]
    pub(super) fn ask(question: impl FnOnce(&dyn Scheduler)) {
        if SCHEDULED.get() {
            SCHEDULER.with_borrow(|scheduler| scheduler.as_deref().map(question));
        }
    }

    pub(super) fn is_followed() -> bool {
        SCHEDULED.get()
    }
}

use schedule::Place;

/// A place where another thread may go on.
#[inline]
#[track_caller]
pub fn point() {
    let site = Location::caller();
    schedule::ask(|scheduler| scheduler.reached(Place::Atomic, site));
}

/// Lets other threads go on.
#[track_caller]
pub fn yield_now() {
    let site = Location::caller();
    if schedule::is_followed() {
        schedule::ask(|scheduler| scheduler.reached(Place::Spin, site));
    } else {
        std::thread::yield_now();
    }
}

/// Takes a lock by trying, as often as the scheduler finds it worth while; by waiting, without a scheduler.
fn take<G>(
    lock: usize,
    site: &'static Location<'static>,
    attempt: impl Fn() -> TryLockResult<G>,
    wait: impl FnOnce() -> LockResult<G>,
) -> LockResult<G> {
    if !schedule::is_followed() {
        return wait();
    }
    schedule::ask(|scheduler| scheduler.reached(Place::Lock, site));
    loop {
        match attempt() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
            Err(TryLockError::WouldBlock) => schedule::ask(|scheduler| scheduler.blocked(lock, site)),
        }
    }
}

/// Tells the scheduler that a lock was let go: the field behind the guard of `std`, so that it is dropped after it.
#[derive(Debug)]
struct Release(usize);

impl Drop for Release {
    fn drop(&mut self) {
        schedule::ask(|scheduler| scheduler.released(self.0));
    }
}

fn both<A, B>(result: LockResult<A>, with: impl Fn(A) -> B) -> LockResult<B> {
    result.map(&with).map_err(|poisoned| PoisonError::new(with(poisoned.into_inner())))
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<'a, T> {
            guard: std::sync::$name<'a, T>,
            _release: Release,
        }

        impl<'a, T> $name<'a, T> {
            fn new(guard: std::sync::$name<'a, T>, lock: usize) -> Self {
                Self { guard, _release: Release(lock) }
            }
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.guard
            }
        }
    };
}

guard!(
    /// A held [`Mutex`].
    MutexGuard
);
guard!(
    /// A [`RwLock`] held for reading.
    RwLockReadGuard
);
guard!(
    /// A [`RwLock`] held for writing.
    RwLockWriteGuard
);

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// As `std::sync::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// As of `std`.
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let taken = take(self.id(), Location::caller(), || self.0.try_lock(), || self.0.lock());
        both(taken, |guard| MutexGuard::new(guard, self.id()))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// As of `std`.
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let site = Location::caller();
        schedule::ask(|scheduler| scheduler.reached(Place::Lock, site));
        match self.0.try_lock() {
            Ok(guard) => Ok(MutexGuard::new(guard, self.id())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                let guard = MutexGuard::new(poisoned.into_inner(), self.id());
                Err(TryLockError::Poisoned(PoisonError::new(guard)))
            }
        }
    }

    /// The value, for the only owner of the lock.
    ///
    /// # Errors
    /// As of `std`.
    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

/// As `std::sync::RwLock`.
#[derive(Debug, Default)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// Takes the lock for reading.
    ///
    /// # Errors
    /// As of `std`.
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let taken = take(self.id(), Location::caller(), || self.0.try_read(), || self.0.read());
        both(taken, |guard| RwLockReadGuard::new(guard, self.id()))
    }

    /// Takes the lock for writing.
    ///
    /// # Errors
    /// As of `std`.
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let taken = take(self.id(), Location::caller(), || self.0.try_write(), || self.0.write());
        both(taken, |guard| RwLockWriteGuard::new(guard, self.id()))
    }

    /// Takes the lock for writing if it is free.
    ///
    /// # Errors
    /// As of `std`.
    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let site = Location::caller();
        schedule::ask(|scheduler| scheduler.reached(Place::Lock, site));
        match self.0.try_write() {
            Ok(guard) => Ok(RwLockWriteGuard::new(guard, self.id())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                let guard = RwLockWriteGuard::new(poisoned.into_inner(), self.id());
                Err(TryLockError::Poisoned(PoisonError::new(guard)))
            }
        }
    }

    /// The value, without a lock.
    ///
    /// # Errors
    /// As of `std`.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }
}

/// As `std::sync::atomic`, with a place before each operation.
pub mod atomic {
    use super::point;

    pub use std::sync::atomic::Ordering;

    /// As `std::sync::atomic::fence`.
    #[inline]
    #[track_caller]
    pub fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }

    macro_rules! atomic {
        ($name:ident, $value:ty, { $($method:ident($($arg:ident: $type:ty),*) -> $result:ty;)* }) => {
            #[doc = concat!("As `std::sync::atomic::", stringify!($name), "`.")]
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(std::sync::atomic::$name);

            impl $name {
                /// One that holds `value`.
                pub const fn new(value: $value) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }

                /// Changes the value if it is `current`.
                ///
                /// # Errors
                /// What it is instead.
                #[inline]
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    point();
                    self.0.compare_exchange(current, new, success, failure)
                }

                $(
                    #[doc = concat!("As of `std::sync::atomic::", stringify!($name), "`.")]
                    #[inline]
                    #[track_caller]
                    pub fn $method(&self, $($arg: $type,)* order: Ordering) -> $result {
                        point();
                        self.0.$method($($arg,)* order)
                    }
                )*
            }
        };
    }

    atomic!(AtomicBool, bool, {
        load() -> bool;
        store(value: bool) -> ();
        swap(value: bool) -> bool;
    });
    atomic!(AtomicU8, u8, {
        load() -> u8;
        store(value: u8) -> ();
    });
    atomic!(AtomicU32, u32, {
        load() -> u32;
        store(value: u32) -> ();
        fetch_max(value: u32) -> u32;
        fetch_min(value: u32) -> u32;
    });
    atomic!(AtomicU64, u64, {
        load() -> u64;
        store(value: u64) -> ();
        fetch_add(value: u64) -> u64;
        fetch_sub(value: u64) -> u64;
        fetch_and(value: u64) -> u64;
        fetch_or(value: u64) -> u64;
        fetch_max(value: u64) -> u64;
    });
}
