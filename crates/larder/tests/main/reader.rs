//! A stranger could read the format: the Python reader, which shares no code with Larder, opens a real store's folder
//! given only the passphrase, while the node runs and when it is stopped, and everything in it is compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Home, Said};
use serde_json::Value;

/// A length that needs manifest pages: a manifest has room for 53 chunks.
const PAGED_LEN: usize = (70 << 20) + 321;

/// Bytes that neither compress nor repeat, others for every seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = 0x1656_67b1_9e37_79f9 ^ (seed << 40);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Files of every shape the format has.
fn make_tree(tree: &Path) {
    for (name, len) in [
        ("empty", 0),
        ("one", 1),
        ("inline", 32 << 10),
        ("a/least-chunk", (32 << 10) + 1),
        ("a/below", (1 << 20) - 1),
        ("a/even", 1 << 20),
        ("a/above", (1 << 20) + 1),
        ("a/b/paged", PAGED_LEN),
    ] {
        write(&tree.join(name), &noise(len, len as u64));
    }
    write(&tree.join("a/b/drei 🦀 \u{fc}"), "three ".repeat(600_000).as_bytes());
    write(&tree.join("a/b/c/d/e/f/deep"), b"deep");
    std::fs::create_dir(tree.join("a/nothing-in-it")).unwrap();
    std::fs::set_permissions(tree.join("one"), PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("../b/paged", tree.join("a/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("broken link")).unwrap();
}

/// What is below a folder: path to content, `None` for folders; links by their target.
fn contents(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        let content = if kind.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            None
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap().into_os_string().into_string().unwrap();
            Some(format!("link to {target}").into_bytes())
        } else {
            Some(std::fs::read(&path).unwrap())
        };
        found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), content);
    }
    found
}

#[track_caller]
fn must_be_equal(read: &Path, source: &Path) {
    let (read, source) = (contents(read), contents(source));
    assert_eq!(read.keys().collect::<Vec<_>>(), source.keys().collect::<Vec<_>>());
    for (path, content) in &source {
        assert!(read[path] == *content, "{path} differs");
    }
}

/// The reader on a store's folder.
fn read(store: &Path, secret: [&str; 2], what: &[&str]) -> Option<Said> {
    let mut program = crate::python::program("open_store.py")?;
    Some(program.arg(store).args(secret).args(what).output().unwrap().into())
}

/// The reader's lines by path.
fn by_path(said: &Said) -> BTreeMap<String, Value> {
    let lines = said.json_lines().into_iter();
    lines.map(|line| (line["path"].as_str().unwrap().to_owned(), line)).collect()
}

#[test]
fn a_stranger_reads_everything_given_the_passphrase() {
    let home = Home::new();
    let (passphrase, code) = (home.path("passphrase"), home.path("code"));
    let (passphrase, code) = (passphrase.to_str().unwrap(), code.to_str().unwrap());
    home.run(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--passphrase-file",
        passphrase,
        "--recovery-code-file",
        code,
    ])
    .ends(0);
    let secret = ["--passphrase-file", passphrase];
    let store = home.home().join("data");
    let tree = home.path("tree");
    make_tree(&tree);
    // Its second is over long before anything is compared.
    home.run_with(&["put", "--ttl", "1s", "-", "/brief"], b"gone soon").ends(0);
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    home.run_with(&["value", "set", "v"], b"in memory only").ends(0);
    let Some(listed) = read(&store, secret, &["--list"]) else { return };
    let listed = listed.ends(0).says("not in this folder: raw, values");
    let listed = by_path(&listed).into_keys().filter(|path| path.starts_with("/tree")).count();
    assert_eq!(listed, contents(&tree).len(), "while the node runs");

    // A file with three versions, a deleted one, one deleted for good, a deleted folder, other ways to store.
    for content in ["first", "second", "third"] {
        home.run_with(&["put", "-", "/often"], content.as_bytes()).ends(0);
    }
    home.run_with(&["put", "-", "/secret"], b"gone for good").ends(0);
    home.run(&["rm", "--now", "/secret"]).ends(0);
    home.run_with(&["put", "-", "/trash"], b"can come back").ends(0);
    home.run(&["rm", "/trash"]).ends(0);
    home.run_with(&["put", "-", "/gone/below/f"], b"in a deleted folder").ends(0);
    home.run(&["rm", "-r", "/gone"]).ends(0);
    let cut = home.file("cut", &noise(5 << 20, 99));
    home.run(&["put", "--chunking", "content", "--compression", "off", "--attr", "k=v", &cut, "/cut"])
        .ends(0);
    let versions = home.run(&["versions", "--json", "/often"]).ends(0).json_lines();
    home.run(&["down"]).ends(0);

    let out = home.path("out");
    let said = read(&store, secret, &["--all", out.to_str().unwrap()]).unwrap().ends(0);
    let found = by_path(&said);
    must_be_equal(&out.join("files/tree"), &tree);
    assert_eq!(std::fs::read(out.join("files/cut")).unwrap(), noise(5 << 20, 99));
    let mode = std::fs::metadata(out.join("files/tree/one")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let often = found["/often"]["versions"].as_array().unwrap();
    let numbers = |list: &[Value]| list.iter().map(|v| v["version"].clone()).collect::<Vec<_>>();
    assert_eq!(numbers(often), numbers(&versions), "as larder versions shows them");
    let old =
        |at: usize| std::fs::read(out.join("versions/often").join(often[at]["version"].as_str().unwrap()));
    assert_eq!((old(1).unwrap(), old(2).unwrap()), (b"second".to_vec(), b"first".to_vec()));
    for (path, content) in [("/trash", "can come back"), ("/gone/below/f", "in a deleted folder")] {
        assert_eq!(found[path]["deleted"], true, "{path}");
        let version = found[path]["versions"][0]["version"].as_str().unwrap();
        let got = read(&store, secret, &["--get", path, "--version", version]).unwrap().ends(0);
        assert_eq!(got.out, content);
        read(&store, secret, &["--get", path]).unwrap().ends(1).says("is not there");
    }
    assert!(!found.contains_key("/secret") && !found.contains_key("/brief"), "{:?}", found.keys());
    let by_code = read(&store, ["--recovery-code-file", code], &["--get", "/often"]).unwrap().ends(0);
    assert_eq!(by_code.out, "third");
    refuses(&home, &store, secret);
}

/// A reader that accepts everything proves nothing.
fn refuses(home: &Home, store: &Path, secret: [&str; 2]) {
    let wrong = home.path("wrong");
    read(store, ["--passphrase-file", wrong.to_str().unwrap()], &["--list"])
        .unwrap()
        .ends(1)
        .says("no slot opens with this secret");
    // A byte in the middle of the log, which is one of a chunk.
    let copy = home.path("copy");
    copy_folder(store, &copy);
    let segment = copy.join("00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&segment, &bytes);
    read(&copy, secret, &["--list"]).unwrap().ends(1).says("lost");
}

/// A flat folder's files, over what is there.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_a_hostile_node_changes_is_refused_by_the_reader_and_by_larder() {
    let home = Home::up();
    let passphrase = home.path("passphrase");
    let secret = ["--passphrase-file", passphrase.to_str().unwrap()];
    let (store, good) = (home.home().join("data"), home.path("good"));
    for version in 1..=3 {
        for name in ["aa", "bb"] {
            let content = format!("content {version} of {name}");
            home.run_with(&["put", "-", &format!("/{name}")], content.as_bytes()).ends(0);
        }
    }
    home.kill("node");
    copy_folder(&store, &good);
    // What is done; how the reader and the client end; what they say. Every checksum of the log is right each time.
    let rounds: [(&[&str], i32, i32, &str); 5] = [
        (&["nothing", "aa"], 0, 0, ""),
        (&["byte", "aa"], 1, 6, "do not verify"),
        (&["bodies", "aa", "bb"], 1, 6, "do not verify"),
        (&["records", "aa", "bb"], 1, 6, "do not verify"),
        // All of it was sealed for this place once: only who has seen more can tell.
        (&["rollback", "aa"], 0, 6, "an older state than this device has seen"),
    ];
    for (how, reader_ends, client_ends, client_says) in rounds {
        copy_folder(&good, &store);
        let Some(mut tamper) = crate::python::program("tamper.py") else { return };
        Said::from(tamper.arg(&store).args(secret).args(how).output().unwrap()).ends(0);
        let got = read(&store, secret, &["--get", "/aa"]).unwrap().ends(reader_ends);
        home.run(&["up"]).ends(0);
        let cat = home.run(&["cat", "/aa"]).ends(client_ends).says(client_says);
        let expected = match how[0] {
            "nothing" => ("content 3 of aa", "content 3 of aa"),
            "rollback" => ("content 2 of aa", ""),
            _ => ("", ""),
        };
        assert_eq!((got.out.as_str(), cat.out.as_str()), expected, "{how:?}");
        home.kill("node");
    }
}
