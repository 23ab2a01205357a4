//! What a person at a terminal sees: the passphrase questions, without echo, on a real pseudo-terminal. `setsid` (of
//! util-linux) makes it the controlling terminal of the command.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Home, binary};

/// Longest wait for words on the terminal.
const WORDS_TIME_MAX: Duration = Duration::from_secs(30);

/// A command on a terminal of its own, and what is to be seen there.
struct Session {
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Session {
    fn start(home: &Home, arguments: &[&str]) -> Self {
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

    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        while !self.seen.contains(words) {
            match self.screen.recv_timeout(WORDS_TIME_MAX) {
                Ok(part) => self.seen.push_str(&String::from_utf8_lossy(&part)),
                Err(_) => panic!("never saw {words:?}; saw: {}", self.seen),
            }
        }
        let end = self.seen.find(words).unwrap() + words.len();
        self.seen.drain(..end);
    }

    fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\r").unwrap();
    }

    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "saw: {}", self.seen);
        while let Ok(part) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&part));
        }
        self.seen
    }
}

#[test]
fn a_new_vault_asks_twice_and_shows_nothing_of_the_answer() {
    let home = Home::new();
    let mut session = Session::start(&home, &["up", "--listen", "127.0.0.1:0"]);
    session.wait_for("How much may Larder store on this disk? [Enter: ");
    session.type_line("lots");
    session.wait_for("not a size");
    session.type_line("200MiB");
    session.wait_for("200 MiB; `larder quota set` changes it later.");
    session.wait_for("Passphrase: ");
    session.type_line("tro\u{7f}y hörse");
    session.wait_for("Again, to be sure: ");
    session.type_line("something else");
    session.wait_for("These two differ.");
    session.wait_for("Passphrase: ");
    session.type_line("try hörse");
    session.wait_for("Again, to be sure: ");
    session.type_line("try hörse");
    session.wait_for("recovery code, shown this once");
    session.wait_for("Larder is up");
    let rest = session.ends(0);
    assert!(!rest.contains("hörse"), "{rest}");
    let usage = home.run(&["quota", "--json"]).ends(0).json();
    assert_eq!(usage["node"]["quota_bytes"], 200 << 20, "{usage}");
    home.run(&["lock"]).ends(0);
    let right = home.file("right", "try hörse\n".as_bytes());
    home.run(&["unlock", "--passphrase-file", &right]).ends(0);
}

#[test]
fn a_locked_vault_is_opened_on_the_way_and_ctrl_c_gives_the_terminal_back() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"contents").ends(0);
    home.run(&["lock"]).ends(0);
    let mut session = Session::start(&home, &["cat", "/f"]);
    session.wait_for("Passphrase: ");
    session.type_line("wrong");
    session.wait_for("That is not it. Passphrase: ");
    session.type_line(support::PASSPHRASE);
    session.wait_for("contents");
    let rest = session.ends(0);
    assert!(!rest.contains(support::PASSPHRASE));

    home.run(&["lock"]).ends(0);
    let mut session = Session::start(&home, &["cat", "/f"]);
    session.wait_for("Passphrase: ");
    session.keyboard.write_all(b"half\x03").unwrap();
    session.wait_for("interrupted");
    let modes = rustix::termios::tcgetattr(&session.keyboard).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
    session.ends(130);
}

#[test]
fn without_room_it_is_offered_what_to_delete() {
    const LEN: usize = 3_000_000;
    let home = Home::up();
    home.run(&["quota", "set", "--namespace", "files", "5MiB"]).ends(0);
    home.run_with(&["put", "-", "/old"], &support::noise(LEN, 1)).ends(0);
    home.run(&["rm", "/old"]).ends(0);
    let new = home.file("new", &support::noise(LEN, 2));
    // Enter deletes nothing.
    let mut session = Session::start(&home, &["put", &new, "/new"]);
    session.wait_for("deleted  /old (1 version");
    session.wait_for("Enter deletes nothing: ");
    session.type_line("");
    session.wait_for("Nothing was deleted.");
    session.ends(5);
    home.run(&["versions", "/old"]).ends(0);
    let mut session = Session::start(&home, &["put", &new, "/new"]);
    session.wait_for("Enter deletes nothing: ");
    session.type_line("1,9");
    session.wait_for("\"9\" is not one of the numbers 1 to");
    session.wait_for("Enter deletes nothing: ");
    session.type_line("1");
    session.wait_for("Deleted for good: 1 version.");
    assert!(session.ends(5).contains("run the command again"));
    home.run(&["versions", "/old"]).ends(3);
    for _ in 0..50 {
        if home.run(&["put", &new, "/new"]).code == 0 {
            return;
        }
        support::pause(200);
    }
    panic!("no room came back");
}

#[test]
fn three_wrong_answers_are_enough() {
    let home = Home::up();
    home.run(&["lock"]).ends(0);
    let mut session = Session::start(&home, &["unlock"]);
    for _ in 0..3 {
        session.wait_for("Passphrase: ");
        session.type_line("wrong");
    }
    session.wait_for("wrong passphrase");
    session.ends(7);
}
