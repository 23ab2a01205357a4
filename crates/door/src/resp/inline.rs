//! The words of a line, as Redis reads them: blanks between them, `"double quotes"` with escapes (`\n`, `\x41`),
//! `'single quotes'` with `\'` only. A closing quote ends its word.

use super::request::{Span, Wrong};

/// Splits a line; words are appended to `words`, without their quotes, and where they lie there to `spans`.
///
/// # Errors
/// [`Wrong::Quotes`].
pub fn split(line: &[u8], words: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), Wrong> {
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = words.len();
        rest = word(rest, words)?;
        spans.push(Span::new(start, words.len()));
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 0
}

/// One word, which begins here; answers what follows it.
fn word<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], Wrong> {
    while let [first, after @ ..] = rest {
        match first {
            b'"' => return double(after, words),
            b'\'' => return single(after, words),
            blank if is_blank(*blank) => return Ok(rest),
            other => words.push(*other),
        }
        rest = after;
    }
    Ok(rest)
}

fn double<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], Wrong> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                words.push(hex(*high) * 16 + hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return closed(after),
            [other, after @ ..] => {
                words.push(*other);
                after
            }
            [] => return Err(Wrong::Quotes),
        };
    }
}

fn single<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], Wrong> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                words.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return closed(after),
            [other, after @ ..] => {
                words.push(*other);
                after
            }
            [] => return Err(Wrong::Quotes),
        };
    }
}

/// What follows a closing quote is a blank, or nothing.
fn closed(after: &[u8]) -> Result<&[u8], Wrong> {
    if after.first().is_none_or(|byte| is_blank(*byte)) { Ok(after) } else { Err(Wrong::Quotes) }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Args;
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, Wrong> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut bytes, &mut spans)?;
        let args = Args::new(&bytes, &spans);
        Ok(args.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn words_are_split_as_in_a_terminal() {
        assert_eq!(words("  set  a\tb ").unwrap(), ["set", "a", "b"]);
        assert_eq!(words(r#"set "a b" 'c d'"#).unwrap(), ["set", "a b", "c d"]);
        assert_eq!(words(r#""\x41\n\"" 'it\'s' '\n' """#).unwrap(), ["A\n\"", "it's", "\\n", ""]);
        assert_eq!(words(r#""\x4a\x4B\x6f\x6F\x09\xag""#).unwrap(), ["JKoo\txag"]);
        assert_eq!(words(r#"a"b""#).unwrap(), ["ab"]);
        assert!(words("").unwrap().is_empty());
        for bad in [r#""a"#, "'a", r#""a"b"#, "'a'b", r#""\""#] {
            assert_eq!(words(bad), Err(Wrong::Quotes), "{bad}");
        }
    }
}
