//! kill -9: of the node at random moments under load, of a client in the middle of a large file. What was
//! acknowledged is there byte for byte, in every version; what was not is whole old or whole new.
//!
//! A few kills by default; `LARDER_KILLS=100` (as `make test-long` does) for more.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "real processes are timed, and what is measured or not run is said"
)]

use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::support::patience::until;
use crate::support::{Home, noise, pause};

/// Kills when nothing else is asked for.
const KILLS_DEFAULT: u64 = 6;

/// Clients at work while the node is killed.
const WORKERS: u64 = 3;

/// Files that each client writes to, over and over.
const FILES: u64 = 4;

/// Random enough, and the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What a file may hold: nothing, or the bytes that [`content`] makes of a number.
type Content = Option<u64>;

/// Inline files, files of one blob and of several.
fn content(number: u64) -> Vec<u8> {
    let len = [300, 20_000, 90_000, 1_300_000][usize::try_from(number % 4).unwrap()];
    noise(len + usize::try_from(number % 1000).unwrap(), number)
}

/// What is known of one file.
#[derive(Default)]
struct Known {
    /// Acknowledged last.
    now: Content,
    /// Tried since without an answer: each may have happened or not.
    maybe: Vec<Content>,
    /// Acknowledged versions that are kept (`rm --now` takes them all).
    versions: HashMap<String, u64>,
}

/// A client at work on its own files, until it is told to stop.
fn work(
    home: &Home,
    worker: u64,
    dice: &mut Dice,
    known: &mut HashMap<String, Known>,
    (stop, acknowledged): (&AtomicBool, &AtomicU64),
) {
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/w{worker}/f{}", dice.roll(FILES));
        let file = known.entry(path.clone()).or_default();
        if dice.roll(5) > 0 {
            let number = dice.roll(1 << 30);
            file.maybe.push(Some(number));
            let said = home.run_with(&["put", "--json", "--wait", "0", "-", &path], &content(number));
            if said.code == 0 {
                let version = said.json()["version"].as_str().unwrap().to_owned();
                file.versions.insert(version, number);
                (file.now, file.maybe) = (Some(number), Vec::new());
                acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!([1, 9, 10].contains(&said.code), "{said:?}");
            }
        } else {
            file.maybe.push(None);
            let said = home.run(&["rm", "--now", &path]);
            match said.code {
                0 | 3 => {
                    (file.now, file.maybe) = (None, Vec::new());
                    file.versions.clear();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // Its versions may be gone too, all or some.
                code => {
                    assert!([1, 9, 10].contains(&code), "{said:?}");
                    file.versions.clear();
                }
            }
        }
    }
}

/// Reads a file, and holds what is there against what is known. What is found is what is known from then on.
fn check(home: &Home, path: &str, file: &mut Known) {
    let output = home.command(&["cat", path]).output().unwrap();
    let may_be = [&[file.now][..], &file.maybe].concat();
    let found = match output.status.code() {
        Some(0) => may_be.iter().find(|m| m.is_some_and(|number| content(number) == output.stdout)),
        Some(3) => may_be.iter().find(|m| m.is_none()),
        _ => None,
    };
    let Some(found) = found else {
        panic!(
            "{path}: code {:?}, {} bytes, may be {may_be:?}: {}",
            output.status.code(),
            output.stdout.len(),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    (file.now, file.maybe) = (*found, Vec::new());
    if found.is_none() {
        file.versions.clear();
    }
}

fn check_versions(home: &Home, path: &str, file: &Known) {
    for (version, number) in &file.versions {
        let output = home.command(&["cat", path, "--version", version]).output().unwrap();
        assert!(output.status.success(), "{path} {version}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == content(*number), "{path} {version}");
    }
}

#[test]
fn a_killed_node_keeps_all_it_acknowledged() {
    let kills = std::env::var("LARDER_KILLS").map_or(KILLS_DEFAULT, |n| n.parse().unwrap());
    let home = Home::up();
    let mut dice = Dice(7);
    let mut files: Vec<HashMap<String, Known>> = (0..WORKERS).map(|_| HashMap::new()).collect();
    let mut restarts = Vec::new();
    let (acknowledged, mut unanswered) = (AtomicU64::new(0), 0);
    for kill in 0..kills {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let working: Vec<_> = (files.iter_mut().zip(0..))
                .map(|(known, worker)| {
                    let mut dice = Dice(kill * WORKERS + worker);
                    let (home, done) = (&home, (&stop, &acknowledged));
                    scope.spawn(move || work(home, worker, &mut dice, known, done))
                })
                .collect();
            pause(50 + dice.roll(1_500));
            // On a slow machine nothing may have been done by then.
            until("the node is at work", || acknowledged.load(Ordering::Relaxed) > kill + 1);
            home.kill("node");
            stop.store(true, Ordering::Relaxed);
            working.into_iter().for_each(|w| w.join().unwrap());
        });
        let from = Instant::now();
        home.bring_up().ends(0);
        restarts.push(from.elapsed());
        home.run(&["ls", "-lR"]).ends(0);
        for (path, file) in files.iter_mut().flatten() {
            unanswered += file.maybe.len();
            check(&home, path, file);
        }
        // All versions now and then: they add up.
        if kill % 10 == 9 || kill + 1 == kills {
            files.iter().flatten().for_each(|(path, file)| check_versions(&home, path, file));
        }
        let status = home.run(&["status", "--json"]).ends(0).json();
        assert_eq!(status["node"]["damage"].as_array().map(Vec::len), Some(0), "{status}");
    }
    restarts.sort_unstable();
    let acknowledged = acknowledged.into_inner();
    let versions: usize = files.iter().flatten().map(|(_, file)| file.versions.len()).sum();
    eprintln!(
        "{kills} kills: {acknowledged} writes acknowledged, {unanswered} unanswered, {versions} versions kept; \
         `larder up` took {:?} (median), {:?} (longest)",
        restarts[restarts.len() / 2],
        restarts[restarts.len() - 1]
    );
    assert!(acknowledged > kills, "the node was at work: {acknowledged}");
}

fn disk(home: &Home, field: &str) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"][field].as_u64().unwrap()
}

#[test]
fn a_killed_client_leaves_the_old_version_and_its_blobs_go_later() {
    let place = tempfile::tempdir().unwrap();
    let offset = place.path().join("offset");
    let ahead_by = |seconds: u64| {
        let new = place.path().join("new");
        std::fs::write(&new, format!("+{seconds}")).unwrap();
        // Replaced in one step, so that nobody reads an empty file.
        std::fs::rename(&new, &offset).unwrap();
    };
    ahead_by(0);
    let library = crate::support::faketime();
    let home = match &library {
        Some(library) => Home::with_environment(&[
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]),
        None => Home::new(),
    };
    home.bring_up().ends(0);
    let old = noise(3_000_000, 1);
    home.run_with(&["put", "-", "/f"], &old).ends(0);
    let (blobs, leases) = (disk(&home, "blobs"), disk(&home, "leases"));

    let mut child =
        home.command(&["put", "--resume-within", "1h", "-", "/f"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&noise(24 << 20, 2)).unwrap();
    while disk(&home, "blobs") < blobs + 4 {
        pause(20);
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let output = home.command(&["cat", "/f"]).output().unwrap();
    assert!(output.stdout == old);
    assert_eq!(home.run(&["versions", "--json", "/f"]).ends(0).json_lines().len(), 1);
    assert_eq!(disk(&home, "leases"), leases + 1, "its blobs are leased, should it come back");
    assert!(disk(&home, "blobs") >= blobs + 4);

    if library.is_none() {
        return;
    }
    // The node forgets nothing of it when it is killed; then hours pass, in steps that a clock may take without
    // being doubted. The lease ends, and nothing lists the blobs.
    home.kill("node");
    home.bring_up().ends(0);
    let mut passed = 0;
    while disk(&home, "blobs") > blobs || disk(&home, "leases") > leases {
        assert!(passed < 3 * 3600, "the orphans were not collected");
        passed += 50;
        ahead_by(passed);
        // The chores look ten times a second.
        pause(150);
    }
    eprintln!("orphans of a killed client were gone {} minutes later", passed / 60);
    // Nobody used the vault for as long: it locked itself.
    home.run_with(&["unlock", "--passphrase-file", home.path("passphrase").to_str().unwrap()], b"").ends(0);
    let output = home.command(&["cat", "/f"]).output().unwrap();
    assert!(output.stdout == old);
}
