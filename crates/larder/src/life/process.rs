//! Stopping a daemon: a signal to the process that holds the pid file's lock, then waiting for its real end.

use std::path::Path;
use std::time::Duration;

use larder_format::error::Kind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::failure::{Failure, Outcome};
use crate::life::pid_file;

/// Longest wait for a daemon to finish what it has begun.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// Asks whoever holds the pid file to stop, and waits until it has. Answers whether there was anyone.
///
/// # Errors
/// If it cannot be signalled, or is still there when the time is up.
pub fn stop(name: &str, pid_file: &Path) -> Outcome<bool> {
    let Some(running) = pid_file::look(pid_file)? else { return Ok(false) };
    let pid = Pid::from_raw(running.pid)
        .ok_or_else(|| Failure::new(Kind::Damaged, format!("the {name}'s pid file holds no pid")))?;
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(failed(name, running.pid, error)),
    };
    // The handle names one process for good. If the lock is still held by the same pid, that is the process meant,
    // and not another one that got its number meanwhile.
    if pid_file::look(pid_file)?.is_none_or(|now| now.pid != running.pid) {
        return Ok(false);
    }
    match pidfd_send_signal(&handle, Signal::TERM) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(error) => return Err(failed(name, running.pid, error)),
    }
    let limit = Timespec { tv_sec: i64::try_from(STOP_TIME_MAX.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    loop {
        let mut wait = [PollFd::new(&handle, PollFlags::IN)];
        return match poll(&mut wait, Some(&limit)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(failed(name, running.pid, error)),
            Ok(0) => Err(Failure::new(
                Kind::Retry,
                format!(
                    "the {name} (process {}) is still at work after {} s",
                    running.pid,
                    STOP_TIME_MAX.as_secs()
                ),
            )
            .hint("try again; `kill -9` ends it at once, and what was acknowledged stays")),
            Ok(_) => Ok(true),
        };
    }
}

fn failed(name: &str, pid: i32, error: rustix::io::Errno) -> Failure {
    Failure::io_text(format!("cannot stop the {name} (process {pid}): {error}"), &error.into())
}
