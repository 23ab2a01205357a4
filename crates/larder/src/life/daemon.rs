//! The daemon's side of its start: away from the terminal, and one line on stdout that says ready or why not.

use std::fs::OpenOptions;
use std::io::{self, Write};

use larder_format::error::Kind;
use serde::{Deserialize, Serialize};

use crate::descriptor;
use crate::exit::Reason;
use crate::failure::{Failure, Outcome};
use crate::life::log::Log;

/// The one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// It listens here.
    Ready {
        /// Address or socket path.
        address: String,
    },
    /// It could not start.
    Failed {
        /// Exit code, from which the kind follows.
        exit_code: u8,
        /// What went wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Line {
    /// The failure it tells of, if it does.
    pub fn into_outcome(self) -> Outcome<String> {
        match self {
            Line::Ready { address } => Ok(address),
            Line::Failed { exit_code, message, hint } => {
                let failure = Failure::new(kind_of(exit_code), message);
                Err(match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                })
            }
        }
    }

    /// Tells of a failure.
    pub fn of(failure: &Failure) -> Self {
        Line::Failed {
            exit_code: failure.reason().code(),
            message: failure.message().to_owned(),
            hint: failure.hint_text().map(str::to_owned),
        }
    }
}

/// The reverse of the exit table, as far as a daemon's start needs it.
fn kind_of(exit_code: u8) -> Kind {
    const KINDS: &[Kind] = &[
        Kind::Invalid,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Full,
        Kind::Damaged,
        Kind::Denied,
        Kind::Locked,
        Kind::Closed,
        Kind::Unknown,
        Kind::TooNew,
    ];
    KINDS.iter().copied().find(|kind| Reason::Kind(*kind).code() == exit_code).unwrap_or(Kind::Bug)
}

/// How a daemon was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By `larder up`: apart from the terminal, stdout goes to whoever waits for the line.
    Detached,
    /// By hand or a service manager: stays where it is.
    Attached,
}

/// Leaves the terminal (when detached), makes files private by default, starts the log on stderr.
///
/// # Errors
/// If the process cannot become a session of its own, or the log's filter is not understood.
pub fn begin(mode: Mode, log: &Log) -> Outcome {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if mode == Mode::Detached {
        descriptor::close_inherited();
        rustix::process::setsid()
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot leave the terminal: {e}")))?;
        // So that no file system stays busy because of us; every path we were given is absolute.
        std::env::set_current_dir("/").map_err(|e| Failure::io("enter", "/".as_ref(), &e))?;
    }
    log.begin(mode == Mode::Attached && io::IsTerminal::is_terminal(&io::stderr()))?;
    Ok(())
}

/// Says the one line, and lets go of stdout when detached.
///
/// # Errors
/// If whoever started us is gone (then nobody wants this daemon) or stdout cannot be let go.
pub fn announce(mode: Mode, line: &Line) -> Outcome {
    if mode == Mode::Attached {
        return Ok(());
    }
    let mut text = serde_json::to_vec(line)
        .map_err(|e| Failure::new(Kind::Bug, format!("cannot say whether it started: {e}")))?;
    text.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&text)
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::io_text(format!("whoever started this process is gone: {e}"), &e))?;
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(|e| Failure::io("open", "/dev/null".as_ref(), &e))?;
    rustix::stdio::dup2_stdout(&null)
        .map_err(|e| Failure::io_text(format!("cannot let go of standard output: {e}"), &e.into()))
}

/// Completes when the process is asked to stop: SIGTERM or SIGINT.
///
/// # Errors
/// If signals cannot be waited for.
pub async fn stop_requested() -> Outcome {
    use tokio::signal::unix::{SignalKind, signal};
    let listen =
        |kind| signal(kind).map_err(|e| Failure::io_text(format!("cannot wait for signals: {e}"), &e));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_with_its_kind() {
        let failure = Failure::new(Kind::TooNew, "store of a newer version").hint("upgrade");
        assert_eq!(Line::of(&failure).into_outcome(), Err(failure));
        assert_eq!(Line::Ready { address: "a".to_owned() }.into_outcome(), Ok("a".to_owned()));
    }
}
