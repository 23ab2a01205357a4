//! The blind daemon. It holds records and blobs it cannot read, and never links `larder-seal`: that is
//! visible in this crate's manifest and checked by a test.
//!
//! The way of a request, from the outside in:
//! - [`listener`] accepts connections and admits only mutual TLS 1.3 from its own authority; [`admission`] keeps count
//!   of them, notices when certificates ([`credentials`]) or the list of revoked ones ([`revocation`]) change, and ends
//!   what has to end;
//! - [`identity`] says who is at the other end, and what the certificate lets them do;
//! - `http` is the other door: plain values of a raw namespace, health, metrics; what is decoded and refused there is
//!   in `larder-door`;
//! - [`tokens`] says the same of whoever shows a token at one of the raw doors;
//! - `resp` is a third: the Redis protocol, for the same kind of values; `accepting` and `lanes` bring both their connections;
//! - `rights` checks each request against it;
//! - `grpc` turns messages into checked types (by `larder-wire`) and outcomes into messages;
//! - [`registers`] joins the register's rules (`larder-mesh`) with this machine's storage (`larder-store`);
//!   [`blobs`] does the same for blobs and leases;
//! - `chores` (with `audit` and `suspects`) does in the background what nobody waits for: expiry, leases,
//!   collection, time marks; `leases` decides which leases end, `holders` how many one client may have; `maintenance` does on request what takes long:
//!   collecting now, scrubbing; `emptying` deletes namespaces;
//! - [`unread_end`] is for a log that no node starts on.
//!
//! [`server::run`] puts it together.

mod accepting;
pub mod admission;
mod audit;
pub mod blobs;
mod chores;
pub mod config;
pub mod credentials;
mod descriptors;
mod emptying;
pub mod feeds;
mod grpc;
mod holders;
mod http;
pub mod identity;
mod lanes;
mod leases;
pub mod listener;
mod maintenance;
mod metrics;
pub mod namespaces;
mod own;
mod parts;
mod plain;
mod proxied;
pub mod quota;
mod raw_tls;
pub mod registers;
mod resp;
pub mod revocation;
mod rights;
mod room;
pub mod server;
mod suspects;
pub mod time;
pub mod tokens;
pub mod unread_end;
pub mod upkeep;

pub use config::{GrpcConfig, HttpConfig, NodeConfig, RawAuth, RedisConfig};
pub use credentials::CertificateFiles;
pub use server::{Addresses, NodeError, run};
