//! For whom a request was passed on, by `X-Forwarded-For` or `Forwarded` (RFC 7239). Each proxy adds the address it was
//! called from at the end, so that they are read from there: as long as an address is a trusted proxy's, what stands
//! before it is believed. The first that is not trusted is the client; what stands before that, it may have written itself.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::{Proxies, Told};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Most proxies in a row that are gone through. What lies further is as good as the last of them.
pub const HOPS_MAX: usize = 16;

/// The address of the client, given the trusted proxy that called.
pub(super) fn client(proxies: &Proxies, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
    let (name, address_of): (_, fn(&str) -> Option<IpAddr>) = match proxies.told {
        Told::XForwardedFor => (X_FORWARDED_FOR, address),
        Told::Forwarded => (FORWARDED, forwarded_for),
    };
    let mut client = proxy;
    // A line that is no text hides what stands before it.
    let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?")).collect();
    let hops = lines.into_iter().rev().flat_map(from_the_right);
    for hop in hops.take(HOPS_MAX) {
        // What cannot be read could be anybody: whoever passed it on is the last one known.
        let Some(address) = address_of(hop) else { break };
        client = address;
        if !proxies.is_trusted(address) {
            break;
        }
    }
    client
}

/// Elements of a list, last first. A comma between double quotes is none: counted from either end, it has an odd number
/// of them on both sides, and where quotes do not pair, nothing that stands before is an address.
fn from_the_right(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.rsplit(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(str::trim)
}

/// An address, with or without a port; IPv6 also in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']')?;
            let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            IpAddr::V6(inner.parse().ok().filter(|_| port_is_good)?)
        }
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => {
                let (address, port) = text.split_once(':')?;
                IpAddr::V4(address.parse().ok().filter(|_| is_port(port))?)
            }
        },
    };
    Some(address.to_canonical())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What an element of `Forwarded` says after `for=`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("for") {
            continue;
        }
        let value = value.trim();
        let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        // Twice is a slip or a trick.
        if found.replace(address(plain)?).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(told: Told) -> Proxies {
        Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:5::/48".parse().unwrap()], told }
    }

    fn told(told: Told, lines: &[&str]) -> String {
        let name = match told {
            Told::XForwardedFor => X_FORWARDED_FOR,
            Told::Forwarded => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), line.parse().unwrap());
        }
        client(&proxies(told), "10.0.0.1".parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_that_is_not_trusted_is_the_client() {
        for (lines, client) in [
            (&["203.0.113.5"][..], "203.0.113.5"),
            (&["203.0.113.5:4711"], "203.0.113.5"),
            (&["2001:db8::9"], "2001:db8::9"),
            (&["[2001:db8::9]:80"], "2001:db8::9"),
            (&["::ffff:203.0.113.5"], "203.0.113.5"),
            (&["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
            (&["127.0.0.1, 203.0.113.5"], "203.0.113.5"),
            (&["198.51.100.1, 203.0.113.5, 10.0.0.2,10.0.0.3"], "203.0.113.5"),
            (&["198.51.100.1", "203.0.113.5, 10.0.0.2", "2001:db8:5::1"], "203.0.113.5"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.5,"], "10.0.0.1"),
            (&["203.0.113.5, unknown"], "10.0.0.1"),
            (&["203.0.113.5, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["203.0.113.5, 10.0.0.2:x"], "10.0.0.1"),
            (&["203.0.113.5 10.0.0.2"], "10.0.0.1"),
        ] {
            assert_eq!(told(Told::XForwardedFor, lines), client, "{lines:?}");
        }
        let long = vec!["10.0.0.2"; 1000].join(",");
        assert_eq!(told(Told::XForwardedFor, &[&format!("203.0.113.5,{long}")]), "10.0.0.2");
    }

    #[test]
    fn the_other_form_says_more_and_is_read_for_the_same() {
        for (lines, client) in [
            (&["for=203.0.113.5"][..], "203.0.113.5"),
            (&["For=\"203.0.113.5:80\";proto=http;by=10.0.0.1"], "203.0.113.5"),
            (&["for=198.51.100.1, by=10.0.0.2; FOR=\"[2001:db8::9]:80\""], "2001:db8::9"),
            (&["for=203.0.113.5, for=10.0.0.2", "for=\"[2001:db8:5::1]\""], "203.0.113.5"),
            (&["for=\"x, for=203.0.113.5\""], "10.0.0.1"),
            (&["for=203.0.113.5;for=198.51.100.1"], "10.0.0.1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["proto=http"], "10.0.0.1"),
            (&["203.0.113.5"], "10.0.0.1"),
            (&["for=2001:db8::9"], "2001:db8::9"),
        ] {
            assert_eq!(told(Told::Forwarded, lines), client, "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, "203.0.113.5".parse().unwrap());
        let proxy = "10.0.0.1".parse().unwrap();
        assert_eq!(client(&proxies(Told::Forwarded), proxy, &headers), proxy, "the other header is not read");
    }

    proptest! {
        /// Whatever a client writes before what the proxy adds, it is the client that the proxy saw.
        #[test]
        fn nobody_hides(forged in "[ -~]{0,80}", last in 1u8..255) {
            let client = format!("203.0.113.{last}");
            let line = format!("{forged},{client}");
            prop_assert_eq!(&told(Told::XForwardedFor, &[&line]), &client);
            prop_assert_eq!(&told(Told::XForwardedFor, &[&forged, &client]), &client);
            prop_assert_eq!(&told(Told::Forwarded, &[&forged, &format!("for={client}")]), &client);
        }
    }
}
