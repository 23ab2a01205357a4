//! Values in memory at their cap and at their end, through the real doors: a full node refuses or lets the soonest-ending
//! go, as the namespace says; what has expired gives its memory back to the system; and the cap holds.

mod support;

#[path = "support/resp.rs"]
mod resp;

use support::http::{ask, get, metric, put};
use support::{Home, pause};

const CAP: f64 = (32 << 20) as f64;

fn up(more: &[(&str, &str)]) -> Home {
    let mut all = vec![("LARDER_MEMORY_CAP", "32MiB")];
    all.extend(more);
    let home = Home::with_environment(&all);
    home.bring_up().ends(0);
    home
}

fn accounted(door: &str) -> f64 {
    metric(door, "larder_memory_accounted_bytes", "")
}

/// Bytes of the node's memory that are resident, as the system counts them.
fn resident(home: &Home) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", home.pid("node"))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// Puts `count` values over the Redis door, many at a time; answers how many were taken, and what was said to the others.
fn fill(door: &str, prefix: &str, count: usize, len: usize, ttl_ms: usize) -> (usize, String) {
    let mut client = resp::Connection::to(door);
    let (mut taken, mut said) = (0, String::new());
    for begin in (0..count).step_by(500) {
        let mut pipeline = Vec::new();
        let batch = begin..count.min(begin + 500);
        for n in batch.clone() {
            let value = vec![b'a' + (n % 26) as u8; len];
            let key = format!("{prefix}{n:012}").into_bytes();
            let words = [b"SET".to_vec(), key, value, b"PX".to_vec(), ttl_ms.to_string().into_bytes()];
            resp::encode(&words, &mut pipeline);
        }
        client.send(&pipeline);
        for _ in batch {
            match client.reply() {
                resp::Reply::Line(b'+', _) => taken += 1,
                other => said = other.show(),
            }
        }
    }
    (taken, said)
}

/// Lets all of these end within a second: how long it took to put them, on however busy a machine, has no part in it.
fn end_soon(door: &str, prefix: &str, count: usize) {
    let mut client = resp::Connection::to(door);
    for begin in (0..count).step_by(500) {
        let mut pipeline = Vec::new();
        let batch = begin..count.min(begin + 500);
        for n in batch.clone() {
            let key = format!("{prefix}{n:012}").into_bytes();
            resp::encode(&[b"PEXPIRE".to_vec(), key, b"1000".to_vec()], &mut pipeline);
        }
        client.send(&pipeline);
        for _ in batch {
            assert_eq!(client.reply().show(), ":1");
        }
    }
}

#[test]
fn a_full_node_refuses_or_lets_the_soonest_go_as_the_namespace_says() {
    let home = up(&[]);
    let (door, redis) = (support::http::address(&home), resp::address(&home));
    let value = vec![7; 1 << 20];
    let path = |n: usize| format!("/v1/data/large{n}?ttl={}", 3_000 + n);
    // Refused, and clearly; what is there stays readable, and deleting makes room.
    let mut held = 0;
    let refused = loop {
        let answer = put(&door, &path(held), &value);
        if answer.status != 201 {
            break answer;
        }
        held += 1;
    };
    assert!((25..32).contains(&held), "{held} values of a MiB");
    assert_eq!(refused.status, 507, "{}", refused.json());
    assert!(refused.json()["detail"].as_str().unwrap().contains("memory cap"), "{}", refused.json());
    assert!(accounted(&door) <= CAP);
    assert!(get(&door, "/v1/data/large0").body == value, "reading goes on");
    assert_eq!(ask(&door, "DELETE", "/v1/data/large0", &[], b"").status, 204);
    assert_eq!(put(&door, &path(0), &value).status, 201);
    assert_eq!(metric(&door, "larder_memory_evicted_total", ""), 0.0);
    let (taken, said) = fill(&redis, "small", 30_000, 200, 1_000_000);
    assert!(taken < 20_000 && said.contains("OOM"), "{taken} were taken: {said}");
    // The same node, asked to let values go instead.
    home.run(&["namespace", "set", "raw", "--when-full", "evict"]).ends(0);
    for n in 100..180 {
        assert_eq!(put(&door, &path(n), &value).status, 201, "value {n}");
    }
    assert!(get(&door, "/v1/data/large179").body == value, "what came last ends last and is there");
    assert_eq!(get(&door, "/v1/data/large1").status, 404, "what ends sooner went");
    let (taken, said) = fill(&redis, "more", 200_000, 200, 9_000_000);
    assert_eq!((taken, said.as_str()), (200_000, ""), "all find room");
    assert!(metric(&door, "larder_memory_evicted_total", "") > 60_000.0);
    let used = accounted(&door);
    assert!(used <= CAP && used > CAP / 2.0, "{used} of {CAP}");
}

#[test]
fn what_has_expired_gives_its_memory_back_to_the_system() {
    let home = up(&[("LARDER_MEMORY_CAP", "1GiB")]);
    let (door, redis) = (support::http::address(&home), resp::address(&home));
    fill(&redis, "warm", 5_000, 256, 1_000);
    pause(2_500);
    let before = resident(&home);
    let (taken, said) = fill(&redis, "key:", 500_000, 256, 3_600_000);
    assert_eq!((taken, said.as_str()), (500_000, ""));
    let (full, counted) = (resident(&home) - before, accounted(&door));
    assert!(counted > 500_000.0 * 272.0 && counted < 500_000.0 * 350.0, "{counted} for 500,000 of 272 bytes");
    assert!(full < counted * 1.15 + (16 << 20) as f64, "{full} resident for {counted}");
    end_soon(&redis, "key:", 500_000);
    let mut waited = 0;
    while metric(&door, "larder_value_records", "") > 0.0 {
        assert!(waited < 60, "values whose time is up are still there");
        pause(1_000);
        waited += 1;
    }
    assert_eq!(accounted(&door), 0.0);
    // Pages without values are kept for two seconds at most, for whoever writes next. The table's own directory and what
    // allocators keep for next time do not grow with what was there.
    let mut left = f64::MAX;
    for _ in 0..80 {
        left = resident(&home) - before;
        if left < full / 5.0 {
            break;
        }
        pause(250);
    }
    assert!(left < full / 5.0, "{left} bytes of {full} are still resident");
    assert!(metric(&door, "larder_expired_records_total", "memory") >= 500_000.0);
}

#[test]
fn where_there_is_no_room_for_all_of_several_values_all_stay_as_they_were() {
    let home = up(&[]);
    let redis = resp::address(&home);
    let mut client = resp::Connection::to(&redis);
    let text = |text: String| text.into_bytes();
    let before = |n: usize| vec![b'a' + n as u8; [10, 7_000, 300_000][n % 3]];
    for n in 0..12 {
        let set =
            [text("SET".into()), text(format!("k{n}")), before(n), text("PX".into()), text("9000000".into())];
        assert_eq!(client.ask_bytes(&set).show(), "+OK");
    }
    // Small ones, until there is no room for another.
    fill(&redis, "small", 200_000, 200, 9_000_000);
    for round in 0..20 {
        // Longer ones, shorter ones, and new ones; then one for which there cannot be room.
        let mut words = vec![text(if round % 2 == 0 { "MSET".into() } else { "MSETNX".into() })];
        if round % 2 == 0 {
            for n in 0..12 {
                words.extend([text(format!("k{n}")), vec![b'z'; [4_000, 20, 10][n % 3]]]);
            }
        }
        for n in 0..4 {
            words.extend([text(format!("new{round}.{n}")), vec![b'n'; 10]]);
        }
        words.extend([text("large".into()), vec![b'l'; 9 << 20]]);
        let said = client.ask_bytes(&words).show();
        assert!(said.contains("OOM") && !said.contains("set all the same"), "round {round}: {said}");
        for n in 0..12 {
            let get = client.ask(&["GET", &format!("k{n}")]);
            assert!(get.bytes() == Some(&before(n)[..]), "round {round}: k{n} is another: {}", get.show());
            let ttl = client.ask(&["PTTL", &format!("k{n}")]).number().unwrap();
            assert!((8_000_000..9_000_000).contains(&ttl), "its end as well: {ttl}");
        }
        let keys: Vec<String> =
            (0..4).map(|n| format!("new{round}.{n}")).chain(["large".to_owned()]).collect();
        let exist: Vec<&str> = std::iter::once("EXISTS").chain(keys.iter().map(String::as_str)).collect();
        assert_eq!(client.ask(&exist).number(), Some(0), "round {round}");
    }
}
