//! Random requests to the Redis door, and how replies to them are compared with those of a Redis server.
//!
//! Few keys, so that commands meet; values of every shape; options in every combination, right and wrong. Everything
//! follows from a seed. What cannot be compared is listed in `docs/doors/redis.md`; each such rule is one
//! [`Compare`] here.
#![allow(dead_code, unreachable_pub, reason = "two test files use parts of it")]

use super::resp::Reply;

/// Numbers that follow from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Below this.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in so many times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// How two replies are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// They are the same bytes.
    Bytes,
    /// Whole numbers that time takes part in: at most so far apart.
    Near(i64),
    /// Keys in any order.
    Keys,
    /// A cursor, and keys in any order.
    Scan,
    /// Both nothing, or both a key.
    AnyKey,
    /// Both the same type of reply.
    Kind,
    /// The replies of a transaction, compared one by one.
    Each(Vec<Compare>),
}

impl Compare {
    /// Whether a reply is as good as the other.
    pub fn same(&self, redis: &Reply, ours: &Reply) -> bool {
        if redis == ours || (is_shortened(redis) && is_shortened(ours)) {
            return true;
        }
        match (self, redis, ours) {
            (Compare::Near(apart), _, _) => match (redis.number(), ours.number()) {
                (Some(a), Some(b)) => a > 0 && b > 0 && a.abs_diff(b) <= apart.unsigned_abs(),
                _ => false,
            },
            (Compare::Keys, _, _) => sorted(redis).is_some() && sorted(redis) == sorted(ours),
            (Compare::Scan, Reply::Many(a, Some(x)), Reply::Many(b, Some(y))) => {
                a == b && x.len() == 2 && y.len() == 2 && x[0] == y[0] && Compare::Keys.same(&x[1], &y[1])
            }
            (Compare::AnyKey, Reply::Bulk(_, a), Reply::Bulk(_, b)) => a.is_some() && b.is_some(),
            (Compare::Kind, Reply::Line(a, _), Reply::Line(b, _)) => a == b,
            (Compare::Kind, Reply::Bulk(a, x), Reply::Bulk(b, y)) => a == b && x.is_some() == y.is_some(),
            (Compare::Kind, Reply::Many(a, x), Reply::Many(b, y)) => a == b && x.is_some() == y.is_some(),
            (Compare::Each(each), Reply::Many(a, Some(x)), Reply::Many(b, Some(y))) => {
                a == b
                    && x.len() == y.len()
                    && x.len() == each.len()
                    && each.iter().zip(x.iter().zip(y)).all(|(how, (a, b))| how.same(a, b))
            }
            _ => false,
        }
    }
}

/// Options that are none are repeated; here not all of a long one, and as text.
fn is_shortened(reply: &Reply) -> bool {
    matches!(reply, Reply::Line(b'-', text) if text.starts_with(b"ERR Unsupported option ") && (text.len() > 86 || !text.is_ascii()))
}

fn sorted(reply: &Reply) -> Option<Vec<&[u8]>> {
    let mut keys: Vec<_> = reply.parts()?.iter().map(Reply::bytes).collect::<Option<_>>()?;
    keys.sort_unstable();
    Some(keys)
}

/// A request, and how its replies are compared.
#[derive(Debug, Clone)]
pub struct Asked {
    pub arguments: Vec<Vec<u8>>,
    pub compare: Compare,
}

impl Asked {
    /// As it is shown where replies differ.
    pub fn show(&self) -> String {
        let show = |bytes: &Vec<u8>| {
            let cut = &bytes[..bytes.len().min(60)];
            format!("\"{}\"{}", cut.escape_ascii(), if cut.len() < bytes.len() { "…" } else { "" })
        };
        self.arguments.iter().map(show).collect::<Vec<_>>().join(" ")
    }
}

const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"num", b"f:1", b"bin\x00\r\n\xff", b"{t}x", b"gone"];

const NUMBERS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "10",
    "100",
    "-5",
    "65536",
    "9223372036854775807",
    "9223372036854775806",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "1.5",
    "-0",
    "+1",
    "01",
    " 1",
    "1 ",
    "",
    "abc",
    "1e3",
    "0x10",
    "4294967296",
    "99999999999999999999",
    "536870912",
    "536870911",
    "nan",
    "inf",
    "3.0",
    "-7",
    "20",
];

const FLOATS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "0.1",
    "0.2",
    "0.3",
    "1.1",
    "-1.1",
    "3.14159265358979",
    "1e10",
    "1e17",
    "1.5e-5",
    "1e-17",
    "4e-18",
    "5e-18",
    "-0",
    "-0.0",
    "12345678901234567890",
    "0.1234567890123456789",
    "1e300",
    "-1e300",
    "1e4932",
    "1e5000",
    "0x1p-3",
    "0xA.8",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    "1.",
    ".5",
    " 1",
    "1e-4000",
];

const PATTERNS: [&str; 22] = [
    "*", "?", "a*", "*a*", "[ab]", "[^a]", "[a-c]", "[c-a]", "f:*", "n?m", "nu[lm]", "nu[^m]", "\\*", "",
    "[", "[a", "{t}x", "*x", "a\\", "**", "*[0-9]", "f[:]1",
];

/// Lifetimes that are long enough never to end in a test, and such that are wrong. `s` and `ms` stand for one that no
/// other request has: whether an end is later than another must not depend on a millisecond.
const LONG_S: [&str; 11] =
    ["s", "s", "s", "s", "0", "-1", "9223372036854775807", "9223372036854775", "abc", "1.5", ""];
const LONG_MS: [&str; 8] = ["ms", "ms", "ms", "0", "-1", "9223372036854775807", "-9223372036854775808", "x"];
/// Moments: past, far, and wrong.
const MOMENTS_S: [&str; 9] =
    ["1", "1000000000", "4102444800", "33177117420", "0", "-1", "9223372036854775807", "z", "4102444801"];
const MOMENTS_MS: [&str; 8] =
    ["1", "1000000000000", "4102444800000", "4102444800123", "0", "-5", "z", "9223372036854775808"];

/// What makes requests.
pub struct Maker {
    pub dice: Dice,
}

impl Maker {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }

    fn key(&mut self) -> Vec<u8> {
        KEYS[self.dice.below(KEYS.len())].to_vec()
    }

    fn text(&mut self, all: &[&str]) -> Vec<u8> {
        match all[self.dice.below(all.len())] {
            "s" => (100 + self.dice.below(1_000_000_000)).to_string().into_bytes(),
            "ms" => (100_000 + self.dice.below(1_000_000_000_000)).to_string().into_bytes(),
            text => text.as_bytes().to_vec(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.dice.below(10) {
            0 => Vec::new(),
            1 => (0..self.dice.below(300)).map(|_| self.dice.below(256) as u8).collect(),
            2 => vec![b'v'; self.dice.below(9000)],
            3 => self.text(&FLOATS),
            4 | 5 => self.text(&NUMBERS),
            6 => self.dice.below(1 << 40).to_string().into_bytes(),
            7 => format!("-{}", self.dice.below(1000)).into_bytes(),
            _ => self.text(&["x", "yy", "hello", "Hello World", "a\r\nb"]),
        }
    }

    /// A small number or any.
    fn place(&mut self) -> Vec<u8> {
        if self.dice.one_in(12) {
            return self.text(&NUMBERS);
        }
        let number = self.dice.below(24) as i64 - 8;
        number.to_string().into_bytes()
    }

    /// Letters as people write them: any case.
    fn word(&mut self, word: &str) -> Vec<u8> {
        match self.dice.below(4) {
            0 => word.to_lowercase().into_bytes(),
            1 => word.bytes().map(|b| if self.dice.one_in(2) { b.to_ascii_lowercase() } else { b }).collect(),
            _ => word.as_bytes().to_vec(),
        }
    }

    /// One of these options that say how long a value lives, with its number.
    fn lifetime(&mut self, out: &mut Vec<Vec<u8>>) {
        let (word, numbers): (_, &[&str]) = match self.dice.below(4) {
            0 => ("EX", &LONG_S),
            1 => ("PX", &LONG_MS),
            2 => ("EXAT", &MOMENTS_S),
            _ => ("PXAT", &MOMENTS_MS),
        };
        let word = self.word(word);
        out.push(word);
        if !self.dice.one_in(25) {
            let number = self.text(numbers);
            out.push(number);
        }
    }

    /// The next request.
    pub fn request(&mut self) -> Asked {
        let (name, mut rest, compare) = self.shape();
        // Now and then one argument too few or too many.
        if self.dice.one_in(40) {
            rest.pop();
        } else if self.dice.one_in(60) {
            let more = self.value();
            rest.push(more);
        }
        let mut arguments = vec![self.word(name)];
        arguments.append(&mut rest);
        Asked { arguments, compare }
    }

    fn shape(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        match self.dice.below(10) {
            0..=3 => self.string(),
            4 => self.sum(),
            5 => self.several(),
            6 | 7 => self.lasting(),
            8 => self.naming(),
            _ => self.other(),
        }
    }

    fn string(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::Bytes;
        let key = self.key();
        match self.dice.below(14) {
            0 | 1 => ("GET", vec![key], Bytes),
            2..=4 => ("SET", self.set(key), Bytes),
            5 => ("SETNX", vec![key, self.value()], Bytes),
            6 => ("SETEX", vec![key, self.text(&LONG_S), self.value()], Bytes),
            7 => ("PSETEX", vec![key, self.text(&LONG_MS), self.value()], Bytes),
            8 => ("GETSET", vec![key, self.value()], Bytes),
            9 => ("GETDEL", vec![key], Bytes),
            10 => {
                let mut rest = vec![key];
                match self.dice.below(6) {
                    0 => {}
                    1 => rest.push(self.word("PERSIST")),
                    2 => {
                        self.lifetime(&mut rest);
                        rest.push(self.word("PERSIST"));
                    }
                    _ => self.lifetime(&mut rest),
                }
                ("GETEX", rest, Bytes)
            }
            11 => ("APPEND", vec![key, self.value()], Bytes),
            12 => ("STRLEN", vec![key], Bytes),
            _ if self.dice.one_in(2) => ("SETRANGE", vec![key, self.offset(), self.value()], Bytes),
            _ => ("GETRANGE", vec![key, self.place(), self.place()], Bytes),
        }
    }

    fn offset(&mut self) -> Vec<u8> {
        match self.dice.below(8) {
            0 => self.text(&["-1", "abc", "", "9223372036854775807", "-9223372036854775808", "1.5"]),
            1 => self.dice.below(20_000).to_string().into_bytes(),
            _ => self.dice.below(30).to_string().into_bytes(),
        }
    }

    fn set(&mut self, key: Vec<u8>) -> Vec<Vec<u8>> {
        let mut rest = vec![key, self.value()];
        for _ in 0..[0, 0, 1, 1, 2, 3][self.dice.below(6)] {
            match self.dice.below(8) {
                0 => rest.push(self.word("NX")),
                1 => rest.push(self.word("XX")),
                2 => rest.push(self.word("KEEPTTL")),
                3 => rest.push(self.word("GET")),
                4 if self.dice.one_in(4) => rest.push(self.value()),
                _ => self.lifetime(&mut rest),
            }
        }
        rest
    }

    fn sum(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::Bytes;
        let key = if self.dice.one_in(2) { b"num".to_vec() } else { self.key() };
        match self.dice.below(7) {
            0 => ("INCR", vec![key], Bytes),
            1 => ("DECR", vec![key], Bytes),
            2 => ("INCRBY", vec![key, self.place()], Bytes),
            3 => ("DECRBY", vec![key, self.place()], Bytes),
            4 => ("SET", vec![key, self.text(&FLOATS)], Bytes),
            _ => {
                let by = if self.dice.one_in(3) {
                    let (whole, part) =
                        (self.dice.below(100_000) as i64 - 50_000, self.dice.below(1_000_000));
                    format!("{whole}.{part}").into_bytes()
                } else {
                    self.text(&FLOATS)
                };
                ("INCRBYFLOAT", vec![key, by], Bytes)
            }
        }
    }

    fn several(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::Bytes;
        let count = self.dice.below(4) + usize::from(!self.dice.one_in(30));
        let keys: Vec<_> = (0..count).map(|_| self.key()).collect();
        let pairs = |maker: &mut Self| {
            let mut pairs: Vec<_> = keys.iter().flat_map(|key| [key.clone(), maker.value()]).collect();
            if maker.dice.one_in(20) {
                pairs.pop();
            }
            pairs
        };
        match self.dice.below(8) {
            0 => ("MGET", keys, Bytes),
            1 => ("MSET", pairs(self), Bytes),
            2 => ("MSETNX", pairs(self), Bytes),
            3 => ("DEL", keys, Bytes),
            4 => ("UNLINK", keys, Bytes),
            5 => ("EXISTS", keys, Bytes),
            6 => ("TOUCH", keys, Bytes),
            _ => ("MGET", KEYS.iter().map(|key| key.to_vec()).collect(), Bytes),
        }
    }

    fn lasting(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::{Bytes, Near};
        let key = self.key();
        let (name, numbers): (_, &[&str]) = match self.dice.below(12) {
            0 | 1 => ("EXPIRE", &LONG_S),
            2 | 3 => ("PEXPIRE", &LONG_MS),
            4 => ("EXPIREAT", &MOMENTS_S),
            5 => ("PEXPIREAT", &MOMENTS_MS),
            6 => return ("TTL", vec![key], Near(20)),
            7 => return ("PTTL", vec![key], Near(20_000)),
            8 => return ("EXPIRETIME", vec![key], Near(20)),
            9 => return ("PEXPIRETIME", vec![key], Near(20_000)),
            _ => return ("PERSIST", vec![key], Bytes),
        };
        let mut rest = vec![key, self.text(numbers)];
        for _ in 0..[0, 0, 1, 1, 1, 2][self.dice.below(6)] {
            let word = self.dice.of(&["NX", "XX", "GT", "LT", "GT", "LT", "ZZ"]);
            rest.push(self.word(word));
        }
        (name, rest, Bytes)
    }

    fn naming(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::{AnyKey, Bytes, Keys, Scan};
        let (from, to) = (self.key(), self.key());
        match self.dice.below(9) {
            0 => ("RENAME", vec![from, to], Bytes),
            1 => ("RENAMENX", vec![from, to], Bytes),
            2 | 3 => {
                let mut rest = vec![from, to];
                for _ in 0..self.dice.below(3) {
                    if self.dice.one_in(2) {
                        rest.push(self.word("REPLACE"));
                    } else {
                        rest.push(self.word("DB"));
                        rest.push(self.text(&["0", "0", "0", "1", "-1", "x"]));
                    }
                }
                ("COPY", rest, Bytes)
            }
            4 => ("RANDOMKEY", vec![], AnyKey),
            5 => ("KEYS", vec![self.text(&PATTERNS)], Keys),
            6 => ("TYPE", vec![from], Bytes),
            _ => {
                let cursor = self.text(&["0", "0", "0", "0", "0", "x", "-1"]);
                // What a cursor means that is not the beginning, each server decides.
                let compare = if cursor == b"-1" { Compare::Kind } else { Scan };
                let mut rest = vec![cursor];
                rest.push(self.word("COUNT"));
                rest.push(self.text(&["1000", "10000", "1000", "0", "-1", "x"]));
                if self.dice.one_in(2) {
                    rest.push(self.word("MATCH"));
                    rest.push(self.text(&PATTERNS));
                }
                if self.dice.one_in(3) {
                    rest.push(self.word("TYPE"));
                    rest.push(self.text(&["string", "list", "String", "nothing"]));
                }
                ("SCAN", rest, compare)
            }
        }
    }

    fn other(&mut self) -> (&'static str, Vec<Vec<u8>>, Compare) {
        use Compare::Bytes;
        match self.dice.below(14) {
            0..=2 => ("MULTI", vec![], Bytes),
            3..=5 => ("EXEC", vec![], Bytes),
            6 => ("DISCARD", vec![], Bytes),
            7 | 8 => ("WATCH", (0..=self.dice.below(3)).map(|_| self.key()).collect(), Bytes),
            9 => ("UNWATCH", vec![], Bytes),
            10 if self.dice.one_in(4) => {
                let word = self.dice.of(&["", "ASYNC", "SYNC", "x"]);
                let rest = if word.is_empty() { vec![] } else { vec![self.word(word)] };
                (["FLUSHDB", "FLUSHALL"][self.dice.below(2)], rest, Bytes)
            }
            11 => ("PING", if self.dice.one_in(2) { vec![self.value()] } else { vec![] }, Bytes),
            12 => ("ECHO", vec![self.value()], Bytes),
            13 => ("SELECT", vec![self.text(&["0", "x", "0"])], Bytes),
            // Redis counts values that have ended until it meets them.
            _ => ("DBSIZE", vec![], Compare::Kind),
        }
    }
}
