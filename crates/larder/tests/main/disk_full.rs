//! A full disk, a real one of a few megabytes: writers are told and told what to do, reading and deleting go on, the
//! node starts on it. Needs to mount, so it runs as root only.
#![allow(clippy::print_stderr, reason = "says what is not run")]

use std::io::Write;
use std::path::PathBuf;

use crate::support::small::Small;
use crate::support::{Home, Said, noise, pause};
use serde_json::Value;

/// Another program's file on the same disk.
struct Ballast<'a> {
    disk: &'a Small,
    path: PathBuf,
}

impl Ballast<'_> {
    /// Takes all room but this much.
    fn leave(&self, left: u64) {
        let mut file = std::fs::File::options().create(true).append(true).open(&self.path).unwrap();
        let zeros = vec![0; 256 << 10];
        loop {
            let over = self.disk.free().saturating_sub(left);
            let len = usize::try_from(over).unwrap().min(zeros.len());
            if len == 0 || file.write_all(&zeros[..len]).is_err() {
                return;
            }
        }
    }

    fn lift(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

/// Puts files of this length until one is refused; answers how many went in.
fn fill(home: &Home, len: usize, from: usize) -> usize {
    for i in from.. {
        let said = home.run_with(&["put", "-", &format!("/f{i}")], &noise(len, i as u64));
        if said.code == 0 {
            assert!(i < 1_000, "it is never full");
            continue;
        }
        said.ends(5).says("no room: the disk is full").says("larder rm --now");
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
    assert_eq!(
        std::fs::read_to_string(&old).unwrap(),
        crate::support::PASSPHRASE,
        "the old file is as it was"
    );
    home.run(&["get", "/folder", target.join("folder").to_str().unwrap()]).ends(5).says("big");
    let left: Vec<_> =
        std::fs::read_dir(target.join("folder")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["small"], "the rest of the folder came out");
}

/// Every moment of a put at which another program can take the last of the room, and how much it leaves.
#[test]
fn whenever_the_disk_fills_in_a_put_nothing_acknowledged_is_lost() {
    const LEN: usize = 5_000_000;
    let steps = std::env::var("LARDER_FULL_STEPS").map_or(12, |steps| steps.parse().unwrap());
    let home = Home::new();
    let data = home.home().join("data");
    let Some(disk) = Small::mount(&data, 224) else { return };
    let ballast = Ballast { disk: &disk, path: data.join("of-somebody-else") };
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--idle-lock", "never", "--passphrase-file"];
    let up = [&up[..], &[passphrase.to_str().unwrap()]].concat();
    home.run(&up).ends(0);
    home.run_with(&["put", "-", "/f0"], &noise(LEN, 0)).ends(0);
    let (mut whole, mut refused) = (vec![0], 0);
    for step in 1..=steps {
        let local = home.file("local", &noise(LEN, step));
        let path = format!("/f{step}");
        // Four tenths of a second, and the room goes somewhere in it.
        let put = ["put", "--wait", "0", "--limit-up", "12M", "-T", &local, &path];
        let child = home.command(&put).stderr(std::process::Stdio::piped()).spawn().unwrap();
        pause(30 + 450 * step / steps);
        ballast.leave([0, 4 << 10, 96 << 10, 1 << 20, 3 << 20][usize::try_from(step).unwrap() % 5]);
        let said: Said = child.wait_with_output().unwrap().into();
        // Reading goes on, and what was there is as it was.
        assert_there(&home, LEN, 0..1);
        ballast.lift();
        match said.code {
            0 => whole.push(step),
            5 => {
                refused += 1;
                said.says("no room: the disk is full").says("larder rm --now");
                home.run(&["cat", &path]).ends(3);
            }
            // What waited for room may have got it.
            10 => {
                said.says("no room: the disk is full");
                let after = home.command(&["cat", &path]).output().unwrap();
                let is_whole = after.stdout == noise(LEN, step);
                assert!(is_whole || after.status.code() == Some(3), "{path}: half there");
            }
            _ => panic!("step {step}: {said:?}"),
        }
    }
    eprintln!("{steps} puts: {} whole, {refused} refused, the rest unknown", whole.len() - 1);
    assert!(refused > 0, "never full");
    home.kill("node");
    home.run(&up).ends(0);
    for step in &whole {
        let number = usize::try_from(*step).unwrap();
        assert_there(&home, LEN, number..number + 1);
    }
    // Full to the last byte, deleting for good still works, and its room is there for others.
    ballast.leave(0);
    for step in &whole {
        home.run(&["rm", "--now", &format!("/f{step}")]).ends(0);
    }
    ballast.lift();
    home.run_with(&["put", "-", "/again"], &noise(LEN, 99)).ends(0);
    home.run(&["node", "scrub"]).ends(0);
}

#[test]
fn of_a_folder_that_meets_a_full_disk_what_is_not_named_as_failed_is_whole() {
    const FILES: u64 = 150;
    let home = Home::new();
    let data = home.home().join("data");
    let Some(disk) = Small::mount(&data, 224) else { return };
    let ballast = Ballast { disk: &disk, path: data.join("of-somebody-else") };
    home.bring_up().ends(0);
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let len = |number: u64| 1_000 + 900 * usize::try_from(number).unwrap();
    for number in 0..FILES {
        home.file(&format!("tree/{number}"), &noise(len(number), number));
    }
    for (step, left) in [(1, 0), (2, 64 << 10), (3, 0), (4, 2 << 20)] {
        let to = format!("/tree{step}");
        let put = ["put", "--json", "--wait", "0", "--limit-up", "24M", "-T", tree.to_str().unwrap(), &to];
        let mut command = home.command(&put);
        let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = child.spawn().unwrap();
        pause(90 * step);
        ballast.leave(left);
        let said: Said = child.wait_with_output().unwrap().into();
        ballast.lift();
        assert!([0, 5, 10].contains(&said.code), "{said:?}");
        // Without a report not even the folder was accepted.
        let Ok(report) = serde_json::from_str::<Value>(&said.out) else { continue };
        let failed: Vec<_> = report["failed"].as_array().unwrap().iter().collect();
        for number in 0..FILES {
            let path = format!("{}/{number}", tree.display());
            if failed.iter().any(|f| f["path"] == path || f["path"] == tree.to_str().unwrap()) {
                continue;
            }
            let there = home.command(&["cat", &format!("{to}/{number}")]).output().unwrap();
            assert!(there.stdout == noise(len(number), number), "{to}/{number}: {report}");
        }
    }
    home.run(&["put", "-T", tree.to_str().unwrap(), "/tree"]).ends(0);
    home.run(&["verify", "/tree"]).ends(0);
}
