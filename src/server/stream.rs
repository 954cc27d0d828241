//! A client's socket, TCP or Unix.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A socket that no runtime drives yet, on its way from the listener to a worker. Non-blocking.
#[derive(Debug)]
pub(super) enum RawStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl RawStream {
    /// Has the current thread's runtime drive it.
    pub fn register(self) -> io::Result<Stream> {
        Ok(match self {
            RawStream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            RawStream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// A socket driven by the current thread's runtime.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Throws away what has arrived already, so that closing the socket sends an end and not a reset, which could overtake the last reply.
    pub fn discard_arrived(&self) {
        let mut scrap = [0; 4096];
        // Ends: at most so many reads, and none that waits.
        for _ in 0..64 {
            let read = match self {
                Stream::Tcp(stream) => stream.try_read(&mut scrap),
                Stream::Unix(stream) => stream.try_read(&mut scrap),
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
