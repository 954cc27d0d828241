//! Starting and ending: configuration files, errors at the start, signals, SHUTDOWN.

use fencepost_harness::client::encode;
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const FENCEPOST: &str = env!("CARGO_BIN_EXE_fencepost");

/// Long enough for a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn server(options: &[&str]) -> Server {
    let options: Vec<&str> = ["--pool-size", "16mb"].iter().chain(options).copied().collect();
    Server::new(Program::Fencepost(FENCEPOST.into()), &Storage::Memory, &options)
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(FENCEPOST).args(arguments).current_dir(directory).output().expect("the program runs")
}

/// The one line that a failed start prints; the exit status is 1.
fn refusal(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().last().expect("it says why").to_owned();
    line.strip_prefix("fencepost: ").unwrap_or_else(|| panic!("not a message: {line}")).to_owned()
}

#[test]
fn a_start_that_fails_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("a.conf"), "port 0\n\n# a comment\nprot 1\n").unwrap();
    let path = at.join("a.conf").canonicalize().unwrap();
    let path = path.display();
    assert_eq!(
        refusal(at, &["--config", "a.conf"]),
        format!("{path}:4: there is no directive 'prot'; correct its name or remove the line")
    );
    fs::write(at.join("a.conf"), "maxclients many\n").unwrap();
    assert_eq!(
        refusal(at, &["--config", "a.conf"]),
        format!("{path}:1: maxclients: argument couldn't be parsed into an integer; correct the line or remove it")
    );
    assert!(refusal(at, &["--config", "none.conf"]).starts_with("cannot read the configuration file none.conf: "));
    assert_eq!(refusal(at, &["--port", "70000"]), "--port 70000: argument must be between 0 and 65535 inclusive");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert!(
        refusal(at, &["--port", &port, "--medium", "dram"])
            .starts_with(&format!("cannot listen on 127.0.0.1:{port}: "))
    );
    fs::write(at.join("a.sock"), "a file").unwrap();
    assert!(refusal(at, &["--port", "0", "--unixsocket", "a.sock"]).starts_with("cannot listen on a.sock: "));
    assert_eq!(fs::read(at.join("a.sock")).unwrap(), b"a file", "what is no socket is left alone");
    fs::write(at.join("no.pool"), "this is no pool").unwrap();
    assert!(refusal(at, &["--port", "0", "--pool", "no.pool"]).contains("no.pool"));
    assert_eq!(fs::read(at.join("no.pool")).unwrap(), b"this is no pool");
}

#[test]
fn a_second_server_on_one_pool_is_refused() {
    let mut first = server(&[]);
    first.run();
    let said = refusal(first.directory(), &["--port", "0", "--pool", "test.pool"]);
    assert!(said.contains("in use"), "{said}");
    assert_eq!(first.client().must(&["PING"]), Frame::Simple(b"PONG".to_vec()));
}

#[test]
fn directives_that_mean_nothing_here_are_said_and_accepted() {
    let mut server = server(&["--config", "redis.conf"]);
    let conf = "appendonly yes\nsave 900 1\nrename-command FLUSHALL \"\"\nmaxclients 123\n";
    fs::write(server.directory().join("redis.conf"), conf).unwrap();
    server.run();
    let log = server.log();
    for name in ["appendonly", "save", "rename-command"] {
        assert!(log.contains(&format!("'{name}' has no effect in this server")), "{log}");
    }
    let mut client = server.client();
    assert_eq!(
        client.must(&["CONFIG", "GET", "maxclients"]),
        Frame::Array(vec![Frame::bulk("maxclients"), Frame::bulk("123")])
    );
}

/// What CONFIG REWRITE writes is what the next start reads.
#[test]
fn a_rewritten_configuration_is_read_back() {
    let mut server = server(&["--config", "my.conf"]);
    let file = server.directory().join("my.conf");
    fs::write(&file, "# mine\nmaxclients 77 \n").unwrap();
    server.run();
    let mut client = server.client();
    let set = ["CONFIG", "SET", "maxclients", "78", "slowlog-max-len", "9", "requirepass", "a \"quoted\" \n word"];
    assert_eq!(client.must(&set), Frame::ok());
    assert_eq!(client.must(&["CONFIG", "REWRITE"]), Frame::ok());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# mine\nmaxclients 78\n"), "{text}");
    assert!(server.terminate().success());
    server.spawn();
    // It answers NOAUTH now, which is an answer.
    server.wait_ready().unwrap();
    let mut client = server.client();
    assert_eq!(client.must(&["AUTH", "a \"quoted\" \n word"]), Frame::ok());
    let expected = vec![Frame::bulk("slowlog-max-len"), Frame::bulk("9")];
    assert_eq!(client.must(&["CONFIG", "GET", "slowlog-max-len"]), Frame::Array(expected));
}

/// Every request that was executed is answered in full before the server ends, and the pool is closed cleanly.
#[test]
fn sigterm_lets_replies_out_and_closes_the_pool() {
    const REQUESTS: usize = 400;
    let mut server = server(&[]);
    server.run();
    let mut observer = server.client();
    let mut slow = TcpStream::connect(server.address()).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    encode(&mut request, &[b"ECHO".to_vec(), vec![b'x'; 64 * 1024]]);
    for _ in 0..REQUESTS {
        slow.write_all(&request).unwrap();
    }
    // The last request tells that all have run.
    slow.write_all(b"SET done 1\r\n").unwrap();
    let begun = Instant::now();
    while observer.must(&["EXISTS", "done"]) != Frame::Integer(1) {
        assert!(begun.elapsed() < PATIENCE);
    }
    kill(Pid::from_raw(server.pid() as i32), Signal::SIGTERM).unwrap();
    let mut replies = Vec::new();
    slow.read_to_end(&mut replies).expect("the connection ends in order");
    assert_eq!(replies.len(), REQUESTS * (64 * 1024 + 10) + 5);
    assert!(replies.ends_with(b"+OK\r\n"));
    assert!(server.wait_stopped().success());
    assert!(observer.call(&["PING"]).is_err());
    assert!(TcpStream::connect(server.address()).is_err());

    let info = run(server.directory(), &["pool", "info", "test.pool"]);
    let info = String::from_utf8(info.stdout).unwrap();
    assert!(info.lines().any(|line| line.split_whitespace().eq(["closed", "cleanly", "yes"])), "{info}");
    let check = run(server.directory(), &["pool", "check", "test.pool"]);
    assert!(check.status.success(), "{check:?}");
    server.run();
    assert_eq!(server.client().must(&["GET", "done"]), Frame::bulk("1"));
}

/// A client that never reads its replies would hold an ordinary shutdown up for `shutdown-timeout`.
#[test]
fn shutdown_now_waits_for_nobody() {
    let mut server = server(&[]);
    server.run();
    let mut admin = server.client();
    assert_eq!(admin.must(&["CONFIG", "SET", "shutdown-timeout", "100000"]), Frame::ok());
    let mut stuck = TcpStream::connect(server.address()).unwrap();
    let mut request = Vec::new();
    encode(&mut request, &[b"ECHO".to_vec(), vec![b'x'; 1 << 20]]);
    for _ in 0..32 {
        stuck.write_all(&request).unwrap();
    }
    assert!(admin.call(&["SHUTDOWN", "NOW"]).is_err(), "a shutdown that happens is not answered");
    assert!(server.wait_stopped().success());
}

#[test]
fn shutdown_ends_the_server_and_keeps_the_data() {
    let mut server = server(&[]);
    server.run();
    let mut client = server.client();
    assert_eq!(client.must(&["SHUTDOWN", "ABORT"]), Frame::Error(b"ERR No shutdown in progress.".to_vec()));
    assert_eq!(client.must(&["SHUTDOWN", "SOON"]), Frame::Error(b"ERR syntax error".to_vec()));
    assert_eq!(client.must(&["SET", "k", "v"]), Frame::ok());
    assert!(client.call(&["SHUTDOWN", "NOSAVE"]).is_err());
    assert!(server.wait_stopped().success());
    server.run();
    assert_eq!(server.client().must(&["GET", "k"]), Frame::bulk("v"));
}
