//! The Python programs of `tools/reader/`, which share no code with Larder, as tests run them.
#![allow(clippy::print_stderr, reason = "says what is not run")]

use std::path::Path;
use std::process::Command;

/// A program of `tools/reader/`, run by the Python that `tools/reader/setup.sh` prepares. `None`, with a word about it,
/// where that was not run, unless under `CI=true`: there nothing may be left out.
pub(crate) fn program(name: &str) -> Option<Command> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = project.join(".venv/bin/python");
    if !python.exists() {
        let missing =
            "tools/reader/setup.sh makes the Python environment that this needs (Debian: python3-venv)";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("NOT RUN: {missing}");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(project.join("tools/reader").join(name));
    Some(command)
}
