//! MONITOR over sockets: every command of every connection once, in its connection's order; and monitors that do not read.

use fencepost_harness::client::{Client, await_until};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::collections::HashMap;
use std::thread;

fn start(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--medium", "dram", "--pool-size", "16mb"].iter().chain(options).copied().collect();
    Server::start(Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into()), &Storage::Memory, &options)
}

fn monitor(server: &Server) -> Client {
    let mut monitor = server.client();
    assert_eq!(monitor.must(&["MONITOR"]), Frame::ok());
    monitor
}

/// The next line that is shown, from the address on: `address] "word" ...`.
fn shown(monitor: &mut Client) -> String {
    let Frame::Simple(line) = monitor.next_frame().unwrap() else { panic!("a line") };
    let line = String::from_utf8(line).unwrap();
    line.split_once("[0 ").unwrap_or_else(|| panic!("a database in {line}")).1.to_owned()
}

/// From several workers, with pipelines and transactions, to two monitors that begin before all of it.
#[test]
fn each_connection_is_shown_whole_and_in_order() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 50;
    let server = start(&["--workers", "3"]);
    let mut monitors = [monitor(&server), monitor(&server)];
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = server.client();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (key, value) = (format!("k{number}"), round.to_string());
                    for request in [&["SET", &key, &value][..], &["GET", &key], &["MULTI"], &["INCR", &key], &["EXEC"]]
                    {
                        client.send(request);
                    }
                    client.flush().unwrap();
                    for _ in 0..5 {
                        client.next_frame().unwrap();
                    }
                }
            });
        }
    });
    for monitor in &mut monitors {
        let mut by_client: HashMap<String, Vec<String>> = HashMap::new();
        for _ in 0..CLIENTS * ROUNDS * 5 {
            let line = shown(monitor);
            let (client, command) = line.split_once("] ").expect("an address");
            by_client.entry(client.to_owned()).or_default().push(command.to_owned());
        }
        assert_eq!(by_client.len(), CLIENTS);
        for commands in by_client.values() {
            let key = commands[1].strip_prefix("\"GET\" ").expect("the second one is GET");
            let round = |round| {
                [
                    format!("\"SET\" {key} \"{round}\""),
                    format!("\"GET\" {key}"),
                    "\"MULTI\"".to_owned(),
                    format!("\"INCR\" {key}"),
                    "\"EXEC\"".to_owned(),
                ]
            };
            assert_eq!(*commands, (0..ROUNDS).flat_map(round).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_command_that_waits_is_shown_once_when_it_begins_to() {
    let server = start(&[]);
    let (mut waiter, mut client) = (server.client(), server.client());
    let mut monitor = monitor(&server);
    waiter.send(&["BLPOP", "l", "0"]);
    waiter.flush().unwrap();
    assert!(shown(&mut monitor).ends_with(r#"] "BLPOP" "l" "0""#));
    client.must(&["LPUSH", "l", "x"]);
    assert!(matches!(waiter.next_frame().unwrap(), Frame::Array(_)));
    client.must(&["PING"]);
    assert!(shown(&mut monitor).ends_with(r#"] "LPUSH" "l" "x""#));
    assert!(shown(&mut monitor).ends_with(r#"] "PING""#));
}

/// What waits for it is bounded by the limit for normal clients; those whose commands it would be shown go on.
#[test]
fn a_monitor_that_does_not_read_is_cut_off() {
    let server = start(&["--workers", "2"]);
    let mut client = server.client();
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"];
    assert_eq!(client.must(&limit), Frame::ok());
    let mut slow = monitor(&server);
    let payload = "x".repeat(16 * 1024);
    // Ends: what the sockets hold and the limit are far less than 1 GiB.
    let cut_off = (0..65_536).any(|_| {
        client.must(&["ECHO", &payload]);
        client.info_figure("client_output_buffer_limit_disconnections") == 1
    });
    assert!(cut_off);
    while slow.next_frame().is_ok() {}
    await_until(|| client.info_figure("connected_clients") == 1);
}
