//! The Redis protocol as a client speaks it: GET, SET (with PX where values expire), DEL; RESP2, and the replies of
//! RESP3 that they may have.

use super::{Asked, Codec, LINE_LEN_MAX, REPLY_LEN_MAX, Reply, Step, line, number, write_number};
use crate::keys::{key_len, write_digits};

/// Encoder and decoder.
#[derive(Debug, Clone)]
pub struct Redis {
    greeting: Vec<u8>,
    greetings: usize,
    read_head: Vec<u8>,
    write_head: Vec<u8>,
    write_tail: Vec<u8>,
    delete_head: Vec<u8>,
}

/// What is said of whom.
#[derive(Debug, Clone, Default)]
pub struct Greeting<'a> {
    /// User name, if there is one.
    pub user: Option<&'a str>,
    /// Password or token.
    pub secret: Option<&'a [u8]>,
    /// Database to select.
    pub database: Option<u16>,
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    write_number(out, bytes.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.push(b'*');
    write_number(out, words.len());
    out.extend_from_slice(b"\r\n");
    for word in words {
        bulk(out, word);
    }
}

/// A command up to the digits of its key.
fn head(words: usize, name: &str, prefix: &str) -> Vec<u8> {
    let mut out = format!("*{words}\r\n${}\r\n{name}\r\n${}\r\n", name.len(), key_len(prefix)).into_bytes();
    out.extend_from_slice(prefix.as_bytes());
    out
}

impl Redis {
    /// For keys with this prefix, and values that live so long (in milliseconds) if they expire.
    #[must_use]
    pub fn new(prefix: &str, ttl_ms: Option<u64>, greeting: &Greeting<'_>) -> Self {
        let (mut greeted, mut greetings) = (Vec::new(), 0);
        if let Some(secret) = greeting.secret {
            match greeting.user {
                Some(user) => command(&mut greeted, &[b"AUTH", user.as_bytes(), secret]),
                None => command(&mut greeted, &[b"AUTH", secret]),
            }
            greetings += 1;
        }
        if let Some(database) = greeting.database {
            command(&mut greeted, &[b"SELECT", database.to_string().as_bytes()]);
            greetings += 1;
        }
        let mut write_tail = b"\r\n".to_vec();
        if let Some(ttl_ms) = ttl_ms {
            // Whole seconds as most programs write them.
            let (word, time) =
                if ttl_ms.is_multiple_of(1000) { ("EX", ttl_ms / 1000) } else { ("PX", ttl_ms) };
            bulk(&mut write_tail, word.as_bytes());
            bulk(&mut write_tail, time.to_string().as_bytes());
        }
        Self {
            greeting: greeted,
            greetings,
            read_head: head(2, "GET", prefix),
            write_head: head(if ttl_ms.is_some() { 5 } else { 3 }, "SET", prefix),
            write_tail,
            delete_head: head(2, "DEL", prefix),
        }
    }
}

impl Codec for Redis {
    fn greet(&self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.greeting);
        self.greetings
    }

    fn read(&self, out: &mut Vec<u8>, key: u32) {
        out.extend_from_slice(&self.read_head);
        write_digits(out, key);
        out.extend_from_slice(b"\r\n");
    }

    fn write(&self, out: &mut Vec<u8>, key: u32, len: usize, value: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.write_head);
        write_digits(out, key);
        out.extend_from_slice(b"\r\n$");
        write_number(out, len);
        out.extend_from_slice(b"\r\n");
        value(out);
        out.extend_from_slice(&self.write_tail);
    }

    fn delete(&self, out: &mut Vec<u8>, key: u32) {
        out.extend_from_slice(&self.delete_head);
        write_digits(out, key);
        out.extend_from_slice(b"\r\n");
    }

    fn decode<'a>(&'a mut self, input: &'a [u8], _asked: Asked) -> Step<'a> {
        let Some((first, used)) = line(input) else {
            if input.len() > LINE_LEN_MAX {
                return Step::Broken("a reply without end of line");
            }
            return Step::More(input.len() + 1);
        };
        let Some((kind, rest)) = first.split_first() else { return Step::Broken("an empty reply") };
        let reply = match kind {
            b'+' | b':' => Reply::Done,
            b'-' => Reply::Refused(rest),
            b'_' => Reply::Missing,
            b'$' | b'=' if rest == b"-1" => Reply::Missing,
            b'$' => {
                let Some(len) = number(rest).filter(|len| *len <= REPLY_LEN_MAX) else {
                    return Step::Broken("a length that is none");
                };
                let end = used + len;
                if input.len() < end + 2 {
                    return Step::More(end + 2);
                }
                if &input[end..end + 2] != b"\r\n" {
                    return Step::Broken("a value longer or shorter than its length says");
                }
                return Step::Reply { used: end + 2, reply: Reply::Value(&input[used..end]), last: false };
            }
            _ => return Step::Broken("a reply that none of GET, SET and DEL has"),
        };
        Step::Reply { used, reply, last: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_a_client_sends() {
        let greeting = Greeting { user: Some("id"), secret: Some(b"s"), database: Some(2) };
        let codec = Redis::new("k:", Some(90_000), &greeting);
        let mut out = Vec::new();
        assert_eq!(codec.greet(&mut out), 2);
        codec.read(&mut out, 7);
        codec.write(&mut out, 7, 2, |out| out.extend_from_slice(b"ab"));
        codec.delete(&mut out, 7);
        assert_eq!(
            String::from_utf8(out).unwrap().replace("\r\n", " "),
            "*3 $4 AUTH $2 id $1 s *2 $6 SELECT $1 2 *2 $3 GET $12 k:0000000007 \
             *5 $3 SET $12 k:0000000007 $2 ab $2 EX $2 90 *2 $3 DEL $12 k:0000000007 "
        );
        let mut out = Vec::new();
        Redis::new("", Some(1500), &Greeting::default()).write(&mut out, 0, 0, |_| {});
        assert!(String::from_utf8(out).unwrap().ends_with("$0\r\n\r\n$2\r\nPX\r\n$4\r\n1500\r\n"));
    }

    #[test]
    fn replies_are_read_at_any_split() {
        let all = b"+OK\r\n$3\r\na\r\n\r\n$-1\r\n_\r\n:1\r\n-ERR no\r\n$0\r\n\r\n";
        let mut codec = Redis::new("", None, &Greeting::default());
        let mut seen = Vec::new();
        let mut from = 0;
        for to in 0..=all.len() {
            loop {
                match codec.decode(&all[from..to], Asked::Read) {
                    Step::Reply { used, reply, .. } => {
                        seen.push(format!("{reply:?}"));
                        from += used;
                    }
                    Step::More(need) => {
                        assert!(need > to - from);
                        break;
                    }
                    Step::Broken(why) => panic!("{why}"),
                }
            }
        }
        assert_eq!(
            seen,
            [
                "Done",
                "Value([97, 13, 10])",
                "Missing",
                "Missing",
                "Done",
                "Refused([69, 82, 82, 32, 110, 111])",
                "Value([])"
            ]
        );
        assert_eq!(from, all.len());
    }

    #[test]
    fn what_is_no_reply_is_broken_and_never_waited_for() {
        let mut codec = Redis::new("", None, &Greeting::default());
        for bad in [
            "HTTP/1.1 200\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "$99999999999999\r\n",
            "*1\r\n",
            "$1\r\nabc\r\n",
        ] {
            assert!(matches!(codec.decode(bad.as_bytes(), Asked::Read), Step::Broken(_)), "{bad:?}");
        }
        assert!(matches!(codec.decode(&vec![b'+'; LINE_LEN_MAX + 1], Asked::Read), Step::Broken(_)));
    }
}
