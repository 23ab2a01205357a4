//! Python programs, which share no code with Larder, as tests run them: those of `tools/reader/`, and others' that
//! `tools/reader/setup.sh` installs.
#![allow(dead_code, clippy::print_stderr, reason = "every test file uses a part of it; says what is not run")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's folder.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program of `tools/reader/`, run by the Python that `tools/reader/setup.sh` prepares. `None`, with a word about it,
/// where that was not run, unless under `CI=true`: there nothing may be left out.
pub(crate) fn program(name: &str) -> Option<Command> {
    let mut command = installed("python")?;
    command.arg(project().join("tools/reader").join(name));
    Some(command)
}

/// A program that `tools/reader/setup.sh` installs; `None` as for [`program`].
pub(crate) fn installed(name: &str) -> Option<Command> {
    let program = project().join(".venv/bin").join(name);
    if !program.exists() {
        let missing =
            "tools/reader/setup.sh makes the Python environment that this needs (Debian: python3-venv)";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("NOT RUN: {missing}");
        return None;
    }
    Some(Command::new(program))
}
