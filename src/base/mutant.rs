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
    /// A commit ends without its fence.
    CommitWithoutFence = "commit-without-fence",
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
