//! The program `larder`: parses what was asked, does it, and ends with an exit code that means something.
//!
//! - [`cli`]: one verb, one file. Start there.
//! - [`vault_header`]: the wrapped keys on this machine and on the node, and how they are changed.
//! - [`up`]: the steps of the first start, each its own file.
//! - [`agent`]: the process that holds the opened vault; [`life`]: how background processes start, are found, and stop.
//! - [`failure`], [`exit`], [`output`]: what a command says when it is done or failed, for people and for programs.
//! - [`folders`], [`settings`], [`certificates`], [`atomic_file`]: what lies on this machine.
//! - [`passphrase`], [`terminal`], [`descriptor`]: asking for secrets.
//! - [`session`]: an opened vault and a connection for a verb; [`progress`]: how far it is.
//! - [`suggest`]: names to complete what is typed with.
//! - [`duration`], [`moment`], [`size`]: how people write lengths of time, moments and sizes.

#![allow(unreachable_pub, reason = "in a binary, `pub` says that an item is for other files of it")]

mod agent;
mod allocator;
mod atomic_file;
mod bar;
mod certificates;
mod cli;
mod descriptor;
mod doctor;
mod duration;
mod exit;
mod failure;
mod folders;
mod life;
mod moment;
mod names;
mod output;
mod passphrase;
mod progress;
mod session;
mod settings;
mod size;
mod suggest;
mod terminal;
mod up;
mod vault_header;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run())
}
