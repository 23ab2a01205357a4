//! Where a passphrase comes from: a person at the terminal, a file, or an inherited descriptor. Never an argument or
//! the environment, which other processes can read, and never a log.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use larder_client::local::io_words;
use larder_format::rng::{Rng, SystemRng};
use zeroize::Zeroizing;

use crate::atomic_file::{self, Existing};
use crate::descriptor;
use crate::failure::{Failure, Outcome, shown};
use crate::terminal::{PASSPHRASE_LEN_MAX, Terminal};

/// How often a person may retype two passphrases that differ, before the command gives up.
const ATTEMPTS_MAX: usize = 3;

/// Below this length, in bytes, even a slow key derivation does not keep guessers out; a person is told so.
const SHORT_LEN: usize = 12;

/// Random bytes of a generated passphrase: 160 bits, beyond any guessing.
const GENERATED_LEN: usize = 20;

/// The flags of every command that may need a passphrase.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from a file (its first line)
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,
    /// Read the passphrase from an open descriptor (its first line)
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<RawFd>,
}

/// The flags of every command that takes a new passphrase beside what proves the right to set it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NewPassphraseArgs {
    /// Read the new passphrase from a file (its first line)
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_fd")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Read the new passphrase from an open descriptor (its first line)
    #[arg(long, value_name = "N")]
    pub new_passphrase_fd: Option<RawFd>,
}

impl NewPassphraseArgs {
    /// As [`PassphraseArgs::resolve`].
    ///
    /// # Errors
    /// As [`PassphraseArgs::resolve`].
    pub fn resolve(&self) -> Outcome<Passphrase> {
        let (passphrase_file, passphrase_fd) = (self.new_passphrase_file.clone(), self.new_passphrase_fd);
        PassphraseArgs { passphrase_file, passphrase_fd }.resolve()
    }
}

/// A passphrase that is at hand, or where to ask for one.
#[derive(Debug)]
pub enum Passphrase {
    /// Read from a file or descriptor.
    Given(Zeroizing<Vec<u8>>),
    /// Somebody can be asked.
    Ask(Terminal),
    /// Neither.
    Nowhere,
}

impl PassphraseArgs {
    /// Reads the file or descriptor now, or finds out whether somebody can be asked.
    ///
    /// # Errors
    /// If the file or descriptor cannot be read, is empty or too long.
    pub fn resolve(&self) -> Outcome<Passphrase> {
        if let Some(path) = &self.passphrase_file {
            let file = File::open(path).map_err(|e| Failure::io("read the passphrase file", path, &e))?;
            return first_line(file, &shown(path)).map(Passphrase::Given);
        }
        if let Some(number) = self.passphrase_fd {
            let name = format!("descriptor {number}");
            let file = descriptor::take(number).map_err(|e| {
                Failure::invalid(format!("cannot read the passphrase from {name}: {}", io_words(&e)))
                    .hint("--passphrase-fd N names a descriptor that is open, as in: larder unlock --passphrase-fd 3 3<FILE")
            })?;
            return first_line(file, &name).map(Passphrase::Given);
        }
        Ok(Terminal::open().map_or(Passphrase::Nowhere, Passphrase::Ask))
    }
}

impl Passphrase {
    /// The passphrase of an existing vault.
    ///
    /// # Errors
    /// Invalid, naming the flags, if there is neither a passphrase nor somebody to ask.
    pub fn existing(self) -> Outcome<Zeroizing<Vec<u8>>> {
        match self {
            Passphrase::Given(passphrase) => Ok(passphrase),
            Passphrase::Ask(mut terminal) => terminal.ask_secret("Passphrase: "),
            Passphrase::Nowhere => Err(nowhere()),
        }
    }

    /// A passphrase for a new vault, asked twice.
    ///
    /// # Errors
    /// Invalid, naming the flags, if there is neither a passphrase nor somebody to ask.
    pub fn new_one(self) -> Outcome<Zeroizing<Vec<u8>>> {
        self.chosen(
            "Choose a passphrase for your vault. It never leaves this machine; without it\n\
             (or the recovery code shown next) nobody can read what you store, you included.\n",
            "Passphrase: ",
            "--passphrase-file FILE or --passphrase-fd N",
        )
    }

    /// A passphrase in the place of another, asked twice.
    ///
    /// # Errors
    /// Invalid, naming the flags, if there is neither a passphrase nor somebody to ask.
    pub fn another(self) -> Outcome<Zeroizing<Vec<u8>>> {
        self.chosen("", "New passphrase: ", "--new-passphrase-file FILE or --new-passphrase-fd N")
    }

    /// A further passphrase beside those there are, asked twice.
    ///
    /// # Errors
    /// Invalid, naming the flags, if there is neither a passphrase nor somebody to ask.
    pub fn one_more(self) -> Outcome<Zeroizing<Vec<u8>>> {
        let flags = "--recipient TEXT|FILE, --passphrase-file FILE or --passphrase-fd N";
        self.chosen("", "The further passphrase: ", flags)
    }

    fn chosen(self, words: &str, question: &str, flags: &str) -> Outcome<Zeroizing<Vec<u8>>> {
        let mut terminal = match self {
            Passphrase::Given(passphrase) => return Ok(passphrase),
            Passphrase::Ask(terminal) => terminal,
            Passphrase::Nowhere => {
                return Err(Failure::invalid("a passphrase is needed, and there is no terminal to ask on")
                    .hint(flags));
            }
        };
        terminal.show(words)?;
        for _ in 0..ATTEMPTS_MAX {
            let first = terminal.ask_secret(question)?;
            if first.is_empty() {
                terminal.show("It cannot be empty.\n")?;
                continue;
            }
            if terminal.ask_secret("Again, to be sure: ")? == first {
                if first.len() < SHORT_LEN {
                    terminal
                        .show("That is short: whoever gets a copy of the vault's header may guess it.\n")?;
                }
                return Ok(first);
            }
            terminal.show("These two differ.\n")?;
        }
        Err(Failure::invalid("no passphrase was chosen; nothing was changed"))
    }
}

fn nowhere() -> Failure {
    Failure::invalid("a passphrase is needed, and there is no terminal to ask on")
        .hint("--passphrase-file FILE or --passphrase-fd N")
}

/// Makes a random passphrase in a file that only this user can read, unless the file is there already.
///
/// # Errors
/// What the file system says.
pub fn generate_file(path: &Path) -> Outcome {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = Zeroizing::new([0; GENERATED_LEN]);
    SystemRng.fill(bytes.as_mut());
    let mut text = Zeroizing::new(String::with_capacity(GENERATED_LEN * 2 + 1));
    for byte in bytes.iter() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text.push('\n');
    atomic_file::write(path, text.as_bytes(), Existing::Keep)
}

/// The first line, without its end. Only a newline ends it: spaces belong to a passphrase.
fn first_line(mut source: impl Read, name: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    // Room for the line end; allocated once, so that no copy of a grown buffer stays behind.
    let mut bytes = Zeroizing::new(vec![0; PASSPHRASE_LEN_MAX + 2]);
    let mut len = 0;
    let end = loop {
        if let Some(end) = bytes[..len].iter().position(|b| *b == b'\n') {
            break end;
        }
        if len == bytes.len() {
            return Err(Failure::invalid(format!(
                "the passphrase in {name} is longer than {PASSPHRASE_LEN_MAX} bytes"
            )));
        }
        match source.read(&mut bytes[len..]) {
            Ok(0) => break len,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::io_text(
                    format!("cannot read the passphrase from {name}: {error}"),
                    &error,
                ));
            }
        }
    };
    let end = if bytes[..end].ends_with(b"\r") { end - 1 } else { end };
    if end == 0 {
        return Err(Failure::invalid(format!("the passphrase in {name} is empty")));
    }
    if end > PASSPHRASE_LEN_MAX {
        return Err(Failure::invalid(format!(
            "the passphrase in {name} is longer than {PASSPHRASE_LEN_MAX} bytes"
        )));
    }
    Ok(Zeroizing::new(bytes[..end].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Outcome<Vec<u8>> {
        first_line(bytes, "x").map(|p| p.to_vec())
    }

    #[test]
    fn only_the_first_line_counts_and_spaces_stay() {
        assert_eq!(line(b" a b \nrest").unwrap(), b" a b ");
        assert_eq!(line(b"a\r\n").unwrap(), b"a");
        assert_eq!(line(b"a").unwrap(), b"a");
        assert_eq!(line(&[b'x'; PASSPHRASE_LEN_MAX]).unwrap().len(), PASSPHRASE_LEN_MAX);
        for bad in
            [&b""[..], b"\n", b"\r\nx", &[b'x'; PASSPHRASE_LEN_MAX + 1], &[b'x'; 2 * PASSPHRASE_LEN_MAX]]
        {
            assert_eq!(line(bad).unwrap_err().reason().code(), 2);
        }
    }

    #[test]
    fn a_generated_file_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        generate_file(&path).unwrap();
        let args = PassphraseArgs { passphrase_file: Some(path.clone()), passphrase_fd: None };
        let Passphrase::Given(first) = args.resolve().unwrap() else { panic!("not given") };
        generate_file(&path).unwrap();
        let Passphrase::Given(second) = args.resolve().unwrap() else { panic!("not given") };
        assert_eq!(first, second);
        assert_eq!(first.len(), GENERATED_LEN * 2);
    }
}
