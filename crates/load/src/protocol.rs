//! Requests and replies of the protocols: encoders that append to a buffer, decoders that read replies where they lie.

pub mod http;
pub mod memcached;
pub mod redis;

/// What was asked, for a decoder that needs to know, and for who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Who we are, which database: before anything else on a connection.
    Greeting,
    /// A value.
    Read,
    /// To store one.
    Write,
    /// To delete one.
    Delete,
}

/// A reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It was done.
    Done,
    /// A value.
    Value(&'a [u8]),
    /// There is none.
    Missing,
    /// It was not done, in the server's words.
    Refused(&'a [u8]),
    /// It may have been done or not, in the server's words.
    Unknown(&'a [u8]),
}

/// What a decoder makes of the bytes there are.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole reply, and how many bytes it took.
    Reply {
        /// Bytes.
        used: usize,
        /// What it says.
        reply: Reply<'a>,
        /// The server closes the connection after it.
        last: bool,
    },
    /// Not whole yet: looking again makes no sense before so many bytes are there.
    More(usize),
    /// Not this protocol.
    Broken(&'static str),
}

/// Largest reply that is waited for, in bytes: a value of the largest size, with room for headers.
pub const REPLY_LEN_MAX: usize = 64 << 20;

/// Longest line of a reply (a status, a header, a length), in bytes.
pub const LINE_LEN_MAX: usize = 64 << 10;

/// How one protocol writes requests and reads replies.
pub trait Codec: Clone + Send + Sync {
    /// What is sent first on a connection; answers how many replies follow.
    fn greet(&self, out: &mut Vec<u8>) -> usize;

    /// Asks for a key's value.
    fn read(&self, out: &mut Vec<u8>, key: u32);

    /// Asks to store a value of this length, which `value` appends.
    fn write(&self, out: &mut Vec<u8>, key: u32, len: usize, value: impl FnOnce(&mut Vec<u8>));

    /// Asks to delete a key.
    fn delete(&self, out: &mut Vec<u8>, key: u32);

    /// Decodes the first reply of `input`.
    fn decode<'a>(&'a mut self, input: &'a [u8], asked: Asked) -> Step<'a>;
}

/// The first line of `input` without its end, and how many bytes it takes with it.
fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', input)?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// Appends a number in decimal.
fn write_number(out: &mut Vec<u8>, number: usize) {
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads a decimal number; `None` if it is none or has more than 12 digits.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 12 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}
