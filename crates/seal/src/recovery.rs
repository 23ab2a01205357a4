//! The recovery code: 160 random bits that a person can write down and type back.
//!
//! 36 symbols of Crockford's base 32 in six groups: 32 carry the secret, four are a checksum, so that a mistyped
//! code is told apart from a wrong one. Case, spaces and hyphens do not matter, and the letters that look like
//! digits are read as those (`O` as 0, `I` and `L` as 1).

use larder_format::error::Kind;
use larder_format::rng::Rng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base32::{ALPHABET, symbol_value};

/// Bytes of secret.
const SECRET_LEN: usize = 20;
/// Symbols that carry the secret, five bits each.
const SECRET_SYMBOLS: usize = SECRET_LEN * 8 / 5;
/// Symbols of checksum: one mistyped code in a million passes.
const CHECK_SYMBOLS: usize = 4;
/// Symbols between hyphens.
const GROUP_SYMBOLS: usize = 6;
const CHECK_CONTEXT: &str = "larder 2026 recovery code checksum";

/// A recovery code's secret. Wiped when dropped, never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; SECRET_LEN]);

/// Text that is not a recovery code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadRecoveryCode {
    /// Too few or too many symbols.
    #[error("a recovery code has 36 letters and digits in six groups found={found}")]
    Length {
        /// Symbols found, hyphens and spaces not counted.
        found: usize,
    },
    /// A character that no code contains.
    #[error(
        "a recovery code has letters and digits only, never U character={character:?} position={position}"
    )]
    Character {
        /// The character.
        character: char,
        /// Its position among the symbols, from 1.
        position: usize,
    },
    /// The checksum does not fit: a symbol was mistyped or two were exchanged.
    #[error("the recovery code was mistyped: its check symbols do not fit")]
    Checksum,
}

impl BadRecoveryCode {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl RecoveryCode {
    /// Draws a new code.
    #[must_use]
    pub fn generate(rng: &mut impl Rng) -> Self {
        let mut code = Self([0; SECRET_LEN]);
        rng.fill(&mut code.0);
        code
    }

    /// The secret bytes.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    fn symbols(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(SECRET_SYMBOLS + CHECK_SYMBOLS));
        for group in self.0.chunks_exact(5) {
            let word = group.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            out.extend((0..8).rev().map(|i| (word >> (5 * i) & 31) as u8));
        }
        let check = u32::from_le_bytes(first_four(&blake3::derive_key(CHECK_CONTEXT, &self.0)));
        out.extend((0..CHECK_SYMBOLS).map(|i| (check >> (5 * i) & 31) as u8));
        out
    }

    /// The code as it is shown to a person, once: six groups of six.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let symbols = self.symbols();
        let mut out = Zeroizing::new(String::with_capacity(symbols.len() * 7 / 6));
        for (i, symbol) in symbols.iter().enumerate() {
            if i > 0 && i % GROUP_SYMBOLS == 0 {
                out.push('-');
            }
            out.push(char::from(ALPHABET[usize::from(*symbol)]));
        }
        out
    }

    /// Reads what a person typed.
    ///
    /// # Errors
    /// [`BadRecoveryCode`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadRecoveryCode> {
        let mut symbols = Zeroizing::new(Vec::with_capacity(SECRET_SYMBOLS + CHECK_SYMBOLS));
        for character in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let position = symbols.len() + 1;
            if position > SECRET_SYMBOLS + CHECK_SYMBOLS {
                let found = text.chars().filter(|c| !c.is_whitespace() && *c != '-').count();
                return Err(BadRecoveryCode::Length { found });
            }
            let symbol = symbol_value(character);
            symbols.push(symbol.ok_or(BadRecoveryCode::Character { character, position })?);
        }
        if symbols.len() != SECRET_SYMBOLS + CHECK_SYMBOLS {
            return Err(BadRecoveryCode::Length { found: symbols.len() });
        }
        let mut code = Self([0; SECRET_LEN]);
        for (bytes, group) in code.0.chunks_exact_mut(5).zip(symbols.chunks_exact(8)) {
            let word = group.iter().fold(0u64, |word, symbol| word << 5 | u64::from(*symbol));
            bytes.copy_from_slice(&word.to_be_bytes()[3..]);
        }
        if *code.symbols() == *symbols { Ok(code) } else { Err(BadRecoveryCode::Checksum) }
    }
}

impl std::fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

fn first_four(bytes: &[u8; 32]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

#[cfg(test)]
mod tests {
    use larder_format::rng::SeededRng;

    use super::*;

    #[test]
    fn what_is_shown_is_read_back_however_it_is_typed() {
        for seed in 0..200 {
            let code = RecoveryCode::generate(&mut SeededRng::new(seed));
            let text = code.to_text();
            assert_eq!(text.len(), 41, "{}", *text);
            assert_eq!(RecoveryCode::parse(&text), Ok(code.clone()));
            let sloppy = text.to_lowercase().replace('-', "  ").replace('0', "o").replace('1', "l");
            assert_eq!(RecoveryCode::parse(&sloppy), Ok(code.clone()));
            assert_eq!(RecoveryCode::parse(&text.replace('-', "").replace('1', "I")), Ok(code));
        }
    }

    #[test]
    fn a_mistyped_symbol_is_noticed() {
        let text = RecoveryCode::generate(&mut SeededRng::new(7)).to_text().to_string();
        for at in (0..text.len()).filter(|at| text.as_bytes()[*at] != b'-') {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'Z' { b'Y' } else { b'Z' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(RecoveryCode::parse(&typed), Err(BadRecoveryCode::Checksum), "{typed}");
        }
    }

    #[test]
    fn other_text_is_refused_with_the_reason() {
        assert_eq!(RecoveryCode::parse("abc"), Err(BadRecoveryCode::Length { found: 3 }));
        assert_eq!(RecoveryCode::parse(&"A".repeat(37)), Err(BadRecoveryCode::Length { found: 37 }));
        assert!(matches!(
            RecoveryCode::parse(&"U".repeat(36)),
            Err(BadRecoveryCode::Character { character: 'U', position: 1 })
        ));
        assert!(RecoveryCode::parse(&"é".repeat(36)).is_err());
    }
}
