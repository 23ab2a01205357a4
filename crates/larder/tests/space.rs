//! Space comes back: after a deletion by itself, on request with `larder node collect`, and never that of
//! anything that is still needed. Damage is found with `larder node scrub` and accepted with `larder node
//! accept-damage`.
#![allow(clippy::print_stderr, reason = "says what was measured, and what is not run")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use larder_format::clock::{Clock, SystemClock};
use support::small::Small;
use support::{Home, noise, pause};

/// Deleted space must be back by then.
const BACK_WITHIN: Duration = Duration::from_secs(60);

const MB: u64 = 1_000_000;

fn bring_up(home: &Home) {
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--idle-lock", "never", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
}

fn put(home: &Home, path: &str, len: u64, seed: u64) -> i32 {
    home.run_with(&["put", "-", path], &noise(usize::try_from(len).unwrap(), seed)).code
}

#[track_caller]
fn assert_holds(home: &Home, path: &str, len: u64, seed: u64) {
    let output = home.command(&["cat", path]).output().unwrap();
    let whole = output.stdout == noise(usize::try_from(len).unwrap(), seed);
    assert!(whole, "{path}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the disk has this much left; says how long it took.
fn wait_for(disk: &Small, free: u64, what: &str) {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    while disk.free() < free {
        assert!(clock.monotonic() - begun < BACK_WITHIN, "{what}: {} of {free} bytes are free", disk.free());
        pause(50);
    }
    eprintln!("{what}: {:.1} s", (clock.monotonic() - begun).as_secs_f64());
}

#[test]
fn on_a_full_disk_the_space_of_a_deleted_file_comes_back_by_itself() {
    let home = Home::new();
    let Some(disk) = Small::mount(&home.home().join("data"), 200) else { return };
    bring_up(&home);
    assert_eq!(put(&home, "/big", 60 * MB, 1), 0);
    let mut files = 0;
    while put(&home, &format!("/f{files}"), 3 * MB, 100 + files) == 0 {
        files += 1;
    }
    assert!(files > 10, "{files} files");
    assert_eq!(put(&home, "/more", 3 * MB, 2), 5);

    let full = disk.free();
    home.run(&["rm", "--now", "/big"]).ends(0);
    wait_for(&disk, full + 55 * MB, "after rm --now");
    assert_eq!(put(&home, "/big", 50 * MB, 3), 0);
    assert_holds(&home, "/big", 50 * MB, 3);

    // In many pieces, a part of every log file, and the node killed before it can do anything about it.
    let full = disk.free();
    let odd: Vec<String> = (0..files).filter(|n| n % 2 == 1).map(|n| format!("/f{n}")).collect();
    for path in &odd {
        home.run(&["rm", "--now", path]).ends(0);
    }
    home.kill("node");
    bring_up(&home);
    wait_for(&disk, full + odd.len() as u64 * 5 * MB / 2, "after kill -9");
    assert_holds(&home, "/big", 50 * MB, 3);
    for number in (0..files).filter(|n| n % 2 == 0) {
        assert_holds(&home, &format!("/f{number}"), 3 * MB, 100 + number);
    }
}

#[test]
fn a_put_that_races_deletion_and_collection_of_the_same_content_keeps_it() {
    const ROUNDS: u64 = 25;
    let home = Home::up();
    for round in 0..ROUNDS {
        // One content under two names: its chunks are there once.
        let (old, new) = (format!("/old{round}"), format!("/new{round}"));
        let len = 1_500_000;
        assert_eq!(put(&home, &old, len, round), 0);
        std::thread::scope(|scope| {
            let putting = scope.spawn(|| put(&home, &new, len, round));
            scope.spawn(|| {
                pause(round * 7 % 60);
                home.run(&["rm", "--now", &old]).ends(0);
                // Another collection may be under way: the node's own waits for none.
                assert!([0, 4].contains(&home.run(&["node", "collect"]).code));
            });
            assert_eq!(putting.join().unwrap(), 0);
        });
        home.run(&["node", "collect"]).ends(0);
        assert_holds(&home, &new, len, round);
    }
    for round in 0..ROUNDS {
        assert_holds(&home, &format!("/new{round}"), 1_500_000, round);
    }
    assert_eq!(home.run(&["node", "scrub", "--json"]).ends(0).json()["damaged"].as_array().unwrap().len(), 0);
}

#[test]
fn replacing_a_file_that_somebody_deletes_for_good_leaves_it_whole_or_gone() {
    let home = Home::up();
    for round in 0..15 {
        assert_eq!(put(&home, "/file", 200_000, round), 0);
        std::thread::scope(|scope| {
            let putting = scope.spawn(|| put(&home, "/file", 200_000, 1_000 + round));
            let removing = scope.spawn(|| home.run(&["rm", "--now", "/file"]).code);
            assert_eq!(putting.join().unwrap(), 0);
            assert!([0, 3, 9].contains(&removing.join().unwrap()));
        });
        home.run(&["node", "collect"]).ends(0);
        // Whichever came last: what is listed can be read, every version of it.
        let versions = home.run(&["versions", "--json", "/file"]);
        if versions.code == 3 {
            continue;
        }
        for version in versions.ends(0).json_lines() {
            let number = version["version"].to_string();
            home.run(&["cat", "--version", number.trim_matches('"'), "/file"]).ends(0);
        }
    }
}

#[test]
fn a_node_killed_while_it_collects_loses_nothing_that_is_needed() {
    const FILES: u64 = 12;
    let home = Home::up();
    for round in 0..6 {
        for number in 0..FILES {
            assert_eq!(put(&home, &format!("/{round}-{number}"), MB, round * FILES + number), 0);
        }
        for number in (0..FILES).filter(|n| n % 3 != 0) {
            home.run(&["rm", "--now", &format!("/{round}-{number}")]).ends(0);
        }
        let before = log_files(&home);
        std::thread::scope(|scope| {
            let collecting = scope.spawn(|| home.run(&["node", "collect"]));
            // In the middle of it, as far as it shows: a log file has come or gone.
            while log_files(&home) == before && !collecting.is_finished() {
                pause(1);
            }
            pause(round * 12);
            home.kill("node");
        });
        home.bring_up().ends(0);
        for (earlier, number) in (0..=round).flat_map(|r| (0..FILES).step_by(3).map(move |n| (r, n))) {
            assert_holds(&home, &format!("/{earlier}-{number}"), MB, earlier * FILES + number);
        }
    }
    let collected = home.run(&["node", "collect", "--json"]).ends(0).json();
    assert!(collected["free_bytes"].as_u64().is_some(), "{collected}");
    home.run(&["node", "scrub"]).ends(0);
}

/// A node's log files, the newest one last.
fn log_files(home: &Home) -> Vec<PathBuf> {
    let data = home.home().join("data");
    let mut names: Vec<_> = std::fs::read_dir(data).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    names.sort();
    names
}

/// Writes over a part of the newest log file of a node that does not run.
fn spoil(home: &Home, at: impl Fn(u64) -> u64, len: usize) {
    let names = log_files(home);
    let file = std::fs::File::options().read(true).write(true).open(names.last().unwrap()).unwrap();
    file.write_all_at(&vec![0xa5; len], at(file.metadata().unwrap().len())).unwrap();
}

#[test]
fn a_damaged_chunk_is_found_and_named() {
    let home = Home::up();
    assert_eq!(put(&home, "/file", 3 * MB, 1), 0);
    home.run(&["node", "scrub"]).ends(0);
    home.kill("node");
    spoil(&home, |len| len / 2, 10);
    home.bring_up().ends(0);
    let said = home.run(&["node", "scrub"]).ends(6).says("not what was written");
    assert!(said.out.contains("chunk"), "{}", said.out);
    let found = home.run(&["node", "scrub", "--json"]).ends(6).json();
    assert_eq!(found["damaged"].as_array().unwrap().len(), 1, "{found}");
    home.run(&["cat", "/file"]).ends(6);
    // The same content again mends it.
    assert_eq!(put(&home, "/again", 3 * MB, 1), 0);
    home.run(&["node", "scrub"]).ends(0);
    assert_holds(&home, "/file", 3 * MB, 1);
}

#[test]
fn a_loss_that_nobody_can_attribute_is_an_error_until_it_is_accepted() {
    let home = Home::up();
    for number in 0..60 {
        assert_eq!(put(&home, &format!("/f{number}"), 2_000, number), 0);
    }
    home.run(&["node", "accept-damage", "--yes"]).ends(0);
    home.kill("node");
    spoil(&home, |len| len * 2 / 3, 6_000);
    home.bring_up();
    home.run(&["cat", "/nothing"]).ends(6).says("larder node accept-damage");
    home.run(&["node", "collect"]).ends(6).says("frames were lost");
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert!(!status["node"]["damage"].as_array().unwrap().is_empty(), "{status}");
    // What is lost is nowhere to be read, and a scrub does not say that all is well.
    let scrub = home.run(&["node", "scrub", "--json"]).ends(6).json();
    assert_eq!(scrub["lost"], status["node"]["damage"]);
    home.run(&["node", "scrub"]).ends(6).says("larder node accept-damage");
    home.run(&["node", "accept-damage"]).ends(2).says("not accepted yet");
    home.run(&["cat", "/nothing"]).ends(6);
    let accepted = home.run(&["node", "accept-damage", "--yes", "--json"]).ends(0).json();
    assert_eq!(accepted["accepted"], true);
    home.run(&["cat", "/nothing"]).ends(3);
    home.run(&["node", "collect"]).ends(0);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert!(status["node"]["damage"].as_array().unwrap().is_empty(), "{status}");
    // What was not hit is there, and it lasts.
    home.kill("node");
    home.bring_up().ends(0);
    let left = (0..60).filter(|n| home.run(&["cat", &format!("/f{n}")]).code == 0).count();
    assert!((30..60).contains(&left), "{left} of 60 files are left");
    assert_eq!(put(&home, "/f0", 2_000, 0), 0);
}
