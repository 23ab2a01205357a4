//! Namespaces of one's own: made, shown, changed, deleted, with the real program; what is the vault's stays out of reach.

#[path = "support/issued.rs"]
mod issued;
#[path = "support/resp.rs"]
mod resp;
mod support;

use larder_client::remote::Remote;
use larder_format::error::Kind;
use larder_format::ids::NamespaceId;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Outcome;
use larder_format::record::Key;
use larder_wire::request::{Ask, AskPut, RecordRequest};
use serde_json::json;
use support::http::{address, get, put};
use support::{Home, pause};

fn create(home: &Home, name: &str, more: &[&str]) -> serde_json::Value {
    home.run(&[&["namespace", "create", name, "--json"], more].concat()).ends(0).json()
}

/// What becomes of a request on a key of a namespace.
fn apply(home: &Home, namespace: &str, key: &str, ask: Ask) -> Result<Outcome, larder_client::Failure> {
    let folder = home.home().join("config/certificates");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let remote = Remote::connect(&issued::options(home, &folder)).await.unwrap();
        let key = Key::new(key.as_bytes().to_vec()).unwrap();
        let namespace = NamespaceId::of(namespace);
        remote.apply(RecordRequest { tag: 0, namespace, key, identity: None, ask }).await
    })
}

fn write(home: &Home, namespace: &str, key: &str, lifetime: LifetimeRequest) {
    let ask = Ask::Put(AskPut { lifetime, body: "value".into(), ..AskPut::default() });
    assert!(matches!(apply(home, namespace, key, ask), Ok(Outcome::Written { .. })));
}

fn is_there(home: &Home, namespace: &str, key: &str) -> bool {
    matches!(apply(home, namespace, key, Ask::Get { head_only: false }), Ok(Outcome::Found(_)))
}

#[test]
fn a_namespace_is_what_it_was_made_and_stays_so_through_a_restart() {
    let home = Home::up();
    let made = create(&home, "cache", &["--raw", "--memory", "--when-full", "evict"]);
    assert_eq!(made["created"], true);
    assert_eq!(
        (&made["privacy"], &made["class"], &made["order"], &made["when_full"]),
        (&json!("raw"), &json!("memory"), &json!("hash"), &json!("evict"))
    );
    assert!(made["ttl_default_ms"].is_null() && made["ttl_max_ms"].is_null());
    let kept = create(&home, "kept", &["--raw", "--disk", "--ttl-max", "2d", "--quota", "8MiB"]);
    assert_eq!((&kept["ttl_default_ms"], &kept["ttl_max_ms"]), (&json!(3_600_000), &json!(172_800_000)));
    assert_eq!(
        (&kept["class"], &kept["order"], &kept["quota_bytes"]),
        (&json!("disk"), &json!("key"), &json!(8 << 20))
    );
    assert_eq!(
        create(&home, "kept", &["--raw", "--disk", "--ttl-max", "2d", "--quota", "8MiB"])["created"],
        false
    );
    home.run(&["namespace", "create", "kept", "--raw", "--disk"]).ends(4).says("other settings");
    create(&home, "secret", &["--sealed", "--disk"]);

    write(&home, "kept", "a", LifetimeRequest::Default);
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    let list = home.run(&["namespace", "list", "--json"]).ends(0).json();
    let names: Vec<&str> =
        list["namespaces"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cache", "files", "kept", "keys", "raw", "secret", "values"]);
    let shown = home.run(&["namespace", "show", "kept"]).ends(0).out;
    assert!(shown.contains("raw (the node reads what is in it)") && shown.contains("1 record"), "{shown}");
    let raw = home.run(&["namespace", "show", "raw", "--json"]).ends(0).json();
    assert_eq!(raw["doors"][0]["door"], "http");
    assert!(is_there(&home, "kept", "a"));
    home.run(&["namespace", "show", "nope"]).ends(3).says("there are: cache, files");
}

#[test]
fn lifetimes_are_changed_for_what_is_written_from_now_on() {
    let home = Home::up();
    let door = address(&home);
    assert_eq!(put(&door, "/v1/data/before", b"v").json()["ttl"], 3600);
    let set = |more: &[&str]| home.run(&[&["namespace", "set", "raw", "--json"], more].concat());
    let changed = set(&["--ttl-max", "none", "--ttl-default", "none"]).ends(0).json();
    assert!(changed["ttl_max_ms"].is_null());
    assert!(put(&door, "/v1/data/after", b"v").json()["ttl"].is_null(), "the door goes by it at once");
    assert!(put(&door, "/v1/data/long?ttl=9000000", b"v").json()["ttl"].as_u64() == Some(9_000_000));
    assert_eq!(get(&door, "/v1/data/before").header("x-original-ttl"), "3600");
    set(&["--ttl-max", "1h"]).ends(2).says("values need one by default");
    set(&["--ttl-default", "2h", "--ttl-max", "1h"]).ends(2).says("longer than the longest");
    set(&[]).ends(2);
    set(&["--ttl-default", "1h", "--ttl-max", "1h", "--quota", "2MiB"]).ends(0);
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    let raw = home.run(&["namespace", "show", "raw", "--json"]).ends(0).json();
    assert_eq!((&raw["ttl_max_ms"], &raw["quota_bytes"]), (&json!(3_600_000), &json!(2 << 20)));
    assert_eq!(put(&address(&home), "/v1/data/x?ttl=7200", b"v").status, 400);
}

#[test]
fn names_and_settings_that_cannot_be_are_refused() {
    let home = Home::up();
    let refused = |arguments: &[&str], code: i32, words: &str| {
        home.run(&[&["namespace"], arguments].concat()).ends(code).says(words);
    };
    for name in ["files", "values", "keys"] {
        refused(&["create", name, "--raw"], 2, "the vault's own");
        refused(&["set", name, "--quota", "none"], 2, "the vault's own");
        refused(&["delete", name, "--force", "--yes"], 2, "the vault's own");
    }
    for name in ["system", "token", "node"] {
        refused(&["create", name, "--raw"], 2, "reserved");
    }
    for name in ["Upper", "a/b", "-a", ""] {
        let said = home.run(&["namespace", "create", "--raw", "--", name]).ends(2);
        assert!(said.err.contains("not the name of a namespace"), "{}", said.err);
    }
    refused(&["create", "x"], 2, "--raw");
    refused(&["create", "x", "--raw", "--sealed"], 2, "cannot be used with");
    refused(&["create", "x", "--raw", "--order", "key"], 2, "listed by hash");
    refused(&["create", "x", "--raw", "--disk", "--when-full", "evict"], 2, "in memory");
    refused(&["create", "x", "--raw", "--quota", "1KiB"], 2, "allowed");
    assert_eq!(home.run(&["namespace", "list", "--json"]).json()["namespaces"].as_array().unwrap().len(), 4);
}

#[test]
fn only_an_empty_namespace_goes_unless_it_is_forced_and_nothing_comes_back() {
    let home = Home::up();
    for (name, class) in [("mem", "--memory"), ("disk", "--disk")] {
        create(&home, name, &["--raw", class]);
        home.run(&["namespace", "delete", name]).ends(0);
        create(&home, name, &["--raw", class]);
        for number in 0..20 {
            write(&home, name, &format!("k{number}"), LifetimeRequest::Default);
        }
        home.run(&["namespace", "delete", name]).ends(4).says("is not empty");
        home.run(&["namespace", "delete", name, "--force"]).ends(2).says("--yes");
        assert!(is_there(&home, name, "k1"));
        let gone = home.run(&["namespace", "delete", name, "--force", "--yes", "--json"]).ends(0).json();
        assert_eq!(gone["values"], 20);
        let after = apply(&home, name, "k1", Ask::Get { head_only: false }).unwrap_err();
        assert_eq!(after.kind, Kind::NotFound);
        create(&home, name, &["--raw", class]);
        assert!(!is_there(&home, name, "k1"), "{name}: made anew, it is empty");
        write(&home, name, "k1", LifetimeRequest::Default);
        home.run(&["namespace", "delete", name, "--force", "--yes"]).ends(0);
    }
    home.run(&["namespace", "delete", "mem"]).ends(3).says("no such namespace");
    home.run(&["namespace", "delete", "raw", "--force", "--yes"]).ends(4).says("close that door first");

    // A value whose time is up is none.
    create(&home, "brief", &["--raw", "--disk"]);
    write(&home, "brief", "k", LifetimeRequest::Ttl(1));
    pause(20);
    home.run(&["namespace", "delete", "brief"]).ends(0);
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    let list = home.run(&["namespace", "list", "--json"]).ends(0).json();
    assert_eq!(list["namespaces"].as_array().unwrap().len(), 4, "{list}");
}

#[test]
fn an_open_redis_connection_goes_by_what_a_namespace_is_now() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--listen", "127.0.0.1:0", "--set", "redis_auth=token", "--passphrase-file"];
    home.run(&[&up[..], &[passphrase.to_str().unwrap()]].concat()).ends(0);
    create(&home, "cache", &["--raw"]);
    let token = ["token", "create", "--right", "write", "--namespace", "cache", "--json"];
    let token = home.run(&token).ends(0).json()["token"].as_str().unwrap().to_owned();
    let mut client = resp::Connection::to(&resp::address(&home));
    let mut ask = |words: &[&str]| client.ask(words).show();
    assert!(ask(&["SET", "k", "v"]).contains("NOAUTH"));
    assert!(ask(&["AUTH", &token]).contains("OK"));
    assert!(ask(&["SET", "k", "v"]).contains("OK"));
    assert!(ask(&["TTL", "k"]).contains("-1"), "a namespace without a maximum is as Redis is");
    home.run(&["namespace", "set", "cache", "--ttl-default", "90s", "--ttl-max", "2m"]).ends(0);
    assert!(ask(&["SET", "k", "v"]).contains("OK"));
    let ttl = ask(&["TTL", "k"]);
    let left: u64 = ttl.trim_start_matches(':').parse().unwrap();
    assert!((1..=90).contains(&left), "{ttl}");
    assert!(ask(&["SET", "k", "v", "EX", "600"]).contains("ERR"));
    assert_eq!(
        home.run(&["namespace", "delete", "cache", "--force", "--yes", "--json"]).ends(0).json()["values"],
        1
    );
    let gone = ask(&["SET", "k", "v"]);
    assert!(gone.contains("no namespace"), "{gone}");
    create(&home, "cache", &["--raw"]);
    let empty = ask(&["EXISTS", "k"]);
    assert!(empty.contains('0'), "{empty}");
}
