//! Transfers that were interrupted go on: the same command again sends or fetches only what is missing, counted on the wire,
//! and nothing is left over, doubled or damaged.

#![allow(clippy::print_stderr, reason = "figures for whoever reads the log")]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::proxy::Proxy;
use crate::support::patience::until;
use crate::support::{Home, Said, noise, pause};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Length of the file in mebibytes; `LARDER_RESUME_MIB=200` is the long form.
fn length() -> u64 {
    std::env::var("LARDER_RESUME_MIB").map_or(48, |n| n.parse().unwrap()) * MIB
}

/// How often a transfer is killed before it may end.
fn kills() -> u64 {
    std::env::var("LARDER_RESUME_KILLS").map_or(3, |n| n.parse().unwrap())
}

/// What may travel beyond what was missing: what was on its way when it was interrupted.
const WINDOW: u64 = 20 * MIB;

fn disk(home: &Home, field: &str) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"][field].as_u64().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn start(home: &Home, arguments: &[&str]) -> Child {
    home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn kill(mut child: Child) -> bool {
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "part")).collect()
}

#[test]
fn a_killed_upload_goes_on_where_it_was() {
    let home = Home::up();
    let content = noise(length() as usize, 5);
    let file = home.file("large", &content);
    let proxy = Proxy::before(&home);
    let (mut interrupted, mut sent_before) = (0, 0);
    for attempt in 1..=kills() {
        let there = disk(&home, "blobs");
        let mut child = start(&home, &["put", "--limit-up", "10M", &file, "/large"]);
        let enough = there + length() / MIB / (2 * kills() + 2);
        while disk(&home, "blobs") < enough && child.try_wait().unwrap().is_none() {
            pause(5);
        }
        interrupted += u64::from(kill(child));
        sent_before += proxy.blob_bytes();
        eprintln!(
            "killed {attempt}: {} MiB sent so far, {} blobs there",
            sent_before / MIB,
            disk(&home, "blobs")
        );
    }
    assert!(interrupted > 0, "nothing was interrupted");
    // What had reached the node is stored before it is counted.
    arrives(&proxy);
    let there = disk(&home, "blobs");
    let said = home.run(&["put", "--json", &file, "/large"]).ends(0).json();
    let on_the_wire = proxy.blob_bytes();
    eprintln!("last try: {there} blobs were there, {} MiB sent: {said}", on_the_wire / MIB);
    let (sent, present) = (said["sent"].as_u64().unwrap(), said["present"].as_u64().unwrap());
    assert_eq!(sent, on_the_wire, "what is said is what went");
    // Some of the blobs may be pages of the list of chunks.
    assert!(present + 2 * MIB >= there * MIB, "{present} present, {there} blobs were there");
    assert!(sent + present <= length() + length() / 100 + MIB, "{sent} {present}");
    assert!(sent_before + sent <= length() + length() / 100 + interrupted * WINDOW, "{sent_before} {sent}");
    assert!(home.command(&["cat", "/large"]).output().unwrap().stdout == content);
    assert_eq!(disk(&home, "leases"), 1, "the leases of the killed are given up");
    assert_eq!(std::fs::read_dir(home.home().join("state/uploads")).unwrap().count(), 0);
    assert_eq!(home.run(&["versions", "--json", "/large"]).ends(0).json_lines().len(), 1);
    // Deleted, it is gone whole: no lease of an earlier try keeps a part.
    home.run(&["rm", "--now", "/large"]).ends(0);
    until("no blob is kept by nothing", || disk(&home, "blobs") == 0);
}

/// Waits until what is on its way through a proxy has come: nothing comes for a second.
fn arrives(proxy: &Proxy) {
    let mut quiet = 0;
    while quiet < 10 {
        pause(100);
        quiet = if proxy.blob_bytes() == 0 { quiet + 1 } else { 0 };
    }
}

/// Begins to fetch, kills it once there is enough, and answers how much is left of it.
fn fetch_and_kill(home: &Home, out: &Path) -> u64 {
    let child = start(home, &["get", "--limit-down", "8M", "/large", text(out)]);
    let folder = out.parent().unwrap();
    while parts(folder).first().is_none_or(|part| part.metadata().is_ok_and(|m| m.len() < 9 * MIB)) {
        pause(5);
    }
    assert!(kill(child), "it had ended");
    let left = parts(folder);
    assert_eq!(left.len(), 1, "{left:?}");
    left[0].metadata().unwrap().len()
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::up();
    let content = noise(length() as usize, 6);
    let file = home.file("large", &content);
    home.run(&["put", &file, "/large"]).ends(0);
    let folder = home.path("out");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("large");
    let proxy = Proxy::before(&home);
    let left = fetch_and_kill(&home, &out);
    assert!(!out.exists());
    assert_eq!(parts(&folder)[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What was on its way to the killed one arrives at the proxy all the same.
    arrives(&proxy);
    let said = home.run(&["get", "--json", "/large", text(&out)]).ends(0).json();
    let on_the_wire = proxy.blob_bytes();
    let (fetched, kept) = (said["fetched"].as_u64().unwrap(), said["kept"].as_u64().unwrap());
    eprintln!("{left} bytes were left; {said}; {on_the_wire} on the wire");
    assert_eq!(kept, left / MIB * MIB, "whole chunks are kept");
    assert_eq!(fetched, on_the_wire);
    assert!(kept > 0 && fetched <= length() - kept + length() / 100 + MIB, "{fetched} {kept}");
    assert!(std::fs::read(&out).unwrap() == content);
    assert_eq!(parts(&folder), Vec::<PathBuf>::new());
    // A third time there is nothing to do.
    let said = home.run(&["get", "--json", "/large", text(&out)]).ends(0).json();
    assert_eq!((&said["unchanged"], &said["fetched"]), (&Value::Bool(true), &Value::from(0)));
}

#[test]
fn what_was_left_of_a_download_is_not_trusted() {
    use std::os::unix::fs::FileExt;
    let home = Home::up();
    let content = noise(length() as usize, 7);
    let file = home.file("large", &content);
    home.run(&["put", &file, "/large"]).ends(0);
    let folder = home.path("out");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("large");
    fetch_and_kill(&home, &out);
    let part = std::fs::OpenOptions::new().write(true).open(&parts(&folder)[0]).unwrap();
    part.write_all_at(b"x", 2_000_000).unwrap();
    drop(part);
    home.run(&["get", "/large", text(&out)]).ends(0);
    assert!(std::fs::read(&out).unwrap() == content, "a byte that somebody changed is not taken over");
    assert_eq!(parts(&folder), Vec::<PathBuf>::new());

    // Nor is what was left of another version, or of a link that somebody put there.
    std::fs::remove_file(&out).unwrap();
    fetch_and_kill(&home, &out);
    let newer = noise(length() as usize, 8);
    home.file("large", &newer);
    home.run(&["put", &file, "/large"]).ends(0);
    let said = home.run(&["get", "--json", "/large", text(&out)]).ends(0).json();
    assert_eq!(said["kept"], 0);
    assert!(std::fs::read(&out).unwrap() == newer);
    let left = parts(&folder);
    assert_eq!(left.len(), 1, "the older version's is left for a day");
    let old = std::fs::File::options().write(true).open(&left[0]).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(old);
    home.run(&["get", "--force", "/large", text(&out)]).ends(0);
    assert_eq!(parts(&folder), Vec::<PathBuf>::new());
}

#[test]
fn two_downloads_to_one_name_do_not_meet() {
    let home = Home::up();
    let content = noise(12 * MIB as usize, 9);
    let file = home.file("large", &content);
    home.run(&["put", &file, "/large"]).ends(0);
    let folder = home.path("out");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("large");
    let both = [(); 2].map(|()| start(&home, &["get", "--limit-down", "12M", "/large", text(&out)]));
    for child in both {
        Said::from(child.wait_with_output().unwrap()).ends(0);
    }
    assert!(std::fs::read(&out).unwrap() == content);
    assert_eq!(parts(&folder), Vec::<PathBuf>::new());
}
