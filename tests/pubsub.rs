//! Channels over sockets: order, subscribers that do not read, and many publishers and subscribers on several workers.

use fencepost_harness::client::{Client, await_until};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::thread;

fn start(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--medium", "dram", "--pool-size", "16mb"].iter().chain(options).copied().collect();
    Server::start(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options)
}

/// Sends a command and reads `count` frames of any kind.
fn frames(client: &mut Client, args: &[&str], count: usize) -> Vec<Frame> {
    client.send(args);
    client.flush().unwrap();
    (0..count).map(|_| client.next_frame().unwrap()).collect()
}

/// A message or confirmation as its words.
fn words(frame: &Frame) -> Vec<String> {
    let (Frame::Array(items) | Frame::Push(items)) = frame else { panic!("not a message: {frame:?}") };
    let word = |item: &Frame| match item {
        Frame::Integer(number) => number.to_string(),
        other => String::from_utf8(other.bytes().expect("a string").to_vec()).unwrap(),
    };
    items.iter().map(word).collect()
}

#[test]
fn replies_confirmations_and_messages_of_a_pipeline_are_in_order() {
    let server = start(&[]);
    let mut client = server.client();
    for request in [&["SUBSCRIBE", "a", "b"][..], &["PING"], &["UNSUBSCRIBE"], &["PING"], &["GET", "nothing"]] {
        client.send(request);
    }
    client.flush().unwrap();
    let replies: Vec<Frame> = (0..7).map(|_| client.next_frame().unwrap()).collect();
    assert_eq!(words(&replies[0]), ["subscribe", "a", "1"]);
    assert_eq!(words(&replies[1]), ["subscribe", "b", "2"]);
    assert_eq!(words(&replies[2]), ["pong", ""]);
    assert_eq!(words(&replies[3]), ["unsubscribe", "a", "1"]);
    assert_eq!(words(&replies[4]), ["unsubscribe", "b", "0"]);
    assert_eq!(replies[5..], [Frame::Simple(b"PONG".to_vec()), Frame::NullBulk]);
}

#[test]
fn a_client_of_resp3_reads_its_own_message_after_the_reply() {
    let server = start(&[]);
    let mut client = server.client();
    client.hello(3).unwrap();
    assert_eq!(words(&frames(&mut client, &["SUBSCRIBE", "a"], 1)[0]), ["subscribe", "a", "1"]);
    let got = frames(&mut client, &["PUBLISH", "a", "hi"], 2);
    assert_eq!(got[0], Frame::Integer(1));
    assert_eq!(words(&got[1]), ["message", "a", "hi"]);
    assert_eq!(client.must(&["GET", "nothing"]), Frame::Null);
}

/// What waits for it, in the outbox and in the connection, is bounded; the publisher goes on.
#[test]
fn a_subscriber_that_does_not_read_is_cut_off() {
    let server = start(&["--workers", "2"]);
    let mut publisher = server.client();
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"];
    assert_eq!(publisher.must(&limit), Frame::ok());
    let (mut slow, mut quick) = (server.client(), server.client());
    for subscriber in [&mut slow, &mut quick] {
        frames(subscriber, &["SUBSCRIBE", "a"], 1);
    }
    let payload = "x".repeat(16 * 1024);
    let mut sent = 0;
    // Ends: what the sockets hold and the limit are far less than 1 GiB.
    let cut_off = (0..65_536).any(|_| {
        let Frame::Integer(receivers) = publisher.must(&["PUBLISH", "a", &payload]) else { panic!("a count") };
        sent += 1;
        assert_eq!(words(&quick.next_frame().unwrap())[2].len(), payload.len());
        receivers == 1
    });
    assert!(cut_off, "{sent} messages were kept for a client that reads none");
    assert_eq!(publisher.info_figure("client_output_buffer_limit_disconnections"), 1);
    // What it could not be sent is gone, and so is its connection.
    let mut read = 0;
    while slow.next_frame().is_ok() {
        read += 1;
    }
    assert!(read < sent, "{read} of {sent}");
}

/// A subscriber above the soft limit is closed when its time is over, with nobody publishing any more.
#[test]
fn a_subscriber_too_long_above_the_soft_limit_is_cut_off() {
    let server = start(&[]);
    let mut publisher = server.client();
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 64kb 1"];
    assert_eq!(publisher.must(&limit), Frame::ok());
    let mut slow = server.client();
    frames(&mut slow, &["SUBSCRIBE", "a"], 1);
    let payload = "x".repeat(1 << 20);
    // More than the sockets hold.
    for _ in 0..64 {
        publisher.must(&["PUBLISH", "a", &payload]);
    }
    await_until(|| publisher.info_figure("client_output_buffer_limit_disconnections") == 1);
    await_until(|| publisher.must(&["PUBLISH", "a", "x"]) == Frame::Integer(0));
}

#[test]
fn a_connection_that_ends_is_subscribed_to_nothing() {
    let server = start(&[]);
    let mut admin = server.client();
    let mut subscriber = server.client();
    frames(&mut subscriber, &["SUBSCRIBE", "a", "b"], 2);
    frames(&mut subscriber, &["PSUBSCRIBE", "*"], 1);
    frames(&mut subscriber, &["SSUBSCRIBE", "a"], 1);
    assert_eq!(admin.must(&["PUBSUB", "NUMPAT"]), Frame::Integer(1));
    drop(subscriber);
    await_until(|| admin.info_figure("pubsub_patterns") == 0);
    assert_eq!(admin.info_figure("pubsub_channels") + admin.info_figure("pubsubshard_channels"), 0);
}

/// Every subscriber of a channel hears every message once, those of one publisher in its order, and all of them the same order.
#[test]
fn many_publishers_and_subscribers_lose_nothing() {
    const PUBLISHERS: usize = 4;
    const SUBSCRIBERS: usize = 6;
    const MESSAGES: usize = 1000;
    const CHANNELS: [&str; 2] = ["left", "right"];
    let server = start(&["--workers", "3"]);
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let mut client = server.client();
            // Both protocols, by name and by pattern: to each channel once.
            if number % 2 == 1 {
                client.hello(3).unwrap();
            }
            if number % 3 == 0 {
                frames(&mut client, &["PSUBSCRIBE", "*t"], 1);
            } else {
                frames(&mut client, &["SUBSCRIBE", CHANNELS[0], CHANNELS[1]], 2);
            }
            client
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut client = server.client();
            thread::spawn(move || {
                let message = |i: usize| {
                    let channel = CHANNELS[i % 2].to_owned();
                    [b"PUBLISH".to_vec(), channel.into_bytes(), format!("{publisher}:{i}").into_bytes()].to_vec()
                };
                let replies = client.pipeline(&(0..MESSAGES).map(message).collect::<Vec<_>>()).unwrap();
                assert!(replies.iter().all(|reply| *reply == Frame::Integer(SUBSCRIBERS as i64)));
            })
        })
        .collect();
    let heard: Vec<_> = subscribers
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                let message = |_| {
                    let mut words = words(&client.next_frame().unwrap());
                    words.split_off(words.len() - 2)
                };
                (0..PUBLISHERS * MESSAGES).map(message).collect::<Vec<_>>()
            })
        })
        .collect();
    publishers.into_iter().for_each(|thread| thread.join().unwrap());
    let heard: Vec<Vec<Vec<String>>> = heard.into_iter().map(|thread| thread.join().unwrap()).collect();
    let of_channel = |all: &[Vec<String>], channel: &str| -> Vec<String> {
        all.iter().filter(|message| message[0] == channel).map(|message| message[1].clone()).collect()
    };
    for channel in CHANNELS {
        let first = of_channel(&heard[0], channel);
        assert!(heard.iter().all(|all| of_channel(all, channel) == first), "two orders of one channel");
    }
    for all in &heard {
        for publisher in 0..PUBLISHERS {
            let of_publisher = all.iter().filter_map(|message| message[1].strip_prefix(&format!("{publisher}:")));
            let numbers: Vec<usize> = of_publisher.map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
        }
    }
}

/// What a transaction raises and publishes is heard in its order, after all of it; what it subscribes to is confirmed within its reply.
#[test]
fn what_a_transaction_tells_is_heard_after_it() {
    let server = start(&[]);
    let (mut ear, mut client) = (server.client(), server.client());
    client.must(&["CONFIG", "SET", "notify-keyspace-events", "E$"]);
    frames(&mut ear, &["PSUBSCRIBE", "*"], 1);
    for request in
        [&["MULTI"][..], &["SET", "a", "1"], &["PUBLISH", "c", "hi"], &["APPEND", "a", "2"], &["SUBSCRIBE", "d"]]
    {
        client.must(request);
    }
    let Frame::Array(replies) = client.must(&["EXEC"]) else { panic!("it ran") };
    assert_eq!(replies[..3], [Frame::ok(), Frame::Integer(1), Frame::Integer(2)]);
    assert_eq!(words(&replies[3]), ["subscribe", "d", "1"]);
    let heard: Vec<String> = (0..3).map(|_| words(&ear.next_frame().unwrap())[2..].join(" ")).collect();
    assert_eq!(heard, ["__keyevent@0__:set a", "c hi", "__keyevent@0__:append a"]);
}
