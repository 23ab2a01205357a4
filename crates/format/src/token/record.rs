//! What a node keeps of a token: enough to verify it and every token that is made of it, and so enough to make one. A
//! record of the system namespace under [`TokenRecord::key`].

use bytes::Bytes;

use super::caveat::{Caveat, Grant};
use super::{RootKey, Token};
use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::TokenId;
use crate::limits::{TOKEN_CAVEATS_MAX, TOKEN_NAME_LEN_MAX};
use crate::record::unknown_format;

/// What the record begins with. A program from before there were tokens takes every record here for a namespace's settings,
/// and this for a format of those that is newer than it knows, so that it says that it is too old.
pub const TOKEN_RECORD_MAGIC: u8 = b'T';

/// Version of the layout that this program writes.
pub const TOKEN_RECORD_FORMAT: u8 = 1;

/// What the keys of these records begin with: no namespace has a `/` in its name.
pub const TOKEN_RECORD_PREFIX: &[u8] = b"token/";

/// What a node keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Which one.
    pub id: TokenId,
    /// What its chain begins with.
    pub root: RootKey,
    /// What its owner calls it; may be empty. No control characters.
    pub name: String,
    /// The most that it grants, whatever its text says.
    pub grant: Grant,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it, or one made of it, was last used, in milliseconds since 1970 and to a day or so; `None`: never.
    pub used_ms: Option<u64>,
}

/// Whether a token may be called this.
#[must_use]
pub fn is_token_name(name: &str) -> bool {
    name.len() <= TOKEN_NAME_LEN_MAX && !name.chars().any(char::is_control)
}

impl TokenRecord {
    /// Key of the record of this token.
    #[must_use]
    pub fn key(id: TokenId) -> Bytes {
        [TOKEN_RECORD_PREFIX, id.to_string().as_bytes()].concat().into()
    }

    /// What a token grants of it, if it was made of this one.
    #[must_use]
    pub fn grant_of(&self, token: &Token) -> Option<Grant> {
        (token.id() == self.id && token.is_of(&self.root)).then(|| self.grant.clone().and(&token.grant()))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(TOKEN_RECORD_MAGIC).u8(TOKEN_RECORD_FORMAT);
        w.raw(self.id.as_bytes()).raw(&self.root.0).bytes(self.name.as_bytes());
        let caveats = self.grant.caveats();
        w.count(caveats.len());
        for caveat in &caveats {
            w.raw(&caveat.encode());
        }
        w.u64(self.created_ms).u64(self.used_ms.unwrap_or(u64::MAX));
        w.finish()
    }

    /// Reads what [`TokenRecord::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let magic = r.u8("token record")?;
        if magic != TOKEN_RECORD_MAGIC {
            return Err(DecodeError::BadValue { field: "token record", value: magic.into() });
        }
        let format = r.u8("token record format")?;
        if format != TOKEN_RECORD_FORMAT {
            return Err(unknown_format("token record", format, TOKEN_RECORD_FORMAT));
        }
        let id = TokenId(r.array("token id")?);
        let root = RootKey(r.array("root key")?);
        let name = r.string("token name", TOKEN_NAME_LEN_MAX)?;
        if !is_token_name(&name) {
            return Err(DecodeError::BadValue { field: "token name", value: 0 });
        }
        let count = r.count("caveats", TOKEN_CAVEATS_MAX, 2)?;
        let caveats = (0..count).map(|_| Caveat::read(&mut r)).collect::<Result<Vec<_>, _>>()?;
        let mut grant = Grant::ALL;
        caveats.iter().for_each(|caveat| grant.narrow(caveat));
        if grant.caveats() != caveats {
            // Another order, or one of a kind twice: not the one encoding of a grant.
            return Err(DecodeError::BadValue { field: "caveats", value: count as u64 });
        }
        let created_ms = r.u64("created")?;
        let used_ms = Some(r.u64("used")?).filter(|ms| *ms != u64::MAX);
        r.finish()?;
        Ok(Self { id, root, name, grant, created_ms, used_ms })
    }
}
