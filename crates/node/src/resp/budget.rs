//! Bytes that connections hold between requests: so many in all, and of these a part for each who holds them, so that
//! whoever is slow, or means harm, is in the way of itself first. [`Shares`] are for what a connection itself makes the node
//! hold, [`Parts`] for messages, which others send it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

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

/// What one caller has of a number of bytes, all its connections together.
pub(super) struct Part {
    held: AtomicUsize,
    max: usize,
}

/// As [`Shares`], where others than the caller make it hold bytes, and often: what a caller has is looked up once for each
/// connection, and counted without a lock.
pub(super) struct Parts {
    all: Budget,
    /// Of those who have a connection that may hold some.
    each: Mutex<HashMap<Whose, Weak<Part>>>,
}

impl Parts {
    pub(super) fn new(max: usize) -> Self {
        Self { all: Budget::new(max), each: Mutex::default() }
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.all.held()
    }

    /// What this caller has, who may be unknown.
    pub(super) fn of(&self, caller: &Caller, is_unknown: bool) -> Arc<Part> {
        let whose = Whose::of(caller, is_unknown);
        let mut each = self.each.lock();
        if let Some(part) = each.get(&whose).and_then(Weak::upgrade) {
            return part;
        }
        if each.len() == each.capacity() {
            // Before it grows: never more than twice as many as have connections.
            each.retain(|_, part| part.strong_count() > 0);
        }
        let part = Arc::new(Part { held: AtomicUsize::new(0), max: whose.part(self.all.max) });
        each.insert(whose, Arc::downgrade(&part));
        part
    }

    /// Takes so many instead of so many, as this caller; `false`, and nothing is taken, if there are not so many.
    pub(super) fn change(&self, part: Option<&Part>, from: usize, to: usize) -> bool {
        if to > from && part.is_some_and(|part| !part.take(to - from)) {
            return false;
        }
        let has = self.all.change(from, to);
        let given = if has { from.saturating_sub(to) } else { to - from };
        if let Some(part) = part {
            part.held.fetch_sub(given, Ordering::Relaxed);
        }
        has
    }
}

impl Part {
    fn take(&self, more: usize) -> bool {
        let has = self.held.fetch_add(more, Ordering::Relaxed) + more <= self.max;
        if !has {
            self.held.fetch_sub(more, Ordering::Relaxed);
        }
        has
    }

    /// Bytes change over to somebody else who is the same connection: they are held already, so nobody is asked.
    pub(super) fn hand_over(from: Option<&Self>, to: &Self, bytes: usize) {
        if let Some(from) = from {
            from.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        to.held.fetch_add(bytes, Ordering::Relaxed);
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
    fn what_others_make_one_hold_is_counted_for_each_and_all() {
        let parts = Parts::new(64);
        let of = |last: u8| parts.of(&Caller::with_token([192, 0, 2, 1].into(), &last.to_string()), false);
        let (one, same, other) = (of(1), of(1), of(2));
        assert!(Arc::ptr_eq(&one, &same), "all connections of one together");
        assert!(parts.change(Some(&one), 0, 20) && parts.change(Some(&same), 0, 12));
        assert!(!parts.change(Some(&one), 20, 21), "a half");
        assert!(parts.change(Some(&other), 0, 30) && parts.held() == 62);
        assert!(!parts.change(None, 0, 3), "all together");
        assert!(!parts.change(Some(&other), 30, 33), "neither its own part nor all of it has so much");
        assert!(parts.change(Some(&other), 30, 32) && parts.held() == 64, "what was refused took nothing");
        assert!(parts.change(Some(&other), 32, 0) && parts.change(Some(&one), 20, 0));
        let local = parts.of(&Caller::at([127, 0, 0, 1].into()), false);
        Part::hand_over(Some(&same), &local, 12);
        assert_eq!((one.held.load(Ordering::Relaxed), parts.held()), (0, 12));
        assert!(
            parts.change(Some(&local), 12, 64) && parts.change(Some(&local), 64, 0),
            "a program of this machine"
        );
        drop((one, same, other, local));
        (0..100).for_each(|last| drop(of(last)));
        assert!(parts.each.lock().len() < 50, "those who have gone are not kept");
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
