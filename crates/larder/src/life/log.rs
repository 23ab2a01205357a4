//! What a daemon says about its work: one line an event on standard error, as text or as JSON. Where `larder up` started
//! it, standard error is a file, which is set aside when it is full, so that nothing that strangers cause (refused
//! connections, say) fills the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::{Failure, Outcome};

/// A log that grows beyond this is set aside; one old one is kept. In bytes.
const LOG_LEN_MAX: u64 = 8 << 20;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl LogFormat {
    /// Parses `text` or `json`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".to_owned()),
        }
    }

    /// As [`LogFormat::parse`] reads it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What is logged, how, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which events: a level, or levels for parts of the program, like `info,larder_node=debug`.
    pub filter: String,
    /// How lines are written.
    pub format: LogFormat,
    /// The file that standard error is, if it is to be kept small.
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text, file: None }
    }
}

/// Checks a filter.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn check_filter(text: &str) -> Result<(), String> {
    let parsed = EnvFilter::builder().parse(text);
    parsed.map(|_| ()).map_err(|e| {
        format!("{e}; expected error, warn, info, debug or trace, or a list like info,larder_node=debug")
    })
}

impl Log {
    /// Starts logging. A second call in one process changes nothing.
    ///
    /// # Errors
    /// If the filter is not understood.
    pub fn begin(&self, colour: bool) -> Outcome {
        let filter =
            EnvFilter::builder().parse(&self.filter).map_err(|e| Failure::invalid(format!("log: {e}")))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(StandardError::new(self.file.clone()))
            .with_ansi(colour && self.format == LogFormat::Text);
        // Fails only where logging has begun already.
        let _ = match self.format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        Ok(())
    }
}

/// Opens a log for appending, as the standard error of a daemon that is about to start. A full one is set aside.
///
/// # Errors
/// What the file system says.
pub fn open(path: &Path) -> Outcome<File> {
    if fs::metadata(path).is_ok_and(|m| m.len() > LOG_LEN_MAX) {
        set_aside(path).map_err(|e| Failure::io("set aside", path, &e))?;
    }
    append(path).map_err(|e| Failure::io("open the log", path, &e))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension("log.old"))
}

/// Standard error, and the file it is.
#[derive(Debug, Clone)]
struct StandardError {
    file: Option<Arc<Capped>>,
}

#[derive(Debug)]
struct Capped {
    path: PathBuf,
    /// Bytes since the file was opened, and those it had.
    len: AtomicU64,
    len_max: u64,
}

impl StandardError {
    fn new(path: Option<PathBuf>) -> Self {
        let capped = path.map(|path| {
            let len = AtomicU64::new(fs::metadata(&path).map_or(0, |m| m.len()));
            Arc::new(Capped { path, len, len_max: LOG_LEN_MAX })
        });
        Self { file: capped }
    }
}

impl Capped {
    /// Takes note of bytes written. Where they make the file too long it is set aside and standard error becomes a
    /// new one; panics go there too. What cannot be renamed goes on growing: words lost would be worse.
    fn wrote(&self, bytes: usize) {
        let before = self.len.fetch_add(bytes as u64, Ordering::Relaxed);
        // Whoever crosses the limit does it, nobody else.
        if before <= self.len_max && before + bytes as u64 > self.len_max {
            let renewed = set_aside(&self.path)
                .and_then(|()| append(&self.path))
                .and_then(|file| rustix::stdio::dup2_stderr(file).map_err(io::Error::from));
            if renewed.is_ok() {
                self.len.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Write for StandardError {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(buf)?;
        if let Some(file) = &self.file {
            file.wrote(written);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_formats_are_checked() {
        assert!(check_filter("info,larder_node=debug").is_ok());
        assert!(check_filter("info,larder_node=loud").is_err());
        assert_eq!(LogFormat::parse("json"), Ok(LogFormat::Json));
        assert!(LogFormat::parse("xml").is_err());
    }

    #[test]
    fn a_full_log_is_set_aside_before_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        open(&path).unwrap().set_len(LOG_LEN_MAX + 1).unwrap();
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(fs::metadata(dir.path().join("node.log.old")).unwrap().len(), LOG_LEN_MAX + 1);
    }
}
