//! A disk that cannot read the end of the log: the node does not start and says which command says more; that command says
//! what would be lost, and only when told to gives it up; the file is kept. `strace` makes the disk's errors.
//!
//! Without `strace`, or where nothing can be mounted, this says so and checks nothing.
#![allow(clippy::print_stderr, reason = "what is not run is said")]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::small::Small;
use crate::support::{Home, Said, noise};

const MB: usize = 1_000_000;

/// Runs a command while reading one file is an error: `times` times, or always. On one core, because the count is kept for
/// each thread.
fn run_unread(home: &Home, file: &Path, times: Option<u32>, arguments: &[&str]) -> Said {
    let when = times.map_or_else(String::new, |times| format!(":when=1..{times}"));
    let run = home.command(arguments);
    let mut command = Command::new("taskset");
    command.args(["-c", "0", "strace", "-f", "-qq", "-o", "/dev/null", "-P"]).arg(file);
    command.args(["-e", "trace=pread64", "-e", &format!("inject=pread64:error=EIO{when}")]);
    command.arg(run.get_program()).args(run.get_args()).env_remove("LARDER_HOME").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).output().unwrap().into()
}

fn can_trace() -> bool {
    let traced = Command::new("taskset").args(["-c", "0", "strace", "-o", "/dev/null", "true"]).output();
    let works = traced.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("NOT RUN: strace or taskset is not installed, or tracing is forbidden here");
    }
    works
}

#[test]
fn a_log_whose_end_cannot_be_read_is_given_up_when_somebody_says_so_and_not_before() {
    let home = Home::new();
    if !can_trace() {
        return;
    }
    let Some(_disk) = Small::mount(&home.home().join("data"), 300) else { return };
    home.bring_up().ends(0);
    home.run_with(&["put", "-", "/first"], &noise(12 * MB, 1)).ends(0);
    home.run_with(&["put", "-", "/second"], &noise(12 * MB, 2)).ends(0);
    home.run_with(&["put", "-", "/third"], &noise(100, 3)).ends(0);
    home.run(&["down"]).ends(0);
    let data = home.home().join("data");
    let last = data.join("00000002.seg");
    let bytes = std::fs::read(&last).expect("segments are short on a small disk");
    assert!(!data.join("00000003.seg").exists());

    // While all can be read there is nothing to give up, node or no node.
    home.run(&["node", "accept-damage"]).ends(9);
    home.run(&["node", "accept-damage", "--yes"]).ends(9).says("larder up");

    let run = ["node", "run", "--listen", "127.0.0.1:0"];
    let refused = run_unread(&home, &last, None, &run).ends(9);
    refused.says("the end of 00000002.seg").says("larder node accept-damage");
    let asked = run_unread(&home, &last, None, &["node", "accept-damage"]).ends(2);
    asked.says("not accepted yet").says("00000002.seg").says("are lost").says("--yes");
    assert_eq!(std::fs::read(&last).unwrap(), bytes, "asking changes nothing");

    // Two reads of the head for judging, the piece, its first block and that once more for copying.
    let given_up = run_unread(&home, &last, Some(5), &["node", "accept-damage", "--yes", "--json"]).ends(0);
    let said = given_up.json();
    assert_eq!(said["accepted"], true, "{said}");
    assert_eq!(said["kept"][0], "00000002.unread", "{said}");
    assert_eq!(std::fs::read(data.join("00000002.unread")).unwrap(), bytes, "kept as it was");

    home.bring_up().ends(0);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert!(status["node"]["damage"].as_array().unwrap().is_empty(), "{status}");
    assert_eq!(home.command(&["cat", "/first"]).output().unwrap().stdout, noise(12 * MB, 1));
    assert_ne!(home.run(&["cat", "/third"]).code, 0);
    home.run_with(&["put", "-", "/fourth"], b"goes on").ends(0);
    home.kill("node");
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/fourth"]).ends(0).out, "goes on");
    home.run(&["node", "accept-damage"]).ends(0);
    assert!(data.join("00000002.unread").exists(), "only a person removes it");
    assert!(home.run(&["doctor"]).out.contains("larder node unread --remove"));
}

#[test]
fn what_was_kept_aside_is_listed_and_removed_when_somebody_says_so() {
    let home = Home::up();
    assert_eq!(home.run(&["node", "unread"]).ends(0).out, "nothing was kept aside\n");
    home.run(&["node", "unread", "--remove"]).ends(0);
    let folder = || home.run(&["quota", "--json"]).ends(0).json()["node"]["used_bytes"].as_u64().unwrap();
    let before = folder();
    for (name, len) in [("00000007.unread", 3 * MB), ("00000007-1.unread", MB), ("00000008.unread", MB)] {
        home.file(&format!("home/data/{name}"), &noise(len, 1));
    }
    // Not of the store's making.
    for name in ["notes.unread", "7.unread", "00000007-x.unread"] {
        home.file(&format!("home/data/{name}"), b"mine");
    }
    assert!(folder() >= before + 5 * MB as u64, "it counts");
    let found = home.run(&["doctor"]).out;
    assert!(
        found.contains("3 files that the disk could not read are kept aside and take 4.76 MiB"),
        "{found}"
    );
    let listed = home.run(&["node", "unread", "--json"]).ends(0).json();
    assert_eq!((listed["kept"].as_array().unwrap().len(), listed["bytes"].as_u64()), (3, Some(5_000_000)));
    assert!(home.home().join("data/00000007.unread").exists());

    // A crash came between the two names: the next start puts the copy in the place of what it is a copy of.
    home.file("home/data/00000008.copy", b"copy");
    home.run(&["node", "unread", "--remove"]).ends(4).says("larder up finishes it");
    let left = |name: &str| home.home().join("data").join(name).exists();
    assert_eq!(
        ["00000007.unread", "00000007-1.unread", "00000008.unread", "notes.unread", "7.unread"].map(left),
        [false, false, true, true, true]
    );
    std::fs::remove_file(home.home().join("data/00000008.copy")).unwrap();
    assert!(home.run(&["node", "unread", "--remove"]).ends(0).out.contains("removed"));
    assert!(!left("00000008.unread"));
    assert!(folder() < before + MB as u64);
    home.run(&["ls"]).ends(0);
}
