//! Replies that wait for a sync of the pool's file: whoever of a worker's connections has some waits here.
//!
//! A sync ends on another thread. That wakes one task of each worker, the relay, and it wakes the connections: to wake a task of another thread costs a
//! system call, to wake one's own costs next to nothing. And as the relay is queued behind the connections that are ready to run, the sync that
//! it asks for covers what all of them have written.

use super::worker::with_state;
use crate::store::Store;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use tokio::sync::Notify;

/// The connections of one worker that wait for a sync.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// For which epoch each of them waits. Epochs only rise, so the first has the least.
    waiting: VecDeque<(u64, Waker)>,
    /// Told when there is a first one.
    began: Arc<Notify>,
}

impl Held {
    /// Has `waker` woken once everything of `epoch` is synced, or cannot be.
    pub fn wait(&mut self, epoch: u64, waker: &Waker) {
        if self.waiting.is_empty() {
            self.began.notify_one();
        }
        self.waiting.push_back((epoch, waker.clone()));
    }

    /// Wakes those whose wait is over. Says whether there are others.
    fn release(&mut self, store: &Store) -> bool {
        let (synced, failed) = (store.synced_epoch(), store.has_failed_to_sync());
        while let Some((epoch, waker)) = self.waiting.front()
            && (*epoch <= synced || failed)
        {
            waker.wake_by_ref();
            self.waiting.pop_front();
        }
        !self.waiting.is_empty()
    }
}

/// Asks for syncs while connections of this thread wait for them, and wakes those connections. Never ends.
pub(super) async fn relay() {
    let began = with_state(|state| Arc::clone(&state.held.began));
    // Ends with the worker's runtime.
    loop {
        began.notified().await;
        let mut ends = with_state(|state| state.store.sync_ends());
        // Ends: each turn but the first is another sync, and after one that has failed nobody waits.
        loop {
            // Before the look at what is synced: no end is missed.
            ends.mark_unchanged();
            if !with_state(|state| state.held.release(&state.store)) {
                break;
            }
            // Behind the connections that are ready, and those that have become so meanwhile: the sync covers what they write.
            tokio::task::yield_now().await;
            with_state(|state| state.store.want_sync());
            // An error would say that the store is gone, and with it who waits.
            if ends.changed().await.is_err() {
                break;
            }
        }
    }
}
