//! For each command that writes, workloads in which it succeeds; a test walks the command table and misses none.

use super::{Workload, in_both_forms, steps};

/// What comes before, and what is explored.
const ROWS: &[(&[&str], &[&str])] = &[
    // Strings.
    (
        &["SET a @20a"],
        &["SET a @20b", "SET a @3c NX", "SET a @3c XX", "SET n @3d NX", "SET a @9e EX 10 GET", "SET a @9f KEEPTTL"],
    ),
    (
        &["SET a @20a"],
        &[
            "SET a @100b PX 10",
            "SET b @5c PXAT 1700000000050",
            "SET c @5d EXAT 1700000010",
            "!tick 20",
            "SET a @4e KEEPTTL",
        ],
    ),
    (&[], &["SETEX a 10 @20a", "PSETEX b 15 @20b", "!tick 20", "GET b", "SETEX b 1 @9c"]),
    (&["SET a @20a"], &["SETNX a @5b", "SETNX b @5c", "DEL b", "SETNX b @70d"]),
    (&["SET a @20a"], &["GETSET a @30b", "GETSET n @30c", "GETDEL a", "GETDEL none", "SET a @4d"]),
    (&["SET a @20a", "SET b @20b PX 50"], &["GETEX a PX 30", "GETEX b PERSIST", "!tick 40", "GETEX a", "GETEX b EX 5"]),
    (&["SET a @20a"], &["APPEND a @30b", "APPEND n @5c", "APPEND a @1200d", "APPEND a @9e"]),
    (&["SET a @20a"], &["SETRANGE a 10 @5b", "SETRANGE n 4 @3c", "SETRANGE a 1000 @100d", "SETRANGE a 2 @3e"]),
    (&["SET n 10"], &["INCR n", "INCRBY n 5", "DECR n", "DECRBY n 3", "INCRBYFLOAT n 1.5", "INCR new"]),
    (
        &["SET a @20a", "SET b @20b PX 99"],
        &["MSET a @30c b @40d c @5e", "MSET a @9f b @9g", "MSETNX d @5h e @5i", "MSETNX a @1j f @2k"],
    ),
    (&["SET a @900a"], &["MSET a @900b b @900c c @900d", "MSET l @2500l a @5e"]),
    (
        &["SET n @3a"],
        &[
            "SET a @9a | SET b @200b | SET c @5c",
            "SET a @1d | SET a @2e | SET a @3f",
            "SET a @9g | GET a | SET a @9h",
            "SET a @9i | SET l @2000j | SET b @9k",
        ],
    ),
    (&[], &["SET a @9a | INCR n | DEL a | SET a @5b | MSET a @6c b @7d | RENAME a c"]),
    // Bits.
    (
        &["SET a @20a", "SET b @30b"],
        &["SETBIT a 7 1", "SETBIT n 100 1", "SETBIT a 9000 1", "BITOP AND c a b", "BITOP NOT d a", "BITOP OR n a none"],
    ),
    (
        &["SET a @20a"],
        &["BITFIELD a SET u8 0 200 INCRBY u8 8 1", "BITFIELD n SET u16 16 7", "BITFIELD a OVERFLOW FAIL INCRBY u2 0 3"],
    ),
    // HyperLogLog.
    (&["PFADD h a b c"], &["PFADD h d", "PFADD g x y", "PFMERGE m h g", "PFCOUNT m", "PFDEBUG TODENSE g", "PFADD g z"]),
    // Hashes.
    (
        &["HSET h a @20a b @5b"],
        &[
            "HSET h a @9c",
            "HSET h c @30d d @3e e @4f",
            "HSETNX h f @70g",
            "HSETNX h f @3h",
            "HMSET g x @5i y @6j",
            "HDEL h a b",
        ],
    ),
    (&[], &["HINCRBY h n 5", "HINCRBYFLOAT h n 0.5", "HINCRBY h m 7", "HDEL h n", "HDEL h m", "HSET h x @3a"]),
    (
        &["HSET h a @400a b @400b c @400c", "SET s @20s"],
        &[
            "HSET h a @500d",
            "RENAME h g",
            "HSET g d @300e",
            "COPY g h",
            "HDEL g a b c d",
            "HSET s x y",
            "RENAME h s",
            "DEL s",
        ],
    ),
    (
        &["HSET h a 1 b 2", "PEXPIRE h 20"],
        &["HSET h c 3", "PERSIST h", "PEXPIRE h 15", "HDEL h a", "!tick 20", "HSET h d 4", "HLEN h"],
    ),
    (
        &["HSET h a @100a b @100b", "!seal"],
        &[
            "HSET h a @100c",
            "!seal",
            "HDEL h b",
            "!clean",
            "HSET h b @3d",
            "!seal",
            "!clean",
            "HDEL h a",
            "!clean 2",
            "DEL h",
            "!clean",
        ],
    ),
    // Hash fields that expire.
    (
        &["HSET h a @20a b @5b c @9c"],
        &[
            "HEXPIRE h 1 FIELDS 2 a none",
            "HPEXPIRE h 10 FIELDS 1 b",
            "HEXPIREAT h 1700000002 FIELDS 1 a",
            "HPEXPIREAT h 1700000000030 GT FIELDS 1 b",
            "HPERSIST h FIELDS 2 a c",
            "!tick 35",
            "HGET h b",
            "HPEXPIREAT h 1 FIELDS 1 a",
            "HPEXPIRE h 0 FIELDS 1 c",
        ],
    ),
    (
        &["HSET h a @20a b @5b"],
        &[
            "HSETEX h PX 10 FIELDS 2 a @9c b @30d",
            "HSETEX g FNX EX 1 FIELDS 1 x @5e",
            "HSETEX h FXX KEEPTTL FIELDS 1 a @400f",
            "HGETEX h PX 20 FIELDS 2 a none",
            "!tick 15",
            "HGETDEL h FIELDS 2 b a",
            "HGETEX g PERSIST FIELDS 1 x",
            "HSETEX g PXAT 1 FIELDS 1 x @5g",
        ],
    ),
    (
        &["HSETEX h PX 10 FIELDS 2 a @20a b @5b", "HSETEX h PX 20 FIELDS 1 c @9c", "HSET h d @9d"],
        &[
            "HINCRBY h n 5",
            "HPEXPIRE h 15 FIELDS 1 n",
            "HINCRBY h n 1",
            "!tick 12",
            "HLEN h",
            "RENAME h g",
            "COPY g h",
            "!expire",
            "!tick 10",
            "HSET h c @9e",
            "HGETALL h",
            "HKEYS g",
            "!expire",
        ],
    ),
    // All fields of a hash expire, and what the key was before does not come back.
    (
        &["SET h @20a", "HSETEX g PX 10 FIELDS 1 a @20a", "HSETEX g PX 20 FIELDS 1 b @5b", "RENAME g h"],
        &[
            "!tick 25",
            "EXISTS h",
            "!expire",
            "EXISTS h",
            "HSETEX h PX 5 FIELDS 1 c @9c",
            "!tick 5",
            "HSET h d @9d",
            "!expire",
        ],
    ),
    (
        &["SET h @20a", "!seal", "HSETEX g PX 10 FIELDS 2 a @20a b @300b", "RENAME g h", "!seal"],
        &["!tick 10", "!expire", "!seal", "!clean", "SET a @9y", "!seal", "!clean", "SETNX h @5c"],
    ),
    // An expired field is its own tombstone, through cleaning.
    (
        &["HSET h a @300a b @300b", "!seal", "HSETEX h PX 10 FIELDS 1 a @300c", "!seal"],
        &[
            "!tick 10",
            "HEXISTS h a",
            "HSET h b @300d",
            "!seal",
            "!clean",
            "SET a @9y",
            "!seal",
            "!clean 2",
            "HSET h a @3e",
            "!clean",
        ],
    ),
    (
        &["HSET h a @20a b @5b", "HPEXPIRE h 10 FIELDS 1 a"],
        &[
            "MULTI | HPEXPIRE h 20 FIELDS 1 b | HSET h c @9c | HDEL h a | EXEC",
            "!tick 25",
            "HGETALL h",
            "DEBUG RELOAD",
            "FLUSHDB",
            "HSETEX h PX 5 FIELDS 1 a 1",
        ],
    ),
    // Sets.
    (
        &["SADD s a b c", "SADD t x"],
        &["SADD s d e", "SREM s a b", "SMOVE s t c", "SMOVE s t d", "SMOVE s t e", "SADD s a", "SREM t none"],
    ),
    (
        &["SADD s a b c d", "SADD t c d e"],
        &["SINTERSTORE u s t", "SUNIONSTORE u s t", "SDIFFSTORE s s t", "SPOP s 9", "SADD s z", "SPOP s", "SPOP t 5"],
    ),
    (
        &["SADD s a b c"],
        &["FLUSHDB", "SADD s a", "MOVE s 1", "SELECT 1", "SADD s b", "SWAPDB 0 1", "SREM s a", "COPY s s DB 2"],
    ),
    // Lists.
    (
        &["RPUSH q a b"],
        &[
            "LPUSH q @20a @30b",
            "RPUSH q @900c",
            "LPUSHX q d",
            "RPUSHX q @5e f",
            "LPUSHX none x",
            "RPUSH r @9a",
            "LLEN r",
        ],
    ),
    (
        &["RPUSH q a b c d e f g", "RPUSH r @20x"],
        &["LPOP q", "RPOP q 2", "LPOP r", "RPUSH r new", "LMPOP 2 none q LEFT COUNT 2", "LTRIM q 1 -1", "RPOP q 9"],
    ),
    (
        &["RPUSH q a b c b d"],
        &[
            "LSET q 1 @40x",
            "LINSERT q BEFORE c new",
            "LINSERT q AFTER new @20y",
            "LREM q 0 b",
            "LTRIM q 1 2",
            "LPUSH q @9z",
        ],
    ),
    (
        &["RPUSH q a b c", "RPUSH r x"],
        &[
            "LMOVE q r LEFT RIGHT",
            "LMOVE q q LEFT RIGHT",
            "RPOPLPUSH r q",
            "RPOPLPUSH r q",
            "RPOPLPUSH q s",
            "LMOVE s s LEFT LEFT",
        ],
    ),
    (
        &["RPUSH q 3 1 2", "MSET w1 9 w2 8 w3 7"],
        &[
            "SORT q STORE r",
            "SORT q BY w* GET # GET w* STORE q",
            "SET r @20a",
            "SORT q LIMIT 0 0 STORE r",
            "SORT q ALPHA STORE w1",
        ],
    ),
    (
        &["RPUSH q @100a @100b @100c @100d", "!seal"],
        &[
            "LPOP q",
            "RPOP q",
            "!seal",
            "!clean",
            "LPUSH q @100e",
            "LREM q 1 @100b",
            "!seal",
            "!clean",
            "LPOP q 9",
            "!clean",
        ],
    ),
    // Those that wait, where they need not.
    (
        &["RPUSH q a b c d e f", "ZADD z 1 a 2 b 3 c 4 d"],
        &[
            "BLPOP q 1",
            "BRPOP q 1",
            "BLMPOP 1 2 none q LEFT",
            "BLMOVE q r LEFT LEFT 1",
            "BRPOPLPUSH q r 1",
            "BLPOP q r 1",
            "BZPOPMIN z 1",
            "BZPOPMAX none z 1",
            "BZMPOP 1 1 z MIN COUNT 5",
        ],
    ),
    (
        &["RPUSH q a b c", "PEXPIRE q 30"],
        &["RENAME q r", "COPY r q", "LPOP q | RPUSH q d | LREM q 1 c", "MOVE q 1", "!tick 40", "RPUSH r new", "DEL r"],
    ),
    // Sorted sets.
    (
        &["ZADD z 1 a 2 b 3 c"],
        &[
            "ZADD z 4 d 1.5 e",
            "ZADD z XX CH 9 a",
            "ZADD z GT 1 a",
            "ZADD y NX 1 @200x",
            "ZINCRBY z 2 a",
            "ZINCRBY x -1 @5n",
            "ZREM z a b",
            "ZREM z none",
        ],
    ),
    (
        &["ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h"],
        &["ZPOPMIN z", "ZPOPMAX z 2", "ZMPOP 2 none z MIN COUNT 2", "ZADD z 1 a", "ZPOPMIN z 9", "ZADD z 1 a"],
    ),
    (
        &["ZADD z 0 a 0 b 0 c 0 d 0 e 0 f", "PEXPIRE z 500"],
        &[
            "ZREMRANGEBYLEX z [b [c",
            "ZREMRANGEBYRANK z 1 3",
            "ZADD z 1 b 2 c",
            "ZREMRANGEBYSCORE z 0 1",
            "ZREMRANGEBYLEX z - +",
            "ZADD z 1 b",
        ],
    ),
    // Ranges that are cut out: beside each other, within each other, and of members that have lain elsewhere before.
    (
        &["ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h 9 i"],
        &[
            "ZREMRANGEBYSCORE z 4 6",
            "ZADD z 5 e 4.5 x",
            "ZREMRANGEBYRANK z 0 2",
            "ZADD z 2 b 1 a 3 @40c",
            "ZREMRANGEBYSCORE z -inf (5",
            "ZREM z e",
            "ZADD z 5 e 6 f 4 d",
            "ZREMRANGEBYRANK z 2 -1",
        ],
    ),
    (
        &["ZADD z 1 b 20 @500x", "!seal", "ZADD z 9 b 8 c 7 d 6 e 1 a 2 f", "!seal"],
        &[
            "ZREMRANGEBYSCORE z 6 9",
            "!seal",
            "!clean",
            "ZADD z 7 d 5 c",
            "!clean 2",
            "ZREMRANGEBYRANK z 1 -2",
            "!clean",
        ],
    ),
    (
        &["ZADD x 1 a 2 b 3 c", "ZADD y 4 b 5 c 6 d", "SADD s c", "SET v @20a"],
        &[
            "ZUNIONSTORE u 3 x y s WEIGHTS 1 2 3",
            "ZINTERSTORE u 2 x y AGGREGATE MAX",
            "ZDIFFSTORE x 2 x y",
            "ZRANGESTORE v y 0 1",
            "ZRANGESTORE v none 0 1",
            "ZINTERSTORE u 2 x none",
        ],
    ),
    (
        &["ZADD z 1 @300a 2 @300b", "!seal"],
        &[
            "ZADD z 3 @300a",
            "!seal",
            "ZREM z @300b",
            "!clean",
            "ZADD z 1 @9c",
            "!seal",
            "!clean",
            "ZPOPMIN z",
            "!clean 2",
            "DEL z",
            "!clean",
        ],
    ),
    (
        &["ZADD z 1 a 2 b", "PEXPIRE z 20"],
        &["ZADD z 3 c", "RENAME z y", "COPY y z", "PERSIST z", "!tick 20", "ZADD y 1 a", "ZPOPMIN z", "MOVE z 1"],
    ),
    // Places.
    (
        &["GEOADD g 13.361389 38.115556 a 15.087269 37.502669 b"],
        &[
            "GEOADD g CH 2 48 c 13.5 38 a",
            "GEORADIUS g 15 37 500 km STORE d",
            "GEORADIUSBYMEMBER g a 500 km STOREDIST d",
            "GEOSEARCHSTORE e g FROMLONLAT 15 37 BYBOX 900 900 km",
            "GEOSEARCHSTORE e g FROMMEMBER c BYRADIUS 1 km STOREDIST",
        ],
    ),
    // Keys.
    (&["SET a @20a", "SET b @20b", "SET l @2500l"], &["DEL a b", "DEL l none", "SET a @4c", "UNLINK a", "UNLINK none"]),
    (
        &["SET a @20a PX 500", "SET b @20b", "SET l @2500l"],
        &["RENAME a b", "RENAME b c", "RENAME l a", "RENAME a l", "RENAMENX l x", "RENAMENX x c"],
    ),
    (
        &["SET a @20a PX 500", "SET l @2500l"],
        &["COPY a b", "COPY a b REPLACE", "COPY a a DB 1", "COPY l m", "COPY l l DB 2", "COPY a l REPLACE"],
    ),
    (
        &["SET a @20a PX 500", "SET l @2500l"],
        &["MOVE a 1", "MOVE l 2", "SET a @3b", "MOVE a 1", "SELECT 1", "MOVE a 0", "MOVE a 0"],
    ),
    (
        &["SET a @20a"],
        &[
            "RESTORE r 0 %dump(value)",
            "RESTORE r 30 %dump(other) REPLACE",
            "RESTORE a 1700000000100 %dump(third) REPLACE ABSTTL",
            "!tick 50",
            "EXISTS r",
        ],
    ),
    // Expiry.
    (
        &["SET a @20a", "SET b @20b", "SET l @2500l"],
        &[
            "EXPIRE a 1",
            "PEXPIRE b 10",
            "EXPIREAT l 1700000001",
            "PEXPIREAT b 1700000000030",
            "!tick 40",
            "EXISTS b",
            "PERSIST a",
        ],
    ),
    (
        &["SET a @20a", "SET b @20b"],
        &["PEXPIRE a 10 NX", "PEXPIRE a 20 GT", "PEXPIRE a 5 LT", "PEXPIRE b 9 XX", "PEXPIRE b -1", "!tick 7", "TTL a"],
    ),
    (
        &["SET a @20a PX 10", "SET b @20b PX 20", "SET c @5c"],
        &["!tick 15", "!expire", "!tick 10", "EXISTS b", "SET b @5d", "!expire"],
    ),
    (&["SET a @20a PX 10", "SET b @20b PX 10"], &["!tick 15", "SET a @5c", "SETNX b @5d", "!tick 5", "!expire"]),
    (&["SET a @20a PX 10", "SET b @20b PX 12"], &["!tick 15", "INCR a", "APPEND b @3x", "RENAME b c"]),
    (&["SET l @2500l PX 10"], &["!tick 15", "STRLEN l", "APPEND l @1500m", "SETRANGE l 1400 @9n"]),
    // Functions: there are none, and none are lost.
    (&["SET a @20a"], &["FUNCTION FLUSH"]),
    // Databases.
    (&["SET a @20a", "SET l @2500l"], &["FLUSHDB", "SET a @5b", "FLUSHDB ASYNC", "SET c @5c", "FLUSHDB SYNC"]),
    (
        &["SET a @20a", "SELECT 1", "SET b @20b", "SELECT 0"],
        &["FLUSHALL", "SET a @3c", "SELECT 2", "SET b @4d", "FLUSHALL ASYNC", "SET b @5e"],
    ),
    (
        &["SET a @20a", "SELECT 1", "SET a @30b PX 50", "SELECT 0"],
        &["SWAPDB 0 1", "SET a @3c", "SWAPDB 1 2", "SELECT 2", "SET a @4d", "SWAPDB 2 0"],
    ),
];

/// All of them.
pub fn all() -> Vec<Workload> {
    let workload = |(number, (prelude, lines)): (usize, &(&[&str], &[&str]))| {
        Workload::new(format!("command/{number}"), steps(prelude.iter().copied()), steps(lines.iter().copied()))
    };
    in_both_forms(ROWS.iter().enumerate().map(workload))
}

#[cfg(test)]
mod tests {
    use super::super::special;
    use super::*;
    use crate::engine::Driver;
    use crate::recording::Recording;
    use fencepost::command::{Flags, all as commands};
    use std::collections::BTreeSet;

    /// There are no libraries of functions that one could delete.
    const NEVER_SUCCEED: [&str; 1] = ["function|delete"];

    /// Every command that writes is in some workload where it succeeds. A new one needs a line in `ROWS`.
    #[test]
    fn every_command_that_writes_is_explored() {
        let mut driver = Driver::new();
        let mut succeeded = BTreeSet::new();
        for workload in all().into_iter().chain(special::all()) {
            let recording = Recording::of(&workload, &mut driver).unwrap();
            assert!(recording.found.is_empty(), "{}: {:?}", workload.name, recording.found);
            succeeded.extend(recording.succeeded);
        }
        let writing = commands().filter(|found| found.spec.flags.contains(Flags::WRITE)).map(|found| found.full_name());
        let (found, missing): (Vec<String>, Vec<String>) = writing.partition(|name| succeeded.contains(name));
        assert_eq!(missing, NEVER_SUCCEED, "no workload runs these with success, but {found:?}");
    }
}
