//! Is there an order of the calls, each between its question and its answer, in which every answer is what
//! the [model](super::model) says? (Linearizability, per key: registers of different keys share nothing that
//! clients see.)
//!
//! A depth-first search over sets of calls already placed, with a memory of dead ends (Wing and Gong, with
//! Lowe's memoisation). Calls without a known outcome may be placed or left out. Versions rise, so a call
//! that was told a version cannot come before one that was told a lower one: that leaves little to search.
//! Unknown writes whose bytes nobody was ever shown are first left out altogether; only if that fails is the
//! whole history tried.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use larder_format::ids::OperationId;
use larder_format::operation::{Lifetime, Operation, Outcome};
use larder_format::record::Expiry;

use super::history::Call;
use super::model::{Record, Step};
use super::plan::{EPOCH_MS, Plan, SKEW_MS_MAX, TIME_STEP_MS};

/// Most search steps for one key. Runs that are in order take a few hundred.
const STEPS_MAX: u64 = 400_000;

/// Most calls on one key: they are kept as bits of a word.
pub const CALLS_MAX: usize = 128;

/// What the checker says of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none for this key.
    Violation {
        /// Which key.
        key: u8,
    },
    /// The search was given up.
    Undecided {
        /// Which key.
        key: u8,
    },
}

struct Entry<'a> {
    call: &'a Call,
    step: Step<'a>,
    invoked_us: u64,
    returned_us: u64,
    /// Calls that were told a lower version: they come before.
    lower: u128,
    /// For a read that was told a version: calls that were told a higher one; they come after.
    higher: u128,
}

/// Judges a run.
#[must_use]
pub fn check(plan: &Plan, calls: &[Call]) -> Verdict {
    let mut verdict = Verdict::Linearizable;
    for key in 0..plan.keys {
        let on_key: Vec<&Call> = calls.iter().filter(|c| c.key == key && !c.is_void()).collect();
        match check_key(plan, &on_key) {
            Some(true) => {}
            Some(false) => return Verdict::Violation { key },
            None => verdict = Verdict::Undecided { key },
        }
    }
    verdict
}

fn check_key(plan: &Plan, calls: &[&Call]) -> Option<bool> {
    let calls = &all_of(calls);
    if calls.len() > CALLS_MAX {
        return None;
    }
    let shown = |body: &[u8]| {
        calls.iter().filter_map(|c| c.outcome()).any(|o| match o {
            Outcome::Found(found) => found.body == body,
            Outcome::Taken { body: taken, .. } => taken == body,
            _ => false,
        })
    };
    let told_end = |end: Expiry| {
        calls.iter().filter_map(|c| c.outcome()).any(|o| match o {
            Outcome::Written { expiry, .. } | Outcome::Taken { expiry, .. } => *expiry == end,
            Outcome::Found(found) => found.expiry == end,
            _ => false,
        })
    };
    // A write nobody was shown may still have lent its end to one that kept it.
    let lent = |lifetime: Lifetime| match lifetime {
        Lifetime::Until(end) | Lifetime::Keep(end) => end != Expiry::NEVER && told_end(end),
    };
    // How unlikely it is that an unknown call explains anything.
    let rank = |c: &Call| match &c.operation {
        _ if c.outcome().is_some() => 0,
        Operation::Put(put) if shown(&put.body) || lent(put.lifetime) => 0,
        Operation::Touch { expiry, .. } if told_end(*expiry) => 0,
        Operation::Take => 0,
        Operation::Delete { .. } => 1,
        _ => 2,
    };
    // Leaving out unknown calls only shuts out orders, so an order found without them is one.
    let mut found = Some(false);
    for (most, steps_max) in [(0, STEPS_MAX / 20), (1, STEPS_MAX / 4), (2, STEPS_MAX)] {
        let chosen: Vec<&Call> = calls.iter().filter(|c| rank(c) <= most).copied().collect();
        found = search(plan, &chosen, steps_max).0;
        if found == Some(true) {
            break;
        }
    }
    found
}

/// All calls but those that say nothing: reads without an answer, and attempts without one whose operation
/// id was tried before without one (whatever the later attempt may explain, the earlier one may too).
fn all_of<'a>(calls: &[&'a Call]) -> Vec<&'a Call> {
    let mut tried: Vec<OperationId> = Vec::new();
    let says = |c: &&&Call| match c.identity {
        _ if c.outcome().is_some() => true,
        _ if matches!(c.operation, Operation::Get) => false,
        None => true,
        Some(identity) if tried.contains(&identity.id) => false,
        Some(identity) => {
            tried.push(identity.id);
            true
        }
    };
    calls.iter().filter(says).copied().collect()
}

/// For a key whose history has no order: the calls at which the search got no further, of which at least one
/// was answered wrongly or rests on one that was.
#[must_use]
pub fn stuck<'a>(plan: &Plan, calls: &'a [Call], key: u8) -> Vec<&'a Call> {
    let on_key: Vec<&Call> = calls.iter().filter(|c| c.key == key && !c.is_void()).collect();
    let (_, search) = search(plan, &all_of(&on_key), STEPS_MAX);
    let ready = search.ready(search.deepest);
    ready.into_iter().filter(|i| search.must & 1 << i != 0).map(|i| search.entries[i].call).collect()
}

fn told_version(call: &Call) -> Option<u64> {
    match call.outcome()? {
        Outcome::Written { version, .. } | Outcome::Deleted { version } | Outcome::Taken { version, .. } => {
            Some(version.to_u64())
        }
        Outcome::Found(found) => Some(found.version.to_u64()),
        Outcome::Conflict { current } => current.map(|v| v.to_u64()),
        Outcome::Absent | Outcome::Refused(_) => None,
    }
}

fn is_change(call: &Call) -> bool {
    matches!(call.outcome(), Some(Outcome::Written { .. } | Outcome::Deleted { .. } | Outcome::Taken { .. }))
}

fn entries<'a>(plan: &Plan, calls: &[&'a Call]) -> Vec<Entry<'a>> {
    let mut sorted: Vec<&'a Call> = calls.to_vec();
    sorted.sort_by_key(|c| c.invoked_us);
    // A retry may be told the version of an earlier attempt, so only first and only attempts are ordered.
    let alone = |c: &Call| {
        c.identity
            .is_none_or(|i| calls.iter().filter(|o| o.identity.is_some_and(|j| j.id == i.id)).count() == 1)
    };
    let changes: Vec<(usize, u64)> = sorted
        .iter()
        .enumerate()
        .filter(|(_, c)| is_change(c) && alone(c))
        .filter_map(|(i, c)| told_version(c).map(|v| (i, v)))
        .collect();
    let mask = |of: &dyn Fn(u64) -> bool| {
        changes.iter().filter(|(_, v)| of(*v)).fold(0u128, |mask, (i, _)| mask | 1 << i)
    };
    sorted
        .iter()
        .map(|call| {
            let version = told_version(call).filter(|_| alone(call));
            let returned_us = if call.outcome().is_some() { call.returned_us } else { None };
            let hi_us = returned_us.map(|us| us / 1000 + EPOCH_MS + SKEW_MS_MAX + TIME_STEP_MS + 2);
            let step = Step {
                operation: &call.operation,
                identity: call.identity.as_ref(),
                outcome: call.outcome(),
                confirm: call.confirm,
                lo_ms: (call.invoked_us / 1000 + EPOCH_MS).saturating_sub(SKEW_MS_MAX + 1),
                hi_ms: hi_us.unwrap_or(u64::MAX - 1),
                ttl_max_ms: plan.ttl_max_ms,
                bad_clocks: plan.bad_clocks,
            };
            Entry {
                call,
                step,
                invoked_us: call.invoked_us,
                returned_us: returned_us.unwrap_or(u64::MAX),
                lower: version.map_or(0, |v| mask(&|other| other < v)),
                higher: version.filter(|_| !is_change(call)).map_or(0, |v| mask(&|other| other > v)),
            }
        })
        .collect()
}

struct Search<'a> {
    entries: Vec<Entry<'a>>,
    /// The most calls placed so far.
    deepest: u128,
    /// Calls that must be placed.
    must: u128,
    dead: HashSet<(u128, u64)>,
    steps_left: u64,
}

fn search<'a>(plan: &Plan, calls: &[&'a Call], steps_max: u64) -> (Option<bool>, Search<'a>) {
    assert!(
        calls.len() <= CALLS_MAX,
        "a run has few enough calls per key for one word calls={}",
        calls.len()
    );
    let entries = entries(plan, calls);
    let must = entries
        .iter()
        .enumerate()
        .filter(|(_, e)| e.returned_us != u64::MAX)
        .fold(0u128, |mask, (i, _)| mask | 1 << i);
    let mut search = Search { entries, must, dead: HashSet::new(), steps_left: steps_max, deepest: 0 };
    let found = search.place(0, &Record::default(), None);
    (found, search)
}

impl Search<'_> {
    /// Whether the calls not in `done` can be placed after it. `None`: gave up.
    ///
    /// `without` is the record without the unknown call placed last. A call that could as well come without
    /// it is not tried after it, because the search tries that too: so unknown calls are placed only where
    /// something answered rests on them.
    fn place(&mut self, done: u128, record: &Record, without: Option<&Record>) -> Option<bool> {
        if done & self.must == self.must {
            return Some(true);
        }
        if self.steps_left == 0 {
            return None;
        }
        self.steps_left -= 1;
        if (done & self.must).count_ones() > (self.deepest & self.must).count_ones() {
            self.deepest = done;
        }
        let ready = self.ready(done);
        let mut nexts = Vec::new();
        let mut others = Vec::new();
        // A call that fits and changes nothing can be placed at once: doing so shuts out no order.
        for &i in &ready {
            if self.must & 1 << i != 0 && self.fits(i, done) {
                record.after(&self.entries[i].step, &mut nexts);
                if nexts.iter().any(|next| next == record) {
                    if let Some(without) = without {
                        without.after(&self.entries[i].step, &mut others);
                    }
                    let still = others.iter().find(|o| Some(*o) == without);
                    return self.place(done | 1 << i, record, still);
                }
                nexts.clear();
            }
        }
        let key = (done, hash(record));
        if self.dead.contains(&key) {
            return Some(false);
        }
        let (known, unknown): (Vec<usize>, Vec<usize>) =
            ready.into_iter().partition(|i| self.must & 1 << i != 0);
        for i in known.into_iter().chain(unknown) {
            if !self.fits(i, done) {
                continue;
            }
            nexts.clear();
            others.clear();
            record.after(&self.entries[i].step, &mut nexts);
            if let Some(without) = without {
                without.after(&self.entries[i].step, &mut others);
            }
            let before = (self.must & 1 << i == 0).then_some(record);
            for next in std::mem::take(&mut nexts) {
                if others.iter().any(|other| other.allows_all_of(&next)) {
                    continue;
                }
                match self.place(done | 1 << i, &next, before) {
                    Some(false) => {}
                    found => return found,
                }
            }
        }
        self.dead.insert(key);
        Some(false)
    }

    /// Calls that may come next: none that remains was answered before they were asked.
    fn ready(&self, done: u128) -> Vec<usize> {
        let left = |i: &usize| done & 1 << i == 0;
        let remaining = (0..self.entries.len()).filter(left);
        let horizon_us = remaining.map(|i| self.entries[i].returned_us).min().unwrap_or(u64::MAX);
        (0..self.entries.len())
            .filter(left)
            .take_while(|i| self.entries[*i].invoked_us <= horizon_us)
            .collect()
    }

    fn fits(&self, i: usize, done: u128) -> bool {
        let entry = &self.entries[i];
        entry.lower & !done & !(1 << i) == 0 && entry.higher & done == 0
    }
}

fn hash(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    hasher.finish()
}
