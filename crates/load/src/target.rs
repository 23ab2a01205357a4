//! Where load goes: `redis://HOST:PORT`, `rediss://`, `http://HOST:PORT/PATH/`, `https://`, `memcached://HOST:PORT`.
//!
//! Secrets have no place in an address: it is shown in reports and in the list of processes.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::LoadError;

const BEGINS: &str = "an address begins with redis://, rediss://, http://, https:// or memcached://";

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The Redis protocol, RESP2.
    Redis,
    /// HTTP/1.1: GET, PUT and DELETE of paths.
    Http,
    /// The text protocol of memcached.
    Memcached,
}

/// A server, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether inside TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// HTTP: what stands in front of each key in the path; begins with `/`. Redis: empty.
    pub path: String,
    /// Redis: the database to select, if one is given.
    pub database: Option<u16>,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// [`LoadError::Target`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let wrong = |why| LoadError::Target { text: without_secret(text), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(BEGINS))?;
        let (protocol, tls, default_port) = match scheme {
            "redis" => (Protocol::Redis, false, 6379),
            "rediss" => (Protocol::Redis, true, 6379),
            "http" => (Protocol::Http, false, 80),
            "https" => (Protocol::Http, true, 443),
            "memcached" => (Protocol::Memcached, false, 11211),
            _ => return Err(wrong(BEGINS)),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(wrong("an address holds no secrets: use --user and --token-file"));
        }
        let (host, port) = host_and_port(authority).ok_or_else(|| wrong("not host:port"))?;
        if host.is_empty() || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong("the host is missing"));
        }
        let port = match port {
            "" => default_port,
            port => port.parse().ok().filter(|p| *p != 0).ok_or_else(|| wrong("the port is 1 to 65535"))?,
        };
        let mut target =
            Self { protocol, tls, host: host.to_owned(), port, path: String::new(), database: None };
        match protocol {
            Protocol::Http => target.path = http_path(path).ok_or_else(|| wrong("not a path of HTTP"))?,
            Protocol::Memcached if path.trim_matches('/').is_empty() => {}
            Protocol::Memcached => return Err(wrong("memcached has no paths")),
            Protocol::Redis => {
                let number = path.trim_start_matches('/');
                if !number.is_empty() {
                    let number = number.parse().map_err(|_| wrong("a database is a number"))?;
                    target.database = Some(number);
                }
            }
        }
        Ok(target)
    }

    /// The host as it stands in addresses: an IPv6 address in brackets.
    #[must_use]
    pub fn host_shown(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The address as text.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = match (self.protocol, self.tls) {
            (Protocol::Redis, false) => "redis",
            (Protocol::Redis, true) => "rediss",
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Memcached, _) => "memcached",
        };
        let database = self.database.map_or_else(String::new, |n| format!("/{n}"));
        format!("{scheme}://{}:{}{}{database}", self.host_shown(), self.port, self.path)
    }

    /// The addresses behind the host, in the system's order.
    ///
    /// # Errors
    /// [`LoadError::Resolve`].
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let resolve = |source| LoadError::Resolve { host: self.host.clone(), source };
        let found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs().map_err(resolve)?.collect();
        if found.is_empty() {
            return Err(resolve(std::io::ErrorKind::NotFound.into()));
        }
        Ok(found)
    }
}

/// What may be shown of an address that was refused: nothing before an `@`.
fn without_secret(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, after)) => format!("…@{after}"),
        None => text.to_owned(),
    }
}

fn host_and_port(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, port)),
            None => after.is_empty().then_some((host, "")),
        };
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    (!port.contains(':')).then_some((host, port))
}

/// A path that can stand in a request line.
fn http_path(path: &str) -> Option<String> {
    let path = if path.is_empty() { "/" } else { path };
    path.bytes().all(|b| b.is_ascii_graphic()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("redis://127.0.0.1:7000", "redis://127.0.0.1:7000"),
            ("redis://h", "redis://h:6379"),
            ("rediss://[::1]:7/2", "rediss://[::1]:7/2"),
            ("http://example.com:80/v1/data/", "http://example.com:80/v1/data/"),
            ("https://example.com", "https://example.com:443/"),
            ("memcached://h", "memcached://h:11211"),
        ] {
            assert_eq!(Target::parse(text).unwrap().shown(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_secret() {
        for text in [
            "",
            "h:1",
            "ftp://h",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://a:b:c",
            "http://example.com/a b",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        let error = Target::parse("redis://user:hunter2@h:1").unwrap_err().to_string();
        assert!(error.contains("--token-file") && !error.contains("hunter2"), "{error}");
    }
}
