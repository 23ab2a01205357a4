//! `larder up` on what is there already: wishes that a running process cannot take over are refused and not ignored, and
//! certificates that were made while the clock was ahead are made anew.

use std::io::Write;

use crate::support::Home;

#[test]
fn what_a_running_process_cannot_take_over_is_refused() {
    let home = Home::up();
    let error = home.run(&["--json", "up", "--idle-lock", "1m"]).ends(4).json_error();
    assert!(error["message"].as_str().unwrap().contains("with idle_lock 15m and not 1m"), "{error}");
    assert_eq!(error["hint"], "larder down first, then larder up");
    home.run(&["up", "--memory-cap", "64M"]).ends(4).says("memory_cap").says("larder down first");
    // What it runs with already is no conflict, nor is what nobody asked for.
    home.run(&["up", "--idle-lock", "900", "--memory-cap", "1G"]).ends(0);
    let settings = home.home().join("config/larder.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let text = text.replace("# idle_lock = \"15m\"", "idle_lock = \"never\"");
    assert!(text.contains("never\"\n"));
    std::fs::File::create(&settings).unwrap().write_all(text.as_bytes()).unwrap();
    home.run(&["up"]).ends(0);

    home.run(&["down"]).ends(0);
    home.run(&["up", "--listen", "127.0.0.1:0", "--memory-cap", "64M"]).ends(0);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["node"]["memory"]["cap_bytes"], 64 << 20);
    home.run(&["up", "--memory-cap", "64M"]).ends(0);
}

#[test]
fn certificates_from_a_clock_that_was_ahead_are_made_anew() {
    let Some(library) = crate::support::faketime() else { return };
    let place = tempfile::tempdir().unwrap();
    let offset = place.path().join("offset");
    let jump = |to: &str| {
        let new = place.path().join("new");
        std::fs::File::create(&new).unwrap().write_all(to.as_bytes()).unwrap();
        std::fs::rename(&new, &offset).unwrap();
    };
    for down in [true, false] {
        jump("+30d");
        let home = Home::with_environment(&[
            ("LD_PRELOAD", &library),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]);
        home.bring_up().ends(0);
        home.run_with(&["put", "-", "/f"], b"kept").ends(0);
        if down {
            home.run(&["down"]).ends(0);
        }
        jump("+0");
        if !down {
            home.run(&["cat", "/f"]).ends(7).says("look at the clock").says("larder up");
        }
        home.bring_up().ends(0);
        assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
        let up = home.run(&["--json", "up"]).ends(0).json();
        assert_eq!(up["node"]["started"], false, "once is enough");
    }
}

#[test]
fn a_node_that_is_just_being_killed_is_started_again() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    home.kill("node");
    // As the kernel leaves a process that it is taking down: its connections are reset while its lock is still held.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pid_file = home.home().join("state/node.pid");
    let mut held = std::fs::OpenOptions::new().write(true).truncate(true).open(&pid_file).unwrap();
    // The process that is named may be ended by whoever tidies up.
    let mut named = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    write!(held, r#"{{"pid":{},"address":"{address}","version":"0"}}"#, named.id()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let dying = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        drop(listener);
        crate::support::pause(300);
        drop(held);
    });
    let said = home.run(&["up", "--passphrase-file", home.path("passphrase").to_str().unwrap()]);
    named.kill().unwrap();
    named.wait().unwrap();
    said.ends(0);
    dying.join().unwrap();
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}

#[test]
fn certificates_that_are_gone_or_empty_are_said_to_be() {
    let home = Home::up();
    let certificates = home.home().join("config/certificates");
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    std::fs::File::create(certificates.join("client.pem")).unwrap();
    home.run(&["ls"]).ends(6).says("client.pem is empty").says("larder up");
    home.run(&["up"]).ends(6).says("client.pem is empty");
    std::fs::remove_dir_all(&certificates).unwrap();
    home.run(&["ls"]).ends(9).says(".pem is missing").says("larder up");
    let status = home.run(&["status", "--json"]).ends(9).json();
    assert_eq!(status["node"]["running"], true, "{status}");
    home.run(&["up"]).ends(0).says("the node is started anew");
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}
