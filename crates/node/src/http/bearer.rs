//! Who asks, where a token says so: `Authorization: Bearer larder_…`. What a connection showed last is remembered with what
//! it came to, so that most requests cost a comparison; a token that was revoked since, or whose time is up, is verified
//! anew and found to be none.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use larder_door::refusal::Limited;
use larder_door::{Caller, Refusal, Standing};
use parking_lot::Mutex;

use super::answer::{self, Answer};
use super::service::Shared;
use crate::config::RawAuth;
use crate::identity::Identity;

/// The scheme of RFC 6750. Schemes have no case.
const SCHEME: &[u8] = b"bearer ";

/// Who asks: with a certificate, with a token, or by leave of the door.
pub(super) struct Asker {
    pub(super) caller: Caller,
    /// `None` where the door lets in whoever reaches it.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Somebody who has to say who it is.
pub(super) enum Unknown {
    /// It showed no token.
    Silent,
    /// It showed one that is not good: words that say so.
    Wrong(String),
}

/// The token that a connection showed last, and who that is.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Option<Held>>);

impl Remembered {
    /// Forgets it unless it is still good; answers whether it was forgotten.
    pub(super) fn forget_unless(&self, holds: impl FnOnce(&Identity) -> bool) -> bool {
        let mut held = self.0.lock();
        let is_over = held.as_ref().is_some_and(|held| !holds(&held.identity));
        if is_over {
            *held = None;
        }
        is_over
    }
}

struct Held {
    /// The whole header, hashed: what is kept cannot be shown again, and compares in constant time.
    shown: blake3::Hash,
    identity: Arc<Identity>,
    standing: Standing,
    epoch: u64,
}

impl Shared {
    /// Who asks. `shown` is the header `Authorization`, if there is one.
    ///
    /// # Errors
    /// [`Unknown`], where this door lets in nobody whom it does not know.
    pub(super) fn asker(
        &self,
        caller: &Caller,
        identity: Option<&Arc<Identity>>,
        remembered: &Remembered,
        shown: Option<&[u8]>,
    ) -> Result<Asker, Unknown> {
        if identity.is_some() || self.config.auth != RawAuth::Token {
            return Ok(Asker { caller: caller.clone(), identity: identity.cloned() });
        }
        let shown = shown.ok_or(Unknown::Silent)?;
        let hash = blake3::hash(shown);
        let mut held = remembered.0.lock();
        if let Some(held) = held.as_ref()
            && held.shown == hash
            && held.epoch == self.tokens.epoch()
            && held.identity.not_after_ms > self.time.latest().ms()
        {
            let caller = Caller { address: caller.address, standing: held.standing.clone() };
            return Ok(Asker { caller, identity: Some(held.identity.clone()) });
        }
        // Before the token is looked up: one that is revoked meanwhile is looked up again.
        let epoch = self.tokens.epoch();
        let checked = match bearer(shown) {
            Some(token) => self.tokens.check(token, self.time.now()).map_err(|failure| failure.message),
            None => Err("the header Authorization must be: Bearer, a space, and a token".to_owned()),
        };
        let identity = match checked {
            Ok(identity) => Arc::new(identity),
            Err(words) => {
                *held = None;
                return Err(Unknown::Wrong(words));
            }
        };
        let caller = Caller::with_token(caller.address, identity.serial.as_str());
        let standing = caller.standing.clone();
        *held = Some(Held { shown: hash, identity: identity.clone(), standing, epoch });
        Ok(Asker { caller, identity: Some(identity) })
    }

    /// Counts somebody who has to say who it is, and says so; whoever shows too many wrong tokens has to wait.
    pub(super) fn challenge(&self, caller: &Caller, unknown: &Unknown) -> Answer {
        if let Unknown::Wrong(_) = unknown
            && let Err(retry_after) = self.tokens.failed(caller)
        {
            return self.refuse(Refusal::RateLimited { retry_after, of: Limited::Address });
        }
        let (detail, challenge) = match unknown {
            Unknown::Silent => (
                "this door wants a token: send the header Authorization: Bearer larder_… (larder token create makes one)",
                "Bearer realm=\"larder\"",
            ),
            Unknown::Wrong(words) => (words.as_str(), "Bearer realm=\"larder\", error=\"invalid_token\""),
        };
        let mut answer = answer::problem("unauthorized", detail);
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        answer
    }
}

/// The header that shows a token, unless it is there twice.
pub(super) fn header(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Some(one.as_bytes()),
        // Whichever were meant, the other one is no token.
        (Some(_), Some(_)) => Some(b"twice"),
        (None, _) => None,
    }
}

/// The token in a header.
fn bearer(shown: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = shown.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_has_no_case_and_everything_else_is_no_token() {
        assert_eq!(bearer(b"Bearer larder_x"), Some(&b"larder_x"[..]));
        assert_eq!(bearer(b"bearer  larder_x "), Some(&b"larder_x"[..]));
        for shown in [&b"Basic bGFyZGVy"[..], b"larder_x", b"Bearer", b"", b"twice"] {
            assert_eq!(bearer(shown), None);
        }
    }

    #[test]
    fn a_header_that_is_there_twice_is_no_token() {
        let mut headers = HeaderMap::new();
        assert_eq!(header(&headers), None);
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(header(&headers), Some(&b"Bearer a"[..]));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(header(&headers).and_then(bearer), None);
    }
}
