//! Sync epochs: what is known to be on the disk, where the medium is a file.
//!
//! There a power cut leaves any pages that were written since the last sync. So that the pool recovered is one that existed, everything appended belongs
//! to an epoch. A sync ends the epoch at one moment for all writers (the **cut**), writes a [`SyncMark`] that says how far each log goes at the cut,
//! and syncs the file, mark included. After a power cut recovery goes by the newest mark of which everything is there (`log/cut.rs`).
//!
//! # Why that is enough
//!
//! - The cut is made while nobody appends: each [`Writer`](crate::log::Writer) holds its own lock while it does, and the cut takes all of them. What a write depends on was
//!   published before, so it was appended before, and is in the cut with it.
//! - One sync serves data and mark. A mark may reach the disk before the data that it speaks of; recovery sees that by the batches' checksums, and goes by
//!   the mark before, in the other slot. That one's sync was over before this mark was written.
//! - A segment that was opened behind the cut says so in its header, so that nothing in it counts.
//! - A segment is freed only when a sync has covered what was made of it, and used anew only when one has covered the freeing ([`Pool::release_segments`]).
//!   So whatever mark counts, what it speaks of is still there.
//! - An update of the superblock waits for a sync of the log, and is synced itself: it is never ahead of the log.
//!
//! A sync that fails is the last one: what the kernel has dropped nobody knows, and a later success would prove nothing.

use super::Pool;
use super::format::SUPERBLOCK_BYTES;
use super::segments::Phase;
use super::sync_mark::{self, LogEnd, SyncMark};
use crate::base::mutant::{self, Mutant};
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Mutex, MutexGuard, PoisonError};
use crate::base::{Clock, SegmentId};
use crate::persist::{Medium, Region};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

/// Epochs that may have been begun behind the last mark that counts: that of a mark whose sync did not end, and the next.
const BEGUN_BEHIND: u64 = 2;

/// Who appends to the pool. Its lock is held while a batch is written.
#[derive(Debug, Default)]
pub struct Appender(Mutex<()>);

/// DRAM state of the epochs of a pool on a file.
pub(super) struct Epochs {
    /// The epoch of what is appended now.
    current: AtomicU64,
    /// The last epoch in which something was written.
    dirty: AtomicU64,
    /// Everything of this epoch and before is on the disk.
    synced: AtomicU64,
    failed: OnceLock<String>,
    appenders: Mutex<Vec<Weak<Appender>>>,
    /// Segments that the next mark speaks of. Held while one is opened.
    listed: Mutex<Vec<SegmentId>>,
    /// How many that are.
    listed_count: AtomicU64,
    /// Held by who syncs.
    syncing: Mutex<()>,
    /// What the time of a cut is read from.
    clock: OnceLock<Clock>,
    /// Told of each sync that has ended.
    on_sync: OnceLock<Box<dyn Fn(bool) + Send + Sync>>,
    most_logs: usize,
}

/// A sync has failed, now or earlier.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the pool file could not be synced: {0}; what was written since the last sync may be lost at a power cut, and no more writes are taken: see to the disk, then restart"
)]
pub struct SyncFailed(pub String);

impl Epochs {
    /// `None` where a fence is all there is.
    pub(super) fn new(region: &Region, data_offset: u64) -> Option<Self> {
        let (_, slot_bytes) = sync_mark::slot(data_offset, 0)?;
        (region.medium() == Medium::File && region.is_writable()).then(|| Self {
            current: AtomicU64::new(1),
            dirty: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            failed: OnceLock::new(),
            appenders: Mutex::default(),
            listed: Mutex::default(),
            listed_count: AtomicU64::new(0),
            syncing: Mutex::default(),
            clock: OnceLock::new(),
            on_sync: OnceLock::new(),
            most_logs: sync_mark::most_logs(slot_bytes),
        })
    }

    fn failure(&self) -> Option<SyncFailed> {
        self.failed.get().cloned().map(SyncFailed)
    }

    /// Something was written that is no part of a batch. With `listed` held, so that no cut falls between its writing and this: the epoch that it
    /// gives back has not been synced.
    fn touch(&self, _no_cut_now: &MutexGuard<'_, Vec<SegmentId>>) -> u64 {
        let current = self.current.load(Ordering::Relaxed);
        self.dirty.fetch_max(current, Ordering::Release);
        current
    }

    /// Whether the next mark has less than so many quarters of its room left.
    fn has_left_less_than(&self, quarters: u64) -> bool {
        // Relaxed: the bounds leave room for what other threads open at this moment.
        self.listed_count.load(Ordering::Relaxed) > self.most_logs as u64 / 4 * (4 - quarters)
    }

    /// Segment `id` is being opened: `open` does it, and is told in which epoch.
    pub(super) fn opening(&self, id: SegmentId, open: impl FnOnce(u64)) {
        let mut listed = lock(&self.listed);
        open(self.touch(&listed));
        listed.push(id);
        self.listed_count.store(listed.len() as u64, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a batch is written to a pool on a file.
pub struct Appending<'a>(#[expect(dead_code, reason = "dropped at the end")] MutexGuard<'a, ()>);

impl Pool {
    /// Whether what is appended is durable only with a sync of the file.
    #[inline]
    pub fn needs_sync(&self) -> bool {
        self.epochs.is_some()
    }

    /// An end of the log for one more writer; `None` where no sync is needed.
    #[cold]
    pub fn appender(&self) -> Option<Arc<Appender>> {
        let epochs = self.epochs.as_ref()?;
        let appender = Arc::new(Appender::default());
        let mut appenders = lock(&epochs.appenders);
        appenders.retain(|other| other.strong_count() > 0);
        appenders.push(Arc::downgrade(&appender));
        Some(appender)
    }

    /// Begins to append: no cut is made until this is dropped.
    #[inline]
    pub fn append_as<'a>(&self, appender: &'a Appender) -> Option<Appending<'a>> {
        let epochs = self.epochs.as_ref()?;
        let appending = Appending(lock(&appender.0));
        let current = epochs.current.load(Ordering::Relaxed);
        // Looked at first: the line is shared by all writers.
        if epochs.dirty.load(Ordering::Relaxed) != current {
            epochs.dirty.fetch_max(current, Ordering::Release);
        }
        Some(appending)
    }

    /// Sees to it that the next mark has room for the segments that are to be opened. Before anything is held that others wait for a long time for: it
    /// syncs, in the rare case that so many segments were opened since the last one.
    #[inline]
    pub fn make_room_in_mark(&self) {
        if let Some(epochs) = &self.epochs
            && epochs.has_left_less_than(2)
        {
            let _a_failure_is_told_of_elsewhere = self.sync();
        }
    }

    /// Whether so many segments are open that a mark could not speak of more: then no other one is to be opened. That takes writers by the hundred, or an
    /// atom as long, in a pool of tiny segments.
    pub(super) fn is_mark_full(&self) -> bool {
        self.epochs.as_ref().is_some_and(|epochs| epochs.has_left_less_than(1))
    }

    /// The last epoch in which something was written: what anybody can have read or written is of it or before. 0 where no sync is needed.
    #[inline]
    pub fn written_epoch(&self) -> u64 {
        self.epochs.as_ref().map_or(0, |epochs| epochs.dirty.load(Ordering::Acquire))
    }

    /// Everything of this epoch and before is on the disk. 0 where no sync is needed.
    #[inline]
    pub fn synced_epoch(&self) -> u64 {
        self.epochs.as_ref().map_or(0, |epochs| epochs.synced.load(Ordering::Acquire))
    }

    /// Why no more writes are to be taken, if a sync has failed.
    #[inline]
    pub fn sync_failure(&self) -> Option<SyncFailed> {
        self.epochs.as_ref().and_then(Epochs::failure)
    }

    /// Has `tell` called after each sync, and told whether it has succeeded. The first who asks for this stays.
    pub fn on_sync(&self, tell: Box<dyn Fn(bool) + Send + Sync>) {
        if let Some(epochs) = &self.epochs {
            let _first_one_stays = epochs.on_sync.set(tell);
        }
    }

    /// Makes everything durable that was written before the call. Where a fence is enough there is nothing to do. Several callers share a sync.
    ///
    /// Cost: one page written and one `fdatasync`, if there is something to sync.
    ///
    /// # Errors
    /// The file could not be synced, now or once before. It is not tried again.
    pub fn sync(&self) -> Result<(), SyncFailed> {
        let Some(epochs) = &self.epochs else { return Ok(()) };
        let wanted = epochs.dirty.load(Ordering::Acquire);
        if epochs.synced.load(Ordering::Acquire) >= wanted {
            return epochs.failure().map_or(Ok(()), Err);
        }
        let _one = lock(&epochs.syncing);
        if let Some(failed) = epochs.failure() {
            return Err(failed);
        }
        // Who held the lock may have synced it with the rest.
        if epochs.synced.load(Ordering::Acquire) < wanted {
            let done = self.sync_now(epochs);
            if let Some(tell) = epochs.on_sync.get() {
                tell(done.is_ok());
            }
            done?;
        }
        Ok(())
    }

    /// Ends the epoch and syncs it. With `syncing` held.
    fn sync_now(&self, epochs: &Epochs) -> Result<(), SyncFailed> {
        let (mark, sealed) = self.cut(epochs);
        if mutant::active(Mutant::SyncLeftOut) {
            // The mark gets to the disk by itself, and the sync is taken as done.
            epochs.synced.store(mark.epoch, Ordering::Release);
            self.write_mark(&mark);
            return Ok(());
        }
        self.write_mark(&mark);
        if let Err(error) = self.region.sync() {
            tracing::error!(%error, "the pool file could not be synced; no more writes are taken");
            let failed = epochs.failed.get_or_init(|| error.to_string()).clone();
            return Err(SyncFailed(failed));
        }
        epochs.synced.store(mark.epoch, Ordering::Release);
        let mut listed = lock(&epochs.listed);
        listed.retain(|id| !sealed.contains(id));
        epochs.listed_count.store(listed.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The moment that the epoch ends. Returns its mark, and the segments in it that nothing will be appended to any more.
    fn cut(&self, epochs: &Epochs) -> (SyncMark, HashSet<SegmentId>) {
        let listed = lock(&epochs.listed);
        let appenders: Vec<_> = lock(&epochs.appenders).iter().filter_map(Weak::upgrade).collect();
        let held: Vec<_> = appenders.iter().map(|appender| lock(&appender.0)).collect();
        // Nobody appends and nobody opens a segment: this is the cut.
        let epoch = epochs.current.fetch_add(1, Ordering::AcqRel);
        let mut sealed = HashSet::new();
        let mut logs = Vec::with_capacity(listed.len());
        for &id in listed.iter() {
            let usage = self.segment_use(id);
            match usage.phase {
                Phase::Open => {}
                // Freed since; what is left of it was synced before.
                Phase::Free => {
                    sealed.insert(id);
                    continue;
                }
                _ => {
                    sealed.insert(id);
                }
            }
            logs.push(LogEnd { id, incarnation: self.incarnation(id), end: usage.used_bytes });
        }
        drop((held, listed));
        (SyncMark { epoch, time_ms: epochs.clock.get().map_or(0, Clock::now_ms), logs }, sealed)
    }

    fn write_mark(&self, mark: &SyncMark) {
        let (at, bytes) =
            sync_mark::slot(self.data_offset, mark.epoch).expect("there are epochs only where there are slots");
        let image = mark.encode(&self.uuid);
        assert!(image.len() as u64 <= bytes, "a mark of {} segments in {bytes} bytes", mark.logs.len());
        self.region.copy(at, &image);
        self.region.flush(at, image.len() as u64);
    }

    /// Something was written that is no part of a log: the next sync covers it.
    pub(super) fn touch(&self) {
        if let Some(epochs) = &self.epochs {
            epochs.touch(&lock(&epochs.listed));
        }
    }

    /// The whole marks that are in the pool, the newest first.
    pub fn sync_marks(&self) -> Vec<SyncMark> {
        let slots = (0..2).filter_map(|number| Some((number, sync_mark::slot(self.data_offset, number)?)));
        let mut marks: Vec<SyncMark> = slots
            .filter_map(|(number, (at, bytes))| SyncMark::decode(&self.uuid, number, self.region.read(at, bytes).ok()?))
            .collect();
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.epoch));
        marks
    }

    /// The stretches between superblock and segments that must be zeros, from where to where: all but the slots that a mark was written to. On a file a slot may
    /// hold what was left of one when it was written.
    pub fn unmarked_bytes(&self) -> Vec<(u64, u64)> {
        let (mut from, mut unmarked) = (2 * SUPERBLOCK_BYTES as u64, Vec::new());
        let marks = self.sync_marks();
        for (number, (at, bytes)) in
            (0..2).filter_map(|number| Some((number, sync_mark::slot(self.data_offset, number)?)))
        {
            let is_whole = marks.iter().any(|mark| mark.epoch % 2 == number);
            if is_whole || !marks.is_empty() && self.region.medium() == Medium::File {
                unmarked.push((from, at));
                from = at + bytes;
            }
        }
        unmarked.push((from, self.data_offset));
        unmarked
    }

    /// Takes away what is behind the cut that recovery went by, and has the epochs of this opening come behind all that the pool speaks of. After recovery,
    /// before anything else is written. On a medium that needs no sync, the marks that another one has left are taken away, as they will not be kept up to
    /// date.
    ///
    /// # Errors
    /// The file could not be synced.
    pub fn begin_epochs(&self, clock: &Clock) -> Result<(), SyncFailed> {
        let last = self.sync_marks().first().map_or(0, |mark| mark.epoch);
        let Some(epochs) = &self.epochs else {
            if last > 0 && self.region.is_writable() {
                (0..2).for_each(|number| self.forget_mark(number));
                self.region.fence();
            }
            return Ok(());
        };
        let _set_once = epochs.clock.set(clock.clone());
        let opened = self.segment_ids().filter_map(|id| self.opened_epoch(id)).max().unwrap_or(0);
        let next = last.max(opened) + BEGUN_BEHIND + 1;
        // The next mark must not be written over the one that recovery has gone by.
        let kept = self.cut_in_force().map_or(last, |cut| cut.epoch());
        epochs.current.store(next + u64::from(next % 2 == kept % 2), Ordering::Relaxed);
        let sync = || self.region.sync().map_err(|error| SyncFailed(error.to_string()));
        if kept != last {
            // What was lacking of the newer mark could seem to be there once segments that it speaks of are freed.
            self.forget_mark(last);
            sync()?;
        }
        self.trim_to_cut();
        // Without a mark: the one that recovery has gone by counts until this is over. Where it has gone by none, the last mark and what it speaks of
        // may have been in the page cache only.
        sync()
    }

    /// Clears the slot of the mark of `epoch`. Durable with the next fence, on a file with the next sync.
    fn forget_mark(&self, epoch: u64) {
        if let Some((at, bytes)) = sync_mark::slot(self.data_offset, epoch) {
            self.region.copy(at, &vec![0; bytes as usize]);
            self.region.flush(at, bytes);
        }
    }
}
