//! Bytes that connections hold between requests: so many in all, and of these a part for each who holds them, so that
//! whoever is slow, or means harm, is in the way of itself first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_door::Caller;
use larder_door::caller::{Network, Standing};
use parking_lot::Mutex;

/// Of a number of bytes, one caller has at most one in so many.
const PART_OF_ONE: usize = 2;

/// All who have not said who they are have together at most one in so many: what they need to say it is not even counted.
const PART_OF_UNKNOWN: usize = 8;

/// A number of bytes that all connections share.
pub(super) struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }

    /// Takes so many instead of so many; `false`, and nothing is taken, if there are not so many.
    pub(super) fn change(&self, from: usize, to: usize) -> bool {
        if to <= from {
            self.held.fetch_sub(from - to, Ordering::Relaxed);
            return true;
        }
        let before = self.held.fetch_add(to - from, Ordering::Relaxed);
        if before + (to - from) > self.max {
            self.held.fetch_sub(to - from, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// Who holds bytes, as they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    /// Those who have yet to say who they are.
    Unknown,
    /// Programs of this machine: nothing tells them apart.
    Machine,
    /// Strangers of one network, where nobody is asked who it is.
    Network(Network),
    /// A certificate or a token.
    Known(Standing),
}

impl Whose {
    /// Of this caller, who may have to say first who it is.
    fn of(caller: &Caller, is_unknown: bool) -> Self {
        match &caller.standing {
            _ if is_unknown => Whose::Unknown,
            Standing::Loopback => Whose::Machine,
            Standing::Proxy | Standing::Stranger => Whose::Network(caller.network()),
            known @ (Standing::Certificate(_) | Standing::Token(_)) => Whose::Known(known.clone()),
        }
    }

    fn part(&self, max: usize) -> usize {
        match self {
            Whose::Unknown => max / PART_OF_UNKNOWN,
            Whose::Machine => max,
            Whose::Network(_) | Whose::Known(_) => max / PART_OF_ONE,
        }
    }
}

/// A number of bytes that all connections share, and nobody has alone.
pub(super) struct Shares {
    all: Budget,
    /// Of those who hold some: never more than there are connections.
    each: Mutex<HashMap<Whose, usize>>,
}

impl Shares {
    pub(super) fn new(max: usize) -> Self {
        Self { all: Budget::new(max), each: Mutex::default() }
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.all.held()
    }

    fn change(&self, whose: &Whose, from: usize, to: usize) -> bool {
        let mut each = self.each.lock();
        let own = each.get(whose).copied().unwrap_or(0).saturating_sub(from) + to;
        if to > from && own > whose.part(self.all.max) || !self.all.change(from, to) {
            return false;
        }
        if own == 0 {
            each.remove(whose);
        } else {
            each.insert(whose.clone(), own);
        }
        true
    }
}

/// What one connection has of a number of bytes; nothing at first.
#[derive(Default)]
pub(super) struct Holding {
    bytes: usize,
    whose: Option<Whose>,
}

impl Holding {
    /// Bytes it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has so many from now on, as this caller, who may be unknown. `false`: there are not so many, and it has what it had, or
    /// nothing if the caller has become another one.
    pub(super) fn change(
        &mut self,
        shares: &Shares,
        (caller, is_unknown): (&Caller, bool),
        bytes: usize,
    ) -> bool {
        // Nearly every connection, nearly always.
        if bytes == 0 && self.bytes == 0 {
            return true;
        }
        let whose = Whose::of(caller, is_unknown);
        if self.whose.as_ref() != Some(&whose) {
            self.end(shares);
        } else if self.bytes == bytes {
            return true;
        }
        let has = shares.change(&whose, self.bytes, bytes);
        if has {
            (self.bytes, self.whose) = (bytes, Some(whose));
        }
        has
    }

    /// Gives back all of it.
    pub(super) fn end(&mut self, shares: &Shares) {
        if let Some(whose) = self.whose.take() {
            shares.change(&whose, self.bytes, 0);
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use larder_door::Caller;

    use super::*;

    #[test]
    fn nobody_has_all_of_it_but_this_machine() {
        let shares = Shares::new(64);
        let at = |last: u8| Network::of(IpAddr::from([192, 0, 2, last]));
        let token = Caller::with_token([192, 0, 2, 1].into(), "t").standing;
        let (known, unknown) = (Whose::Known(token), Whose::Unknown);
        assert!(shares.change(&unknown, 0, 8) && !shares.change(&unknown, 0, 1), "an eighth");
        assert!(shares.change(&known, 0, 32) && !shares.change(&known, 32, 33), "a half");
        assert_eq!(shares.held(), 40, "what was refused took nothing");
        assert!(shares.change(&Whose::Network(at(1)), 0, 24), "what is left");
        assert!(!shares.change(&Whose::Network(at(2)), 0, 1), "all together");
        assert!(shares.change(&known, 32, 0) && shares.change(&unknown, 8, 0));
        assert!(shares.change(&Whose::Network(at(1)), 24, 0));
        assert!(shares.each.lock().is_empty(), "nothing is kept of who holds nothing");
        assert!(shares.change(&Whose::Machine, 0, 64) && shares.change(&Whose::Machine, 64, 0));
        assert_eq!(shares.held(), 0);
    }

    #[test]
    fn who_says_who_it_is_takes_what_it_holds_along() {
        let shares = Shares::new(64);
        let (stranger, known) =
            (Caller::at([192, 0, 2, 1].into()), Caller::with_token([192, 0, 2, 1].into(), "t"));
        let mut holding = Holding::default();
        assert!(holding.change(&shares, (&stranger, true), 8));
        assert!(!holding.change(&shares, (&stranger, true), 9) && holding.bytes() == 8);
        assert!(holding.change(&shares, (&known, false), 20) && shares.held() == 20);
        assert!(shares.change(&Whose::Unknown, 0, 8), "nothing is left of it there");
        assert!(shares.change(&Whose::Unknown, 8, 0) && holding.change(&shares, (&known, false), 0));
        assert!(shares.held() == 0 && shares.each.lock().is_empty());
    }
}
