//! A node that is killed and started again in the middle of a transfer: the command says that it waits, goes on, and ends
//! as if nothing had been; without patience it ends at once with the code for that.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::patience::{WAIT_MAX, until};
use crate::support::{Home, Said, noise, pause};

const MIB: usize = 1 << 20;

fn disk(home: &Home, field: &str) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"][field].as_u64().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn start(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

/// Kills the node and starts it again, on another port.
fn restart(home: &Home) {
    home.kill("node");
    pause(300);
    home.bring_up().ends(0);
}

#[test]
fn an_upload_outlives_the_node() {
    let home = Home::up();
    let content = noise(24 * MIB, 1);
    let file = home.file("large", &content);
    let child = start(&home, &["put", "--json", "--limit-up", "8M", &file, "/large"]);
    for there in [3, 9] {
        while disk(&home, "blobs") < there {
            pause(20);
        }
        restart(&home);
    }
    let said = end(child).ends(0).json();
    assert!(said["sent"].as_u64().unwrap() < 40 * MIB as u64, "{said}");
    assert!(home.command(&["cat", "/large"]).output().unwrap().stdout == content);
    assert_eq!(disk(&home, "leases"), 1);
    assert_eq!(home.run(&["versions", "--json", "/large"]).ends(0).json_lines().len(), 1);
}

#[test]
fn standard_input_outlives_the_node_though_it_cannot_be_read_twice() {
    let home = Home::up();
    let content = noise(16 * MIB, 2);
    let mut child = start(&home, &["put", "-", "/stream"]);
    let mut input = child.stdin.take().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let (heard, hears) = std::sync::mpsc::channel();
    let listening = std::thread::spawn(move || {
        let all: Vec<String> =
            errors.map(|line| line.unwrap()).inspect(|line| drop(heard.send(line.clone()))).collect();
        all.join("\n")
    });
    let (first, second) = content.split_at(9 * MIB);
    input.write_all(first).unwrap();
    while disk(&home, "blobs") < 4 {
        pause(20);
    }
    home.kill("node");
    let (sender, written) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            input.write_all(second).unwrap();
            drop(input);
            sender.send(()).unwrap();
        });
        // It has noticed, and says so.
        while !hears.recv_timeout(WAIT_MAX).unwrap().contains("waiting") {}
        home.bring_up().ends(0);
    });
    written.recv().unwrap();
    end(child).ends(0);
    let said = listening.join().unwrap();
    assert!(said.contains("waiting up to 60 s") && said.contains("the node is back"), "{said}");
    assert_eq!(said.matches("waiting").count(), 1, "{said}");
    assert!(home.command(&["cat", "/stream"]).output().unwrap().stdout == content);
}

#[test]
fn a_download_outlives_the_node_and_fetches_nothing_twice() {
    let home = Home::up();
    let content = noise(24 * MIB, 3);
    let file = home.file("large", &content);
    home.run(&["put", &file, "/large"]).ends(0);
    let out = home.path("out");
    std::fs::create_dir(&out).unwrap();
    let child = start(&home, &["get", "--json", "--limit-down", "8M", "/large", text(&out.join("large"))]);
    let mut piped = start(&home, &["cat", "--limit-down", "8M", "/large"]);
    let mut first = vec![0; 4 * MIB];
    piped.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let reading = std::thread::spawn(move || piped.wait_with_output().unwrap());
    let len = |entry: std::fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    let half = || std::fs::read_dir(&out).unwrap().any(|entry| len(entry.unwrap()) > 4 * MIB as u64);
    until("a part of it is here", half);
    restart(&home);
    let said = end(child).ends(0).json();
    // What was on its way when it broke off comes again.
    assert!(said["fetched"].as_u64().unwrap() < 34 * MIB as u64, "{said}");
    assert!(std::fs::read(out.join("large")).unwrap() == content);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    assert!([first, reading.join().unwrap().stdout].concat() == content);
}

#[test]
fn folders_outlive_the_node() {
    let home = Home::up();
    let tree = home.path("tree");
    for folder in 0..40 {
        std::fs::create_dir_all(tree.join(folder.to_string())).unwrap();
        for file in 0..25 {
            home.file(&format!("tree/{folder}/{file}"), format!("{folder} {file}").as_bytes());
        }
        home.file(&format!("tree/{folder}/large"), &noise(200_000, folder));
    }
    let killed = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let putting = scope.spawn(|| home.run(&["put", "--json", "--limit-up", "3M", text(&tree), "/"]));
        while disk(&home, "blobs") < 10 {
            pause(20);
        }
        restart(&home);
        killed.store(true, Ordering::Relaxed);
        putting.join().unwrap()
    });
    let report = said.ends(0).json();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("files") + count("unchanged"), 40 * 26, "{report}");
    assert_eq!(report["failed"].as_array().unwrap().len(), 0);

    let out = home.path("out");
    let child = start(&home, &["get", "--json", "--limit-down", "3M", "/tree", text(&out)]);
    while !out.join("3/large").exists() {
        pause(10);
    }
    restart(&home);
    let report = end(child).ends(0).json();
    assert_eq!(report["failed"].as_array().unwrap().len(), 0, "{report}");
    for folder in 0..40 {
        for file in 0..25 {
            let path = out.join(format!("{folder}/{file}"));
            assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{folder} {file}"));
        }
        assert!(std::fs::read(out.join(format!("{folder}/large"))).unwrap() == noise(200_000, folder));
    }
}

#[test]
fn without_patience_it_ends_at_once_and_the_next_goes_on() {
    let home = Home::up();
    let content = noise(16 * MIB, 4);
    let file = home.file("large", &content);
    let child = start(&home, &["put", "--wait", "0", "--limit-up", "2M", &file, "/large"]);
    while disk(&home, "blobs") < 3 {
        pause(20);
    }
    home.kill("node");
    end(child).ends(9);
    home.bring_up().ends(0);
    let there = disk(&home, "blobs");
    let said = home.run(&["put", "--json", &file, "/large"]).ends(0).json();
    assert!(said["present"].as_u64().unwrap() >= there * MIB as u64, "{there} {said}");
    assert!(home.command(&["cat", "/large"]).output().unwrap().stdout == content);
}
