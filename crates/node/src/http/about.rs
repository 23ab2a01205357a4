//! What the door says of the node: health, status, topology, keys, metrics.

use std::sync::Arc;

use http::StatusCode;
use larder_door::Caller;
use larder_door::http::limits::{BODIES_WAIT_MAX, PAGE_BYTES_MAX};
use larder_door::http::percent;
use larder_door::http::target::{MetricsForm, Page, show_cursor};
use larder_format::ids::NamespaceId;
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::Class;
use larder_store::api::Want;
use larder_wire::answer::Failure;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::content::{Content, escaped_len};
use super::service::Shared;
use super::values::moment;
use crate::metrics::{prometheus, resident_bytes};
use crate::registers::ScanAsk;

/// What the originals call the group of nodes that hold data together. This node is alone in it.
const ENCLAVE: &str = "default";

/// What the originals call a network that strangers cannot join.
const NETWORK: &str = "private";

/// Pages of a scan read for one page of keys, so that expired ones among them do not make it empty. Each holds the
/// locks of the table for a moment.
const SCANS_PER_PAGE_MAX: usize = 8;

/// Memory set aside for a page of keys while it is built: its keys, its cursor and the form around them.
const PAGE_ROOM: usize = PAGE_BYTES_MAX + 16 * 1024;

/// Memory set aside for metrics while they are built: a few times what they take.
const METRICS_ROOM: usize = 512 * 1024;

impl Shared {
    /// Whether the node serves. Nothing but this decides a restart, so it is cheap and says yes as long as requests
    /// can succeed.
    pub(super) fn health(&self, v1: bool) -> Answer {
        let reason = self.health.look().closed_reason;
        let serves = reason.is_empty();
        let (status, word) =
            if serves { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "closed") };
        let mut document = json!({ "status": word, "uptime_seconds": self.time.monotonic().as_secs() });
        if v1 {
            document["node_id"] = self.node_id.to_string().into();
            document["network"] = NETWORK.into();
            document["enclave"] = ENCLAVE.into();
        }
        if !serves {
            document["reason"] = reason.into();
        }
        answer::json(status, &document)
    }

    /// How the node is.
    pub(super) fn status(&self, v1: bool) -> Answer {
        let health = self.health.look();
        let memory = self.registers.table(Class::Memory).usage();
        let word = if health.closed_reason.is_empty() { "healthy" } else { "closed" };
        let mut document = json!({
            "status": word,
            "node_id": self.node_id.to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.time.monotonic().as_secs(),
            "time": moment(self.time.now()),
            "memory": {
                "resident_bytes": resident_bytes(),
                "values": memory.records,
                "values_bytes": memory.payload_bytes,
                "accounted_bytes": memory.accounted_bytes,
                "cap_bytes": memory.cap_bytes,
            },
            "limits": self.limits(),
            "damage": health.damage,
        });
        if v1 {
            document["network"] = NETWORK.into();
            document["enclave"] = ENCLAVE.into();
            document["peers"] = 0.into();
        }
        answer::json(StatusCode::OK, &document)
    }

    fn limits(&self) -> Value {
        let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1000.0);
        let settings = self.space().and_then(|space| self.settings(space)).ok();
        let ttl = settings.map(|settings| (settings.ttl_default_ms, settings.ttl_max_ms));
        let (default, max) = ttl.unwrap_or_default();
        json!({
            "value_bytes_max": self.config.value_len_max,
            "key_bytes_max": KEY_LEN_MAX,
            "ttl_default_seconds": seconds(default),
            "ttl_max_seconds": seconds(max),
        })
    }

    /// Who is there: this node alone.
    pub(super) fn topology(&self) -> Answer {
        let document = json!({ "node_id": self.node_id.to_string(), "enclave": ENCLAVE, "peers": [] });
        answer::json(StatusCode::OK, &document)
    }

    /// One page of keys, in the order of the namespace. Keys that are not text come percent-encoded in a list of their
    /// own.
    pub(super) async fn keys(self: Arc<Self>, caller: Caller, page: Page) -> Answer {
        let space = match self.space() {
            Ok(space) => space.id,
            Err(failure) => return answer::failure(&failure),
        };
        let share = match self.answers.take(&caller, PAGE_ROOM, BODIES_WAIT_MAX).await {
            Ok(share) => share,
            Err(refusal) => return self.refuse(refusal),
        };
        match self.page(space, page).await {
            Ok(document) => {
                let body = Content::held(format!("{document}\n").into_bytes(), share);
                answer::content(StatusCode::OK, "application/json", body)
            }
            Err(failure) => answer::failure(&failure),
        }
    }

    async fn page(&self, namespace: NamespaceId, page: Page) -> Result<Value, Failure> {
        let (mut keys, mut other) = (Vec::new(), Vec::new());
        let mut ask = ScanAsk {
            namespace,
            prefix: page.prefix,
            cursor: page.cursor,
            limit: page.limit,
            key_len_max: KEY_LEN_MAX,
            want: Want::Head,
        };
        let (mut next, mut left, mut scans) = (None, PAGE_BYTES_MAX, 0);
        while scans < SCANS_PER_PAGE_MAX {
            let found = self.registers.scan(&ask).await?;
            let len = found.records.iter().map(|(key, _)| shown_len(key.as_bytes())).sum::<usize>();
            if len > left {
                // Where a page is cut only a scan can say. A single key fits.
                next = Some(ask.cursor.clone());
                if !keys.is_empty() || !other.is_empty() {
                    break;
                }
                ask.limit = (ask.limit / 2).min(ask.limit * left / len).max(1);
                continue;
            }
            (left, scans) = (left - len, scans + 1);
            for (key, _) in found.records {
                match std::str::from_utf8(key.as_bytes()) {
                    Ok(text) => keys.push(text.to_owned()),
                    Err(_) => other.push(percent::encode(key.as_bytes())),
                }
            }
            next = found.next;
            let room = page.limit - keys.len() - other.len();
            let Some(cursor) = next.clone().filter(|_| room > 0) else { break };
            ask.limit = room;
            ask.cursor = cursor;
        }
        let mut document = json!({ "keys": keys, "next_cursor": next.map(|cursor| show_cursor(&cursor)) });
        if !other.is_empty() {
            document["keys_percent_encoded"] = other.into();
        }
        Ok(document)
    }

    /// Metrics in one of their forms.
    pub(super) async fn metrics(self: Arc<Self>, caller: Caller, form: MetricsForm) -> Answer {
        let share = match self.answers.take(&caller, METRICS_ROOM, BODIES_WAIT_MAX).await {
            Ok(share) => share,
            Err(refusal) => return self.refuse(refusal),
        };
        let report = self.sources.report();
        let (content_type, text) = match form {
            MetricsForm::Prometheus => (prometheus::CONTENT_TYPE, report.prometheus()),
            MetricsForm::Json => ("application/json", format!("{}\n", report.json())),
            MetricsForm::Human => ("text/plain; charset=utf-8", report.human()),
        };
        answer::content(StatusCode::OK, content_type, Content::held(text.into_bytes(), share))
    }
}

/// How long a key is in a page, at most: as text or percent-encoded, with what is around it.
fn shown_len(key: &[u8]) -> usize {
    let escaped: usize = key.iter().map(|byte| escaped_len(*byte)).sum();
    escaped.max(if key.is_ascii() { 0 } else { key.len() * 3 }) + 3
}
