//! The record register as pure state machines: no sockets, no clock, no disk, no threads, no async.
//!
//! A record is its own consensus register (CASPaxos: single-decree Paxos whose value is replaced by applying
//! an operation to the value before it, without a log and without a leader). What an operation does is
//! written once, in [`rules`], and used two ways:
//! - [`single`]: one acceptor. One call, no messages, no promise; the version is the ballot.
//! - [`proposer`] and [`acceptor`]: several replicas, exchanging [`message`]s. Whoever drives them brings
//!   events in (a message, a time-out, the wall clock) and carries out the actions that come back (send,
//!   persist, answer). [`wire`] has the bytes of the messages.
//!
//! Why each rule is as it is, what is persisted when, what is not promised, and which planted bug shows that
//! the rule is needed: `docs/design/register.md`. The proof by simulation is in `larder-sim`.

pub mod acceptor;
pub mod attempt;
pub mod join;
pub mod message;
pub mod planted;
pub mod proposer;
pub mod rules;
pub mod single;
pub mod wire;
