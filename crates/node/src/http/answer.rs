//! Answers: one shape for values, documents and errors, with the headers that every answer has.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use larder_door::Refusal;
use larder_door::http::{headers, problem};
use larder_format::error::Kind;
use larder_wire::answer::Failure;

use super::content::Content;

/// What the door answers with.
pub(crate) type Answer = Response<Content>;

/// An answer of these bytes.
pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    content(status, content_type, Content::Whole(body.into()))
}

/// An answer of this content.
pub(crate) fn content(status: StatusCode, content_type: &'static str, body: Content) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let all = answer.headers_mut();
    all.reserve(12);
    all.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers::secure(all);
    answer
}

/// An answer of one JSON document, with a line end for people at terminals.
pub(crate) fn json(status: StatusCode, document: &serde_json::Value) -> Answer {
    bytes(status, "application/json", format!("{document}\n"))
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Content::Whole(Bytes::new()));
    *answer.status_mut() = status;
    headers::secure(answer.headers_mut());
    answer
}

/// An error.
pub(crate) fn error(status: StatusCode, kind: &str, detail: &str) -> Answer {
    bytes(status, problem::CONTENT_TYPE, problem::document(status, kind, detail))
}

/// An error in the request itself.
pub(crate) fn bad(detail: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, Kind::Invalid.name(), detail)
}

/// What is not there.
pub(crate) fn absent() -> Answer {
    let detail = "there is no value under this key, or its time is up";
    error(StatusCode::NOT_FOUND, Kind::NotFound.name(), detail)
}

/// The wrong method for this path.
pub(crate) fn wrong_method(allow: &'static str) -> Answer {
    let detail = format!("this path takes {allow}");
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, Kind::Invalid.name(), &detail);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// A refusal.
pub(crate) fn refusal(refusal: Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = error(status, refusal.name(), &refusal.to_string());
    if let Some(seconds) = refusal.retry_after_s() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.closes() {
        close(&mut answer);
    }
    answer
}

/// Ends the connection after this answer.
pub(crate) fn close(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// The one table from kinds of failure to HTTP statuses.
pub(crate) fn failure(failure: &Failure) -> Answer {
    let status = match failure.kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Denied | Kind::Locked => StatusCode::FORBIDDEN,
        Kind::Retry | Kind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        // It may or may not have happened: what was asked is accepted and not yet known to be done.
        Kind::Unknown => StatusCode::ACCEPTED,
        Kind::TooNew => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = error(status, failure.kind.name(), &failure.message);
    if failure.kind == Kind::Retry {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1_u64));
    }
    answer
}

/// What a client gets that is answered before it could ask: a whole answer as bytes.
pub(crate) fn in_full(refusal: Refusal) -> Vec<u8> {
    let mut answer = self::refusal(refusal);
    close(&mut answer);
    let (head, mut body) = answer.into_parts();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    while body.len() > 0 {
        out.extend_from_slice(&body.next());
    }
    out
}
