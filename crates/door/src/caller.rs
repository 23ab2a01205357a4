//! Who is on a connection. Decided once, when it is accepted; limits and rights follow from it.

use std::net::IpAddr;
use std::sync::Arc;

/// How far a caller is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Standing {
    /// A program of this machine: as trusted as whoever may log in here.
    Loopback,
    /// It showed a certificate of the node's own authority, in this name.
    Certificate(Arc<str>),
    /// It showed a token of this id.
    Token(Arc<str>),
    /// A proxy that is trusted to say for whom it calls, and has not said it. What it asks counts as a stranger's.
    Proxy,
    /// Anyone.
    Stranger,
}

/// Who is calling, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Where it calls from.
    pub address: IpAddr,
    /// How far it is known.
    pub standing: Standing,
}

impl Caller {
    /// A caller of whom only the address is known.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let standing = if address.is_loopback() { Standing::Loopback } else { Standing::Stranger };
        Self { address, standing }
    }

    /// A caller that showed a certificate in this name.
    #[must_use]
    pub fn with_certificate(address: IpAddr, name: &str) -> Self {
        Self { address: address.to_canonical(), standing: Standing::Certificate(name.into()) }
    }

    /// A caller that showed a token.
    #[must_use]
    pub fn with_token(address: IpAddr, id: &str) -> Self {
        Self { address: address.to_canonical(), standing: Standing::Token(id.into()) }
    }

    /// A caller for whom a proxy calls: never a program of this machine, whatever its address says, since the proxy
    /// takes calls from elsewhere.
    #[must_use]
    pub fn behind_proxy(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), standing: Standing::Stranger }
    }

    /// A proxy that is trusted to say for whom it calls.
    #[must_use]
    pub fn proxy(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), standing: Standing::Proxy }
    }

    /// Whether nothing is known of it but its address, so that one address of these may have so many connections.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.standing == Standing::Stranger
    }

    /// Its network: what one customer of a provider cannot change at will. IPv6 addresses count by their /64,
    /// since a single machine usually has all of it.
    #[must_use]
    pub fn network(&self) -> Network {
        Network::of(self.address)
    }
}

/// An IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(u64);

impl Network {
    /// Of this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // Beside every IPv6 prefix: `ffff:ffff::/32` is multicast, which nobody calls from.
            IpAddr::V4(address) => Self(0xffff_ffff_0000_0000 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }

    /// As a number, for tables.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_neighbour_shares_a_network_and_an_ipv4_one_does_not() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::8000:0:0:1"), "the whole of the second half");
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"), "one client, two spellings");
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Caller::at(text.parse().unwrap()).standing, Standing::Loopback, "{text}");
        }
        assert!(Caller::at("192.0.2.1".parse().unwrap()).is_stranger());
        assert!(!Caller::with_certificate("192.0.2.1".parse().unwrap(), "ci").is_stranger());
        assert!(Caller::behind_proxy("127.0.0.1".parse().unwrap()).is_stranger(), "whatever the proxy says");
    }
}
