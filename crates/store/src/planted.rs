//! Bugs planted on purpose, to prove that the suite would notice them. Only builds with the feature
//! `planted` can switch one on; in every other build each question is answered "no" when compiling.

#[cfg(feature = "planted")]
mod chosen {
    use std::cell::RefCell;

    thread_local! {
        static CHOSEN: RefCell<&'static str> = const { RefCell::new("") };
    }

    /// Switches one bug on for the calling thread, or all off with an empty name.
    pub fn plant(bug: &'static str) {
        CHOSEN.with(|chosen| *chosen.borrow_mut() = bug);
    }

    pub(crate) fn is(bug: &str) -> bool {
        CHOSEN.with(|chosen| *chosen.borrow() == bug)
    }
}

#[cfg(feature = "planted")]
pub(crate) use chosen::is;
#[cfg(feature = "planted")]
pub use chosen::plant;

#[cfg(not(feature = "planted"))]
pub(crate) const fn is(_bug: &str) -> bool {
    false
}

/// Every bug that can be planted.
#[cfg(feature = "planted")]
pub const BUGS: &[&str] = &[
    "ack before sync",
    "mark before sync",
    "chain not checked",
    "tombstone dropped early",
    "sidecar trusted without checksum",
    "stale recycled frame accepted",
    "directory not synced",
    "torn value accepted",
    "cut not made",
    "segment freed before copies are durable",
    "lease ended although it was listed meanwhile",
    "freed segment still listed",
    "promise alone where there is no state",
];
