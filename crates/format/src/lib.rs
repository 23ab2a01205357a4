//! What every layer of Larder agrees on: identifiers, time, randomness, records, namespaces, limits, and the
//! exact bytes of what goes to disk and over the wire.
//!
//! Nothing here does I/O, holds a key or knows a protocol. Everything above depends on this crate and it
//! depends on none of them. Start with [`record`] for the first primitive, [`ids::BlobId`] for the second,
//! [`limits`] for every bound, [`codec`] for how bytes are read without trusting them.

pub mod clock;
pub mod codec;
pub mod error;
pub mod head;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod namespace;
pub mod operation;
pub mod pages;
pub mod record;
pub mod retention;
pub mod right;
pub mod rng;
pub mod sealed;
pub mod segment;
pub mod size;
pub mod slot;
pub mod span;
pub mod token;
