//! The names and attributes of a whole vault, at hand: what makes `ls`, `find` and paging quick with a million entries.
//!
//! - [`tree`]: entries and folders as their records say them, and what follows; pure;
//! - [`look`]: answers, from any place on; [`filter`] and [`glob`]: what to find;
//! - [`change`]: what happened, as a person would say it;
//! - [`follow`]: keeps an index as the node has it: a first scan, then the feed of changes;
//! - [`snapshot`]: an index as a sealed file, so that a restart need not scan.
//!
//! An index answers only for what it knows to be complete and readable; for all else its user asks the node, who
//! gives the same answer more slowly. `docs/design/names.md` says what is promised.

pub mod change;
pub mod filter;
pub mod follow;
pub mod glob;
mod item;
mod log;
pub mod look;
mod order;
mod scan;
pub mod snapshot;
pub mod tree;

pub use change::{Change, ChangeKind};
pub use filter::Filter;
pub use follow::{ChangesPage, Follower, IndexStatus, Shared};
pub use item::Thing;
pub use look::{NotHere, Row, Walked};
pub use tree::NameIndex;

#[cfg(test)]
mod model_tests;
