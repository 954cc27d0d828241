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
//! `zadd` count such commands, found in the table of commands and replied to, on one collection, and `hget` looks at one of 4,096 fields; `hset-small` and
//! `hget-small` are on hashes of 8 fields, a random one each time; `one-set` and `one-get` are a SET and a GET that come alone, from the
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
    let pipelined = ["hset", "lpush", "sadd", "zadd", "hget", "hset-small", "hget-small"];
    if let Some(command) = pipelined.into_iter().find(|command| args.iter().any(|arg| arg == command)) {
        run_pipelines(&store, &mut worker, command, count);
        println!("{count} of {command}");
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

/// `count` commands on collections, in pipelines. All requests are made before, as many for any count.
fn run_pipelines(store: &Store, worker: &mut Worker, command: &str, count: u64) {
    const PIPELINE: usize = 16;
    /// Requests that there are, and fields of the large hash.
    const MOST: u64 = 4096;
    /// Small hashes, of [`FIELDS`] each.
    const SMALL: u64 = 512;
    const FIELDS: u64 = 8;
    let mut direct = Direct::new(Clock::manual(1));
    let mut out = BytesMut::new();
    let value = "a".repeat(20);
    let element = |number: u64| format!("elem:{:012}", number * 7919 % 100_000);
    let small = |number: u64| format!("small:{}", number % SMALL);
    let field = |number: u64| format!("field:{}", number / SMALL % FIELDS);
    let mut run = |requests: &[(Vec<u8>, ArgSpans)]| {
        out.clear();
        direct.with_ctx(store, worker, &mut out, |ctx| {
            let mut at = 0;
            // Ends: each turn runs at least one.
            while at < requests.len() {
                let request = |i: usize| requests[at + i].1.args(&requests[at + i].0);
                let together = execute_run(ctx, requests.len() - at, request);
                if together == 0 {
                    assert!(execute(ctx, request(0)).is_ok(), "there is room");
                }
                at += together.max(1);
            }
        });
    };
    let mut before: Vec<_> = (0..SMALL * FIELDS).map(|n| request(&["HSET", &small(n), &field(n), &value])).collect();
    if command == "hget" {
        before.extend((0..MOST).map(|number| request(&["HSET", "hash", &element(number), &value])));
    }
    before.chunks(PIPELINE).for_each(&mut run);
    let request = |number: u64| {
        let (element, score, drawn) = (element(number), number.to_string(), number.wrapping_mul(0x9e37_79b9) >> 7);
        match command {
            "hset" => request(&["HSET", "hash", &element, &value]),
            "hget" => request(&["HGET", "hash", &element]),
            "hset-small" => request(&["HSET", &small(drawn), &field(drawn), &value]),
            "hget-small" => request(&["HGET", &small(drawn), &field(drawn)]),
            "lpush" => request(&["LPUSH", "list", &value]),
            "sadd" => request(&["SADD", "set", &element]),
            _ => request(&["ZADD", "zset", &score, &element]),
        }
    };
    let requests: Vec<_> = (0..MOST).map(request).collect();
    requests[..count as usize].chunks(PIPELINE).for_each(&mut run);
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
