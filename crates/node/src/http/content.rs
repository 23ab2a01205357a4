//! Bodies of answers. A long text in JSON is escaped a part at a time while it is sent: escaped, it may be six times as
//! long as the value, and a client that does not read would make the node hold that.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::events::Events;
use super::memory::Share;

/// Bytes of a text that are escaped at a time.
const PART_LEN: usize = 16 * 1024;

/// What an answer is made of, as far as it is still to be sent.
pub(crate) enum Content {
    /// There already.
    Whole(Bytes),
    /// A text within a JSON document.
    Text(Box<Text>),
    /// There already, in pieces of what is held anyway.
    Pieces(Box<Pieces>),
    /// What happens, as it happens: nobody knows how much that will be.
    Events(Box<Events>),
}

/// Pieces to be sent one after the other.
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

/// A text within a JSON document.
pub(crate) struct Text {
    before: Bytes,
    text: Bytes,
    after: Bytes,
    left: u64,
}

impl Content {
    /// The document `before` + text, escaped, + `after`. The text is known to be UTF-8; what is not is left out.
    pub(super) fn text(before: Bytes, text: Bytes, after: Bytes) -> Self {
        let escaped: usize = text.iter().map(|byte| escaped_len(*byte)).sum();
        let left = (before.len() + escaped + after.len()) as u64;
        Self::Text(Box::new(Text { before, text, after, left }))
    }

    /// Bytes that are built and counted against a share of memory until the last of them is sent.
    pub(super) fn held(bytes: Vec<u8>, mut share: Share) -> Self {
        share.shrink(bytes.len());
        Self::Whole(Bytes::from_owner(Held { bytes, _share: share }))
    }

    /// These pieces in their order.
    pub(super) fn pieces(pieces: VecDeque<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Pieces(Box::new(Pieces { pieces, left }))
    }

    /// Bytes still to come, as far as they are known.
    pub(super) fn len(&self) -> u64 {
        match self {
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Text(text) => text.left,
            Content::Pieces(pieces) => pieces.left,
            Content::Events(_) => 0,
        }
    }

    /// Whether it goes on until one of both sides ends it.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Content::Events(_))
    }

    /// The next part; empty at the end. Events are not asked for this way.
    pub(super) fn next(&mut self) -> Bytes {
        match self {
            Content::Whole(bytes) => std::mem::take(bytes),
            Content::Text(text) => text.next(),
            Content::Pieces(pieces) => pieces.next(),
            Content::Events(_) => Bytes::new(),
        }
    }
}

impl Text {
    fn next(&mut self) -> Bytes {
        let mut part = std::mem::take(&mut self.before);
        if part.is_empty() && !self.text.is_empty() {
            let mut end = self.text.len().min(PART_LEN);
            while self.text.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
                end -= 1;
            }
            part = escaped(&self.text.split_to(end));
        }
        if part.is_empty() {
            part = std::mem::take(&mut self.after);
        }
        self.left = self.left.saturating_sub(part.len() as u64);
        part
    }
}

impl Pieces {
    fn next(&mut self) -> Bytes {
        // An empty one would be taken for the end.
        let next = std::iter::from_fn(|| self.pieces.pop_front()).find(|piece| !piece.is_empty());
        let piece = next.unwrap_or_default();
        self.left = self.left.saturating_sub(piece.len() as u64);
        piece
    }
}

struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// As it stands in JSON, without the quotes around it.
fn escaped(part: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(part);
    let quoted = Bytes::from(serde_json::Value::from(text).to_string());
    quoted.slice(1..quoted.len() - 1)
}

/// How long a byte of a text is in JSON.
pub(super) fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let content = self.get_mut();
        let part = match content {
            Content::Events(events) => std::task::ready!(events.poll_part(cx)),
            content => content.next(),
        };
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_stream() && self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_stream() { SizeHint::default() } else { SizeHint::with_exact(self.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_sent_in_order_without_the_empty_ones() {
        let pieces = ["", "ab", "", "c"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let mut content = Content::pieces(pieces.into());
        assert_eq!(content.len(), 3);
        assert_eq!((content.next(), content.next(), content.len()), ("ab".into(), "c".into(), 0));
        assert!(content.is_end_stream() && content.next().is_empty());
    }

    #[test]
    fn a_text_in_parts_is_what_it_is_in_one() {
        let mut text: String = (0..0x80).map(char::from).collect();
        text.push_str("é€😀");
        let text = text.repeat(1000);
        for skip in 0..4 {
            let text = format!("{}{text}", "x".repeat(skip));
            let whole = format!("{{\"data\":{}}}", serde_json::Value::from(text.clone()));
            let mut content = Content::text("{\"data\":\"".into(), text.into(), "\"}".into());
            assert_eq!(content.len(), whole.len() as u64);
            let mut got = Vec::new();
            while !content.is_end_stream() {
                got.extend_from_slice(&content.next());
            }
            assert_eq!(got, whole.as_bytes());
        }
    }
}
