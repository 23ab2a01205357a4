//! HTTP/1.1 as a client speaks it: GET, PUT and DELETE of a path for each key, on connections that are kept.

use super::{Asked, Codec, LINE_LEN_MAX, REPLY_LEN_MAX, Reply, Step, line, number, write_number};
use crate::keys::write_digits;

/// Encoder and decoder.
#[derive(Debug, Clone)]
pub struct Http {
    read_head: Vec<u8>,
    write_head: Vec<u8>,
    delete_head: Vec<u8>,
    tail: Vec<u8>,
    write_tail: Vec<u8>,
    as_is: bool,
    /// A body that came in chunks, put together.
    body: Vec<u8>,
}

/// What stands in every request.
#[derive(Debug, Clone, Default)]
pub struct Requests<'a> {
    /// Host and port, as they stand in `Host`.
    pub host: &'a str,
    /// The path in front of each key.
    pub path: &'a str,
    /// The key's prefix.
    pub prefix: &'a str,
    /// A token, sent as `Authorization: Bearer`.
    pub token: Option<&'a str>,
    /// How long values live, in milliseconds; sent as `X-TTL` in seconds.
    pub ttl_ms: Option<u64>,
    /// The path is all there is: no key behind it.
    pub as_is: bool,
}

impl Http {
    /// For these requests.
    #[must_use]
    pub fn new(requests: &Requests<'_>) -> Self {
        let prefix = if requests.as_is { String::new() } else { percent_encoded(requests.prefix) };
        let head = |method: &str| format!("{method} {}{prefix}", requests.path).into_bytes();
        let mut tail = format!(" HTTP/1.1\r\nHost: {}\r\n", requests.host);
        if let Some(token) = requests.token {
            tail.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let mut write_tail = tail.clone();
        if let Some(ttl_ms) = requests.ttl_ms {
            write_tail.push_str(&format!("X-TTL: {}.{:03}\r\n", ttl_ms / 1000, ttl_ms % 1000));
        }
        write_tail.push_str("Content-Type: application/octet-stream\r\nContent-Length: ");
        tail.push_str("\r\n");
        Self {
            read_head: head("GET"),
            write_head: head("PUT"),
            delete_head: head("DELETE"),
            tail: tail.into_bytes(),
            write_tail: write_tail.into_bytes(),
            as_is: requests.as_is,
            body: Vec::new(),
        }
    }

    fn key(&self, out: &mut Vec<u8>, key: u32) {
        if !self.as_is {
            write_digits(out, key);
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/!$&'()*,;=@".contains(&b);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Codec for Http {
    fn greet(&self, _out: &mut Vec<u8>) -> usize {
        0
    }

    fn read(&self, out: &mut Vec<u8>, key: u32) {
        out.extend_from_slice(&self.read_head);
        self.key(out, key);
        out.extend_from_slice(&self.tail);
    }

    fn write(&self, out: &mut Vec<u8>, key: u32, len: usize, value: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.write_head);
        self.key(out, key);
        out.extend_from_slice(&self.write_tail);
        write_number(out, len);
        out.extend_from_slice(b"\r\n\r\n");
        value(out);
    }

    fn delete(&self, out: &mut Vec<u8>, key: u32) {
        out.extend_from_slice(&self.delete_head);
        self.key(out, key);
        out.extend_from_slice(&self.tail);
    }

    fn decode<'a>(&'a mut self, input: &'a [u8], asked: Asked) -> Step<'a> {
        // What comes before the answer (100 to 199) is passed over: it and the answer are one.
        let mut from = 0;
        let head = loop {
            match Head::read(&input[from..], asked) {
                Ok(Some(head)) if (100..200).contains(&head.status) => from += head.used,
                Ok(Some(head)) => break Head { used: from + head.used, ..head },
                Ok(None) => return Step::More(input.len() + 1),
                Err(why) => return Step::Broken(why),
            }
        };
        let (body, used) = match head.body {
            Body::Length(len) if len > REPLY_LEN_MAX => return Step::Broken("a body beyond all bounds"),
            Body::Length(len) => {
                let end = head.used + len;
                if input.len() < end {
                    return Step::More(end);
                }
                (&input[head.used..end], end)
            }
            Body::Chunks => match chunks(&input[head.used..], &mut self.body) {
                Ok(Some(used)) => (&self.body[..], head.used + used),
                Ok(None) => return Step::More(input.len() + 1),
                Err(why) => return Step::Broken(why),
            },
            Body::UntilClosed => return Step::Broken("a body without length: the server speaks no HTTP/1.1"),
        };
        let words = head.words;
        let reply = match (head.status, asked) {
            (200 | 203, Asked::Read) => Reply::Value(body),
            (404 | 410, Asked::Read) => Reply::Missing,
            (404 | 410, Asked::Delete) | (200 | 201 | 204, _) => Reply::Done,
            (202, _) => Reply::Unknown(words),
            _ => Reply::Refused(words),
        };
        Step::Reply { used, reply, last: head.closes }
    }
}

enum Body {
    Length(usize),
    Chunks,
    UntilClosed,
}

struct Head<'a> {
    status: u16,
    /// Status and reason, as they stand in the first line.
    words: &'a [u8],
    body: Body,
    closes: bool,
    used: usize,
}

impl<'a> Head<'a> {
    /// Reads status and headers; `None` if they are not all there.
    fn read(input: &'a [u8], asked: Asked) -> Result<Option<Self>, &'static str> {
        let whole = |at: &mut usize| -> Result<Option<&'a [u8]>, &'static str> {
            match line(&input[*at..]) {
                Some((line, used)) => {
                    *at += used;
                    Ok(Some(line))
                }
                None if input.len() - *at > LINE_LEN_MAX => Err("a header without end"),
                None => Ok(None),
            }
        };
        let mut used = 0;
        let Some(first) = whole(&mut used)? else {
            let begins = input.len() < 5 || input.starts_with(b"HTTP/");
            return if begins { Ok(None) } else { Err("a reply that is no HTTP") };
        };
        let (version, rest) = first.split_at_checked(9).ok_or("a status line that is none")?;
        let keeps = match version {
            b"HTTP/1.1 " => true,
            b"HTTP/1.0 " => false,
            _ => return Err("a reply that is no HTTP/1.1"),
        };
        let status = rest.get(..3).and_then(number).and_then(|n| u16::try_from(n).ok());
        let status = status.ok_or("a status that is none")?;
        let empty = status < 200 || status == 204 || status == 304;
        let mut body = if empty { Body::Length(0) } else { Body::UntilClosed };
        let mut closes = !keeps;
        loop {
            let Some(header) = whole(&mut used)? else { return Ok(None) };
            if header.is_empty() {
                break;
            }
            // By the first letter: most headers are of no interest.
            match header[0] | 0x20 {
                b'c' => {
                    if let Some(value) = value_of(header, b"content-length") {
                        let len = number(value).ok_or("a length that is none")?;
                        if !matches!(body, Body::Chunks) && !empty {
                            body = Body::Length(len);
                        }
                    } else if let Some(value) = value_of(header, b"connection") {
                        closes = value.eq_ignore_ascii_case(b"close")
                            || closes && !value.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                b't' if !empty => {
                    if let Some(value) = value_of(header, b"transfer-encoding") {
                        if !value.eq_ignore_ascii_case(b"chunked") {
                            return Err("a transfer encoding that nobody asked for");
                        }
                        body = Body::Chunks;
                    }
                }
                _ => {}
            }
        }
        debug_assert!(asked != Asked::Greeting, "HTTP greets nobody");
        Ok(Some(Self { status, words: rest, body, closes, used }))
    }
}

fn value_of<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = header.split_at_checked(name.len())?;
    if !start.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(rest.strip_prefix(b":")?.trim_ascii())
}

/// Puts chunks together; answers how many bytes they took, or `None` if they are not all there.
fn chunks(input: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, &'static str> {
    body.clear();
    let mut at = 0;
    loop {
        let Some((size, used)) = line(&input[at..]) else {
            return if input.len() - at > LINE_LEN_MAX { Err("a chunk without size") } else { Ok(None) };
        };
        let digits = size.split(|b| *b == b';').next().unwrap_or(size).trim_ascii();
        let len = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let len = len
            .filter(|len| body.len().saturating_add(*len) <= REPLY_LEN_MAX)
            .ok_or("a chunk without size")?;
        at += used;
        if len == 0 {
            // Trailers, up to an empty line.
            loop {
                let Some((trailer, used)) = line(&input[at..]) else { return Ok(None) };
                at += used;
                if trailer.is_empty() {
                    return Ok(Some(at));
                }
            }
        }
        let Some(chunk) = input.get(at..at + len + 2) else { return Ok(None) };
        let (chunk, end) = chunk.split_at(len);
        if end != b"\r\n" {
            return Err("a chunk longer or shorter than its size says");
        }
        body.extend_from_slice(chunk);
        at += len + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> Http {
        let requests = Requests {
            host: "h:1",
            path: "/v1/data/",
            prefix: "a b:",
            token: Some("t"),
            ttl_ms: Some(1500),
            as_is: false,
        };
        Http::new(&requests)
    }

    #[test]
    fn requests_are_what_a_client_sends() {
        let mut out = Vec::new();
        codec().read(&mut out, 1);
        codec().write(&mut out, 1, 2, |out| out.extend_from_slice(b"ab"));
        codec().delete(&mut out, 1);
        let host = "Host: h:1\r\nAuthorization: Bearer t\r\n";
        let kind = "Content-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\nab";
        let path = "/v1/data/a%20b:0000000001 HTTP/1.1\r\n";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("GET {path}{host}\r\nPUT {path}{host}X-TTL: 1.500\r\n{kind}DELETE {path}{host}\r\n")
        );
    }

    #[test]
    fn replies_are_read_at_any_split() {
        let all = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\nX: y\r\n\r\nabc\
            HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\nT: x\r\n\r\n\
            HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        let mut codec = codec();
        let (mut seen, mut from) = (Vec::new(), 0);
        for to in 0..=all.len() {
            while let Step::Reply { used, reply, last } = codec.decode(&all[from..to], Asked::Read) {
                seen.push((format!("{reply:?}"), last));
                from += used;
            }
            assert!(!matches!(codec.decode(&all[from..to], Asked::Read), Step::Broken(_)), "{from} {to}");
        }
        assert_eq!(from, all.len());
        let refused = format!("{:?}", Reply::Refused(b"429 Too Many Requests"));
        assert_eq!(
            seen,
            [
                (format!("{:?}", Reply::Value(b"abc")), false),
                ("Missing".to_owned(), false),
                (format!("{:?}", Reply::Value(b"def")), false),
                (refused, true)
            ]
        );
    }

    #[test]
    fn statuses_mean_what_was_asked() {
        for (status, asked, reply) in [
            (201, Asked::Write, Reply::Done),
            (204, Asked::Delete, Reply::Done),
            (404, Asked::Delete, Reply::Done),
            (202, Asked::Write, Reply::Unknown(b"202 x")),
            (404, Asked::Write, Reply::Refused(b"404 x")),
            (206, Asked::Read, Reply::Refused(b"206 x")),
        ] {
            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            let mut codec = codec();
            let step = codec.decode(text.as_bytes(), asked);
            assert_eq!(step, Step::Reply { used: text.len(), reply, last: false });
        }
    }

    #[test]
    fn what_is_no_reply_is_broken() {
        for bad in [
            "+OK\r\n",
            "SSH-2.0-x",
            "HTTP/2 200\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert!(matches!(codec().decode(bad.as_bytes(), Asked::Read), Step::Broken(_)), "{bad:?}");
        }
    }
}
