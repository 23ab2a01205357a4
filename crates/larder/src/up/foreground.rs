//! `larder up --foreground`: stay until ctrl-C (or a stop signal, or a daemon's end), then stop everything.

use std::time::Duration;

use larder_format::error::Kind;

use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::life::{daemon, pid_file};
use crate::up;

/// How often the daemons are looked at: soon enough for a person who waits, rare enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Stays, then stops everything.
///
/// # Errors
/// Closed if the node or the agent ended by itself; if stopping fails.
pub fn stay(context: &Context) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io_text(format!("cannot wait for signals: {e}"), &e))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            result = daemon::stop_requested() => result.map(|()| None),
            name = someone_ended(context) => name.map(Some),
        }
    })?;
    let stopped = up::stop_all(context)?;
    match ended {
        Some(name) if !stopped.is_empty() => {
            let log = context.folders.logs().join(format!("{name}.log"));
            Err(Failure::new(Kind::Closed, format!("the {name} ended by itself; everything is stopped"))
                .hint(format!("look at {}", shown(&log))))
        }
        // ctrl-C; or a `larder down` elsewhere, which stopped both.
        _ => {
            context.output.note("\nStopped. What is stored stays.");
            Ok(())
        }
    }
}

async fn someone_ended(context: &Context) -> Outcome<&'static str> {
    // A home that uses another machine's node has none of its own.
    let runs =
        |name: &&str| pid_file::look(&context.folders.pid_file(name)).is_ok_and(|running| running.is_some());
    let watched: Vec<_> = [up::NODE, crate::agent::client::NAME].into_iter().filter(runs).collect();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for name in watched.iter().copied() {
            if pid_file::look(&context.folders.pid_file(name))?.is_none() {
                return Ok(name);
            }
        }
    }
}
