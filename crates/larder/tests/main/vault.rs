//! Locking and unlocking: passphrases from files and descriptors, wrong ones, the recovery code, idle time.

use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::patience::until;
use crate::support::{Home, PASSPHRASE, pause};

#[test]
fn locked_means_locked_and_the_right_passphrase_opens() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"secret").ends(0);
    home.run(&["lock"]).ends(0);
    home.run(&["lock"]).ends(0);
    let error = home.run(&["cat", "/f", "--json"]).ends(8).json_error();
    assert_eq!(error["kind"], "locked");
    assert_eq!(error["hint"], "larder unlock");
    home.run(&["unlock"]).ends(2).says("--passphrase-file");
    let wrong = home.path("wrong");
    home.run(&["unlock", "--passphrase-file", wrong.to_str().unwrap()]).ends(7).says("wrong passphrase");
    home.run(&["cat", "/f"]).ends(8);
    let right = home.path("passphrase");
    let opened = home.run(&["unlock", "--json", "--passphrase-file", right.to_str().unwrap()]).ends(0).json();
    assert_eq!(opened["locked"], false);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "secret");
}

#[test]
fn a_passphrase_comes_through_a_descriptor() {
    let home = Home::up();
    home.run(&["lock"]).ends(0);
    home.run_with(&["unlock", "--passphrase-fd", "0"], format!("{PASSPHRASE}\n").as_bytes()).ends(0);
    home.run(&["ls"]).ends(0);
    home.run(&["lock"]).ends(0);
    home.run_with(&["unlock", "--passphrase-fd", "0"], b"").ends(2).says("empty");
    home.run(&["unlock", "--passphrase-fd", "77"]).ends(2).says("descriptor 77");
    home.run(&["unlock", "--passphrase-file", "/nowhere/at/all"]).ends(3).says("/nowhere/at/all");
}

#[test]
fn a_new_vault_does_not_leave_its_passphrase_descriptor_open_in_the_daemons() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let script = format!(
        "exec {} --home {} up --listen 127.0.0.1:0 --passphrase-fd 9 9<{}",
        crate::support::binary().display(),
        home.home().display(),
        passphrase.display()
    );
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    for name in ["node", "agent"] {
        let folder = format!("/proc/{}/fd", home.pid(name));
        // The agent is closed to others, so that only root can look; then there is nothing to check here.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert_ne!(target, passphrase, "open in the {name}");
        }
    }
}

#[test]
fn the_recovery_code_opens_it_and_a_mistyped_one_is_told_from_a_wrong_one() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let arguments =
        ["--json", "up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let code = home.run(&arguments).ends(0).json()["recovery_code"].as_str().unwrap().to_owned();
    home.run(&["lock"]).ends(0);
    let file = home.file("typed", code.to_lowercase().replace('-', " ").as_bytes());
    home.run(&["unlock", "--recovery-code-file", &file]).ends(0);
    home.run(&["ls"]).ends(0);
    home.run(&["lock"]).ends(0);
    let first = if code.starts_with('A') { "B" } else { "A" };
    let file = home.file("mistyped", format!("{first}{}", &code[1..]).as_bytes());
    home.run(&["unlock", "--recovery-code-file", &file]).ends(2).says("mistyped");
    let other = Home::new();
    let passphrase = other.path("passphrase");
    let arguments =
        ["--json", "up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let strange = other.run(&arguments).ends(0).json()["recovery_code"].as_str().unwrap().to_owned();
    let file = home.file("strange", strange.as_bytes());
    home.run(&["unlock", "--recovery-code-file", &file]).ends(7).says("wrong recovery code");
}

#[test]
fn it_locks_itself_when_nobody_uses_it() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    home.run(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--idle-lock",
        "1500ms",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ])
    .ends(0);
    // On a slow machine it may be locked again by then.
    until("it is open", || {
        home.run(&["unlock", "--passphrase-file", passphrase.to_str().unwrap()]).ends(0);
        home.run(&["ls"]).code == 0
    });
    // Waiting for real time to pass is what this test is about.
    pause(1_700);
    home.run(&["ls"]).ends(8);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["vault"]["state"], "locked");
}

#[test]
fn nonsense_on_the_agents_socket_harms_nobody() {
    use std::io::{Read, Write};
    let home = Home::up();
    let socket = home.home().join("run/agent.sock");
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\x02\0\0\0\x01\x63",
        b"\0\0\0\0",
        b"\x02\0\0\0\x09\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Closed with or without an error, but never with a key.
        let _ = stream.read_to_end(&mut answer);
        assert!(!(answer.len() > 5 && answer[5] == 3), "a root key was handed out");
    }
    home.run(&["ls"]).ends(0);
}

#[test]
fn the_agent_is_closed_to_debuggers_and_dumps_no_core() {
    let home = Home::up();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", home.pid("agent"))).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // A process that may not be dumped belongs to root in /proc, whoever runs it.
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}/mem", home.pid("agent"))).unwrap(),
    );
    assert_eq!(owner, 0);
}

#[test]
fn the_memory_of_a_key_derivation_goes_back() {
    // Without the pages of the program itself, which an unoptimised build has more of.
    const RESIDENT_KIB_MAX: u64 = 32 * 1024;
    let home = Home::up();
    let resident_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", home.pid("agent"))).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    until("the agent has given it back", || resident_kib() < RESIDENT_KIB_MAX);
}

#[test]
fn neither_passphrase_nor_code_nor_key_is_in_any_file_or_argument() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let arguments =
        ["--json", "up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let code = home.run(&arguments).ends(0).json()["recovery_code"].as_str().unwrap().to_owned();
    home.run_with(&["put", "-", "/planted-name"], b"planted plaintext").ends(0);
    home.run(&["lock"]).ends(0);
    let needles: [&[u8]; 4] = [PASSPHRASE.as_bytes(), code.as_bytes(), b"planted-name", b"planted plaintext"];
    let mut todo = vec![home.home()];
    for name in ["node", "agent"] {
        todo.push(format!("/proc/{}/cmdline", home.pid(name)).into());
        todo.push(format!("/proc/{}/environ", home.pid(name)).into());
    }
    let mut files = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        // Sockets, and what only root may read of a closed process.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        files += 1;
        for needle in needles {
            assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{} holds it", path.display());
        }
    }
    assert!(files > 12, "looked at {files} files");
}
