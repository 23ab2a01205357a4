//! What issues promise a person who has never seen Larder: a folder stored, the passphrase lost, an old version wanted, the
//! disk full of what is not needed, a byte on the disk gone bad; each answered by one obvious command.

use std::os::unix::fs::FileExt;

use crate::support::{Home, noise};

/// Changes one byte in the middle of the largest file of the node's store: with one large file stored, its content.
fn spoil_a_byte(home: &Home) {
    let data = home.home().join("data");
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|e| e == "seg"));
    let largest = segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&largest).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

#[test]
fn a_folder_a_lost_passphrase_an_old_version_space_and_a_bad_byte() {
    let home = Home::new();
    let passphrase = home.path("passphrase");
    let up = ["up", "--json", "--listen", "127.0.0.1:0", "--passphrase-file", passphrase.to_str().unwrap()];
    let code = home.run(&up).ends(0).json()["recovery_code"].as_str().unwrap().to_owned();

    // A folder.
    let photos = home.path("photos");
    std::fs::create_dir(&photos).unwrap();
    home.file("photos/letter.txt", b"first\n");
    home.file("photos/beach.jpg", &noise(4 << 20, 1));
    home.run(&["put", photos.to_str().unwrap(), "/"]).ends(0);
    home.file("photos/letter.txt", b"second, and wrong\n");
    home.run(&["put", photos.to_str().unwrap(), "/"]).ends(0);

    // The passphrase is lost; the code was written down.
    home.run(&["lock"]).ends(0);
    home.run(&["cat", "/photos/letter.txt"]).ends(8).says("larder unlock");
    let code_file = home.file("code", code.as_bytes());
    let new = home.file("new-passphrase", b"another one altogether\n");
    home.run(&["vault", "recover", "--recovery-code-file", &code_file, "--new-passphrase-file", &new])
        .ends(0);
    home.run(&["lock"]).ends(0);
    home.run(&["unlock", "--passphrase-file", passphrase.to_str().unwrap()]).ends(7);
    home.run(&["unlock", "--passphrase-file", &new]).ends(0);

    // The letter as it was.
    home.run(&["restore", "/photos/letter.txt"]).ends(0);
    assert_eq!(home.run(&["cat", "/photos/letter.txt"]).ends(0).out, "first\n");

    // Space: what was deleted goes for good, and the disk has it back.
    home.file("big.iso", &noise(24 << 20, 2));
    home.run(&["put", home.path("big.iso").to_str().unwrap(), "/"]).ends(0);
    home.run(&["rm", "/big.iso"]).ends(0);
    let freed = home.run(&["purge", "--yes", "--json"]).ends(0).json();
    assert!(freed["freed_bytes"].as_u64().unwrap() > 20 << 20, "{freed}");

    // A byte on the disk goes bad: the file is named, and storing it again mends it.
    home.run(&["verify"]).ends(0);
    home.run(&["down"]).ends(0);
    spoil_a_byte(&home);
    home.run(&["up", "--passphrase-file", &new]).ends(0);
    let said = home.run(&["verify"]).ends(6);
    assert!(format!("{}{}", said.out, said.err).contains("/photos/beach.jpg"), "{said:?}");
    home.run(&["doctor"]).ends(6).says("damage");
    home.run(&["put", "--force", photos.to_str().unwrap(), "/"]).ends(0);
    home.run(&["verify"]).ends(0);
    let back = home.path("back");
    home.run(&["get", "-T", "/photos", back.to_str().unwrap()]).ends(0);
    assert_eq!(std::fs::read(back.join("beach.jpg")).unwrap(), noise(4 << 20, 1));
}
