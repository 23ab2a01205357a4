//! Errors as small JSON documents (RFC 9457, `application/problem+json`) that say what to do. Every kind of problem is in
//! one table, which the door serves, its description lists and its page explains.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// Media type of [`document`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Where the door explains them; a document's `type` is this and the problem's name.
pub const PATH: &str = "/v1/problems/";

/// One kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Its name: stable, for programs. The end of its `type`.
    pub name: &'static str,
    /// Status it comes with.
    pub status: u16,
    /// The coarser `kind`, which several share: what to do about it. It is the same for every door.
    pub kind: &'static str,
    /// What it means and what to do.
    pub meaning: &'static str,
}

const fn problem(name: &'static str, status: u16, kind: &'static str, meaning: &'static str) -> Problem {
    Problem { name, status, kind, meaning }
}

/// All of them, by status.
pub const PROBLEMS: &[Problem] = &[
    problem(
        "unknown",
        202,
        "unknown",
        "it may or may not have happened: read the value to find out, or send the request again under the same Idempotency-Key",
    ),
    problem(
        "invalid",
        400,
        "invalid",
        "the request is wrong, and nothing was changed: correct what the detail names",
    ),
    problem(
        "no_proxy_header",
        400,
        "no_proxy_header",
        "the proxy must begin with a PROXY protocol header; see proxy_protocol",
    ),
    problem("malformed", 400, "malformed", "this is no valid HTTP/1.1 request"),
    problem(
        "unauthorized",
        401,
        "unauthorized",
        "this door wants a token, and this is none that it knows: send Authorization: Bearer larder_…",
    ),
    problem("denied", 403, "denied", "what the caller shows does not give this right"),
    problem("locked", 403, "locked", "what would have to be opened for this is locked"),
    problem("wrong_origin", 403, "wrong_origin", "a page of another site asks; call from a program instead"),
    problem(
        "handshake",
        403,
        "handshake",
        "the TLS handshake failed; a certificate of this node's authority is needed",
    ),
    problem("not_found", 404, "not_found", "there is no value under this key, or its time is up"),
    problem("no_route", 404, "not_found", "there is nothing at this path; /v1/openapi.json lists all"),
    problem("method_not_allowed", 405, "invalid", "the path takes the methods that Allow lists"),
    problem("too_slow", 408, "too_slow", "head or body took too long to arrive; send it again in one go"),
    problem(
        "conflict",
        409,
        "conflict",
        "what is there does not fit what was asked: read it and decide anew",
    ),
    problem(
        "only_taken",
        409,
        "conflict",
        "the value may only be taken: POST to its path followed by /take, which uses up one read",
    ),
    problem("not_takeable", 409, "conflict", "the value is an ordinary one and cannot be taken: read it"),
    problem(
        "not_text",
        409,
        "conflict",
        "the value is not text, which this form cannot show: read it under /v1/data/",
    ),
    problem(
        "not_a_number",
        409,
        "conflict",
        "the value is no whole number of 64 bits, or would not be one any more",
    ),
    problem(
        "precondition_failed",
        412,
        "conflict",
        "If-Match or If-None-Match does not hold: somebody was quicker, so read the value and decide anew",
    ),
    problem("body_too_large", 413, "body_too_large", "the value is longer than one may be"),
    problem(
        "range_not_satisfiable",
        416,
        "invalid",
        "the value is shorter than the first byte asked for; Content-Range has its length",
    ),
    problem(
        "wrong_host",
        421,
        "wrong_host",
        "the node does not answer to this Host; use its address, or name it in http_hosts",
    ),
    problem(
        "idempotency_key_reused",
        422,
        "conflict",
        "this Idempotency-Key was used for another request on this key: choose another",
    ),
    problem(
        "rate_limited",
        429,
        "rate_limited",
        "too many requests from your address: wait as long as Retry-After says",
    ),
    problem("head_too_large", 431, "head_too_large", "request line and headers are too long"),
    problem("damaged", 500, "damaged", "stored bytes are not what was written; the node's log says more"),
    problem("io", 500, "io", "an input/output error of the node; its log says more"),
    problem("bug", 500, "bug", "a defect in Larder; please report it"),
    problem("too_new", 501, "too_new", "the data is of a newer version than the node"),
    problem(
        "retry",
        503,
        "retry",
        "not possible at this moment, and nothing was changed: send it again after Retry-After",
    ),
    problem(
        "busy",
        503,
        "busy",
        "too many large requests or watchers at once: send it again after Retry-After",
    ),
    problem("crowded", 503, "crowded", "too many connections: close some, or come again after Retry-After"),
    problem(
        "closed",
        503,
        "closed",
        "the store has stopped itself, or its namespace is not there yet; the node's log says why",
    ),
    problem(
        "full",
        507,
        "full",
        "there is no room: delete something, wait for something to expire, or raise the limit",
    ),
];

/// The problem of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Problem> {
    PROBLEMS.iter().find(|problem| problem.name == name)
}

impl Problem {
    /// Its `type`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{PATH}{}", self.name)
    }

    /// What the door says of it.
    #[must_use]
    pub fn explained(&self) -> Value {
        json!({
            "type": self.uri(),
            "title": self.title(),
            "status": self.status,
            "kind": self.kind,
            "meaning": sentence(self.meaning),
        })
    }

    fn title(&self) -> String {
        let mut letters = self.name.chars();
        let first = letters.next().into_iter().flat_map(char::to_uppercase);
        first.chain(letters).collect::<String>().replace('_', " ")
    }
}

/// The document of an error. `name` is a problem's, `detail` is for people; a first capital and a full stop are added.
#[must_use]
pub fn document(status: StatusCode, name: &str, detail: &str) -> Bytes {
    let kind = named(name).map_or(name, |problem| problem.kind);
    let mut text = json!({
        "type": format!("{PATH}{name}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "kind": kind,
        "detail": sentence(detail),
    })
    .to_string();
    text.push('\n');
    text.into()
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn it_is_json_whatever_the_words() {
        let document = document(StatusCode::NOT_FOUND, "no_route", "no \"such\" path\n");
        let value: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["status"], 404);
        assert_eq!(value["title"], "Not Found");
        assert_eq!(value["detail"], "No \"such\" path\n.");
        assert_eq!((&value["type"], &value["kind"]), (&json!("/v1/problems/no_route"), &json!("not_found")));
    }

    #[test]
    fn names_are_unique_and_every_refusal_has_its_problem() {
        for (at, problem) in PROBLEMS.iter().enumerate() {
            assert!(PROBLEMS[..at].iter().all(|before| before.name != problem.name), "{}", problem.name);
            assert!(PROBLEMS[..at].iter().all(|before| before.status <= problem.status), "{}", problem.name);
            assert!(StatusCode::from_u16(problem.status).is_ok());
        }
        // Counted apart, and one problem.
        for name in Refusal::NAMES.into_iter().filter(|name| !name.starts_with("rate_limited_")) {
            let problem = named(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(problem.kind, name);
        }
        assert_eq!(named("only_taken").unwrap().explained()["title"], "Only taken");
    }
}
