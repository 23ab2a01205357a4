//! Committed vectors: bytes that must never change their meaning.
//!
//! `vectors/v1/` holds a small vault as a node would hold it, as text (`sealed.txt`), and what is in it
//! (`expected.txt`). Two things are checked: today's program makes exactly these bytes from the same seed, and it
//! reads them. `tools/reader/check_vectors.py` reads them too, with code that shares nothing with ours.
//!
//! The vault header of version 1 is of a format that is read and no longer written: its two slots are made again and
//! compared, the rest of it is read only. Headers of format 2 cannot be made again from a seed (ML-KEM and ML-DSA draw
//! their own randomness): `vectors/v2/` is read only.
//!
//! Policy: a committed folder is never edited. When the format changes, a folder `v2/` is added with its own
//! generator, and the reading half of this test goes over both for as long as version 1 is supported. To write a
//! new folder: `LARDER_WRITE_VECTORS=1 cargo test -p larder-seal --test vectors` (it refuses to overwrite).
//! The bytes also depend on zstd's compressor: should an upgrade of it change them, that alone is reason for a new
//! folder, since the old one must go on opening.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use larder_format::head::{
    Attributes, DirId, DirState, Directory, Entry, EntryTarget, FileId, FileKind, Head, ValueHead,
};
use larder_format::ids::{BlobId, NamespaceId};
use larder_format::manifest::{Chunking, Content, Manifest};
use larder_format::pages::{Page, PageRef};
use larder_format::record::Version;
use larder_format::rng::{Rng, SeededRng};
use larder_seal::chunk::BlobSealer;
use larder_seal::compress::Compression;
use larder_seal::cut::Gear;
use larder_seal::fingerprint::Fingerprint;
use larder_seal::header::notes::Note;
use larder_seal::header::{VaultHeader, header_record_key};
use larder_seal::keys::VaultRoot;
use larder_seal::manifest::{Draft, Previous, check_chain, check_head, open_manifest};
use larder_seal::names::{NameKeys, SealedKey};
use larder_seal::pipeline::Width;
use larder_seal::pipeline::open::{OpenJob, Reading, SupplyError, open_stream};
use larder_seal::pipeline::seal::{Cutting, SealOptions, seal_stream};
use larder_seal::recipient::{Identity, Recipient};
use larder_seal::record::{RecordOpener, RecordPlace, RecordSealer};
use larder_seal::recovery::RecoveryCode;
use larder_seal::slots::{Argon2Cost, Slot, Unlock};
use larder_seal::tree::{Step, TreeBuilder, TreeWalker};
use larder_seal::watermark::{Mark, Watermarks};

const PASSPHRASE: &str = "correct horse battery staple ✓";
/// Cheaper than the default, so that the test is quick; the default differs in numbers only.
const COST: Argon2Cost = Argon2Cost { memory_kib: 2_048, passes: 2, lanes: 2 };
const CHUNK_LEN: u32 = 64 * 1024;
const FILE_MODE: u32 = 0o100_640;

fn files() -> NamespaceId {
    NamespaceId::of("files")
}

fn values() -> NamespaceId {
    NamespaceId::of("values")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    SeededRng::new(seed).fill(&mut out);
    out
}

fn prose(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|i: u32| format!("line {i} of a file that compresses well\n").into_bytes())
        .take(len)
        .collect()
}

/// Makes the vault, line by line.
struct Maker {
    root: VaultRoot,
    names: NameKeys,
    sealer: BlobSealer,
    records: RecordSealer,
    sealed: String,
    expected: String,
    blobs: BTreeMap<BlobId, Bytes>,
    next_id: u8,
    revision: u64,
}

impl Maker {
    fn record(&mut self, namespace: NamespaceId, key: &[u8], head: &[u8], body: &[u8]) {
        let place = RecordPlace::new(namespace, key);
        let record = self.records.seal(place, head, body).unwrap();
        let (head, body) = (hex(&record.head), hex(&record.body));
        writeln!(self.sealed, "record {namespace} {} {head} {body}", hex(key)).unwrap();
    }

    fn expect(&mut self, kind: &str, manifest: &Manifest, path: &str) {
        let hash = hex(&manifest.content_hash);
        writeln!(self.expected, "{kind} {} {hash} {path}", manifest.size).unwrap();
    }

    fn directory(&mut self, id: DirId, parent: DirId, name: &str) {
        let record = Directory { id, parent, name: name.to_owned(), moves: 0, state: DirState::Open };
        let head = Head::Directory(record).encode().unwrap();
        self.record(files(), self.names.directory_key(id).as_bytes().to_vec().as_slice(), &head, &[]);
        if id != parent {
            let target = EntryTarget::Directory { id, attributes: folder_attributes() };
            let head = Head::Entry(Entry { name: name.to_owned(), moves: 0, target }).encode().unwrap();
            let key = self.names.entry_key(parent, name);
            self.record(files(), key.as_bytes(), &head, &[]);
        }
    }

    /// Writes one version of a file under `key` and returns its manifest.
    fn file(&mut self, key: &[u8], name: &str, draft: Draft, attributes: &Attributes) -> Manifest {
        let manifest = draft.sign(attributes, self.root.id(), &self.root.signer());
        let target = EntryTarget::File {
            id: manifest.file,
            kind: manifest.kind,
            size: manifest.size,
            attributes: attributes.clone(),
        };
        let head = Head::Entry(Entry { name: name.to_owned(), moves: 0, target }).encode().unwrap();
        self.record(files(), key, &head, &manifest.encode());
        let statement = manifest.statement(self.root.id());
        writeln!(self.sealed, "statement {} {}", hex(&statement.encode()), hex(&manifest.signature)).unwrap();
        manifest
    }

    fn inline(&mut self, kind: FileKind, data: &[u8], previous: Previous) -> Draft {
        let id = self.file_id();
        Draft::inline(id, kind, self.revision, previous, Bytes::copy_from_slice(data)).unwrap()
    }

    fn file_id(&mut self) -> FileId {
        self.next_id += 1;
        self.revision += 1;
        FileId([self.next_id; 16])
    }

    fn chunked(&mut self, data: &[u8], cutting: Cutting) -> Draft {
        let options = SealOptions {
            cutting,
            compression: Compression::default(),
            width: Width { workers: 1, window: 1 },
        };
        let source = std::io::Cursor::new(data.to_vec());
        let mut stream = seal_stream(&self.sealer, source, &options).unwrap();
        let mut tree = TreeBuilder::new(self.sealer.clone());
        for chunk in stream.by_ref().map(Result::unwrap) {
            self.blobs.insert(chunk.entry.blob, Bytes::copy_from_slice(&chunk.bytes));
            assert!(tree.push(chunk.entry).unwrap().is_empty());
        }
        let summary = stream.summary().unwrap();
        let (content, pages) = tree.finish().unwrap();
        self.blobs.extend(pages.into_iter().map(|page| (page.blob, page.bytes)));
        Draft {
            file: self.file_id(),
            kind: FileKind::File,
            revision: self.revision,
            previous: Previous::default(),
            size: summary.size,
            content_hash: summary.content_hash,
            chunking: options.cutting.chunking(),
            content,
        }
    }

    /// The same content one level deeper: what a file of 47 TiB would need, in small.
    fn deepen(&mut self, draft: Draft) -> Draft {
        let Content::Pages { level: 0, refs } = draft.content else { panic!("the file has leaves") };
        let page = Page::Interior { level: 1, refs }.encode();
        let (key, blob, bytes) = self.sealer.seal_page(&page).unwrap();
        self.blobs.insert(blob, bytes.into());
        let top = PageRef { blob, key, page_len: page.len() as u32, offset: 0, len: draft.size };
        Draft { content: Content::Pages { level: 1, refs: vec![top] }, ..draft }
    }
}

fn attributes() -> Attributes {
    Attributes { mode: FILE_MODE, mtime_ns: 1_700_000_000_123_456_789, ..Attributes::default() }
}

fn folder_attributes() -> Attributes {
    Attributes { mode: 0o040_750, ..Attributes::default() }
}

fn rich_attributes() -> Attributes {
    let custom = vec![
        ("camera".to_owned(), Bytes::from_static(b"none")),
        ("rating".to_owned(), Bytes::from_static(&[0, 5])),
    ];
    Attributes { content_type: "text/plain".to_owned(), custom, mtime_ns: -1, ..attributes() }
}

fn generate() -> (String, String) {
    let mut rng = SeededRng::new(20_260_101);
    let root = VaultRoot::generate(&mut rng);
    let unlock = Unlock::Passphrase(PASSPHRASE.as_bytes());
    let passphrase_slot = Slot::wrap(root.id(), root.secret(), unlock, COST, &mut rng).unwrap();
    let code = RecoveryCode::generate(&mut rng);
    let unlock = Unlock::RecoveryCode(&code);
    let code_slot = Slot::wrap(root.id(), root.secret(), unlock, COST, &mut rng).unwrap();
    let header = committed("sealed.txt").lines().find_map(|l| l.strip_prefix("header ").map(unhex)).unwrap();
    let header = VaultHeader::decode(&header.into()).unwrap();
    assert_eq!(header.slots(), [passphrase_slot, code_slot]);
    let mut maker = Maker {
        names: NameKeys::new(&root),
        sealer: BlobSealer::new(&root, 0),
        records: RecordSealer::new(&root, 0, &mut rng),
        sealed: String::new(),
        expected: String::new(),
        blobs: BTreeMap::new(),
        next_id: 0,
        revision: 1_000,
        root,
    };
    let (passphrase, code) = (hex(PASSPHRASE.as_bytes()), code.to_text());
    writeln!(maker.sealed, "passphrase {passphrase}\nrecovery {}", *code).unwrap();
    writeln!(maker.sealed, "header {}", hex(&header.encode())).unwrap();
    writeln!(maker.expected, "header-key {}", hex(&header_record_key(maker.root.id()))).unwrap();
    fill(&mut maker);
    for (id, bytes) in &maker.blobs {
        writeln!(maker.sealed, "blob {id} {}", hex(bytes)).unwrap();
    }
    let mut marks = Watermarks::new();
    marks.observe(files().0, b"some key", Mark { version: 7, revision: 1_001 }).unwrap();
    writeln!(maker.sealed, "watermarks {}", hex(&marks.snapshot())).unwrap();
    (maker.sealed, maker.expected)
}

fn fill(maker: &mut Maker) {
    let top = maker.names.root_dir();
    let folder = DirId([0xd1; 16]);
    maker.directory(top, top, "");
    maker.directory(folder, top, "a folder");

    let first = maker.inline(FileKind::File, b"first words\n", Previous::default());
    let id = first.file;
    let key = maker.names.entry_key(top, "small.txt");
    let first = maker.file(&key.version_key(Version::from_u64(500)), "small.txt", first, &attributes());
    maker.expect("version", &first, "500 small.txt");
    let second = maker.inline(FileKind::File, b"second words\n", Previous::of(500, &first, maker.root.id()));
    let second = maker.file(key.as_bytes(), "small.txt", Draft { file: id, ..second }, &rich_attributes());
    maker.expect("file", &second, "small.txt");

    let link = maker.inline(FileKind::Symlink, b"a folder/noise.bin", Previous::default());
    let key = maker.names.entry_key(top, "link");
    let link = maker.file(key.as_bytes(), "link", link, &Attributes::default());
    maker.expect("link", &link, "link");

    let empty = maker.inline(FileKind::File, b"", Previous::default());
    let key = maker.names.entry_key(folder, "empty 🦀");
    let empty = maker.file(key.as_bytes(), "empty 🦀", empty, &attributes());
    maker.expect("file", &empty, "a folder/empty 🦀");

    let fixed = Cutting::Fixed { len: CHUNK_LEN };
    let cut = Cutting::ContentDefined { average: CHUNK_LEN, gear: Gear::new(&maker.root) };
    let plans: [(&str, Vec<u8>, &Cutting, bool); 4] = [
        ("noise.bin", noise(5, 70_001), &fixed, false),
        ("cut.txt", prose(400_000), &cut, false),
        ("pages.txt", prose(54 * CHUNK_LEN as usize + 17), &fixed, false),
        ("deep.txt", prose(55 * CHUNK_LEN as usize), &fixed, true),
    ];
    for (name, data, cutting, deep) in plans {
        let mut draft = maker.chunked(&data, cutting.clone());
        if deep {
            draft = maker.deepen(draft);
        }
        let key = maker.names.entry_key(folder, name);
        let manifest = maker.file(key.as_bytes(), name, draft, &attributes());
        maker.expect("file", &manifest, &format!("a folder/{name}"));
    }

    let head = ValueHead { name: "session/42".to_owned(), attributes: rich_attributes() };
    let head = Head::Value(head).encode().unwrap();
    let key = maker.names.value_key(values(), "session/42");
    maker.record(values(), key.as_bytes(), &head, b"a value");
    writeln!(maker.expected, "value {} session/42", hex(b"a value")).unwrap();
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1")
}

fn committed(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("the vectors are committed")
}

#[test]
#[allow(clippy::disallowed_methods, reason = "writing fixtures once, by hand; atomicity does not matter")]
fn today_s_program_makes_the_committed_bytes() {
    let (sealed, expected) = generate();
    if std::env::var_os("LARDER_WRITE_VECTORS").is_some() && !folder().join("sealed.txt").exists() {
        std::fs::write(folder().join("sealed.txt"), &sealed).unwrap();
        std::fs::write(folder().join("expected.txt"), &expected).unwrap();
    }
    assert_eq!(expected, committed("expected.txt"));
    for (i, (made, kept)) in sealed.lines().zip(committed("sealed.txt").lines()).enumerate() {
        let what = kept.split(' ').next().unwrap();
        assert!(made == kept, "line {} ({what}) differs", i + 1);
    }
    assert_eq!(sealed.len(), committed("sealed.txt").len());
}

/// Sealed head and body by namespace and key.
type Records = BTreeMap<(String, Vec<u8>), (Vec<u8>, Vec<u8>)>;

/// A vault read back from the committed text.
struct Vault {
    root: VaultRoot,
    header: VaultHeader,
    code: RecoveryCode,
    records: Records,
    blobs: BTreeMap<BlobId, Bytes>,
    watermarks: Bytes,
}

fn read() -> Vault {
    let text = committed("sealed.txt");
    let (mut header, mut code, mut passphrase, mut watermarks) = (None, None, Vec::new(), Bytes::new());
    let (mut records, mut blobs) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "passphrase" => passphrase = unhex(words[1]),
            "recovery" => code = Some(RecoveryCode::parse(words[1]).unwrap()),
            "header" => header = Some(VaultHeader::decode(&unhex(words[1]).into()).unwrap()),
            "record" => {
                records.insert((words[1].to_owned(), unhex(words[2])), (unhex(words[3]), unhex(words[4])));
            }
            "blob" => {
                blobs.insert(words[1].parse::<BlobId>().unwrap(), Bytes::from(unhex(words[2])));
            }
            "watermarks" => watermarks = unhex(words[1]).into(),
            "statement" => {}
            other => panic!("unknown line {other}"),
        }
    }
    let header = header.unwrap();
    let root = header.open(Unlock::Passphrase(&passphrase)).unwrap();
    Vault { root, header, code: code.unwrap(), records, blobs, watermarks }
}

impl Vault {
    fn open(&self, namespace: NamespaceId, key: &[u8]) -> (Head, Bytes) {
        let (head, body) = &self.records[&(namespace.to_string(), key.to_vec())];
        let opener = RecordOpener::new(&self.root);
        let place = RecordPlace::new(namespace, key);
        let opened = opener.open_head(place, head).unwrap();
        (Head::decode(opened).unwrap(), opener.open_body(place, head, body).unwrap())
    }

    fn manifest(&self, key: &[u8]) -> Manifest {
        let (head, body) = self.open(files(), key);
        let manifest = open_manifest(body, self.root.id(), self.root.signer().public()).unwrap();
        let Head::Entry(Entry { target: EntryTarget::File { id, kind, size, attributes }, .. }) = head else {
            panic!("a file has a file's head");
        };
        check_head(&manifest, id, kind, size, &attributes).unwrap();
        manifest
    }

    fn content(&self, manifest: &Manifest) -> Vec<u8> {
        if let Content::Inline(data) = &manifest.content {
            return data.to_vec();
        }
        let opener = BlobSealer::new(&self.root, 0).opener();
        let mut walker = TreeWalker::new(opener, manifest, 0..u64::MAX);
        let mut jobs = Vec::new();
        loop {
            match walker.step().unwrap() {
                Step::Chunk { offset, entry } => {
                    jobs.push(OpenJob { offset, entry, sealed: self.blobs[&entry.blob].clone() });
                }
                Step::NeedPage(page) => walker.supply(&self.blobs[&page.blob]).unwrap(),
                Step::Done => break,
            }
        }
        let supply = jobs.into_iter().map(Ok::<_, SupplyError>);
        let stream = open_stream(opener, supply, Reading::whole(manifest), Width::default()).unwrap();
        stream.flat_map(|chunk| chunk.unwrap().bytes.to_vec()).collect()
    }
}

fn key_of(names: &NameKeys, path: &str) -> SealedKey {
    match path.split_once('/') {
        Some(("a folder", name)) => names.entry_key(DirId([0xd1; 16]), name),
        _ => names.entry_key(names.root_dir(), path),
    }
}

#[test]
fn committed_bytes_open_to_what_they_held() {
    let vault = read();
    let names = NameKeys::new(&vault.root);
    let mut checked = 0;
    for line in committed("expected.txt").lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        if kind == "header-key" {
            assert_eq!(unhex(rest), header_record_key(vault.root.id()));
            continue;
        }
        if kind == "value" {
            let (value, name) = rest.split_once(' ').unwrap();
            let (head, body) = vault.open(values(), names.value_key(values(), name).as_bytes());
            assert_eq!((head.name(), body), (name, Bytes::from(unhex(value))));
            continue;
        }
        let words: Vec<_> = rest.splitn(3, ' ').collect();
        let manifest = match (kind, words[2].split_once(' ')) {
            ("version", Some((version, path))) => {
                let version = Version::from_u64(version.parse().unwrap());
                vault.manifest(&key_of(&names, path).version_key(version))
            }
            _ => vault.manifest(key_of(&names, words[2]).as_bytes()),
        };
        let content = vault.content(&manifest);
        assert_eq!(content.len().to_string(), words[0], "{line}");
        assert_eq!(hex(blake3::hash(&content).as_bytes()), words[1], "{line}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

#[test]
fn the_rest_of_the_committed_vault_is_as_it_was() {
    let vault = read();
    let again = vault.header.open(Unlock::RecoveryCode(&vault.code)).unwrap();
    assert_eq!(again.secret().expose(), vault.root.secret().expose());
    let names = NameKeys::new(&vault.root);
    let key = names.entry_key(names.root_dir(), "small.txt");
    let older = vault.manifest(&key.version_key(Version::from_u64(500)));
    let newer = vault.manifest(key.as_bytes());
    check_chain(&newer, &older, 500, vault.root.id()).unwrap();
    assert_eq!(newer.chunking, Chunking::Fixed { len: 1 << 20 });
    let (head, _) = vault.open(files(), names.directory_key(names.root_dir()).as_bytes());
    assert!(matches!(head, Head::Directory(Directory { state: DirState::Open, .. })));
    let marks = Watermarks::load(&vault.watermarks).unwrap().watermarks;
    assert_eq!(marks.seen(files().0, b"some key"), Some(Mark { version: 7, revision: 1_001 }));
}

/// A header of format 2, with everything that opens it. Made once by `LARDER_WRITE_VECTORS=1` and never again.
fn generate_header() -> String {
    let mut rng = SeededRng::new(20_261_121);
    let root = VaultRoot::generate(&mut rng);
    let mut header =
        VaultHeader::create(&root, Unlock::Passphrase(PASSPHRASE.as_bytes()), COST, &mut rng).unwrap();
    let code = RecoveryCode::generate(&mut rng);
    header.add_slot(&root, Unlock::RecoveryCode(&code), COST, &mut rng).unwrap();
    let identity = Identity::generate(&mut rng).unwrap();
    let slot = header.add_recipient(&root, identity.recipient(), &mut rng).unwrap();
    let recipient = Some(identity.recipient().fingerprint());
    let note = Note { label: "a laptop ✓".to_owned(), created_ms: 1_795_000_000_000, recipient };
    header.annotate(&root, slot, note, &mut rng).unwrap();
    header.advance_generation(&root).unwrap();
    let mut out = String::new();
    for (name, value) in [
        ("passphrase", hex(PASSPHRASE.as_bytes())),
        ("recovery", code.to_text().to_string()),
        ("identity", identity.to_text().to_string()),
        ("recipient", identity.recipient().to_text()),
        ("recipient-fingerprint", identity.recipient().fingerprint().to_string()),
        ("fingerprint", root.fingerprint().unwrap().to_string()),
        ("vault", root.id().to_string()),
        ("root", hex(root.secret().expose())),
        ("slot", slot.to_string()),
        ("label", hex("a laptop ✓".as_bytes())),
        ("header", hex(&header.encode())),
    ] {
        writeln!(out, "{name} {value}").unwrap();
    }
    out
}

#[test]
#[allow(clippy::disallowed_methods, reason = "writing fixtures once, by hand; atomicity does not matter")]
fn a_committed_header_of_format_2_opens_by_every_slot_and_its_signatures_verify() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v2/header.txt");
    if std::env::var_os("LARDER_WRITE_VECTORS").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, generate_header()).unwrap();
    }
    let text = std::fs::read_to_string(path).expect("the vectors are committed");
    let lines: BTreeMap<&str, &str> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let bytes = Bytes::from(unhex(lines["header"]));
    let header = VaultHeader::decode(&bytes).unwrap();
    assert_eq!(header.encode(), bytes);
    let fingerprint = Fingerprint::parse(lines["fingerprint"]).unwrap();
    assert_eq!(header.fingerprint(), Some(fingerprint));
    header.verify_pinned(&fingerprint).unwrap();
    let code = RecoveryCode::parse(lines["recovery"]).unwrap();
    let identity = Identity::parse(lines["identity"]).unwrap();
    assert_eq!(*identity.recipient(), Recipient::parse(lines["recipient"]).unwrap());
    assert_eq!(identity.recipient().fingerprint().to_string(), lines["recipient-fingerprint"]);
    let passphrase = unhex(lines["passphrase"]);
    for unlock in [Unlock::Passphrase(&passphrase), Unlock::RecoveryCode(&code), Unlock::Identity(&identity)]
    {
        let root = header.open(unlock).unwrap();
        assert_eq!(
            (root.id().to_string(), hex(root.secret().expose())),
            (lines["vault"].into(), lines["root"].into())
        );
        assert_eq!(root.fingerprint().unwrap(), fingerprint);
        let notes = header.notes(&root).unwrap();
        let (slot, note) = notes.iter().next().unwrap();
        assert_eq!(
            (slot.to_string().as_str(), hex(note.label.as_bytes()).as_str()),
            (lines["slot"], lines["label"])
        );
        assert_eq!(
            (note.created_ms, note.recipient),
            (1_795_000_000_000, Some(identity.recipient().fingerprint()))
        );
    }
    assert_eq!(header.generation(), 1);
}
