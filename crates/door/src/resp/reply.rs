//! Replies into bytes, in the client's protocol: what RESP2 has no type for is written as the nearest that it has, as
//! Redis does.
//!
//! An answer to one request may grow up to [`REPLY_BYTES_MAX`]. Beyond, nothing more is kept of it, and
//! [`Out::finish`] puts an error in its place: the client is told, and memory stays bounded whatever is asked.

use super::limits::REPLY_BYTES_MAX;

/// Which version of the protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What a connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// As `HELLO` has it.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Replies, one after the other.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    protocol: Protocol,
    /// Where the answer to the request at hand begins.
    start: usize,
    /// An error was among what was written since then.
    has_error: bool,
    /// It has become too long.
    is_over: bool,
    /// Where the part at hand begins, of an answer in parts.
    part: Option<usize>,
}

/// Up to this many bytes the first that is written of a part is kept whatever came before it: what became of a change.
const PART_SHORT_MAX: usize = 256;

impl Out {
    /// Nothing written yet.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// The protocol it writes.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Writes this protocol from now on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was written, and keeps so much room at most for what comes.
    pub fn clear(&mut self, room_max: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > room_max {
            self.bytes.shrink_to(room_max);
        }
        self.start = 0;
    }

    /// What was written, taken out.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.start = 0;
        std::mem::take(&mut self.bytes)
    }

    /// The answer to another request begins.
    pub fn begin(&mut self) {
        self.start = self.bytes.len();
        self.has_error = false;
        self.is_over = false;
    }

    /// The answer is whole; answers whether there was an error in it.
    pub fn finish(&mut self) -> bool {
        if self.is_over {
            self.is_over = false;
            self.bytes.truncate(self.start);
            self.too_long();
        }
        self.has_error
    }

    fn too_long(&mut self) {
        self.error(format_args!(
            "ERR the answer would be longer than max={REPLY_BYTES_MAX} bytes; ask for less at once"
        ));
    }

    /// The next part of the answer at hand begins, as `EXEC` answers in parts. One that is too long becomes an error and
    /// leaves the others alone: what they changed has been changed, and is told.
    pub fn begin_part(&mut self) {
        self.part = Some(self.bytes.len());
    }

    /// The part is whole.
    pub fn finish_part(&mut self) {
        if let Some(at) = self.part.filter(|_| self.is_over) {
            self.is_over = false;
            self.bytes.truncate(at);
            self.too_long();
        }
        self.part = None;
    }

    /// Takes back what was written since [`Out::begin`].
    pub fn take_back(&mut self) {
        self.bytes.truncate(self.start);
        self.has_error = false;
        self.is_over = false;
    }

    /// Whether the answer at hand is too long already: what is still written of it is thrown away.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether so many more bytes may be kept; frames beside what they frame are small.
    fn takes(&mut self, len: usize) -> bool {
        if self.bytes.len() - self.start + len > REPLY_BYTES_MAX
            && (len > PART_SHORT_MAX || self.part != Some(self.bytes.len()))
        {
            self.is_over = true;
        }
        !self.is_over
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A short word or sentence.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: its code in capitals, a blank, a sentence. Ends of lines in it become blanks.
    pub fn error(&mut self, text: impl std::fmt::Display) {
        self.has_error = true;
        let text = text.to_string();
        self.line(b'-', text.as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        if !self.takes(text.len() + 3) {
            return;
        }
        self.bytes.push(kind);
        self.bytes.extend(text.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A whole number.
    pub fn integer(&mut self, number: i64) {
        self.headed(b':', number);
    }

    /// A count.
    pub fn count(&mut self, number: usize) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        if !self.takes(bytes.len() + 16) {
            return;
        }
        // One check for all of it: this is what most answers are.
        self.bytes.reserve(bytes.len() + 16);
        self.length(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number as a string, as `INCRBYFLOAT` and `CONFIG GET` have it.
    pub fn bulk_display(&mut self, value: impl std::fmt::Display) {
        self.bulk(value.to_string().as_bytes());
    }

    /// Nothing, where a string might be.
    pub fn null(&mut self) {
        self.raw(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Nothing, where an array might be.
    pub fn null_array(&mut self) {
        self.raw(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// So many replies follow.
    pub fn array(&mut self, len: usize) {
        self.frame(b'*', len);
    }

    /// So many pairs of replies follow.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.frame(b'*', len * 2),
            Protocol::Resp3 => self.frame(b'%', len),
        }
    }

    /// So many replies follow, in no order.
    pub fn set(&mut self, len: usize) {
        self.frame(if self.protocol == Protocol::Resp2 { b'*' } else { b'~' }, len);
    }

    /// So many replies follow that are no answer to a request.
    pub fn push(&mut self, len: usize) {
        self.frame(if self.protocol == Protocol::Resp2 { b'*' } else { b'>' }, len);
    }

    /// A number that need not be whole, in its shortest form.
    pub fn double(&mut self, number: f64) {
        let text = match number {
            number if number.is_nan() => "nan".to_owned(),
            number if number.is_infinite() => if number > 0.0 { "inf" } else { "-inf" }.to_owned(),
            number => format!("{number}"),
        };
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// Yes or no.
    pub fn boolean(&mut self, yes: bool) {
        match self.protocol {
            Protocol::Resp2 => self.integer(i64::from(yes)),
            Protocol::Resp3 => self.raw(if yes { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A text for people, as it is; `format` has three letters, like `txt`.
    pub fn verbatim(&mut self, format: &str, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                if self.takes(text.len() + 20) {
                    self.length(b'=', text.len() + 4);
                    self.bytes.extend_from_slice(&format.as_bytes()[..format.len().min(3)]);
                    self.bytes.push(b':');
                    self.bytes.extend_from_slice(text.as_bytes());
                    self.bytes.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    /// Bytes that are a reply, or replies, already.
    pub fn raw(&mut self, bytes: &[u8]) {
        if self.takes(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn frame(&mut self, kind: u8, len: usize) {
        if self.takes(16) {
            self.length(kind, len);
        }
    }

    fn headed(&mut self, kind: u8, number: i64) {
        if !self.takes(24) {
            return;
        }
        self.bytes.push(kind);
        if number < 0 {
            self.bytes.push(b'-');
        }
        self.digits(number.unsigned_abs());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, len: usize) {
        self.bytes.push(kind);
        self.digits(len as u64);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn digits(&mut self, mut number: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out::new(protocol);
        write(&mut out);
        String::from_utf8_lossy(out.bytes()).into_owned()
    }

    #[test]
    fn each_type_has_its_form_in_both_protocols() {
        let all = |out: &mut Out| {
            out.ok();
            out.simple("PONG");
            out.error("ERR a\r\nb");
            out.integer(i64::MIN);
            out.integer(0);
            out.bulk(b"a\r\nb");
            out.null();
            out.null_array();
            out.array(10);
            out.map(2);
            out.set(1);
            out.push(3);
            out.double(1.5);
            out.double(f64::NEG_INFINITY);
            out.boolean(true);
            out.verbatim("txt", "x");
        };
        assert_eq!(
            written(Protocol::Resp2, all),
            "+OK\r\n+PONG\r\n-ERR a  b\r\n:-9223372036854775808\r\n:0\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n*10\r\n*4\r\n*1\r\n*3\r\n\
             $3\r\n1.5\r\n$4\r\n-inf\r\n:1\r\n$1\r\nx\r\n"
        );
        assert_eq!(
            written(Protocol::Resp3, all),
            "+OK\r\n+PONG\r\n-ERR a  b\r\n:-9223372036854775808\r\n:0\r\n$4\r\na\r\nb\r\n_\r\n_\r\n*10\r\n%2\r\n~1\r\n>3\r\n\
             ,1.5\r\n,-inf\r\n#t\r\n=5\r\ntxt:x\r\n"
        );
    }

    #[test]
    fn an_answer_that_grows_too_long_becomes_an_error_and_leaves_others_alone() {
        let mut out = Out::default();
        out.begin();
        out.ok();
        assert!(!out.finish());
        out.begin();
        out.array(100);
        let value = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            out.bulk(&value);
        }
        assert!(out.is_over() && out.len() <= REPLY_BYTES_MAX + 64);
        assert!(out.finish(), "an error");
        let text = String::from_utf8_lossy(out.bytes()).into_owned();
        assert!(text.starts_with("+OK\r\n-ERR the answer would be longer") && text.len() < 200, "{text}");
        out.begin();
        out.ok();
        assert!(!out.finish() && out.bytes().ends_with(b"+OK\r\n"));
    }

    #[test]
    fn of_an_answer_in_parts_only_the_part_that_is_too_long_becomes_an_error() {
        let mut out = Out::default();
        out.begin();
        out.array(103);
        let value = vec![b'x'; 1 << 20];
        for at in 0..103 {
            out.begin_part();
            match at {
                // Several in one.
                100 => {
                    out.array(2);
                    (0..2).for_each(|_| out.bulk(&value));
                }
                101 => out.ok(),
                102 => out.error("WRONGTYPE no"),
                _ => out.bulk(&value),
            }
            out.finish_part();
        }
        assert!(out.finish() && out.len() < REPLY_BYTES_MAX + (1 << 20));
        let tail = String::from_utf8_lossy(&out.bytes()[out.len() - 400..]).into_owned();
        let (_, tail) = tail.split_once("\r\n").unwrap();
        let lines: Vec<_> = tail.lines().collect();
        assert!(
            lines[..lines.len() - 2].iter().all(|line| line.starts_with("-ERR the answer would be longer")),
            "{tail}"
        );
        assert_eq!(lines[lines.len() - 2..], ["+OK", "-WRONGTYPE no"]);
    }
}
