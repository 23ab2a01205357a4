//! One machine's storage: a memory table, and one log that holds the truth for disk records and blobs.
//!
//! [`api`] is the contract every backend keeps. Nothing here knows a key, a peer or a protocol, and the rules
//! by which records change are not here either: callers pass them in as a function that is called under the
//! record's shard lock.

pub mod api;
mod ticket;
