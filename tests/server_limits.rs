//! What a client may cost: unread replies, unfinished requests, time without a word, memory while idle.

use fencepost_harness::client::{Client, encode};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--medium", "dram", "--pool-size", "16mb"].iter().chain(options).copied().collect();
    Server::start(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options)
}

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ended(stream: &mut TcpStream) -> bool {
    let mut scrap = [0; 4096];
    // Ends: with the connection, or with the read that times out.
    loop {
        match stream.read(&mut scrap) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn echo(len: usize) -> Vec<u8> {
    let mut request = Vec::new();
    encode(&mut request, &[b"ECHO".to_vec(), vec![b'x'; len]]);
    request
}

fn stat(client: &mut Client, field: &str) -> u64 {
    let Frame::Bulk(info) = client.must(&["INFO", "stats"]) else { panic!("INFO is a bulk string") };
    let info = String::from_utf8(info).unwrap();
    let value = info.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).map(str::to_owned);
    value.unwrap_or_else(|| panic!("{field} is in INFO")).parse().unwrap()
}

/// The client's line of CLIENT LIST.
fn listed(client: &mut Client, id: i64) -> Option<String> {
    let Frame::Bulk(list) = client.must(&["CLIENT", "LIST", "ID", &id.to_string()]) else { panic!("a list") };
    (!list.is_empty()).then(|| String::from_utf8(list).unwrap())
}

fn client_id(stream: &mut TcpStream) -> i64 {
    stream.write_all(b"CLIENT ID\r\n").unwrap();
    let mut line = Vec::new();
    // Ends: with the line.
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line[1..line.len() - 2]).parse().unwrap()
}

#[test]
fn a_client_above_the_hard_output_limit_is_closed() {
    let server = start(&[]);
    let mut admin = server.client();
    assert_eq!(admin.must(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"]), Frame::ok());
    let mut glutton = raw(&server);
    let request = echo(64 * 1024);
    // Ends: what the sockets hold and the limit are far less than 4 GiB.
    let closed = (0..65_536).any(|_| glutton.write_all(&request).is_err());
    assert!(closed, "4 GiB of replies were taken for a client that reads none");
    assert_eq!(stat(&mut admin, "client_output_buffer_limit_disconnections"), 1);
    assert_eq!(admin.must(&["PING"]), Frame::Simple(b"PONG".to_vec()));
}

/// It sends nothing more, so only the time that it stays above the limit can close it.
#[test]
fn a_client_too_long_above_the_soft_output_limit_is_closed() {
    let server = start(&[]);
    let mut admin = server.client();
    assert_eq!(admin.must(&["CONFIG", "SET", "client-output-buffer-limit", "normal 0 256kb 1"]), Frame::ok());
    let mut glutton = raw(&server);
    let id = client_id(&mut glutton);
    let request = echo(64 * 1024);
    // 64 MiB: more than the sockets hold.
    for _ in 0..1024 {
        if glutton.write_all(&request).is_err() {
            break;
        }
    }
    let begun = Instant::now();
    while listed(&mut admin, id).is_some() {
        assert!(begun.elapsed() < PATIENCE, "the client is still there");
    }
    assert_eq!(stat(&mut admin, "client_output_buffer_limit_disconnections"), 1);
}

#[test]
fn a_client_that_fills_the_query_buffer_is_closed() {
    let server = start(&[]);
    let mut admin = server.client();
    assert_eq!(admin.must(&["CONFIG", "SET", "client-query-buffer-limit", "1mb"]), Frame::ok());
    let mut stream = raw(&server);
    assert!(stream.write_all(&echo(512 * 1024)).is_ok());
    let mut reply = vec![0; 512 * 1024 + 11];
    stream.read_exact(&mut reply).expect("a request below the limit is answered");
    // It may be closed before all of it is sent.
    let _ = stream.write_all(&echo(8 << 20));
    assert!(ended(&mut stream));
    assert_eq!(stat(&mut admin, "client_query_buffer_limit_disconnections"), 1);
}

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    let server = start(&[]);
    let (mut busy, mut idle) = (server.client(), raw(&server));
    assert_eq!(busy.must(&["CONFIG", "SET", "timeout", "1"]), Frame::ok());
    idle.write_all(b"PING\r\n").unwrap();
    let watcher = std::thread::spawn(move || ended(&mut idle));
    // Ends with the idle client.
    while !watcher.is_finished() {
        busy.must(&["PING"]);
    }
    assert!(watcher.join().unwrap(), "the idle client was not closed");
    busy.must(&["PING"]);
}

fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Each has just sent and received 100 KiB, which must leave no trace.
#[test]
fn idle_clients_hold_no_buffers() {
    const CLIENTS: u64 = 400;
    let server = start(&["--workers", "1"]);
    let work = |client: &mut Client| {
        assert!(matches!(client.must(&["ECHO", &"x".repeat(100 * 1024)]), Frame::Bulk(_)));
    };
    let mut first = server.client();
    work(&mut first);
    let before_bytes = resident_bytes(&server);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    clients.iter_mut().for_each(work);
    let each_bytes = resident_bytes(&server).saturating_sub(before_bytes) / CLIENTS;
    assert!(each_bytes < 8 * 1024, "an idle client takes {each_bytes} bytes");
    println!("an idle client takes {each_bytes} bytes");
    let Frame::Bulk(list) = first.must(&["CLIENT", "LIST"]) else { panic!("a list") };
    let list = String::from_utf8(list).unwrap();
    let holding =
        list.lines().filter(|line| !line.contains(" qbuf=0 qbuf-free=0 ") && !line.contains("cmd=client|list"));
    assert_eq!(holding.count(), 0);
}
