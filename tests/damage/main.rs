//! Damaged pools: whatever byte, line, page or file is hit, nothing gives a wrong value, panics or loses anything silently.
//!
//! Method: a small pool is written through the store, its bytes are taken as an image, one place of the image is damaged, and a store is
//! recovered from it in anonymous memory, or what is intact is salvaged into another pool.

mod arbitrary;
mod bytes;
mod calls;
mod image;
mod poison;
mod running;
mod salvage;
