//! Reading values of the raw namespace: whole, in part, or only if they are others than the client has.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use larder_door::http::conditions::{Conditions, Verdict};
use larder_door::http::headers::{self, X_CREATED_AT, X_ORIGINAL_TTL, X_REMAINING_TTL};
use larder_door::http::limits::SMALL_BYTES_MAX;
use larder_door::http::ranges::{self, Ranges, Wanted};
use larder_door::http::{Bad, lifetime};
use larder_format::clock::Hlc;
use larder_format::ids::NamespaceId;
use larder_format::namespace::Class;
use larder_format::operation::{Found, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, RecordRequest};
use serde_json::json;

use super::answer::{self, Answer};
use super::content::Content;
use super::service::{Begun, Shared};

/// The request that reads a value.
pub(super) fn read(namespace: NamespaceId, key: Key) -> RecordRequest {
    RecordRequest { tag: 0, namespace, key, identity: None, ask: Ask::Get { head_only: false } }
}

/// How a value is to be read.
#[derive(Default)]
pub(super) struct Reading {
    /// As `{"data":text,"ttl":seconds}`.
    pub(super) as_json: bool,
    conditions: Option<Conditions>,
    ranges: Option<Ranges>,
}

impl Reading {
    /// What the path and the headers say together. Only a `GET` of plain bytes can be of a part.
    ///
    /// # Errors
    /// [`Bad`].
    pub(super) fn of(method: &Method, headers: &HeaderMap, as_json: bool) -> Result<Self, Bad> {
        let in_parts = *method == Method::GET && !as_json;
        let ranges = if in_parts { Ranges::read(headers) } else { None };
        Ok(Self { as_json, conditions: Conditions::read(headers)?, ranges })
    }

    /// As the short way reads: without any headers that matter.
    pub(super) fn plain(as_json: bool) -> Self {
        Self { as_json, ..Self::default() }
    }
}

impl Shared {
    /// Reads a value: at once where nothing has to be waited for.
    pub(super) fn get(self: &Arc<Self>, key: Key, reading: Reading) -> Begun {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return Begun::Now(answer::failure(&failure)),
        };
        let request = read(space.id, key);
        if space.settings.class == Class::Memory {
            // What is in memory is there as soon as it is seen.
            let outcome = self.registers.begin(request).map(|(outcome, _)| outcome);
            return Begun::Now(self.got(outcome, &reading));
        }
        let shared = self.clone();
        Begun::Later(Box::pin(async move {
            let outcome = shared.registers.apply(request).await;
            shared.got(outcome, &reading)
        }))
    }

    pub(super) fn got(&self, outcome: Result<Outcome, Failure>, reading: &Reading) -> Answer {
        let found = match outcome {
            Ok(Outcome::Found(found)) => found,
            Ok(_) => return answer::absent(),
            Err(failure) => return answer::failure(&failure),
        };
        // Conditions are of no account where nothing would be shown without them.
        if found.takes_left.is_some() {
            return answer::only_taken();
        }
        let verdict = reading.conditions.as_ref().map_or(Verdict::Hold, |c| c.look(Some(found.version)));
        let mut answer = match verdict {
            Verdict::Failed => return answer::precondition_failed(Some(found.version)),
            Verdict::Unmodified => answer::empty(StatusCode::NOT_MODIFIED),
            Verdict::Hold if reading.as_json => match as_json(&found, self.time.now()) {
                Some(answer) => answer,
                None => {
                    let detail = "the value is not text, which this form cannot show; read it under /data/";
                    return answer::problem("not_text", detail);
                }
            },
            Verdict::Hold => match &reading.ranges {
                None => answer::value(StatusCode::OK, Content::Whole(found.body)),
                Some(ranges) => match in_parts(&found, ranges) {
                    Some(answer) => answer,
                    None => return answer::no_such_range(found.body.len() as u64),
                },
            },
        };
        // What is shown as JSON changes with time: it has no tag of its own.
        if !reading.as_json {
            answer::tag(answer.headers_mut(), found.version);
        }
        self.lifetime_headers(answer.headers_mut(), found.version, found.expiry);
        answer
    }

    /// When a value was written, for how long, and how long that still is.
    pub(super) fn lifetime_headers(&self, headers: &mut HeaderMap, version: Version, expiry: Expiry) {
        let created_ms = version.0.ms();
        headers.insert(X_CREATED_AT, headers::rfc3339_value(created_ms));
        if let Some(end_ms) = expiry.ms() {
            headers.insert(X_ORIGINAL_TTL, lifetime::show_value(end_ms.saturating_sub(created_ms)));
        }
        self.remaining_header(headers, expiry);
    }

    /// How long a value still lives.
    pub(super) fn remaining_header(&self, headers: &mut HeaderMap, expiry: Expiry) {
        if let Some(end_ms) = expiry.ms() {
            // The request has just been given a time by which it was decided.
            let left_ms = end_ms.saturating_sub(self.time.latest().ms());
            headers.insert(X_REMAINING_TTL, HeaderValue::from(left_ms.div_ceil(1000)));
        }
    }
}

/// As the original's raw form: a text and the seconds it still lives. `None`: it is no text.
fn as_json(found: &Found, now: Hlc) -> Option<Answer> {
    let text = std::str::from_utf8(&found.body).ok()?;
    let remaining_s = found.expiry.ms().map(|end| end.saturating_sub(now.ms()).div_ceil(1000));
    if found.body.len() <= SMALL_BYTES_MAX {
        return Some(answer::json(StatusCode::OK, &json!({ "data": text, "ttl": remaining_s })));
    }
    let after = format!("\",\"ttl\":{}}}\n", json!(remaining_s));
    let body = Content::text(Bytes::from_static(b"{\"data\":\""), found.body.clone(), after.into());
    Some(answer::content(StatusCode::OK, "application/json", body))
}

/// What was asked for of a value. `None`: it has none of that.
fn in_parts(found: &Found, asked: &Ranges) -> Option<Answer> {
    let len = found.body.len() as u64;
    Some(match asked.of(len, found.version) {
        Wanted::Whole => answer::value(StatusCode::OK, Content::Whole(found.body.clone())),
        Wanted::Nothing => return None,
        Wanted::Part(part) => {
            let mut answer =
                answer::value(StatusCode::PARTIAL_CONTENT, Content::Whole(slice(&found.body, &part)));
            set(&mut answer, CONTENT_RANGE, ranges::content_range(&part, len));
            answer
        }
        Wanted::Parts(parts) => {
            // Random, so that no value can have it in it on purpose.
            let random: [u8; 16] = SystemRng.array();
            let boundary: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let pieces = pieces(&found.body, &parts, &boundary);
            let mut answer = answer::value(StatusCode::PARTIAL_CONTENT, Content::pieces(pieces));
            set(&mut answer, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
            answer
        }
    })
}

fn set(answer: &mut Answer, name: http::HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        answer.headers_mut().insert(name, value);
    }
}

/// These bytes of a value; all that a [`Wanted`] names are within it.
fn slice(body: &Bytes, part: &Range<u64>) -> Bytes {
    let at = |end: u64| usize::try_from(end).unwrap_or(body.len()).min(body.len());
    body.slice(at(part.start)..at(part.end))
}

/// Several parts as one body, without copying them.
fn pieces(body: &Bytes, parts: &[Range<u64>], boundary: &str) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::with_capacity(2 * parts.len() + 1);
    let mut line = "";
    for part in parts {
        let range = ranges::content_range(part, body.len() as u64);
        let head = format!(
            "{line}--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: {range}\r\n\r\n"
        );
        pieces.extend([head.into(), slice(body, part)]);
        line = "\r\n";
    }
    pieces.push_back(format!("\r\n--{boundary}--\r\n").into());
    pieces
}

/// The time of a moment in hybrid time, for pages about the node.
pub(super) fn moment(time: Hlc) -> String {
    headers::rfc3339(time.ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_parts_are_one_body_that_says_where_each_belongs() {
        let text: Vec<u8> = pieces(&Bytes::from_static(b"0123456789"), &[0..2, 8..10], "B")
            .iter()
            .flat_map(|piece| piece.to_vec())
            .collect();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "--B\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 0-1/10\r\n\r\n01\r\n\
             --B\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--B--\r\n"
        );
    }
}
