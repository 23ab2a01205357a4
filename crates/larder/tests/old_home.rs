//! What an older Larder stored opens for ever: kept folders of homes, brought up by today's program.

mod support;

use std::path::Path;

use support::Home;

/// Copies a folder of the source tree.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A home as it was kept; certificates, which end some day, are made anew.
fn kept(name: &str) -> Home {
    let home = Home::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), &home.home());
    home
}

fn check_content(home: &Home) {
    assert_eq!(home.run(&["cat", "/t/a.txt"]).ends(0).out, "second\n");
    assert_eq!(home.run(&["cat", "/t/sub/deep.txt"]).ends(0).out, "deep\n");
    let versions = home.run(&["versions", "/t/a.txt", "--json"]).ends(0).json_lines();
    assert_eq!(versions.len(), 2);
    let first = versions[1]["version"].as_str().unwrap();
    assert_eq!(home.run(&["cat", "/t/a.txt", "--version", first]).ends(0).out, "first\n");
    let big = home.run(&["stat", "/t/big.bin", "--json"]).ends(0).json();
    assert_eq!(big["size"], 100_000);
    assert_eq!(home.run(&["stat", "/t/link", "--json"]).ends(0).json()["kind"], "link");
    let stat = home.run(&["stat", "/attr.txt", "--json"]).ends(0).json();
    assert_eq!(stat["content_type"], "text/x-test");
    assert!(stat.to_string().contains("\"who\":\"me\""), "{stat}");
    let fetched = home.path("fetched");
    home.run(&["get", "/t/big.bin", fetched.to_str().unwrap()]).ends(0);
    assert_eq!(
        blake3::hash(&std::fs::read(&fetched).unwrap()).to_hex().as_str(),
        big["blake3"].as_str().unwrap()
    );
}

#[test]
fn a_home_of_the_first_format_opens_reads_and_takes_new_versions() {
    let home = kept("home-1");
    home.bring_up().ends(0);
    check_content(&home);
    home.run_with(&["put", "-", "/t/a.txt"], b"third\n").ends(0);
    assert_eq!(home.run(&["cat", "/t/a.txt"]).ends(0).out, "third\n");
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    assert_eq!(home.run(&["versions", "/t/a.txt", "--json"]).ends(0).json_lines().len(), 3);
    assert!(home.run(&["node", "scrub"]).ends(0).err.is_empty());
}

#[test]
fn a_home_of_the_first_format_opens_by_its_recovery_code() {
    let home = kept("home-1");
    home.bring_up().ends(0);
    home.run(&["lock"]).ends(0);
    let code = home.home().join("recovery-code");
    home.run(&["unlock", "--recovery-code-file", code.to_str().unwrap()]).ends(0);
    check_content(&home);
}
