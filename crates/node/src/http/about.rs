//! What the door says of the node: health, status, topology, keys, metrics.

use std::sync::Arc;

use http::StatusCode;
use larder_door::http::percent;
use larder_door::http::target::{MetricsForm, Page, show_cursor};
use larder_format::limits::KEY_LEN_MAX;
use larder_format::namespace::Class;
use larder_store::api::Want;
use serde_json::{Value, json};

use super::answer::{self, Answer};
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
        let ttl = self.space().ok().map(|space| (space.settings.ttl_default_ms, space.settings.ttl_max_ms));
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
    pub(super) async fn keys(self: Arc<Self>, page: Page) -> Answer {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return answer::failure(&failure),
        };
        let (mut keys, mut other) = (Vec::new(), Vec::new());
        let mut ask = ScanAsk {
            namespace: space.id,
            prefix: page.prefix,
            cursor: page.cursor,
            limit: page.limit,
            key_len_max: KEY_LEN_MAX,
            want: Want::Head,
        };
        let mut next = None;
        for _ in 0..SCANS_PER_PAGE_MAX {
            ask.limit = page.limit - keys.len() - other.len();
            let found = match self.registers.scan(&ask).await {
                Ok(found) => found,
                Err(failure) => return answer::failure(&failure),
            };
            for (key, _) in found.records {
                match std::str::from_utf8(key.as_bytes()) {
                    Ok(text) => keys.push(text.to_owned()),
                    Err(_) => other.push(percent::encode(key.as_bytes())),
                }
            }
            next = found.next;
            let Some(cursor) = next.clone().filter(|_| keys.len() + other.len() < page.limit) else { break };
            ask.cursor = cursor;
        }
        let mut document = json!({ "keys": keys, "next_cursor": next.map(|cursor| show_cursor(&cursor)) });
        if !other.is_empty() {
            document["keys_percent_encoded"] = other.into();
        }
        answer::json(StatusCode::OK, &document)
    }

    /// Metrics in one of their forms.
    pub(super) fn metrics(&self, form: MetricsForm) -> Answer {
        let report = self.sources.report();
        match form {
            MetricsForm::Prometheus => {
                answer::bytes(StatusCode::OK, prometheus::CONTENT_TYPE, report.prometheus())
            }
            MetricsForm::Json => answer::json(StatusCode::OK, &report.json()),
            MetricsForm::Human => answer::bytes(StatusCode::OK, "text/plain; charset=utf-8", report.human()),
        }
    }
}
