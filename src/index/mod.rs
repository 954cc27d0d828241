//! The index in DRAM: from the keyed 64-bit hash of a key to the place of its record in the log.
//!
//! Linear hashing over cache-line buckets, in place: one table that is never copied. Growth splits one bucket into a new one
//! at the end, shrink merges one back; either is a few cache lines of work inside the insert or remove that made it due.
//! It was chosen over a table that is copied when it grows because the copy is a pause (or a second lookup everywhere), and
//! over a tree of nodes because one lookup here is one line of the index and one record.
//!
//! # Who may do what
//!
//! | operation | needs | progress |
//! |---|---|---|
//! | [`Index::get`], [`Index::get_batch`], [`Index::scan`], [`Index::random`] | a pinned guard | lock-free |
//! | [`Index::upsert`], [`Index::upsert_if`], [`Index::remove`] | a pinned guard and the lock of the hash's stripe | no waiting inside |
//! | [`Index::relocate`] | a pinned guard, one from before the old record was read | lock-free, or [`Relocation::Busy`] |
//! | [`Index::maintain`] | one background thread; takes stripe locks one after the other | bounded work a call |
//!
//! The stripe is the low bits of the hash; a bucket and all that it ever splits into belong to one stripe, so a writer who
//! holds it has its part of the table to itself. The lock lives outside, with the store. The index never reads a record:
//! callers pass closures that compare keys. All memory is atomics in one reservation (see `raw`), so a caller who breaks the
//! lock contract can lose keys but not memory safety.
//!
//! # Invariants
//!
//! - X1 Outside a move a key is in exactly one slot; inside a move its copies are equal and all LOCKED.
//! - X2 Order of every move: copy, bump the version, clear. So a reader that saw a cleared slot sees the new version when it
//!   reads the header again. A link that leads to a copy is set before the bump.
//! - X3 LOCKED is taken off only after the old copy is cleared. So when a relocation succeeds, no second slot leads to the old
//!   record.
//! - X4 Only the holder of the stripe changes which keys are in its buckets, the links, depths, versions. The cleaner changes
//!   only the address in a word, and only by a CAS from an unlocked word.
//! - X5 An update never leaves its slot; an address is displaced by one atomic operation, and who displaced it retires it, once.
//! - X6 A record's space is reused only a full epoch after its last address left the index; reader and cleaner keep one pin from
//!   loading a word to the last use. Then no word leaves and comes back within a pin: no ABA.
//! - X7 A published record is immutable.
//! - X8 Freed overflow buckets and dropped pages wait an epoch; links only lead to buckets of the same stripe.
//! - X9 A bucket of depth d covers one contiguous range of bit-reversed hashes; splits refine, merges coarsen.
//! - X10 A word is stored only after its record is complete (and fenced, in a durable pool).
//!
//! # Orderings
//!
//! | store | order | partner |
//! |---|---|---|
//! | word: insert, move, clear, unlock | Release | Acquire load of the word; Acquire fence of a miss |
//! | word: update, remove, relocate | CAS AcqRel | the same |
//! | header: depth, version, link | Release | Acquire load in `locate`; load after the fence of a miss |
//! | usage bit of an overflow bucket | `SeqCst` | its taker's RMW, the summary bit |
//! | rows and counts of a stripe, hints | Relaxed | the stripe's lock; a hint may be wrong |
//!
//! A hit takes effect when its word is loaded, a miss at any moment between its two loads of the header, insert, update and
//! remove with their one store or CAS.

mod chain;
mod iter;
mod maintain;
mod overflow;
mod probe;
#[cfg_attr(feature = "loom", path = "../../tests/loom/src/raw.rs")]
mod raw;
mod resize;
mod sync;
mod word;

#[cfg(test)]
mod tests;

use crate::base::LogAddr;
use crate::base::sync::Mutex;
use chain::{Found, Slot, set_link};
use crossbeam_epoch::Guard;
use raw::{Space, Stripe};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use word::{Header, Tag, Word};

/// Rows (buckets of one stripe) of the smallest table.
#[cfg(not(feature = "loom"))]
const BASE_ROWS: u32 = 16;
/// So few that a few keys make it grow.
#[cfg(feature = "loom")]
const BASE_ROWS: u32 = 2;
const BASE_ROW_BITS: u32 = BASE_ROWS.ilog2();

/// Most stripes: 2^16.
const MAX_STRIPE_BITS: u32 = 16;

/// Most rows: a split at greater depth would need hash bits above the tag.
const MAX_ROWS: u32 = 1 << (BASE_ROW_BITS + word::TAG_BITS);

/// A stripe grows when it has more than LOAD_NUM / LOAD_DEN = 4.8 keys per bucket. That is 13.3 bytes a key in main buckets, 1.6 in
/// overflow buckets (which hold 7 % of the keys), and 1 for the rows by which the highest stripe is ahead of the others: under
/// 17 bytes a key from 10 million keys on. 4.2 would be 18 bytes and 5 % in overflow buckets.
#[cfg(not(feature = "loom"))]
const LOAD_NUM: u64 = 48;
#[cfg(feature = "loom")]
const LOAD_NUM: u64 = 10;
const LOAD_DEN: u64 = 10;

/// A stripe's hint is rewritten when it is off by more than one part in this many.
const HINT_SLACK: u32 = 64;

/// What an index is made for.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Log2 of the pool's stripe count, at most 16. The smallest table has 16 buckets (1 KiB) per stripe.
    pub stripe_bits: u32,
    /// Keys it must have room for: sizes the reserved address space, 29 bytes a key. Memory is only used as it fills.
    pub max_entries: u64,
}

/// What became of an [`Index::upsert_if`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Upsert {
    /// The key was not there and is now.
    Inserted,
    /// The key's former address, displaced: its record is the caller's to retire.
    Replaced(LogAddr),
    /// The existing address was preferred and stays.
    Kept(LogAddr),
}

/// What became of an [`Index::relocate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Relocation {
    /// The key's word leads to the new place now.
    Moved,
    /// The entry is being moved by a split or merge: try again later.
    Busy,
    /// Nothing leads to the old place any more: the record is dead, and so is its copy.
    Gone,
}

/// Sizes of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexStats {
    /// Keys.
    pub entries: u64,
    /// Main buckets alive, of 7 entries each.
    pub buckets: u64,
    /// Overflow buckets in chains.
    pub overflow: u64,
    /// Resident DRAM in bytes, as far as the index knows.
    pub bytes: u64,
}

/// A concurrent hash index from keyed hashes to log addresses. See the module's documentation.
pub struct Index {
    table: Arc<Table>,
}

/// The shared state. Apart from [`Index`] so that deferred work can hold on to it weakly.
struct Table {
    space: Space,
    stripe_bits: u32,
    base_depth: u32,
    /// Rows that splits may not go beyond: the end of the reservation, or of what is not being released.
    row_limit: AtomicU32,
    me: Weak<Table>,
    written: Apart<Written>,
    upkeep: Mutex<maintain::Upkeep>,
}

/// On lines of its own, so that what is written now and then does not slow down those who read what lies beside it.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What writers of all stripes share.
struct Written {
    pool: overflow::Pool,
    /// The most rows that any stripe has had since the last release.
    frontier: AtomicU32,
    /// Whether a merge happened since the release of memory was last considered.
    shrunk: AtomicBool,
    /// Bytes of the main range that were populated ahead.
    populated_mains: AtomicU64,
    /// Bytes of the overflow range that were populated ahead.
    populated_overflow: AtomicU64,
}

impl Deref for Table {
    type Target = Written;

    fn deref(&self) -> &Written {
        &self.written
    }
}

impl Table {
    #[inline]
    fn stripe_of(&self, hash: u64) -> usize {
        word::low_bits(hash, self.stripe_bits) as usize
    }

    #[inline]
    fn tag(&self, hash: u64) -> Tag {
        Tag::of(hash, self.base_depth)
    }

    /// The number of the bucket in `row` of `stripe`.
    #[inline]
    fn number(&self, stripe: usize, row: u32) -> usize {
        (row as usize) << self.stripe_bits | stripe
    }

    /// How many rows the stripe has.
    #[inline]
    fn rows(&self, cell: &Stripe) -> u32 {
        // Relaxed: written under the stripe's lock; who peeks without it wants an estimate.
        cell.grown_by.load(Ordering::Relaxed) + BASE_ROWS
    }

    /// Sums `of` over the stripes: a cache line each.
    fn sum(&self, of: impl Fn(&Stripe) -> u64) -> u64 {
        (0..self.space.stripes()).map(|stripe| of(self.space.stripe(stripe))).sum()
    }

    /// Stores a word for a key that is not in the table yet. The stripe is held.
    #[inline]
    fn insert(&self, stripe: usize, main: &raw::Bucket, room: Found<'_>, word: Word, guard: &Guard) {
        // Relaxed: only the holder of the stripe writes headers.
        if Header(main.header.load(Ordering::Relaxed)).depth() == 0 {
            // A bucket of the smallest table that was never written.
            resize::publish(main, |header| header.with_depth(self.base_depth));
        }
        self.count_in(stripe);
        match room {
            Found::Free(slot) | Found::Key(slot, _) => slot.store(word),
            Found::Full(last) => {
                let (link, bucket) = self.take_overflow(stripe);
                Slot { bucket, i: 0 }.store(word);
                set_link(last, link);
            }
        }
        self.make_room(stripe, guard);
    }
}

impl Index {
    /// Reserves the address space of an index. Touches no memory but a few words of its own: microseconds.
    ///
    /// # Errors
    /// `InvalidInput` when the options are out of range; the error of `mmap` when the address space is not to be had.
    pub fn new(options: &IndexOptions) -> io::Result<Index> {
        let space = Space::reserve(options)?;
        let rows = (space.mains() >> options.stripe_bits) as u32;
        let table = Arc::new_cyclic(|me| Table {
            space,
            stripe_bits: options.stripe_bits,
            base_depth: options.stripe_bits + BASE_ROW_BITS,
            row_limit: AtomicU32::new(rows),
            me: me.clone(),
            written: Apart(Written {
                pool: overflow::Pool::new(),
                frontier: AtomicU32::new(BASE_ROWS),
                shrunk: AtomicBool::new(false),
                populated_mains: AtomicU64::new(0),
                populated_overflow: AtomicU64::new(0),
            }),
            upkeep: Mutex::default(),
        });
        Ok(Self { table })
    }

    /// The stripe whose lock a writer of `hash` must hold, `0..2^stripe_bits`.
    #[inline]
    pub fn stripe_of(&self, hash: u64) -> usize {
        self.table.stripe_of(hash)
    }

    /// Looks a key up: the address under `hash` whose record `is_match` accepts.
    ///
    /// Lock-free; about one line of the index and one record. The guard must stay pinned for as long as the address is used.
    #[inline]
    pub fn get(&self, hash: u64, _guard: &Guard, mut is_match: impl FnMut(LogAddr) -> bool) -> Option<LogAddr> {
        self.table.lookup(hash, |_, _, _, addr| is_match(addr))
    }

    /// Looks several keys up with their cache misses overlapped, in runs of 16. `out[i]` becomes what `get` would say of
    /// `hashes[i]`; `prefetch` is told early which records will be compared, `is_match` also gets the position in `hashes`.
    ///
    /// # Panics
    /// When `out` is shorter than `hashes`.
    #[inline]
    pub fn get_batch(
        &self,
        hashes: &[u64],
        _guard: &Guard,
        mut prefetch: impl FnMut(LogAddr),
        mut is_match: impl FnMut(usize, LogAddr) -> bool,
        out: &mut [Option<LogAddr>],
    ) {
        let out = &mut out[..hashes.len()];
        for (run, (hashes, out)) in hashes.chunks(probe::BATCH).zip(out.chunks_mut(probe::BATCH)).enumerate() {
            let first = run * probe::BATCH;
            self.table.lookup_batch(hashes, &mut prefetch, |i, addr| is_match(first + i, addr), out);
        }
    }

    /// Starts to fetch what a lookup of `hash` will read first.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.space.prefetch_main(self.table.guess(hash));
    }

    /// Starts to fetch what an insert, update or remove of `hash` will write, the buckets of a split that is due included.
    #[inline]
    pub fn prefetch_write(&self, hash: u64) {
        let stripe = self.table.stripe_of(hash);
        self.table.space.stripe(stripe).prefetch_write();
        self.table.space.prefetch_main_write(self.table.guess(hash));
        if let Some((low, high)) = self.table.due_split(stripe) {
            self.table.space.prefetch_main_write(low);
            self.table.space.prefetch_main_write(high);
        }
    }

    /// Makes `hash` lead to `new`: swaps the address of the key that `is_match` accepts, and returns the one displaced, or
    /// inserts it. The record at `new` must be complete (and durable, where that matters).
    ///
    /// The caller holds the stripe of `hash`; without it keys can be lost or doubled (but memory stays safe).
    ///
    /// # Panics
    /// When far more than [`IndexOptions::max_entries`] keys are inserted.
    #[inline]
    pub fn upsert(
        &self,
        hash: u64,
        new: LogAddr,
        guard: &Guard,
        is_match: impl FnMut(LogAddr) -> bool,
    ) -> Option<LogAddr> {
        match self.upsert_if(hash, new, guard, is_match, |_| true) {
            Upsert::Inserted => None,
            Upsert::Replaced(old) | Upsert::Kept(old) => Some(old),
        }
    }

    /// As [`Index::upsert`], but when the key is there `prefer_new` decides, given the existing address.
    ///
    /// The caller holds the stripe of `hash`.
    ///
    /// # Panics
    /// As [`Index::upsert`].
    #[inline]
    pub fn upsert_if(
        &self,
        hash: u64,
        new: LogAddr,
        guard: &Guard,
        mut is_match: impl FnMut(LogAddr) -> bool,
        prefer_new: impl FnOnce(LogAddr) -> bool,
    ) -> Upsert {
        let table = &*self.table;
        let (stripe, tag) = (table.stripe_of(hash), table.tag(hash));
        let main = table.space.main(table.home_of(hash, table.rows(table.space.stripe(stripe))));
        let fresh = Word::new(tag, new);
        let found = table.find(main, tag, &mut is_match);
        if let Found::Key(slot, word) = found
            && let Some(existing) = word.addr()
        {
            if !prefer_new(existing) {
                return Upsert::Kept(existing);
            }
            // The cleaner may have moved the record since; that is a copy of the same version, so the decision stands.
            if let Some(old) = slot.replace(word, |_| fresh).addr() {
                return Upsert::Replaced(old);
            }
        }
        table.insert(stripe, main, found, fresh, guard);
        Upsert::Inserted
    }

    /// Takes out the key that `is_match` accepts and returns its address, which is the caller's to retire.
    ///
    /// The caller holds the stripe of `hash`.
    #[inline]
    pub fn remove(&self, hash: u64, guard: &Guard, mut is_match: impl FnMut(LogAddr) -> bool) -> Option<LogAddr> {
        let table = &*self.table;
        let stripe = table.stripe_of(hash);
        let main = table.space.main(table.home_of(hash, table.rows(table.space.stripe(stripe))));
        let Found::Key(slot, word) = table.find(main, table.tag(hash), &mut is_match) else { return None };
        let old = slot.replace(word, |_| Word::FREE).addr();
        table.count_out(stripe, main, guard);
        old
    }

    /// Makes the entry under `hash` that leads to `old` lead to `new`, a copy of the same record. For the cleaner: no stripe
    /// held; the guard has been pinned since before the record at `old` was read.
    pub fn relocate(&self, hash: u64, old: LogAddr, new: LogAddr, _guard: &Guard) -> Relocation {
        let mut outcome = Relocation::Gone;
        self.table.lookup(hash, |bucket, i, word, addr| {
            if addr != old {
                return false;
            }
            if word.is_locked() {
                outcome = Relocation::Busy;
                return true;
            }
            // AcqRel: Release publishes the copy (X10). Acquire keeps the history of the word in order.
            let swapped =
                bucket.slots[i].compare_exchange(word.0, word.with_addr(new).0, Ordering::AcqRel, Ordering::Relaxed);
            match swapped {
                Ok(_) => outcome = Relocation::Moved,
                Err(seen) if Word(seen) == word.locked() => outcome = Relocation::Busy,
                // Updated or removed meanwhile: a miss unless it is found elsewhere.
                Err(_) => return false,
            }
            true
        });
        outcome
    }

    /// Keys in the index. Reads a cache line per stripe: tens of microseconds at 4096 stripes.
    pub fn len(&self) -> u64 {
        // Relaxed: a figure.
        self.table.sum(|cell| cell.entries.load(Ordering::Relaxed))
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resident DRAM in bytes: what was populated ahead, or used, of each range (reserved address space is not counted).
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// All sizes. Costs as much as [`Index::len`].
    pub fn stats(&self) -> IndexStats {
        let table = &*self.table;
        IndexStats {
            entries: self.len(),
            buckets: table.sum(|cell| u64::from(table.rows(cell))),
            overflow: table.sum(|cell| u64::from(cell.overflow.load(Ordering::Relaxed))),
            bytes: self.bytes(),
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
