//! The text protocol of memcached as a client speaks it: get, set, delete. It is here so that one generator can ask
//! Larder and its peers alike.

use super::{Asked, Codec, LINE_LEN_MAX, REPLY_LEN_MAX, Reply, Step, line, number, write_number};
use crate::keys::write_digits;

/// Encoder and decoder.
#[derive(Debug, Clone)]
pub struct Memcached {
    prefix: Vec<u8>,
    /// Flags and seconds, between key and length of a set.
    lifetime: Vec<u8>,
}

impl Memcached {
    /// For keys with this prefix, and values that live so long (in milliseconds, rounded up to seconds) if they expire.
    #[must_use]
    pub fn new(prefix: &str, ttl_ms: Option<u64>) -> Self {
        let seconds = ttl_ms.map_or(0, |ms| ms.div_ceil(1000));
        Self { prefix: prefix.as_bytes().to_vec(), lifetime: format!(" 0 {seconds} ").into_bytes() }
    }

    fn head(&self, out: &mut Vec<u8>, command: &[u8], key: u32) {
        out.extend_from_slice(command);
        out.extend_from_slice(&self.prefix);
        write_digits(out, key);
    }
}

impl Codec for Memcached {
    fn greet(&self, _out: &mut Vec<u8>) -> usize {
        0
    }

    fn read(&self, out: &mut Vec<u8>, key: u32) {
        self.head(out, b"get ", key);
        out.extend_from_slice(b"\r\n");
    }

    fn write(&self, out: &mut Vec<u8>, key: u32, len: usize, value: impl FnOnce(&mut Vec<u8>)) {
        self.head(out, b"set ", key);
        out.extend_from_slice(&self.lifetime);
        write_number(out, len);
        out.extend_from_slice(b"\r\n");
        value(out);
        out.extend_from_slice(b"\r\n");
    }

    fn delete(&self, out: &mut Vec<u8>, key: u32) {
        self.head(out, b"delete ", key);
        out.extend_from_slice(b"\r\n");
    }

    fn decode<'a>(&'a mut self, input: &'a [u8], _asked: Asked) -> Step<'a> {
        let Some((first, used)) = line(input) else {
            if input.len() > LINE_LEN_MAX {
                return Step::Broken("a reply without end of line");
            }
            return Step::More(input.len() + 1);
        };
        let reply = match first {
            b"STORED" | b"DELETED" | b"NOT_FOUND" => Reply::Done,
            b"END" => Reply::Missing,
            words if words.starts_with(b"VALUE ") => {
                let len = words.rsplit(|b| *b == b' ').next().and_then(number);
                let Some(len) = len.filter(|len| *len <= REPLY_LEN_MAX) else {
                    return Step::Broken("a length that is none");
                };
                const TAIL: &[u8] = b"\r\nEND\r\n";
                let end = used + len;
                if input.len() < end + TAIL.len() {
                    return Step::More(end + TAIL.len());
                }
                if &input[end..end + TAIL.len()] != TAIL {
                    return Step::Broken("a value longer or shorter than its length says");
                }
                let reply = Reply::Value(&input[used..end]);
                return Step::Reply { used: end + TAIL.len(), reply, last: false };
            }
            words if words.starts_with(b"SERVER_ERROR") || words == b"NOT_STORED" => Reply::Refused(words),
            words if words.starts_with(b"CLIENT_ERROR") => Reply::Refused(words),
            _ => return Step::Broken("a reply that none of get, set and delete has"),
        };
        Step::Reply { used, reply, last: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_a_client_sends() {
        let codec = Memcached::new("k:", Some(1_500));
        let mut out = Vec::new();
        codec.read(&mut out, 7);
        codec.write(&mut out, 7, 2, |out| out.extend_from_slice(b"ab"));
        codec.delete(&mut out, 7);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "get k:0000000007\r\nset k:0000000007 0 2 2\r\nab\r\ndelete k:0000000007\r\n"
        );
    }

    #[test]
    fn replies_are_read_at_any_split() {
        let all =
            b"STORED\r\nVALUE k 0 3\r\na\r\n\r\nEND\r\nEND\r\nDELETED\r\nSERVER_ERROR out of memory\r\n";
        let mut codec = Memcached::new("", None);
        let (mut seen, mut from) = (Vec::new(), 0);
        for to in 0..=all.len() {
            while let Step::Reply { used, reply, .. } = codec.decode(&all[from..to], Asked::Read) {
                seen.push(format!("{reply:?}"));
                from += used;
            }
            assert!(!matches!(codec.decode(&all[from..to], Asked::Read), Step::Broken(_)));
        }
        let refused = format!("{:?}", Reply::Refused(b"SERVER_ERROR out of memory"));
        assert_eq!(seen, ["Done", "Value([97, 13, 10])", "Missing", "Done", &refused]);
        for bad in ["ERROR\r\n", "VALUE k 0 x\r\n", "VALUE k 0 1\r\nabcdefghi", "+OK\r\n"] {
            assert!(matches!(codec.decode(bad.as_bytes(), Asked::Read), Step::Broken(_)), "{bad:?}");
        }
    }
}
