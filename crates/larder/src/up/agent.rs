//! Step: the agent runs and answers.

use std::ffi::OsString;

use crate::agent::client::{Agent, NAME};
use crate::failure::Outcome;
use crate::folders::Folders;
use crate::life::spawn::Daemon;
use crate::life::{pid_file, process};
use crate::settings::{Process, Resolved, every};
use crate::up::Up;

/// Starts the agent unless it runs and answers, with the settings in `resolved`.
///
/// # Errors
/// If it cannot be started; a conflict if it runs with other settings than the command line asks for.
pub fn ensure(folders: &Folders, resolved: &Resolved) -> Outcome<Up> {
    let pid_file = folders.pid_file(NAME);
    if let Some(running) = pid_file::look(&pid_file)? {
        if Agent::connect(folders).and_then(|mut agent| agent.status()).is_ok() {
            running.check_settings(NAME, Process::Agent, resolved)?;
            return Ok(Up { address: running.address, http: None, redis: None, started: false });
        }
        // It lives but cannot be reached: its socket was cleared away, as happens to runtime folders at log-out.
        process::stop(NAME, &pid_file)?;
    }
    let home = folders.home().map(|home| ["--home".into(), home.as_os_str().to_owned()]);
    let mut arguments: Vec<OsString> = home.into_iter().flatten().collect();
    arguments.extend([
        "agent".into(),
        "run".into(),
        "--detached".into(),
        "--socket".into(),
        folders.agent_socket().into(),
        "--pid-file".into(),
        pid_file.into(),
        "--header".into(),
        folders.vault_header_file().into(),
        "--idle-lock".into(),
        resolved.settings.idle_lock.text().into(),
        "--retention-every".into(),
        every::text(resolved.settings.retention_every).into(),
        "--log".into(),
        resolved.settings.log.clone().into(),
        "--log-format".into(),
        resolved.settings.log_format.text().into(),
    ]);
    let daemon = Daemon { name: NAME, arguments, log_file: folders.logs().join("agent.log") };
    Ok(Up { address: daemon.start()?, http: None, redis: None, started: true })
}
