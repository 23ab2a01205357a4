//! Tokens as messages: what a node tells of one, and what is asked for.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::TokenId;
use larder_format::right::Right;
use larder_format::token::{Caveat, Grant, TokenRecord};

use crate::answer::Failure;
use crate::v1;

/// What is known of a token, but for what it could be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Which one.
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// The most that it grants.
    pub grant: Grant,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last used, to a day or so; `None`: never.
    pub used_ms: Option<u64>,
}

impl From<TokenRecord> for TokenInfo {
    fn from(record: TokenRecord) -> Self {
        let TokenRecord { id, name, grant, created_ms, used_ms, root: _ } = record;
        Self { id, name, grant, created_ms, used_ms }
    }
}

impl TokenInfo {
    /// As a message.
    #[must_use]
    pub fn into_message(self) -> v1::Token {
        v1::Token {
            id: Bytes::copy_from_slice(&self.id.0),
            created_ms: self.created_ms,
            used_ms: self.used_ms.unwrap_or(0),
            ..wanted(self.name, self.grant)
        }
    }

    /// From a message.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what no token is.
    pub fn from_message(message: v1::Token) -> Result<Self, Failure> {
        let id = TokenId::try_from(&message.id[..]).map_err(|e| invalid(&e))?;
        let (created_ms, used_ms) = (message.created_ms, Some(message.used_ms).filter(|ms| *ms > 0));
        let (name, grant) = asked(message)?;
        Ok(Self { id, name, grant, created_ms, used_ms })
    }
}

/// The message that asks for a token.
#[must_use]
pub fn wanted(name: String, grant: Grant) -> v1::Token {
    let right = match grant.right {
        Right::Read => v1::TokenRight::Read,
        Right::AppendOnly => v1::TokenRight::AppendOnly,
        Right::Write | Right::Admin => v1::TokenRight::Write,
    };
    v1::Token {
        name,
        right: right.into(),
        namespaces: grant.namespaces.unwrap_or_default(),
        prefixes: grant.prefixes.unwrap_or_default(),
        expires_ms: grant.expires_ms.unwrap_or(0),
        ..v1::Token::default()
    }
}

/// Name and grant of a token in a message.
///
/// # Errors
/// [`Kind::Invalid`] for what no token grants.
pub fn asked(message: v1::Token) -> Result<(String, Grant), Failure> {
    let right = match message.right() {
        v1::TokenRight::Unspecified => {
            return Err(invalid(&"a token needs a right: read, append-only or write"));
        }
        v1::TokenRight::Read => Right::Read,
        v1::TokenRight::AppendOnly => Right::AppendOnly,
        v1::TokenRight::Write => Right::Write,
    };
    let mut grant = Grant::ALL;
    let mut caveats = vec![Caveat::Right(right)];
    if !message.namespaces.is_empty() {
        caveats.push(Caveat::namespaces(message.namespaces).map_err(|e| invalid(&e))?);
    }
    if !message.prefixes.is_empty() {
        caveats.push(Caveat::prefixes(message.prefixes).map_err(|e| invalid(&e))?);
    }
    if message.expires_ms > 0 {
        caveats.push(Caveat::Expires(message.expires_ms));
    }
    caveats.iter().for_each(|caveat| grant.narrow(caveat));
    Ok((message.name, grant))
}

fn invalid(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Invalid, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_token_round_trips() {
        let info = TokenInfo {
            id: TokenId([3; 8]),
            name: "ci".to_owned(),
            grant: Grant {
                right: Right::AppendOnly,
                namespaces: Some(vec!["raw".to_owned()]),
                prefixes: Some(vec![Bytes::from_static(b"a:")]),
                expires_ms: Some(5),
            },
            created_ms: 1,
            used_ms: None,
        };
        assert_eq!(TokenInfo::from_message(info.clone().into_message()), Ok(info));
        let all = TokenInfo {
            id: TokenId([3; 8]),
            name: String::new(),
            grant: Grant::ALL,
            created_ms: 1,
            used_ms: Some(9),
        };
        assert_eq!(TokenInfo::from_message(all.clone().into_message()), Ok(all));
    }

    #[test]
    fn what_no_token_is_is_refused() {
        assert_eq!(asked(v1::Token::default()).unwrap_err().kind, Kind::Invalid);
        let bad = v1::Token { namespaces: vec!["No".to_owned()], ..wanted(String::new(), Grant::ALL) };
        assert_eq!(asked(bad).unwrap_err().kind, Kind::Invalid);
        assert!(TokenInfo::from_message(wanted(String::new(), Grant::ALL)).is_err(), "no id");
    }
}
