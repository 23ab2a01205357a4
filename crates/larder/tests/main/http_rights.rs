//! What tokens allow of the HTTP door's actions on values, streams included; and values without end, where a namespace has
//! them.

use std::io::Read;
use std::time::Duration;

use crate::support::http::{Answer, Connection, address, ask, get, put, request};
use crate::support::{Home, pause};

fn up() -> (Home, String) {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let up = ["up", "--listen", "127.0.0.1:0", "--set", "http_auth=token", "--passphrase-file", passphrase];
    home.run(&up).ends(0);
    let door = address(&home);
    (home, door)
}

/// A new token's header and id.
fn create(home: &Home, more: &[&str]) -> (String, String) {
    let made = home.run(&[&["token", "create", "--json"], more].concat()).ends(0).json();
    (format!("Bearer {}", made["token"].as_str().unwrap()), made["id"].as_str().unwrap().to_owned())
}

#[test]
fn each_action_needs_its_right() {
    let (home, door) = up();
    let (reader, _) = create(&home, &["--right", "read"]);
    let (adder, _) = create(&home, &["--right", "append-only", "--namespace", "raw"]);
    let (part, _) = create(&home, &["--right", "write", "--prefix", "a:"]);
    let with = |bearer: &str, what: &str, name: &str| -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let headers = [("authorization", bearer), ("idempotency-key", name)];
        let headers = if name.is_empty() { &headers[..1] } else { &headers[..] };
        ask(&door, method, path, headers, b"")
    };
    for (bearer, what, wanted) in [
        (&adder, "PUT /v1/data/n?ttl=60", 201),
        (&adder, "POST /v1/data/count/increment?ttl=60", 200),
        (&adder, "POST /v1/data/count/increment", 403),
        (&adder, "POST /v1/data/n/touch?ttl=90", 200),
        (&adder, "POST /v1/data/n/touch?ttl=5", 403),
        (&adder, "POST /v1/data/n/take", 403),
        (&adder, "DELETE /v1/data/n", 403),
        (&reader, "POST /v1/data/n/touch?ttl=90", 403),
        (&reader, "POST /v1/data/n/increment", 403),
        (&reader, "POST /v1/data/n/take", 403),
        (&reader, "GET /v1/data/n", 200),
        (&reader, "HEAD /v1/watch", 200),
        (&reader, "GET /v1/openapi.json", 200),
        (&reader, "GET /v1/problems/full", 200),
        (&part, "PUT /v1/data/a:1?reads=1", 201),
        (&part, "POST /v1/data/a:1/take", 200),
        (&part, "POST /v1/data/a:n/increment", 200),
        (&part, "POST /v1/data/b/increment", 403),
        (&part, "POST /v1/data/n/take", 403),
        (&part, "HEAD /v1/watch?prefix=a:", 200),
        (&part, "HEAD /v1/watch?prefix=a", 403),
        (&part, "HEAD /v1/watch", 403),
        (&part, "HEAD /v1/watch?key=a:1&key=a:2", 200),
        (&part, "HEAD /v1/watch?key=a:1&key=b", 403),
    ] {
        let answer = with(bearer, what, "");
        assert_eq!(answer.status, wanted, "{what}: {}", String::from_utf8_lossy(&answer.body));
    }
    // Adding under a name is adding once, also for those who may only add.
    assert_eq!(with(&adder, "PUT /v1/data/once", "name").status, 201);
    assert_eq!(with(&adder, "PUT /v1/data/once", "name").status, 201);
    assert_eq!(with(&adder, "PUT /v1/data/once?ttl=7", "name").status, 403, "that would be another");
    assert_eq!(with(&adder, "PUT /v1/data/once", "other").status, 403);
    let silent = get(&door, "/v1/watch");
    assert_eq!((silent.status, &silent.json()["type"]), (401, &"/v1/problems/unauthorized".into()));
}

#[test]
fn a_stream_ends_with_the_token_it_came_with() {
    let (home, door) = up();
    let (bearer, id) = create(&home, &["--right", "read"]);
    let mut stream = Connection::to(&door);
    stream.send(&request(&door, "GET", "/v1/watch", &[("authorization", &bearer)], b""));
    stream.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut start = [0; 12];
    stream.stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    home.run(&["token", "revoke", &id]).ends(0);
    let mut rest = Vec::new();
    let ended = stream.stream.read_to_end(&mut rest);
    let reset = ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
    assert!(ended.is_ok() || reset, "{ended:?}");
}

#[test]
fn a_value_lives_for_ever_where_the_namespace_allows_it() {
    let home = Home::up();
    let door = address(&home);
    put(&door, "/v1/data/k?ttl=1", b"v");
    let persist = |headers: &[(&str, &str)]| ask(&door, "POST", "/v1/data/k/persist", headers, b"");
    assert_eq!(persist(&[]).status, 400);
    home.run(&["namespace", "set", "raw", "--ttl-max", "none", "--ttl-default", "none"]).ends(0);
    // It may be over before it is told to stay, where the machine is slow.
    let kept = (0..300)
        .map(|_| {
            pause(100);
            put(&door, "/v1/data/k?ttl=1", b"v");
            persist(&[("idempotency-key", "keep")])
        })
        .find(|answer| ![400, 404].contains(&answer.status))
        .expect("lifetimes are looked up anew");
    assert_eq!((kept.status, kept.header("x-original-ttl"), kept.header("x-remaining-ttl")), (200, "", ""));
    assert_eq!(kept.json()["ttl"], serde_json::Value::Null);
    assert_eq!(kept.json()["expires_at"], serde_json::Value::Null);
    pause(1200);
    let read = get(&door, "/v1/data/k");
    assert_eq!((read.status, read.header("x-remaining-ttl")), (200, ""));
    assert_eq!(get(&door, "/raw/get/k").json()["ttl"], serde_json::Value::Null);
    assert_eq!(ask(&door, "POST", "/v1/data/k/touch?ttl=50", &[], b"").header("x-remaining-ttl"), "50");
    assert_eq!(put(&door, "/v1/data/plain", b"v").json()["ttl"], serde_json::Value::Null);
}

#[test]
fn what_is_no_request_is_answered_with_a_problem_as_well() {
    let home = Home::up();
    let door = address(&home);
    let long = format!("GET /v1/data/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "k".repeat(40_000));
    for (bytes, status, problem) in [
        (&b"NONSENSE\r\n\r\n"[..], 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nbad header\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/3.7\r\nhost: localhost\r\n\r\n", 400, "malformed"),
        (long.as_bytes(), 431, "head_too_large"),
    ] {
        let mut connection = Connection::to(&door);
        connection.send(bytes);
        let answer = connection.answer().expect("no answer");
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert_eq!((answer.status, answer.header("connection")), (status, "close"), "{shown}");
        assert_eq!(answer.json()["type"], format!("/v1/problems/{problem}"), "{shown}");
        assert!(connection.is_closed());
    }
    // Also behind a request that was one.
    let mut connection = Connection::to(&door);
    connection.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 200);
    connection.send(b"NONSENSE\r\n\r\n");
    assert_eq!(connection.answer().unwrap().json()["type"], "/v1/problems/malformed");
}
