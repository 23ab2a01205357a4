//! The HTTP door under what nobody should send: each is answered as the documents say and counted, and nothing of it
//! keeps others from being served.

#![allow(clippy::print_stderr, reason = "says what is not run")]

#[path = "support/network.rs"]
mod network;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use network::Network;
use support::http::{Connection, address, ask, get, metric, put, request};
use support::patience::until;
use support::{Home, pause};

#[allow(clippy::disallowed_methods, reason = "what is looked at is the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn refused(door: &str, reason: &str) -> f64 {
    metric(door, "larder_refused_total", &format!("reason=\"{reason}\""))
}

#[test]
fn heads_and_bodies_that_are_too_long() {
    let home = Home::up();
    let door = address(&home);
    let long = "h".repeat(40_000);
    assert_eq!(ask(&door, "GET", "/health", &[("x-long", &long)], b"").status, 431);
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(ask(&door, "GET", "/health", &many, b"").status, 431);
    // What hyper answers by itself is counted when its connection has ended, a moment later.
    until("both are counted", || refused(&door, "head_too_large") >= 2.0);
    // A head that never ends is cut off, not collected.
    let mut endless = Connection::to(&door);
    endless.send(b"GET /health HTTP/1.1\r\n");
    let mut sent = 0;
    while sent < 40_000_000 && endless.stream.write_all(&[b'a'; 10_000]).is_ok() {
        sent += 10_000;
    }
    assert!(sent < 40_000_000, "it went on reading");

    // Too long, and says so: refused before a byte of it is read.
    let mut bomb = Connection::to(&door);
    bomb.send(b"PUT /v1/data/bomb HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000000\r\n\r\n");
    let answer = bomb.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, "close"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("10485760"));
    // Too long, and does not say so.
    let mut chunked = Connection::to(&door);
    chunked.send(b"PUT /v1/data/bomb HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut part = b"100000\r\n".to_vec();
    part.extend(vec![0; 0x10_0000]);
    part.extend(b"\r\n");
    for _ in 0..11 {
        if chunked.stream.write_all(&part).is_err() {
            break;
        }
    }
    assert_eq!(chunked.answer().map(|a| a.status), Some(413));
    assert!(metric(&door, "larder_oversized_requests_total", "http") >= 4.0);
    assert_eq!(get(&door, "/v1/data/bomb").status, 404);
    // The largest that is taken is taken, and one byte more is not.
    let whole = vec![7; 10 * 1024 * 1024];
    assert_eq!(put(&door, "/v1/data/largest", &whole).status, 201);
    assert_eq!(get(&door, "/v1/data/largest").body.len(), whole.len());
    assert_eq!(put(&door, "/v1/data/larger", &[&whole[..], b"x"].concat()).status, 413);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ask(&door, "POST", "/raw/put", &[], nested.as_bytes()).status, 400, "a JSON bomb");
}

#[test]
fn what_is_no_http_is_told_so_and_others_are_served() {
    let home = Home::up();
    let door = address(&home);
    let first_status = |bytes: &[u8]| {
        let mut connection = Connection::to(&door);
        connection.send(bytes);
        connection.answer().map(|answer| answer.status)
    };
    for bytes in [
        &b"\r\n\r\nhello\r\n\r\n"[..],
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\x03\x04\x05\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"PUT /v1/data/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"PUT /v1/data/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\nhello",
        b"PUT /v1/data/x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(first_status(bytes), Some(400), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(get(&door, "/v1/data/x").status, 404, "nothing of it was stored");
    assert!(refused(&door, "malformed") >= 5.0);
    assert!(metric(&door, "larder_suspicious_requests_total", "protocol") >= 1.0);
    // A body that ends too soon is nothing that was asked for.
    let mut short = Connection::to(&door);
    short.send(b"PUT /v1/data/short HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhello");
    short.stream.shutdown(Shutdown::Write).unwrap();
    assert_ne!(short.answer().map(|answer| answer.status), Some(201));
    assert_eq!(get(&door, "/v1/data/short").status, 404);
    // Old, and in order.
    let mut old = Connection::to(&door);
    old.send(b"GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().map(|answer| answer.status), Some(200));
    assert!(old.is_closed());
}

#[test]
fn pages_of_other_sites_and_other_names_stay_out() {
    let home = Home::up();
    let door = address(&home);
    let status = |headers: &[(&str, &str)]| ask(&door, "GET", "/health", headers, b"").status;
    assert_eq!(status(&[("host", "rebound.example")]), 421);
    assert_eq!(status(&[("host", "localhost:1")]), 200);
    assert_eq!(status(&[("origin", "http://evil.example")]), 403);
    assert_eq!(status(&[("origin", "null")]), 403);
    assert_eq!(status(&[("origin", &format!("http://{door}"))]), 200);
    assert_eq!(status(&[("sec-fetch-site", "cross-site")]), 403);
    let form = ask(&door, "POST", "/raw/put", &[("origin", "http://evil.example")], br#"{"data":"x"}"#);
    assert_eq!(form.status, 403);
    assert_eq!(refused(&door, "wrong_host"), 1.0);
    assert!(refused(&door, "wrong_origin") >= 4.0);
    // Probes are counted; keys that look like them are not.
    get(&door, "/.env");
    get(&door, "/wp-login.php");
    put(&door, "/v1/data/../../etc/passwd", b"a lawful key");
    assert_eq!(get(&door, "/v1/data/../../etc/passwd").body, b"a lawful key");
    put(&door, "/v1/data/.git/x.php%00<script>", b"another");
    assert_eq!(metric(&door, "larder_suspicious_requests_total", ""), 2.0);
}

/// Whether the other side has said something, or has closed.
fn has_word(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn slow_clients_are_let_go_and_hold_up_nobody() {
    let home = Home::up();
    let door = address(&home);
    let mut slow_heads: Vec<Connection> = (0..50).map(|_| Connection::to(&door)).collect();
    for connection in &mut slow_heads {
        connection.send(b"GET /health HTTP/1.1\r\nhost: loc");
    }
    let mut slow_body = Connection::to(&door);
    slow_body.send(b"PUT /v1/data/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n");
    let began = now();
    while began.elapsed() < Duration::from_secs(9) {
        // One byte now and then, as slow-loris does. On a slow machine the first may have been let go before the last is sent.
        for connection in slow_heads.iter_mut().chain([&mut slow_body]) {
            if !has_word(&connection.stream) {
                let _ = connection.stream.write_all(b"x");
            }
        }
        assert_eq!(get(&door, "/health").status, 200);
        pause(500);
    }
    for connection in slow_heads.iter_mut().chain([&mut slow_body]) {
        let answer = connection.answer().expect("nobody told it why");
        assert_eq!((answer.status, answer.header("connection")), (408, "close"));
        assert!(connection.is_closed());
    }
    // Ten seconds are what a head may take, however little of it comes at a time.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    until("all are counted", || refused(&door, "too_slow") >= 51.0);
    assert_eq!(get(&door, "/v1/data/slow").status, 404);
}

#[test]
fn pipelined_and_half_closed_connections_get_their_answers_in_order() {
    let home = Home::up();
    let door = address(&home);
    let mut connection = Connection::to(&door);
    let mut all = Vec::new();
    for number in 0..100 {
        let body = format!("value {number}");
        all.extend(request(&door, "PUT", &format!("/v1/data/{number}"), &[], body.as_bytes()));
        all.extend(request(&door, "GET", &format!("/v1/data/{number}"), &[], b""));
        all.extend(request(&door, "GET", "/v1/data/none", &[], b""));
    }
    // In two parts that end in the middle of a request: what is whole is answered before the rest comes.
    let (first, rest) = all.split_at(all.len() / 2);
    connection.send(first);
    assert_eq!(connection.answer().unwrap().status, 201);
    connection.send(rest);
    connection.stream.shutdown(Shutdown::Write).unwrap();
    for number in 0..100 {
        if number > 0 {
            assert_eq!(connection.answer().unwrap().status, 201);
        }
        assert_eq!(connection.answer().unwrap().body, format!("value {number}").as_bytes());
        assert_eq!(connection.answer().unwrap().status, 404);
    }
    assert!(connection.is_closed());
}

#[test]
fn a_flood_of_tiny_requests_leaves_memory_and_others_alone() {
    const CONNECTIONS: usize = 20;
    const REQUESTS: usize = 2_000;
    let home = Home::up();
    let door = address(&home);
    put(&door, "/v1/data/x", b"v");
    let resident = || metric(&door, "larder_process_resident_memory_bytes", "");
    let before = resident();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(&door).unwrap();
                let mut reader = stream.try_clone().unwrap();
                let reading = std::thread::spawn(move || {
                    let (mut buffer, mut seen) = (vec![0; 65536], 0);
                    while let Ok(len) = reader.read(&mut buffer) {
                        if len == 0 {
                            break;
                        }
                        seen += len;
                    }
                    seen
                });
                let one = b"GET /v1/data/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
                stream.write_all(&one.repeat(REQUESTS)).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                assert!(reading.join().unwrap() > REQUESTS * 300);
            });
        }
        for _ in 0..10 {
            assert_eq!(get(&door, "/health").status, 200, "others are served meanwhile");
        }
    });
    assert!(
        metric(&door, "larder_requests_total", "operation=\"get\",outcome=\"200\"")
            >= (CONNECTIONS * REQUESTS) as f64
    );
    let grown = resident() - before;
    assert!(grown < 64e6, "{grown} bytes more");
    // Somebody who asks for much and reads nothing holds up nobody and no memory.
    put(&door, "/v1/data/big", &vec![1; 5_000_000]);
    let mut greedy = TcpStream::connect(&door).unwrap();
    greedy.write_all(&b"GET /v1/data/big HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200)).unwrap();
    greedy.peek(&mut [0]).unwrap();
    // The answers are on their way from now on, as far as they go.
    for _ in 0..5 {
        pause(200);
        assert_eq!(get(&door, "/health").status, 200);
        assert!(resident() - before < 128e6);
    }
}

#[test]
fn connections_without_number_are_turned_away_and_the_door_stays_open() {
    let home = Home::up();
    let door = address(&home);
    let max = (metric(&door, "larder_process_max_fds", "") as usize - 512) / 2;
    let max = max.min(4096);
    let Ok(limit) = own_descriptors(max + 200) else {
        eprintln!("NOT RUN: this user may not open {} descriptors", max + 200);
        return;
    };
    assert!(limit >= max as u64);
    let mut open = Vec::new();
    let mut turned_away = 0;
    for _ in 0..max + 50 {
        let mut stream = TcpStream::connect(&door).unwrap();
        if open.len() >= max - 1 {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 503");
                turned_away += 1;
                if turned_away > 5 {
                    break;
                }
                continue;
            }
        }
        open.push(stream);
    }
    assert!(turned_away > 5, "nobody was turned away of {}", open.len());
    assert!(open.len() >= 1000.min(max), "{}", open.len());
    drop(open);
    until("it is open again", || TcpStream::connect(&door).is_ok() && served(&door));
    assert!(refused(&door, "crowded") >= 6.0);
}

fn served(door: &str) -> bool {
    let mut connection = Connection::to(door);
    let sent = connection.stream.write_all(&request(door, "GET", "/health", &[], b""));
    sent.is_ok() && connection.answer().is_some_and(|answer| answer.status == 200)
}

/// Raises this process' own limit.
fn own_descriptors(wanted: usize) -> Result<u64, ()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64 + 100;
    if limit.current.is_some_and(|current| current >= wanted) {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).map_err(|_| ())?;
    Ok(wanted)
}

#[test]
fn strangers_have_a_rate_and_this_machine_has_none_unless_set() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = |more: &[&str]| {
        let base = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
        home.run(&[&base[..], more].concat()).ends(0);
        address(&home)
    };
    let door = up(&[]);
    let many = |door: &str, count: usize| {
        let mut connection = Connection::to(door);
        connection.send(&request(door, "GET", "/health", &[], b"").repeat(count));
        (0..count)
            .filter_map(|_| connection.answer())
            .map(|a| (a.status, a.header("retry-after").to_owned()))
            .collect::<Vec<_>>()
    };
    assert!(many(&door, 500).iter().all(|(status, _)| *status == 200), "loopback has no limit");
    home.run(&["down"]).ends(0);
    let door = up(&["--set", "http_rate_for=all", "--set", "http_rate=10/20"]);
    let began = now();
    let seen = many(&door, 100);
    // Ten more a second pass while they are answered.
    let more = 10 * (began.elapsed().as_secs() as usize + 1);
    let limited: Vec<_> = seen.iter().filter(|(status, _)| *status == 429).collect();
    assert!(limited.len() <= 80 && limited.len() + more >= 80, "{} {more}", limited.len());
    assert!(limited.iter().all(|(_, after)| after == "1"));
    pause(1100);
    assert!(metric(&door, "larder_rate_limited_requests_total", "http") >= limited.len() as f64);
    home.run(&["down"]).ends(0);

    let Some(network) = Network::new() else { return };
    let door = up(&["--http-listen", &format!("{}:0", network.address), "--set", "http_auth=token"]);
    let status = home.run(&["status"]).ends(0).out;
    assert!(status.contains("to the network, token needed"), "{status}");
    // Flags of the file's first use stay in it; these were given later, and doctor goes by what is set.
    let told =
        home.command(&["doctor"]).env("LARDER_HTTP_LISTEN", &door).env("LARDER_HTTP_AUTH", "none").output();
    let told = String::from_utf8(told.unwrap().stdout).unwrap();
    assert!(told.contains("whoever reaches"), "{told}");
    let began = now();
    let statuses = network.curl_many(2, &door, 1_000, &[]);
    let more = 100 * (began.elapsed().as_secs() as usize + 1);
    let limited = statuses.iter().filter(|status| *status == "429").count();
    // The connection counts as well.
    assert!(limited <= 801 && limited + more >= 800, "{limited} of {} {more}", statuses.len());
    assert!(statuses.iter().all(|status| status == "401" || status == "429"), "{statuses:?}");
}
