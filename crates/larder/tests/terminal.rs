//! What a person at a terminal sees: the passphrase questions, without echo, on a real pseudo-terminal. `setsid` (of
//! util-linux) makes it the controlling terminal of the command.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::io::Write;

use pty::Session;
use support::Home;

#[test]
fn a_new_vault_asks_twice_and_shows_nothing_of_the_answer() {
    let home = Home::new();
    let mut session = Session::start(&home, &["up", "--listen", "127.0.0.1:0"]);
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
    session.keyboard().write_all(b"half\x03").unwrap();
    session.wait_for("interrupted");
    let modes = rustix::termios::tcgetattr(session.keyboard()).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
    session.ends(130);
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
