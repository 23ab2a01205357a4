//! What a command on values answers instead of what was asked for, in the words that clients of Redis know.

use std::fmt;

use larder_door::resp::Verb;
use larder_door::resp::glob::TooMuch;
use larder_format::namespace::LifetimeError;
use larder_store::api::StoreError;

use crate::plain::{Denied, EXPIRY_MS_MAX};

/// Why a command did nothing.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Always the same words.
    Words(&'static str),
    /// Too few or too many arguments.
    Count(Verb),
    /// A lifetime of nothing, or one that no number holds.
    ExpireTime(Verb),
    /// An option of `EXPIRE` that there is not.
    Option(String),
    /// A pattern that would take too much.
    Pattern(TooMuch),
    /// The values refuse it.
    Denied(Verb, Denied),
    /// Several keys that could neither all be set nor all be put back as they were.
    Half {
        /// What was to set them.
        verb: Verb,
        /// How many were not put back.
        lost: usize,
        /// Why not all were set.
        why: Denied,
    },
    /// Several keys as one, where one node does not have all of each.
    NotAtomic(Verb),
}

/// Not how the command is written.
pub(super) const SYNTAX: Fault = Fault::Words("ERR syntax error");
/// Something else than a whole number of 64 bits.
pub(super) const NOT_AN_INTEGER: Fault = Fault::Words("ERR value is not an integer or out of range");
/// Something else than a number.
pub(super) const NOT_A_FLOAT: Fault = Fault::Words("ERR value is not a valid float");
/// No value where there must be one.
pub(super) const NO_SUCH_KEY: Fault = Fault::Words("ERR no such key");
/// A value would become longer than any may be.
pub(super) const STRING_TOO_LONG: Fault =
    Fault::Words("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

impl From<TooMuch> for Fault {
    fn from(why: TooMuch) -> Self {
        Fault::Pattern(why)
    }
}

/// For `map_err`: what the values refuse a command.
pub(super) fn denied<E: Into<Denied>>(verb: Verb) -> impl Fn(E) -> Fault {
    move |why| Fault::Denied(verb, why.into())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Words(words) => f.write_str(words),
            Fault::Count(verb) => write!(f, "ERR wrong number of arguments for '{}' command", verb.name()),
            Fault::ExpireTime(verb) => write!(f, "ERR invalid expire time in '{}' command", verb.name()),
            Fault::Pattern(why) => write!(f, "ERR {why}"),
            Fault::Option(option) => write!(f, "ERR Unsupported option {option}"),
            Fault::Denied(verb, why) => show_denied(f, *verb, why),
            Fault::Half { verb, lost, why } => {
                show_denied(f, *verb, why)?;
                write!(f, "; {lost} of the keys before it are set all the same, the others are as they were")
            }
            Fault::NotAtomic(verb) => write!(
                f,
                "ERR '{}' changes several keys as one, which needs a namespace that wants one replica; this one wants more",
                verb.name()
            ),
        }
    }
}

fn show_denied(f: &mut fmt::Formatter<'_>, verb: Verb, why: &Denied) -> fmt::Result {
    match why {
        Denied::NotPlain => f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value"),
        Denied::Lifetime(LifetimeError::NeedsEnd { max_ms }) => {
            write!(f, "ERR every value here must have a lifetime, of at most {max_ms} ms")
        }
        Denied::Lifetime(LifetimeError::TooLong { max_ms, .. }) => {
            let name = verb.name();
            write!(f, "ERR invalid expire time in '{name}' command: at most {max_ms} ms are allowed here")
        }
        Denied::Lifetime(LifetimeError::Past) | Denied::Refused(_) => {
            write!(f, "ERR invalid expire time in '{}' command", verb.name())
        }
        Denied::TooLate => write!(
            f,
            "ERR invalid expire time in '{}' command: no end is later than {EXPIRY_MS_MAX} ms since 1970",
            verb.name()
        ),
        Denied::Store(StoreError::Full { .. } | StoreError::Quota { .. }) => {
            write!(f, "OOM command not allowed when used memory > 'maxmemory': {why}")
        }
        Denied::TooLong { .. } | Denied::Key { .. } | Denied::Store(_) => write!(f, "ERR {why}"),
    }
}
