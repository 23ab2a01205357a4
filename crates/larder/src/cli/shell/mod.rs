//! `larder shell`: commands typed one after the other, or read from a script. Every command is parsed and run by the same
//! code as on the command line; only a few, in [`own`], exist here alone. Paths in the vault begin at a working folder.
//!
//! A script (standard input, or `-c`) ends at the first command that fails, with its exit code. At the prompt the exit
//! code of a failed command is shown before the next one, and the shell itself ends with 0.

mod editor;
mod own;
mod table;
mod words;

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_client::path::VaultPath;

use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::output::Output;

/// Longest script, in bytes: it is read whole before its first command runs.
const SCRIPT_LEN_MAX: u64 = 1 << 20;

/// Flags of `shell`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run these commands, separated by ; and end
    #[arg(short = 'c', long = "command", value_name = "COMMANDS")]
    commands: Option<String>,
    /// Neither read nor write the history of typed lines
    #[arg(long)]
    no_history: bool,
}

/// What a shell knows from one command to the next.
struct Shell {
    home: Option<PathBuf>,
    context: Context,
    /// Exit code of the last command.
    last: u8,
    /// A command is running: whoever is told to stop waits for it.
    busy: Arc<AtomicBool>,
    /// Told to stop while a command ran.
    stop: Arc<AtomicBool>,
}

/// What comes after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Quit,
}

/// Runs a script, or asks for commands until there are no more.
///
/// # Errors
/// Only if the shell itself cannot run: what its commands say is their own. Ends the process with the exit code of a
/// script's failed command.
pub fn run(context: &Context, home: Option<&Path>, args: &Args) -> Outcome {
    let mut shell = Shell {
        home: home.map(Path::to_owned),
        context: Context {
            folders: Folders::locate(home, &|name| std::env::var_os(name))?,
            output: context.output,
            working_folder: Some(VaultPath::default()),
        },
        last: 0,
        busy: Arc::default(),
        stop: Arc::default(),
    };
    if let Some(commands) = &args.commands {
        shell.script(commands)?;
    } else if std::io::stdin().is_terminal() && !context.output.json() {
        editor::prompt(&mut shell, args.no_history)?;
    } else {
        shell.script(&script()?)?;
    }
    match shell.last {
        0 => Ok(()),
        // It was said when it happened.
        code => std::process::exit(code.into()),
    }
}

fn script() -> Outcome<String> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(SCRIPT_LEN_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|e| Failure::io_text(format!("cannot read standard input: {e}"), &e))?;
    if text.len() as u64 > SCRIPT_LEN_MAX {
        return Err(Failure::invalid(format!("the script is longer than {SCRIPT_LEN_MAX} bytes")));
    }
    String::from_utf8(text).map_err(|_| Failure::invalid("the script is not UTF-8"))
}

impl Shell {
    /// Runs commands until one fails.
    fn script(&mut self, text: &str) -> Outcome {
        for command in words::commands(text).map_err(Failure::invalid)? {
            if self.command(&command) == Next::Quit || self.last != 0 {
                break;
            }
        }
        Ok(())
    }

    /// Runs what was typed on one line, all of it unless something is interrupted.
    fn line(&mut self, text: &str) -> Next {
        let commands = match words::commands(text) {
            Ok(commands) => commands,
            Err(why) => {
                self.last = super::ended(Err(Failure::invalid(why)), self.context.output);
                return Next::Go;
            }
        };
        for command in commands {
            self.busy.store(true, Ordering::SeqCst);
            let next = self.command(&command);
            self.busy.store(false, Ordering::SeqCst);
            if next == Next::Quit || self.stop.load(Ordering::SeqCst) {
                return Next::Quit;
            }
            if self.last != 0 {
                break;
            }
        }
        Next::Go
    }

    /// Runs one command: one of the shell's own, or one of the program's.
    fn command(&mut self, words: &[String]) -> Next {
        let output = self.context.output;
        let words = own::spelled_out(words);
        let (result, next) = match own::run(self, &words) {
            Some(done) => match done {
                Ok(next) => (Ok(()), next),
                Err(failure) => (Err(failure), Next::Go),
            },
            None => match own::refused(&words) {
                Some(failure) => (Err(failure), Next::Go),
                None => {
                    self.last = self.program(&words);
                    return Next::Go;
                }
            },
        };
        self.last = super::ended(result, output);
        next
    }

    /// Runs a command of the program, as if typed with this home.
    fn program(&self, words: &[String]) -> u8 {
        let mut arguments: Vec<OsString> = vec!["larder".into()];
        if let Some(home) = &self.home {
            arguments.extend(["--home".into(), home.into()]);
        }
        if self.context.output.json() {
            arguments.push("--json".into());
        }
        arguments.extend(words.iter().map(Into::into));
        super::run_words(&arguments, self.context.working_folder.as_ref())
    }

    fn output(&self) -> Output {
        self.context.output
    }

    fn at(&self) -> String {
        self.context.working_folder.as_ref().map_or_else(String::new, ToString::to_string)
    }
}
