//! Keeps pages of other sites out of a door that trusts this machine's programs. A browser is such a program, and
//! the pages in it are not: they may ask any address (and read the answer, once their own name points at it: DNS
//! rebinding). What a page cannot forge is `Host`, `Origin` and `Sec-Fetch-Site`.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Version};

use crate::Refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Names this door answers to, beside `localhost` and every address: a page's name cannot be made an address.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These names as well, without ports.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
    }

    /// Checks a request's head. `authority` is that of a request line in absolute form, which stands for `Host`.
    ///
    /// # Errors
    /// [`Refusal::WrongHost`], [`Refusal::WrongOrigin`], [`Refusal::Malformed`].
    pub fn check(
        &self,
        method: &Method,
        version: Version,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(_), Some(_)) => return Err(Refusal::Malformed),
            (Some(host), None) => Some(host.to_str().map_err(|_| Refusal::Malformed)?),
            (None, _) => None,
        };
        let host = authority.or(host);
        match host {
            Some(host) if !self.is_ours(host) => return Err(Refusal::WrongHost),
            None if version >= Version::HTTP_11 => return Err(Refusal::Malformed),
            _ => {}
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.next() {
            if origins.next().is_some() {
                return Err(Refusal::Malformed);
            }
            let own = host.is_some_and(|host| is_same(origin, host));
            return if own { Ok(()) } else { Err(Refusal::WrongOrigin) };
        }
        match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            // A person followed a link: the page that has it does not see the answer, and reading changes nothing.
            Some(_) if is_navigation(headers) && matches!(*method, Method::GET | Method::HEAD) => Ok(()),
            Some(_) => Err(Refusal::WrongOrigin),
        }
    }

    /// Whether a `Host` is one of this node's.
    #[must_use]
    pub fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        if let Some(inner) = name.strip_prefix('[') {
            return inner.strip_suffix(']').is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok());
        }
        if name.parse::<std::net::Ipv4Addr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || self.0.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether an origin is that of the page's own host.
fn is_same(origin: &HeaderValue, host: &str) -> bool {
    let of = origin.to_str().ok().and_then(|text| text.split_once("://"));
    of.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode.as_bytes() == b"navigate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, pairs: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Hosts::new(&["Larder.Home.Arpa".to_owned()]).check(method, Version::HTTP_11, None, &headers)
    }

    #[test]
    fn only_names_that_cannot_be_a_strangers() {
        for host in [
            "localhost",
            "localhost:7448",
            "LOCALHOST.",
            "127.0.0.1:7448",
            "192.0.2.7",
            "[::1]:7448",
            "[2001:db8::1]",
            "larder.home.arpa:80",
        ] {
            assert_eq!(check(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[evil]",
            "",
            "::1",
            "1",
            "0x7f.1",
            "localhost:a",
            "user@localhost",
        ] {
            assert_eq!(check(&Method::GET, &[("host", host)]), Err(Refusal::WrongHost), "{host}");
        }
        assert_eq!(check(&Method::GET, &[]), Err(Refusal::Malformed));
        assert_eq!(
            check(&Method::GET, &[("host", "localhost"), ("host", "localhost")]),
            Err(Refusal::Malformed)
        );
    }

    #[test]
    fn pages_of_other_sites_stay_out() {
        let own = ("host", "localhost:7448");
        let with = |method: Method, name, value| check(&method, &[own, (name, value)]);
        assert_eq!(with(Method::PUT, "origin", "http://localhost:7448"), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:9999", "http://localhost"] {
            assert_eq!(with(Method::GET, "origin", origin), Err(Refusal::WrongOrigin), "{origin}");
        }
        let twice = [own, ("origin", "http://localhost:7448"), ("origin", "http://localhost:7448")];
        assert_eq!(check(&Method::GET, &twice), Err(Refusal::Malformed));
        assert_eq!(with(Method::GET, "sec-fetch-site", "none"), Ok(()));
        assert_eq!(with(Method::GET, "sec-fetch-site", "cross-site"), Err(Refusal::WrongOrigin));
        let link = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(check(&Method::GET, &link), Ok(()));
        assert_eq!(check(&Method::POST, &link), Err(Refusal::WrongOrigin));
    }
}
