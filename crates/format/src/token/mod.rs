//! Capability tokens: a text that opens a node's raw doors, and that whoever holds it can narrow without asking anybody.
//!
//! A token is its id, a list of caveats ([`caveat`]) and a tag. The tag is a chain of keyed BLAKE3: the first link is keyed
//! with the token's root key, which only the node has, each further link with the one before, over one caveat. So a caveat
//! can be added by whoever has the tag, and none taken away. The node computes the chain anew and compares in constant
//! time. What a node keeps of a token is in [`record`].
//!
//! The page of the format is `docs/design/tokens.md`.

pub mod caveat;
pub mod record;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

pub use caveat::{Caveat, Grant};
pub use record::TokenRecord;

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::TokenId;
use crate::limits::{TOKEN_CAVEATS_MAX, TOKEN_LEN_MAX};
use crate::record::unknown_format;

/// Version of the layout that this program writes.
pub const TOKEN_FORMAT: u8 = 1;

/// What the text of every token begins with, so that scanners for leaked secrets can know one.
pub const TOKEN_PREFIX: &str = "larder_";

/// Length of a root key and of a tag, in bytes.
pub const TAG_LEN: usize = 32;

/// The context that the first link is bound to.
const CONTEXT: &[u8] = b"larder 2026 token";

/// What a token's chain begins with. Whoever has it can make every token of this id.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKey(pub [u8; TAG_LEN]);

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

/// Why a text is no token, or cannot be narrowed like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It does not look like one.
    #[error("not a token: it begins with {TOKEN_PREFIX} and goes on with letters, digits, - and _")]
    Text,
    /// It is longer than any token.
    #[error("longer than a token can be max={TOKEN_LEN_MAX}")]
    TooLong,
    /// Its bytes are no token, or one of a newer program.
    #[error("not a token: {0}")]
    Bytes(#[from] DecodeError),
    /// A caveat that says nothing that can be kept.
    #[error("{0}")]
    Caveat(&'static str),
}

/// A token, as somebody holds it: it may be narrowed, and shown to a node. Its text is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: TokenId,
    caveats: Vec<Caveat>,
    tag: [u8; TAG_LEN],
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).field("caveats", &self.caveats).finish_non_exhaustive()
    }
}

/// The first link of a chain.
fn first_link(root: &RootKey, id: TokenId) -> blake3::Hash {
    let mut message = Vec::with_capacity(CONTEXT.len() + 1 + TokenId::LEN);
    message.extend_from_slice(CONTEXT);
    message.push(TOKEN_FORMAT);
    message.extend_from_slice(id.as_bytes());
    blake3::keyed_hash(&root.0, &message)
}

/// The link after this one, over a caveat.
fn next_link(link: &blake3::Hash, caveat: &Caveat) -> blake3::Hash {
    blake3::keyed_hash(link.as_bytes(), &caveat.encode())
}

impl Token {
    /// A new token of this id that grants this.
    ///
    /// # Errors
    /// [`BadToken::TooLong`] if it grants in more words than a token has room for; [`BadToken::Caveat`] if it grants nothing.
    pub fn mint(id: TokenId, root: &RootKey, grant: &Grant) -> Result<Self, BadToken> {
        let token = Self { id, caveats: Vec::new(), tag: *first_link(root, id).as_bytes() };
        token.narrow(grant.caveats())
    }

    /// This token with caveats added.
    ///
    /// # Errors
    /// [`BadToken::TooLong`]; [`BadToken::Caveat`] if nothing would be left that it grants.
    pub fn narrow(&self, caveats: impl IntoIterator<Item = Caveat>) -> Result<Self, BadToken> {
        let mut narrowed = self.clone();
        let mut link = blake3::Hash::from_bytes(self.tag);
        for caveat in caveats {
            link = next_link(&link, &caveat);
            narrowed.caveats.push(caveat);
        }
        narrowed.tag = *link.as_bytes();
        if narrowed.caveats.len() > TOKEN_CAVEATS_MAX || narrowed.encode().len() > TOKEN_LEN_MAX {
            return Err(BadToken::TooLong);
        }
        if narrowed.grant().is_nothing() {
            return Err(BadToken::Caveat("nothing would be left that this token grants"));
        }
        Ok(narrowed)
    }

    /// Which token it is, or was made from.
    #[must_use]
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Its caveats, in the order in which they were added.
    #[must_use]
    pub fn caveats(&self) -> &[Caveat] {
        &self.caveats
    }

    /// What its caveats leave of everything. Only a node can tell whether they are all there: [`Token::is_of`].
    #[must_use]
    pub fn grant(&self) -> Grant {
        let mut grant = Grant::ALL;
        self.caveats.iter().for_each(|caveat| grant.narrow(caveat));
        grant
    }

    /// Whether it was made with this root key and every caveat that was ever added is still there. Takes as long
    /// whatever the tag says.
    #[must_use]
    pub fn is_of(&self, root: &RootKey) -> bool {
        let last = self.caveats.iter().fold(first_link(root, self.id), |link, c| next_link(&link, c));
        // `blake3::Hash` compares in constant time.
        last == blake3::Hash::from_bytes(self.tag)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(TOKEN_FORMAT).raw(self.id.as_bytes());
        w.u8(u8::try_from(self.caveats.len()).unwrap_or(u8::MAX));
        for caveat in &self.caveats {
            w.raw(&caveat.encode());
        }
        w.raw(&self.tag);
        w.finish()
    }

    /// Reads what [`Token::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`], also for a caveat of a kind that this program does not know: a limit that is not understood must
    /// not be ignored.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > TOKEN_LEN_MAX {
            return Err(DecodeError::TooLong { field: "token", len: bytes.len(), max: TOKEN_LEN_MAX });
        }
        let mut r = Reader::new(bytes);
        let format = r.u8("token format")?;
        if format != TOKEN_FORMAT {
            return Err(unknown_format("token", format, TOKEN_FORMAT));
        }
        let id = TokenId(r.array("token id")?);
        let count = usize::from(r.u8("caveats")?);
        if count > TOKEN_CAVEATS_MAX {
            return Err(DecodeError::TooLong { field: "caveats", len: count, max: TOKEN_CAVEATS_MAX });
        }
        let mut caveats = Vec::with_capacity(count);
        for _ in 0..count {
            caveats.push(Caveat::read(&mut r)?);
        }
        let tag = r.array("tag")?;
        r.finish()?;
        Ok(Self { id, caveats, tag })
    }

    /// Its text: what a program is given. Secret.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.encode()))
    }

    /// Reads the text of a token. Each token has one text.
    ///
    /// # Errors
    /// [`BadToken`]; its words say nothing of what the text is.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let encoded = text.strip_prefix(TOKEN_PREFIX).ok_or(BadToken::Text)?;
        if encoded.len() > TOKEN_LEN_MAX.div_ceil(3) * 4 {
            return Err(BadToken::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BadToken::Text)?;
        Ok(Self::decode(bytes.into())?)
    }
}

#[cfg(test)]
#[path = "../token_tests.rs"]
mod tests;
