//! Bad input and bad manners at the Redis door: a clear error or an end, bounded memory, and others are served as before.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "looks at a real clock, and tells what it has measured"
)]

#[path = "support/resp.rs"]
mod resp;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use resp::{Connection, Reply, address};
use support::patience::{WAIT_MAX, in_time, until};
use support::{Home, pause};

/// What a connection is told before it is closed.
fn told(door: &str, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Whoever is cut off while sending may still read why.
    let _ = stream.write_all(sent);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => said.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed: {error}; said {}", said.escape_ascii()),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What holds the door up does so for minutes, or for ever. A door that is not held up answers sooner than this, on however
/// busy a machine.
const SERVED_MAX: Duration = Duration::from_secs(20);

fn resident_mib(home: &Home) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", home.pid("node"))).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[track_caller]
fn still_serves(door: &str) {
    let began = Instant::now();
    let mut client = Connection::to(door);
    assert_eq!(client.ask(&["SET", "still", "here"]), Reply::Line(b'+', b"OK".to_vec()));
    assert_eq!(client.ask(&["GET", "still"]).bytes(), Some(&b"here"[..]));
    assert!(began.elapsed() < SERVED_MAX, "{:?}", began.elapsed());
}

#[test]
fn what_is_no_request_ends_its_connection_with_a_reason() {
    let home = Home::up();
    let door = address(&home);
    for (sent, words) in [
        (&b"*2\r\n$3\r\nGET\r\n$-7\r\n"[..], "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$10485761\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*-99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n*1\r\n$4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
        (b"PING\r\nset \"a\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        assert_eq!(told(&door, sent), words, "{}", sent.escape_ascii());
    }
    let endless = vec![b'a'; 70_000];
    assert_eq!(told(&door, &endless), "-ERR Protocol error: too big inline request\r\n");
    // A page in a browser makes it send this: nothing in it is carried out.
    let page = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET from page\r\n";
    assert_eq!(told(&door, page), "");
    let mut client = Connection::to(&door);
    assert_eq!(client.ask(&["GET", "from"]), Reply::Bulk(b'$', None));
    still_serves(&door);
}

#[test]
fn announced_lengths_and_unfinished_requests_hold_no_memory() {
    let home = Home::up();
    let door = address(&home);
    still_serves(&door);
    let before = resident_mib(&home);
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&door).unwrap();
        stream.write_all(b"*1048576\r\n$10485760\r\nabc").unwrap();
        open.push(stream);
    }
    still_serves(&door);
    let held = resident_mib(&home).saturating_sub(before);
    assert!(held < 64, "{held} MiB for 200 connections that have sent 25 bytes each");
    // What does come is held, up to a bound over all connections; who comes beyond is let go.
    let part = vec![b'v'; 4 << 20];
    let mut cut = 0;
    for stream in &mut open {
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        cut += usize::from(stream.write_all(&part).is_err());
    }
    let is_cut = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    until("whoever is beyond the bound is let go", || {
        cut.max(open.iter_mut().map(is_cut).filter(|is_cut| *is_cut).count()) > 50
    });
    // What those held who were let go goes back to the system a little later.
    until("less is held than was sent", || resident_mib(&home).saturating_sub(before) < 700);
    drop(open);
    still_serves(&door);
}

#[test]
fn a_client_that_never_reads_is_in_nobodys_way() {
    let home = Home::up();
    let door = address(&home);
    let mut setting = Connection::to(&door);
    let value = "v".repeat(1 << 20);
    setting.ask(&["SET", "large", &value]);
    let before = resident_mib(&home);
    let mut greedy = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&door).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // Two gigabytes of answers, asked for at once; sending stops when nobody reads at the other end.
        let asked = b"GET large\r\n".repeat(2048);
        let _ = stream.write_all(&asked);
        greedy.push(stream);
    }
    // From the first byte on the rest is on its way, as far as it goes.
    for stream in &greedy {
        stream.peek(&mut [0]).unwrap();
    }
    for _ in 0..5 {
        pause(100);
        let held = resident_mib(&home).saturating_sub(before);
        assert!(held < 200, "{held} MiB for answers that nobody takes");
    }
    still_serves(&door);
    // Whoever reads late gets all of it, in order.
    let late = greedy.pop().unwrap();
    late.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut late = late.take(8 * ((1 << 20) + 12));
    let mut got = Vec::new();
    late.read_to_end(&mut got).unwrap();
    assert!(got.starts_with(b"$1048576\r\nvvv") && got.ends_with(b"v\r\n"));
    assert!(got.iter().filter(|byte| **byte == b'$').count() == 8);
}

#[test]
fn one_answer_and_one_transaction_have_bounds() {
    let home = Home::up();
    let mut client = Connection::to(&address(&home));
    let value = "v".repeat(8 << 20);
    client.ask(&["SET", "large", &value]);
    let many: Vec<&str> = std::iter::once("MGET").chain(std::iter::repeat_n("large", 100)).collect();
    let Reply::Line(b'-', words) = client.ask(&many) else { panic!("800 MB in one answer") };
    assert!(String::from_utf8_lossy(&words).contains("ask for less at once"));
    assert_eq!(client.ask(&["STRLEN", "large"]).number(), Some(8 << 20), "the connection goes on");
    client.ask(&["MULTI"]);
    for at in 0..12 {
        let reply = client.ask(&["SET", "other", &value]);
        assert_eq!(reply.is_error(), at >= 7, "{at}: {}", reply.show());
    }
    assert!(client.ask(&["EXEC"]).show().starts_with("-EXECABORT"));
    assert_eq!(client.ask(&["EXISTS", "other"]).number(), Some(0));
    // What changed something is told, whatever does not fit beside it.
    client.ask(&["MULTI"]);
    client.ask(&["SET", "count", "7"]);
    (0..9).for_each(|_| {
        client.ask(&["GET", "large"]);
    });
    client.ask(&["INCR", "count"]);
    let told = client.ask(&["EXEC"]);
    let parts = told.parts().unwrap();
    assert_eq!((parts[0].bytes(), parts[10].number()), (Some(&b"OK"[..]), Some(8)));
    assert_eq!(parts.iter().filter(|part| part.is_error()).count(), 2, "of 72 MiB, 64 are told");
    // What an MSET replaces is kept until all of it is set: of the same long value a thousand times.
    let before = resident_mib(&home);
    let mut many = vec!["MSET"];
    (0..1_000).for_each(|_| many.extend(["large", "x"]));
    assert!(client.ask(&many).show().contains("too long to be replaced as one"));
    assert_eq!(client.ask(&["STRLEN", "large"]).number(), Some(8 << 20), "nothing was set");
    assert!(resident_mib(&home).saturating_sub(before) < 200);
    // Everybody waits for what is about all keys.
    client.ask(&["MULTI"]);
    let queued = (0..20).filter(|_| !client.ask(&["KEYS", "a*"]).is_error()).count();
    assert_eq!(queued, 16);
    assert!(client.ask(&["EXEC"]).show().starts_with("-EXECABORT"));
}

#[test]
fn what_a_transaction_would_copy_has_a_bound_and_nothing_is_done_beyond_it() {
    let home = Home::up();
    let door = address(&home);
    let mut client = Connection::to(&door);
    let large = 10_000_000;
    client.ask(&["SET", "large", &"v".repeat(large)]);
    client.ask(&["SET", "small", "v"]);
    let mut carried_out = |requests: &[&[&str]]| {
        let mut bytes = b"MULTI\r\n".to_vec();
        for words in requests {
            let words: Vec<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            resp::encode(&words, &mut bytes);
        }
        let began = Instant::now();
        client.send(&bytes);
        client.send(b"EXEC\r\n");
        (0..=requests.len()).for_each(|_| assert!(!client.reply().is_error()));
        let told = client.reply();
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
        told
    };
    let refused = |told: Reply| told.show().starts_with("-EXECABORT Transaction discarded: it would copy");
    // Minutes each, in which nobody gets to the key nor to whoever shares the thread.
    let seven = ["MGET", "large", "large", "large", "large", "large", "large"];
    for request in [
        &["APPEND", "large", "x"][..],
        &["SETRANGE", "large", "5", "x"],
        &["SETRANGE", "made", "9999999", "x"],
        &["COPY", "large", "other", "REPLACE"],
        &["GETSET", "large", "x"],
        &seven,
    ] {
        assert!(refused(carried_out(&vec![request; 20_000])), "{request:?}");
    }
    // What becomes long on the way is reckoned with, too.
    let mut growing = vec![&["COPY", "large", "other"][..], &["RENAME", "other", "small"]];
    growing.extend(vec![&["APPEND", "small", "x"][..]; 100]);
    assert!(refused(carried_out(&growing)));
    let told = carried_out(&[&["STRLEN", "large"], &["STRLEN", "small"], &["EXISTS", "other", "made"]]);
    assert_eq!(told.show(), format!("*[:{large}, :1, :0]"), "none of it was done");
    // What does not copy is not refused, however much of it there is.
    let mut light = vec![&["GETRANGE", "large", "-5", "-1"][..]; 20_000];
    light.extend(vec![&["EXPIRE", "large", "100"][..]; 20_000]);
    light.extend(vec![&["APPEND", "small", "x"][..]; 10_000]);
    light.extend(vec![&["APPEND", "large", "x"][..]; 5]);
    let told = carried_out(&light);
    assert_eq!(told.parts().unwrap().last().unwrap().number(), Some(large as i64 + 5), "{}", told.show());
    still_serves(&door);
}

#[test]
fn a_pipeline_that_changes_long_values_lets_others_have_their_turn() {
    let home = Home::up();
    let door = address(&home);
    let mut client = Connection::to(&door);
    client.ask(&["SET", "large", &"v".repeat(10_000_000)]);
    let mut others: Vec<_> = (0..8).map(|_| Connection::to(&door)).collect();
    others.iter_mut().for_each(|other| {
        other.ask(&["PING"]);
    });
    // However busy the machine is: in how many times what one takes.
    in_time(Duration::from_millis(100), || {
        let began = Instant::now();
        (0..8).for_each(|_| {
            client.ask(&["APPEND", "large", "x"]);
        });
        let one = began.elapsed() / 8;
        client.send(&b"APPEND large x\r\n".repeat(400));
        let (mut worst, all) = (Duration::ZERO, Instant::now());
        while all.elapsed() < 100 * one {
            for other in &mut others {
                let began = Instant::now();
                other.ask(&["PING"]);
                worst = worst.max(began.elapsed());
            }
        }
        (0..400).for_each(|_| assert!(client.reply().number().is_some()));
        worst.saturating_sub(8 * one)
    });
}

#[test]
fn patterns_that_would_take_long_do_not() {
    let home = Home::up();
    let door = address(&home);
    let mut client = Connection::to(&door);
    let long = "n".repeat(8_000);
    // Before, each of them took a step for each of its bytes at each byte of the name.
    let hostile = format!("*{}x*", "n".repeat(4_000));
    let mut listening = Connection::to(&door);
    let patterns: Vec<String> = (0..1_000).map(|number| format!("{hostile}{number}*")).collect();
    let words: Vec<&str> = std::iter::once("PSUBSCRIBE").chain(patterns.iter().map(String::as_str)).collect();
    listening.ask(&words);
    (1..1_000).for_each(|_| assert!(!listening.reply().is_error()));
    let began = Instant::now();
    assert_eq!(client.ask(&["PUBLISH", &long, "x"]).number(), Some(0));
    assert!(began.elapsed() < SERVED_MAX, "{:?}", began.elapsed());
    drop(listening);
    until("it listens no more", || client.ask(&["PUBSUB", "NUMPAT"]).number() == Some(0));
    let key = "k".repeat(4_000);
    for number in 0..1_000 {
        client.ask(&["SET", &format!("{key}{number}"), "v"]);
    }
    for pattern in
        [format!("*{}x*", "k".repeat(3_000)), format!("*{}x*", "?".repeat(60)), "*k".repeat(250) + "x"]
    {
        let began = Instant::now();
        assert_eq!(client.ask(&["KEYS", &pattern]).parts().unwrap().len(), 0);
        client.ask(&["SCAN", "0", "MATCH", &pattern, "COUNT", "10000"]);
        assert!(began.elapsed() < SERVED_MAX, "{:?} {pattern}", began.elapsed());
    }
    // What is not looked for in one pass is refused.
    for (pattern, words) in [
        ("a".repeat(8_193) + "*", "too long"),
        ("*a".repeat(300), "too many stars"),
        (format!("*{}*", "?".repeat(65)), "between two stars"),
        (format!("[{}]", "a".repeat(200)), "class"),
    ] {
        let pattern = pattern.as_str();
        for request in [&["KEYS", pattern][..], &["SCAN", "0", "MATCH", pattern], &["PSUBSCRIBE", pattern]] {
            let told = client.ask(request).show();
            assert!(told.starts_with("-ERR") && told.contains(words), "{words}: {told}");
        }
    }
    let many = vec!["*"; 100];
    let config = [&["CONFIG", "GET"][..], &many].concat();
    assert!(client.ask(&config).show().contains("too many patterns"));
    still_serves(&door);
}

#[test]
fn what_is_watched_is_counted_as_everything_that_is_held() {
    let home = Home::up();
    let door = address(&home);
    still_serves(&door);
    let mut open = Vec::new();
    // Whole requests, each of them small.
    let requests: Vec<Vec<u8>> = (0..125)
        .map(|block| {
            let mut words = vec![b"WATCH".to_vec()];
            words.extend((0..8).map(|at| format!("{:04096}", 8 * block + at).into_bytes()));
            let mut bytes = Vec::new();
            resp::encode(&words, &mut bytes);
            bytes
        })
        .collect();
    // Four mebibytes each, of 256 in all.
    for _ in 0..72 {
        let mut stream = TcpStream::connect(&door).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let is_taken = |request: &Vec<u8>| {
            stream.write_all(request).and_then(|()| stream.read_exact(&mut [0; 5])).is_ok()
        };
        let mut requests = requests.iter();
        let _ = requests.all(is_taken);
        open.push(stream);
    }
    let is_closed = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    let mut refused = || open.iter_mut().map(is_closed).filter(|closed| *closed).count();
    until("whoever is beyond the bound is let go", || refused() >= 3);
    let refused = refused();
    assert!(refused < 40, "{refused} of 72");
    drop(open);
    still_serves(&door);
}

#[test]
fn a_pipeline_of_long_commands_lets_others_have_their_turn() {
    let home = Home::up();
    let door = address(&home);
    let mut client = Connection::to(&door);
    for block in 0..100 {
        let mut words = vec![b"MSET".to_vec()];
        for at in 0..1_000 {
            words.extend([format!("key:{block}:{at}").into_bytes(), b"v".to_vec()]);
        }
        client.ask_bytes(&words);
    }
    // On every thread of the door, so that each has one of them.
    let mut others: Vec<_> = (0..8).map(|_| Connection::to(&door)).collect();
    others.iter_mut().for_each(|other| {
        other.ask(&["PING"]);
    });
    // However busy the machine is: in how many times what one takes.
    in_time(Duration::from_millis(100), || {
        let began = Instant::now();
        client.ask(&["KEYS", "nothing*"]);
        let one = began.elapsed();
        client.send(&b"KEYS nothing*\r\n".repeat(40));
        let mut worst = Duration::ZERO;
        for other in &mut others {
            let began = Instant::now();
            other.ask(&["PING"]);
            worst = worst.max(began.elapsed());
        }
        (0..40).for_each(|_| assert_eq!(client.reply().show(), "*[]"));
        worst.saturating_sub(10 * one)
    });
}

#[test]
fn subscriptions_have_bounds_and_a_listener_that_does_not_listen_is_let_go() {
    let home = Home::up();
    let door = address(&home);
    still_serves(&door);
    let before = resident_mib(&home);
    let mut greedy = Connection::to(&door);
    let mut refused = 0;
    // A million of them.
    for block in 0..100 {
        let mut words = vec![b"SUBSCRIBE".to_vec()];
        words.extend((0..10_000).map(|at| format!("channel:{block}:{at}").into_bytes()));
        let mut bytes = Vec::new();
        resp::encode(&words, &mut bytes);
        greedy.send(&bytes);
        for _ in 0..10_000 {
            if greedy.reply().is_error() {
                refused += 1;
                break;
            }
        }
    }
    assert!(refused > 90, "{refused}");
    let held = resident_mib(&home).saturating_sub(before);
    assert!(held < 150, "{held} MiB for subscriptions");
    let long = "n".repeat(9_000);
    assert!(Connection::to(&door).ask(&["SUBSCRIBE", &long]).show().contains("too long"));
    drop(greedy);
    let mut deaf = Connection::to(&door);
    deaf.ask(&["SUBSCRIBE", "loud"]);
    let mut sender = Connection::to(&door);
    let message = "m".repeat(1 << 20);
    let mut reached = 0;
    while sender.ask(&["PUBLISH", "loud", &message]).number() == Some(1) {
        reached += 1;
        assert!(reached < 200, "{reached} MiB for one listener");
    }
    assert!(reached >= 30, "{reached}");
    until("it is let go", || {
        sender.ask(&["PUBSUB", "NUMSUB", "loud"]).parts().unwrap()[1].number() == Some(0)
    });
    still_serves(&door);
}

/// What is sent to a connection that has ended is taken for two seconds at least.
const TAKEN_MAX: Duration = Duration::from_secs(2);

#[test]
fn whoever_is_refused_gets_to_read_why_however_much_it_still_sends() {
    let home = Home::up();
    let door = address(&home);
    let connect = |sent: &[u8]| {
        let mut stream = TcpStream::connect(&door).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(sent).unwrap();
        stream
    };
    for (sent, words) in [
        (&b"*2\r\n$3\r\nGET\r\n$-7\r\n"[..], "-ERR Protocol error: invalid bulk length\r\n"),
        (b"QUIT\r\n", "+OK\r\n"),
    ] {
        // That it is the last is told at once.
        in_time(Duration::from_secs(1), || {
            let (mut stream, began, mut said) = (connect(sent), Instant::now(), String::new());
            stream.read_to_string(&mut said).unwrap();
            assert_eq!(said, words);
            began.elapsed()
        });
        // It is closed already, and what is sent all the same is taken, or the system would throw away what was told.
        in_time(TAKEN_MAX, || {
            let (mut stream, began, mut said) = (connect(sent), Instant::now(), String::new());
            pause(100);
            let is_taken = (0..64).all(|_| {
                pause(2);
                stream.write_all(&[b'x'; 65_536]).is_ok()
            });
            let in_good_order = is_taken && stream.read_to_string(&mut said).is_ok();
            let took = began.elapsed();
            assert!(in_good_order || took >= TAKEN_MAX, "not taken after {took:?}");
            assert!(!in_good_order || said == words, "{said}");
            took
        });
    }
    // Not for ever: neither in time nor in bytes.
    let (mut stream, began) = (connect(b"QUIT\r\n"), Instant::now());
    while stream.write_all(b"x").is_ok() {
        pause(100);
        assert!(began.elapsed() < WAIT_MAX, "nobody waits so long");
    }
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    in_time(TAKEN_MAX, || {
        let (mut stream, began) = (connect(b"QUIT\r\n"), Instant::now());
        let taken = (0..1_000).take_while(|_| stream.write_all(&[b'x'; 65_536]).is_ok()).count();
        let took = began.elapsed();
        assert!(taken < 900 && (taken >= 100 || took >= TAKEN_MAX), "{taken} of 64 KiB in {took:?}");
        took
    });
}

#[test]
fn half_closed_connections_are_answered_and_ended() {
    let home = Home::up();
    let door = address(&home);
    let mut stream = TcpStream::connect(&door).unwrap();
    stream.write_all(b"PING\r\n*2\r\n$4\r\nECHO\r\n$10\r\nhal").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "+PONG\r\n", "what was whole is answered, what was not is forgotten");
    let mut listener = TcpStream::connect(&door).unwrap();
    listener.write_all(b"SUBSCRIBE a\r\n").unwrap();
    listener.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    listener.read_to_string(&mut said).unwrap();
    assert!(said.contains("subscribe"));
    until("it listens no more", || Connection::to(&door).ask(&["PUBSUB", "CHANNELS"]).show() == "*[]");
}

/// A connection from one of loopback's many addresses.
fn connect_from(last: u8, door: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(IpAddr::from([127, 0, 1, last]), 0)).unwrap();
    connect(&socket, &door).unwrap();
    TcpStream::from(socket)
}

#[test]
fn very_many_connects_are_served_one_after_the_other() {
    let home = Home::up();
    let door = address(&home);
    let at: SocketAddr = door.parse().unwrap();
    still_serves(&door);
    let before = resident_mib(&home);
    let began = Instant::now();
    let (count, each) = (4_000_u32, Duration::from_micros(1_200));
    for number in 0..count {
        let mut stream = connect_from((number % 8) as u8 + 1, at);
        if number % 2 == 0 {
            stream.write_all(b"PING\r\n").unwrap();
            let mut said = [0; 7];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"+PONG\r\n");
        }
    }
    let took = began.elapsed();
    let grown = resident_mib(&home).saturating_sub(before);
    assert!(grown < 64, "{grown} MiB");
    assert!(took < 20 * each * count, "{took:?}: far from 50,000 a minute");
    still_serves(&door);
}

#[test]
fn ten_thousand_idle_connections_take_little() {
    // Two descriptors each, one here and one there.
    const COUNT: usize = 10_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.maximum.is_some_and(|max| max < COUNT as u64 + 200) {
        println!("NOT RUN: fewer than {COUNT} descriptors are allowed");
        return;
    }
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    )
    .unwrap();
    let home = Home::up();
    let door = address(&home);
    let at: SocketAddr = door.parse().unwrap();
    still_serves(&door);
    let before = resident_mib(&home);
    let open: Vec<TcpStream> = (0..COUNT)
        .map(|number| {
            let mut stream = connect_from((number % 8) as u8 + 1, at);
            stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n").unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"$-1\r\n");
            stream
        })
        .collect();
    let held = resident_mib(&home);
    println!("{COUNT} idle connections: {held} MiB in all, {} MiB of them", held.saturating_sub(before));
    assert!(held < 200, "{held} MiB");
    still_serves(&door);
    drop(open);
}
