//! Values of the raw namespace: read, written and deleted through the register as any record is.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::body::Incoming;
use larder_door::http::headers::{self, X_CREATED_AT, X_ORIGINAL_TTL, X_REMAINING_TTL, X_TTL, X_TTL_CLAMPED};
use larder_door::http::limits::{JSON_EXTRA_BYTES_MAX, SMALL_BYTES_MAX};
use larder_door::http::{forms, lifetime, percent};
use larder_door::{Caller, Refusal};
use larder_format::clock::Hlc;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::limits::TTL_MS_MAX;
use larder_format::namespace::{Class, LifetimeRequest, Namespace};
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Expiry, Key, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut, RecordRequest};
use serde_json::json;

use super::answer::{self, Answer};
use super::body;
use super::content::Content;
use super::service::{Begun, Shared};
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
}

/// Whether a body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn request(namespace: &Namespace, key: Key, ask: Ask) -> RecordRequest {
    RecordRequest { tag: 0, namespace: namespace.id(), key, identity: None, ask }
}

/// The request that reads a value.
pub(super) fn read(namespace: NamespaceId, key: Key) -> RecordRequest {
    RecordRequest { tag: 0, namespace, key, identity: None, ask: Ask::Get { head_only: false } }
}

impl Shared {
    /// Reads a value: at once where nothing has to be waited for.
    pub(super) fn get(self: &Arc<Self>, key: Key, as_json: bool) -> Begun {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return Begun::Now(answer::failure(&failure)),
        };
        let request = read(space.id, key);
        if space.settings.class == Class::Memory {
            // What is in memory is there as soon as it is seen.
            let outcome = self.registers.begin(request).map(|(outcome, _)| outcome);
            return Begun::Now(self.got(outcome, as_json));
        }
        let shared = self.clone();
        Begun::Later(Box::pin(async move {
            let outcome = shared.registers.apply(request).await;
            shared.got(outcome, as_json)
        }))
    }

    pub(super) fn got(&self, outcome: Result<Outcome, Failure>, as_json: bool) -> Answer {
        match outcome {
            Ok(Outcome::Found(found)) if found.takes_left.is_some() => {
                let detail = "this value can only be taken, which this door cannot do";
                answer::error(StatusCode::CONFLICT, Kind::Conflict.name(), detail)
            }
            Ok(Outcome::Found(found)) if as_json => self.as_json(&found),
            Ok(Outcome::Found(found)) => {
                let mut answer = answer::bytes(StatusCode::OK, "application/octet-stream", found.body);
                self.lifetime_headers(answer.headers_mut(), found.version, found.expiry);
                answer
            }
            Ok(_) => answer::absent(),
            Err(failure) => answer::failure(&failure),
        }
    }

    /// As the original's raw form: a text and the seconds it still lives.
    fn as_json(&self, found: &Found) -> Answer {
        let small = found.body.len() <= SMALL_BYTES_MAX;
        let Ok(text) = std::str::from_utf8(&found.body) else {
            let detail = "the value is not text, which this form cannot show; read it under /data/";
            return answer::error(StatusCode::CONFLICT, Kind::Conflict.name(), detail);
        };
        let now_ms = self.time.now().ms();
        let remaining_s = found.expiry.ms().map(|end| end.saturating_sub(now_ms).div_ceil(1000));
        let mut answer = if small {
            answer::json(StatusCode::OK, &json!({ "data": text, "ttl": remaining_s }))
        } else {
            let after = format!("\",\"ttl\":{}}}\n", json!(remaining_s));
            let body = Content::text(Bytes::from_static(b"{\"data\":\""), found.body.clone(), after.into());
            answer::content(StatusCode::OK, "application/json", body)
        };
        self.lifetime_headers(answer.headers_mut(), found.version, found.expiry);
        answer
    }

    fn lifetime_headers(&self, headers: &mut HeaderMap, version: Version, expiry: Expiry) {
        let created_ms = version.0.ms();
        headers.insert(X_CREATED_AT, headers::rfc3339_value(created_ms));
        if let Some(end_ms) = expiry.ms() {
            headers.insert(X_ORIGINAL_TTL, lifetime::show_value(end_ms.saturating_sub(created_ms)));
            // The request has just been given a time by which it was decided.
            let left_ms = end_ms.saturating_sub(self.time.latest().ms());
            headers.insert(X_REMAINING_TTL, HeaderValue::from(left_ms.div_ceil(1000)));
        }
    }

    /// Writes a value.
    pub(super) async fn put(
        self: Arc<Self>,
        caller: &Caller,
        head: PutHead,
        headers: HeaderMap,
        incoming: Incoming,
    ) -> Result<Answer, Refusal> {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return Ok(answer::failure(&failure)),
        };
        let max = self.config.value_len_max as u64;
        let body_max = if head.is_json { max * 2 + JSON_EXTRA_BYTES_MAX } else { max };
        body::check_length(&headers, &incoming, body_max).map_err(|_| Refusal::BodyTooLarge { max })?;
        let received = body::read(incoming, body_max, caller, &self.bodies).await?;
        self.metrics.http.received(received.bytes.len() as u64);
        let (raw, who) = (head.key.is_none(), head.who.clone());
        let (data, key, ttl_ms) = match self.parts(head, &headers, &received.bytes) {
            Ok(parts) => parts,
            Err(bad) => return Ok(answer::bad(&bad.0)),
        };
        if data.len() as u64 > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        // As it is now: lifetimes may have been changed.
        let settings = match self.namespaces.get(space.id) {
            Ok(settings) => settings,
            Err(failure) => return Ok(answer::failure(&failure)),
        };
        let (lifetime, clamped) = match within(&settings, ttl_ms, self.config.clamp_ttl) {
            Ok(lifetime) => lifetime,
            Err(why) => return Ok(answer::bad(&why)),
        };
        let put = AskPut { lifetime, body: data, ..AskPut::default() };
        let shown_key = shown(&key);
        let outcome = self.apply(who.as_deref(), request(&space.settings, key, Ask::Put(put))).await;
        Ok(match outcome {
            Ok(Outcome::Written { version, expiry }) => {
                let status = if raw { StatusCode::OK } else { StatusCode::CREATED };
                self.written(status, shown_key, version, expiry, clamped)
            }
            Ok(Outcome::Conflict { .. }) => {
                let why = "somebody else has just put a value there, which adding alone may not replace";
                answer::failure(&Failure::new(Kind::Conflict, why))
            }
            Ok(other) => {
                answer::failure(&Failure::new(Kind::Bug, format!("a write was answered with {other:?}")))
            }
            Err(failure) => answer::failure(&failure),
        })
    }

    /// Value, key and lifetime of a write.
    fn parts(
        &self,
        head: PutHead,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(Bytes, Key, Option<u64>), larder_door::http::Bad> {
        let mut in_headers = headers.get_all(X_TTL).iter();
        let in_header = match in_headers.next() {
            Some(_) if in_headers.next().is_some() => {
                return Err(larder_door::http::Bad::new("the header X-TTL is there twice"));
            }
            Some(value) => Some(lifetime::parse(value.to_str().unwrap_or("?"))?),
            None => None,
        };
        let (data, key, in_body) = match head.key {
            None => {
                let (value, key) = forms::raw(body)?;
                (value.data, key.map_or_else(chosen_key, Ok)?, value.ttl_ms)
            }
            Some(key) if head.is_json => {
                let value = forms::data(body)?;
                (value.data, key, value.ttl_ms)
            }
            Some(key) => (body.clone(), key, None),
        };
        Ok((data, key, head.ttl_ms.or(in_body).or(in_header)))
    }

    fn written(
        &self,
        status: StatusCode,
        (name, key): (&str, String),
        version: Version,
        expiry: Expiry,
        clamped: bool,
    ) -> Answer {
        let ttl_ms = expiry.ms().map(|end| end.saturating_sub(version.0.ms()));
        let document = json!({
            name: key,
            "ttl": ttl_ms.map(seconds),
            "created_at": headers::rfc3339(version.0.ms()),
            "expires_at": expiry.ms().map(headers::rfc3339),
        });
        let mut answer = answer::json(status, &document);
        self.lifetime_headers(answer.headers_mut(), version, expiry);
        if clamped {
            answer.headers_mut().insert(X_TTL_CLAMPED, HeaderValue::from_static("true"));
        }
        answer
    }

    /// Carries out a request for somebody, if it may; for anybody where the door asks nobody who it is.
    async fn apply(&self, who: Option<&Identity>, request: RecordRequest) -> Result<Outcome, Failure> {
        match who {
            Some(who) => self.registers.apply_as(who, request).await,
            None => self.registers.apply(request).await,
        }
    }

    /// Deletes a value.
    pub(super) async fn delete(self: Arc<Self>, who: Option<Arc<Identity>>, key: Key) -> Answer {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return answer::failure(&failure),
        };
        let ask = Ask::Delete { condition: Condition::Any };
        match self.apply(who.as_deref(), request(&space.settings, key, ask)).await {
            Ok(Outcome::Deleted { .. }) => answer::empty(StatusCode::NO_CONTENT),
            Ok(_) => answer::absent(),
            Err(failure) => answer::failure(&failure),
        }
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
fn seconds(ms: u64) -> serde_json::Value {
    if ms.is_multiple_of(1000) { (ms / 1000).into() } else { (ms as f64 / 1000.0).into() }
}

/// A key for a value that came without one: unguessable, because whoever knows it can read it.
fn chosen_key() -> Result<Key, larder_door::http::Bad> {
    let random: [u8; 16] = SystemRng.array();
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    larder_door::http::target::key(format!("raw-{text}").into_bytes())
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

/// The time of a moment in hybrid time, for tests and about pages.
pub(super) fn moment(time: Hlc) -> String {
    headers::rfc3339(time.ms())
}

#[cfg(test)]
mod tests {
    use larder_format::namespace::{Privacy, ScanOrder};

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
