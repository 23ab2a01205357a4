//! Changing a value as a request's headers allow: only under its conditions, and only once under a name that the client
//! gave it.
//!
//! The register knows three conditions, and HTTP more. What one of the three says is asked in one go; for the rest the
//! version there is is looked at first, and the change is made on that version alone, again from the start if somebody
//! was quicker. The last word is the register's, so that nothing is lost between looking and changing.

use std::sync::Arc;

use http::HeaderMap;
use larder_door::http::conditions::{Conditions, Verdict};
use larder_door::http::{Bad, idempotency};
use larder_format::error::Kind;
use larder_format::ids::OperationId;
use larder_format::namespace::Class;
use larder_format::operation::{Condition, Identity as OperationIdentity, Outcome};
use larder_format::record::{Key, Version};
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, RecordRequest};

use super::answer::{self, Answer};
use super::service::{Shared, Space};
use crate::identity::Identity;

/// How often a change is begun anew because somebody else was quicker, before the client is told to come again.
pub(super) const ATTEMPTS_MAX: usize = 64;

/// How long to wait when the memory is full, in seconds: values expire.
const FULL_RETRY_AFTER_S: u64 = 10;

/// Which value is changed, when, and under which name.
pub(super) struct Change<'a> {
    /// Who changes it; `None` where the door lets in whoever reaches it.
    pub(super) who: Option<Arc<Identity>>,
    pub(super) space: &'a Space,
    pub(super) key: Key,
    pub(super) conditions: Option<Conditions>,
    pub(super) named: Option<OperationIdentity>,
}

/// Why a value was not changed.
pub(super) enum Unchanged {
    /// The conditions do not hold for what there is.
    Condition(Option<Version>),
    /// Whoever may only add found a value, put there since it was looked.
    Taken,
    /// Somebody else was quicker, each time.
    Overtaken,
    /// Anything else.
    Failure(Failure),
}

impl From<Failure> for Unchanged {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Change<'_> {
    /// What the register is asked.
    fn request(&self, ask: Ask) -> RecordRequest {
        RecordRequest { tag: 0, namespace: self.space.id, key: self.key.clone(), identity: self.named, ask }
    }

    /// Why nothing was changed, for the client.
    pub(super) fn answer(&self, unchanged: &Unchanged) -> Answer {
        match unchanged {
            Unchanged::Condition(current) => answer::precondition_failed(*current),
            Unchanged::Taken => {
                let detail = "somebody else has just put a value there, which adding alone may not replace";
                answer::problem("conflict", detail)
            }
            Unchanged::Overtaken => {
                let detail = "others change this value all the time; nothing was changed by this request";
                let mut answer = answer::problem("retry", detail);
                answer::retry_after(&mut answer, 1);
                answer
            }
            // The only conflict that is no outcome: the name was given to another request.
            Unchanged::Failure(failure) if failure.kind == Kind::Conflict => {
                answer::problem("idempotency_key_reused", &format!("Idempotency-Key: {}", failure.message))
            }
            Unchanged::Failure(failure) => {
                let mut answer = answer::failure(failure);
                if failure.kind == Kind::Full && self.space.settings.class == Class::Memory {
                    answer::retry_after(&mut answer, FULL_RETRY_AFTER_S);
                }
                answer
            }
        }
    }
}

impl Shared {
    /// Who a change says it is: the name that the client gave it, and what it asks, in parts.
    ///
    /// # Errors
    /// [`Bad`] for a name that is none.
    pub(super) fn named(
        &self,
        headers: &HeaderMap,
        parts: &[&[u8]],
    ) -> Result<Option<OperationIdentity>, Bad> {
        let name = idempotency::read(headers)?;
        Ok(name.map(|name| OperationIdentity {
            id: OperationId::named(&name, parts),
            deadline_ms: self.time.now().ms() + idempotency::REMEMBERED_MS,
        }))
    }

    /// Asks the register once.
    ///
    /// # Errors
    /// As the register has it.
    pub(super) async fn attempt(&self, change: &Change<'_>, ask: Ask) -> Result<Outcome, Failure> {
        let request = change.request(ask);
        match (&change.who, change.named) {
            (Some(who), Some(_)) => self.registers.apply_named_as(who, request).await,
            (Some(who), None) => self.registers.apply_as(who, request).await,
            (None, Some(_)) => self.registers.apply_named(request).await,
            (None, None) => self.registers.apply(request).await,
        }
    }

    /// Makes a change under its conditions.
    ///
    /// # Errors
    /// [`Unchanged`].
    pub(super) async fn change(
        &self,
        change: &Change<'_>,
        ask: impl Fn(Condition) -> Ask,
    ) -> Result<Outcome, Unchanged> {
        let one = match &change.conditions {
            None => Some(Condition::Any),
            Some(conditions) => conditions.as_one(),
        };
        if let Some(condition) = one {
            return match self.attempt(change, ask(condition)).await? {
                Outcome::Conflict { .. } if change.conditions.is_none() => Err(Unchanged::Taken),
                Outcome::Conflict { current } => Err(Unchanged::Condition(current)),
                outcome => Ok(outcome),
            };
        }
        for _ in 0..ATTEMPTS_MAX {
            let current = self.version(change).await?;
            let holds = change.conditions.as_ref().is_none_or(|c| c.look(current) == Verdict::Hold);
            let condition = match current {
                _ if !holds => return self.recall(change, ask, current).await,
                Some(version) => Condition::Version(version),
                None => Condition::Absent,
            };
            match self.attempt(change, ask(condition)).await? {
                Outcome::Conflict { .. } => {}
                outcome => return Ok(outcome),
            }
        }
        Err(Unchanged::Overtaken)
    }

    /// What came of an earlier attempt under the same name, after which the conditions of course do not hold any more.
    ///
    /// # Errors
    /// [`Unchanged::Condition`] if there was none.
    pub(super) async fn recall(
        &self,
        change: &Change<'_>,
        ask: impl Fn(Condition) -> Ask,
        current: Option<Version>,
    ) -> Result<Outcome, Unchanged> {
        if change.named.is_none() {
            return Err(Unchanged::Condition(current));
        }
        // No value has this version: a change that is not remembered is not made now.
        let never = Condition::Version(Version::from_u64(0));
        match self.attempt(change, ask(never)).await? {
            Outcome::Conflict { .. } | Outcome::Absent => Err(Unchanged::Condition(current)),
            outcome => Ok(outcome),
        }
    }

    /// The version of the value there is.
    async fn version(&self, change: &Change<'_>) -> Result<Option<Version>, Failure> {
        let ask = RecordRequest { identity: None, ..change.request(Ask::Get { head_only: true }) };
        Ok(match self.registers.apply(ask).await? {
            Outcome::Found(found) => Some(found.version),
            _ => None,
        })
    }
}
