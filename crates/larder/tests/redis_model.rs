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
    let settings = "listen = \"127.0.0.1:0\"\nredis_namespace = \"model\"\n";
    std::fs::create_dir_all(home.home().join("config")).unwrap();
    let file = home.home().join("config/config.toml");
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
                panic!(
                    "replies differ (compared {compare:?})\nredis: {}\nours:  {}\nafter:\n{}",
                    redis.show(),
                    ours.show(),
                    self.asked[from..].join("\n")
                );
            }
        }
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
    let Some(redis) = Redis::start() else { return };
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
    let Some(redis) = Redis::start() else { return };
    let home = unlimited();
    let ours = resp::address(&home);
    for protocol in ["2", "3"] {
        let mut pair = Pair::new(&redis.address, &ours, protocol);
        for seed in 100..112 {
            let mut maker = Maker::new(seed);
            let mut requests: Vec<_> = (0..8).map(|_| maker.request()).collect();
            let mut short = |words: &str| {
                let arguments = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
                requests.push(Asked { arguments, compare: Compare::Bytes });
            };
            short("DISCARD");
            short("SET a short PX 40");
            short("SET b short");
            short("PEXPIRE b 40");
            short("GETEX b PX 50");
            short("SET num 5 PX 40");
            short("SET f:1 stays EX 1000");
            pair.batch(0, &requests, 1);
            pair.batch(1, &ask(&["WATCH a c", "MULTI", "SET c yes", "GET a"]), 1);
            pause(120);
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

fn ask(lines: &[&str]) -> Vec<Asked> {
    let one = |line: &&str| {
        let compare = if line.starts_with("KEYS") { Compare::Keys } else { Compare::Bytes };
        Asked { arguments: line.split(' ').map(|word| word.as_bytes().to_vec()).collect(), compare }
    };
    lines.iter().map(one).collect()
}
