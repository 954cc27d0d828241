//! Keys that come and go: each is made once and deleted once, so that tombstones are all that could stay.

use crate::load::Values;
use crate::run::Bed;
use std::time::{Duration, Instant};

const POOL_MIB: u64 = 256;
/// Keys that are there at any time.
const WINDOW: u64 = 1000;

/// Makes and deletes `count` keys and tells what is left of them.
pub fn run(count: u64) {
    let (mut bed, mut values) = (Bed::new(POOL_MIB), Values::new(1));
    let began = Instant::now();
    for key in 0..count {
        bed.write(key, Some(values.next(key)));
        if let Some(old) = key.checked_sub(WINDOW) {
            bed.write(old, None);
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let (waits, refused) = (bed.waits, bed.refused);
    let busy = bed.store.info().segments_free;
    settle(&mut bed);
    let info = bed.store.info();
    assert_eq!(bed.store.len(0), WINDOW.min(count), "what was not deleted is there, and nothing else");
    bed.check_books();
    println!(
        "{count} keys made and deleted in {elapsed:.1} s: {:.0} keys/s, {waits} waits, {refused} refused",
        count as f64 / elapsed
    );
    println!(
        "free segments of {}: {busy} at the end of the writes, {} once the cleaner had come to rest",
        info.segments, info.segments_free
    );
    println!("live {} B, log {} B", info.live_bytes, info.log_bytes);
}

/// Waits until the cleaner has freed nothing for a second.
fn settle(bed: &mut Bed) {
    bed.store.close_worker(&mut bed.worker);
    let mut freed = u64::MAX;
    // Ends: there is a limit to what can be freed.
    while freed != bed.store.pool().segments_freed() {
        freed = bed.store.pool().segments_freed();
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
