//! How many instructions a SET or a GET takes: so many of 16-byte keys and 64-byte values, straight on a store in memory, and nothing else.
//!
//! To be run under a tool that counts, twice, so that what comes before the loop falls out:
//!
//! ```sh
//! cargo bench --bench instructions --no-run      # prints the program's path
//! for n in 1000 2000; do valgrind --tool=callgrind --callgrind-out-file=/dev/null PROGRAM set $n 2>&1 | grep Collected; done
//! ```
//!
//! The difference by 1,000 is the cost of one, the formatting of its key's name included; `get` in the place of `set` counts GETs. A third
//! word, such as `allkeys-lru`, is the eviction policy whose clocks they keep. It says what hooks, defects and the scheduler of the tests cost where they are not: it must
//! not grow when one of them is touched. Keys are hashed with a random key, so counts differ by some tenths of a percent from run to run.

use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::store::{EvictionPolicy, Key, Store, Worker};

/// Keys that are written in turn.
const KEYS: u64 = 256;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let count = args.iter().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1000);
    let gets = args.iter().any(|arg| arg == "get");
    let store = Store::in_memory(64 << 20, Clock::manual(1)).expect("memory");
    let policy = EvictionPolicy::ALL.into_iter().find(|policy| args.iter().any(|arg| arg == policy.name()));
    store.track_access(|| policy.unwrap_or_default().tracking(10, 1));
    let mut worker = store.worker();
    // All keys are there before, so that every SET counted replaces one and every GET finds one.
    (0..KEYS).for_each(|number| set(&store, &mut worker, &name(number)));
    for number in 0..count {
        let name = name(number % KEYS);
        if gets {
            let found = store.read(Key { db: 0, name: name.as_bytes() }, 1, &pin()).is_some();
            assert!(found, "{name} was set");
        } else {
            set(&store, &mut worker, &name);
        }
    }
    println!("{count} {}", if gets { "gets" } else { "sets" });
}

fn name(number: u64) -> String {
    format!("key:{number:012}")
}

fn set(store: &Store, worker: &mut Worker, name: &str) {
    let guard = pin();
    let key = Key { db: 0, name: name.as_bytes() };
    let mut txn = store.write(worker, &[key], 1, &guard);
    txn.set_inline(key, &[7; 64], None).expect("staged");
    txn.commit().expect("room");
}
