//! The command's side of the agent: connect, ask, and get the opened vault, asking a person for the passphrase where
//! that is needed and possible.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_format::clock::{Clock, SystemClock};
use larder_format::error::Kind;
use larder_seal::Secret as RootSecret;
use larder_seal::keys::VaultRoot;

use crate::agent::names::{Answer, Ask};
use crate::agent::protocol::{self, Request, Response, Secret, Status};
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::life::pid_file;
use crate::output::Output;
use crate::terminal::Terminal;

/// The pid file's name, and what people call it.
pub const NAME: &str = "agent";
/// Longest wait for an answer: a key derivation on a slow machine, behind another one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a person may mistype the passphrase.
const ATTEMPTS_MAX: u32 = 3;
/// After so long without a question the connection is made anew before the next: a person takes a while to type, and the
/// agent does not wait for whoever says nothing.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Longest path that fits a Unix socket address with its final NUL, in bytes.
const SOCKET_PATH_LEN_MAX: usize = 107;

/// A connection to the agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    socket: PathBuf,
    clock: SystemClock,
    /// When it was connected or last answered, by the steady clock.
    used: Duration,
}

impl Agent {
    /// Connects to the running agent, wherever it was started from.
    ///
    /// # Errors
    /// Closed if none runs.
    pub fn connect(folders: &Folders) -> Outcome<Self> {
        let not_running = || {
            Failure::new(Kind::Closed, "the agent, which holds the opened vault, is not running")
                .hint("larder up")
        };
        let running = pid_file::look(&folders.pid_file(NAME))?.ok_or_else(not_running)?;
        Self::connect_to(Path::new(&running.address)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
            _ => Failure::io_text(format!("cannot reach the agent: {error}"), &error),
        })
    }

    fn connect_to(socket: &Path) -> io::Result<Self> {
        let short = ShortPath::of(socket)?;
        let stream = UnixStream::connect(short.path())?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        // A passphrase goes to nobody else.
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket is another user's"));
        }
        let clock = SystemClock::new();
        let used = clock.monotonic();
        Ok(Self { stream, socket: socket.to_path_buf(), clock, used })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What the agent says went wrong.
    pub fn ask(&mut self, request: &Request) -> Outcome<Response> {
        let lost = |e: io::Error| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Failure::new(Kind::Retry, "the agent did not answer in time").hint("try again")
            }
            _ => Failure::new(Kind::Closed, format!("lost the agent: {e}")).hint("larder up"),
        };
        if self.clock.monotonic().saturating_sub(self.used) > IDLE_MAX {
            *self = Self::connect_to(&self.socket).map_err(lost)?;
        }
        protocol::write_frame(&mut self.stream, &request.encode()).map_err(lost)?;
        let frame = protocol::read_frame(&mut self.stream).map_err(lost)?;
        self.used = self.clock.monotonic();
        match Response::decode(&frame) {
            Ok(Response::Failed { kind: Kind::Locked, message }) => {
                Err(Failure::new(Kind::Locked, message).hint("larder unlock"))
            }
            Ok(Response::Failed { kind, message }) => Err(Failure::new(kind, message)),
            Ok(response) => Ok(response),
            Err(error) => Err(Failure::new(Kind::Bug, format!("the agent's answer makes no sense: {error}"))
                .hint("another version may be running: larder down, then larder up")),
        }
    }

    /// Asks for something that answers with no more than that it was done.
    ///
    /// # Errors
    /// As [`Agent::ask`].
    pub fn tell(&mut self, request: &Request) -> Outcome {
        match self.ask(request)? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the vault is open.
    ///
    /// # Errors
    /// As [`Agent::ask`].
    pub fn status(&mut self) -> Outcome<Status> {
        match self.ask(&Request::Status)? {
            Response::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// The opened vault.
    ///
    /// # Errors
    /// Locked; as [`Agent::ask`].
    pub fn root(&mut self) -> Outcome<VaultRoot> {
        match self.ask(&Request::Root)? {
            Response::Root { vault, root } => Ok(VaultRoot::from_parts(vault, RootSecret::new(*root))),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the index of names.
    ///
    /// # Errors
    /// Locked; as [`Agent::ask`].
    pub fn names(&mut self, ask: Ask) -> Outcome<Answer> {
        match self.ask(&Request::Names(ask))? {
            Response::Names(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens the vault, asking a person up to three times.
    ///
    /// # Errors
    /// Denied when all attempts were wrong; as [`Agent::ask`].
    pub fn unlock_by_asking(&mut self, terminal: &mut Terminal) -> Outcome {
        for attempt in 1.. {
            let passphrase = terminal.ask_secret("Passphrase: ")?;
            match self.tell(&Request::Unlock(Secret::Passphrase(passphrase))) {
                Err(failure) if failure.kind() == Some(Kind::Denied) && attempt < ATTEMPTS_MAX => {
                    terminal.show("That is not it. ")?;
                }
                result => return result,
            }
        }
        Ok(())
    }
}

/// The answer makes no sense as one to what was asked.
pub fn unexpected(response: &Response) -> Failure {
    let name = match response {
        Response::Done => "done",
        Response::Status(_) => "status",
        Response::Root { .. } => "root",
        Response::Created { .. } => "created",
        Response::Changed { .. } => "changed",
        Response::Names(_) => "names",
        Response::Failed { .. } => "failed",
    };
    Failure::new(Kind::Bug, format!("the agent answered something else answer={name}"))
}

/// The opened vault for a command: from the agent, after asking for the passphrase if it is locked and somebody is
/// there to be asked.
///
/// # Errors
/// Locked, with the command to run; as [`Agent::ask`].
pub fn opened_vault(folders: &Folders, output: Output) -> Outcome<VaultRoot> {
    let mut agent = Agent::connect(folders)?;
    match agent.root() {
        Err(failure) if failure.kind() == Some(Kind::Locked) => {
            let Some(mut terminal) = Terminal::open() else { return Err(failure) };
            output.note("The vault is locked.");
            agent.unlock_by_asking(&mut terminal)?;
            agent.root()
        }
        result => result,
    }
}

/// A name for a socket that fits its address: paths longer than 107 bytes (deep `--home` folders) go through the open
/// folder in `/proc/self/fd`.
#[derive(Debug)]
pub struct ShortPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl ShortPath {
    /// Prepares the path.
    ///
    /// # Errors
    /// If the folder cannot be opened.
    pub fn of(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= SOCKET_PATH_LEN_MAX {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// The path to bind or connect to, while this lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_in_a_very_deep_folder_works() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let socket = deep.join("agent.sock");
        assert!(
            UnixListener::bind(&socket).is_err(),
            "the plain path must be too long for this test to mean anything"
        );
        let listener = UnixListener::bind(ShortPath::of(&socket).unwrap().path()).unwrap();
        let _client = Agent::connect_to(&socket).unwrap();
        listener.accept().unwrap();
    }
}
