//! One machine's storage: a memory table, and one log that holds the truth for disk records and blobs.
//!
//! [`api`] is the contract every backend keeps: [`memory::MemoryTable`] holds records of class memory,
//! [`log::LogStore`] records and blobs of class disk. Nothing here knows a key, a peer or a protocol, and the
//! rules by which records change are not here either: callers pass them in as a function that is called
//! under the record's shard lock. `docs/design/store.md` says why it is built this way.

pub mod api;
pub mod disk;
pub mod feed;
pub mod log;
pub mod memory;
pub mod planted;
mod shard;
mod ticket;
pub mod used;
