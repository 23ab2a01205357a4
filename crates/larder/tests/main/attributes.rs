//! Attributes and lifetimes, shown and changed, without content travelling.

use crate::support::{Home, noise};
use serde_json::Value;

fn attr(home: &Home, path: &str) -> Value {
    home.run(&["attr", "--json", path]).ends(0).json()
}

fn versions(home: &Home, path: &str) -> usize {
    home.run(&["versions", "--json", path]).ends(0).json_lines().len()
}

fn blobs(home: &Home) -> (Value, Value) {
    let disk = &home.run(&["status", "--json"]).ends(0).json()["node"]["disk"];
    (disk["blobs"].clone(), disk["blob_bytes"].clone())
}

#[test]
fn attributes_of_a_file_are_changed_as_a_new_version_of_the_same_content() {
    let home = Home::up();
    let bytes = noise(5_000_000, 3);
    home.run_with(&["put", "-", "/f", "--attr", "a=1", "--attr", "b=2", "--ttl", "1h"], &bytes).ends(0);
    let before = blobs(&home);
    let version = attr(&home, "/f")["version"].as_str().unwrap().to_owned();

    let done = home
        .run(&[
            "attr",
            "--json",
            "/f",
            "c=3",
            "a=one",
            "--remove",
            "b",
            "--content-type",
            "text/plain",
            "--mode",
            "600",
        ])
        .ends(0)
        .json();
    assert_eq!((done["changed"].as_bool(), done["replaced"].as_str()), (Some(true), Some(version.as_str())));
    home.run(&["attr", "/f", "--mtime", "2026-09-21T14:13:20Z"]).ends(0).says("as a new version");
    let now = attr(&home, "/f");
    assert_eq!(now["attributes"], serde_json::json!({ "a": "one", "c": "3" }));
    assert_eq!(now["content_type"], "text/plain");
    assert_eq!(now["mode"].as_u64(), Some(0o600));
    assert_eq!(now["mtime_ns"].as_i64(), Some(1_790_000_000_000_000_000));
    assert!(now["expires_ms"].is_u64(), "it still ends when it was to end: {now}");
    assert_eq!(versions(&home, "/f"), 3);
    assert_eq!(blobs(&home), before, "not a chunk more");

    let out = home.path("f");
    home.run(&["get", "/f", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(&out).unwrap() == bytes);
    // What is signed is checked: the manifest says what the head says.
    home.run(&["stat", "/f"]).ends(0);
    let text = home.run(&["attr", "/f"]).ends(0).out;
    assert!(text.contains("mode          0600\n") && text.contains("a=one\nc=3\n"), "{text}");

    home.run(&["attr", "/f", "a=one", "--mode", "0600"]).ends(0).says("is so already");
    assert_eq!(versions(&home, "/f"), 3);
    home.run(&["restore", "/f", "--version", &version]).ends(0);
    assert_eq!(attr(&home, "/f")["attributes"], serde_json::json!({ "a": "1", "b": "2" }));
}

#[test]
fn a_lifetime_is_changed_in_place() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    home.run(&["attr", "/f", "--ttl", "2h"]).ends(0);
    let left = |v: Value| {
        v["expires_ms"].as_u64().unwrap() - v["version"].as_str().unwrap().parse::<u64>().unwrap() / 65_536
    };
    assert!(left(attr(&home, "/f")).abs_diff(7_200_000) < 60_000);
    home.run(&["attr", "/f", "--no-ttl"]).ends(0);
    assert!(attr(&home, "/f")["expires_ms"].is_null());
    assert_eq!(versions(&home, "/f"), 1);
    home.run(&["attr", "/f", "--ttl", "300ms"]).ends(0);
    crate::support::pause(600);
    home.run(&["attr", "/f"]).ends(3);
}

#[test]
fn folders_have_attributes_and_no_lifetime() {
    let home = Home::up();
    home.run(&["mkdir", "/d"]).ends(0);
    home.run(&["attr", "/d", "owner=me", "--mode", "750"]).ends(0);
    assert_eq!(attr(&home, "/d")["attributes"]["owner"], "me");
    home.run_with(&["put", "-", "/d/f"], b"x").ends(0);
    let out = home.path("out");
    home.run(&["get", "-T", "/d", out.to_str().unwrap()]).ends(0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&out).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o750);
    home.run(&["attr", "/d", "--ttl", "1h"]).ends(2).says("lifetimes are those of files");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let before = attr(&home, "/f");
    let long = format!("a={}", "x".repeat(2049));
    for bad in [
        &["attr", "/f", long.as_str()][..],
        &["attr", "/f", "novalue"],
        &["attr", "/f", "a=1", "a=2"],
        &["attr", "/f", "a=1", "--remove", "a"],
        &["attr", "/f", "--mode", "9"],
        &["attr", "/f", "--mtime", "soon"],
        &["attr", "/f", "--ttl", "0"],
        &["attr", "/f", "--ttl", "1h", "--no-ttl"],
        &["attr", "/"],
    ] {
        home.run(bad).ends(2);
    }
    let many: Vec<String> = (0..65).map(|i| format!("a{i}=x")).collect();
    let mut words = vec!["attr", "/f"];
    words.extend(many.iter().map(String::as_str));
    home.run(&words).ends(2).says("max=64");
    home.run(&["attr", "/f", "a=1", "--if-version", "5"]).ends(4);
    home.run(&["attr", "/nowhere", "a=1"]).ends(3);
    assert_eq!(attr(&home, "/f"), before);
}
