//! What a person at a terminal sees: the passphrase questions, without echo, on a real pseudo-terminal. `setsid` (of
//! util-linux) makes it the controlling terminal of the command.

use std::io::Write;

use crate::pty::Session;
use crate::support::Home;
use crate::support::patience::until;

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
    // As long as it takes: the agent gives up on whoever is silent for ten seconds.
    crate::support::pause(11_000);
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
    session.type_line(crate::support::PASSPHRASE);
    session.wait_for("contents");
    let rest = session.ends(0);
    assert!(!rest.contains(crate::support::PASSPHRASE));

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
fn without_room_it_is_offered_what_to_delete() {
    const LEN: usize = 3_000_000;
    let home = Home::up();
    home.run(&["quota", "set", "--namespace", "files", "5MiB"]).ends(0);
    home.run_with(&["put", "-", "/old"], &crate::support::noise(LEN, 1)).ends(0);
    home.run(&["rm", "/old"]).ends(0);
    let new = home.file("new", &crate::support::noise(LEN, 2));
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
    until("room comes back", || home.run(&["put", &new, "/new"]).code == 0);
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

#[test]
fn the_passphrase_is_changed_and_recovered_by_asking() {
    let home = Home::up();
    let mut session = Session::start(&home, &["vault", "passphrase"]);
    session.wait_for("Current passphrase: ");
    session.type_line(crate::support::PASSPHRASE);
    session.wait_for("New passphrase: ");
    session.type_line("second of them");
    session.wait_for("Again, to be sure: ");
    session.type_line("second of them");
    session.wait_for("the old one opens nothing any more");
    assert!(!session.ends(0).contains("second"));

    let mut session = Session::start(&home, &["vault", "recovery-code"]);
    session.wait_for("shown this once:");
    let code = session.next_code();
    session.ends(0);

    home.run(&["lock"]).ends(0);
    let mut session = Session::start(&home, &["vault", "recover"]);
    session.wait_for("Recovery code: ");
    session.type_line(&code);
    session.wait_for("New passphrase: ");
    session.type_line("third of them");
    session.wait_for("Again, to be sure: ");
    session.type_line("third of them");
    session.wait_for("Make a new recovery code, too, in the place of this one? [y/N] ");
    session.type_line("y");
    session.wait_for("shown this once:");
    let new = session.next_code();
    assert_ne!(new, code);
    session.wait_for("The vault is open.");
    session.ends(0);
    home.run(&["ls"]).ends(0);
    home.run(&["lock"]).ends(0);
    let (old, new) = (home.file("old", code.as_bytes()), home.file("new", new.as_bytes()));
    home.run(&["unlock", "--recovery-code-file", &old]).ends(7);
    home.run(&["unlock", "--recovery-code-file", &new]).ends(0);
    let third = home.file("third", b"third of them\n");
    home.run(&["unlock", "--passphrase-file", &third]).ends(0);
}

#[test]
fn a_slot_is_removed_only_after_a_yes() {
    let home = Home::up();
    let listed =
        || home.run(&["vault", "slots", "--json"]).ends(0).json()["slots"].as_array().unwrap().clone();
    let id = listed()[1]["id"].as_str().unwrap().to_owned();
    for (answer, left, code) in [("", 2, 2), ("no", 2, 2), ("yes", 1, 0)] {
        let mut session = Session::start(&home, &["vault", "slots", "remove", &id]);
        session.wait_for("it does not change the key.");
        session.wait_for("[y/N] ");
        session.type_line(answer);
        session.ends(code);
        assert_eq!(listed().len(), left, "{answer:?}");
    }
}

#[test]
fn what_was_deleted_while_the_list_was_shown_is_not_among_what_goes() {
    const LEN: usize = 1_500_000;
    let home = Home::up();
    home.run(&["quota", "set", "--namespace", "files", "7MiB"]).ends(0);
    for (path, seed) in [("/b", 1), ("/b", 2), ("/a", 3), ("/a", 4)] {
        home.run_with(&["put", "-", path], &crate::support::noise(LEN, seed)).ends(0);
    }
    let new = home.file("new", &crate::support::noise(LEN, 5));
    for answer in ["1", "2"] {
        let mut session = Session::start(&home, &["put", &new, "/new"]);
        session.wait_for("MiB  all older versions (2 files, ");
        session.wait_for("Enter deletes nothing: ");
        for path in ["/a", "/b"] {
            home.run(&["rm", path]).ends(0);
        }
        session.type_line(answer);
        session.wait_for("Deleted for good: 0 versions.");
        session.ends(5);
        for path in ["/a", "/b"] {
            home.run(&["undelete", path]).ends(0);
        }
    }
}

#[test]
fn nobody_is_asked_for_the_limit_of_another_machines_node() {
    let (owner, device) = (Home::up(), Home::new());
    let certificate = crate::issued::issue(&owner, "laptop", &["--rights", "admin"]);
    let certificate = certificate.to_str().unwrap();
    let address = crate::issued::address(&owner);
    let passphrase = device.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    for arguments in [
        &["up", "--passphrase-file", passphrase, "--connect", &address, "--certificates", certificate][..],
        &["up"],
    ] {
        // A question would wait for an answer.
        let mut session = Session::start(&device, arguments);
        session.wait_for("Larder is up");
        session.ends(0);
    }
    let usage = owner.run(&["quota", "--json"]).ends(0).json();
    assert!(usage["node"]["quota_bytes"].is_null(), "{usage}");
    device.run(&["up", "--quota", "1GiB"]).ends(2).says("another machine's");
}

#[test]
fn what_cannot_be_changed_now_is_said_before_anything_is_asked() {
    let home = Home::up();
    home.run(&["down"]).ends(0);
    for command in ["recover", "passphrase"] {
        let mut session = Session::start(&home, &["vault", command]);
        session.wait_for("larder up");
        session.ends(9);
    }
    // Whoever has lost the passphrase is told what to do, also by what asks for it.
    let wrong = home.path("wrong");
    home.run(&["up", "--passphrase-file", wrong.to_str().unwrap()]).ends(7).says("larder vault recover");
    let mut session = Session::start(&home, &["vault", "recover"]);
    session.wait_for("Recovery code: ");
    session.keyboard().write_all(b"\x03").unwrap();
    session.ends(130);
}

#[test]
fn names_cannot_drive_the_terminal_by_way_of_errors() {
    let home = Home::up();
    let said = home.run(&["cat", "/a\u{202e}fdp.exe"]).ends(3);
    assert!(said.err.contains("\\u{202e}") && !said.err.contains('\u{202e}'), "{said:?}");
}

#[test]
fn who_names_no_value_is_told_how_to_type_one() {
    let home = Home::up();
    let mut session = Session::start(&home, &["value", "set", "code", "--takes", "2"]);
    session.wait_for("ctrl-D on a line of its own ends it");
    session.type_line("4711");
    session.keyboard().write_all(b"\x04").unwrap();
    session.wait_for("code: set, ends in ");
    session.ends(0);
    let said = home.run(&["value", "take", "code"]).ends(0);
    assert_eq!(said.out, "4711\n");
    assert!(said.err.ends_with("code: can be taken 1 more time\n"), "{said:?}");
}
