//! How the thread that makes the pool larger is woken, and whether anything is to be expected of it.
//!
//! It sleeps until a segment is opened or was wanted. Nothing is locked while no growth is expected: the pool has its largest size, growing has just
//! failed, or there is no such thread. The locks are those of `std`, as the crash explorer has no such thread either.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(super) struct Demand {
    /// Whether the pool grows when room is short. Written with `state` held.
    expected: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether the thread has something to look at.
    wanted: bool,
    /// Whether there is such a thread, and it is not to end.
    present: bool,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the pool is to be larger when room is short.
    pub(super) fn is_expected(&self) -> bool {
        // Acquire: pairs with the Release in `expect`; who sees that nothing is to be expected any more sees what has come until then.
        self.expected.load(Ordering::Acquire)
    }

    /// Has the thread look soon.
    pub(super) fn raise(&self) {
        self.lock().wanted = true;
        self.changed.notify_all();
    }

    /// Says whether growth is to be expected. It never is while there is no thread.
    pub(super) fn expect(&self, expected: bool) {
        let state = self.lock();
        self.expected.store(expected && state.present, Ordering::Release);
    }

    /// For the thread: sleeps until there is something to look at, or for so long. `false` when it is to end.
    pub(super) fn sleep(&self, at_most: Duration) -> bool {
        let idle = |state: &mut State| !state.wanted && state.present;
        let slept = self.changed.wait_timeout_while(self.lock(), at_most, idle);
        let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        state.present
    }

    /// The thread is there, or is to end. Nothing is expected of it until somebody says so.
    pub(super) fn set_present(&self, present: bool) {
        let mut state = self.lock();
        state.present = present;
        self.expected.store(false, Ordering::Release);
        self.changed.notify_all();
    }
}
