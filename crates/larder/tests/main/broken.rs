//! Connections that break at the worst moment, between the real command and the real node: after a new version is in
//! place, while its answer travels, in the middle of a folder. What was stored stays whole, and the exit code says what
//! is known.

use crate::proxy::{Fate, Proxy};
use crate::support::{Home, noise};
use larder_wire::v1::apply_request::Operation;

/// What becomes of the write that puts a new version in place, of a file with blobs; whatever comes after it is refused.
fn breaks_at_the_commit(fate: Fate) -> impl FnMut(&larder_wire::v1::ApplyRequest) -> Fate + Send {
    let mut committed = false;
    move |request| match &request.operation {
        _ if committed => Fate::Refuse,
        Some(Operation::Put(put)) if !put.tokens.is_empty() => {
            committed = true;
            fate
        }
        _ => Fate::Pass,
    }
}

#[test]
fn a_failure_after_the_commit_takes_nothing_from_the_new_version() {
    for fate in [Fate::LoseAnswer, Fate::Pass] {
        let home = Home::up();
        home.run_with(&["put", "-", "/d/other"], b"x").ends(0);
        let content = noise(300_000, 1);
        let local = home.file("in", &content);
        let proxy = Proxy::before(&home);
        proxy.decide(breaks_at_the_commit(fate));
        let error = home.run(&["put", "--json", "--wait", "0", &local, "/d/f"]).ends(10).json_error();
        assert_eq!(error["kind"], "unknown", "{fate:?}: {error}");
        drop(proxy);
        // Blobs that no lease keeps are freed some time later: what counts is that there are none.
        let status = home.run(&["status", "--json"]).ends(0).json();
        assert_eq!(status["node"]["disk"]["orphan_blobs"], 0, "{fate:?}: {status}");
        let out = home.path("out");
        home.run(&["get", "/d/f", out.to_str().unwrap()]).ends(0);
        assert!(std::fs::read(&out).unwrap() == content, "{fate:?}");
    }
}

#[test]
fn a_file_made_again_is_newer_than_what_was_seen_whatever_the_clocks_thought() {
    let home = Home::up();
    let proxy = Proxy::before(&home);
    // The question for the node's time takes long to arrive: this command thinks that it is later than it is.
    proxy.delay_status(3_000);
    home.run_with(&["put", "-", "/f"], b"one").ends(0);
    proxy.delay_status(0);
    home.run(&["rm", "--now", "/f"]).ends(0);
    home.run_with(&["put", "-", "/f"], b"two").ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "two");
    home.run_with(&["put", "-", "/f"], b"three").ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "three");
}

#[test]
fn a_folder_whose_stream_breaks_off_is_reported_file_by_file() {
    const FILES: u64 = 400;
    const ANSWERS: u64 = 50;
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for i in 0..FILES {
        std::io::Write::write_all(&mut std::fs::File::create(tree.join(format!("f{i:03}"))).unwrap(), b"x")
            .unwrap();
    }
    let tree = tree.to_str().unwrap();
    let proxy = Proxy::before(&home);
    proxy.break_streams_after(ANSWERS);
    let said = home.run(&["put", "--json", "--wait", "0", tree, "/"]).ends(10);
    let report = said.json();
    assert_eq!(report["files"], ANSWERS, "those that were answered");
    let failed = report["failed"].as_array().unwrap();
    let unknown = failed.iter().filter(|f| f["kind"] == "unknown").count();
    assert!(unknown > 0, "{report}");
    assert_eq!(said.json_error()["kind"], "unknown");
    drop(proxy);
    let stored = home.run(&["ls", "--json", "/tree"]).ends(0).json_lines().len();
    assert!(
        stored >= usize::try_from(ANSWERS).unwrap() && stored <= unknown + usize::try_from(ANSWERS).unwrap()
    );
    let again = home.run(&["put", "--json", tree, "/"]).ends(0).json();
    assert_eq!(again["files"].as_u64().unwrap() + again["unchanged"].as_u64().unwrap(), FILES);
}

#[test]
fn a_file_deleted_for_good_while_it_is_read_is_said_to_be() {
    let home = Home::up();
    // Far more than is on its way to a reader that has stopped reading.
    let content = noise(96 << 20, 5);
    home.run_with(&["put", "-", "/f"], &content).ends(0);
    let mut reader = home
        .command(&["cat", "/f"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4096];
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(first, content[..4096]);
    home.run(&["rm", "--now", "/f"]).ends(0);
    let blobs = || home.run(&["status", "--json"]).ends(0).json()["node"]["disk"]["blobs"].as_u64();
    while blobs() != Some(0) {
        crate::support::pause(50);
    }
    let rest = reader.wait_with_output().unwrap();
    let said = String::from_utf8(rest.stderr).unwrap();
    assert_eq!(rest.status.code(), Some(3), "{said}");
    assert!(said.contains("/f: was deleted for good while it was being read"), "{said}");
    assert!(content[4096..].starts_with(&rest.stdout), "what came is right as far as it goes");
}
