//! The HTTP door: plain values of one raw namespace, and what there is to know of the node. HTTP/1.1 with keep-alive
//! and pipelining on bare `hyper`; protection and decoding are `larder-door`'s.
//!
//! The way of a request: connections are accepted and capped ([`crate::accepting`]), [`listener`] finds out who is on each,
//! lanes ([`crate::lanes`]) serve them, [`crate::raw_tls`] shakes hands where certificates are needed, [`connection`] drives one, [`short`] answers plain reads in it, and [`watch`] its
//! time, [`service`] checks, decodes and counts. [`values`] reads, [`put`], [`delete`], [`touch`], [`take`] and
//! [`increment`] change (all through [`change`]), [`events`] tells of changes, and [`about`] of the node. [`bearer`] knows
//! who shows a token, [`answer`] has the shapes of answers, [`content`] their bodies, [`body`] reads within limits, and
//! [`memory`] bounds what is held for clients. [`operation`] has the names for counting.

mod about;
mod answer;
mod bearer;
mod body;
mod change;
mod connection;
mod content;
mod delete;
mod events;
mod increment;
mod listener;
mod memory;
pub(crate) mod operation;
mod put;
mod service;
mod short;
mod take;
mod touch;
mod values;
mod watch;

pub(crate) use listener::{Door, DoorParts, Open};
