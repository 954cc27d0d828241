//! Longer mixes of everything, by seed.

use super::{Start, Step, Workload};
use fencepost::store::PACKED_BYTES;
use fencepost_harness::{Rng, Seed};

/// Segments of a pool that is to take more.
const SEGMENTS: u32 = 28;

/// So many steps, chosen by the seed.
pub fn workload(seed: u64, length: usize) -> Workload {
    let mut rng = Seed(seed).rng(1);
    let mut make = |count: usize| (0..count).map(|_| Step::new(&line(&mut rng))).collect::<Vec<_>>();
    let (prelude, mut steps) = (make(length / 3), make(length));
    let start = match rng.below(4) {
        0 => Start::Killed,
        1 => Start::Closed,
        _ => Start::Open,
    };
    if rng.below(4) == 0 {
        steps.push(Step::new("!close"));
    }
    let packed_bytes = *rng.pick(&[0, 40, 150, PACKED_BYTES]);
    Workload {
        segments: SEGMENTS,
        start,
        packed_bytes,
        ..Workload::new(format!("random/{seed:x}/{length}"), prelude, steps)
    }
}

/// The workload that `2a/40` names.
pub fn by_name(rest: &str) -> Option<Workload> {
    let (seed, length) = rest.split_once('/')?;
    Some(workload(u64::from_str_radix(seed, 16).ok()?, length.parse().ok()?))
}

fn line(rng: &mut Rng) -> String {
    let key = |rng: &mut Rng| ["a", "b", "c", "d", "e", "f"][rng.below(6) as usize];
    let (k, other) = (key(rng), key(rng));
    match rng.below(66) {
        0..=5 => format!("SET {k} {}", value(rng)),
        6 => format!("SET {k} {} PX {}", value(rng), 1 + rng.below(40)),
        7 => {
            let sets: Vec<String> = (0..2 + rng.below(4)).map(|_| format!("SET {} {}", key(rng), short(rng))).collect();
            sets.join(" | ")
        }
        8 => format!("SET {k} {} | GET {other} | DEL {other} | APPEND {k} {}", short(rng), short(rng)),
        9 => format!("MSET {k} {} {other} {} {} {}", short(rng), value(rng), key(rng), short(rng)),
        10 => format!("MSETNX {k} {} {other} {}", short(rng), short(rng)),
        11 => format!("DEL {k} {other}"),
        12 => format!("GETDEL {k}"),
        13 => format!("RENAME {k} {other}"),
        14 => format!("RENAMENX {k} {other}"),
        15 => format!("COPY {k} {other} REPLACE"),
        16 => format!("COPY {k} {other} DB {} REPLACE", rng.below(3)),
        17 => format!("MOVE {k} {}", rng.below(3)),
        18 => format!("SETRANGE {k} {} {}", rng.below(2000), short(rng)),
        19 => format!("SETRANGE {k} {} {}", rng.below(4000), value(rng)),
        20 => format!("APPEND {k} {}", value(rng)),
        21 => format!("SETBIT {k} {} 1", rng.below(20_000)),
        22 => format!("BITOP XOR {k} {other} {}", key(rng)),
        23 => format!("INCRBY n{} {}", rng.below(2), rng.below(100)),
        24 => format!("PFADD h{} {}", rng.below(2), rng.below(1000)),
        25 => format!("PEXPIRE {k} {}", 1 + rng.below(40)),
        26 => format!("PERSIST {k}"),
        27 => format!("GETEX {k} PX {}", 1 + rng.below(40)),
        28 => format!("SETNX {k} {}", short(rng)),
        29..=31 => format!("!tick {}", 1 + rng.below(20)),
        32 => "!expire".to_owned(),
        33 => format!("EXISTS {k} {other}"),
        34 => format!("MGET {k} {other} {}", key(rng)),
        35 => "FLUSHDB".to_owned(),
        36 => {
            if rng.below(3) == 0 {
                "FLUSHALL".to_owned()
            } else {
                format!("GET {k}")
            }
        }
        37 => format!("SWAPDB {} {}", rng.below(3), rng.below(3)),
        38 => format!("SELECT {}", rng.below(3)),
        39 => "!seal".to_owned(),
        40 => "!clean".to_owned(),
        41 => format!("!clean {}", 1 + rng.below(3)),
        42 | 43 => format!("HSET {k} {} {} {} {}", field(rng), value(rng), field(rng), short(rng)),
        44 => format!("HDEL {k} {} {} {}", field(rng), field(rng), field(rng)),
        45 => format!("HINCRBY {k} n {}", rng.below(100)),
        46 | 47 => format!("SADD {k} {} {} {}", field(rng), field(rng), short(rng)),
        48 => format!("SREM {k} {} {} {}", field(rng), field(rng), field(rng)),
        49 => format!("SMOVE {k} {other} {}", field(rng)),
        50 => format!("S{}STORE {k} {other} {}", ["INTER", "UNION", "DIFF"][rng.below(3) as usize], key(rng)),
        51..=53 => format!("ZADD {k} {} {} {} {}", rng.below(9), field(rng), rng.below(9), short(rng)),
        54 => format!("ZINCRBY {k} {} {}", rng.below(9), field(rng)),
        55 => format!("ZREM {k} {} {}", field(rng), field(rng)),
        56 => format!("{} {k} {}", ["ZPOPMIN", "ZPOPMAX"][rng.below(2) as usize], 1 + rng.below(2)),
        57 => match (rng.below(3), rng.below(4)) {
            (2, end) => format!("ZREMRANGEBYSCORE {k} {end} {}", 2 * end + 1),
            (start, end) => format!("ZREMRANGEBYRANK {k} {start} {end}"),
        },
        63 | 64 => {
            let changes: Vec<String> = (0..2 + rng.below(5)).map(|_| change(rng)).collect();
            changes.join(" | ")
        }
        58 => format!("Z{}STORE {k} 2 {other} {}", ["INTER", "UNION", "DIFF"][rng.below(3) as usize], key(rng)),
        59 => format!("HPEXPIRE {k} {} FIELDS 2 {} {}", 1 + rng.below(40), field(rng), field(rng)),
        60 => format!("HSETEX {k} PX {} FIELDS 1 {} {}", 1 + rng.below(40), field(rng), value(rng)),
        61 => format!("HPERSIST {k} FIELDS 2 {} {}", field(rng), field(rng)),
        62 => format!("HMGET {k} {} {}", field(rng), field(rng)),
        _ => {
            if rng.below(3) == 0 {
                "DEBUG RELOAD".to_owned()
            } else {
                format!("GETSET {k} {}", short(rng))
            }
        }
    }
}

/// A change of a collection that may share a batch with its neighbours.
fn change(rng: &mut Rng) -> String {
    let k = ["a", "b", "c"][rng.below(3) as usize];
    match rng.below(6) {
        0 | 1 => format!("HSET {k} {} {}", field(rng), short(rng)),
        2 => format!("HDEL {k} {}", field(rng)),
        3 => format!("SADD {k} {} {}", field(rng), field(rng)),
        4 => format!("{} {k} {}", ["LPUSH", "RPUSH"][rng.below(2) as usize], short(rng)),
        _ => format!("ZADD {k} {} {}", rng.below(9), field(rng)),
    }
}

fn field(rng: &mut Rng) -> &'static str {
    ["f", "g", "h", "i", "j"][rng.below(5) as usize]
}

fn short(rng: &mut Rng) -> String {
    format!("@{}{}", 1 + rng.below(60), (b'a' + rng.below(26) as u8) as char)
}

fn value(rng: &mut Rng) -> String {
    let len = match rng.below(8) {
        0..=4 => 1 + rng.below(90),
        5 | 6 => 100 + rng.below(500),
        _ => 1100 + rng.below(2500),
    };
    format!("@{len}{}", (b'a' + rng.below(26) as u8) as char)
}
