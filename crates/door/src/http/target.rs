//! What a request asks for, from its method, path and query. Whatever no route takes is [`Unroutable`], and only then
//! [`super::suspicion`] looks at it. [`ROUTES`] lists all, for the door's description and its tests.

use bytes::Bytes;
use http::Method;
use larder_format::limits::TAKES_MAX;
use larder_format::record::Key;

use super::events::Cursor;
use super::limits::{PAGE_KEYS_DEFAULT, PAGE_KEYS_MAX, WATCH_KEYS_MAX};
use super::problem::{self, Problem};
use super::{Bad, lifetime, percent, query};

/// Methods of paths that are only read.
const READS: &str = "GET, HEAD";

/// Methods of a value.
const VALUE: &str = "GET, HEAD, PUT, DELETE";

/// Methods of a path that ends like an action: with all but `POST` it is that of a value whose key ends so.
const VALUE_OR_ACTION: &str = "GET, HEAD, PUT, DELETE, POST";

/// Every path with the methods it takes, as `Allow` lists them. An action on a value is what stands after the last slash
/// of a `POST`.
pub const ROUTES: &[(&str, &str)] = &[
    ("/v1/data/{key}", VALUE),
    ("/v1/data/{key}/take", "POST"),
    ("/v1/data/{key}/touch", "POST"),
    ("/v1/data/{key}/persist", "POST"),
    ("/v1/data/{key}/increment", "POST"),
    ("/v1/keys", READS),
    ("/v1/watch", READS),
    ("/v1/health", READS),
    ("/v1/status", READS),
    ("/v1/topology", READS),
    ("/v1/metrics", READS),
    ("/v1/openapi.json", READS),
    ("/v1/problems", READS),
    ("/v1/problems/{name}", READS),
    ("/data/{key}", VALUE),
    ("/raw/put", "POST"),
    ("/raw/get/{key}", READS),
    ("/health", READS),
    ("/status", READS),
    ("/metrics", READS),
    ("/metrics/json", READS),
    ("/metrics/human", READS),
];

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
        /// How often the value may be taken, where it may not be read.
        reads: Option<u32>,
    },
    /// To read a value that may only be taken, using up one read.
    Take {
        /// Which.
        key: Key,
    },
    /// To change how long a value lives.
    Touch {
        /// Which.
        key: Key,
        /// Lifetime in the query, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// To let a value live for ever.
    Persist {
        /// Which.
        key: Key,
    },
    /// To add to a value that is a number.
    Increment {
        /// Which.
        key: Key,
        /// What to add.
        by: i64,
        /// Lifetime in the query, in milliseconds.
        ttl_ms: Option<u64>,
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
    /// What happens to values, as it happens.
    Watch(Watch),
    /// The door's own description.
    OpenApi,
    /// What problems there are, or one of them.
    Problems(Option<&'static Problem>),
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

impl Asked {
    /// The value it is about, if it is about a single one that it names.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Asked::Get { key, .. }
            | Asked::Put { key, .. }
            | Asked::Take { key }
            | Asked::Touch { key, .. }
            | Asked::Persist { key }
            | Asked::Increment { key, .. }
            | Asked::Delete { key } => Some(key),
            _ => None,
        }
    }
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

/// What somebody watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Only these, if there are any.
    pub keys: Vec<Bytes>,
    /// After this.
    pub cursor: Option<Cursor>,
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
        reads(method)?;
        query::read(query, [])?;
        return Ok(Asked::Get { key: key(percent::decode(rest)?)?, as_json: true });
    }
    if path == "/raw/put" {
        if *method != Method::POST {
            return Err(Unroutable::Method { allow: "POST" });
        }
        query::read(query, [])?;
        return Ok(Asked::PutRaw);
    }
    let known = |name| problem::named(name).map(Some).ok_or(Unroutable::NoRoute);
    let asked = match path {
        "/v1/keys" => Asked::Keys(page(reads(method).map(|()| query)?)?),
        "/v1/watch" => Asked::Watch(watch(reads(method).map(|()| query)?)?),
        "/health" => Asked::Health { v1: false },
        "/v1/health" => Asked::Health { v1: true },
        "/status" => Asked::Status { v1: false },
        "/v1/status" => Asked::Status { v1: true },
        "/v1/topology" => Asked::Topology,
        "/v1/openapi.json" => Asked::OpenApi,
        "/v1/problems" => Asked::Problems(None),
        "/metrics" | "/v1/metrics" => Asked::Metrics(MetricsForm::Prometheus),
        "/metrics/json" => Asked::Metrics(MetricsForm::Json),
        "/metrics/human" => Asked::Metrics(MetricsForm::Human),
        _ => Asked::Problems(known(path.strip_prefix(problem::PATH).ok_or(Unroutable::NoRoute)?)?),
    };
    reads(method)?;
    if !matches!(asked, Asked::Keys(_) | Asked::Watch(_)) {
        query::read(query, [])?;
    }
    Ok(asked)
}

fn reads(method: &Method) -> Result<(), Unroutable> {
    let fits = *method == Method::GET || *method == Method::HEAD;
    if fits { Ok(()) } else { Err(Unroutable::Method { allow: READS }) }
}

fn value(method: &Method, rest: &str, query: Option<&str>, may_be_json: bool) -> Result<Asked, Unroutable> {
    let asked_key = || key(percent::decode(rest)?);
    match *method {
        Method::GET | Method::HEAD => {
            query::read(query, [])?;
            Ok(Asked::Get { key: asked_key()?, as_json: false })
        }
        Method::PUT if may_be_json => {
            let [ttl] = query::read(query, ["ttl"])?;
            Ok(Asked::Put { key: asked_key()?, ttl_ms: ttl_ms(ttl)?, may_be_json, reads: None })
        }
        Method::PUT => {
            let [ttl, reads] = query::read(query, ["ttl", "reads"])?;
            let reads = reads.map(|text| takes(&text)).transpose()?;
            Ok(Asked::Put { key: asked_key()?, ttl_ms: ttl_ms(ttl)?, may_be_json, reads })
        }
        Method::DELETE => {
            query::read(query, [])?;
            Ok(Asked::Delete { key: asked_key()? })
        }
        _ => match rest.rsplit_once('/').filter(|(_, action)| !may_be_json && ACTIONS.contains(action)) {
            Some((rest, action)) if *method == Method::POST => on_value(rest, action, query),
            Some(_) => Err(Unroutable::Method { allow: VALUE_OR_ACTION }),
            None => Err(Unroutable::Method { allow: VALUE }),
        },
    }
}

/// What can be done to a value by `POST`.
const ACTIONS: [&str; 4] = ["take", "touch", "persist", "increment"];

fn on_value(rest: &str, action: &str, query: Option<&str>) -> Result<Asked, Unroutable> {
    let asked_key = || key(percent::decode(rest)?);
    match action {
        "take" => {
            query::read(query, [])?;
            Ok(Asked::Take { key: asked_key()? })
        }
        "touch" => {
            let [ttl] = query::read(query, ["ttl"])?;
            Ok(Asked::Touch { key: asked_key()?, ttl_ms: ttl_ms(ttl)? })
        }
        "persist" => {
            query::read(query, [])?;
            Ok(Asked::Persist { key: asked_key()? })
        }
        _ => {
            let [by, ttl] = query::read(query, ["by", "ttl"])?;
            let by = by.map_or(Ok(1), |text| step(&text))?;
            Ok(Asked::Increment { key: asked_key()?, by, ttl_ms: ttl_ms(ttl)? })
        }
    }
}

fn ttl_ms(text: Option<Vec<u8>>) -> Result<Option<u64>, Bad> {
    text.map(|text| lifetime::parse(&String::from_utf8_lossy(&text))).transpose()
}

fn takes(text: &[u8]) -> Result<u32, Bad> {
    number(text)
        .filter(|reads| (1..=TAKES_MAX).contains(reads))
        .ok_or_else(|| Bad::new(format!("the parameter reads must be a whole number from 1 to {TAKES_MAX}")))
}

fn step(text: &[u8]) -> Result<i64, Bad> {
    whole(text)
        .ok_or_else(|| Bad::new("the parameter by must be a whole number of 64 bits, for instance 1 or -5"))
}

/// A whole number of 64 bits in decimal digits, as counters are stored: one way of writing each.
#[must_use]
pub fn whole(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn watch(query: Option<&str>) -> Result<Watch, Bad> {
    let ([prefix, cursor], keys) = query::read_with_list(query, ["prefix", "cursor"], "key")?;
    if prefix.is_some() && !keys.is_empty() {
        return Err(Bad::new("either prefix or key: a watch is of some keys or of all with a prefix"));
    }
    if keys.len() > WATCH_KEYS_MAX {
        return Err(Bad::new(format!("a watch is of at most {WATCH_KEYS_MAX} keys; watch their prefix")));
    }
    let keys = keys.into_iter().map(|bytes| Ok(key(bytes)?.to_bytes())).collect::<Result<_, Bad>>()?;
    let cursor = cursor.map(|text| Cursor::parse(&text)).transpose()?;
    Ok(Watch { prefix: prefix.unwrap_or_default().into(), keys, cursor })
}

fn page(query: Option<&str>) -> Result<Page, Bad> {
    let [prefix, limit, cursor] = query::read(query, ["prefix", "limit", "cursor"])?;
    let limit = match limit {
        None => PAGE_KEYS_DEFAULT,
        Some(text) => number(&text).filter(|limit| (1..=PAGE_KEYS_MAX).contains(limit)).ok_or_else(|| {
            Bad::new(format!("the parameter limit must be a number from 1 to {PAGE_KEYS_MAX}"))
        })?,
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
