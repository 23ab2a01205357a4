//! `put` of a folder that is there already: what is left alone is what a new version would have been, in how long it
//! lives and in what is kept beside it.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use crate::support::patience::while_it_lives;
use crate::support::{Home, Said, noise, pause};
use serde_json::{Value, json};

/// A folder with a small file, a large one and a link.
fn tree(home: &Home) -> String {
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::File::create(tree.join(name)).unwrap().write_all(bytes).unwrap();
    };
    write("small", b"small");
    write("large", &noise(100_000, 1));
    std::os::unix::fs::symlink("small", tree.join("link")).unwrap();
    tree.to_str().unwrap().to_owned()
}

fn put(home: &Home, tree: &str, flags: &[&str]) -> (Value, Value) {
    let said = home.run(&[&["put", "--json", tree, "/"], flags].concat()).ends(0).json();
    (said["files"].clone(), said["unchanged"].clone())
}

/// Until when everything in the folder lives.
fn ends(home: &Home) -> Vec<Value> {
    let listed = home.run(&["ls", "--json", "/tree"]).ends(0).json_lines();
    listed.iter().map(|entry| entry["expires_ms"].clone()).collect()
}

#[test]
fn put_without_a_lifetime_makes_permanent_what_had_one() {
    let home = Home::up();
    let tree = tree(&home);
    let (first, end, second, seconds) = while_it_lives(3, |seconds| {
        home.run(&["rm", "-r", "--now", "/tree"]);
        let first = put(&home, &tree, &["--ttl", &format!("{seconds}s")]);
        (first, ends(&home), put(&home, &tree, &[]), seconds)
    });
    assert_eq!(first, (json!(3), json!(0)));
    assert!(end.iter().all(Value::is_u64), "{end:?}");
    assert_eq!(second, (json!(0), json!(3)));
    assert_eq!(ends(&home), [Value::Null, Value::Null, Value::Null]);
    pause(seconds * 1_000 + 500);
    assert_eq!(home.run(&["cat", "/tree/small"]).ends(0).out, "small");
    let out = home.path("out");
    home.run(&["get", "/tree", out.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read(out.join("large")).unwrap(), noise(100_000, 1));
    assert!(out.join("link").is_symlink());
    assert_eq!(put(&home, &tree, &[]), (json!(0), json!(3)), "and again nothing to do");
}

#[test]
fn put_with_a_lifetime_shortens_and_prolongs_what_is_there() {
    let home = Home::up();
    let tree = tree(&home);
    put(&home, &tree, &[]);
    assert_eq!(put(&home, &tree, &["--ttl", "1h"]), (json!(0), json!(3)));
    let hour = ends(&home);
    assert!(hour.iter().all(Value::is_u64), "{hour:?}");
    put(&home, &tree, &["--ttl", "2h"]);
    for (later, earlier) in ends(&home).iter().zip(&hour) {
        assert!(later.as_u64().unwrap() > earlier.as_u64().unwrap() + 1_800_000, "{later} {earlier}");
    }
    // The node's refusal is each file's own.
    let said = home.run(&["put", "--json", &tree, "/", "--ttl", "1s"]).ends(0);
    assert_eq!(said.json()["unchanged"], 3);
    pause(1_200);
    assert_eq!(home.run(&["ls", "/tree"]).ends(0).out, "");
}

#[test]
fn other_attributes_make_a_new_version() {
    let home = Home::up();
    let tree = tree(&home);
    put(&home, &tree, &[]);
    let flags = ["--content-type", "text/plain", "--attr", "a=b"];
    assert_eq!(put(&home, &tree, &flags), (json!(3), json!(0)));
    assert_eq!(put(&home, &tree, &flags), (json!(0), json!(3)));
    let stat = home.run(&["stat", "--json", "/tree/small"]).ends(0).json();
    assert_eq!(stat["content_type"], "text/plain", "{stat}");
    assert_eq!(home.run(&["versions", "--json", "/tree/small"]).ends(0).json_lines().len(), 2);
}

/// Version, mode and time of a folder.
fn folder(home: &Home, path: &str) -> (Value, u64, Value) {
    let stat = home.run(&["stat", "--json", path]).ends(0).json();
    (stat["version"].clone(), stat["mode"].as_u64().unwrap() & 0o7777, stat["mtime_ns"].clone())
}

#[test]
fn folders_get_the_mode_and_time_they_have_now_and_others_are_not_written() {
    let home = Home::up();
    let tree = home.path("tree");
    let make_look = |path: &str, mode: u32, seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::open(tree.join(path)).unwrap().set_modified(time).unwrap();
        std::fs::set_permissions(tree.join(path), Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(tree.join("in/deep")).unwrap();
    std::fs::create_dir(tree.join("same")).unwrap();
    make_look("in", 0o500, 1_000_000_000);
    let all = ["/tree", "/tree/in", "/tree/in/deep", "/tree/same"];
    put(&home, tree.to_str().unwrap(), &[]);
    let first = all.map(|path| folder(&home, path));
    put(&home, tree.to_str().unwrap(), &[]);
    assert_eq!(all.map(|path| folder(&home, path)), first, "nothing is written where nothing changed");

    make_look("in", 0o700, 1_100_000_000);
    make_look("", 0o750, 1_200_000_000);
    let said = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(0).json();
    assert_eq!(said["failed"], json!([]), "{said}");
    let [top, inner, deep, same] = all.map(|path| folder(&home, path));
    assert_eq!((top.1, &top.2), (0o750, &json!(1_200_000_000_000_000_000_u64)));
    assert_eq!((inner.1, &inner.2), (0o700, &json!(1_100_000_000_000_000_000_u64)));
    assert_eq!([&deep, &same], [&first[2], &first[3]]);
    put(&home, tree.to_str().unwrap(), &[]);
    assert_eq!(all.map(|path| folder(&home, path)), [top, inner, deep, same]);
    // A folder with other attributes is deleted and comes back like any other.
    home.run(&["rm", "-r", "/tree"]).ends(0);
    home.run(&["restore", "/tree"]).ends(0);
    assert_eq!(folder(&home, "/tree/in").1, 0o700);
}

#[test]
fn two_who_put_other_attributes_at_once_both_succeed() {
    const FOLDERS: usize = 150;
    let home = Home::up();
    let trees = ["one/tree", "two/tree"].map(|name| home.path(name));
    let look = |tree: &Path, mode: u32| {
        for folder in 0..FOLDERS {
            let folder = tree.join(format!("{folder:03}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        }
    };
    look(&trees[0], 0o700);
    put(&home, trees[0].to_str().unwrap(), &[]);
    look(&trees[0], 0o711);
    look(&trees[1], 0o722);
    let both = trees.each_ref().map(|tree| {
        let mut put = home.command(&["put", "--json", tree.to_str().unwrap(), "/"]);
        put.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for put in both {
        let said: Said = put.wait_with_output().unwrap().into();
        assert_eq!(said.ends(0).json()["failed"], json!([]));
    }
    let listed = home.run(&["ls", "--json", "/tree"]).ends(0).json_lines();
    assert_eq!(listed.len(), FOLDERS);
    for folder in listed {
        let mode = folder["mode"].as_u64().unwrap() & 0o7777;
        assert!(mode == 0o711 || mode == 0o722, "{mode:o}");
    }
}
