//! Random requests to a Redis server and to the Redis door, side by side: every reply is compared byte by byte, in both
//! versions of the protocol, pipelined and in pieces, from two connections that watch each other's keys.
//!
//! In a namespace without a longest lifetime, as Redis has it. The same seeds each time; `LARDER_MODEL_SEEDS=100` takes
//! more of them, `LARDER_MODEL_SEED=7` one of them. What cannot be compared is listed in `docs/doors/redis.md`.

#[path = "support/issued.rs"]
mod issued;
#[path = "support/model.rs"]
mod model;
#[path = "support/resp.rs"]
mod resp;
mod support;

use std::time::Instant;

use issued::{issue, options};
use larder_client::remote::Remote;
use larder_format::namespace::{Class, Namespace, Privacy, ScanOrder};
use model::{Asked, Compare, Maker};
use resp::{Connection, Redis, Reply, encode};
use support::{Home, pause};

/// Requests of one seed.
const REQUESTS: usize = 3_000;

/// Seeds where nobody asks for another number.
const SEEDS: u64 = 6;

/// A node whose Redis door serves a namespace as Redis is: no longest lifetime, and none where nobody asks for one.
fn unlimited() -> Home {
    let home = Home::new();
    let settings = "format = 1\nlisten = \"127.0.0.1:0\"\nredis_namespace = \"model\"\n";
    std::fs::create_dir_all(home.home().join("config")).unwrap();
    let file = home.home().join("config/larder.toml");
    std::fs::File::create(&file)
        .and_then(|mut f| std::io::Write::write_all(&mut f, settings.as_bytes()))
        .unwrap();
    home.bring_up().ends(0);
    let folder = issue(&home, "model", &["--rights", "admin"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let remote = Remote::connect(&options(&home, &folder)).await.unwrap();
        let settings = Namespace::new("model", Privacy::Raw, Class::Memory, ScanOrder::Hash);
        assert!(remote.create_namespace(&settings).await.unwrap());
    });
    home
}

/// Both servers, two connections to each.
struct Pair {
    redis: [Connection; 2],
    ours: [Connection; 2],
    /// What the transaction that a connection is in will answer.
    queued: [Option<Vec<Compare>>; 2],
    /// What was asked, for whoever looks at a difference.
    asked: Vec<String>,
    compared: usize,
}

impl Pair {
    fn new(redis: &str, ours: &str, protocol: &str) -> Self {
        let connect = |address: &str| {
            [(); 2].map(|()| {
                let mut connection = Connection::to(address);
                assert!(!connection.ask(&["HELLO", protocol]).is_error());
                connection
            })
        };
        let mut pair = Self {
            redis: connect(redis),
            ours: connect(ours),
            queued: [None, None],
            asked: Vec::new(),
            compared: 0,
        };
        pair.batch(0, &[Asked { arguments: vec![b"FLUSHALL".to_vec()], compare: Compare::Bytes }], 1);
        pair
    }

    /// Sends requests to both, in so many pieces, and compares the replies.
    #[track_caller]
    fn batch(&mut self, at: usize, requests: &[Asked], pieces: usize) {
        self.try_batch(at, requests, pieces).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// As [`Pair::batch`]; answers the first difference, after which nothing more can be asked.
    fn try_batch(&mut self, at: usize, requests: &[Asked], pieces: usize) -> Result<(), String> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| encode(&request.arguments, &mut bytes));
        let len = bytes.len().div_ceil(pieces).max(1);
        for piece in bytes.chunks(len) {
            self.redis[at].send(piece);
            self.ours[at].send(piece);
        }
        for request in requests {
            self.asked.push(format!("{at}: {}", request.show()));
            let (redis, ours) = (self.redis[at].reply(), self.ours[at].reply());
            let compare = self.expected(at, request, &redis);
            self.compared += 1;
            if !compare.same(&redis, &ours) {
                let from = self.asked.len().saturating_sub(40);
                return Err(format!(
                    "replies differ (compared {compare:?})\nredis: {}\nours:  {}\nafter:\n{}",
                    redis.show(),
                    ours.show(),
                    self.asked[from..].join("\n")
                ));
            }
        }
        Ok(())
    }

    /// How the replies to a request are compared: within a transaction it says only that it is queued.
    fn expected(&mut self, at: usize, request: &Asked, redis: &Reply) -> Compare {
        let name = request.arguments[0].to_ascii_uppercase();
        let queued = &mut self.queued[at];
        if redis.bytes() == Some(b"QUEUED") {
            queued.get_or_insert_default().push(request.compare.clone());
            return Compare::Bytes;
        }
        match name.as_slice() {
            b"MULTI" if !redis.is_error() => *queued = Some(Vec::new()),
            b"EXEC" if queued.is_some() && request.arguments.len() == 1 => {
                return Compare::Each(queued.take().unwrap_or_default());
            }
            // Wrong ones end it, too.
            b"EXEC" => *queued = None,
            b"DISCARD" if request.arguments.len() == 1 => *queued = None,
            _ => {}
        }
        request.compare.clone()
    }
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("LARDER_MODEL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("LARDER_MODEL_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

#[test]
fn every_reply_is_that_of_redis() {
    let Some(redis) = Redis::start(&[]) else { return };
    let home = unlimited();
    let ours = resp::address(&home);
    for seed in seeds() {
        let protocol = if seed % 2 == 0 { "3" } else { "2" };
        let mut pair = Pair::new(&redis.address, &ours, protocol);
        pair.asked.push(format!("seed {seed}, RESP{protocol}"));
        let mut maker = Maker::new(seed);
        let mut left = REQUESTS;
        while left > 0 {
            let at = usize::from(maker.dice.one_in(4));
            let count = if maker.dice.one_in(3) { 1 + maker.dice.below(30) } else { 1 };
            let count = count.min(left);
            let requests: Vec<_> = (0..count).map(|_| maker.request()).collect();
            let pieces = if maker.dice.one_in(8) { 1 + maker.dice.below(7) } else { 1 };
            pair.batch(at, &requests, pieces);
            left -= count;
        }
        assert!(pair.compared > REQUESTS);
    }
}

#[test]
fn values_end_in_both_at_the_same_time() {
    let Some(redis) = Redis::start(&[]) else { return };
    let home = unlimited();
    let ours = resp::address(&home);
    for protocol in ["2", "3"] {
        let mut pair = Pair::new(&redis.address, &ours, protocol);
        for seed in 100..112 {
            let mut lived_ms = 40;
            while let Err(difference) = they_live(&mut pair, seed, lived_ms) {
                // Over for one of them before the other was asked: again, for longer.
                lived_ms *= 4;
                assert!(lived_ms <= 2_560, "{difference}");
                pair = Pair::new(&redis.address, &ours, protocol);
            }
            pause(3 * lived_ms);
            pair.batch(1, &ask(&["EXEC", "UNWATCH"]), 1);
            pair.batch(
                0,
                &ask(&[
                    "GET a",
                    "EXISTS a b num f:1",
                    "TTL a",
                    "STRLEN b",
                    "INCR num",
                    "APPEND b x",
                    "SETNX a 1",
                    "GETRANGE num 0 -1",
                    "RENAME gone a",
                    "COPY gone b",
                    "TYPE num",
                    "PERSIST gone",
                    "KEYS [abn]*",
                ]),
                1,
            );
        }
    }
}

/// What is asked while values live, for so long. An error where they may have ended for one of the two before it was asked.
#[allow(clippy::disallowed_methods, reason = "values end by the real clock")]
fn they_live(pair: &mut Pair, seed: u64, lived_ms: u64) -> Result<(), String> {
    let mut maker = Maker::new(seed);
    let mut requests: Vec<_> = (0..8).map(|_| maker.request()).collect();
    let mut short = |words: &str| {
        let arguments = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        requests.push(Asked { arguments, compare: Compare::Bytes });
    };
    short("DISCARD");
    short(&format!("SET a short PX {lived_ms}"));
    short("SET b short");
    short(&format!("PEXPIRE b {lived_ms}"));
    short(&format!("GETEX b PX {}", lived_ms + 10));
    short(&format!("SET num 5 PX {lived_ms}"));
    short("SET f:1 stays EX 1000");
    let began = Instant::now();
    let same = pair
        .try_batch(0, &requests, 1)
        .and_then(|()| pair.try_batch(1, &ask(&["WATCH a c", "MULTI", "SET c yes", "GET a"]), 1));
    let took_ms = began.elapsed().as_millis();
    if took_ms < u128::from(lived_ms) {
        same.unwrap_or_else(|difference| panic!("in {took_ms} ms: {difference}"));
        return Ok(());
    }
    // What was watched may have been there for one and not for the other, which shows only later.
    Err(format!("{took_ms} ms for what lives {lived_ms} ms"))
}

fn ask(lines: &[&str]) -> Vec<Asked> {
    let one = |line: &&str| {
        let compare = if line.starts_with("KEYS") { Compare::Keys } else { Compare::Bytes };
        Asked { arguments: line.split(' ').map(|word| word.as_bytes().to_vec()).collect(), compare }
    };
    lines.iter().map(one).collect()
}

/// What Redis 7.0 cannot answer: `IFEQ`, as Valkey 8.1 and Redis 8.4 document it.
#[test]
fn newer_options_answer_as_recorded() {
    let home = unlimited();
    let mut ours = Connection::to(&resp::address(&home));
    for (request, expected) in [
        ("SET k new IFEQ old", "$nothing"),
        ("EXISTS k", ":0"),
        ("SET k old", "+OK"),
        ("SET k new IFEQ other", "$nothing"),
        ("GET k", "$3 \"old\""),
        ("SET k new ifeq old", "+OK"),
        ("GET k", "$3 \"new\""),
        ("SET k newer IFEQ new GET", "$3 \"new\""),
        ("SET k newest GET IFEQ wrong", "$5 \"newer\""),
        ("GET k", "$5 \"newer\""),
        ("SET none x IFEQ y GET", "$nothing"),
        ("SET k last IFEQ newer EX 100", "+OK"),
        ("TTL k", "about :100"),
        ("SET k kept IFEQ last KEEPTTL", "+OK"),
        ("TTL k", "about :100"),
        ("SET k x IFEQ kept NX", "-ERR syntax error"),
        ("SET k x XX IFEQ kept", "-ERR syntax error"),
        ("SET k x IFEQ", "-ERR syntax error"),
        ("SET k x IFEQ kept IFEQ kept", "-ERR syntax error"),
        ("GET k", "$4 \"kept\""),
    ] {
        let words: Vec<_> = request.split(' ').collect();
        answers(&mut ours, &words, expected);
    }
}

/// Asks, and looks at the answer. Of seconds that are left, some may have gone by.
#[track_caller]
fn answers(connection: &mut Connection, words: &[&str], expected: &str) {
    let reply = connection.ask(words);
    match expected.strip_prefix("about :") {
        Some(seconds) => {
            let (left, most) = (reply.number().unwrap(), seconds.parse().unwrap());
            assert!(left <= most && left > most - 60, "{words:?}: {left}");
        }
        None => assert_eq!(reply.show(), expected, "{words:?}"),
    }
}

/// What the lists of differences in `docs/doors/redis.md` say of this door, where it can be shown.
#[test]
fn what_differs_from_redis_differs_as_documented() {
    let home = unlimited();
    let mut ours = Connection::to(&resp::address(&home));
    let long = "k".repeat(5000);
    for (words, expected) in [
        (vec!["SET", "", "v"], "-ERR a key must have 1 to 4096 bytes len=0"),
        (vec!["SET", &long, "v"], "-ERR a key must have 1 to 4096 bytes len=5000"),
        (vec!["GET", &long], "$nothing"),
        (
            vec!["SET", "k", "v", "PXAT", "281474976710655"],
            "-ERR invalid expire time in 'set' command: no end is later",
        ),
        (vec!["SET", "k", "v", "PXAT", "281474976710654"], "+OK"),
        (vec!["PEXPIRETIME", "k"], ":281474976710654"),
        (vec!["LPUSH", "k", "v"], "-ERR unknown command 'LPUSH', Larder has no such command"),
        (
            vec!["SETRANGE", "k", "10485760", "v"],
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (vec!["OBJECT", "ENCODING", "k"], "-ERR unknown command 'OBJECT', Larder has no such command"),
        (vec!["DBSIZE"], ":1"),
    ] {
        let reply = ours.ask(&words).show();
        assert!(reply.starts_with(expected), "{words:?}: {reply}");
    }
}

/// In the namespace that `larder up` makes every value has an end.
#[test]
fn where_there_is_a_longest_lifetime_every_value_has_one() {
    let home = Home::up();
    let mut ours = Connection::to(&resp::address(&home));
    let mut is = |request: &str, expected: &str| {
        let words: Vec<_> = request.split(' ').collect();
        let reply = ours.ask(&words).show();
        assert!(reply.starts_with(expected), "{request}: {reply}");
        reply
    };
    is("SET k v", "+OK");
    let ttl = is("TTL k", ":");
    let ttl: u64 = ttl[1..].parse().unwrap();
    assert!((3_590..=3_600).contains(&ttl), "an hour by default: {ttl}");
    is(
        "SET k v EX 604801",
        "-ERR invalid expire time in 'set' command: at most 604800000 ms are allowed here",
    );
    is(
        "EXPIRE k 604801",
        "-ERR invalid expire time in 'expire' command: at most 604800000 ms are allowed here",
    );
    is("PERSIST k", "-ERR every value here must have a lifetime, of at most 604800000 ms");
    is("GETEX k PERSIST", "-ERR every value here must have a lifetime");
    is("EXPIRE k 604800", ":1");
    is("INCR n", ":1");
    is("APPEND s x", ":1");
    is("MSET a 1 b 2", "+OK");
    for key in ["n", "s", "a", "b"] {
        is(&format!("TTL {key}"), ":3");
    }
    is("SET k w KEEPTTL", "+OK");
    is("TTL k", ":604");
    is("RENAME k moved", "+OK");
    is("TTL moved", ":604");
}

/// Keys that stay are met by a SCAN that goes on while others come and go, and RANDOMKEY meets keys that are there.
#[test]
fn a_scan_meets_every_key_that_stays() {
    let home = unlimited();
    let address = resp::address(&home);
    let (mut scanning, mut changing) = (Connection::to(&address), Connection::to(&address));
    for number in 0..500 {
        changing.ask(&["SET", &format!("stays:{number}"), "v"]);
    }
    let mut met = std::collections::BTreeSet::new();
    let (mut cursor, mut round) = ("0".to_owned(), 0);
    loop {
        let reply = scanning.ask(&["SCAN", &cursor, "COUNT", "13", "MATCH", "stays:*"]);
        let parts = reply.parts().unwrap().to_vec();
        met.extend(parts[1].parts().unwrap().iter().map(|key| key.bytes().unwrap().to_vec()));
        for number in 0..20 {
            changing.ask(&["SET", &format!("comes:{round}:{number}"), "v"]);
            changing.ask(&["DEL", &format!("comes:{}:{number}", round / 2)]);
            changing.ask(&["APPEND", &format!("stays:{}", (round * 20 + number) % 500), "more"]);
        }
        cursor = String::from_utf8(parts[0].bytes().unwrap().to_vec()).unwrap();
        round += 1;
        if cursor == "0" {
            break;
        }
        assert!(round < 2_000, "a scan ends");
    }
    assert_eq!(met.len(), 500);
    let random = scanning.ask(&["RANDOMKEY"]);
    assert!(random.bytes().is_some());
    assert_eq!(scanning.ask(&["FLUSHDB"]).show(), "+OK");
    assert_eq!(scanning.ask(&["RANDOMKEY"]).show(), "$nothing");
    assert_eq!(scanning.ask(&["DBSIZE"]).show(), ":0");
}

/// Several connections count and move at once: no step is lost, no transaction is seen by halves.
#[test]
fn commands_on_several_keys_are_one_step_for_everybody() {
    let home = unlimited();
    let address = resp::address(&home);
    let mut first = Connection::to(&address);
    first.ask(&["MSET", "left", "1000", "right", "1000"]);
    let begin = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (address, begin) = (address.clone(), &begin);
            scope.spawn(move || {
                let mut mine = Connection::to(&address);
                begin.wait();
                for round in 0..100 {
                    mine.ask(&["INCR", "count"]);
                    mine.ask(&["MULTI"]);
                    let (from, to) =
                        if (lane + round) % 2 == 0 { ("left", "right") } else { ("right", "left") };
                    mine.ask(&["DECR", from]);
                    mine.ask(&["INCR", to]);
                    assert_eq!(mine.ask(&["EXEC"]).parts().unwrap().len(), 2);
                    let both = mine.ask(&["MGET", "left", "right"]);
                    let sum: i64 = both
                        .parts()
                        .unwrap()
                        .iter()
                        .map(|part| {
                            std::str::from_utf8(part.bytes().unwrap()).unwrap().parse::<i64>().unwrap()
                        })
                        .sum();
                    assert_eq!(sum, 2000);
                    // The classic: read, and write only if nobody else did.
                    loop {
                        mine.ask(&["WATCH", "watched"]);
                        let before = mine.ask(&["GET", "watched"]);
                        let before = before
                            .bytes()
                            .map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
                        mine.ask(&["MULTI"]);
                        mine.ask(&["SET", "watched", &(before + 1).to_string()]);
                        if mine.ask(&["EXEC"]).parts().is_some() {
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(first.ask(&["MGET", "count", "watched"]).show(), "*[$3 \"400\", $3 \"400\"]");
}

/// One value through two doors: what HTTP wrote under an operation's name is a value here, and a retry of that write
/// is still known after this door changed it.
#[test]
fn what_http_wrote_with_a_name_is_a_value_here() {
    use support::http;
    let home = Home::up();
    let (web, mut ours) = (http::address(&home), Connection::to(&resp::address(&home)));
    let put = || http::ask(&web, "PUT", "/v1/data/n?ttl=600", &[("idempotency-key", "first")], b"7");
    assert_eq!(put().status, 201);
    for (request, expected) in
        [("GET n", "$1 \"7\""), ("INCR n", ":8"), ("TTL n", "about :600"), ("APPEND n 0", ":2")]
    {
        let words: Vec<_> = request.split(' ').collect();
        answers(&mut ours, &words, expected);
    }
    assert_eq!(put().status, 201, "known, and done only once");
    assert_eq!(ours.ask(&["GETDEL", "n"]).show(), "$2 \"80\"");
    assert_eq!(put().status, 201);
    assert_eq!(ours.ask(&["EXISTS", "n"]).show(), ":0");
    assert_eq!(ours.ask(&["SET", "n", "new"]).show(), "+OK");
    assert_eq!(http::get(&web, "/v1/data/n").body, b"new");
}
