//! `larder completions`: what a shell needs to complete commands, flags and paths of the vault. The shell asks the program
//! itself, by an environment variable, so completions are always those of the program that is installed.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::Shells;
use larder_format::error::Kind;

use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::folders::{self, Folders};
use crate::output::Output;
use crate::suggest;

/// The variable by which a shell asks.
const ASKED_BY: &str = "LARDER_COMPLETE";

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Prints the script that the shell is to run.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&args.shell) else {
        return Err(Failure::invalid(format!("no such shell: {}", args.shell)));
    };
    let mut script = Vec::new();
    shell
        .write_registration(ASKED_BY, "larder", "larder", "larder", &mut script)
        .map_err(|e| Failure::new(Kind::Bug, format!("cannot write the script: {e}")))?;
    context.output.bytes(&script)
}

/// Answers a shell that asks, instead of running a command. Whether one did.
pub fn answer_shell(command: impl Fn() -> clap::Command) -> bool {
    let asked = std::env::var_os(ASKED_BY).filter(|shell| !shell.is_empty());
    if asked.is_none() {
        return false;
    }
    let here = std::env::current_dir().ok();
    let quoting = Quoting::of(asked.as_deref());
    let with_paths = || with_vault_paths(command(), quoting);
    // A shell has no use for a message; nothing is suggested then.
    let _ = clap_complete::CompleteEnv::with_factory(with_paths)
        .var(ASKED_BY)
        .try_complete(std::env::args_os(), here.as_deref());
    true
}

/// Says of every argument that is a path of the vault how it is completed.
fn with_vault_paths(command: clap::Command, quoting: Quoting) -> clap::Command {
    let verbs: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let goes_between = matches!(command.get_name(), "put" | "get");
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default().join(" ");
        if !argument.is_positional() {
            argument
        } else if goes_between {
            argument.add(ArgValueCompleter::new(move |typed: &OsStr| both(typed, quoting)))
        } else if names.contains("PATH") || names.contains("DESTINATION") {
            argument.add(ArgValueCompleter::new(move |typed: &OsStr| vault_paths(typed, quoting)))
        } else {
            argument
        }
    });
    let below = |command| with_vault_paths(command, quoting);
    verbs.into_iter().fold(command, |command, verb| command.mut_subcommand(verb, below))
}

/// Of the vault and of this machine: which one is meant depends on the place, which may still change.
fn both(typed: &OsStr, quoting: Quoting) -> Vec<CompletionCandidate> {
    let mut all = vault_paths(typed, quoting);
    all.extend(PathCompleter::any().complete(typed));
    all
}

/// Who quotes names that mean something to a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// The shell, as most do.
    Shell,
    /// We, for bash.
    Ours,
}

impl Quoting {
    fn of(shell: Option<&OsStr>) -> Self {
        if shell.is_some_and(|shell| shell == "bash") { Self::Ours } else { Self::Shell }
    }
}

fn vault_paths(typed: &OsStr, quoting: Quoting) -> Vec<CompletionCandidate> {
    let (Some(typed), Some(context)) = (typed.to_str(), context()) else { return Vec::new() };
    match quoting {
        Quoting::Shell => {
            suggest::vault_paths(&context, typed).into_iter().map(CompletionCandidate::new).collect()
        }
        Quoting::Ours => {
            let found = suggest::vault_paths(&context, &unquoted(typed));
            found.iter().map(|path| CompletionCandidate::new(quoted(path))).collect()
        }
    }
}

/// A path as bash has to be given it: it puts what it gets on the command line as it is, where a blank would end a word, and
/// `$(…)` in a name that somebody else chose would be run.
fn quoted(path: &str) -> String {
    let means_nothing = |c: char| c.is_alphanumeric() || !c.is_ascii() || "_./,+@%:=^-".contains(c);
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !means_nothing(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What was typed, and stands on the command line as [`quoted`] writes it.
fn unquoted(typed: &str) -> String {
    let mut out = String::with_capacity(typed.len());
    let mut escaped = false;
    for c in typed.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            out.push(c);
        }
    }
    out
}

/// The home of the command line that is being completed, as far as it is written.
fn context() -> Option<Context> {
    let words: Vec<_> = std::env::args_os().collect();
    let after = words.iter().position(|word| word == "--home").map(|place| place + 1);
    let env = |name: &str| std::env::var_os(name);
    let home = folders::home(after.and_then(|place| words.get(place)).map(PathBuf::from), &env);
    let folders = Folders::locate(home.as_deref(), &env).ok()?;
    Some(Context { folders, output: Output::new(true), working_folder: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_a_shell_is_quoted_and_read_back() {
        for (path, want) in [
            ("/photos/one.jpg", "/photos/one.jpg"),
            ("/a b/", "/a\\ b/"),
            ("/$(touch x);'\"`\\", "/\\$\\(touch\\ x\\)\\;\\'\\\"\\`\\\\"),
            ("/größe", "/größe"),
        ] {
            assert_eq!(quoted(path), want);
            assert_eq!(unquoted(want), path);
        }
    }
}
