//! Files and folders through the real binary: in, listed, out, versions, deleting, conditions, bad input.

use std::io::Read;
use std::process::Stdio;

use crate::support::Home;
use crate::support::patience::while_it_lives;

/// Bytes that neither compress nor repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 32) as u8
        })
        .collect()
}

#[test]
fn files_of_every_size_come_back_as_they_were() {
    let home = Home::up();
    for len in [0, 1, 32 * 1024, 32 * 1024 + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 9_500_000] {
        let bytes = noise(len);
        let local = home.file("in", &bytes);
        let put = home.run(&["put", "--json", &local, &format!("/f{len}")]).ends(0).json();
        assert_eq!(put["size"], len);
        let out = home.path("out");
        let got = home.run(&["get", "--json", &format!("/f{len}"), out.to_str().unwrap()]).ends(0).json();
        assert_eq!(std::fs::read(&out).unwrap(), bytes, "{len}");
        assert_eq!(got["blake3"], put["blake3"]);
        assert_eq!(got["version"], put["version"]);
    }
}

#[test]
fn a_folder_goes_in_is_listed_and_comes_out() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    for (name, bytes) in [("one", &b"1"[..]), ("a/two", b"22"), ("a/b/drei 🦀", b"333")] {
        std::io::Write::write_all(&mut std::fs::File::create(tree.join(name)).unwrap(), bytes).unwrap();
    }
    std::os::unix::fs::symlink("a/two", tree.join("link")).unwrap();
    let put = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(0).json();
    assert_eq!((put["files"].as_u64(), put["failed"].as_array().map(Vec::len)), (Some(4), Some(0)));
    let listed = home.run(&["ls", "-R", "--json", "/tree"]).ends(0).json_lines();
    let mut paths: Vec<&str> = listed.iter().map(|l| l["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        ["/tree/a", "/tree/a/b", "/tree/a/b/drei 🦀", "/tree/a/two", "/tree/link", "/tree/one"]
    );
    let out = home.path("out");
    home.run(&["get", "/tree", out.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read(out.join("a/b/drei 🦀")).unwrap(), b"333");
    assert_eq!(std::fs::read_link(out.join("link")).unwrap().to_str(), Some("a/two"));
    let again = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(0).json();
    assert_eq!((again["files"].as_u64(), again["unchanged"].as_u64()), (Some(0), Some(4)), "{again}");
    home.run(&["rm", "/tree"]).ends(4).says("rm -r");
    home.run(&["rm", "-r", "/tree"]).ends(0);
    home.run(&["ls", "/tree"]).ends(3);
}

#[test]
fn versions_are_kept_restored_and_deleted_files_come_back() {
    let home = Home::up();
    for content in ["first", "second", "third"] {
        home.run_with(&["put", "-", "/f"], content.as_bytes()).ends(0);
    }
    let versions = home.run(&["versions", "--json", "/f"]).ends(0).json_lines();
    assert_eq!(versions.len(), 3);
    assert_eq!(versions[0]["current"], true);
    let oldest = versions[2]["version"].as_str().unwrap();
    assert_eq!(home.run(&["cat", "/f", "--version", oldest]).ends(0).out, "first");
    home.run(&["restore", "/f", "--version", oldest]).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "first");
    home.run(&["rm", "/f"]).ends(0).says("can be restored for 7d");
    home.run(&["cat", "/f"]).ends(3);
    home.run(&["restore", "/f"]).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "first");
    home.run(&["rm", "--now", "/f"]).ends(0).says("for good");
    home.run(&["versions", "/f"]).ends(3);
    home.run(&["restore", "/f"]).ends(3);
}

#[test]
fn conditions_hold_or_nothing_changes() {
    let home = Home::up();
    let first = home.run_with(&["put", "--json", "--if-absent", "-", "/f"], b"one").ends(0).json();
    home.run_with(&["put", "--if-absent", "-", "/f"], b"two").ends(4);
    let version = first["version"].as_str().unwrap();
    home.run_with(&["put", "--if-version", version, "-", "/f"], b"three").ends(0);
    let error =
        home.run_with(&["put", "--json", "--if-version", version, "-", "/f"], b"four").ends(4).json_error();
    assert_eq!(error["kind"], "conflict");
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "three");
    home.run(&["rm", "--if-version", version, "/f"]).ends(4);
    home.run(&["put", "--if-version", "soon", "-", "/f"]).ends(2).says("a version is a number");
}

#[test]
fn a_file_with_a_lifetime_goes_when_its_time_is_up() {
    let home = Home::up();
    let (said, seconds) = while_it_lives(1, |seconds| {
        home.run_with(&["put", "--ttl", &format!("{seconds}s"), "-", "/brief"], b"x").ends(0);
        (home.run(&["cat", "/brief"]), seconds)
    });
    assert_eq!(said.ends(0).out, "x");
    crate::support::pause(seconds * 1_000 + 200);
    home.run(&["cat", "/brief"]).ends(3);
    assert_eq!(home.run(&["ls"]).ends(0).out, "");
}

#[test]
fn bad_names_and_sources_are_refused_with_the_right_code() {
    let home = Home::up();
    let file = home.file("f", b"x");
    for bad in ["/../etc", "/a/./b", "/a\u{1b}[31m", "/a\nb"] {
        home.run(&["put", &file, bad]).ends(2);
    }
    home.run(&["put", &file, &format!("/{}", "n".repeat(1025))]).ends(2);
    home.run(&["put", &file, &format!("/{}", "n".repeat(1024))]).ends(0);
    home.run(&["put", "/nowhere", "/x"]).ends(3);
    home.run(&["put", "/dev/null", "/x"]).ends(2).says("neither a file nor a folder");
    home.run(&["put", "-"]).ends(2).says("needs a name");
    home.run(&["cat", "/x"]).ends(3);
    home.run(&["ls", "/x"]).ends(3);
    home.run(&["cat", "/"]).ends(4);
    home.run(&["get", "/x", "/nowhere/y"]).ends(3);
    home.run(&["put", &file, "/f"]).ends(0);
    home.run(&["put", &file, "/f/below"]).ends(4).says("not a folder");
}

#[test]
fn a_reader_that_has_had_enough_ends_cat_quietly() {
    let home = Home::up();
    let local = home.file("in", &noise(6 << 20));
    home.run(&["put", &local, "/big"]).ends(0);
    let mut child =
        home.command(&["cat", "/big"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let said: crate::support::Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.ends(0).err, "");
}

#[test]
fn interrupted_work_leaves_nothing_half_done() {
    let home = Home::up();
    let mut child =
        home.command(&["put", "-", "/never"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than the pipe and the first chunks hold, so that the upload is certainly under way.
    std::io::Write::write_all(&mut stdin, &noise(8 << 20)).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let said: crate::support::Said = child.wait_with_output().unwrap().into();
    said.ends(130).says("interrupted");
    drop(stdin);
    home.run(&["cat", "/never"]).ends(3);
    assert_eq!(home.run(&["ls"]).ends(0).out, "");
}

#[test]
fn the_same_command_again_means_the_same_place() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(tree.join("f")).unwrap(), b"x").unwrap();
    let tree = tree.to_str().unwrap();
    for unchanged in [0, 1] {
        let report = home.run(&["put", "--json", "-T", tree, "/new"]).ends(0).json();
        assert_eq!(report["unchanged"], unchanged, "{report}");
    }
    let back = home.path("back");
    for _ in 0..2 {
        home.run(&["get", "-T", "/new", back.to_str().unwrap()]).ends(0);
        assert_eq!(std::fs::read_dir(&back).unwrap().count(), 1);
    }
    home.run(&["put", tree, "/new"]).ends(0);
    assert_eq!(home.run(&["cat", "/new/tree/f"]).ends(0).out, "x");
    home.run(&["put", "-T", tree, tree, "/other"]).ends(2).says("one name");
}

#[test]
fn a_folder_in_the_way_of_a_file_says_what_can_be_done() {
    let home = Home::up();
    let file = home.file("new", b"new");
    home.run_with(&["put", "-", "/t/name/below"], b"x").ends(0);
    for arguments in [&["put", "-T", &file, "/t/name"][..], &["put", "-n", "-T", &file, "/t/name"]] {
        home.run(arguments).ends(4).says("/t/name: is a folder").says("larder rm -r /t/name");
    }
    let tree = home.path("t");
    std::fs::create_dir(&tree).unwrap();
    home.file("t/name", b"a file here");
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(4).says("larder rm -r /t/name");
    // The other way round.
    let out = home.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::create_dir(out.join("f")).unwrap();
    home.run_with(&["put", "-", "/d/f"], b"x").ends(0);
    for arguments in [
        &["get", "-T", "/d/f", out.join("f").to_str().unwrap()][..],
        &["get", "-T", "/d", out.to_str().unwrap()],
    ] {
        home.run(arguments).ends(4).says("is a folder here").says("move it away");
    }
}
