//! How many instructions a SET takes: so many SETs of 16-byte keys and 64-byte values, straight on a store in memory, and nothing else.
//!
//! To be run under a tool that counts, twice, so that what comes before the loop falls out:
//!
//! ```sh
//! cargo bench --bench instructions --no-run      # prints the program's path
//! for n in 1000 2000; do valgrind --tool=callgrind --callgrind-out-file=/dev/null PROGRAM $n 2>&1 | grep Collected; done
//! ```
//!
//! The difference by 1,000 is the cost of one SET. It says what hooks, defects and the scheduler of the tests cost where they are not: it must
//! not grow when one of them is touched. Keys are hashed with a random key, so counts differ by some tenths of a percent from run to run.

use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::store::{Key, Store};

/// Keys that are written in turn.
const KEYS: u64 = 256;

fn main() {
    let count: u64 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1000);
    let store = Store::in_memory(64 << 20, Clock::manual(1)).expect("memory");
    let mut worker = store.worker();
    let value = [7; 64];
    // All keys are there before, so that every SET counted replaces one.
    for number in (0..KEYS).chain((0..count).map(|number| number % KEYS)) {
        let name = format!("key:{number:012}");
        let guard = pin();
        let key = Key { db: 0, name: name.as_bytes() };
        let mut txn = store.write(&mut worker, &[key], 1, &guard);
        txn.set_inline(key, &value, None).expect("staged");
        txn.commit().expect("room");
    }
    println!("{count} sets");
}
