//! A command on a real pseudo-terminal of its own. `setsid` (of util-linux) makes it the controlling terminal.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Home, binary};

/// Longest wait for words on the terminal.
const WORDS_TIME_MAX: Duration = Duration::from_secs(120);

/// A command on a terminal of its own, and what is to be seen there.
pub struct Session {
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Session {
    /// Runs the program with these arguments on a new terminal.
    pub fn start(home: &Home, arguments: &[&str]) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(binary())
            .arg("--home")
            .arg(home.home())
            .args(arguments)
            .env("NO_COLOR", "1")
            .env_remove("LARDER_HOME")
            .stdin(Stdio::from(terminal()))
            .stdout(Stdio::from(terminal()))
            .stderr(Stdio::from(terminal()))
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // The read fails when the last process has closed the terminal.
            while let Ok(len @ 1..) = reader.read(&mut part) {
                if sender.send(part[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keyboard, screen, seen: String::new(), child }
    }

    /// Waits until these words are to be seen; what was seen until then is forgotten.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            match self.screen.recv_timeout(WORDS_TIME_MAX) {
                Ok(part) => self.seen.push_str(&String::from_utf8_lossy(&part)),
                Err(_) => panic!("never saw {words:?}; saw: {}", self.seen),
            }
        }
        let end = self.seen.find(words).unwrap() + words.len();
        self.seen.drain(..end);
    }

    /// The recovery code that comes next.
    #[track_caller]
    pub fn next_code(&mut self) -> String {
        const CODE_LEN: usize = 41;
        loop {
            let code = self.seen.split_whitespace().find(|word| word.len() == CODE_LEN && word.contains('-'));
            if let Some(code) = code {
                return code.to_owned();
            }
            match self.screen.recv_timeout(WORDS_TIME_MAX) {
                Ok(part) => self.seen.push_str(&String::from_utf8_lossy(&part)),
                Err(_) => panic!("never saw a code; saw: {}", self.seen),
            }
        }
    }

    /// What is typed on, and where the terminal's modes can be asked for.
    pub fn keyboard(&mut self) -> &mut File {
        &mut self.keyboard
    }

    /// The process that the terminal belongs to: the program, below `setsid`.
    pub fn pid_of(&self, name: &str) -> rustix::process::Pid {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap();
        let all = std::iter::once(self.child.id().to_string())
            .chain(children.split_whitespace().map(str::to_owned));
        let pid = all.into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        });
        rustix::process::Pid::from_raw(pid.expect("it runs").parse().unwrap()).unwrap()
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\r").unwrap();
    }

    /// Waits for the end, which must have this exit code. Answers what was seen since.
    #[track_caller]
    pub fn ends(mut self, code: i32) -> String {
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "saw: {}", self.seen);
        while let Ok(part) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&part));
        }
        self.seen
    }
}
