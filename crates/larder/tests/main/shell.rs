//! The shell: scripts and their exit codes, the working folder, tables, and the prompt with history and completion on a
//! real pseudo-terminal.

use std::os::unix::fs::PermissionsExt;

use crate::pty::Session;
use crate::support::Home;

#[test]
fn a_script_ends_at_its_first_failure_with_its_code() {
    let home = Home::up();
    let file = home.file("note.txt", b"hello");
    let script = format!("# a remark\nstore {file} /n; cat /n\ncat /nowhere\nmkdir /never\n");
    let said = home.run_with(&["shell"], script.as_bytes()).ends(3).says("no such file: /nowhere");
    assert_eq!(said.out, "hello");
    assert_eq!(home.run(&["ls"]).ends(0).out, "n\n");
    home.run(&["shell", "-c", "nosuch"]).ends(2);
    home.run(&["shell", "-c", "cat 'n"]).ends(2).says("a ' is not closed");
    home.run(&["shell", "-c", "quit; cat /nowhere"]).ends(0);
    assert_eq!(home.run_with(&["shell"], b"").ends(0).out, "");
    home.run_with(&["shell"], &vec![b'#'; (1 << 20) + 1]).ends(2).says("longer than 1048576 bytes");
}

#[test]
fn paths_begin_at_the_working_folder() {
    let home = Home::up();
    let file = home.file("in.txt", b"x");
    let out = home.path("out.txt");
    home.run(&["shell", "-c", &format!("mkdir 'a b/c'; cd a\\ b; put {file}")]).ends(0);
    let script = format!(
        "cd a\\ b; ls; cd c; put {file} ../up.txt; get ../in.txt {}; cat ./../../a\\ b/up.txt; ls /",
        out.display()
    );
    let said = home.run(&["shell", "-c", &script]).ends(0);
    assert_eq!(said.out, "c/\nin.txt\nxa b/\n");
    assert_eq!(std::fs::read(out).unwrap(), b"x");
    let said = home
        .run(&[
            "shell",
            "-c",
            "cd /a\\ b; cp in.txt copy; mv copy c; find --name copy; find .. --name up.txt",
        ])
        .ends(0);
    assert_eq!(said.out, "/a b/c/copy\n/a b/up.txt\n");
    home.run(&["rm", "--now", "/a b/c/copy"]).ends(0);
    home.run(&["shell", "-c", "cd /nowhere"]).ends(3);
    home.run(&["shell", "-c", "cd /a\\ b/in.txt"]).ends(4);
    // Outside the shell paths are what they were.
    home.run(&["ls", "."]).ends(2);
    let lines =
        home.run(&["--json", "shell", "-c", "cd 'a b'; pwd; delete in.txt; trash"]).ends(0).json_lines();
    assert_eq!(lines[0]["vault"], "/a b");
    assert_eq!(lines[2]["path"], "/a b/in.txt");
}

#[test]
fn tables_and_the_words_that_others_use() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"hello").ends(0);
    let said =
        home.run(&["shell", "-c", "list; peers; metrics; quota; clean; delete /f; help; help put"]).ends(0);
    for words in [
        "NAME  SIZE  HASH",
        "f      5 B  ea8f163db3",
        "serving  now (this one)",
        "collected ",
        "Usage: larder put",
    ] {
        assert!(said.out.contains(words), "no {words:?} in {}", said.out);
    }
    let lines = home.run(&["--json", "shell", "-c", "list; peers"]).ends(0).json_lines();
    assert_eq!((&lines[0]["health"], &lines[0]["this_node"]), (&"serving".into(), &true.into()));
    for verb in ["discover", "send /f there", "fetch /f there"] {
        home.run(&["shell", "-c", verb]).ends(9).says("one node: ");
    }
    for verb in ["shell", "agent", "node run", "up --foreground", "cd a b"] {
        home.run(&["shell", "-c", verb]).ends(2);
    }
}

#[test]
fn the_prompt_completes_and_remembers_and_shows_exit_codes() {
    let home = Home::up();
    home.run_with(&["put", "-", "/some folder/file.txt"], b"contents").ends(0);
    let mut session = Session::start(&home, &["shell"]);
    session.wait_for("larder:/> ");
    session.type_line("cd so\t");
    session.wait_for("larder:/some folder> ");
    session.type_line("cat f\t");
    session.wait_for("contents");
    session.type_line("cat nothing");
    session.wait_for("no such file: /some folder/nothing");
    session.wait_for("larder:/some folder [3]> ");
    session.type_line("value set token hunter2 --ttl 1m");
    session.wait_for("larder:/some folder> ");
    session.type_line(" pwd");
    session.wait_for("local ");
    session.wait_for("larder:/some folder> ");
    // ctrl-C leaves the line, not the shell.
    std::io::Write::write_all(session.keyboard(), b"half\x03").unwrap();
    session.wait_for("[130]> ");
    session.type_line("quit");
    session.ends(0);

    let history = home.home().join("state/shell-history");
    let text = std::fs::read_to_string(&history).unwrap();
    assert!(text.contains("cat nothing") && !text.contains("hunter2") && !text.contains(" pwd"), "{text}");
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);

    // What was typed before is there again.
    let mut session = Session::start(&home, &["shell"]);
    session.wait_for("larder:/> ");
    std::io::Write::write_all(session.keyboard(), b"\x1b[A\x1b[A").unwrap();
    session.wait_for("cat nothing");
    std::io::Write::write_all(session.keyboard(), b"\x15\x04").unwrap();
    session.ends(0);
}

#[test]
fn a_shell_at_its_prompt_ends_when_told_to_and_gives_the_terminal_back() {
    let home = Home::up();
    let mut session = Session::start(&home, &["shell"]);
    session.wait_for("larder:/> ");
    session.type_line("ls");
    session.wait_for("larder:/> ");
    let pid = session.pid_of("larder");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let modes = loop {
        let modes = rustix::termios::tcgetattr(session.keyboard()).unwrap().local_modes;
        if modes.contains(rustix::termios::LocalModes::ECHO) {
            break modes;
        }
        crate::support::pause(20);
    };
    assert!(modes.contains(rustix::termios::LocalModes::ICANON));
    session.ends(130);
}

#[test]
fn verify_begins_at_the_working_folder_and_descriptors_are_for_the_command_line() {
    let home = Home::up();
    home.run_with(&["put", "-", "/a/f"], b"x").ends(0);
    home.run_with(&["put", "-", "/other"], b"x").ends(0);
    let said = home.run(&["--json", "shell", "-c", "cd a; verify f; verify; verify ../other"]).ends(0);
    assert_eq!(said.json_lines().iter().map(|line| line["files"].as_u64()).collect::<Vec<_>>(), [Some(1); 3]);
    home.run(&["shell", "-c", "cd a; verify other"]).ends(3);
    for flag in ["--passphrase-fd=7", "--passphrase-fd"] {
        home.run(&["shell", "-c", &format!("unlock {flag} 7")]).ends(2).says("not in a shell");
    }
}
