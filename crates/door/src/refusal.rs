//! What a door refuses before anything is looked up. Each kind is counted under its name and has one HTTP status.

use std::time::Duration;

/// Whose limit on requests was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// That of one address.
    Address,
    /// That of all strangers together.
    Total,
    /// That of one certificate or token.
    Identity,
}

impl Limited {
    fn words(self) -> &'static str {
        match self {
            Limited::Address => "too many requests from your address; wait and try again",
            Limited::Total => "too many requests from everybody together; wait and try again",
            Limited::Identity => "too many requests with this certificate or token; wait and try again",
        }
    }
}

/// Why a request or a connection was refused for what it is, not for what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More requests than may be made.
    #[error("{}", of.words())]
    RateLimited {
        /// When there is room again.
        retry_after: Duration,
        /// By whom.
        of: Limited,
    },
    /// No more connections, in all or for this network.
    #[error("too many connections; close some, or try again in a moment")]
    Crowded,
    /// Bodies of other requests fill the memory that is set aside for them.
    #[error("too many large requests at once; try again in a moment")]
    Busy,
    /// The head (request line and headers) is too long.
    #[error("the request's head is too long; shorten the key or leave headers out")]
    HeadTooLarge,
    /// The body is too long.
    #[error("the value is too long: at most {max} bytes are taken")]
    BodyTooLarge {
        /// Longest body taken, in bytes.
        max: u64,
    },
    /// The client took too long to send its request.
    #[error("the request took too long to arrive; send it again in one go")]
    TooSlow,
    /// The `Host` is none of this node's: a page of another site may be behind it (DNS rebinding).
    #[error("this node does not answer to that Host; use its address, or name it in the setting http_hosts")]
    WrongHost,
    /// A page of another site asks.
    #[error("pages of other sites may not use this node; call it from a program instead of a browser page")]
    WrongOrigin,
    /// It is not HTTP.
    #[error("this is not a valid HTTP/1.1 request")]
    Malformed,
    /// A trusted proxy did not say for whom it calls, though it has to.
    #[error("the proxy must begin with a PROXY protocol header; see proxy_protocol")]
    NoProxyHeader,
    /// A TLS handshake failed: no certificate of this node's authority, or no TLS at all.
    #[error("the handshake failed; a certificate of this node's authority is needed")]
    Handshake,
}

impl Refusal {
    /// Its name in answers: stable, lower-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::RateLimited { .. } => "rate_limited",
            other => other.counted_as(),
        }
    }

    /// Name under which it is counted: as in answers, and whose limit was reached.
    #[must_use]
    pub fn counted_as(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// All names under which refusals are counted, in the order of [`Refusal::index`].
    pub const NAMES: [&'static str; 13] = [
        "rate_limited",
        "rate_limited_total",
        "rate_limited_identity",
        "crowded",
        "busy",
        "head_too_large",
        "body_too_large",
        "too_slow",
        "wrong_host",
        "wrong_origin",
        "malformed",
        "no_proxy_header",
        "handshake",
    ];

    /// Its place in [`Refusal::NAMES`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Refusal::RateLimited { of: Limited::Address, .. } => 0,
            Refusal::RateLimited { of: Limited::Total, .. } => 1,
            Refusal::RateLimited { of: Limited::Identity, .. } => 2,
            Refusal::Crowded => 3,
            Refusal::Busy => 4,
            Refusal::HeadTooLarge => 5,
            Refusal::BodyTooLarge { .. } => 6,
            Refusal::TooSlow => 7,
            Refusal::WrongHost => 8,
            Refusal::WrongOrigin => 9,
            Refusal::Malformed => 10,
            Refusal::NoProxyHeader => 11,
            Refusal::Handshake => 12,
        }
    }

    /// HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refusal::RateLimited { .. } => 429,
            Refusal::Crowded | Refusal::Busy => 503,
            Refusal::HeadTooLarge => 431,
            Refusal::BodyTooLarge { .. } => 413,
            Refusal::TooSlow => 408,
            Refusal::WrongHost => 421,
            Refusal::WrongOrigin | Refusal::Handshake => 403,
            Refusal::Malformed | Refusal::NoProxyHeader => 400,
        }
    }

    /// Whole seconds after which trying again makes sense, where it does.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u64> {
        match self {
            Refusal::RateLimited { retry_after, .. } => {
                Some(retry_after.as_millis().div_ceil(1000).max(1) as u64)
            }
            Refusal::Crowded | Refusal::Busy => Some(1),
            _ => None,
        }
    }

    /// Whether the connection is of no more use, because what the client still sends belongs to this request.
    #[must_use]
    pub fn closes(self) -> bool {
        matches!(
            self,
            Refusal::Crowded
                | Refusal::Busy
                | Refusal::HeadTooLarge
                | Refusal::BodyTooLarge { .. }
                | Refusal::TooSlow
                | Refusal::Malformed
                | Refusal::NoProxyHeader
                | Refusal::Handshake
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(of: Limited, ms: u64) -> Refusal {
        Refusal::RateLimited { retry_after: Duration::from_millis(ms), of }
    }

    #[test]
    fn waiting_is_told_in_whole_seconds_and_never_as_none() {
        let after = |ms| limited(Limited::Address, ms).retry_after_s();
        assert_eq!((after(0), after(10), after(1000), after(1001)), (Some(1), Some(1), Some(1), Some(2)));
        assert_eq!(Refusal::TooSlow.retry_after_s(), None);
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let all = [
            limited(Limited::Address, 0),
            limited(Limited::Total, 0),
            limited(Limited::Identity, 0),
            Refusal::Crowded,
            Refusal::Busy,
            Refusal::HeadTooLarge,
            Refusal::BodyTooLarge { max: 1 },
            Refusal::TooSlow,
            Refusal::WrongHost,
            Refusal::WrongOrigin,
            Refusal::Malformed,
            Refusal::NoProxyHeader,
            Refusal::Handshake,
        ];
        assert_eq!(all.len(), Refusal::NAMES.len());
        for (at, refusal) in all.iter().enumerate() {
            assert_eq!((refusal.index(), Refusal::NAMES[at]), (at, refusal.counted_as()));
            assert!(refusal.counted_as().starts_with(refusal.name()));
        }
    }
}
