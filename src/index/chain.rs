//! A bucket and its overflow buckets, as the holder of the stripe sees them.

use super::Table;
use super::raw::{Bucket, SLOTS, Space};
use super::sync::{Ordering, step};
use super::word::{Header, Tag, Word};
use crate::base::LogAddr;

/// Walks a chain from its main bucket. Ends because chains do not loop; each link is read when it is followed.
pub(super) struct Chain<'a> {
    space: &'a Space,
    next: Option<&'a Bucket>,
}

impl<'a> Iterator for Chain<'a> {
    type Item = &'a Bucket;

    #[inline]
    fn next(&mut self) -> Option<&'a Bucket> {
        let bucket = self.next?;
        // Acquire: pairs with the Release store of the link, so that the linked bucket's words are visible.
        let link = Header(bucket.header.load(Ordering::Acquire)).link();
        self.next = (link != 0).then(|| self.space.linked(link));
        Some(bucket)
    }
}

/// A place in a chain.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) i: usize,
}

impl Slot<'_> {
    #[inline]
    pub(super) fn load(self) -> Word {
        // Acquire: pairs with the Release store (or CAS) of the word, so that the record behind it can be read.
        self.bucket.word(self.i, Ordering::Acquire)
    }

    /// Stores `word`. Only for a slot that the cleaner cannot change: a free or a locked one.
    #[inline]
    pub(super) fn store(self, word: Word) {
        step();
        // Release: the record is complete (X10), and all steps of a move so far are seen before this one (X2, X3).
        self.bucket.slots[self.i].store(word.0, Ordering::Release);
    }

    /// Locks the entry against the cleaner and returns it as it is from then on, the lock bit set.
    pub(super) fn lock(self) -> Word {
        step();
        // AcqRel: Acquire as in `load`; Release keeps the record's publication by a relocation in the word's history.
        Word(self.bucket.slots[self.i].fetch_or(super::word::LOCK_BIT, Ordering::AcqRel)).locked()
    }

    /// Swaps `current` for what `next` makes of it, again and again while the cleaner changes the address. Returns the word
    /// displaced. Ends because each failure is a relocation that succeeded.
    #[inline]
    pub(super) fn replace(self, mut current: Word, next: impl Fn(Word) -> Word) -> Word {
        loop {
            // AcqRel: Release publishes the new record (X10); Acquire as in `load`, on failure too.
            match self.bucket.slots[self.i].compare_exchange(
                current.0,
                next(current).0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return current,
                Err(seen) => current = Word(seen),
            }
        }
    }
}

/// What a writer found on its way along a chain.
pub(super) enum Found<'a> {
    /// The key is in this slot, with this word.
    Key(Slot<'a>, Word),
    /// It is not there; this slot is free.
    Free(Slot<'a>),
    /// It is not there and the chain, which ends with this bucket, is full.
    Full(&'a Bucket),
}

impl Table {
    /// The chain that starts with `main`.
    #[inline]
    pub(super) fn chain<'a>(&'a self, main: &'a Bucket) -> Chain<'a> {
        Chain { space: &self.space, next: Some(main) }
    }

    /// All slots of the chain that starts with `main`.
    pub(super) fn slots<'a>(&'a self, main: &'a Bucket) -> impl Iterator<Item = Slot<'a>> {
        self.chain(main).flat_map(slots_of)
    }

    /// Looks for a key, and for room on the way. The stripe is held.
    #[inline]
    pub(super) fn find<'a>(
        &'a self,
        main: &'a Bucket,
        tag: Tag,
        is_match: &mut impl FnMut(LogAddr) -> bool,
    ) -> Found<'a> {
        let mut free = None;
        let mut last = main;
        for bucket in self.chain(main) {
            let mut mask = bucket.matches(tag);
            while mask != 0 {
                let slot = Slot { bucket, i: mask.trailing_zeros() as usize };
                mask &= mask - 1;
                let word = slot.load();
                if word.addr().is_some_and(&mut *is_match) {
                    return Found::Key(slot, word);
                }
            }
            free = free.or_else(|| slots_of(bucket).find(|slot| slot.load().is_free()));
            last = bucket;
        }
        match free {
            Some(slot) => Found::Free(slot),
            None => Found::Full(last),
        }
    }

    /// A fresh overflow bucket for `stripe` that nothing leads to yet.
    pub(super) fn take_overflow(&self, stripe: usize) -> (u32, &Bucket) {
        let taken = self.pool.take(&self.space).expect(
            "overflow buckets are laid out for max_entries, which the caller promised not to exceed, with room to spare",
        );
        // Relaxed: only the holder of the stripe writes it.
        let count = &self.space.stripe(stripe).overflow;
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        taken
    }
}

/// The slots of one bucket.
pub(super) fn slots_of(bucket: &Bucket) -> impl Iterator<Item = Slot<'_>> {
    (0..SLOTS).map(move |i| Slot { bucket, i })
}

/// Sets the link of `bucket` and keeps the rest of its header. The stripe is held.
pub(super) fn set_link(bucket: &Bucket, link: u32) {
    step();
    // Relaxed load: only the holder of the stripe writes headers. Release store: the linked bucket is filled.
    let header = Header(bucket.header.load(Ordering::Relaxed));
    bucket.header.store(header.with_link(link).0, Ordering::Release);
}

/// Appends words to a chain, into free slots first and then into fresh overflow buckets, which are linked once they
/// hold their first word.
pub(super) struct Appender<'a> {
    table: &'a Table,
    stripe: usize,
    bucket: &'a Bucket,
    i: usize,
}

impl<'a> Appender<'a> {
    /// Starts at the chain's first bucket.
    pub(super) fn new(table: &'a Table, stripe: usize, main: &'a Bucket) -> Self {
        Self { table, stripe, bucket: main, i: 0 }
    }

    /// Stores `word` in the next free slot. The stripe is held; `word` is locked.
    pub(super) fn push(&mut self, word: Word) {
        loop {
            while self.i < SLOTS {
                let slot = Slot { bucket: self.bucket, i: self.i };
                self.i += 1;
                if slot.load().is_free() {
                    return slot.store(word);
                }
            }
            self.i = 0;
            // Relaxed: only the holder of the stripe writes headers.
            let link = Header(self.bucket.header.load(Ordering::Relaxed)).link();
            if link != 0 {
                self.bucket = self.table.space.linked(link);
                continue;
            }
            let (link, fresh) = self.table.take_overflow(self.stripe);
            Slot { bucket: fresh, i: 0 }.store(word);
            self.i = 1;
            set_link(self.bucket, link);
            self.bucket = fresh;
            return;
        }
    }
}
