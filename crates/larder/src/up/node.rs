//! Step: the blind node runs. One that was killed is started again; its store recovers by itself.

use larder_format::error::Kind;

use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::life::pid_file;
use crate::life::spawn::Daemon;
use crate::settings::Settings;
use crate::up::{NODE, Up};

/// Starts the node unless it runs.
///
/// # Errors
/// If it cannot be started, or runs somewhere else than asked for.
pub fn ensure(folders: &Folders, settings: &Settings) -> Outcome<Up> {
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
