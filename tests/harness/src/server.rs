//! A server process in a directory of its own, on a private port of the loopback interface.
//!
//! The same handle serves `fencepost` and `redis-server`, so that a test can be pointed at either: that is how the
//! tests are tried out themselves. Dropping the handle kills the process and removes the directory; when the test is
//! panicking the server's log goes to stderr first.

use crate::client::Client;
use crate::resp::Frame;
use crate::rng::{Rng, Seed};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take from its start to its first answer that is not LOADING.
pub const READY_WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to stop after it was asked to.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two looks at a process: there is no event to wait for across processes.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// Ports are taken from below the kernel's range for outgoing connections, so that no client's own port collides.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Which server to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The `fencepost` binary at this path: `env!("CARGO_BIN_EXE_fencepost")` in an integration test.
    Fencepost(PathBuf),
    /// `redis-server` from the search path.
    Redis,
    /// The Redis 8 that `FENCEPOST_REDIS8` names; see [`redis_8`].
    Redis8(PathBuf),
}

impl Server {
    /// The server that a durability test is about, not running yet: `fencepost` at this path with these options, unless
    /// `FENCEPOST_TEST_SERVER` says `redis` (Redis with an append-only file that is synced always: the test must
    /// pass) or `redis-volatile` (Redis without persistence: a test of durability must fail). That is how the tests
    /// themselves are tested.
    ///
    /// # Panics
    /// When the variable says anything else.
    pub fn under_test(fencepost: &str, storage: &Storage, options: &[&str]) -> Self {
        match std::env::var("FENCEPOST_TEST_SERVER").as_deref() {
            Err(_) => Self::new(Program::Fencepost(fencepost.into()), storage, options),
            Ok("redis") => Self::new(Program::Redis, storage, &["--appendonly", "yes", "--appendfsync", "always"]),
            Ok("redis-volatile") => Self::new(Program::Redis, storage, &[]),
            Ok(other) => panic!("FENCEPOST_TEST_SERVER is {other}; it can be redis or redis-volatile"),
        }
    }

    /// Whether it knows fields of hashes that expire, as Redis does from 7.4 on.
    pub fn has_field_expiry(&self) -> bool {
        self.program != Program::Redis
    }

    /// Has it keep collections in one record up to another size from now on, over a connection outside of any transaction. Nothing for others than Fencepost.
    pub fn vary_packing(&self, client: &mut Client, rng: &mut Rng) {
        const SIZES: [&str; 5] = ["0", "40", "200", "512", "4096"];
        if let Program::Fencepost(_) = self.program {
            assert_eq!(client.must(&["CONFIG", "SET", "packed-collection-max-bytes", *rng.pick(&SIZES)]), Frame::ok());
        }
    }
}

/// Where a server's directory is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In `/dev/shm` where there is one: writes cost no I/O.
    Memory,
    /// In this directory, which the caller knows to be on a disk.
    Disk(PathBuf),
}

impl Storage {
    fn directory(&self) -> io::Result<TempDir> {
        let builder = &mut tempfile::Builder::new();
        builder.prefix("fencepost-test-");
        match self {
            Storage::Memory if Path::new("/dev/shm").is_dir() => builder.tempdir_in("/dev/shm"),
            Storage::Memory => builder.tempdir(),
            Storage::Disk(parent) => builder.tempdir_in(parent),
        }
    }
}

/// A server process and its directory.
pub struct Server {
    program: Program,
    options: Vec<String>,
    prefix: Vec<String>,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server that is not running yet. `options` follow the ones that the harness sets (address, port, directory,
    /// pool).
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new(program: Program, storage: &Storage, options: &[&str]) -> Self {
        let directory = storage.directory().expect("a directory for the server can be made");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { program, options, prefix: Vec::new(), directory, port: free_port(), child: None }
    }

    /// Runs the server under this command, `taskset -c 0` for one.
    #[must_use]
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// A running server that answers.
    ///
    /// # Panics
    /// When it does not get there; the message has the end of its log.
    pub fn start(program: Program, storage: &Storage, options: &[&str]) -> Self {
        let mut server = Self::new(program, storage, options);
        server.run();
        server
    }

    /// Starts the process and waits until it answers; returns how long that took. A port that someone else took in
    /// between is given up for another one.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn run(&mut self) -> Duration {
        const PORTS_TRIED_MAX: usize = 5;
        for _ in 0..PORTS_TRIED_MAX {
            self.spawn();
            match self.wait_ready() {
                Ok(took) => return took,
                Err(_) if self.log().to_ascii_lowercase().contains("address already in use") => self.port = free_port(),
                Err(why) => panic!("{why}\n{}", self.log_end()),
            }
        }
        panic!("no free port was found\n{}", self.log_end());
    }

    /// Starts the process without waiting for it.
    ///
    /// # Panics
    /// When the program cannot be started at all, or is running already.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server is running already");
        let (program, arguments) = self.command_line();
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let words: Vec<&str> = self
            .prefix
            .iter()
            .map(String::as_str)
            .chain([program.as_str()])
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file handle can be copied")).stderr(log);
        let started = command.spawn();
        self.child = Some(started.unwrap_or_else(|error| panic!("{} cannot be started: {error}", words[0])));
    }

    fn command_line(&self) -> (String, Vec<String>) {
        let port = self.port.to_string();
        let own: &[&str] = match &self.program {
            Program::Fencepost(_) => &["--bind", "127.0.0.1", "--port", &port, "--pool", "test.pool"],
            Program::Redis | Program::Redis8(_) => {
                &["--bind", "127.0.0.1", "--port", &port, "--save", "", "--enable-debug-command", "yes"]
            }
        };
        let program = match &self.program {
            Program::Fencepost(path) | Program::Redis8(path) => path.display().to_string(),
            Program::Redis => "redis-server".to_owned(),
        };
        (program, own.iter().map(|&word| word.to_owned()).chain(self.options.iter().cloned()).collect())
    }

    /// Waits until the server answers something else than LOADING; returns how long that took.
    ///
    /// # Errors
    /// When the process ends or [`READY_WAIT_MAX`] is over.
    pub fn wait_ready(&mut self) -> io::Result<Duration> {
        let start = Instant::now();
        loop {
            let child = self.child.as_mut().ok_or_else(|| io::Error::other("the server was not started"))?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Err(io::Error::other(format!("the server ended before it was ready: {status}")));
            }
            if self.answers() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > READY_WAIT_MAX {
                return Err(io::Error::other(format!("the server was not ready within {READY_WAIT_MAX:?}")));
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn answers(&self) -> bool {
        let reply = Client::connect(self.address()).and_then(|mut client| client.call(&["PING"]));
        match reply {
            Ok(Frame::Error(text)) => !text.starts_with(b"LOADING"),
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Kills the process as `kill -9` does and waits until it is gone. Does nothing when it is not running.
    ///
    /// # Panics
    /// When the process cannot be killed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("an own process can be killed");
            child.wait().expect("an own process can be waited for");
        }
    }

    /// Asks the process to stop (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it is not running, or has not stopped within [`STOP_WAIT_MAX`].
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("an own process can be signalled");
        self.wait_stopped()
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When it is not running, or has not stopped within [`STOP_WAIT_MAX`].
    pub fn wait_stopped(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            let child = self.child.as_mut().expect("the server is running");
            if let Some(status) = child.try_wait().expect("an own process can be waited for") {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < STOP_WAIT_MAX, "the server did not stop\n{}", self.log_end());
            std::thread::sleep(POLL_EVERY);
        }
    }

    /// `kill -9`, then the same command line again over the same data; returns how long the start took.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn crash(&mut self) -> Duration {
        self.kill();
        self.run()
    }

    /// A new connection.
    ///
    /// # Panics
    /// When the server does not accept it.
    pub fn client(&self) -> Client {
        Client::connect(self.address()).unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.log_end()))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process id. Under a prefix that does not `exec`, the prefix's.
    ///
    /// # Panics
    /// When it is not running.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// Whether the process was started and has not been seen to end.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The pool file of a `fencepost` server.
    pub fn pool_path(&self) -> PathBuf {
        self.directory.path().join("test.pool")
    }

    /// All it has printed, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// The last lines of the log, for messages.
    pub fn log_end(&self) -> String {
        const LINES: usize = 40;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LINES)..];
        format!("--- the end of the server's log ---\n{}\n---", end.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_end());
        }
        if let Some(mut child) = self.child.take() {
            // Nothing to do about errors here: the process is gone or is not ours any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether `redis-server` can be run. Tests that compare with it pass without it, saying so, unless
/// `FENCEPOST_REQUIRE_REDIS` is set (as CI does).
///
/// # Panics
/// When it is required and is not there.
pub fn redis_is_installed() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    is_there(found.is_ok_and(|status| status.success()), "redis-server is not installed")
}

/// The Redis 8 that `FENCEPOST_REDIS8` names: the only one to compare fields that expire with, as Debian 12 installs an older one. Tests that compare with it
/// pass without it, saying so, unless `FENCEPOST_REQUIRE_REDIS` is set (as CI does).
///
/// # Panics
/// When it is required and not named, or what is named is no Redis 8.
pub fn redis_8() -> Option<Program> {
    let path = std::env::var_os("FENCEPOST_REDIS8").map(PathBuf::from);
    if !is_there(path.is_some(), "FENCEPOST_REDIS8 names no Redis 8 (tests/redis-8/fetch brings one)") {
        return None;
    }
    let path = path?;
    let version = Command::new(&path).arg("--version").output();
    let version = version.unwrap_or_else(|error| panic!("{} cannot be run: {error}", path.display())).stdout;
    let version = String::from_utf8_lossy(&version);
    assert!(version.contains(" v=8."), "{} is no Redis 8: {version}", path.display());
    Some(Program::Redis8(path))
}

/// Passes on whether a server to compare with is there, and says so if it is not and may be missing.
fn is_there(found: bool, otherwise: &str) -> bool {
    assert!(found || std::env::var_os("FENCEPOST_REQUIRE_REDIS").is_none(), "Redis is required: {otherwise}");
    if !found {
        println!("skipped: {otherwise}");
    }
    found
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    let nanoseconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let mut rng = Seed(nanoseconds ^ u64::from(std::process::id())).rng(0);
    loop {
        let port = rng.between(i64::from(PORTS.start), i64::from(PORTS.end) - 1) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_started_killed_started_again_and_stopped() {
        if !redis_is_installed() {
            return;
        }
        let mut server =
            Server::start(Program::Redis, &Storage::Memory, &["--appendonly", "yes", "--appendfsync", "always"]);
        assert_eq!(server.client().must(&["SET", "k", "v"]), Frame::ok());
        server.crash();
        assert_eq!(server.client().must(&["GET", "k"]), Frame::bulk("v"));
        assert!(server.terminate().success());
        assert!(!server.is_running());
    }

    #[test]
    #[should_panic(expected = "ended before it was ready")]
    fn a_server_that_refuses_to_start_is_reported() {
        if !redis_is_installed() {
            panic!("ended before it was ready");
        }
        Server::start(Program::Redis, &Storage::Memory, &["--no-such-option", "1"]);
    }
}
