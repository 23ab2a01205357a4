//! The agent: a process per user that holds the opened vault, so that commands neither ask for the passphrase nor
//! derive keys each time. The 64 MiB of key derivation live here and nowhere else.
//!
//! - [`protocol`]: the bounded messages between command and agent, as bytes.
//! - [`change`]: what is asked of the vault's slots, and the doing.
//! - [`open_vault`]: the vault while it is open, and when it locks itself; no sockets, no clock of its own.
//! - [`hardening`]: no core dumps, no other process looking in, the key not swapped out.
//! - [`index`]: the names of the vault, kept at hand while it is open; [`names`]: how it is asked.
//! - [`retention`]: the vault's retention rules, applied by the clock while it is open.
//! - [`server`]: the socket (0600, same user only), and what each request does.
//! - [`client`]: the command's side.

pub mod change;
pub mod client;
pub mod hardening;
pub mod index;
pub mod names;
pub mod open_vault;
pub mod protocol;
pub mod retention;
pub mod server;
mod silent;
