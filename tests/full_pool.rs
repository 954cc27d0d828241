//! A pool that is filled until it takes no more, emptied and filled again, fifty times over: by deletes, by expiry, by eviction, by FLUSHALL. What it takes does not
//! shrink from round to round, every read in between is right, and in the end next to nothing is left in it.
//!
//! ```text
//! cargo test --test full_pool
//! ```

use bytes::BytesMut;
use fencepost::base::Clock;
use fencepost::cleaner::{CleanStep, Demand};
use fencepost::command::Direct;
use fencepost::persist::RegionOptions;
use fencepost::pool::PoolOptions;
use fencepost::recovery::Progress;
use fencepost::store::{Store, StoreOptions, Worker};
use std::time::Duration;

const ROUNDS: usize = 50;
const SEGMENTS: u64 = 96;
const SEGMENT_BYTES: u64 = 16 * 1024;
const OOM: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// One session over a pool of 1.5 MiB.
struct Client {
    store: Store,
    worker: Worker,
    direct: Direct,
}

impl Client {
    fn new() -> Self {
        let pool = PoolOptions {
            path: None,
            bytes: 2 * SEGMENT_BYTES + SEGMENTS * SEGMENT_BYTES,
            max_bytes: 0,
            segment_bytes: Some(SEGMENT_BYTES),
            stripes: 64,
            now_ms: 0,
            region: RegionOptions::default(),
        };
        let options = StoreOptions { pool, databases: 2, recovery_threads: 1, salvage: false };
        let clock = Clock::manual(1_700_000_000_000);
        let store = Store::open(&options, clock.clone(), &Progress::default()).expect("anonymous memory");
        Self { worker: store.worker(), store, direct: Direct::new(clock) }
    }

    fn run(&mut self, request: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.direct.run(&self.store, &mut self.worker, &[request.to_vec()], &mut out);
        out.to_vec()
    }

    /// Sets keys 0, 1, ... until the pool is full, or `most` of them; how many were set.
    fn fill(&mut self, round: usize, most: usize, expiry: &[&[u8]]) -> usize {
        for number in 0..most {
            let (key, value) = (key(number), value(round, number));
            let request = [&[&b"SET"[..], &key, &value][..], expiry].concat();
            match &*self.run(&request) {
                b"+OK\r\n" => {}
                reply => {
                    assert_eq!(reply, OOM, "round {round}, key {number}");
                    return number;
                }
            }
        }
        most
    }

    /// Reads every key below `count`; how many are there. None may be wrong.
    fn check(&mut self, round: usize, count: usize) -> usize {
        let mut there = 0;
        for number in 0..count {
            let value = value(round, number);
            let reply = self.run(&[b"GET", &key(number)]);
            if reply != b"$-1\r\n" {
                let expected = [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
                assert!(reply == expected, "round {round}: key {number} is not what was written");
                there += 1;
            }
        }
        there
    }

    /// Cleans until there is nothing to be gained; segments in use then.
    fn rest(&self) -> u32 {
        // Ends: nobody else writes, and other tests are not pinned for ever.
        loop {
            match self.store.clean_step(Demand::Now) {
                CleanStep::Worked => {}
                CleanStep::Waiting => std::thread::yield_now(),
                CleanStep::Idle => break,
            }
        }
        self.store.pool().segment_count() - self.store.pool().free_segments()
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// Short ones, and now and then one in chunks.
fn value(round: usize, number: usize) -> Vec<u8> {
    let len = if number % 50 == 49 { 9_000 } else { 20 + number * 37 % 400 };
    (0..len).map(|i| (i * 7 + number * 13 + round * 31) as u8).collect()
}

/// Fills and empties the pool again and again; `empty` removes all keys below the number given.
fn rounds(expiry: &[&[u8]], mut empty: impl FnMut(&mut Client, usize)) {
    let mut client = Client::new();
    let mut first = 0;
    for round in 0..ROUNDS {
        let count = client.fill(round, usize::MAX, expiry);
        first = if round == 0 { count } else { first };
        assert!(count > 2500 && count * 20 > first * 19, "round {round} takes {count} keys, the first took {first}");
        assert_eq!(client.check(round, count), count, "round {round}");
        // In a full pool reads and what makes room still work, and a write is refused before it has any effect.
        let (a, b) = (key(0), key(1));
        let long = vec![b'x'; 12_000];
        let extra = |number: usize| format!("extra:{number}").into_bytes();
        // Not even for a byte more.
        let extras = (0..).take_while(|&number| client.run(&[b"SET", &extra(number), b"x"]) == b"+OK\r\n").count();
        assert_eq!(client.run(&[b"MSET", &a, &long, &b, &long]), OOM);
        assert_eq!(client.check(round, 2), 2);
        assert_eq!(client.run(&[b"EXPIRE", &a, b"1000"]), b":1\r\n");
        assert_eq!(client.run(&[b"RENAME", &b, b"renamed"]), b"+OK\r\n");
        assert_eq!(client.run(&[b"RENAME", b"renamed", &b]), b"+OK\r\n");
        assert!((0..extras).all(|number| client.run(&[b"DEL", &extra(number)]) == b":1\r\n"));
        empty(&mut client, count);
        assert_eq!(client.run(&[b"DBSIZE"]), b":0\r\n", "round {round}");
    }
    assert!(client.rest() <= 8, "{} segments are in use though there is no key", client.rest());
}

#[test]
fn deletes_empty_a_full_pool() {
    rounds(&[], |client, count| {
        for number in 0..count {
            assert_eq!(client.run(&[b"DEL", &key(number)]), b":1\r\n", "key {number}");
        }
    });
}

#[test]
fn expiry_empties_a_full_pool() {
    rounds(&[b"PX", b"5000"], |client, _| {
        client.run(&[b"PERSIST", b"key:0"]);
        client.run(&[b"PEXPIRE", b"key:0", b"10"]);
        client.store.clock().advance(6000);
        client.store.expire_cycle(client.store.clock().now_ms(), Duration::from_secs(60));
    });
}

#[test]
fn flushall_empties_a_full_pool() {
    rounds(&[], |client, _| assert_eq!(client.run(&[b"FLUSHALL"]), b"+OK\r\n"));
}

/// With a policy that may evict a full pool goes on taking writes.
#[test]
fn eviction_keeps_a_full_pool_open() {
    let mut client = Client::new();
    assert_eq!(client.run(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]), b"+OK\r\n");
    let (keys, mut kept) = (4500, 0);
    for round in 0..ROUNDS {
        assert_eq!(client.fill(round, keys, &[]), keys, "round {round}: nothing is refused");
        kept = client.check(round, keys);
        assert!(kept > 2000 && kept < keys, "round {round}: {kept} of {keys} keys are left");
    }
    assert_eq!(client.run(&[b"DBSIZE"]), format!(":{kept}\r\n").into_bytes());
}

/// The same with a limit on live bytes.
#[test]
fn eviction_keeps_to_maxmemory() {
    let mut client = Client::new();
    client.run(&[b"CONFIG", b"SET", b"maxmemory", b"500kb", b"maxmemory-policy", b"allkeys-lfu"]);
    for round in 0..ROUNDS {
        assert_eq!(client.fill(round, 3000, &[]), 3000, "round {round}: nothing is refused");
        let live = client.store.info().live_bytes;
        assert!(live <= 530_000 && live > 400_000, "round {round}: {live} bytes are live");
        assert!(client.check(round, 3000) > 1000);
    }
}
