//! Opening, recovering, checking and salvaging arbitrary pools: see `cases/pool.rs`.
#![no_main]

#[path = "../cases/pool.rs"]
mod pool;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| pool::run(input));
