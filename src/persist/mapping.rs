//! Address space: a file or anonymous memory, whole; from 2 MiB on at a boundary of 2 MiB.
//!
//! The boundary lets the kernel map huge pages: on DAX the file offset and the address must agree modulo 2 MiB.
//! Anonymous regions below that size come from the heap, since tests make and drop thousands of them; so do all under
//! Miri.
//!
//! Invariants: 1. `base..base + len` stays mapped as long as the [`Mapping`] lives, and nothing else is unmapped;
//! 2. MAP_SHARED together with MAP_SYNC is never asked for: tmpfs ignores the flag without saying so.
#![expect(unsafe_code, reason = "mmap")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io;
use std::ptr::NonNull;

use pmem_emulation::MediaError;

use super::poison::{self, Watch};

/// The boundary that mappings start on, that of a huge page.
const ALIGN_BYTES: usize = 2 << 20;

/// The boundary that regions from the heap start on, that of a page.
const HEAP_ALIGN_BYTES: usize = 4096;

/// A mapped range, given back when dropped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    from_heap: bool,
    /// Set for files: what becomes of a SIGBUS in them. Ends before the mapping does.
    watch: Option<Watch>,
    /// Bytes that the file had when it was mapped; behind them are zeros of our own.
    file_len: usize,
}

// SAFETY: the mapping is memory, owned by the value and tied to no thread.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out an address and a length only; those who use the address uphold the rules of access.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// `len` bytes of zeros, at least 1, that live and die with the process.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        if len < ALIGN_BYTES || cfg!(miri) { Self::of_heap(len) } else { system::anonymous(len) }
    }

    /// The first `len` bytes of `file`, shared. With `sync` the kernel must promise MAP_SYNC, or refuse. A SIGBUS in it is handled as in a
    /// scan until [`serve`](Self::serve) is called.
    pub(super) fn of_file(file: &File, len: usize, writable: bool, sync: bool) -> io::Result<Self> {
        system::of_file(file, len, writable, sync)
    }

    /// As [`of_file`](Self::of_file), for reading, of a file that has only `file_len` of the `len` bytes: the rest reads as zeros and is
    /// unreadable from the start.
    pub(super) fn of_short_file(file: &File, file_len: usize, len: usize) -> io::Result<Self> {
        system::of_short_file(file, file_len, len)
    }

    /// From here on an unreadable place ends the process, with a message.
    pub(super) fn serve(&self) {
        if let Some(watch) = &self.watch {
            watch.serve();
        }
    }

    /// The stretches of `at..at + len` that were found unreadable when something was read from them.
    pub(super) fn unreadable(&self, at: u64, len: u64) -> Vec<MediaError> {
        let pages = self.watch.as_ref().map_or_else(Vec::new, Watch::unreadable);
        let mut found = poison::stretches(&pages, at, len);
        let (missing, end) = (at.max(self.file_len as u64), at.saturating_add(len));
        if missing < end {
            found.push(MediaError { at: missing, len: end - missing });
        }
        found
    }

    /// Has the pages that hold `at..at + len`, a range inside, ready for writing, as far as the kernel can.
    pub(super) fn populate(&self, at: usize, len: usize) {
        if !self.from_heap {
            system::populate(self, at, len);
        }
    }

    /// Writes every dirty page of a mapped file to its medium and waits for it.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.from_heap { Ok(()) } else { system::sync(self) }
    }

    fn of_heap(len: usize) -> io::Result<Self> {
        assert!(len > 0, "the region checks that it has a length");
        // SAFETY: the layout has a length.
        let base = unsafe { alloc_zeroed(heap_layout(len)?) };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, from_heap: true, watch: None, file_len: len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The address may be somebody else's as soon as it is unmapped.
        drop(self.watch.take());
        if self.from_heap {
            let layout = heap_layout(self.len).expect("it was good for the allocation");
            // SAFETY: allocated in `of_heap` with this layout, and not used after.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        } else {
            system::unmap(self.base.as_ptr(), self.len);
        }
    }
}

fn heap_layout(len: usize) -> io::Result<Layout> {
    Layout::from_size_align(len, HEAP_ALIGN_BYTES).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

#[cfg(not(miri))]
mod system {
    use std::os::fd::{AsRawFd, RawFd};
    use std::ptr;

    use super::*;

    pub(super) fn of_file(file: &File, len: usize, writable: bool, sync: bool) -> io::Result<Mapping> {
        let flags = if sync { libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC } else { libc::MAP_SHARED };
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        probe(protection, flags, file.as_raw_fd())?;
        let mapping = map(len, protection, flags, file.as_raw_fd())?;
        Ok(watched(mapping))
    }

    fn watched(mut mapping: Mapping) -> Mapping {
        let len = mapping.len.next_multiple_of(page_bytes());
        mapping.watch = Watch::new(mapping.base.as_ptr(), len, page_bytes());
        mapping
    }

    pub(super) fn of_short_file(file: &File, file_len: usize, len: usize) -> io::Result<Mapping> {
        let mut mapping = map(len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())?;
        mapping.file_len = file_len;
        let there = file_len.next_multiple_of(page_bytes());
        if there < len {
            let behind = mapping.base.as_ptr().wrapping_add(there).cast();
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
            // SAFETY: replaces whole pages inside our own mapping, which nobody has seen yet.
            let mapped = unsafe { libc::mmap(behind, len - there, libc::PROT_READ, flags, -1, 0) };
            if mapped == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(watched(mapping))
    }

    /// Whether the kernel maps this file in this way at all: asked where a refusal (MAP_SYNC without DAX is an ordinary one) costs no reservation.
    fn probe(protection: i32, flags: i32, file: RawFd) -> io::Result<()> {
        let len = page_bytes();
        // SAFETY: asks for fresh address space; touches nothing that exists.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        unmap(mapped.cast(), len);
        Ok(())
    }

    pub(super) fn anonymous(len: usize) -> io::Result<Mapping> {
        map(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    fn map(len: usize, protection: i32, flags: i32, file: RawFd) -> io::Result<Mapping> {
        let mapping = reserve(len)?;
        let base = mapping.base.as_ptr().cast();
        // SAFETY: MAP_FIXED replaces exactly the range that `reserve` took for this value (invariant 1).
        let mapped = unsafe { libc::mmap(base, len, protection, flags | libc::MAP_FIXED, file, 0) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // The kernel may have taken the reservation away before it refused. The range may be another thread's by now, and giving it
            // back would unmap that: rather lose the address space.
            std::mem::forget(mapping);
            return Err(error);
        }
        // Huge pages save address-translation misses. A hint: file systems that have none say so, and that is fine.
        // SAFETY: advice about our own mapping, which changes no byte.
        unsafe { libc::madvise(base, len, libc::MADV_HUGEPAGE) };
        Ok(mapping)
    }

    /// Takes `len` bytes of aligned address space with nothing behind them.
    fn reserve(len: usize) -> io::Result<Mapping> {
        let padded = len.checked_add(ALIGN_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: asks for fresh address space; touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), padded, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        let skip = start.align_offset(ALIGN_BYTES);
        let kept = len.next_multiple_of(page_bytes());
        let base = start.wrapping_add(skip);
        unmap(start, skip);
        unmap(base.wrapping_add(kept), padded.next_multiple_of(page_bytes()) - skip - kept);
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, len, from_heap: false, watch: None, file_len: len })
    }

    pub(super) fn populate(mapping: &Mapping, at: usize, len: usize) {
        let start = at - at % page_bytes();
        // SAFETY: the range is inside the mapping, as the caller checked; populating changes no byte.
        unsafe {
            let start_address = mapping.base.as_ptr().add(start).cast();
            libc::madvise(start_address, at + len - start, libc::MADV_POPULATE_WRITE);
        }
    }

    pub(super) fn sync(mapping: &Mapping) -> io::Result<()> {
        // SAFETY: concerns this mapping only and changes no byte.
        let result = unsafe { libc::msync(mapping.base.as_ptr().cast(), mapping.len, libc::MS_SYNC) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Gives address space back, in whole pages. It belongs to the caller alone.
    pub(super) fn unmap(start: *mut u8, len: usize) {
        if len > 0 {
            // SAFETY: called on what `reserve` took, and only on parts that nobody uses (any more).
            unsafe { libc::munmap(start.cast(), len) };
        }
    }

    fn page_bytes() -> usize {
        // SAFETY: reads a constant of the system.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).expect("a Linux system knows its page size")
    }
}

/// Miri maps no files; all that is left is the heap.
#[cfg(miri)]
mod system {
    use super::*;

    pub(super) fn of_file(_file: &File, _len: usize, _writable: bool, _sync: bool) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn of_short_file(_file: &File, _file_len: usize, _len: usize) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::of_heap(len)
    }

    pub(super) fn populate(_mapping: &Mapping, _at: usize, _len: usize) {}

    pub(super) fn sync(_mapping: &Mapping) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn unmap(_start: *mut u8, _len: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_aligned_and_zero() {
        for len in [1, 4096, 4097, ALIGN_BYTES - 1, ALIGN_BYTES, 3 << 20] {
            let mapping = Mapping::anonymous(len).unwrap();
            // SAFETY: the mapping lives, and nobody writes to it.
            let bytes = unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), mapping.len()) };
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().all(|&byte| byte == 0));
            let boundary = if len < ALIGN_BYTES || cfg!(miri) { HEAP_ALIGN_BYTES } else { ALIGN_BYTES };
            assert_eq!(bytes.as_ptr().align_offset(boundary), 0);
        }
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        assert!(Mapping::anonymous(usize::MAX - 4096).is_err());
    }
}
