//! What the node does by itself for what it holds, and `larder verify`: a flipped byte is found without anybody asking,
//! named with the file it hits, remembered until it is mended; rounds go on after a kill; upkeep can be switched off.

use std::os::unix::fs::FileExt;

use crate::support::{Home, noise, pause};
use serde_json::Value;

const MB: usize = 1 << 20;

/// Up with these settings.
fn up(home: &Home, settings: &[&str]) {
    let passphrase = home.path("passphrase");
    let mut arguments =
        vec!["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    home.run(&arguments).ends(0);
}

fn upkeep(home: &Home) -> Value {
    home.run(&["status", "--json"]).ends(0).json()["node"]["upkeep"].clone()
}

/// Waits until status says so.
#[track_caller]
fn wait(home: &Home, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let now = upkeep(home);
        if holds(&now) {
            return now;
        }
        pause(200);
    }
    panic!("never: {what}; {}", upkeep(home));
}

/// Changes one byte in the middle of this content, where it lies in the log: not in a name or header.
fn flip(home: &Home, place: impl Fn(u64) -> u64) {
    let data = home.home().join("data");
    let mut names: Vec<_> = std::fs::read_dir(data).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    names.sort();
    let file = std::fs::File::options().read(true).write(true).open(names.last().unwrap()).unwrap();
    let at = place(file.metadata().unwrap().len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

#[test]
fn a_flipped_byte_is_found_in_the_background_and_named_with_its_file() {
    let home = Home::new();
    up(&home, &["scrub_every=2s", "collect_every=1s"]);
    home.run_with(&["put", "-", "/docs/report"], &noise(MB, 1)).ends(0);
    home.run_with(&["put", "-", "/docs/report"], &noise(3 * MB, 2)).ends(0);
    let said = wait(&home, "a round ends", |u| u["scrub"]["last"]["checked_bytes"].as_u64() >= Some(3 << 20));
    assert_eq!(said["damaged"].as_array().unwrap().len(), 0, "{said}");
    assert_eq!(said["scrub"]["last"]["damaged"], 0);
    home.run(&["verify"]).ends(0);
    flip(&home, |len| len - (MB as u64));
    let said = wait(&home, "the damage is found", |u| u["damaged"].as_array().unwrap().len() == 1);
    assert_eq!(said["damaged"][0]["files"][0], "/docs/report", "{said}");
    let text = home.run(&["status"]).ends(0).out;
    assert!(text.contains("damage: chunk") && text.contains("of /docs/report"), "{text}");
    // What is damaged, and which version is whole, in one command.
    let verified = home.run(&["verify", "--json"]).ends(6).json();
    let versions = home.run(&["versions", "/docs/report", "--json"]).ends(0).json_lines();
    assert_eq!(verified["damaged"][0]["path"], "/docs/report", "{verified}");
    assert_eq!(verified["damaged"][0]["whole_version"], versions[1]["version"], "{verified}");
    let text = home.run(&["verify", "/docs"]).ends(6).says("larder restore PATH");
    assert!(text.out.contains("damaged  /docs/report: ") && text.out.contains("is whole"), "{}", text.out);
    // Stored anew it is not damaged any more, and the node knows.
    home.run_with(&["put", "-", "/other"], &noise(3 * MB, 2)).ends(0);
    home.run(&["verify"]).ends(0);
    wait(&home, "the damage is mended", |u| u["damaged"].as_array().unwrap().is_empty());
    let log = std::fs::read_to_string(home.home().join("state/logs/node.log")).unwrap();
    assert!(log.contains("scrub: everything was read once"), "{log}");
    assert!(log.contains("stored bytes are not what was written"), "{log}");
}

#[test]
fn a_reader_that_meets_damage_is_enough_for_it_to_be_remembered() {
    let home = Home::new();
    up(&home, &["scrub_every=off", "collect_every=off"]);
    home.run_with(&["put", "-", "/file"], &noise(2 * MB, 1)).ends(0);
    home.kill("node");
    flip(&home, |len| len / 2);
    up(&home, &["scrub_every=off", "collect_every=off"]);
    assert_eq!(upkeep(&home)["damaged"].as_array().unwrap().len(), 0);
    home.run(&["cat", "/file"]).ends(6);
    let said = upkeep(&home);
    assert_eq!(said["damaged"][0]["files"][0], "/file", "{said}");
    assert_eq!(said["scrub"]["every_ms"], Value::Null);
    assert!(home.run(&["status"]).ends(0).out.contains("nothing checked yet, off"));
    // A restart does not make it forget, however the node ended.
    for way in ["kill", "down"] {
        if way == "kill" {
            home.kill("node");
        } else {
            home.run(&["down"]).ends(0);
        }
        up(&home, &["scrub_every=off", "collect_every=off"]);
        let said = wait(&home, way, |u| u["damaged"].as_array().unwrap().len() == 1);
        assert_eq!(said["damaged"][0]["files"][0], "/file", "{way}: {said}");
    }
    // On request it is a round like any other.
    home.run(&["node", "scrub"]).ends(6);
    assert_eq!(upkeep(&home)["scrub"]["last"]["damaged"], 1);
    // Mended while nobody looked, it is not told again after a start.
    home.run_with(&["put", "-", "/again"], &noise(2 * MB, 1)).ends(0);
    home.kill("node");
    up(&home, &["scrub_every=off", "collect_every=off"]);
    pause(500);
    assert_eq!(upkeep(&home)["damaged"].as_array().unwrap().len(), 0);
}

#[test]
fn a_round_goes_on_where_it_was_after_a_restart() {
    let home = Home::new();
    // So long a round that it cannot end while this test runs.
    up(&home, &["scrub_every=20m"]);
    home.run_with(&["put", "-", "/file"], &noise(8 * MB, 1)).ends(0);
    home.run(&["node", "scrub"]).ends(0);
    let before = upkeep(&home);
    assert!(before["scrub"]["last"]["checked_bytes"].as_u64() >= Some(8 << 20), "{before}");
    let next = before["scrub"]["next_ms"].as_u64().unwrap();
    let started = before["scrub"]["last"]["started_ms"].as_u64().unwrap();
    assert!(next >= started + 20 * 60 * 1000, "{before}");
    for way in ["kill", "down"] {
        if way == "kill" {
            home.kill("node");
        } else {
            home.run(&["down"]).ends(0);
        }
        up(&home, &["scrub_every=20m"]);
        let after = upkeep(&home);
        assert_eq!(after["scrub"]["last"], before["scrub"]["last"], "{way}");
        assert_eq!(after["scrub"]["next_ms"], next, "{way}");
    }
}

#[test]
fn what_nothing_needs_is_collected_in_the_background_with_a_summary() {
    let home = Home::new();
    up(&home, &["collect_every=1s", "scrub_every=off"]);
    home.run_with(&["put", "-", "/file"], &noise(2 * MB, 1)).ends(0);
    let said = wait(&home, "a collection ends", |u| u["collection"]["last"]["ended_ms"].as_u64().is_some());
    assert!(said["collection"]["next_ms"].as_u64().is_some(), "{said}");
    assert!(home.run(&["status"]).ends(0).out.contains("orphaned"), "one line says so");
    assert_eq!(home.command(&["cat", "/file"]).output().unwrap().stdout, noise(2 * MB, 1));
}

#[test]
fn verify_takes_files_folders_and_samples_and_refuses_what_is_not_there() {
    let home = Home::up();
    for number in 0..20 {
        home.run_with(&["put", "-", &format!("/a/f{number}")], &noise(5_000, number)).ends(0);
    }
    home.run_with(&["put", "-", "/b/large"], &noise(2 * MB, 99)).ends(0);
    let all = home.run(&["verify", "--json"]).ends(0).json();
    assert_eq!((&all["files"], &all["folders"]), (&21.into(), &3.into()), "{all}");
    assert_eq!(all["bytes"], 20 * 5_000 + 2 * MB);
    let one = home.run(&["verify", "/b/large", "/a/f1", "--json"]).ends(0).json();
    assert_eq!((&one["files"], &one["bytes"]), (&2.into(), &(2 * MB + 5_000).into()));
    let some = home.run(&["verify", "--sample", "20", "/a", "--json"]).ends(0).json();
    let (read, left) = (some["files"].as_u64().unwrap(), some["left_out"].as_u64().unwrap());
    assert!(read + left == 20 && (1..20).contains(&read), "{some}");
    home.run(&["verify", "/nothing"]).ends(3);
    home.run(&["verify", "--sample", "0"]).ends(2);
    let said = home.run(&["verify", "/b"]).ends(0);
    assert!(said.out.starts_with("verified 1 file in 1 folder, 2.00 MiB, in "), "{}", said.out);
}
