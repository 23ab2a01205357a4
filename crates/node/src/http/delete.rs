//! Deleting values.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use larder_door::http::conditions::Conditions;
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_wire::request::Ask;

use super::answer::{self, Answer};
use super::change::{Change, Unchanged};
use super::put::unexpected;
use super::service::Shared;
use crate::identity::Identity;

impl Shared {
    /// Deletes a value.
    pub(super) async fn delete(
        self: Arc<Self>,
        who: Option<Arc<Identity>>,
        key: Key,
        headers: HeaderMap,
    ) -> Answer {
        let space = match self.space() {
            Ok(space) => space,
            Err(failure) => return answer::failure(&failure),
        };
        let read = Conditions::read(&headers)
            .and_then(|conditions| Ok((conditions, self.named(&headers, &[b"delete"])?)));
        let (conditions, named) = match read {
            Ok(read) => read,
            Err(bad) => return answer::bad(&bad.0),
        };
        let change = Change { who, space, key, conditions, named };
        match self.change(&change, |condition| Ask::Delete { condition }).await {
            Ok(Outcome::Deleted { .. }) => answer::empty(StatusCode::NO_CONTENT),
            // Conditions are of no account where there is nothing to delete.
            Ok(Outcome::Absent) | Err(Unchanged::Condition(None)) => answer::absent(),
            Ok(other) => unexpected(&other),
            Err(unchanged) => change.answer(&unchanged),
        }
    }
}
