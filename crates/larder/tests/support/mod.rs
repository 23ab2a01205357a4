//! What the end-to-end tests share: a home of their own in a temporary folder, and the real binary run in it without a
//! terminal. Whatever still runs when a test ends is stopped.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stderr,
    reason = "every test file uses a part of it, and is told what cannot run"
)]

pub mod http;
pub mod patience;
pub mod small;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The passphrase of every test vault.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// The user that tests of permissions run as when they are started as root, to whom nothing is forbidden.
const NOBODY: u32 = 65534;

/// A home folder and what lies in it.
pub struct Home {
    dir: TempDir,
    /// Environment of every command, for instance to give the daemons another clock.
    environment: Vec<(String, String)>,
    /// Commands run as this user, from a copy of the binary that this user can reach.
    user: Option<u32>,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// The exit code it must have ended with.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Words that standard error must contain.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "no {words:?} in stderr: {}", self.err);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Standard error as a JSON error.
    #[track_caller]
    pub fn json_error(&self) -> Value {
        let value: Value = serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {}", self.err));
        value["error"].clone()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Home {
    /// A new folder with a passphrase file beside the home; nothing runs.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Self { dir, environment: Vec::new(), user: None };
        home.file("passphrase", PASSPHRASE.as_bytes());
        home.file("wrong", b"not it\n");
        home
    }

    /// A new folder with everything up, on any free port.
    pub fn up() -> Self {
        let home = Self::new();
        home.bring_up().ends(0);
        home
    }

    /// A new folder whose commands run with this in their environment.
    pub fn with_environment(variables: &[(&str, &str)]) -> Self {
        let mut home = Self::new();
        home.environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        home
    }

    /// A new folder whose commands run as somebody to whom things can be forbidden.
    pub fn without_root() -> Self {
        let mut home = Self::new();
        if rustix::process::geteuid().is_root() {
            std::fs::copy(binary(), home.path("larder")).unwrap();
            for path in [home.dir.path().to_owned(), home.path("passphrase"), home.path("larder")] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            home.user = Some(NOBODY);
        }
        home
    }

    /// Gives a file to the user that commands run as.
    pub fn give(&self, path: &Path) {
        if let Some(user) = self.user {
            std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
        }
    }

    /// `larder up` with the passphrase file and any free port.
    pub fn bring_up(&self) -> Said {
        let passphrase = self.path("passphrase");
        self.run(&["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()])
    }

    /// The folder given as `--home`.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A path beside the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a file beside the home and answers its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The command with its arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.user {
            Some(user) => {
                use std::os::unix::process::CommandExt;
                let mut command = Command::new(self.path("larder"));
                command.uid(user).gid(user).current_dir(self.dir.path());
                command
            }
            None => Command::new(binary()),
        };
        command.arg("--home").arg(self.home()).args(arguments);
        command.env_remove("LARDER_HOME").env("NO_COLOR", "1").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs a command to its end with this on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that fails early closes its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    /// The process id of `node` or `agent`.
    pub fn pid(&self, name: &str) -> i32 {
        let text = std::fs::read_to_string(self.home().join("state").join(format!("{name}.pid"))).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
    }

    /// Ends `node` or `agent` as a power cut would, and waits until it is gone.
    pub fn kill(&self, name: &str) {
        let pid = rustix::process::Pid::from_raw(self.pid(name)).unwrap();
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).unwrap();
        let mut wait = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.home().exists() {
            let _ = self.run(&["down"]);
        }
    }
}

/// Lets time pass.
pub fn pause(ms: u64) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(std::time::Duration::from_millis(ms));
}

/// A port that nobody else takes once it is let go: of an address of loopback that is this process' own. Those of 127.0.0.1
/// are given to whoever asks for any.
pub fn own_port() -> std::net::TcpListener {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    std::net::TcpListener::bind((std::net::Ipv4Addr::from([127, 64 + high % 64, low, next]), 0)).unwrap()
}

/// Bytes that neither compress nor repeat, others for every seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64 ^ seed.wrapping_mul(0xd134_2543_de82_ef95);
    (0..len)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 32) as u8
        })
        .collect()
}

/// How much of the disk a folder or file takes, in bytes (holes are not counted).
pub fn taken(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let below = if metadata.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| taken(&entry.unwrap().path())).sum()
    } else {
        0
    };
    below + metadata.blocks() * 512
}

/// A library that gives a program another clock, where Debian and its kin put it.
pub fn faketime() -> Option<String> {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    if found.is_none() {
        eprintln!("NOT RUN: libfaketime is not installed (Debian package faketime)");
    }
    found
}

/// The binary under test: the one just built, or the one that `LARDER_TEST_BINARY` names.
pub fn binary() -> PathBuf {
    std::env::var_os("LARDER_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_larder").into(), PathBuf::from)
}
