//! Workloads that are about the pool rather than about a command: making it, opening it, closing it, rolling over segments.

use super::{Action, Start, Step, Workload, in_both_forms, steps};

/// Name, how it starts, what comes before, what is recorded.
type Row = (&'static str, Start, &'static [&'static str], &'static [&'static str]);

const ROWS: &[Row] = &[
    ("creation", Start::Nothing, &[], &["SET a @20a"]),
    ("opening-empty", Start::Killed, &[], &["SET a @20a"]),
    ("opening-killed", Start::Killed, MIXED, &["SET a @20x", "DEL b"]),
    ("opening-closed", Start::Closed, MIXED, &["SET a @20x", "DEL b"]),
    ("opening-flushed", Start::Killed, &["SET a @20a", "FLUSHDB", "SET b @30b", "SWAPDB 0 1"], &["GET b", "FLUSHALL"]),
    (
        "opening-expired",
        Start::Killed,
        &["SET a @20a PX 5", "SET b @9b PX 50", "!tick 10", "GET a"],
        &["SET c @7c", "GET b"],
    ),
    ("closing", Start::Open, MIXED, &["SET a @20x", "!close"]),
    ("closing-idle", Start::Closed, MIXED, &["!close"]),
    (
        "roll-over",
        Start::Open,
        &[],
        &[
            "SET a @900a",
            "SET b @900b",
            "SET c @900c",
            "SET d @900d",
            "SET e @900e",
            "SET a @10x",
            "DEL b c",
            "SET f @900f",
        ],
    ),
    (
        "roll-over-full",
        Start::Open,
        &[],
        &["SET a @1000a", "SET b @1000b", "SET c @1000c", "SET d @668d", "SET e @10e", "SET e @11f"],
    ),
    (
        "long-strings",
        Start::Open,
        &["SET l @5000l"],
        &[
            "SETRANGE l 1020 @10x",
            "APPEND l @3000y",
            "SET l @4000z",
            "COPY l m",
            "RENAME m l",
            "SETRANGE l 9000 @5w",
            "DEL l",
        ],
    ),
    (
        // One chunk each time, so that it is rewritten in its object; two at a time would not fit half a segment.
        "long-string-patched",
        Start::Open,
        &["SET l @3000l"],
        &[
            "SETRANGE l 100 @10x",
            "SETRANGE l 110 @10y",
            "SETRANGE l 2100 @10z",
            "SETBIT l 900 1",
            "APPEND l @7w",
            "GET l",
        ],
    ),
    (
        "long-string-expiring",
        Start::Open,
        &[],
        &["SET l @3000l PX 20", "SETRANGE l 100 @10x", "!tick 30", "EXISTS l", "SET l @2000m"],
    ),
    (
        "expired-twice",
        Start::Open,
        &[
            "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7",
            "PEXPIRE a 10",
            "PEXPIRE b 20",
            "PEXPIRE c 20",
            "PEXPIRE d 20",
            "PEXPIRE e 20",
            "PEXPIRE f 20",
        ],
        &["!tick 12", "PERSIST a", "!tick 18", "EXISTS a", "EXISTS b c d e f", "SET g @9g"],
    ),
    (
        "expired-reload",
        Start::Open,
        &["MSET a 1 b 2", "PEXPIRE a 10", "PEXPIRE b 20"],
        &["!tick 15", "DEBUG RELOAD", "EXISTS a", "!tick 10", "EXISTS b", "DEBUG RELOAD"],
    ),
    ("full", Start::Open, FILLED, &["SET z @900z", "DEL a", "PEXPIRE b 10", "!tick 20", "EXISTS b", "DEL c"]),
    (
        "growing",
        Start::Open,
        SMALL_FILLED,
        &[
            "SET j @1000j",
            "!grow 6",
            "SET j @1000j",
            "SET k @1000k | SET l @1000l",
            "SET m @1000m",
            "DEL a b",
            "!grow 7",
            "!grow 12",
            "MSET n @900n o @900o",
            "SET p @1000p",
            "SET q @1000q",
            "FLUSHDB",
        ],
    ),
    (
        "growing-killed",
        Start::Killed,
        SMALL_FILLED,
        &["!grow 5", "SET j @1000j", "DEL a", "SET k @1000k", "SET l @1000l", "!close"],
    ),
    ("reload", Start::Open, MIXED, &["DEBUG RELOAD", "SET a @20x", "DEBUG RELOAD", "DEL a"]),
    (
        "file-save",
        Start::Open,
        &["SET a @20a"],
        &["SET a @30b", "SET b @90c", "SAVE", "SET a @9d", "MSET b @5e c @9f", "FLUSHDB", "SAVE", "DEL a"],
    ),
    ("file-close", Start::Killed, MIXED, &["SAVE", "SET a @20x", "DEL b", "!close"]),
    (
        "file-growing",
        Start::Open,
        SMALL_FILLED,
        &[
            "SAVE",
            "!grow 6",
            "SET j @1000j",
            "SET k @1000k",
            "SET l @1000l",
            "SET m @1000m",
            "SAVE",
            "!grow 8",
            "SET n @1000n",
        ],
    ),
    ("file-long", Start::Open, &[], &["SET l @2500l", "SAVE", "SETRANGE l 1000 @400m", "SET l @3000n", "SAVE"]),
    ("recycled", Start::Recycled, MIXED, &["SET a @30a", "SET b @200b", "SET l @2600l", "DEL a", "SET a @20x"]),
    (
        "recycled-alike",
        Start::Recycled,
        &["SET a @20a", "SET a @20b", "DEL a", "SET b @90c"],
        &["SET a @20a", "SET a @20b", "DEL a", "SET b @90d"],
    ),
    ("clean-live", Start::Open, CLUTTERED, &["!clean", "SET a @31x", "DEL b", "!clean 2", "SET a @5z"]),
    ("clean-killed", Start::Killed, CLUTTERED, &["DEL b", "!clean 3", "SET a @31x", "!clean", "SET c @8c"]),
    (
        "clean-tombstones",
        Start::Open,
        COLD,
        &["DEL a", "!seal", "SET x @9x", "!seal", "!clean", "DEL c0 c1 c2", "!clean"],
    ),
    (
        // The old records go first, the tombstone next.
        "clean-tombstones-last",
        Start::Open,
        COLD,
        &["DEL a", "!seal", "SET x @9x", "DEL c0 c1 c2 c3", "!seal", "!clean", "SET x @8y", "!seal", "!clean"],
    ),
    (
        "clean-expired",
        Start::Open,
        COLD,
        &["SET a @20b PX 5", "SET d @9d PX 5", "!seal", "!tick 10", "EXISTS a d", "SET x @9x", "!seal", "!clean"],
    ),
    (
        "clean-long",
        Start::Open,
        &["SET l @5000l", "SET m @1500m", "SETRANGE l 1500 @10x", "!seal"],
        &["!clean", "SETRANGE l 100 @10x", "APPEND l @600y", "!seal", "!clean", "DEL m", "GET l"],
    ),
    (
        // Of a head that has expired nothing is left but itself.
        "clean-expired-long",
        Start::Open,
        &["SET b @900b", "SET l @2500l PX 5", "!seal", "SET c @2500c", "!seal"],
        &["!tick 10", "EXISTS l", "SETRANGE c 100 @9x", "!seal", "!clean", "SET a @9a"],
    ),
    ("clean-flushed", Start::Open, CLUTTERED, &["FLUSHDB", "SET a @31x", "!seal", "!clean", "SWAPDB 0 1", "!clean"]),
    (
        "clean-reload",
        Start::Open,
        CLUTTERED,
        &["!clean 2", "DEBUG RELOAD", "SET a @20x", "!clean 1", "DEBUG RELOAD", "!clean"],
    ),
    (
        "clean-full",
        Start::Open,
        FILLED,
        &["SET z @900z", "DEL k:1", "SET k:2 @700y", "DEL k:3 k:4 k:5", "SET y @900y", "SET z @600z"],
    ),
    ("clean-overwrite", Start::Open, &["SET a @20a", "SET b @20b", "!seal"], &["!clean", "SET a @20x", "SET b @21y"]),
    // More than a segment takes: an atom of several batches.
    (
        "atom",
        Start::Open,
        &["SET a @20a", "SET f @9f"],
        &[
            "MSET a @900x b @900b c @900c d @900d e @900e f @900f g @900g",
            "SET b @9y",
            BEYOND,
            "GET a",
            "DEL a b c d e",
        ],
    ),
    ("atom-killed", Start::Killed, &["SET a @20a", BEYOND, "SET b @9y"], &["SET c @9z", BEYOND, "FLUSHDB"]),
    ("atom-closed", Start::Closed, &[BEYOND], &[BEYOND, "!close"]),
    ("atom-recycled", Start::Recycled, &["SET a @20a", BEYOND], &["SET a @20a", BEYOND]),
    ("atom-reload", Start::Open, &["SET a @20a"], &[BEYOND, "DEBUG RELOAD", "SET a @9x", BEYOND, "DEBUG RELOAD"]),
    (
        "atom-clean",
        Start::Open,
        &["SET a @20a", BEYOND, "SET x @900x", "SET y @900y", "!seal"],
        &["DEL x y", "SET a @9x", "!seal", "!clean 6", "SET b @9x", "DEL c", "!seal", "!clean"],
    ),
    (
        // The first parts find room and the last one does not, and so they are never committed.
        "atom-without-room",
        Start::Killed,
        NEARLY_FILLED,
        &["DEL k:1 k:2 k:3 k:4", "DEL k:5 k:6 k:7 k:8", "DEL k:9 k:10 k:11 k:12", "!clean", BEYOND_OTHERS, "GET p"],
    ),
    (
        // Of the first one a part is left, which the commit of another must not complete.
        "atom-without-room-growing",
        Start::Killed,
        &["SET a @20a", BEYOND],
        &["!grow 8", "MSET f @900f g @900g h @900h i @900i j @900j", "GET a"],
    ),
    (
        // So many tombstones that they do not find room behind the part.
        "atom-without-room-cleaned",
        Start::Open,
        NEARLY_FILLED,
        &["DEL k:1 k:2 k:3 k:4 k:5 k:6 k:7 q", "!seal", "!clean", "DEL k:8 k:9 k:10", "SET a @9x", "!seal", "!clean"],
    ),
    (
        // Changes of collections that share a batch: of one key and of several, made and ended by them.
        "run-of-changes",
        Start::Open,
        &["HSET h a @20a b 2", "RPUSH l x y", "SADD s 1 2", "ZADD z 1 m 2 n"],
        &[
            "HSET h a @9c | HSET h c 3 a @30d | HDEL h b | HSET h b @5e",
            "LPUSH l a b | RPUSH l @30c | LPUSH l d",
            "SADD s 3 | SREM s 1 | SADD s 1 4 | ZADD z 5 n 1 o | ZREM z m | ZADD z 7 m",
            "HSET new a 1 | LPUSH stack a | SADD s 9 | HSET new b @40b | LPUSH stack b | ZADD order 1 a",
            "HSET h x 1 | HDEL new a b | SREM s 1 2 3 4 9 | ZADD z 1 q",
            "SADD s a | SADD l a | SADD s b | HSET h y 2",
        ],
    ),
    (
        "run-of-changes-killed",
        Start::Killed,
        &["HSET h a 1 | HSET h b 2 | HDEL h a | RPUSH l a | LPUSH l b", "SADD s a | SADD t a", "LPOP l"],
        &["HSET h a 3 | HDEL h b | LPUSH l c | RPUSH l d", "SREM s a | SADD t b | SADD t c"],
    ),
    (
        "run-of-changes-expiring",
        Start::Open,
        &["HSET h a 1", "PEXPIRE h 10", "SADD s a", "PEXPIRE s 30"],
        &[
            "!tick 12",
            "HSET g a 1 | HSET h b 2 | SADD s b",
            "SREM s a b | HSET g b 2 | SADD s c | SADD s d",
            "!tick 30",
            "SADD s e | HSET h c 3",
        ],
    ),
    (
        // More than the segment has room for, and more than one segment takes.
        "run-of-changes-roll-over",
        Start::Open,
        &["HSET h a @900a", "HSET h b @900b"],
        &[
            "HSET h c @900c | HSET h d @900d | SADD s a",
            "HSET h a @900e | HSET h b @900f | HSET h c @900g | HSET h d @900h | HSET h e @900i",
            "LPUSH l @900j | LPUSH l @900k | HDEL h a b c d e | RPUSH l @9l",
        ],
    ),
    (
        // Small collections that become too large for one record, or get something that does not lie in it.
        "packed-outgrown",
        Start::Open,
        &["HSET h a 1 b @100b", "PEXPIRE h 90", "RPUSH l a @200b", "SADD s 1 2", "ZADD z 1 m 2 n"],
        &[
            "HSET h b 2 | HSET h c @500c",
            "HDEL h c",
            "LPUSH l @300c | RPUSH l d",
            "LINSERT l BEFORE d @20e",
            "SADD s @300x @200y | SREM s 1",
            "ZADD z 3 @300m | ZADD z 1 n 4 @250o",
            "ZREM z m",
            "!tick 100",
            "EXISTS h",
        ],
    ),
    (
        // The gap between two elements is halved until their neighbours get new labels, beyond the end, where others were popped.
        "list-relabelled",
        Start::Open,
        &[
            "RPUSH l a b",
            "LPUSH l p q r s t",
            "LPOP l 5",
            "LINSERT l AFTER a 1 | LINSERT l AFTER a 2 | LINSERT l AFTER a 3 | LINSERT l AFTER a 4 | LINSERT l AFTER a 5",
            "LINSERT l AFTER a 6 | LINSERT l AFTER a 7 | LINSERT l AFTER a 8 | LINSERT l AFTER a 9 | LINSERT l AFTER a 10",
            "LINSERT l AFTER a 11 | LINSERT l AFTER a 12 | LINSERT l AFTER a 13 | LINSERT l AFTER a 14 | LINSERT l AFTER a 15",
            "LINSERT l AFTER a 16",
        ],
        &["LINSERT l AFTER a 17", "LPUSH l u", "LPOP l", "LTRIM l 2 2", "LMOVE l l LEFT RIGHT", "LPUSH l v"],
    ),
    (
        "packed-outgrown-killed",
        Start::Killed,
        &["HSET h a 1 b @100b", "HSET h c @450c", "RPUSH l @250a @250b", "LSET l 0 @300c", "SADD s 1 2"],
        &["HDEL h a b", "LPOP l", "SADD s @600x", "HDEL h c", "HSET h a 1", "RPUSH l a"],
    ),
    (
        "packed-expiring-fields",
        Start::Open,
        &["HSET h a 1 b @20b", "HSET g a 1"],
        &[
            "HPEXPIRE h 10 FIELDS 1 a",
            "HPERSIST h FIELDS 1 b",
            "HPEXPIRE g 10 FIELDS 1 a",
            "!tick 12",
            "HLEN h",
            "HSET g a 2",
        ],
    ),
    (
        "packed-clean",
        Start::Open,
        &["HSET h a @20a b 2", "RPUSH l x y", "SET x @900x", "SADD s 1 2", "SET y @900y", "!seal"],
        &[
            "DEL x y s",
            "!seal",
            "!clean 4",
            "HSET h a 3 | RPUSH l z",
            "!seal",
            "!clean",
            "HDEL h a b",
            "SADD s 3",
            "!seal",
            "!clean",
        ],
    ),
    (
        "transaction",
        Start::Open,
        &["SET a @20a", "SET b @9b PX 50"],
        &[
            "MULTI | SET a @30x | SET c @9c | SET a @10y | DEL b | EXEC",
            "MULTI | SET a @9z | GET a | EXEC",
            "MULTI | APPEND a x | APPEND a y | RENAME a d | EXEC",
            "MULTI | GET d | INCR d | EXEC",
            "WATCH d | SET d 1 | MULTI | SET a 2 | SET c 3 | EXEC",
            "MULTI | SET a 5 | SET b 6 | DISCARD",
        ],
    ),
    (
        "transaction-killed",
        Start::Killed,
        &["SET a @20a", "MULTI | SET a @30x | SET c @9c | EXEC", "SET b @9b"],
        &["MULTI | SET c @9d | SET b @8x | EXEC", "SET a @9x", "MULTI | DEL a | DEL b | EXEC"],
    ),
    (
        "transaction-expiring",
        Start::Open,
        &["SET a @20a PX 10", "SET b @20b"],
        &[
            "!tick 12",
            "MULTI | GET a | PEXPIRE b 5 | SET c @9c | EXEC",
            "!tick 6",
            "MULTI | GET b | SET a @3a | PERSIST b | EXEC",
        ],
    ),
    (
        "transaction-long",
        Start::Open,
        &["SET l @5000l", "SET m @1500m"],
        &["MULTI | SETRANGE l 100 @10x | APPEND m @900y | SET n @3000n | EXEC", "MULTI | DEL l | RENAME n l | EXEC"],
    ),
    (
        "transaction-collections",
        Start::Open,
        &["HSET h a 1 b 2", "RPUSH l x y", "SADD s 1 2"],
        &[
            "MULTI | HSET h c 3 | HDEL h a | SET a @9a | EXEC",
            "MULTI | RPUSH l z | LPOP l | DEL s | SADD s 3 | EXEC",
            "MULTI | RENAME h g | HSET g d 4 | ZADD z 1 m | EXEC",
            "MULTI | SADD s 4 | SREM s 3 | DEL l | EXEC",
        ],
    ),
    (
        // Parts in several segments, and a MSET that is more than one takes.
        "transaction-roll-over",
        Start::Open,
        &["SET a @900a", "SET b @900b", "SET c @900c"],
        &[
            "MULTI | SET d @900d | SET e @900e | SET f @900f | DEL a | EXEC",
            "MULTI | SET x @9x | MSET a @900p b @900q c @900r d @900s e @900t | EXEC",
        ],
    ),
    (
        "transaction-clean",
        Start::Open,
        &["MULTI | SET a @20a | SET b @30b | DEL c | EXEC", "SET x @900x", "SET y @900y", "SET z @900z", "!seal"],
        &["DEL x y", "!seal", "!clean 4", "MULTI | SET a @9x | DEL b | EXEC", "!seal", "!clean", "DEL z", "!clean"],
    ),
    (
        "transaction-full",
        Start::Open,
        FILLED,
        &[
            "MULTI | SET z @900z | DEL a | SET y @900y | EXEC",
            "MULTI | DEL k:1 k:2 k:3 | DEL k:4 k:5 k:6 | EXEC",
            "MULTI | SET x @900x | SET a @9a | EXEC",
            "MULTI | SET x @9x | MSET a @900p b @900q c @900r d @900s e @900t | SET y @9y | EXEC",
        ],
    ),
    (
        "transaction-databases",
        Start::Open,
        &["SET a @20a", "SELECT 1", "SET a @12d", "SET c @9c", "SELECT 0"],
        &[
            "MULTI | SET a @30x | FLUSHDB | SET b @9b | EXEC",
            "MULTI | SWAPDB 0 1 | SET d @8d | DEL c | EXEC",
            "MULTI | FLUSHDB | SET a 1 | FLUSHALL | SET a 2 | EXEC",
            "FLUSHDB",
            "MULTI | FLUSHDB | EXEC",
            "MULTI | SET a @5a | SWAPDB 0 2 | SET a @6b | EXEC",
        ],
    ),
    (
        "transaction-databases-killed",
        Start::Killed,
        &["SET a @20a", "MULTI | SET b @9b | FLUSHDB | SET c @9c | EXEC", "SET d @9d"],
        &["MULTI | FLUSHDB | SET a @9x | EXEC", "FLUSHDB", "SET a @8y", "MULTI | SWAPDB 0 1 | SET b @3b | EXEC"],
    ),
    ("exhaustive-transaction", Start::Open, &["SET a @3a"], &["MULTI | SET a @3b | SET b @3c | EXEC"]),
    ("exhaustive-recycled", Start::Recycled, &["SET a @3a"], &["SET a @3b"]),
    ("exhaustive-set", Start::Open, &[], &["SET a @3a", "SET a @4b"]),
    ("exhaustive-delete", Start::Open, &["SET a @3a"], &["DEL a"]),
    ("exhaustive-flush", Start::Open, &["SET a @3a"], &["FLUSHDB"]),
    ("exhaustive-opening", Start::Killed, &["SET a @3a"], &["GET a"]),
    ("exhaustive-growing", Start::Open, &["SET a @3a"], &["!grow 5", "SET a @3b"]),
    (
        "exhaustive-roll-over",
        Start::Open,
        &["SET a @1000a", "SET b @1000b", "SET c @1000c", "SET d @668d"],
        &["SET e @3e"],
    ),
];

const MIXED: &[&str] = &[
    "SET a @30a",
    "SET b @200b",
    "SET l @2600l",
    "SET e @9e PX 100",
    "DEL b",
    "SET b @40c",
    "SELECT 1",
    "SET a @12d",
    "SELECT 0",
];

/// Segments with a little in each that is live, and some that is not.
const CLUTTERED: &[&str] = &[
    "SET a @30a",
    "SET b @700b",
    "SET l @2600l",
    "!seal",
    "SET e @9e PX 100",
    "SET b @40c",
    "SET c @9c",
    "DEL c",
    "!seal",
    "SETRANGE l 1100 @40y",
    "SET c @90d",
    "SET a @12d",
    "!seal",
];

/// `a` lies where the cleaner has packed what is live, and little is to be gained.
const COLD: &[&str] =
    &["SET a @20a", "SET c0 @900a", "SET c1 @900b", "SET c2 @900c", "SET c3 @800c", "!seal", "!clean", "SET d @9c"];
/// All but the reserve of four segments is full.
const SMALL_FILLED: &[&str] = &[
    "SET a @1000a",
    "SET b @1000b",
    "SET c @1000c",
    "SET d @1000d",
    "SET e @1000e",
    "SET f @1000f",
    "SET g @1000g",
    "SET h @1000h",
    "SET i @1000i",
];

/// Does not fit into a segment.
const BEYOND: &str = "MSET a @900p b @900q c @900r d @900s e @900t";
const BEYOND_OTHERS: &str = "MSET a @900p b @900q c @900r d @900s h @900t";

/// A pool that has room for one part of what is then asked of it.
const NEARLY_FILLED: &[&str] =
    &["SET q @20a", "DEBUG POPULATE 52 k 900", "MSET p @900p q @900q r @900r s @900s t @900t"];

/// The segments of pools that grow, to begin with: as few as there can be, so that what they grow by is soon used.
const GROWING_SEGMENTS: u32 = 4;

/// All but the reserve of the pool's segments is full.
const FILLED: &[&str] = &["DEBUG POPULATE 56 k 900", "SET a @900a", "SET b @900b", "SET c @900c"];

fn recorded_growth(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step.action, Action::Grow(_)))
}

/// All of them.
pub fn all() -> Vec<Workload> {
    let workload = |(name, start, prelude, recorded): &Row| {
        let (prelude, recorded) = (steps(prelude.iter().copied()), steps(recorded.iter().copied()));
        let mut workload = Workload::new(format!("special/{name}"), prelude, recorded);
        workload.start = *start;
        workload.exhaustive = name.starts_with("exhaustive");
        if recorded_growth(&workload.steps) {
            workload.segments = GROWING_SEGMENTS;
        }
        workload
    };
    in_both_forms(ROWS.iter().map(workload))
}
