//! Life of the background processes (node and agent): started apart from the terminal, found again, told to stop.
//!
//! [`pid_file`] says who runs, by a lock that dies with its holder, so a stale pid is never believed. [`spawn`] starts
//! a daemon and waits for its one line: ready, or why not. [`daemon`] is the daemon's side of that. [`process`] stops
//! one and waits for its end. [`log`] is what they say about their work.

pub mod daemon;
pub mod log;
pub mod pid_file;
pub mod process;
pub mod spawn;
