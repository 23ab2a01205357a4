//! What clients asked and were told: all that the checker may look at.

use std::fmt::Write as _;

use larder_format::operation::{Condition, Found, Identity, Lifetime, Operation, Outcome};
use larder_format::record::{Expiry, Version};
use larder_mesh::proposer::Failure;

use super::plan::EPOCH_MS;

/// One request of a client. A retry under the same operation id is a request of its own.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asked.
    pub client: u8,
    /// Which proposer was asked.
    pub node: u8,
    /// On which key.
    pub key: u8,
    /// What.
    pub operation: Operation,
    /// The operation's id as the client means it.
    pub identity: Option<Identity>,
    /// Whether the read was to be confirmed by writing back.
    pub confirm: bool,
    /// When, in microseconds of true time since the run began.
    pub invoked_us: u64,
    /// When the answer came, in microseconds; `None`: the client gave up waiting.
    pub returned_us: Option<u64>,
    /// The answer.
    pub answer: Option<Result<Outcome, Failure>>,
}

impl Call {
    /// The outcome, if the client knows it.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.answer.as_ref().and_then(|a| a.as_ref().ok())
    }

    /// Whether nothing was changed for certain although there is no outcome.
    #[must_use]
    pub fn is_void(&self) -> bool {
        matches!(self.answer, Some(Err(Failure::Unavailable)))
    }
}

/// A time for people: milliseconds since the run began.
fn since(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_sub(i64::try_from(EPOCH_MS).unwrap_or(0))
}

fn expiry(e: Expiry) -> String {
    e.ms().map_or("never".to_owned(), |ms| format!("{}ms", since(ms)))
}

fn version(v: Version) -> String {
    format!("{}.{}", since(v.0.ms()), v.to_u64() & 0xffff)
}

fn condition(c: Condition) -> String {
    match c {
        Condition::Any => String::new(),
        Condition::Absent => " if-absent".to_owned(),
        Condition::Version(v) => format!(" if-version={}", version(v)),
    }
}

/// Names a body: the number of the call that put it.
#[must_use]
pub fn body_name(body: &[u8]) -> String {
    match body.try_into() {
        Ok(word) => format!("#{}", u32::from_le_bytes(word)),
        Err(_) if body.is_empty() => "nothing".to_owned(),
        Err(_) => format!("{body:?}"),
    }
}

/// An operation for people.
#[must_use]
pub fn operation_text(operation: &Operation) -> String {
    match operation {
        Operation::Get => "get".to_owned(),
        Operation::Put(put) => {
            let mut text = format!("put {}", body_name(&put.body));
            let _ = match put.lifetime {
                Lifetime::Until(e) => write!(text, " until={}", expiry(e)),
                Lifetime::Keep(e) => write!(text, " keep-or-until={}", expiry(e)),
            };
            if let Some(n) = put.takes {
                let _ = write!(text, " takes={n}");
            }
            if let Some(ms) = put.not_after_ms {
                let _ = write!(text, " not-after={}ms", since(ms));
            }
            text + &condition(put.condition)
        }
        Operation::Touch { condition: c, expiry: e } => {
            format!("touch until={}{}", expiry(*e), condition(*c))
        }
        Operation::Delete { condition: c } => format!("delete{}", condition(*c)),
        Operation::Take => "take".to_owned(),
    }
}

/// An outcome for people.
#[must_use]
pub fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Found(Found { version: v, expiry: e, takes_left, body, .. }) => {
            let takes = takes_left.map_or(String::new(), |n| format!(" takes-left={n}"));
            format!("found {} version={} until={}{takes}", body_name(body), version(*v), expiry(*e))
        }
        Outcome::Absent => "absent".to_owned(),
        Outcome::Written { version: v, expiry: e } => {
            format!("written version={} until={}", version(*v), expiry(*e))
        }
        Outcome::Deleted { version: v } => format!("deleted version={}", version(*v)),
        Outcome::Taken { version: v, takes_left, body, .. } => {
            format!("taken {} version={} takes-left={takes_left}", body_name(body), version(*v))
        }
        Outcome::Conflict { current: None } => "conflict: nothing there".to_owned(),
        Outcome::Conflict { current: Some(v) } => format!("conflict: version={}", version(*v)),
        Outcome::Refused(refusal) => format!("refused: {refusal:?}"),
    }
}

/// One call for people, on one line.
#[must_use]
pub fn call_text(index: usize, call: &Call) -> String {
    let answer = match &call.answer {
        None => "no answer".to_owned(),
        Some(Ok(outcome)) => outcome_text(outcome),
        Some(Err(failure)) => format!("{failure:?}").to_lowercase(),
    };
    let id = call.identity.map_or(String::new(), |i| {
        format!(" id={:02x}{:02x} deadline={}ms", i.id.0[0], i.id.0[1], since(i.deadline_ms))
    });
    let until = call.returned_us.map_or("      ?".to_owned(), |us| format!("{:7.1}", us as f64 / 1000.0));
    format!(
        "{:7.1} – {until}  #{index:<3} client {} → node {}  key {}  {}{}{id}  ⇒ {answer}",
        call.invoked_us as f64 / 1000.0,
        call.client,
        call.node,
        call.key,
        operation_text(&call.operation),
        if call.confirm { " confirmed" } else { "" },
    )
}

/// All calls on one key for people, in the order they were asked. Times are milliseconds since the run began.
#[must_use]
pub fn text(calls: &[Call], key: Option<u8>) -> String {
    let mut lines: Vec<_> =
        calls.iter().enumerate().filter(|(_, c)| key.is_none_or(|k| c.key == k)).collect();
    lines.sort_by_key(|(i, c)| (c.invoked_us, *i));
    lines.into_iter().map(|(i, c)| call_text(i, c) + "\n").collect()
}
