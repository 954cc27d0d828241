//! Runs beside the same commands one by one: what is answered, what is left, and how many ran together.

use super::*;
use crate::command::testing::{Reply, TestClient, split};
use crate::command::{After, Session, execute};
use crate::protocol::ArgSpans;
use crate::store::Worker;

/// A pipeline's replies, and how many of its commands ran at a time.
#[derive(Debug, PartialEq)]
struct Ran {
    together: Vec<usize>,
    replies: Vec<Reply>,
}

fn pipeline<S: AsRef<str>>(client: &mut TestClient, lines: &[S]) -> Ran {
    let packed: Vec<(Vec<u8>, ArgSpans)> = lines.iter().map(|line| pack(line.as_ref())).collect();
    let mut together = Vec::new();
    let bytes = client.with_ctx(|ctx| {
        let mut at = 0;
        // Ends: each turn runs at least one.
        while at < packed.len() {
            let ran = execute_run(ctx, packed.len() - at, |i| packed[at + i].1.args(&packed[at + i].0));
            if ran == 0 {
                let _replied = execute(ctx, packed[at].1.args(&packed[at].0));
                assert_eq!(ctx.after, After::Continue, "{}", lines[at].as_ref());
            }
            together.push(ran.max(1));
            at += ran.max(1);
        }
    });
    let (mut replies, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let (reply, behind) = Reply::decode(rest);
        replies.push(reply);
        rest = behind;
    }
    Ran { together, replies }
}

fn pack(line: &str) -> (Vec<u8>, ArgSpans) {
    let (mut bytes, mut spans) = (Vec::new(), ArgSpans::new());
    for word in split(line) {
        spans.push(bytes.len() as u32, word.len() as u32);
        bytes.extend_from_slice(&word);
    }
    (bytes, spans)
}

/// Everything that a client can find, in an order of its own.
fn all_of(client: &mut TestClient) -> Vec<(String, Vec<Reply>)> {
    let names = client.run("KEYS *").sorted_texts();
    let look = |name: String| {
        let kind = client.run(&format!("TYPE {name}"));
        let contents = match kind.text().as_str() {
            "hash" => client.run(&format!("HGETALL {name}")),
            "set" => Reply::Array(sorted(client.run(&format!("SMEMBERS {name}")).items())),
            "zset" => client.run(&format!("ZRANGE {name} 0 -1 WITHSCORES")),
            "list" => client.run(&format!("LRANGE {name} 0 -1")),
            _ => client.run(&format!("GET {name}")),
        };
        let contents = if kind.text() == "hash" { Reply::Array(sorted_pairs(contents.items())) } else { contents };
        let expiry = client.run(&format!("PEXPIRETIME {name}"));
        (name, vec![kind, contents, expiry])
    };
    names.into_iter().map(look).collect()
}

fn sorted(items: &[Reply]) -> Vec<Reply> {
    let mut items = items.to_vec();
    items.sort_by_key(Reply::text);
    items
}

fn sorted_pairs(items: &[Reply]) -> Vec<Reply> {
    let mut pairs: Vec<&[Reply]> = items.chunks(2).collect();
    pairs.sort_by_key(|pair| pair[0].text());
    pairs.concat()
}

/// Runs `lines` as a pipeline, after `before`, and one by one. Replies and what is left must be the same; how many ran together is returned.
fn alike(before: &[&str], lines: &[&str]) -> Vec<usize> {
    let (mut client, mut other) = (TestClient::new(), TestClient::new());
    for line in before {
        client.run(line);
        other.run(line);
    }
    let Ran { together, replies } = pipeline(&mut client, lines);
    let one_by_one: Vec<Reply> = lines.iter().map(|line| other.run(line)).collect();
    assert_eq!(replies, one_by_one, "{lines:?}");
    assert_eq!(all_of(&mut client), all_of(&mut other), "{lines:?}");
    let calls = |client: &mut TestClient| {
        let text = client.run("INFO commandstats").text();
        let calls = text.lines().filter_map(|line| line.split(',').next().map(str::to_owned));
        let shown = ["hset", "sadd", "zadd", "lpush", "rpush", "hdel", "hget", "hlen", "sismember", "zscore"];
        calls.filter(|line| shown.iter().any(|name| line.contains(name))).collect::<Vec<_>>()
    };
    assert_eq!(calls(&mut client), calls(&mut other));
    let looks = |client: &TestClient| {
        let stats = client.direct.shared.stats.worker(0);
        (stats.keyspace_hits.get(), stats.keyspace_misses.get())
    };
    assert_eq!(looks(&client), looks(&other));
    together
}

#[test]
fn commands_of_one_key_see_what_those_before_them_have_staged() {
    let lines = ["HSET h a 1", "HSET h b 2 a 3", "HMSET h c 4", "HSET h c 5 c 6 d 7", "HDEL h a x", "HSET h a 8"];
    assert_eq!(alike(&[], &lines), [6]);
    assert_eq!(alike(&["HSET h a 0 z 0", "PEXPIRE h 10000"], &lines), [6]);
    let lines = ["SADD s a b", "SADD s b c c", "SREM s a", "SADD s a", "SADD s a", "SREM s nothing"];
    assert_eq!(alike(&[], &lines), [6]);
    assert_eq!(alike(&["SADD s 1 2 3 4 5 6 7 8 9 10 a"], &lines), [6]);
    let lines = ["ZADD z 1 a 2 b", "ZADD z 3 a", "ZREM z b", "ZADD z 5 b 1 c", "ZADD z 5 b", "ZADD z -0 c 0 c"];
    assert_eq!(alike(&[], &lines), [6]);
    assert_eq!(alike(&["ZADD z 7 a 8 c 9 d"], &lines), [6]);
}

#[test]
fn a_list_is_pushed_to_at_both_ends() {
    let lines = ["LPUSH l a b", "RPUSH l c", "LPUSH l d", "RPUSH l e f", "RPUSH l g"];
    assert_eq!(alike(&[], &lines), [5]);
    assert_eq!(alike(&["RPUSH l x y"], &lines), [5]);
    assert_eq!(alike(&["RPUSH l x y z", "LINSERT l BEFORE y 1", "LTRIM l 1 1"], &lines), [5]);
    let turned = ["RPUSH l a", "LPUSH l b", "RPUSH l c"];
    assert_eq!(alike(&["RPUSH l x", "LPOP l"], &turned), [3]);
}

#[test]
fn keys_and_types_are_mixed() {
    let lines =
        ["HSET h a 1", "LPUSH l x", "SADD s m", "HSET g a 1", "LPUSH l y", "ZADD z 1 m", "HSET h a 2 b 3", "SADD t n"];
    assert_eq!(alike(&[], &lines), [8]);
    assert_eq!(alike(&["HSET g z 0", "SADD t n o", "SET other 1"], &lines), [8]);
    // Others end a run.
    assert_eq!(
        alike(&[], &["SADD s a", "SADD s b", "SCARD s", "SADD s c", "SET k v", "SET k w", "SADD s d"]),
        [2, 1, 1, 2, 1]
    );
}

#[test]
fn what_goes_wrong_ends_the_run_and_is_answered_for_itself() {
    let before = ["SET s text"];
    assert_eq!(alike(&before, &["HSET h a 1", "HSET h b 1", "HSET s a 1", "HSET h a 2 c 3", "SADD t m"]), [2, 1, 2]);
    // The second type of a key that the run has made.
    assert_eq!(alike(&[], &["SADD k a", "SADD j a", "LPUSH k b", "SADD k c", "SADD k d"]), [2, 1, 2]);
    assert_eq!(
        alike(&[], &["HSET h a 1", "HSET h b 1", "HSET h c", "HSET h c 1 d", "HMSET h c 1 d", "HSET h d 1"]),
        [2, 1, 1, 1, 1]
    );
    assert_eq!(
        alike(&before, &["ZADD z 1 a", "ZADD z 2 b", "ZADD z x a", "ZADD z nan a", "ZADD s x a", "ZADD z 1"]),
        [2, 1, 1, 1, 1]
    );
    let options =
        ["ZADD z 1 a", "ZADD z 3 b", "ZADD z NX 2 a", "ZADD z INCR 2 a", "ZADD z CH 7 a", "ZADD z 1 c", "ZADD z 1 d"];
    assert_eq!(alike(&[], &options), [2, 1, 1, 1, 2]);
}

/// Packed hashes and sets, and those of element records.
#[test]
fn looks_run_together() {
    let large: Vec<String> = (0..100).map(|number| format!("HSET big f{number} {number}")).collect();
    let mut before: Vec<&str> = large.iter().map(String::as_str).collect();
    before.extend(["HSET h a 1 b 22", "SADD s m n", "ZADD z 1.5 m -3 n", "RPUSH l x", "SET t text"]);
    let lines = [
        "HGET h a",
        "HGET h b",
        "HGET h c",
        "HGET big f7",
        "HGET big f99",
        "HGET none a",
        "HMGET big f1 f2 none f3",
        "HMGET none a b",
        "HLEN big",
        "HLEN none",
        "HEXISTS h a",
        "HEXISTS h c",
        "HSTRLEN h b",
        "HSTRLEN big none",
        "SCARD s",
        "SISMEMBER s m",
        "SISMEMBER s x",
        "SMISMEMBER s m x n",
        "ZCARD z",
        "ZSCORE z m",
        "ZSCORE z x",
        "ZMSCORE z n x m",
        "ZMSCORE none a",
    ];
    assert_eq!(alike(&before, &lines), [lines.len()]);
    // What is no fast look ends a run, and so does what goes wrong.
    assert_eq!(
        alike(&before, &["HGET h a", "HGET h b", "HGETALL h", "HGET h a", "HSET h a 2", "HGET h a"]),
        [2, 1, 1, 1, 1]
    );
    assert_eq!(alike(&before, &["HGET h a", "HGET l a", "HGET h a", "HLEN big"]), [1, 1, 2]);
    assert_eq!(alike(&before, &["HGET h a", "SCARD h", "HGET h a", "ZSCORE t a"]), [1, 1, 1, 1]);
    assert_eq!(alike(&before, &["HGET h a", "HGET h b", "HGET h", "HGET h a b", "HGET h a"]), [2, 1, 1, 1]);
    assert_eq!(alike(&before, &["HGET t a", "HGET t a"]), [1, 1]);
}

#[test]
fn looks_see_no_key_and_no_field_that_has_expired() {
    let mut client = TestClient::new();
    for line in ["HSET h a 1 b 2", "HPEXPIRE h 10 FIELDS 1 a", "SADD s m", "PEXPIRE s 10", "HSET g a 1"] {
        client.run(line);
    }
    let lines = ["HGET h a", "HLEN h", "SISMEMBER s m", "HGET g a", "HMGET h a b"];
    let there = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let before =
        vec![there("1"), Reply::Integer(2), Reply::Integer(1), there("1"), Reply::Array(vec![there("1"), there("2")])];
    assert_eq!(pipeline(&mut client, &lines), Ran { together: vec![5], replies: before });
    client.clock.advance(10);
    let after = vec![
        Reply::Null,
        Reply::Integer(1),
        Reply::Integer(0),
        there("1"),
        Reply::Array(vec![Reply::Null, there("2")]),
    ];
    assert_eq!(pipeline(&mut client, &lines), Ran { together: vec![5], replies: after });
}

/// Whatever comes is asked for ahead without being looked at: nothing counts, nothing changes, and what has expired stays for who will miss it.
#[test]
fn asking_ahead_shows_nowhere() {
    let mut client = TestClient::new();
    for line in ["SET a 1", "HSET h f 1", "SADD s m", "RPUSH l x", "SET gone 1 PX 5", "SELECT 1", "SET b 1", "SELECT 0"]
    {
        client.run(line);
    }
    client.clock.advance(10);
    let long = "k".repeat(AHEAD_NAME_BYTES + 1);
    let lines = ["INCR a", "HGETALL h", "PING", "NOSUCH x", "SET ''", "GET", "SELECT 1", "DEL a s gone", "EXISTS gone"];
    let packed: Vec<_> =
        lines.into_iter().map(str::to_owned).chain([format!("TTL {long}")]).map(|l| pack(&l)).collect();
    let look = |client: &mut TestClient, count: usize| {
        let mut covered = 0;
        client.with_ctx(|ctx| {
            covered = look_ahead(ctx, count, |i| packed[i % packed.len()].1.args(&packed[i % packed.len()].0))
        });
        covered
    };
    let before = client.run("INFO stats").text();
    assert_eq!(look(&mut client, packed.len()), packed.len());
    assert_eq!(look(&mut client, 100), RUN);
    assert_eq!(look(&mut client, 1), 1);
    let counted = |text: &str| {
        let of = |line: &&str| line.starts_with("keyspace_") || line.starts_with("expired_");
        text.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(counted(&client.run("INFO stats").text()), counted(&before));
}

/// Each of them is a use, as it is by itself.
#[test]
fn looks_count_as_uses() {
    let counts = |together: bool| {
        let mut client = TestClient::new();
        for line in ["CONFIG SET maxmemory-policy allkeys-lfu", "CONFIG SET lfu-log-factor 0", "HSET h a 1"] {
            client.run(line);
        }
        let lines = ["HGET h a", "HLEN h", "HGET h b"];
        if together {
            assert_eq!(pipeline(&mut client, &lines).together, [3]);
            client.run("CLIENT NO-TOUCH ON");
            pipeline(&mut client, &lines);
        } else {
            lines.iter().for_each(|line| drop(client.run(line)));
        }
        client.run("OBJECT FREQ h")
    };
    assert_eq!(counts(true), counts(false));
}

#[test]
fn a_key_that_ends_in_a_run_begins_anew_behind_it() {
    let before = ["HSET h a 1", "PEXPIRE h 10000", "SADD s a", "PEXPIRE s 10000"];
    assert_eq!(alike(&before, &["HSET g a 1", "HDEL h a", "HSET g b 1", "HSET h b 2", "HSET h c 3"]), [3, 2]);
    assert_eq!(alike(&before, &["SREM s a", "SADD s a", "SADD s b"]), [1, 2]);
    assert_eq!(alike(&before, &["HDEL h a", "SREM s a", "HDEL none a"]), [3]);
    // One that was not there before has nothing to lose.
    assert_eq!(alike(&[], &["HSET h a 1", "HDEL h a", "HSET h b 2", "HDEL h b"]), [4]);
    assert_eq!(alike(&[], &["HDEL h a", "HSET h a 1"]), [2]);
}

#[test]
fn a_key_that_has_expired_is_made_anew() {
    let (mut client, mut other) = (TestClient::new(), TestClient::new());
    let lines = ["HSET h b 2", "SADD s x", "HSET h c 3", "RPUSH l y"];
    let mut replies = Vec::new();
    for client in [&mut client, &mut other] {
        for line in ["HSET h a 1", "PEXPIRE h 10", "RPUSH l x", "PEXPIRE l 10", "SADD s y"] {
            client.run(line);
        }
        client.clock.advance(10);
    }
    let ran = pipeline(&mut client, &lines);
    replies.extend(lines.iter().map(|line| other.run(line)));
    assert_eq!(ran, Ran { together: vec![4], replies });
    assert_eq!(all_of(&mut client), all_of(&mut other));
}

/// Whatever commands, on few keys of few members: the same as one by one.
#[test]
fn random_pipelines_are_as_their_commands_one_by_one() {
    let mut seed = 5u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let (mut client, mut other) = (TestClient::new(), TestClient::new());
    let (mut most, mut together) = (0, 0);
    for round in 0..1500 {
        let mut line = || {
            let (key, name) = (random(4), random(if round % 3 == 0 { 4 } else { 40 }));
            match random(32) {
                0..5 => format!("HSET h{key} f{name} {round}"),
                5 => format!("HSET h{key} f{name} 1 f{} 2", random(40)),
                6..8 => format!("HDEL h{key} f{name} f{}", random(40)),
                8..10 => format!("LPUSH l{key} {round}"),
                10 => format!("RPUSH l{key} {round} {name}"),
                11..14 => format!("SADD s{key} {name} {}", random(40)),
                14 => format!("SREM s{key} {name}"),
                15..18 => format!("ZADD z{key} {} {name}", random(9)),
                18 => format!("ZREM z{key} {name}"),
                19 => format!("HSET s{key} {name} 1"),
                20 => format!("PEXPIRE h{key} {}", random(50)),
                21 => format!("LPOP l{key} {name}"),
                22 => format!("DEL {}{key}", ["h", "l", "s", "z"][random(4) as usize]),
                24..27 => format!("HGET h{key} f{name}"),
                27 => format!("HMGET h{key} f{name} f{}", random(40)),
                28 => format!("HLEN {}{key}", ["h", "l"][random(2) as usize]),
                29 => format!("SISMEMBER s{key} {name}"),
                30 => format!("ZSCORE z{key} {name}"),
                31 => format!("HPEXPIRE h{key} {} FIELDS 1 f{name}", 1 + random(30)),
                _ => format!("ZADD z{key} GT {} {name}", random(9)),
            }
        };
        let lines: Vec<String> = (0..40).map(|_| line()).collect();
        let ran = pipeline(&mut client, &lines);
        let one_by_one: Vec<Reply> = lines.iter().map(|line| other.run(line)).collect();
        assert_eq!(ran.replies, one_by_one, "{lines:?}");
        most = ran.together.iter().copied().fold(most, usize::max);
        together += ran.together.iter().filter(|&&count| count > 1).sum::<usize>();
        let by_ms = random(20);
        client.clock.advance(by_ms);
        other.clock.advance(by_ms);
        if round % 50 == 0 {
            assert_eq!(all_of(&mut client), all_of(&mut other));
        }
    }
    assert_eq!(all_of(&mut client), all_of(&mut other));
    assert!(most > 8 && together > 20_000, "{most} at most, {together} in all");
}

/// What has been answered is there, and nothing else: the run that finds no room goes on one by one.
#[test]
fn a_full_pool_in_the_middle_of_a_run_is_told_to_those_whom_it_meets() {
    let mut client = TestClient::new();
    let fill = format!("RPUSH filler {}", "x".repeat(100_000));
    // Ends: the pool is of 16 MiB.
    while matches!(client.run(&fill), Reply::Integer(_)) {}
    let (mut added, mut refused, mut number) = (0, 0, 0);
    while refused == 0 {
        let lines: Vec<Vec<Vec<u8>>> = (0..32)
            .map(|_| {
                number += 1;
                split(&format!("SADD s {number:0>700}"))
            })
            .collect();
        let mut out = bytes::BytesMut::new();
        assert_eq!(client.direct.run(&client.store, &mut client.worker, &lines, &mut out), 32);
        let mut rest = &out[..];
        while !rest.is_empty() {
            let (reply, behind) = Reply::decode(rest);
            match reply {
                Reply::Integer(count) => added += count,
                Reply::Error(text) => {
                    assert!(text.starts_with("OOM"), "{text}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
            rest = behind;
        }
    }
    assert_eq!(client.run("SCARD s"), Reply::Integer(added));
    // What frees is taken.
    let last = format!("{:0>700}", 1);
    assert_eq!(
        pipeline(&mut client, &[format!("SREM s {last}"), format!("SREM s {last}")]).replies,
        [1, 0].map(Reply::Integer)
    );
}

#[test]
fn a_run_ends_where_it_gets_long() {
    let value = "v".repeat(20_000);
    let lines: Vec<String> = (0..4).map(|n| format!("HSET h f{n} {value}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(alike(&[], &lines), [1, 1, 1, 1]);
    let value = "v".repeat(9_000);
    let lines: Vec<String> = (0..4).map(|n| format!("HSET h f{n} {value}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(alike(&[], &lines), [3, 1]);
}

#[test]
fn one_by_one_where_each_is_looked_at() {
    let lines = ["SADD s a", "SADD s b", "LPUSH l x", "LPUSH l y"];
    assert_eq!(alike(&["CONFIG SET notify-keyspace-events KEA"], &lines), [1; 4]);
    assert_eq!(alike(&["CONFIG SET slowlog-log-slower-than 0"], &lines), [1; 4]);
    let mut client = TestClient::new();
    client.run("MULTI");
    assert_eq!(pipeline(&mut client, &lines).together, [1; 4]);
    assert_eq!(client.run("EXEC").items(), [1, 1, 1, 2].map(Reply::Integer));
}

/// Another session, with a thread's worker of its own.
fn session(client: &TestClient) -> (Session, Worker) {
    let id = client.direct.shared.clients.connect(String::new(), String::new(), -1, 0);
    (Session::new(id, true), client.store.worker())
}

fn swap(client: &mut TestClient, other: &mut (Session, Worker)) {
    std::mem::swap(&mut client.direct.session, &mut other.0);
    std::mem::swap(&mut client.worker, &mut other.1);
}

#[test]
fn who_tracks_a_key_or_watches_it_is_told() {
    let mut client = TestClient::resp3();
    let mut other = session(&client);
    client.run("HELLO 3");
    client.run("CLIENT TRACKING ON");
    for line in ["HGETALL h", "SMEMBERS s", "WATCH l"] {
        client.run(line);
    }
    swap(&mut client, &mut other);
    assert_eq!(
        pipeline(&mut client, &["HSET h a 1", "HSET h b 1", "SADD s m", "LPUSH l x", "HSET h c 1"]).together,
        [5]
    );
    swap(&mut client, &mut other);
    let told: Vec<String> = client.take_pushes().iter().map(|push| push.items()[1].items()[0].text()).collect();
    assert_eq!(told, ["h", "s"]);
    client.run("MULTI");
    assert_eq!(client.run("EXEC"), Reply::Null, "a watched key has changed");
}

#[test]
fn who_waits_for_a_list_is_served_before_the_next_push() {
    let mut client = TestClient::new();
    let mut other = session(&client);
    swap(&mut client, &mut other);
    let blocks = [split("BLPOP l 0")];
    let mut out = bytes::BytesMut::new();
    client.direct.run(&client.store, &mut client.worker, &blocks, &mut out);
    let After::Block(waiter) = std::mem::take(&mut client.direct.after) else { panic!("it waits") };
    swap(&mut client, &mut other);
    let ran = pipeline(&mut client, &["LPUSH l a", "LPUSH l b", "SADD s m", "SADD s n"]);
    assert_eq!(ran, Ran { together: vec![1, 3], replies: [1, 1, 1, 1].map(Reply::Integer).to_vec() });
    let expected = crate::command::blocking::Answer::Reply(b"*2\r\n$1\r\nl\r\n$1\r\na\r\n".to_vec());
    assert_eq!(waiter.take_answer(), Some(expected));
    // Nobody waits any more.
    assert_eq!(pipeline(&mut client, &["LPUSH l a", "LPUSH l b"]).together, [2]);
}
