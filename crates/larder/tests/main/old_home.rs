//! What an older Larder stored opens for ever: kept folders of homes, brought up by today's program.

use std::path::Path;

use crate::issued::options;
use crate::support::Home;
use crate::support::patience::until;
use larder_client::remote::Remote;

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

/// Whether the node lets a kept certificate in.
fn lets_in(home: &Home, name: &str) -> bool {
    let folder = home.home().join("issued").join(name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match Remote::connect(&options(home, &folder)).await {
            Ok(remote) => remote.status().await.is_ok(),
            Err(_) => false,
        }
    })
}

#[test]
fn a_home_with_rules_quotas_a_register_and_a_revocation_list_goes_by_them() {
    let home = kept("home-2");
    let passphrase = home.home().join("passphrase");
    home.run(&["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()]).ends(0);
    // Rules of the vault, as they were set, and followed when a file is written.
    let rules = home.run(&["retention", "show", "--json"]).ends(0).json_lines();
    assert_eq!(rules.iter().map(|r| r["path"].clone()).collect::<Vec<_>>(), ["/", "/docs", "/short"]);
    assert_eq!(
        (&rules[0]["keep"]["last"], &rules[0]["trash_ms"]),
        (&1.into(), &3_110_400_000_000_u64.into())
    );
    let kept =
        ["last", "daily", "weekly", "monthly", "yearly"].map(|part| rules[1]["keep"][part].as_u64().unwrap());
    assert_eq!((kept, &rules[1]["ttl_ms"]), ([2, 7, 0, 12, 3], &"never".into()));
    assert_eq!((&rules[2]["keep"], &rules[2]["ttl_ms"]), (&"all".into(), &1_209_600_000_u64.into()));
    let versions = |path: &str| home.run(&["versions", path, "--json"]).ends(0).json_lines().len();
    assert_eq!((versions("/docs/doc"), versions("/other")), (4, 4));
    home.run_with(&["put", "-", "/docs/doc"], b"version 5\n").ends(0);
    home.run_with(&["put", "-", "/other"], b"version 5\n").ends(0);
    assert_eq!((versions("/docs/doc"), versions("/other")), (3, 2));
    home.run(&["undelete", "/trash/gone"]).ends(0);
    assert_eq!(home.run(&["cat", "/trash/gone"]).ends(0).out, "gone\n");
    let quota = home.run(&["quota", "--json"]).ends(0).json();
    let files = quota["namespaces"].as_array().unwrap().iter().find(|n| n["name"] == "files").unwrap();
    assert_eq!(
        (&quota["node"]["quota_bytes"], &files["quota_bytes"]),
        (&(2_u64 << 30).into(), &(1_u64 << 30).into())
    );

    // The authority's register, and the list of revoked certificates that is made from it.
    let state = |name: &str| {
        let list = home.run(&["ca", "list", "--json"]).ends(0).json();
        let all = list["certificates"].as_array().unwrap().clone();
        all.iter().find(|c| c["name"] == name).map(|c| (c["state"].clone(), c["reason"].clone())).unwrap()
    };
    assert_eq!(state("anna"), ("revoked".into(), "key_compromise".into()));
    assert_eq!(state("bob"), ("good".into(), serde_json::Value::Null));
    assert!(lets_in(&home, "bob") && !lets_in(&home, "anna") && !lets_in(&home, "carl"));
    home.run(&["ca", "revoke", "bob"]).ends(0);
    until("bob stays out", || !lets_in(&home, "bob"));
    home.run(&["ca", "issue", "dora", "--to", home.home().join("issued/dora").to_str().unwrap()]).ends(0);
    assert!(lets_in(&home, "dora"));
    home.run(&["node", "scrub"]).ends(0);
}
