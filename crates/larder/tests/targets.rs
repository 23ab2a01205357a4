//! Where `get` writes to and what it answers: nothing but files and links is replaced, errors of this machine are told
//! from those of the node, and files, links and folders answer in the same fields.

mod support;

use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::Home;

fn pipe(path: &std::path::Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn is_pipe(path: &std::path::Path) -> bool {
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
