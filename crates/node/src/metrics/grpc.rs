//! Counts gRPC requests: a layer around the server that looks at the method and at the code of the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Code;
use tower::{Layer, Service};

use super::Metrics;
use crate::time::NodeTime;

/// Methods by `service.method`, and the rest (health, reflection, what does not exist).
pub(super) const METHODS: &[&str] = &[
    "records.apply",
    "records.apply_stream",
    "records.scan",
    "records.watch",
    "records.newest",
    "blobs.put",
    "blobs.get",
    "blobs.lease",
    "blobs.release",
    "node.status",
    "node.create_namespace",
    "node.list_namespaces",
    "node.set_namespace",
    "node.delete_namespace",
    "node.create_token",
    "node.list_tokens",
    "node.revoke_token",
    "node.collect",
    "node.scrub",
    "node.accept_damage",
    "node.set_quota",
    "node.usage",
    "node.upkeep",
    "other",
];

/// Codes by number, and whether they say that something is wrong with the node.
pub(super) const CODES: &[(&str, bool)] = &[
    ("ok", false),
    ("cancelled", false),
    ("unknown", true),
    ("invalid_argument", false),
    ("deadline_exceeded", true),
    ("not_found", false),
    ("already_exists", false),
    ("permission_denied", false),
    ("resource_exhausted", false),
    ("failed_precondition", false),
    ("aborted", false),
    ("out_of_range", false),
    ("unimplemented", false),
    ("internal", true),
    ("unavailable", true),
    ("data_loss", true),
    ("unauthenticated", false),
];

/// The method at a path such as `/larder.v1.Records/ApplyStream`.
fn method_at(path: &str) -> usize {
    let other = METHODS.len() - 1;
    let Some((service, method)) = path.strip_prefix("/larder.v1.").and_then(|rest| rest.split_once('/'))
    else {
        return other;
    };
    let same = |name: &&str| {
        let letters = |text: &str| {
            text.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect::<String>()
        };
        name.split_once('.')
            .is_some_and(|(s, m)| s.eq_ignore_ascii_case(service) && letters(m) == letters(method))
    };
    METHODS.iter().position(same).unwrap_or(other)
}

/// Wraps a gRPC server.
#[derive(Clone)]
pub(crate) struct CountLayer {
    /// Where to count.
    pub(crate) metrics: Arc<Metrics>,
    /// What to measure by.
    pub(crate) time: Arc<NodeTime>,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, layer: self.clone() }
    }
}

/// A gRPC server whose requests are counted.
#[derive(Clone)]
pub(crate) struct Counting<S> {
    inner: S,
    layer: CountLayer,
}

impl<S, B, R> Service<http::Request<B>> for Counting<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = method_at(request.uri().path());
        let CountLayer { metrics, time } = self.layer.clone();
        let began = time.monotonic();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let took = time.monotonic().saturating_sub(began);
            count(&metrics, method, answer.as_ref().ok(), took);
            answer
        })
    }
}

fn count<R>(metrics: &Metrics, method: usize, answer: Option<&http::Response<R>>, took: Duration) {
    // An error without a body has its code here; what a stream ends with is told in the stream.
    let code = match answer {
        Some(answer) => {
            answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
        }
        None => Code::Internal,
    };
    metrics.grpc.request(method, code as usize, took);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every method of the protocol is counted by name.
    #[test]
    fn the_table_has_every_method_of_the_protocol() {
        let proto = include_str!("../../../wire/proto/larder/v1/larder.proto");
        let mut service = "";
        let mut seen = 0;
        for line in proto.lines().map(str::trim_start) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split([' ', '{']).next().unwrap();
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                let method = rest.split('(').next().unwrap();
                let at = method_at(&format!("/larder.v1.{service}/{method}"));
                assert_ne!(METHODS[at], "other", "{service}/{method} is not in the table");
                seen += 1;
            }
        }
        assert_eq!(seen, METHODS.len() - 1, "the table has a method that is not there");
        assert_eq!(METHODS[method_at("/grpc.health.v1.Health/Check")], "other");
        assert_eq!(METHODS[method_at("/larder.v1.Records/Apply")], "records.apply");
    }

    #[test]
    fn codes_are_at_their_numbers() {
        for (code, name) in
            [(Code::Ok, "ok"), (Code::Internal, "internal"), (Code::Unauthenticated, "unauthenticated")]
        {
            assert_eq!(CODES[code as usize].0, name);
        }
    }
}
