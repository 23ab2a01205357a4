//! A client of the Redis protocol that shows every byte of every reply, in both versions, and a Redis server beside.
#![allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "every test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::support::{Home, pause};

/// A reply, as its bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// One line: its kind (`+`, `-`, `:`, `,`, `#`, `_`, `(`) and what follows.
    Line(u8, Vec<u8>),
    /// Bytes with a length before them (`$`, `=`); `None` for the nothing of RESP2.
    Bulk(u8, Option<Vec<u8>>),
    /// Replies with a number before them (`*`, `%`, `~`, `>`); `None` for the nothing of RESP2.
    Many(u8, Option<Vec<Reply>>),
}

impl Reply {
    /// The whole number it is.
    pub fn number(&self) -> Option<i64> {
        match self {
            Reply::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The bytes it is.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(_, bytes) => bytes.as_deref(),
            Reply::Line(b'+', text) => Some(text),
            _ => None,
        }
    }

    /// The replies in it.
    pub fn parts(&self) -> Option<&[Reply]> {
        match self {
            Reply::Many(_, parts) => parts.as_deref(),
            _ => None,
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Line(b'-', _))
    }

    /// As it is shown where it is not what was expected.
    pub fn show(&self) -> String {
        let text = |bytes: &[u8]| {
            let cut = &bytes[..bytes.len().min(200)];
            format!("{}{}", plain(cut), if cut.len() < bytes.len() { "…" } else { "" })
        };
        match self {
            Reply::Line(kind, line) => format!("{}{}", char::from(*kind), text(line)),
            Reply::Bulk(kind, None) => format!("{}nothing", char::from(*kind)),
            Reply::Bulk(kind, Some(bytes)) => {
                format!("{}{} \"{}\"", char::from(*kind), bytes.len(), text(bytes))
            }
            Reply::Many(kind, None) => format!("{}nothing", char::from(*kind)),
            Reply::Many(kind, Some(parts)) => {
                let parts: Vec<_> = parts.iter().map(Reply::show).collect();
                format!("{}[{}]", char::from(*kind), parts.join(", "))
            }
        }
    }
}

/// Bytes as text; what cannot be shown as its number.
fn plain(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// A request as clients send it.
pub fn encode(arguments: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// A connection.
pub struct Connection {
    pub stream: TcpStream,
    ahead: Vec<u8>,
    at: usize,
}

impl Connection {
    /// To this address.
    pub fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), at: 0 }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// One request, given as words, and its reply.
    #[track_caller]
    pub fn ask(&mut self, words: &[&str]) -> Reply {
        let arguments: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.ask_bytes(&arguments)
    }

    /// One request and its reply.
    #[track_caller]
    pub fn ask_bytes(&mut self, arguments: &[Vec<u8>]) -> Reply {
        let mut bytes = Vec::new();
        encode(arguments, &mut bytes);
        self.send(&bytes);
        self.reply()
    }

    /// The next reply.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        let line = self.line();
        let (kind, rest) = line.split_first().expect("a reply begins with its kind");
        let len = || -> Option<usize> { std::str::from_utf8(rest).unwrap().parse().ok() };
        match kind {
            b'$' | b'=' => {
                let bytes = len().map(|len| {
                    let mut bytes = self.take(len + 2);
                    assert!(bytes.ends_with(b"\r\n"), "a string ends where it says");
                    bytes.truncate(len);
                    bytes
                });
                Reply::Bulk(*kind, bytes)
            }
            b'*' | b'~' | b'>' => Reply::Many(*kind, len().map(|n| (0..n).map(|_| self.reply()).collect())),
            b'%' => Reply::Many(*kind, len().map(|n| (0..2 * n).map(|_| self.reply()).collect())),
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => Reply::Line(*kind, rest.to_vec()),
            _ => panic!("no reply: {}", line.escape_ascii()),
        }
    }

    #[track_caller]
    fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = self.ahead[self.at..].windows(2).position(|two| two == b"\r\n") {
                let line = self.ahead[self.at..self.at + len].to_vec();
                self.at += len + 2;
                return line;
            }
            self.more();
        }
    }

    #[track_caller]
    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.ahead.len() - self.at < len {
            self.more();
        }
        self.at += len;
        self.ahead[self.at - len..self.at].to_vec()
    }

    #[track_caller]
    fn more(&mut self) {
        if self.at > 0 {
            self.ahead.drain(..self.at);
            self.at = 0;
        }
        let mut buffer = [0; 65536];
        let read = self.stream.read(&mut buffer).expect("a reply in time");
        assert!(read > 0, "the connection ended before a reply: {}", self.ahead.escape_ascii());
        self.ahead.extend_from_slice(&buffer[..read]);
    }
}

/// Where a home's Redis door is.
pub fn address(home: &Home) -> String {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: Value = serde_json::from_str(&text).unwrap();
    running["redis"].as_str().unwrap_or_else(|| panic!("no Redis door: {running}")).to_owned()
}

/// A Redis server of Debian's package, on a port of its own, that keeps nothing.
pub struct Redis {
    child: Child,
    pub address: String,
    _folder: TempDir,
}

impl Redis {
    /// `None`, with a word about it, where none is installed, unless under `CI=true`: there nothing may be left out.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let missing = "redis-server is not installed (Debian package redis-server)";
        if Command::new("redis-server").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
            eprintln!("NOT RUN: {missing}");
            return None;
        }
        // Whoever takes the port in between makes the server end: then another port.
        (0..10)
            .find_map(|_| Self::start_once(arguments))
            .or_else(|| panic!("the Redis server does not listen"))
    }

    /// `None` if the server ended. That this server listens, and no other on the same port, is seen by its socket file,
    /// which comes after the port.
    fn start_once(arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--databases", "1"])
            .args(arguments)
            .args([
                OsStr::new("--unixsocket"),
                socket.as_os_str(),
                OsStr::new("--dir"),
                folder.path().as_os_str(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut redis = Self { child, address: format!("127.0.0.1:{port}"), _folder: folder };
        for _ in 0..1_200 {
            if UnixStream::connect(&socket).is_ok() {
                return Some(redis);
            }
            if redis.child.try_wait().unwrap().is_some() {
                return None;
            }
            pause(25);
        }
        panic!("the Redis server neither listens nor ends");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
