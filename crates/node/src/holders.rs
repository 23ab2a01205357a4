//! Who asked for leases that no record lists yet. They take memory that no quota counts, and a day to end by themselves, so
//! each certificate has a share of what the store allows in all: nobody can use it up for everybody.
//!
//! The store knows which leases still wait for a record; here is only a note of who asked for them. It is looked through when
//! somebody seems to have too many, at most once a second for each. A start forgets it: what waits then counts for nobody,
//! and in all.

use std::collections::{HashMap, HashSet};

use larder_format::error::Kind;
use larder_format::ids::LeaseToken;
use larder_wire::answer::Failure;
use parking_lot::Mutex;

/// Most leases that no record lists, for one certificate: an eighth of all. A `put` has one for each file under way.
pub(crate) const LEASES_EACH_MAX: usize = 1 << 14;

/// Most blobs that such leases keep, each counted as often as it is kept, for one certificate: half of all.
pub(crate) const LEASED_BLOBS_EACH_MIN: u64 = 1 << 21;

/// And so many for each blob that the node has.
pub(crate) const LEASED_BLOBS_EACH: u64 = 2;

/// How often what somebody has is looked at again, in milliseconds of the node's time.
const LOOK_EVERY_MS: u64 = 1_000;

/// Leases that wait for a record, by the name of the certificate that asked for them.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// Those that wait are among them.
    tokens: HashSet<LeaseToken>,
    /// At least as many blobs as they keep.
    blobs: u64,
    looked_ms: u64,
}

/// What the store knows.
pub(crate) trait Waiting {
    /// How many blobs a lease keeps, if it is held and no record lists it.
    fn blobs_of(&self, token: LeaseToken) -> Option<u64>;

    /// How many blobs the store has.
    fn blobs(&self) -> u64;
}

impl Held {
    /// Counts again, but for `token`, which is about to be granted.
    fn look(&mut self, token: LeaseToken, waiting: &dyn Waiting) {
        let mut blobs = 0;
        self.tokens.retain(|held| match waiting.blobs_of(*held) {
            Some(kept) => {
                blobs += kept;
                true
            }
            None => *held == token,
        });
        self.blobs = blobs;
    }
}

impl Holders {
    /// Notes that `name` asks for a lease, or for so many blobs more under it.
    ///
    /// # Errors
    /// [`Kind::Full`] if that is more than its share; then nothing is noted.
    pub(crate) fn charge(
        &self,
        name: &str,
        token: LeaseToken,
        blobs: u64,
        now_ms: u64,
        waiting: &dyn Waiting,
    ) -> Result<(), Failure> {
        let mut all = self.held.lock();
        if !all.contains_key(name) {
            all.insert(name.to_owned(), Held::default());
        }
        let Some(held) = all.get_mut(name) else { return Ok(()) };
        let is_new = held.tokens.insert(token);
        held.blobs = held.blobs.saturating_add(blobs);
        let has_room =
            |held: &Held| held.tokens.len() <= LEASES_EACH_MAX && held.blobs <= LEASED_BLOBS_EACH_MIN;
        if has_room(held) {
            return Ok(());
        }
        if now_ms.saturating_sub(held.looked_ms) >= LOOK_EVERY_MS {
            held.looked_ms = now_ms;
            held.look(token, waiting);
            held.blobs = held.blobs.saturating_add(blobs);
        }
        let blobs_max =
            LEASED_BLOBS_EACH_MIN.saturating_add(waiting.blobs().saturating_mul(LEASED_BLOBS_EACH));
        let refusal = if held.tokens.len() > LEASES_EACH_MAX {
            format!("no room: {name:?} has too many leases that no record lists yet max={LEASES_EACH_MAX}")
        } else if held.blobs > blobs_max {
            format!(
                "no room: leases of {name:?} that no record lists yet keep too many blobs max={blobs_max}"
            )
        } else {
            return Ok(());
        };
        held.blobs = held.blobs.saturating_sub(blobs);
        if is_new {
            held.tokens.remove(&token);
        }
        Err(Failure::new(
            Kind::Full,
            format!("{refusal}; each ends at its deadline, a day after it was asked for at most"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Store {
        leases: RefCell<HashMap<LeaseToken, u64>>,
        looked: RefCell<u64>,
        blobs: u64,
    }

    impl Waiting for Store {
        fn blobs_of(&self, token: LeaseToken) -> Option<u64> {
            *self.looked.borrow_mut() += 1;
            self.leases.borrow().get(&token).copied()
        }

        fn blobs(&self) -> u64 {
            self.blobs
        }
    }

    fn token(number: u32) -> LeaseToken {
        let mut token = [0; 16];
        token[..4].copy_from_slice(&number.to_le_bytes());
        LeaseToken(token)
    }

    #[test]
    fn one_name_has_its_share_and_no_more_until_leases_end() {
        let (holders, store) = (Holders::default(), Store::default());
        let ask = |name: &str, number: u32, now_ms| {
            let asked = holders.charge(name, token(number), 1, now_ms, &store);
            if asked.is_ok() {
                store.leases.borrow_mut().insert(token(number), 1);
            }
            asked
        };
        let max = LEASES_EACH_MAX as u32;
        (0..max).for_each(|number| ask("laptop", number, 5_000).unwrap());
        let refused = ask("laptop", max, 5_000).unwrap_err();
        assert_eq!(refused.kind, Kind::Full);
        assert!(
            refused.message.contains("\"laptop\"") && refused.message.contains("max=16384"),
            "{refused:?}"
        );
        // More under a lease that is held, and others, are not in the way of that.
        ask("laptop", 3, 5_001).unwrap();
        ask("desk", max + 1, 5_001).unwrap();
        // Who asks again and again does not have everything looked through each time.
        let looked = *store.looked.borrow();
        (0..100).for_each(|number| drop(ask("laptop", max + 2 + number, 5_900).unwrap_err()));
        assert_eq!(*store.looked.borrow(), looked);
        // Listed by a record, or ended.
        store.leases.borrow_mut().remove(&token(7));
        ask("laptop", max, 6_001).unwrap();
        assert!(ask("laptop", max + 2, 7_002).is_err());
    }

    #[test]
    fn blobs_count_as_often_as_they_are_kept() {
        let (holders, mut store) = (Holders::default(), Store::default());
        store.leases.borrow_mut().insert(token(1), LEASED_BLOBS_EACH_MIN);
        holders.charge("a", token(1), LEASED_BLOBS_EACH_MIN, 5_000, &store).unwrap();
        let refused = holders.charge("a", token(2), 4_096, 5_000, &store).unwrap_err();
        assert!(refused.message.contains("too many blobs"), "{refused:?}");
        // As many as a node has, and that again, are not too many.
        store.blobs = 2_048;
        holders.charge("a", token(2), 4_096, 7_000, &store).unwrap();
        // What was only asked for twice does not count twice.
        store.leases.borrow_mut().insert(token(1), 5);
        holders.charge("a", token(2), LEASED_BLOBS_EACH_MIN, 9_000, &store).unwrap();
    }
}
