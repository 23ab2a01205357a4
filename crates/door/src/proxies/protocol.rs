//! The PROXY protocol, versions 1 (a line of text) and 2 (binary): what a proxy that passes bytes on sends at the start of
//! a connection, to say from where it was called. Whoever reads it takes exactly the header's bytes off the connection:
//! [`step`] says how many more are surely part of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest line of version 1, its end counted, in bytes: as its specification says.
const LINE_LEN_MAX: usize = 107;

/// Shortest line of version 1 (`PROXY UNKNOWN`), in bytes. What begins version 2 is longer by one.
const LINE_LEN_MIN: usize = 15;

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const BINARY_HEAD_LEN: usize = 16;

/// Longest header of version 2 that is taken, in bytes. Addresses take up to 216; what proxies add (names, certificates'
/// subjects) stays far below this.
pub const HEADER_LEN_MAX: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// From where the proxy was called; `None`: it calls for itself, or from where is not told.
    pub source: Option<SocketAddr>,
}

/// How reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many further bytes, at least one, are part of the header; more may be.
    Read(usize),
    /// The header is whole, and nothing that follows has been taken.
    Done(Header),
}

/// Bytes that begin no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a PROXY protocol header")]
pub struct NoHeader;

/// Looks at what has been read so far: as many bytes as it asked for.
///
/// # Errors
/// [`NoHeader`], as soon as it can be told.
pub fn step(bytes: &[u8]) -> Result<Step, NoHeader> {
    let start = &bytes[..bytes.len().min(SIGNATURE.len())];
    if bytes.len() < LINE_LEN_MIN {
        let may_be = SIGNATURE.starts_with(start) || b"PROXY ".starts_with(&start[..start.len().min(6)]);
        return if may_be { Ok(Step::Read(LINE_LEN_MIN - bytes.len())) } else { Err(NoHeader) };
    }
    if start == SIGNATURE {
        binary(bytes)
    } else if bytes.starts_with(b"PROXY ") {
        line(bytes)
    } else {
        Err(NoHeader)
    }
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Step, NoHeader> {
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        if bytes.contains(&b'\n') || bytes.len() >= LINE_LEN_MAX {
            return Err(NoHeader);
        }
        // The end is two bytes, and the first of them may have come.
        return Ok(Step::Read(if bytes.ends_with(b"\r") { 1 } else { 2.min(LINE_LEN_MAX - bytes.len()) }));
    };
    let text = std::str::from_utf8(text).map_err(|_| NoHeader)?;
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().ok_or(NoHeader);
    let (is_v6, source, target, source_port, target_port) = match word()? {
        "UNKNOWN" => return Ok(Step::Done(Header { source: None })),
        "TCP4" => (false, word()?, word()?, word()?, word()?),
        "TCP6" => (true, word()?, word()?, word()?, word()?),
        _ => return Err(NoHeader),
    };
    let address = |text: &str| -> Result<IpAddr, NoHeader> {
        let address: IpAddr = text.parse().map_err(|_| NoHeader)?;
        if address.is_ipv6() == is_v6 { Ok(address) } else { Err(NoHeader) }
    };
    let port = |text: &str| -> Result<u16, NoHeader> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or(NoHeader)
    };
    let source = SocketAddr::new(address(source)?.to_canonical(), port(source_port)?);
    address(target)?;
    port(target_port)?;
    if words.next().is_some() {
        return Err(NoHeader);
    }
    Ok(Step::Done(Header { source: Some(source) }))
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Step, NoHeader> {
    if bytes.len() < BINARY_HEAD_LEN {
        return Ok(Step::Read(BINARY_HEAD_LEN - bytes.len()));
    }
    let (version, command, family) = (bytes[12] >> 4, bytes[12] & 0xf, bytes[13]);
    let len = BINARY_HEAD_LEN + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version != 2 || command > 1 || len > HEADER_LEN_MAX {
        return Err(NoHeader);
    }
    if bytes.len() < len {
        return Ok(Step::Read(len - bytes.len()));
    }
    let addresses = &bytes[BINARY_HEAD_LEN..len];
    let source = match (command, family) {
        // The proxy for itself, as when it looks whether somebody is there.
        (0, _) => None,
        (_, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *array(addresses)?;
            Some((IpAddr::V4(Ipv4Addr::new(a, b, c, d)), [high, low]))
        }
        (_, 0x21) => {
            let both: &[u8; 36] = array(addresses)?;
            let address: &[u8; 16] = array(both)?;
            Some((IpAddr::V6(Ipv6Addr::from(*address)).to_canonical(), [both[32], both[33]]))
        }
        // Neither TCP over IPv4 nor over IPv6: nothing that is told here is of use.
        _ => None,
    };
    let source = source.map(|(address, port)| SocketAddr::new(address, u16::from_be_bytes(port)));
    Ok(Step::Done(Header { source }))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], NoHeader> {
    bytes.first_chunk().ok_or(NoHeader)
}

/// Whether bytes that were no request begin as a header does: somebody's proxy is not among the trusted.
#[must_use]
pub fn looks_like(start: &[u8]) -> bool {
    start.starts_with(b"PROXY ") || start.starts_with(SIGNATURE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads as a connection would, and answers what is left.
    fn read(bytes: &[u8]) -> Result<(Header, &[u8]), NoHeader> {
        let mut taken = 0;
        loop {
            match step(&bytes[..taken])? {
                Step::Read(more) => {
                    assert!(more > 0);
                    taken += more;
                    if taken > bytes.len() {
                        return Err(NoHeader);
                    }
                }
                Step::Done(header) => return Ok((header, &bytes[taken..])),
            }
        }
    }

    fn source(bytes: &[u8]) -> Result<Option<String>, NoHeader> {
        read(bytes).map(|(header, _)| header.source.map(|source| source.to_string()))
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn lines() {
        let known = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(source(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\nGET"), known("203.0.113.5:4711"));
        assert_eq!(source(b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n"), known("[2001:db8::9]:1"));
        assert_eq!(source(b"PROXY TCP6 ::ffff:203.0.113.5 ::1 1 2\r\n"), known("203.0.113.5:1"));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(source(b"PROXY UNKNOWN whatever else 1 2\r\n"), Ok(None));
        for wrong in [
            "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 4711\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 4711 80 5\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 +1 80\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 65536 80\r\n",
            "PROXY TCP4 2001:db8::9 ::1 1 2\r\n",
            "PROXY TCP6 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY UDP4 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY  TCP4 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 1 2\nGET / HTTP/1.1\r\n",
            "proxy unknown\r\n  ",
        ] {
            assert_eq!(read(wrong.as_bytes()), Err(NoHeader), "{wrong}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_LEN_MAX));
        assert_eq!(read(long.as_bytes()), Err(NoHeader));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_LEN_MAX - 16));
        assert_eq!(longest.len(), LINE_LEN_MAX);
        assert_eq!(source(longest.as_bytes()), Ok(None));
    }

    #[test]
    fn binary_headers() {
        let v4 = [203, 0, 113, 5, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
        assert_eq!(source(&version_2(1, 0x11, &v4)), Ok(Some("203.0.113.5:4711".to_owned())));
        let more = [&v4[..], b"\x03\x00\x04\0\0\0\0"].concat();
        assert_eq!(source(&version_2(1, 0x11, &more)), Ok(Some("203.0.113.5:4711".to_owned())));
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 1]);
        v6[15] = 9;
        v6[33] = 7;
        assert_eq!(source(&version_2(1, 0x21, &v6)), Ok(Some("[2001::9]:7".to_owned())));
        assert_eq!(source(&version_2(0, 0, &[])), Ok(None), "the proxy looks whether somebody is there");
        assert_eq!(source(&version_2(0, 0x11, &v4)), Ok(None));
        assert_eq!(source(&version_2(1, 0x31, &[0; 216])), Ok(None), "a local socket");
        assert_eq!(source(&version_2(1, 0x11, &v4[..11])), Err(NoHeader));
        assert_eq!(source(&version_2(2, 0x11, &v4)), Err(NoHeader));
        assert_eq!(source(&version_2(1, 0x11, &[0; HEADER_LEN_MAX])), Err(NoHeader));
        let mut third = version_2(1, 0x11, &v4);
        third[12] = 0x31;
        assert_eq!(source(&third), Err(NoHeader));
    }

    proptest! {
        /// Exactly the header is taken, whatever follows.
        #[test]
        fn what_follows_is_left(
            address: u32, v6: u128, port: u16, form in 0..4, rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let (four, six) = (Ipv4Addr::from(address), Ipv6Addr::from(v6));
            let mut both = [&address.to_be_bytes()[..], &[0; 4], &port.to_be_bytes(), &[0; 2]].concat();
            let (header, expected): (Vec<u8>, IpAddr) = match form {
                0 => (format!("PROXY TCP4 {four} 10.0.0.1 {port} 80\r\n").into(), four.into()),
                1 => (format!("PROXY TCP6 {six} ::1 {port} 80\r\n").into(), six.into()),
                2 => (version_2(1, 0x11, &both), four.into()),
                _ => {
                    both = [&v6.to_be_bytes()[..], &[0; 16], &port.to_be_bytes(), &[0; 2]].concat();
                    (version_2(1, 0x21, &both), six.into())
                }
            };
            let bytes = [&header[..], &rest].concat();
            let source = Some(SocketAddr::new(expected.to_canonical(), port));
            prop_assert_eq!(read(&bytes), Ok((Header { source }, &rest[..])));
            prop_assert!(looks_like(&header));
            for len in 0..header.len() {
                prop_assert_eq!(read(&header[..len]), Err(NoHeader), "cut off");
            }
        }

        #[test]
        fn no_bytes_panic_and_reading_ends(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok((_, left)) = read(&bytes) {
                prop_assert!(bytes.len() - left.len() <= HEADER_LEN_MAX);
            }
        }
    }
}
