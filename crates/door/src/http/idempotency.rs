//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a client's name for one change, so that
//! sending it again after an answer was lost does nothing twice.

use http::header::{HeaderMap, HeaderName};

use super::Bad;

/// The header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest name, in bytes. A UUID has 36.
pub const NAME_LEN_MAX: usize = 255;

/// How long a change is remembered under its name, in milliseconds: longer than any client tries again in one go. A
/// record remembers 64 changes at most, so a longer time would allow fewer of them to a key that changes often.
pub const REMEMBERED_MS: u64 = 5 * 60 * 1000;

/// The name, if the request has one: quoted as the draft has it, or bare as many clients send it.
///
/// # Errors
/// [`Bad`] for an empty, too long or unprintable one, and for two.
pub fn read(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Bad> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(Bad::new("the header Idempotency-Key is there twice"));
    }
    let name = name(line.as_bytes().trim_ascii())
        .filter(|name| !name.is_empty() && name.len() <= NAME_LEN_MAX)
        .ok_or_else(|| {
            let form =
                "Idempotency-Key is \"…\" with 1 to 255 printable ASCII characters, for instance a UUID";
            Bad::new(form)
        })?;
    Ok(Some(name))
}

fn name(text: &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return text
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte))
            .then(|| text.to_vec());
    };
    let mut out = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => out.push(*bytes.next().filter(|byte| b"\"\\".contains(byte))?),
            byte if byte.is_ascii_graphic() || *byte == b' ' => out.push(*byte),
            _ => return None,
        }
    }
    bytes.as_slice().is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(text: &str) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(text).unwrap());
        read(&headers).ok().flatten()
    }

    #[test]
    fn quoted_and_bare_are_one_name() {
        let name = b"8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(of("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"").as_deref(), Some(&name[..]));
        assert_eq!(of("8e03978e-40d5-43dd-bc93-6894a57f9324").as_deref(), Some(&name[..]));
        assert_eq!(of("\"a \\\"b\\\\\"").as_deref(), Some(&b"a \"b\\"[..]));
        assert_eq!(read(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn slips_are_refused() {
        let long = "x".repeat(NAME_LEN_MAX + 1);
        for text in
            ["", "\"\"", "\"a", "\"a\"b", "\"a\\n\"", "a b", "a,b", "a\"", "ä", "\"a\";x=1", long.as_str()]
        {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(of(&long[1..]).is_some());
        let mut headers = HeaderMap::new();
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(read(&headers).is_err());
    }
}
