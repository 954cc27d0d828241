//! The atomics of the index, from one place: a model checker replaces them here and nowhere else.
//!
//! [`step`] marks the places between two steps of a writer. Tests hang a hook there and look at the table as a reader would
//! whose writer is preempted at exactly that point.

pub(super) use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// A place where a writer may be preempted.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn step() {
    crate::base::sync::point();
}

#[cfg(test)]
pub(super) use hook::{at_each_step, step};

#[cfg(test)]
mod hook {
    use std::cell::RefCell;

    type Hook<'a> = Box<dyn FnMut() + 'a>;

    thread_local! {
        static HOOK: RefCell<Option<Hook<'static>>> = const { RefCell::new(None) };
    }

    /// Calls the hook of this thread, which is out of the way meanwhile.
    pub(in crate::index) fn step() {
        let taken = HOOK.with(RefCell::take);
        if let Some(mut hook) = taken {
            hook();
            HOOK.with(|place| place.replace(Some(hook)));
        }
    }

    /// Runs `work` with `hook` called at each step it takes.
    pub(in crate::index) fn at_each_step<R>(hook: impl FnMut() + 'static, work: impl FnOnce() -> R) -> R {
        HOOK.with(|place| place.replace(Some(Box::new(hook))));
        let result = work();
        HOOK.with(|place| place.replace(None));
        result
    }
}
