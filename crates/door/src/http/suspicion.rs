//! Requests that no client of this door sends: probes for other programs' holes, attempts to use the door as a
//! proxy. They are answered as any wrong request is, and counted by kind, so that an operator sees that somebody
//! is looking. Only what no route takes is looked at here: no key, whatever it looks like, counts.

use http::{Method, Uri};

use crate::proxies::protocol;

/// What it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// A path of some other program, known for its holes.
    Probe,
    /// A path that climbs out of its folder.
    Traversal,
    /// The door taken for a proxy.
    Proxy,
    /// A method that only serves to find out about what is in between.
    Trace,
    /// Bytes of another protocol.
    Protocol,
}

impl Suspicion {
    /// All names, in the order of [`Suspicion::index`].
    pub const NAMES: [&'static str; 5] = ["probe", "traversal", "proxy", "trace", "protocol"];

    /// Its place in [`Suspicion::NAMES`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Parts of paths, lower-case, that scanners ask for and this door has nothing like.
const PROBES: &[&str] = &[
    "/.env",
    "/.git",
    "/.aws",
    "/.ssh",
    "/.svn",
    "/.ds_store",
    ".php",
    ".asp",
    ".jsp",
    ".cgi",
    "/cgi-bin",
    "/wp-",
    "/wordpress",
    "phpmyadmin",
    "/actuator",
    "/vendor/",
    "/solr",
    "/struts",
    "/jenkins",
    "/manager/html",
    "/boaform",
    "/hnap1",
    "/etc/passwd",
    "/owa/",
    "/autodiscover",
    "/_ignition",
    "/console",
    "/server-status",
    "${jndi",
];

/// Looks at a request that no route takes.
#[must_use]
pub fn look(method: &Method, uri: &Uri) -> Option<Suspicion> {
    if *method == Method::CONNECT || uri.scheme().is_some() {
        return Some(Suspicion::Proxy);
    }
    if *method == Method::TRACE || method.as_str() == "TRACK" {
        return Some(Suspicion::Trace);
    }
    let path = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).to_ascii_lowercase();
    let plain = path.replace("%2e", ".").replace("%2f", "/");
    if plain.split(['/', '\\', '?', '=']).any(|part| part == "..") {
        return Some(Suspicion::Traversal);
    }
    PROBES.iter().any(|probe| plain.contains(probe)).then_some(Suspicion::Probe)
}

/// Looks at the first bytes of what was no HTTP at all.
#[must_use]
pub fn look_at_bytes(start: &[u8]) -> Option<Suspicion> {
    // A TLS record, SSH's greeting, HTTP/2 without having agreed on it, a proxy that is not trusted.
    let other = start.starts_with(&[0x16, 0x03])
        || start.starts_with(b"SSH-")
        || start.starts_with(b"PRI * HTTP/2")
        || is_redis(start)
        || protocol::looks_like(start);
    other.then_some(Suspicion::Protocol)
}

/// A command of the Redis protocol: an array of strings, or the words that are typed to try it.
fn is_redis(start: &[u8]) -> bool {
    let array = start.strip_prefix(b"*").is_some_and(|rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && b"\r\n$".starts_with(&rest[digits..rest.len().min(digits + 3)])
    });
    array || start.starts_with(b"PING\r\n") || start.starts_with(b"INFO\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Option<Suspicion> {
        look(&Method::GET, &path.parse().unwrap())
    }

    #[test]
    fn probes_are_told_from_slips() {
        assert_eq!(at("/.env"), Some(Suspicion::Probe));
        assert_eq!(at("/wp-login.php"), Some(Suspicion::Probe));
        assert_eq!(at("/x/../../secret"), Some(Suspicion::Traversal));
        assert_eq!(at("/%2e%2e/x"), Some(Suspicion::Traversal));
        assert_eq!(at("http://example.com/"), Some(Suspicion::Proxy));
        assert_eq!(look(&Method::TRACE, &"/".parse().unwrap()), Some(Suspicion::Trace));
        for slip in
            ["/", "/data", "/v1/dat/x", "/favicon.ico", "/healthz", "/robots.txt", "/v2/keys?prefix=a..b"]
        {
            assert_eq!(at(slip), None, "{slip}");
        }
    }

    #[test]
    fn other_protocols() {
        assert_eq!(look_at_bytes(b"\x16\x03\x01\x02\x00\x01"), Some(Suspicion::Protocol));
        for start in [&b"*1\r\n$4\r\nPING"[..], b"*12\r\n$", b"*3\r", b"PING\r\n", b"PROXY TCP4 203.0"] {
            assert_eq!(look_at_bytes(start), Some(Suspicion::Protocol), "{start:?}");
        }
        for start in [&b"GET / HTTP/1.1"[..], b"* HTTP/1.1\r\n", b"*1 / HTTP/1.1", b"PINGER /", b""] {
            assert_eq!(look_at_bytes(start), None, "{start:?}");
        }
        assert_eq!(Suspicion::Protocol.name(), "protocol");
    }
}
