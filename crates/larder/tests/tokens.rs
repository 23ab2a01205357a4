//! Tokens at the HTTP door, with the real program: what each grants and what not, narrowing without a node, an end within a
//! second on live connections, and nothing of a token in a log.
#![allow(clippy::print_stderr, reason = "says what is not run")]

#[path = "support/issued.rs"]
mod issued;
#[path = "support/python.rs"]
mod python;
#[path = "support/resp.rs"]
mod resp;
mod support;

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::{Answer, Connection, address, request};
use support::patience::{in_time, until, while_it_lives};
use support::{Home, Said};

/// A home whose HTTP door asks for tokens.
fn up(more: &[&str]) -> (Home, String) {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let base = ["up", "--listen", "127.0.0.1:0", "--set", "http_auth=token"];
    let base = [&base[..], &["--passphrase-file", passphrase.to_str().unwrap()]].concat();
    home.run(&[&base[..], more].concat()).ends(0);
    let door = address(&home);
    (home, door)
}

/// A new token's text and id.
fn create(home: &Home, more: &[&str]) -> (String, String) {
    let made = home.run(&[&["token", "create", "--json"], more].concat()).ends(0).json();
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

fn ask(door: &str, token: &str, method: &str, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    support::http::ask(door, method, path, &[("authorization", &bearer)], b"")
}

fn status(door: &str, token: &str, method: &str, path: &str) -> u16 {
    ask(door, token, method, path).status
}

#[allow(clippy::disallowed_methods, reason = "what is looked at is the real clock")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn each_token_does_what_it_grants_and_nothing_else() {
    let (home, door) = up(&[]);
    home.run(&["namespace", "create", "cache", "--raw"]).ends(0);
    let shown = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(shown["exposed"][1]["needs"], "token");
    assert!(home.run(&["status"]).out.contains("to this machine, token needed"));

    let none = support::http::get(&door, "/v1/data/x");
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer realm=\"larder\""));
    assert_eq!(none.json()["kind"], "unauthorized");
    assert_eq!(support::http::get(&door, "/health").status, 401, "nothing is open");

    let (reader, _) = create(&home, &["--right", "read"]);
    let (adder, _) = create(&home, &["--right", "append-only", "--namespace", "raw"]);
    let (writer, _) = create(&home, &["--right", "write", "--namespace", "raw"]);
    let (part, _) = create(&home, &["--right", "write", "--prefix", "a:", "--prefix", "b:"]);
    let (elsewhere, _) = create(&home, &["--right", "write", "--namespace", "cache"]);
    for (token, what, wanted) in [
        (&reader, "PUT /v1/data/x", 403),
        (&elsewhere, "PUT /v1/data/x", 403),
        (&elsewhere, "GET /v1/data/x", 403),
        (&elsewhere, "GET /health", 200),
        (&adder, "PUT /v1/data/x", 201),
        (&adder, "PUT /v1/data/x", 403),
        (&adder, "GET /v1/data/x", 200),
        (&adder, "DELETE /v1/data/x", 403),
        (&reader, "GET /v1/data/x", 200),
        (&reader, "DELETE /v1/data/x", 403),
        (&reader, "GET /v1/keys", 200),
        (&reader, "GET /metrics", 200),
        (&writer, "PUT /v1/data/x", 201),
        (&writer, "DELETE /v1/data/x", 204),
        (&part, "PUT /v1/data/a:1", 201),
        (&part, "GET /v1/data/a%3A1", 200),
        (&part, "PUT /data/b:1", 201),
        (&part, "PUT /v1/data/a", 403),
        (&part, "GET /v1/data/x", 403),
        (&part, "GET /v1/keys", 403),
        (&part, "GET /v1/keys?prefix=a", 403),
        (&part, "GET /v1/keys?prefix=a:", 200),
        (&part, "DELETE /v1/data/b:1", 204),
    ] {
        let (method, path) = what.split_once(' ').unwrap();
        let answer = ask(&door, token, method, path);
        assert_eq!(answer.status, wanted, "{what}: {}", String::from_utf8_lossy(&answer.body));
        if wanted == 403 {
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("token ") && !detail.contains("certificate"), "{detail}");
        }
    }
    // Both ways through the door answer alike: a header that the short one does not know makes it the long one.
    let both = |token: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        let short = support::http::ask(&door, "GET", path, &[("authorization", &bearer)], b"");
        let long =
            support::http::ask(&door, "GET", path, &[("authorization", &bearer), ("x-long", "1")], b"");
        let shown = |answer: &Answer| {
            let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
            (answer.status, headers, answer.body.clone())
        };
        assert_eq!(shown(&short), shown(&long), "{path}");
        short.status
    };
    assert_eq!((both(&part, "/v1/data/a:1"), both(&part, "/v1/data/a:none")), (200, 404));
    assert_eq!((both(&part, "/v1/data/c"), both("larder_AAAA", "/v1/data/a:1")), (403, 401));
    // A key that only the body names is looked at, too.
    let raw = |token: &str, body: &[u8]| {
        let bearer = format!("Bearer {token}");
        support::http::ask(&door, "POST", "/raw/put", &[("authorization", &bearer)], body).status
    };
    assert_eq!(raw(&part, br#"{"data":"v","ttl":60,"key":"a:2"}"#), 200);
    assert_eq!(raw(&part, br#"{"data":"v","ttl":60,"key":"c"}"#), 403);
    assert_eq!(raw(&part, br#"{"data":"v","ttl":60}"#), 403, "a key that is chosen begins with neither");
}

#[test]
fn a_token_is_narrowed_without_a_node_and_only_ever_narrower() {
    let (home, door) = up(&[]);
    let (token, id) =
        create(&home, &["--right", "write", "--namespace", "raw", "--prefix", "a:", "--expires", "1h"]);
    // Another home, with nothing running and no node known.
    let alone = Home::new();
    let narrow = |from: &str, more: &[&str]| -> Said {
        alone.run_with(&[&["token", "narrow"], more].concat(), format!("{from}\n").as_bytes())
    };
    let weaker = narrow(&token, &["--right", "append-only", "--prefix", "a:b"]).ends(0).out;
    let weakest = narrow(weaker.trim(), &["--right", "read", "--expires", "10m"]).ends(0).out;
    assert_eq!(status(&door, &token, "PUT", "/v1/data/a:b"), 201);
    assert_eq!(status(&door, weaker.trim(), "PUT", "/v1/data/a:bc"), 201);
    assert_eq!(status(&door, weaker.trim(), "PUT", "/v1/data/a:b"), 403);
    assert_eq!(status(&door, weaker.trim(), "PUT", "/v1/data/a:c"), 403);
    assert_eq!(status(&door, weakest.trim(), "GET", "/v1/data/a:b"), 200);
    assert_eq!(status(&door, weakest.trim(), "PUT", "/v1/data/a:bd"), 403);

    for more in [
        &["--right", "write"][..],
        &["--prefix", "a"],
        &["--prefix", "b:"],
        &["--namespace", "cache"],
        &["--expires", "2h"],
    ] {
        narrow(weaker.trim(), more).ends(2).says("this token has not got");
    }
    narrow("hunter2", &["--right", "read"]).ends(2).says("not a token");
    narrow(&token, &[]).ends(2);
    let said = alone.run_with(&["token", "show", "-", "--json"], weakest.as_bytes()).ends(0).json();
    assert_eq!((said["id"].as_str().unwrap(), said["right"].as_str().unwrap()), (id.as_str(), "read"));
    alone.run(&["token", "show", &token]).ends(2).says("revoke it");

    let mut changed = token.clone().into_bytes();
    let at = changed.len() - 10;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(status(&door, &String::from_utf8(changed).unwrap(), "GET", "/v1/data/a:b"), 401);
    home.run(&["token", "revoke", &id]).ends(0);
    for gone in [&token, weaker.trim(), weakest.trim()] {
        let answer = ask(&door, gone, "GET", "/v1/data/a:b");
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
}

#[test]
fn a_revoked_token_ends_what_is_under_way_within_a_second_and_others_go_on() {
    let (home, door) = up(&[]);
    let (other, _) = create(&home, &["--right", "write"]);
    let bearer = |token: &str| format!("Bearer {token}");
    let large = vec![b'x'; 10 << 20];
    let put = [("authorization", bearer(&other)), ("content-type", "text/plain".to_owned())];
    let put: Vec<(&str, &str)> = put.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(support::http::ask(&door, "PUT", "/v1/data/large", &put, &large).status, 201);
    let get =
        |path: &str, token: &str| request(&door, "GET", path, &[("authorization", &bearer(token))], b"");
    let mut others = Connection::to(&door);
    others.send(&get("/v1/data/large", &other));
    assert_eq!(others.answer().unwrap().body.len(), large.len());

    in_time(Duration::from_millis(1500), || {
        // One connection keeps asking, one is amid an answer that it does not read, and one listens to changes, of which
        // there are none.
        let (token, id) = create(&home, &["--right", "write", "--name", "doomed"]);
        let (mut asking, mut reading) = (Connection::to(&door), Connection::to(&door));
        asking.send(&get("/v1/data/none", &token));
        assert_eq!(asking.answer().unwrap().status, 404);
        reading.send(&get("/v1/data/large", &token));
        let mut some = [0; 1000];
        reading.stream.read_exact(&mut some).unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200"));
        let mut listening = Connection::to(&door);
        listening.send(&get("/v1/watch?prefix=x", &token));
        listening.stream.read_exact(&mut some[..12]).unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200"));

        home.run(&["token", "revoke", "doomed"]).ends(0);
        let began = now();
        asking.send(&get("/v1/data/none", &token));
        assert_eq!(asking.answer().unwrap().status, 401, "at once");
        let mut rest = 0;
        let mut buffer = vec![0; 1 << 20];
        while let Ok(len @ 1..) = reading.stream.read(&mut buffer) {
            rest += len;
        }
        let _ = listening.stream.read_to_end(&mut buffer);
        let took = began.elapsed();
        assert!(rest + some.len() < large.len(), "all of it arrived, {rest} bytes");
        home.run(&["token", "revoke", &id]).ends(3).says("there is no token");
        took
    });
    others.send(&get("/v1/data/large", &other));
    assert_eq!(others.answer().unwrap().status, 200, "others go on");
    assert!(home.run(&["token", "list", "--json"]).ends(0).json()["tokens"].as_array().unwrap().len() == 1);
}

#[test]
fn tokens_end_by_their_time_and_stay_through_a_restart() {
    let (home, door) = up(&[]);
    let (short, id, was_good) = while_it_lives(2, |seconds| {
        let expires = format!("{seconds}s");
        let _ = home.run(&["token", "revoke", "short"]);
        let (short, id) = create(&home, &["--right", "read", "--expires", &expires, "--name", "short"]);
        let status = status(&door, &short, "GET", "/v1/keys");
        (short, id, status)
    });
    assert_eq!(was_good, 200);
    let (kept, _) = create(&home, &["--right", "write", "--name", "kept"]);
    let mut connection = Connection::to(&door);
    let again = request(&door, "GET", "/v1/keys", &[("authorization", &format!("Bearer {short}"))], b"");
    until("the token ends", || {
        connection.send(&again);
        connection.answer().unwrap().status == 401
    });
    let said = ask(&door, &short, "GET", "/v1/keys").json()["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("expired"), "{said}");
    let list = home.run(&["token", "list", "--json"]).ends(0).json();
    assert_eq!(list["tokens"][0]["state"], "expired");
    assert!(list["tokens"][0]["used_ms"].as_u64().is_some() && list["tokens"][1]["used_ms"].is_null());
    home.run(&["token", "revoke", &id]).ends(0);

    home.run(&["down"]).ends(0);
    home.bring_up().ends(0);
    let door = address(&home);
    assert_eq!(status(&door, &kept, "PUT", "/v1/data/x"), 201);
    assert_eq!(status(&door, &short, "GET", "/v1/data/x"), 401);
    let shown = home.run(&["token", "show", "kept", "--json"]).ends(0).json();
    assert_eq!((shown["right"].as_str(), shown["state"].as_str()), (Some("write"), Some("good")));
}

#[test]
fn guessing_is_slowed_down_and_a_good_token_never_is() {
    let (home, door) = up(&[]);
    let (token, _) = create(&home, &["--right", "read"]);
    let mut wrong = token.clone();
    wrong.replace_range(30..34, "AAAA");
    let began = now();
    let statuses: Vec<u16> = (0..60).map(|_| status(&door, &wrong, "GET", "/health")).collect();
    // Twenty at once, and five a second.
    let more = 5 * (began.elapsed().as_secs() as usize + 1);
    assert_eq!(statuses[0], 401);
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    let slowed = statuses.iter().filter(|status| **status == 429).count();
    assert!(slowed + more >= 40, "{more} {statuses:?}");
    let told = until_answer(&door, &wrong);
    assert!(told.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{told:?}");
    let told = ask(&door, &token, "GET", "/metrics");
    let metrics = String::from_utf8(told.body).unwrap();
    let refused = metrics.lines().find_map(|line| line.strip_prefix("larder_tokens_refused_total "));
    assert!(refused.is_some_and(|count| count.parse::<f64>().unwrap() >= 60.0), "{refused:?}");

    let log = std::fs::read_to_string(home.home().join("state/logs/node.log")).unwrap();
    assert!(log.contains("a token was refused") && log.contains("a token was made"), "{log}");
    assert!(log.matches("a token was refused").count() < 40);
    for secret in [&token, &wrong] {
        let tail = &secret[secret.len() - 20..];
        assert!(!log.contains(tail), "a token is in the log");
    }
}

/// An answer to one that shows too many wrong tokens.
fn until_answer(door: &str, wrong: &str) -> Answer {
    for _ in 0..100 {
        let answer = ask(door, wrong, "GET", "/health");
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("never told to wait");
}

#[test]
fn what_cannot_be_is_refused_and_says_what_can() {
    let (home, _) = up(&[]);
    let refused = |more: &[&str], code: i32, words: &str| {
        home.run(&[&["token", "create"], more].concat()).ends(code).says(words);
    };
    refused(&[], 2, "--right");
    refused(&["--right", "admin"], 2, "admin is for certificates");
    refused(&["--right", "read", "--namespace", "nope"], 3, "there are: files, keys, raw, values");
    refused(&["--right", "read", "--namespace", "files"], 2, "sealed");
    refused(&["--right", "read", "--prefix", ""], 2, "1 to 256 bytes");
    refused(&["--right", "read", "--expires", "0"], 2, "too short");
    refused(&["--right", "read", "--name", &"n".repeat(65)], 2, "at most 64 bytes");
    let there = home.file("there", b"");
    refused(&["--right", "read", "--to", &there], 4, "is there already");
    assert_eq!(home.run(&["token", "list", "--json"]).json()["tokens"], Value::Array(Vec::new()));

    let to = home.path("token");
    let made = home.run(&["token", "create", "--right", "read", "--to", to.to_str().unwrap()]).ends(0);
    assert_eq!(made.out, "");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&to).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&to).unwrap().starts_with("larder_"));
    let told = home.run(&["doctor"]);
    assert!(told.out.contains("1 token without end"), "{}", told.out);

    let writer = issued::issue(&home, "writer", &["--rights", "write"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = issued::options(&home, &writer);
        let remote = larder_client::remote::Remote::connect(&options).await.unwrap();
        let denied = remote.list_tokens().await.unwrap_err();
        assert_eq!(denied.kind, larder_format::error::Kind::Denied);
    });
}

#[test]
fn a_door_that_others_reach_asks_who_they_are_and_over_tls() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let base = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let open = ["--http-listen", "0.0.0.0:0", "--set", "http_auth=none"];
    let refused = home.run(&[&base[..], &open].concat()).ends(2);
    assert!(refused.err.contains("Set http_auth to token or certificate"), "{}", refused.err);

    let home = Home::new();
    let passphrase = home.path("passphrase");
    let base = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    home.run(&[&base[..], &["--http-listen", "0.0.0.0:0", "--set", "http_auth=token"]].concat()).ends(0);
    let port = address(&home).rsplit(':').next().unwrap().to_owned();
    let (token, _) = create(&home, &["--right", "write"]);
    let header = home.file("header", format!("Authorization: Bearer {token}\n").as_bytes());
    let folder = home.home().join("config/certificates");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let authority = file("authority.pem");
    let curl = |more: &[&str], scheme: &str| -> Said {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "%{http_code}", "-o", "/dev/null"])
            .args(more)
            .arg(format!("{scheme}://127.0.0.1:{port}/v1/keys"))
            .output()
            .unwrap();
        output.into()
    };
    let with_token = format!("@{header}");
    assert_ne!(curl(&["-H", &with_token], "http").code, 0, "a token never goes in the clear");
    assert_eq!(curl(&["--cacert", &authority], "https").ends(0).out, "401");
    assert_eq!(curl(&["--cacert", &authority, "-H", &with_token], "https").ends(0).out, "200");
    // A certificate does, too.
    let (own, key) = (file("client.pem"), file("client.key"));
    assert_eq!(curl(&["--cacert", &authority, "--cert", &own, "--key", &key], "https").ends(0).out, "200");
    let status = home.run(&["status"]).ends(0).out;
    assert!(status.contains("HTTPS on 0.0.0.0") && status.contains("token needed"), "{status}");
    let mut plain = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/1.1 2"));
}

#[test]
fn a_program_that_shares_no_code_narrows_a_token_as_well() {
    let Some(tool) = python::program("tokens.py") else { return };
    let (home, door) = up(&[]);
    let (token, id) = create(&home, &["--right", "write", "--namespace", "raw"]);
    let run = |arguments: &[&str], input: &str| -> Said {
        use std::process::Stdio;
        let mut command = Command::new(tool.get_program());
        command.args(tool.get_args()).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    };
    let said = run(&["show"], &token).ends(0).json();
    assert_eq!((&said["id"], &said["caveats"][1]["namespaces"][0]), (&id.into(), &"raw".into()));
    let narrowed = run(&["narrow", "read", "a:"], &token).ends(0).out;
    assert_eq!(status(&door, &token, "PUT", "/v1/data/a:1"), 201);
    assert_eq!(status(&door, narrowed.trim(), "GET", "/v1/data/a:1"), 200);
    assert_eq!(status(&door, narrowed.trim(), "GET", "/v1/data/b"), 403);
    assert_eq!(status(&door, narrowed.trim(), "DELETE", "/v1/data/a:1"), 403);
    // The text that is kept in the tests of the format, and its root key.
    let kept = "larder_AQcHBwcHBwcHBAEDAgIAAAAFAAAAY2FjaGUDAAAAcmF3AwIAAAAEAAAAYXBwOgQAAABqb2I6BNAHAAAAAAAAjmgzfb-D5drrIUVPeOjg3o58McwsrtqM4QLyxspsOj4";
    run(&["verify", &"09".repeat(32)], kept).ends(0);
    run(&["verify", &"08".repeat(32)], kept).ends(1);
}

#[test]
fn an_unmodified_redis_client_shows_a_token_as_its_password() {
    if Command::new("redis-cli").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "redis-cli is needed (Debian: redis-tools)"
        );
        eprintln!("NOT RUN: redis-cli is not here (Debian: redis-tools)");
        return;
    }
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let base = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    home.run(&[&base[..], &["--set", "redis_auth=token"]].concat()).ends(0);
    let (token, id) = create(&home, &["--right", "append-only", "--prefix", "a:"]);
    let (_, other) = create(&home, &["--right", "write"]);
    let door = resp::address(&home);
    let (host, port) = door.rsplit_once(':').unwrap();
    let cli = |user: Option<&str>, words: &[&str]| -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", port]).env("REDISCLI_AUTH", &token);
        command.args(user.map_or_else(Vec::new, |user| vec!["--user", user]));
        let said = Said::from(command.args(words).output().unwrap());
        format!("{}{}", said.out, said.err)
    };
    assert_eq!(cli(Some(&id), &["SET", "a:1", "v", "NX"]), "OK\n");
    assert_eq!(cli(None, &["GET", "a:1"]), "v\n", "the token alone says who it is");
    assert_eq!(cli(Some("default"), &["GET", "a:1"]), "v\n");
    for (words, why) in [
        (&["SET", "a:1", "w"][..], "lacks the right"),
        (&["GET", "b"], "NOPERM"),
        (&["DEL", "a:1"], "NOPERM"),
    ] {
        let said = cli(Some(&id), words);
        assert!(said.contains("NOPERM") && said.contains(why), "{words:?}: {said}");
    }
    let said = cli(Some(&other), &["GET", "a:1"]);
    assert!(said.contains("WRONGPASS") && said.contains("NOAUTH"), "another token's id: {said}");

    let mut open = resp::Connection::to(&door);
    assert!(open.ask(&["AUTH", &id, &token]).show().contains("OK"));
    assert!(open.ask(&["GET", "a:1"]).show().contains('v'));
    home.run(&["token", "revoke", &id]).ends(0);
    // Within a second, as is looked at in redis_who.rs.
    assert!(open.stream.read_to_end(&mut Vec::new()).is_ok(), "it goes on");
    assert!(cli(Some(&id), &["GET", "a:1"]).contains("WRONGPASS"));
}
