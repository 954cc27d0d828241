//! Claims about the connection commands, without a connection.

use crate::command::clients::Signals;
use crate::command::testing::{Reply, TestClient};
use crate::command::{After, REDIS_VERSION};

fn refused(client: &mut TestClient, line: &str) -> String {
    match client.run(line) {
        Reply::Error(text) => text,
        other => panic!("{line} was answered with {other:?}"),
    }
}

#[test]
fn hello_tells_about_the_server_and_changes_the_protocol() {
    let mut client = TestClient::new();
    let reply = client.run("HELLO 3 SETNAME me");
    assert_eq!(reply.field("server"), &Reply::bulk("redis"));
    assert_eq!(reply.field("version"), &Reply::bulk(REDIS_VERSION));
    assert_eq!(reply.field("proto"), &Reply::Integer(3));
    assert!(matches!(reply, Reply::Map(_)));
    assert_eq!(client.run("CLIENT GETNAME"), Reply::bulk("me"));
    assert!(matches!(client.run("HELLO 2"), Reply::Array(_)));
}

#[test]
fn hello_refuses_what_redis_refuses() {
    let mut client = TestClient::new();
    for (line, text) in [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO a", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 FOO", "ERR Syntax error in HELLO option 'FOO'"),
        ("HELLO 3 AUTH a", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 AUTH foo b", "WRONGPASS invalid username-password pair or user is disabled."),
        ("HELLO 3 SETNAME 'a b'", "ERR Client names cannot contain spaces, newlines or special characters."),
    ] {
        assert_eq!(refused(&mut client, line), text);
        assert_eq!(client.direct.session.protocol, crate::protocol::Protocol::Resp2, "{line}");
    }
}

#[test]
fn auth_without_a_password_is_told_so() {
    let mut client = TestClient::new();
    assert!(refused(&mut client, "AUTH foo").starts_with("ERR AUTH <password> called without any password configured"));
    assert_eq!(client.run("AUTH default anything"), Reply::ok());
    assert_eq!(refused(&mut client, "AUTH a b c"), "ERR syntax error");
}

#[test]
fn select_takes_the_databases_there_are() {
    let mut client = TestClient::new();
    assert_eq!(client.run("SELECT 15"), Reply::ok());
    assert_eq!(client.direct.session.db, 15);
    assert_eq!(refused(&mut client, "SELECT 16"), "ERR DB index is out of range");
    assert_eq!(refused(&mut client, "SELECT -1"), "ERR DB index is out of range");
    assert_eq!(refused(&mut client, "SELECT a"), "ERR value is not an integer or out of range");
    assert_eq!(client.run("RESET"), Reply::Simple("RESET".into()));
    assert_eq!(client.direct.session.db, 0);
}

#[test]
fn ping_takes_at_most_one_argument() {
    let mut client = TestClient::new();
    assert_eq!(client.run("PING"), Reply::Simple("PONG".into()));
    assert_eq!(client.run("PING hello"), Reply::bulk("hello"));
    assert_eq!(refused(&mut client, "PING a b"), "ERR wrong number of arguments for 'ping' command");
}

#[test]
fn quit_closes_whatever_follows_it() {
    let mut client = TestClient::new();
    assert_eq!(client.run("QUIT now"), Reply::ok());
    assert_eq!(client.direct.after, After::Close);
}

#[test]
fn client_commands_refuse_what_redis_refuses() {
    let mut client = TestClient::new();
    for (line, text) in [
        ("CLIENT", "ERR wrong number of arguments for 'client' command"),
        ("CLIENT FOO", "ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
        ("CLIENT KILL", "ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL foo", "ERR No such client"),
        ("CLIENT KILL ID 0", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID abc", "ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 1 TYPE", "ERR syntax error"),
        ("CLIENT KILL TYPE foo", "ERR Unknown client type 'foo'"),
        ("CLIENT KILL USER foo", "ERR No such user 'foo'"),
        ("CLIENT KILL SKIPME maybe", "ERR syntax error"),
        ("CLIENT LIST TYPE foo", "ERR Unknown client type 'foo'"),
        ("CLIENT LIST ID a", "ERR Invalid client ID"),
        ("CLIENT LIST ID", "ERR syntax error"),
        ("CLIENT REPLY foo", "ERR syntax error"),
        ("CLIENT PAUSE abc", "ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "ERR timeout is negative"),
        ("CLIENT PAUSE 1 FOO", "ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT UNBLOCK abc", "ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 9 foo", "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ("CLIENT NO-EVICT foo", "ERR syntax error"),
        ("CLIENT SETINFO foo bar", "ERR Unrecognized option 'foo'"),
        ("CLIENT SETINFO lib-ver 'a b'", "ERR lib-ver cannot contain spaces, newlines or special characters."),
        ("CLIENT SETNAME 'a b'", "ERR Client names cannot contain spaces, newlines or special characters."),
        (
            "CLIENT CACHING YES",
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ),
    ] {
        assert_eq!(refused(&mut client, line), text, "{line}");
    }
    assert_eq!(client.run("CLIENT TRACKING OFF"), Reply::ok());
    assert_eq!(client.run("CLIENT GETREDIR"), Reply::Integer(-1));
    assert_eq!(client.run("CLIENT UNBLOCK 7 ERROR"), Reply::Integer(0));
}

#[test]
fn client_list_and_kill_choose_by_what_they_are_given() {
    let mut me = TestClient::new();
    let now_ms = me.clock.now_ms();
    let add = |client: &TestClient, peer: &str| {
        client.direct.shared.clients.connect(peer.to_owned(), "127.0.0.1:6379".to_owned(), 9, now_ms)
    };
    add(&me, "10.0.0.9:9");
    let (first, second) = (add(&me, "10.0.0.1:1"), add(&me, "10.0.0.2:2"));
    let lines = |reply: Reply| reply.text().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(me.run("CLIENT LIST")).len(), 3);
    let line = &lines(me.run(&format!("CLIENT LIST ID {} 77", second.id())))[0];
    let expected =
        format!("id={} addr=10.0.0.2:2 laddr=127.0.0.1:6379 fd=9 name= age=0 idle=0 flags=N db=0 ", second.id());
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.ends_with(" cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver="), "{line}");
    assert!(lines(me.run("CLIENT LIST TYPE pubsub")).is_empty());
    assert!(lines(me.run("CLIENT LIST TYPE replica")).is_empty());

    assert_eq!(me.run("CLIENT KILL ID 2 ADDR 10.0.0.2:2"), Reply::Integer(0));
    assert_eq!(me.run("CLIENT KILL ADDR 10.0.0.2:2 USER default"), Reply::Integer(1));
    assert_eq!((first.signals(), second.signals()), (Signals::empty(), Signals::KILL));
    assert_eq!(me.run("CLIENT KILL 10.0.0.1:1"), Reply::ok());
    assert_eq!(first.signals(), Signals::KILL);
}

#[test]
fn client_info_shows_what_was_set() {
    let mut client = TestClient::new();
    client.run("CLIENT SETNAME me");
    client.run("CLIENT SETINFO LIB-NAME lib(x_1.0)");
    client.run("CLIENT SETINFO lib-ver 1.2");
    client.run("CLIENT NO-EVICT on");
    client.run("CLIENT NO-TOUCH ON");
    client.run("SELECT 3");
    let info = client.run("CLIENT INFO").text();
    assert!(info.contains(" qbuf=26 "), "the request itself: {info}");
    for part in [" name=me ", " flags=eT ", " db=3 ", " cmd=client|info ", " lib-name=lib(x_1.0) lib-ver=1.2\n"] {
        assert!(info.contains(part), "{part} is not in {info}");
    }
}

#[test]
fn a_pause_only_grows_until_it_is_ended() {
    let mut client = TestClient::new();
    client.run("CLIENT PAUSE 1000 WRITE");
    client.run("CLIENT PAUSE 10 WRITE");
    client.clock.advance(999);
    assert_eq!(client.run_raw(&["SET", "a", "1"]), b"");
    assert_eq!(client.direct.after, After::Postpone);
    client.clock.advance(2);
    assert_eq!(client.run("SET a 1"), Reply::ok());
}

#[test]
fn tracking_refuses_options_that_do_not_go_together() {
    let mut client = TestClient::new();
    let switch = |what: &str| {
        format!(
            "ERR You can't switch {what} before disabling tracking for this client, and then re-enabling it with a different mode."
        )
    };
    let overlap = |prefix: &str, other: &str| {
        format!("ERR Prefix '{prefix}' overlaps with {other}. Prefixes for a single client must not overlap.")
    };
    for (line, error) in [
        ("ON PREFIX x", "ERR PREFIX option requires BCAST mode to be enabled".to_owned()),
        ("ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode".to_owned()),
        ("ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST".to_owned()),
        ("ON REDIRECT 999", "ERR The client ID you want redirect to does not exist".to_owned()),
        ("ON REDIRECT me", "ERR value is not an integer or out of range".to_owned()),
        ("ON REDIRECT", "ERR syntax error".to_owned()),
        ("SOMETIMES", "ERR syntax error".to_owned()),
        ("ON BCAST PREFIX a PREFIX ab", overlap("a", "another provided prefix 'ab'")),
    ] {
        assert_eq!(refused(&mut client, &format!("CLIENT TRACKING {line}")), error, "{line}");
    }
    for (first, then, error) in [
        ("", "BCAST", switch("BCAST mode on/off")),
        ("OPTIN", "OPTOUT", switch("OPTIN/OPTOUT mode")),
        ("BCAST PREFIX ab", "BCAST PREFIX a", overlap("a", "an existing prefix 'ab'")),
    ] {
        assert_eq!(client.run(&format!("CLIENT TRACKING ON {first}")), Reply::ok());
        assert_eq!(refused(&mut client, &format!("CLIENT TRACKING ON {then}")), error);
        assert_eq!(client.run("CLIENT TRACKING OFF"), Reply::ok());
    }
}

#[test]
fn what_a_client_tracks_is_shown() {
    let mut client = TestClient::new();
    let shown = |client: &mut TestClient| {
        let info = client.run("CLIENT TRACKINGINFO");
        let words = |field| info.field(field).items().iter().map(Reply::text).collect::<Vec<_>>().join(" ");
        (words("flags"), info.field("redirect").int(), words("prefixes"))
    };
    let letters = |client: &TestClient| client.direct.session.client.flags().letters();
    assert_eq!(shown(&mut client), ("off".into(), -1, String::new()));
    client.run("CLIENT TRACKING ON OPTIN NOLOOP");
    client.run("CLIENT CACHING YES");
    assert_eq!(shown(&mut client), ("on optin caching-yes noloop".into(), 0, String::new()));
    assert_eq!((client.run("CLIENT GETREDIR"), letters(&client)), (Reply::Integer(0), "t".into()));
    client.run("PING");
    assert_eq!(shown(&mut client).0, "on optin noloop");
    assert!(refused(&mut client, "CLIENT CACHING NO").contains("only valid when tracking is enabled in OPTOUT mode"));
    client.run("CLIENT TRACKING OFF");
    client.run("CLIENT TRACKING ON BCAST PREFIX b PREFIX a");
    assert_eq!(shown(&mut client), ("on bcast".into(), 0, "a b".into()));
    assert_eq!(letters(&client), "tB");
    client.run("RESET");
    assert_eq!((shown(&mut client).0, letters(&client)), ("off".into(), "N".into()));
}
