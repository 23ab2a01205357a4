//! Letting go: what was deleted is listed, brought back or deleted for good; older versions go by rule; a terminal is
//! asked first; and the space really comes back.

use crate::pty::Session;
use crate::support::{Home, noise};
use serde_json::Value;

/// Files under /t, two folders deep, one of them large, one with older versions.
fn filled() -> Home {
    let home = Home::up();
    for text in ["one", "two", "three"] {
        home.run_with(&["put", "-", "/t/notes"], text.as_bytes()).ends(0);
    }
    home.run_with(&["put", "-", "/t/a/big"], &noise(3_000_000, 7)).ends(0);
    home.run_with(&["put", "-", "/t/a/b/deep"], b"deep").ends(0);
    home
}

fn trash(home: &Home, path: &str) -> Vec<Value> {
    home.run(&["trash", "--json", path]).ends(0).json_lines()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|l| l["path"].as_str().unwrap()).collect()
}

fn store_bytes(home: &Home) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"]["store_bytes"].as_u64().unwrap()
}

fn versions(home: &Home, path: &str) -> usize {
    home.run(&["versions", "--json", path]).ends(0).json_lines().len()
}

#[test]
fn the_trash_lists_what_can_be_brought_back_and_undelete_does() {
    let home = filled();
    home.run(&["trash"]).ends(0).says("nothing to bring back");
    home.run(&["rm", "/t/notes"]).ends(0);
    home.run(&["rm", "-r", "--trash", "2h", "/t/a"]).ends(0);

    let lines = trash(&home, "/");
    assert_eq!(paths(&lines), ["/t/a", "/t/notes"]);
    let (folder, notes) = (&lines[0], &lines[1]);
    assert_eq!((folder["kind"].as_str(), folder["files"].as_u64()), (Some("folder"), Some(2)), "{folder}");
    assert_eq!(folder["bytes"].as_u64(), Some(3_000_004), "{folder}");
    assert_eq!((notes["bytes"].as_u64(), notes["versions"].as_u64()), (Some(5), Some(3)), "{notes}");
    assert_eq!(notes["all_bytes"].as_u64(), Some(11), "{notes}");
    let lives = |v: &Value| v["expires_ms"].as_u64().unwrap() - v["deleted_ms"].as_u64().unwrap();
    assert!(lives(folder).abs_diff(2 * 3_600_000) < 60_000, "{folder}");
    assert!(lives(notes).abs_diff(7 * 24 * 3_600_000) < 60_000, "{notes}");
    let said = home.run(&["trash", "/t"]).ends(0);
    assert!(said.out.contains("/t/a/  (2 files)") && said.out.contains("(3 versions)"), "{}", said.out);

    // Of a deleted folder, what is in it.
    let inside = trash(&home, "/t/a");
    assert_eq!(paths(&inside), ["/t/a", "/t/a/b", "/t/a/big"]);

    home.run(&["undelete", "/t/notes", "/t/a"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/notes", "/t/a/b/deep"]).ends(0).out, "threedeep");
    assert!(trash(&home, "/").is_empty());
    assert_eq!(versions(&home, "/t/notes"), 4, "what it was before it was deleted, and as it is again");
    home.run(&["undelete", "/t/notes"]).ends(4).says("is there, a file; nothing to bring back");
    home.run(&["undelete", "/t/a"]).ends(4).says("is there, a folder");
    home.run(&["undelete", "/t/never"]).ends(3);
    home.run(&["trash", "/t/never"]).ends(3);
    home.run(&["undelete", "/"]).ends(2);
}

#[test]
fn undelete_never_puts_an_older_version_in_the_place_of_what_is_there() {
    let home = filled();
    home.run(&["rm", "/t/notes"]).ends(0);
    home.run_with(&["put", "-", "/t/notes"], b"new").ends(0);
    home.run(&["undelete", "/t/notes"]).ends(4).says("an older version: larder restore /t/notes");
    assert_eq!(home.run(&["cat", "/t/notes"]).ends(0).out, "new");
}

#[test]
fn purging_the_trash_gives_the_space_back_and_touches_nothing_else() {
    let home = filled();
    home.run_with(&["put", "-", "/keep/big"], &noise(2_000_000, 8)).ends(0);
    home.run(&["rm", "-r", "/t/a"]).ends(0);
    home.run(&["rm", "/t/notes"]).ends(0);
    let before = store_bytes(&home);

    home.run(&["purge"]).ends(2).says("--yes does it without asking");
    let plan = home.run(&["purge", "--dry-run", "--json"]).ends(0).json();
    assert_eq!(plan["bytes"].as_u64(), Some(3_000_004 + 11), "{plan}");
    assert_eq!(paths(plan["trashed"].as_array().unwrap()).len(), 2);
    assert_eq!(trash(&home, "/").len(), 2, "a dry run changes nothing");
    // Only what is old enough.
    home.run(&["purge", "--older-than", "1h", "--yes"]).ends(0).says("nothing to delete");
    assert_eq!(trash(&home, "/").len(), 2);

    let done = home.run(&["purge", "--yes", "--json", "/t"]).ends(0).json();
    assert_eq!(done["trashed_deleted"].as_u64(), Some(2), "{done}");
    assert!(done["freed_bytes"].as_u64().unwrap() > 2_500_000, "{done}");
    assert!(before - store_bytes(&home) > 2_500_000, "{before} {}", store_bytes(&home));
    assert!(trash(&home, "/").is_empty());
    home.run(&["undelete", "/t/a"]).ends(3);
    home.run(&["versions", "/t/notes"]).ends(3);
    let out = home.path("big");
    home.run(&["get", "/keep/big", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(out).unwrap() == noise(2_000_000, 8));
    home.run(&["node", "scrub"]).ends(0);
}

#[test]
fn purging_one_thing_leaves_the_rest_of_the_trash() {
    let home = filled();
    home.run(&["rm", "/t/notes"]).ends(0);
    home.run(&["rm", "/t/a/big"]).ends(0);
    home.run(&["purge", "--yes", "/t/notes"]).ends(0).says("deleted for good: 1 deleted thing");
    assert_eq!(paths(&trash(&home, "/")), ["/t/a/big"]);
    home.run(&["purge", "--yes", "/t/never"]).ends(3);
}

#[test]
fn a_deleted_folder_that_was_brought_back_elsewhere_in_time_is_not_purged() {
    let home = filled();
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run(&["undelete", "/t/a/b/deep"]).ends(0);
    // Its folders are there again: what is left of the deletion is in them.
    home.run(&["purge", "--yes"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/a/b/deep"]).ends(0).out, "deep");
    assert!(trash(&home, "/").is_empty());
}

#[test]
fn older_versions_go_and_the_current_one_never() {
    let home = filled();
    let plan = home.run(&["purge", "--versions", "--keep", "1", "-n", "--json"]).ends(0).json();
    assert_eq!((plan["versions"].as_array().unwrap().len(), plan["versions_kept"].as_u64()), (1, Some(1)));
    assert_eq!(plan["versions"][0]["path"], "/t/notes");
    home.run(&["purge", "--versions", "--older-than", "1h", "--yes"]).ends(0).says("nothing to delete");
    assert_eq!(versions(&home, "/t/notes"), 3);
    home.run(&["purge", "--versions", "--keep", "1", "--yes", "/t/notes"]).ends(0).says("1 older version");
    assert_eq!(versions(&home, "/t/notes"), 2);
    home.run(&["restore", "/t/notes"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/notes"]).ends(0).out, "two");
    home.run(&["purge", "--versions", "--yes", "/"]).ends(0);
    assert_eq!(versions(&home, "/t/notes"), 1);
    assert_eq!(home.run(&["cat", "/t/notes"]).ends(0).out, "two");
    home.run(&["purge", "--keep", "1"]).ends(2);
    home.run(&["purge", "--versions", "--yes", "/t/never"]).ends(3);
}

#[test]
fn what_older_versions_share_with_what_stays_is_not_said_to_come_back() {
    const LEN: u64 = 3_000_000;
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], &noise(LEN as usize, 7)).ends(0);
    // The same chunks in another version, and in another file.
    home.run(&["attr", "/f", "kind=noise"]).ends(0);
    home.run_with(&["put", "-", "/g"], &noise(LEN as usize, 8)).ends(0);
    home.run(&["cp", "/g", "/copy"]).ends(0);
    home.run(&["rm", "/copy"]).ends(0);
    home.run(&["purge", "--trash", "--versions", "-n"])
        .ends(0)
        .says("1 deleted thing and 1 older version, 5.72 MiB")
        .says("what they share with anything that stays does not come back");
    let done = home.run(&["purge", "--trash", "--versions", "--yes", "--json"]).ends(0).json();
    assert_eq!(done["bytes"].as_u64(), Some(2 * LEN), "their content: {done}");
    assert!(done["unneeded_bytes"].as_u64().unwrap() < 20_000, "two records: {done}");

    // What nothing else has comes back.
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let said = home.run(&["purge", "--versions", "--yes", "--json"]).ends(0).json();
    let unneeded = said["unneeded_bytes"].as_u64().unwrap();
    assert!((LEN..LEN + 200_000).contains(&unneeded), "{said}");
    home.run_with(&["put", "-", "/g"], b"x").ends(0);
    home.run(&["purge", "--versions", "--yes"])
        .ends(0)
        .says("deleted for good: 1 older version, 2.86 MiB; 2.8")
        .says("MiB of what is stored was needed by nothing else; the disk has ");
}

#[test]
fn a_terminal_is_asked_before_folders_go_and_before_anything_goes_for_good() {
    let home = filled();
    let mut session = Session::start(&home, &["rm", "-r", "/t"]);
    session
        .wait_for("Delete /t with 3 files, 2 folders, 2.86 MiB in it? It can be brought back for 7d. [y/N] ");
    session.type_line("n");
    session.wait_for("left as it is");
    session.ends(0);
    home.run(&["cat", "/t/notes"]).ends(0);

    let mut session = Session::start(&home, &["rm", "--now", "/t/notes"]);
    session.wait_for("Delete /t/notes with all its versions for good? [y/N] ");
    session.type_line("yep\x7f\x7fes");
    session.wait_for("deleted");
    session.ends(0);
    home.run(&["versions", "/t/notes"]).ends(3);

    // A plain file goes to the trash unasked; -f asks never; ctrl-C is no.
    let mut session = Session::start(&home, &["rm", "/t/a/b/deep"]);
    session.wait_for("can be restored for 7d");
    session.ends(0);
    let mut session = Session::start(&home, &["rm", "-rf", "/t/a/b"]);
    session.wait_for("can be restored for 7d");
    session.ends(0);
    let mut session = Session::start(&home, &["rm", "-r", "/t"]);
    session.wait_for("[y/N] ");
    std::io::Write::write_all(session.keyboard(), b"y\x03").unwrap();
    session.wait_for("interrupted");
    session.ends(130);

    let mut session = Session::start(&home, &["purge"]);
    session.wait_for("for good? Nothing of it can be brought back. [y/N] ");
    session.type_line("");
    session.wait_for("nothing was deleted");
    session.ends(0);
    let mut session = Session::start(&home, &["purge"]);
    session.wait_for("[y/N] ");
    session.type_line("Y");
    session.wait_for("deleted for good: 1 deleted thing");
    session.ends(0);
    assert!(trash(&home, "/").is_empty());
}

#[test]
fn what_was_moved_is_not_in_the_trash_and_is_not_purged() {
    let home = filled();
    home.run(&["mv", "/t/notes", "/elsewhere"]).ends(0);
    home.run(&["mv", "/t/a", "/a"]).ends(0);
    assert!(trash(&home, "/").is_empty());
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run(&["purge", "--yes"]).ends(0);
    assert_eq!(versions(&home, "/elsewhere"), 3);
    assert_eq!(home.run(&["cat", "/elsewhere", "/a/b/deep"]).ends(0).out, "threedeep");
    // Deleted in one place, brought back, moved, and the old name deleted for good: the folder stays.
    home.run(&["rm", "-r", "/a"]).ends(0);
    home.run(&["undelete", "/a"]).ends(0);
    home.run(&["mv", "/a", "/b"]).ends(0);
    home.run(&["purge", "--yes", "/"]).ends(0);
    assert_eq!(home.run(&["cat", "/b/b/deep"]).ends(0).out, "deep");
}
