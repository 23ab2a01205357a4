//! A client of the HTTP door that says exactly what a test wants to say, also what is no HTTP.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::Home;

/// Where a home's HTTP door is.
pub fn address(home: &Home) -> String {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: Value = serde_json::from_str(&text).unwrap();
    running["http"].as_str().unwrap_or_else(|| panic!("no HTTP door: {running}")).to_owned()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {self:?} {text}"))
    }
}

/// A connection that reads answers off one after the other.
pub struct Connection {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

impl Connection {
    pub fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next answer; `None` if the connection ended before one. `of_head`: it answers a HEAD.
    pub fn answer_to(&mut self, of_head: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.ahead[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.ahead.drain(..end + 4);
        let mut answer = Answer { status, headers, body: Vec::new() };
        let len: usize = answer.header("content-length").parse().unwrap_or(0);
        let len = if of_head { 0 } else { len };
        while self.ahead.len() < len {
            if !self.more() {
                return None;
            }
        }
        answer.body = self.ahead.drain(..len).collect();
        Some(answer)
    }

    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false)
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.ahead.extend_from_slice(&buffer[..len]);
                true
            }
        }
    }

    /// Whether the other side has closed, with nothing more to read.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !self.more()
    }
}

/// One request on a connection of its own.
#[track_caller]
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = Connection::to(address);
    // Whoever is refused early may not get to send all; the answer is what counts.
    let _ = connection.stream.write_all(&request(address, method, path, headers, body));
    connection.answer_to(method == "HEAD").unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

/// A request's bytes.
pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        out.extend_from_slice(format!("host: {address}\r\n").as_bytes());
    }
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() || method == "PUT" || method == "POST" {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

pub fn get(address: &str, path: &str) -> Answer {
    ask(address, "GET", path, &[], b"")
}

pub fn put(address: &str, path: &str, body: &[u8]) -> Answer {
    ask(address, "PUT", path, &[], body)
}

/// A metric's value: the sum over all samples of this name whose labels contain `labels`.
pub fn metric(address: &str, name: &str, labels: &str) -> f64 {
    let text = String::from_utf8(get(address, "/metrics").body).unwrap();
    let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(labels))
        .map(|(_, value)| value.parse::<f64>().unwrap())
        .sum()
}
