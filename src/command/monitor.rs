//! MONITOR: a client that is shown every command that runs, as one line each.
//!
//! A line is put into the monitors' outboxes by the thread that has run the command, behind its reply: those of one connection come in their order, those of
//! several as they happen to. A command of a transaction is shown when it runs, a command that waits when it begins to. What is refused before it runs
//! is not shown, nor are administrative commands; secrets are left out, as in SLOWLOG. A monitor that does not read is cut off by the limits for normal
//! clients, which by default are none.
//!
//! While nobody monitors a command pays one load of a word that hardly ever changes.

use super::clients::ClientFlags;
use super::server::slowlog;
use super::settings::Settings;
use super::{Arity, Attention, Client, CommandError, CommandSpec, Ctx, Flags, Found, Group, Modes, Session, Shared};
use crate::protocol::Args;
use std::io::Write as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const COMMANDS: &[CommandSpec] = &[CommandSpec {
    summary: "Has this connection shown every command that runs.",
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
    ..CommandSpec::new("monitor", "1.0.0", Group::Server, Arity::Exact(1), monitor)
}];

/// The clients that are shown commands.
#[derive(Debug, Default)]
pub struct Monitors {
    clients: RwLock<Vec<Arc<Client>>>,
}

impl Monitors {
    fn update(&self, settings: &Settings, change: impl FnOnce(&mut Vec<Arc<Client>>)) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut clients);
        settings.attention().set(Attention::MONITOR, !clients.is_empty());
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Client>>> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `MONITOR`
fn monitor(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if ctx.session.in_exec {
        return Err(CommandError::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if ctx.session.modes.contains(Modes::MONITOR) {
        // As in Redis, without a word.
        return Ok(());
    }
    ctx.session.modes.insert(Modes::MONITOR);
    super::pubsub::follow(ctx.session);
    let client = &ctx.session.client;
    client.set_flag(ClientFlags::MONITOR, true);
    ctx.shared.monitors.update(&ctx.shared.settings, |clients| clients.push(Arc::clone(client)));
    ctx.reply.ok();
    Ok(())
}

/// The session ends, or begins anew.
pub(super) fn leave(shared: &Shared, session: &mut Session) {
    if session.modes.contains(Modes::MONITOR) {
        session.modes.remove(Modes::MONITOR);
        super::pubsub::follow(session);
        session.client.set_flag(ClientFlags::MONITOR, false);
        shared
            .monitors
            .update(&shared.settings, |clients| clients.retain(|other| !Arc::ptr_eq(other, &session.client)));
    }
}

/// Whether a client that monitors may run the command: it is a replica of a kind to Redis, and those leave the keys alone.
pub(super) fn may_run_monitoring(spec: &CommandSpec) -> bool {
    !spec.flags.intersects(Flags::WRITE | Flags::READONLY) && !spec.is_replicated_anyway()
}

/// What it is told of any other command.
pub(super) const REFUSAL: CommandError = CommandError::fixed("ERR Replica can't interact with the keyspace");

/// Shows a command that has run, or begun to wait, to all monitors.
#[cold]
pub(super) fn show(ctx: &Ctx<'_>, found: &Found, args: Args<'_>) {
    if found.spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) {
        return;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = line(since, &ctx.session.client, ctx.session.db, found, args);
    for monitor in ctx.shared.monitors.read().iter() {
        // One that has gone, or was cut off, is taken off the list by its own connection.
        let _ = monitor.post(|reply| reply.raw().extend_from_slice(&line));
    }
}

/// `+seconds.micros [db address] "word" "word"` and the end of line.
fn line(since: Duration, client: &Client, db: u32, found: &Found, args: Args<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(64 + args.iter().map(|arg| arg.len() + 3).sum::<usize>());
    let _infallible = match client.flags().contains(ClientFlags::UNIX_SOCKET) {
        true => {
            let path = client.peer().strip_suffix(":0").unwrap_or(client.peer());
            write!(line, "+{}.{:06} [{db} unix:{path}]", since.as_secs(), since.subsec_micros())
        }
        false => write!(line, "+{}.{:06} [{db} {}]", since.as_secs(), since.subsec_micros(), client.peer()),
    };
    let name = found.full_name();
    for (at, arg) in args.iter().enumerate() {
        line.extend_from_slice(b" \"");
        if slowlog::is_secret(&name, args, at) {
            line.extend_from_slice(b"(redacted)");
        } else {
            quote(arg, &mut line);
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// Appends `bytes` with escapes, so that nothing in them ends the line or the quotes.
fn quote(bytes: &[u8], line: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(byte),
            _ => {
                let _infallible = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Reply, TestClient};

    /// A client that monitors what `client` runs.
    struct Monitor {
        session: Session,
    }

    impl Monitor {
        fn new(client: &mut TestClient) -> Self {
            let session = Session::new(client.direct.shared.clients.connect(String::new(), String::new(), -1, 0), true);
            let mut monitor = Self { session };
            assert_eq!(monitor.run(client, "MONITOR"), "+OK\r\n");
            monitor
        }

        /// What running a request brings: the reply, and what is shown behind it.
        fn run(&mut self, client: &mut TestClient, line: &str) -> String {
            std::mem::swap(&mut client.direct.session, &mut self.session);
            let bytes = client.run_raw(&crate::command::testing::split(line));
            std::mem::swap(&mut client.direct.session, &mut self.session);
            String::from_utf8(bytes).expect("text")
        }

        /// The lines that were shown since, from the database on.
        fn shown(&self) -> Vec<String> {
            let mut bytes = bytes::BytesMut::new();
            self.session.client.take_posted(&mut bytes);
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            text.lines().map(|line| line.split_once(" [").expect("a time before it").1.to_owned()).collect()
        }
    }

    /// What is expected was shown by redis-server 7.0.15.
    #[test]
    fn commands_are_shown_when_they_have_run_and_secrets_are_not() {
        let mut client = TestClient::new();
        let monitor = Monitor::new(&mut client);
        for (line, shown) in [
            (r#"SET k "v\x00\"\\\n\t\r\x07\x08\xff~""#, &[r#"0 ] "SET" "k" "v\x00\"\\\n\t\r\a\b\xff~""#][..]),
            ("select 5", &[r#"5 ] "select" "5""#]),
            ("foo bar", &[]),
            ("GET", &[]),
            ("CONFIG GET x", &[]),
            ("CLIENT LIST", &[]),
            ("CLIENT SETNAME a", &[r#"5 ] "CLIENT" "SETNAME" "a""#]),
            ("AUTH p", &[r#"5 ] "AUTH" "(redacted)""#]),
            ("AUTH u p", &[r#"5 ] "AUTH" "(redacted)" "(redacted)""#]),
            ("HELLO 3 AUTH u p SETNAME x", &[r#"5 ] "HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "x""#]),
            ("INCR k", &[r#"5 ] "INCR" "k""#]),
            ("LPUSH k x", &[r#"5 ] "LPUSH" "k" "x""#]),
            ("multi", &[r#"5 ] "multi""#]),
            ("set a b", &[]),
            ("config get maxmemory", &[]),
            ("exec", &[r#"5 ] "set" "a" "b""#, r#"5 ] "exec""#]),
            ("multi", &[r#"5 ] "multi""#]),
            ("nonsense", &[]),
            ("exec", &[r#"5 ] "exec""#]),
        ] {
            client.run(line);
            assert_eq!(monitor.shown(), shown, "{line}");
        }
    }

    /// Those of a pipeline run one by one then.
    #[test]
    fn commands_that_would_run_together_are_shown() {
        let mut client = TestClient::new();
        let monitor = Monitor::new(&mut client);
        for request in [["SET", "k", "v"], ["RPUSH", "l", "v"]] {
            let mut out = bytes::BytesMut::new();
            client.direct.run(&client.store, &mut client.worker, &vec![request.to_vec(); 3], &mut out);
            assert_eq!(monitor.shown().len(), 3, "{request:?}");
        }
    }

    #[test]
    fn a_monitor_sees_its_own_commands_behind_their_replies_and_has_no_business_with_keys() {
        let mut client = TestClient::new();
        let mut monitor = Monitor::new(&mut client);
        assert_eq!(monitor.run(&mut client, "MONITOR"), "");
        let shown = monitor.run(&mut client, "PING");
        assert!(shown.starts_with("+PONG\r\n+") && shown.ends_with(" [0 ] \"PING\"\r\n"), "{shown}");
        for line in ["GET k", "SET k v", "PUBLISH c m", "PFCOUNT k", "RANDOMKEY"] {
            assert_eq!(monitor.run(&mut client, line), "-ERR Replica can't interact with the keyspace\r\n", "{line}");
        }
        let own = monitor.run(&mut client, "CLIENT INFO");
        assert!(own.contains(" flags=O "), "{own}");
        assert_eq!(monitor.run(&mut client, "RESET"), "+RESET\r\n");
        client.run("PING");
        assert!(monitor.shown().is_empty());
        assert!(client.direct.shared.settings.attention().get().is_empty());
        assert!(!monitor.run(&mut client, "GET k").starts_with('-'));
    }

    #[test]
    fn there_is_no_monitor_inside_of_a_transaction() {
        let mut client = TestClient::new();
        client.run("MULTI");
        client.run("MONITOR");
        let refused = Reply::error("ERR MONITOR isn't allowed for DENY BLOCKING client");
        assert_eq!(client.run("EXEC"), Reply::Array(vec![refused]));
    }
}
