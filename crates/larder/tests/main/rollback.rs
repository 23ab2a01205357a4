//! What this machine has seen, made or deleted is not undone by a node that shows an older state, and a header that the
//! vault's owner did not write is not believed.

use std::io::Write;
use std::path::Path;

use crate::support::Home;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Does something, and then puts the node's store back to what it was before.
fn undone(home: &Home, work: impl FnOnce()) {
    home.run(&["down"]).ends(0);
    let (data, old) = (home.home().join("data"), home.path("old"));
    copy(&data, &old);
    home.bring_up().ends(0);
    work();
    home.run(&["down"]).ends(0);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    home.bring_up().ends(0);
}

#[test]
fn what_this_machine_deleted_or_replaced_does_not_come_back() {
    let home = Home::up();
    for path in ["/gone", "/trash", "/replaced", "/kept", "/d/f", "/d/e/f"] {
        home.run_with(&["put", "-", path], b"old").ends(0);
    }
    undone(&home, || {
        home.run(&["rm", "--now", "/gone"]).ends(0);
        home.run(&["rm", "/trash"]).ends(0);
        home.run_with(&["put", "-", "/replaced"], b"new").ends(0);
        home.run(&["rm", "-r", "--now", "/d"]).ends(0);
    });
    for path in ["/gone", "/trash", "/replaced", "/d/f", "/d/e/f"] {
        home.run(&["cat", path]).ends(6).says("an older state than this device has seen");
    }
    home.run(&["ls", "/d"]).ends(6);
    assert_eq!(home.run(&["cat", "/kept"]).ends(0).out, "old");
}

#[test]
fn a_folder_this_machine_put_and_deleted_does_not_come_back() {
    let home = Home::up();
    let tree = home.path("tree");
    std::fs::create_dir_all(tree.join("below")).unwrap();
    std::fs::File::create(tree.join("below/f")).unwrap().write_all(b"old").unwrap();
    home.run(&["put", tree.to_str().unwrap(), "/"]).ends(0);
    undone(&home, || {
        home.run(&["rm", "-r", "/tree/below"]).ends(0);
    });
    home.run(&["cat", "/tree/below/f"]).ends(6).says("an older state");
}

#[test]
fn a_header_with_another_key_generation_is_not_believed() {
    /// Behind suite, kind, format, vault id, revision and both public keys.
    const GENERATION_AT: usize = 3 + 16 + 8 + 32 + 1952;
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
    let path = home.home().join("config/vault.header");
    let good = std::fs::read(&path).unwrap();
    let mut bent = good[..good.len() - 16].to_vec();
    bent[GENERATION_AT] += 1;
    let checksum = blake3::derive_key("larder 2026 vault header checksum", &bent);
    bent.extend_from_slice(&checksum[..16]);
    let write = |bytes: &[u8]| std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    write(&bent);
    let header = larder_seal::header::VaultHeader::decode(&bent.clone().into()).unwrap();
    assert_eq!(header.generation(), 1, "what is bent is the generation");
    home.run(&["cat", "/f"]).ends(6).says("vault.header");
    home.run_with(&["put", "-", "/g"], b"x").ends(6);
    write(&good);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "x");
}

#[test]
fn what_an_interrupted_command_wrote_is_remembered() {
    let home = Home::up();
    let (small, large) = (home.file("small", b"x"), home.file("large", &crate::support::noise(3_000_000, 1)));
    home.run(&["mkdir", "/d"]).ends(0);
    let seen = || std::fs::metadata(home.home().join("state/seen")).map_or(0, |m| m.len());
    let before = seen();
    let mut put = home
        .command(&["put", "--limit-up", "50K", "--compression", "off", &small, &large, "/d/"])
        .spawn()
        .unwrap();
    // Listing a folder raises no marks.
    while home.run(&["ls", "/d"]).ends(0).out.is_empty() {
        crate::support::pause(50);
    }
    assert_eq!(seen(), before);
    rustix::process::kill_process(rustix::process::Pid::from_child(&put), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(130));
    assert!(seen() > before, "its mark is lost");
}
