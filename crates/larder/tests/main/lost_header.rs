//! `larder up` and the vault's header: a lost one comes back from the node's copy, nothing is made over what is there,
//! and no vault exists whose recovery code was never handed over.

use std::process::Stdio;

use crate::support::{Home, Said, pause};
use bytes::Bytes;
use larder_client::connection::ConnectOptions;
use larder_client::remote::Remote;
use larder_client::vault::KEYS;
use larder_format::ids::NamespaceId;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Key;
use larder_seal::header::{VaultHeader, header_record_key};
use larder_wire::request::{Ask, AskPut, RecordRequest};

fn header_file(home: &Home) -> std::path::PathBuf {
    home.home().join("config/vault.header")
}

fn header(home: &Home) -> VaultHeader {
    VaultHeader::decode(&std::fs::read(header_file(home)).unwrap().into()).unwrap()
}

/// One operation on the node's copy of a vault's header.
fn on_the_copy(home: &Home, of: &VaultHeader, ask: Ask) -> Outcome {
    let file = |name: &str| std::fs::read(home.home().join("config/certificates").join(name)).unwrap();
    let text = std::fs::read(home.home().join("state/node.pid")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let options = ConnectOptions {
        address: value["address"].as_str().unwrap().to_owned(),
        authority_pem: file("authority.pem"),
        certificate_pem: file("client.pem"),
        key_pem: file("client.key"),
    };
    let key = Key::new(Bytes::copy_from_slice(&header_record_key(of.vault()))).unwrap();
    let request = RecordRequest { tag: 0, namespace: NamespaceId::of(KEYS), key, identity: None, ask };
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { Remote::connect(&options).await.unwrap().apply(request).await.unwrap() })
}

fn up_json(home: &Home) -> Said {
    home.run(&["--json", "up", "--listen", "127.0.0.1:0"])
}

#[test]
fn a_lost_header_comes_back_from_the_node_whoever_runs() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let before = header(&home);
    let id = before.vault().to_string();

    // Agent and node run, the vault is open.
    std::fs::remove_file(header_file(&home)).unwrap();
    let up = up_json(&home).ends(0).json();
    assert_eq!(up["vault"]["id"], id);
    assert_eq!((&up["vault"]["restored"], &up["vault"]["created"]), (&true.into(), &false.into()));
    assert_eq!(up["recovery_code"], serde_json::Value::Null);
    assert_eq!(header(&home), before);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    assert_eq!(up_json(&home).ends(0).json()["vault"]["restored"], false);

    // Nothing runs, and the whole config folder is gone.
    home.run(&["down"]).ends(0);
    std::fs::remove_dir_all(home.home().join("config")).unwrap();
    let up = up_json(&home).ends(0).json();
    assert_eq!((&up["vault"]["id"], &up["vault"]["locked"]), (&id.into(), &true.into()));
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");

    // The text for people says it.
    std::fs::remove_file(header_file(&home)).unwrap();
    home.bring_up().ends(0).says("vault.header was missing; it is back");
}

#[test]
fn without_a_copy_nothing_is_made_over_files_and_the_open_vault_stays_open() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let before = std::fs::read(header_file(&home)).unwrap();
    let gone = on_the_copy(&home, &header(&home), Ask::Delete { condition: Condition::Any });
    assert!(matches!(gone, Outcome::Deleted { .. }));
    std::fs::remove_file(header_file(&home)).unwrap();
    home.bring_up().ends(3).says("is still open here").says("larder vault repair");
    assert!(!header_file(&home).exists());
    std::io::Write::write_all(&mut std::fs::File::create(header_file(&home)).unwrap(), &before).unwrap();
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept", "the agent still has it open");
}

#[test]
fn of_several_vaults_the_one_named_comes_back() {
    let (home, other) = (Home::up(), Home::up());
    let (ours, theirs) = (header(&home), header(&other));
    let put = AskPut { condition: Condition::Absent, body: theirs.encode(), ..AskPut::default() };
    assert!(matches!(on_the_copy(&home, &theirs, Ask::Put(put)), Outcome::Written { .. }));
    home.run(&["down"]).ends(0);
    let id = ours.vault().to_string();
    // This machine remembers whose it is, unless that is lost, too.
    std::fs::remove_file(header_file(&home)).unwrap();
    assert_eq!(up_json(&home).ends(0).json()["vault"]["id"], id);
    home.run(&["down"]).ends(0);
    std::fs::remove_file(header_file(&home)).unwrap();
    std::fs::remove_file(home.home().join("state/vault.pin")).unwrap();
    home.bring_up().ends(4).says("several vaults").says(&id).says("--vault ID");
    home.run(&["up", "--listen", "127.0.0.1:0", "--vault", "nonsense"]).ends(3);
    let passphrase = home.path("passphrase");
    let up = ["--json", "up", "--vault", &id, "--passphrase-file", passphrase.to_str().unwrap()];
    let up = home.run(&[&up[..], &["--listen", "127.0.0.1:0"]].concat()).ends(0).json();
    assert_eq!((&up["vault"]["id"], &up["vault"]["locked"]), (&id.into(), &false.into()));
}

#[test]
fn no_vault_is_made_before_its_recovery_code_was_handed_over() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    home.run(&["--json", "up", "--listen", &taken.1, "--passphrase-file", passphrase]).ends(4);
    assert!(!header_file(&home).exists(), "the node could not start");

    let arguments = ["--json", "up", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said: Said = home.command(&arguments).stdout(full).stderr(Stdio::piped()).output().unwrap().into();
    let said = said.ends(1);
    assert!(said.json_error()["message"].as_str().unwrap().contains("no vault was made"));
    assert!(!header_file(&home).exists(), "the answer could not be written");

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said: Said =
        home.command(&arguments[1..]).stdout(Stdio::piped()).stderr(full).output().unwrap().into();
    said.ends(1);
    assert!(!header_file(&home).exists(), "nobody saw the code");

    // A reader that went away is no quiet end here.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said: Said = home.command(&arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
    said.ends(1);
    assert!(!header_file(&home).exists());

    let up = home.run(&arguments).ends(0).json();
    assert_eq!(up["vault"]["created"], true);
    assert_eq!(up["recovery_code"].as_str().map(str::len), Some(41));
    home.run_with(&["put", "-", "/f"], b"x").ends(0);
}

#[test]
fn the_file_of_a_code_that_came_to_nothing_is_not_in_the_way() {
    let home = Home::new();
    let (passphrase, code) = (home.path("passphrase"), home.path("code"));
    let arguments = [
        "--json",
        "up",
        "--listen",
        "127.0.0.1:0",
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "--recovery-code-file",
        code.to_str().unwrap(),
    ];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said: Said = home.command(&arguments).stdout(full).stderr(Stdio::piped()).output().unwrap().into();
    said.ends(1);
    assert!(!header_file(&home).exists() && !code.exists(), "no vault, and no code of one");

    // Killed while it hands the code over: the file stays, and the next one knows what it is.
    let killed = || {
        let (_reader, writer) = std::io::pipe().unwrap();
        fill(&writer);
        let mut child = home.command(&arguments).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
        while !code.exists() {
            pause(5);
        }
        pause(200);
        child.kill().unwrap();
        child.wait().unwrap();
    };
    killed();
    assert!(!header_file(&home).exists() && code.exists());
    let unused = std::fs::read_to_string(&code).unwrap();

    // What somebody else put there stays, as ever.
    home.file("code", b"mine\n");
    home.run(&arguments).ends(4).says("there already");
    assert_eq!(std::fs::read_to_string(&code).unwrap(), "mine\n");
    home.file("code", unused.as_bytes());
    home.run(&arguments).ends(4).says("there already");
    std::fs::remove_file(&code).unwrap();

    killed();
    let up = home.run(&arguments).ends(0).json();
    let used = std::fs::read_to_string(&code).unwrap();
    assert_eq!(up["recovery_code"], used.trim());
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", "--recovery-code-file", code.to_str().unwrap()]).ends(0);
    // A code that counts is never taken for one that does not.
    home.run(&["down"]).ends(0);
    home.run(&arguments).ends(0);
    assert_eq!(std::fs::read_to_string(&code).unwrap(), used);
}

/// Fills a pipe that nobody reads, so that whoever writes to it waits.
fn fill(writer: &std::io::PipeWriter) {
    use std::os::fd::AsFd;
    let mode = rustix::fs::OFlags::NONBLOCK;
    let before = rustix::fs::fcntl_getfl(writer.as_fd()).unwrap();
    rustix::fs::fcntl_setfl(writer.as_fd(), before | mode).unwrap();
    while std::io::Write::write(&mut &*writer, &[0; 4096]).is_ok() {}
    while std::io::Write::write(&mut &*writer, &[0]).is_ok() {}
    rustix::fs::fcntl_setfl(writer.as_fd(), before).unwrap();
}

#[test]
fn with_both_copies_lost_the_open_vault_gets_a_new_header() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let before = header(&home);
    let bytes = std::fs::read(header_file(&home)).unwrap();
    let new = home.file("new", b"another one\n");
    let repair = ["vault", "repair", "--json", "--new-passphrase-file", &new];
    // While either copy is whole, that one counts.
    home.run(&repair).ends(4).says("vault.header is whole");
    std::fs::remove_file(header_file(&home)).unwrap();
    home.run(&repair).ends(4).says("the node's copy of the vault's header is whole").says("larder up");

    let mut bent = before.encode().to_vec();
    bent[300] ^= 4;
    let junk = AskPut { condition: Condition::Any, body: bent.into(), ..AskPut::default() };
    assert!(matches!(on_the_copy(&home, &before, Ask::Put(junk)), Outcome::Written { .. }));
    // A damaged file is kept aside.
    let mut file = std::fs::File::create(header_file(&home)).unwrap();
    std::io::Write::write_all(&mut file, &bytes[..bytes.len() / 2]).unwrap();
    drop(file);
    home.bring_up().ends(6).says("is still open here").says("larder vault repair");
    let made = home.run(&repair).ends(0).json();
    let code = made["recovery_code"].as_str().unwrap().to_owned();
    let after = header(&home);
    assert_eq!((after.vault(), after.fingerprint()), (before.vault(), before.fingerprint()));
    assert!(after.revision() > before.revision(), "a device that has seen the old one takes the new one");
    assert!(home.home().join("config/vault.header.damaged").exists());

    // The same vault, with new ways in and without the old ones.
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    home.run(&["lock"]).ends(0);
    let old = home.path("passphrase");
    home.run(&["unlock", "--passphrase-file", old.to_str().unwrap()]).ends(7);
    home.run(&["unlock", "--passphrase-file", &new]).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", "--recovery-code-file", &home.file("code", code.as_bytes())]).ends(0);
    // The node has it, too.
    std::fs::remove_file(header_file(&home)).unwrap();
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(0).says("it is back");
    assert_eq!(header(&home), after);

    // Locked, there is nothing to make it from.
    home.run(&["lock"]).ends(0);
    std::fs::remove_file(header_file(&home)).unwrap();
    home.run(&repair).ends(8).says("no vault is open here");
}
