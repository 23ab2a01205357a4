//! An index as a sealed file, so that a restart reads it and goes on from where the feed was, instead of asking the
//! node for everything.
//!
//! The file can be deleted at any time: it is made again. One that is damaged, of another vault or of another version is
//! not used. It is written beside and renamed; what changes while it is written does not matter, because the position
//! in it is that from *before* it was begun, and events are only hints: those seen twice change nothing.
//! `docs/design/format-seal.md` has the bytes.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::error::Kind;
use larder_format::head::{HEAD_PLAIN_LEN_MAX, Head};
use larder_format::record::{Expiry, Version};
use larder_format::rng::{Rng, SystemRng};
use larder_seal::keys::VaultRoot;
use larder_seal::local::{LOCAL_BLOCK_LEN_MAX, LOCAL_BLOCK_OVERHEAD, LOCAL_HEADER_LEN, LocalFile};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;

use super::tree::NameIndex;
use crate::feed::FeedPosition;
use crate::vault::{local_failure, seal_failure};

/// Version of what is inside the blocks.
pub const SNAPSHOT_FORMAT: u8 = 1;

/// Longest snapshot read, in bytes: four million entries with long names.
pub const SNAPSHOT_LEN_MAX: u64 = 2 << 30;

/// The label under which its key is derived.
const LABEL: &str = "name-index";

/// Marks the last block in its length field.
const LAST: u32 = 1 << 31;

/// Longest record in it: tag, key, version, expiry, head.
const RECORD_LEN_MAX: usize = 1 + 32 + 8 + 8 + 4 + HEAD_PLAIN_LEN_MAX;

const TAG_RECORD: u8 = 1;
const TAG_UNREADABLE: u8 = 2;

fn damaged(error: &DecodeError) -> Failure {
    Failure::new(Kind::Damaged, format!("the index's snapshot is damaged: {error}"))
}

/// Writes blocks.
struct Blocks {
    file: File,
    sealer: LocalFile,
    plain: Vec<u8>,
}

impl Blocks {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.plain.len() + bytes.len() > LOCAL_BLOCK_LEN_MAX {
            self.flush(false)?;
        }
        self.plain.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self, last: bool) -> Result<(), Failure> {
        let sealed = self.sealer.seal(&self.plain, last).map_err(seal_failure)?;
        self.plain.clear();
        let len = u32::try_from(sealed.len()).unwrap_or(0) | if last { LAST } else { 0 };
        let written = self.file.write_all(&len.to_le_bytes()).and_then(|()| self.file.write_all(&sealed));
        written.map_err(|e| local_failure(Path::new("snapshot"), &e))
    }
}

/// Writes a snapshot. `some` shows some records from a place on, as [`NameIndex::some_records`] does; it is called until
/// it says that there are no more, and may take and give back a lock each time.
///
/// # Errors
/// What the file system says; what was there before stays.
pub fn save(
    path: &Path,
    root: &VaultRoot,
    at: FeedPosition,
    mut some: impl FnMut(usize, &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<Option<usize>, Failure>,
) -> Result<(), Failure> {
    let beside = path.with_extension(format!("{:016x}", SystemRng.u64()));
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let file = opened.map_err(|e| local_failure(&beside, &e))?;
    let sealer = LocalFile::create(root, LABEL, &mut SystemRng);
    let mut blocks = Blocks { file, sealer, plain: Vec::with_capacity(LOCAL_BLOCK_LEN_MAX) };
    let mut write = || {
        let header = *blocks.sealer.header();
        blocks.file.write_all(&header).map_err(|e| local_failure(&beside, &e))?;
        let mut w = Writer::new();
        w.u8(SNAPSHOT_FORMAT).u64(at.life).u64(at.sequence);
        blocks.write(&w.finish())?;
        let mut place = Some(0);
        while let Some(from) = place {
            place = some(from, &mut |record| blocks.write(record))?;
        }
        blocks.flush(true)?;
        std::fs::rename(&beside, path).map_err(|e| local_failure(path, &e))
    };
    let result = write();
    if result.is_err() {
        // It may be gone already; there is nothing better to do than to try.
        let _ = std::fs::remove_file(&beside);
    }
    result
}

/// One record as it stands in a snapshot.
///
/// # Errors
/// [`Kind::Bug`] if its head does not encode, although it was decoded before.
pub fn encode_record(
    key: SealedKey,
    head: Option<&Head>,
    version: Version,
    expiry: Expiry,
) -> Result<Bytes, Failure> {
    let mut w = Writer::with_capacity(128);
    match head {
        None => w.u8(TAG_UNREADABLE).raw(&key.0),
        Some(head) => {
            let head = head.encode().map_err(|e| Failure::new(Kind::Bug, e.to_string()))?;
            w.u8(TAG_RECORD).raw(&key.0).u64(version.to_u64()).u64(expiry.to_u64()).bytes(&head)
        }
    };
    Ok(w.finish())
}

/// Reads a snapshot into an empty index; where the feed was, or `None` if there is no file.
///
/// # Errors
/// [`Kind::Damaged`], [`Kind::TooNew`], or what the file system says. The index is of no use then.
pub fn load(path: &Path, root: &VaultRoot, index: &mut NameIndex) -> Result<Option<FeedPosition>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(local_failure(path, &error)),
    };
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::new(Kind::Damaged, "the index's snapshot is cut short"),
        _ => local_failure(path, &e),
    };
    let mut file = BufReader::new(file.take(SNAPSHOT_LEN_MAX));
    let mut header = [0; LOCAL_HEADER_LEN];
    file.read_exact(&mut header).map_err(io)?;
    let mut opener = LocalFile::open(root, LABEL, header).map_err(seal_failure)?;
    let mut at = None;
    let mut rest = BytesMut::new();
    loop {
        let mut prefix = [0; 4];
        file.read_exact(&mut prefix).map_err(io)?;
        let prefix = u32::from_le_bytes(prefix);
        let (last, len) = (prefix & LAST != 0, (prefix & !LAST) as usize);
        if len > LOCAL_BLOCK_LEN_MAX + LOCAL_BLOCK_OVERHEAD {
            return Err(Failure::new(Kind::Damaged, "the index's snapshot has an impossible block"));
        }
        let mut sealed = vec![0; len];
        file.read_exact(&mut sealed).map_err(io)?;
        rest.extend_from_slice(&opener.unseal(&sealed, last).map_err(seal_failure)?);
        let mut reader = Reader::new(rest.split().freeze());
        if at.is_none() {
            at = Some(read_position(&mut reader).map_err(|e| damaged(&e))?);
        }
        // A record may lie in two blocks.
        while reader.remaining() >= RECORD_LEN_MAX || (last && reader.remaining() > 0) {
            read_record(&mut reader, index)?;
        }
        if last {
            return Ok(at);
        }
        let left = reader.rest();
        rest.extend_from_slice(left.chunk());
    }
}

fn read_position(r: &mut Reader) -> Result<FeedPosition, DecodeError> {
    match r.u8("snapshot format")? {
        SNAPSHOT_FORMAT => {}
        newer => {
            let (version, supported) = (newer.into(), SNAPSHOT_FORMAT.into());
            return Err(DecodeError::TooNew { what: "snapshot of the index", version, supported });
        }
    }
    Ok(FeedPosition { life: r.u64("feed life")?, sequence: r.u64("feed sequence")? })
}

fn read_record(r: &mut Reader, index: &mut NameIndex) -> Result<(), Failure> {
    let full = |e: super::tree::IndexFull| Failure::new(Kind::Full, e.to_string());
    let mut read = || {
        let tag = r.u8("snapshot record")?;
        let key = SealedKey(r.array("snapshot key")?);
        if tag == TAG_UNREADABLE {
            return Ok((key, None));
        }
        if tag != TAG_RECORD {
            return Err(DecodeError::BadValue { field: "snapshot record", value: tag.into() });
        }
        let version = Version::from_u64(r.u64("snapshot version")?);
        let expiry = Expiry::at_ms(r.u64("snapshot expiry")?);
        let head = Head::decode(r.bytes("snapshot head", HEAD_PLAIN_LEN_MAX)?)?;
        Ok((key, Some((head, version, expiry))))
    };
    match read().map_err(|e| damaged(&e))? {
        (key, None) => index.put_unreadable(key).map_err(full),
        (key, Some((head, version, expiry))) => index.put(key, head, version, expiry).map_err(full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_format::head::{Attributes, DirId, Entry, EntryTarget, FileId, FileKind};
    use larder_format::rng::SeededRng;

    const AT: FeedPosition = FeedPosition { life: 7, sequence: 9 };

    fn root() -> VaultRoot {
        VaultRoot::generate(&mut SeededRng::new(1))
    }

    fn empty() -> NameIndex {
        NameIndex::new(DirId([0; 16]), |dir| dir.0)
    }

    fn filled(count: u64) -> NameIndex {
        let mut index = empty();
        let mut rng = SeededRng::new(5);
        for number in 0..count {
            let mut key = [0; 32];
            rng.fill(&mut key[16..]);
            let attributes = Attributes { content_type: "text/plain".to_owned(), ..Attributes::default() };
            let target =
                EntryTarget::File { id: FileId(rng.array()), kind: FileKind::File, size: number, attributes };
            let name = format!("file {number} {}", "x".repeat((number % 300) as usize));
            let head = Head::Entry(Entry { name, moves: 0, target });
            index.put(SealedKey(key), head, Version::from_u64(number + 1), Expiry::NEVER).unwrap();
        }
        index.put_unreadable(SealedKey([9; 32])).unwrap();
        index
    }

    fn save_it(path: &Path, index: &NameIndex) {
        save(path, &root(), AT, |from, write| {
            index.some_records(from, |key, head, version, expiry| {
                write(&encode_record(key, head.as_ref(), version, expiry)?)
            })
        })
        .unwrap();
    }

    fn all(index: &NameIndex) -> Vec<(SealedKey, Option<Head>)> {
        let (mut out, mut from) = (Vec::new(), Some(0));
        while let Some(place) = from {
            from = index
                .some_records::<()>(place, |key, head, _, _| {
                    out.push((key, head));
                    Ok(())
                })
                .unwrap();
        }
        out.sort_by_key(|(key, _)| *key);
        out
    }

    #[test]
    fn it_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        assert_eq!(load(&path, &root(), &mut empty()).unwrap(), None);
        for count in [0, 1, 12_000] {
            let index = filled(count);
            save_it(&path, &index);
            let mut back = empty();
            assert_eq!(load(&path, &root(), &mut back).unwrap(), Some(AT));
            assert_eq!(all(&back), all(&index));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside");
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"file 1"), "names are sealed");
    }

    #[test]
    fn damage_and_other_vaults_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        save_it(&path, &filled(8_000));
        let whole = std::fs::read(&path).unwrap();
        assert!(
            whole.len() > LOCAL_BLOCK_LEN_MAX,
            "several blocks are needed for this test to mean anything"
        );
        let mut rng = SeededRng::new(6);
        let put = |bytes: &[u8]| File::create(&path).unwrap().write_all(bytes).unwrap();
        for _ in 0..40 {
            let mut bad = whole.clone();
            let at = usize::try_from(rng.below(bad.len() as u64)).unwrap();
            bad[at] ^= 1 << rng.below(8);
            put(&bad);
            assert!(load(&path, &root(), &mut empty()).is_err(), "a flipped bit at {at}");
            put(&whole[..at]);
            assert!(load(&path, &root(), &mut empty()).is_err(), "cut at {at}");
        }
        put(&whole);
        let other = VaultRoot::generate(&mut SeededRng::new(2));
        assert!(load(&path, &other, &mut empty()).is_err());
        assert!(load(&path, &root(), &mut empty()).is_ok());
    }
}
