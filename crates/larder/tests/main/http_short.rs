//! The two ways on which the HTTP door answers reads, beside each other: a plain request takes the short one, the same
//! request with a header that the short way does not know takes the long one, and nobody can tell which it was.

use crate::support::Home;
use crate::support::http::{Answer, Connection, address, metric, put, request};

const LONG_WAY: (&str, &str) = ("x-long-way", "1");

fn both_ways(door: &str, path: &str) -> [Answer; 2] {
    [&[][..], &[LONG_WAY][..]].map(|headers| {
        let mut connection = Connection::to(door);
        connection.send(&request(door, "GET", path, headers, b""));
        connection.answer().unwrap()
    })
}

/// What has to be equal: everything but two numbers that move with time.
fn fixed(answer: &Answer) -> (u16, Vec<(String, String)>, &[u8]) {
    let headers = answer.headers.iter().cloned().map(|(name, value)| match name.as_str() {
        "date" => (name, format!("{} characters", value.len())),
        "x-remaining-ttl" => (name, String::new()),
        _ => (name, value),
    });
    (answer.status, headers.collect(), &answer.body)
}

#[test]
fn both_ways_answer_alike_to_the_order_of_headers() {
    let home = Home::up();
    let door = address(&home);
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (path, value) in [
        ("/v1/data/small?ttl=90.5", &b"small"[..]),
        ("/v1/data/empty", b""),
        ("/v1/data/a%20b%2F/c", b"\0\xff\r\n\r\n"),
        ("/v1/data/large", &large),
    ] {
        assert_eq!(put(&door, path, value).status, 201, "{path}");
    }
    assert_eq!(put(&door, "/v1/data/secret?reads=3", b"v").status, 201);
    for (path, status) in [
        ("/v1/data/secret", 409),
        ("/raw/get/secret", 409),
        ("/v1/data/small", 200),
        ("/data/small", 200),
        ("/raw/get/small", 200),
        ("/v1/data/empty", 200),
        ("/v1/data/a%20b%2F/c", 200),
        ("/raw/get/a%20b%2F/c", 409),
        ("/v1/data/large", 200),
        ("/v1/data/absent", 404),
        ("/v1/data/", 400),
        ("/v1/data/%zz", 400),
        ("/v1/data/small?ttl=1", 400),
        ("/health", 200),
        ("/nowhere", 404),
    ] {
        let [short, long] = both_ways(&door, path);
        assert_eq!(short.status, status, "{path}: {short:?}");
        assert!(fixed(&short) == fixed(&long), "{path}: {:?} {:?}", short.headers, long.headers);
    }
    let [short, long] = both_ways(&door, "/v1/data/small");
    let tag = short.header("etag");
    assert!(
        tag.len() > 10 && tag == long.header("etag") && short.header("accept-ranges") == "bytes",
        "{short:?}"
    );
    let [short, long] = both_ways(&door, "/v1/data/large");
    assert!(short.body == large && long.body == large);
}

#[test]
fn a_connection_changes_over_with_nothing_lost_or_out_of_order() {
    let home = Home::up();
    let door = address(&home);
    for n in 0..10 {
        assert_eq!(put(&door, &format!("/v1/data/{n}"), format!("value {n}").as_bytes()).status, 201);
    }
    let read = |n: usize| request(&door, "GET", &format!("/v1/data/{}", n % 10), &[], b"");
    let counted = || metric(&door, "larder_requests_total", "operation=\"get\"");
    let before = counted();

    // More at once than is read at once, so that heads come in two parts as well.
    let mut connection = Connection::to(&door);
    let mut all: Vec<u8> = (0..500).flat_map(read).collect();
    all.extend(request(&door, "PUT", "/v1/data/3", &[], b"new"));
    all.extend(request(&door, "GET", "/v1/data/3", &[], b""));
    connection.send(&all);
    for n in 0..500 {
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.body), (200, format!("value {}", n % 10).into_bytes()), "{n}");
    }
    assert_eq!(connection.answer().unwrap().status, 201);
    assert_eq!(connection.answer().unwrap().body, b"new");

    // One at a time stays on the short way for good; a head that comes byte by byte is waited for.
    let mut slow = Connection::to(&door);
    for n in 0..20 {
        slow.send(&read(n));
        assert_eq!(slow.answer().unwrap().status, 200);
    }
    for byte in read(1) {
        slow.send(&[byte]);
    }
    assert_eq!(slow.answer().unwrap().body, b"value 1");
    assert_eq!(counted() - before, 522.0, "each is counted once, whichever way");
}

#[test]
fn the_short_way_refuses_nobody_by_itself_and_lets_nobody_pass() {
    let home = Home::up();
    let door = address(&home);
    assert_eq!(put(&door, "/v1/data/k", b"v").status, 201);
    let mut page = Connection::to(&door);
    page.send(&request(&door, "GET", "/v1/data/k", &[("host", "evil.example")], b""));
    assert_eq!(page.answer().unwrap().status, 421);
    let mut other = Connection::to(&door);
    other.send(&request(&door, "GET", "/v1/data/k", &[], b""));
    assert_eq!(other.answer().unwrap().status, 200);
    other.send(&request(&door, "GET", "/v1/data/k", &[("origin", "http://evil.example")], b""));
    assert_eq!(
        other.answer().unwrap().status,
        403,
        "the first request's manners do not vouch for the second"
    );
    let mut closing = Connection::to(&door);
    closing.send(&request(&door, "GET", "/v1/data/k", &[("connection", "close")], b""));
    assert_eq!(closing.answer().unwrap().status, 200);
    assert!(closing.is_closed());
}

#[test]
fn a_connection_on_the_short_way_does_not_hold_up_the_end() {
    let home = Home::up();
    let door = address(&home);
    assert_eq!(put(&door, "/v1/data/k", b"v").status, 201);
    let mut idle = Connection::to(&door);
    idle.send(&request(&door, "GET", "/v1/data/k", &[], b""));
    assert_eq!(idle.answer().unwrap().status, 200);
    drop(home);
    assert!(idle.is_closed());
}
