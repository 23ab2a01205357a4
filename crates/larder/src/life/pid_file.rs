//! Who runs: a file with pid and address, locked (`flock`) by the process it names for as long as that process lives.
//!
//! The lock is the truth and the text only a note: after kill -9, a crash or a reboot the lock is gone, and whatever
//! the file says is stale. Lookers take the lock shared for an instant; a starting daemon therefore tries for a while.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use larder_format::error::Kind;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome, shown};
use crate::settings::{Process, Resolved};

/// Largest pid file, in bytes.
const FILE_LEN_MAX: u64 = 16 * 1024;
/// How often a starting daemon tries for the lock, and a looker reads a file that is just being written.
const ATTEMPTS: u32 = 25;
/// How often is looked whether a process that answers nobody lets its lock go: for about 5 seconds, which the
/// kernel may need to take down a process with much memory.
const LETTING_GO_ATTEMPTS: u32 = 250;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// What a running process says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Process id.
    pub pid: i32,
    /// Where it listens: an address, or a socket's path.
    pub address: String,
    /// Where its HTTP door is, if it has one open.
    #[serde(default)]
    pub http: Option<String>,
    /// Where its Redis door is, if it has one open.
    #[serde(default)]
    pub redis: Option<String>,
    /// Its program version.
    pub version: String,
    /// The settings that it goes by, as [`crate::settings::table::Field::show`] writes them.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Running {
    /// Refuses what a running process cannot take over: settings that the command line named. What is changed in
    /// the settings file or the environment waits for a start.
    ///
    /// # Errors
    /// A conflict.
    pub fn check_settings(&self, name: &str, process: Process, asked: &Resolved) -> Outcome {
        let flags = asked.of(process).into_iter().filter(|(name, _)| asked.is_by_flag(name));
        for (setting, value) in flags {
            if setting == "listen" && value.ends_with(":0") {
                // Any free port was asked for, so wherever it listens is right.
                continue;
            }
            let running = self.settings.get(&setting);
            let is_there = match setting.as_str() {
                "listen" => self.address == value,
                "http_listen" => self.http.as_ref() == Some(&value),
                "redis_listen" => self.redis.as_ref() == Some(&value),
                _ => false,
            };
            if running == Some(&value) || is_there {
                continue;
            }
            let running = running.map_or("something else", String::as_str);
            let message = format!("the {name} runs already, with {setting} {running} and not {value}");
            return Err(Failure::new(Kind::Conflict, message).hint("larder down first, then larder up"));
        }
        Ok(())
    }
}

/// The lock, held until dropped or until the process ends however it ends.
#[derive(Debug)]
pub struct Held {
    file: File,
}

impl Held {
    /// Writes down who holds it, in place of what stood there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, running: &Running) -> Outcome {
        let text = serde_json::to_vec(running)
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot write down who runs: {e}")))?;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(&text))
            .map_err(|e| Failure::io_text(format!("cannot write the pid file: {e}"), &e))
    }
}

/// Takes the lock and writes down who holds it.
///
/// # Errors
/// A conflict if another process holds it.
pub fn hold(path: &Path, running: &Running) -> Outcome<Held> {
    let file = open(path)?;
    let mut attempt = 0;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        attempt += 1;
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(Failure::io("lock", path, &error.into()));
        }
        if attempt == ATTEMPTS {
            return Err(Failure::new(Kind::Conflict, format!("already running ({} is locked)", shown(path))));
        }
        pause();
    }
    let mut held = Held { file };
    held.write(running)?;
    Ok(held)
}

/// Who runs, if anyone.
///
/// # Errors
/// What the file system says.
pub fn look(path: &Path) -> Outcome<Option<Running>> {
    for _ in 0..ATTEMPTS {
        let Some(file) = open_existing(path)? else { return Ok(None) };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(Failure::io("lock", path, &error.into())),
        }
        let mut text = String::new();
        (&file).take(FILE_LEN_MAX).read_to_string(&mut text).map_err(|e| Failure::io("read", path, &e))?;
        if let Ok(running) = serde_json::from_str(&text) {
            return Ok(Some(running));
        }
        // Its holder has the lock and is about to write.
        pause();
    }
    Err(Failure::new(Kind::Damaged, format!("{} is locked but does not say by whom", shown(path))))
}

/// Whether nobody holds the lock, at once or in a short while: a process that is being killed loses its
/// connections a moment before its lock.
///
/// # Errors
/// What the file system says.
pub fn is_let_go(path: &Path) -> Outcome<bool> {
    for _ in 0..LETTING_GO_ATTEMPTS {
        if look(path)?.is_none() {
            return Ok(true);
        }
        pause();
    }
    Ok(false)
}

/// A lock without words: held while a piece of work must not be done twice at once.
///
/// # Errors
/// What the file system says.
pub fn wait_for_turn(path: &Path, on_wait: impl FnOnce()) -> Outcome<Held> {
    let file = open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        on_wait();
        flock(&file, FlockOperation::LockExclusive).map_err(|e| Failure::io("lock", path, &e.into()))?;
    }
    Ok(Held { file })
}

fn open(path: &Path) -> Outcome<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| Failure::io("open", path, &e))
}

fn open_existing(path: &Path) -> Outcome<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("open", path, &error)),
    }
}

fn pause() {
    // Nothing announces that a lock is free, and this happens only when two processes meet.
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Running {
        Running {
            pid: 7,
            address: "x".to_owned(),
            http: None,
            redis: None,
            version: "1".to_owned(),
            settings: BTreeMap::new(),
        }
    }

    #[test]
    fn held_while_alive_and_stale_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        assert_eq!(look(&path).unwrap(), None);
        let held = hold(&path, &me()).unwrap();
        assert_eq!(look(&path).unwrap(), Some(me()));
        assert_eq!(hold(&path, &me()).unwrap_err().kind(), Some(Kind::Conflict));
        drop(held);
        assert!(path.exists(), "the text stays, and must not be believed");
        assert_eq!(look(&path).unwrap(), None);
        hold(&path, &me()).unwrap();
    }

    #[test]
    fn work_is_done_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let first = wait_for_turn(&path, || panic!("nobody to wait for")).unwrap();
        let (sender, receiver) = mpsc::channel();
        let second = std::thread::spawn(move || wait_for_turn(&path, || sender.send(()).unwrap()).map(drop));
        receiver.recv().unwrap();
        drop(first);
        second.join().unwrap().unwrap();
    }
}
