//! What doors share, whichever process they stand in: who is calling, how much of this machine one caller may
//! take, and the protocols' own decoding. No storage, no keys, no sockets: bytes and time come in, decisions go
//! out, so that everything here runs in a test and under a fuzzer.
//!
//! - [`caller`]: who is on a connection, which every later decision looks at;
//! - [`proxies`]: for whom a trusted proxy calls;
//! - [`bucket`] and [`rates`]: so many requests a second for an address, for all, for an identity;
//! - [`connections`]: so many connections, in all and for an address;
//! - [`refusal`]: what a door says no to before anything is looked up, and how it is counted;
//! - [`http`]: requests of the HTTP door, decoded and checked;
//! - [`resp`]: the Redis protocol: requests, replies, the table of commands.

pub mod bucket;
pub mod caller;
pub mod connections;
pub mod http;
pub mod proxies;
pub mod rates;
pub mod refusal;
pub mod resp;

pub use caller::{Caller, Standing};
pub use rates::{Limiter, Rates};
pub use refusal::Refusal;
