//! Collections that are gone, and parts of lists that were cut off: their records are counted as garbage, and their memory is freed, in the background,
//! so that neither DEL nor LTRIM of millions of elements takes long.

use super::{SharedCollection, Tools};
use crate::base::LogAddr;
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Elements up to which the work is done at once.
const AT_ONCE: usize = 64;

/// Elements between two looks at the clock.
const SLICE: usize = 1024;

struct Dropped {
    object: u64,
    /// Elements that are not counted as garbage yet, once they are listed.
    rest: Vec<LogAddr>,
    listed: bool,
    /// The collection whose memory is to be freed.
    shared: Option<SharedCollection>,
}

/// What is still to be done.
#[derive(Default)]
pub struct Dropping {
    queue: Mutex<Vec<Dropped>>,
    len: AtomicUsize,
}

impl Dropping {
    fn lock(&self) -> MutexGuard<'_, Vec<Dropped>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A collection is gone: no key leads to it any more. `forget` takes it out of the map of objects. Says whether there is something to do later.
    pub fn drop_collection(
        &self,
        tools: Tools<'_>,
        object: u64,
        shared: &SharedCollection,
        forget: impl FnOnce(),
    ) -> bool {
        let collection = shared.read();
        if collection.len() <= AT_ONCE {
            retire(tools, &collection.addrs());
            // With the lock: what is counted the cleaner must not move any more, and it looks into the map once it has the lock.
            forget();
            return false;
        }
        drop(collection);
        // First, so that who does not find it in the map finds it there.
        self.push(Dropped { object, rest: Vec::new(), listed: false, shared: Some(shared.clone()) });
        forget();
        true
    }

    /// These elements of a list are gone.
    pub fn drop_elements(&self, tools: Tools<'_>, object: u64, rest: Vec<LogAddr>) {
        if rest.len() <= AT_ONCE {
            return retire(tools, &rest);
        }
        self.push(Dropped { object, rest, listed: true, shared: None });
    }

    fn push(&self, dropped: Dropped) {
        let mut queue = self.lock();
        queue.push(dropped);
        self.len.store(queue.len(), Ordering::Release);
    }

    /// Goes on until `deadline`; says whether there is more to do. For who holds the cleaner.
    pub fn work(&self, tools: Tools<'_>, deadline: Instant) -> bool {
        // Ends: each turn lists, counts or takes out something, or leaves.
        while self.len.load(Ordering::Acquire) > 0 {
            let listed = self.list_one();
            let counted = self.count_some(tools);
            // Dropped at the end of the turn, without the lock.
            let done = self.take_out();
            if !listed && !counted && done.is_none() {
                // Somebody may still read what is left, and must not be the one who frees it.
                crossbeam_epoch::pin().flush();
                return true;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        self.len.load(Ordering::Acquire) > 0
    }

    /// Counts some elements as garbage; says whether there were any.
    fn count_some(&self, tools: Tools<'_>) -> bool {
        // It stays in the queue meanwhile: the cleaner must not think that it is all counted.
        let slice = self.lock().iter_mut().find(|dropped| !dropped.rest.is_empty()).map(|dropped| {
            let from = dropped.rest.len().saturating_sub(SLICE);
            dropped.rest.split_off(from)
        });
        retire(tools, slice.as_deref().unwrap_or_default());
        slice.is_some()
    }

    /// Takes out one of which all is counted and that nobody reads any more.
    fn take_out(&self) -> Option<Dropped> {
        let mut queue = self.lock();
        let is_done = |dropped: &Dropped| dropped.listed && dropped.rest.is_empty() && !dropped.is_seen();
        let at = queue.iter().position(is_done)?;
        let done = queue.swap_remove(at);
        self.len.store(queue.len(), Ordering::Release);
        Some(done)
    }

    /// Lists the elements of a collection that is not listed yet, if there is one. Not under the lock, which a DEL may wait for: there may be millions.
    fn list_one(&self) -> bool {
        let unlisted = |dropped: &&mut Dropped| !dropped.listed;
        let found = self.lock().iter_mut().find(unlisted).map(|dropped| (dropped.object, dropped.shared.clone()));
        let Some((object, shared)) = found else { return false };
        let rest = shared.map_or(Vec::new(), |shared| shared.read().addrs());
        // Nobody else lists, and only who holds the cleaner takes out.
        let mut queue = self.lock();
        if let Some(dropped) =
            queue.iter_mut().filter(|dropped| !dropped.listed).find(|dropped| dropped.object == object)
        {
            (dropped.rest, dropped.listed) = (rest, true);
        }
        true
    }

    /// Counts all that is left of this object. For who holds the cleaner.
    pub fn settle(&self, tools: Tools<'_>, object: u64) {
        if self.len.load(Ordering::Acquire) > 0 {
            self.settle_those(tools, |dropped| dropped.object == object);
        }
    }

    /// Counts all that is left. For who holds the cleaner.
    pub fn settle_all(&self, tools: Tools<'_>) {
        self.settle_those(tools, |_| true);
    }

    fn settle_those(&self, tools: Tools<'_>, which: impl Fn(&Dropped) -> bool) {
        // Ends: nobody adds what is gone already faster than it is listed.
        while self.list_one() {}
        let rest: Vec<Vec<LogAddr>> = self
            .lock()
            .iter_mut()
            .filter(|dropped| which(dropped))
            .map(|dropped| std::mem::take(&mut dropped.rest))
            .collect();
        rest.iter().for_each(|rest| retire(tools, rest));
    }

    /// Forgets everything: all records are counted anew.
    pub fn clear(&self) {
        self.lock().clear();
        self.len.store(0, Ordering::Release);
    }
}

impl Dropped {
    fn is_seen(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| Arc::strong_count(shared) > 1)
    }
}

fn retire(tools: Tools<'_>, addrs: &[LogAddr]) {
    addrs.iter().for_each(|&addr| tools.retire(addr));
}
