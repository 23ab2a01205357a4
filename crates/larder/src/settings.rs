//! `larder.toml`: what a person may change, kept in the config folder. Written on first use with every field and its
//! meaning; never rewritten afterwards, so comments stay. Unknown fields are refused, because a misspelt limit that
//! is silently ignored is worse than an error.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use larder_format::error::Kind;
use serde::Deserialize;

use crate::atomic_file::{self, Existing};
use crate::failure::{Failure, Outcome, shown};
use crate::{duration, size};

/// Largest settings file read, in bytes.
const FILE_LEN_MAX: usize = 64 * 1024;
/// Version of the settings that this program understands.
const FORMAT: u32 = 1;
/// Where the node listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7447);
/// The vault locks itself after this long without a command.
pub const IDLE_LOCK_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Shortest idle lock: shorter would lock between two commands of one script.
pub const IDLE_LOCK_MIN: Duration = Duration::from_secs(1);
/// Longest idle lock; `never` is another word.
pub const IDLE_LOCK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Default cap on values in the node's memory, in bytes.
pub const MEMORY_CAP_DEFAULT: u64 = 1 << 30;
/// Smallest memory cap that can hold one largest value.
pub const MEMORY_CAP_MIN: u64 = 32 << 20;
/// Largest memory cap: beyond any machine, within arithmetic.
pub const MEMORY_CAP_MAX: u64 = 1 << 50;

/// When an open vault locks itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleLock {
    /// After this long without a command.
    After(Duration),
    /// Only when told to.
    Never,
}

impl IdleLock {
    /// Parses `15m` or `never`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        duration::parse(text, IDLE_LOCK_MIN, IDLE_LOCK_MAX)
            .map(Self::After)
            .map_err(|e| format!("{e}, or never"))
    }

    /// As [`IdleLock::parse`] reads it.
    pub fn text(self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::After(length) => format!("{}ms", length.as_millis()),
        }
    }

    /// For people.
    pub fn for_people(self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::After(length) => duration::show(length),
        }
    }
}

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Where the node listens.
    pub listen: SocketAddr,
    /// Cap on values in the node's memory, in bytes.
    pub memory_cap_bytes: u64,
    /// When an open vault locks itself.
    pub idle_lock: IdleLock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            memory_cap_bytes: MEMORY_CAP_DEFAULT,
            idle_lock: IdleLock::After(IDLE_LOCK_DEFAULT),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    format: u32,
    listen: Option<SocketAddr>,
    memory_cap: Option<String>,
    idle_lock: Option<String>,
}

/// Only the version, to tell a newer file from a wrong one.
#[derive(Deserialize)]
struct FormatOnly {
    format: Option<u32>,
}

impl Settings {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// Invalid, with the field, if it is not understood; too new if a newer program wrote it.
    pub fn load(path: &Path) -> Outcome<Option<Self>> {
        let Some(bytes) = atomic_file::read(path, FILE_LEN_MAX)? else { return Ok(None) };
        let text =
            String::from_utf8(bytes).map_err(|_| Failure::invalid(format!("{} is not text", shown(path))))?;
        Self::parse(&text).map(Some).map_err(|failure| failure.context(&shown(path)))
    }

    fn parse(text: &str) -> Outcome<Self> {
        if let Ok(FormatOnly { format: Some(format) }) = toml::from_str(text)
            && format > FORMAT
        {
            let message = format!("settings of a newer version format={format} supported={FORMAT}");
            return Err(Failure::new(Kind::TooNew, message).hint("upgrade larder"));
        }
        let form: FileForm =
            toml::from_str(text).map_err(|e| Failure::invalid(e.to_string().trim_end().to_owned()))?;
        if form.format != FORMAT {
            return Err(Failure::invalid(format!("format must be {FORMAT}")));
        }
        let mut settings = Settings::default();
        if let Some(listen) = form.listen {
            settings.listen = listen;
        }
        if let Some(text) = form.memory_cap {
            settings.memory_cap_bytes = size::parse(&text, MEMORY_CAP_MIN, MEMORY_CAP_MAX)
                .map_err(|e| Failure::invalid(format!("memory_cap: {e}")))?;
        }
        if let Some(text) = form.idle_lock {
            settings.idle_lock =
                IdleLock::parse(&text).map_err(|e| Failure::invalid(format!("idle_lock: {e}")))?;
        }
        Ok(settings)
    }

    /// Writes the file for the first time.
    ///
    /// # Errors
    /// A conflict if it is there already; what the file system says.
    pub fn create(&self, path: &Path) -> Outcome {
        atomic_file::write(path, self.to_text().as_bytes(), Existing::Keep)
    }

    fn to_text(self) -> String {
        let idle = match self.idle_lock {
            IdleLock::Never => "never".to_owned(),
            IdleLock::After(length) => duration::show(length).replace(' ', ""),
        };
        let mut out = String::from(
            "# Settings of Larder on this machine. `larder down` and `larder up` apply changes.\n\n",
        );
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "# Version of this file's layout.\nformat = {FORMAT}\n\n\
             # Address and port the node listens on (mutual TLS). Only programs of this machine reach 127.0.0.1.\n\
             listen = \"{}\"\n\n\
             # Most memory that expiring values may take, overhead counted: {} to {}.\n\
             memory_cap = \"{}\"\n\n\
             # The vault locks itself after this long without a command: {} to {}, or \"never\".\n\
             idle_lock = \"{idle}\"\n",
            self.listen,
            size::show(MEMORY_CAP_MIN),
            size::show(MEMORY_CAP_MAX),
            self.memory_cap_bytes,
            duration::show(IDLE_LOCK_MIN),
            duration::show(IDLE_LOCK_MAX),
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let settings = Settings {
            listen: "[::1]:9".parse().unwrap(),
            memory_cap_bytes: 100 << 20,
            idle_lock: IdleLock::After(Duration::from_secs(5400)),
        };
        assert_eq!(Settings::parse(&settings.to_text()).unwrap(), settings);
        let never = Settings { idle_lock: IdleLock::Never, ..Settings::default() };
        assert_eq!(Settings::parse(&never.to_text()).unwrap(), never);
        assert_eq!(IdleLock::parse(&settings.idle_lock.text()), Ok(settings.idle_lock));
    }

    #[test]
    fn slips_are_refused_with_the_field() {
        for (text, why) in [
            ("format = 1\nlisten_port = 3", "listen_port"),
            ("format = 1\nidle_lock = \"0\"", "idle_lock: too short"),
            ("format = 1\nmemory_cap = \"1k\"", "memory_cap: too small"),
            ("format = 1\nlisten = \"here\"", "listen"),
            ("format = 0", "format must be 1"),
            ("", "format"),
        ] {
            let failure = Settings::parse(text).unwrap_err();
            assert!(failure.message().contains(why), "{text}: {failure}");
            assert_eq!(failure.kind(), Some(Kind::Invalid));
        }
        assert_eq!(Settings::parse("format = 2\nnew = 1").unwrap_err().kind(), Some(Kind::TooNew));
    }
}
