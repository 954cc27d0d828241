//! What is published of which command. The whole list was compared with redis-server 7.0.15; this keeps a line of each kind.

use crate::command::testing::{Reply, TestClient};

/// A client of RESP3 that hears all events of `classes` itself.
fn hearing(classes: &str) -> TestClient {
    let mut client = TestClient::resp3();
    client.run("HELLO 3");
    client.run(&format!("CONFIG SET notify-keyspace-events {classes}"));
    client.run("PSUBSCRIBE __key*__:*");
    client
}

/// What was published since the last time: channel and message.
fn heard(client: &mut TestClient) -> Vec<String> {
    let event = |push: &Reply| format!("{} {}", push.items()[2].text(), push.items()[3].text());
    client.take_pushes().iter().map(event).collect()
}

#[test]
fn an_event_goes_to_the_channels_that_are_asked_for() {
    for (classes, expected) in [
        ("KE$", &["__keyspace@0__:k set", "__keyevent@0__:set k"][..]),
        ("KA", &["__keyspace@0__:k set"]),
        ("E$n", &["__keyevent@0__:new k", "__keyevent@0__:set k"]),
        ("Eg", &[]),
        ("A", &[]),
        ("KE", &[]),
    ] {
        let mut client = hearing(classes);
        client.run("SET k v");
        assert_eq!(heard(&mut client), expected, "{classes}");
    }
}

#[test]
fn commands_raise_the_events_that_they_raise_in_redis() {
    let mut client = hearing("EAmn");
    for (line, expected) in [
        ("SET k v EX 100", "new k, set k, expire k"),
        ("SET k v", "set k"),
        ("SET k v NX", ""),
        ("SETNX s v", "new s, set s"),
        ("GETSET g v", "keymiss g, new g, set g"),
        ("APPEND k x", "append k"),
        ("INCR i", "new i, incrby i"),
        ("DECRBY i 5", "incrby i"),
        ("INCRBYFLOAT i 1", "incrbyfloat i"),
        ("SETRANGE k 1 x", "setrange k"),
        ("SETRANGE none 1 ''", ""),
        ("MSET k 1 m 2 m 3", "set k, new m, set m, set m"),
        ("MSETNX k 1 o 2", ""),
        ("MSETNX n 1 o 2", "new n, set n, new o, set o"),
        ("GETDEL n", "del n"),
        ("GETDEL n", "keymiss n"),
        ("GETEX k EX 100", "expire k"),
        ("GETEX k PERSIST", "persist k"),
        ("GETEX k PERSIST", ""),
        ("GETEX o PXAT 1", "del o"),
        ("SETBIT b 1 1", "new b, setbit b"),
        ("SETBIT b 1 1", ""),
        ("BITFIELD b SET u8 0 255", "setbit b"),
        ("BITFIELD b GET u8 0", ""),
        ("BITOP NOT r b", "new r, set r"),
        ("BITOP NOT r none", "keymiss none, del r"),
        ("PFADD h a", "new h, pfadd h"),
        ("PFADD h a", ""),
        ("PFMERGE h2 h", "keymiss h2, new h2, pfadd h2"),
        ("EXPIRE k 100", "expire k"),
        ("PERSIST k", "persist k"),
        ("EXPIRE m -1", "del m"),
        ("RENAME k l", "new l, rename_from k, rename_to l"),
        ("RENAME l l", ""),
        ("COPY l c", "new c, copy_to c"),
        ("DEL l c none", "del c, del l"),
        ("GET none", "keymiss none"),
        ("MGET none s gone", "keymiss none, keymiss gone"),
        ("EXISTS none s", "keymiss none"),
        ("TTL none", "keymiss none"),
        ("FLUSHALL", ""),
        ("HSET h a 1 b 2", "new h, hset h"),
        ("HINCRBY h a 1", "hincrby h"),
        ("HDEL h a", "hdel h"),
        ("HDEL h b", "hdel h, del h"),
        ("HSETEX f EX 100 FIELDS 2 a 1 b 2", "new f, hset f, hexpire f"),
        ("HSETEX f FNX FIELDS 1 a 1", ""),
        ("HSETEX f KEEPTTL FIELDS 1 a 1", "hset f"),
        ("HEXPIRE f 200 FIELDS 3 a b none", "hexpire f"),
        ("HEXPIRE f 100 GT FIELDS 1 a", ""),
        ("HPERSIST f FIELDS 2 a none", "hpersist f"),
        ("HPERSIST f FIELDS 1 a", ""),
        ("HGETEX f FIELDS 1 a", ""),
        ("HGETEX f EX 10 FIELDS 1 a", "hexpire f"),
        ("HGETEX f PERSIST FIELDS 1 a", "hpersist f"),
        ("HGETEX f PXAT 1 FIELDS 1 a", "hdel f"),
        ("HPEXPIREAT f 1 FIELDS 1 b", "hdel f, del f"),
        ("HSETEX f FIELDS 2 a 1 b 2", "new f, hset f"),
        ("HGETDEL f FIELDS 2 a none", "hdel f"),
        ("HSETEX f EX 0 FIELDS 1 b 2", "hset f, hdel f, del f"),
        ("HSETEX f EX 0 FIELDS 1 b 2", "new f, hset f, hdel f, del f"),
        ("SADD s a b", "new s, sadd s"),
        ("SADD s a", ""),
        ("SMOVE s t a", "srem s, new t, sadd t"),
        ("SUNIONSTORE u s t", "new u, sunionstore u"),
        ("SINTERSTORE u s t", "del u"),
        ("SPOP s", "spop s, del s"),
        ("SREM t a", "srem t, del t"),
        ("RPUSH l b a c", "new l, rpush l"),
        ("LPUSHX none a", ""),
        ("LSET l 0 d", "lset l"),
        ("LINSERT l BEFORE a b", "linsert l"),
        ("LREM l 0 b", "lrem l"),
        ("LMOVE l m LEFT RIGHT", "new m, rpush m, lpop l"),
        ("SORT l ALPHA STORE s", "new s, sortstore s"),
        ("LMPOP 1 m LEFT COUNT 9", "lpop m, del m"),
        ("LTRIM l 5 9", "ltrim l, del l"),
        ("RPOP s", "rpop s"),
        ("SORT s BY w_* GET #", "keymiss w_a"),
        ("SINTER none gone", "keymiss none, keymiss gone"),
        ("SDIFFSTORE none none gone", "keymiss none, keymiss gone"),
        ("ZADD z 1 a 2 b", "new z, zadd z"),
        ("ZADD z 1 a", ""),
        ("ZADD z XX 2 a", "zadd z"),
        ("ZADD none XX 2 a", ""),
        ("ZADD z NX INCR 1 a", ""),
        ("ZADD z INCR 1 a", "zincr z"),
        ("ZINCRBY z 0 a", ""),
        ("ZINCRBY y 1 a", "new y, zincr y"),
        ("ZREM y none", ""),
        ("ZREM y a", "zrem y, del y"),
        ("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f 7 g 8 h", "zadd z"),
        ("ZREM z a", "zrem z"),
        ("ZREMRANGEBYRANK z 0 0", "zremrangebyrank z"),
        ("ZREMRANGEBYSCORE z 3 3", "zremrangebyscore z"),
        ("ZREMRANGEBYLEX z [d [d", "zremrangebylex z"),
        ("ZREMRANGEBYRANK z 9 10", ""),
        ("ZPOPMIN z", "zpopmin z"),
        ("ZPOPMAX z", "zpopmax z"),
        ("ZPOPMIN z 0", ""),
        ("BZPOPMIN none z 0", "zpopmin z"),
        ("ZMPOP 2 none z MAX COUNT 9", "zpopmax z, del z"),
        ("ZADD z 1 a 2 b", "new z, zadd z"),
        ("ZRANGESTORE t z 0 1", "new t, zrangestore t"),
        ("ZRANGESTORE t z 5 9", "del t"),
        ("ZRANGESTORE t z 5 9", ""),
        ("ZRANGESTORE t none 5 9", "keymiss none"),
        ("ZUNION 2 none z", "keymiss none"),
        ("ZUNIONSTORE t 1 z", "new t, zunionstore t"),
        ("ZINTERSTORE t 1 z", "zinterstore t"),
        ("ZDIFFSTORE t 2 z t", "del t"),
        ("ZDIFFSTORE t 2 z z", ""),
        ("ZDIFFSTORE t 1 z", "new t, zdiffstore t"),
        ("ZREMRANGEBYSCORE z -inf inf", "zremrangebyscore z, del z"),
        ("GEOADD g 13.361389 38.115556 a 15.087269 37.502669 b", "new g, zadd g"),
        ("GEORADIUS g 15 37 200 km STORE p", "new p, georadiusstore p"),
        ("GEORADIUSBYMEMBER g a 200 km STOREDIST p", "georadiusstore p"),
        ("GEORADIUS g 15 37 1 m STORE p", "del p"),
        ("GEOSEARCHSTORE p g FROMLONLAT 15 37 BYRADIUS 200 km", "new p, geosearchstore p"),
        ("GEOSEARCHSTORE p g FROMLONLAT 15 37 BYRADIUS 1 m", "del p"),
        ("GEOSEARCHSTORE p none FROMLONLAT 15 37 BYRADIUS 1 m", "keymiss none"),
    ] {
        client.run(line);
        let events: Vec<String> =
            heard(&mut client).iter().map(|event| event.trim_start_matches("__keyevent@0__:").to_owned()).collect();
        assert_eq!(events.join(", "), expected, "{line}");
    }
    client.run("SET k v");
    heard(&mut client);
    client.run("MOVE k 1");
    assert_eq!(heard(&mut client), ["__keyevent@1__:new k", "__keyevent@0__:move_from k", "__keyevent@1__:move_to k"]);
}

/// A key that is due is told of by whoever removes it: the cycle, or a read.
#[test]
fn expired_is_published_by_the_store() {
    let mut client = hearing("Ex");
    client.run("SET a v PX 10");
    client.run("SET b v PX 10");
    client.clock.advance(20);
    assert_eq!(client.run("GET a"), Reply::Null);
    client.store.expire_cycle(client.clock.now_ms(), std::time::Duration::from_secs(1));
    let mut events = heard(&mut client);
    events.sort_unstable();
    assert_eq!(events, ["__keyevent@0__:expired a", "__keyevent@0__:expired b"]);
    client.run("CONFIG SET notify-keyspace-events E$");
    client.run("SET a v PX 10");
    client.clock.advance(20);
    client.run("GET a");
    assert_eq!(heard(&mut client), ["__keyevent@0__:set a"]);
}

#[test]
fn evicted_is_published_for_each_key() {
    let mut client = hearing("Ee");
    client.run("CONFIG SET maxmemory-policy allkeys-random maxmemory 100kb");
    for i in 0..400 {
        client.run_args(&[&b"SET"[..], format!("key:{i}").as_bytes(), &[b'x'; 1000]]);
    }
    let events = heard(&mut client);
    let evicted = client.direct.shared.stats.worker(0).evicted_keys.get();
    assert!(evicted > 100, "{evicted}");
    assert_eq!(events.len() as u64, evicted);
    assert!(events.iter().all(|event| event.starts_with("__keyevent@0__:evicted key:")));
}

/// One that finds no room is run again when there may be some, and has raised nothing before.
#[test]
fn a_command_that_waits_for_room_has_raised_nothing() {
    let mut client = hearing("Em$");
    let mut get_and_set = |i: usize| {
        let reply = client.run_args(&[&b"SET"[..], format!("key:{i}").as_bytes(), &[b'x'; 60_000], b"GET"]);
        (reply, heard(&mut client).len())
    };
    let outcomes: Vec<_> = (0..).map(&mut get_and_set).take_while(|(reply, _)| *reply == Reply::Null).collect();
    assert!(outcomes.len() > 100 && outcomes.iter().all(|(_, events)| *events == 2), "{}", outcomes.len());
    let (refused, events) = get_and_set(outcomes.len());
    assert!(refused.text().starts_with("OOM "));
    assert_eq!(events, 0);
}

/// Inside a transaction they wait for its end, or are dropped with it.
#[test]
fn events_of_a_transaction_come_after_it() {
    let mut client = hearing("E$");
    client.direct.session.in_exec = true;
    client.run("SET a 1");
    client.run("SET b 1");
    assert_eq!(heard(&mut client), [""; 0]);
    client.direct.session.in_exec = false;
    client.with_ctx(|ctx| ctx.publish_events());
    assert_eq!(heard(&mut client), ["__keyevent@0__:set a", "__keyevent@0__:set b"]);
    client.direct.session.in_exec = true;
    client.run("SET a 1");
    client.direct.session.in_exec = false;
    client.with_ctx(|ctx| {
        ctx.drop_events();
        ctx.publish_events();
    });
    assert_eq!(heard(&mut client), [""; 0]);
}

#[test]
fn fields_that_expire_are_told_of() {
    let mut client = hearing("Egh");
    client.run("HSETEX h PX 10 FIELDS 2 a 1 b 2");
    client.run("HSET h c 3");
    client.run("HPEXPIRE h 20 FIELDS 1 c");
    heard(&mut client);
    client.clock.advance(10);
    client.run("HLEN h");
    assert_eq!(heard(&mut client), ["__keyevent@0__:hexpired h"]);
    client.clock.advance(10);
    client.store.expire_cycle(client.clock.now_ms(), std::time::Duration::from_secs(9));
    assert_eq!(heard(&mut client), ["__keyevent@0__:hexpired h", "__keyevent@0__:del h"]);
}
