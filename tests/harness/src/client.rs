//! A blocking client: one connection, commands in, frames out.

use crate::Command;
use crate::resp::Frame;
use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a reply may take before the client gives up: long enough for a loaded machine, short enough for a hung
/// server to be seen.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(60);

/// How many commands [`Client::pipeline`] leaves unanswered at a time, so that neither side's socket buffer fills
/// while both write.
const PIPELINE_WINDOW: usize = 128;

/// One connection to a server.
pub struct Client {
    reader: BufReader<TcpStream>,
    output: Vec<u8>,
    pushes: VecDeque<Frame>,
}

impl Client {
    /// Connects; speaks RESP2 until [`Client::hello`].
    ///
    /// # Errors
    /// When nothing answers at `address`.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, REPLY_WAIT_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WAIT_MAX))?;
        stream.set_write_timeout(Some(REPLY_WAIT_MAX))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream), output: Vec::new(), pushes: VecDeque::new() })
    }

    /// Switches the connection to RESP2 or RESP3 and returns the server's answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn hello(&mut self, version: u8) -> io::Result<Frame> {
        self.call(&["HELLO", &version.to_string()])
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// When the connection breaks, a reply does not come in time or is not RESP. An error *reply* is a frame.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Frame> {
        self.send(args);
        self.flush()?;
        self.receive()
    }

    /// [`Client::call`] for tests that cannot go on without the connection.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn must<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Frame {
        let reply = self.call(args);
        let name = args.first().map_or(String::new(), |name| String::from_utf8_lossy(name.as_ref()).into_owned());
        reply.unwrap_or_else(|error| panic!("{name} was not answered: {error}"))
    }

    /// A figure of INFO, for tests that cannot go on without it.
    ///
    /// # Panics
    /// When there is no such field, it is no number, or the connection breaks.
    pub fn info_figure(&mut self, field: &str) -> u64 {
        let Frame::Bulk(info) = self.must(&["INFO", "everything"]) else { panic!("INFO is a bulk string") };
        let info = String::from_utf8(info).expect("INFO is text");
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{field} is not in INFO")).parse().expect("a number")
    }

    /// Runs the commands as a pipeline and returns their replies in order.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn pipeline(&mut self, commands: &[Command]) -> io::Result<Vec<Frame>> {
        let mut replies = Vec::with_capacity(commands.len());
        for window in commands.chunks(PIPELINE_WINDOW) {
            for command in window {
                self.send(command);
            }
            self.flush()?;
            for _ in window {
                replies.push(self.receive()?);
            }
        }
        Ok(replies)
    }

    /// Puts a command into the output; nothing is sent before [`Client::flush`].
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        encode(&mut self.output, args);
    }

    /// Puts bytes into the output as they are: inline commands and broken ones.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends the output.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.reader.get_mut().write_all(&self.output);
        self.output.clear();
        sent
    }

    /// Reads the next reply; pushes that come before it are put aside for [`Client::take_push`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn receive(&mut self) -> io::Result<Frame> {
        loop {
            match Frame::read(&mut self.reader)? {
                push @ Frame::Push(_) => self.pushes.push_back(push),
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame of any kind, those put aside first: what a subscriber reads.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn next_frame(&mut self) -> io::Result<Frame> {
        self.pushes.pop_front().map_or_else(|| Frame::read(&mut self.reader), Ok)
    }

    /// The oldest push that came between replies.
    pub fn take_push(&mut self) -> Option<Frame> {
        self.pushes.pop_front()
    }
}

/// A command as RESP: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(output: &mut Vec<u8>, args: &[A]) {
    output.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        output.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        output.extend_from_slice(arg);
        output.extend_from_slice(b"\r\n");
    }
}

/// Asks again until `reached`: for what happens on another connection, whose end nothing announces.
///
/// # Panics
/// After a minute: long enough for a loaded machine.
pub fn await_until(mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has not happened");
    }
}
