//! What this machine remembers for its safety: another vault's header is not taken for its own, damage to the memory is
//! said, silent connections keep nobody from the agent, names do not turn the writing round.
#![allow(clippy::disallowed_methods, reason = "real sockets and processes")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::patience::in_time;
use crate::support::{Home, Said};

fn header_file(home: &Home) -> PathBuf {
    home.home().join("config/vault.header")
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

fn slots(home: &Home) -> serde_json::Value {
    home.run(&["--json", "vault", "slots"]).ends(0).json()["vault"].clone()
}

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn up(home: &Home, more: &[&str]) -> Said {
    let passphrase = home.path("passphrase");
    let first = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    home.run(&[&first[..], more].concat())
}

#[test]
fn another_vaults_header_is_refused_until_it_is_named() {
    let (home, other) = (Home::up(), Home::up());
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let (ours, theirs) = (slots(&home), slots(&other));
    let pin = home.home().join("state/vault.pin");
    let (own_header, own_pin) = (std::fs::read(header_file(&home)).unwrap(), std::fs::read(&pin).unwrap());
    let foreign = std::fs::read(header_file(&other)).unwrap();

    home.run(&["lock"]).ends(0);
    write(&header_file(&home), &foreign);
    let unlock =
        ["unlock", "--passphrase-file", home.path("passphrase").to_str().unwrap()].map(str::to_owned);
    let unlock = unlock.each_ref().map(String::as_str);
    for said in [up(&home, &[]), home.run(&["up"]), home.run(&unlock)] {
        let said = said.ends(4).says(text(&ours, "fingerprint")).says(text(&theirs, "fingerprint"));
        said.says(&format!("larder up --vault {}", text(&theirs, "id")));
    }
    home.run(&["down"]).ends(0);
    up(&home, &[]).ends(4).says("another vault");
    assert_eq!(std::fs::read(&pin).unwrap(), own_pin);
    assert_eq!(std::fs::read(header_file(&home)).unwrap(), foreign, "nothing is moved unasked");

    // As the message says: moved away, this machine's own comes back.
    std::fs::remove_file(header_file(&home)).unwrap();
    up(&home, &[]).ends(0);
    assert_eq!(std::fs::read(header_file(&home)).unwrap(), own_header);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");

    // Or it is meant.
    home.run(&["down"]).ends(0);
    write(&header_file(&home), &foreign);
    up(&home, &["--vault", text(&theirs, "id")]).ends(0).says("from now on");
    assert_eq!(slots(&home)["fingerprint"], theirs["fingerprint"]);
    assert_ne!(std::fs::read(&pin).unwrap(), own_pin);
    up(&home, &[]).ends(0);
}

#[test]
fn a_lost_header_is_not_replaced_by_another_vaults() {
    let home = Home::up();
    home.run(&["down"]).ends(0);
    let theirs = Home::up();
    theirs.run(&["down"]).ends(0);
    // The node of this machine has the other's store, and no header is here.
    let their_id = {
        let header = std::fs::read(header_file(&theirs)).unwrap();
        larder_seal::header::VaultHeader::decode(&header.into()).unwrap().vault().to_string()
    };
    for folder in ["data", "config"] {
        std::fs::remove_dir_all(home.home().join(folder)).unwrap();
        std::fs::rename(theirs.home().join(folder), home.home().join(folder)).unwrap();
    }
    std::fs::remove_file(header_file(&home)).unwrap();
    up(&home, &[]).ends(4).says("only headers of other vaults").says("--vault ID");
    assert!(!header_file(&home).exists());
    up(&home, &["--vault", &their_id]).ends(0);
    assert!(header_file(&home).exists());
}

#[test]
fn a_damaged_pin_is_said_and_made_anew_once_it_is_deleted() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let pin = home.home().join("state/vault.pin");
    let whole = std::fs::read(&pin).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] = if bytes[at] == b'7' { b'6' } else { b'7' };
        bytes
    };
    // In the first line, the vault's id, the fingerprint.
    let flips = [3, 25, whole.len() - 4].map(flipped);
    let cut = whole[..whole.len() / 2].to_vec();
    for bad in flips.into_iter().chain([cut, Vec::new(), b"\xff\x00garbage".to_vec()]) {
        write(&pin, &bad);
        up(&home, &[]).ends(6).says("vault.pin").says("delete");
        home.run(&["cat", "/f"]).ends(6).says("vault.pin");
        assert_eq!(std::fs::read(&pin).unwrap(), bad, "what is damaged is not written over");
    }
    std::fs::remove_file(&pin).unwrap();
    up(&home, &[]).ends(0);
    assert_eq!(std::fs::read(&pin).unwrap(), whole);
}

#[test]
fn a_memory_cut_to_half_is_said() {
    let home = Home::up();
    for i in 0..8 {
        home.run_with(&["put", "-", &format!("/f{i}")], b"x").ends(0);
    }
    let seen = home.home().join("state/seen");
    let whole = std::fs::read(&seen).unwrap();
    let marks = (whole.len() - 8) / 40;
    write(&seen, &whole[..8 + marks / 2 * 40]);
    home.run(&["cat", "/f0"]).ends(6).says("lost marks").says("move it away");
    write(&seen, &whole);
    home.run(&["cat", "/f0"]).ends(0);
    std::fs::remove_file(&seen).unwrap();
    home.run(&["cat", "/f0"]).ends(0);
}

#[test]
fn silent_connections_do_not_keep_commands_from_the_agent() {
    let home = Home::up();
    let socket = support_socket(&home);
    // Sooner than they are given up.
    in_time(Duration::from_secs(8), || {
        let silent: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        let begun = Instant::now();
        home.run(&["status"]).ends(0);
        home.run(&["unlock", "--passphrase-file", home.path("passphrase").to_str().unwrap()]).ends(0);
        let took = begun.elapsed();
        assert_eq!(silent.len(), 64, "they are there until now");
        took
    });
}

fn support_socket(home: &Home) -> PathBuf {
    let text = std::fs::read(home.home().join("state/agent.pid")).unwrap();
    let running: serde_json::Value = serde_json::from_slice(&text).unwrap();
    PathBuf::from(text_of(&running))
}

fn text_of(running: &serde_json::Value) -> &str {
    running["address"].as_str().unwrap()
}

#[test]
fn names_that_turn_the_writing_round_are_shown_escaped() {
    let home = Home::up();
    let name = "/photo\u{202e}gpj.exe\u{2066}";
    home.run_with(&["put", "-", name], b"x").ends(0);
    for command in [&["ls"][..], &["ls", "-l"], &["find"], &["stat", name], &["ls", "-R"]] {
        let said = home.run(command).ends(0);
        assert!(!said.out.contains(['\u{202e}', '\u{2066}']), "{command:?}: {}", said.out);
        assert!(said.out.contains("photo\\u{202e}gpj.exe\\u{2066}"), "{command:?}: {}", said.out);
    }
    assert!(home.run(&["ls", "--json"]).ends(0).out.contains('\u{202e}'));
}

#[test]
fn the_usage_line_names_each_argument_once() {
    let home = Home::new();
    for verb in ["mv", "cp"] {
        let said = home.run(&[verb, "--help"]).ends(0);
        let usage = said.out.lines().find(|line| line.starts_with("Usage:")).unwrap();
        assert_eq!(usage.matches("DESTINATION").count(), 1, "{usage}");
        home.run(&[verb, "/only"]).ends(2).says("where to");
    }
}
