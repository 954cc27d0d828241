//! How many instructions a SET or a GET takes: so many of 16-byte keys and 64-byte values, straight on a store in memory, and nothing else; or an HSET, LPUSH,
//! SADD or ZADD of a pipeline of 16.
//!
//! To be run under a tool that counts, twice, so that what comes before the loop falls out:
//!
//! ```sh
//! cargo bench --bench instructions --no-run      # prints the program's path
//! for n in 1000 2000; do valgrind --tool=callgrind --callgrind-out-file=/dev/null PROGRAM set $n 2>&1 | grep Collected; done
//! ```
//!
//! The difference by 1,000 is the cost of one, the formatting of its key's name included; `get` in the place of `set` counts GETs. `hset`, `lpush`, `sadd` and
//! `zadd` count such commands, found in the table of commands and replied to, on one collection; `one-set` and `one-get` a SET and a GET that come alone, from the
//! request to the reply. A third word, such as `allkeys-lru`, is the eviction policy whose clocks they keep. It says what hooks, defects and the scheduler of the tests cost where they are not: it must
//! not grow when one of them is touched. Keys are hashed with a random key, so counts differ by some tenths of a percent from run to run.

use bytes::BytesMut;
use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::command::{Direct, execute, execute_run};
use fencepost::protocol::ArgSpans;
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
    let changes = ["hset", "lpush", "sadd", "zadd"];
    if let Some(change) = changes.into_iter().find(|change| args.iter().any(|arg| arg == change)) {
        run_pipelines(&store, &mut worker, change, count);
        println!("{count} of {change}");
        return;
    }
    if let Some(command) = ["one-set", "one-get"].into_iter().find(|command| args.iter().any(|arg| arg == command)) {
        run_alone(&store, &mut worker, command, count);
        println!("{count} of {command}");
        return;
    }
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

/// `count` commands, each alone.
fn run_alone(store: &Store, worker: &mut Worker, command: &str, count: u64) {
    let mut direct = Direct::new(Clock::manual(1));
    let mut out = BytesMut::new();
    let value = "v".repeat(64);
    for number in 0..count {
        let name = name(number % KEYS);
        let (bytes, spans) = match command {
            "one-set" => request(&["SET", &name, &value]),
            _ => request(&["GET", &name]),
        };
        out.clear();
        let ran = direct.with_ctx(store, worker, &mut out, |ctx| execute(ctx, spans.args(&bytes)));
        assert!(ran.is_ok(), "there is room");
    }
}

/// `count` changes of one collection, in pipelines.
fn run_pipelines(store: &Store, worker: &mut Worker, change: &str, count: u64) {
    const PIPELINE: u64 = 16;
    let mut direct = Direct::new(Clock::manual(1));
    let mut out = BytesMut::new();
    for first in (0..count).step_by(PIPELINE as usize) {
        let request = |number: u64| {
            let element = format!("elem:{:012}", number * 7919 % 100_000);
            let score = number.to_string();
            match change {
                "hset" => request(&["HSET", "hash", &element, "aaaaaaaaaaaaaaaaaaaa"]),
                "lpush" => request(&["LPUSH", "list", "aaaaaaaaaaaaaaaaaaaa"]),
                "sadd" => request(&["SADD", "set", &element]),
                _ => request(&["ZADD", "zset", &score, &element]),
            }
        };
        let requests: Vec<_> = (first..first + PIPELINE).map(request).collect();
        out.clear();
        let ran = direct.with_ctx(store, worker, &mut out, |ctx| {
            execute_run(ctx, requests.len(), |i| requests[i].1.args(&requests[i].0))
        });
        assert_eq!(ran as u64, PIPELINE, "they run together");
    }
}

/// A request's words one behind the other, and where each is.
fn request(words: &[&str]) -> (Vec<u8>, ArgSpans) {
    let (mut bytes, mut spans) = (Vec::new(), ArgSpans::new());
    for word in words {
        spans.push(bytes.len() as u32, word.len() as u32);
        bytes.extend_from_slice(word.as_bytes());
    }
    (bytes, spans)
}
