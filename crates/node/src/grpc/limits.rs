//! How much may be asked over gRPC: calls beyond it are refused and told when to come back; operations in a stream that is
//! under way are taken as slowly as they may come, which its client notices as a stream that is full.

use std::sync::Arc;

use larder_door::{Caller, Limiter, Rates, Refusal};
use larder_wire::retry;
use tonic::{Code, Status};

use crate::metrics::Metrics;
use crate::time::NodeTime;

/// The door's limits, and where refusals are counted.
pub(crate) struct Limits {
    limiter: Limiter,
    time: Arc<NodeTime>,
    metrics: Arc<Metrics>,
}

impl Limits {
    /// Of this door.
    pub(crate) fn new(rates: Rates, time: Arc<NodeTime>, metrics: Arc<Metrics>) -> Self {
        Self { limiter: Limiter::new(rates), time, metrics }
    }

    /// Takes one request, or one connection, out of what the caller may ask; counts a refusal.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    pub(crate) fn take(&self, caller: &Caller) -> Result<(), Refusal> {
        self.limiter.take(caller, self.time.monotonic()).inspect_err(|refusal| self.refused(*refusal))
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.metrics.grpc.refused(refusal);
    }

    /// Waits until the caller may go on.
    pub(super) async fn pace(&self, caller: &Caller) {
        while let Err(Refusal::RateLimited { retry_after, .. }) =
            self.limiter.take(caller, self.time.monotonic())
        {
            tokio::time::sleep(retry_after).await;
        }
    }
}

/// A refusal as gRPC says it.
pub(super) fn status(refusal: Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::RateLimited { retry_after, .. } => retry::later(Code::ResourceExhausted, &text, retry_after),
        _ => Status::unavailable(text),
    }
}
