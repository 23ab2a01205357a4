//! Starting a daemon: this same program, apart from the terminal, its words in a log file; and waiting until it says
//! that it is ready, or why it is not.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use larder_format::error::Kind;

use crate::failure::{Failure, Outcome, shown};
use crate::life::daemon::Line;
use crate::life::log;

/// Longest wait for a daemon's line. Opening a store after a crash reads its log; on a slow disk that takes a while.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest line accepted, in bytes.
const LINE_LEN_MAX: u64 = 64 * 1024;

/// What to start.
#[derive(Debug)]
pub struct Daemon {
    /// What people call it.
    pub name: &'static str,
    /// Arguments of this program.
    pub arguments: Vec<OsString>,
    /// Where its words go.
    pub log_file: PathBuf,
}

impl Daemon {
    /// Starts it and waits for its line. Answers the address it listens on.
    ///
    /// # Errors
    /// What the daemon says went wrong; or that it died or said nothing in time, with the log's place.
    pub fn start(&self) -> Outcome<String> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::io_text(format!("cannot find this program's own file: {e}"), &e))?;
        let log = log::open(&self.log_file)?;
        let mut child = Command::new(&program)
            .args(&self.arguments)
            .arg("--log-file")
            .arg(&self.log_file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|e| Failure::io("start", &program, &e))?;
        let stdout =
            child.stdout.take().ok_or_else(|| Failure::new(Kind::Bug, "a piped stdout is missing"))?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout.take(LINE_LEN_MAX)).read_line(&mut line);
            // The receiver may have given up.
            let _ = sender.send(read.map(|_| line));
        });
        match receiver.recv_timeout(START_TIME_MAX) {
            Ok(Ok(line)) => match serde_json::from_str::<Line>(&line) {
                Ok(line) => line.into_outcome(),
                Err(_) => Err(self.silent(&format!("the {} ended without a word", self.name))),
            },
            Ok(Err(error)) => Err(self.silent(&format!("cannot hear from the {}: {error}", self.name))),
            Err(_) => {
                // It belongs to us and nobody could use it.
                let _ = child.kill();
                Err(self.silent(&format!(
                    "the {} did not start within {} s",
                    self.name,
                    START_TIME_MAX.as_secs()
                )))
            }
        }
    }

    fn silent(&self, message: &str) -> Failure {
        Failure::new(Kind::Closed, message).hint(format!("look at {}", shown(&self.log_file)))
    }
}
