//! The Redis protocol (RESP2 and RESP3) as plain data: requests read out of bytes as they come, in whatever pieces,
//! replies written into bytes, and what there is to know of each command. No sockets, no storage, no clock.
//!
//! [`request`] reads ([`inline`] the words of a line); [`reply`] writes; [`table`] has every command's name, shape and
//! keys; [`numbers`] reads numbers as strictly as Redis does
//! ([`long_double`] those that need not be whole); [`glob`] matches its patterns; [`limits`] has every number.

pub mod glob;
pub mod inline;
pub mod limits;
pub mod long_double;
pub mod numbers;
pub mod reply;
pub mod request;
pub mod table;

pub use reply::{Out, Protocol};
pub use request::{Args, Bounds, Parser, Step, Wrong};
pub use table::{Command, Verb};
