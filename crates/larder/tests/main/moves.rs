//! Moved and copied inside the vault: names, folders, versions and lifetimes go along, content does not travel, and what is
//! interrupted between two requests shows a thing twice and never not at all.

use crate::inside::{Inside, version};
use crate::proxy::{Fate, Proxy};
use crate::support::{Home, noise};
use larder_wire::v1;
use serde_json::Value;

fn put(home: &Home, path: &str, text: &str) {
    home.run_with(&["put", "-", path], text.as_bytes()).ends(0);
}

fn cat(home: &Home, path: &str) -> String {
    home.run(&["cat", path]).ends(0).out
}

/// All paths below the root, sorted.
fn paths(home: &Home) -> Vec<String> {
    let lines = home.run(&["ls", "-R", "--json"]).ends(0).json_lines();
    let mut paths: Vec<String> = lines.iter().map(|l| l["path"].as_str().unwrap().to_owned()).collect();
    paths.sort_unstable();
    paths
}

fn versions(home: &Home, path: &str) -> Vec<Value> {
    home.run(&["versions", "--json", path]).ends(0).json_lines()
}

fn blob_bytes(home: &Home) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"]["blob_bytes"].as_u64().unwrap()
}

#[test]
fn a_file_gets_another_name_with_all_its_versions_and_nothing_travels() {
    let home = Home::up();
    let big = home.file("big", &noise(3_000_000, 1));
    home.run(&["put", &big, "/a/big"]).ends(0);
    let bigger = home.file("big", &noise(3_500_000, 2));
    home.run(&["put", &bigger, "/a/big"]).ends(0);
    let (before, stored) = (versions(&home, "/a/big"), blob_bytes(&home));
    home.run(&["mkdir", "/b"]).ends(0);

    let done = home.run(&["mv", "--json", "/a/big", "/b/"]).ends(0).json();
    assert_eq!((done["to"].as_str(), done["versions"].as_u64()), (Some("/b/big"), Some(1)), "{done}");
    assert_eq!(paths(&home), ["/a", "/b", "/b/big"]);
    home.run(&["cat", "/a/big"]).ends(3);
    home.run(&["versions", "/a/big"]).ends(3);
    home.run(&["restore", "/a/big"]).ends(3);
    assert_eq!(blob_bytes(&home), stored);

    let after = versions(&home, "/b/big");
    assert_eq!(after.len(), 2);
    assert_eq!(after[1]["version"], before[1]["version"], "older versions keep their numbers");
    home.run(&["node", "collect"]).ends(0);
    let out = home.path("out");
    home.run(&["get", "/b/big", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(&out).unwrap() == noise(3_500_000, 2));
    let number = after[1]["version"].as_str().unwrap();
    home.run(&["get", "/b/big", "--version", number, out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(&out).unwrap() == noise(3_000_000, 1));
    home.run(&["restore", "/b/big"]).ends(0);
    assert_eq!(versions(&home, "/b/big").len(), 3);

    // With the file and all its versions gone for good nothing of it is left, under either name.
    home.run(&["rm", "--now", "/b/big"]).ends(0);
    home.run(&["node", "collect"]).ends(0);
    assert_eq!(blob_bytes(&home), 0);
}

#[test]
fn what_was_there_becomes_an_older_version_unless_it_must_not() {
    let home = Home::up();
    put(&home, "/new", "new");
    put(&home, "/old", "old");
    home.run(&["mv", "-n", "/new", "/old"]).ends(4).says("exists already");
    assert_eq!((cat(&home, "/new"), cat(&home, "/old")), ("new".into(), "old".into()));
    home.run(&["mv", "/new", "/old", "--if-version", "1"]).ends(4).says("another version");
    home.run(&["mv", "/new", "/old"]).ends(0).says("an older version now");
    assert_eq!(cat(&home, "/old"), "new");
    home.run(&["restore", "/old"]).ends(0);
    assert_eq!(cat(&home, "/old"), "old");
    // Older in its own time than what had the name: it is no rollback.
    put(&home, "/x", "x");
    put(&home, "/y", "y");
    home.run(&["rm", "/y"]).ends(0);
    home.run(&["mv", "/x", "/y"]).ends(0);
    assert_eq!(cat(&home, "/y"), "x");
    assert_eq!(versions(&home, "/y").len(), 2, "what was deleted under that name can still be brought back");
    put(&home, "/x", "another");
    assert_eq!(versions(&home, "/x").len(), 1, "a new file of the old name begins anew");
}

#[test]
fn bad_moves_are_refused_and_change_nothing() {
    let home = Home::up();
    home.run(&["mkdir", "/a/b", "/c/full"]).ends(0);
    put(&home, "/a/file", "f");
    let before = paths(&home);
    home.run(&["mv", "/a", "/a/b"]).ends(2).says("into itself");
    home.run(&["mv", "/a", "/a"]).ends(2).says("into itself");
    home.run(&["mv", "-T", "/a", "/a"]).ends(2).says("to where it is");
    home.run(&["cp", "-r", "/a", "/a/b/c"]).ends(2).says("into itself");
    home.run(&["mv", "/none", "/x"]).ends(3);
    home.run(&["mv", "/a/file", "/none/"]).ends(3);
    home.run(&["mv", "/a/file", "/none/x"]).ends(3);
    home.run(&["mv", "/", "/x"]).ends(2).says("the root");
    home.run(&["mv", "-T", "/a", "/c"]).ends(4).says("not empty");
    home.run(&["mv", "-T", "/a/file", "/c"]).ends(4).says("is a folder");
    home.run(&["mv", "-T", "/c", "/a/file"]).ends(4).says("is a file");
    home.run(&["mv", "/c", "/a", "/a/file"]).ends(4);
    home.run(&["mv", "/a"]).ends(2);
    home.run(&["mv", "/c", "/x", "--if-version", "1"]).ends(2);
    home.run(&["cp", "/a", "/x"]).ends(4).says("cp -r");
    assert_eq!(paths(&home), before);
}

#[test]
fn a_folder_moves_with_all_that_is_in_it_and_what_was_deleted_in_it() {
    let home = Home::up();
    put(&home, "/t/a/one", "1");
    put(&home, "/t/a/one", "11");
    put(&home, "/t/gone", "gone");
    home.run(&["rm", "/t/gone"]).ends(0);
    home.run(&["mkdir", "/u/empty"]).ends(0);
    home.run(&["mv", "/t", "/u"]).ends(0);
    assert_eq!(paths(&home), ["/u", "/u/empty", "/u/t", "/u/t/a", "/u/t/a/one"]);
    assert_eq!(versions(&home, "/u/t/a/one").len(), 2);
    home.run(&["restore", "/u/t/gone"]).ends(0);
    assert_eq!(cat(&home, "/u/t/gone"), "gone");
    home.run(&["mv", "-T", "/u/t", "/u/empty"]).ends(0);
    home.run(&["mv", "/u/empty/a", "/u/empty/b"]).ends(0);
    assert_eq!(cat(&home, "/u/empty/b/one"), "11");
    // A new folder of the old name is another one, and there and back again.
    home.run(&["mkdir", "/t"]).ends(0);
    home.run(&["mv", "/u/empty", "/t/"]).ends(0);
    home.run(&["mv", "/t/empty", "/u/"]).ends(0);
    assert_eq!(paths(&home), ["/t", "/u", "/u/empty", "/u/empty/b", "/u/empty/b/one", "/u/empty/gone"]);
    home.run(&["rm", "-r", "/u"]).ends(0);
    home.run(&["restore", "/u"]).ends(0);
    assert_eq!(cat(&home, "/u/empty/b/one"), "11");
}

#[test]
fn deleting_for_good_where_a_folder_was_leaves_it_alone_where_it_is() {
    let home = Home::up();
    put(&home, "/a/sub/file", "kept");
    home.run(&["rm", "-r", "/a/sub"]).ends(0);
    home.run(&["restore", "/a/sub"]).ends(0);
    home.run(&["mv", "/a/sub", "/safe"]).ends(0);
    home.run(&["rm", "-r", "--now", "/a"]).ends(0);
    assert_eq!(cat(&home, "/safe/file"), "kept");
    assert_eq!(paths(&home), ["/safe", "/safe/file"]);
}

#[test]
fn lifetimes_attributes_and_links_are_kept() {
    let home = Home::up();
    home.run_with(&["put", "-", "/x", "--ttl", "1h", "--attr", "k=v", "--content-type", "text/x"], b"x")
        .ends(0);
    let ends = home.run(&["stat", "--json", "/x"]).ends(0).json();
    home.run(&["mv", "/x", "/y"]).ends(0);
    home.run(&["cp", "/y", "/z"]).ends(0);
    home.run(&["cp", "/y", "/w", "--ttl", "2h"]).ends(0);
    for path in ["/y", "/z"] {
        let now = home.run(&["stat", "--json", path]).ends(0).json();
        for field in ["expires_ms", "mode", "mtime_ns", "content_type", "blake3", "size"] {
            assert_eq!(now[field], ends[field], "{path} {field}");
        }
    }
    let longer = home.run(&["stat", "--json", "/w"]).ends(0).json()["expires_ms"].as_u64().unwrap();
    assert!(longer > ends["expires_ms"].as_u64().unwrap() + 3_000_000);

    let tree = home.path("t");
    std::fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink("somewhere", tree.join("link")).unwrap();
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    home.run(&["mv", "/t/link", "/t/other"]).ends(0);
    let out = home.path("out");
    home.run(&["get", "-T", "/t", out.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read_link(out.join("other")).unwrap().to_str(), Some("somewhere"));
}

#[test]
fn copies_are_files_of_their_own_over_the_same_content() {
    let home = Home::up();
    let big = home.file("big", &noise(3_000_000, 1));
    home.run(&["put", &big, "/t/a/big"]).ends(0);
    put(&home, "/t/small", "small");
    let stored = blob_bytes(&home);
    let done = home.run(&["cp", "-r", "--json", "/t", "/copy"]).ends(0).json();
    let said = ["files", "folders", "bytes", "sent_bytes"].map(|field| done[field].as_u64().unwrap());
    assert_eq!(said, [2, 2, 3_000_005, 5], "{done}");
    assert_eq!(blob_bytes(&home), stored);
    home.run(&["cp", "-r", "/t", "/copy"]).ends(0).says("without being sent");
    home.run(&["rm", "-r", "--now", "/t"]).ends(0);
    home.run(&["node", "collect"]).ends(0);
    assert_eq!(blob_bytes(&home), stored);
    assert_eq!(cat(&home, "/copy/t/small"), "small");
    let out = home.path("out");
    home.run(&["get", "/copy/a/big", out.to_str().unwrap()]).ends(0);
    assert!(std::fs::read(&out).unwrap() == noise(3_000_000, 1));
    put(&home, "/copy/small", "changed");
    assert_eq!(cat(&home, "/copy/t/small"), "small");
    home.run(&["cp", "-n", "/copy/t/small", "/copy/small"]).ends(4);
    home.run(&["cp", "/copy/t/small", "/copy/small"]).ends(0);
    assert_eq!(versions(&home, "/copy/small").len(), 3);
}

/// Whether a request changes something.
fn changes(request: &v1::ApplyRequest) -> bool {
    !matches!(request.operation, Some(v1::apply_request::Operation::Get(_)))
}

/// Lets so many changes through and refuses all that comes after, as if the command had been killed.
fn cut_after(proxy: &Proxy, mut changes_left: usize) {
    proxy.decide(move |request| {
        if !changes(request) {
            return Fate::Pass;
        }
        let fate = if changes_left == 0 { Fate::Refuse } else { Fate::Pass };
        changes_left = changes_left.saturating_sub(1);
        fate
    });
}

/// Moves, cut off after so many changes; answers how the command ended.
fn cut_off_move(home: &Home, cut: usize, from: &str, to: &str) -> i32 {
    let proxy = Proxy::before(home);
    cut_after(&proxy, cut);
    home.run(&["mv", from, to]).code
}

/// A file with an older version, and another where it is to go.
fn two_versions_and_what_is_in_the_way(home: &Home, from: &str, to: &str) {
    put(home, from, "1");
    put(home, from, "2");
    put(home, to, "before");
}

/// The same command again finishes what was cut off, or finds that nothing was.
#[track_caller]
fn finishes(home: &Home, from: &str, to: &str, code: i32, cut: usize) {
    let again = home.run(&["mv", from, to]);
    assert!(again.code == 0 || (again.code == 3 && code == 0), "cut={cut}: {again:?}");
}

#[test]
fn a_move_cut_after_any_change_loses_nothing_and_the_same_command_finishes_it() {
    let home = Home::up();
    for cut in 0..8 {
        let (from, to) = (format!("/from{cut}"), format!("/to{cut}"));
        two_versions_and_what_is_in_the_way(&home, &from, &to);
        let code = cut_off_move(&home, cut, &from, &to);
        let seen: Vec<String> = [&from, &to]
            .iter()
            .filter_map(|path| Some(home.run(&["cat", path])).filter(|said| said.code == 0))
            .map(|said| said.out)
            .collect();
        assert!(seen.contains(&"2".to_owned()), "cut={cut} code={code}: {seen:?}");
        let shown = paths(&home).iter().filter(|path| **path == from).count();
        assert!(shown == 0 || cat(&home, &to) == "before", "cut={cut}: shown once, under the newer name");
        finishes(&home, &from, &to, code, cut);
        home.run(&["cat", &from]).ends(3);
        home.run(&["versions", &from]).ends(3);
        assert_eq!(cat(&home, &to), "2", "cut={cut}");
        assert_eq!(versions(&home, &to).len(), 3, "cut={cut}");
    }
}

#[test]
fn a_moved_folder_is_always_there_however_early_the_command_ends() {
    let home = Home::up();
    home.run(&["mkdir", "/into"]).ends(0);
    for cut in 0..6 {
        let (from, to) = (format!("/from{cut}"), format!("/into/to{cut}"));
        put(&home, &format!("{from}/file"), "content");
        let code = cut_off_move(&home, cut, &from, &to);
        let there: Vec<bool> =
            [&from, &to].iter().map(|path| home.run(&["cat", &format!("{path}/file")]).code == 0).collect();
        assert_eq!(there.iter().filter(|there| **there).count(), 1, "cut={cut}: exactly one of {there:?}");
        // The next mover waits for the interrupted one's time to be up, and settles it.
        finishes(&home, &from, &to, code, cut);
        assert_eq!(cat(&home, &format!("{to}/file")), "content", "cut={cut}");
        home.run(&["stat", &from]).ends(3);
    }
    let inside = Inside::of(&home);
    assert!(inside.read(inside.names.moves_key().as_bytes()).is_none(), "no plan is left");
}

#[test]
fn what_is_put_under_the_old_name_meanwhile_is_moved_too() {
    let home = Home::up();
    put(&home, "/from", "1");
    // Right before the source is deleted another device puts a new version there.
    let inside = Inside::of(&home);
    let key = inside.key("/from").as_bytes().to_vec();
    let proxy = Proxy::before(&home);
    let mut other_device = Some(inside);
    proxy.decide(move |request| {
        let deletes = matches!(request.operation, Some(v1::apply_request::Operation::Delete(_)));
        if deletes
            && request.key == key
            && let Some(inside) = other_device.take()
        {
            std::thread::spawn(move || inside.put("/from", b"2")).join().unwrap();
        }
        Fate::Pass
    });
    home.run(&["mv", "/from", "/to"]).ends(0);
    drop(proxy);
    assert_eq!(paths(&home), ["/to"]);
    assert_eq!(cat(&home, "/to"), "2");
    let kept = versions(&home, "/to");
    let older = version(&kept[1]).to_u64().to_string();
    assert_eq!(home.run(&["cat", "/to", "--version", &older]).ends(0).out, "1");
}

/// The faults that a check finds, by name.
fn faults(said: &crate::support::Said) -> Vec<(String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let lines = said.json_lines();
    lines.iter().filter(|l| l["fault"].is_string()).map(|l| (text(l, "fault"), text(l, "path"))).collect()
}

#[test]
fn a_whole_vault_fits_and_a_check_says_so() {
    let home = Home::up();
    put(&home, "/a/b/one", "1");
    put(&home, "/a/b/one", "2");
    put(&home, "/a/gone", "3");
    home.run(&["rm", "/a/gone"]).ends(0);
    home.run(&["rm", "-r", "/a/b"]).ends(0);
    home.run(&["mv", "/a", "/c"]).ends(0);
    home.run(&["fsck"]).ends(0).says("all names fit");
    let said = home.run(&["fsck", "--json", "--repair"]).ends(0);
    assert_eq!(said.json_lines().last().unwrap()["left"], 0, "{}", said.out);
    home.run(&["restore", "/c/b"]).ends(0);
    assert_eq!(cat(&home, "/c/b/one"), "2");
}

#[test]
fn a_check_finishes_what_a_cut_off_move_of_a_file_left() {
    let home = Home::up();
    for cut in 0..8 {
        let (from, to) = (format!("/d{cut}/from"), format!("/e{cut}/to"));
        two_versions_and_what_is_in_the_way(&home, &from, &to);
        let code = cut_off_move(&home, cut, &from, &to);
        let moved = home.run(&["cat", &to]).ends(0).out == "2";
        let before = home.run(&["fsck", "--json"]);
        assert_eq!(before.code == 0, faults(&before).is_empty());
        home.run(&["fsck", "--repair"]).ends(0);
        home.run(&["fsck"]).ends(0);
        let now = if moved { &to } else { &from };
        assert_eq!(cat(&home, now), "2", "cut={cut} code={code} {before:?}");
        assert_eq!(home.run(&["cat", &from]).code, if moved { 3 } else { 0 }, "cut={cut}");
        assert_eq!(versions(&home, now).len(), if moved { 3 } else { 2 }, "cut={cut}");
    }
}

#[test]
fn a_file_written_to_under_its_old_name_after_a_cut_off_move_is_not_lost() {
    let home = Home::up();
    put(&home, "/d/from", "1");
    home.run(&["mkdir", "/e"]).ends(0);
    cut_off_move(&home, 1, "/d/from", "/e/to");
    put(&home, "/d/from", "newer");
    let said = home.run(&["fsck", "--json"]).ends(6);
    assert_eq!(faults(&said), [("double".to_owned(), "/d/from".to_owned())]);
    home.run(&["fsck", "--repair"]).ends(0).says("a file of its own");
    assert_eq!((cat(&home, "/d/from"), cat(&home, "/e/to")), ("newer".into(), "1".into()));
    home.run(&["fsck"]).ends(0);
}

#[test]
fn lost_folders_and_files_are_found_again() {
    let home = Home::up();
    put(&home, "/a/keep/file", "kept");
    put(&home, "/b/sub/deep", "deep");
    put(&home, "/b/file", "file");
    put(&home, "/c/in", "in");
    put(&home, "/c/in", "in2");
    put(&home, "/d/x", "x");
    let inside = Inside::of(&home);
    // An entry is gone, a folder's own record is gone, both are gone, a file is gone and its versions are not.
    assert!(inside.delete(inside.key("/a/keep").as_bytes()));
    let (record, entry) = (inside.folder_key("/b"), inside.key("/b"));
    assert!(inside.delete(record.as_bytes()) && inside.delete(entry.as_bytes()));
    assert!(inside.delete(inside.folder_key("/d").as_bytes()));
    assert!(inside.delete(inside.key("/c/in").as_bytes()));
    let said = home.run(&["fsck", "--json"]).ends(6);
    let found = faults(&said);
    let has = |fault: &str| found.iter().any(|(name, _)| name == fault);
    assert!(has("lost_folder") && has("no_folder") && has("lost_versions"), "{found:?}");
    home.run(&["fsck", "/elsewhere"]).ends(0);
    home.run(&["fsck", "--repair"]).ends(0);
    home.run(&["fsck"]).ends(0);
    assert_eq!(cat(&home, "/a/keep/file"), "kept");
    assert_eq!(cat(&home, "/d/x"), "x");
    let all = paths(&home);
    for name in ["deep", "file"] {
        let path = all.iter().find(|p| p.starts_with("/lost+found/") && p.ends_with(&format!("/{name}")));
        assert_eq!(cat(&home, path.unwrap_or_else(|| panic!("{name} in {all:?}"))), name);
    }
    home.run(&["restore", "/c/in"]).ends(0);
    assert_eq!(cat(&home, "/c/in"), "in");
}

#[test]
fn a_file_of_a_folder_that_nothing_tells_of_goes_to_lost_and_found() {
    let home = Home::up();
    put(&home, "/a/file", "1");
    put(&home, "/a/file", "2");
    let inside = Inside::of(&home);
    let (record, entry) = (inside.folder_key("/a"), inside.key("/a"));
    assert!(inside.delete(record.as_bytes()) && inside.delete(entry.as_bytes()));
    let said = home.run(&["fsck", "--json"]).ends(6);
    assert_eq!(faults(&said), [("lost_file".to_owned(), "(lost)/file".to_owned())]);
    home.run(&["fsck", "--repair"]).ends(0).says("/lost+found");
    assert_eq!(cat(&home, "/lost+found/file"), "2");
    assert_eq!(versions(&home, "/lost+found/file").len(), 2);
}

#[test]
fn what_cannot_be_read_is_named_and_left_alone() {
    let home = Home::up();
    put(&home, "/a/bad", "bad");
    put(&home, "/a/good", "good");
    let inside = Inside::of(&home);
    inside.spoil(inside.files, inside.key("/a/bad").as_bytes());
    let said = home.run(&["fsck", "--json", "--repair"]).ends(6);
    assert_eq!(faults(&said), [("unreadable".to_owned(), "/a/?".to_owned())]);
    assert_eq!(cat(&home, "/a/good"), "good");
}

#[test]
fn an_interrupted_deletion_is_named_and_not_undone_while_it_may_go_on() {
    let home = Home::up();
    put(&home, "/a/file", "f");
    let inside = Inside::of(&home);
    inside.close("/a");
    let said = home.run(&["fsck", "--json", "--repair"]).ends(6);
    assert_eq!(faults(&said), [("interrupted_deletion".to_owned(), "/a".to_owned())]);
    home.run(&["restore", "/a"]).ends(0);
    home.run(&["fsck"]).ends(0);
}
