//! What a command says, and where: data to stdout, everything else to stderr; one JSON document (or JSON lines) with
//! `--json`, text for people otherwise. A reader that goes away is a quiet end.

use std::io::{self, IsTerminal, Write};

use larder_format::error::Kind;
use serde::Serialize;

use crate::failure::{Failure, Outcome, clean};

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    colour_out: bool,
    colour_err: bool,
}

/// Emphasis that is readable without colour too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something is wrong.
    Bad,
    /// Something needs attention.
    Warn,
    /// All is well.
    Good,
    /// A heading or a command to type.
    Strong,
    /// Less important.
    Faint,
}

impl Output {
    /// Looks at the streams and `NO_COLOR` / `TERM`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            json,
            colour_out: !json && !plain && io::stdout().is_terminal(),
            colour_err: !json && !plain && io::stderr().is_terminal(),
        }
    }

    /// Whether `--json` was given.
    pub fn json(self) -> bool {
        self.json
    }

    /// With `--json`: one document, or one line of a stream, on stdout. Otherwise nothing.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn document(self, value: &impl Serialize) -> Outcome {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_vec(value)
            .map_err(|e| Failure::new(Kind::Bug, format!("cannot write the answer as JSON: {e}")))?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Without `--json`: text on stdout. Otherwise nothing.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn text(self, text: &str) -> Outcome {
        if self.json { Ok(()) } else { self.bytes(text.as_bytes()) }
    }

    /// Bytes on stdout as they are: the contents of a file or value.
    ///
    /// # Errors
    /// If stdout cannot be written; a broken pipe ends the command quietly.
    pub fn bytes(self, bytes: &[u8]) -> Outcome {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| write_failure(&e))
    }

    /// A remark on stderr for the person watching; never with `--json`, where stderr carries only errors.
    pub fn note(self, text: &str) {
        if !self.json {
            // Nobody to tell if stderr is closed.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// A remark that must reach somebody, or the command cannot go on; as [`Output::note`] otherwise.
    ///
    /// # Errors
    /// If stderr cannot be written.
    pub fn must_note(self, text: &str) -> Outcome {
        if self.json {
            return Ok(());
        }
        writeln!(io::stderr().lock(), "{text}")
            .map_err(|e| Failure::io_text(format!("cannot write to standard error: {e}"), &e))
    }

    /// Says how a command failed, in the form asked for.
    pub fn failure(self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        // If stderr is closed, the exit code has to do.
        if self.json {
            let _ = writeln!(stderr, "{}", failure_json(failure));
            return;
        }
        let _ =
            writeln!(stderr, "{} {}", self.paint_err(Tone::Bad, "error:"), clean_lines(failure.message()));
        if let Some(hint) = failure.hint_text() {
            let _ = writeln!(stderr, "  {} {}", self.paint_err(Tone::Strong, "try:"), clean_lines(hint));
        }
    }

    /// Paints text for stdout.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        paint(self.colour_out, tone, text)
    }

    /// Paints text for stderr.
    pub fn paint_err(self, tone: Tone, text: &str) -> String {
        paint(self.colour_err, tone, text)
    }
}

/// Words that may be a node's own, or have names in them: whatever could drive a terminal is escaped, but for the ends of
/// lines, of which the words about a command's usage have several.
fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// An error as JSON, as documented in the reference.
fn failure_json(failure: &Failure) -> serde_json::Value {
    let mut error = serde_json::json!({
        "kind": failure.reason().name(),
        "message": failure.message(),
        "exit_code": failure.reason().code(),
    });
    if let (Some(hint), Some(fields)) = (failure.hint_text(), error.as_object_mut()) {
        fields.insert("hint".to_owned(), hint.into());
    }
    serde_json::json!({ "error": error })
}

/// What an error of writing to standard output means: a reader that went away is a quiet end.
pub fn write_failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::broken_pipe()
    } else {
        Failure::io_text(format!("cannot write to standard output: {error}"), error)
    }
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Bad => "1;31",
        Tone::Warn => "33",
        Tone::Good => "32",
        Tone::Strong => "1",
        Tone::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_as_json_carry_kind_message_code_and_hint() {
        let failure = Failure::new(Kind::Locked, "the vault is locked").hint("larder unlock");
        assert_eq!(
            failure_json(&failure),
            serde_json::json!({ "error": {
                "kind": "locked", "message": "the vault is locked", "exit_code": 8, "hint": "larder unlock"
            }})
        );
        assert!(failure_json(&Failure::invalid("x"))["error"].get("hint").is_none());
    }

    #[test]
    fn words_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(clean_lines("a \u{1b}[2J\nb\u{202e}c\r"), "a \\u{1b}[2J\nb\\u{202e}c\\r");
    }

    #[test]
    fn no_escape_codes_without_colour() {
        assert_eq!(paint(false, Tone::Bad, "x"), "x");
        assert_eq!(paint(true, Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
