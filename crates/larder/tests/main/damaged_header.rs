//! A vault header that is damaged, older, or somebody else's: what is said, what `larder up` does about it, and that a
//! change cut short at any point leaves a vault that opens.

use std::io::Write;
use std::path::PathBuf;

use crate::support::{Home, Said};
use larder_seal::header::VaultHeader;

fn file(home: &Home, name: &str) -> PathBuf {
    home.home().join(name)
}

fn header_file(home: &Home) -> PathBuf {
    file(home, "config/vault.header")
}

fn write(path: &std::path::Path, bytes: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

fn up(home: &Home) -> Said {
    home.run(&["--json", "up", "--listen", "127.0.0.1:0"])
}

fn unlock(home: &Home, passphrase: &str) -> Said {
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", "--passphrase-file", passphrase])
}

/// Changes the passphrase; answers the files with the old one and the new one.
fn change_passphrase(home: &Home) -> (String, String) {
    let old = home.path("passphrase").to_str().unwrap().to_owned();
    let new = home.file("new", b"another one\n");
    home.run(&["vault", "passphrase", "--passphrase-file", &old, "--new-passphrase-file", &new]).ends(0);
    (old, new)
}

#[test]
fn whichever_byte_is_flipped_commands_say_damage_and_up_repairs_it() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let whole = std::fs::read(header_file(&home)).unwrap();
    // Every byte in-process, as commands read the file; in the real program one in each part of it.
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        assert!(VaultHeader::decode(&bent.into()).is_err(), "at={at}");
    }
    for at in [0, 1, 2, 5, 25, 40, 70, 2020, 2100, 2400, 2900, whole.len() - 50, whole.len() - 1] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        write(&header_file(&home), &bent);
        home.run(&["cat", "/f"]).ends(6).says("vault.header").says("larder up takes the node's copy");
        let answer = up(&home).ends(0).json();
        assert_eq!(answer["vault"]["restored"], true, "at={at}");
        assert_eq!(std::fs::read(header_file(&home)).unwrap(), whole, "at={at}");
        assert_eq!(std::fs::read(file(&home, "config/vault.header.damaged")).unwrap(), bent, "at={at}");
        assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept", "at={at}");
    }
    write(&header_file(&home), &whole[..whole.len() / 2]);
    for verb in [&["vault", "slots"][..], &["unlock"], &["vault", "passphrase"], &["status"]] {
        home.run(verb).ends(6).says("vault.header");
    }
    // Also with nothing running.
    home.run(&["down"]).ends(0);
    home.bring_up().ends(0).says("vault.header was damaged; it is back").says("vault.header.damaged");
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}

#[test]
fn with_the_copy_gone_too_a_backup_is_what_is_left() {
    let (home, other) = (Home::up(), Home::up());
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let whole = std::fs::read(header_file(&home)).unwrap();
    home.run(&["down"]).ends(0);
    other.run(&["down"]).ends(0);
    // A store that keeps another vault's header only.
    let data = file(&home, "data");
    std::fs::rename(&data, file(&home, "data.away")).unwrap();
    std::fs::rename(file(&other, "data"), &data).unwrap();
    let mut bent = whole.clone();
    bent[300] ^= 4;
    write(&header_file(&home), &bent);
    home.bring_up().ends(6).says("damaged").says("no copy of it").says("backup");
    assert_eq!(std::fs::read(header_file(&home)).unwrap(), bent, "nothing is made over it");
    home.run(&["down"]).ends(0);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    home.bring_up().ends(6).says("damaged").says("backup");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(file(&home, "data.away"), &data).unwrap();
    write(&header_file(&home), &whole);
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}

#[test]
fn a_change_cut_short_before_its_file_was_in_place_is_finished_by_up() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let before = [header_file(&home), file(&home, "state/seen"), file(&home, "state/seen.floor")]
        .map(|path| (path.clone(), std::fs::read(path).unwrap()));
    let (old, new) = change_passphrase(&home);
    // What a power cut between the node's copy and the file leaves behind.
    before.iter().for_each(|(path, bytes)| write(path, bytes));
    unlock(&home, &old).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    // Locked, too: the copy is signed by the keys that this machine has pinned.
    home.run(&["lock"]).ends(0);
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(0).says("changed since");
    unlock(&home, &old).ends(7);
    unlock(&home, &new).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
    up(&home).ends(0);
}

#[test]
fn killed_anywhere_it_opens_with_the_old_passphrase_or_the_new_one() {
    const ROUNDS: u64 = 6;
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let files = [home.path("passphrase").to_str().unwrap().to_owned(), home.file("new", b"another one\n")];
    let mut current = 0;
    let mut changed = 0;
    for round in 0..ROUNDS {
        let (old, new) = (&files[current], &files[1 - current]);
        let arguments = ["vault", "passphrase", "--passphrase-file", old, "--new-passphrase-file", new];
        let mut command = home.command(&arguments).spawn().unwrap();
        // The last one is left to finish, however slow the machine is.
        if round + 1 < ROUNDS {
            crate::support::pause(200 * round);
            command.kill().unwrap();
        }
        command.wait().unwrap();
        let opens = |file: &str| unlock(&home, file).code == 0;
        let (by_old, by_new) = (opens(old), opens(new));
        assert!(by_old != by_new, "round={round} old={by_old} new={by_new}");
        unlock(&home, if by_old { old } else { new }).ends(0);
        assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept", "round={round}");
        up(&home).ends(0);
        let (by_old, by_new) = (opens(old), opens(new));
        assert!(by_old != by_new, "after up: round={round} old={by_old} new={by_new}");
        if by_new {
            current = 1 - current;
            changed += 1;
        }
        unlock(&home, &files[current]).ends(0);
        assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept", "round={round}");
    }
    assert!(changed > 0, "the last one was not killed");
}

#[test]
fn of_two_changes_at_once_one_counts_and_the_other_changes_nothing() {
    let home = Home::up();
    let codes: Vec<Said> = std::thread::scope(|scope| {
        let change = || home.run(&["vault", "recovery-code", "--json"]);
        let both = [scope.spawn(change), scope.spawn(change)];
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // On one machine they take turns.
    let codes: Vec<String> = codes
        .into_iter()
        .map(|said| said.ends(0).json()["recovery_code"].as_str().unwrap().to_owned())
        .collect();
    let opens = |code: &String| {
        home.run(&["lock"]).ends(0);
        home.run(&["unlock", "--recovery-code-file", &home.file("code", code.as_bytes())]).code == 0
    };
    assert_eq!(codes.iter().filter(|code| opens(code)).count(), 1);
}

#[test]
fn an_older_header_is_not_taken_for_the_newer_one() {
    let home = Home::up();
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let older = std::fs::read(header_file(&home)).unwrap();
    let (old, new) = change_passphrase(&home);
    write(&header_file(&home), &older);
    home.run(&["cat", "/f"]).ends(6).says("older than one this device has seen");
    unlock(&home, &old).ends(6).says("older");
    home.run(&["vault", "slots", "list"]).ends(0);
    home.run(&["up", "--listen", "127.0.0.1:0"]).ends(0).says("changed since");
    unlock(&home, &old).ends(7);
    unlock(&home, &new).ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}

#[test]
fn a_stranger_s_header_in_the_place_of_ours_is_refused() {
    let (home, other) = (Home::up(), Home::up());
    home.run_with(&["put", "-", "/f"], b"kept").ends(0);
    let whole = std::fs::read(header_file(&home)).unwrap();
    // Whoever can write the file can mend its checksum; they cannot sign it.
    let mut forged = whole[..whole.len() - 16].to_vec();
    forged[3 + 16] ^= 0x40;
    let checksum = blake3::derive_key("larder 2026 vault header checksum", &forged);
    forged.extend_from_slice(&checksum[..16]);
    write(&header_file(&home), &forged);
    home.run(&["vault", "slots"]).ends(6).says("not as its owner wrote it");
    home.run(&["cat", "/f"]).ends(6);
    home.run(&["lock"]).ends(0);
    home.run(&["vault", "slots"]).ends(6).says("not as its owner wrote it");
    write(&header_file(&home), &std::fs::read(header_file(&other)).unwrap());
    unlock(&home, home.path("passphrase").to_str().unwrap()).ends(4).says("another vault");
    write(&header_file(&home), &whole);
    home.bring_up().ends(0);
    assert_eq!(home.run(&["cat", "/f"]).ends(0).out, "kept");
}

#[test]
fn a_header_of_the_first_format_is_signed_with_its_next_change() {
    let home = Home::new();
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/home-1");
    for folder in ["config", "data", "state"] {
        let there = home.home().join(folder);
        std::fs::create_dir_all(&there).unwrap();
        for entry in std::fs::read_dir(fixture.join(folder)).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), there.join(entry.file_name())).unwrap();
        }
    }
    std::fs::copy(fixture.join("passphrase"), home.path("passphrase")).unwrap();
    home.bring_up().ends(0);
    let first = std::fs::read(header_file(&home)).unwrap();
    assert_eq!(first[2], 1);
    let before = home.run(&["vault", "slots", "--json"]).ends(0).json();
    assert_eq!(before["slots"][0]["created_ms"], serde_json::Value::Null);
    let fingerprint = before["vault"]["fingerprint"].clone();
    assert!(fingerprint.is_string(), "the open vault knows it");
    home.run(&["ls"]).ends(0);
    assert_eq!(std::fs::read(header_file(&home)).unwrap(), first, "looking changes nothing");
    let (old, new) = change_passphrase(&home);
    assert_eq!(std::fs::read(header_file(&home)).unwrap()[2], 2);
    home.run(&["lock"]).ends(0);
    let after = home.run(&["vault", "slots", "--json"]).ends(0).json();
    assert_eq!((&after["vault"]["fingerprint"], &after["vault"]["verified"]), (&fingerprint, &true.into()));
    unlock(&home, &old).ends(7);
    unlock(&home, &new).ends(0);
    home.run(&["ls"]).ends(0);
}
