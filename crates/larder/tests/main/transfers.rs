//! What of a folder travels, what would, and that it comes back as it was: patterns, dry runs, parts, unchanged files, times
//! of links, extended attributes; and everything to plain files.
#![allow(clippy::disallowed_methods, reason = "real files and processes have real times")]

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{Home, noise, pause};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, getxattr, setxattr, utimensat};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn set_link_time(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// All below a folder, by path, with the content of files.
fn all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(folder).unwrap().to_path_buf();
            match path.symlink_metadata().unwrap().file_type() {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_symlink() => {
                    found.push((
                        below,
                        std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                    ));
                }
                _ => found.push((below, std::fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

fn names(folder: &Path) -> Vec<String> {
    all(folder).into_iter().map(|(path, _)| text(&path).to_owned()).collect()
}

/// A folder with a bit of everything.
fn tree(home: &Home) -> PathBuf {
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("src/deep")).unwrap();
    std::fs::create_dir_all(tree.join("tmp")).unwrap();
    home.file("tree/src/a.rs", b"fn a() {}");
    home.file("tree/src/a.o", b"object");
    home.file("tree/src/deep/keep.o", b"kept object");
    home.file("tree/src/deep/large", &noise(150_000, 3));
    home.file("tree/tmp/junk", b"junk");
    std::os::unix::fs::symlink("a.rs", tree.join("src/link")).unwrap();
    set_link_time(&tree.join("src/link"), 1_000_000_000);
    tree
}

#[test]
fn what_is_left_out_does_not_travel_in_either_direction() {
    let home = Home::up();
    let tree = tree(&home);
    let patterns = home.file("patterns", b"# built\n*.o\n\n!keep.o\n");
    let out = ["--exclude", "/tmp/", "--exclude-from", &patterns];
    let said = home.run(&[&["put", "--json", text(&tree), "/"], &out[..]].concat()).ends(0).json();
    assert_eq!((&said["files"], &said["excluded"]), (&json!(4), &json!(2)), "{said}");
    let listed = home.run(&["ls", "-R", "/tree"]).ends(0).out;
    assert!(listed.contains("keep.o") && !listed.contains("a.o") && !listed.contains("junk"), "{listed}");
    let to = home.path("out");
    home.run(&["get", "/tree", text(&to), "--exclude", "deep"]).ends(0);
    assert_eq!(names(&to), ["src/a.rs", "src/link"]);
    home.run(&["put", text(&tree), "/", "--exclude", "[a"]).ends(2).says("[ without ]");
    home.run(&["put", text(&tree), "/", "--exclude-from", "/nowhere/x"]).ends(3);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let home = Home::up();
    let tree = tree(&home);
    let file = text(&tree.join("src/a.rs")).to_owned();
    let said = home.run(&["put", "--json", "-n", text(&tree), "/"]).ends(0).json_lines();
    let (last, files) = said.split_last().unwrap();
    assert_eq!(files.len(), 6);
    assert!(files.iter().all(|f| f["would"] == "new"), "{files:?}");
    assert_eq!((&last["files"], &last["folders"], &last["dry_run"]), (&json!(6), &json!(4), &json!(true)));
    assert_eq!(home.run(&["ls", "/"]).ends(0).out, "");
    assert_eq!(home.run(&["put", "--json", "-n", &file, "/f"]).ends(0).json()["would"], "new");
    home.run(&["stat", "/f"]).ends(3);

    let done = home.run(&["put", "--json", text(&tree), "/"]).ends(0).json();
    for count in ["files", "folders", "bytes", "unchanged"] {
        assert_eq!(done[count], last[count], "the plan and what was done: {count}");
    }
    home.file("tree/src/a.rs", b"fn changed() {}");
    let said = home.run(&["put", "--json", "-n", text(&tree), "/"]).ends(0).json_lines();
    assert_eq!(said.len(), 2);
    assert_eq!((&said[0]["path"], &said[0]["would"]), (&json!("/tree/src/a.rs"), &json!("replace")));
    assert_eq!((&said[1]["files"], &said[1]["unchanged"]), (&json!(1), &json!(5)));
    assert_eq!(said[1]["folders"], json!(0));
    home.run(&["put", "-n", "--if-absent", &file, "/tree/src/a.rs"]).ends(4);

    let out = home.path("out");
    let said = home.run(&["get", "--json", "-n", "/tree", text(&out)]).ends(0).json_lines();
    assert_eq!(said.len(), 7);
    assert!(!out.exists());
    home.run(&["get", "/tree", text(&out)]).ends(0);
    home.file("out/src/a.rs", b"changed here");
    let before = all(&out);
    let said = home.run(&["get", "--json", "-nT", "/tree", text(&out)]).ends(0).json_lines();
    assert_eq!((&said[0]["would"], &said[1]["unchanged"]), (&json!("replace"), &json!(5)));
    assert_eq!(all(&out), before);
}

#[test]
fn what_is_here_unchanged_is_not_fetched_again() {
    let home = Home::up();
    let tree = tree(&home);
    home.run(&["put", text(&tree), "/"]).ends(0);
    let out = home.path("out");
    let get = |flags: &[&str]| {
        let said = home.run(&[&["get", "--json", "/tree", text(&out), "-T"], flags].concat()).ends(0).json();
        (said["files"].as_u64().unwrap(), said["unchanged"].as_u64().unwrap())
    };
    assert_eq!(get(&[]), (6, 0));
    let inode = || std::fs::metadata(out.join("src/deep/large")).unwrap().ino();
    let first = inode();
    assert_eq!(get(&[]), (0, 6));
    assert_eq!(inode(), first, "it was not written");
    // The same length, time and mode with other content is noticed by content only.
    let large = std::fs::OpenOptions::new().write(true).open(out.join("src/deep/large")).unwrap();
    let time = large.metadata().unwrap().modified().unwrap();
    large.write_all_at(b"changed", 100).unwrap();
    large.set_modified(time).unwrap();
    assert_eq!(get(&[]), (0, 6));
    assert_eq!(get(&["--checksum"]), (1, 5));
    assert_eq!(all(&out), all(&tree));
    // Another time with the same content is set right, and nothing is fetched.
    let file = std::fs::OpenOptions::new().write(true).open(out.join("src/a.rs")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(7)).unwrap();
    assert_eq!(get(&["--checksum"]), (0, 6));
    let time = |path: &Path| std::fs::metadata(path.join("src/a.rs")).unwrap().modified().unwrap();
    assert_eq!(time(&out), time(&tree));
    assert_eq!(get(&["--force"]), (6, 0));
}

#[test]
fn parts_of_files_are_read_by_their_chunks() {
    let home = Home::up();
    let content = noise(5 << 20, 9);
    let file = home.file("large", &content);
    home.run(&["put", &file, "/large"]).ends(0);
    home.run_with(&["put", "-", "/small"], b"0123456789").ends(0);
    let cat = |range: &str, path: &str| {
        let output = home.command(&["cat", "--range", range, path]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert_eq!(cat("2-5", "/small"), b"234");
    assert_eq!(cat("-3", "/small"), b"789");
    assert_eq!(cat("8-99", "/small"), b"89");
    assert_eq!(cat("10-", "/small"), b"");
    assert!(cat("1M-3M", "/large") == content[1 << 20..3 << 20]);
    assert!(cat("1000000-2200000", "/large") == content[1_000_000..2_200_000]);
    home.run(&["cat", "--range", "11-", "/small"]).ends(2).says("beyond the end");
    home.run(&["cat", "--range", "5-2", "/small"]).ends(2);
    let out = home.path("part");
    let said = home.run(&["get", "--json", "--range", "1M-2M", "/large", text(&out)]).ends(0).json();
    assert!(std::fs::read(&out).unwrap() == content[1 << 20..2 << 20]);
    assert!(said["fetched"].as_u64().unwrap() < 1_200_000, "one chunk of five: {said}");
}

#[test]
fn links_have_their_own_time_and_extended_attributes_come_back() {
    let home = Home::up();
    let tree = tree(&home);
    let (file, folder) = (tree.join("src/a.rs"), tree.join("src"));
    let kept = setxattr(&file, "user.colour", b"red\0", XattrFlags::empty()).is_ok();
    if kept {
        setxattr(&folder, "user.of", b"folder", XattrFlags::empty()).unwrap();
        setxattr(tree.join("src/deep/large"), "user.large", b"too", XattrFlags::empty()).unwrap();
        setxattr(tree.join("tmp/junk"), "user.huge", &[1; 2500], XattrFlags::empty()).unwrap();
    }
    let said = home.run(&["put", "--json", text(&tree), "/"]).ends(0).json();
    let out = home.path("out");
    home.run(&["get", "/tree", text(&out)]).ends(0);
    let link = std::fs::symlink_metadata(out.join("src/link")).unwrap();
    assert_eq!((link.mtime(), link.mtime_nsec()), (1_000_000_000, 5));
    if !kept {
        return;
    }
    assert_eq!(said["skipped"].as_array().unwrap().len(), 1, "what does not fit is said once: {said}");
    let value = |path: &str, name: &str| {
        let mut value = [0_u8; 64];
        getxattr(out.join(path), name, &mut value[..]).map(|len| value[..len].to_vec()).ok()
    };
    assert_eq!(value("src/a.rs", "user.colour"), Some(b"red\0".to_vec()));
    assert_eq!(value("src", "user.of"), Some(b"folder".to_vec()));
    assert_eq!(value("src/deep/large", "user.large"), Some(b"too".to_vec()));
    assert_eq!(value("tmp/junk", "user.huge"), None);
    // Unchanged, nothing is written; changed, it is a new version.
    assert_eq!(home.run(&["put", "--json", text(&tree), "/"]).ends(0).json()["unchanged"], 6);
    setxattr(&file, "user.colour", b"blue", XattrFlags::empty()).unwrap();
    assert_eq!(home.run(&["put", "--json", text(&tree), "/"]).ends(0).json()["files"], 1);
    home.run(&["put", text(&file), "/single"]).ends(0);
    home.run(&["get", "/single", text(&out.join("single"))]).ends(0);
    assert_eq!(value("single", "user.colour"), Some(b"blue".to_vec()));
    home.run(&["put", "--attr", "xattr:user.x=1", text(&file), "/single"]).ends(2).says("xattr:");
}

fn index(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn everything_comes_out_with_an_index_that_is_right() {
    let home = Home::up();
    let tree = tree(&home);
    home.run(&["put", text(&tree), "/"]).ends(0);
    home.run_with(&["put", "-", "/piped"], b"from a pipe").ends(0);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    pause(1_100);
    let then = now();
    pause(1_100);
    home.file("tree/src/a.rs", b"newer");
    home.run(&["put", text(&tree), "/"]).ends(0);
    home.run(&["rm", "/piped"]).ends(0);
    home.run(&["rm", "-r", "/tree/tmp"]).ends(0);

    let to = home.path("all");
    let arguments = ["export", "--json", text(&to), "--versions", "--deleted"];
    let said = home.run(&arguments).ends(0).json();
    let counts = ["files", "folders", "versions", "deleted"].map(|name| said[name].as_u64().unwrap());
    assert_eq!(counts, [5, 3, 1, 2], "{said}");
    let mut wanted = all(&tree);
    wanted.retain(|(path, _)| !path.starts_with("tmp"));
    assert_eq!(all(&to.join("files/tree")), wanted);
    for entry in index(&to).iter().filter(|entry| entry["kind"] == "file") {
        let content = std::fs::read(to.join(entry["local"].as_str().unwrap())).unwrap();
        assert_eq!(entry["blake3"], blake3::hash(&content).to_hex().as_str(), "{entry}");
        assert_eq!(entry["size"], content.len());
    }
    let deleted: Vec<Value> =
        index(&to).iter().filter(|e| e["deleted"] == true).map(|e| e["path"].clone()).collect();
    assert_eq!(deleted, ["/piped", "/tree/tmp/junk"]);
    let older =
        index(&to).into_iter().find(|e| e["local"].as_str().unwrap().starts_with("versions/")).unwrap();
    assert_eq!(std::fs::read(to.join(older["local"].as_str().unwrap())).unwrap(), b"fn a() {}");

    // Again there is nothing to fetch; what is missing or changed here is fetched.
    std::fs::remove_file(to.join("files/tree/src/deep/large")).unwrap();
    let said = home.run(&arguments).ends(0).json();
    assert_eq!(said["unchanged"], 7, "{said}");
    assert_eq!(all(&to.join("files/tree")), wanted);

    // As it was before.
    let to = home.path("then");
    let said = home.run(&["export", "--json", text(&to), "--at", &format!("@{then}")]).ends(0).json();
    assert_eq!(said["files"], 7, "{said}");
    assert_eq!(std::fs::read(to.join("files/tree/src/a.rs")).unwrap(), b"fn a() {}");
    assert_eq!(std::fs::read(to.join("files/tree/tmp/junk")).unwrap(), b"junk");
    assert_eq!(std::fs::read(to.join("files/piped")).unwrap(), b"from a pipe");
    let said =
        home.run(&["export", "--json", text(&home.path("before")), "--at", "2020-01-01"]).ends(0).json();
    assert_eq!((&said["files"], &said["folders"]), (&json!(0), &json!(0)));
}

#[test]
fn a_deleted_file_and_a_former_folder_of_its_name_are_both_in_an_export() {
    let home = Home::up();
    home.run_with(&["put", "-", "/x"], b"the file").ends(0);
    let version = home.run(&["stat", "--json", "/x"]).ends(0).json()["version"].as_str().unwrap().to_owned();
    home.run(&["rm", "/x"]).ends(0);
    // Called as the file's version is in the export.
    home.run_with(&["put", "-", &format!("/x/{version}")], b"in the folder").ends(0);
    home.run(&["rm", "-r", "/x"]).ends(0);
    let to = home.path("all");
    for unchanged in [0, 2] {
        let said = home.run(&["export", "--json", text(&to), "--deleted"]).ends(0).json();
        assert_eq!((&said["deleted"], &said["unchanged"]), (&json!(2), &json!(unchanged)), "{said}");
    }
    assert_eq!(std::fs::read(to.join("deleted/x").join(&version)).unwrap(), b"the file");
    for entry in index(&to) {
        let content = std::fs::read(to.join(entry["local"].as_str().unwrap())).unwrap();
        assert_eq!(entry["blake3"], blake3::hash(&content).to_hex().as_str(), "{entry}");
    }
    // What is left out is named as it was in the vault.
    let said = home
        .run(&[
            "export",
            "--json",
            text(&home.path("less")),
            "--deleted",
            "--exclude",
            &format!("/x/{version}"),
        ])
        .ends(0)
        .json();
    assert_eq!(said["deleted"], 1, "{said}");
}

#[test]
fn a_rate_is_kept_to_and_many_at_once_are_served() {
    let home = Home::up();
    let tree = home.path("many");
    std::fs::create_dir(&tree).unwrap();
    for file in 0..30 {
        home.file(&format!("many/{file}"), &noise(100_000, file));
    }
    let took = |arguments: &[&str]| {
        let before = std::time::Instant::now();
        home.run(arguments).ends(0);
        before.elapsed()
    };
    assert!(took(&["put", "--limit-up", "1M", text(&tree), "/slow"]) > Duration::from_millis(2_400));
    let out = home.path("out");
    assert!(took(&["get", "--limit-down", "1M", "/slow", text(&out)]) > Duration::from_millis(2_400));
    assert_eq!(all(&out), all(&tree));
    home.run(&["put", "--jobs", "1", text(&tree), "/one"]).ends(0);
    home.run(&["put", "--jobs", "64", text(&tree), "/wide"]).ends(0);
    home.run(&["put", "--jobs", "0", text(&tree), "/wide"]).ends(2);
    let limited =
        home.command(&["get", "/one", text(&home.path("out2"))]).env("LARDER_DOWNLOAD_RATE", "1M").output();
    assert!(limited.unwrap().status.success());
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_is_being_fetched_is_nobody_elses_to_look_into() {
    let home = Home::up();
    let tree = home.path("private");
    std::fs::create_dir(&tree).unwrap();
    home.file("private/diary", &noise(3_000_000, 1));
    set_mode(&tree, 0o750);
    home.run(&["put", text(&tree), "/"]).ends(0);
    let out = home.path("new/out");
    let mut slow =
        home.command(&["get", "-T", "--limit-down", "100K", "/private", text(&out)]).spawn().unwrap();
    while !out.exists() {
        pause(10);
    }
    assert_eq!((mode(&out), mode(out.parent().unwrap()) & 0o500), (0o700, 0o500));
    slow.kill().unwrap();
    slow.wait().unwrap();
    assert_eq!(mode(&out), 0o700);
    home.run(&["get", "-T", "/private", text(&out)]).ends(0);
    assert_eq!(mode(&out), 0o750);

    // An export's index names what is in it, and older versions have no folder of their own mode.
    home.file("private/diary", b"today");
    home.run(&["put", text(&tree), "/"]).ends(0);
    let to = home.path("export");
    home.run(&["export", "--versions", "--deleted", text(&to)]).ends(0);
    assert_eq!((mode(&to.join("files/private")), mode(&to.join("index.jsonl"))), (0o750, 0o600));
    assert_eq!((mode(&to.join("versions")), mode(&to.join("deleted"))), (0o700, 0o700));
}

#[test]
fn a_folder_that_is_read_only_is_fetched_again_all_the_same() {
    let home = Home::without_root();
    home.bring_up().ends(0);
    let tree = home.path("fixed");
    std::fs::create_dir(&tree).unwrap();
    home.file("fixed/f", b"one");
    set_mode(&tree, 0o555);
    home.run(&["put", text(&tree), "/"]).ends(0);
    let (out, to) = (home.path("out"), home.path("export"));
    for content in ["one", "two, longer"] {
        home.run_with(&["put", "-", "/fixed/f"], content.as_bytes()).ends(0);
        home.run(&["get", "-T", "/fixed", text(&out)]).ends(0);
        home.run(&["export", text(&to)]).ends(0);
        for folder in [&out, &to.join("files/fixed")] {
            assert_eq!(std::fs::read_to_string(folder.join("f")).unwrap(), content);
            assert_eq!(mode(folder), 0o555);
        }
    }
    // Whoever runs this test has to be able to remove it.
    for folder in [&tree, &out, &to.join("files/fixed")] {
        set_mode(folder, 0o755);
    }
}

#[test]
fn two_exports_to_one_folder_do_not_mix() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let to = home.path("export");
    home.run(&["export", text(&to)]).ends(0);
    let other = std::fs::File::create(to.join(".index.jsonl.new")).unwrap();
    other.try_lock().unwrap();
    home.run(&["export", text(&to)]).ends(4).says("another export");
    drop(other);
    home.run(&["export", text(&to)]).ends(0);
    assert_eq!(index(&to).len(), 1);
    assert!(!to.join(".index.jsonl.new").exists());
}

#[test]
fn a_folder_in_the_way_is_noticed_before_anything_is_fetched() {
    let home = Home::up();
    let large = home.file("large", &noise(9_000_000, 1));
    home.run(&["put", &large, "/d/f"]).ends(0);
    let out = home.path("out");
    std::fs::create_dir_all(out.join("f/kept")).unwrap();
    for arguments in [&["get", "--json", "/d/f", text(&out)][..], &["get", "--json", "-T", "/d", text(&out)]]
    {
        let said = home.run(arguments).ends(4);
        assert!(said.err.contains("is a folder here") && !said.err.contains("os error"), "{said:?}");
        assert!(out.join("f/kept").is_dir());
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nothing is left beside it");
    }
}

#[test]
fn slips_of_newcomers_are_met_with_words_that_help() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    home.file("tree/f", b"x");
    home.run(&["put", "-r", text(&tree), "/"]).ends(0);
    home.run(&["get", "-r", "/tree", text(&home.path("back"))]).ends(0);
    let nowhere = home.path("nowhere/f");
    let said = home.run(&["get", "/tree/f", text(&nowhere)]).ends(3);
    assert!(said.err.contains("nowhere is not there") && said.err.contains("mkdir -p"), "{said:?}");
    home.run(&["export", "/"]).ends(2).says("--path");
}

#[test]
fn what_is_stored_is_not_stored_again_in_itself() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let whole = text(&home.home()).to_owned();
    for plan in [&["-n"][..], &[]] {
        let put = [&["put", "-T", "--exclude", "state"], plan, &[&whole, "/home"]].concat();
        let said = home.run(&put).ends(0);
        assert!(said.err.contains("/data: where the node keeps what it is given"), "{said:?}");
    }
    home.run(&["stat", "/home/config"]).ends(0);
    home.run(&["stat", "/home/data"]).ends(3);
}
