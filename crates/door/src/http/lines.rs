//! Where request lines begin in the bytes of a connection, and whether there is a `#` in one. Whoever decodes a target drops
//! that and what follows, and the request would be one for another key.
//!
//! Requests that came together have to be told from the bodies between them, so that lengths are read here as RFC 9112 has them and
//! as `hyper` reads them. What is not understood here is refused there, or is taken for a `#`: nothing gets past by being strange.

/// Most bytes kept of one header, to see what it says of the body's length; each is far shorter.
const HEADER_LEN_MAX: usize = 256;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// A request, or ends of lines before it.
    #[default]
    Between,
    /// The rest of a request line.
    Line,
    /// Headers.
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// The line that says how long the next chunk is.
    ChunkSize,
    /// So many bytes of a chunk, with the end of line behind it.
    Chunk(u64),
    /// What may follow the last chunk.
    Trailers,
}

/// Looks at a connection's bytes as they come, in whatever pieces.
#[derive(Debug, Default)]
pub struct Lines {
    at: At,
    /// What has come of a line that is not whole, or the most that is kept of it.
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    is_cut: bool,
    is_chunked: bool,
    len: u64,
    lines: u64,
    fragment: Option<u64>,
}

impl Lines {
    /// The first request, counted from 1, whose line has a `#`; or that cannot be told from what came before it.
    #[must_use]
    pub fn fragment(&self) -> Option<u64> {
        self.fragment
    }

    /// Looks at what came next.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.fragment.is_none() {
            let used = match self.at {
                At::Between => self.between(bytes),
                At::Line => self.request_line(bytes),
                At::Head | At::ChunkSize | At::Trailers => self.next_line(bytes),
                At::Body(left) => self.skip(bytes, left, At::Body, At::Between),
                At::Chunk(left) => self.skip(bytes, left, At::Chunk, At::ChunkSize),
            };
            bytes = &bytes[used..];
        }
    }

    fn between(&mut self, bytes: &[u8]) -> usize {
        let ends = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        if ends < bytes.len() {
            self.lines += 1;
            (self.is_chunked, self.len) = (false, 0);
            self.at = At::Line;
        }
        ends
    }

    fn request_line(&mut self, bytes: &[u8]) -> usize {
        let Some(found) = memchr::memchr2(b'#', b'\n', bytes) else { return bytes.len() };
        if bytes[found] == b'#' {
            self.fragment = Some(self.lines);
        } else {
            self.at = At::Head;
        }
        found + 1
    }

    fn skip(&mut self, bytes: &[u8], left: u64, on: fn(u64) -> At, then: At) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.at = if used as u64 == left { then } else { on(left - used as u64) };
        used
    }

    /// A line, or what has come of it.
    fn next_line(&mut self, bytes: &[u8]) -> usize {
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = HEADER_LEN_MAX - self.line.len();
        self.is_cut |= part.len() > room;
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(&part[..part.len().min(room)]);
        let Some(end) = end else {
            self.line = line;
            return bytes.len();
        };
        self.whole(line.strip_suffix(b"\r").unwrap_or(&line));
        line.clear();
        (self.line, self.is_cut) = (line, false);
        end + 1
    }

    fn whole(&mut self, line: &[u8]) {
        match self.at {
            At::ChunkSize => match chunk_len(line) {
                Some(0) => self.at = At::Trailers,
                // With the end of line behind it.
                Some(len) => self.at = At::Chunk(len.saturating_add(2)),
                None => self.lose(),
            },
            At::Trailers if line.is_empty() => self.at = At::Between,
            At::Trailers => {}
            _ if !line.is_empty() => self.header(line),
            _ if self.is_chunked => self.at = At::ChunkSize,
            _ if self.len > 0 => self.at = At::Body(self.len),
            _ => self.at = At::Between,
        }
    }

    fn header(&mut self, line: &[u8]) {
        let name_len = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(name_len);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // Whatever it says: nothing but chunks is taken.
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            match number(value.get(1..).unwrap_or_default().trim_ascii(), 10).filter(|_| !self.is_cut) {
                Some(len) => self.len = len,
                None => self.lose(),
            }
        }
    }

    /// Where the next request begins is not known any more.
    fn lose(&mut self) {
        self.fragment = Some(self.lines + 1);
    }
}

/// The length that a chunk's first line says.
fn chunk_len(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    number(&line[..end], 16)
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    // Neither signs nor anything else that Rust takes beside digits.
    let is_plain = !digits.is_empty() && digits.iter().all(|digit| char::from(*digit).is_digit(base));
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_plain)?, base).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found when bytes come in pieces of this length.
    fn found(bytes: &[u8], len: usize) -> (Option<u64>, u64) {
        let mut lines = Lines::default();
        bytes.chunks(len.max(1)).for_each(|piece| lines.take(piece));
        (lines.fragment(), lines.lines)
    }

    #[test]
    fn requests_are_told_from_what_they_carry() {
        let put = "PUT /a HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\nGET /#b x";
        let chunks = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n/#\r\n\r\nb\r\nGET /# HTTP\r\n0\r\nX: #\r\n\r\n";
        let bare = "GET /a HTTP/1.1\nHost: #\n\n";
        let get = "GET /a?b HTTP/1.1\r\nReferer: /#top\r\n\r\n";
        let wrong = "GET /a#b HTTP/1.1\r\n\r\n";
        for (parts, expected) in [
            (vec![get, put, chunks, bare, get], (None, 5)),
            (vec![wrong], (Some(1), 1)),
            (vec!["\r\n", wrong], (Some(1), 1)),
            (vec![get, wrong], (Some(2), 2)),
            (vec![put, "\r\n", wrong], (Some(2), 2)),
            (vec![chunks, bare, put, chunks, wrong, get], (Some(5), 5)),
        ] {
            let bytes = parts.concat();
            for len in [1, 2, 3, 7, 64, bytes.len()] {
                assert_eq!(found(bytes.as_bytes(), len), expected, "{len} {bytes:?}");
            }
        }
    }

    #[test]
    fn what_hides_where_the_next_begins_is_taken_for_one_that_is_wrong() {
        let blanks = " ".repeat(HEADER_LEN_MAX);
        let long = format!("PUT /a HTTP/1.1\r\ncontent-length:{blanks}5\r\n\r\n");
        for head in [
            long.as_str(),
            "PUT /a HTTP/1.1\r\ncontent-length: +5\r\n\r\n",
            "PUT /a HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert_eq!(found(head.as_bytes(), 5), (Some(2), 1), "{head}");
        }
        let mut lines = Lines::default();
        lines.take(b"GET / HTTP/1.1\r\nx: ");
        (0..1000).for_each(|_| lines.take(&[b'x'; 100]));
        assert!(lines.line.capacity() <= 4 * HEADER_LEN_MAX, "little is kept");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET / HTTP/1.1", "\r\n", "\n", "content-length: 3", "transfer-encoding: chunked", "#", "3\r\nabc\r\n", "0", "abc", ":",
            ]), 0..30),
            len in 1_usize..20,
        ) {
            let bytes = parts.concat();
            let whole = found(bytes.as_bytes(), bytes.len());
            prop_assert_eq!(found(bytes.as_bytes(), len), whole);
        }
    }
}
