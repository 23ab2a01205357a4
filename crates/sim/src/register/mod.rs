//! The register under faults: [`plan`] says what a run is like, [`world`] runs it ([`replica`] and [`lone`]
//! are its nodes, [`client`] its users), [`history`] is what clients saw, and [`checker`] judges that against
//! [`model`], a specification of its own. [`sweep`] runs many seeds on all cores.

pub mod checker;
mod client;
pub mod history;
mod lone;
pub mod model;
pub mod plan;
mod replica;
pub mod sweep;
mod world;

#[cfg(test)]
mod tests;

use checker::Verdict;
use history::Call;
use plan::{Plan, Settings};

/// What became of one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its conditions.
    pub plan: Plan,
    /// What clients saw.
    pub calls: Vec<Call>,
    /// Faults that happened.
    pub faults: u64,
    /// Messages sent.
    pub messages: u64,
    /// A hash of every event in order.
    pub trace: u64,
    /// Whether what clients saw is right.
    pub verdict: Verdict,
    /// Every event for people, if asked for.
    pub log: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, settings: Settings) -> Report {
    let plan = Plan::new(seed, settings);
    let world::Run { calls, faults, messages, trace, log } = world::run(&plan, settings.verbose);
    let verdict = checker::check(&plan, &calls);
    Report { plan, calls, faults, messages, trace, verdict, log }
}
