//! Deleted and brought back: folders with all that was in them, deletions that were interrupted or could not be
//! finished, conditions, and what may be deleted for good.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::inside::{Inside, version};
use crate::proxy::{Fate, Proxy};
use crate::support::patience::until;
use crate::support::{Home, noise, pause};
use larder_format::namespace::LifetimeRequest;
use serde_json::Value;

/// A local folder with files of every kind, two folders deep.
fn tree(home: &Home) -> PathBuf {
    let tree = home.path("t");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    for (name, bytes) in [
        ("one", b"1".to_vec()),
        ("two", b"22".to_vec()),
        ("a/big", noise(2_500_000, 1)),
        ("a/b/deep", b"deep".to_vec()),
    ] {
        write(&tree.join(name), &bytes);
    }
    // From the second time on it is there.
    let _ = std::os::unix::fs::symlink("one", tree.join("a/link"));
    tree
}

fn write(path: &Path, bytes: &[u8]) {
    std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), bytes).unwrap();
}

fn put_tree(home: &Home) -> PathBuf {
    let tree = tree(home);
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    tree
}

/// All paths below the root, sorted.
fn paths(home: &Home) -> Vec<String> {
    let lines = home.run(&["ls", "-R", "--json"]).ends(0).json_lines();
    let mut paths: Vec<String> = lines.iter().map(|l| l["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

const ALL: [&str; 8] = ["/t", "/t/a", "/t/a/b", "/t/a/b/deep", "/t/a/big", "/t/a/link", "/t/one", "/t/two"];

#[track_caller]
fn must_be_whole(home: &Home) {
    assert_eq!(paths(home), ALL);
    assert_eq!(home.run(&["cat", "/t/a/b/deep"]).ends(0).out, "deep");
    let out = home.path("big");
    home.run(&["get", "/t/a/big", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(out).unwrap() == noise(2_500_000, 1));
}

fn versions(home: &Home, path: &str) -> Vec<Value> {
    home.run(&["versions", "--json", path]).ends(0).json_lines()
}

#[test]
fn a_deleted_folder_comes_back_with_what_was_in_it() {
    let home = Home::up();
    put_tree(&home);
    home.run_with(&["put", "-", "/t/before"], b"x").ends(0);
    home.run(&["rm", "/t/before"]).ends(0);
    home.run(&["rm", "-r", "/t"]).ends(0).says("can be restored for 7d");
    assert!(paths(&home).is_empty());
    home.run(&["cat", "/t/one"]).ends(3);

    let kept = versions(&home, "/t");
    assert_eq!((kept.len(), kept[0]["kind"].as_str()), (1, Some("folder")));
    assert!(kept[0]["expires_ms"].is_u64(), "{kept:?}");
    let one = versions(&home, "/t/one");
    let number = one[0]["version"].as_str().unwrap();
    assert_eq!(home.run(&["cat", "/t/one", "--version", number]).ends(0).out, "1");

    let done = home.run(&["restore", "--json", "/t"]).ends(0).json();
    assert_eq!((done["files"].as_u64(), done["folders"].as_u64()), (Some(5), Some(3)), "{done}");
    // What was deleted before, for itself, is not in the way: it comes back when asked for.
    must_be_whole(&home);
    home.run(&["restore", "/t/before"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/before"]).ends(0).out, "x");
    for path in ["/t/one", "/t/a/big"] {
        assert!(versions(&home, path).iter().all(|v| v["expires_ms"].is_null()), "{path}");
    }
    home.run(&["restore", "/t"]).ends(4).says("nothing of that name was deleted");
}

#[test]
fn a_folder_that_comes_back_adds_no_version_of_what_is_in_it() {
    let home = Home::up();
    put_tree(&home);
    for content in ["first", "second"] {
        home.run_with(&["put", "-", "/t/one"], content.as_bytes()).ends(0);
    }
    home.run(&["attr", "/t/two", "kind=even"]).ends(0);
    let count = |path: &str| versions(&home, path).len();
    let all = ["/t/one", "/t/two", "/t/a/big", "/t/a/link", "/t/a/b/deep"];
    let before = all.map(count);
    assert_eq!(before, [3, 2, 1, 1, 1]);
    for round in 0..2 {
        home.run(&["rm", "-r", "/t"]).ends(0);
        home.run(&["restore", "/t"]).ends(0);
        assert_eq!(all.map(count), before, "round {round}");
        assert_eq!(paths(&home), ALL);
    }
    // Each older version is the one it was, and stays for good.
    let of_one = versions(&home, "/t/one");
    assert!(of_one.iter().all(|v| v["expires_ms"].is_null()), "{of_one:?}");
    for (version, content) in of_one.iter().zip(["second", "first", "1"]) {
        let number = version["version"].as_str().unwrap();
        assert_eq!(home.run(&["cat", "/t/one", "--version", number]).ends(0).out, content);
    }
    home.run(&["restore", "/t/one"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/one"]).ends(0).out, "first");
    assert_eq!(home.run(&["stat", "--json", "/t/two"]).ends(0).json()["attributes"]["kind"], "even");
    let out = home.path("big");
    home.run(&["get", "/t/a/big", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(out).unwrap() == noise(2_500_000, 1));
    home.run(&["node", "collect"]).ends(0);
    home.run(&["verify", "/t"]).ends(0);
    home.run(&["fsck"]).ends(0);
}

#[test]
fn one_file_of_a_deleted_folder_comes_back_and_then_the_rest() {
    let home = Home::up();
    put_tree(&home);
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run(&["restore", "/t/a/b/deep"]).ends(0);
    assert_eq!(paths(&home), ["/t", "/t/a", "/t/a/b", "/t/a/b/deep"]);
    home.run(&["restore", "/t"]).ends(0);
    must_be_whole(&home);
}

#[test]
fn a_new_folder_of_the_name_is_never_mixed_with_the_deleted_one() {
    let home = Home::up();
    put_tree(&home);
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run_with(&["put", "-", "/t/new"], b"new").ends(0);
    assert_eq!(paths(&home), ["/t", "/t/new"]);
    home.run(&["restore", "/t"]).ends(4).says("something new has that name");
    home.run(&["restore", "/t/one"]).ends(3);
    let deleted = versions(&home, "/t")[0]["version"].as_str().unwrap().to_owned();
    home.run(&["rm", "-r", "/t"]).ends(0);
    home.run(&["restore", "/t", "--version", &deleted]).ends(0);
    must_be_whole(&home);
}

#[test]
fn a_folder_deleted_for_good_leaves_nothing() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let empty = inside.count();
    put_tree(&home);
    home.run_with(&["put", "-", "/t/one"], b"again").ends(0);
    home.run(&["rm", "/t/two"]).ends(0);
    home.run(&["rm", "-r", "/t/a"]).ends(0);
    home.run(&["rm", "-r", "--now", "/t"]).ends(0).says("for good");
    assert_eq!(inside.count(), empty);
    // Also what was deleted with a way back.
    put_tree(&home);
    home.run(&["rm", "-r", "/t"]).ends(0);
    assert!(inside.count() > empty);
    home.run(&["rm", "--now", "/t"]).ends(4).says("rm -r");
    home.run(&["rm", "-r", "--now", "/t"]).ends(0);
    assert_eq!(inside.count(), empty);
    home.run(&["restore", "/t"]).ends(3);
}

#[test]
fn a_deletion_interrupted_at_its_first_step_is_finished_or_undone() {
    let home = Home::up();
    put_tree(&home);
    let inside = Inside::of(&home);
    inside.close("/t");
    let listed = home.run(&["ls", "--json"]).ends(0).json_lines();
    assert_eq!((listed.len(), listed[0]["deleting"].as_bool()), (1, Some(true)), "{listed:?}");
    home.run(&["ls"]).ends(0);
    home.run(&["cat", "/t/one"]).ends(4).says("larder restore /t");
    home.run(&["ls", "/t"]).ends(4).says("being deleted");
    home.run(&["mkdir", "/t"]).ends(4).says("larder rm -r /t");
    home.run_with(&["put", "-", "/t/new"], b"x").ends(4);

    home.run(&["restore", "/t"]).ends(0);
    must_be_whole(&home);
    inside.close("/t");
    inside.close("/t/a");
    home.run(&["restore", "/t"]).ends(0);
    must_be_whole(&home);

    inside.close("/t");
    home.run(&["rm", "-r", "/t"]).ends(0);
    assert!(paths(&home).is_empty());
    home.run(&["mkdir", "/t"]).ends(0);
    assert_eq!(paths(&home), ["/t"]);
}

#[test]
fn a_name_whose_folder_is_empty_or_gone_is_free() {
    let home = Home::up();
    let inside = Inside::of(&home);
    for path in ["/closing", "/gone"] {
        home.run(&["mkdir", path]).ends(0);
    }
    home.run_with(&["put", "-", "/gone/file"], b"x").ends(0);
    inside.close("/closing");
    inside.delete(inside.folder_key("/gone").as_bytes());
    for path in ["/closing", "/gone"] {
        home.run_with(&["put", "-", &format!("{path}/new")], b"new").ends(0);
        assert_eq!(home.run(&["cat", &format!("{path}/new")]).ends(0).out, "new");
    }
    inside.delete(inside.folder_key("/gone").as_bytes());
    home.run(&["rm", "-r", "/gone"]).ends(0);
    home.run(&["rm", "-r", "/closing"]).ends(0);
    assert!(paths(&home).is_empty());
}

#[test]
fn a_killed_deletion_goes_on_and_all_of_it_comes_back() {
    const FILES: usize = 2_000;
    let home = Home::up();
    let tree = home.path("t");
    for i in 0..FILES {
        let folder = tree.join(format!("d{}", i % 4));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder.join(format!("f{i}")), format!("{i}").as_bytes());
    }
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    let inside = Inside::of(&home);
    let whole = inside.count();
    // So slowly that whoever looks sees it in the middle.
    let proxy = Proxy::before(&home);
    proxy.decide(|_| {
        pause(5);
        Fate::Pass
    });
    let mut child = home.command(&["rm", "-r", "/t"]).stdout(Stdio::null()).spawn().unwrap();
    // Keeping a version adds a record: some files are deleted, and most are not.
    until("some are deleted", || inside.count() >= whole + 3);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it was killed in the middle");
    drop(proxy);
    home.run(&["ls", "/t"]).ends(4).says("being deleted");
    let done = home.run(&["rm", "-r", "--json", "/t"]).ends(0).json();
    assert!(done["files"].as_u64().unwrap() < FILES as u64 + 1, "{done}");
    assert!(paths(&home).is_empty());
    let done = home.run(&["restore", "--json", "/t"]).ends(0).json();
    assert_eq!(done["files"], FILES, "{done}");
    assert_eq!(paths(&home).len(), FILES + 5);
    assert_eq!(home.run(&["cat", "/t/d3/f1999"]).ends(0).out, "1999");
}

#[test]
fn what_cannot_be_deleted_leaves_the_rest_within_reach() {
    let home = Home::up();
    put_tree(&home);
    let inside = Inside::of(&home);
    inside.spoil(inside.files, inside.key("/t/a/b/deep").as_bytes());
    home.run_with(&["put", "-", "/t/a/b/good"], b"good").ends(0);
    let said = home.run(&["rm", "-r", "--json", "/t"]).ends(6);
    let done = said.json();
    assert_eq!(done["failed"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(done["failed"][0]["path"], "/t/a/b");
    home.run(&["ls", "/t/a/b"]).ends(6);
    home.run(&["ls", "/t"]).ends(0);
    home.run(&["restore", "/t/a/b/good"]).ends(0);
    assert_eq!(home.run(&["cat", "/t/a/b/good"]).ends(0).out, "good");
    home.run_with(&["put", "-", "/t/new"], b"new").ends(0);
    home.run(&["rm", "-r", "--now", "/t"]).ends(0);
    assert!(paths(&home).is_empty());
}

#[test]
fn a_condition_on_a_version_is_refused_for_folders() {
    let home = Home::up();
    put_tree(&home);
    home.run(&["rm", "-r", "--if-version", "1", "/t"]).ends(2).says("single files");
    must_be_whole(&home);
}

#[test]
fn a_file_that_lives_keeps_its_history_whatever_was_interrupted() {
    let home = Home::up();
    let inside = Inside::of(&home);
    for content in [b"1", b"2"] {
        home.run_with(&["put", "-", "/f"], content).ends(0);
    }
    // What `rm` does first: the version is kept, but not for long. Then it is killed.
    let key = inside.key("/f");
    let found = inside.read(key.as_bytes()).unwrap();
    let version_key = key.version_key(found.version);
    inside.write(inside.files, &version_key, &found, LifetimeRequest::Ttl(3_600_000));
    home.run_with(&["put", "-", "/f"], b"3").ends(0);
    let all = versions(&home, "/f");
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|v| v["expires_ms"].is_null()), "{all:?}");

    home.run(&["rm", "/f"]).ends(0);
    let all = versions(&home, "/f");
    assert!(all.iter().all(|v| v["expires_ms"].is_u64()), "{all:?}");
    home.run(&["restore", "/f"]).ends(0);
    let all = versions(&home, "/f");
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|v| v["expires_ms"].is_null()), "{all:?}");
}

#[test]
fn what_is_left_of_a_deleted_file_can_be_deleted_too() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let empty = inside.count();
    // Killed between deleting and dealing with older versions.
    for content in [b"1", b"2"] {
        home.run_with(&["put", "-", "/killed"], content).ends(0);
    }
    inside.delete(inside.key("/killed").as_bytes());
    home.run(&["rm", "/killed"]).ends(0).says("1 version");
    assert!(versions(&home, "/killed")[0]["expires_ms"].is_u64());
    home.run(&["rm", "/killed"]).ends(3).says("larder rm --now");
    home.run(&["rm", "--now", "/killed"]).ends(0).says("for good");
    home.run(&["versions", "/killed"]).ends(3);
    home.run(&["rm", "--now", "/killed"]).ends(3);

    // Its own time was up, but not that of the version before.
    home.run_with(&["put", "-", "/brief"], b"1").ends(0);
    home.run_with(&["put", "--ttl", "1s", "-", "/brief"], b"2").ends(0);
    pause(1_300);
    home.run(&["cat", "/brief"]).ends(3);
    home.run(&["rm", "--now", "/brief"]).ends(0);
    home.run(&["versions", "/brief"]).ends(3);

    home.run_with(&["put", "-", "/trash"], b"1").ends(0);
    home.run(&["rm", "/trash"]).ends(0);
    home.run(&["rm", "--now", "/trash"]).ends(0);
    home.run(&["restore", "/trash"]).ends(3);
    assert_eq!(inside.count(), empty);
}

#[test]
fn a_folder_deleted_while_it_is_filled_is_reported() {
    /// Long enough that the put is at it for a while; holes, so that it takes no room.
    const LARGE_LEN: u64 = 3 << 30;
    let home = Home::up();
    home.run(&["mkdir", "/t"]).ends(0);
    let tree = home.path("t");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    write(&tree.join("sub/file"), b"x");
    std::fs::File::create(tree.join("large")).unwrap().set_len(LARGE_LEN).unwrap();
    let mut command = home.command(&["put", "--json", tree.to_str().unwrap(), "/"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while home.run(&["ls", "/t"]).ends(0).out.is_empty() {}
    home.run(&["rm", "-r", "/t/sub"]).ends(0);
    assert!(child.try_wait().unwrap().is_none(), "the folder was deleted while the put was at it");
    let said: crate::support::Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, 4, "{}", said.err);
    let failed = said.json()["failed"].clone();
    assert!(failed.as_array().unwrap().iter().any(|f| f["path"] == "/t/sub"), "{failed}");
}

#[test]
fn a_file_that_cannot_be_read_can_be_replaced_or_deleted() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let local = home.file("local", b"new");
    for path in ["/replaced", "/deleted"] {
        home.run_with(&["put", "-", path], b"old").ends(0);
        inside.spoil(inside.files, inside.key(path).as_bytes());
        home.run(&["cat", path]).ends(6);
    }
    home.run(&["put", &local, "/replaced"]).ends(6).says("--force");
    home.run(&["put", "--force", &local, "/replaced"]).ends(0);
    assert_eq!(home.run(&["cat", "/replaced"]).ends(0).out, "new");
    home.run(&["rm", "/deleted"]).ends(6).says("larder rm --now");
    home.run(&["rm", "--now", "/deleted"]).ends(0);
    assert_eq!(home.run(&["ls"]).ends(0).out, "replaced\n");
}

#[test]
fn an_older_state_is_refused_until_it_is_accepted() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let local = home.file("local", b"3");
    for path in ["/accepted", "/replaced", "/deleted"] {
        home.run_with(&["put", "-", path], b"1").ends(0);
        let key = inside.key(path);
        let old = inside.read(key.as_bytes()).unwrap();
        home.run_with(&["put", "-", path], b"2").ends(0);
        inside.write(inside.files, key.as_bytes(), &old, LifetimeRequest::Default);
        home.run(&["cat", path]).ends(6).says("older state");
        home.run_with(&["put", "-", path], b"3").ends(6).says("--force");
    }
    home.run(&["restore", "--accept-older", "/accepted"]).ends(0);
    assert_eq!(home.run(&["cat", "/accepted"]).ends(0).out, "1");
    home.run(&["put", "--force", &local, "/replaced"]).ends(0);
    assert_eq!(home.run(&["cat", "/replaced"]).ends(0).out, "3");
    home.run(&["rm", "--now", "/deleted"]).ends(0);
    home.run(&["ls", "/deleted"]).ends(3);
}

#[test]
fn one_old_version_of_a_deleted_file_is_not_taken_for_another() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let mut kept = Vec::new();
    for content in [b"1", b"2", b"3"] {
        kept.push(version(&home.run_with(&["put", "--json", "-", "/f"], content).ends(0).json()));
    }
    home.run(&["rm", "/f"]).ends(0);
    let key = inside.key("/f");
    let first = inside.read(&key.version_key(kept[0])).unwrap();
    // In the middle of the chain, and at its newest end.
    for place in [kept[1], kept[2]] {
        let place_key = key.version_key(place);
        let own = inside.read(&place_key).unwrap();
        inside.write(inside.files, &place_key, &first, LifetimeRequest::Ttl(3_600_000));
        let wanted = place.to_string();
        home.run(&["cat", "/f", "--version", &wanted]).ends(6);
        home.run(&["restore", "/f", "--version", &wanted]).ends(6);
        inside.write(inside.files, &place_key, &own, LifetimeRequest::Ttl(3_600_000));
    }
    for (version, content) in kept.iter().zip(["1", "2", "3"]) {
        assert_eq!(home.run(&["cat", "/f", "--version", &version.to_string()]).ends(0).out, content);
    }
    // Also once there is a new file of that name, whose own chain does not lead there.
    home.run_with(&["put", "-", "/f"], b"4").ends(0);
    for place in [kept[1], kept[2]] {
        let place_key = key.version_key(place);
        let own = inside.read(&place_key).unwrap();
        inside.write(inside.files, &place_key, &first, LifetimeRequest::Ttl(3_600_000));
        home.run(&["cat", "/f", "--version", &place.to_string()]).ends(6);
        inside.write(inside.files, &place_key, &own, LifetimeRequest::Ttl(3_600_000));
    }
    home.run(&["restore", "/f"]).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "3");
}

#[test]
fn one_thing_that_cannot_be_read_hides_no_other() {
    let home = Home::up();
    let inside = Inside::of(&home);
    let mut kept = Vec::new();
    for content in [b"1", b"2", b"3"] {
        kept.push(version(&home.run_with(&["put", "--json", "-", "/f"], content).ends(0).json()));
    }
    inside.spoil(inside.files, &inside.key("/f").version_key(kept[0]));
    let said = home.run(&["versions", "--json", "/f"]).ends(6);
    assert_eq!(said.json_lines().len(), 2);

    for name in ["good", "bad"] {
        home.run(&["value", "set", name, "x"]).ends(0);
    }
    inside.spoil(inside.values, inside.names.value_key(inside.values, "bad").as_bytes());
    let said = home.run(&["value", "ls", "--json"]).ends(6).says("cannot be read");
    assert_eq!(said.json_lines().len(), 1);

    for path in ["/good", "/bad"] {
        home.run(&["mkdir", path]).ends(0);
    }
    inside.spoil(inside.files, inside.folder_key("/bad").as_bytes());
    let said = home.run(&["ls", "--json"]).ends(6).says("cannot be read").says("larder versions");
    assert_eq!(said.json_lines().len(), 2);
    let out = home.path("out");
    home.run(&["get", "/", out.to_str().unwrap()]).ends(6);
    assert_eq!(std::fs::read(out.join("f")).unwrap(), b"3");
    assert!(out.join("good").is_dir());
    home.run(&["rm", "-r", "--now", "/bad"]).ends(0);
    assert_eq!(paths(&home), ["/f", "/good"]);
    home.run(&["rm", "--now", "/f"]).ends(0);
    home.run(&["versions", "/f"]).ends(3);
}

#[test]
fn what_became_an_older_version_after_the_question_stays() {
    let home = Home::up();
    for content in [b"1", b"2"] {
        home.run_with(&["put", "-", "/f"], content).ends(0);
    }
    let mut session = crate::pty::Session::start(&home, &["purge", "--versions", "/f"]);
    session.wait_for("Delete 1 older version, 1 B for good?");
    home.run_with(&["put", "-", "/f"], b"3").ends(0);
    session.type_line("y");
    session.ends(0);
    let kept = versions(&home, "/f");
    assert_eq!(kept.len(), 2, "nobody was asked about it: {kept:?}");
    let number = kept[1]["version"].as_str().unwrap();
    assert_eq!(home.run(&["cat", "/f", "--version", number]).ends(0).out, "2");
}

#[test]
fn a_path_that_leads_nowhere_does_not_keep_others_from_being_purged() {
    let home = Home::up();
    for path in ["/a", "/c"] {
        home.run_with(&["put", "-", path], b"x").ends(0);
        home.run(&["rm", path]).ends(0);
    }
    let said = home.run(&["purge", "--yes", "--json", "/a", "/b", "/c"]).ends(3);
    assert_eq!(said.json()["trashed_deleted"], 2, "{said:?}");
    assert!(said.err.contains("/b") && said.err.contains("1 of 3 failed"), "{said:?}");
    home.run(&["undelete", "/a"]).ends(3).says("nothing of that name was deleted: /a");
    home.run(&["purge", "--yes", "/b"]).ends(3).says("nothing of that name was deleted");
}
