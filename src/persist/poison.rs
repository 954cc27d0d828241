//! SIGBUS on a mapped pool: places that the medium cannot read (poison, an I/O error of the disk), or a file that was cut short.
//!
//! The kernel answers a load from such a place with SIGBUS. One handler, installed with the first pool file that is mapped, looks whether the
//! address lies in one:
//!
//! - While a pool is being **scanned** (recovery, `pool check`, `pool salvage`), the page is replaced by zeros, for this process only, and noted.
//!   The load goes on with zeros, which no checksum takes for data; whoever scans asks [`Watch::unreadable`] afterwards, and reports the page
//!   as damage.
//! - While it is being **served** nothing that follows could be right: the process says which byte it was and aborts.
//!
//! Any other SIGBUS gets what it would have got without us. Ordinary accesses pay nothing.
//!
//! # Invariants
//!
//! 1. The handler does only what is safe in a signal handler: atomics, `mmap`, `sigaction`, `raise`, `write`, `abort`. It allocates nothing and takes no lock.
//! 2. Slots are static and never freed, so that the handler may look at any of them at any time. A slot's range is set before its base, and a
//!    slot whose base is [`FREE`] or [`CLAIMED`] matches no address. A range only gets longer while its base is set.
//! 3. A page is replaced only in a mapping that is being scanned, by one that cannot be written: the zeros hide no write.
#![expect(unsafe_code, reason = "a signal handler")]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pmem_emulation::MediaError;

/// Pool files that can be watched at once in a process. One more is mapped all the same, and a SIGBUS in it ends the process unexplained.
const SLOTS_MAX: usize = 64;

/// Unreadable pages that are noted of one mapping; at one more the process stops.
const PAGES_MAX: usize = 1024;

/// Base of a slot that nobody uses.
const FREE: usize = 0;
/// Base of a slot that is being set up or given back.
const CLAIMED: usize = 1;

struct Slot {
    base: AtomicUsize,
    len: AtomicUsize,
    /// What can be replaced on its own: a page, or what the mapping is made of where that is more.
    page_bytes: AtomicUsize,
    serving: AtomicBool,
    /// How many of `pages` are taken.
    count: AtomicUsize,
    /// Offsets of unreadable pages plus 1, in the order they were met; 0 while being written.
    pages: [AtomicUsize; PAGES_MAX],
}

impl Slot {
    const fn new() -> Self {
        Self {
            base: AtomicUsize::new(FREE),
            len: AtomicUsize::new(0),
            page_bytes: AtomicUsize::new(0),
            serving: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            pages: [const { AtomicUsize::new(0) }; PAGES_MAX],
        }
    }

    /// How far into the mapping `address` lies.
    fn offset_of(&self, address: usize) -> Option<usize> {
        // Acquire: pairs with the Release in `watch`, so the length is that of this mapping.
        let base = self.base.load(Ordering::Acquire);
        let offset = address.checked_sub(base)?;
        (base > CLAIMED && offset < self.len.load(Ordering::Relaxed)).then_some(offset)
    }
}

static SLOTS: [Slot; SLOTS_MAX] = [const { Slot::new() }; SLOTS_MAX];

/// What handled SIGBUS before; set before our handler is.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A mapping that the handler knows of, until this is dropped.
pub(super) struct Watch(&'static Slot);

impl Watch {
    /// Has SIGBUS in `len` bytes from `base` on, whole pages that stay mapped until the result is dropped, handled as in a scan. `None` when too
    /// many pools are mapped.
    pub(super) fn new(base: *const u8, len: usize, page_bytes: usize) -> Option<Self> {
        install().ok()?;
        // Acquire: what was done to a slot that was given back is over.
        let claim =
            |slot: &&Slot| slot.base.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let slot = SLOTS.iter().find(claim)?;
        slot.len.store(len, Ordering::Relaxed);
        slot.page_bytes.store(page_bytes, Ordering::Relaxed);
        slot.serving.store(false, Ordering::Relaxed);
        let noted = slot.count.swap(0, Ordering::Relaxed).min(PAGES_MAX);
        slot.pages[..noted].iter().for_each(|page| page.store(0, Ordering::Relaxed));
        // Pairs with the Acquire in `offset_of`.
        slot.base.store(base as usize, Ordering::Release);
        Some(Self(slot))
    }

    /// The mapping has `len` bytes by now, whole pages, before anybody is told of the new ones.
    pub(super) fn grow(&self, len: usize) {
        self.0.len.store(len, Ordering::Relaxed);
    }

    /// From here on an unreadable place ends the process.
    pub(super) fn serve(&self) {
        self.0.serving.store(true, Ordering::Relaxed);
    }

    /// The stretches of `at..at + len` that lie in pages that were found unreadable.
    pub(super) fn unreadable(&self, at: u64, len: u64) -> Vec<MediaError> {
        stretches(&self.pages(), self.0.page_bytes.load(Ordering::Relaxed) as u64, at, len)
    }

    /// Offsets of the pages that were found unreadable, ascending.
    fn pages(&self) -> Vec<usize> {
        // Acquire: pairs with the Release in `note`; what another thread has met before it handed its results over is seen.
        let noted = self.0.count.load(Ordering::Acquire).min(PAGES_MAX);
        let pages = self.0.pages[..noted].iter().map(|page| page.load(Ordering::Acquire));
        let mut pages: Vec<usize> = pages.filter_map(|page| page.checked_sub(1)).collect();
        pages.sort_unstable();
        pages.dedup();
        pages
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.base.store(FREE, Ordering::Release);
    }
}

/// The stretches of `at..at + len` that lie in these pages.
fn stretches(pages: &[usize], page_bytes: u64, at: u64, len: u64) -> Vec<MediaError> {
    let mut found: Vec<MediaError> = Vec::new();
    for &page in pages {
        let (start, end) = ((page as u64).max(at), (page as u64 + page_bytes).min(at.saturating_add(len)));
        match found.last_mut() {
            _ if start >= end => {}
            Some(last) if last.at + last.len == start => last.len += end - start,
            _ => found.push(MediaError { at: start, len: end - start }),
        }
    }
    found
}

/// Installs the handler, once.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<c_int> = OnceLock::new();
    let code = *INSTALLED.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: asks for the present action, into room of its size.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) } != 0 {
            return -1;
        }
        // SAFETY: all-zero bytes are a valid sigaction, and the call has filled it.
        let _ = BEFORE.set(unsafe { before.assume_init() });
        // SAFETY: all-zero bytes are a valid sigaction: no handler, no flags, an empty mask.
        let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        action.sa_sigaction = on_sigbus as *const () as usize;
        // On the stack that the runtime has set up for signals, where it has.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler keeps to invariant 1.
        unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) }
    });
    if code == 0 { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

extern "C" fn on_sigbus(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo. Codes above 0 are the kernel's own, and those of SIGBUS come with an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code > 0 {
        for slot in &SLOTS {
            let Some(offset) = slot.offset_of(address) else { continue };
            if slot.serving.load(Ordering::Relaxed) || !replace(slot, address, offset) {
                stop(offset);
            }
            return;
        }
    }
    // Not ours: as it was before us. A fault comes again when we return; a signal that somebody sent has to be sent again.
    if let Some(before) = BEFORE.get() {
        // SAFETY: installs what was installed before.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
    if code <= 0 {
        // SAFETY: sends this thread a signal, which arrives when the handler returns.
        unsafe { libc::raise(libc::SIGBUS) };
    }
}

/// Puts zeros in the place of an unreadable page and notes it. `false` where that cannot be done.
fn replace(slot: &Slot, address: usize, offset: usize) -> bool {
    let page_bytes = slot.page_bytes.load(Ordering::Relaxed);
    let (page, within) = (address - address % page_bytes, offset - offset % page_bytes);
    let number = slot.count.fetch_add(1, Ordering::AcqRel);
    if number >= PAGES_MAX {
        return false;
    }
    slot.pages[number].store(within + 1, Ordering::Release);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: errno belongs to the interrupted code and is put back below.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: replaces one page of a mapping of ours (invariant 3); the faulting load finds zeros there.
    let mapped = unsafe { libc::mmap(page as *mut libc::c_void, page_bytes, libc::PROT_READ, flags, -1, 0) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    mapped != libc::MAP_FAILED
}

/// Says which byte of the pool it was, and aborts.
fn stop(offset: usize) -> ! {
    const HEAD: &[u8] = b"fencepost: the medium cannot read the pool at byte 0x";
    const TAIL: &[u8] = b" (damaged, or the file was cut short); stopping, as any answer might be wrong. \
        Look with `fencepost pool check POOL`, save what is left with `fencepost pool salvage POOL NEW`.\n";
    let mut digits = [0u8; 16];
    let mut start = digits.len();
    let mut rest = offset;
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
        if rest == 0 {
            break;
        }
    }
    for part in [HEAD, &digits[start..], TAIL] {
        // SAFETY: writes bytes that live. What cannot be written is lost: there is nobody left to tell.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_touch_are_one_stretch_and_are_cut_to_what_was_asked_for() {
        let pages = [0, 4096, 12288];
        let found = stretches(&pages, 4096, 64, 1 << 20);
        assert_eq!(found, [MediaError { at: 64, len: 8128 }, MediaError { at: 12288, len: 4096 }]);
        assert_eq!(stretches(&pages, 4096, 8192, 4096), []);
        assert_eq!(stretches(&pages, 4096, 13000, 8), [MediaError { at: 13000, len: 8 }]);
        assert_eq!(stretches(&[2 << 20], 2 << 20, 0, 8 << 20), [MediaError { at: 2 << 20, len: 2 << 20 }]);
    }
}
