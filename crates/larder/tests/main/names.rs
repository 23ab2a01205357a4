//! Names at scale, with the real binary: pages, `find`, `watch`, and an index that shows every answered change at
//! once, whatever happens to agent and node.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::patience::{WAIT_MAX, until, while_it_lives};
use crate::support::{Home, Said, pause};
use serde_json::Value;

fn names(said: &Said) -> Vec<String> {
    said.out.lines().map(str::to_owned).collect()
}

/// What the agent says of its index.
fn index(home: &Home) -> Value {
    home.run(&["status", "--json"]).ends(0).json()["agent"]["index"].clone()
}

/// Waits until the index answers: without it, these tests would test nothing.
#[track_caller]
fn wait_for_index(home: &Home) {
    home.run(&["ls"]).ends(0);
    until("the index comes to be", || index(home)["ready"] == true);
}

/// A watch, and its lines as they come.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Watch {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut whole = vec!["watch", "--json"];
        whole.extend(arguments);
        let mut child = home.command(&whole).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let _ = sender.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        Self { child, lines }
    }

    /// The next line; it must come soon.
    #[track_caller]
    fn next(&self) -> Value {
        self.lines.recv_timeout(WAIT_MAX).expect("nothing was told")
    }

    /// The next line as event and path (or name).
    #[track_caller]
    fn told(&self) -> (String, String) {
        let line = self.next();
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let what = if line["name"].is_string() { text("name") } else { text("path") };
        (text("event"), what)
    }

    /// Waits until it tells what happens, with things that happen for that. Nothing from before is told.
    #[track_caller]
    fn is_at_it(&self, happen: impl Fn(&str)) {
        for number in 0..200 {
            let name = format!("probe{number}");
            happen(&name);
            let Ok(line) = self.lines.recv_timeout(Duration::from_millis(500)) else { continue };
            assert!(line.to_string().contains("probe"), "{line}");
            let mut told = line.to_string();
            while !told.contains(&name) {
                told = self.next().to_string();
            }
            return;
        }
        panic!("nothing was told");
    }

    #[track_caller]
    fn is_quiet(&self) {
        assert!(self.lines.recv_timeout(Duration::from_millis(300)).is_err(), "more was told");
    }

    /// Interrupts it as ctrl-C does; its cursor.
    fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        let last = self.lines.iter().last().expect("the cursor is told at the end");
        assert_eq!(last["event"], "stopped");
        last["cursor"].as_str().unwrap().to_owned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair(event: &str, path: &str) -> (String, String) {
    (event.to_owned(), path.to_owned())
}

#[test]
fn pages_are_the_whole_and_the_index_says_what_the_node_says() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..250 {
        std::fs::File::create(tree.join(format!("f{number:03}"))).unwrap();
    }
    std::fs::File::create(tree.join("sub/deep.txt")).unwrap();
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    // The first question comes before there is an index: the node answers.
    let from_node = names(&home.run(&["ls", "/tree"]).ends(0));
    assert_eq!(from_node.len(), 251);
    wait_for_index(&home);
    assert_eq!(names(&home.run(&["ls", "/tree"]).ends(0)), from_node);
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["ls", "/tree", "--limit", "60", "--json"];
        arguments.extend(after.iter().flat_map(|name| ["--after", name.as_str()]));
        let page: Vec<String> = home
            .run(&arguments)
            .ends(0)
            .json_lines()
            .iter()
            .map(|line| line["path"].as_str().unwrap().trim_start_matches("/tree/").to_owned())
            .collect();
        paged.extend(page.clone());
        if page.len() < 60 {
            break;
        }
        after = page.last().cloned();
    }
    let plain: Vec<String> = from_node.iter().map(|name| name.trim_end_matches('/').to_owned()).collect();
    assert_eq!(paged, plain);
    home.run(&["ls", "/tree", "--limit", "5"]).ends(0).says("--after f004");
    // Without the agent's index, the node gives the same pages.
    home.kill("node");
    home.bring_up().ends(0);
    let page = names(&home.run(&["ls", "/tree", "--limit", "3", "--after", "f100"]).ends(0));
    assert_eq!(page, ["f101", "f102", "f103"]);
}

#[test]
fn find_by_everything_and_in_pages() {
    let home = Home::up();
    let small = home.file("small.txt", b"x");
    let large = home.file("large.bin", &crate::support::noise(70_000, 1));
    home.run(&["put", &small, "/a/b/"]).ends(0);
    home.run(&["put", &small, "/a/notes.md"]).ends(0);
    home.run(&["put", &large, "/a/"]).ends(0);
    home.run(&["put", "--ttl", "2h", &small, "/soon.txt"]).ends(0);
    home.run(&["mkdir", "/empty"]).ends(0);
    for with_index in [false, true] {
        if with_index {
            wait_for_index(&home);
        }
        let found = |arguments: &[&str]| {
            let mut whole = vec!["find"];
            whole.extend(arguments);
            names(&home.run(&whole).ends(0))
        };
        let all = ["/a", "/a/b", "/a/b/small.txt", "/a/large.bin", "/a/notes.md", "/empty", "/soon.txt"];
        assert_eq!(found(&[]), all);
        assert_eq!(found(&["/a"]), all[1..5]);
        assert_eq!(found(&["--name", "*.txt"]), ["/a/b/small.txt", "/soon.txt"]);
        assert_eq!(found(&["--type", "folder"]), ["/a", "/a/b", "/empty"]);
        assert_eq!(found(&["--type", "f", "--size", "+10K"]), ["/a/large.bin"]);
        assert_eq!(found(&["--size", "-1K"]), ["/a/b/small.txt", "/a/notes.md", "/soon.txt"]);
        assert_eq!(found(&["--size", "70000"]), ["/a/large.bin"]);
        assert_eq!(found(&["--expires", "some"]), ["/soon.txt"]);
        assert_eq!(found(&["--expires", "1h"]), [""; 0]);
        assert_eq!(found(&["--expires", "never", "--type", "file", "/a/b"]), ["/a/b/small.txt"]);
        assert_eq!(found(&["--newer", "1h", "--name", "l*"]), ["/a/large.bin"]);
        assert_eq!(found(&["--mtime", "+1h"]), [""; 0]);
        assert_eq!(found(&["--older", "2001-01-01"]), [""; 0]);
        assert_eq!(found(&["--newer", "2001-01-01T00:00Z", "--name", "soon*"]), ["/soon.txt"]);
        assert_eq!(found(&["--limit", "2"]), all[..2]);
        assert_eq!(found(&["--limit", "3", "--after", "/a/b"]), all[2..5]);
        assert_eq!(found(&["--attr", "colour"]), [""; 0]);
        let nul = home.run(&["find", "--name", "*.txt", "-0"]).ends(0);
        assert_eq!(nul.out, "/a/b/small.txt\0/soon.txt\0");
        let json = home.run(&["find", "--json", "--name", "large*"]).ends(0).json();
        assert_eq!((json["kind"].as_str(), json["size"].as_u64()), (Some("file"), Some(70_000)));
    }
    for bad in [
        &["--size", "big"][..],
        &["--name", "[a"],
        &["--newer", "yesterday"],
        &["--mtime", "3d"],
        &["--expires", "soon"],
        &["--attr", "=x"],
        &["--limit", "0"],
        &["--after", "/a/../b"],
    ] {
        let mut whole = vec!["find"];
        whole.extend(bad);
        home.run(&whole).ends(2);
    }
    home.run(&["find", "/nowhere"]).ends(3);
}

#[test]
fn watch_tells_what_happens_and_goes_on_from_its_cursor() {
    let home = Home::up();
    let file = home.file("f.txt", b"one");
    home.run(&["put", &file, "/old.txt"]).ends(0);
    wait_for_index(&home);
    let watch = Watch::start(&home, &[]);
    // It says nothing of what was there; the first thing it tells is the first that happens.
    watch.is_at_it(|probe| drop(home.run(&["mkdir", &format!("/{probe}")]).ends(0)));
    home.run(&["put", &file, "/docs/"]).ends(0);
    assert_eq!(watch.told(), pair("created", "/docs"));
    assert_eq!(watch.told(), pair("created", "/docs/f.txt"));
    home.file("f.txt", b"two");
    home.run(&["put", &file, "/docs/"]).ends(0);
    assert_eq!(watch.told(), pair("updated", "/docs/f.txt"));
    home.run(&["put", "--ttl", "3s", &file, "/brief.txt"]).ends(0);
    assert_eq!(watch.told(), pair("created", "/brief.txt"));
    assert_eq!(watch.told(), pair("expired", "/brief.txt"));
    home.run(&["rm", "/docs/f.txt"]).ends(0);
    assert_eq!(watch.told(), pair("deleted", "/docs/f.txt"));
    watch.is_quiet();
    let cursor = watch.stop();
    home.run(&["restore", "/docs/f.txt"]).ends(0);
    home.run(&["put", &file, "/other.txt"]).ends(0);
    let again = Watch::start(&home, &["--from", &cursor]);
    assert_eq!(again.told(), pair("created", "/docs/f.txt"));
    assert_eq!(again.told(), pair("created", "/other.txt"));
    let only = Watch::start(&home, &["/docs", "--from", &cursor, "--limit", "1"]);
    assert_eq!(only.told(), pair("created", "/docs/f.txt"));
    // A cursor of nobody is a reset, said before anything else.
    let strange = Watch::start(&home, &["--from", "00000000000000ff-3"]);
    assert_eq!(strange.next()["event"], "reset");
    home.run(&["watch", "--from", "rubbish"]).ends(2);
    home.run(&["lock"]).ends(0);
    home.run(&["watch"]).ends(8);
}

#[test]
fn watching_survives_a_killed_node_and_a_killed_agent() {
    let home = Home::up();
    let file = home.file("f.txt", b"one");
    home.run(&["put", &file, "/a.txt"]).ends(0);
    wait_for_index(&home);
    let watch = Watch::start(&home, &[]);
    watch.is_at_it(|probe| drop(home.run(&["mkdir", &format!("/{probe}")]).ends(0)));
    home.run(&["put", &file, "/b.txt"]).ends(0);
    assert_eq!(watch.told(), pair("created", "/b.txt"));
    home.kill("node");
    home.bring_up().ends(0);
    home.run(&["rm", "/a.txt"]).ends(0);
    // What the new node cannot tell, the index finds out by comparing.
    assert_eq!(watch.told(), pair("deleted", "/a.txt"));
    let cursor = watch.stop();
    // An orderly end leaves a snapshot; the new agent goes on from it, and so does a watch.
    home.run(&["put", &file, "/c.txt"]).ends(0);
    home.run(&["ls"]).ends(0);
    let agent = rustix::process::Pid::from_raw(home.pid("agent")).unwrap();
    rustix::process::kill_process(agent, rustix::process::Signal::TERM).unwrap();
    while rustix::process::test_kill_process(agent).is_ok() {
        pause(20);
    }
    assert!(home.home().join("state/names").exists(), "there is no snapshot");
    home.bring_up().ends(0);
    // What happened before the snapshot was written, the new agent does not know one by one, and says so.
    let again = Watch::start(&home, &["--from", &cursor]);
    assert_eq!(again.next()["event"], "reset");
    home.run(&["put", &file, "/d.txt"]).ends(0);
    assert_eq!(again.told(), pair("created", "/d.txt"));
    // What happened after it, it does know, also when it was killed meanwhile.
    let later = again.stop();
    home.run(&["put", &file, "/e.txt"]).ends(0);
    home.run(&["ls"]).ends(0);
    home.kill("agent");
    home.bring_up().ends(0);
    let again = Watch::start(&home, &["--from", &later]);
    assert_eq!(again.told(), pair("created", "/e.txt"));
    let mut left = names(&home.run(&["ls"]).ends(0));
    left.retain(|name| !name.starts_with("probe"));
    assert_eq!(left, ["b.txt", "c.txt", "d.txt", "e.txt"]);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "damage is what is wanted")]
fn a_damaged_snapshot_is_made_again_and_a_killed_agent_loses_nothing() {
    let home = Home::up();
    let file = home.file("f.txt", b"one");
    for number in 0..20 {
        home.run(&["put", &file, &format!("/f{number}")]).ends(0);
    }
    wait_for_index(&home);
    let all = names(&home.run(&["ls"]).ends(0));
    assert_eq!(all.len(), 20);
    let snapshot = home.home().join("state/names");
    for damage in 0..3 {
        home.run(&["down"]).ends(0);
        let mut bytes = std::fs::read(&snapshot).unwrap();
        match damage {
            0 => bytes[60] ^= 1,
            1 => bytes.truncate(70),
            _ => bytes.clear(),
        }
        std::fs::write(&snapshot, bytes).unwrap();
        home.bring_up().ends(0);
        wait_for_index(&home);
        assert_eq!(names(&home.run(&["ls"]).ends(0)), all);
    }
    home.kill("agent");
    home.bring_up().ends(0);
    home.run(&["rm", "/f7"]).ends(0);
    wait_for_index(&home);
    assert_eq!(home.run(&["find", "--name", "f7"]).ends(0).out, "");
    assert_eq!(names(&home.run(&["ls"]).ends(0)).len(), 19);
    home.run(&["down"]).ends(0);
    let sealed = std::fs::read(&snapshot).unwrap();
    assert!(!sealed.windows(3).any(|w| w == b"f12"));
}

#[test]
fn every_answered_change_shows_at_once_while_many_write() {
    let home = Home::up();
    let file = home.file("f.txt", b"one");
    home.run(&["put", &file, "/start"]).ends(0);
    wait_for_index(&home);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (home, file) = (&home, &file);
            scope.spawn(move || {
                let folder = format!("/w{writer}");
                let mut there = BTreeMap::new();
                for step in 0..14_u32 {
                    let name = format!("n{}", step % 5);
                    if there.contains_key(&name) && step % 3 == 0 {
                        home.run(&["rm", &format!("{folder}/{name}")]).ends(0);
                        there.remove(&name);
                    } else {
                        home.run(&["put", file, &format!("{folder}/{name}")]).ends(0);
                        there.insert(name, ());
                    }
                    let shown = names(&home.run(&["ls", &folder]).ends(0));
                    assert_eq!(shown, there.keys().cloned().collect::<Vec<_>>(), "step {step}");
                }
            });
        }
    });
    assert_eq!(index(&home)["ready"], true, "the node answered instead of the index");
}

#[test]
fn locking_takes_the_index_away_and_what_expired_is_not_shown() {
    let home = Home::up();
    let file = home.file("f.txt", b"one");
    home.run(&["put", &file, "/stays"]).ends(0);
    wait_for_index(&home);
    let (listed, seconds) = while_it_lives(1, |seconds| {
        home.run(&["put", "--ttl", &format!("{seconds}s"), &file, "/goes"]).ends(0);
        (names(&home.run(&["ls"]).ends(0)), seconds)
    });
    assert_eq!(listed.len(), 2);
    pause(seconds * 1_000 + 300);
    assert_eq!(names(&home.run(&["ls"]).ends(0)), ["stays"]);
    home.run(&["lock"]).ends(0);
    assert!(index(&home).is_null(), "{}", index(&home));
    home.run(&["ls"]).ends(8);
    home.run(&["find"]).ends(8);
    home.run(&["unlock", "--passphrase-file", home.path("passphrase").to_str().unwrap()]).ends(0);
    assert_eq!(names(&home.run(&["ls"]).ends(0)), ["stays"]);
}

#[test]
fn values_can_be_watched_with_their_expiry() {
    let home = Home::up();
    home.run(&["value", "set", "before", "x"]).ends(0);
    let watch = Watch::start(&home, &["--values"]);
    watch.is_at_it(|probe| drop(home.run(&["value", "set", probe, "x"]).ends(0)));
    home.run(&["value", "set", "token", "secret", "--ttl", "3s"]).ends(0);
    assert_eq!(watch.told(), pair("created", "token"));
    assert_eq!(watch.told(), pair("expired", "token"));
    home.run(&["value", "set", "before", "y"]).ends(0);
    assert_eq!(watch.told(), pair("updated", "before"));
    home.run(&["value", "del", "before"]).ends(0);
    assert_eq!(watch.told(), pair("deleted", "before"));
    let cursor = watch.stop();
    home.run(&["value", "set", "later", "z"]).ends(0);
    let again = Watch::start(&home, &["--values", "--from", &cursor]);
    assert_eq!(again.told(), pair("set", "later"));
}
