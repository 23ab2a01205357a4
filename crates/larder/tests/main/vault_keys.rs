//! The vault's keys for people, from the command line: a lost passphrase, a changed one, new codes, recipients on a second
//! device, ways in that are closed; and that nothing counts before it arrived.

use std::path::Path;
use std::process::Stdio;

use crate::support::{Home, PASSPHRASE, Said};
use serde_json::Value;

/// Everything up, with the recovery code in a file beside the home.
fn made() -> (Home, String) {
    let home = Home::new();
    let (passphrase, code) = (text(&home.path("passphrase")), text(&home.path("code")));
    let up = ["up", "--listen", "127.0.0.1:0", "--passphrase-file", &passphrase];
    home.run(&[&up[..], &["--recovery-code-file", &code]].concat()).ends(0);
    (home, code)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn slots(home: &Home) -> Vec<Value> {
    home.run(&["vault", "slots", "--json"]).ends(0).json()["slots"].as_array().unwrap().clone()
}

fn kinds(home: &Home) -> Vec<String> {
    slots(home).iter().map(|slot| slot["kind"].as_str().unwrap().to_owned()).collect()
}

fn unlock(home: &Home, flag: &str, file: &str) -> Said {
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", flag, file])
}

#[test]
fn a_lost_passphrase_is_replaced_with_the_code_and_old_versions_are_there() {
    let (home, code) = made();
    home.run_with(&["put", "-", "/notes/plan.txt"], b"first\n").ends(0);
    home.run_with(&["put", "-", "/notes/plan.txt"], b"second\n").ends(0);
    home.run(&["down"]).ends(0);
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(0);
    home.run(&["cat", "/notes/plan.txt"]).ends(8);

    let new = home.file("new", b"remembered this time\n");
    let wrong = home.file("mistyped", b"000000-000000-000000-000000-000000-000001");
    let recover = |code: &str| {
        home.run(&[
            "vault",
            "recover",
            "--recovery-code-file",
            code,
            "--new-passphrase-file",
            &new,
            "--new-code",
            "--json",
        ])
    };
    recover(&wrong).ends(2).says("mistyped");
    let answer = recover(&code).ends(0).json();
    let new_code = home.file("new-code", answer["recovery_code"].as_str().unwrap().as_bytes());

    let versions = home.run(&["versions", "/notes/plan.txt", "--json"]).ends(0).json_lines();
    assert_eq!(versions.len(), 2);
    let first = versions[1]["version"].as_str().unwrap();
    assert_eq!(home.run(&["cat", "/notes/plan.txt", "--version", first]).ends(0).out, "first\n");

    unlock(&home, "--passphrase-file", &text(&home.path("passphrase"))).ends(7).says("wrong passphrase");
    unlock(&home, "--recovery-code-file", &code).ends(7).says("wrong recovery code");
    unlock(&home, "--recovery-code-file", &new_code).ends(0);
    unlock(&home, "--passphrase-file", &new).ends(0);
    home.run(&["restore", "/notes/plan.txt", "--version", first]).ends(0);
    assert_eq!(home.run(&["cat", "/notes/plan.txt"]).ends(0).out, "first\n");

    // The node's copy is the new header, too.
    home.run(&["down"]).ends(0);
    std::fs::remove_file(home.home().join("config/vault.header")).unwrap();
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(0);
    unlock(&home, "--passphrase-file", &text(&home.path("passphrase"))).ends(7);
    unlock(&home, "--passphrase-file", &new).ends(0);
}

#[test]
fn the_passphrase_is_changed_only_with_proof_and_what_is_open_stays_open() {
    let (home, code) = made();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let (old, new) = (text(&home.path("passphrase")), home.file("new", b"another one\n"));
    let before = std::fs::read(home.home().join("config/vault.header")).unwrap();
    let change = |flag: &str, proof: &str, new: &str| {
        home.run(&["vault", "passphrase", flag, proof, "--new-passphrase-file", new])
    };
    change("--passphrase-file", &text(&home.path("wrong")), &new)
        .ends(7)
        .says("wrong passphrase")
        .says("vault recover");
    home.run(&["vault", "passphrase", "--new-passphrase-file", &new]).ends(2).says("--passphrase-file");
    home.run(&["vault", "passphrase", "--passphrase-file", &old]).ends(2).says("--new-passphrase-file");
    change("--passphrase-file", &old, "/nowhere").ends(3);
    assert_eq!(std::fs::read(home.home().join("config/vault.header")).unwrap(), before, "nothing happened");

    let created = |home: &Home| slots(home)[0]["created_ms"].as_u64().unwrap();
    let at = created(&home);
    change("--passphrase-file", &old, &new).ends(0).says("stays open");
    assert!(created(&home) > at);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept", "without another unlock");
    unlock(&home, "--passphrase-file", &old).ends(7);
    unlock(&home, "--passphrase-file", &new).ends(0);
    // Locked stays locked, and the code is a proof, too.
    home.run(&["lock"]).ends(0);
    change("--recovery-code-file", &code, &old).ends(0);
    home.run(&["cat", "/f"]).ends(8);
    unlock(&home, "--passphrase-file", &old).ends(0);
    assert_eq!(kinds(&home), ["passphrase", "recovery code"]);
}

#[test]
fn a_new_code_counts_only_once_it_arrived() {
    let (home, code) = made();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let before = std::fs::read(home.home().join("config/vault.header")).unwrap();
    for verb in [&["vault", "recovery-code"][..], &["vault", "kit", "--new-code"]] {
        let json = [&["--json"], verb].concat();
        let said: Said = home.command(&json).stdout(full()).stderr(Stdio::piped()).output().unwrap().into();
        assert!(said.ends(1).json_error()["message"].as_str().unwrap().contains("nothing was changed"));
        let people = if verb[1] == "kit" {
            home.command(verb).stdout(full()).output()
        } else {
            home.command(verb).stderr(full()).output()
        };
        let _ = Said::from(people.unwrap()).ends(1);
        // A reader that went away is no quiet end here.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said: Said = home.command(&json).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
        let _ = said.ends(1);
    }
    // The file of a code that came to nothing is not in the way of the next one.
    let unused = text(&home.path("second"));
    for verb in [
        &["--json", "vault", "recovery-code", "--recovery-code-file", &unused][..],
        &["--json", "vault", "kit", "--new-code", &unused],
    ] {
        let said: Said = home.command(verb).stdout(full()).stderr(Stdio::piped()).output().unwrap().into();
        let _ = said.ends(1);
        assert!(!home.path("second").exists(), "{verb:?}");
    }
    home.run(&["vault", "recovery-code", "--recovery-code-file", &code]).ends(4).says("there already");
    home.run(&["vault", "kit"]).ends(2).says("--new-code");
    assert_eq!(std::fs::read(home.home().join("config/vault.header")).unwrap(), before);
    unlock(&home, "--recovery-code-file", &code).ends(0);

    let second = text(&home.path("second"));
    home.run(&["vault", "recovery-code", "--recovery-code-file", &second]).ends(0).says("shown this once");
    unlock(&home, "--recovery-code-file", &code).ends(7);
    unlock(&home, "--recovery-code-file", &second).ends(0);

    let page = text(&home.path("kit.txt"));
    home.run(&["vault", "kit", "--new-code", &page]).ends(0);
    let page = std::fs::read_to_string(page).unwrap();
    let field = |name: &str| page.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    let status = home.run(&["status", "--json"]).ends(0).json();
    assert_eq!(field("Fingerprint"), status["vault"]["fingerprint"]);
    assert_eq!(field("Vault"), status["vault"]["id"]);
    assert_eq!(field("Node"), status["node"]["address"]);
    let third = home.file("third", field("Recovery code").as_bytes());
    unlock(&home, "--recovery-code-file", &second).ends(7);
    unlock(&home, "--recovery-code-file", &third).ends(0);
    home.run(&["lock"]).ends(0);
    home.run(&["vault", "recovery-code"]).ends(8);
}

/// A second device of the same vault, with a certificate of its own, that uses the first one's node. It has the vault's
/// header from there, and nothing to open it with.
fn device_beside(first: &Home) -> Home {
    let device = Home::new();
    let certificate = text(&first.path("certificate"));
    first.run(&["ca", "issue", "laptop", "--to", &certificate]).ends(0);
    let node =
        first.run(&["status", "--json"]).ends(0).json()["node"]["address"].as_str().unwrap().to_owned();
    let up = device.run(&["up", "--connect", &node, "--certificates", &certificate, "--json"]).ends(0).json();
    assert_eq!((&up["vault"]["restored"], &up["vault"]["locked"]), (&true.into(), &true.into()));
    device
}

#[test]
fn a_second_device_opens_with_its_own_keys_until_its_slot_is_removed() {
    let (home, _) = made();
    home.run_with(&["put", "-", "/shared"], b"for both").ends(0);
    let device = device_beside(&home);
    let identity = text(&device.path("identity"));
    let new = device.run(&["vault", "recipient", "new", &identity]).ends(0);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    device.run(&["vault", "recipient", "new", &identity]).ends(4).says("there already");
    let recipient = new.out.trim().to_owned();
    assert_eq!(device.run(&["vault", "recipient", "show", &identity]).ends(0).out.trim(), recipient);

    // As text, as a file, the wrong half, a stranger's, twice.
    let file = home.file("recipient", recipient.as_bytes());
    home.run(&["vault", "slots", "add", "--recipient", &identity]).ends(2).says("secret identity");
    home.run(&["vault", "slots", "add", "--recipient", &recipient[..500]]).ends(6).says("incomplete");
    home.run(&["vault", "slots", "add", "--recipient", &file, "--label", "Anna's laptop"]).ends(0);
    home.run(&["vault", "slots", "add", "--recipient", &recipient]).ends(4).says("already");
    let listed = slots(&home);
    assert_eq!((&listed[2]["kind"], &listed[2]["label"]), (&"recipient".into(), &"Anna's laptop".into()));
    let bytes = std::fs::read(home.home().join("config/vault.header")).unwrap();
    assert!(!bytes.windows(4).any(|w| w == b"Anna"), "labels are sealed");

    // The device's header is from before; it takes the new one from the node, which the same keys signed. The fingerprint
    // says whether it is the right vault's.
    device.run(&["unlock", "--identity", &text(&home.path("strange"))]).ends(3);
    let fingerprint = home.run(&["vault", "slots", "--json"]).ends(0).json()["vault"]["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = if fingerprint.starts_with('A') { "B" } else { "A" };
    let other = format!("{other}{}", &fingerprint[1..]);
    let open =
        |fingerprint: &str| device.run(&["unlock", "--identity", &identity, "--fingerprint", fingerprint]);
    open(&other).ends(7).says("fingerprint");
    open("nonsense").ends(2);
    open(&fingerprint.to_lowercase()).ends(0);
    assert_eq!(device.run(&["cat", "/shared"]).ends(0).out, "for both");
    device.run_with(&["put", "-", "/from-anna"], b"hello").ends(0);
    assert_eq!(home.run(&["cat", "/from-anna"]).ends(0).out, "hello");
    let strange = text(&home.path("strange"));
    home.run(&["vault", "recipient", "new", &strange]).ends(0);
    device.run(&["unlock", "--identity", &strange]).ends(7).says("no slot for this identity");

    // A change on one device is seen by the other's next change; the passphrase is not the device's to know.
    let further = device.file("further", b"further passphrase\n");
    device.run(&["vault", "slots", "add", "--passphrase-file", &further, "--label", "Ben"]).ends(0);
    let id = slots(&device)[2]["id"].as_str().unwrap()[..8].to_owned();
    home.run(&["vault", "slots", "remove", &id]).ends(2).says("--yes");
    home.run(&["vault", "slots", "remove", "ffff"]).ends(3);
    home.run(&["vault", "slots", "remove", &id, "--yes"]).ends(0).says("does not change the key");
    assert_eq!(kinds(&home), ["passphrase", "recovery code", "passphrase"]);
    unlock(&home, "--passphrase-file", &further).ends(0);
    // Its own header still has the slot; what it is told by the node counts from the first refusal on, and from any change.
    device.run(&["lock"]).ends(0);
    device.run(&["unlock", "--identity", &strange]).ends(7).says("changed since");
    device.run(&["unlock", "--identity", &identity]).ends(7);
    // A passphrase that was changed on the other device opens here at once.
    let (old, new) = (text(&home.path("passphrase")), home.file("new", b"the new passphrase\n"));
    home.run(&["vault", "passphrase", "--passphrase-file", &old, "--new-passphrase-file", &new]).ends(0);
    device.run(&["unlock", "--passphrase-file", &new]).ends(0).says("changed since");
    assert_eq!(device.run(&["cat", "/shared"]).ends(0).out, "for both");
}

#[test]
fn the_last_way_in_stays_and_labels_are_bounded() {
    let (home, code) = made();
    let long = "x".repeat(65);
    home.run(&["vault", "slots", "add", "--passphrase-file", &code, "--label", &long]).ends(2).says("label");
    let ids: Vec<String> = slots(&home).iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
    home.run(&["vault", "slots", "remove", &ids[0], "--yes"]).ends(0);
    home.run(&["vault", "slots", "remove", &ids[1], "--yes"]).ends(2).says("last one");
    // Without any passphrase the code makes one again.
    let new = home.file("new", b"a passphrase again\n");
    home.run(&["vault", "recover", "--recovery-code-file", &code, "--new-passphrase-file", &new]).ends(0);
    unlock(&home, "--passphrase-file", &new).ends(0);
    // With two, it has to be said which one is lost.
    home.run(&["vault", "slots", "add", "--passphrase-file", &text(&home.path("passphrase"))]).ends(0);
    let recover = ["vault", "recover", "--recovery-code-file", &code, "--new-passphrase-file", &code];
    home.run(&recover).ends(2).says("--slot ID");
    let second =
        slots(&home).iter().rfind(|s| s["kind"] == "passphrase").unwrap()["id"].as_str().unwrap().to_owned();
    home.run(&[&recover[..], &["--slot", &second]].concat()).ends(0);
    unlock(&home, "--passphrase-file", &new).ends(0);
    unlock(&home, "--passphrase-file", &text(&home.path("passphrase"))).ends(7);
}

#[test]
fn nothing_of_it_is_in_any_file_or_log() {
    let (home, code) = made();
    let new = home.file("new", b"another long passphrase\n");
    let passphrase = text(&home.path("passphrase"));
    home.run(&["vault", "passphrase", "--passphrase-file", &passphrase, "--new-passphrase-file", &new])
        .ends(0);
    let answer = home.run(&["vault", "recovery-code", "--json"]).ends(0).json();
    let needles = [
        PASSPHRASE.to_owned(),
        "another long passphrase".to_owned(),
        answer["recovery_code"].as_str().unwrap().to_owned(),
        std::fs::read_to_string(&code).unwrap().trim().to_owned(),
    ];
    let mut todo = vec![home.home()];
    let mut files = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        files += 1;
        for needle in &needles {
            assert!(
                !bytes.windows(needle.len()).any(|w| w == needle.as_bytes()),
                "{} holds it",
                path.display()
            );
        }
    }
    assert!(files > 8, "looked at {files} files");
}
