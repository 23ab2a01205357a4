//! The node seen from outside, by `strace`: every write to the data folder is one of the calls that the store's disk
//! trait makes, nothing else is written anywhere, nothing is answered before the sync that covers it has returned,
//! and after a failed sync the node stops serving and says why.
//!
//! Without `strace` (or where tracing is forbidden) these tests say so and check nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "real processes are timed, and what is measured or not run is said"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::patience::{WAIT_MAX, until};
use crate::support::{Home, noise, pause};

/// Calls that may name the data folder or a file in it, each with what it is for. All of them are in the store's
/// `disk/real.rs`, except those that the standard library makes around them.
const ALLOWED: &[(&str, &str)] = &[
    ("mkdir", "the data folder itself"),
    ("open", "files and the folder"),
    ("openat", "files and the folder"),
    ("close", "files and the folder"),
    ("fcntl", "the standard library checks a descriptor before closing it"),
    ("flock", "one process per folder"),
    ("getdents64", "listing"),
    ("statx", "lengths"),
    ("fstat", "lengths"),
    ("newfstatat", "lengths"),
    ("lseek", "lengths, for reading whole files"),
    ("pread64", "reading"),
    ("pwritev", "the only way that bytes get in"),
    ("fdatasync", "contents durable"),
    ("fsync", "names durable"),
    ("rename", "a finished file takes its place"),
    ("renameat", "a finished file takes its place"),
    ("unlink", "files no longer needed"),
    ("ftruncate", "a torn tail"),
    ("fallocate", "the reserve"),
    ("fstatfs", "free space"),
];

/// Calls that change something.
const WRITING: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendfile",
    "splice",
    "copy_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "fsetxattr",
];

/// Shortest message that can be an answer, as bytes on the wire: headers, data and trailers in a TLS record. What is
/// shorter is flow control.
const ANSWER_LEN_MIN: u64 = 50;

/// How much longer every sync is made to take, so that an answer that does not wait for it cannot hide.
const SYNC_DELAY: Duration = Duration::from_millis(150);

/// One system call.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    result: String,
    /// Lines of the trace on which it began and ended.
    began: usize,
    ended: usize,
    /// When it began, in seconds since 1970.
    at: f64,
}

impl Call {
    fn names(&self, place: &Path) -> bool {
        self.arguments.contains(place.to_str().unwrap())
    }

    fn is_segment(&self) -> bool {
        self.arguments.contains(".seg>")
    }

    fn is_answer(&self) -> bool {
        let to_socket = self.arguments.contains("<socket:[") || self.arguments.contains("<TCP:[");
        let sent = self.result.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        to_socket
            && ["write", "writev", "sendto", "sendmsg"].contains(&self.name.as_str())
            && sent.is_none_or(|len| len >= ANSWER_LEN_MIN)
    }
}

/// Reads what `strace -f -ttt` wrote: calls of several threads, some in two halves.
fn read_trace(path: &Path) -> Vec<Call> {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (line, text) in text.lines().enumerate() {
        let mut words = text.splitn(2, ' ');
        let (thread, rest) = (words.next().unwrap(), words.next().unwrap_or("").trim_start());
        let Some((at, rest)) = rest.split_once(' ') else { continue };
        if let Some(rest) = rest.strip_prefix("<... ") {
            let Some(index) = unfinished.remove(thread) else { continue };
            let call = &mut calls[index];
            call.arguments.push_str(rest);
            call.result = rest.rsplit_once(" = ").map_or("", |(_, r)| r).to_owned();
            call.ended = line;
            continue;
        }
        let Some((name, rest)) = rest.split_once('(') else { continue };
        if rest.ends_with("<unfinished ...>") {
            unfinished.insert(thread, calls.len());
        }
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, ""));
        calls.push(Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: result.to_owned(),
            began: line,
            ended: if rest.ends_with("<unfinished ...>") { usize::MAX } else { line },
            at: at.parse().unwrap(),
        });
    }
    calls
}

/// Whether programs can be traced here. Says so if not.
fn can_trace() -> bool {
    let works =
        Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_ok_and(|o| o.status.success());
    if !works {
        eprintln!("NOT RUN: strace is not installed, or tracing is forbidden here");
    }
    works
}

/// Starts the node under `strace`, and waits until it serves.
fn traced_node(home: &Home, trace: &Path) -> Child {
    let run = home.command(&["node", "run", "--listen", "127.0.0.1:0"]);
    let delay = format!("inject=fdatasync:delay_enter={}", SYNC_DELAY.as_micros());
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-y",
        "-ttt",
        "-e",
        "trace=%file,%desc,%network,io_uring_setup,io_uring_enter",
        "-e",
        &delay,
    ]);
    command.arg("-o").arg(trace).arg(run.get_program()).args(run.get_args());
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.path("node.log")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let from = Instant::now();
    // `up` finds the running node, and starts one of its own if it is too early: the log says when.
    while !std::fs::read_to_string(home.path("node.log")).unwrap().contains("ready") {
        assert!(from.elapsed() < WAIT_MAX, "the traced node does not start");
        pause(50);
    }
    child
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "held against the times that strace notes")]
fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Every write to a segment that began before `until` was covered by a sync that ended before it.
fn assert_durable(calls: &[Call], until: f64, what: &str) {
    let last = calls.iter().rfind(|c| c.name == "pwritev" && c.is_segment() && c.at < until).unwrap();
    let sync = calls
        .iter()
        .find(|c| {
            c.name == "fdatasync" && c.is_segment() && c.began > last.ended && c.result.starts_with('0')
        })
        .unwrap_or_else(|| panic!("{what}: no sync after {last:?}"));
    let through = calls.iter().find(|c| c.began > sync.ended).map_or(f64::MAX, |c| c.at);
    assert!(sync.at + SYNC_DELAY.as_secs_f64() < until, "{what}: acknowledged before {sync:?} returned");
    assert!(through < until, "{what}: the sync returned at {through}, the client at {until}");
}

#[test]
fn all_writes_go_through_the_disk_trait_and_answers_wait_for_syncs() {
    if !can_trace() {
        return;
    }
    let home = Home::up();
    home.run(&["down"]).ends(0);
    let data = home.home().join("data");
    // The node makes its folder anew under our eyes; certificates and vault are there already.
    std::fs::remove_dir_all(&data).unwrap();
    let first = home.path("trace1");
    let mut node = traced_node(&home, &first);
    home.bring_up().ends(0);
    let mut acknowledged = Vec::new();
    let mut put = |len, path| {
        home.run_with(&["put", "-", path], &noise(len, 3)).ends(0);
        acknowledged.push((now(), path));
    };
    put(300, "/small");
    put(20_000, "/inline");
    put(3_000_000, "/blobs");
    put(300, "/small");
    home.run(&["rm", "--now", "/inline"]).ends(0);
    home.run(&["value", "set", "v", "x"]).ends(0);
    home.run(&["down"]).ends(0);
    node.wait().unwrap();

    let second = home.path("trace2");
    let _ = std::fs::remove_file(home.path("node.log"));
    let mut node = traced_node(&home, &second);
    home.bring_up().ends(0);
    assert_eq!(home.command(&["cat", "/blobs"]).output().unwrap().stdout, noise(3_000_000, 3));
    home.run(&["down"]).ends(0);
    node.wait().unwrap();

    for trace in [&first, &second] {
        let calls = read_trace(trace);
        check_calls(&calls, &home, &data);
        check_order(&calls);
    }
    let calls = read_trace(&first);
    for (until, what) in acknowledged {
        assert_durable(&calls, until, what);
    }
    let count = |name| calls.iter().filter(|c| c.name == name && c.names(&data)).count();
    let (writes, syncs) = (count("pwritev"), count("fdatasync"));
    eprintln!("{} calls traced; on the data folder {writes} pwritev, {syncs} fdatasync", calls.len());
    assert!(writes > 10 && syncs > 8, "{writes} {syncs}");
}

/// What is written, and by which calls.
fn check_calls(calls: &[Call], home: &Home, data: &Path) {
    let elsewhere = [home.home().join("state/node.pid"), home.path("node.log")];
    for call in calls {
        assert!(!call.name.starts_with("io_uring"), "what it writes cannot be seen here: {call:?}");
        if call.names(data) && call.name != "execve" {
            assert!(
                ALLOWED.iter().any(|(name, _)| *name == call.name),
                "not a call of the disk trait: {call:?}"
            );
            continue;
        }
        let opens_to_write = call.name.starts_with("open")
            && ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.arguments.contains(flag));
        let writes = WRITING.contains(&call.name.as_str());
        if !opens_to_write && !writes {
            continue;
        }
        let is_file = !["<socket:[", "<TCP:[", "<anon_inode:", "<pipe:[", "</dev/null"]
            .iter()
            .any(|kind| call.arguments.contains(kind));
        assert!(
            !is_file || call.arguments.contains("\"/dev/null\"") || elsewhere.iter().any(|p| call.names(p)),
            "the node writes elsewhere: {call:?}"
        );
    }
}

/// How what the node writes on its own account begins, as the trace shows it: a stamp, and the frames of the kinds
/// time, segments, boot, freed and end.
const NOBODYS_REQUEST: [&str; 6] = ["LARDERSG", "LF\\5", "LF\\n", "LF\\v", "LF\\r", "LF\\16"];

/// Between a write to the log and the return of the sync that covers it, nothing is answered: one client at a time
/// asks, so that an answer can only be to what was just written.
fn check_order(calls: &[Call]) {
    for write in calls.iter().filter(|c| c.name == "pwritev" && c.is_segment()) {
        // Blobs travel in a stream, whose headers and flow control are under way at the same time. What is nobody's
        // request may be written while a client is connecting.
        let len = write.result.parse::<usize>().unwrap_or(0);
        let begins_with = |what: &&str| write.arguments.contains(&format!("iov_base=\"{what}"));
        if len > 100_000 || NOBODYS_REQUEST.iter().any(begins_with) {
            continue;
        }
        let is_cover = |c: &&Call| c.name == "fdatasync" && c.is_segment() && c.began > write.ended;
        let Some(sync) = calls.iter().find(is_cover) else { panic!("never synced: {write:?}") };
        if let Some(answer) =
            calls.iter().find(|c| c.is_answer() && c.began > write.began && c.began < sync.ended)
        {
            panic!("answered before it was durable\nwrite {write:?}\nsync {sync:?}\nanswer {answer:?}");
        }
    }
}

#[test]
fn after_a_failed_sync_the_node_stops_serving_and_says_why() {
    if !can_trace() {
        return;
    }
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"before").ends(0);
    let node = home.pid("node").to_string();
    let mut strace = Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=fdatasync",
            "-e",
            "inject=fdatasync:error=EIO",
            "-o",
            "/dev/null",
            "-p",
            &node,
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Attached when the kernel says so, of every thread: any of them may sync.
    until("it is traced", || {
        let threads = std::fs::read_dir(format!("/proc/{node}/task")).unwrap();
        threads
            .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")))
            .all(|status| status.is_ok_and(|status| !status.lines().any(|line| line == "TracerPid:\t0")))
    });
    let said = home.run_with(&["put", "-", "/f"], b"after");
    assert!([9, 10].contains(&said.code), "{said:?}");
    said.says("sync of the log failed");
    let said = home.run_with(&["put", "-", "/f"], b"again");
    assert!([9, 10].contains(&said.code), "{said:?}");
    let status = home.run(&["status", "--json"]).json();
    let reason = status["node"]["closed_reason"].as_str().unwrap();
    assert!(reason.contains("sync of the log failed"), "{reason}");
    strace.kill().unwrap();
    strace.wait().unwrap();
    home.kill("node");
    home.bring_up().ends(0);
    let found = home.run(&["cat", "/f"]).ends(0).out;
    assert!(found == "before" || found == "after", "whole old or whole new: {found}");
    home.run_with(&["put", "-", "/f"], b"works").ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "works");
}
