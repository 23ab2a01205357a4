//! The HTTP door as its clients meet it: every form of the documented paths, with their statuses and headers.

use std::process::Command;

use crate::support::http::{address, ask, get, metric, put};
use crate::support::patience::{until, while_it_lives};
use crate::support::{Home, Said};
use serde_json::json;

#[test]
fn the_newer_form_stores_reads_and_deletes_bytes_under_any_key() {
    let home = Home::up();
    let door = address(&home);
    let bytes: Vec<u8> = (0..=255).collect();
    let stored = put(&door, "/v1/data/a/b//c%20%25?ttl=90", &bytes);
    assert_eq!(stored.status, 201, "{stored:?}");
    assert_eq!(stored.json()["key"], "a/b//c %");
    assert_eq!(stored.header("x-original-ttl"), "90");

    let read = get(&door, "/v1/data/a/b//c%20%25");
    assert_eq!((read.status, &read.body), (200, &bytes));
    assert_eq!(read.header("content-type"), "application/octet-stream");
    assert_eq!(read.header("x-original-ttl"), "90");
    let remaining: u64 = read.header("x-remaining-ttl").parse().unwrap();
    assert!((80..=90).contains(&remaining), "{remaining}");
    let created = read.header("x-created-at");
    assert!(created.len() == 24 && created.ends_with('Z') && created.contains('T'), "{created}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(read.header(name), value);
    }
    assert!(read.header("content-security-policy").contains("default-src 'none'"));

    let head = ask(&door, "HEAD", "/v1/data/a/b//c%20%25", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "256"));
    assert_eq!(head.header("x-original-ttl"), "90");
    assert_eq!(get(&door, "/data/a/b//c%20%25").body, bytes, "one namespace, whichever form");

    assert_eq!(ask(&door, "DELETE", "/v1/data/a/b//c%20%25", &[], b"").status, 204);
    assert_eq!(ask(&door, "DELETE", "/v1/data/a/b//c%20%25", &[], b"").status, 404);
    let gone = get(&door, "/v1/data/a/b//c%20%25");
    assert_eq!(gone.status, 404);
    assert_eq!(gone.header("content-type"), "application/problem+json");
    assert_eq!(gone.json()["kind"], "not_found");
    assert_eq!(ask(&door, "HEAD", "/v1/data/a", &[], b"").status, 404);

    let empty = put(&door, "/v1/data/empty", b"");
    assert_eq!((empty.status, empty.header("x-original-ttl")), (201, "3600"), "the default lifetime");
    assert_eq!((get(&door, "/v1/data/empty").status, get(&door, "/v1/data/empty").body.len()), (200, 0));
}

#[test]
fn the_documented_forms_of_old_clients() {
    let home = Home::up();
    let door = address(&home);
    let is_json = ("content-type", "application/json");
    let stored = ask(&door, "PUT", "/data/k", &[is_json], br#"{"data":"aGVsbG8=","ttl":300}"#);
    assert_eq!((stored.status, stored.header("x-original-ttl")), (201, "300"));
    assert_eq!(get(&door, "/data/k").body, b"hello");
    let plain = put(&door, "/data/k", br#"{"data":"aGVsbG8=","ttl":300}"#);
    assert_eq!(plain.status, 201);
    assert_eq!(get(&door, "/data/k").body, br#"{"data":"aGVsbG8=","ttl":300}"#, "without the type: bytes");
    ask(&door, "PUT", "/v1/data/j", &[is_json], br#"{"data":1}"#);
    assert_eq!(get(&door, "/v1/data/j").body, br#"{"data":1}"#, "the newer form takes bytes as they are");

    let chosen = ask(&door, "POST", "/raw/put", &[], r#"{"data":"grüße","ttl":60}"#.as_bytes());
    assert_eq!(chosen.status, 200);
    let key = chosen.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("raw-") && key.len() == 36, "{key}");
    let read = get(&door, &format!("/raw/get/{key}"));
    assert_eq!(read.json()["data"], "grüße");
    assert!((50..=60).contains(&read.json()["ttl"].as_u64().unwrap()));
    let named = ask(&door, "POST", "/raw/put", &[is_json], br#"{"data":"x","key":"my/key"}"#);
    assert_eq!(named.json()["key"], "my/key");
    assert_eq!(get(&door, "/data/my/key").body, b"x");
    put(&door, "/data/binary", b"\xff");
    assert_eq!(get(&door, "/raw/get/binary").status, 409, "that form has only text");
    assert_eq!(get(&door, "/raw/get/none").status, 404);
}

#[test]
fn lifetimes_are_kept_to_refused_with_the_limits_or_clamped_where_asked_for() {
    let home = Home::up();
    let door = address(&home);
    let lifetime = |path: &str, header: Option<&str>| {
        let headers: Vec<(&str, &str)> = header.map(|value| ("x-ttl", value)).into_iter().collect();
        let answer = ask(&door, "PUT", path, &headers, b"v");
        (answer.status, answer.header("x-original-ttl").to_owned())
    };
    assert_eq!(lifetime("/v1/data/x", Some("120")), (201, "120".to_owned()));
    assert_eq!(lifetime("/v1/data/x?ttl=60", Some("120")), (201, "60".to_owned()), "the query wins");
    assert_eq!(lifetime("/v1/data/x?ttl=0.25", None), (201, "0.25".to_owned()));
    assert_eq!(lifetime("/v1/data/x?ttl=604800", None).0, 201);
    for bad in ["604801", "0", "-1", "1h", "", "99999999999999999999999"] {
        let answer = put(&door, &format!("/v1/data/refused?ttl={bad}"), b"v");
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("seconds"), "{bad}: {}", answer.json());
    }
    assert!(
        put(&door, "/v1/data/refused?ttl=604801", b"v").json()["detail"]
            .as_str()
            .unwrap()
            .contains("0.001 to 604800 seconds")
    );
    assert_eq!(ask(&door, "PUT", "/v1/data/refused", &[("x-ttl", "soon")], b"v").status, 400);
    assert_eq!(get(&door, "/v1/data/refused").status, 404, "nothing of it was stored");

    let (status, seconds) = while_it_lives(1, |seconds| {
        put(&door, &format!("/v1/data/short?ttl={seconds}"), b"v");
        (get(&door, "/v1/data/short").status, seconds)
    });
    assert_eq!(status, 200);
    crate::support::pause(seconds * 1_000 + 100);
    assert_eq!(get(&door, "/v1/data/short").status, 404, "its time is up");
    let before = metric(&door, "larder_expired_records_total", "memory");
    // Nobody asks for this one: reading what has ended removes it, too.
    put(&door, "/v1/data/unread?ttl=0.05", b"v");
    let expired = || metric(&door, "larder_expired_records_total", "memory");
    until("it is swept", || expired() > before);

    home.run(&["down"]).ends(0);
    let passphrase = home.path("passphrase");
    let up = [
        "up",
        "--set",
        "http_ttl=clamp",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    home.run(&up).ends(0);
    let door = address(&home);
    let clamped = put(&door, "/v1/data/x?ttl=999999999", b"v");
    assert_eq!((clamped.status, clamped.header("x-original-ttl")), (201, "604800"));
    assert_eq!(clamped.header("x-ttl-clamped"), "true");
    assert_eq!(put(&door, "/v1/data/x?ttl=5", b"v").header("x-ttl-clamped"), "");
}

#[test]
fn keys_are_listed_in_pages() {
    let home = Home::up();
    let door = address(&home);
    for number in 0..25 {
        assert_eq!(put(&door, &format!("/v1/data/p/{number}"), b"v").status, 201);
        put(&door, &format!("/v1/data/q/{number}"), b"v");
    }
    put(&door, "/v1/data/p/%ff", b"v");
    put(&door, "/v1/data/p/gone?ttl=0.05", b"v");
    crate::support::pause(100);
    let (mut keys, mut other, mut cursor, mut pages) = (Vec::new(), Vec::new(), String::new(), 0);
    loop {
        let page = get(&door, &format!("/v1/keys?prefix=p/&limit=10&cursor={cursor}"));
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        keys.extend(page["keys"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().to_owned()));
        other.extend(page["keys_percent_encoded"].as_array().into_iter().flatten().cloned());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    keys.sort();
    let mut expected: Vec<String> = (0..25).map(|n| format!("p/{n}")).collect();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(other, [json!("p/%FF")]);
    assert!((3..=4).contains(&pages), "{pages}");
    assert_eq!(get(&door, "/v1/keys?limit=0").status, 400);
    assert_eq!(get(&door, "/v1/keys?cursor=AAAA").status, 400, "a cursor that nobody gave");
}

#[test]
fn what_there_is_to_know_of_the_node() {
    let home = Home::up();
    let door = address(&home);
    let health = get(&door, "/health").json();
    assert_eq!(health["status"], "healthy");
    assert!(health["uptime_seconds"].is_u64());
    let v1 = get(&door, "/v1/health").json();
    assert_eq!(
        (&v1["status"], &v1["enclave"], &v1["network"]),
        (&json!("healthy"), &json!("default"), &json!("private"))
    );
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(v1["node_id"], status["node"]["id"]);
    let about = get(&door, "/v1/status").json();
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert!(about["memory"]["resident_bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!(about["limits"]["ttl_max_seconds"], 604_800.0);
    assert_eq!(get(&door, "/status").status, 200);
    let topology = get(&door, "/v1/topology").json();
    assert_eq!((&topology["node_id"], &topology["peers"]), (&v1["node_id"], &json!([])));

    let nothing = get(&door, "/nothing/here");
    assert_eq!(nothing.status, 404);
    let wrong = ask(&door, "POST", "/v1/data/x", &[], b"v");
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, HEAD, PUT, DELETE"));
    assert_eq!(get(&door, "/v1/data/x?ttl=5").status, 400, "what means nothing here is not ignored");

    let exposed = &status["exposed"][1];
    assert_eq!((&exposed["door"], &exposed["address"]), (&json!("http"), &json!(door)));
    assert_eq!((&exposed["needs"], &exposed["scope"]), (&json!("nothing"), &json!("this machine")));
    assert_eq!((&exposed["namespace"], &exposed["readable_by_node"]), (&json!("raw"), &json!(true)));
    let text = home.run(&["status"]).ends(0).out;
    assert!(text.contains(&format!("HTTP on {door} to every program of this machine")), "{text}");
}

#[test]
fn metrics_move_and_have_three_forms() {
    let home = Home::up();
    let door = address(&home);
    let requests = |labels: &str| metric(&door, "larder_requests_total", labels);
    put(&door, "/v1/data/x", b"12345");
    get(&door, "/v1/data/x");
    get(&door, "/v1/data/y");
    assert_eq!(requests("operation=\"put\",outcome=\"201\""), 1.0);
    assert_eq!(requests("operation=\"get\",outcome=\"200\""), 1.0);
    assert_eq!(requests("operation=\"get\",outcome=\"404\""), 1.0);
    assert_eq!(metric(&door, "larder_request_duration_seconds_count", "operation=\"get\""), 2.0);
    assert_eq!(metric(&door, "larder_received_bytes_total", "http"), 5.0);
    assert_eq!(metric(&door, "larder_stored_items", "memory"), 1.0);
    let before = requests("door=\"grpc\"");
    home.run(&["value", "set", "name", "value"]).ends(0);
    assert!(requests("door=\"grpc\"") > before, "gRPC is counted as well");
    assert!(metric(&door, "larder_value_operations_total", "put") >= 2.0);
    assert!(metric(&door, "larder_process_resident_memory_bytes", "") > 1e6);
    assert!(metric(&door, "larder_open_connections", "http") >= 1.0);

    let text = String::from_utf8(get(&door, "/v1/metrics").body).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let json = get(&door, "/metrics/json").json();
    for section in ["files", "values", "network", "storage", "errors", "system"] {
        assert!(json[section].as_object().is_some_and(|s| !s.is_empty()), "{section}: {json}");
    }
    assert_eq!(json["values"]["value_records"], 2);
    let human = String::from_utf8(get(&door, "/metrics/human").body).unwrap();
    assert!(human.contains("value records"), "{human}");
}

#[test]
fn curl_and_pythons_own_client_are_served() {
    let home = Home::up();
    let door = address(&home);
    let file = home.file("file", &crate::support::noise(3_000_000, 7));
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments).output().unwrap();
        Said::from(output).ends(0)
    };
    let url = format!("http://{door}/v1/data/from%20curl");
    let status = curl(&["-T", &file, "-w", "%{http_code}", "-o", "/dev/null", &url]).out;
    assert_eq!(status, "201");
    let back = home.path("back");
    curl(&["-o", back.to_str().unwrap(), &url]);
    assert_eq!(std::fs::read(&back).unwrap(), std::fs::read(&file).unwrap());
    assert!(curl(&["-I", &url]).out.contains("content-length: 3000000"));
    let chunked = [
        "-X",
        "PUT",
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "parts",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
    ];
    assert_eq!(curl(&[&chunked[..], &[&url]].concat()).out, "201");

    let program = "
import http.client, json, sys
c = http.client.HTTPConnection(sys.argv[1])
seen = []
for method, path, body in [('PUT', '/v1/data/py', b'value'), ('GET', '/v1/data/py', None), ('HEAD', '/v1/data/py', None),
                           ('GET', '/v1/data/none', None), ('DELETE', '/v1/data/py', None), ('GET', '/v1/keys', None)]:
    c.request(method, path, body)
    answer = c.getresponse()
    seen.append([answer.status, answer.read().decode() if method == 'GET' and path.endswith('py') else len(answer.read())])
    sock = sock if len(seen) > 1 else c.sock
assert sock is c.sock, 'the connection is kept'
print(json.dumps(seen))
";
    let output = Command::new("python3").args(["-c", program, &door]).output().unwrap();
    let seen = Said::from(output).ends(0).json();
    let statuses: Vec<&serde_json::Value> = seen.as_array().unwrap().iter().map(|pair| &pair[0]).collect();
    assert_eq!(statuses, [201, 200, 200, 404, 204, 200]);
    assert_eq!(seen[1][1], "value");
    assert_eq!(seen[2][1], 0);
}

#[test]
fn a_door_can_be_elsewhere_or_closed_and_a_taken_port_is_said() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = |listen: &str| {
        home.run(&[
            "up",
            "--listen",
            "127.0.0.1:0",
            "--http-listen",
            listen,
            "--passphrase-file",
            passphrase.to_str().unwrap(),
        ])
    };
    let taken = crate::support::own_port();
    let at = taken.local_addr().unwrap().to_string();
    up(&at).ends(4).says("for HTTP").says("--http-listen");
    drop(taken);
    up(&at).ends(0);
    assert_eq!(address(&home), at);
    assert_eq!(get(&at, "/health").status, 200);
    up("off").ends(4).says("http_listen");
    home.run(&["down"]).ends(0);
    up("off").ends(0);
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert!(status["exposed"].as_array().unwrap().iter().all(|door| door["door"] != "http"), "{status}");
    assert!(std::net::TcpStream::connect(&at).is_err());
}
