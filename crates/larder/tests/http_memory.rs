//! What clients can make the node hold: neither readers that do not read nor writers that stop fill its memory or keep
//! others out.

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use support::http::{Connection, address, ask, get, metric, put, request};
use support::patience::until;
use support::{Home, pause};

/// Bytes of the node's memory that are resident, as the system counts them.
fn resident(home: &Home) -> f64 {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    let running: serde_json::Value = serde_json::from_str(&text).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running["pid"])).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

#[test]
fn answers_that_nobody_reads_take_no_memory_and_are_ended() {
    let home = Home::up();
    let door = address(&home);
    let big = vec![1; 10 * 1024 * 1024];
    assert_eq!(put(&door, "/v1/data/big", &big).status, 201);
    for number in 0..400 {
        let path = format!("/v1/data/{}{number:04}", "%01".repeat(4090));
        assert_eq!(put(&door, &path, b"x").status, 201);
    }
    let before = resident(&home);
    let unread = |path: &str, count: usize| -> Vec<Connection> {
        let open = |_| {
            let mut connection = Connection::to(&door);
            connection.send(&request(&door, "GET", path, &[], b""));
            connection
        };
        (0..count).map(open).collect()
    };
    let texts = unread("/raw/get/big", 20);
    let plain = unread("/v1/data/big", 20);
    let pages = unread("/v1/keys?limit=1000", 20);
    // From the first byte on the rest is on its way, as far as it goes.
    for connection in texts.iter().chain(&plain).chain(&pages) {
        connection.stream.peek(&mut [0]).unwrap();
    }
    for _ in 0..10 {
        pause(300);
        let grown = resident(&home) - before;
        assert!(grown < 64e6, "{grown} bytes more");
    }
    assert_eq!(get(&door, "/health").status, 200);
    // Whole for those who read, of either length.
    let text = get(&door, "/raw/get/big");
    assert_eq!(text.body.len(), text.header("content-length").parse::<usize>().unwrap());
    assert!(text.json()["data"].as_str().unwrap().as_bytes() == big);
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = get(&door, &format!("/v1/keys?limit=1000&cursor={cursor}"));
        assert!(page.body.len() < 1_100_000, "{}", page.body.len());
        let page = page.json();
        seen += page["keys"].as_array().unwrap().len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(seen, 401);
    // Longer than the grace and what the system's buffers took, and shorter than a stall: they have been ended.
    let ended = || metric(&door, "larder_refused_total", "reason=\"too_slow\"");
    until("all have been ended", || ended() >= 40.0);
    drop((texts, plain, pages));
}

#[test]
fn bodies_that_stop_arriving_keep_others_out_for_a_moment_only() {
    let home = Home::up();
    let door = address(&home);
    let len = 10 * 1024 * 1024;
    let mut silent = Vec::new();
    for number in 0..7 {
        let mut connection = Connection::to(&door);
        connection.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let head =
            format!("PUT /v1/data/{number} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n");
        connection.send(head.as_bytes());
        let _ = connection.stream.write_all(&vec![7; len - 65536]);
        silent.push(connection);
    }
    #[allow(clippy::disallowed_methods, reason = "what is looked at is the real clock")]
    let began = Instant::now();
    assert_eq!(put(&door, "/v1/data/small", &[1; 16_000]).status, 201, "small ones wait for nobody");
    let stored = (0..20).any(|_| {
        let answer = put(&door, "/v1/data/victim", &vec![2; 1_000_000]);
        assert!(answer.status == 201 || answer.header("retry-after") == "1", "{}", answer.status);
        answer.status == 201
    });
    assert!(stored && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for mut connection in silent {
        let status = connection.answer().map(|answer| answer.status);
        assert!(matches!(status, Some(408 | 503) | None), "{status:?}");
    }
    assert!(metric(&door, "larder_refused_total", "reason=\"too_slow\"") >= 3.0);
    // Several at once wait for each other, and none of them in vain.
    std::thread::scope(|scope| {
        for number in 0..6 {
            let door = &door;
            scope.spawn(move || {
                assert_eq!(put(door, &format!("/v1/data/{number}"), &vec![3; len]).status, 201);
            });
        }
    });
}

#[test]
fn a_local_program_that_sends_slowly_keeps_no_other_out() {
    let home = Home::up();
    let door = address(&home);
    let len = 10 * 1024 * 1024;
    let done = std::sync::atomic::AtomicBool::new(false);
    let begun = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (door, done, begun) = (&door, &done, &begun);
            scope.spawn(move || {
                let mut slow = Connection::to(door);
                let head = format!(
                    "PUT /v1/data/{number} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n"
                );
                slow.send(head.as_bytes());
                slow.send(&[7; 20_000]);
                begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // Fast enough for every other limit, and so it would take minutes.
                while !done.load(std::sync::atomic::Ordering::Relaxed)
                    && slow.stream.write_all(&[7; 20_000]).is_ok()
                {
                    pause(200);
                }
            });
        }
        until("all of them send", || begun.load(std::sync::atomic::Ordering::Relaxed) == 3);
        // Where the node has not read what they sent before this comes, it waits for nobody, and the next one does.
        let mut statuses = Vec::new();
        while statuses.len() < 20 && metric(&door, "larder_refused_total", "reason=\"too_slow\"") < 1.0 {
            pause(1000);
            statuses.push(put(&door, "/v1/data/victim", &vec![2; len]).status);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    });
    assert!(metric(&door, "larder_refused_total", "reason=\"too_slow\"") >= 1.0);
}

#[test]
fn what_could_mean_two_things_is_refused() {
    let home = Home::up();
    let door = address(&home);
    for target in ["/v1/data/a#b", "/v1/data/a?ttl=5#b", "/v1/data/a#"] {
        // Alone, after another request, and in pieces.
        let whole = request(&door, "PUT", target, &[], b"x#y");
        let mut alone = Connection::to(&door);
        alone.send(&whole);
        assert_eq!(alone.answer().unwrap().status, 400, "{target}");
        let mut second = Connection::to(&door);
        second.send(&request(&door, "PUT", "/v1/data/b", &[], b"GET /x#y"));
        assert_eq!(second.answer().unwrap().status, 201);
        for byte in &whole {
            if second.stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(second.answer().unwrap().status, 400, "{target}");
        let mut read = Connection::to(&door);
        read.send(&[request(&door, "GET", "/v1/data/b", &[], b""), whole.clone()].concat());
        assert_eq!(read.answer().unwrap().body, b"GET /x#y");
        assert_eq!(read.answer().unwrap().status, 400, "{target}");
        // Behind bodies that came with it, of a length that was told before and not.
        let long = request(&door, "GET", "/v1/data/b", &[("x-long-way", "1")], b"");
        let chunks = "PUT /v1/data/c HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks = chunks.to_owned() + "7\r\nGET /#b\r\n2\r\n#x\r\n0\r\n\r\n";
        let put = request(&door, "PUT", "/v1/data/b", &[], b"GET /x#y");
        let parts = [&long[..], &put, chunks.as_bytes(), &long, &whole, &put];
        let mut many = Connection::to(&door);
        many.send(&parts.concat());
        let statuses: Vec<_> = (0..5).map(|_| many.answer().unwrap().status).collect();
        assert_eq!(statuses, [200, 201, 201, 200, 400], "{target}");
        assert!(many.is_closed(), "nothing behind it is carried out");
        assert_eq!(get(&door, "/v1/data/c").body, b"GET /#b#x");
    }
    assert_eq!(get(&door, "/v1/data/a").status, 404);
    let twice = |name: &str, value: &str| {
        ask(&door, "PUT", "/v1/data/a", &[(name, value), (name, value)], b"x").status
    };
    assert_eq!(twice("X-TTL", "5"), 400);
    assert_eq!(twice("Origin", &format!("http://{door}")), 400);
    assert_eq!(get(&door, "/v1/data/a").status, 404);
    assert_eq!(put(&door, "/v1/data/a%23b", b"x").json()["key"], "a#b");
    // Keys that are not text are named as in a page of keys.
    let answer = put(&door, "/v1/data/%ff%23", b"x").json();
    assert_eq!(answer["key_percent_encoded"], "%FF%23");
    assert!(answer.get("key").is_none(), "{answer}");
    assert_eq!(get(&door, "/v1/keys").json()["keys_percent_encoded"][0], "%FF%23");
}
