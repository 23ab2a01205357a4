//! Who may do what at the Redis door: tokens by AUTH and HELLO, what they are limited to, revocation, and TLS with
//! certificates.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at a real clock: how long things take is what is tested"
)]

#[path = "support/resp.rs"]
mod resp;
mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use resp::{Connection, Reply, address};
use support::patience::{in_time, while_it_lives};
use support::{Home, pause};

fn up(settings: &[&str]) -> Home {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let mut arguments =
        vec!["up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    home.run(&arguments).ends(0);
    home
}

/// A token's id and text.
fn token(home: &Home, grants: &[&str]) -> (String, String) {
    let made = home.run(&[&["token", "create", "--json"], grants].concat()).ends(0).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

fn is_ok(reply: &Reply) -> bool {
    *reply == Reply::Line(b'+', b"OK".to_vec())
}

#[test]
fn whoever_has_no_token_gets_no_further_than_saying_who_it_is() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    let (id, secret) = token(&home, &["--right", "write"]);
    let mut client = Connection::to(&door);
    assert_eq!(client.ask(&["GET", "a"]).show(), "-NOAUTH Authentication required.");
    assert_eq!(client.ask(&["PING"]).show(), "-NOAUTH Authentication required.");
    assert!(client.ask(&["HELLO", "3"]).show().starts_with("-NOAUTH HELLO must be called"));
    assert!(client.ask(&["AUTH", &id, "larder_wrong"]).show().starts_with("-WRONGPASS"));
    assert!(client.ask(&["AUTH", "other", &secret]).show().starts_with("-WRONGPASS"));
    assert!(is_ok(&client.ask(&["AUTH", &id, &secret])));
    assert!(is_ok(&client.ask(&["SET", "a", "1"])));
    let info = client.ask(&["CLIENT", "INFO"]);
    assert!(
        String::from_utf8_lossy(info.bytes().unwrap()).contains(&format!(" user={id} ")),
        "{}",
        info.show()
    );
    client.ask(&["RESET"]);
    assert_eq!(
        client.ask(&["GET", "a"]).show(),
        "-NOAUTH Authentication required.",
        "RESET forgets who it was"
    );
    // With the greeting, and with the token alone.
    assert!(matches!(Connection::to(&door).ask(&["HELLO", "3", "AUTH", &id, &secret]), Reply::Many(b'%', _)));
    assert!(is_ok(&Connection::to(&door).ask(&["AUTH", &secret])));
    assert!(is_ok(&Connection::to(&door).ask(&["AUTH", "default", &secret])));
    // Somebody unknown cannot make the node read much.
    let mut stranger = Connection::to(&door);
    stranger.send(b"*100\r\n");
    assert_eq!(stranger.reply().show(), "-ERR Protocol error: unauthenticated multibulk length");
    let mut stranger = Connection::to(&door);
    stranger.send(b"*3\r\n$4\r\nAUTH\r\n$100000\r\n");
    assert_eq!(stranger.reply().show(), "-ERR Protocol error: unauthenticated bulk length");
    // Nor try for ever.
    let mut guesser = Connection::to(&door);
    let mut guesses = 0;
    loop {
        guesser.send(b"AUTH x y\r\n");
        guesses += 1;
        if guesses == 8 {
            break;
        }
        guesser.reply();
    }
    guesser.reply();
    assert_eq!(guesser.stream.read(&mut [0]).unwrap(), 0, "closed after {guesses}");
    let log = std::fs::read_to_string(home.home().join("state/node.log")).unwrap_or_default();
    assert!(!log.contains(&secret), "a token is never logged");
}

#[test]
fn a_token_goes_as_far_as_it_says_and_no_longer_than_it_is_good() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    let (_, writer) = token(&home, &["--right", "write"]);
    let (reading, reader) = token(&home, &["--right", "read", "--prefix", "app:"]);
    let mut client = Connection::to(&door);
    client.ask(&["AUTH", &writer]);
    assert!(is_ok(&client.ask(&["MSET", "app:1", "one", "other", "two"])));
    let mut limited = Connection::to(&door);
    limited.ask(&["AUTH", &reader]);
    assert_eq!(limited.ask(&["GET", "app:1"]).bytes(), Some(&b"one"[..]));
    for refused in [
        &["GET", "other"][..],
        &["SET", "app:1", "x"],
        &["KEYS", "*"],
        &["MGET", "app:1", "other"],
        &["WATCH", "other"],
        &["SCAN", "0", "MATCH", "app:*", "MATCH", "*"],
    ] {
        assert!(limited.ask(refused).show().starts_with("-NOPERM"), "{refused:?}");
    }
    assert_eq!(limited.ask(&["KEYS", "app:*"]).parts().unwrap().len(), 1);
    let shown = |client: &mut Connection| {
        let list = client.ask(&["CLIENT", "LIST"]);
        String::from_utf8_lossy(list.bytes().unwrap()).lines().count()
    };
    assert_eq!((shown(&mut client), shown(&mut limited)), (2, 1), "nor who else is there");
    let scanned = limited.ask(&["SCAN", "0", "MATCH", "app:*", "COUNT", "1000"]).show();
    assert!(scanned.contains("app:1") && !scanned.contains("other"), "{scanned}");
    // What may not be done may not be queued, and a transaction with it does nothing.
    limited.ask(&["MULTI"]);
    assert!(limited.ask(&["SET", "app:1", "x"]).show().starts_with("-NOPERM"));
    assert!(limited.ask(&["EXEC"]).show().starts_with("-EXECABORT"));
    // A namespace of one's own is database 0.
    home.run(&["namespace", "create", "own", "--raw", "--memory"]).ends(0);
    let (_, elsewhere) = token(&home, &["--right", "write", "--namespace", "own"]);
    let mut other = Connection::to(&door);
    other.ask(&["AUTH", &elsewhere]);
    assert!(is_ok(&other.ask(&["SET", "app:1", "mine"])));
    assert_eq!(limited.ask(&["GET", "app:1"]).bytes(), Some(&b"one"[..]), "each its own");
    other.ask(&["SUBSCRIBE", "news"]);
    assert_eq!(client.ask(&["PUBLISH", "news", "x"]).number(), Some(0), "channels as well");
    // Revoked: whoever is connected goes within a second, also one that only listens.
    home.run(&["token", "revoke", &reading]).ends(0);
    assert_eq!(limited.stream.read(&mut [0]).unwrap(), 0);
    in_time(Duration::from_secs(1), || {
        let (id, again) = token(&home, &["--right", "read", "--prefix", "app:"]);
        let (mut idle, mut listening) = (Connection::to(&door), Connection::to(&door));
        assert!(is_ok(&idle.ask(&["AUTH", &again])) && is_ok(&listening.ask(&["AUTH", &again])));
        listening.ask(&["SUBSCRIBE", "app:news"]);
        home.run(&["token", "revoke", &id]).ends(0);
        let began = Instant::now();
        assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
        assert_eq!(listening.stream.read(&mut [0]).unwrap(), 0);
        began.elapsed()
    });
    assert!(Connection::to(&door).ask(&["AUTH", &reader]).show().starts_with("-WRONGPASS"));
    assert_eq!(client.ask(&["GET", "other"]).bytes(), Some(&b"two"[..]), "others go on");
    pause(50);
    assert_eq!(client.ask(&["GET", "other"]).bytes(), Some(&b"two"[..]), "and go on");
    // Its time is up.
    let (mut ending, is_good) = while_it_lives(2, |seconds| {
        let (_, short) = token(&home, &["--right", "read", "--expires", &format!("{seconds}s")]);
        let mut ending = Connection::to(&door);
        let is_good = is_ok(&ending.ask(&["AUTH", &short]));
        (ending, is_good)
    });
    assert!(is_good);
    assert_eq!(ending.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_reader_changes_nothing_by_any_command_there_is() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    let (_, reader) = token(&home, &["--right", "read"]);
    let (_, adder) = token(&home, &["--right", "append-only"]);
    let (mut reads, mut adds) = (Connection::to(&door), Connection::to(&door));
    reads.ask(&["AUTH", &reader]);
    adds.ask(&["AUTH", &adder]);
    let all = reads.ask(&["COMMAND"]);
    let (mut changing, mut others) = (0, 0);
    for command in all.parts().unwrap() {
        let parts = command.parts().unwrap();
        let name = String::from_utf8_lossy(parts[0].bytes().unwrap()).into_owned();
        let count = parts[1].number().unwrap().unsigned_abs() as usize;
        let flags: Vec<_> = parts[2].parts().unwrap().iter().filter_map(Reply::bytes).collect();
        let words: Vec<&str> = std::iter::once(&*name).chain(std::iter::repeat_n("1", count - 1)).collect();
        let is_reading = flags.contains(&&b"readonly"[..]);
        if flags.contains(&&b"write"[..]) || name == "publish" {
            changing += 1;
            assert!(reads.ask(&words).show().starts_with("-NOPERM"), "{name}");
            let only_adds = ["setnx", "msetnx"].contains(&&*name);
            assert_eq!(adds.ask(&words).show().starts_with("-NOPERM"), !only_adds, "{name}");
        } else if is_reading {
            others += 1;
            assert!(!reads.ask(&words).show().starts_with("-NOPERM"), "{name}");
        }
    }
    assert!(changing > 25 && others > 10, "{changing} {others}");
}

#[test]
fn what_one_token_listens_to_does_not_go_on_under_another() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    home.run(&["namespace", "create", "own", "--raw", "--memory"]).ends(0);
    let (first, wide) = token(&home, &["--right", "read"]);
    let (_, narrow) = token(&home, &["--right", "read", "--prefix", "app:"]);
    let (_, elsewhere) = token(&home, &["--right", "read", "--namespace", "own"]);
    let mut client = Connection::to(&door);
    client.ask(&["HELLO", "3", "AUTH", "default", &wide]);
    client.ask(&["SUBSCRIBE", "news"]);
    for other in [&narrow, &elsewhere] {
        let refused = client.ask(&["AUTH", other]).show();
        assert!(refused.starts_with("-NOPERM") && refused.contains("UNSUBSCRIBE first"), "{refused}");
    }
    client.ask(&["UNSUBSCRIBE", "news"]);
    client.ask(&["SUBSCRIBE", "app:news"]);
    assert!(is_ok(&client.ask(&["AUTH", &narrow])), "what it may listen to as well goes on");
    let mut gone = Connection::to(&door);
    assert!(is_ok(&gone.ask(&["AUTH", &wide])));
    home.run(&["token", "revoke", &first]).ends(0);
    // Whoever goes by the revoked one has gone: this one would have, too.
    assert_eq!(gone.stream.read(&mut [0]).unwrap(), 0);
    pause(1_000);
    assert!(!client.ask(&["GET", "app:1"]).is_error(), "it is known by the other one");
}

#[test]
fn whoever_a_connection_was_before_leaves_it_nothing() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    home.run(&["namespace", "create", "own", "--raw", "--memory"]).ends(0);
    let (user, writer) = token(&home, &["--right", "write"]);
    let (reading, reader) = token(&home, &["--right", "read"]);
    let (_, elsewhere) = token(&home, &["--right", "write", "--namespace", "own"]);
    let mut client = Connection::to(&door);
    let unknown = "-NOAUTH Authentication required.";
    // Several tokens, one after the other: each is all that it is then, and none is left when it is forgotten.
    assert!(is_ok(&client.ask(&["AUTH", &writer])) && is_ok(&client.ask(&["SET", "a", "1"])));
    assert!(is_ok(&client.ask(&["AUTH", &elsewhere])) && is_ok(&client.ask(&["SET", "a", "mine"])));
    assert!(is_ok(&client.ask(&["AUTH", &reader])));
    assert_eq!(client.ask(&["GET", "a"]).bytes(), Some(&b"1"[..]), "in the namespace of this one");
    assert!(client.ask(&["SET", "a", "2"]).show().starts_with("-NOPERM"));
    assert!(client.ask(&["AUTH", "wrong"]).show().starts_with("-WRONGPASS"));
    assert_eq!(client.ask(&["GET", "a"]).bytes(), Some(&b"1"[..]), "a wrong one changes nothing");
    client.ask(&["RESET"]);
    for words in
        [&["GET", "a"][..], &["SET", "a", "2"], &["MULTI"], &["CLIENT", "LIST"], &["WATCH", "a"], &["EXEC"]]
    {
        assert_eq!(client.ask(words).show(), unknown, "{words:?}");
    }
    // What one has queued and watched is not carried out by another.
    assert!(is_ok(&client.ask(&["AUTH", &writer])));
    client.ask(&["MULTI"]);
    client.ask(&["SET", "a", "2"]);
    client.ask(&["RESET"]);
    assert!(is_ok(&client.ask(&["AUTH", &reader])));
    assert_eq!(client.ask(&["EXEC"]).show(), "-ERR EXEC without MULTI");
    // A greeting that fails lets nobody in, and says who nobody is.
    client.ask(&["RESET"]);
    for words in [
        &["HELLO", "4", "AUTH", "default", &writer][..],
        &["HELLO", "3", "AUTH", "default", "wrong"],
        &["HELLO", "3", "AUTH", &user],
    ] {
        assert!(client.ask(words).is_error(), "{words:?}");
        assert_eq!(client.ask(&["GET", "a"]).show(), unknown, "{words:?}");
    }
    // Seven wrong ones are forgiven by a good one.
    let mut clumsy = Connection::to(&door);
    for _ in 0..2 {
        (0..7).for_each(|_| assert!(clumsy.ask(&["AUTH", "wrong"]).show().starts_with("-WRONGPASS")));
        assert!(is_ok(&clumsy.ask(&["AUTH", &writer])));
    }
    // Revoked between two requests, and before the next one is looked at: also what came as one.
    let mut revoked = Connection::to(&door);
    assert!(is_ok(&revoked.ask(&["AUTH", &reader])));
    home.run(&["token", "revoke", &reading]).ends(0);
    let _ = revoked.stream.write_all(b"GET a\r\nRESET\r\nPING\r\n");
    let mut said = Vec::new();
    let _ = revoked.stream.read_to_end(&mut said);
    assert!(said.is_empty(), "{}", said.escape_ascii());
    // Its time is up: it is no good to anybody new either, in words of its own.
    let (_, short) = token(&home, &["--right", "read", "--expires", "1s"]);
    pause(1_200);
    let told = Connection::to(&door).ask(&["AUTH", &short]).show();
    assert!(told.starts_with("-WRONGPASS") && told.contains("expired"), "{told}");
    assert!(is_ok(&client.ask(&["AUTH", &writer])), "others are as they were");
}

#[test]
fn connections_are_ended_by_whom_they_belong_to_and_by_nobody_else() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    let (user, mine) = token(&home, &["--right", "read"]);
    let (_, other) = token(&home, &["--right", "write"]);
    let with = |token: &str| {
        let mut connection = Connection::to(&door);
        assert!(is_ok(&connection.ask(&["AUTH", token])));
        let id = connection.ask(&["CLIENT", "ID"]).number().unwrap().to_string();
        let place = connection.stream.local_addr().unwrap().to_string();
        (connection, id, place)
    };
    let is_closed = |connection: &mut Connection| connection.stream.read(&mut [0]).unwrap() == 0;
    let (mut one, own_id, _) = with(&mine);
    let (mut strange, strange_id, strange_place) = with(&other);
    let kill = |one: &mut Connection, words: &[&str]| one.ask(&[&["CLIENT", "KILL"], words].concat());
    assert_eq!(kill(&mut one, &["ID", &strange_id]).number(), Some(0));
    assert_eq!(kill(&mut one, &["ADDR", &strange_place]).number(), Some(0));
    assert_eq!(kill(&mut one, &["TYPE", "normal"]).number(), Some(0));
    assert_eq!(kill(&mut one, &[&strange_place]).show(), "-ERR No such client");
    assert_eq!(kill(&mut strange, &["USER", &user]).number(), Some(0));
    assert_eq!(strange.ask(&["PING"]).show(), "+PONG", "others go on");
    let (mut by_id, id, _) = with(&mine);
    assert_eq!(kill(&mut one, &["ID", &id]).number(), Some(1));
    assert!(is_closed(&mut by_id));
    let (mut by_place, _, place) = with(&mine);
    assert!(is_ok(&kill(&mut one, &[&place])));
    assert!(is_closed(&mut by_place));
    let ((mut first, _, place), (mut second, ..)) = (with(&mine), with(&mine));
    second.ask(&["SUBSCRIBE", "news"]);
    assert_eq!(
        kill(&mut one, &["ADDR", &place, "TYPE", "pubsub"]).number(),
        Some(0),
        "all of it has to hold"
    );
    assert_eq!(kill(&mut one, &["TYPE", "pubsub"]).number(), Some(1));
    assert!(is_closed(&mut second));
    assert_eq!(kill(&mut one, &["LADDR", &door, "USER", &user]).number(), Some(1), "not the one that asks");
    assert!(is_closed(&mut first));
    for (words, told) in [
        (&["ID", "0"][..], "-ERR client-id should be greater than 0"),
        (&["ID", "x"], "-ERR client-id should be greater than 0"),
        (&["TYPE", "x"], "-ERR Unknown client type 'x'"),
        (&["SKIPME", "perhaps"], "-ERR syntax error"),
        (&["ID", &own_id, "ADDR"], "-ERR syntax error"),
        (&["x"], "-ERR No such client"),
    ] {
        assert_eq!(kill(&mut one, words).show(), told, "{words:?}");
    }
    assert_eq!(kill(&mut one, &["ID", &own_id]).number(), Some(0));
    assert_eq!(
        kill(&mut one, &["ID", &own_id, "SKIPME", "no"]).number(),
        Some(1),
        "itself, but first it is told"
    );
    assert!(is_closed(&mut one));
    // Where nobody is asked who they are, all are programs of this machine.
    let home = up(&[]);
    let door = address(&home);
    let (mut one, mut two) = (Connection::to(&door), Connection::to(&door));
    two.ask(&["PING"]);
    assert_eq!(kill(&mut one, &["SKIPME", "yes"]).number(), Some(1));
    assert!(is_closed(&mut two));
}

#[test]
fn whoever_takes_no_messages_has_a_part_of_the_room_for_them_and_no_more() {
    let home = up(&["redis_auth=token"]);
    let door = address(&home);
    let (_, deaf) = token(&home, &["--right", "read"]);
    let (_, writer) = token(&home, &["--right", "write"]);
    let with = |token: &str| {
        let mut connection = Connection::to(&door);
        assert!(is_ok(&connection.ask(&["AUTH", token])));
        connection
    };
    let mut listening: Vec<_> = (0..8).map(|_| with(&deaf)).collect();
    listening.iter_mut().for_each(|connection| {
        connection.ask(&["SUBSCRIBE", "loud"]);
    });
    let (mut own, mut sender) = (with(&writer), with(&writer));
    own.ask(&["SUBSCRIBE", "loud", "quiet"]);
    own.reply();
    // So many are less than one connection may have, and, for all, less than there is; for those of one they are more than its part.
    let message = "m".repeat(900_000);
    let mut reached = Vec::new();
    for _ in 0..34 {
        reached.push(sender.ask(&["PUBLISH", "loud", &message]).number().unwrap());
    }
    assert_eq!(reached[0], 9);
    assert!((2..9).contains(reached.last().unwrap()), "{reached:?}");
    (0..34).for_each(|_| assert_eq!(own.reply().parts().unwrap()[2].bytes().unwrap().len(), message.len()));
    assert_eq!(sender.ask(&["PUBLISH", "quiet", "x"]).number(), Some(1), "others go on");
}

#[test]
fn certificates_speak_for_their_holders() {
    let home = up(&["redis_auth=certificate"]);
    let door = address(&home);
    let (_, port) = door.rsplit_once(':').unwrap();
    let status = home.run(&["status"]).ends(0).out;
    assert!(status.contains("Redis protocol over TLS") && status.contains("certificate needed"), "{status}");
    let folder = home.home().join("config/certificates");
    let reader = home.path("reader");
    home.run(&["ca", "issue", "reader", "--rights", "read", "--to", reader.to_str().unwrap()]).ends(0);
    let run = |certificate: &Option<(String, String)>, arguments: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", port, "--tls", "--cacert"]).arg(folder.join("authority.pem"));
        if let Some((certificate, key)) = certificate {
            command.args(["--cert", certificate, "--key", key]);
        }
        let said = command.args(arguments).output().unwrap();
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).trim().to_owned()
    };
    if Command::new("redis-cli").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "redis-cli is not installed");
        return;
    }
    let of = |folder: &Path| {
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        Some((file("client.pem"), file("client.key")))
    };
    let (own, theirs) = (of(&folder), of(&reader));
    assert_eq!(run(&own, &["SET", "a", "1"]), "OK");
    assert_eq!(run(&own, &["-3", "GET", "a"]), "1");
    assert!(!run(&None, &["GET", "a"]).contains('1'), "no certificate, no value");
    assert_eq!(run(&theirs, &["GET", "a"]), "1");
    assert!(run(&theirs, &["SET", "a", "2"]).starts_with("NOPERM"));
    // A token that is shown and forgotten again leaves the certificate with what it may do, and no more.
    let (_, token) = token(&home, &["--right", "read"]);
    let mut several = Command::new("redis-cli");
    several.args(["-p", port, "--tls", "--cacert"]).arg(folder.join("authority.pem"));
    let (certificate, key) = theirs.as_ref().unwrap();
    several.args(["--cert", certificate, "--key", key]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut several = several.spawn().unwrap();
    let lines = format!("AUTH {token}\nGET a\nRESET\nGET a\nSET a 3\nFLUSHALL\n");
    several.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = String::from_utf8(several.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[..4], ["OK", "1", "RESET", "1"], "{said}");
    assert!(lines[4..].iter().all(|line| line.starts_with("NOPERM")) && lines.len() == 6, "{said}");
    assert_eq!(run(&own, &["GET", "a"]), "1");
    // Nor does what is left of it lie elsewhere.
    home.run(&["namespace", "create", "elsewhere", "--raw", "--memory"]).ends(0);
    let made = home
        .run(&["token", "create", "--json", "--right", "read", "--namespace", "elsewhere"])
        .ends(0)
        .json();
    let mut several = Command::new("redis-cli");
    several.args(["-p", port, "--tls", "--cacert"]).arg(folder.join("authority.pem"));
    let (certificate, key) = own.as_ref().unwrap();
    several.args(["--cert", certificate, "--key", key]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut several = several.spawn().unwrap();
    let lines = format!("AUTH {}\nEXISTS a\nRESET\nGET a\nCLIENT INFO\n", made["token"].as_str().unwrap());
    several.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let said = String::from_utf8(several.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[..4], ["OK", "0", "RESET", "1"], "{said}");
    assert!(!said.contains("user=default ") && !said.contains(made["id"].as_str().unwrap()), "{said}");
    // A plain client hears nothing that it could take for an answer.
    assert!(
        !Command::new("redis-cli")
            .args(["-p", port, "PING"])
            .output()
            .is_ok_and(|out| out.stdout == b"PONG\n")
    );
}
