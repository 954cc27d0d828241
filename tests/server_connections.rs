//! Connections over real sockets: requests in pieces, in floods, inline and broken; who gets in, and who is sent away.

use fencepost_harness::client::{Client, encode};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--medium", "dram", "--pool-size", "16mb"].iter().chain(options).copied().collect();
    Server::start(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options)
}

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything up to the end of the connection; a reset after the last byte counts as an end.
fn read_to_end(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_exactly(stream: &mut impl Read, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("the replies come");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn error(text: &str) -> Frame {
    Frame::Error(text.as_bytes().to_vec())
}

fn simple(text: &str) -> Frame {
    Frame::Simple(text.as_bytes().to_vec())
}

/// With one worker, a round trip on another connection is served after what was sent before it, so each piece is read alone.
#[test]
fn requests_may_be_cut_at_every_byte() {
    let server = start(&["--workers", "1"]);
    let (mut stream, mut other) = (raw(&server), server.client());
    let mut requests = Vec::new();
    encode(&mut requests, &["ECHO", "one"]);
    requests.extend_from_slice(b"ping \"two words\"\r\n\r\n");
    encode(&mut requests, &["SET", "key", "v\r\n*1\r\n"]);
    encode(&mut requests, &["GET", "key"]);
    let replies = "$3\r\none\r\n$9\r\ntwo words\r\n+OK\r\n$7\r\nv\r\n*1\r\n\r\n";
    for cut in 0..=requests.len() {
        stream.write_all(&requests[..cut]).unwrap();
        other.must(&["PING"]);
        stream.write_all(&requests[cut..]).unwrap();
        assert_eq!(read_exactly(&mut stream, replies.len()), replies, "cut at {cut}");
    }
    for byte in &requests {
        stream.write_all(&[*byte]).unwrap();
        other.must(&["PING"]);
    }
    assert_eq!(read_exactly(&mut stream, replies.len()), replies, "byte by byte");
}

/// More than all socket buffers between the two hold is sent before the first reply is read.
#[test]
fn a_client_may_send_everything_before_it_reads_anything() {
    const REQUESTS: usize = 600;
    let server = start(&[]);
    let mut stream = raw(&server);
    let payload = |i: usize| vec![b'a' + (i % 26) as u8; 64 * 1024 + i];
    for i in 0..REQUESTS {
        let mut request = Vec::new();
        encode(&mut request, &[b"ECHO".to_vec(), payload(i)]);
        stream.write_all(&request).expect("the server reads on while its replies wait");
    }
    for i in 0..REQUESTS {
        let payload = payload(i);
        let header = format!("${}\r\n", payload.len());
        assert_eq!(read_exactly(&mut stream, header.len()), header);
        let mut body = vec![0; payload.len() + 2];
        stream.read_exact(&mut body).unwrap();
        assert!(body[..payload.len()] == payload && body.ends_with(b"\r\n"), "reply {i} is not what was sent");
    }
}

#[test]
fn a_deep_pipeline_of_small_requests_is_answered_in_order() {
    const REQUESTS: usize = 100_000;
    let server = start(&[]);
    let mut stream = raw(&server);
    let mut reader = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for i in 0..REQUESTS {
            encode(&mut requests, &["ECHO", &i.to_string()]);
        }
        stream.write_all(&requests).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let expected: String = (0..REQUESTS).map(|i| format!("${}\r\n{i}\r\n", i.to_string().len())).collect();
    assert!(read_to_end(&mut reader) == expected, "replies are missing, in excess or out of order");
    sender.join().unwrap();
}

/// Other connections of the same worker are served in the middle of a flood.
#[test]
fn a_flood_leaves_room_for_others() {
    let server = start(&["--workers", "1"]);
    let mut flood = raw(&server);
    let mut reader = flood.try_clone().unwrap();
    let (mut other, mut answered) = (server.client(), 0);
    let requests = b"PING\r\n".repeat(1_000_000);
    let sender = std::thread::spawn(move || {
        flood.write_all(&requests).unwrap();
        flood.shutdown(Shutdown::Write).unwrap();
    });
    let drain = std::thread::spawn(move || read_to_end(&mut reader).len());
    while !drain.is_finished() {
        other.must(&["PING"]);
        answered += 1;
    }
    assert_eq!(drain.join().unwrap(), 7_000_000);
    sender.join().unwrap();
    assert!(answered > 10, "only {answered} round trips during a million requests");
}

#[test]
fn inline_requests_are_answered() {
    let server = start(&[]);
    let mut stream = raw(&server);
    stream.write_all(b"PING\r\n  echo 'a\\'b'  \n\r\nECHO \"\\x41\\n\"\r\nNOSUCH a b\r\n").unwrap();
    let expected =
        "+PONG\r\n$3\r\na'b\r\n$2\r\nA\n\r\n-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n";
    assert_eq!(read_exactly(&mut stream, expected.len()), expected);
}

/// Requests before the broken one are answered; then comes the error, then the end.
#[test]
fn a_protocol_error_is_answered_and_ends_the_connection() {
    let server = start(&[]);
    for (bytes, message) in [
        ("PING\r\n*1\r\n!4\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n"),
        ("*a\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("ECHO \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut stream = raw(&server);
        stream.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(read_to_end(&mut stream), message);
    }
}

#[test]
fn quit_is_answered_and_nothing_after_it_is() {
    let server = start(&[]);
    let mut stream = raw(&server);
    stream.write_all(b"PING\r\nQUIT\r\nSET after 1\r\nPING\r\n").unwrap();
    assert_eq!(read_to_end(&mut stream), "+PONG\r\n+OK\r\n");
    assert_eq!(server.client().must(&["EXISTS", "after"]), Frame::Integer(0));
}

#[test]
fn without_the_password_nothing_is_done() {
    let server = start_locked();
    let mut client = server.client();
    let refusal = error("NOAUTH Authentication required.");
    assert_eq!(client.must(&["SET", "a", "1"]), refusal);
    assert_eq!(client.must(&["PING"]), refusal);
    let wrong = error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(client.must(&["AUTH", "wrong"]), wrong);
    assert_eq!(client.must(&["AUTH", "other", "secret"]), wrong);
    assert!(
        matches!(client.must(&["HELLO", "3"]), Frame::Error(text) if text.starts_with(b"NOAUTH HELLO must be called"))
    );
    assert_eq!(client.must(&["AUTH", "secret"]), Frame::ok());
    assert_eq!(client.must(&["EXISTS", "a"]), Frame::Integer(0));
    assert_eq!(client.must(&["RESET"]), simple("RESET"));
    assert_eq!(client.must(&["PING"]), refusal);
    assert!(matches!(client.must(&["HELLO", "3", "AUTH", "default", "secret"]), Frame::Map(_)));
    assert_eq!(client.must(&["PING"]), simple("PONG"));
}

/// What a client may send before it has authenticated is bounded tightly, and AUTH lifts the bound for the very next request.
#[test]
fn before_authentication_requests_are_small() {
    let server = start_locked();
    let mut stream = raw(&server);
    stream.write_all(b"*11\r\n").unwrap();
    assert_eq!(read_to_end(&mut stream), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let mut stream = raw(&server);
    let mut requests = Vec::new();
    encode(&mut requests, &["AUTH", "secret"]);
    encode(&mut requests, &["ECHO", &"x".repeat(40_000)]);
    stream.write_all(&requests).unwrap();
    assert_eq!(read_exactly(&mut stream, 5 + 8), "+OK\r\n$40000\r\n");
}

/// A server with a password, ready to serve: an answer of NOAUTH does not tell that.
fn start_locked() -> Server {
    let server = start(&["--requirepass", "secret"]);
    let mut client = server.client();
    client.must(&["AUTH", "secret"]);
    let begun = Instant::now();
    while client.must(&["PING"]) != simple("PONG") {
        assert!(begun.elapsed() < PATIENCE, "the store does not open");
    }
    server
}

/// The first thing that such a client is told is why, and then the connection ends.
#[test]
fn protected_mode_turns_other_machines_away() {
    let addresses = nix::ifaddrs::getifaddrs().expect("the machine's addresses can be listed");
    let outside = addresses.filter_map(|interface| interface.address?.as_sockaddr_in().map(|address| address.ip()));
    let mut outside = outside;
    let Some(outside) = outside.find(|address| !address.is_loopback()) else {
        println!("skipped: this machine has no address but loopback ones");
        return;
    };
    let server = start(&["--bind", &outside.to_string()]);
    let address = (IpAddr::from(outside), server.address().port());
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let told = read_to_end(&mut connect());
    assert!(told.starts_with("-DENIED ") && told.ends_with("\r\n"), "{told}");

    let mut admin = server.client();
    admin.must(&["CONFIG", "SET", "protected-mode", "no"]);
    let mut stream = connect();
    stream.write_all(b"PING\r\n").unwrap();
    assert_eq!(read_exactly(&mut stream, 7), "+PONG\r\n");

    admin.must(&["CONFIG", "SET", "protected-mode", "yes", "requirepass", "secret"]);
    let mut stream = connect();
    stream.write_all(b"AUTH secret\r\n").unwrap();
    assert_eq!(read_exactly(&mut stream, 5), "+OK\r\n");
}

#[test]
fn a_unix_socket_is_served_with_its_permissions_and_removed_at_the_end() {
    let mut server = start(&["--unixsocket", "the.sock", "--unixsocketperm", "700"]);
    let path = server.directory().join("the.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    assert_eq!(read_exactly(&mut stream, 7), "+PONG\r\n");
    let Frame::Bulk(list) = server.client().must(&["CLIENT", "LIST"]) else { panic!("a list") };
    assert!(String::from_utf8_lossy(&list).contains("addr=the.sock:0 laddr=the.sock:0"));

    server.kill();
    assert!(path.exists(), "a killed server leaves its socket behind");
    server.run();
    assert!(server.terminate().success());
    assert!(!path.exists());
}

/// Waits until no other client is connected: the harness's own may still be on its way out.
fn alone(client: &mut Client) {
    let begun = Instant::now();
    while client.must(&["CLIENT", "LIST"]).bytes().is_none_or(|list| list.iter().filter(|&&b| b == b'\n').count() > 1) {
        assert!(begun.elapsed() < PATIENCE, "others are still connected");
    }
}

#[test]
fn client_kill_ends_connections_and_spares_the_caller() {
    let server = start(&[]);
    let (mut killer, mut victim) = (server.client(), raw(&server));
    let local = victim.local_addr().unwrap().to_string();
    victim.write_all(b"PING\r\n").unwrap();
    assert_eq!(read_exactly(&mut victim, 7), "+PONG\r\n");
    assert_eq!(killer.must(&["CLIENT", "KILL", "ADDR", &local]), Frame::Integer(1));
    assert_eq!(read_to_end(&mut victim), "");
    alone(&mut killer);
    assert_eq!(killer.must(&["CLIENT", "KILL", "TYPE", "normal"]), Frame::Integer(0));
    assert_eq!(killer.must(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]), Frame::Integer(1));
    assert!(killer.call(&["PING"]).is_err(), "the caller was to be killed too, once it had its answer");
}

/// How many clients INFO and CLIENT LIST say are blocked.
fn blocked(client: &mut Client) -> (usize, usize) {
    let mut text =
        |words: &[&str]| String::from_utf8_lossy(client.must(words).bytes().expect("a bulk string")).into_owned();
    let info = text(&["INFO", "clients"]);
    let count = info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).expect("INFO tells it");
    let flagged = text(&["CLIENT", "LIST"]).lines().filter(|line| line.contains(" flags=b ")).count();
    (count.parse().expect("a number"), flagged)
}

/// While writers are paused readers go on, and what waited is done afterwards.
#[test]
fn client_pause_holds_writes_back_until_unpause() {
    let server = start(&[]);
    let (mut admin, mut writer) = (server.client(), raw(&server));
    assert_eq!(admin.must(&["CLIENT", "PAUSE", "1000000", "WRITE"]), Frame::ok());
    writer.write_all(b"GET k\r\nSET k v\r\nGET k\r\n").unwrap();
    assert_eq!(read_exactly(&mut writer, 5), "$-1\r\n", "what came before the write is answered");
    assert_eq!(admin.must(&["EXISTS", "k"]), Frame::Integer(0));
    assert_eq!(blocked(&mut admin), (1, 1));
    assert_eq!(admin.must(&["CLIENT", "UNPAUSE"]), Frame::ok());
    assert_eq!(read_exactly(&mut writer, 12), "+OK\r\n$1\r\nv\r\n");
    assert_eq!(blocked(&mut admin), (0, 0));
    // What replicas would hear of is held as well.
    for held in [&["PFCOUNT", "hll"][..], &["PUBLISH", "channel", "message"], &["SPUBLISH", "channel", "message"]] {
        assert_eq!(admin.must(&["CLIENT", "PAUSE", "1000000", "WRITE"]), Frame::ok());
        let mut client = server.client();
        client.send(held);
        client.flush().unwrap();
        while blocked(&mut admin) != (1, 1) {
            std::thread::yield_now();
        }
        assert_eq!(admin.must(&["CLIENT", "UNPAUSE"]), Frame::ok());
        assert_eq!(client.receive().unwrap(), Frame::Integer(0));
    }
    assert_eq!(admin.must(&["CLIENT", "PAUSE", "100"]), Frame::ok());
    assert_eq!(admin.must(&["GET", "k"]), Frame::bulk("v"), "a pause ends by itself");
}

#[test]
fn client_reply_holds_replies_back() {
    let server = start(&[]);
    let mut stream = raw(&server);
    let requests = "CLIENT REPLY SKIP\r\nECHO a\r\nECHO b\r\nCLIENT REPLY OFF\r\nECHO c\r\nNOSUCH\r\nCLIENT REPLY ON\r\nECHO d\r\n";
    stream.write_all(requests.as_bytes()).unwrap();
    let expected = "$1\r\nb\r\n+OK\r\n$1\r\nd\r\n";
    assert_eq!(read_exactly(&mut stream, expected.len()), expected);
}

#[test]
fn the_protocol_changes_in_the_middle_of_a_pipeline() {
    let server = start(&[]);
    let mut client = server.client();
    for line in [&["GET", "none"][..], &["HELLO", "3"], &["GET", "none"], &["RESET"], &["GET", "none"]] {
        client.send(line);
    }
    client.flush().unwrap();
    assert_eq!(client.receive().unwrap(), Frame::NullBulk);
    assert!(matches!(client.receive().unwrap(), Frame::Map(fields) if fields.len() == 7));
    assert_eq!(client.receive().unwrap(), Frame::Null);
    assert_eq!(client.receive().unwrap(), simple("RESET"));
    assert_eq!(client.receive().unwrap(), Frame::NullBulk);
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    let server = start(&["--maxclients", "3"]);
    // The harness's own first connection may still be on its way out.
    let mut clients: Vec<Client> = Vec::new();
    let begun = Instant::now();
    while clients.len() < 3 {
        let mut client = server.client();
        if client.call(&["PING"]).is_ok_and(|reply| reply == simple("PONG")) {
            clients.push(client);
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(read_to_end(&mut raw(&server)), "-ERR max number of clients reached\r\n");
    assert_eq!(clients[0].must(&["CONFIG", "SET", "maxclients", "4"]), Frame::ok());
    assert_eq!(server.client().must(&["PING"]), simple("PONG"));
    let Frame::Bulk(info) = clients[0].must(&["INFO", "stats"]) else { panic!("INFO is a bulk string") };
    let info = String::from_utf8(info).unwrap();
    let rejected = info.lines().find_map(|line| line.strip_prefix("rejected_connections:")).unwrap();
    assert!(rejected.parse::<u64>().unwrap() >= 1);
}
