//! Address space: a file or anonymous memory, whole, with room behind it to grow into; from 2 MiB on at a boundary of 2 MiB.
//!
//! The boundary lets the kernel map huge pages: on DAX the file offset and the address must agree modulo 2 MiB. Device DAX may insist on more.
//! Anonymous regions below that size come from the heap, since tests make and drop thousands of them; so do all under
//! Miri.
//!
//! Invariants: 1. `base..base + len` stays mapped as long as the [`Mapping`] lives, and nothing else is unmapped but what lies in
//! `base..base + reserved`, which is ours alone and of which the part behind `len` can be neither read nor written; 2. MAP_SHARED together with MAP_SYNC is never asked for: tmpfs ignores the flag without saying so.
#![expect(unsafe_code, reason = "mmap")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::sync::{Mutex, PoisonError};
use pmem_emulation::MediaError;

use super::medium::Medium;
use super::poison::Watch;

/// The boundary that mappings start on, that of a huge page.
const ALIGN_BYTES: usize = 2 << 20;

/// The boundary that regions from the heap start on, that of a page.
const HEAP_ALIGN_BYTES: usize = 4096;

/// A mapped range, given back when dropped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: AtomicUsize,
    /// Bytes from `base` on that nobody else can have: all that there is to grow into.
    reserved: AtomicUsize,
    /// Taken by who grows it.
    growing: Mutex<()>,
    from_heap: bool,
    /// How it is mapped, for what comes to it later.
    kind: Kind,
    /// Set for files: what becomes of a SIGBUS in them. Ends before the mapping does.
    watch: Option<Watch>,
    /// Where the file ended that was mapped for looking at though it had been cut short; behind it are zeros of our own.
    cut_at: Option<usize>,
}

/// How memory is mapped, in the words of mmap and madvise.
#[derive(Clone, Copy, Default)]
struct Kind {
    protection: i32,
    flags: i32,
    /// What its pages should be like: as large as can be, or (on a disk) small.
    advice: i32,
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
        // Acquire: pairs with the Release in `grow`.
        self.len.load(Ordering::Acquire)
    }

    /// How long it can get.
    pub(super) fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// `len` bytes of zeros, at least 1, that live and die with the process. They can grow to about `reserve` bytes.
    pub(super) fn anonymous(len: usize, reserve: usize) -> io::Result<Self> {
        let most = len.max(reserve);
        if most < ALIGN_BYTES || cfg!(miri) { Self::of_heap(len, most) } else { system::anonymous(len, most) }
    }

    /// The first `len` bytes of `file`, shared, with room to grow to `reserve` bytes, or less where the system grants less. On `Dax` the
    /// kernel must promise MAP_SYNC, or refuse. A SIGBUS in it is handled as in a scan until [`serve`](Self::serve) is called.
    pub(super) fn of_file(file: &File, len: usize, reserve: usize, writable: bool, on: Medium) -> io::Result<Self> {
        system::of_file(file, len, len.max(reserve), writable, on)
    }

    /// As [`of_file`](Self::of_file), with MAP_SYNC, of a character device of `len` bytes that wants its mappings to start and end at multiples of
    /// `align`.
    pub(super) fn of_device(device: &File, len: usize, align: usize, writable: bool) -> io::Result<Self> {
        system::of_device(device, len, align, writable)
    }

    /// Maps `to` bytes in the place of fewer: more of `file`, which has them, or zeros. When that fails it is as it was.
    pub(super) fn grow(&self, file: Option<&File>, to: usize) -> io::Result<()> {
        let _one = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let len = self.len();
        if to <= len {
            return Ok(());
        }
        if to > self.reserved() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if !self.from_heap {
            system::grow(self, file, len, to)?;
        }
        // Pairs with the Acquire in `len`: who learns of the new length finds it mapped and watched.
        self.len.store(to, Ordering::Release);
        Ok(())
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
        let mut found = self.watch.as_ref().map_or_else(Vec::new, |watch| watch.unreadable(at, len));
        if let Some(cut_at) = self.cut_at {
            let (missing, end) = (at.max(cut_at as u64), at.saturating_add(len));
            if missing < end {
                found.push(MediaError { at: missing, len: end - missing });
            }
        }
        found
    }

    /// Has the pages that hold `at..at + len`, a range inside, ready for writing, as far as the kernel can.
    pub(super) fn populate(&self, at: usize, len: usize) {
        if !self.from_heap {
            system::populate(self, at, len);
        }
    }

    /// Writes the dirty pages of `at..at + len`, a range inside a mapped file, to its medium and waits for them and for the file's length.
    /// Has `at..at + len`, a range inside, brought from the disk before it is read, where the kernel would bring page by page.
    pub(super) fn read_ahead(&self, at: usize, len: usize) {
        if !self.from_heap {
            system::read_ahead(self, at, len);
        }
    }

    pub(super) fn sync(&self, at: usize, len: usize) -> io::Result<()> {
        if self.from_heap { Ok(()) } else { system::sync(self, at, len) }
    }

    fn of_heap(len: usize, reserved: usize) -> io::Result<Self> {
        assert!(len > 0, "the region checks that it has a length");
        // SAFETY: the layout has a length.
        let base = unsafe { alloc_zeroed(heap_layout(reserved)?) };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self::new(base, len, reserved, true))
    }

    fn new(base: NonNull<u8>, len: usize, reserved: usize, from_heap: bool) -> Self {
        Self {
            base,
            len: AtomicUsize::new(len),
            reserved: AtomicUsize::new(reserved),
            growing: Mutex::new(()),
            from_heap,
            kind: Kind::default(),
            watch: None,
            cut_at: None,
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The address may be somebody else's as soon as it is unmapped.
        drop(self.watch.take());
        if self.from_heap {
            let layout = heap_layout(self.reserved()).expect("it was good for the allocation");
            // SAFETY: allocated in `of_heap` with this layout, and not used after.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        } else {
            system::unmap(self.base.as_ptr(), self.reserved());
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

    pub(super) fn of_file(file: &File, len: usize, most: usize, writable: bool, on: Medium) -> io::Result<Mapping> {
        let kind = kind_of(writable, on);
        probe(kind, file.as_raw_fd(), 0, page_bytes())?;
        let mapping = map((len, most), ALIGN_BYTES, kind, file.as_raw_fd())?;
        Ok(watched(mapping, page_bytes()))
    }

    pub(super) fn of_device(device: &File, len: usize, align: usize, writable: bool) -> io::Result<Mapping> {
        let mapping = map((len, len), align.max(ALIGN_BYTES), kind_of(writable, Medium::Dax), device.as_raw_fd())?;
        Ok(watched(mapping, align))
    }

    fn kind_of(writable: bool, on: Medium) -> Kind {
        Kind {
            protection: if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ },
            flags: if on == Medium::Dax { libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC } else { libc::MAP_SHARED },
            // Huge pages save address-translation misses. But the page cache writes a page that was stored to as a whole: with huge ones each
            // sync would take megabytes to the disk for a line. Small is also what is read at once, unless more was asked for.
            advice: if on == Medium::File { libc::MADV_RANDOM } else { libc::MADV_HUGEPAGE },
        }
    }

    /// Where something cannot be read, a whole unit of the mapping gives way to zeros.
    fn watched(mut mapping: Mapping, unit: usize) -> Mapping {
        let len = mapping.len().next_multiple_of(unit);
        mapping.watch = Watch::new(mapping.base.as_ptr(), len, unit);
        mapping
    }

    pub(super) fn of_short_file(file: &File, file_len: usize, len: usize) -> io::Result<Mapping> {
        let mut mapping = map((len, len), ALIGN_BYTES, kind_of(false, Medium::File), file.as_raw_fd())?;
        mapping.cut_at = Some(file_len);
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
        Ok(watched(mapping, page_bytes()))
    }

    /// Whether the kernel maps this in this way at all: asked where a refusal (MAP_SYNC without DAX is an ordinary one) costs no reservation.
    fn probe(Kind { protection, flags, .. }: Kind, file: RawFd, at: usize, len: usize) -> io::Result<()> {
        let at = file_offset(at)?;
        // SAFETY: asks for fresh address space; touches nothing that exists.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file, at) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        unmap(mapped.cast(), len);
        Ok(())
    }

    pub(super) fn anonymous(len: usize, most: usize) -> io::Result<Mapping> {
        let kind = Kind { flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, ..kind_of(true, Medium::Dram) };
        map((len, most), ALIGN_BYTES, kind, -1)
    }

    fn map((len, most): (usize, usize), boundary: usize, kind: Kind, file: RawFd) -> io::Result<Mapping> {
        let mut mapping = reserve(len, most, boundary)?;
        mapping.kind = kind;
        map_part(&mapping, 0, len, file)?;
        Ok(mapping)
    }

    /// Maps bytes `from..to` of a mapping, from a page boundary on, in the place of their reservation.
    fn map_part(mapping: &Mapping, from: usize, to: usize, file: RawFd) -> io::Result<()> {
        let Kind { protection, flags, advice } = mapping.kind;
        let at = file_offset(if file < 0 { 0 } else { from })?;
        let start = mapping.base.as_ptr().wrapping_add(from);
        // SAFETY: MAP_FIXED replaces a part of what is reserved for this mapping and not in use yet (invariant 1).
        let mapped = unsafe { libc::mmap(start.cast(), to - from, protection, flags | libc::MAP_FIXED, file, at) };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // The kernel may have taken the reservation away before it refused. The range may be another thread's by now, and giving it
            // back would unmap that: rather lose the address space. What is behind it is still ours, and of no use.
            let (behind, reserved) = (to.next_multiple_of(page_bytes()), mapping.reserved());
            mapping.reserved.store(from, Ordering::Relaxed);
            unmap(mapping.base.as_ptr().wrapping_add(behind), reserved - behind);
            return Err(error);
        }
        // A hint: file systems that have no huge pages say so, and that is fine.
        // SAFETY: advice about our own mapping, which changes no byte.
        unsafe { libc::madvise(start.cast(), to - from, advice) };
        Ok(())
    }

    pub(super) fn grow(mapping: &Mapping, file: Option<&File>, len: usize, to: usize) -> io::Result<()> {
        // The rest of a last page that was not full is mapped already.
        let (from, end) = (len.next_multiple_of(page_bytes()), to.next_multiple_of(page_bytes()));
        if from < end {
            let file = file.map_or(-1, AsRawFd::as_raw_fd);
            let (at, asked) = if file < 0 { (0, end - from) } else { (from, page_bytes()) };
            probe(mapping.kind, file, at, asked)?;
            map_part(mapping, from, end, file)?;
            if let Some(watch) = &mapping.watch {
                watch.grow(end);
            }
        }
        Ok(())
    }

    fn file_offset(at: usize) -> io::Result<libc::off_t> {
        libc::off_t::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
    }

    /// Reserves `most` bytes for a mapping of `len`. Where the system refuses so much it is half, or a quarter, ..., but `len` at least; and of
    /// what it then grants one more half is left to others.
    fn reserve(len: usize, most: usize, boundary: usize) -> io::Result<Mapping> {
        let mut wanted = most;
        // Ends: `wanted` comes down to `len`.
        let base = loop {
            match reserve_exactly(wanted, boundary) {
                Ok(base) => break base,
                Err(error) if wanted == len => return Err(error),
                Err(_) => wanted = len.max(wanted / 2),
            }
        };
        let in_pages = |bytes: usize| bytes.next_multiple_of(page_bytes());
        let kept = in_pages(if wanted < most { len.max(wanted / 2) } else { wanted });
        unmap(base.as_ptr().wrapping_add(kept), in_pages(wanted) - kept);
        Ok(Mapping::new(base, len, kept, false))
    }

    /// Takes `len` bytes of address space from a boundary on, with nothing behind them.
    fn reserve_exactly(len: usize, boundary: usize) -> io::Result<NonNull<u8>> {
        let padded = len.checked_add(boundary).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: asks for fresh address space; touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), padded, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        let skip = start.align_offset(boundary);
        let kept = len.next_multiple_of(page_bytes());
        let base = start.wrapping_add(skip);
        unmap(start, skip);
        unmap(base.wrapping_add(kept), padded.next_multiple_of(page_bytes()) - skip - kept);
        NonNull::new(base).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn populate(mapping: &Mapping, at: usize, len: usize) {
        advise(mapping, at, len, libc::MADV_POPULATE_WRITE);
    }

    pub(super) fn read_ahead(mapping: &Mapping, at: usize, len: usize) {
        if mapping.kind.advice == libc::MADV_RANDOM {
            advise(mapping, at, len, libc::MADV_WILLNEED);
        }
    }

    /// For advice that changes no byte.
    fn advise(mapping: &Mapping, at: usize, len: usize, advice: i32) {
        let start = at - at % page_bytes();
        // SAFETY: the range is inside the mapping, as the caller checked, and no byte of it changes.
        unsafe { libc::madvise(mapping.base.as_ptr().add(start).cast(), at + len - start, advice) };
    }

    pub(super) fn sync(mapping: &Mapping, at: usize, len: usize) -> io::Result<()> {
        let start = at - at % page_bytes();
        // SAFETY: concerns a range inside this mapping, as the caller checked, and changes no byte.
        let result = unsafe {
            let start_address = mapping.base.as_ptr().add(start).cast();
            libc::msync(start_address, at + len - start, libc::MS_SYNC)
        };
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

    pub(super) fn of_file(
        _file: &File,
        _len: usize,
        _most: usize,
        _writable: bool,
        _on: Medium,
    ) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn of_device(_device: &File, _len: usize, _align: usize, _writable: bool) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn of_short_file(_file: &File, _file_len: usize, _len: usize) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn anonymous(len: usize, most: usize) -> io::Result<Mapping> {
        Mapping::of_heap(len, most)
    }

    pub(super) fn grow(_mapping: &Mapping, _file: Option<&File>, _len: usize, _to: usize) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn populate(_mapping: &Mapping, _at: usize, _len: usize) {}

    pub(super) fn read_ahead(_mapping: &Mapping, _at: usize, _len: usize) {}

    pub(super) fn sync(_mapping: &Mapping, _at: usize, _len: usize) -> io::Result<()> {
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
            let mapping = Mapping::anonymous(len, 0).unwrap();
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
        assert!(Mapping::anonymous(usize::MAX - 4096, 0).is_err());
    }
}
