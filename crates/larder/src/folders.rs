//! Where Larder keeps its things on this machine: the XDG base folders, or everything under `--home`.
//!
//! Only this file knows the layout. Every folder is private (0700) and owned by this user, because certificates, the
//! vault header and sockets lie in them. Pid and lock files lie in the *state* folder and not beside the sockets: a
//! session without `XDG_RUNTIME_DIR` (cron, su) must still find what another session started.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use larder_format::error::Kind;

use crate::failure::{Failure, Outcome, shown};

/// Names the home where `--home` does not.
pub const HOME_VARIABLE: &str = "LARDER_HOME";

/// Permission bits of every folder.
const FOLDER_MODE: u32 = 0o700;

/// The folders and the names of the files in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    home: Option<PathBuf>,
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
}

/// The environment, as a function so that tests need not change the process's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The home that the command line names, else the environment. Empty there it names none, as is usual.
pub fn home(flag: Option<PathBuf>, env: Environment<'_>) -> Option<PathBuf> {
    flag.or_else(|| env(HOME_VARIABLE).filter(|home| !home.is_empty()).map(PathBuf::from))
}

impl Folders {
    /// Decides where everything lies; creates nothing.
    ///
    /// # Errors
    /// If neither `--home` nor `HOME` says where.
    pub fn locate(home: Option<&Path>, env: Environment<'_>) -> Outcome<Self> {
        if let Some(home) = home {
            let home = std::path::absolute(home).map_err(|e| Failure::io("use --home", home, &e))?;
            return Ok(Self {
                config: home.join("config"),
                data: home.join("data"),
                state: home.join("state"),
                runtime: home.join("run"),
                home: Some(home),
            });
        }
        // The specification says that relative paths are to be ignored.
        let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let user_home = absolute("HOME");
        let under = |name: &str, default: &str| {
            absolute(name)
                .or_else(|| user_home.as_ref().map(|h| h.join(default)))
                .map(|base| base.join("larder"))
        };
        let missing = || {
            Failure::invalid("no home folder: HOME is not set").hint("larder --home DIR, or set LARDER_HOME")
        };
        let state = under("XDG_STATE_HOME", ".local/state").ok_or_else(missing)?;
        Ok(Self {
            home: None,
            config: under("XDG_CONFIG_HOME", ".config").ok_or_else(missing)?,
            data: under("XDG_DATA_HOME", ".local/share").ok_or_else(missing)?,
            runtime: absolute("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |dir| dir.join("larder")),
            state,
        })
    }

    /// Creates what is missing and makes everything private.
    ///
    /// # Errors
    /// If a folder cannot be made, is not a folder, or belongs to somebody else.
    pub fn create(&self) -> Outcome {
        if let Some(home) = &self.home
            && !home.exists()
        {
            make_private(home)?;
        }
        for folder in [&self.config, &self.data, &self.state, &self.runtime, &self.certificates()] {
            make_private(folder)?;
        }
        make_private(&self.logs())
    }

    /// The `--home` folder, if that is where everything lies.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Settings, vault header, certificates: worth a backup.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The node's store.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// High-water marks, logs, pid files.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What a person may change.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join("larder.toml")
    }

    /// The vault's header: its wrapped root key.
    pub fn vault_header_file(&self) -> PathBuf {
        self.config.join("vault.header")
    }

    /// Certificate authority, node and client certificates.
    pub fn certificates(&self) -> PathBuf {
        self.config.join("certificates")
    }

    /// Logs of node and agent.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Pid, address and lock of a daemon called `name`.
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.pid"))
    }

    /// Which file holds the recovery code of a vault that is not real yet.
    pub fn unused_code_note(&self) -> PathBuf {
        self.state.join("unused-recovery-code")
    }

    /// Held while `larder up` or `down` works, so that two do not work at once.
    pub fn work_lock(&self) -> PathBuf {
        self.state.join("up.lock")
    }

    /// Where the agent listens.
    pub fn agent_socket(&self) -> PathBuf {
        self.runtime.join("agent.sock")
    }
}

fn make_private(folder: &Path) -> Outcome {
    match fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder) {
        Ok(()) => {}
        // `create_dir_all` reports a file in the way as "file exists".
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(
                Kind::Conflict,
                format!("{} is in the way: it is not a folder", shown(folder)),
            )
            .hint("move it away, or choose another place with --home DIR"));
        }
        Err(error) => {
            return Err(
                Failure::io("make the folder", folder, &error).hint("choose another place with --home DIR")
            );
        }
    }
    let metadata = fs::metadata(folder).map_err(|e| Failure::io("look at", folder, &e))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(Kind::Denied, format!("{} belongs to another user", shown(folder)))
            .hint("choose another place with --home DIR"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
            .map_err(|e| Failure::io("make private", folder, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "HOME" => Some("/h".into()),
            "XDG_DATA_HOME" => Some("/d".into()),
            "XDG_CONFIG_HOME" => Some("relative".into()),
            _ => None,
        }
    }

    #[test]
    fn xdg_folders_with_their_defaults_and_relative_ones_ignored() {
        let folders = Folders::locate(None, &env).unwrap();
        assert_eq!(folders.config(), Path::new("/h/.config/larder"));
        assert_eq!(folders.data(), Path::new("/d/larder"));
        assert_eq!(folders.state(), Path::new("/h/.local/state/larder"));
        assert_eq!(folders.agent_socket(), Path::new("/h/.local/state/larder/run/agent.sock"));
    }

    #[test]
    fn home_takes_everything_and_no_home_is_an_error() {
        let folders = Folders::locate(Some(Path::new("/x")), &env).unwrap();
        assert_eq!(folders.data(), Path::new("/x/data"));
        assert_eq!(folders.pid_file("node"), Path::new("/x/state/node.pid"));
        let failure = Folders::locate(None, &|_| None).unwrap_err();
        assert!(failure.hint_text().unwrap().contains("--home"));
    }

    #[test]
    fn folders_are_private_even_when_they_were_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("h");
        fs::create_dir_all(home.join("config")).unwrap();
        fs::set_permissions(home.join("config"), fs::Permissions::from_mode(0o755)).unwrap();
        let folders = Folders::locate(Some(&home), &env).unwrap();
        folders.create().unwrap();
        folders.create().unwrap();
        for name in ["config", "data", "state", "run", "config/certificates", "state/logs"] {
            let mode = fs::metadata(home.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{name}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_a_conflict() {
        let dir = tempfile::tempdir().unwrap();
        fs::File::create(dir.path().join("data")).unwrap();
        let failure = Folders::locate(Some(dir.path()), &env).unwrap().create().unwrap_err();
        assert_eq!(failure.kind(), Some(Kind::Conflict));
    }
}
