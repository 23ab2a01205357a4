//! Bugs planted on purpose, to prove that the model test of moves would notice them. Only builds with the feature
//! `planted` can switch one on; in every other build each question is answered "no" when compiling.

#[cfg(feature = "planted")]
mod chosen {
    use parking_lot::Mutex;

    static CHOSEN: Mutex<&str> = Mutex::new("");

    /// Switches one bug on for the whole process, or all off with an empty name.
    pub fn plant(bug: &'static str) {
        *CHOSEN.lock() = bug;
    }

    pub(crate) fn is(bug: &str) -> bool {
        *CHOSEN.lock() == bug
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

/// A move that deletes the source before the target is there: a crash between loses the entry.
pub const SOURCE_FIRST: &str = "source deleted before the target is there";

/// Moves of folders that do not wait for each other: two at once can make a cycle.
pub const NOT_SERIALISED: &str = "moves of folders not serialised";

/// A move that deletes the source whatever it is by now: what was put there meanwhile is lost.
pub const SOURCE_ANY: &str = "source deleted whatever it is by now";

/// Every bug that can be planted.
#[cfg(feature = "planted")]
pub const BUGS: &[&str] = &[SOURCE_FIRST, NOT_SERIALISED, SOURCE_ANY];
