//! Asking a person: passphrases without echo, on the terminal itself and not on stdin, so that
//! `generate | larder put - name` can still ask; and whether to go on with what cannot be undone.
//!
//! While it asks, the terminal hands over single bytes and ctrl-C arrives as a byte; so an interrupted question
//! always restores the echo before the process ends.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// Longest passphrase, in bytes. Long enough for any sentence; a file given by mistake ends here.
pub const PASSPHRASE_LEN_MAX: usize = 4096;

/// A terminal with somebody in front of it.
#[derive(Debug)]
pub struct Terminal {
    device: File,
}

impl Terminal {
    /// Opens the controlling terminal, unless everything is redirected: a script run with all its streams elsewhere
    /// must get an error at once, not a question nobody sees.
    pub fn open() -> Option<Self> {
        if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
            return None;
        }
        let device = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        device.is_terminal().then_some(Self { device })
    }

    /// Shows text to the person.
    ///
    /// # Errors
    /// What the terminal says.
    pub fn show(&mut self, text: &str) -> Outcome {
        self.device.write_all(text.as_bytes()).map_err(|e| terminal_failure(&e))
    }

    /// Asks a question that is answered with yes or no; anything but `y` and `yes` is no.
    ///
    /// # Errors
    /// As [`Terminal::ask_line`].
    pub fn ask_yes(&mut self, question: &str) -> Outcome<bool> {
        let answer = self.ask_line(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line, which the person sees while typing; without its end.
    ///
    /// # Errors
    /// Interrupted at the end of input; invalid if longer than `len_max` bytes.
    pub fn ask(&mut self, question: &str, len_max: usize) -> Outcome<String> {
        self.show(question)?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            match self.device.read(&mut byte) {
                Ok(0) => return Err(Failure::interrupted()),
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() >= len_max => {
                    return Err(Failure::invalid(format!("the answer is longer than {len_max} bytes")));
                }
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(terminal_failure(&error)),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Asks for a passphrase without echo.
    ///
    /// # Errors
    /// Interrupted on ctrl-C and at the end of input; invalid if too long.
    pub fn ask_secret(&mut self, question: &str) -> Outcome<Zeroizing<Vec<u8>>> {
        // Quiet first: what is typed as soon as the question shows must neither echo nor be flushed away.
        let quiet = Quiet::on(&self.device).map_err(|e| terminal_failure(&e))?;
        let mut device = &self.device;
        let answer = match device.write_all(question.as_bytes()) {
            Ok(()) => read_line(&mut device),
            Err(error) => Err(terminal_failure(&error)),
        };
        drop(quiet);
        // The person's own newline was not echoed.
        self.show("\n")?;
        answer
    }

    /// Asks for a short line that may be seen.
    ///
    /// # Errors
    /// Interrupted on ctrl-C and at the end of input; invalid if too long.
    pub fn ask_line(&mut self, question: &str) -> Outcome<String> {
        let quiet = Quiet::on(&self.device).map_err(|e| terminal_failure(&e))?;
        let mut device = &self.device;
        let answer = match device.write_all(question.as_bytes()) {
            Ok(()) => read_line(&mut Echoed(device)),
            Err(error) => Err(terminal_failure(&error)),
        };
        drop(quiet);
        self.show("\n")?;
        Ok(String::from_utf8_lossy(&answer?).into_owned())
    }
}

/// What is typed, shown as it is read. Backspace takes the last character away on the screen too.
struct Echoed<'a>(&'a File);

impl Read for Echoed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buffer)?;
        for byte in &buffer[..len] {
            match byte {
                0x08 | 0x7f => self.0.write_all(b"\x08 \x08")?,
                0..0x20 => {}
                seen => self.0.write_all(&[*seen])?,
            }
        }
        Ok(len)
    }
}

/// What came of asking whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Somebody said yes.
    Yes,
    /// Somebody said anything else.
    No,
    /// There is nobody to ask.
    Nobody,
}

/// Whether somebody is there to be asked: standard input and standard error are a terminal, and the answer is not for a
/// program.
pub fn is_attended(output: Output) -> bool {
    !output.json() && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks whether to go on, if somebody is there to be asked ([`is_attended`]).
///
/// # Errors
/// Interrupted on ctrl-C and at the end of input.
pub fn consent(output: Output, question: &str) -> Outcome<Consent> {
    if !is_attended(output) {
        return Ok(Consent::Nobody);
    }
    let Some(mut terminal) = Terminal::open() else { return Ok(Consent::Nobody) };
    let answer = terminal.ask_line(&format!("{question} [y/N] "))?;
    let yes = ["y", "yes"].contains(&answer.trim().to_lowercase().as_str());
    Ok(if yes { Consent::Yes } else { Consent::No })
}

fn terminal_failure(error: &io::Error) -> Failure {
    Failure::io_text(format!("cannot use the terminal: {error}"), error)
}

/// No echo, no line editing by the terminal, no signals from keys, until dropped.
struct Quiet<'a> {
    device: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn on(device: &'a File) -> io::Result<Self> {
        let before = tcgetattr(device)?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Flush: what was typed before the question was not meant for it.
        tcsetattr(device, OptionalActions::Flush, &quiet)?;
        Ok(Self { device, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // If this fails the terminal is gone.
        let _ = tcsetattr(self.device, OptionalActions::Now, &self.before);
    }
}

/// Reads one line of a terminal that edits nothing itself: backspace, ctrl-U and ctrl-W work as people expect.
fn read_line(input: &mut impl Read) -> Outcome<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_LEN_MAX));
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return Err(Failure::interrupted()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(terminal_failure(&error)),
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(line),
            0x03 | 0x1c => return Err(Failure::interrupted()),
            0x04 if line.is_empty() => return Err(Failure::interrupted()),
            0x04 => return Ok(line),
            0x08 | 0x7f => erase_character(&mut line),
            0x15 | 0x17 => line.clear(),
            other if line.len() < PASSPHRASE_LEN_MAX => line.push(other),
            _ => {
                return Err(Failure::invalid(format!(
                    "the passphrase is longer than {PASSPHRASE_LEN_MAX} bytes"
                )));
            }
        }
    }
}

/// Removes the last character, which may be several bytes of UTF-8.
fn erase_character(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Outcome<Vec<u8>> {
        read_line(&mut &keys[..]).map(|line| line.to_vec())
    }

    #[test]
    fn keys_edit_the_line() {
        assert_eq!(typed(b"abc\r").unwrap(), b"abc");
        assert_eq!(typed("aé\x7fb\n".as_bytes()).unwrap(), b"ab");
        assert_eq!(typed(b"wrong\x15right\n").unwrap(), b"right");
        assert_eq!(typed(b"\x7f\x7fx\n").unwrap(), b"x");
    }

    #[test]
    fn ctrl_c_and_the_end_of_input_interrupt() {
        for keys in [&b"abc\x03"[..], b"\x04", b"abc"] {
            assert_eq!(typed(keys).unwrap_err().reason().code(), 130);
        }
        assert_eq!(typed(&[b'x'; PASSPHRASE_LEN_MAX + 1]).unwrap_err().reason().code(), 2);
    }
}
