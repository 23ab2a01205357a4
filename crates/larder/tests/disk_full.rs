//! A full disk, a real one of a few megabytes: writers are told and told what to do, reading and deleting go on, the
//! node starts on it. Needs to mount, so it runs as root only.
#![allow(clippy::print_stderr, reason = "says what is not run")]

mod support;

use support::small::Small;
use support::{Home, noise};

/// Puts files of this length until one is refused; answers how many went in.
fn fill(home: &Home, len: usize, from: usize) -> usize {
    for i in from.. {
        let said = home.run_with(&["put", "-", &format!("/f{i}")], &noise(len, i as u64));
        if said.code == 0 {
            assert!(i < 1_000, "it is never full");
            continue;
        }
        said.ends(5).says("no room: disk").says("larder rm --now");
        return i;
    }
    unreachable!("the range has no end");
}

fn assert_there(home: &Home, len: usize, files: std::ops::Range<usize>) {
    for i in files {
        let output = home.command(&["cat", &format!("/f{i}")]).output().unwrap();
        assert!(output.stdout == noise(len, i as u64), "/f{i}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn on_a_full_disk_everything_but_writing_goes_on() {
    const LEN: usize = 3_000_000;
    let home = Home::new();
    let data = home.home().join("data");
    let Some(_small) = Small::mount(&data, 128) else { return };
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--idle-lock", "never", "--passphrase-file"];
    let up = [&up[..], &[passphrase.to_str().unwrap()]].concat();
    home.run(&up).ends(0);
    let files = fill(&home, LEN, 0);
    assert!(files > 5, "{files} files");
    // What is small is refused too, and what was there stays as it was.
    home.run_with(&["put", "-", "/f0"], &noise(LEN, 99)).ends(5);
    assert_there(&home, LEN, 0..files);
    home.run(&["value", "set", "v", "in memory"]).ends(0);

    // Reading, deleting and starting work, by kill -9 too.
    home.kill("node");
    home.run(&up).ends(0);
    assert_there(&home, LEN, 0..files);
    for i in 0..files / 2 {
        home.run(&["rm", "--now", &format!("/f{i}")]).ends(0);
    }
    assert_there(&home, LEN, files / 2..files);
    assert_eq!(home.run(&["ls"]).ends(0).out.lines().count(), files - files / 2);
}

#[test]
fn a_full_disk_on_the_way_out_leaves_no_part_of_a_file() {
    let home = Home::new();
    let target = home.path("target");
    let Some(_small) = Small::mount(&target, 4) else { return };
    home.bring_up().ends(0);
    home.run_with(&["put", "-", "/big"], &noise(9_000_000, 1)).ends(0);
    home.run_with(&["put", "-", "/folder/big"], &noise(9_000_000, 2)).ends(0);
    home.run_with(&["put", "-", "/folder/small"], b"fits").ends(0);
    let old = target.join("big");
    std::fs::copy(home.path("passphrase"), &old).unwrap();
    home.run(&["get", "/big", target.to_str().unwrap()]).ends(5).says("o space left").says("target");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(&old).unwrap(), support::PASSPHRASE, "the old file is as it was");
    home.run(&["get", "/folder", target.join("folder").to_str().unwrap()]).ends(5).says("big");
    let left: Vec<_> =
        std::fs::read_dir(target.join("folder")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["small"], "the rest of the folder came out");
}
