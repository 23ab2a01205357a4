//! Server-sent events of the HTTP door, on the real binary: what is told, in which order, to whom, and when it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Home;
use crate::support::http::{address, ask, get, metric, put, request};
use crate::support::patience::{WAIT_MAX, until};
use serde_json::Value;

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: String,
    name: String,
    key: String,
    etag: String,
}

/// A reader of a stream.
struct Stream {
    socket: TcpStream,
    /// Bytes of the body, chunks taken apart.
    text: String,
    raw: Vec<u8>,
    head: String,
}

impl Stream {
    fn open(door: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(door).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        socket.write_all(&request(door, "GET", path, headers, b"")).unwrap();
        let mut stream = Self { socket, text: String::new(), raw: Vec::new(), head: String::new() };
        while stream.head.is_empty() {
            assert!(stream.more(), "no answer: {}", String::from_utf8_lossy(&stream.raw));
        }
        stream
    }

    /// Reads some more; `false` at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let len = match self.socket.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(len) => len,
        };
        self.raw.extend_from_slice(&buffer[..len]);
        if self.head.is_empty() {
            let Some(end) = self.raw.windows(4).position(|w| w == b"\r\n\r\n") else { return true };
            self.head = String::from_utf8(self.raw.drain(..end + 4).collect()).unwrap();
        }
        while let Some(end) = self.raw.windows(2).position(|w| w == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..end]).unwrap(), 16).unwrap();
            if self.raw.len() < end + 4 + size {
                break;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[end + 2..end + 2 + size]).unwrap());
            self.raw.drain(..end + 4 + size);
        }
        true
    }

    /// The next event; comments and places alone are passed over.
    fn event(&mut self) -> Event {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|line| line.split_once(": "));
                    lines.filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned()).next().unwrap_or_default()
                };
                if field("event").is_empty() {
                    continue;
                }
                let data: Value = serde_json::from_str(&field("data")).unwrap();
                let part = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
                return Event { id: field("id"), name: field("event"), key: part("key"), etag: part("etag") };
            }
            assert!(self.more(), "the stream ended: {}", self.text);
        }
    }

    fn named(&mut self) -> (String, String) {
        let event = self.event();
        (event.name, event.key)
    }
}

fn pair(name: &str, key: &str) -> (String, String) {
    (name.to_owned(), key.to_owned())
}

#[test]
fn what_happens_to_a_prefix_is_told_with_everything_about_it() {
    let home = Home::up();
    let door = address(&home);
    let mut stream = Stream::open(&door, "/v1/watch?prefix=a/", &[]);
    assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
    assert_eq!(stream.named(), pair("ready", ""));
    let stored = put(&door, "/v1/data/a/x", b"1");
    put(&door, "/v1/data/b/x", b"1");
    let created = stream.event();
    assert_eq!((created.name.as_str(), created.key.as_str()), ("created", "a/x"));
    assert_eq!(created.etag, stored.header("etag"), "what is told can be used for a condition");
    put(&door, "/v1/data/a/x", b"2");
    ask(&door, "POST", "/v1/data/a/x/touch?ttl=50", &[], b"");
    ask(&door, "DELETE", "/v1/data/a/x", &[], b"");
    put(&door, "/v1/data/a/short?ttl=0.2", b"v");
    put(&door, "/v1/data/a/burn?reads=1", b"v");
    ask(&door, "POST", "/v1/data/a/burn/take", &[], b"");
    let mut seen: Vec<(String, String)> = (0..7).map(|_| stream.named()).collect();
    let expired = seen.iter().position(|(name, _)| name == "expired").expect("nothing expired");
    assert_eq!(seen.remove(expired), pair("expired", "a/short"));
    assert_eq!(
        seen,
        [
            pair("changed", "a/x"),
            pair("changed", "a/x"),
            pair("deleted", "a/x"),
            pair("created", "a/short"),
            pair("created", "a/burn"),
            pair("deleted", "a/burn"),
        ]
    );
    // An id says where to go on: nothing is missed, nothing told twice.
    let again = Stream::open(&door, "/v1/watch?prefix=a/", &[("last-event-id", &created.id)]);
    let mut again = again;
    let told: Vec<(String, String)> = (0..7).map(|_| again.named()).collect();
    assert_eq!(told[0], pair("changed", "a/x"));
    assert_eq!(told.iter().filter(|(name, _)| name == "deleted").count(), 2);
    assert_eq!(again.named(), pair("ready", ""));
    let mut by_query = Stream::open(&door, &format!("/v1/watch?prefix=a/&cursor={}", created.id), &[]);
    assert_eq!(by_query.named(), pair("changed", "a/x"));
    // One that nobody gave: the client is told to look anew.
    let mut lost = Stream::open(&door, "/v1/watch", &[("last-event-id", "1234-5")]);
    assert_eq!(lost.named(), pair("reset", ""));
    assert_eq!(lost.named(), pair("ready", ""));
    put(&door, "/v1/data/k", b"v");
    assert_eq!(lost.named(), pair("created", "k"));
}

#[test]
fn a_watch_is_of_some_keys_or_a_prefix_and_slips_are_said() {
    let home = Home::up();
    let door = address(&home);
    let mut stream = Stream::open(&door, "/v1/watch?key=one&key=two%2F2", &[]);
    assert_eq!(stream.named(), pair("ready", ""));
    for key in ["one1", "on", "two/2", "three", "one"] {
        put(&door, &format!("/v1/data/{key}"), b"v");
    }
    assert_eq!(stream.named(), pair("created", "two/2"));
    assert_eq!(stream.named(), pair("created", "one"));
    let many: String = (0..65).map(|n| format!("key={n}&")).collect();
    for bad in ["prefix=a&key=b", "cursor=x", "key=", "nonsense=1", &many] {
        let answer = get(&door, &format!("/v1/watch?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
    }
    let bad = ask(&door, "GET", "/v1/watch", &[("last-event-id", "x")], b"");
    assert_eq!(bad.status, 400);
    assert_eq!(ask(&door, "POST", "/v1/watch", &[], b"").status, 405);
    let head = ask(&door, "HEAD", "/v1/watch", &[], b"");
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    assert!(metric(&door, "larder_requests_total", "operation=\"watch\",outcome=\"200\"") >= 2.0);
}

#[test]
fn a_silent_stream_lives_and_says_so() {
    let home = Home::up();
    let door = address(&home);
    let mut stream = Stream::open(&door, "/v1/watch?prefix=quiet", &[]);
    let ready = stream.event();
    put(&door, "/v1/data/loud", b"v");
    // The heartbeat says where to go on, past what this watch does not want.
    while !stream.text.contains(": alive\n\nid: ") {
        assert!(stream.more(), "it ended: {}", stream.text);
    }
    let place = stream.text.split("id: ").nth(1).unwrap().lines().next().unwrap();
    assert_ne!(place, ready.id);
    put(&door, "/v1/data/quiet", b"v");
    assert_eq!(stream.named(), pair("created", "quiet"));
}

#[test]
fn watchers_are_bounded_for_each_caller_and_end_with_the_node() {
    let home = Home::up();
    let door = address(&home);
    let mut streams: Vec<Stream> = Vec::new();
    let refused = loop {
        let mut socket = TcpStream::connect(&door).unwrap();
        socket.write_all(&request(&door, "GET", "/v1/watch", &[], b"")).unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).unwrap();
        if &start[9..] != b"200" {
            let mut text = String::from_utf8(start.to_vec()).unwrap();
            let mut rest = [0; 2000];
            let len = socket.read(&mut rest).unwrap();
            text.push_str(&String::from_utf8_lossy(&rest[..len]));
            break text;
        }
        streams.push(Stream { socket, text: String::new(), raw: Vec::new(), head: String::from("read") });
        assert!(streams.len() < 1000, "one caller may watch without end");
    };
    assert_eq!(streams.len(), 256);
    assert!(refused.contains("503") && refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    assert_eq!(get(&door, "/health").status, 200);
    drop(streams.split_off(1));
    until("places are given back", || ask(&door, "HEAD", "/v1/watch", &[], b"").status == 200);
    let mut last = streams.pop().unwrap();
    last.socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    home.run(&["down"]).ends(0);
    let mut sink = Vec::new();
    last.socket.read_to_end(&mut sink).expect("the stream ended with the node");
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed_or_cut() {
    let home = Home::up();
    let door = address(&home);
    let mut stuck = TcpStream::connect(&door).unwrap();
    stuck.write_all(&request(&door, "GET", "/v1/watch", &[], b"")).unwrap();
    let mut reader = Stream::open(&door, "/v1/watch?prefix=last", &[]);
    assert_eq!(reader.named(), pair("ready", ""));
    // Long keys, so that what the system buffers is soon full.
    std::thread::scope(|scope| {
        for task in 0..2 {
            let door = &door;
            scope.spawn(move || {
                let mut connection = crate::support::http::Connection::to(door);
                for number in 0..1500 {
                    let path = format!("/v1/data/{}{task}{number:05}?ttl=30", "k".repeat(3900));
                    connection.send(&request(door, "PUT", &path, &[], b"v"));
                    assert_eq!(connection.answer().unwrap().status, 201);
                }
            });
        }
    });
    put(&door, "/v1/data/last", b"v");
    assert_eq!(reader.named(), pair("created", "last"), "others are told at once");
    until("whoever takes nothing loses its place", || {
        metric(&door, "larder_refused_total", "door=\"http\",reason=\"too_slow\"") >= 1.0
    });
}
