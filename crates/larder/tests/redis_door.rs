//! The Redis door as clients find it: requests in whatever pieces, both protocols, commands about the connection and the
//! node, messages, notifications about keys, and the settings. Commands on values are compared with a Redis server in
//! `redis_model.rs`.
#[path = "support/resp.rs"]
mod resp;
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use resp::{Connection, Reply, address};
use support::patience::until;
use support::{Home, pause};

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned()
}

fn error(reply: &Reply) -> String {
    match reply {
        Reply::Line(b'-', text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("no error: {}", other.show()),
    }
}

/// All bytes that a fresh connection answers until it is closed; the client has sent all of its own.
fn answers(address: &str, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered).unwrap();
    String::from_utf8_lossy(&answered).into_owned()
}

#[test]
fn requests_are_understood_in_whatever_pieces_they_come() {
    let home = Home::up();
    let door = address(&home);
    let sent = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nva\r\nl\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\nPING\r\n\r\nECHO \"a b\"\r\n*0\r\nECHO x\n";
    let told = "+OK\r\n$5\r\nva\r\nl\r\n+PONG\r\n$3\r\na b\r\n$1\r\nx\r\n";
    assert_eq!(answers(&door, sent), told, "a client that has said all still gets its answers");
    let mut client = Connection::to(&door);
    for byte in sent {
        client.send(&[*byte]);
        if byte.is_ascii_uppercase() {
            pause(1);
        }
    }
    let replies: Vec<_> = (0..5).map(|_| text(&client.reply())).collect();
    assert_eq!(replies, ["OK", "va\r\nl", "PONG", "a b", "x"], "a byte at a time");
    // A value of several reads, in a pipeline with others.
    let long = "v".repeat(3 << 20);
    let mut pipeline = Vec::new();
    for at in 0..3 {
        let words = [b"SET".to_vec(), format!("long{at}").into_bytes(), long.clone().into_bytes()];
        resp::encode(&words, &mut pipeline);
        resp::encode(&[b"GET".to_vec(), format!("long{at}").into_bytes()], &mut pipeline);
    }
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&pipeline).unwrap());
    for _ in 0..3 {
        assert_eq!(text(&client.reply()), "OK");
        assert_eq!(text(&client.reply()), long);
    }
    sending.join().unwrap();
}

#[test]
fn connections_say_what_they_speak_and_who_they_are() {
    let home = Home::up();
    let mut client = Connection::to(&address(&home));
    let hello = client.ask(&["HELLO"]);
    assert_eq!(hello.parts().unwrap().len(), 14, "a list in the older protocol");
    let hello = client.ask(&["HELLO", "3", "SETNAME", "me"]);
    let Reply::Many(b'%', Some(parts)) = &hello else { panic!("{}", hello.show()) };
    assert_eq!((text(&parts[0]), text(&parts[2])), ("server".into(), "version".into()));
    assert_eq!(client.ask(&["GET", "nothing"]), Reply::Line(b'_', Vec::new()));
    assert_eq!(text(&client.ask(&["CLIENT", "GETNAME"])), "me");
    assert_eq!(text(&client.ask(&["CLIENT", "SETINFO", "LIB-NAME", "tests"])), "OK");
    let info = text(&client.ask(&["CLIENT", "INFO"]));
    assert!(
        info.contains("name=me ") && info.contains("lib-name=tests") && info.contains("resp=3"),
        "{info}"
    );
    let id = client.ask(&["CLIENT", "ID"]).number().unwrap();
    let other = Connection::to(&address(&home)).ask(&["CLIENT", "LIST"]);
    assert!(text(&other).contains(&format!("id={id} ")), "{}", text(&other));
    assert!(error(&client.ask(&["HELLO", "4"])).starts_with("NOPROTO"));
    assert!(error(&client.ask(&["CLIENT", "SETNAME", "a b"])).contains("cannot contain spaces"));
    assert!(error(&client.ask(&["CLIENT", "PAUSE", "x"])).starts_with("ERR unknown subcommand 'PAUSE'"));
    assert!(error(&client.ask(&["CLIENT", "SETNAME"])).contains("'client|setname'"));
    assert_eq!(text(&client.ask(&["RESET"])), "RESET");
    assert_eq!(client.ask(&["GET", "nothing"]), Reply::Bulk(b'$', None), "the older protocol again");
    assert_eq!(text(&client.ask(&["SELECT", "0"])), "OK");
    assert_eq!(error(&client.ask(&["SELECT", "1"])), "ERR DB index is out of range");
    client.send(b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO seen\r\n");
    assert_eq!((text(&client.reply()), text(&client.reply())), ("OK".into(), "seen".into()));
    assert!(error(&client.ask(&["NONSENSE", "x"])).starts_with("ERR unknown command 'NONSENSE', Larder has"));
    assert_eq!(error(&client.ask(&["GET"])), "ERR wrong number of arguments for 'get' command");
    assert_eq!(text(&client.ask(&["QUIT"])), "OK");
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "closed");
}

#[test]
fn reset_leaves_nothing_of_what_a_connection_was_at() {
    let home = Home::up();
    let door = address(&home);
    let (mut client, mut other) = (Connection::to(&door), Connection::to(&door));
    client.ask(&["HELLO", "3", "SETNAME", "me"]);
    client.ask(&["SUBSCRIBE", "news"]);
    client.ask(&["WATCH", "watched"]);
    client.send(b"CLIENT REPLY OFF\r\nMULTI\r\nSET queued x\r\nRESET\r\n");
    assert_eq!(text(&client.reply()), "RESET", "answers are on again");
    assert_eq!(client.ask(&["GET", "queued"]), Reply::Bulk(b'$', None), "no MULTI, and the older protocol");
    assert_eq!(error(&client.ask(&["EXEC"])), "ERR EXEC without MULTI");
    assert_eq!(client.ask(&["CLIENT", "GETNAME"]), Reply::Bulk(b'$', None));
    let info = text(&client.ask(&["CLIENT", "INFO"]));
    for part in [" sub=0 ", " multi=-1 ", " watch=0 ", " resp=2 "] {
        assert!(info.contains(part), "{part} {info}");
    }
    assert_eq!(other.ask(&["PUBLISH", "news", "x"]).number(), Some(0), "it listens to nothing");
    client.ask(&["MULTI"]);
    other.ask(&["SET", "watched", "changed"]);
    client.ask(&["SET", "queued", "y"]);
    assert_eq!(client.ask(&["EXEC"]).show(), r#"*[+OK]"#, "nor does it watch anything");
    // Each way out of a transaction ends what is watched; a way into none does not.
    for (way, ends) in
        [(&["EXEC"][..], true), (&["DISCARD"], true), (&["UNWATCH"], true), (&["GET", "a"], false)]
    {
        client.ask(&["WATCH", "watched"]);
        if way[0] == "EXEC" || way[0] == "DISCARD" {
            client.ask(&["MULTI"]);
        }
        assert!(!client.ask(way).is_error(), "{way:?}");
        other.ask(&["SET", "watched", "again"]);
        client.ask(&["MULTI"]);
        client.ask(&["PING"]);
        assert_eq!(client.ask(&["EXEC"]).parts().is_some(), ends, "{way:?}");
    }
    assert_eq!(error(&client.ask(&["DISCARD"])), "ERR DISCARD without MULTI");
    client.ask(&["MULTI"]);
    assert_eq!(error(&client.ask(&["MULTI"])), "ERR MULTI calls can not be nested");
    assert_eq!(error(&client.ask(&["WATCH", "a"])), "ERR WATCH inside MULTI is not allowed");
    client.ask(&["DISCARD"]);
    // A greeting that is refused changes nothing.
    for refused in
        [&["HELLO", "4", "SETNAME", "x"][..], &["HELLO", "3", "SETNAME", "a b"], &["HELLO", "3", "x"]]
    {
        assert!(client.ask(refused).is_error(), "{refused:?}");
        assert_eq!(client.ask(&["CLIENT", "GETNAME"]), Reply::Bulk(b'$', None), "{refused:?}");
    }
    client.send(b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO a\r\nCLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\n");
    assert_eq!((text(&client.reply()), text(&client.reply())), ("a".into(), "OK".into()));
}

#[test]
fn tools_find_what_they_ask_of_the_node() {
    let home = Home::up();
    let mut client = Connection::to(&address(&home));
    client.ask(&["SET", "a", "1"]);
    let info = text(&client.ask(&["INFO"]));
    for line in [
        "redis_version:7.0.",
        "larder_version:",
        "loading:0",
        "role:master",
        "connected_clients:1",
        "db0:keys=1",
    ] {
        assert!(info.contains(line), "no {line} in {info}");
    }
    let stats = text(&client.ask(&["INFO", "commandstats"]));
    assert!(stats.contains("cmdstat_set:calls=1") && !stats.contains("redis_version"), "{stats}");
    let count = client.ask(&["COMMAND", "COUNT"]).number().unwrap();
    assert_eq!(client.ask(&["COMMAND"]).parts().unwrap().len() as i64, count);
    assert_eq!(client.ask(&["COMMAND", "DOCS"]).parts().unwrap().len() as i64, 2 * count);
    let get = client.ask(&["COMMAND", "INFO", "get", "nonsense"]);
    assert_eq!(get.parts().unwrap()[0].parts().unwrap()[1].number(), Some(2));
    let keys = client.ask(&["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"]);
    let keys: Vec<_> = keys.parts().unwrap().iter().map(text).collect();
    assert_eq!(keys, ["a", "b"]);
    let config = client.ask(&["CONFIG", "GET", "save", "append*"]);
    let config: Vec<_> = config.parts().unwrap().iter().map(text).collect();
    assert_eq!(config, ["appendonly", "no", "save", ""]);
    assert_eq!(text(&client.ask(&["CONFIG", "SET", "notify-keyspace-events", "KEA"])), "OK");
    assert!(error(&client.ask(&["CONFIG", "SET", "maxmemory", "1"])).contains("larder config show"));
    let policy = |client: &mut Connection| client.ask(&["CONFIG", "GET", "maxmemory-policy"]).show();
    assert!(policy(&mut client).contains("noeviction"));
    home.run(&["namespace", "set", "raw", "--when-full", "evict"]).ends(0);
    assert!(policy(&mut client).contains("volatile-ttl"), "{}", policy(&mut client));
    assert!(text(&client.ask(&["INFO", "memory"])).contains("maxmemory_policy:volatile-ttl"));
    let id = text(&client.ask(&["CLIENT", "INFO"]));
    let id = id.split([' ', '=']).nth(1).unwrap();
    let listed = text(&client.ask(&["CLIENT", "LIST", "ID", id, id, "999999"]));
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let time = client.ask(&["TIME"]);
    let seconds: u64 = text(&time.parts().unwrap()[0]).parse().unwrap();
    assert!(seconds > 1_700_000_000, "{seconds}");
    let metrics = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(metrics["exposed"][2]["door"], "redis");
    // The same figures by the other door.
    let http = support::http::address(&home);
    let metrics = support::http::get(&http, "/v1/metrics");
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        r#"larder_requests_total{door="redis",operation="set",outcome="ok"} 1"#,
        r#"larder_requests_total{door="redis",operation="config",outcome="error"} 1"#,
        r#"larder_open_connections{door="redis"} 1"#,
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn messages_reach_whoever_listens_in_both_protocols() {
    let home = Home::up();
    let door = address(&home);
    let (mut old, mut new, mut sender) =
        (Connection::to(&door), Connection::to(&door), Connection::to(&door));
    new.ask(&["HELLO", "3"]);
    let told = old.ask(&["SUBSCRIBE", "news", "news"]);
    assert_eq!(told.show(), r#"*[$9 "subscribe", $4 "news", :1]"#);
    assert_eq!(old.reply().show(), told.show(), "the same again is the same");
    assert_eq!(new.ask(&["PSUBSCRIBE", "n?ws"]).show(), r#">[$10 "psubscribe", $4 "n?ws", :1]"#);
    assert_eq!(sender.ask(&["PUBLISH", "news", "hello"]).number(), Some(2));
    assert_eq!(old.reply().show(), r#"*[$7 "message", $4 "news", $5 "hello"]"#);
    assert_eq!(new.reply().show(), r#">[$8 "pmessage", $4 "n?ws", $4 "news", $5 "hello"]"#);
    assert_eq!(sender.ask(&["PUBSUB", "CHANNELS"]).show(), r#"*[$4 "news"]"#);
    assert_eq!(sender.ask(&["PUBSUB", "NUMSUB", "news", "x"]).show(), r#"*[$4 "news", :1, $1 "x", :0]"#);
    assert_eq!(sender.ask(&["PUBSUB", "NUMPAT"]).number(), Some(1));
    assert!(error(&old.ask(&["GET", "a"])).starts_with("ERR Can't execute 'get'"));
    assert_eq!(old.ask(&["PING"]).show(), r#"*[$4 "pong", $0 ""]"#);
    assert_eq!(
        new.ask(&["ECHO", "still"]).show(),
        r#"$5 "still""#,
        "with the newer protocol all commands go on"
    );
    assert_eq!(old.ask(&["UNSUBSCRIBE"]).show(), r#"*[$11 "unsubscribe", $4 "news", :0]"#);
    assert_eq!(old.ask(&["UNSUBSCRIBE"]).show(), r#"*[$11 "unsubscribe", $nothing, :0]"#);
    assert_eq!(old.ask(&["GET", "a"]), Reply::Bulk(b'$', None));
    // What has come before the end of a subscription is handed over before it is told.
    old.ask(&["HELLO", "3"]);
    old.ask(&["SUBSCRIBE", "a", "b"]);
    old.reply();
    old.send(b"PUBLISH a 1\r\nPUBLISH b 2\r\nUNSUBSCRIBE a\r\nUNSUBSCRIBE\r\nHELLO 2\r\nPING\r\n");
    let told: Vec<_> = (0..6).map(|_| old.reply().show()).collect();
    assert_eq!(told[2..4], [r#">[$7 "message", $1 "a", $1 "1"]"#, r#">[$7 "message", $1 "b", $1 "2"]"#]);
    assert!(told[4].contains("unsubscribe") && told[5].contains("unsubscribe"), "{told:?}");
    assert_eq!((old.reply().parts().unwrap().len(), old.reply().show()), (14, "+PONG".to_owned()));
    let long = "n".repeat(9_000);
    assert!(error(&sender.ask(&["PUBLISH", &long, "x"])).contains("too long"));
    drop(new);
    until("whoever has gone listens no more", || sender.ask(&["PUBLISH", "news", "x"]).number() == Some(0));
    // An own message comes, too.
    sender.ask(&["HELLO", "3"]);
    sender.ask(&["SUBSCRIBE", "own"]);
    sender.send(b"PUBLISH own x\r\n");
    let both = [sender.reply().show(), sender.reply().show()];
    assert!(
        both.contains(&":1".to_owned()) && both.iter().any(|reply| reply.contains("message")),
        "{both:?}"
    );
}

#[test]
fn keys_are_told_of_while_somebody_listens() {
    let home = Home::up();
    let door = address(&home);
    let (mut events, mut one, mut client) =
        (Connection::to(&door), Connection::to(&door), Connection::to(&door));
    events.ask(&["PSUBSCRIBE", "__keyevent@0__:*"]);
    one.ask(&["SUBSCRIBE", "__keyspace@0__:k"]);
    client.ask(&["SET", "gone", "v"]);
    client.ask(&["DEL", "gone"]);
    client.ask(&["SET", "k", "v", "PX", "200"]);
    let mut event = || {
        let reply = events.reply();
        let parts = reply.parts().unwrap();
        (text(&parts[2]).replace("__keyevent@0__:", ""), text(&parts[3]))
    };
    let mut seen = vec![event()];
    while seen.last().unwrap().0 != "expired" {
        seen.push(event());
    }
    let pair = |kind: &str, key: &str| (kind.to_owned(), key.to_owned());
    for wanted in [pair("set", "k"), pair("set", "gone"), pair("del", "gone"), pair("expired", "k")] {
        assert!(seen.contains(&wanted), "{wanted:?} in {seen:?}");
    }
    let mut about = Vec::new();
    while about.last().is_none_or(|last| last != "expired") {
        about.push(text(&one.reply().parts().unwrap()[2]));
    }
    assert_eq!(about.first().map(String::as_str), Some("set"));
}

#[test]
fn what_other_doors_change_is_told_as_well_and_nothing_twice() {
    let home = Home::up();
    let (door, http) = (address(&home), support::http::address(&home));
    let (mut events, mut client) = (Connection::to(&door), Connection::to(&door));
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        assert!(support::http::ask(&http, method, path, headers, body).status < 300, "{method} {path}");
    };
    ask("PUT", "/v1/data/before", &[], b"x");
    events.ask(&["PSUBSCRIBE", "__key*@0__:*"]);
    let mut told = || {
        let [about_key, about_event] = [events.reply(), events.reply()];
        let words = |reply: &Reply, at: usize| text(&reply.parts().unwrap()[at]);
        let (event, key) = (words(&about_key, 3), words(&about_event, 3));
        assert_eq!(words(&about_key, 2), format!("__keyspace@0__:{key}"));
        assert_eq!(words(&about_event, 2), format!("__keyevent@0__:{event}"));
        format!("{event} {key}")
    };
    // What comes through other doors is told a moment later: it is waited for, so that the order is known.
    let mut seen = Vec::new();
    for (method, body) in [("PUT", &b"1"[..]), ("PUT", b"2"), ("DELETE", b"")] {
        ask(method, "/v1/data/k", &[], body);
        seen.push(told());
    }
    client.ask(&["SET", "own", "v"]);
    client.ask(&["APPEND", "own", "v"]);
    client.ask(&["GETEX", "own", "EX", "100"]);
    client.ask(&["DEL", "own"]);
    // What was written with a name is kept in another way, and changed in another way.
    (0..4).for_each(|_| seen.push(told()));
    ask("PUT", "/v1/data/named", &[("idempotency-key", "a")], b"1");
    seen.push(told());
    client.ask(&["APPEND", "named", "2"]);
    client.ask(&["EXPIRE", "named", "100"]);
    client.ask(&["DEL", "named"]);
    client.ask(&["FLUSHDB"]);
    ask("PUT", "/v1/data/short?ttl=0.3", &[], b"x");
    while !seen.last().is_some_and(|last: &String| last.starts_with("expired")) {
        seen.push(told());
    }
    let expected = [
        "set k",
        "set k",
        "del k",
        "set own",
        "append own",
        "expire own",
        "del own",
        "set named",
        "append named",
        "expire named",
        "del named",
        "set short",
        "expired short",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_door_is_where_it_is_set_to_be() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = |listen: &str| {
        home.run(&[
            "up",
            "--listen",
            "127.0.0.1:0",
            "--redis-listen",
            listen,
            "--passphrase-file",
            passphrase.to_str().unwrap(),
        ])
    };
    let taken = support::own_port();
    let at = taken.local_addr().unwrap().to_string();
    up(&at).ends(4).says("for Redis clients").says("--redis-listen");
    drop(taken);
    let open = ["up", "--redis-listen", "0.0.0.0:0", "--set", "redis_auth=none", "--passphrase-file"];
    home.run(&[&open[..], &[passphrase.to_str().unwrap()]].concat()).ends(2).says("redis_auth to token");
    up(&at).ends(0);
    assert_eq!(address(&home), at);
    assert_eq!(text(&Connection::to(&at).ask(&["PING"])), "PONG");
    let status = home.run(&["status"]).ends(0).out;
    assert!(status.contains(&format!("Redis protocol on {at} to every program of this machine")), "{status}");
    up("off").ends(4).says("redis_listen");
    home.run(&["down"]).ends(0);
    assert!(TcpStream::connect(&at).is_err());
    up("off").ends(0);
    assert!(TcpStream::connect(&at).is_err());
    home.run(&["down"]).ends(0);
    // A namespace that is not there is said to whoever wants a value of it; the connection works.
    let out = home.run(&[
        "up",
        "--set",
        "redis_namespace=other",
        "--redis-listen",
        &at,
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ]);
    out.ends(0);
    let mut client = Connection::to(&at);
    assert_eq!(text(&client.ask(&["PING"])), "PONG");
    assert!(error(&client.ask(&["GET", "a"])).contains("no namespace \"other\""));
    home.run(&["namespace", "create", "other", "--raw", "--memory"]).ends(0);
    assert_eq!(client.ask(&["GET", "a"]), Reply::Bulk(b'$', None), "it is there now");
}

#[test]
fn the_command_line_client_works() {
    let home = Home::up();
    let door = address(&home);
    let (_, port) = door.rsplit_once(':').unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", port]).args(arguments).output();
        match output {
            Ok(output) => Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "redis-cli: {error}");
                None
            }
        }
    };
    let Some(said) = run(&["SET", "greeting", "hello", "EX", "60"]) else { return };
    assert_eq!(said, "OK");
    assert_eq!(run(&["-3", "GET", "greeting"]).as_deref(), Some("hello"));
    let left = run(&["--no-raw", "TTL", "greeting"]).unwrap();
    let left: u64 = left.strip_prefix("(integer) ").unwrap().parse().unwrap();
    assert!((1..=60).contains(&left), "{left}");
    assert_eq!(run(&["--scan", "--pattern", "greet*"]).as_deref(), Some("greeting"));
}
