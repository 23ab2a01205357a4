//! Server-sent events: what happens to values, as lines that a browser's `EventSource` and any other client read.
//!
//! Every event's id is a [`Cursor`]: who comes back with it as `Last-Event-ID` misses nothing, or is told `reset`.

use std::io::Write as _;

use larder_format::record::Version;
use serde_json::json;

use super::{Bad, conditions, percent};

/// Media type of a stream of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// What a stream begins with: how long a client waits before it comes back, in milliseconds.
pub const START: &[u8] = b"retry: 2000\n\n";

/// What is sent so that a connection without events is known to be alive.
pub const HEARTBEAT: &[u8] = b": alive\n\n";

/// A place in the changes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Another after each restart.
    pub life: u64,
    /// Rising.
    pub sequence: u64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.life, self.sequence)
    }
}

impl Cursor {
    /// Reads what a stream gave as an id.
    ///
    /// # Errors
    /// [`Bad`].
    pub fn parse(text: &[u8]) -> Result<Self, Bad> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let halves = std::str::from_utf8(text).ok().and_then(|text| text.split_once('-'));
        halves
            .and_then(|(life, sequence)| Some(Self { life: number(life)?, sequence: number(sequence)? }))
            .ok_or_else(|| Bad::new("the cursor is not one that an event gave as its id"))
    }
}

/// Appends an event about a value.
pub fn write_change(out: &mut Vec<u8>, at: Cursor, event: &str, key: &[u8], version: Version) {
    let tag = conditions::tag(version);
    let data = match std::str::from_utf8(key) {
        Ok(text) => json!({ "key": text, "etag": tag }),
        Err(_) => json!({ "key_percent_encoded": percent::encode(key), "etag": tag }),
    };
    // Writing to a vector cannot fail. A JSON document has no line ends in it.
    let _ = write!(out, "id: {at}\nevent: {event}\ndata: {data}\n\n");
}

/// Appends an event about the stream itself.
pub fn write_mark(out: &mut Vec<u8>, at: Cursor, event: &str) {
    let _ = write!(out, "id: {at}\nevent: {event}\ndata: {{}}\n\n");
}

/// Appends a place alone: no event, but where to come back to.
pub fn write_place(out: &mut Vec<u8>, at: Cursor) {
    let _ = write!(out, "id: {at}\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_a_block_of_lines_whatever_the_key() {
        let mut out = Vec::new();
        let at = Cursor { life: 0xab, sequence: 17 };
        write_change(&mut out, at, "changed", b"a\n\"b", Version::from_u64(9));
        write_change(&mut out, at, "deleted", b"\xff", Version::from_u64(9));
        write_mark(&mut out, at, "reset");
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "id: ab-11\nevent: changed\ndata: {\"etag\":\"\\\"9\\\"\",\"key\":\"a\\n\\\"b\"}\n\n\
             id: ab-11\nevent: deleted\ndata: {\"etag\":\"\\\"9\\\"\",\"key_percent_encoded\":\"%FF\"}\n\n\
             id: ab-11\nevent: reset\ndata: {}\n\n"
        );
    }

    proptest! {
        #[test]
        fn places_come_back(life: u64, sequence: u64) {
            let at = Cursor { life, sequence };
            prop_assert_eq!(Cursor::parse(at.to_string().as_bytes()), Ok(at));
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Cursor::parse(&text);
        }
    }
}
