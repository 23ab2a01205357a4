//! Nodes are blind: plants strings that cannot come from anywhere else in contents, names and values, and the vault's
//! secrets beside them, does everything a person does, and looks for them in all that a node has (files, log,
//! arguments, environment, memory) and in all that passes between it and the client, inside TLS too.
//!
//! Every place is also searched for something that must be there, so that a search that looks nowhere fails.
//! Headers of HTTP/2 are compressed and not looked into: they hold method names and sizes.
#![allow(clippy::print_stderr, reason = "says what is not run")]

mod processes;
mod search;
#[path = "../support/mod.rs"]
mod support;
mod wiretap;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use larder_seal::header::VaultHeader;
use larder_seal::slots::Unlock;
use processes::Process;
use search::Needles;
use serde_json::Value;
use support::{Home, PASSPHRASE};
use wiretap::Wiretap;

/// Planted: a folder, folders and files in it, a link and where it leads to.
const TREE: &str = "malachit-ordner-5521";
const BELOW: &str = "tief-im-keller-0817";
const SMALL_TEXT: &str = "lohnliste-quartal-4477.txt";
const LARGE_TEXT: &str = "tagebuch-winter-2231.md";
const SMALL_BYTES: &str = "schluesselbund-9902.bin";
const LARGE_BYTES: &str = "mitschnitt-6613.raw";
const LINK: &str = "abkuerzung-zum-versteck-1188";
const LINK_TARGET: &str = "irgendwohin/geheimes-ziel-3344";
/// Planted: what is stored from standard input.
const NOTE: &str = "notizzettel-5150";
const NOTE_FIRST: &str = "Treffpunkt alte Sternwarte um Mitternacht";
const NOTE_SECOND: &str = "Treffpunkt verlegt an den Leuchtturm";
const EMPTY_FOLDER: &str = "leerstehend-7070";
const CONTENT_TYPE: &str = "application/x-zwiebelfisch-8128";
const ATTRIBUTE: &str = "aktenzeichen-6174=kaprekar-konstante";
/// Planted: values.
const VALUE: &str = "bankschliessfach-77";
const VALUE_TEXT: &str = "Kennwort Silberfuchs Zwetschgendatschi";
const VALUE_BYTES: &str = "einmalschluessel-1729";
const VALUE_ONCE: &str = "zettel-zum-verbrennen-4104";

/// A line of text that is unlike any other program's, many times: this compresses.
fn text(len: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|n: u32| format!("Ottokar Wunderlich schuldet {n} Taler\n").into_bytes());
    lines.take(len).collect()
}

/// Bytes that neither compress nor repeat, others for every seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut word = 0x2545_f491_4f6c_dd1d ^ (seed << 32);
    let step = |_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        (word >> 24) as u8
    };
    (0..len).map(step).collect()
}

/// What was planted, and where its plain form lies on the person's own machine.
struct Planted {
    needles: Needles,
    tree: String,
    value_bytes: Vec<u8>,
    values_in_clear: Vec<u8>,
}

fn plant(home: &Home) -> Planted {
    let root = home.path(TREE);
    std::fs::create_dir_all(root.join(BELOW)).unwrap();
    std::os::unix::fs::symlink(LINK_TARGET, root.join(BELOW).join(LINK)).unwrap();
    let mut needles = Needles::new();
    let files = [
        (SMALL_TEXT, text(9_000)),
        (LARGE_TEXT, text(3 << 20)),
        (SMALL_BYTES, noise(9_000, 1)),
        (LARGE_BYTES, noise((2 << 20) + 4321, 2)),
    ];
    for (name, bytes) in files {
        File::create(root.join(BELOW).join(name)).unwrap().write_all(&bytes).unwrap();
        needles.add(&format!("the name {name}"), name.as_bytes());
        if name.ends_with(".bin") || name.ends_with(".raw") {
            needles.add_sample(name, &bytes);
        }
    }
    needles.add("contents", b"Ottokar Wunderlich schuldet");
    for name in [TREE, BELOW, LINK, NOTE, EMPTY_FOLDER] {
        needles.add(&format!("the name {name}"), name.as_bytes());
    }
    let (attribute, attribute_value) = ATTRIBUTE.split_once('=').unwrap();
    for attribute in [CONTENT_TYPE, attribute, attribute_value] {
        needles.add(&format!("the attribute {attribute}"), attribute.as_bytes());
    }
    for content in [LINK_TARGET, NOTE_FIRST, NOTE_SECOND, VALUE_TEXT] {
        needles.add(&format!("the content {content}"), content.as_bytes());
    }
    for name in [VALUE, VALUE_BYTES, VALUE_ONCE] {
        needles.add(&format!("the value's name {name}"), name.as_bytes());
    }
    let value_bytes = noise(6_000, 3);
    needles.add_sample("a value", &value_bytes);
    let values_in_clear = [VALUE_TEXT.as_bytes(), &value_bytes].concat();
    Planted { needles, tree: root.to_str().unwrap().to_owned(), value_bytes, values_in_clear }
}

/// What opens the vault: never outside a person's hands and, while it is open, the agent's memory.
struct Secrets {
    needles: Needles,
    root: [u8; 32],
}

fn secrets(home: &Home, recovery_code: &str) -> Secrets {
    let header = std::fs::read(home.home().join("config/vault.header")).unwrap();
    let header = VaultHeader::decode(&header.into()).unwrap();
    let root = header.open(Unlock::Passphrase(PASSPHRASE.as_bytes())).unwrap();
    let mut needles = Needles::new();
    needles.add("the passphrase", PASSPHRASE.as_bytes());
    needles.add("the recovery code", recovery_code.as_bytes());
    needles.add("the recovery code", recovery_code.replace('-', "").as_bytes());
    needles.add("the root key", root.secret().expose());
    for label in ["sign", "names", "value-names", "header-mac"] {
        needles.add("a derived key", root.derive(label).expose());
    }
    for label in ["chunk-hash", "page-hash", "record"] {
        needles.add("a derived key", root.derive_generation(label, header.generation()).expose());
    }
    Secrets { needles, root: *root.secret().expose() }
}

/// All files below a folder, with their paths.
fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            found.push((path.display().to_string(), target.into_os_string().into_encoded_bytes()));
        } else if kind.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// The search finds what was planted where it does lie in the clear: a test that cannot fail proves nothing.
fn control(planted: &Planted) {
    let mut clear: Vec<u8> = files_below(Path::new(&planted.tree))
        .into_iter()
        .flat_map(|(path, bytes)| [path.into_bytes(), bytes].concat())
        .collect();
    for typed in
        [NOTE, NOTE_FIRST, NOTE_SECOND, EMPTY_FOLDER, CONTENT_TYPE, ATTRIBUTE, VALUE, VALUE_BYTES, VALUE_ONCE]
    {
        clear.extend_from_slice(typed.as_bytes());
    }
    clear.extend_from_slice(&planted.values_in_clear);
    let found = planted.needles.find(&clear);
    let mut plain = planted.needles.names();
    plain.retain(|name| name.ends_with("(plain)"));
    assert!(plain.len() > 50, "{}", plain.len());
    for name in plain {
        assert!(found.contains(&name), "the search misses {name} in the clear");
    }
}

fn node_address(home: &Home) -> SocketAddr {
    let text = std::fs::read_to_string(home.home().join("state/node.pid")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["address"].as_str().unwrap().parse().unwrap()
}

/// Leads the client's next commands through the wiretap. The file stays the same one: the node's lock is on it.
fn lead_through(home: &Home, tap: &Wiretap) {
    let path = home.home().join("state/node.pid");
    let mut says: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    tap.lead_to(says["address"].as_str().unwrap().parse().unwrap());
    says["address"] = tap.address.to_string().into();
    let mut file = File::options().write(true).truncate(true).open(path).unwrap();
    file.write_all(says.to_string().as_bytes()).unwrap();
}

/// A piece from the middle of what was sent: ciphertext that the node must have somewhere.
fn middle(sent: &[u8]) -> Needles {
    let mut needles = Needles::new();
    needles.add("what was sent", &sent[sent.len() / 2..sent.len() / 2 + 48]);
    needles
}

/// Everything a person does with files.
fn use_files(home: &Home, planted: &Planted) -> String {
    home.run(&["put", &planted.tree, "/"]).ends(0);
    let note = format!("/{NOTE}");
    let attributes = ["--content-type", CONTENT_TYPE, "--attr", ATTRIBUTE];
    home.run_with(&[&["put", "-", &note][..], &attributes].concat(), NOTE_FIRST.as_bytes()).ends(0);
    home.run_with(&["put", "-", &note], NOTE_SECOND.as_bytes()).ends(0);
    home.run(&["mkdir", &format!("/{EMPTY_FOLDER}")]).ends(0);
    assert!(home.run(&["ls", "-R"]).ends(0).out.contains(LARGE_BYTES));
    let out = home.path("out");
    home.run(&["get", &format!("/{TREE}"), out.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read(out.join(BELOW).join(LARGE_TEXT)).unwrap(), text(3 << 20));
    assert_eq!(home.run(&["cat", &note]).ends(0).out, NOTE_SECOND);
    home.run(&["stat", &note]).ends(0);
    let versions = home.run(&["versions", "--json", &note]).ends(0).json_lines();
    let first = versions[1]["version"].as_str().unwrap();
    home.run(&["restore", &note, "--version", first]).ends(0);
    assert_eq!(home.run(&["cat", &note]).ends(0).out, NOTE_FIRST);
    home.run(&["rm", &format!("/{TREE}/{BELOW}/{LARGE_BYTES}")]).ends(0);
    home.run(&["rm", "--now", &format!("/{TREE}/{BELOW}/{SMALL_TEXT}")]).ends(0);
    home.run(&["get", "/no-such-file", "/nowhere"]).ends(3);
    note
}

/// Everything a person does with values.
fn use_values(home: &Home) {
    home.run_with(&["value", "set", VALUE], VALUE_TEXT.as_bytes()).ends(0);
    home.run_with(&["value", "set", VALUE_ONCE, "--takes", "2"], VALUE_TEXT.as_bytes()).ends(0);
    assert_eq!(home.run(&["value", "get", VALUE]).ends(0).out, VALUE_TEXT);
    home.run(&["value", "ls"]).ends(0);
    home.run(&["value", "ttl", VALUE]).ends(0);
    home.run(&["value", "touch", VALUE, "--ttl", "20m"]).ends(0);
    assert_eq!(home.run(&["value", "take", VALUE_ONCE]).ends(0).out, VALUE_TEXT);
}

/// Looks at the node's memory, and, to know that the look is a real one, for the ciphertext of a value in it and for
/// the root key in the agent's.
fn look_at_memory(home: &Home, planted: &Planted, secrets: &Secrets, value_sent: &[u8]) {
    let mut held = false;
    let sent = middle(value_sent);
    let looked = Process::new(home.pid("node")).memory(|piece| {
        planted.needles.must_not_be_in("the node's memory", piece);
        secrets.needles.must_not_be_in("the node's memory", piece);
        held |= !sent.find(piece).is_empty();
    });
    match looked {
        Ok(len) => {
            assert!(len > 4 << 20, "looked at {len} bytes of memory only");
            assert!(held, "the value's ciphertext was not found in {len} bytes of the node's memory");
        }
        Err(error) => eprintln!("NOT RUN: the node's memory cannot be read ({error})"),
    }
    let mut key = Needles::new();
    key.add("the root key", &secrets.root);
    let mut held = false;
    match Process::new(home.pid("agent")).memory(|piece| held |= !key.find(piece).is_empty()) {
        Ok(len) => assert!(held, "the root key was not found in {len} bytes of the agent's memory"),
        Err(error) => {
            eprintln!("NOT RUN: the agent's memory cannot be read ({error}), as it should be for this user");
        }
    }
}

/// Looks at every file in all of Larder's folders, the client's too; answers whether `there` was found in the store.
fn look_at_files(home: &Home, planted: &Planted, secrets: &Secrets, there: &Needles) -> bool {
    let mut held = false;
    for (path, bytes) in files_below(&home.home()) {
        planted.needles.must_not_be_in(&path, path.as_bytes());
        planted.needles.must_not_be_in(&path, &bytes);
        secrets.needles.must_not_be_in(&path, &bytes);
        held |= path.contains("/data/") && !there.find(&bytes).is_empty();
    }
    held
}

#[test]
fn nothing_that_was_planted_is_found_in_what_a_node_has_or_hears() {
    let home = Home::new();
    let planted = plant(&home);
    control(&planted);
    let passphrase = home.path("passphrase");
    let up = ["--json", "up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let code = home.run(&up).ends(0).json()["recovery_code"].as_str().unwrap().to_owned();
    let secrets = secrets(&home, &code);
    let tap = Wiretap::start(&home.home().join("config/certificates"), node_address(&home));
    lead_through(&home, &tap);
    home.run(&up).ends(0);

    let note = use_files(&home, &planted);
    let small = format!("{}/{BELOW}/{SMALL_BYTES}", planted.tree);
    let file_sent = middle(&tap.sent_during(|| {
        home.run(&["put", &small, "/"]).ends(0);
    }));
    use_values(&home);
    let value_sent = tap.sent_during(|| {
        home.run_with(&["value", "set", VALUE_BYTES], &planted.value_bytes).ends(0);
    });
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", "--passphrase-file", passphrase.to_str().unwrap()]).ends(0);
    home.run(&["status"]).ends(0);

    let started_with = Process::new(home.pid("node")).arguments_and_environment();
    assert!(
        started_with.windows(8).any(|w| w == b"NO_COLOR") && started_with.windows(6).any(|w| w == b"--data")
    );
    planted.needles.must_not_be_in("the node's arguments and environment", &started_with);
    secrets.needles.must_not_be_in("the node's arguments and environment", &started_with);
    look_at_memory(&home, &planted, &secrets, &value_sent);
    assert!(
        look_at_files(&home, &planted, &secrets, &file_sent),
        "the file's ciphertext is not in the store"
    );

    home.kill("node");
    assert!(look_at_files(&home, &planted, &secrets, &file_sent), "after kill -9: the file's ciphertext");
    home.run(&up).ends(0);
    lead_through(&home, &tap);
    assert_eq!(home.run(&["cat", &note]).ends(0).out, NOTE_FIRST);
    home.run(&["rm", "-r", &format!("/{TREE}")]).ends(0);
    home.run(&["value", "set", VALUE, "x"]).ends(0);
    home.run(&["value", "del", VALUE]).ends(0);
    home.run(&["down"]).ends(0);
    assert!(look_at_files(&home, &planted, &secrets, &file_sent), "after down: the file's ciphertext");
    let log = std::fs::read_to_string(home.home().join("state/logs/node.log")).unwrap();
    assert!(log.contains("ready"), "{log}");

    look_at_traffic(&tap, &planted, &secrets);
}

fn look_at_traffic(tap: &Wiretap, planted: &Planted, secrets: &Secrets) {
    // What every HTTP/2 connection begins with: inside TLS only.
    let mut preface = Needles::new();
    preface.add("the preface", b"PRI * HTTP/2.0");
    assert!(preface.find(&tap.passed.wire.lock().unwrap()).is_empty(), "traffic that is not in TLS");
    assert!(!preface.find(&tap.passed.to_node.lock().unwrap()).is_empty(), "TLS was not looked into");
    for (what, passed, len_min) in [
        ("the traffic", &tap.passed.wire, 4 << 20),
        ("the traffic to the node, inside TLS", &tap.passed.to_node, 2 << 20),
        ("the traffic from the node, inside TLS", &tap.passed.from_node, 2 << 20),
    ] {
        let passed = passed.lock().unwrap();
        assert!(passed.len() > len_min, "{what}: {} bytes only", passed.len());
        planted.needles.must_not_be_in(what, &passed);
        secrets.needles.must_not_be_in(what, &passed);
    }
    let exchanges = tap.passed.exchanges.lock().unwrap();
    assert!(exchanges.len() > 20, "{exchanges:?}");
    assert!(exchanges.iter().all(|exchange| exchange == "X25519MLKEM768"), "{exchanges:?}");
}
