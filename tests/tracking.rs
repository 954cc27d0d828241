//! Client-side caching over sockets: a cache that is kept by invalidations, redirection, clients that go.

use fencepost_harness::client::Client;
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn start(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--medium", "dram", "--pool-size", "32mb"].iter().chain(options).copied().collect();
    Server::start(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options)
}

fn resp3(server: &Server) -> Client {
    let mut client = server.client();
    client.hello(3).unwrap();
    client
}

/// The keys of an invalidation; `None` for all.
fn invalidated(push: &Frame) -> Option<Vec<Vec<u8>>> {
    let Frame::Push(items) = push else { panic!("not a push: {push:?}") };
    assert_eq!(items[0], Frame::bulk("invalidate"));
    match &items[1] {
        Frame::Array(keys) => Some(keys.iter().map(|key| key.bytes().unwrap().to_vec()).collect()),
        _ => None,
    }
}

fn id(client: &mut Client) -> String {
    let Frame::Integer(id) = client.must(&["CLIENT", "ID"]) else { panic!("an id") };
    id.to_string()
}

/// Keys that the stress test writes, and how often each is written.
const KEYS: usize = 8;
const WRITES: u64 = 15_000;

/// What a reader keeps: a copy of each key, dropped when it is told that the key has changed.
#[derive(Default)]
struct Cache(HashMap<Vec<u8>, u64>);

impl Cache {
    fn heed(&mut self, client: &mut Client) {
        while let Some(push) = client.take_push() {
            match invalidated(&push) {
                Some(keys) => self.0.retain(|key, _| !keys.contains(key)),
                None => self.0.clear(),
            }
        }
    }
}

fn number(frame: &Frame) -> u64 {
    frame.bytes().map_or(0, |bytes| std::str::from_utf8(bytes).unwrap().parse().unwrap())
}

/// Writers raise the values of keys; before each write is sent they note nothing, after it is answered what it was. A reader keeps copies. When a
/// write is answered the invalidation is on its way, ahead of the answer to whatever the reader asks afterwards: so after a PING its copies are at
/// least as new as all writes that were answered before the PING was sent.
#[test]
fn a_cache_that_heeds_invalidations_is_never_stale() {
    let server = start(&["--workers", "3"]);
    let answered: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (mut client, answered) = (server.client(), Arc::clone(&answered));
            thread::spawn(move || {
                for value in 1..=WRITES {
                    // Each writer has its own keys, so that values only grow. Some writes are of several keys.
                    let keys: Vec<usize> = (0..KEYS).filter(|key| key % 2 == writer).collect();
                    let chosen: Vec<usize> = match value % 5 {
                        0 => keys,
                        turn => vec![keys[turn as usize - 1]],
                    };
                    let mut request = vec!["MSET".to_owned()];
                    chosen.iter().for_each(|key| request.extend([format!("key:{key}"), value.to_string()]));
                    assert_eq!(client.must(&request), Frame::ok());
                    chosen.iter().for_each(|key| answered[*key].store(value, Ordering::SeqCst));
                }
            })
        })
        .collect();
    let readers: Vec<_> = [&["ON"][..], &["ON", "NOLOOP"], &["ON", "BCAST", "PREFIX", "key:"]]
        .into_iter()
        .map(|options| {
            let mut client = resp3(&server);
            assert_eq!(client.must(&[&["CLIENT", "TRACKING"], options].concat()), Frame::ok());
            let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
            thread::spawn(move || {
                let (mut cache, mut hits, mut invalidations) = (Cache::default(), 0u64, 0u64);
                loop {
                    let last = over.load(Ordering::SeqCst);
                    let least: Vec<u64> = answered.iter().map(|value| value.load(Ordering::SeqCst)).collect();
                    client.must(&["PING"]);
                    let before = cache.0.len();
                    cache.heed(&mut client);
                    invalidations += before.saturating_sub(cache.0.len()) as u64;
                    for (key, least) in least.iter().enumerate() {
                        let name = format!("key:{key}");
                        match cache.0.get(name.as_bytes()) {
                            Some(copy) => {
                                hits += 1;
                                assert!(copy >= least, "{name}: the copy is {copy}, {least} was answered long ago");
                            }
                            None => {
                                let value = number(&client.must(&["GET", &name]));
                                assert!(value >= *least, "{name}: {value} was read, {least} was answered");
                                // Told of while it was on its way: it may have changed again.
                                cache.heed(&mut client);
                                cache.0.insert(name.into_bytes(), value);
                            }
                        }
                    }
                    if last {
                        return (hits, invalidations);
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let (hits, invalidations) = reader.join().unwrap();
        assert!(hits > 0 && invalidations > 0, "{hits} hits, {invalidations} invalidations");
    }
}

#[test]
fn invalidations_come_behind_the_reply_of_the_write_in_a_pipeline() {
    let server = start(&[]);
    let mut client = resp3(&server);
    client.must(&["CLIENT", "TRACKING", "ON"]);
    for request in [&["GET", "k"][..], &["SET", "k", "1"], &["GET", "k"]] {
        client.send(request);
    }
    client.flush().unwrap();
    let frames: Vec<Frame> = (0..4).map(|_| client.next_frame().unwrap()).collect();
    assert_eq!(frames[..2], [Frame::Null, Frame::ok()]);
    assert_eq!(invalidated(&frames[2]), Some(vec![b"k".to_vec()]));
    assert_eq!(frames[3], Frame::bulk("1"));
}

/// What a command that has waited changes itself is told behind its reply, whoever has served it.
#[test]
fn invalidations_come_behind_the_reply_of_a_command_that_has_waited() {
    let server = start(&["--workers", "2"]);
    let (mut reader, mut writer) = (resp3(&server), server.client());
    reader.must(&["CLIENT", "TRACKING", "ON"]);
    for round in 0..50 {
        reader.must(&["LRANGE", "to", "0", "-1"]);
        reader.send(&["BLMOVE", "from", "to", "LEFT", "LEFT", "0"]);
        reader.flush().unwrap();
        let element = round.to_string();
        writer.must(&["RPUSH", "from", &element]);
        assert_eq!(reader.next_frame().unwrap(), Frame::bulk(&element));
        assert_eq!(invalidated(&reader.next_frame().unwrap()), Some(vec![b"to".to_vec()]));
    }
}

#[test]
fn another_client_may_be_told_until_it_goes() {
    let server = start(&[]);
    let (mut writer, mut told) = (server.client(), server.client());
    let target = id(&mut told);
    let mut reader = resp3(&server);
    assert_eq!(reader.must(&["CLIENT", "TRACKING", "ON", "REDIRECT", &target]), Frame::ok());
    told.must(&["SUBSCRIBE", "__redis__:invalidate"]);
    reader.must(&["GET", "k"]);
    writer.must(&["SET", "k", "1"]);
    let message = told.next_frame().unwrap();
    let expected = [Frame::bulk("message"), Frame::bulk("__redis__:invalidate"), Frame::Array(vec![Frame::bulk("k")])];
    assert_eq!(message, Frame::Array(expected.to_vec()));
    drop(told);
    // Its end is noticed by its own worker: until then what is posted is for nobody.
    let broken = loop {
        reader.must(&["GET", "k"]);
        writer.must(&["SET", "k", "1"]);
        reader.must(&["PING"]);
        if let Some(push) = reader.take_push() {
            break push;
        }
    };
    assert_eq!(
        broken,
        Frame::Push(vec![Frame::bulk("tracking-redir-broken"), Frame::Integer(target.parse().unwrap())])
    );
    let Frame::Verbatim(line) = reader.must(&["CLIENT", "INFO"]) else { panic!("a line") };
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains(" flags=tR ") && line.contains(&format!(" redir={target} ")), "{line}");
}

/// A client that tracked and has gone leaves nothing that costs writers anything.
#[test]
fn a_client_that_goes_tracks_no_more() {
    let server = start(&[]);
    let mut admin = server.client();
    let mut reader = resp3(&server);
    reader.must(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a"]);
    let figure = |client: &mut Client, field: &str| {
        let Frame::Bulk(info) = client.must(&["INFO", "everything"]) else { panic!("INFO is a bulk string") };
        let info = String::from_utf8(info).unwrap();
        info.lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::to_owned)).expect("a field")
    };
    assert_eq!(figure(&mut admin, "tracking_clients"), "1");
    assert_eq!(figure(&mut admin, "tracking_total_prefixes"), "1");
    drop(reader);
    while figure(&mut admin, "tracking_clients") != "0" {}
    assert_eq!(figure(&mut admin, "tracking_total_prefixes"), "0");
}

#[test]
fn keys_read_in_a_transaction_are_tracked() {
    let server = start(&[]);
    let (mut reader, mut writer) = (resp3(&server), server.client());
    reader.must(&["CLIENT", "TRACKING", "ON", "OPTIN"]);
    for request in
        [&["CLIENT", "CACHING", "YES"][..], &["MULTI"], &["GET", "k"], &["GET", "l"], &["EXEC"], &["GET", "m"]]
    {
        reader.must(request);
    }
    for key in ["m", "l", "k"] {
        writer.must(&["SET", key, "1"]);
    }
    reader.must(&["PING"]);
    let told: Vec<_> = std::iter::from_fn(|| reader.take_push()).map(|push| invalidated(&push).unwrap()).collect();
    assert_eq!(told, [[b"l".to_vec()], [b"k".to_vec()]]);
}
