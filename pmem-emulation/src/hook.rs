//! What a region reports, and to whom.
//!
//! Every operation that changes or reads the region's bytes comes through one method of [`Hook`], with the place
//! in the source that asked for it. The methods that change something are given `apply`, which carries the change
//! out: a hook calls it exactly once, at the moment it chooses. A recorder calls it under its own lock, so that
//! the recorded order is the order in which memory changed; a latency model calls it and then waits.
//!
//! All offsets and lengths are in bytes and lie inside the region: the region checks before it reports.

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

/// A part of the region that the medium cannot give back: poison, an uncorrectable error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaError {
    /// Byte offset of the first damaged line that was asked for.
    pub at: u64,
    /// Bytes that are damaged from there on, a multiple of the line size.
    pub len: u64,
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the medium reports {} damaged bytes at offset {:#x}", self.len, self.at)
    }
}

impl std::error::Error for MediaError {}

/// What the region's user says about its own progress. Numbers are the user's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// This thread starts operation `.0`; what it writes until the `Ack` belongs to it.
    Begin(u64),
    /// Operation `.0` is answered: from here on a crash may not lose it.
    Ack(u64),
    /// Operation `.0` is given up: nothing is promised about what it wrote.
    Abandon(u64),
    /// What this thread did so far is handed to whoever takes over `.0` (a release store). The number is that of a
    /// channel and is used again and again: each hand-over replaces the one before.
    HandOver(u64),
    /// What was handed over as `.0` happened before what this thread does next (an acquire load).
    TakeOver(u64),
    /// Recovery has finished; what follows is ordinary operation.
    RecoveryDone,
}

/// The region's bytes as they are in memory now.
pub trait Mapping {
    /// All of the region. No thread may be writing to it while the slice is in use.
    fn bytes(&self) -> &[u8];
}

/// Where an operation comes from.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The place in the source that called the region.
    pub site: &'static Location<'static>,
    /// The region itself.
    pub mapping: &'a dyn Mapping,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.site)
    }
}

/// Something that watches, delays or damages a region. Every method has a default that does nothing but `apply`.
pub trait Hook: Send + Sync {
    /// The region is mapped and holds `mapping.bytes()`. Called once, before any other method.
    fn attach(&self, mapping: &dyn Mapping) {
        let _ = mapping;
    }

    /// One atomic store of the 8-byte unit at `at`; `bytes` as they lie in memory.
    fn store(&self, at: u64, bytes: [u8; 8], call: Call<'_>, apply: &mut dyn FnMut()) {
        let _ = (at, bytes, call);
        apply();
    }

    /// Plain stores of any width and order.
    fn copy(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        let _ = (at, bytes, call);
        apply();
    }

    /// Non-temporal stores to whole cache lines.
    fn copy_nt(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        let _ = (at, bytes, call);
        apply();
    }

    /// Write-back of every line that `at..at + len` touches; `len` is not 0.
    fn flush(&self, at: u64, len: u64, call: Call<'_>, apply: &mut dyn FnMut()) {
        let _ = (at, len, call);
        apply();
    }

    /// A store fence.
    fn fence(&self, call: Call<'_>, apply: &mut dyn FnMut()) {
        let _ = call;
        apply();
    }

    /// Everything written so far is handed to the disk beneath a file, and waited for. `apply` says whether that succeeded; a
    /// hook may fail in its place.
    ///
    /// # Errors
    /// What the caller is to be told of the disk.
    fn sync(&self, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let _ = call;
        apply()
    }

    /// The region gets longer: `len` bytes, those that come to it zeros or what the file held behind its end. `apply` says whether that
    /// succeeded, and the length is durable then; the bytes are in `call.mapping` from then on. Addresses stay what they were.
    ///
    /// # Errors
    /// Why it stays as it was.
    fn grow(&self, len: u64, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let _ = (len, call);
        apply()
    }

    /// The system is about to be asked for something: `open`, `mmap`, `fallocate`, `fsync`, `rename` and the like. Asked for before the region is
    /// attached, too.
    ///
    /// # Errors
    /// What the caller gets in the place of the system's answer; the system is not asked then.
    fn system_call(&self, name: &'static str) -> io::Result<()> {
        let _ = name;
        Ok(())
    }

    /// A read of `at..at + len`, about to happen.
    ///
    /// # Errors
    /// When the medium cannot give these bytes back; the caller then gets the error in their place.
    fn read(&self, at: u64, len: u64, call: Call<'_>) -> Result<(), MediaError> {
        let _ = (at, len, call);
        Ok(())
    }

    /// The user reached a point of its own.
    fn note(&self, note: Note, call: Call<'_>) {
        let _ = (note, call);
    }
}

/// Two hooks on one region: `.0` is the outer one and sees each operation first.
pub struct Both(
    /// The outer hook.
    pub Arc<dyn Hook>,
    /// The inner hook, which sees an operation when the outer one applies it.
    pub Arc<dyn Hook>,
);

impl Hook for Both {
    fn attach(&self, mapping: &dyn Mapping) {
        self.0.attach(mapping);
        self.1.attach(mapping);
    }

    fn store(&self, at: u64, bytes: [u8; 8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.0.store(at, bytes, call, &mut || self.1.store(at, bytes, call, apply));
    }

    fn copy(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.0.copy(at, bytes, call, &mut || self.1.copy(at, bytes, call, apply));
    }

    fn copy_nt(&self, at: u64, bytes: &[u8], call: Call<'_>, apply: &mut dyn FnMut()) {
        self.0.copy_nt(at, bytes, call, &mut || self.1.copy_nt(at, bytes, call, apply));
    }

    fn flush(&self, at: u64, len: u64, call: Call<'_>, apply: &mut dyn FnMut()) {
        self.0.flush(at, len, call, &mut || self.1.flush(at, len, call, apply));
    }

    fn fence(&self, call: Call<'_>, apply: &mut dyn FnMut()) {
        self.0.fence(call, &mut || self.1.fence(call, apply));
    }

    fn sync(&self, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.0.sync(call, &mut || self.1.sync(call, apply))
    }

    fn grow(&self, len: u64, call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.0.grow(len, call, &mut || self.1.grow(len, call, apply))
    }

    fn read(&self, at: u64, len: u64, call: Call<'_>) -> Result<(), MediaError> {
        self.0.read(at, len, call)?;
        self.1.read(at, len, call)
    }

    fn note(&self, note: Note, call: Call<'_>) {
        self.0.note(note, call);
        self.1.note(note, call);
    }
}
