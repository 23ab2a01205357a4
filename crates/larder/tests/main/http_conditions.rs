//! Conditional requests, parts of values, names for changes and counters of the HTTP door, on the real binary.

use crate::support::Home;
use crate::support::http::{Answer, Connection, address, ask, get, metric, put, request};

fn tag(answer: &Answer) -> String {
    let tag = answer.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{answer:?}");
    tag
}

/// The end of a problem's `type`.
fn problem(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let document = answer.json();
    assert_eq!(document["status"], answer.status);
    document["type"].as_str().unwrap().strip_prefix("/v1/problems/").unwrap().to_owned()
}

#[test]
fn a_value_is_replaced_or_deleted_only_if_it_is_the_one_that_was_read() {
    let home = Home::up();
    let door = address(&home);
    let stored = put(&door, "/v1/data/k", b"one");
    let one = tag(&stored);
    assert_eq!(stored.json()["etag"], one.as_str());
    assert_eq!(tag(&get(&door, "/v1/data/k")), one);
    assert_eq!(tag(&ask(&door, "HEAD", "/v1/data/k", &[], b"")), one);
    let with =
        |method: &str, name: &str, value: &str| ask(&door, method, "/v1/data/k", &[(name, value)], b"new");

    let late = with("PUT", "if-match", "\"12345\"");
    assert_eq!((late.status, problem(&late)), (412, "precondition_failed".into()));
    assert_eq!(tag(&late), one, "which version there is is said");
    assert_eq!(get(&door, "/v1/data/k").body, b"one");
    assert_eq!(with("PUT", "if-none-match", "*").status, 412);
    assert_eq!(with("PUT", "if-none-match", &format!("\"1\", {one}")).status, 412);
    assert_eq!(with("DELETE", "if-match", "\"1\"").status, 412);
    assert_eq!(with("PUT", "if-match", &format!("W/{one}")).status, 412, "a weak tag changes nothing");

    let two = tag(&with("PUT", "if-match", &one));
    assert_ne!(one, two);
    assert_eq!(with("PUT", "if-match", &one).status, 412, "somebody was quicker");
    let three = tag(&with("PUT", "if-match", &format!("{one}, {two}, \"foreign\"")));
    let four = tag(&with("PUT", "if-match", "*"));
    assert!(three != two && four != three);
    assert_eq!(with("PUT", "if-none-match", &one).status, 201, "another than the one that is known");
    assert_eq!(with("DELETE", "if-none-match", "*").status, 412);
    assert_eq!(with("DELETE", "if-match", "*").status, 204);
    assert_eq!(with("DELETE", "if-match", "*").status, 404, "nothing to delete, whatever the condition");
    assert_eq!(with("PUT", "if-match", "*").status, 412);
    assert_eq!(with("PUT", "if-match", &one).status, 412);
    assert_eq!(with("PUT", "if-none-match", "*").status, 201, "put if absent");
    assert_eq!(with("PUT", "if-none-match", "*").status, 412);
    assert_eq!(with("PUT", "if-match", "unquoted").status, 400);

    // Whoever wins, exactly one does.
    let tag = tag(&get(&door, "/v1/data/k"));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..8).map(|_| scope.spawn(|| with("PUT", "if-match", &tag).status)).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");

    // The older forms know conditions as well; what is stored is not what was sent, so it has no tag in the header.
    let is_json = ("content-type", "application/json");
    let body = br#"{"data":"aGVsbG8="}"#;
    let old = ask(&door, "PUT", "/data/k", &[is_json, ("if-none-match", "*")], body);
    assert_eq!(old.status, 412);
    let old = ask(&door, "PUT", "/data/k", &[is_json, ("if-match", "*")], body);
    assert_eq!((old.status, old.header("etag")), (201, ""));
    let raw = br#"{"data":"text","key":"k"}"#;
    assert_eq!(ask(&door, "POST", "/raw/put", &[("if-none-match", "*")], raw).status, 412);
    assert_eq!(ask(&door, "POST", "/raw/put", &[("if-match", "*")], raw).status, 200);
    assert_eq!(ask(&door, "POST", "/raw/put", &[("if-match", "*")], br#"{"data":"text"}"#).status, 400);
}

#[test]
fn what_a_reader_has_already_is_not_sent_again() {
    let home = Home::up();
    let door = address(&home);
    let one = tag(&put(&door, "/v1/data/k?ttl=90", b"0123456789"));
    for method in ["GET", "HEAD"] {
        let with = |name: &str, value: &str| ask(&door, method, "/v1/data/k", &[(name, value)], b"");
        let known = with("if-none-match", &format!("\"1\", W/{one}"));
        assert_eq!((known.status, known.body.len(), tag(&known)), (304, 0, one.clone()));
        assert_eq!(known.header("content-length"), "");
        assert_eq!(with("if-none-match", "\"1\"").status, 200);
        assert_eq!(with("if-none-match", "*").status, 304);
        assert_eq!(with("if-match", &one).status, 200);
        assert_eq!(with("if-match", "\"1\"").status, 412);
    }
    assert_eq!(ask(&door, "GET", "/raw/get/k", &[("if-none-match", &one)], b"").status, 304);
    assert_eq!(get(&door, "/raw/get/k").header("etag"), "", "its seconds change");
    assert_eq!(ask(&door, "GET", "/v1/data/none", &[("if-match", "*")], b"").status, 404);
    let touched = ask(&door, "POST", "/v1/data/k/touch?ttl=60", &[], b"");
    assert_eq!((touched.status, touched.header("x-original-ttl")), (200, "60"));
    assert_ne!(tag(&touched), one, "a touch is a change, too");
}

#[test]
fn parts_of_a_value() {
    let home = Home::up();
    let door = address(&home);
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let one = tag(&put(&door, "/v1/data/k", &bytes));
    let part = |range: &str| ask(&door, "GET", "/v1/data/k", &[("range", range)], b"");
    assert_eq!(get(&door, "/v1/data/k").header("accept-ranges"), "bytes");
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-99", 10, 100),
        ("bytes=99999-", 99_999, 100_000),
        ("bytes=-10", 99_990, 100_000),
    ] {
        let answer = part(range);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/100000", to - 1));
        assert_eq!(
            (answer.body.clone(), answer.header("etag")),
            (bytes[from..to].to_vec(), one.as_str()),
            "{range}"
        );
    }
    for range in ["bytes=5-2", "lines=1-2", "bytes=0-9,5-14", "nonsense"] {
        let answer = part(range);
        assert!(answer.status == 200 && answer.body == bytes, "{range}: {}", answer.status);
    }
    let beyond = part("bytes=100000-");
    assert_eq!((beyond.status, problem(&beyond)), (416, "range_not_satisfiable".into()));
    assert_eq!(beyond.header("content-range"), "bytes */100000");
    let several = part("bytes=0-9,99990-");
    assert_eq!(several.status, 206);
    let boundary = several.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let body = String::from_utf8_lossy(&several.body).into_owned();
    assert_eq!(body.matches(&format!("--{boundary}")).count(), 3, "{body}");
    assert!(body.contains("content-range: bytes 99990-99999/100000\r\n\r\n"));
    assert!(several.body.windows(10).any(|window| window == &bytes[..10]));

    let only =
        |tag: &str| ask(&door, "GET", "/v1/data/k", &[("range", "bytes=1-2"), ("if-range", tag)], b"").status;
    assert_eq!((only(&one), only("\"1\""), only("Sat, 21 Nov 2026 12:00:00 GMT")), (206, 200, 200));
    let head = ask(&door, "HEAD", "/v1/data/k", &[("range", "bytes=1-2")], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "100000"));
    let in_part = ask(&door, "PUT", "/v1/data/k", &[("content-range", "bytes 0-1/100000")], b"xx");
    assert_eq!(in_part.status, 400, "a part is not taken for the whole");
    put(&door, "/v1/data/empty", b"");
    assert_eq!(ask(&door, "GET", "/v1/data/empty", &[("range", "bytes=0-")], b"").status, 200);
}

#[test]
fn a_change_under_a_name_is_made_once() {
    let home = Home::up();
    let door = address(&home);
    let named = |method: &str, path: &str, name: &str, body: &[u8]| {
        ask(&door, method, path, &[("idempotency-key", name)], body)
    };
    let name = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
    let first = named("PUT", "/v1/data/k?ttl=90", name, b"one");
    assert_eq!(first.status, 201);
    put(&door, "/v1/data/k", b"two");
    let again = named("PUT", "/v1/data/k?ttl=90", name, b"one");
    assert_eq!((again.status, again.body.clone(), tag(&again)), (201, first.body.clone(), tag(&first)));
    assert_eq!(get(&door, "/v1/data/k").body, b"two", "what came after stands");
    for (path, body) in
        [("/v1/data/k?ttl=90", &b"other"[..]), ("/v1/data/k?ttl=91", b"one"), ("/v1/data/k", b"one")]
    {
        let other = named("PUT", path, name, body);
        assert_eq!((other.status, problem(&other)), (422, "idempotency_key_reused".into()), "{path}");
    }
    assert_eq!(named("DELETE", "/v1/data/k", name, b"").status, 422);
    assert_eq!(named("PUT", "/v1/data/other", name, b"x").status, 201, "a name is a key's own");

    let bare = "0f8b";
    assert_eq!(named("DELETE", "/v1/data/k", bare, b"").status, 204);
    put(&door, "/v1/data/k", b"three");
    assert_eq!(named("DELETE", "/v1/data/k", bare, b"").status, 204, "that was done before");
    assert_eq!(get(&door, "/v1/data/k").body, b"three");

    // With a condition that the first attempt itself made untrue.
    let with = |name: &str, condition: (&str, &str)| {
        let headers = [("idempotency-key", name), condition];
        ask(&door, "PUT", "/v1/data/once", &headers, b"v").status
    };
    assert_eq!(with("a", ("if-none-match", "*")), 201);
    assert_eq!(with("a", ("if-none-match", "*")), 201, "it was this very request");
    assert_eq!(with("b", ("if-none-match", "*")), 412);
    let current = tag(&get(&door, "/v1/data/once"));
    let listed = format!("\"7\", {current}");
    assert_eq!((with("c", ("if-match", &listed)), with("c", ("if-match", &listed))), (201, 201));
    assert_eq!(with("d", ("if-match", &listed)), 412);

    for bad in ["\"\"", "\"open", "a b", &"x".repeat(256)] {
        assert_eq!(named("PUT", "/v1/data/bad", bad, b"v").status, 400, "{bad}");
    }
    assert_eq!(get(&door, "/v1/data/bad").status, 404);
    assert_eq!(named("POST", "/raw/put", "a", br#"{"data":"x"}"#).status, 400, "for which key?");
    assert_eq!(named("POST", "/raw/put", "a", br#"{"data":"x","key":"r"}"#).status, 200);
    // Reads have no names.
    assert_eq!(named("GET", "/v1/data/k", name, b"").status, 200);

    // So many are remembered of one value, and then the client is told to come again.
    let refused =
        (0..70).map(|n| named("PUT", "/v1/data/busy", &format!("n{n}"), b"v")).find(|a| a.status != 201);
    let refused = refused.expect("names are remembered without end");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    assert_eq!(put(&door, "/v1/data/busy", b"w").status, 201, "without a name it goes on");
}

#[test]
fn counters_lose_nothing() {
    let home = Home::up();
    let door = address(&home);
    let add = |query: &str, headers: &[(&str, &str)]| {
        ask(&door, "POST", &format!("/v1/data/a/counter/increment{query}"), headers, b"")
    };
    let first = add("?ttl=90", &[]);
    assert_eq!(
        (first.status, &first.json()["value"], &first.json()["key"]),
        (200, &1.into(), &"a/counter".into())
    );
    assert_eq!(first.header("x-original-ttl"), "90");
    let second = add("?by=-43", &[]);
    assert_eq!(second.json()["value"], -42);
    let end = |answer: &Answer| answer.json()["expires_at"].as_str().unwrap().to_owned();
    assert_eq!(end(&second), end(&first), "it keeps its end");
    assert_eq!(get(&door, "/v1/data/a/counter").body, b"-42");
    assert_eq!(add("", &[("if-match", "\"1\"")]).status, 412);
    assert_eq!(add("", &[("if-match", &tag(&second))]).json()["value"], -41);
    for bad in ["?by=1.5", "?by=", "?by=9223372036854775808", "?bye=1"] {
        assert_eq!(add(bad, &[]).status, 400, "{bad}");
    }

    // Under a name it counts once; what it came to is said as long as it is so.
    let named = [("idempotency-key", "count-me")];
    assert_eq!(add("?by=41", &named).json()["value"], 0);
    assert_eq!(add("?by=41", &named).json()["value"], 0);
    assert_eq!(add("", &[]).json()["value"], 1);
    let late = add("?by=41", &named);
    assert_eq!(
        (late.status, &late.json()["value"]),
        (200, &serde_json::Value::Null),
        "counted, but not read again"
    );
    assert_eq!(add("?by=42", &named).status, 422);
    assert_eq!(ask(&door, "DELETE", "/v1/data/a/counter", &[], b"").status, 204);
    assert_eq!(add("?by=41", &named).json()["value"], serde_json::Value::Null, "what is gone is not 41");
    assert_eq!(get(&door, "/v1/data/a/counter").status, 404);

    put(&door, "/v1/data/a/counter", b"007");
    let text = add("", &[]);
    assert_eq!((text.status, problem(&text)), (409, "not_a_number".into()));
    put(&door, "/v1/data/a/counter", b"9223372036854775807");
    assert_eq!(add("", &[]).status, 409, "no room for more");
    assert_eq!(add("?by=-1", &[]).json()["value"], 9_223_372_036_854_775_806_i64);

    put(&door, "/v1/data/a/counter", b"0");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::to(&door);
                for _ in 0..50 {
                    connection.send(&request(&door, "POST", "/v1/data/a/counter/increment", &[], b""));
                    assert_eq!(connection.answer().unwrap().status, 200);
                }
            });
        }
    });
    assert_eq!(get(&door, "/v1/data/a/counter").body, b"200");
}

#[test]
fn lifetimes_are_changed_without_the_value() {
    let home = Home::up();
    let door = address(&home);
    put(&door, "/v1/data/k?ttl=5", b"v");
    let touch = |query: &str, headers: &[(&str, &str)]| {
        ask(&door, "POST", &format!("/v1/data/k/touch{query}"), headers, b"")
    };
    let touched = touch("?ttl=500", &[]);
    assert_eq!((touched.status, touched.header("x-remaining-ttl")), (200, "500"));
    assert_eq!(touched.json()["key"], "k");
    assert_eq!(touch("", &[("x-ttl", "70")]).header("x-original-ttl"), "70");
    assert_eq!(touch("", &[]).header("x-original-ttl"), "3600", "the default");
    assert_eq!(touch("?ttl=604801", &[]).status, 400);
    assert_eq!(touch("?ttl=5", &[("if-match", "\"1\"")]).status, 412);
    let read = get(&door, "/v1/data/k");
    assert_eq!((read.header("x-original-ttl"), &read.body[..]), ("3600", &b"v"[..]));
    assert_eq!(touch("?ttl=5", &[("if-match", &tag(&read))]).status, 200);
    assert_eq!(ask(&door, "POST", "/v1/data/none/touch", &[], b"").status, 404);
    assert_eq!(ask(&door, "POST", "/v1/data/none/touch", &[("if-match", "*")], b"").status, 404);
    let forever = ask(&door, "POST", "/v1/data/k/persist", &[], b"");
    assert_eq!(forever.status, 400);
    assert!(forever.json()["detail"].as_str().unwrap().contains("604800 seconds"), "{}", forever.json());
    let with_body = touch("?ttl=5", &[]);
    assert_eq!(with_body.status, 200);
    let body = ask(&door, "POST", "/v1/data/k/touch", &[], b"ttl=5");
    assert_eq!((body.status, body.header("connection")), (400, "close"), "a body would be ignored");
    let wrong = ask(&door, "PATCH", "/v1/data/k/touch", &[], b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET, HEAD, PUT, DELETE, POST"));
    // With any other method it is a key like all others.
    assert_eq!(put(&door, "/v1/data/k/touch", b"mine").status, 201);
    assert_eq!(get(&door, "/v1/data/k/touch").body, b"mine");
    assert_eq!(ask(&door, "POST", "/v1/data/k/touch/touch?ttl=9", &[], b"").json()["key"], "k/touch");
    assert_eq!(ask(&door, "DELETE", "/v1/data/k/touch", &[], b"").status, 204);
}

#[test]
fn every_kind_of_answer_leaves_its_connection_usable() {
    let home = Home::up();
    let door = address(&home);
    let one = tag(&put(&door, "/v1/data/k", b"0123456789"));
    put(&door, "/v1/data/secret?reads=1", b"s");
    let known = [("if-none-match", one.as_str())];
    type Said<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a [u8], u16);
    let script: Vec<Said<'_>> = vec![
        ("GET", "/v1/data/k", vec![], b"", 200),
        ("GET", "/v1/data/k", vec![("range", "bytes=1-3")], b"", 206),
        ("GET", "/v1/data/k", vec![("range", "bytes=1-1,3-3")], b"", 206),
        ("GET", "/v1/data/k", known.to_vec(), b"", 304),
        ("HEAD", "/v1/data/k", known.to_vec(), b"", 304),
        ("HEAD", "/v1/data/k", vec![], b"", 200),
        ("GET", "/v1/data/k", vec![("range", "bytes=99-")], b"", 416),
        ("PUT", "/v1/data/k", vec![("if-match", "\"1\"")], b"body", 412),
        ("PUT", "/v1/data/n", vec![("idempotency-key", "n")], b"body", 201),
        ("PUT", "/v1/data/n", vec![("idempotency-key", "n")], b"ydob", 422),
        ("GET", "/v1/data/secret", vec![], b"", 409),
        ("HEAD", "/v1/data/secret", vec![], b"", 409),
        ("POST", "/v1/data/secret/take", vec![], b"", 200),
        ("POST", "/v1/data/secret/take", vec![], b"", 404),
        ("POST", "/v1/data/k/take", vec![], b"", 409),
        ("POST", "/v1/data/k/increment", vec![], b"", 409),
        ("HEAD", "/v1/keys", vec![], b"", 200),
        ("HEAD", "/v1/openapi.json", vec![], b"", 200),
        ("HEAD", "/v1/watch", vec![], b"", 200),
        ("GET", "/v1/problems/full", vec![], b"", 200),
        ("GET", "/v1/problems/none", vec![], b"", 404),
        ("DELETE", "/v1/data/n", vec![], b"", 204),
        ("GET", "/v1/data/k", vec![], b"", 200),
    ];
    for rounds in [1, 3] {
        if rounds == 3 {
            put(&door, "/v1/data/k?ttl=9", b"0123456789");
            continue;
        }
        let mut connection = Connection::to(&door);
        let all: Vec<u8> = script
            .iter()
            .flat_map(|(method, path, headers, body, _)| request(&door, method, path, headers, body))
            .collect();
        connection.send(&all);
        for (method, path, headers, _, status) in &script {
            let answer =
                connection.answer_to(*method == "HEAD").unwrap_or_else(|| panic!("cut at {method} {path}"));
            assert_eq!(answer.status, *status, "{method} {path} {headers:?}: {answer:?}");
        }
    }
    assert_eq!(metric(&door, "larder_requests_total", "outcome=\"other\""), 0.0, "every status has its name");
    for path in [
        "/v1/health",
        "/health",
        "/v1/status",
        "/status",
        "/v1/topology",
        "/metrics",
        "/metrics/json",
        "/metrics/human",
        "/v1/metrics",
        "/v1/keys",
        "/v1/openapi.json",
        "/v1/problems",
        "/v1/problems/full",
        "/v1/data/k",
        "/data/k",
        "/raw/get/k",
    ] {
        let (whole, head) = (get(&door, path), ask(&door, "HEAD", path, &[], b""));
        assert_eq!(
            (whole.status, head.status, head.header("content-type")),
            (200, 200, whole.header("content-type")),
            "{path}"
        );
        if !path.contains("metrics") && !path.contains("status") {
            assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{path}");
        }
    }
}

#[test]
fn values_that_may_only_be_taken_are_read_by_nothing_else() {
    let home = Home::up();
    let door = address(&home);
    let stored = put(&door, "/v1/data/a/secret?reads=2&ttl=90", b"burn me");
    assert_eq!((stored.status, &stored.json()["reads"]), (201, &2.into()));
    // What previews, browsers and crawlers send uses nothing up, and sees nothing.
    for path in ["/v1/data/a/secret", "/data/a/secret", "/raw/get/a/secret"] {
        for method in ["GET", "HEAD"] {
            let looked = ask(&door, method, path, &[("if-none-match", "*"), ("range", "bytes=0-")], b"");
            assert_eq!(looked.status, 409, "{method} {path}");
            assert!(!String::from_utf8_lossy(&looked.body).contains("burn me"));
            if method == "GET" {
                assert_eq!(problem(&looked), "only_taken");
                assert!(looked.json()["detail"].as_str().unwrap().contains("/take"));
            }
        }
    }
    assert_eq!(get(&door, "/v1/data/a/secret/take").status, 404, "that is a key");
    let take = |name: Option<&str>| {
        let headers: Vec<(&str, &str)> = name.map(|name| ("idempotency-key", name)).into_iter().collect();
        ask(&door, "POST", "/v1/data/a/secret/take", &headers, b"")
    };
    let first = take(Some("mine"));
    assert_eq!((first.status, &first.body[..], first.header("x-reads-left")), (200, &b"burn me"[..], "1"));
    let left: u64 = first.header("x-remaining-ttl").parse().unwrap();
    assert!((1..=90).contains(&left), "{left}");
    assert_eq!(take(Some("mine")).body, b"burn me", "the answer may have been lost: it is given again");
    let last = take(Some("other"));
    assert_eq!((last.status, last.header("x-reads-left")), (200, "0"));
    assert_eq!(take(None).status, 404, "gone");
    assert_eq!(take(Some("other")).body, b"burn me", "to whoever took it last, for a while");
    assert_eq!(take(Some("third")).status, 404);
    assert_eq!(get(&door, "/v1/data/a/secret").status, 404);

    put(&door, "/v1/data/k", b"v");
    let ordinary = ask(&door, "POST", "/v1/data/k/take", &[], b"");
    assert_eq!((ordinary.status, problem(&ordinary)), (409, "not_takeable".into()));
    assert_eq!(ask(&door, "POST", "/v1/data/k/take", &[("if-match", "*")], b"").status, 400);
    for bad in ["0", "1000001", "-1", "x", ""] {
        assert_eq!(put(&door, &format!("/v1/data/bad?reads={bad}"), b"v").status, 400, "{bad}");
    }
    assert_eq!(put(&door, "/data/bad?reads=1", b"v").status, 400, "the older form has no such thing");
    // Several at once: each read is one person's.
    put(&door, "/v1/data/race?reads=3", b"v");
    let taken: usize = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| ask(&door, "POST", "/v1/data/race/take", &[], b"").status == 200))
            .collect();
        tasks.into_iter().filter(|_| true).map(|task| usize::from(task.join().unwrap())).sum()
    });
    assert_eq!(taken, 3);
}
