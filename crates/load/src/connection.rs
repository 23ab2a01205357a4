//! One connection: a socket that is never waited for, perhaps inside TLS, what of a request is not sent yet, what of a
//! reply is there, and which requests are under way.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::ledger::{Expected, Write};

/// Room kept in a connection's own buffers between batches, in bytes; what large values needed is given back.
const KEPT_BYTES: usize = 64 << 10;

/// A request that was sent, or waits to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// What.
    pub(crate) what: What,
    /// Whose value.
    pub(crate) key: u32,
    /// When it was due, which its latency counts from, in nanoseconds.
    pub(crate) due_ns: u64,
    /// When it was handed over, in nanoseconds.
    pub(crate) sent_ns: u64,
}

/// What was asked, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// Who we are.
    Greeting,
    /// A value, and what it may be; nothing if it is not verified.
    Read(Option<Expected>),
    /// To store one; nothing if it is not verified.
    Write(Option<Write>),
    /// To delete one.
    Delete,
}

/// How to reach the server, over and over.
#[derive(Clone)]
pub(crate) struct Dial {
    /// Where.
    pub(crate) address: SocketAddr,
    /// With TLS: how, and whom to expect.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

/// A connection and all that hangs on it.
pub(crate) struct Connection {
    stream: Option<Stream>,
    /// The beginning of a reply.
    pub(crate) partial: Vec<u8>,
    /// How long `partial` must be before it is worth looking at.
    pub(crate) need: usize,
    unsent: Vec<u8>,
    unsent_from: usize,
    /// Requests without an answer, the oldest first.
    pub(crate) under_way: VecDeque<Request>,
    /// Whether the socket is watched for room to write.
    pub(crate) watched_for_room: bool,
    /// When to connect again, if it is closed.
    pub(crate) again_ns: u64,
    /// Whether it waits in the list of those with room.
    pub(crate) listed: bool,
    /// Greetings that are not answered yet.
    pub(crate) greetings: usize,
}

impl Dial {
    /// Connects and waits for that.
    pub(crate) fn connect(&self, timeout: Duration) -> io::Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, timeout)?;
        socket.set_nonblocking(true)?;
        self.over(socket)
    }

    /// Begins to connect; the first reads and writes say whether it worked.
    pub(crate) fn begin(&self) -> io::Result<Connection> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => self.over(TcpStream::from(socket)),
            Err(error) => Err(error.into()),
        }
    }

    fn over(&self, socket: TcpStream) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some((config, name)) => {
                let mut session =
                    ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                // Bounded by what may be under way on a connection.
                session.set_buffer_limit(None);
                Stream::Tls(Box::new(session), socket)
            }
        };
        Ok(Connection { stream: Some(stream), ..Connection::closed(0) })
    }
}

impl Connection {
    /// One that is to be connected at a time.
    pub(crate) fn closed(again_ns: u64) -> Self {
        Self {
            stream: None,
            partial: Vec::new(),
            need: 0,
            unsent: Vec::new(),
            unsent_from: 0,
            under_way: VecDeque::new(),
            watched_for_room: false,
            again_ns,
            listed: false,
            greetings: 0,
        }
    }

    /// Whether there is a socket.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// The socket, to be watched.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self.stream.as_ref()? {
            Stream::Plain(socket) | Stream::Tls(_, socket) => Some(socket),
        }
    }

    /// Whether what a read leaves behind in the session is not seen by watching the socket.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Some(Stream::Tls(..)))
    }

    /// Reads what is there; 0 at the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            None => Ok(0),
            Some(Stream::Plain(socket)) => socket.read(buffer),
            Some(Stream::Tls(session, socket)) => loop {
                match session.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                if session.read_tls(socket)? == 0 {
                    return Ok(0);
                }
                let read = session.process_new_packets().map_err(io::Error::other);
                // An alert says why, also where reading failed.
                send_tls(session, socket)?;
                read?;
            },
        }
    }

    /// Sends bytes, or keeps what there is no room for. Answers whether all is sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match &mut self.stream {
            None => Err(io::ErrorKind::NotConnected.into()),
            Some(Stream::Tls(session, socket)) => {
                session.writer().write_all(bytes)?;
                send_tls(session, socket)
            }
            Some(Stream::Plain(socket)) => {
                let mut left = bytes;
                while self.unsent.is_empty() && !left.is_empty() {
                    match socket.write(left) {
                        Ok(sent) => left = &left[sent..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                self.unsent.extend_from_slice(left);
                Ok(self.unsent.is_empty())
            }
        }
    }

    /// Sends what was kept. Answers whether all is sent.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.stream {
            None => Ok(true),
            Some(Stream::Tls(session, socket)) => send_tls(session, socket),
            Some(Stream::Plain(socket)) => {
                while self.unsent_from < self.unsent.len() {
                    match socket.write(&self.unsent[self.unsent_from..]) {
                        Ok(sent) => self.unsent_from += sent,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                self.unsent.clear();
                self.unsent.shrink_to(KEPT_BYTES);
                self.unsent_from = 0;
                Ok(true)
            }
        }
    }

    /// Keeps the beginning of a reply that needs so many bytes in all.
    pub(crate) fn keep_partial(&mut self, used: usize, rest: Option<&[u8]>, need: usize) {
        match rest {
            Some(rest) => self.partial.extend_from_slice(rest),
            None => {
                self.partial.drain(..used);
            }
        }
        if self.partial.is_empty() {
            self.partial.shrink_to(KEPT_BYTES);
        }
        self.need = need;
    }
}

/// Sends what the session has. Answers whether all is sent.
fn send_tls(session: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
