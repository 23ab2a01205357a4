//! The agent's messages: a `u32` length (little-endian), then a version byte, a tag byte and fields as
//! `larder_format::codec` writes them. One request, one response, in turn. Frames are bounded before anything is
//! allocated, and buffers that may hold secrets are wiped.

use std::io::{self, Read, Write};

use bytes::Bytes;
use larder_format::codec::{DecodeError, Reader, Writer};
use larder_format::error::Kind;
use larder_format::ids::VaultId;
use larder_seal::recipient::KEY_TEXT_LEN_MAX;
use larder_seal::slots::{SLOT_ID_LEN, SlotId};
use zeroize::Zeroizing;

use crate::agent::change::Change;
use crate::agent::names::{Answer, Ask};
use crate::terminal::PASSPHRASE_LEN_MAX;

/// Version of the messages.
const FORMAT: u8 = 1;
/// Largest frame after its length, in bytes: a vault header with all its slots fits.
pub const FRAME_LEN_MAX: usize = 128 * 1024;
/// Longest recovery code, in bytes of text, with generous spacing.
pub const RECOVERY_CODE_LEN_MAX: usize = 256;
/// Largest vault header carried, in bytes.
pub const HEADER_LEN_MAX: usize = 96 * 1024;
/// Longest message of an error, in bytes.
const MESSAGE_LEN_MAX: usize = 4096;

/// What opens the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<Vec<u8>>),
    /// A recovery code as typed.
    RecoveryCode(Zeroizing<Vec<u8>>),
    /// A secret identity, as its file says it.
    Identity(Zeroizing<Vec<u8>>),
}

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Whether the vault is open.
    Status,
    /// The opened vault's root key.
    Root,
    /// Open the vault.
    Unlock(Secret),
    /// Forget the root key.
    Lock,
    /// Make a new vault; it stays open here, and its header goes to whoever asked.
    Create(Zeroizing<Vec<u8>>),
    /// Forget the root key and end.
    Stop,
    /// Change the slots of a header; what comes of it goes to whoever asked.
    Change(Box<Change>),
    /// Make a new header for the vault that is open here, because the old one is lost; it goes to whoever asked.
    Repair {
        /// The newest revision that was seen of the old one.
        after: u64,
        /// The new passphrase.
        passphrase: Zeroizing<Vec<u8>>,
    },
    /// Ask the index of names.
    Names(Ask),
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Done.
    Done,
    /// The state of things.
    Status(Status),
    /// The opened vault.
    Root {
        /// Which vault.
        vault: VaultId,
        /// Its root key.
        root: Zeroizing<[u8; 32]>,
    },
    /// A new vault.
    Created {
        /// Its header, to be stored.
        header: Bytes,
        /// Its recovery code, to be shown once.
        recovery_code: Zeroizing<Vec<u8>>,
    },
    /// A changed header.
    Changed {
        /// The header, to be stored.
        header: Bytes,
        /// The slot it is about.
        slot: SlotId,
        /// A new recovery code, to be shown once; empty if there is none.
        recovery_code: Zeroizing<Vec<u8>>,
    },
    /// Of the index of names.
    Names(Answer),
    /// It could not be done.
    Failed {
        /// Of which kind.
        kind: Kind,
        /// Why.
        message: String,
    },
}

/// Whether the vault is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The open vault; `None` when locked.
    pub open: Option<VaultId>,
    /// Milliseconds until it locks itself; `None`: only when told to (or locked already).
    pub locks_in_ms: Option<u64>,
    /// The agent's process id.
    pub pid: u32,
}

impl Request {
    /// As bytes, to be wiped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Request::Status => message(1, &[]),
            Request::Root => message(2, &[]),
            Request::Unlock(Secret::Passphrase(bytes)) => message(3, &[bytes]),
            Request::Unlock(Secret::RecoveryCode(bytes)) => message(4, &[bytes]),
            Request::Lock => message(5, &[]),
            Request::Create(bytes) => message(6, &[bytes]),
            Request::Stop => message(7, &[]),
            Request::Change(change) => message(8, &[&change.encode()]),
            Request::Unlock(Secret::Identity(bytes)) => message(9, &[bytes]),
            Request::Repair { after, passphrase } => message(10, &[&after.to_le_bytes(), passphrase]),
            Request::Names(ask) => message(20, &[&ask.encode()]),
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = split(bytes)?;
        match tag {
            1 => end(rest).map(|()| Request::Status),
            2 => end(rest).map(|()| Request::Root),
            3 => Ok(Request::Unlock(Secret::Passphrase(secret(rest, "passphrase", PASSPHRASE_LEN_MAX)?))),
            4 => Ok(Request::Unlock(Secret::RecoveryCode(secret(
                rest,
                "recovery code",
                RECOVERY_CODE_LEN_MAX,
            )?))),
            5 => end(rest).map(|()| Request::Lock),
            6 => Ok(Request::Create(secret(rest, "passphrase", PASSPHRASE_LEN_MAX)?)),
            7 => end(rest).map(|()| Request::Stop),
            8 => Ok(Request::Change(Box::new(Change::decode(rest)?))),
            9 => Ok(Request::Unlock(Secret::Identity(secret(rest, "identity", KEY_TEXT_LEN_MAX)?))),
            10 => {
                let (after, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated {
                    field: "revision",
                    need: 8,
                    have: rest.len(),
                })?;
                let passphrase = secret(rest, "passphrase", PASSPHRASE_LEN_MAX)?;
                Ok(Request::Repair { after: u64::from_le_bytes(*after), passphrase })
            }
            20 => Ask::decode(rest).map(Request::Names),
            _ => Err(DecodeError::BadValue { field: "request", value: tag.into() }),
        }
    }
}

impl Response {
    /// As bytes, to be wiped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Response::Done => message(1, &[]),
            Response::Status(status) => {
                let mut w = Writer::new();
                w.u8(u8::from(status.open.is_some())).raw(&status.open.unwrap_or(VaultId([0; 16])).0);
                w.u64(status.locks_in_ms.unwrap_or(u64::MAX)).u32(status.pid);
                message(2, &[&w.finish()])
            }
            Response::Root { vault, root } => message(3, &[&vault.0, root.as_slice()]),
            Response::Created { header, recovery_code } => {
                message(4, &[&header_len(header), header, recovery_code])
            }
            Response::Changed { header, slot, recovery_code } => {
                message(6, &[&header_len(header), header, &slot.0, recovery_code])
            }
            Response::Names(answer) => message(20, &[&answer.encode()]),
            Response::Failed { kind, message: text } => {
                let mut end = text.len().min(MESSAGE_LEN_MAX);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                message(5, &[&[kind_byte(*kind)], &text.as_bytes()[..end]])
            }
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = split(bytes)?;
        match tag {
            1 => end(rest).map(|()| Response::Done),
            2 => Self::decode_status(rest),
            3 => {
                let fixed: &[u8; 48] = rest.try_into().map_err(|_| DecodeError::Truncated {
                    field: "root",
                    need: 48,
                    have: rest.len(),
                })?;
                let (mut vault, mut root) = ([0; 16], Zeroizing::new([0; 32]));
                vault.copy_from_slice(&fixed[..16]);
                root.copy_from_slice(&fixed[16..]);
                Ok(Response::Root { vault: VaultId(vault), root })
            }
            4 => {
                let (header, code) = split_header(rest)?;
                let recovery_code = secret(code, "recovery code", RECOVERY_CODE_LEN_MAX)?;
                Ok(Response::Created { header, recovery_code })
            }
            6 => {
                let (header, rest) = split_header(rest)?;
                let (slot, code) = rest.split_first_chunk().ok_or(DecodeError::Truncated {
                    field: "slot",
                    need: SLOT_ID_LEN,
                    have: rest.len(),
                })?;
                let recovery_code = secret(code, "recovery code", RECOVERY_CODE_LEN_MAX)?;
                Ok(Response::Changed { header, slot: SlotId(*slot), recovery_code })
            }
            20 => Answer::decode(rest).map(Response::Names),
            5 => {
                let (kind, text) =
                    rest.split_first().ok_or(DecodeError::Truncated { field: "kind", need: 1, have: 0 })?;
                let message = String::from_utf8_lossy(&text[..text.len().min(MESSAGE_LEN_MAX)]).into_owned();
                Ok(Response::Failed { kind: byte_kind(*kind), message })
            }
            _ => Err(DecodeError::BadValue { field: "response", value: tag.into() }),
        }
    }

    fn decode_status(rest: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(Bytes::copy_from_slice(rest));
        let is_open = match r.u8("open")? {
            0 => false,
            1 => true,
            other => return Err(DecodeError::BadValue { field: "open", value: other.into() }),
        };
        let vault = VaultId(r.array("vault")?);
        let locks_in_ms = r.u64("locks in")?;
        let pid = r.u32("pid")?;
        r.finish()?;
        Ok(Response::Status(Status {
            open: is_open.then_some(vault),
            locks_in_ms: (locks_in_ms != u64::MAX).then_some(locks_in_ms),
            pid,
        }))
    }
}

/// A whole message: version, tag, fields. Sized before it is filled, so that no copy of a secret stays behind in a
/// buffer that grew.
fn message(tag: u8, fields: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let len = 2 + fields.iter().map(|f| f.len()).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    out.extend_from_slice(&[FORMAT, tag]);
    for field in fields {
        out.extend_from_slice(field);
    }
    out
}

fn header_len(header: &Bytes) -> [u8; 4] {
    u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// A header with its length in front, and what follows it.
fn split_header(rest: &[u8]) -> Result<(Bytes, &[u8]), DecodeError> {
    let field = "header";
    let Some((len, rest)) = rest.split_first_chunk::<4>() else {
        return Err(DecodeError::Truncated { field, need: 4, have: rest.len() });
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > HEADER_LEN_MAX || len > rest.len() {
        return Err(DecodeError::TooLong { field, len, max: HEADER_LEN_MAX.min(rest.len()) });
    }
    let (header, rest) = rest.split_at(len);
    Ok((Bytes::copy_from_slice(header), rest))
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match bytes {
        [FORMAT, tag, rest @ ..] => Ok((*tag, rest)),
        [format, ..] if *format > FORMAT => Err(DecodeError::TooNew {
            what: "agent message",
            version: (*format).into(),
            supported: FORMAT.into(),
        }),
        [format, _, ..] => Err(DecodeError::BadValue { field: "agent message", value: (*format).into() }),
        short => Err(DecodeError::Truncated { field: "agent message", need: 2, have: short.len() }),
    }
}

fn end(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { count: rest.len() }) }
}

fn secret(bytes: &[u8], field: &'static str, max: usize) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong { field, len: bytes.len(), max });
    }
    Ok(Zeroizing::new(bytes.to_vec()))
}

/// Kinds as bytes; the order is part of the protocol.
const KINDS: &[Kind] = &[
    Kind::Bug,
    Kind::Invalid,
    Kind::NotFound,
    Kind::Conflict,
    Kind::Full,
    Kind::Damaged,
    Kind::Denied,
    Kind::Locked,
    Kind::Retry,
    Kind::Unknown,
    Kind::TooNew,
    Kind::Closed,
];

fn kind_byte(kind: Kind) -> u8 {
    KINDS.iter().position(|k| *k == kind).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn byte_kind(byte: u8) -> Kind {
    KINDS.get(usize::from(byte)).copied().unwrap_or(Kind::Bug)
}

/// Checks the length in front of a frame.
///
/// # Errors
/// If it is beyond [`FRAME_LEN_MAX`].
pub fn frame_len(prefix: [u8; 4]) -> io::Result<usize> {
    let len = u32::from_le_bytes(prefix) as usize;
    if len > FRAME_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "agent message too long"));
    }
    Ok(len)
}

/// The length to put in front of a frame.
pub fn frame_prefix(frame: &[u8]) -> [u8; 4] {
    // Every message is bounded far below 2^32 by the limits above.
    u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes a frame.
///
/// # Errors
/// What the socket says.
pub fn write_frame(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    out.write_all(&frame_prefix(frame))?;
    out.write_all(frame)?;
    out.flush()
}

/// Reads a frame.
///
/// # Errors
/// What the socket says, or invalid data if it is too long.
pub fn read_frame(input: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut prefix = [0; 4];
    input.read_exact(&mut prefix)?;
    let mut frame = Zeroizing::new(vec![0; frame_len(prefix)?]);
    input.read_exact(&mut frame)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::change::What;

    fn secret_bytes() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(b"correct horse".to_vec())
    }

    fn requests() -> Vec<Request> {
        vec![
            Request::Status,
            Request::Root,
            Request::Unlock(Secret::Passphrase(secret_bytes())),
            Request::Unlock(Secret::RecoveryCode(secret_bytes())),
            Request::Lock,
            Request::Create(secret_bytes()),
            Request::Stop,
            Request::Unlock(Secret::Identity(secret_bytes())),
            Request::Repair { after: 7, passphrase: secret_bytes() },
            Request::Change(Box::new(Change {
                header: Bytes::from_static(b"header"),
                proof: None,
                what: What::RecoveryCode,
            })),
        ]
    }

    fn responses() -> Vec<Response> {
        vec![
            Response::Done,
            Response::Status(Status { open: Some(VaultId([7; 16])), locks_in_ms: Some(5), pid: 9 }),
            Response::Status(Status { open: None, locks_in_ms: None, pid: 9 }),
            Response::Root { vault: VaultId([1; 16]), root: Zeroizing::new([2; 32]) },
            Response::Created { header: Bytes::from_static(b"header"), recovery_code: secret_bytes() },
            Response::Changed {
                header: Bytes::from_static(b"header"),
                slot: SlotId([3; SLOT_ID_LEN]),
                recovery_code: secret_bytes(),
            },
            Response::Failed { kind: Kind::Denied, message: "no".to_owned() },
        ]
    }

    #[test]
    fn messages_round_trip() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        for response in responses() {
            assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
        for kind in KINDS {
            assert_eq!(byte_kind(kind_byte(*kind)), *kind);
        }
    }

    #[test]
    fn cut_short_or_random_bytes_never_panic() {
        use larder_format::rng::{Rng, SeededRng};
        let whole: Vec<_> =
            requests().iter().map(Request::encode).chain(responses().iter().map(Response::encode)).collect();
        for bytes in &whole {
            for len in 0..bytes.len() {
                let _ = Request::decode(&bytes[..len]);
                let _ = Response::decode(&bytes[..len]);
            }
        }
        let mut rng = SeededRng::new(1);
        for _ in 0..20_000 {
            let mut bytes = vec![0; usize::try_from(rng.below(64)).unwrap()];
            rng.fill(&mut bytes);
            if let [format, tag, ..] = bytes.as_mut_slice() {
                (*format, *tag) = (FORMAT, *tag % 11);
            }
            let _ = Request::decode(&bytes);
            let _ = Response::decode(&bytes);
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
        let mut input = &[0xff, 0xff, 0xff, 0x7f][..];
        assert_eq!(read_frame(&mut input).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut wire = Vec::new();
        write_frame(&mut wire, b"abc").unwrap();
        assert_eq!(read_frame(&mut wire.as_slice()).unwrap().as_slice(), b"abc");
    }

    #[test]
    fn a_newer_message_says_so() {
        assert!(matches!(Request::decode(&[FORMAT + 1, 1]), Err(DecodeError::TooNew { .. })));
    }
}
