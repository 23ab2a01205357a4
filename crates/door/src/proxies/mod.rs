//! For whom a proxy calls. A caller's address is what the system says, unless that address is one of a proxy that is
//! trusted to say for whom it calls: then it is what the proxy says. Nobody else is believed, whatever they send.
//!
//! A proxy says it in a header of each request ([`forwarded`]: HTTP), or once at the start of a connection
//! ([`protocol`]: any door). Whoever calls by a trusted proxy is never taken for a program of this machine, and without a
//! word from the proxy counts as a stranger at the proxy's address.

pub mod forwarded;
pub mod protocol;

use std::net::IpAddr;
use std::str::FromStr;

use http::HeaderMap;

use crate::caller::{Caller, Standing};

/// Most networks of trusted proxies: each is compared with the address of every connection.
pub const NETWORKS_MAX: usize = 64;

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    address: IpAddr,
    bits: u8,
}

impl Range {
    /// Whether an address is one of these.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// Text that is no address and no range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// Neither an address nor a network.
    #[error("expected an address or a network, like 192.0.2.7 or 10.0.0.0/8")]
    Malformed,
    /// Something stands after the part that is compared.
    #[error("the network has more digits than its length says; write {0}")]
    Surplus(Range),
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadRange::Malformed)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &str| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => whole,
            Some(bits) if digits(bits) => {
                bits.parse().ok().filter(|bits| *bits <= whole).ok_or(BadRange::Malformed)?
            }
            Some(_) => return Err(BadRange::Malformed),
        };
        // A shift by the whole length leaves nothing.
        let rest = u32::from(whole - bits);
        let start: IpAddr = match address {
            IpAddr::V4(own) => IpAddr::V4((own.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()),
            IpAddr::V6(own) => IpAddr::V6((own.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()),
        };
        let range = Self { address: start, bits };
        if start == address { Ok(range) } else { Err(BadRange::Surplus(range)) }
    }
}

/// In which header of a request a trusted proxy says for whom it calls. One only: proxies pass on what they do not know,
/// and whoever calls could have written the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies that are trusted, and how they say for whom they call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Their addresses; at most [`NETWORKS_MAX`].
    pub trusted: Vec<Range>,
    /// In which header, where requests have headers.
    pub told: Told,
}

impl Proxies {
    /// Whether this is a trusted proxy's address.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(address))
    }

    /// Who is on a connection from this address, as long as nothing more is known.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Caller {
        if self.is_trusted(address) { Caller::proxy(address) } else { Caller::at(address) }
    }

    /// Who is on a connection, by what its PROXY header says. Another trusted proxy may be; its requests' headers say more.
    #[must_use]
    pub fn introduced(&self, proxy: IpAddr, header: &protocol::Header) -> Caller {
        match header.source {
            Some(source) if self.is_trusted(source.ip()) => Caller::proxy(source.ip()),
            Some(source) => Caller::behind_proxy(source.ip()),
            // The proxy for itself, as when it looks whether the door is there.
            None => Caller::behind_proxy(proxy),
        }
    }

    /// Who makes a request with these headers on a connection; `None`: whoever is on the connection.
    #[must_use]
    pub fn of_request(&self, on: &Caller, headers: &HeaderMap) -> Option<Caller> {
        if self.trusted.is_empty() || !self.is_trusted(on.address) {
            return None;
        }
        let address = forwarded::client(self, on.address, headers);
        Some(match &on.standing {
            Standing::Loopback | Standing::Proxy | Standing::Stranger => Caller::behind_proxy(address),
            // The proxy has shown a certificate or token of its own: that stays what its calls are counted by.
            known => Caller { address, standing: known.clone() },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_in(range: &str, text: &str) -> bool {
        range.parse::<Range>().unwrap().contains(address(text))
    }

    #[test]
    fn ranges() {
        assert!(is_in("10.0.0.0/8", "10.255.0.1") && !is_in("10.0.0.0/8", "11.0.0.1"));
        assert!(is_in("192.0.2.7", "192.0.2.7") && !is_in("192.0.2.7", "192.0.2.6"));
        assert!(is_in("192.0.2.7", "::ffff:192.0.2.7"), "another spelling of the same");
        assert!(is_in("0.0.0.0/0", "203.0.113.1") && !is_in("0.0.0.0/0", "2001:db8::1"));
        assert!(is_in("2001:db8::/32", "2001:db8:ffff::1") && !is_in("2001:db8::/32", "2001:db9::1"));
        assert!(is_in("::/0", "2001:db8::1") && is_in("::1", "::1") && !is_in("::1", "::2"));
        assert!(is_in("192.0.2.128/25", "192.0.2.128") && !is_in("192.0.2.128/25", "192.0.2.127"));
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "name", "10.0.0.0/8/8", "10/8"]
        {
            assert_eq!(text.parse::<Range>(), Err(BadRange::Malformed), "{text}");
        }
        let surplus = "10.1.2.3/8".parse::<Range>().unwrap_err();
        assert_eq!(surplus.to_string(), "the network has more digits than its length says; write 10.0.0.0/8");
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_never_for_this_machine() {
        let proxies = Proxies { trusted: vec!["127.0.0.1".parse().unwrap()], told: Told::XForwardedFor };
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "203.0.113.5".parse().unwrap());
        let stranger = Caller::at(address("192.0.2.1"));
        assert_eq!(proxies.of_request(&stranger, &headers), None, "a forged header");
        let proxy = proxies.at(address("127.0.0.1"));
        assert_eq!(proxy.standing, Standing::Proxy);
        let caller = proxies.of_request(&proxy, &headers).unwrap();
        assert_eq!((caller.address, caller.standing), (address("203.0.113.5"), Standing::Stranger));
        let silent = proxies.of_request(&proxy, &HeaderMap::new()).unwrap();
        assert_eq!(silent, Caller::behind_proxy(address("127.0.0.1")));
        assert!(silent.is_stranger());
        assert_eq!(Proxies::default().of_request(&Caller::at(address("127.0.0.1")), &headers), None);
        let named = Caller::with_certificate(address("127.0.0.1"), "proxy");
        assert_eq!(proxies.of_request(&named, &headers).unwrap().standing, named.standing);
    }

    #[test]
    fn whom_a_proxy_introduces_is_never_this_machine() {
        let proxies = Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap()], told: Told::XForwardedFor };
        let introduced = |source: Option<&str>| {
            let source = source.map(|text| std::net::SocketAddr::new(address(text), 1));
            proxies.introduced(address("10.0.0.1"), &protocol::Header { source })
        };
        for text in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "203.0.113.5"] {
            let caller = introduced(Some(text));
            assert_eq!(caller, Caller::behind_proxy(address(text)), "{text}");
            assert!(caller.is_stranger());
        }
        assert_eq!(introduced(Some("10.0.0.2")).standing, Standing::Proxy, "another one says more");
        assert_eq!(introduced(None), Caller::behind_proxy(address("10.0.0.1")));
    }

    proptest! {
        #[test]
        fn a_range_is_read_as_it_is_shown_and_has_its_own_address(bits: u128, len in 0u8..=128, v4: bool) {
            let address = if v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) };
            let len = if v4 { len % 33 } else { len };
            let range = match format!("{address}/{len}").parse::<Range>() {
                Ok(range) | Err(BadRange::Surplus(range)) => range,
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            // IPv4 in IPv6 is IPv4, wherever it comes from.
            if v4 || address.to_canonical() == address {
                prop_assert!(range.contains(address));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Range>();
        }
    }
}
