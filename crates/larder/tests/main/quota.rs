//! Quotas on the real program: refused before anything is stored, deleting always works, limits last and change while
//! the node runs, and at a terminal a full node offers what to delete.

use crate::support::patience::until;
use crate::support::{Home, noise, pause};
use serde_json::Value;

const MB: usize = 1 << 20;

fn usage(home: &Home) -> Value {
    home.run(&["quota", "--json"]).ends(0).json()
}

/// What is used by a namespace.
fn used(home: &Home, name: &str) -> u64 {
    let usage = usage(home);
    let all = usage["namespaces"].as_array().unwrap().clone();
    all.iter().find(|n| n["name"] == name).unwrap()["used_bytes"].as_u64().unwrap()
}

fn put(home: &Home, path: &str, len: usize, seed: u64) -> crate::support::Said {
    home.run_with(&["put", "-", path], &noise(len, seed))
}

fn limit_files(home: &Home, size: &str) {
    home.run(&["quota", "set", "--namespace", "files", size]).ends(0);
}

#[test]
fn a_namespaces_quota_refuses_puts_before_they_are_stored_and_never_a_deletion() {
    let home = Home::up();
    limit_files(&home, "5MiB");
    put(&home, "/a", 3 * MB, 1).ends(0);
    let before = used(&home, "files");
    assert!((3 * MB as u64..4 * MB as u64).contains(&before), "{before}");
    let refused = put(&home, "/b", 3 * MB, 2).ends(5).says("the quota of the namespace is reached");
    assert!(
        refused.err.contains("of 5.00 MiB used, ") && refused.err.contains("larder quota suggest"),
        "{refused:?}"
    );
    home.run(&["cat", "/b"]).ends(3);
    // Nothing half done: what was accepted of it is let go of.
    until("it is let go of", || used(&home, "files") <= before);
    assert_eq!(used(&home, "files"), before);
    // The same content again costs next to nothing; a new version of other content does not fit beside the old.
    put(&home, "/copy", 3 * MB, 1).ends(0);
    put(&home, "/a", 3 * MB, 3).ends(5);
    assert_eq!(home.command(&["cat", "/a"]).output().unwrap().stdout, noise(3 * MB, 1));
    // Small files fill what is left, also over themselves: their versions count.
    let mut small = 0;
    while put(&home, "/small", 30_000, small + 10).code == 0 {
        small += 1;
        assert!(small < 200, "never full");
    }
    assert!(small > 20, "{small} versions");
    assert!(used(&home, "files") <= 5 << 20);
    // Into the trash, and for good, whole folders too.
    home.run(&["rm", "/small"]).ends(0);
    home.run(&["rm", "/copy"]).ends(0);
    home.run(&["rm", "--now", "/small"]).ends(0);
    put(&home, "/folder/x", 1000, 5).ends(0);
    limit_files(&home, "1MiB");
    put(&home, "/y", 10, 5).ends(5);
    home.run(&["rm", "-r", "/folder"]).ends(0);
    home.run(&["rm", "--now", "/a"]).ends(0);
    home.run(&["rm", "--now", "/copy"]).ends(0);
    until("room comes back", || used(&home, "files") < 100_000);
    put(&home, "/y", 10, 5).ends(0);
}

#[test]
fn limits_and_counters_are_there_again_after_a_kill() {
    let home = Home::up();
    limit_files(&home, "4MiB");
    home.run(&["quota", "set", "300MiB"]).ends(0);
    put(&home, "/a", 2 * MB, 1).ends(0);
    put(&home, "/b", 20_000, 2).ends(0);
    home.run(&["rm", "/b"]).ends(0);
    let before = usage(&home);
    home.kill("node");
    home.bring_up().ends(0);
    let after = usage(&home);
    assert_eq!(before["namespaces"], after["namespaces"]);
    assert_eq!(after["node"]["quota_bytes"], 300 << 20);
    put(&home, "/c", 3 * MB, 3).ends(5);
    home.run(&["quota", "set", "--namespace", "files", "none"]).ends(0);
    put(&home, "/c", 3 * MB, 3).ends(0);
    let said = home.run(&["quota"]).ends(0);
    assert!(said.out.contains("of 300 MiB") && said.out.contains("no limit"), "{}", said.out);
}

#[test]
fn a_nodes_quota_bounds_its_folder_and_room_comes_back() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--quota", "128MiB", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
    let mut files = 0;
    let refused = loop {
        let said = put(&home, &format!("/f{files}"), 6 * MB, files);
        if said.code != 0 {
            break said;
        }
        files += 1;
        assert!(files < 30, "never full");
    };
    refused
        .ends(5)
        .says("the quota of the node is reached")
        .says("of 128 MiB used (40.0 MiB are kept for deleting)");
    assert!(files >= 6, "{files} files of 6 MiB in 128 MiB");
    let taken = crate::support::taken(&home.home().join("data"));
    assert!(taken <= 128 << 20, "{taken} bytes on disk");
    home.run(&["value", "set", "v", "in memory"]).ends(0);
    for number in 0..files {
        home.run(&["rm", "--now", &format!("/f{number}")]).ends(0);
    }
    for _ in 0..500 {
        if put(&home, "/again", 6 * MB, 99).code == 0 {
            return;
        }
        pause(200);
    }
    panic!("no room came back: {}", usage(&home));
}

#[test]
fn wrong_limits_are_refused_with_what_is_allowed() {
    let home = Home::up();
    home.run(&["quota", "set", "1MiB"]).ends(2).says("128 MiB");
    home.run(&["quota", "set", "--namespace", "files", "1k"]).ends(2).says("allowed: 1.00 MiB");
    home.run(&["quota", "set", "--namespace", "nothing", "1GiB"]).ends(3).says("files");
    home.run(&["quota", "set", "lots"]).ends(2).says("not a size");
    home.run(&["quota", "set", "--namespace", "values", "2MiB"]).ends(0);
    let value = "x".repeat(700_000);
    for number in 0..2 {
        home.run_with(&["value", "set", &format!("v{number}"), "-"], value.as_bytes()).ends(0);
    }
    home.run_with(&["value", "set", "v2", "-"], value.as_bytes()).ends(5).says("quota of the namespace");
    home.run(&["value", "del", "v0"]).ends(0);
    home.run_with(&["value", "set", "v2", "-"], value.as_bytes()).ends(0);
}

#[test]
fn what_could_go_is_suggested_the_largest_first() {
    let home = Home::up();
    put(&home, "/docs/large", 2 * MB, 1).ends(0);
    put(&home, "/docs/large", MB, 2).ends(0);
    put(&home, "/gone", 3 * MB, 3).ends(0);
    put(&home, "/folder/in", 1000, 4).ends(0);
    home.run(&["rm", "/gone"]).ends(0);
    home.run(&["rm", "-r", "/folder"]).ends(0);
    let found = home.run(&["quota", "suggest", "--json"]).ends(0).json();
    assert_eq!(found["trash"]["files"], 2, "{found}");
    assert_eq!(found["older_versions"]["bytes"], 2 * MB, "{found}");
    let paths: Vec<_> = found["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["kind"].clone(), c["path"].clone()))
        .collect();
    let expected = [
        ("trash", "/gone"),
        ("trash", "/folder/in"),
        ("older_versions", "/docs/large"),
        ("file", "/docs/large"),
    ];
    assert_eq!(paths, expected.map(|(kind, path)| (kind.into(), path.into())));
    let said = home.run(&["quota", "suggest"]).ends(0);
    assert!(said.out.contains("1   3.00 MiB  all deleted files (2 files, 2 versions)"), "{}", said.out);
    // Without a terminal a refused put only says what to do.
    limit_files(&home, "1MiB");
    put(&home, "/more", 2 * MB, 9).ends(5).says("larder quota suggest");
}
