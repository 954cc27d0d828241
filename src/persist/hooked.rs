//! The long way of each operation: the checks that the short way fails, and the report to the hook.
//!
//! Kept out of line, so that the short way stays a comparison and the operation itself.

use std::io;
use std::panic::Location;
use std::sync::Arc;

use pmem_emulation::{Call, Hook, Mapping, MediaError, Note};

use super::access::{Piece, pieces};
use super::region::Region;
use crate::base::mutant::{self, Mutant};

type Site = &'static Location<'static>;

/// The region as its hook may see it.
struct WholeRegion<'a>(&'a Region);

impl Mapping for WholeRegion<'_> {
    fn bytes(&self) -> &[u8] {
        self.0.raw_read(0, self.0.len())
    }
}

impl Region {
    pub(super) fn attach_hook(&self) {
        if let Some(hook) = &self.hook {
            hook.attach(&WholeRegion(self));
        }
    }

    /// Calls the hook with where the call comes from, or carries on without one.
    fn report<R>(&self, site: Site, with: impl FnOnce(&dyn Hook, Call<'_>) -> R, without: impl FnOnce() -> R) -> R {
        match &self.hook {
            Some(hook) => with(Arc::as_ref(hook), Call { site, mapping: &WholeRegion(self) }),
            None => without(),
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn hooked_store(&self, at: u64, value: u64, site: Site) {
        self.check_write(at, 8);
        let apply = || self.raw_store(at, value);
        self.report(site, |hook, call| hook.store(at, value.to_le_bytes(), call, &mut { apply }), apply);
    }

    #[cold]
    #[track_caller]
    pub(super) fn hooked_copy(&self, at: u64, bytes: &[u8], site: Site) {
        self.check_write(at, bytes.len() as u64);
        if !bytes.is_empty() {
            let apply = || self.raw_copy(at, bytes);
            self.report(site, |hook, call| hook.copy(at, bytes, call, &mut { apply }), apply);
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn hooked_copy_nt(&self, at: u64, bytes: &[u8], site: Site) {
        self.check_write(at, bytes.len() as u64);
        for piece in pieces(at, bytes) {
            match piece {
                Piece::Lines(at, bytes) => {
                    let apply = || self.raw_copy_nt(at, bytes);
                    self.report(site, |hook, call| hook.copy_nt(at, bytes, call, &mut { apply }), apply);
                }
                Piece::Part(at, bytes) => {
                    self.hooked_copy(at, bytes, site);
                    self.hooked_flush(at, bytes.len() as u64, site);
                }
            }
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn hooked_flush(&self, at: u64, len: u64, site: Site) {
        self.check_write(at, len);
        if len > 0 {
            let apply = || self.raw_flush(at, len);
            self.report(site, |hook, call| hook.flush(at, len, call, &mut { apply }), apply);
        }
    }

    #[cold]
    pub(super) fn hooked_fence(&self, site: Site) {
        let apply = || self.raw_fence();
        self.report(site, |hook, call| hook.fence(call, &mut { apply }), apply);
    }

    pub(super) fn hooked_sync(&self, site: Site) -> io::Result<()> {
        let apply = || self.raw_sync();
        self.report(site, |hook, call| hook.sync(call, &mut { apply }), apply)
    }

    #[cold]
    pub(super) fn hooked_grow(&self, from: u64, to: u64, site: Site) -> io::Result<()> {
        let apply = || self.raw_grow(from, to);
        self.report(site, |hook, call| hook.grow(to, call, &mut { apply }), apply)
    }

    #[cold]
    #[track_caller]
    pub(super) fn hooked_read(&self, at: u64, len: u64, site: Site) -> Result<&[u8], MediaError> {
        self.check_range(at, len);
        if len > 0 {
            let readable = self.report(site, |hook, call| hook.read(at, len, call), || Ok(()));
            if !mutant::active(Mutant::MediaErrorIgnored) {
                readable?;
            }
        }
        Ok(self.raw_read(at, len))
    }

    #[cold]
    pub(super) fn hooked_note(&self, note: Note, site: Site) {
        self.report(site, |hook, call| hook.note(note, call), || ());
    }
}
