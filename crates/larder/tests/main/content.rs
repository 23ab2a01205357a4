//! How content is stored and what is kept beside it: cutting, compression, attributes, proofs.

use crate::support::{Home, noise};

/// Text that compresses, the same each time.
fn text(len: usize) -> Vec<u8> {
    b"all work and no play makes a dull file, and so on. ".iter().copied().cycle().take(len).collect()
}

fn fetched(home: &Home, path: &str) -> Vec<u8> {
    let target = home.path("fetched");
    home.run(&["get", path, target.to_str().unwrap()]).ends(0);
    std::fs::read(target).unwrap()
}

fn blob_bytes(home: &Home) -> u64 {
    home.run(&["status", "--json"]).ends(0).json()["node"]["disk"]["blob_bytes"].as_u64().unwrap()
}

#[test]
fn what_compresses_takes_less_and_can_be_kept_from_it() {
    let home = Home::up();
    let file = home.file("text", &text(4 << 20));
    home.run(&["put", &file, "/packed"]).ends(0);
    let packed = blob_bytes(&home);
    assert!(packed < 1 << 20, "{packed}");
    home.run(&["put", &file, "/plain", "--compression", "off"]).ends(0);
    // Every mebibyte of the text is different only by where its sentence begins: nothing is there already.
    assert!(blob_bytes(&home) - packed >= 3 << 20, "{}", blob_bytes(&home));
    for path in ["/packed", "/plain"] {
        assert!(fetched(&home, path) == text(4 << 20), "{path}");
    }
    home.run(&["put", &file, "/x", "--compression", "20"]).ends(2).says("1 to 19");
}

#[test]
fn content_defined_chunks_survive_an_insertion() {
    let home = Home::up();
    let bytes = noise(16 << 20, 1);
    let file = home.file("a", &bytes);
    home.run(&["put", &file, "/a", "--chunking", "content"]).ends(0);
    let before = blob_bytes(&home);
    let shifted = [b"inserted".as_slice(), &bytes].concat();
    let file = home.file("b", &shifted);
    home.run(&["put", &file, "/b", "--chunking", "content"]).ends(0);
    let added = blob_bytes(&home) - before;
    assert!(added < 6 << 20, "most chunks were there already: {added}");
    assert!(fetched(&home, "/b") == shifted);
}

#[test]
fn attributes_come_back_and_limits_are_named() {
    let home = Home::up();
    let file = home.file("f", b"x");
    let flags = ["--content-type", "text/plain", "--attr", "project=larder", "--attr", "b=2"];
    home.run(&[&["put", &file, "/f"][..], &flags].concat()).ends(0);
    let stat = home.run(&["stat", "/f", "--json"]).ends(0).json();
    assert_eq!(stat["content_type"], "text/plain");
    assert_eq!(stat["attributes"]["project"], "larder");
    assert!(home.run(&["stat", "/f"]).ends(0).out.contains("project = larder"));
    home.run(&["put", &file, "/f", "--attr", "a=1", "--attr", "a=2"]).ends(2).says("twice");
    let long = format!("a={}", "x".repeat(3000));
    home.run(&["put", &file, "/f", "--attr", &long]).ends(2).says("too long");
}

#[test]
fn a_proof_convinces_without_a_vault_and_only_about_its_file() {
    let home = Home::up();
    let file = home.file("signed", &noise(3 << 20, 2));
    let other = home.file("other", b"something else");
    home.run(&["put", &file, "/signed"]).ends(0);
    let proof = home.run(&["proof", "/signed"]).ends(0).out;
    let key = serde_json::from_str::<serde_json::Value>(&proof).unwrap()["public_key"].to_string();
    let key = key.trim_matches('"').to_owned();
    let proof_file = home.file("proof.json", proof.as_bytes());
    home.run(&["down"]).ends(0);
    home.run(&["check", &file, &proof_file, "--key", &key]).ends(0);
    home.run(&["check", &other, &proof_file]).ends(6);
    home.run(&["check", &file, &proof_file, "--key", &"00".repeat(32)]).ends(7).says("another key");
    let forged = proof.replacen("\"signature\": \"", "\"signature\": \"ff", 1);
    let forged = home.file("forged.json", forged.as_bytes());
    home.run(&["check", &file, &forged]).ends(2);
}
