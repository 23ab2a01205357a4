//! What can go wrong before or around a load test. What goes wrong inside one is counted instead.

use std::io;
use std::net::SocketAddr;

use larder_format::error::Kind;

/// A load test could not be run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The address cannot be understood.
    #[error("{why} target={text}")]
    Target {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What was asked for does not fit together, or is out of range.
    #[error("{0}")]
    Plan(String),
    /// The host has no address.
    #[error("cannot find the host: {} host={host}", plain(source))]
    Resolve {
        /// Its name.
        host: String,
        /// The system's words.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect: {} address={address}", plain(source))]
    Connect {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// It ends the connection instead of answering.
    #[error("the server ended the connection at once: {words} address={address}")]
    Ended {
        /// Where.
        address: SocketAddr,
        /// What is known of it.
        words: String,
    },
    /// A certificate or key cannot be used, or the name is none that a certificate can have.
    #[error("cannot set TLS up: {0}")]
    Tls(#[from] rustls::Error),
    /// The server refuses what has to work before measuring can begin.
    #[error("the server refuses {doing}: {answer}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        answer: String,
    },
    /// What comes back is not the protocol.
    #[error("the server does not speak this protocol: {0}")]
    NotTheProtocol(String),
    /// The server accepted the connection and then said nothing.
    #[error("the server did not answer in time while {doing} waited_ms={waited_ms}")]
    Silent {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// A report cannot be read.
    #[error("not a report of larder bench: {0}")]
    Report(String),
    /// This machine cannot: descriptors, threads.
    #[error("cannot {doing}: {}", plain(source))]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A defect of the generator.
    #[error("a thread of the generator ended on its own")]
    Thread,
}

impl LoadError {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            LoadError::Target { .. } | LoadError::Plan(_) | LoadError::Report(_) | LoadError::Tls(_) => {
                Kind::Invalid
            }
            LoadError::NotTheProtocol(_) => Kind::Invalid,
            LoadError::Resolve { .. } => Kind::NotFound,
            LoadError::Connect { .. } | LoadError::Silent { .. } | LoadError::Ended { .. } => Kind::Closed,
            LoadError::Refused { answer, .. } => kind_of_answer(answer),
            LoadError::Machine { .. } => Kind::Io,
            LoadError::Thread => Kind::Bug,
        }
    }
}

/// What kind of refusal an answer is, from the words that servers agree on.
fn kind_of_answer(answer: &str) -> Kind {
    let starts = |words: &[&str]| words.iter().any(|word| answer.starts_with(word));
    if starts(&["NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "401", "403", "ERR AUTH", "ERR Client sent AUTH"])
    {
        Kind::Denied
    } else if starts(&["OOM", "507"]) {
        Kind::Full
    } else if starts(&["LOADING", "BUSY", "429", "503", "ERR max number of clients"]) {
        Kind::Retry
    } else {
        Kind::Invalid
    }
}

/// The system's words for an error, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.find(" (os error").map_or_else(|| text.clone(), |end| text[..end].to_lowercase())
}
