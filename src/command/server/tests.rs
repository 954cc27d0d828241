//! Claims about the server commands. Replies and error texts are those that redis-server 7.0.15 gave, where it has them.

use crate::cleaner::{CleanStep, Demand};
use crate::command::testing::{Reply, START_MS, TestClient};
use crate::command::{After, PauseScope, PauseWindow, ShutdownRequest};
use std::time::Duration;

fn int(value: i64) -> Reply {
    Reply::Integer(value)
}

fn ok() -> Reply {
    Reply::ok()
}

#[test]
fn info_has_the_sections_that_are_asked_for() {
    let mut client = TestClient::new();
    let titles = |text: String| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("# ").map(str::to_owned)).collect()
    };
    let by_default = titles(client.run("INFO").text());
    assert_eq!(
        by_default,
        [
            "Server",
            "Clients",
            "Memory",
            "Persistence",
            "Stats",
            "Replication",
            "CPU",
            "Modules",
            "Errorstats",
            "Cluster",
            "Keyspace"
        ]
    );
    assert_eq!(titles(client.run("INFO default").text()), by_default);
    assert!(titles(client.run("INFO all").text()).contains(&"Commandstats".to_owned()));
    assert_eq!(titles(client.run("INFO Keyspace SERVER nosuch").text()), ["Server", "Keyspace"]);
    assert_eq!(client.run("INFO nosuch"), Reply::bulk(""));
    let mut client = TestClient::resp3();
    assert!(matches!(client.run("INFO cluster"), Reply::Verbatim(format, _) if format == "txt"));
}

fn info_field(client: &mut TestClient, section: &str, field: &str) -> String {
    let text = client.run(&format!("INFO {section}")).text();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{section} has no {field}:\n{text}")).to_owned()
}

/// What INFO tells of cleaning, from the first write over a step in the middle to its end.
#[test]
fn info_shows_cleaning() {
    let mut client = TestClient::new();
    let number = |client: &mut TestClient, field: &str| -> u64 {
        info_field(client, "persistence", field).parse().expect("a number")
    };
    for field in ["pool_cleaner_segments", "pool_cleaner_bytes", "pool_cleaner_backlog", "pool_held", "pool_user_bytes"]
    {
        assert_eq!(number(&mut client, field), 0, "{field}");
    }
    assert_eq!(info_field(&mut client, "persistence", "pool_write_amplification"), "0.00");
    assert_eq!(info_field(&mut client, "memory", "used_memory_stale_filter"), ((16 << 20) / 128).to_string());
    // Every tenth value stays; the rest of the segments that they lie in is garbage.
    let value = "v".repeat(1000);
    for i in 0..3000 {
        let name = if i % 10 == 0 { format!("stays:{i}") } else { format!("goes:{}", i % 7) };
        assert_eq!(client.run(&format!("SET {name} {value}")), Reply::ok());
    }
    let (free, garbage) = (number(&mut client, "pool_segments_free"), number(&mut client, "pool_garbage"));
    assert!(number(&mut client, "pool_user_bytes") > 2000 * 1000);
    assert!(number(&mut client, "pool_flushed_bytes") > number(&mut client, "pool_user_bytes"));

    let mut backlog_max = 0;
    loop {
        let step = client.store.clean_step(Demand::Now);
        backlog_max = backlog_max.max(number(&mut client, "pool_cleaner_backlog"));
        match step {
            CleanStep::Worked => {}
            CleanStep::Waiting => std::thread::yield_now(),
            CleanStep::Idle => break,
        }
    }
    assert!(backlog_max >= 1);
    assert_eq!(number(&mut client, "pool_cleaner_backlog"), 0, "all of it is freed");
    let freed = number(&mut client, "pool_cleaner_segments");
    assert!(freed > 5, "{freed}");
    assert!(number(&mut client, "pool_segments_free") > free);
    assert!(number(&mut client, "pool_garbage") < garbage / 2);
    assert_eq!(number(&mut client, "pool_kept_segments"), 0);
    // Closing the cleaner's segment has it tell what it copied: some of the 300 values that stay.
    client.store.close().expect("memory needs no sync");
    let copied = number(&mut client, "pool_cleaner_bytes");
    assert!((100_000..400_000).contains(&copied), "{copied}");
    let written = number(&mut client, "pool_flushed_bytes") as f64 / number(&mut client, "pool_user_bytes") as f64;
    assert_eq!(info_field(&mut client, "persistence", "pool_write_amplification"), format!("{written:.2}"));
    assert!((1.0..2.0).contains(&written), "{written}");
}

#[test]
fn info_tells_the_truth() {
    let mut client = TestClient::new();
    client.run("SET a 1 EX 100");
    client.run("SET b 1");
    client.run("GET a");
    client.run("GET nosuch");
    client.run("nosuch");
    client.run("GET");
    client.run("EXPIRE a x");
    assert_eq!(info_field(&mut client, "server", "redis_version"), "7.2.4");
    assert_eq!(info_field(&mut client, "server", "fencepost_version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(info_field(&mut client, "keyspace", "db0"), "keys=2,expires=1,avg_ttl=100000,subexpiry=0");
    assert_eq!(info_field(&mut client, "stats", "keyspace_hits"), "1");
    assert_eq!(info_field(&mut client, "stats", "keyspace_misses"), "1");
    assert_eq!(info_field(&mut client, "stats", "total_error_replies"), "3");
    assert_eq!(info_field(&mut client, "errorstats", "errorstat_ERR"), "count=3");
    assert_eq!(info_field(&mut client, "persistence", "pool_medium"), "dram");
    assert_eq!(info_field(&mut client, "persistence", "pool_power_loss_safe"), "no");
    assert_eq!(info_field(&mut client, "persistence", "rdb_last_save_time"), (START_MS / 1000).to_string());
    let get = info_field(&mut client, "commandstats", "cmdstat_get");
    assert!(get.starts_with("calls=2,usec=") && get.ends_with(",rejected_calls=1,failed_calls=0"), "{get}");
    let expire = info_field(&mut client, "commandstats", "cmdstat_expire");
    assert!(expire.ends_with(",rejected_calls=0,failed_calls=1"), "{expire}");
}

#[test]
fn nothing_is_answered_before_authentication_but_what_may_be() {
    let mut client = TestClient::new();
    client.direct.session.authenticated = false;
    assert_eq!(client.run("GET a"), Reply::error("NOAUTH Authentication required."));
    // What does not exist is told first, as Redis does.
    assert_eq!(client.run("GET"), Reply::error("ERR wrong number of arguments for 'get' command"));
    assert!(client.run("nosuch").text().starts_with("ERR unknown command"));
    assert!(client.run("PING").text().starts_with("NOAUTH"));
    assert_eq!(client.run("QUIT"), ok());
}

#[test]
fn commands_wait_for_recovery_unless_they_need_no_data() {
    let mut client = TestClient::new();
    client.direct.shared.loading.begin(START_MS, 100);
    client.direct.shared.loading.set_loaded(25);
    assert_eq!(client.run("GET a"), Reply::error("LOADING Redis is loading the dataset in memory"));
    assert_eq!(info_field(&mut client, "persistence", "loading_loaded_perc"), "25.00");
    client.direct.shared.loading.end();
    assert_eq!(client.run("GET a"), Reply::Null);
}

#[test]
fn paused_commands_are_postponed_without_a_trace() {
    let mut client = TestClient::new();
    client.direct.shared.pause.begin(PauseWindow { scope: PauseScope::Write, until_ms: START_MS + 10 }, START_MS);
    assert!(client.run_raw(&["SET", "a", "1"]).is_empty());
    assert_eq!(client.direct.after, After::Postpone);
    assert_eq!(client.run("GET a"), Reply::Null);
    client.clock.advance(10);
    assert_eq!(client.run("SET a 1"), ok());
}

#[test]
fn slow_commands_are_logged_with_their_arguments_cut() {
    let mut client = TestClient::new();
    client.run("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3");
    client.run("SLOWLOG RESET");
    let long = "x".repeat(200);
    client.run(&format!("SET a {long}"));
    let many = vec!["k"; 40].join(" ");
    client.run(&format!("EXISTS {many}"));
    client.run("AUTH secret");
    let reply = client.run("SLOWLOG GET 3");
    let entries = reply.items();
    assert_eq!(entries.len(), 3);
    let args = |i: usize| -> Vec<String> { entries[i].items()[3].items().iter().map(Reply::text).collect() };
    assert_eq!(args(0), ["AUTH", "(redacted)"]);
    assert_eq!(args(1).len(), 32);
    assert_eq!(args(1)[31], "... (10 more arguments)");
    assert_eq!(args(2)[2], format!("{}... (72 more bytes)", "x".repeat(128)));
    assert_eq!(entries[2].items()[1], int(START_MS as i64 / 1000));
    assert_eq!(client.run("SLOWLOG LEN"), int(3), "no more than slowlog-max-len");
    client.run("CONFIG SET slowlog-log-slower-than -1");
    client.run("SLOWLOG RESET");
    client.run("GET a");
    assert_eq!(client.run("SLOWLOG LEN"), int(0));
}

#[test]
fn saving_and_waiting_answer_at_once() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SAVE"), ok());
    assert_eq!(client.run("BGSAVE"), Reply::Simple("Background saving started".into()));
    assert_eq!(client.run("BGSAVE FOO"), Reply::error("ERR syntax error"));
    assert_eq!(client.run("LASTSAVE"), int(START_MS as i64 / 1000));
    assert_eq!(client.run("WAIT 1 1000000"), int(0));
    assert_eq!(client.run("WAIT 0 -1"), Reply::error("ERR timeout is negative"));
    assert_eq!(client.run("WAIT 0 a"), Reply::error("ERR timeout is not an integer or out of range"));
    // Memory keeps nothing.
    assert_eq!(client.run("WAITAOF 1 0 0"), Reply::Array(vec![int(0), int(0)]));
    assert_eq!(client.run("WAITAOF 2 0 0"), Reply::error("ERR value is out of range, value must between 0 and 1"));
}

#[test]
fn shutting_down_is_left_to_the_connection() {
    let mut client = TestClient::new();
    assert!(client.run_raw(&["SHUTDOWN", "NOSAVE", "NOW"]).is_empty());
    assert_eq!(client.direct.after, After::Shutdown(ShutdownRequest { now: true, force: false }));
    for request in ["SHUTDOWN FOO", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW"] {
        assert_eq!(client.run(request), Reply::error("ERR syntax error"));
        assert_eq!(client.direct.after, After::Continue);
    }
    assert_eq!(client.run("SHUTDOWN ABORT"), Reply::error("ERR No shutdown in progress."));
}

#[test]
fn debug_does_what_test_suites_call() {
    let mut client = TestClient::new();
    assert_eq!(client.run("DEBUG SLEEP 0.5"), ok());
    assert_eq!(client.direct.after, After::Pause(Duration::from_millis(500)));
    let slowest = client.run("SLOWLOG GET 1");
    assert!(slowest.items()[0].items()[2].int() >= 500_000, "its sleep counts as its time: {slowest:?}");
    assert_eq!(client.run("DEBUG SET-ACTIVE-EXPIRE 0"), ok());
    assert_eq!(client.run("DEBUG POPULATE 3 p 10"), ok());
    assert_eq!(client.run("GET p:1"), Reply::bulk("value:1\0\0\0"));
    let digest = client.run("DEBUG DIGEST");
    assert_eq!(client.run("DEBUG RELOAD"), ok());
    assert_eq!(client.run("DEBUG DIGEST"), digest);
    assert_eq!(client.run("DBSIZE"), int(3));
    client.run("SET p:1 other");
    assert_ne!(client.run("DEBUG DIGEST"), digest);
    client.run("FLUSHALL");
    assert_eq!(client.run("DEBUG DIGEST"), Reply::Simple("0".repeat(40)));
    assert_eq!(client.run("DEBUG OBJECT a"), Reply::error("ERR no such key"));
    client.run("SET a 1");
    assert!(client.run("DEBUG OBJECT a").text().contains(" encoding:int serializedlength:2 "));
    assert_eq!(client.run("DEBUG STRINGMATCH-LEN 50000 a*a*a*a*b"), int(0));
    assert_eq!(
        client.run("DEBUG FOO"),
        Reply::error("ERR unknown subcommand or wrong number of arguments for 'FOO'. Try DEBUG HELP.")
    );
}

#[test]
fn each_type_of_the_protocol_has_its_sample() {
    for (kind, resp2, resp3) in [
        ("string", "$11\r\nHello World\r\n", "$11\r\nHello World\r\n"),
        ("integer", ":12345\r\n", ":12345\r\n"),
        ("double", "$5\r\n3.141\r\n", ",3.141\r\n"),
        ("null", "$-1\r\n", "_\r\n"),
        ("array", "*3\r\n:0\r\n:1\r\n:2\r\n", "*3\r\n:0\r\n:1\r\n:2\r\n"),
        ("set", "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n"),
        ("map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"),
        ("bignum", "$37\r\n1234567999999999999999999999999999999\r\n", "(1234567999999999999999999999999999999\r\n"),
        ("true", ":1\r\n", "#t\r\n"),
        ("false", ":0\r\n", "#f\r\n"),
        ("verbatim", "$25\r\nThis is a verbatim\nstring\r\n", "=29\r\ntxt:This is a verbatim\nstring\r\n"),
        (
            "attrib",
            "$39\r\nSome real reply following the attribute\r\n",
            "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n",
        ),
        (
            "push",
            "-ERR RESP2 is not supported by this command\r\n",
            ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n",
        ),
    ] {
        for (mut client, expected) in [(TestClient::new(), resp2), (TestClient::resp3(), resp3)] {
            assert_eq!(String::from_utf8_lossy(&client.run_raw(&["DEBUG", "PROTOCOL", kind])), expected);
        }
    }
}

#[test]
fn what_does_not_exist_answers_as_where_there_is_none() {
    let mut client = TestClient::new();
    let empty = Reply::Array(vec![]);
    assert_eq!(client.run("FUNCTION FLUSH SYNC"), ok());
    assert_eq!(client.run("FUNCTION LIST"), empty);
    assert_eq!(client.run("FUNCTION FLUSH x"), Reply::error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    assert_eq!(client.run("FUNCTION STATS").field("running_script"), &Reply::Null);
    assert_eq!(client.run("SCRIPT FLUSH"), ok());
    assert_eq!(client.run("SCRIPT EXISTS a b"), Reply::Array(vec![int(0), int(0)]));
    assert_eq!(client.run("SCRIPT KILL"), Reply::error("NOTBUSY No scripts in execution right now."));
    assert_eq!(client.run("MODULE LIST"), empty);
    assert_eq!(client.run("ROLE"), Reply::Array(vec![Reply::bulk("master"), int(0), empty.clone()]));
    assert_eq!(client.run("REPLICAOF NO ONE"), ok());
    assert!(client.run("REPLICAOF 127.0.0.1 6379").text().starts_with("ERR "));
    assert_eq!(client.run("CLUSTER INFO"), Reply::error("ERR This instance has cluster support disabled"));
    assert_eq!(client.run("LATENCY LATEST"), empty);
    assert_eq!(client.run("LATENCY GRAPH x"), Reply::error("ERR No samples available for event 'x'"));
}

#[test]
fn there_is_one_user_who_may_do_everything() {
    let mut client = TestClient::new();
    assert_eq!(client.run("ACL WHOAMI"), Reply::bulk("default"));
    assert_eq!(client.run("ACL LIST"), Reply::bulks(["user default on nopass ~* &* +@all"]));
    assert_eq!(client.run("ACL GETUSER default").field("flags").sorted_texts(), ["nopass", "on"]);
    assert_eq!(client.run("ACL GETUSER nosuch"), Reply::Null);
    assert_eq!(client.run("ACL CAT").items().len(), 21);
    assert!(client.run("ACL CAT bitmap").sorted_texts().contains(&"bitop".to_owned()));
    assert_eq!(client.run("ACL CAT nosuch"), Reply::error("ERR Unknown category 'nosuch'"));
    client.run("CONFIG SET requirepass secret");
    assert_eq!(client.run("ACL LIST"), Reply::bulks(["user default on (hidden) ~* &* +@all"]));
    let user = client.run("ACL GETUSER default");
    assert_eq!(user.field("flags"), &Reply::bulks(["on"]));
    assert_eq!(user.field("passwords"), &Reply::bulks(["(hidden)"]));
}

#[test]
fn memory_is_accounted_for() {
    let mut client = TestClient::new();
    client.run_args(&["SET", "small", "v"]);
    client.run_args(&["SET", "large", &"v".repeat(200_000)]);
    let (small, large) = (client.run("MEMORY USAGE small SAMPLES 0").int(), client.run("MEMORY USAGE large").int());
    assert!((16..=256).contains(&small), "{small}");
    assert!((200_000..=220_000).contains(&large), "{large}");
    assert_eq!(client.run("MEMORY USAGE nosuch"), Reply::Null);
    assert_eq!(client.run("MEMORY USAGE small SAMPLES -1"), Reply::error("ERR syntax error"));
    let stats = client.run("MEMORY STATS");
    assert_eq!(stats.field("keys.count"), &int(2));
    assert_eq!(stats.field("db.0").field("overhead.hashtable.main"), &int(16));
    assert!(stats.field("dataset.bytes").int() >= 200_000);
    assert!(client.run("MEMORY DOCTOR").text().contains("nothing survives a restart"));
}

#[test]
fn the_time_is_that_of_the_clock() {
    let mut client = TestClient::new();
    client.clock.advance(2_345);
    let reply = client.run("TIME");
    assert_eq!(reply.items()[0], Reply::bulk((START_MS / 1000 + 2).to_string()));
    let micros: u64 = reply.items()[1].text().parse().expect("a number");
    assert_eq!(micros / 1000, 345);
}

#[test]
fn the_drawing_ends_with_the_version() {
    let mut client = TestClient::new();
    for request in ["LOLWUT", "LOLWUT 3", "LOLWUT VERSION 5", "LOLWUT VERSION 5 999999"] {
        let text = client.run(request).text();
        assert!(text.trim_end().ends_with("Redis ver. 7.2.4") && text.contains("Fencepost ver. "), "{text}");
        assert!(text.len() < 10_000);
    }
}
