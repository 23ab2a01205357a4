//! Certificates that are issued, renewed, revoked, out of their time, damaged or not what they should be: whoever has a
//! good one gets in, nobody else does, and both sides say whose certificate it was and why.

use std::time::Duration;

use crate::issued::{ByHand, issue, options, put};
use crate::support::patience::{WAIT_MAX, until};
use crate::support::{Home, pause};
use larder_client::remote::Remote;
use larder_format::clock::{Clock, SystemClock};
use larder_wire::v1;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;

/// A revocation must have taken effect after this long.
const WITHIN: Duration = Duration::from_secs(1);

fn node_log(home: &Home) -> String {
    std::fs::read_to_string(home.home().join("state/logs/node.log")).unwrap()
}

fn problem(home: &Home) -> Value {
    home.run(&["status", "--json"]).ends(0).json()["node"]["certificates"]["problem"].clone()
}

#[test]
fn what_is_issued_is_listed_shown_renewed_and_revoked() {
    let home = Home::up();
    let folder = issue(&home, "laptop", &["--rights", "read", "--namespace", "files", "--days", "20"]);
    for name in ["authority.pem", "client.pem", "client.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let list = || home.run(&["ca", "list", "--json"]).ends(0).json()["certificates"].clone();
    let named = |name: &str| -> Vec<Value> {
        list().as_array().unwrap().iter().filter(|entry| entry["name"] == name).cloned().collect()
    };
    let entry = &named("laptop")[0];
    assert_eq!((&entry["rights"], &entry["state"]), (&"read".into(), &"expires_soon".into()), "{entry}");
    assert_eq!(entry["namespaces"], serde_json::json!(["files"]));
    home.run(&["ca", "list"]).ends(0).out.contains("larder ca renew laptop").then_some(()).unwrap();
    let pem = folder.join("client.pem");
    let shown = home.run(&["ca", "show", pem.to_str().unwrap(), "--json"]).ends(0).json();
    assert_eq!(shown["serial"], entry["serial"]);
    assert_eq!((&shown["of_this_authority"], &shown["revoked"]), (&true.into(), &false.into()));

    // A name stands for one certificate at a time.
    home.run(&["ca", "issue", "laptop"]).ends(4).says("larder ca renew laptop");
    home.run(&["ca", "issue", "node"]).ends(2).says("this machine's own");
    home.run(&["ca", "issue", "x", "--rights", "everything"]).ends(2).says("append-only");
    home.run(&["ca", "issue", "x", "--to", folder.to_str().unwrap()]).ends(4).says("is there already");
    home.run(&["ca", "renew", "nobody"]).ends(3).says("larder ca list");
    home.run(&["ca", "create"]).ends(4).says("--replace");

    let to = folder.to_str().unwrap();
    home.run(&["ca", "renew", "laptop", "--to", to]).ends(0);
    let both = named("laptop");
    assert_eq!((&both[0]["replaced"], &both[1]["replaced"]), (&true.into(), &false.into()));
    assert_ne!(both[0]["serial"], both[1]["serial"]);
    let one = both[0]["serial"].as_str().unwrap();
    home.run(&["ca", "revoke", one, "--reason", "superseded"]).ends(0);
    let both = named("laptop");
    assert_eq!((&both[0]["state"], &both[0]["reason"]), (&"revoked".into(), &"superseded".into()));
    assert_eq!(both[1]["revoked_ms"], Value::Null, "only the one with that number");
    assert_eq!(
        home.run(&["ca", "revoke", "laptop", "--json"]).ends(0).json()["revoked"][0]["serial"],
        both[1]["serial"]
    );
    assert_eq!(home.run(&["ca", "revoke", "laptop"]).ends(0).out, "laptop was revoked already\n");
    home.run(&["ca", "revoke", "client"]).ends(4).says("larder ca renew client");
    home.run(&["ca", "renew", "laptop"]).ends(4).says("is revoked");
}

#[test]
fn a_revocation_ends_a_live_stream_within_a_second_and_nothing_of_others() {
    let home = Home::up();
    let clock = SystemClock::new();
    let stays = issue(&home, "stays", &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let open = async |folder: &std::path::Path| {
            let channel = larder_client::connection::connect(&options(&home, folder)).await.unwrap();
            let files = larder_format::ids::NamespaceId::of(larder_client::vault::FILES).0;
            let request = v1::WatchRequest { namespace: files, ..v1::WatchRequest::default() };
            let mut client = v1::records_client::RecordsClient::new(channel.clone());
            (client.watch(request).await.unwrap().into_inner(), v1::node_client::NodeClient::new(channel))
        };
        let (_other_live, mut other) = open(&stays).await;
        let mut names = ["gone", "gone-2", "gone-3", "gone-4", "gone-5", "gone-6"].into_iter();
        let mut took = Vec::new();
        // What else the machine does makes it later, never sooner: in time once is in time.
        while took.last().is_none_or(|took| *took >= WITHIN) {
            let name = names.next().unwrap_or_else(|| panic!("live streams went on for {took:?}"));
            let gone = issue(&home, name, &["--rights", "read"]);
            let (mut live, mut asking) = open(&gone).await;
            asking.status(v1::StatusRequest {}).await.unwrap();
            home.run(&["ca", "revoke", name]).ends(0);
            let begun = clock.monotonic();
            let ended =
                tokio::time::timeout(WAIT_MAX, async { while let Ok(Some(_)) = live.message().await {} });
            ended.await.unwrap();
            took.push(clock.monotonic() - begun);
            assert!(asking.status(v1::StatusRequest {}).await.is_err());
            let refused = Remote::connect(&options(&home, &gone)).await.err().unwrap();
            assert_eq!(refused.kind, larder_format::error::Kind::Denied);
            assert!(refused.message.contains("this client's certificate is revoked"), "{refused}");
        }
        other.status(v1::StatusRequest {}).await.unwrap();
    });
    let log = node_log(&home);
    assert!(log.contains("connection closed: its certificate is revoked name=\"gone\""), "{log}");
    assert!(!log.contains("name=\"stays\""), "{log}");
}

#[test]
fn what_no_client_may_show_is_refused_with_its_reason_on_both_sides() {
    let home = Home::up();
    let cases = [
        (
            ByHand { from_days: -3, to_days: -1, ..ByHand::default() },
            "has expired or is not valid yet",
            "expired",
        ),
        (
            ByHand { from_days: 1, to_days: 3, ..ByHand::default() },
            "has expired or is not valid yet",
            "not valid yet",
        ),
        (
            ByHand { uris: vec!["larder:rights/king"], ..ByHand::default() },
            "does not understand the rights",
            "larder:rights/king",
        ),
        (
            ByHand { usage: ExtendedKeyUsagePurpose::ServerAuth, ..ByHand::default() },
            "not one that a client may show",
            "by hand",
        ),
    ];
    for (certificate, to_the_client, in_the_log) in cases {
        certificate.put_in_place(&home);
        let said = home.run(&["ls"]).ends(7).says(to_the_client);
        // What its own program cannot read either, it cannot show.
        if !certificate.uris.contains(&"larder:rights/king") {
            said.says("this home shows \"by hand\"");
        }
        assert!(node_log(&home).contains(in_the_log), "{in_the_log}: {}", node_log(&home));
    }
    // The authority's own certificate opens nothing.
    let folder = home.home().join("config/certificates");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    put(&folder.join("client.pem"), &read("authority.pem"));
    put(&folder.join("client.key"), &read("authority.key"));
    home.run(&["ls"]).ends(7).says("not one that a client may show");
    // One's certificate with another's key, and half a file.
    put(&folder.join("client.key"), &read("node.key"));
    home.run(&["ls"]).ends(2).says("the client's certificate");
    let whole = read("node.pem");
    put(&folder.join("client.pem"), &whole[..whole.len() / 2]);
    home.run(&["ls"]).ends(2).says("the client's certificate");
    home.run(&["ca", "show", folder.join("client.pem").to_str().unwrap()])
        .ends(6)
        .says("no whole certificate");
    // All of it is mended by a renewal.
    home.run(&["ca", "renew"]).ends(0);
    home.run(&["ls"]).ends(0);
}

#[test]
fn certificates_are_renewed_while_the_node_runs_and_open_connections_go_on() {
    let home = Home::up();
    let folder = issue(&home, "other", &[]);
    let pid = home.pid("node");
    home.run_with(&["value", "set", "v", "-", "--ttl", "1h"], b"in memory").ends(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let remote = Remote::connect(&options(&home, &folder)).await.unwrap();
        let before = remote.status().await.unwrap().certificate_not_after_ms;
        let certificates = home.home().join("config/certificates");
        let old = std::fs::read(certificates.join("node.pem")).unwrap();
        home.run(&["ca", "renew", "--host", "node.example.org"]).ends(0);
        assert_ne!(std::fs::read(certificates.join("node.pem")).unwrap(), old);
        until("they are read", || node_log(&home).contains("certificates read anew"));
        // The connection from before, and a new one.
        let status = remote.status().await.unwrap();
        assert!(status.certificate_not_after_ms >= before);
        assert_eq!(status.certificates_problem, "");
        Remote::connect(&options(&home, &folder)).await.unwrap();
    });
    home.run(&["ls"]).ends(0);
    assert_eq!(home.run(&["value", "get", "v"]).ends(0).out, "in memory");
    assert_eq!(home.pid("node"), pid);
}

#[test]
fn a_list_that_cannot_be_believed_changes_nothing_and_no_node_starts_with_it() {
    let (home, stranger) = (Home::up(), Home::up());
    let folder = issue(&home, "gone", &[]);
    home.run(&["ca", "revoke", "gone"]).ends(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The last good list that the node has seen is to be the one with it.
    until("the list is read", || runtime.block_on(Remote::connect(&options(&home, &folder))).is_err());
    let list = home.home().join("config/certificates/revoked.crl");
    let good = std::fs::read(&list).unwrap();
    let theirs = std::fs::read(stranger.home().join("config/certificates/revoked.crl")).unwrap();
    for (bad, why) in [
        (&theirs[..], "not signed by the authority"),
        (&good[..good.len() / 2], "revoked.crl"),
        (b"", "revoked.crl"),
    ] {
        put(&list, &good);
        until("the good one is read", || problem(&home).is_null());
        put(&list, bad);
        until(why, || problem(&home).as_str().is_some_and(|problem| problem.contains(why)));
        let refused = runtime.block_on(Remote::connect(&options(&home, &folder))).err().unwrap();
        assert!(refused.message.contains("revoked"), "{refused}");
        home.run(&["ls"]).ends(0);
    }
    home.run(&["status"]).ends(0).out.contains("certificates:").then_some(()).unwrap();

    home.run(&["down"]).ends(0);
    let said = home.run(&["node", "run", "--listen", "127.0.0.1:0"]).ends(6);
    said.says("revoked.crl cannot be used").says("larder up");
    std::fs::remove_file(&list).unwrap();
    home.run(&["node", "run", "--listen", "127.0.0.1:0"]).ends(9).says("revoked.crl");
    // Who is revoked is known from the register: `up` writes the list anew.
    home.bring_up().ends(0);
    let refused = runtime.block_on(Remote::connect(&options(&home, &folder))).err().unwrap();
    assert!(refused.message.contains("revoked"), "{refused}");
    assert_eq!(problem(&home), Value::Null);
}

#[test]
fn a_new_authority_makes_everything_from_before_void() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let folder = issue(&home, "other", &[]);
    home.run(&["ca", "create", "--replace"]).ends(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connected = || runtime.block_on(Remote::connect(&options(&home, &folder)));
    until("the new one is read", || connected().is_err());
    let refused = connected().err().unwrap();
    assert!(refused.message.contains("authority"), "{refused}");
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    assert_eq!(home.bring_up().ends(0).code, 0);
}

#[test]
fn a_second_device_uses_the_first_ones_node() {
    let (home, device) = (Home::up(), Home::new());
    home.run_with(&["put", "-", "/f"], b"from the first").ends(0);
    let folder = issue(&home, "laptop", &["--rights", "append-only"]);
    let (address, folder) = (crate::issued::address(&home), folder.to_str().unwrap().to_owned());
    let passphrase = device.path("passphrase");
    let secret = ["--passphrase-file", passphrase.to_str().unwrap()];
    device.run(&[&["up", "--connect", &address][..], &secret].concat()).ends(2).says("larder ca issue");
    let up = [&["up", "--json", "--connect", &address, "--certificates", &folder][..], &secret].concat();
    let said = device.run(&up).ends(0).json();
    assert_eq!((&said["vault"]["restored"], &said["node"]["started"]), (&true.into(), &false.into()));
    assert!(!device.home().join("state/node.pid").exists(), "no node of its own");
    assert!(!device.home().join("config/certificates/authority.key").exists());
    assert_eq!(device.run(&["cat", "/f"]).ends(0).out, "from the first");

    // It adds, and takes nothing away: what it replaces is kept.
    device.run_with(&["put", "-", "/f"], b"from the second").ends(0);
    device.run_with(&["put", "-", "/new/g"], &crate::support::noise(3 << 20, 7)).ends(0);
    device.run(&["rm", "/f"]).ends(7).says("lacks the right write");
    device.run(&["rm", "--now", "/f"]).ends(7);
    device.run(&["node", "collect"]).ends(7).says("lacks the right admin");
    // Nor does it make the rules by which others' clients delete, or begin a move that it may not end.
    device.run(&["retention", "set", "/", "--last", "0", "--ttl", "3s"]).ends(7);
    device.run(&["mv", "/f", "/g"]).ends(7).says("lacks the right write");
    home.run(&["fsck"]).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "from the second");
    assert_eq!(home.run(&["versions", "/f", "--json"]).ends(0).json_lines().len(), 2);

    device.run(&["down"]).ends(0);
    device.run(&["up"]).ends(0);
    device.run(&["unlock", secret[0], secret[1]]).ends(0);
    device.run(&["ls"]).ends(0);
    // Whoever watches is told when it is over.
    let watching = device.command(&["watch"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    pause(1_000);
    home.run(&["ca", "revoke", "laptop"]).ends(0);
    let watched: crate::support::Said = watching.wait_with_output().unwrap().into();
    watched.ends(7).says("revoked");
    device.run(&["up", "--connect", "127.0.0.1:1"]).ends(4).says("this home uses the node on");
    home.run(&["up", "--connect", "127.0.0.1:1"]).ends(4).says("a node of its own");
    home.run(&["ca", "revoke", "laptop"]).ends(0);
    device.run(&["ls"]).ends(7).says("is revoked").says("\"laptop\"");
}
