//! Routes, and that every key finds its way through them.

use proptest::prelude::*;

use super::*;

fn get(path: &str) -> Result<Asked, Unroutable> {
    decode(&Method::GET, path, None)
}

fn key_of(asked: Asked) -> Vec<u8> {
    match asked {
        Asked::Get { key, .. } | Asked::Put { key, .. } | Asked::Delete { key } => key.as_bytes().to_vec(),
        other => panic!("{other:?} has no key"),
    }
}

#[test]
fn keys_may_look_like_anything() {
    for (path, key) in [
        ("/data/a", &b"a"[..]),
        ("/data/a/b//c/", b"a/b//c/"),
        ("/v1/data/../../etc/passwd", b"../../etc/passwd"),
        ("/v1/data/%00%ff", b"\0\xff"),
        ("/v1/data/<script>' OR 1=1--", b"<script>' OR 1=1--"),
        ("/raw/get/a+b%20c", b"a+b c"),
        ("/data/%2e%2e%2f.env", b"../.env"),
    ] {
        assert_eq!(key_of(get(path).unwrap()), key, "{path}");
    }
}

#[test]
fn routes_and_their_methods() {
    assert_eq!(get("/health"), Ok(Asked::Health { v1: false }));
    assert_eq!(get("/v1/status"), Ok(Asked::Status { v1: true }));
    assert_eq!(get("/v1/metrics"), Ok(Asked::Metrics(MetricsForm::Prometheus)));
    assert_eq!(decode(&Method::POST, "/raw/put", None), Ok(Asked::PutRaw));
    assert_eq!(decode(&Method::HEAD, "/metrics/human", None), Ok(Asked::Metrics(MetricsForm::Human)));
    for path in ["/", "/data", "/v1/data", "/raw", "/raw/get", "/v2/health", "/healthz", "/DATA/x", "*"] {
        assert_eq!(get(path), Err(Unroutable::NoRoute), "{path}");
    }
    let method = |method, path| match decode(&method, path, None) {
        Err(Unroutable::Method { allow }) => allow,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(method(Method::POST, "/data/a"), "GET, HEAD, PUT, DELETE");
    assert_eq!(method(Method::GET, "/raw/put"), "POST");
    assert_eq!(method(Method::DELETE, "/health"), "GET, HEAD");
}

#[test]
fn what_is_wrong_is_said() {
    for (path, query, why) in [
        ("/data/", None, "key is missing"),
        ("/data/%zz", None, "percent"),
        ("/data/x", Some("ttl=5"), "unknown query parameter"),
        ("/v1/keys", Some("limit=0"), "1 to 1000"),
        ("/v1/keys", Some("limit=1001"), "1 to 1000"),
        ("/v1/keys", Some("cursor=!"), "next_cursor"),
    ] {
        match decode(&Method::GET, path, query) {
            Err(Unroutable::Bad(bad)) => assert!(bad.0.contains(why), "{path}: {bad}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    let long = format!("/data/{}", "k".repeat(4097));
    assert!(matches!(get(&long), Err(Unroutable::Bad(_))));
    assert!(get(&long[..long.len() - 1]).is_ok());
}

#[test]
fn what_is_wrong_reads_as_a_sentence_and_names_stay_as_they_are_written() {
    let names = ["ttl", "reads", "by", "limit", "cursor", "prefix", "key", "data"];
    let words = |method: Method, path: &str, query| match decode(&method, path, Some(query)) {
        Err(Unroutable::Bad(bad)) => bad.0,
        other => panic!("{path}?{query}: {other:?}"),
    };
    let mut said = vec![crate::http::forms::data(br#"{"data":"?"}"#).unwrap_err().0];
    for (method, path, query) in [
        (Method::PUT, "/v1/data/x", "ttl=x"),
        (Method::PUT, "/v1/data/x", "reads=x"),
        (Method::PUT, "/v1/data/x", "ttl=1&ttl=2"),
        (Method::POST, "/v1/data/x/increment", "by=x"),
        (Method::GET, "/v1/keys", "limit=x"),
        (Method::GET, "/v1/keys", "cursor=!"),
        (Method::GET, "/v1/watch", "cursor=!"),
        (Method::GET, "/v1/watch", "prefix=a&key=b"),
        (Method::GET, "/v1/data/x", "other=1"),
    ] {
        said.push(words(method, path, query));
    }
    for words in said {
        let first = words.split(' ').next().unwrap();
        assert!(first.starts_with(|letter: char| letter.is_ascii_lowercase()), "{words}");
        assert!(!names.contains(&first), "answers would write {first} with a capital: {words}");
        assert!(!words.ends_with('.'), "{words}");
    }
}

#[test]
fn a_lifetime_in_the_query() {
    let put = |query| decode(&Method::PUT, "/v1/data/x", Some(query));
    assert!(matches!(put("ttl=1.5"), Ok(Asked::Put { ttl_ms: Some(1500), may_be_json: false, .. })));
    assert!(matches!(put("ttl=-1"), Err(Unroutable::Bad(_))));
    assert!(matches!(put("ttl="), Err(Unroutable::Bad(_))));
}

proptest! {
    #[test]
    fn every_key_arrives(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        for start in ["/data/", "/v1/data/", "/raw/get/"] {
            let path = format!("{start}{}", percent::encode(&bytes));
            prop_assert_eq!(&key_of(get(&path).unwrap()), &bytes);
        }
    }

    #[test]
    fn cursors_come_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let query = format!("cursor={}", show_cursor(&bytes));
        match decode(&Method::GET, "/v1/keys", Some(&query)) {
            Ok(Asked::Keys(page)) => prop_assert_eq!(&page.cursor[..], &bytes[..]),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_path_panics(path in ".*", query in proptest::option::of(".*")) {
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
            let _ = decode(&method, &path, query.as_deref());
        }
    }
}
