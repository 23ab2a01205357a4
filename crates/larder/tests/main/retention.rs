//! Retention rules of a vault: which older versions stay when a file is written again and when the rules are applied,
//! how long deleted things stay, how long new files live; and what is promised when the rules cannot be read.

use crate::support::{Home, pause};
use serde_json::Value;

fn put(home: &Home, path: &str, text: &str) {
    home.run_with(&["put", "-", path], text.as_bytes()).ends(0);
}

fn versions(home: &Home, path: &str) -> usize {
    home.run(&["versions", "--json", path]).ends(0).json_lines().len()
}

fn filled(home: &Home, path: &str, count: usize) {
    for i in 0..count {
        put(home, path, &format!("version {i}"));
    }
}

#[test]
fn a_rule_is_followed_at_every_write_and_when_applied_and_never_takes_what_is_current() {
    let home = Home::up();
    filled(&home, "/before", 5);
    filled(&home, "/docs/all", 4);
    home.run(&["retention", "set", "/", "--last", "2"]).ends(0).says("larder retention apply");
    home.run(&["retention", "set", "/docs", "--keep-all"]).ends(0);
    // Nothing goes before it is asked for.
    assert_eq!(versions(&home, "/before"), 5);
    filled(&home, "/after", 5);
    assert_eq!(versions(&home, "/after"), 3);
    filled(&home, "/docs/all", 2);
    assert_eq!(versions(&home, "/docs/all"), 6);

    let plan = home.run(&["retention", "apply", "--dry-run", "--json"]).ends(0).json();
    assert_eq!((plan["versions"].as_u64(), plan["versions_kept"].as_u64()), (Some(2), Some(4)), "{plan}");
    home.run(&["retention", "apply"]).ends(2).says("--yes does it");
    assert_eq!(versions(&home, "/before"), 5);
    let done = home.run(&["retention", "apply", "--yes", "--json"]).ends(0).json();
    assert_eq!((done["versions"].as_u64(), done["bytes"].as_u64()), (Some(2), Some(18)), "{done}");
    assert!(done["freed_bytes"].is_u64(), "{done}");
    assert_eq!(versions(&home, "/before"), 3);
    assert_eq!(versions(&home, "/docs/all"), 6);
    assert_eq!(home.run(&["cat", "/before"]).ends(0).out, "version 4");
    home.run(&["retention", "apply", "--yes"]).ends(0).says("nothing to delete");
    home.run(&["fsck"]).ends(0);
    // None at all: only what is current stays.
    home.run(&["retention", "set", "/", "--last", "0"]).ends(0);
    put(&home, "/after", "newest");
    assert_eq!((versions(&home, "/after"), home.run(&["cat", "/after"]).ends(0).out.as_str()), (1, "newest"));
}

#[test]
fn what_was_replaced_a_moment_ago_is_within_every_time() {
    let home = Home::up();
    home.run(&["retention", "set", "/", "--within", "1h"]).ends(0);
    filled(&home, "/f", 4);
    assert_eq!(versions(&home, "/f"), 4);
    home.run(&["retention", "set", "/", "--within", "1ms", "--yearly", "2"]).ends(0);
    pause(50);
    home.run(&["retention", "apply", "--yes"]).ends(0);
    assert_eq!(versions(&home, "/f"), 1, "all were written this year, and the current one is its last");
}

#[test]
fn what_the_rules_do_not_keep_only_since_the_question_stays() {
    let home = Home::up();
    filled(&home, "/f", 4);
    home.run(&["retention", "set", "/", "--last", "1"]).ends(0);
    let mut session = crate::pty::Session::start(&home, &["retention", "apply"]);
    session.wait_for("Delete 2 older versions of 1 file");
    // Takes the rule for this file away and writes it again, so that nothing goes by itself meanwhile.
    home.run(&["retention", "set", "/", "--keep-all"]).ends(0);
    put(&home, "/f", "version 4");
    session.type_line("y");
    session.ends(0);
    let kept = home.run(&["versions", "--json", "/f"]).ends(0).json_lines();
    let contents: Vec<String> = kept
        .iter()
        .map(|v| home.run(&["cat", "/f", "--version", v["version"].as_str().unwrap()]).ends(0).out)
        .collect();
    assert_eq!(contents, ["version 4", "version 3", "version 2"], "only those that were asked about went");
}

#[test]
fn a_folder_stored_again_follows_the_rules_too() {
    let home = Home::up();
    home.run(&["retention", "set", "/t", "--last", "1", "--ttl", "2h"]).ends(0);
    home.run(&["retention", "set", "/t/keep", "--ttl", "never"]).ends(0);
    let tree = home.path("t");
    std::fs::create_dir_all(tree.join("keep")).unwrap();
    for round in ["1", "22", "333", "4444"] {
        for name in ["f", "keep/g"] {
            std::io::Write::write_all(&mut std::fs::File::create(tree.join(name)).unwrap(), round.as_bytes())
                .unwrap();
        }
        home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    }
    assert_eq!((versions(&home, "/t/f"), versions(&home, "/t/keep/g")), (2, 2));
    let expires = |path: &str| home.run(&["stat", "--json", path]).ends(0).json()["expires_ms"].clone();
    assert!(expires("/t/f").is_u64());
    assert!(expires("/t/keep/g").is_null());
    // What is said wins over the rule.
    home.run_with(&["put", "-", "/t/x", "--ttl", "1m"], b"x").ends(0);
    put(&home, "/t/y", "y");
    assert!(expires("/t/y").as_u64().unwrap() - expires("/t/x").as_u64().unwrap() > 3_600_000);
}

#[test]
fn the_trash_time_is_the_rules_and_a_folder_keeps_the_longest_in_it() {
    let home = Home::up();
    home.run(&["retention", "set", "/", "--trash", "1h"]).ends(0);
    home.run(&["retention", "set", "/a/long", "--trash", "40d"]).ends(0);
    for path in ["/a/f", "/a/long/f", "/b"] {
        put(&home, path, "x");
    }
    home.run(&["rm", "/b"]).ends(0).says("can be restored for 1h");
    home.run(&["rm", "/a/f"]).ends(0).says("can be restored for 1h");
    home.run(&["rm", "-r", "/a"]).ends(0).says("can be restored for 40d");
    home.run(&["undelete", "/a"]).ends(0);
    home.run(&["rm", "-r", "--trash", "2h", "/a"]).ends(0).says("can be restored for 2h");
}

#[test]
fn rules_are_shown_set_in_part_and_taken_away() {
    let home = Home::up();
    let set = |words: &[&str]| home.run(&[&["retention", "set", "--json"], words].concat()).ends(0).json();
    home.run(&["retention", "show"])
        .ends(0)
        .says("all versions stay, what is deleted for 7d, files have no end");
    set(&["/d", "--daily", "7", "--monthly", "12", "--trash", "30d"]);
    let rule = set(&["/d", "--ttl", "1h"]);
    assert_eq!((rule["trash_ms"].as_u64(), rule["ttl_ms"].as_u64()), (Some(2_592_000_000), Some(3_600_000)));
    assert_eq!(rule["keep"]["monthly"].as_u64(), Some(12));
    let text = home.run(&["retention", "show"]).ends(0).out;
    assert!(text.contains("one a day for 7 days, one a month for 12 months"), "{text}");
    let here = home.run(&["retention", "show", "--json", "/d/x/y"]).ends(0).json();
    assert_eq!((&here["ttl_ms"], &here["trash_ms"]), (&rule["ttl_ms"], &rule["trash_ms"]));
    assert_eq!(home.run(&["retention", "show", "--json", "/e"]).ends(0).json()["keep"], "all");
    let rule = set(&["/d", "--ttl", "default", "--keep-default"]);
    assert_eq!((&rule["ttl_ms"], &rule["keep"]), (&Value::Null, &Value::Null));
    set(&["/d", "--clear"]);
    assert_eq!(home.run(&["retention", "show"]).ends(0).out, "");
    for bad in [
        &["/d"][..],
        &["/d", "--trash", "1s"],
        &["/d", "--ttl", "0"],
        &["/d", "--keep-all", "--last", "1"],
        &["/d", "--clear", "--trash", "1h"],
        &["/../x", "--last", "1"],
    ] {
        home.run(&[&["retention", "set"], bad].concat()).ends(2);
    }
}

fn up_with(home: &Home, every: &str) {
    let passphrase = home.path("passphrase");
    let every = format!("retention_every={every}");
    let up =
        ["up", "--listen", "127.0.0.1:0", "--set", &every, "--passphrase-file", passphrase.to_str().unwrap()];
    home.run(&up).ends(0);
}

#[test]
fn rules_are_applied_by_the_clock_while_the_vault_is_open() {
    let home = Home::new();
    up_with(&home, "off");
    for content in ["1", "2", "3", "4"] {
        home.run_with(&["put", "-", "/a"], content.as_bytes()).ends(0);
    }
    home.run(&["retention", "set", "/", "--last", "1"]).ends(0);
    // Nothing writes the file again. A period that is not over deletes nothing, nor does one that begins.
    for every in ["off", "1h"] {
        home.run(&["down"]).ends(0);
        up_with(&home, every);
        pause(1500);
        assert_eq!(versions(&home, "/a"), 4, "{every}");
    }
    home.run(&["down"]).ends(0);
    up_with(&home, "1s");
    for _ in 0..100 {
        if versions(&home, "/a") == 2 {
            break;
        }
        pause(200);
    }
    assert_eq!(versions(&home, "/a"), 2, "the current one and one older");
    assert_eq!(home.run(&["cat", "/a"]).ends(0).out, "4");
    let log = std::fs::read_to_string(home.home().join("state/logs/agent.log")).unwrap();
    assert!(log.contains("older versions were deleted by the retention rules"), "{log}");
    // Locked, nobody can.
    home.run(&["down"]).ends(0);
    up_with(&home, "off");
    home.run(&["retention", "set", "/", "--last", "0", "--within", "1s"]).ends(0);
    home.run(&["down"]).ends(0);
    home.run(&["up", "--listen", "127.0.0.1:0", "--set", "retention_every=1s"]).ends(0);
    pause(2500);
    home.run(&["down"]).ends(0);
    up_with(&home, "off");
    assert_eq!(versions(&home, "/a"), 2);
}
