//! Writing values: plain bytes, or a JSON document with the value in it.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::body::Incoming;
use larder_door::http::conditions::{self, Conditions};
use larder_door::http::headers::{self, X_TTL, X_TTL_CLAMPED};
use larder_door::http::idempotency::IDEMPOTENCY_KEY;
use larder_door::http::limits::JSON_EXTRA_BYTES_MAX;
use larder_door::http::{Bad, forms, lifetime, percent, target};
use larder_door::{Caller, Refusal};
use larder_format::error::Kind;
use larder_format::limits::TTL_MS_MAX;
use larder_format::namespace::{LifetimeRequest, Namespace};
use larder_format::operation::Outcome;
use larder_format::record::{Expiry, Key, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::body;
use super::change::Change;
use super::service::Shared;
use crate::identity::Identity;

/// Shortest lifetime that can be asked for, in milliseconds: what a client can write with three decimals.
const TTL_MS_MIN: u64 = 1;

/// A write, as the head of its request says.
pub(super) struct PutHead {
    /// Who writes; `None` where the door lets in whoever reaches it.
    pub(super) who: Option<Arc<Identity>>,
    /// Under which key; `None`: the body may say, or one is chosen.
    pub(super) key: Option<Key>,
    /// Lifetime in the query, in milliseconds.
    pub(super) ttl_ms: Option<u64>,
    /// The body is a JSON document with the value in it.
    pub(super) is_json: bool,
    /// The value may only be taken, this many times.
    pub(super) reads: Option<u32>,
}

/// A write, as a whole.
struct Put {
    key: Key,
    data: Bytes,
    lifetime: LifetimeRequest,
    /// The lifetime was brought into what is allowed.
    clamped: bool,
}

/// What was written, and what the client is told of it.
pub(super) struct Written {
    pub(super) version: Version,
    pub(super) expiry: Expiry,
    /// The lifetime was brought into what is allowed.
    pub(super) clamped: bool,
    /// What only some writes tell.
    pub(super) also: Option<(&'static str, Value)>,
}

/// Whether a body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

impl Shared {
    /// Writes a value.
    pub(super) async fn put(
        self: Arc<Self>,
        caller: &Caller,
        head: PutHead,
        headers: HeaderMap,
        incoming: Incoming,
    ) -> Result<Answer, Refusal> {
        let asked = self.space().and_then(|space| Ok((space, self.settings(space)?)));
        let (space, settings) = match asked {
            Ok(asked) => asked,
            Err(failure) => return Ok(answer::failure(&failure)),
        };
        let max = self.config.value_len_max as u64;
        let body_max = if head.is_json { max * 2 + JSON_EXTRA_BYTES_MAX } else { max };
        body::check_length(&headers, &incoming, body_max).map_err(|_| Refusal::BodyTooLarge { max })?;
        let received = body::read(incoming, body_max, caller, &self.bodies).await?;
        self.metrics.http.received(received.bytes.len() as u64);
        let (raw, plain, reads, who) = (head.key.is_none(), !head.is_json, head.reads, head.who.clone());
        let read = self.whole(&settings, head, &headers, &received.bytes).and_then(|put| {
            let ttl = lifetime_bytes(put.lifetime);
            let parts = [b"put", &ttl[..], &reads.unwrap_or(0).to_le_bytes(), &put.data];
            let named = self.named(&headers, &parts)?;
            let conditions = Conditions::read(&headers)?;
            Ok((Change { who, space, key: put.key.clone(), conditions, named }, put))
        });
        let (change, put) = match read {
            Ok(read) => read,
            Err(bad) => return Ok(answer::bad(&bad.0)),
        };
        if put.data.len() as u64 > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        let ask = |condition| {
            let body = put.data.clone();
            Ask::Put(AskPut { condition, lifetime: put.lifetime, takes: reads, body, ..AskPut::default() })
        };
        Ok(match self.change(&change, ask).await {
            Ok(Outcome::Written { version, expiry }) => {
                let status = if raw { StatusCode::OK } else { StatusCode::CREATED };
                let also = reads.map(|reads| ("reads", reads.into()));
                let mut answer =
                    self.written(status, &put.key, Written { version, expiry, clamped: put.clamped, also });
                // Only where the value is what was sent, as the standard has it.
                if plain {
                    answer::tag(answer.headers_mut(), version);
                }
                answer
            }
            Ok(other) => unexpected(&other),
            Err(unchanged) => change.answer(&unchanged),
        })
    }

    /// Value, key and lifetime of a write.
    fn whole(&self, space: &Namespace, head: PutHead, headers: &HeaderMap, body: &Bytes) -> Result<Put, Bad> {
        let in_header = ttl_header(headers)?;
        if headers.contains_key(CONTENT_RANGE) {
            return Err(Bad::new("a value is written as a whole: leave Content-Range out"));
        }
        let (data, key, in_body) = match head.key {
            None => {
                let (value, key) = forms::raw(body)?;
                let chosen = || chosen_key(headers);
                (value.data, key.map_or_else(chosen, Ok)?, value.ttl_ms)
            }
            Some(key) if head.is_json => {
                let value = forms::data(body)?;
                (value.data, key, value.ttl_ms)
            }
            Some(key) => (body.clone(), key, None),
        };
        let (lifetime, clamped) = self.lifetime(space, head.ttl_ms.or(in_body).or(in_header))?;
        Ok(Put { key, data, lifetime, clamped })
    }

    /// A lifetime that was asked for, as the namespace allows it, and whether it had to be changed for that.
    ///
    /// # Errors
    /// [`Bad`] names the limits.
    pub(super) fn lifetime(
        &self,
        space: &Namespace,
        ttl_ms: Option<u64>,
    ) -> Result<(LifetimeRequest, bool), Bad> {
        within(space, ttl_ms, self.config.clamp_ttl).map_err(Bad)
    }

    /// What the client is told of a write.
    pub(super) fn written(&self, status: StatusCode, key: &Key, written: Written) -> Answer {
        let Written { version, expiry, clamped, also } = written;
        let ttl_ms = expiry.ms().map(|end| end.saturating_sub(version.0.ms()));
        let (name, key) = shown(key);
        let mut document = json!({
            name: key,
            "etag": conditions::tag(version),
            "ttl": ttl_ms.map(seconds),
            "created_at": headers::rfc3339(version.0.ms()),
            "expires_at": expiry.ms().map(headers::rfc3339),
        });
        if let Some((name, value)) = also {
            document[name] = value;
        }
        let mut answer = answer::json(status, &document);
        self.lifetime_headers(answer.headers_mut(), version, expiry);
        if clamped {
            answer.headers_mut().insert(X_TTL_CLAMPED, HeaderValue::from_static("true"));
        }
        answer
    }
}

/// An outcome that the register does not give to what was asked.
pub(super) fn unexpected(outcome: &Outcome) -> Answer {
    answer::failure(&Failure::new(Kind::Bug, format!("a change was answered with {outcome:?}")))
}

/// The lifetime in the header `X-TTL`, in milliseconds.
///
/// # Errors
/// [`Bad`].
pub(super) fn ttl_header(headers: &HeaderMap) -> Result<Option<u64>, Bad> {
    let mut lines = headers.get_all(X_TTL).iter();
    match lines.next() {
        Some(_) if lines.next().is_some() => Err(Bad::new("the header X-TTL is there twice")),
        Some(value) => lifetime::parse(value.to_str().unwrap_or("?")).map(Some),
        None => Ok(None),
    }
}

/// A lifetime as it counts for whether two requests ask the same.
pub(super) fn lifetime_bytes(lifetime: LifetimeRequest) -> [u8; 8] {
    match lifetime {
        LifetimeRequest::Ttl(ms) | LifetimeRequest::Until(ms) => ms.to_le_bytes(),
        LifetimeRequest::Default => [0; 8],
        LifetimeRequest::Never => [u8::MAX; 8],
    }
}

/// A key in an answer: under another name where it is not text and so percent-encoded.
fn shown(key: &Key) -> (&'static str, String) {
    match std::str::from_utf8(key.as_bytes()) {
        Ok(text) => ("key", text.to_owned()),
        Err(_) => ("key_percent_encoded", percent::encode(key.as_bytes())),
    }
}

/// Milliseconds as a JSON number of seconds, whole where it is.
fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1000) { (ms / 1000).into() } else { (ms as f64 / 1000.0).into() }
}

/// A key for a value that came without one: unguessable, because whoever knows it can read it. What is said of a value by
/// its key, such as whether it was written already, cannot be said here.
fn chosen_key(headers: &HeaderMap) -> Result<Key, Bad> {
    if headers.contains_key(IDEMPOTENCY_KEY) || Conditions::read(headers)?.is_some() {
        return Err(Bad::new("conditions and Idempotency-Key are for a key that the body names"));
    }
    let random: [u8; 16] = SystemRng.array();
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    target::key(format!("raw-{text}").into_bytes())
}

/// A lifetime within what the namespace allows, and whether it had to be changed for that.
///
/// # Errors
/// Words that name the limits.
fn within(space: &Namespace, ttl_ms: Option<u64>, clamp: bool) -> Result<(LifetimeRequest, bool), String> {
    let Some(ttl_ms) = ttl_ms else { return Ok((LifetimeRequest::Default, false)) };
    let max_ms = space.ttl_max_ms.unwrap_or(TTL_MS_MAX);
    if (TTL_MS_MIN..=max_ms).contains(&ttl_ms) {
        return Ok((LifetimeRequest::Ttl(ttl_ms), false));
    }
    if clamp {
        return Ok((LifetimeRequest::Ttl(ttl_ms.clamp(TTL_MS_MIN, max_ms)), true));
    }
    Err(format!(
        "the lifetime asked for is out of range: it must be {} to {} seconds; nothing was stored",
        lifetime::show(TTL_MS_MIN),
        lifetime::show(max_ms)
    ))
}

#[cfg(test)]
mod tests {
    use larder_format::namespace::{Class, Privacy, ScanOrder};

    use super::*;

    #[test]
    fn lifetimes_are_refused_with_the_limits_or_clamped_and_said() {
        let mut space = Namespace::new("raw", Privacy::Raw, Class::Memory, ScanOrder::Hash);
        (space.ttl_default_ms, space.ttl_max_ms) = (Some(3_600_000), Some(604_800_000));
        assert_eq!(within(&space, None, false), Ok((LifetimeRequest::Default, false)));
        assert_eq!(within(&space, Some(60_000), false), Ok((LifetimeRequest::Ttl(60_000), false)));
        let why = within(&space, Some(604_800_001), false).unwrap_err();
        assert!(why.contains("0.001 to 604800 seconds"), "{why}");
        assert!(within(&space, Some(0), false).is_err());
        assert_eq!(within(&space, Some(u64::MAX), true), Ok((LifetimeRequest::Ttl(604_800_000), true)));
        assert_eq!(within(&space, Some(0), true), Ok((LifetimeRequest::Ttl(1), true)));
    }

    #[test]
    fn json_is_what_says_so() {
        let with = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            is_json(&headers)
        };
        assert!(with("application/json") && with("Application/JSON; charset=utf-8"));
        assert!(!with("text/json") && !with("application/jsonlines") && !is_json(&HeaderMap::new()));
    }
}
