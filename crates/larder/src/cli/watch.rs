//! `larder watch`: what happens in the vault, as it happens; from a cursor on nothing is left out, or it is said.
//!
//! Changes of files and folders come from the agent, whose index of names knows what was where. It is asked again as
//! soon as it has answered, and answers as soon as there is something to tell. Values (`--values`) are watched on the
//! node itself.

mod values;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder_client::feed::FeedPosition;
use larder_client::index::{Change, ChangeKind, Thing};
use larder_client::path::VaultPath;
use larder_format::error::Kind;
use serde_json::{Value, json};

use crate::agent::client::{Agent, opened_vault};
use crate::agent::names::{Answer, Ask, WAIT_MS_MAX};
use crate::cli::Context;
use crate::failure::{Failure, Outcome, clean};
use crate::life::daemon;
use crate::output::{Output, write_failure};

/// How long to wait before asking again while the index is being made or the agent is started anew.
const PAUSE: Duration = Duration::from_millis(500);

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what happens to this or below it
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Go on where an earlier watch was, as its last line says
    #[arg(long, value_name = "CURSOR")]
    from: Option<String>,
    /// Watch values instead of files
    #[arg(long, conflicts_with = "path")]
    values: bool,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// A cursor as people and programs see it.
fn cursor_text(at: FeedPosition) -> String {
    format!("{:016x}-{}", at.life, at.sequence)
}

fn parse_cursor(text: &str) -> Outcome<FeedPosition> {
    let parse = || {
        let (life, sequence) = text.split_once('-')?;
        Some(FeedPosition { life: u64::from_str_radix(life, 16).ok()?, sequence: sequence.parse().ok()? })
    };
    parse().ok_or_else(|| Failure::invalid(format!("not a cursor of larder watch: {}", clean(text))))
}

/// What a watch has told so far.
struct Teller {
    output: Output,
    cursor: Mutex<Option<FeedPosition>>,
    left: Mutex<u64>,
}

impl Teller {
    fn cursor(&self) -> Option<FeedPosition> {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_to(&self, at: FeedPosition) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Writes a line at once. Answers whether it was the last that was asked for.
    fn tell(&self, document: &Value, line: &str, at: FeedPosition) -> Outcome<bool> {
        let mut document = document.clone();
        document["cursor"] = cursor_text(at).into();
        let text = if self.output.json() { format!("{document}\n") } else { format!("{line}\n") };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| write_failure(&e))?;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        Ok(*left == 0)
    }

    /// Whoever comes back can go on here.
    fn farewell(&self) {
        let Some(at) = self.cursor() else { return };
        let cursor = cursor_text(at);
        if self.output.json() {
            // The reader may be gone.
            let line = json!({ "event": "stopped", "cursor": cursor });
            let _ = self.output.document(&line);
        }
        self.output.note(&format!("Go on from here with: --from {cursor}"));
    }
}

/// Watches until it is interrupted.
///
/// # Errors
/// Interrupted; locked; what the agent says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let top = context.path_or_here(args.path.as_deref())?;
    let from = args.from.as_deref().map(parse_cursor).transpose()?;
    let left = Mutex::new(args.limit.unwrap_or(u64::MAX));
    let teller = Arc::new(Teller { output: context.output, cursor: Mutex::new(from), left });
    if args.values {
        let result = values::watch(context, &teller);
        teller.farewell();
        return result;
    }
    // Asks for the passphrase if somebody is there.
    drop(opened_vault(&context.folders, context.output)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io_text(format!("cannot start the runtime: {e}"), &e))?;
    let (folders, ours) = (context.folders.clone(), teller.clone());
    let result = runtime.block_on(async {
        // A thread of its own: it waits on the agent's socket, and ends with the process.
        let watching = tokio::task::spawn_blocking(move || follow(&folders, &top, &ours));
        tokio::select! {
            ended = watching => ended.unwrap_or_else(|e| Err(Failure::new(Kind::Bug, e.to_string()))),
            stop = daemon::stop_requested() => stop.and(Err(Failure::interrupted())),
        }
    });
    runtime.shutdown_background();
    teller.farewell();
    result
}

fn follow(folders: &crate::folders::Folders, top: &VaultPath, teller: &Teller) -> Outcome {
    let mut agent: Option<Agent> = None;
    let mut waited = false;
    loop {
        let connected = match &mut agent {
            Some(agent) => agent,
            None => agent.insert(Agent::connect(folders)?),
        };
        let ask = Ask::Changes { top: top.clone(), after: teller.cursor(), wait_ms: WAIT_MS_MAX };
        match connected.names(ask) {
            Ok(Answer::Changes { changes, next, reset }) => {
                let known = teller.cursor();
                if reset && tell_change(teller, &Change::reset(), next)? {
                    return Ok(());
                }
                for (at, change) in &changes {
                    teller.move_to(*at);
                    if tell_change(teller, change, *at)? {
                        return Ok(());
                    }
                }
                teller.move_to(next);
                if known.is_none() && changes.is_empty() {
                    let cursor = cursor_text(next);
                    teller
                        .output
                        .note(&format!("Watching {} from {cursor}; ctrl-C ends", clean(&top.to_string())));
                }
            }
            Ok(_) => return Err(Failure::new(Kind::Bug, "the agent answered something else")),
            Err(failure) if failure.kind() == Some(Kind::Retry) => {
                if !std::mem::replace(&mut waited, true) {
                    teller.output.note("The index of names is being made; watching begins after that.");
                }
                pause();
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn pause() {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(PAUSE);
}

fn tell_change(teller: &Teller, change: &Change, at: FeedPosition) -> Outcome<bool> {
    let kind = match change.thing {
        Some(Thing::File(_)) => Some("file"),
        Some(Thing::Folder(_)) => Some("folder"),
        None => None,
    };
    let name = change.kind.name();
    if change.kind == ChangeKind::Reset {
        let document = json!({ "event": name });
        return teller.tell(
            &document,
            "reset     changes before this are not known: look at everything anew",
            at,
        );
    }
    let document = json!({
        "event": name,
        "path": change.path,
        "from": change.from,
        "kind": kind,
        "version": change.version.to_string(),
    });
    let from = change.from.as_ref().map(|from| format!("{} -> ", clean(from))).unwrap_or_default();
    let slash = if kind == Some("folder") { "/" } else { "" };
    teller.tell(&document, &format!("{name:<8}  {from}{}{slash}", clean(&change.path)), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text_and_others_are_refused() {
        let at = FeedPosition { life: 0xfe, sequence: 12 };
        assert_eq!(parse_cursor(&cursor_text(at)).unwrap(), at);
        for bad in ["", "x", "1", "-", "zz-1", "1-x", "1-", "11112222333344445-1"] {
            assert_eq!(parse_cursor(bad).unwrap_err().kind(), Some(Kind::Invalid), "{bad}");
        }
    }
}
