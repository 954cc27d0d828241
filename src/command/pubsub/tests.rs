//! What a session is told, and what others see of it. Who gets which message is tested in `pubsub/`, order over sockets in `tests/pubsub.rs`.

use crate::command::testing::{Reply, TestClient};

/// Runs it and gives all bytes of the reply, which may be several.
fn text(client: &mut TestClient, line: &str) -> String {
    String::from_utf8(client.run_raw(&crate::command::testing::split(line))).unwrap()
}

#[test]
fn each_name_is_confirmed_with_the_number_of_subscriptions() {
    let mut client = TestClient::new();
    let confirmed = text(&mut client, "SUBSCRIBE a b a");
    assert_eq!(
        confirmed,
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n"
    );
    assert_eq!(text(&mut client, "PSUBSCRIBE a*"), "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:3\r\n");
    assert_eq!(text(&mut client, "SSUBSCRIBE a"), "*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n");
    let line = String::from_utf8(client.direct.session.client.describe(0)).unwrap();
    assert!(line.contains(" flags=P ") && line.contains(" sub=2 psub=1 ssub=1 "), "{line}");
    assert_eq!(text(&mut client, "UNSUBSCRIBE nobody"), "*3\r\n$11\r\nunsubscribe\r\n$6\r\nnobody\r\n:3\r\n");
    assert_eq!(text(&mut client, "PUNSUBSCRIBE"), "*3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:2\r\n");
    assert_eq!(text(&mut client, "UNSUBSCRIBE").matches("unsubscribe").count(), 2);
    assert_eq!(text(&mut client, "UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
    assert_eq!(text(&mut client, "SUNSUBSCRIBE"), "*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n");
    let line = String::from_utf8(client.direct.session.client.describe(0)).unwrap();
    assert!(line.contains(" flags=N ") && line.contains(" sub=0 psub=0 ssub=0 "), "{line}");
    assert!(client.direct.shared.hub.is_idle());
}

#[test]
fn a_subscribed_client_of_resp2_may_run_nothing_else() {
    let mut client = TestClient::new();
    client.run("SUBSCRIBE a");
    for (line, name) in
        [("GET x", "get"), ("CONFIG GET x", "config|get"), ("HELLO 3", "hello"), ("PUBLISH a x", "publish")]
    {
        let refusal = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
        );
        assert_eq!(client.run(line), Reply::Error(refusal));
    }
    assert_eq!(client.run("PING"), Reply::bulks(["pong", ""]));
    assert_eq!(client.run("PING x"), Reply::bulks(["pong", "x"]));
    assert_eq!(client.run("PING x y"), Reply::error("ERR wrong number of arguments for 'ping' command"));
    assert_eq!(client.run("RESET"), Reply::Simple("RESET".into()));
    assert_eq!(client.run("GET x"), Reply::Null);
    assert!(client.direct.shared.hub.is_idle());
}

#[test]
fn a_subscribed_client_of_resp3_goes_on_until_it_goes_back_to_resp2() {
    let mut client = TestClient::resp3();
    client.run("HELLO 3");
    client.run("SUBSCRIBE a");
    assert_eq!(client.run("PING"), Reply::Simple("PONG".into()));
    // Its own message comes behind the reply.
    assert_eq!(text(&mut client, "PUBLISH a hi"), ":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
    // What was posted in the former protocol stands before the reply that changes it.
    client.direct.shared.hub.publish(crate::pubsub::Topic::Channel, b"a", b"hi");
    assert!(text(&mut client, "HELLO 2").starts_with(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n*14\r\n"));
    assert!(client.run("GET x").text().starts_with("ERR Can't execute 'get'"));
}

#[test]
fn what_came_before_the_end_of_a_subscription_stands_before_it() {
    let mut client = TestClient::resp3();
    client.run("HELLO 3");
    client.run("SUBSCRIBE a");
    client.direct.shared.hub.publish(crate::pubsub::Topic::Channel, b"a", b"hi");
    assert_eq!(
        text(&mut client, "UNSUBSCRIBE a"),
        ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n>3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
    );
}

#[test]
fn confirmations_are_pushes_that_client_reply_lets_through() {
    let mut client = TestClient::resp3();
    assert_eq!(text(&mut client, "CLIENT REPLY OFF"), "");
    assert_eq!(text(&mut client, "SUBSCRIBE a"), ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(text(&mut client, "GET x"), "");
    assert_eq!(text(&mut client, "CLIENT REPLY ON"), "+OK\r\n");
}

#[test]
fn pubsub_tells_who_is_subscribed_to_what() {
    let mut client = TestClient::resp3();
    client.run("SUBSCRIBE ab");
    client.run("SUBSCRIBE cd");
    client.run("PSUBSCRIBE *");
    client.run("SSUBSCRIBE ef");
    assert_eq!(client.run("PUBSUB CHANNELS").sorted_texts(), ["ab", "cd"]);
    assert_eq!(client.run("PUBSUB CHANNELS a*"), Reply::bulks(["ab"]));
    assert_eq!(client.run("PUBSUB SHARDCHANNELS"), Reply::bulks(["ef"]));
    assert_eq!(client.run("PUBSUB NUMPAT"), Reply::Integer(1));
    let counts = |name: &str, count| Reply::Array(vec![Reply::bulk(name), Reply::Integer(count)]);
    assert_eq!(client.run("PUBSUB NUMSUB ab"), counts("ab", 1));
    assert_eq!(client.run("PUBSUB NUMSUB ef"), counts("ef", 0));
    assert_eq!(client.run("PUBSUB SHARDNUMSUB ef"), counts("ef", 1));
    assert_eq!(
        client.run("PUBSUB CHANNELS a b"),
        Reply::error("ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.")
    );
    let info = client.run("INFO stats").text();
    for line in ["pubsub_channels:2", "pubsub_patterns:1", "pubsubshard_channels:1"] {
        assert!(info.contains(line), "{line}");
    }
}

/// What a transaction publishes is heard when it is over: by then all that it has done is there.
#[test]
fn a_message_of_a_transaction_waits_for_its_end() {
    let mut client = TestClient::resp3();
    client.run("HELLO 3");
    client.run("SUBSCRIBE a");
    client.run("PSUBSCRIBE *");
    client.direct.session.in_exec = true;
    assert_eq!(client.run("PUBLISH a hi"), Reply::Integer(2));
    assert_eq!(client.take_pushes(), []);
    client.direct.session.in_exec = false;
    client.with_ctx(|ctx| ctx.publish_events());
    assert_eq!(client.take_pushes().len(), 2);
}
