//! Bad input and bad luck through the real binary: names, limits, special files, files that change while they are
//! read, writers at once, forbidden places, clocks that jump. Each ends with a message that says what is wrong and
//! the right exit code, and nothing is lost or half done.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "real processes are timed, and what is measured or not run is said"
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::support::patience::until;
use crate::support::{Home, noise, pause, taken};

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn writers_at_once_lose_nothing() {
    let home = Home::up();
    let contents: Vec<Vec<u8>> = (0..8).map(|i| noise(100_000 + i, i as u64)).collect();
    std::thread::scope(|scope| {
        for (i, content) in contents.iter().enumerate() {
            let home = &home;
            scope.spawn(move || {
                let local = home.file(&format!("in{i}"), content);
                home.run(&["put", &local, "/shared"]).ends(0);
            });
        }
    });
    let versions = home.run(&["versions", "--json", "/shared"]).ends(0).json_lines();
    let mut found: Vec<Vec<u8>> = versions
        .iter()
        .map(|version| {
            let out = home.path("out");
            let version = version["version"].as_str().unwrap();
            home.run(&["get", "/shared", out.to_str().unwrap(), "--version", version]).ends(0);
            std::fs::read(&out).unwrap()
        })
        .collect();
    found.sort_unstable_by_key(Vec::len);
    assert!(found == contents, "every writer's version is kept, whole: {} versions", found.len());
}

/// Calls `change` over and over until `work` is done.
fn while_changing<T>(change: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let (done, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                change();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        until("it changes", || changes.load(Ordering::Relaxed) > 100);
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_file_that_keeps_changing_is_not_stored_and_the_rest_of_the_tree_is() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let path = tree.join("busy");
    write(&path, b"old");
    home.run(&["put", path.to_str().unwrap(), "/busy"]).ends(0);
    write(&tree.join("calm"), b"calm");

    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let grow = || {
        let len = file.metadata().unwrap().len();
        // Bounded, so that the reader comes to an end.
        file.set_len(if len > 96 << 20 { 16 << 20 } else { len + 4096 }).unwrap();
    };
    // Long enough that it changes while it is read, on however few processors.
    (&file).write_all(&noise(4 << 20, 1)).unwrap();
    grow();
    while_changing(grow, || {
        let said = home.run(&["put", path.to_str().unwrap(), "/busy"]).ends(9);
        said.says("changed while it was read").says("busy");
        let said = home.run(&["put", "--json", tree.to_str().unwrap(), "/tree"]);
        assert_eq!(said.code, 9, "{said:?}");
        let report = said.json();
        assert_eq!((report["files"].as_u64(), report["failed"].as_array().unwrap().len()), (Some(1), 1));
        assert_eq!(report["failed"][0]["kind"], "retry");
    });
    assert_eq!(home.run(&["cat", "/busy"]).ends(0).out, "old");
    assert_eq!(home.run(&["cat", "/tree/calm"]).ends(0).out, "calm");
    home.run(&["cat", "/tree/busy"]).ends(3);

    // One that was cut short once is read again.
    file.set_len(5).unwrap();
    home.run(&["put", path.to_str().unwrap(), "/busy"]).ends(0);
    assert_eq!(home.run(&["versions", "--json", "/busy"]).ends(0).json_lines().len(), 2);
}

#[test]
fn a_sparse_file_takes_little_room_on_either_side() {
    const LEN: u64 = 2 << 30;
    let home = Home::up();
    let local = home.path("sparse");
    let mut file = File::create(&local).unwrap();
    file.set_len(LEN).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(b"end").unwrap();
    let before = taken(&home.home());
    let from = Instant::now();
    home.run(&["put", local.to_str().unwrap(), "/sparse"]).ends(0);
    let put = from.elapsed();
    let stored = taken(&home.home()) - before;
    assert!(stored < 4 << 20, "{stored} bytes in the vault for a file of holes");
    let out = home.path("out");
    let said = home.run(&["get", "--json", "/sparse", out.to_str().unwrap()]).ends(0).json();
    eprintln!("2 GiB of holes: in {put:?}, out {:?}, {stored} bytes stored", from.elapsed() - put);
    assert_eq!(said["size"], LEN + 3);
    assert_eq!(std::fs::metadata(&out).unwrap().len(), LEN + 3);
    assert!(taken(&out) < 1 << 20);
    let mut end = [1; 8];
    std::os::unix::fs::FileExt::read_exact_at(&File::open(&out).unwrap(), &mut end, LEN - 5).unwrap();
    assert_eq!(&end, b"\0\0\0\0\0end");
}

#[test]
fn a_folder_of_thousands_is_listed_whole() {
    const FILES: usize = 5_000;
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for i in 0..FILES {
        write(&tree.join(format!("f{i:05}")), format!("{i}").as_bytes());
    }
    let put = home.run(&["put", "--json", tree.to_str().unwrap(), "/tree"]).ends(0).json();
    assert_eq!(put["files"], FILES);
    let mut names: Vec<String> =
        (home.run(&["ls", "/tree"]).ends(0).out.lines()).map(str::to_owned).collect();
    names.sort_unstable();
    assert_eq!(names.len(), FILES);
    assert!(names.iter().enumerate().all(|(i, name)| *name == format!("f{i:05}")));
    let out = home.path("out");
    home.run(&["get", "/tree", out.to_str().unwrap()]).ends(0);
    for i in [0, 1, FILES / 2, FILES - 1] {
        assert_eq!(std::fs::read_to_string(out.join(format!("f{i:05}"))).unwrap(), i.to_string());
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), FILES);
    let rm = home.run(&["rm", "-r", "--now", "--json", "/tree"]).ends(0).json();
    assert_eq!(rm["files"], FILES);
    assert_eq!(home.run(&["ls"]).ends(0).out, "");
}

#[test]
fn names_that_cannot_be_kept_are_named_and_the_rest_goes_on() {
    let home = Home::up();
    let tree = home.path("tree");
    let long = "n".repeat(255);
    // The two spellings of é are two names, as on the local side.
    let good =
        ["🦀", "cafe\u{301}", "caf\u{e9}", &long, "-dash", " lead", "a\\b", ".hidden", "\u{202e}right"];
    let bad: [(&[u8], &str); 4] = [
        (b"new\nline", "control characters"),
        (b"esc\x1b[31m", "control characters"),
        (b"bad\xff\xfe", "UTF-8"),
        (b"folder\xff", "UTF-8"),
    ];
    std::fs::create_dir(&tree).unwrap();
    for name in good {
        write(&tree.join(name), name.as_bytes());
    }
    for (name, _) in &bad[..3] {
        write(&tree.join(std::ffi::OsStr::from_bytes(name)), b"x");
    }
    let folder = tree.join(std::ffi::OsStr::from_bytes(bad[3].0));
    std::fs::create_dir(&folder).unwrap();
    write(&folder.join("inside"), b"x");

    let said = home.run(&["put", "--json", tree.to_str().unwrap(), "/tree"]).ends(2);
    let report = said.json();
    assert_eq!(report["files"], good.len());
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), bad.len(), "{failed:?}");
    for (name, why) in bad {
        let name = String::from_utf8_lossy(name);
        let entry = failed.iter().find(|f| f["path"].as_str().unwrap().ends_with(&*name)).expect(&name);
        assert!(entry["message"].as_str().unwrap().contains(why), "{entry}");
        assert_eq!(entry["kind"], "invalid");
    }
    let said = home.run(&["put", tree.to_str().unwrap(), "/again"]).ends(2);
    assert!(
        !said.err.contains('\u{1b}'),
        "what a file name says to a terminal is not repeated to it: {}",
        said.err
    );

    let out = home.path("out");
    home.run(&["get", "/tree", out.to_str().unwrap()]).ends(0);
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    let mut wanted: Vec<_> = good.iter().map(|name| (*name).to_owned()).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    assert_eq!(std::fs::read(out.join(&long)).unwrap(), long.as_bytes());

    // A name that a vault takes and this file system does not.
    let file = home.file("f", b"x");
    home.run(&["put", &file, &format!("/{}", "m".repeat(1024))]).ends(0);
    home.run(&["put", &file, &format!("/{}", "m".repeat(1025))]).ends(2).says("max=1024");
    let everything = home.path("everything");
    home.run(&["get", "/", everything.to_str().unwrap()]).ends(2).says("name too long");
    assert_eq!(
        std::fs::read(everything.join("tree").join("🦀")).unwrap(),
        "🦀".as_bytes(),
        "the rest is there"
    );
    let folder = home.path("folder");
    std::fs::create_dir(&folder).unwrap();
    home.run(&["get", &format!("/{}", "m".repeat(1024)), folder.to_str().unwrap()])
        .ends(2)
        .says("name too long");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(home.run(&["cat", &format!("/{}", "m".repeat(1024))]).ends(0).out, "x");
}

#[test]
fn folders_nest_to_the_limit_and_no_further() {
    let home = Home::up();
    let file = home.file("f", b"deep");
    let at = |depth: usize| "/d".repeat(depth);
    home.run(&["put", &file, &at(256)]).ends(0);
    assert_eq!(home.run(&["cat", &at(256)]).ends(0).out, "deep");
    home.run(&["put", &file, &at(257)]).ends(2).says("path too deep").says("max=256");

    // A tree that is too deep only in one place.
    let tree = home.path("tree");
    let mut deepest = tree.clone();
    deepest.extend(std::iter::repeat_n("e", 256));
    std::fs::create_dir_all(&deepest).unwrap();
    write(&deepest.join("too-deep"), b"x");
    write(&deepest.ancestors().nth(2).unwrap().join("just"), b"just");
    let report = home.run(&["put", "--json", tree.to_str().unwrap(), "/"]).ends(2).json();
    assert_eq!((report["files"].as_u64(), report["folders"].as_u64()), (Some(1), Some(256)), "{report}");
    assert_eq!(home.run(&["ls", "-R", "--json", "/tree"]).ends(0).json_lines().len(), 256);
    home.run(&["rm", "-r", "/tree"]).ends(0);
    let back = home.run(&["restore", "--json", "/tree"]).ends(0).json();
    assert_eq!((back["files"].as_u64(), back["folders"].as_u64()), (Some(1), Some(256)), "{back}");
    home.run(&["rm", "-r", "/tree"]).ends(0);
    home.run(&["rm", "-r", "--now", "/tree"]).ends(0);
    home.run(&["restore", "/tree"]).ends(3);
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(2);
    home.run(&["rm", "-r", "--now", "/tree"]).ends(0);
}

#[test]
fn special_files_are_skipped_with_a_line_each() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    write(&tree.join("file"), b"x");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, tree.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let mut wanted = vec![("pipe", "named pipe"), ("socket", "socket")];
    if rustix::process::geteuid().is_root() {
        // Not every container lets even root make devices.
        if mknodat(CWD, tree.join("null"), FileType::CharacterDevice, mode, rustix::fs::makedev(1, 3)).is_ok()
        {
            wanted.push(("null", "character device"));
        }
    }
    let said = home.run(&["put", tree.to_str().unwrap(), "/tree"]).ends(0);
    for (name, what) in wanted {
        let line = format!("skipped {}: {what}", tree.join(name).display());
        assert!(said.err.lines().any(|l| l == line), "{line}: {}", said.err);
    }
    assert_eq!(home.run(&["ls", "/tree"]).ends(0).out.trim(), "file");
    home.run(&["put", tree.join("pipe").to_str().unwrap(), "/pipe"])
        .ends(2)
        .says("neither a file nor a folder");
}

#[test]
fn what_may_not_be_read_or_written_is_named_and_the_rest_goes_on() {
    let home = Home::without_root();
    home.bring_up().ends(0);
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("closed")).unwrap();
    for name in ["open", "secret", "closed/inside"] {
        write(&tree.join(name), name.as_bytes());
        home.give(&tree.join(name));
    }
    home.give(&tree);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    home.give(&tree.join("closed"));
    mode(&tree.join("secret"), 0);
    mode(&tree.join("closed"), 0);
    let said = home.run(&["put", "--json", tree.to_str().unwrap(), "/tree"]).ends(7);
    let report = said.json();
    let failed: Vec<_> =
        report["failed"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(failed.len(), 2, "{report}");
    assert!(failed.iter().any(|p| p.ends_with("secret")) && failed.iter().any(|p| p.ends_with("closed")));
    assert_eq!(report["files"], 1);
    assert_eq!(home.run(&["cat", "/tree/open"]).ends(0).out, "open");
    home.run(&["put", tree.join("secret").to_str().unwrap(), "/s"]).ends(7).says("secret");
    mode(&tree.join("closed"), 0o700);

    // A target that may not be written to.
    let target = home.path("target");
    std::fs::create_dir(&target).unwrap();
    home.give(&target);
    mode(&target, 0o500);
    home.run(&["get", "/tree/open", target.to_str().unwrap()]).ends(7).says("target");
    home.run(&["get", "/tree", target.join("tree").to_str().unwrap()]).ends(7).says("target");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    mode(&target, 0o700);

    // A data folder that may not be written to: it is said, and later everything is there again.
    home.run(&["down"]).ends(0);
    let data = home.home().join("data");
    mode(&data, 0o500);
    let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|e| e.unwrap().path()).collect();
    files.iter().for_each(|path| mode(path, 0o400));
    home.bring_up().ends(7).says("ermission denied").says("the data folder");
    files.iter().for_each(|path| mode(path, 0o600));
    mode(&data, 0o700);
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/tree/open"]).ends(0).out, "open");
}

#[test]
fn lifetimes_outside_their_range_are_refused() {
    let home = Home::up();
    for (ttl, why) in [
        ("0", "too short"),
        ("0.0001", "too short"),
        ("-5", "cannot be negative"),
        ("-1h", "cannot be negative"),
        ("36501d", "too long"),
        ("99999999999999999999", "too long"),
        ("1e3", "not a length of time"),
        ("soon", "not a length of time"),
    ] {
        home.run(&["value", "set", "v", "x", "--ttl", ttl]).ends(2).says(why);
        home.run_with(&["put", "-", "/f", "--ttl", ttl], b"x").ends(2).says(why);
    }
    home.run(&["value", "set", "v", "x", "--ttl", "36500d"])
        .ends(2)
        .says("longer than allowed")
        .says("asked=36500d max=7d");
    home.run(&["value", "get", "v"]).ends(3);
    home.run(&["ls"]).ends(0);
    home.run_with(&["put", "-", "/century", "--ttl", "36500d"], b"x").ends(0);
    for (ttl, ms) in [("90.5s", 90_500), ("7d", 604_800_000), ("900.9", 900_900)] {
        let set = home.run(&["value", "set", "v", "x", "--ttl", ttl, "--json"]).ends(0).json();
        let left = set["ttl_ms"].as_u64().unwrap();
        assert!(left <= ms, "no longer than asked for: {left} {ms}");
        assert!(left > ms / 2, "{left} {ms}");
    }
}

#[test]
fn values_fit_to_their_limit_and_no_further() {
    const MAX: usize = 10 * 1024 * 1024;
    let home = Home::up();
    for len in [0, 1, MAX - 1, MAX] {
        let bytes = noise(len, 1);
        home.run_with(&["value", "set", "v"], &bytes).ends(0);
        let output = home.command(&["value", "get", "v"]).output().unwrap();
        assert!(output.stdout == bytes, "{len}");
    }
    home.run_with(&["value", "set", "w"], &noise(MAX + 1, 1))
        .ends(2)
        .says("longer than a value")
        .says("larder put");
    home.run(&["value", "get", "w"]).ends(3);
    let name = "n".repeat(1024);
    home.run(&["value", "set", &name, "x"]).ends(0);
    assert_eq!(home.run(&["value", "get", &name]).ends(0).out.trim(), "x");
    home.run(&["value", "set", &"n".repeat(1025), "x"]).ends(2).says("max=1024");
    home.run(&["value", "set", "", "x"]).ends(2).says("cannot be empty");
    home.run(&["value", "set", "a\nb", "x"]).ends(2).says("control characters");
}

#[test]
fn values_end_on_time() {
    let home = Home::up();
    // Longer, where a machine is too slow to see it before its end.
    assert!([1, 4, 16, 64].into_iter().any(|seconds| ends_on_time(&home, seconds)), "it was never there");
}

/// Whether it was seen before its end.
fn ends_on_time(home: &Home, seconds: u64) -> bool {
    let ttl = format!("{seconds}s");
    let set = home.run(&["value", "set", "v", "x", "--ttl", &ttl, "--json"]).ends(0).json();
    let ends_ms = set["expires_ms"].as_u64().unwrap();
    #[allow(clippy::disallowed_methods, reason = "what is looked at is the real clock")]
    let now_ms = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    };
    assert!(ends_ms <= now_ms() + 1_000 * seconds);
    let mut seen_ms = 0;
    loop {
        let before_ms = now_ms();
        match home.run(&["value", "get", "v"]).code {
            0 => seen_ms = before_ms,
            code => {
                assert_eq!(code, 3);
                assert!(now_ms() >= ends_ms, "not before its time");
                break;
            }
        }
        assert!(before_ms < ends_ms, "still there {} ms after its time", before_ms - ends_ms);
    }
    seen_ms > 0
}

#[test]
fn a_clock_that_jumps_loses_nothing() {
    let Some(library) = crate::support::faketime() else { return };
    let place = tempfile::tempdir().unwrap();
    let offset = place.path().join("offset");
    // Replaced in one step, so that nobody reads an empty file.
    let jump = |to: &str| {
        let new = place.path().join("new");
        write(&new, to.as_bytes());
        std::fs::rename(&new, &offset).unwrap();
        // The chores look ten times a second.
        pause(500);
    };
    jump("+0");
    let home = Home::with_environment(&[
        ("LD_PRELOAD", &library),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--idle-lock", "never", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
    home.run_with(&["put", "--ttl", "1h", "-", "/hour"], b"an hour").ends(0);
    home.run_with(&["put", "-", "/always"], b"always").ends(0);
    home.run(&["value", "set", "v", "x", "--ttl", "10m"]).ends(0);

    jump("+1d");
    // Time goes on by the steady clock: nothing has expired, and what is written now does not live in the future.
    assert_eq!(home.run(&["cat", "/hour"]).ends(0).out, "an hour");
    assert_eq!(home.run(&["value", "get", "v"]).ends(0).out.trim(), "x");
    home.run_with(&["put", "-", "/always"], b"always, written meanwhile").ends(0);
    home.run(&["value", "set", "short", "y", "--ttl", "3s"]).ends(0);
    jump("+0");
    pause(3_500);
    home.run(&["value", "get", "short"]).ends(3);
    assert_eq!(home.run(&["cat", "/hour"]).ends(0).out, "an hour");
    assert_eq!(home.run(&["value", "get", "v"]).ends(0).out.trim(), "x");

    // Back in time: nothing changes, and new versions are newer all the same.
    jump("-12h");
    assert_eq!(home.run(&["cat", "/hour"]).ends(0).out, "an hour");
    home.run_with(&["put", "-", "/always"], b"always new").ends(0);
    assert_eq!(home.run(&["cat", "/always"]).ends(0).out, "always new");
    assert_eq!(home.run(&["versions", "--json", "/always"]).ends(0).json_lines().len(), 3);

    // A start with the later clock is believed in what is shown: the machine may have been off.
    jump("+1d");
    home.kill("node");
    home.bring_up().ends(0);
    home.run(&["cat", "/hour"]).ends(3);
    pause(500);
    jump("+0");
    home.run(&["cat", "/hour"]).ends(3);
    assert_eq!(home.run(&["cat", "/always"]).ends(0).out, "always new");
}
