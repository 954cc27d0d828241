//! Who gets which message, and in what order.

use super::*;
use crate::protocol::{Protocol, ReplyWriter};
use bytes::BytesMut;
use std::thread;

struct Ear {
    id: u64,
    heard: Mutex<BytesMut>,
}

impl Ear {
    fn new(id: u64) -> Arc<Self> {
        Arc::new(Self { id, heard: Mutex::default() })
    }

    fn heard(&self) -> String {
        String::from_utf8(std::mem::take(&mut *lock(&self.heard)).to_vec()).expect("text")
    }
}

impl Subscriber for Ear {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, message: &Message<'_>) {
        let protocol = if self.id.is_multiple_of(2) { Protocol::Resp2 } else { Protocol::Resp3 };
        message.write(&mut ReplyWriter::new(&mut lock(&self.heard), protocol));
    }
}

#[test]
fn a_message_goes_to_its_channel_and_to_matching_patterns_in_each_protocol() {
    let hub = Hub::default();
    let (old, new) = (Ear::new(2), Ear::new(3));
    hub.subscribe(Topic::Channel, b"news", &old);
    hub.subscribe(Topic::Channel, b"news", &old);
    hub.subscribe(Topic::Pattern, b"n*", &new);
    hub.subscribe(Topic::ShardChannel, b"news", &new);
    assert_eq!([Topic::Channel, Topic::ShardChannel].map(|topic| hub.receivers(topic, b"news")), [2, 1]);
    assert_eq!(hub.publish(Topic::Channel, b"news", b"x"), 2);
    assert_eq!(hub.publish(Topic::Channel, b"olds", b"x"), 0);
    assert_eq!(old.heard(), "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n");
    assert_eq!(new.heard(), ">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\nx\r\n");
    assert_eq!(hub.publish(Topic::ShardChannel, b"news", b"y"), 1);
    assert_eq!(old.heard() + &new.heard(), ">3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$1\r\ny\r\n");
    let counts = [Topic::Channel, Topic::Pattern, Topic::ShardChannel].map(|topic| hub.count(topic));
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(hub.names(Topic::Channel, |name| name.starts_with(b"n")), [b"news"]);
    assert_eq!(hub.subscribers(Topic::Channel, b"news"), 1);
    for (topic, name) in [(Topic::Channel, &b"news"[..]), (Topic::Pattern, b"n*"), (Topic::ShardChannel, b"news")] {
        for id in [2, 3, 4] {
            hub.unsubscribe(topic, name, id);
        }
        assert_eq!(hub.count(topic), 0);
    }
    assert!(hub.is_idle());
    assert_eq!(hub.publish(Topic::Channel, b"news", b"x") + hub.publish(Topic::ShardChannel, b"news", b"x"), 0);
}

/// Several threads publish to one channel: every subscriber, by name or by pattern, hears all of it in one and the same order.
#[test]
fn all_subscribers_of_a_channel_hear_one_order() {
    let hub = Arc::new(Hub::default());
    // The same protocol, so that what they hear can be compared.
    let ears: Vec<_> = [2, 4].into_iter().map(Ear::new).collect();
    ears.iter().for_each(|ear| hub.subscribe(Topic::Channel, b"c", ear));
    let threads: Vec<_> = (0..4)
        .map(|publisher| {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                (0..500).for_each(|i| {
                    assert_eq!(hub.publish(Topic::Channel, b"c", format!("{publisher}:{i}").as_bytes()), 2)
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let heard = ears[0].heard();
    assert_eq!(heard, ears[1].heard());
    for publisher in 0..4 {
        let mine: Vec<usize> =
            heard.lines().filter_map(|line| line.strip_prefix(&format!("{publisher}:"))?.parse().ok()).collect();
        assert_eq!(mine, (0..500).collect::<Vec<_>>());
    }
}
