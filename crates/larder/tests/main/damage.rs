//! One byte of what the node stores is another: the file it belongs to is named with what can be done about it, its older
//! versions are there all the same, and storing it anew mends it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::support::{Home, Said, noise};
use larder_client::vault::FILES;
use larder_format::ids::NamespaceId;
use larder_format::segment::body::RecordName;
use larder_format::segment::{ALIGN, BLOCK_LEN, FRAME_HEADER_LEN, FrameKind};

/// Length of the key of a file's current version; older ones have longer keys.
const CURRENT_KEY_LEN: usize = 32;

/// Where a part of a frame lies in its segment.
struct Part {
    from: usize,
    len: usize,
}

/// The name and value parts of a segment's frames of a kind, oldest first. What a frame's header says is in
/// `docs/design/format-log.md`; its place in the file tells it from what only looks like one.
fn frames(segment: &[u8], kind: FrameKind) -> Vec<(Part, Part)> {
    let word = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let align = usize::try_from(ALIGN).unwrap();
    (BLOCK_LEN..segment.len() - FRAME_HEADER_LEN)
        .step_by(align)
        .filter(|&at| segment[at..].starts_with(b"LF") && word(at + 12) == at / align)
        .filter(|&at| FrameKind::from_u8(segment[at + 2]) == Some(kind))
        .map(|at| {
            let (name, value) = (word(at + 4), word(at + 8));
            let from = at + FRAME_HEADER_LEN;
            (Part { from, len: name }, Part { from: from + name, len: value })
        })
        .collect()
}

/// Changes bytes in the middle of one part of the node's log, as it lies on the disk.
fn flip(home: &Home, which: impl Fn(&[u8]) -> Part, count: usize) {
    let path: PathBuf = home.home().join("data/00000001.seg");
    let segment = std::fs::read(&path).unwrap();
    let part = which(&segment);
    assert!(part.len >= 2 * count);
    let middle = part.from + part.len / 2;
    let changed: Vec<u8> = segment[middle..middle + count].iter().map(|byte| byte ^ 1).collect();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&changed, middle as u64).unwrap();
}

/// As [`flip`], of one byte while the node is down.
fn spoil(home: &Home, which: impl Fn(&[u8]) -> Part) {
    home.run(&["down"]).ends(0);
    flip(home, which, 1);
    home.bring_up().ends(0);
}

/// The record written last among those of current files: name part and body.
fn newest_record(segment: &[u8]) -> (Part, Part) {
    let is_current = |name: &Part| {
        let (name, _) = RecordName::decode(&segment[name.from..name.from + name.len]).unwrap();
        name.namespace == NamespaceId::of(FILES) && name.key.len() == CURRENT_KEY_LEN && name.meta.is_some()
    };
    let mut found = frames(segment, FrameKind::Record);
    found.retain(|(name, value)| value.len > 0 && is_current(name));
    found.pop().unwrap()
}

fn newest_body(segment: &[u8]) -> Part {
    newest_record(segment).1
}

fn newest_chunk(segment: &[u8]) -> Part {
    frames(segment, FrameKind::Blob).pop().unwrap().1
}

/// Three versions of `/v`, the newest damaged in its body; the numbers of the others, newest first.
fn three_versions() -> (Home, Vec<String>) {
    let (home, old) = three_whole_versions();
    spoil(&home, newest_body);
    (home, old)
}

fn three_whole_versions() -> (Home, Vec<String>) {
    let home = Home::up();
    for content in ["one..", "two..", "three"] {
        home.run_with(&["put", "-", "/v"], content.as_bytes()).ends(0);
    }
    let listed = home.run(&["versions", "--json", "/v"]).ends(0).json_lines();
    let number = |v: &serde_json::Value| v["version"].as_str().unwrap().to_owned();
    (home, listed[1..].iter().map(number).collect())
}

fn cat(home: &Home, version: &str) -> Said {
    home.run(&["cat", "/v", "--version", version])
}

#[test]
fn damage_in_the_current_version_hides_no_older_one_and_says_what_to_do() {
    let (home, old) = three_versions();
    let out = home.path("out").to_str().unwrap().to_owned();
    for command in [
        &["cat", "/v"][..],
        &["get", "/v", &out],
        &["stat", "/v"],
        &["proof", "/v"],
        &["put", &home.file("new", b"new"), "/v"],
    ] {
        let said = home.run(command).ends(6).says("/v: ").says("larder restore /v");
        said.says("larder versions /v").says("larder put --force");
    }
    home.run(&["rm", "/v"]).ends(6).says("/v: ").says("all its versions").says("larder restore /v");
    assert_eq!(cat(&home, &old[0]).ends(0).out, "two..");
    assert_eq!(cat(&home, &old[1]).ends(0).out, "one..");
    home.run(&["restore", "/v", "--version", &old[1]]).ends(0).says("was not kept");
    assert_eq!(home.run(&["restore", "--json", "/v"]).ends(0).json()["not_kept"], false);
    home.run(&["restore", "/v", "--version", &old[1]]).ends(0);
    assert_eq!(home.run(&["cat", "/v"]).ends(0).out, "one..");
    assert_eq!(cat(&home, &old[0]).ends(0).out, "two..");
}

#[test]
fn a_damaged_current_version_gives_way_to_restore_and_to_force() {
    let (home, old) = three_versions();
    home.run(&["restore", "/v"]).ends(0);
    assert_eq!(home.run(&["cat", "/v"]).ends(0).out, "two..");

    let (home, older) = three_versions();
    let versions = home.run(&["versions", "--json", "/v"]).ends(0).json_lines();
    let damaged = versions[0]["version"].as_str().unwrap();
    let new = home.file("new", b"new");
    home.run(&["put", "--force", "--if-version", &older[0], &new, "/v"]).ends(4);
    home.run(&["put", "--force", "--if-version", damaged, &new, "/v"]).ends(0).says("was not kept");
    assert_eq!(home.run(&["cat", "/v"]).ends(0).out, "new");
    assert_eq!(cat(&home, &older[1]).ends(0).out, "one..");
    home.run(&["node", "scrub"]).ends(0);
    assert_ne!(old, older);
}

#[test]
fn a_current_version_without_a_readable_head_gives_way_to_force_only() {
    let (home, old) = three_whole_versions();
    // Begun anew, the node knows that the record is there and has none of its bytes in memory.
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    // One byte of a head it would repair.
    flip(&home, |segment| newest_record(segment).0, 4);
    let new = home.file("new", b"new");
    for command in [&["cat", "/v"][..], &["stat", "/v"], &["restore", "/v"], &["put", &new, "/v"]] {
        home.run(command).ends(6).says("/v: ").says("larder put --force");
    }
    home.run(&["rm", "/v"]).ends(6).says("/v: ").says("larder rm --now");
    assert_eq!(cat(&home, &old[0]).ends(0).out, "two..");
    home.run(&["put", "--force", "--if-absent", &new, "/v"]).ends(4);
    home.run(&["put", "--force", &new, "/v"]).ends(0);
    assert_eq!(home.run(&["cat", "/v"]).ends(0).out, "new");
    assert_eq!(cat(&home, &old[1]).ends(0).out, "one..");
}

#[test]
fn damage_in_an_older_version_hides_none_that_is_older_still() {
    let home = Home::up();
    for content in ["first", "second", "third"] {
        home.run_with(&["put", "-", "/w"], content.as_bytes()).ends(0);
    }
    spoil(&home, |segment| {
        let mut kept = frames(segment, FrameKind::Record);
        kept.retain(|(name, _)| {
            let (name, _) = RecordName::decode(&segment[name.from..name.from + name.len]).unwrap();
            name.key.len() > CURRENT_KEY_LEN
        });
        kept.pop().unwrap().1
    });
    let numbers = home.run(&["versions", "--json", "/w"]).ends(0).json_lines();
    let version = |at: usize| {
        let number = numbers[at]["version"].as_str().unwrap();
        home.run(&["cat", "/w", "--version", number])
    };
    version(1).ends(6).says("/w: ").says("larder versions /w");
    assert_eq!(version(2).ends(0).out, "first");
    assert_eq!(version(0).ends(0).out, "third");
}

/// A folder of a small file and two larger ones, stored; its local path.
fn folder(home: &Home) -> String {
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("below")).unwrap();
    for (name, len) in [("large", 48_800), ("whole", 60_000), ("small", 1_000)] {
        let mut file = File::create(tree.join("below").join(name)).unwrap();
        file.write_all(&noise(len, len as u64)).unwrap();
        // One after the other, so that it is known which was stored last.
        home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    }
    tree.to_str().unwrap().to_owned()
}

fn fetch(home: &Home) -> Said {
    home.run(&["get", "/tree", &format!("{}/", home.path("got").display())])
}

#[test]
fn a_folder_put_by_force_mends_a_damaged_chunk_and_a_damaged_record() {
    for (which, name) in [(newest_chunk as fn(&[u8]) -> Part, "whole"), (newest_body, "small")] {
        let home = Home::up();
        let tree = folder(&home);
        spoil(&home, which);
        let said = fetch(&home).ends(6).says("larder put --force");
        assert!(said.err.contains(&format!("got/tree/below/{name}: ")), "{}", said.err);
        assert_eq!(home.run(&["put", "--json", &tree, "/"]).ends(0).json()["unchanged"], 3);
        let put = home.run(&["put", "--json", "--force", &tree, "/"]).ends(0).json();
        assert_eq!((&put["files"], &put["unchanged"]), (&3.into(), &0.into()), "{put}");
        fetch(&home).ends(0);
        for file in ["below/large", "below/small", "below/whole"] {
            let (got, local) = (home.path("got/tree").join(file), home.path("tree").join(file));
            assert!(std::fs::read(got).unwrap() == std::fs::read(local).unwrap(), "{file}");
        }
        home.run(&["node", "scrub"]).ends(0);
    }
}
