//! What a request asks for, from its method, path and query. One table of routes; whatever is in none of them is
//! [`Unroutable`], and only then [`super::suspicion`] looks at it.

use bytes::Bytes;
use http::Method;
use larder_format::record::Key;

use super::limits::{PAGE_KEYS_DEFAULT, PAGE_KEYS_MAX};
use super::{Bad, lifetime, percent, query};

/// In which form metrics are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsForm {
    /// For Prometheus.
    Prometheus,
    /// As JSON.
    Json,
    /// For people.
    Human,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A value: `GET` (or `HEAD`, without its bytes).
    Get {
        /// Which.
        key: Key,
        /// As `{"data":text,"ttl":seconds}` instead of plain bytes.
        as_json: bool,
    },
    /// To write a value.
    Put {
        /// Which.
        key: Key,
        /// Lifetime in the query, in milliseconds.
        ttl_ms: Option<u64>,
        /// A JSON body is an envelope with the value in it, not the value.
        may_be_json: bool,
    },
    /// To delete a value.
    Delete {
        /// Which.
        key: Key,
    },
    /// To write a value under a key that the body may name: `POST /raw/put`.
    PutRaw,
    /// Keys.
    Keys(Page),
    /// Whether the node serves. `v1`: with its name.
    Health {
        /// Newer form.
        v1: bool,
    },
    /// How the node is. `v1`: newer form.
    Status {
        /// Newer form.
        v1: bool,
    },
    /// Who the node's peers are.
    Topology,
    /// Counters.
    Metrics(MetricsForm),
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Most keys wanted.
    pub limit: usize,
    /// Where the page before ended; empty for the first.
    pub cursor: Bytes,
}

/// A request that no route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unroutable {
    /// There is nothing at this path.
    NoRoute,
    /// The path is there, for other methods.
    Method {
        /// Methods it takes, as the `Allow` header lists them.
        allow: &'static str,
    },
    /// The path is there, and something in it or in the query is wrong.
    Bad(Bad),
}

impl From<Bad> for Unroutable {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// A key of these bytes.
///
/// # Errors
/// [`Bad`] for an empty or too long one.
pub fn key(bytes: Vec<u8>) -> Result<Key, Bad> {
    if bytes.is_empty() {
        return Err(Bad::new("the key is missing: it follows the last slash"));
    }
    Key::new(bytes).map_err(|e| Bad::new(e.to_string()))
}

/// What the request asks.
///
/// # Errors
/// [`Unroutable`].
pub fn decode(method: &Method, path: &str, query: Option<&str>) -> Result<Asked, Unroutable> {
    if let Some(rest) = path.strip_prefix("/v1/data/") {
        return value(method, rest, query, false);
    }
    if let Some(rest) = path.strip_prefix("/data/") {
        return value(method, rest, query, true);
    }
    if let Some(rest) = path.strip_prefix("/raw/get/") {
        only(method, "GET, HEAD", |m| *m == Method::GET || *m == Method::HEAD)?;
        query::read(query, [])?;
        return Ok(Asked::Get { key: key(percent::decode(rest)?)?, as_json: true });
    }
    if path == "/raw/put" {
        only(method, "POST", |m| *m == Method::POST)?;
        query::read(query, [])?;
        return Ok(Asked::PutRaw);
    }
    let asked = match path {
        "/v1/keys" => None,
        "/health" => Some(Asked::Health { v1: false }),
        "/v1/health" => Some(Asked::Health { v1: true }),
        "/status" => Some(Asked::Status { v1: false }),
        "/v1/status" => Some(Asked::Status { v1: true }),
        "/v1/topology" => Some(Asked::Topology),
        "/metrics" | "/v1/metrics" => Some(Asked::Metrics(MetricsForm::Prometheus)),
        "/metrics/json" => Some(Asked::Metrics(MetricsForm::Json)),
        "/metrics/human" => Some(Asked::Metrics(MetricsForm::Human)),
        _ => return Err(Unroutable::NoRoute),
    };
    only(method, "GET, HEAD", |m| *m == Method::GET || *m == Method::HEAD)?;
    match asked {
        Some(asked) => {
            query::read(query, [])?;
            Ok(asked)
        }
        None => Ok(Asked::Keys(page(query)?)),
    }
}

fn only(method: &Method, allow: &'static str, fits: impl Fn(&Method) -> bool) -> Result<(), Unroutable> {
    if fits(method) { Ok(()) } else { Err(Unroutable::Method { allow }) }
}

fn value(method: &Method, rest: &str, query: Option<&str>, may_be_json: bool) -> Result<Asked, Unroutable> {
    let asked_key = || key(percent::decode(rest)?);
    match *method {
        Method::GET | Method::HEAD => {
            query::read(query, [])?;
            Ok(Asked::Get { key: asked_key()?, as_json: false })
        }
        Method::PUT => {
            let [ttl] = query::read(query, ["ttl"])?;
            let ttl_ms = ttl.map(|text| lifetime::parse(&String::from_utf8_lossy(&text))).transpose()?;
            Ok(Asked::Put { key: asked_key()?, ttl_ms, may_be_json })
        }
        Method::DELETE => {
            query::read(query, [])?;
            Ok(Asked::Delete { key: asked_key()? })
        }
        _ => Err(Unroutable::Method { allow: "GET, HEAD, PUT, DELETE" }),
    }
}

fn page(query: Option<&str>) -> Result<Page, Bad> {
    let [prefix, limit, cursor] = query::read(query, ["prefix", "limit", "cursor"])?;
    let limit = match limit {
        None => PAGE_KEYS_DEFAULT,
        Some(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|limit| (1..=PAGE_KEYS_MAX).contains(limit))
            .ok_or_else(|| Bad::new(format!("limit must be a number from 1 to {PAGE_KEYS_MAX}")))?,
    };
    Ok(Page {
        prefix: prefix.unwrap_or_default().into(),
        limit,
        cursor: read_cursor(&cursor.unwrap_or_default())?,
    })
}

/// Longest cursor, in bytes: backends write up to a key and a little more.
const CURSOR_LEN_MAX: usize = larder_format::limits::KEY_LEN_MAX + 64;

/// A cursor as it stands in an answer.
#[must_use]
pub fn show_cursor(cursor: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(cursor)
}

fn read_cursor(text: &[u8]) -> Result<Bytes, Bad> {
    use base64::Engine;
    let bad = || Bad::new("the cursor is not one that an answer gave as next_cursor");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    if bytes.len() > CURSOR_LEN_MAX { Err(bad()) } else { Ok(bytes.into()) }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
