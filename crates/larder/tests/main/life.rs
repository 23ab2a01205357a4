//! Process life: first start, second start, stop, kill -9 and up again, and everything that can be in the way.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::Home;

#[test]
fn without_a_passphrase_or_a_terminal_it_says_which_flag_and_starts_nothing() {
    let home = Home::new();
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(2).says("--passphrase-file");
    assert!(!home.home().join("config/larder.toml").exists(), "the flags of the first real start are kept");
    let error = home.run(&["up", "--json"]).ends(2).json_error();
    assert_eq!(error["kind"], "invalid");
    assert!(error["hint"].as_str().unwrap().contains("--passphrase-fd"));
    assert!(!home.home().join("state/agent.pid").exists());
    assert!(!home.home().join("config/vault.header").exists());
    assert_eq!(home.run(&["down"]).ends(0).err.trim(), "Nothing was running.");
}

#[test]
fn up_shows_the_recovery_code_once_and_a_second_up_changes_nothing() {
    let home = Home::new();
    let code_file = home.path("code");
    let passphrase = home.path("passphrase");
    let arguments = [
        "--json",
        "up",
        "--listen",
        "127.0.0.1:0",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "--recovery-code-file",
        code_file.to_str().unwrap(),
    ];
    let first = home.run(&arguments).ends(0).json();
    let code = first["recovery_code"].as_str().unwrap();
    assert_eq!(code.len(), 41, "six groups of six with hyphens");
    assert_eq!(std::fs::read_to_string(&code_file).unwrap().trim(), code);
    assert_eq!(std::fs::metadata(&code_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first["namespaces_created"], serde_json::json!(["files", "values", "keys", "raw"]));

    let (node, agent) = (home.pid("node"), home.pid("agent"));
    let second = home.run(&["--json", "up"]).ends(0).json();
    assert_eq!(second["node"]["started"], false);
    assert_eq!(second["agent"]["started"], false);
    assert_eq!(second["recovery_code"], serde_json::Value::Null);
    assert_eq!(second["vault"]["id"], first["vault"]["id"]);
    assert_eq!((home.pid("node"), home.pid("agent")), (node, agent));
    assert!(home.run(&["up"]).ends(0).out.starts_with("Larder is up already"));
}

#[test]
fn nothing_in_the_folders_is_open_to_others() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let mut todo = vec![home.home()];
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 15, "looked at {seen}");
}

#[test]
fn down_stops_both_and_up_finds_everything_again() {
    let home = Home::up();
    home.run_with(&["put", "-", "/note"], b"kept").ends(0);
    let stopped = home.run(&["down", "--json"]).ends(0).json();
    assert_eq!(stopped["stopped"], serde_json::json!(["agent", "node"]));
    home.run(&["ls"]).ends(9).says("larder up");
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/note"]).ends(0).out, "kept");
}

#[test]
fn what_was_killed_is_started_again_and_has_all_that_was_acknowledged() {
    let home = Home::up();
    for round in 0..3 {
        let content = format!("round {round}");
        home.run_with(&["put", "-", &format!("/r{round}")], content.as_bytes()).ends(0);
        home.kill("node");
        home.run(&["ls"]).ends(9).says("larder up");
        let up = home.run(&["up", "--json"]).ends(0).json();
        assert_eq!(up["node"]["started"], true);
        assert_eq!(up["agent"]["started"], false);
        for earlier in 0..=round {
            let out = home.run(&["cat", &format!("/r{earlier}")]).ends(0).out;
            assert_eq!(out, format!("round {earlier}"));
        }
    }
    home.kill("agent");
    home.run(&["ls"]).ends(9).says("larder up");
    home.bring_up().ends(0);
    home.run(&["ls"]).ends(0);
}

#[test]
fn a_port_in_use_is_named_with_the_flag_and_can_be_changed() {
    let home = Home::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let passphrase = home.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    home.run(&["up", "--listen", &taken, "--passphrase-file", passphrase])
        .ends(4)
        .says(&format!("cannot listen on {taken}: address already in use"))
        .says("--listen");
    // No vault was made, because nobody could have used it; the next `up` goes on from there.
    assert!(!home.home().join("config/vault.header").exists());
    home.run(&["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase]).ends(0);
    home.run(&["ls"]).ends(0);
    home.run(&["up", "--listen", &taken]).ends(4).says("larder down first");
}

#[test]
fn two_at_once_make_one_vault_and_one_node() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let start = || {
        home.command(&[
            "--json",
            "up",
            "--listen",
            "127.0.0.1:0",
            "--passphrase-file",
            passphrase.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
    };
    let children = [start(), start(), start()];
    let answers: Vec<serde_json::Value> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            serde_json::from_slice(&output.stdout).unwrap()
        })
        .collect();
    assert_eq!(answers.iter().filter(|a| a["recovery_code"].is_string()).count(), 1);
    assert_eq!(answers.iter().filter(|a| a["node"]["started"] == true).count(), 1);
    assert!(answers.iter().all(|a| a["vault"]["id"] == answers[0]["vault"]["id"]));
}

#[test]
fn a_folder_that_cannot_be_written_and_a_file_in_the_way_are_said_plainly() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    // Root may write anywhere but here; for everyone else it is just as forbidden.
    let run = |place: &str| {
        let output = std::process::Command::new(crate::support::binary())
            .args(["--home", place, "up", "--passphrase-file", passphrase])
            .output()
            .unwrap();
        crate::support::Said::from(output)
    };
    run("/sys/larder-test").ends(7).says("cannot make the folder /sys/larder-test").says("--home");
    let file = home.file("in-the-way", b"");
    run(&file).ends(2).says("cannot make the folder");
}

#[test]
fn settings_of_a_newer_program_and_slips_in_them_are_refused() {
    let home = Home::up();
    home.run(&["down"]).ends(0);
    let settings = home.home().join("config/larder.toml");
    let good = std::fs::read_to_string(&settings).unwrap();
    let put = |path: &std::path::Path, bytes: &[u8]| {
        std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
    };
    put(&settings, good.replace("format = 1", "format = 2\nwarp = true").as_bytes());
    home.bring_up().ends(11).says("upgrade");
    put(&settings, good.replace("\nlisten", "\nmemory_lid").as_bytes());
    home.bring_up().ends(2).says("memory_lid");
    put(&settings, good.as_bytes());

    // A damaged header is answered by the copy that the node keeps: tests/main/damaged_header.rs.
    home.bring_up().ends(0);
}

#[test]
fn strangers_certificates_are_refused() {
    let (home, stranger) = (Home::up(), Home::up());
    let ours = home.home().join("config/certificates");
    for name in ["authority.pem", "client.pem", "client.key"] {
        std::fs::copy(stranger.home().join("config/certificates").join(name), ours.join(name)).unwrap();
    }
    home.run(&["ls"]).ends(7);
}

#[test]
fn in_the_foreground_it_stays_until_it_is_asked_to_stop() {
    let home = Home::new();
    let generated = home.path("generated");
    let mut child = home
        .command(&[
            "up",
            "--foreground",
            "--listen",
            "127.0.0.1:0",
            "--generate-passphrase-file",
            generated.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = stdout.by_ref().map_while(Result::ok).find(|line| line.contains("ctrl-C stops everything"));
    assert!(last.is_some());
    home.run(&["ls"]).ends(0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(home.run(&["down"]).ends(0).err.trim(), "Nothing was running.");
    // The same passphrase opens the same vault.
    let again =
        home.run(&["--json", "up", "--generate-passphrase-file", generated.to_str().unwrap()]).ends(0).json();
    assert_eq!(again["vault"]["created"], false);
    assert_eq!(again["vault"]["locked"], false);
}

#[test]
fn a_very_deep_home_works_although_socket_addresses_are_short() {
    let home = Home::new();
    let deep = home.path(&"d".repeat(150));
    let passphrase = home.path("passphrase");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::support::binary())
            .arg("--home")
            .arg(&deep)
            .args(arguments)
            .output()
            .unwrap();
        crate::support::Said::from(output)
    };
    run(&["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()]).ends(0);
    run(&["lock"]).ends(0);
    run(&["ls"]).ends(8);
    run(&["down"]).ends(0);
}

#[test]
fn a_home_that_the_environment_names_is_no_flag_that_was_given() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::binary());
        command.env("LARDER_HOME", home.home()).env("NO_COLOR", "1").args(arguments);
        crate::support::Said::from(command.output().unwrap())
    };
    run(&[]).ends(2).says("Start with: larder up");
    run(&["value"]).ends(2).says("How long a value still lives");
    let said = run(&["put"]).ends(2);
    assert!(said.err.contains("Usage: larder put <SOURCE") && !said.err.contains("--home"), "{said:?}");
    run(&["up", "--listen", "here"]).ends(2).says("like 127.0.0.1:7447");
    assert!(run(&["config", "path"]).ends(0).out.contains("/home/config/larder.toml"));
    // Where nothing is, that is all there is to be said.
    let said = run(&["doctor"]).ends(9);
    assert!(said.err.contains("nothing is set up here yet") && said.out.lines().count() == 3, "{said:?}");
    run(&["node", "run"]).ends(9).says("larder up");
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    run(&up).ends(0);
    assert!(run(&["put"]).ends(2).err.contains("required"));
    run(&["down"]).ends(0);
}
