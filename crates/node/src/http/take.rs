//! Taking values: those that are gone once they were read as often as they may be. Only a `POST` takes, so that neither a
//! link's preview nor a browser that looks ahead uses a read up.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use larder_door::http::Bad;
use larder_door::http::conditions::Conditions;
use larder_door::http::headers::X_READS_LEFT;
use larder_format::error::Kind;
use larder_format::operation::{Identity as OperationIdentity, Outcome};
use larder_format::record::{Expiry, Key};
use larder_wire::request::Ask;

use super::answer::{self, Answer};
use super::change::{Change, Unchanged};
use super::put::unexpected;
use super::service::Shared;
use crate::identity::Identity;

impl Shared {
    /// Takes a value.
    pub(super) async fn take(
        self: Arc<Self>,
        who: Option<Arc<Identity>>,
        key: Key,
        headers: HeaderMap,
    ) -> Answer {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return answer::failure(&failure),
        };
        let named = match self.taker(&headers) {
            Ok(named) => named,
            Err(bad) => return answer::bad(&bad.0),
        };
        let change = Change { who, space, key, conditions: None, named };
        match self.attempt(&change, Ask::Take).await {
            Ok(Outcome::Taken { expiry, takes_left, body, .. }) => self.taken(body, takes_left, expiry),
            Ok(Outcome::Absent) => answer::absent(),
            Ok(other) => unexpected(&other),
            // All else about a request to take is right by the time that the register sees it.
            Err(failure) if failure.kind == Kind::Invalid => {
                answer::problem("not_takeable", "this value cannot be taken: read it instead")
            }
            Err(failure) => change.answer(&Unchanged::Failure(failure)),
        }
    }

    fn taker(&self, headers: &HeaderMap) -> Result<Option<OperationIdentity>, Bad> {
        if Conditions::read(headers)?.is_some() {
            return Err(Bad::new(
                "a value is taken without conditions: leave If-Match and If-None-Match out",
            ));
        }
        self.named(headers, &[b"take"])
    }

    fn taken(&self, body: Bytes, takes_left: u32, expiry: Expiry) -> Answer {
        let mut answer = answer::bytes(StatusCode::OK, "application/octet-stream", body);
        answer.headers_mut().insert(X_READS_LEFT, HeaderValue::from(takes_left));
        self.remaining_header(answer.headers_mut(), expiry);
        answer
    }
}
