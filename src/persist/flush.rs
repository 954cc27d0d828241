//! The instructions: write-back of a line, fence, non-temporal copy, prefetch; and which one to use here.
//!
//! On x86-64 they are written in assembly, because the compiler has no intrinsic for CLWB and because its
//! non-temporal ones are outside the language's memory model. Elsewhere, and under Miri, a portable twin copies and
//! fences; such a machine never claims a `dax` medium, so nothing relies on a write-back that does not happen.
//!
//! Invariants: 1. pointers come from [`Region`](super::Region), which has checked the range; 2. `clwb` and
//! `clflushopt` are executed only when CPUID says so; 3. `copy_lines_nt` gets a line-aligned destination.
#![expect(unsafe_code, reason = "the flush instructions have no intrinsics")]

use super::error::RegionError;

/// Bytes in a cache line, the unit of flushing.
pub const CACHE_LINE_BYTES: u64 = 64;

/// Which instruction shall write lines back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FlushChoice {
    /// The best that the processor has, where the medium has a use for it.
    #[default]
    Auto,
    /// CLWB, on any medium.
    Clwb,
    /// CLFLUSHOPT, on any medium.
    Clflushopt,
    /// CLFLUSH, on any medium.
    Clflush,
    /// None: the CPU caches are taken to be in the persistence domain (eADR), whatever the platform says.
    None,
}

/// The instruction in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FlushInstruction {
    None,
    Clflush,
    Clflushopt,
    Clwb,
}

impl FlushInstruction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Clflush => "clflush",
            Self::Clflushopt => "clflushopt",
            Self::Clwb => "clwb",
        }
    }

    /// The best one that this processor has.
    pub(super) fn best() -> Self {
        [Self::Clwb, Self::Clflushopt, Self::Clflush]
            .into_iter()
            .find(|instruction| arch::supports(*instruction))
            .unwrap_or(Self::None)
    }

    /// Itself, when this processor has it.
    pub(super) fn required(self) -> Result<Self, RegionError> {
        if arch::supports(self) { Ok(self) } else { Err(RegionError::FlushUnsupported { instruction: self.name() }) }
    }
}

pub(super) use arch::{copy_lines_nt, fence, flush_lines, prefetch};

/// Whether this build can make persistent memory durable at all.
pub(super) const CAN_FLUSH: bool = arch::CAN_FLUSH;

/// How far before `start` its line begins, and how many lines `len` bytes from `start` touch.
#[inline]
#[cfg(any(test, all(target_arch = "x86_64", not(miri))))]
fn lines_touched(start: usize, len: usize) -> (usize, usize) {
    let into_line = start % CACHE_LINE_BYTES as usize;
    // Counted from the start of the line, so that a range which straddles a boundary has both.
    (into_line, (into_line + len).div_ceil(CACHE_LINE_BYTES as usize))
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod arch {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    use super::{CACHE_LINE_BYTES, FlushInstruction, lines_touched};

    pub(super) const CAN_FLUSH: bool = true;

    /// CPUID leaf 7, EBX: CLFLUSHOPT is bit 23, CLWB bit 24. CLFLUSH is leaf 1, EDX bit 19.
    pub(super) fn supports(instruction: FlushInstruction) -> bool {
        let leaf_7 = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
        match instruction {
            FlushInstruction::None => true,
            FlushInstruction::Clflush => __cpuid(1).edx & 1 << 19 != 0,
            FlushInstruction::Clflushopt => leaf_7 & 1 << 23 != 0,
            FlushInstruction::Clwb => leaf_7 & 1 << 24 != 0,
        }
    }

    /// Writes back every line that `len` bytes from `start` touch.
    ///
    /// # Safety
    /// The range is mapped, and the processor has the instruction.
    #[inline]
    pub(in super::super) unsafe fn flush_lines(instruction: FlushInstruction, start: *const u8, len: usize) {
        let (skipped_back, lines) = lines_touched(start as usize, len);
        let mut line = start.wrapping_sub(skipped_back);
        macro_rules! each_line {
            ($instruction:literal) => {
                for _ in 0..lines {
                    // SAFETY: the line holds a byte of a mapped range (invariant 1) and the instruction exists
                    // (invariant 2). It changes no byte and no register.
                    unsafe { asm!(concat!($instruction, " [{}]"), in(reg) line, options(nostack, preserves_flags)) };
                    line = line.wrapping_add(CACHE_LINE_BYTES as usize);
                }
            };
        }
        match instruction {
            FlushInstruction::None => {}
            FlushInstruction::Clflush => each_line!("clflush"),
            FlushInstruction::Clflushopt => each_line!("clflushopt"),
            FlushInstruction::Clwb => each_line!("clwb"),
        }
    }

    /// Waits until this thread's earlier flushes and non-temporal stores have been taken over by the medium.
    #[inline]
    pub(in super::super) fn fence() {
        // SAFETY: touches no memory of its own; being opaque it keeps the compiler from moving stores over it.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }

    /// Copies `lines` whole lines round the cache.
    ///
    /// # Safety
    /// Both ranges are mapped and do not overlap; `to` is aligned to a line.
    #[inline]
    pub(in super::super) unsafe fn copy_lines_nt(to: *mut u8, from: *const u8, lines: usize) {
        if lines == 0 {
            return;
        }
        // SAFETY: `lines * 64` bytes are read and written, which the caller vouches for; MOVNTDQ has its alignment
        // (invariant 3). The loop ends when the counter, at least 1, reaches 0.
        unsafe {
            asm!(
                "2:",
                "movdqu {a}, xmmword ptr [{from}]",
                "movdqu {b}, xmmword ptr [{from} + 16]",
                "movdqu {c}, xmmword ptr [{from} + 32]",
                "movdqu {d}, xmmword ptr [{from} + 48]",
                "movntdq xmmword ptr [{to}], {a}",
                "movntdq xmmword ptr [{to} + 16], {b}",
                "movntdq xmmword ptr [{to} + 32], {c}",
                "movntdq xmmword ptr [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {lines}",
                "jnz 2b",
                from = inout(reg) from => _,
                to = inout(reg) to => _,
                lines = inout(reg) lines => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// Asks for the line at `at` to be brought near. Any address is allowed.
    #[inline]
    pub(in super::super) fn prefetch(at: *const u8) {
        // SAFETY: a prefetch is a hint: it neither faults nor changes anything.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast()) };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod arch {
    use super::{CACHE_LINE_BYTES, FlushInstruction};

    pub(super) const CAN_FLUSH: bool = false;

    pub(super) fn supports(instruction: FlushInstruction) -> bool {
        instruction == FlushInstruction::None
    }

    /// Nothing: only [`FlushInstruction::None`] exists here.
    ///
    /// # Safety
    /// None needed; unsafe as its twin is.
    #[inline]
    pub(in super::super) unsafe fn flush_lines(_instruction: FlushInstruction, _start: *const u8, _len: usize) {}

    /// Orders this thread's stores.
    #[inline]
    pub(in super::super) fn fence() {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Copies `lines` whole lines.
    ///
    /// # Safety
    /// Both ranges are mapped and do not overlap.
    #[inline]
    pub(in super::super) unsafe fn copy_lines_nt(to: *mut u8, from: *const u8, lines: usize) {
        // SAFETY: the caller's promise.
        unsafe { to.copy_from_nonoverlapping(from, lines * CACHE_LINE_BYTES as usize) };
    }

    /// Nothing.
    #[inline]
    pub(in super::super) fn prefetch(_at: *const u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plain definition: a line is touched when it holds one of the bytes.
    #[test]
    fn every_line_that_holds_a_byte_is_flushed_and_no_other() {
        for start in 4096..4096 + 130 {
            for len in 1..200 {
                let touched: std::collections::BTreeSet<usize> =
                    (start..start + len).map(|byte| byte / 64 * 64).collect();
                let (skipped_back, lines) = lines_touched(start, len);
                let flushed = (0..lines).map(|line| start - skipped_back + line * 64).collect();
                assert_eq!(touched, flushed, "{start} {len}");
            }
        }
    }

    #[test]
    fn what_is_chosen_is_supported() {
        assert!(FlushInstruction::best().required().is_ok());
        assert!(FlushInstruction::None.required().is_ok());
        assert_eq!(CAN_FLUSH, FlushInstruction::best() != FlushInstruction::None);
    }
}
