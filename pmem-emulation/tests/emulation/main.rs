//! The emulation, on a region as simple as can be.

mod crash;
mod hooks;
mod memory;
mod rules;
mod states;
