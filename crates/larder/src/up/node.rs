//! Step: the blind node runs. One that was killed is started again; its store recovers by itself.

use larder_format::error::Kind;

use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::life::pid_file;
use crate::life::spawn::Daemon;
use crate::settings::Settings;
use crate::size;
use crate::up::{NODE, Up};

/// Starts the node unless it runs. `asked_cap` is the memory cap, in bytes, that the command line named.
///
/// # Errors
/// If it cannot be started; a conflict if it runs somewhere else or with another cap than asked for.
pub fn ensure(folders: &Folders, settings: &Settings, asked_cap: Option<u64>) -> Outcome<Up> {
    let pid_file = folders.pid_file(NODE);
    if let Some(running) = pid_file::look(&pid_file)? {
        let asked = settings.listen;
        // Port 0 asks for any free port, so wherever it listens is right.
        if asked.port() != 0 && running.address != asked.to_string() {
            return Err(Failure::new(
                Kind::Conflict,
                format!("the node runs already, on {} and not on {asked}", running.address),
            )
            .hint("larder down first, then larder up"));
        }
        let asked = asked_cap.map(|bytes| (bytes.to_string(), size::show(bytes)));
        running.check_setting(NODE, "memory cap", asked)?;
        return Ok(Up { address: running.address, started: false });
    }
    let daemon = Daemon {
        name: NODE,
        arguments: vec![
            "node".into(),
            "run".into(),
            "--detached".into(),
            "--listen".into(),
            settings.listen.to_string().into(),
            "--memory-cap".into(),
            settings.memory_cap_bytes.to_string().into(),
            "--data".into(),
            folders.data().into(),
            "--certificates".into(),
            folders.certificates().into(),
            "--pid-file".into(),
            pid_file.into(),
        ],
        log_file: folders.logs().join("node.log"),
    };
    Ok(Up { address: daemon.start()?, started: true })
}
