//! The plainest of requests, read without more ado: a `GET` whose path has no query and nothing unusual in it, and whose
//! headers are known to change nothing. Everything else (also what is not whole yet, or wrong) is none: whoever calls
//! this leaves it, unread, to a full decoder, which alone decides what is refused and how.

use super::limits::HEAD_BYTES_MAX;

/// Most headers a plain request has. Clients that keep connections for many small requests send two to five.
const HEADERS: usize = 12;

/// Headers that this door looks at for no request, or not for one without a body.
const WITHOUT_EFFECT: [&str; 4] = ["user-agent", "accept", "accept-encoding", "accept-language"];

/// A plain request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Its path, as it came.
    pub path: &'a str,
    /// Its only `Host`.
    pub host: &'a str,
    /// Its only `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// Bytes of its head. It has no body: the next request follows.
    pub len: usize,
}

/// Reads the request that these bytes begin with, if it is a plain one.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Plain<'_>> {
    if !bytes.starts_with(b"GET /") {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = request.parse(bytes) else { return None };
    let path = request.path.filter(|path| path.bytes().all(is_usual))?;
    if request.version != Some(1) || len > HEAD_BYTES_MAX {
        return None;
    }
    let (mut host, mut authorization) = (None, None);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("host") {
            let text = std::str::from_utf8(header.value).ok().filter(|text| text.is_ascii())?;
            if host.replace(text).is_some() {
                return None;
            }
        } else if header.name.eq_ignore_ascii_case("authorization") {
            if authorization.replace(header.value).is_some() {
                return None;
            }
        } else if header.name.eq_ignore_ascii_case("connection") {
            if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                return None;
            }
        } else if !WITHOUT_EFFECT.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            return None;
        }
    }
    Some(Plain { path, host: host?, authorization, len })
}

/// What RFC 3986 allows in a path.
fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/%!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_ones_are_read_one_after_the_other() {
        let first = b"GET /v1/data/a%20b HTTP/1.1\r\nHost: localhost:1\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: Keep-Alive\r\n\r\n";
        let both = [&first[..], b"GET /x HTTP/1.1\r\n"].concat();
        let plain =
            Plain { path: "/v1/data/a%20b", host: "localhost:1", authorization: None, len: first.len() };
        assert_eq!(read(&both), Some(plain));
        for len in 0..first.len() {
            assert_eq!(read(&first[..len]), None, "not whole yet");
        }
    }

    #[test]
    fn a_token_is_handed_on_unless_there_are_two() {
        let head = b"GET /a HTTP/1.1\r\nhost: a\r\nAuthorization: Bearer x\r\n\r\n";
        assert_eq!(read(head).unwrap().authorization, Some(&b"Bearer x"[..]));
        let head = b"GET /a HTTP/1.1\r\nhost: a\r\nauthorization: x\r\nauthorization: x\r\n\r\n";
        assert_eq!(read(head), None);
    }

    #[test]
    fn whatever_may_have_an_effect_is_left() {
        for head in [
            "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a HTTP/1.0\r\nhost: a\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a\"b HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://localhost/ HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: \u{e4}\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, upgrade\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\norigin: http://localhost\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\nsec-fetch-site: cross-site\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
            "GET /a HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            assert_eq!(read(head.as_bytes()), None, "{head}");
        }
        let many = "accept: a\r\n".repeat(HEADERS);
        assert_eq!(read(format!("GET /a HTTP/1.1\r\nhost: a\r\n{many}\r\n").as_bytes()), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(start in prop::sample::select(vec!["", "GET /", "GET /a HTTP/1.1\r\nhost:"]), rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [start.as_bytes(), &rest].concat();
            if let Some(plain) = read(&bytes) {
                prop_assert!(plain.len <= bytes.len());
            }
        }
    }
}
