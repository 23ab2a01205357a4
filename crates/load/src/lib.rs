//! The load generator behind `larder bench`: it drives a server that speaks the Redis protocol or HTTP, measures
//! latencies, and verifies every value that it reads.
//!
//! - [`target`]: where to; [`plan`]: what to do there, checked before anything is sent.
//! - [`values`] makes values out of key and generation and recognises them; [`ledger`] knows which generation of a key
//!   a read may see, so that a wrong, torn, stale, missing or outlived value is an error and nothing else is.
//! - [`keys`]: which key is next; [`pace`]: when the next request is due, for latencies that a stalled server cannot
//!   hide.
//! - [`protocol`]: requests and replies; `connection`: one socket; `worker`: one thread that drives many of
//!   them, and `tally`, which judges what comes back.
//! - [`run`] puts them together; [`measure`] counts; [`report`] is what comes out, [`require`], [`compare`] and
//!   [`picture`] what can be made of it.
//!
//! It shares its machine with the server under test, so it is built to cost little: a thread per core at most, epoll,
//! one read and one write for a batch, buffers that are used again, replies checked where they lie.

pub mod compare;
mod connection;
pub mod error;
pub mod keys;
pub mod ledger;
pub mod measure;
pub mod pace;
pub mod picture;
pub mod plan;
pub mod protocol;
pub mod report;
pub mod require;
pub mod run;
mod tally;
pub mod target;
pub mod values;
mod worker;

pub use error::LoadError;
