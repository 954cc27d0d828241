//! Defects that can be switched on, in the build of the crash explorer only: each must make it fail.
//!
//! A place in the engine that has a defect asks [`active`]. Without the feature `mutants`, which only the package
//! `tests/crash/engine` has, that is a constant and the compiler removes the question.
//!
//! At most one is on in a process.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A defect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

mutants! {
    /// A flush writes nothing back.
    FlushNothing = "flush-nothing",
    /// A flush of several lines leaves out the last.
    FlushOneLineShort = "flush-one-line-short",
    /// A flush rounds its start up to a line, not down.
    FlushStartsLate = "flush-starts-late",
    /// A read that the medium cannot serve gives what happens to lie there.
    MediaErrorIgnored = "media-error-ignored",
    /// Both updates of the superblock go to the same copy.
    SuperblockInPlace = "superblock-in-place",
    /// An update of the superblock ends without its fences.
    SuperblockNotFenced = "superblock-not-fenced",
    /// The checksum of a superblock copy is not verified.
    SuperblockUnchecked = "superblock-unchecked",
    /// Of two whole superblock copies the one of the lower generation counts.
    OlderSuperblockWins = "older-superblock-wins",
    /// The superblock of a new pool is written before the segment headers are durable.
    CreationUnordered = "creation-unordered",
    /// The superblock speaks of a grown pool's new segments before their headers are written.
    GrowthSuperblockFirst = "growth-superblock-first",
    /// New segments are used without the superblock saying that the pool has grown.
    GrowthNotRecorded = "growth-not-recorded",
    /// A segment's new incarnation is not made durable before it is appended to.
    OpeningNotPersisted = "opening-not-persisted",
    /// A segment's state word is stored before its seal word.
    HeaderWordsSwapped = "header-words-swapped",
    /// The checks of segment header words are not verified.
    HeaderUnchecked = "header-unchecked",
    /// A segment is sealed a line beyond its log's end.
    SealTooFar = "seal-too-far",
    /// Recovery seals an unsealed segment a line short of its log's end.
    SealTooShort = "seal-too-short",
    /// A commit ends without its fence.
    CommitWithoutFence = "commit-without-fence",
    /// A commit of non-temporal stores ends without its fence.
    LargeCommitWithoutFence = "large-commit-without-fence",
    /// A commit's fence is executed by another thread than the one that flushed.
    FenceByAnotherThread = "fence-by-another-thread",
    /// A batch whose header is whole is accepted whatever its checksum says.
    BatchUnchecked = "batch-unchecked",
    /// The check of a batch's header is not verified before the checksum of the whole batch is.
    BatchHeadUnchecked = "batch-head-unchecked",
    /// A batch's checksum leaves out its last line.
    BatchCheckShort = "batch-check-short",
    /// A batch's checks are not seeded with its offset.
    BatchCheckAnywhere = "batch-check-anywhere",
    /// A segment's checks are not seeded with its incarnation.
    BatchCheckAnyLife = "batch-check-any-life",
    /// A valid batch behind an invalid one is taken as the log's continuation.
    HoleAccepted = "hole-accepted",
    /// Bytes below a seal that do not validate are taken as the log's end.
    SealIgnored = "seal-ignored",
    /// Recovery stops one batch before the end of an unsealed log.
    LastBatchLost = "last-batch-lost",
    /// Of two records of a key recovery keeps the older.
    OlderVersionWins = "older-version-wins",
    /// Recovery leaves tombstones out.
    TombstonesForgotten = "tombstones-forgotten",
    /// After recovery versions start again from 0.
    VersionsNotRestored = "versions-not-restored",
    /// After recovery object ids start again from 1.
    ObjectIdsNotRestored = "object-ids-not-restored",
    /// Of two records of a chunk recovery keeps the first that it meets.
    ChunkVersionsIgnored = "chunk-versions-ignored",
    /// The chunks of a long string are not durable before its head is written.
    ChunksNotFenced = "chunks-not-fenced",
    /// The chunks that a patch changes are not in the batch of the head.
    ChunksOutsideBatch = "chunks-outside-batch",
    /// A transaction commits each key in a batch of its own.
    BatchSplit = "batch-split",
    /// A write becomes visible before its batch is durable.
    PublishBeforeFence = "publish-before-fence",
    /// A transaction's keys are published without the exclusive mark.
    PublishWithoutMark = "publish-without-mark",
    /// Who reads a collection lets the stripe of its key go before it has the collection.
    CollectionOutsideStripe = "collection-outside-stripe",
    /// The cleaner's copy of an element takes the place of whatever record the element has by then.
    StaleElementTaken = "stale-element-taken",
    /// A part of an atom ends without its fence.
    PartsNotFenced = "parts-not-fenced",
    /// An atom's commit is written with each of its parts, not after the last.
    AtomCommittedEarly = "atom-committed-early",
    /// Recovery takes parts whose atom was never committed.
    PartsNotDeferred = "parts-not-deferred",
    /// Recovery takes no part, committed or not.
    CommitsForgotten = "commits-forgotten",
    /// After recovery the ids of atoms may be given out again.
    AtomIdsNotRestored = "atom-ids-not-restored",
    /// The cleaner drops every commit.
    CommitDropped = "commit-dropped",
    /// Superseded records in parts that were never committed are not counted.
    UncommittedNotCounted = "uncommitted-not-counted",
    /// A transaction gives its stripes back before its commit is durable.
    TransactionSeenEarly = "transaction-seen-early",
    /// Readers do not look whether a transaction was open while they read.
    TransactionNotNoticed = "transaction-not-noticed",
    /// Recovery does not look at database maps in the log.
    DatabaseMapIgnored = "database-map-ignored",
    /// A transaction's database map is put in force before the transaction counts.
    DatabaseMapEarly = "database-map-early",
    /// A transaction's commands are committed each for itself.
    TransactionSplit = "transaction-split",
    /// FLUSHDB gives a database the next keyspace id without counting it up.
    KeyspaceIdReused = "keyspace-id-reused",
    /// FLUSHDB changes the databases in DRAM only.
    FlushNotRecorded = "flush-not-recorded",
    /// SWAPDB changes the databases in DRAM only.
    SwapNotRecorded = "swap-not-recorded",
    /// FLUSHDB empties a database before that is durable.
    FlushVisibleEarly = "flush-visible-early",
    /// A key is seen to have expired before that is durable.
    ClockMarkLeftOut = "clock-mark-left-out",
    /// Recovery does not look at clock marks.
    ClockMarkIgnored = "clock-mark-ignored",
    /// A field is seen to have expired before that is durable.
    FieldMarkLeftOut = "field-mark-left-out",
    /// A hash is removed with its last expired field, and no tombstone says so.
    LastFieldWithoutTombstone = "last-field-without-tombstone",
    /// A freed segment's new incarnation is not made durable.
    FreeingNotPersisted = "freeing-not-persisted",
    /// The cleaner frees a segment before the copies of what was live in it are durable.
    CopiesNotFenced = "copies-not-fenced",
    /// The cleaner frees a segment while readers may still be in it.
    FreedUnderReaders = "freed-under-readers",
    /// The cleaner cleans a segment whose records are not all published yet.
    CleanedBeforeSettled = "cleaned-before-settled",
    /// The cleaner drops every tombstone.
    TombstoneDropped = "tombstone-dropped",
    /// The cleaner drops an expired record while older records of its key are left.
    ExpiredDropped = "expired-dropped",
    /// The cleaner drops an expired field while older records of it are left.
    ExpiredFieldDropped = "expired-field-dropped",
    /// The cleaner gives copies a version of their own.
    CopiesRenewed = "copies-renewed",
    /// Superseded records are forgotten when they are copied too late.
    LateCopyNotCounted = "late-copy-not-counted",
    /// A new pool gets its name before its bytes are on the disk.
    NewPoolNotSynced = "new-pool-not-synced",
    /// A new pool's directory is not synced.
    DirectoryNotSynced = "directory-not-synced",
    /// On a file, a sync writes its mark and no more.
    SyncLeftOut = "sync-left-out",
    /// On a file, the newest sync mark counts whether what it speaks of is there or not.
    MarkUnverified = "mark-unverified",
    /// On a file, recovery takes a power cut for the death of a process.
    BootIgnored = "boot-ignored",
    /// On a file, recovery does not look at when a segment was opened.
    OpenedEpochIgnored = "opened-epoch-ignored",
    /// On a file, an emptied segment is freed without a sync.
    FreedBeforeSync = "freed-before-sync",
    /// On a file, an update of the superblock does not wait for a sync of the log.
    SuperblockAheadOfLog = "superblock-ahead-of-log",
    /// On a file, a superblock copy is written while the other is not on the disk yet.
    SuperblockNotSynced = "superblock-not-synced",
    /// On a file, the opening is recorded before what is behind the cut is taken away.
    OpeningBeforeTrim = "opening-before-trim",
    /// A range that was cut out of a sorted set is there again after recovery.
    CutsForgotten = "cuts-forgotten",
    /// Members of a range that is cut out of a sorted set get no tombstone though older records of them are in the pool.
    CutWithoutTombstones = "cut-without-tombstones",
    /// Whole steps that new labels of a list pass over get no tombstones.
    PassedOverNotBuried = "passed-over-not-buried",
    /// Recovery leaves packed collections out.
    PackedForgotten = "packed-forgotten",
    /// A packed collection that outgrows its record is deleted in a batch of its own before its elements are written.
    OutgrownSplit = "outgrown-split",
}

#[cfg(feature = "mutants")]
static ACTIVE: AtomicU8 = AtomicU8::new(u8::MAX);

/// Switches a defect on, for the rest of the process.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Mutant) {
    ACTIVE.store(mutant as u8, Ordering::Relaxed);
}

/// Whether the engine has this defect.
#[inline(always)]
pub fn active(mutant: Mutant) -> bool {
    #[cfg(feature = "mutants")]
    return ACTIVE.load(Ordering::Relaxed) == mutant as u8;
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        false
    }
}
