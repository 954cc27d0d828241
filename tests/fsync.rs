//! A pool on a disk: who waits for a sync, and what happens when one fails. The disk is in memory, and syncs when it is told to.

use fencepost::base::Clock;
use fencepost::command::settings::Settings;
use fencepost::persist::{Medium, RegionOptions};
use fencepost::pool::PoolOptions;
use fencepost::server::{Options, ServerError, run};
use fencepost::store::StoreOptions;
use fencepost_harness::client::Client;
use fencepost_harness::resp::Frame;
use pmem_emulation::{Call, Hook};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the disk does when it is to sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Works,
    /// Until it is in another mode.
    Hangs,
    Fails,
}

/// The disk.
#[derive(Debug)]
struct Disk {
    /// Its mode, syncs that have begun, and those that have succeeded.
    state: Mutex<(Mode, u64, u64)>,
    changed: Condvar,
}

impl Disk {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((Mode::Works, 0, 0)), changed: Condvar::new() })
    }

    fn set(&self, mode: Mode) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = mode;
        self.changed.notify_all();
    }

    fn succeeded(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).2
    }

    /// Waits until one more sync has begun than had `before`.
    fn await_begun(&self, before: u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| state.1 <= before);
        assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "no sync has begun");
    }

    fn begun(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Hook for Disk {
    fn sync(&self, _call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        self.changed.notify_all();
        while state.0 == Mode::Hangs {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.0 == Mode::Fails {
            return Err(io::Error::other("the disk is gone"));
        }
        state.2 += 1;
        apply()
    }
}

/// A server over that disk, in this process.
struct Server {
    disk: Arc<Disk>,
    address: SocketAddr,
    serving: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Server {
    fn start(fsync: &str) -> Self {
        let disk = Disk::new();
        // Free a moment ago; nobody else takes ports here.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let settings = Settings::new();
        let port = address.port().to_string();
        for (name, value) in [("port", port.as_str()), ("appendfsync", fsync), ("workers", "2")] {
            settings.load(name.as_bytes(), value.as_bytes()).expect("a setting");
        }
        let region = RegionOptions {
            hook: Some(Arc::clone(&disk) as Arc<dyn Hook>),
            acts_as: Some(Medium::File),
            ..RegionOptions::default()
        };
        let store = StoreOptions::dram(16 << 20);
        let store = StoreOptions { pool: PoolOptions { region, ..store.pool }, ..store };
        let serving = std::thread::spawn(move || {
            run(Options { settings, config_file: None, clock: Clock::system(), store, set_log_level: Box::new(|_| ()) })
        });
        let server = Self { disk, address, serving: Some(serving) };
        let deadline = Instant::now() + PATIENCE;
        while !server
            .try_client()
            .is_some_and(|mut client| client.call(&["DBSIZE"]).is_ok_and(|size| size == Frame::Integer(0)))
        {
            assert!(Instant::now() < deadline, "the server does not come up");
            std::thread::yield_now();
        }
        server
    }

    fn try_client(&self) -> Option<Client> {
        Client::connect(self.address).ok()
    }

    fn client(&self) -> Client {
        self.try_client().expect("the server listens")
    }

    /// Ends it, and says how that went.
    fn end(mut self) -> Result<(), ServerError> {
        // It is not answered.
        let _ = self.client().call(&["SHUTDOWN", "NOW"]);
        self.serving.take().expect("it serves").join().expect("no panic")
    }
}

fn info(client: &mut Client, name: &str) -> String {
    let info = client.must(&["INFO", "persistence"]);
    let text = String::from_utf8_lossy(info.bytes().expect("text")).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Replies to writes, and to reads of what is not synced, wait for the sync; commands do not: they are all run within one.
#[test]
fn with_always_every_reply_waits_for_the_sync_and_no_command_does() {
    let server = Server::start("always");
    let (mut writer, mut other, mut reader) = (server.client(), server.client(), server.client());
    assert_eq!(writer.must(&["SET", "key", "1"]), Frame::ok());
    assert_eq!(info(&mut reader, "pool_fsync"), "always");
    assert_eq!(info(&mut reader, "pool_power_loss_safe"), "yes");
    let begun = server.disk.begun();
    server.disk.set(Mode::Hangs);
    writer.send(&["INCR", "key"]);
    writer.flush().expect("sent");
    server.disk.await_begun(begun);
    // The first sync is under way. These wait for the one behind it.
    for client in [&mut other, &mut reader] {
        client.send(&["INCR", "key"]);
        client.flush().expect("sent");
    }
    let succeeded = server.disk.succeeded();
    server.disk.set(Mode::Works);
    assert_eq!(writer.receive().expect("a reply"), Frame::Integer(2));
    let mut replies = [other.receive().expect("a reply").integer(), reader.receive().expect("a reply").integer()];
    replies.sort_unstable();
    assert_eq!(replies, [Some(3), Some(4)]);
    assert!(server.disk.succeeded() > succeeded);
    server.end().expect("a good end");
}

#[test]
fn with_always_no_reply_leaves_before_the_sync() {
    let server = Server::start("always");
    let (mut writer, mut reader) = (server.client(), server.client());
    let begun = server.disk.begun();
    server.disk.set(Mode::Hangs);
    writer.send(&["SET", "key", "value"]);
    writer.flush().expect("sent");
    server.disk.await_begun(begun);
    // It is in the index, so that a reader finds it, and must not be told of it either.
    reader.send(&["GET", "key"]);
    reader.flush().expect("sent");
    let (answered, answers) = std::sync::mpsc::channel();
    let disk = Arc::clone(&server.disk);
    std::thread::scope(|scope| {
        for mut client in [writer, reader] {
            let (answered, disk) = (answered.clone(), Arc::clone(&disk));
            scope.spawn(move || {
                let reply = client.receive().expect("a reply");
                answered.send((reply, disk.succeeded())).expect("somebody listens");
            });
        }
        let before = disk.succeeded();
        // Nothing comes for a while. It would come at once if it were not held back.
        assert!(answers.recv_timeout(Duration::from_millis(300)).is_err(), "a reply before the sync");
        disk.set(Mode::Works);
        for _ in 0..2 {
            let (reply, succeeded) = answers.recv_timeout(PATIENCE).expect("a reply");
            assert!(reply == Frame::ok() || reply == Frame::bulk("value"), "{reply:?}");
            assert!(succeeded > before);
        }
    });
    server.end().expect("a good end");
}

/// CONFIG SET goes over to another policy at once, by Redis's name for it.
#[test]
fn with_everysec_nobody_waits_while_the_disk_is_quick() {
    let server = Server::start("everysec");
    let mut client = server.client();
    assert_eq!(info(&mut client, "pool_fsync"), "everysec");
    assert_eq!(info(&mut client, "pool_power_loss_safe"), "no");
    server.disk.set(Mode::Hangs);
    assert_eq!(client.must(&["SET", "key", "value"]), Frame::ok());
    assert_eq!(client.must(&["GET", "key"]), Frame::bulk("value"));
    server.disk.set(Mode::Works);
    assert_eq!(client.must(&["CONFIG", "SET", "appendfsync", "no"]), Frame::ok());
    assert_eq!(info(&mut client, "pool_fsync"), "no");
    assert_eq!(client.must(&["CONFIG", "SET", "appendfsync", "always"]), Frame::ok());
    let succeeded = server.disk.succeeded();
    assert_eq!(client.must(&["SET", "key", "other"]), Frame::ok());
    assert!(server.disk.succeeded() > succeeded);
    server.end().expect("a good end");
}

/// A disk that hangs must not let what could be lost grow for ever: from two seconds on replies wait.
#[test]
fn with_everysec_replies_wait_for_a_disk_that_cannot_follow() {
    let server = Server::start("everysec");
    let mut client = server.client();
    let begun = server.disk.begun();
    server.disk.set(Mode::Hangs);
    assert_eq!(client.must(&["SET", "key", "value"]), Frame::ok());
    server.disk.await_begun(begun);
    let (answered, answers) = std::sync::mpsc::channel();
    let writing = std::thread::spawn(move || {
        // Ends: sooner or later a reply is held back, and then it comes.
        for i in 0.. {
            let reply = client.must(&["SET", "key", &i.to_string()]);
            if answered.send(reply).is_err() {
                return;
            }
        }
    });
    // Replies come until the disk has been away for too long; then none does.
    while answers.recv_timeout(Duration::from_secs(5)).is_ok() {}
    server.disk.set(Mode::Works);
    assert_eq!(answers.recv_timeout(PATIENCE).expect("a reply"), Frame::ok());
    drop(answers);
    writing.join().expect("no panic");
    server.end().expect("a good end");
}

/// A sync that has failed is not tried again. Whoever waited for it is not answered; from then on writes are refused.
#[test]
fn when_a_sync_fails_nothing_more_is_taken() {
    for fsync in ["always", "everysec"] {
        let server = Server::start(fsync);
        let mut client = server.client();
        assert_eq!(client.must(&["SET", "key", "before"]), Frame::ok());
        server.disk.set(Mode::Fails);
        let during = client.call(&["SET", "key", "during"]);
        if fsync == "always" {
            assert!(during.is_err(), "{during:?}");
        } else {
            assert!(client.must(&["SAVE"]).is_error());
        }
        // The disk is back. What it has lost it does not say.
        server.disk.set(Mode::Works);
        let mut client = server.client();
        let deadline = Instant::now() + PATIENCE;
        while info(&mut client, "rdb_last_bgsave_status") != "err" {
            assert!(Instant::now() < deadline);
        }
        let is_refused = |reply: &Frame| matches!(reply, Frame::Error(text) if text.starts_with(b"MISCONF "));
        while !is_refused(&client.call(&["SET", "key", "after"]).unwrap_or_else(|_| Frame::ok())) {
            assert!(Instant::now() < deadline, "{fsync}: writes are taken");
            client = server.client();
        }
        for write in [&["DEL", "key"][..], &["LPUSH", "list", "1"], &["FLUSHALL"]] {
            let reply = client.must(write);
            assert!(is_refused(&reply), "{fsync}: {write:?} gives {reply:?}");
        }
        let pipeline: Vec<Vec<Vec<u8>>> = vec![vec![b"SET".to_vec(), b"a".to_vec(), b"b".to_vec()]; 2];
        assert!(client.pipeline(&pipeline).expect("replies").iter().all(is_refused));
        let read = client.must(&["GET", "key"]);
        match fsync {
            // What is in memory may be lost, so it is not told.
            "always" => assert!(is_refused(&read), "{read:?}"),
            _ => assert_eq!(read, Frame::bulk("during")),
        }
        assert!(matches!(server.end(), Err(ServerError::Close(_))));
    }
}
