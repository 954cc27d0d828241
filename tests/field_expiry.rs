//! Fields of hashes that expire, step by step beside a Redis 8: replies and keyspace events, what is told of the commands, and hashes that one server
//! serializes for the other. Random commands are compared in `tests/model.rs`.

use fencepost_harness::compare::agree;
use fencepost_harness::server::redis_8;
use fencepost_harness::{Client, Command, Frame, Program, Server, Storage, command};

/// A server, who commands it, and who hears of it.
struct Side {
    _server: Server,
    client: Client,
    listener: Client,
}

impl Side {
    fn start(program: Program, resp: u8) -> Self {
        let options: &[&str] = match program {
            Program::Fencepost(_) => &["--medium", "dram", "--pool-size", "16mb"],
            _ => &[],
        };
        let server = Server::start(program, &Storage::Memory, options);
        let (mut client, mut listener) = (server.client(), server.client());
        for client in [&mut client, &mut listener] {
            client.hello(resp).expect("HELLO is answered");
        }
        assert_eq!(client.must(&["CONFIG", "SET", "notify-keyspace-events", "KEAmn"]), Frame::ok());
        for request in [["PSUBSCRIBE", "__keyevent@0__:*"], ["SUBSCRIBE", "end"]] {
            listener.send(&request);
            listener.flush().expect("the connection holds");
            listener.next_frame().expect("a subscription is confirmed");
        }
        Self { _server: server, client, listener }
    }

    /// The reply, and the events up to `last`; where there is none to wait for, those of the command itself.
    fn run(&mut self, command: &Command, last: Option<&str>) -> (Frame, Vec<String>) {
        let reply = self.client.must(command);
        let (end, mut events) = ("end is near", Vec::new());
        if last.is_none() {
            self.client.must(&["PUBLISH", "end", "is near"]);
        }
        loop {
            let event = self.event();
            if event == end {
                return (reply, events);
            }
            events.push(event);
            if events.last().map(String::as_str) == last {
                return (reply, events);
            }
        }
    }

    /// The next message: the event and the key, or the channel and the text.
    fn event(&mut self) -> String {
        let frame = self.listener.next_frame().expect("an event comes");
        let (Frame::Array(items) | Frame::Push(items)) = &frame else { panic!("not a message: {frame:?}") };
        let texts: Vec<String> =
            items.iter().filter_map(Frame::bytes).map(|text| String::from_utf8_lossy(text).into()).collect();
        texts[texts.len() - 2..].join(" ").trim_start_matches("__keyevent@0__:").to_owned()
    }
}

/// Runs `check` with both servers, in both versions of the protocol, if there is a Redis 8.
fn beside_redis_8(check: impl Fn(&mut Side, &mut Side)) {
    if let Some(redis) = redis_8() {
        for resp in [2, 3] {
            let ours = Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into());
            check(&mut Side::start(ours, resp), &mut Side::start(redis.clone(), resp));
        }
    }
}

fn words(line: &str) -> Command {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

fn assert_alike(ours: &mut Side, theirs: &mut Side, line: &str, last: Option<&str>) {
    let command = words(line);
    let (ours, theirs) = (ours.run(&command, last), theirs.run(&command, last));
    assert!(agree(&command, &ours.0, &theirs.0), "{line} answered {:?}, Redis 8 {:?}", ours.0, theirs.0);
    assert_eq!(ours.1, theirs.1, "events of {line}, left ours");
}

#[test]
fn commands_raise_the_same_events() {
    beside_redis_8(|ours, theirs| {
        for line in "HSET h a 1 b 2 c 3|HEXPIRE h 100 FIELDS 2 a b|HEXPIRE h 200 NX FIELDS 2 a c|HEXPIRE h 200 NX FIELDS 2 a c
            |HEXPIRE h 200 FIELDS 2 none x|HPEXPIREAT h 4102444800000 GT FIELDS 1 b|HEXPIRE h 0 FIELDS 2 none x|HEXPIRE none 0 FIELDS 1 a
            |HEXPIRE h 0 NX FIELDS 2 a b|HEXPIRE h 0 FIELDS 2 a none|HEXPIREAT h 1 FIELDS 2 b c|HSET h a 1 b 2 c 3
            |HPERSIST h FIELDS 1 b|HEXPIRE h 100 FIELDS 1 b|HPERSIST h FIELDS 3 b c none|HPERSIST h FIELDS 2 b c|HPERSIST none FIELDS 1 a
            |HGETEX h FIELDS 1 b|HGETEX h EX 100 FIELDS 2 b none|HGETEX h PX 100000 FIELDS 1 none|HGETEX h PERSIST FIELDS 2 b c
            |HGETEX h PERSIST FIELDS 2 b c|HGETEX h EXAT 1 FIELDS 2 b none|HGETEX h PXAT 1 FIELDS 2 a c|HGETEX h EX 10 FIELDS 1 a|HGETEX h FIELDS 1 a
            |HGETEX h EX 10 FIELDS|HTTL h FIELDS 1 a|HSETEX h FXX FIELDS 1 a 1|HSETEX h FNX FIELDS 2 a 1 b 2|HSETEX h FNX FIELDS 1 a 1
            |HSETEX h FXX EX 100 FIELDS 2 a 1 b 2|HSETEX h KEEPTTL FIELDS 2 a 1 c 2|HTTL h FIELDS 3 a b c|HSETEX h EX 0 FIELDS 2 c 1 none 2
            |HSETEX h EX 0 FIELDS 2 none 1 none 2|HSETEX h PXAT 1 FIELDS 2 a 1 b 2|EXISTS h|HSETEX h PXAT 1 FIELDS 2 a 1 b 2
            |HSETEX h FNX EX 0 FIELDS 1 a 1|HSETEX h FXX EX 0 FIELDS 1 a 1|EXISTS h|HSETEX h EX 100 FIELDS 2 a 1 b 2|HINCRBY h a 1
            |HINCRBYFLOAT h a 0.5|HTTL h FIELDS 1 a|HSETNX h a 1|HSET h a 1|HMSET h b 1|HTTL h FIELDS 2 a b|HGETDEL h FIELDS 2 none x
            |HEXPIRE h 100 FIELDS 1 a|RENAME h g|COPY g h|HTTL h FIELDS 1 a|MOVE g 1|HGETDEL h FIELDS 2 none a|HGETDEL h FIELDS 2 none b
            |HGETDEL h FIELDS 1 b|HPTTL none FIELDS 1 a|HSETEX h EX 100 FIELDS 1 a 1|HDEL h a"
            .split('|')
        {
            assert_alike(ours, theirs, line, None);
        }
    });
}

#[test]
fn fields_that_expire_raise_the_same_events() {
    beside_redis_8(|ours, theirs| {
        for (line, last) in [
            ("HSET h a 1 b 2 c 3 d 4", None),
            ("HPEXPIRE h 1 FIELDS 1 a", Some("hexpired h")),
            ("HGETEX h PX 1 FIELDS 1 b", Some("hexpired h")),
            ("HSETEX h PX 1 FIELDS 1 new 5", Some("hexpired h")),
            ("HGETALL h", None),
            ("HTTL h FIELDS 5 a b c d new", None),
            ("HSETEX h PX 1 FIELDS 2 c 3 d 4", Some("del h")),
            ("EXISTS h", None),
            ("HGETALL h", None),
            ("HSETEX g PX 1 FIELDS 1 a 1", Some("del g")),
            ("HSET g a 1", None),
            ("HTTL g FIELDS 1 a", None),
        ] {
            assert_alike(ours, theirs, line, last);
        }
    });
}

#[test]
fn the_same_is_told_of_commands_and_encodings() {
    beside_redis_8(|ours, theirs| {
        for name in [
            "HEXPIRE",
            "HPEXPIRE",
            "HEXPIREAT",
            "HPEXPIREAT",
            "HTTL",
            "HPTTL",
            "HEXPIRETIME",
            "HPEXPIRETIME",
            "HPERSIST",
            "HGETEX",
            "HSETEX",
            "HGETDEL",
        ] {
            assert_alike(ours, theirs, &format!("COMMAND INFO {name}"), None);
            assert_alike(ours, theirs, &format!("COMMAND GETKEYSANDFLAGS {name} h EX 1 FIELDS 1 a"), None);
        }
        let long = "x".repeat(65);
        for line in format!(
            "HSET h a 1|OBJECT ENCODING h|HEXPIRE h 100 FIELDS 1 a|OBJECT ENCODING h|HPERSIST h FIELDS 1 a|OBJECT ENCODING h|COPY h g
            |OBJECT ENCODING g|RENAME g i|OBJECT ENCODING i|HSETEX h EX 100 FIELDS 1 b {long}|OBJECT ENCODING h|HDEL h b|OBJECT ENCODING h
            |HSETEX s FIELDS 1 a 1|OBJECT ENCODING s|HSETEX s EX 9 FIELDS 1 a 1|OBJECT ENCODING s|HSETEX t FNX FIELDS 1 a {long}|OBJECT ENCODING t"
        )
        .split('|')
        {
            assert_alike(ours, theirs, line, None);
        }
    });
}

/// Few fields and many, with and without any that expire.
#[test]
fn each_restores_what_the_other_dumps() {
    beside_redis_8(|ours, theirs| {
        for (count, expire) in [(3, true), (3, false), (3000, true), (3000, false)] {
            let pairs: Vec<String> = (0..count).map(|number| format!("{number} value:{number}")).collect();
            let key = format!("{count}:{expire}");
            let mut lines = vec![format!("HSET {key} {}", pairs.join(" "))];
            if expire {
                lines.push(format!("HPEXPIREAT {key} 4102444800123 FIELDS 2 0 2"));
                lines.push(format!("HPEXPIREAT {key} 4102444800121 FIELDS 1 1"));
            }
            lines.iter().for_each(|line| assert_alike(ours, theirs, line, None));
            let dump = command(&["DUMP", &key]);
            let (from_us, from_them) = (ours.client.must(&dump), theirs.client.must(&dump));
            for (side, payload) in [(&mut *ours, from_them), (&mut *theirs, from_us)] {
                let restore = [&b"RESTORE"[..], b"r", b"0", payload.bytes().expect("a payload"), b"REPLACE"];
                assert_eq!(side.client.must(&restore), Frame::ok(), "{key}");
                let same = [("HGETALL", ""), ("HPEXPIRETIME", "FIELDS 4 0 1 2 none"), ("OBJECT ENCODING", "")];
                for (name, rest) in same {
                    let [original, restored] =
                        [key.as_str(), "r"].map(|key| side.client.must(&words(&format!("{name} {key} {rest}"))));
                    assert!(
                        agree(&words(name), &restored, &original),
                        "{name} of {key}: {restored:?}, not {original:?}"
                    );
                }
            }
        }
    });
}
