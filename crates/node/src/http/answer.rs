//! Answers: one shape for values, documents and errors, with the headers that every answer has.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use larder_door::Refusal;
use larder_door::http::{conditions, headers, problem, ranges};
use larder_format::error::Kind;
use larder_format::record::Version;
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
    all.reserve(16);
    all.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers::secure(all);
    answer
}

/// A value's bytes, or some of them.
pub(crate) fn value(status: StatusCode, body: Content) -> Answer {
    let mut answer = content(status, "application/octet-stream", body);
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

/// Says which version an answer is about.
pub(crate) fn tag(headers: &mut HeaderMap, version: Version) {
    headers.insert(ETAG, conditions::tag_value(version));
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

/// An error of a kind that the table of problems has, with its status.
pub(crate) fn problem(name: &'static str, detail: &str) -> Answer {
    let known = problem::named(name).and_then(|problem| StatusCode::from_u16(problem.status).ok());
    let status = known.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    bytes(status, problem::CONTENT_TYPE, problem::document(status, name, detail))
}

/// What the table of problems says, of one or of all.
pub(crate) fn problems(which: Option<&problem::Problem>) -> Answer {
    let document = match which {
        Some(problem) => problem.explained(),
        None => {
            let all: Vec<_> = problem::PROBLEMS.iter().map(problem::Problem::explained).collect();
            serde_json::json!({ "problems": all })
        }
    };
    json(StatusCode::OK, &document)
}

/// An error in the request itself.
pub(crate) fn bad(detail: &str) -> Answer {
    problem("invalid", detail)
}

/// What is not there.
pub(crate) fn absent() -> Answer {
    problem("not_found", "there is no value under this key, or its time is up")
}

/// A value that may only be taken was to be read.
pub(crate) fn only_taken() -> Answer {
    let detail = "this value can only be taken: POST to its path followed by /take, which uses up one read; \
                  nothing was used up now";
    problem("only_taken", detail)
}

/// A condition that does not hold; which version there is instead.
pub(crate) fn precondition_failed(current: Option<Version>) -> Answer {
    let detail = match current {
        Some(_) => {
            "the condition does not hold: there is another version, or one at all; nothing was changed"
        }
        None => "the condition does not hold: there is no value under this key; nothing was changed",
    };
    let mut answer = problem("precondition_failed", detail);
    if let Some(version) = current {
        tag(answer.headers_mut(), version);
    }
    answer
}

/// Bytes were asked for that the value does not have.
pub(crate) fn no_such_range(len: u64) -> Answer {
    let detail = format!("the value has only {len} bytes");
    let mut answer = problem("range_not_satisfiable", &detail);
    if let Ok(value) = HeaderValue::try_from(ranges::content_range_of_none(len)) {
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    answer
}

/// The wrong method for this path.
pub(crate) fn wrong_method(allow: &'static str) -> Answer {
    let mut answer = problem("method_not_allowed", &format!("this path takes {allow}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// A refusal.
pub(crate) fn refusal(refusal: Refusal) -> Answer {
    let mut answer = problem(refusal.name(), &refusal.to_string());
    if let Some(seconds) = refusal.retry_after_s() {
        retry_after(&mut answer, seconds);
    }
    if refusal.closes() {
        close(&mut answer);
    }
    answer
}

/// Says when to come again, in seconds.
pub(crate) fn retry_after(answer: &mut Answer, seconds: u64) {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// Ends the connection after this answer.
pub(crate) fn close(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// A failure: its kind names the problem.
pub(crate) fn failure(failure: &Failure) -> Answer {
    let mut answer = problem(failure.kind.name(), &failure.message);
    if failure.kind == Kind::Retry {
        retry_after(&mut answer, 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_and_every_refusal_has_its_status() {
        let kinds = [
            (Kind::Invalid, 400),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::Full, 507),
            (Kind::Damaged, 500),
            (Kind::Denied, 403),
            (Kind::Locked, 403),
            (Kind::Retry, 503),
            // It may or may not have happened: what was asked is accepted and not yet known to be done.
            (Kind::Unknown, 202),
            (Kind::TooNew, 501),
            (Kind::Closed, 503),
            (Kind::Io, 500),
            (Kind::Bug, 500),
        ];
        for (kind, status) in kinds {
            assert_eq!(failure(&Failure::new(kind, "x")).status(), status, "{kind}");
        }
        for refused in [Refusal::Crowded, Refusal::Busy, Refusal::Malformed, Refusal::BodyTooLarge { max: 1 }]
        {
            assert_eq!(refusal(refused).status(), refused.status());
        }
    }
}
