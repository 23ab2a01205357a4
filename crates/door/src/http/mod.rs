//! The HTTP door's requests and answers as plain data. What is here never blocks a lawful key: any bytes may be a
//! key, and only what no route takes is looked at with suspicion.
//!
//! [`plain`] reads the most frequent request without more ado, [`lines`] looks at what decoding drops. [`target`] says what is asked ([`percent`], [`query`],
//! [`lifetime`], [`forms`] read its parts), [`conditions`], [`ranges`] and [`idempotency`] what its headers add;
//! [`origin`] keeps other sites' pages out; [`suspicion`] tells probes from slips; [`problem`], [`headers`] and [`events`]
//! are for answers; [`openapi`] describes it all; [`limits`] has every number.

pub mod conditions;
pub mod events;
pub mod forms;
pub mod headers;
pub mod idempotency;
pub mod lifetime;
pub mod limits;
pub mod lines;
pub mod openapi;
pub mod origin;
pub mod percent;
pub mod plain;
pub mod problem;
pub mod query;
pub mod ranges;
pub mod suspicion;
pub mod target;

/// What is wrong with a request, in words that say what to do: lower-case, without a full stop. They do not begin with a name
/// that has to be written as it is (`ttl`): answers make sentences of them, with a first capital.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Bad(pub String);

impl Bad {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}
