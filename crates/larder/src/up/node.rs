//! Step: the blind node runs. One that was killed is started again; its store recovers by itself.

use std::ffi::OsString;

use crate::failure::Outcome;
use crate::folders::Folders;
use crate::life::pid_file;
use crate::life::spawn::Daemon;
use crate::settings::{Given, Process, Resolved};
use crate::up::{NODE, Up};

/// Starts the node unless it runs, with the settings in `resolved`; those of the command line are handed on as such.
///
/// # Errors
/// If it cannot be started; a conflict if it runs with other settings than the command line asks for.
pub fn ensure(folders: &Folders, resolved: &Resolved, flags: &[Given]) -> Outcome<Up> {
    let pid_file = folders.pid_file(NODE);
    if let Some(running) = pid_file::look(&pid_file)? {
        running.check_settings(NODE, Process::Node, resolved)?;
        return Ok(Up { address: running.address, http: running.http, redis: running.redis, started: false });
    }
    let mut arguments: Vec<OsString> = ["node", "run", "--detached", "--settings"].map(OsString::from).into();
    arguments.push(folders.settings_file().into());
    for given in flags {
        arguments.extend(["--set".into(), format!("{}={}", given.name, given.value).into()]);
    }
    for (flag, path) in [
        ("--data", folders.data().to_owned()),
        ("--certificates", folders.certificates()),
        ("--pid-file", pid_file),
    ] {
        arguments.extend([flag.into(), path.into()]);
    }
    let daemon = Daemon { name: NODE, arguments, log_file: folders.logs().join("node.log") };
    let address = daemon.start()?;
    let running = pid_file::look(&folders.pid_file(NODE))?;
    let (http, redis) = running.map(|running| (running.http, running.redis)).unwrap_or_default();
    Ok(Up { address, http, redis, started: true })
}
