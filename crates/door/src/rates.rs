//! How much each caller may ask of a door: an address of strangers, all strangers together, a certificate or token. One
//! [`Limiter`] a door; what is not limited costs nothing.
//!
//! Strangers together have a bucket of their own, so that very many of them cannot use up what certificates, tokens and
//! programs of this machine have. A stranger beyond its own limit takes nothing from the others'.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::bucket::{Bucket, Buckets, Passed, Rate};
use crate::caller::{Caller, Standing};
use crate::refusal::{Limited, Refusal};

/// What a door allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// One address of strangers (IPv6: one /64).
    pub address: Rate,
    /// All strangers together.
    pub total: Rate,
    /// One certificate, by its name, or one token, by its id.
    pub identity: Rate,
    /// The limits of strangers hold for programs of this machine, certificates and tokens, too.
    pub for_all: bool,
}

impl Rates {
    /// No limit for anybody.
    pub const NONE: Self =
        Self { address: Rate::NONE, total: Rate::NONE, identity: Rate::NONE, for_all: false };
}

/// How many of the requests that came at once pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// So many, counted from the first.
    pub count: u32,
    /// What is said to the others; `None` if all pass.
    pub refused: Option<Refusal>,
}

/// A door's buckets.
pub struct Limiter {
    addresses: Option<Buckets>,
    total: Option<Bucket>,
    identities: Option<Buckets>,
    for_all: bool,
    hasher: RandomState,
}

impl Limiter {
    /// Full buckets.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self {
            addresses: Buckets::new(rates.address),
            total: Bucket::new(rates.total),
            identities: Buckets::new(rates.identity),
            for_all: rates.for_all,
            hasher: RandomState::new(),
        }
    }

    /// Takes one request out of what the caller may ask. `now` is time since some fixed moment.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] says whose limit is reached, and how long to wait.
    pub fn take(&self, caller: &Caller, now: Duration) -> Result<(), Refusal> {
        self.take_up_to(caller, 1, now).refused.map_or(Ok(()), Err)
    }

    /// Takes a handshake out of what the caller's address may ask. What all strangers share is left alone: who turns out to be
    /// known after it must not depend on what a crowd has asked.
    ///
    /// # Errors
    /// As [`Limiter::take`].
    pub fn take_handshake(&self, caller: &Caller, now: Duration) -> Result<(), Refusal> {
        let counts = self.for_all || matches!(caller.standing, Standing::Proxy | Standing::Stranger);
        let Some(addresses) = self.addresses.as_ref().filter(|_| counts) else { return Ok(()) };
        match addresses.take(caller.network().to_u64(), 1, now).retry_after {
            Some(retry_after) => Err(Refusal::RateLimited { retry_after, of: Limited::Address }),
            None => Ok(()),
        }
    }

    /// Takes up to this many requests, which came at once, out of what the caller may ask.
    pub fn take_up_to(&self, caller: &Caller, wanted: u32, now: Duration) -> Granted {
        let mut granted = Granted { count: wanted, refused: None };
        let name = match &caller.standing {
            Standing::Certificate(name) => Some((0, name)),
            Standing::Token(id) => Some((1, id)),
            Standing::Loopback | Standing::Proxy | Standing::Stranger => None,
        };
        if let (Some(name), Some(identities)) = (name, &self.identities) {
            let whose = self.hasher.hash_one(name);
            granted.less(identities.take(whose, granted.count, now), Limited::Identity);
        }
        if self.for_all || matches!(caller.standing, Standing::Proxy | Standing::Stranger) {
            if let Some(addresses) = &self.addresses {
                let whose = caller.network().to_u64();
                granted.less(addresses.take(whose, granted.count, now), Limited::Address);
            }
            if let Some(total) = &self.total {
                granted.less(total.take(granted.count, now), Limited::Total);
            }
        }
        granted
    }
}

impl Granted {
    /// What another bucket says. The last to say no is told: where nothing was wanted any more, nothing is refused.
    fn less(&mut self, passed: Passed, of: Limited) {
        self.count = passed.count;
        if let Some(retry_after) = passed.retry_after {
            self.refused = Some(Refusal::RateLimited { retry_after, of });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate { per_second, burst }
    }

    fn stranger(number: u8) -> Caller {
        Caller::at([192, 0, 2, number].into())
    }

    fn of(limiter: &Limiter, caller: &Caller) -> Option<Limited> {
        match limiter.take(caller, NOW) {
            Ok(()) => None,
            Err(Refusal::RateLimited { of, .. }) => Some(of),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn strangers_share_what_others_do_not_depend_on() {
        let rates = Rates { address: rate(1, 2), total: rate(1, 3), identity: rate(1, 5), for_all: false };
        let limiter = Limiter::new(rates);
        assert_eq!(of(&limiter, &stranger(1)), None);
        assert_eq!(of(&limiter, &stranger(1)), None);
        for _ in 0..9 {
            assert_eq!(of(&limiter, &stranger(1)), Some(Limited::Address));
        }
        assert_eq!(of(&limiter, &stranger(2)), None, "what was refused took nothing of what all share");
        assert_eq!(of(&limiter, &stranger(2)), Some(Limited::Total));
        assert_eq!(limiter.take_handshake(&stranger(3), NOW), Ok(()), "who knows who it is");
        assert!(limiter.take_handshake(&stranger(1), NOW).is_err());
        let address = [192, 0, 2, 1].into();
        let known = [Caller::with_certificate(address, "a"), Caller::with_token(address, "a")];
        for caller in &known {
            let granted = limiter.take_up_to(caller, 9, NOW);
            assert_eq!(granted.count, 5, "each for itself, and not for its address");
            assert!(matches!(granted.refused, Some(Refusal::RateLimited { of: Limited::Identity, .. })));
        }
        let local = Caller::at([127, 0, 0, 1].into());
        assert!((0..99).all(|_| of(&limiter, &local).is_none()));
        assert_eq!(of(&limiter, &Caller::behind_proxy([127, 0, 0, 1].into())), Some(Limited::Total));
    }

    #[test]
    fn for_all_is_for_all() {
        let rates = Rates { address: rate(1, 1), for_all: true, ..Rates::NONE };
        let limiter = Limiter::new(rates);
        for caller in
            [Caller::at([127, 0, 0, 1].into()), Caller::with_certificate([192, 0, 2, 1].into(), "a")]
        {
            assert_eq!(of(&limiter, &caller), None);
            assert_eq!(of(&limiter, &caller), Some(Limited::Address));
        }
        let known = Caller::with_token([192, 0, 2, 9].into(), "t");
        assert_eq!((of(&limiter, &known), of(&limiter, &known)), (None, Some(Limited::Address)));
        // A trusted proxy that says nothing pays for its handshakes as a stranger does, and nobody else but strangers.
        let limiter = Limiter::new(Rates { address: rate(1, 1), ..Rates::NONE });
        let proxy = Caller::proxy([192, 0, 2, 5].into());
        assert!(limiter.take_handshake(&proxy, NOW).is_ok() && limiter.take_handshake(&proxy, NOW).is_err());
        let local = Caller::at([127, 0, 0, 1].into());
        assert!((0..9).all(|_| limiter.take_handshake(&local, NOW).is_ok()));
        let none = Limiter::new(Rates::NONE);
        assert_eq!(none.take_up_to(&stranger(1), 1_000, NOW), Granted { count: 1_000, refused: None });
    }
}
