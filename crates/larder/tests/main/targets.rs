//! Where `get` writes to and what it answers: nothing but files and links is replaced, errors of this machine are told
//! from those of the node, and files, links and folders answer in the same fields. Folders come back as they were, and
//! what is not all there is said to be.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::inside::Inside;
use crate::support::{Home, Said};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal};

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn is_pipe(path: &Path) -> bool {
    std::fs::symlink_metadata(path).unwrap().file_type().is_fifo()
}

#[test]
fn nothing_but_files_and_links_is_replaced() {
    let home = Home::up();
    for name in ["/f", "/tree/f", "/tree/g"] {
        home.run_with(&["put", "-", name], name.as_bytes()).ends(0);
    }
    let fifo = home.path("fifo");
    pipe(&fifo);
    home.run(&["get", "/f", fifo.to_str().unwrap()]).ends(4).says("not a regular file");
    assert!(is_pipe(&fifo));

    // A link that is named is neither followed nor replaced.
    let (file, link) = (home.file("file", b"as it was"), home.path("link"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    home.run(&["get", "/f", link.to_str().unwrap()]).ends(4).says("is a link");
    assert!(link.is_symlink());
    assert_eq!(std::fs::read(&file).unwrap(), b"as it was");

    // In a folder the rest goes on, and a link gives way without being followed.
    let out = home.path("out");
    std::fs::create_dir_all(out.join("tree")).unwrap();
    let (fifo, link) = (out.join("tree/f"), out.join("tree/g"));
    pipe(&fifo);
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let report = home.run(&["get", "--json", "/tree", out.to_str().unwrap()]).ends(4).json();
    assert_eq!((report["files"].as_u64(), report["failed"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert!(is_pipe(&fifo));
    assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(std::fs::read(&file).unwrap(), b"as it was");
}

#[test]
fn errors_of_this_machine_are_not_the_nodes() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let ring = home.path("ring");
    std::os::unix::fs::symlink(&ring, &ring).unwrap();
    let error = home.run(&["get", "--json", "/f", ring.join("f").to_str().unwrap()]).ends(1).json_error();
    assert_eq!(error["kind"], "io", "{error}");
    // A file that looks like one and cannot be read.
    let error = home.run(&["put", "--json", "/proc/self/mem", "/mem"]).ends(1).json_error();
    assert_eq!(error["kind"], "io", "{error}");
}

#[test]
fn files_links_and_folders_answer_in_the_same_fields() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::File::create(tree.join("f")).unwrap().write_all(b"x").unwrap();
    std::os::unix::fs::symlink("f", tree.join("l")).unwrap();
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    let out = home.path("out");
    std::fs::create_dir(&out).unwrap();
    for (path, kind) in [("/tree", "folder"), ("/tree/f", "file"), ("/tree/l", "link")] {
        let local = out.join(path.rsplit('/').next().unwrap());
        // Twice: what is there is replaced.
        for _ in 0..2 {
            let got = home.run(&["get", "--json", path, out.to_str().unwrap()]).ends(0).json();
            let fields = [&got["path"], &got["local"], &got["kind"]];
            assert_eq!(fields, [path, local.to_str().unwrap(), kind], "{got}");
        }
    }
    let put = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(0).json();
    assert_eq!((&put["path"], put.get("local")), (&"/tree".into(), None));
}

/// Mode and time (in nanoseconds since 1970) of a local file or folder.
fn looks(path: &Path) -> (u32, i128) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (
        metadata.mode() & 0o7777,
        i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    )
}

/// Gives a local folder a mode and a time in seconds since 1970.
fn make_look(path: &Path, mode: u32, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_is_named_keeps_its_mode_and_time() {
    let home = Home::up();
    let tree = home.path("p");
    std::fs::create_dir_all(tree.join("in")).unwrap();
    std::fs::File::create(tree.join("in/secret")).unwrap();
    make_look(&tree.join("in"), 0o500, 1_000_000_000);
    make_look(&tree, 0o700, 1_100_000_000);
    home.run(&["put", tree.to_str().unwrap(), "/above/p"]).ends(0);
    assert_eq!(
        home.run(&["stat", "--json", "/above/p"]).ends(0).json()["mtime_ns"],
        1_100_000_000_000_000_000_u64
    );

    let out = home.path("out");
    home.run(&["get", "/above/p", out.to_str().unwrap()]).ends(0);
    assert_eq!(looks(&out), (0o700, 1_100_000_000_000_000_000));
    assert_eq!(looks(&out.join("in")), (0o500, 1_000_000_000_000_000_000));
    let inner = home.path("inner");
    home.run(&["get", "/above/p/in", inner.to_str().unwrap()]).ends(0);
    assert_eq!(looks(&inner), (0o500, 1_000_000_000_000_000_000));

    // Folders that are there already become like those in the vault, the one named like those below.
    for folder in [&out, &out.join("in")] {
        make_look(folder, 0o755, 1_200_000_000);
    }
    let parent = home.path("parent");
    std::fs::create_dir(&parent).unwrap();
    std::fs::rename(&out, parent.join("p")).unwrap();
    home.run(&["get", "/above/p", parent.to_str().unwrap()]).ends(0);
    assert_eq!(looks(&parent.join("p")), (0o700, 1_100_000_000_000_000_000));
    assert_eq!(looks(&parent.join("p/in")), (0o500, 1_000_000_000_000_000_000));

    // Nothing local says what the folders above should be, nor the root.
    let above = home.run(&["stat", "--json", "/above"]).ends(0).json();
    assert_eq!((&above["mode"], &above["mtime_ns"]), (&0.into(), &0.into()), "{above}");
    make_look(&parent, 0o711, 1_200_000_000);
    home.run(&["get", "/", parent.to_str().unwrap()]).ends(0);
    assert_eq!(looks(&parent).0, 0o711);
}

#[test]
fn names_with_control_characters_reach_no_terminal() {
    let home = Home::up();
    let tree = home.path("d");
    std::fs::create_dir(&tree).unwrap();
    std::fs::File::create(tree.join("ctl\u{1b}[31mred")).unwrap();
    let said = home.run(&["put", tree.to_str().unwrap(), "/"]).ends(2).says("1 of the files");
    assert!(!said.err.contains('\u{1b}'), "{:?}", said.err);
}

#[test]
fn what_an_interrupted_get_left_behind_is_not_put() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for name in ["f", ".larder-0123456789abcdef.part", ".larder-other.part"] {
        std::fs::File::create(tree.join(name)).unwrap().write_all(b"x").unwrap();
    }
    let put = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(0).json();
    assert_eq!((put["files"].as_u64(), put["skipped"].as_array().map(Vec::len)), (Some(2), Some(1)), "{put}");
    assert_eq!(put["skipped"][0]["path"], tree.join(".larder-0123456789abcdef.part").to_str().unwrap());
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0).says("interrupted");
    assert_eq!(home.run(&["ls", "/tree"]).ends(0).out, ".larder-other.part\nf\n");
}

#[test]
fn folders_deleted_while_they_are_fetched_have_failed() {
    const FOLDERS: usize = 200;
    let home = Home::up();
    let tree = home.path("torn");
    for folder in 0..FOLDERS {
        std::fs::create_dir_all(tree.join(format!("{folder:03}"))).unwrap();
        for file in 0..20 {
            std::fs::File::create(tree.join(format!("{folder:03}/{file}"))).unwrap().write_all(b"x").unwrap();
        }
    }
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    let out = home.path("out");
    let get = home.command(&["get", "--json", "/torn", out.to_str().unwrap()]);
    let get = stopped_at(get, &out.join("000/0"));
    // The first is read already; the last is not; and one of those in between goes for good.
    for folder in ["000", "100", "199"] {
        home.run(&["rm", "-r", "--now", &format!("/torn/{folder}")]).ends(0);
    }
    let said = go_on(get).ends(4);
    let report = said.json();
    let failed: Vec<&str> =
        report["failed"].as_array().unwrap().iter().map(|f| f["message"].as_str().unwrap()).collect();
    assert!(failed.iter().any(|f| f.contains("/torn/000: was deleted meanwhile")), "{failed:?}");
    // No folder is torn without a word: it is whole, or it is named, or was gone before anything of it was read.
    for folder in 0..FOLDERS {
        let local = out.join(format!("{folder:03}"));
        let files = std::fs::read_dir(&local).map_or(20, Iterator::count);
        let named = failed.iter().any(|f| f.contains(&format!("/torn/{folder:03}: was deleted")));
        assert!(files == 20 || named, "{folder} files={files} {failed:?}");
    }
}

/// Starts a command and stops it once a file is there.
fn stopped_at(mut command: Command, file: &Path) -> Child {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !file.exists() {
        std::thread::yield_now();
    }
    rustix::process::kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    child
}

fn go_on(child: Child) -> Said {
    rustix::process::kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_folder_whose_deletion_was_interrupted_is_not_fetched_and_said_to_be() {
    let home = Home::up();
    for name in ["/t/one", "/t/in/two"] {
        home.run_with(&["put", "-", name], b"x").ends(0);
    }
    Inside::of(&home).close("/t/in");
    let out = home.path("out");
    let said = home.run(&["get", "/t", out.to_str().unwrap()]).ends(4);
    said.says("larder restore /t/in");
    assert!(out.join("one").exists() && !out.join("in").exists());
    home.run(&["restore", "/t/in"]).ends(0);
    home.run(&["get", "/t/in", out.join("in").to_str().unwrap()]).ends(0);
    assert!(out.join("in/two").exists());
}
