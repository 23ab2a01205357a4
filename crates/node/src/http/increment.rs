//! Counters: values that are whole numbers, written as decimal digits, as Redis has them.
//!
//! The sum is made here and written on the version that it was made from, so that no count is lost when several count at
//! once.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use larder_door::http::conditions::{Conditions, Verdict};
use larder_door::http::target;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::Key;
use larder_wire::request::{Ask, AskPut};
use serde_json::Value;

use super::answer::{self, Answer};
use super::change::{ATTEMPTS_MAX, Change, Unchanged};
use super::put::{Written, lifetime_bytes, ttl_header, unexpected};
use super::service::Shared;
use super::values;
use crate::identity::Identity;

/// What is asked: how much to add, and the lifetime in the query, in milliseconds.
pub(super) struct AddAsked {
    pub(super) by: i64,
    pub(super) ttl_ms: Option<u64>,
}

/// What to add, and until when the sum lives.
struct Step {
    by: i64,
    lifetime: LifetimeRequest,
    /// No lifetime was asked for: a value that is there keeps its end.
    keep: bool,
    clamped: bool,
}

impl Shared {
    /// Adds to a value.
    pub(super) async fn increment(
        self: Arc<Self>,
        who: Option<Arc<Identity>>,
        key: Key,
        asked: AddAsked,
        headers: HeaderMap,
    ) -> Answer {
        let (space, settings) = match self.space().and_then(|space| Ok((space, self.settings(space)?))) {
            Ok(asked) => asked,
            Err(failure) => return answer::failure(&failure),
        };
        let AddAsked { by, ttl_ms } = asked;
        let read = ttl_header(&headers).and_then(|in_header| {
            let ttl_ms = ttl_ms.or(in_header);
            let (lifetime, clamped) = self.lifetime(&settings, ttl_ms)?;
            let parts = [b"increment", &by.to_le_bytes()[..], &lifetime_bytes(lifetime)];
            let named = self.named(&headers, &parts)?;
            let conditions = Conditions::read(&headers)?;
            let step = Step { by, lifetime, keep: ttl_ms.is_none(), clamped };
            Ok((Change { who, space, key, conditions, named }, step))
        });
        match read {
            Ok((change, step)) => self.add(&change, &step).await,
            Err(bad) => answer::bad(&bad.0),
        }
    }

    async fn add(&self, change: &Change<'_>, step: &Step) -> Answer {
        for _ in 0..ATTEMPTS_MAX {
            let read = values::read(change.space.id, change.key.clone());
            let found = match self.registers.apply(read).await {
                Ok(Outcome::Found(found)) => Some(found),
                Ok(_) => None,
                Err(failure) => return change.answer(&Unchanged::Failure(failure)),
            };
            let current = found.as_ref().map(|found| found.version);
            let number = found.as_ref().map_or(Ok(0), counted);
            let sum = number.and_then(|number| number.checked_add(step.by).ok_or(NoSum::TooLarge));
            let holds = change.conditions.as_ref().is_none_or(|c| c.look(current) == Verdict::Hold);
            // Every version made from here on is above this.
            let before = self.time.now();
            let outcome = match &sum {
                Ok(sum) if holds => {
                    let condition = current.map_or(Condition::Absent, Condition::Version);
                    self.attempt(change, step.ask(condition, *sum)).await.map_err(Unchanged::from)
                }
                // An earlier attempt under this name may have made it so.
                _ => self.recall(change, |condition| step.ask(condition, 0), current).await,
            };
            return match outcome {
                Ok(Outcome::Conflict { .. }) => continue,
                Ok(Outcome::Written { version, expiry }) => {
                    let value = match sum {
                        Ok(sum) if version.0 > before => Value::from(sum),
                        // This request had been counted before; nothing was added now.
                        _ => found
                            .filter(|found| found.version == version)
                            .map_or(Value::Null, |found| shown(&found)),
                    };
                    let also = Some(("value", value));
                    let written = Written { version, expiry, clamped: step.clamped, also };
                    let mut answer = self.written(StatusCode::OK, &change.key, written);
                    answer::tag(answer.headers_mut(), version);
                    answer
                }
                Ok(other) => unexpected(&other),
                Err(Unchanged::Condition(_)) if holds => sum.err().map_or_else(answer::absent, NoSum::answer),
                Err(unchanged) => change.answer(&unchanged),
            };
        }
        change.answer(&Unchanged::Overtaken)
    }
}

impl Step {
    fn ask(&self, condition: Condition, sum: i64) -> Ask {
        Ask::Put(AskPut {
            condition,
            lifetime: self.lifetime,
            keep_lifetime: self.keep,
            body: Bytes::from(sum.to_string()),
            ..AskPut::default()
        })
    }
}

/// Why there is no sum.
#[derive(Clone, Copy)]
enum NoSum {
    /// The value may only be taken.
    OnlyTaken,
    /// It is no number.
    NoNumber,
    /// It would not fit.
    TooLarge,
}

impl NoSum {
    fn answer(self) -> Answer {
        match self {
            NoSum::OnlyTaken => answer::only_taken(),
            NoSum::NoNumber => {
                let detail = "the value is no whole number of 64 bits in decimal digits; nothing was changed";
                answer::problem("not_a_number", detail)
            }
            NoSum::TooLarge => {
                answer::problem("not_a_number", "the sum does not fit 64 bits; nothing was changed")
            }
        }
    }
}

/// The number that a value is.
fn counted(found: &Found) -> Result<i64, NoSum> {
    if found.takes_left.is_some() {
        return Err(NoSum::OnlyTaken);
    }
    target::whole(&found.body).ok_or(NoSum::NoNumber)
}

fn shown(found: &Found) -> Value {
    target::whole(&found.body).map_or(Value::Null, Value::from)
}
