//! Values through the real binary: lifetimes, conditions, reading once; `status`, help and bad arguments.

use crate::support::patience::while_it_lives;
use crate::support::{Home, pause};

#[test]
fn a_value_lives_as_long_as_it_was_told_to() {
    let home = Home::up();
    let (got, touched, seconds) = while_it_lives(1, |seconds| {
        home.run(&["value", "set", "code", "4711", "--ttl", &format!("{seconds}s")]).ends(0);
        let got = home.run(&["value", "get", "code"]);
        (got, home.run(&["value", "touch", "code", "--ttl", "10m"]), seconds)
    });
    assert_eq!(got.ends(0).out, "4711", "exactly the bytes");
    touched.ends(0);
    pause(seconds * 1_000 + 300);
    let ttl = home.run(&["value", "ttl", "code", "--json"]).ends(0).json();
    let left = ttl["ttl_ms"].as_u64().unwrap();
    assert!((1..=600_000 - seconds * 1_000 - 200).contains(&left), "{ttl}");
    home.run(&["value", "touch", "code", "--ttl", "1s"]).ends(0);
    pause(1_050);
    home.run(&["value", "get", "code"]).ends(3);
    home.run(&["value", "ttl", "code"]).ends(3);
    let listed = home.run(&["value", "ls", "--json"]).ends(0);
    assert_eq!(listed.out, "");
}

#[test]
fn lifetimes_that_are_not_allowed_are_refused_and_never_shortened() {
    let home = Home::up();
    for (ttl, words) in [
        ("0", "too short"),
        ("-5", "cannot be negative"),
        ("soon", "not a length of time"),
        ("36501d", "too long"),
        ("8d", "longer than allowed"),
    ] {
        home.run(&["value", "set", "v", "x", "--ttl", ttl]).ends(2).says(words);
    }
    home.run(&["value", "get", "v"]).ends(3);
    let set = home.run(&["value", "set", "v", "x", "--json"]).ends(0).json();
    let ttl = set["ttl_ms"].as_u64().unwrap();
    assert!((3_590_000..=3_601_000).contains(&ttl), "an hour by default: {ttl}");
}

#[test]
fn what_may_be_read_once_is_read_once() {
    let home = Home::up();
    home.run_with(&["value", "set", "secret", "-", "--takes", "2"], b"\xff\x00bin").ends(0);
    home.run(&["value", "get", "secret"]).ends(4).says("larder value take");
    let listed = home.run(&["value", "ls", "--json"]).ends(0).json_lines();
    assert_eq!(listed[0]["name"], serde_json::Value::Null);
    let first = home.run(&["value", "take", "secret", "--json"]).ends(0).json();
    assert_eq!((first["value_hex"].as_str(), first["takes_left"].as_u64()), (Some("ff0062696e"), Some(1)));
    home.run(&["value", "take", "secret"]).ends(0).says("last time");
    home.run(&["value", "take", "secret"]).ends(3);
    home.run(&["value", "set", "plain", "x"]).ends(0);
    home.run(&["value", "take", "plain"]).ends(2);
}

#[test]
fn conditions_and_sizes_of_values() {
    let home = Home::up();
    let set = home.run(&["value", "set", "v", "a", "--if-absent", "--json"]).ends(0).json();
    home.run(&["value", "set", "v", "b", "--if-absent"]).ends(4);
    let version = set["version"].as_str().unwrap();
    home.run(&["value", "set", "v", "c", "--if-version", version]).ends(0);
    home.run(&["value", "del", "v", "--if-version", version]).ends(4);
    home.run(&["value", "del", "v"]).ends(0);
    home.run(&["value", "del", "v"]).ends(3);
    home.run(&["value", "set", "", "x"]).ends(2);
    home.run_with(&["value", "set", "big"], &vec![7; 11 << 20]).ends(2).says("larder put");
}

#[test]
fn status_shows_what_there_is_and_help_shows_the_codes() {
    let home = Home::up();
    home.run(&["value", "set", "v", "x"]).ends(0);
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(status["node"]["running"], true);
    assert_eq!(status["vault"]["state"], "open");
    assert_eq!(status["node"]["memory"]["records"], 1);
    assert_eq!(status["exposed"][0]["scope"], "this machine");
    let names: Vec<_> = status["namespaces"].as_array().unwrap().iter().map(|n| n["name"].clone()).collect();
    assert_eq!(names, ["files", "keys", "raw", "values"]);
    let text = home.run(&["status"]).ends(0).out;
    assert!(text.contains("running") && text.contains("sealed, memory"), "{text}");
    home.kill("node");
    let down = home.run(&["status", "--json"]).ends(9).json();
    assert_eq!(down["node"]["running"], false);
    assert!(home.run(&["status"]).ends(9).out.contains("not running"));
    assert!(home.run(&["help", "exit-codes"]).ends(0).out.contains("130  interrupted"));
    assert_eq!(home.run(&["exit-codes", "--json"]).ends(0).json()["exit_codes"][8]["kinds"][0], "locked");
    home.run(&["frobnicate"]).ends(2).says("frobnicate");
    assert_eq!(home.run(&["--json", "value", "set"]).ends(2).json_error()["kind"], "invalid");
}
