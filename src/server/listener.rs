//! Where clients come in: the sockets that are listened on, and who is let in.

use super::ServerError;
use super::stream::RawStream;
use super::worker::WorkerHandle;
use crate::command::clients::ClientFlags;
use crate::command::{Settings, Shared};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

/// How long accepting rests after an error such as having no file descriptor left.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";

const PROTECTED: &str = "-DENIED This server is in protected mode: it has no password, so it answers clients on its own machine only. \
To let others in, set a password with 'CONFIG SET requirepass <password>' from this machine or with --requirepass at the start; \
or, if the network is trusted, 'CONFIG SET protected-mode no'.\r\n";

/// The listening sockets. The Unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Listeners {
    tcp: Vec<std::net::TcpListener>,
    unix: Option<(std::os::unix::net::UnixListener, SocketFile)>,
}

#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already; the next start removes what is left.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listeners {
    /// Listens where the settings `bind`, `port` and `unixsocket` say.
    pub fn open(settings: &Settings) -> Result<Self, ServerError> {
        let text = |name| String::from_utf8_lossy(&settings.get(name).unwrap_or_default()).into_owned();
        let unix_path = text("unixsocket");
        let mut port: u16 = text("port").parse().unwrap_or(0);
        let backlog: i32 = text("tcp-backlog").parse().unwrap_or(511);
        let unix = if unix_path.is_empty() {
            None
        } else {
            let mode = u32::from_str_radix(&text("unixsocketperm"), 8).unwrap_or(0);
            Some(listen_unix(Path::new(&unix_path), mode)?)
        };
        let mut tcp = Vec::new();
        // Port 0 asks for no TCP at all; without another way in, for any free port.
        if port != 0 || unix.is_none() {
            for word in text("bind").split_ascii_whitespace() {
                let (optional, host) = match word.strip_prefix('-') {
                    Some(host) => (true, host),
                    None => (false, word),
                };
                match listen_tcp(host, port, backlog) {
                    Ok(listener) => {
                        port = listener.local_addr().map_or(port, |address| address.port());
                        tcp.push(listener);
                    }
                    Err(error) if optional => {
                        tracing::warn!(host, %error, "cannot listen on an optional address");
                    }
                    Err(error) => return Err(ServerError::Listen { place: format!("{host}:{port}"), error }),
                }
            }
            if tcp.is_empty() {
                return Err(ServerError::NowhereToListen);
            }
        }
        Ok(Self { tcp, unix })
    }

    /// The TCP port, 0 for none.
    pub fn port(&self) -> u16 {
        self.tcp.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port())
    }

    /// The places listened on, as text.
    pub fn places(&self) -> Vec<String> {
        let tcp = self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.to_string());
        tcp.chain(self.unix.iter().map(|(_, file)| file.0.display().to_string())).collect()
    }

    /// Starts accepting; must be called within a runtime. Accepting ends when the tasks are dropped.
    pub fn accept(self, door: &Arc<Door>) -> io::Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for listener in self.tcp {
            tasks.spawn(accept_tcp(TcpListener::from_std(listener)?, Arc::clone(door)));
        }
        if let Some((listener, file)) = self.unix {
            tasks.spawn(accept_unix(UnixListener::from_std(listener)?, file, Arc::clone(door)));
        }
        Ok(tasks)
    }
}

fn listen_tcp(host: &str, port: u16, backlog: i32) -> io::Result<std::net::TcpListener> {
    let address = match host {
        "*" => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        "::*" => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        _ => (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn listen_unix(path: &Path, mode: u32) -> Result<(std::os::unix::net::UnixListener, SocketFile), ServerError> {
    let failed = |error| ServerError::Listen { place: path.display().to_string(), error };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(failed(io::ErrorKind::AddrInUse.into()));
        }
        // Left behind by a server that was killed.
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_owned());
    if mode != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((listener, file))
}

/// Lets clients in and shares them out among the workers.
#[derive(Debug)]
pub(super) struct Door {
    pub shared: Arc<Shared>,
    pub workers: Vec<WorkerHandle>,
}

impl Door {
    /// Lets a client in, unless there are too many.
    fn admit(&self, stream: RawStream, peer: String, local: String, fd: i32) {
        let stats = self.shared.stats.listener();
        stats.connections_received.add(1);
        let connected: usize = self.workers.iter().map(WorkerHandle::connections).sum();
        if connected >= self.shared.settings.maxclients() {
            return self.turn_away(stream, TOO_MANY);
        }
        let is_unix = matches!(stream, RawStream::Unix(_));
        let client = self.shared.clients.connect(peer, local, fd, self.shared.clock.now_ms());
        client.set_flag(ClientFlags::UNIX_SOCKET, is_unix);
        let worker = self.workers.iter().min_by_key(|worker| worker.connections());
        worker.expect("there is at least one worker").adopt(&self.shared, stream, client);
    }

    fn admit_tcp(&self, stream: std::net::TcpStream, peer: SocketAddr) {
        let settings = &self.shared.settings;
        let (fd, local) = (stream.as_raw_fd(), stream.local_addr().map(|address| address.to_string()));
        // Neither is worth losing a client over.
        let _ = stream.set_nodelay(true);
        if let Some(time) = settings.tcp_keepalive() {
            let interval = (time / 3).max(Duration::from_secs(1));
            let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(3);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        }
        if is_denied(settings.protected_mode(), settings.password_required(), peer.ip()) {
            self.shared.stats.listener().connections_received.add(1);
            return self.turn_away(RawStream::Tcp(stream), PROTECTED);
        }
        self.admit(RawStream::Tcp(stream), peer.to_string(), local.unwrap_or_default(), fd);
    }

    fn turn_away(&self, stream: RawStream, why: &str) {
        self.shared.stats.listener().connections_rejected.add(1);
        // A client that cannot be told is turned away all the same.
        let _ = match stream {
            RawStream::Tcp(mut stream) => stream.write(why.as_bytes()),
            RawStream::Unix(mut stream) => stream.write(why.as_bytes()),
        };
    }
}

/// Protected mode: without a password, only clients of this machine are let in.
fn is_denied(protected_mode: bool, password_required: bool, peer: IpAddr) -> bool {
    protected_mode && !password_required && !peer.to_canonical().is_loopback()
}

async fn accept_tcp(listener: TcpListener, door: Arc<Door>) {
    // Ends with the task.
    loop {
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => door.admit_tcp(stream, peer),
            Err(error) => rest(&error).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, file: SocketFile, door: Arc<Door>) {
    let place = format!("{}:0", file.0.display());
    // Ends with the task.
    loop {
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                let fd = stream.as_raw_fd();
                door.admit(RawStream::Unix(stream), place.clone(), place.clone(), fd);
            }
            Err(error) => rest(&error).await,
        }
    }
}

/// A client that left before it was accepted is no reason to wait; running out of file descriptors is.
async fn rest(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot accept a client");
        tokio::time::sleep(REST_AFTER_ERROR).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_mode_lets_only_this_machine_in() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, denied) in [
            ("127.0.0.1", false),
            ("127.1.2.3", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(is_denied(true, false, ip(peer)), denied, "{peer}");
            assert!(!is_denied(false, false, ip(peer)), "{peer}");
            assert!(!is_denied(true, true, ip(peer)), "{peer}");
        }
    }
}
