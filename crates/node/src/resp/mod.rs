//! The Redis door: values in memory of a raw namespace, by the protocol that Redis clients speak.
//!
//! The way of a request: connections are accepted and capped ([`crate::accepting`]), [`listener`] finds out who is on each and
//! [`crate::lanes`] serve them; [`connection`] reads
//! (by its [`wire`]) what has come, parses it where it lies (`larder_door::resp`) and sends all answers at once; [`dispatch`] checks and
//! finds what carries a command out, with a [`call`] in its hand. [`hello`], [`client`], [`kill`], [`server`], [`info`], [`pubsub`]
//! are about the connection, the node and messages; [`commands`] are about values. [`session`] is a connection's state
//! ([`queue`]: what `MULTI` holds back, [`watching`]: what `WATCH` named), [`clients`] what others see of it, [`budget`] how much connections may hold, [`shared`] what all have in common, [`notify`]
//! tells of keys, [`rights`] says who may what.
//!
//! Nothing in a request waits: values are in memory. Decisions are in `docs/design/redis.md`.

mod ahead;
mod batch;
mod budget;
mod call;
mod client;
mod clients;
mod commands;
mod connection;
mod dispatch;
mod hello;
mod info;
mod kill;
mod listener;
mod notify;
mod pubsub;
mod queue;
mod rights;
mod server;
mod session;
mod shared;
mod watching;
mod wire;

pub(crate) use listener::{Door, DoorParts, Open};
