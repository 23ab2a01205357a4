//! Changing how long values live, and nothing else of them.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use larder_door::http::conditions::Conditions;
use larder_door::http::{Bad, lifetime};
use larder_format::namespace::{LifetimeRequest, Namespace};
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_wire::request::Ask;

use super::answer::{self, Answer};
use super::change::{Change, Unchanged};
use super::put::{Written, lifetime_bytes, ttl_header, unexpected};
use super::service::Shared;
use crate::identity::Identity;

/// What lifetime a value is to have from now on.
pub(super) enum NewLifetime {
    /// So many milliseconds; or else what the header says, or the namespace's default.
    Ttl(Option<u64>),
    /// No end.
    Never,
}

impl Shared {
    /// Gives a value another lifetime.
    pub(super) async fn touch(
        self: Arc<Self>,
        who: Option<Arc<Identity>>,
        key: Key,
        asked: NewLifetime,
        headers: HeaderMap,
    ) -> Answer {
        let (space, settings) = match self.space().and_then(|space| Ok((space, self.settings(space)?))) {
            Ok(asked) => asked,
            Err(failure) => return answer::failure(&failure),
        };
        let read = self.new_lifetime(&settings, &asked, &headers).and_then(|(lifetime, clamped)| {
            let named = self.named(&headers, &[b"touch", &lifetime_bytes(lifetime)])?;
            let conditions = Conditions::read(&headers)?;
            Ok((Change { who, space, key, conditions, named }, lifetime, clamped))
        });
        let (change, lifetime, clamped) = match read {
            Ok(read) => read,
            Err(bad) => return answer::bad(&bad.0),
        };
        match self.change(&change, |condition| Ask::Touch { condition, lifetime }).await {
            Ok(Outcome::Written { version, expiry }) => {
                let written = Written { version, expiry, clamped, also: None };
                let mut answer = self.written(StatusCode::OK, &change.key, written);
                answer::tag(answer.headers_mut(), version);
                answer
            }
            // Conditions are of no account where there is no value.
            Ok(Outcome::Absent) | Err(Unchanged::Condition(None)) => answer::absent(),
            Ok(other) => unexpected(&other),
            Err(unchanged) => change.answer(&unchanged),
        }
    }

    fn new_lifetime(
        &self,
        space: &Namespace,
        asked: &NewLifetime,
        headers: &HeaderMap,
    ) -> Result<(LifetimeRequest, bool), Bad> {
        match asked {
            NewLifetime::Ttl(ttl_ms) => self.lifetime(space, ttl_ms.or(ttl_header(headers)?)),
            NewLifetime::Never => match space.ttl_max_ms {
                None => Ok((LifetimeRequest::Never, false)),
                Some(max_ms) => Err(Bad(format!(
                    "every value here ends, after {} seconds at most: give it another lifetime with /touch",
                    lifetime::show(max_ms)
                ))),
            },
        }
    }
}
