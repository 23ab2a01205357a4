//! `larder completions`: what a shell needs to complete commands, flags and paths of the vault. The shell asks the program
//! itself, by an environment variable, so completions are always those of the program that is installed.

use std::ffi::OsStr;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::Shells;
use larder_format::error::Kind;

use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
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
    let asked = std::env::var_os(ASKED_BY).is_some_and(|shell| !shell.is_empty());
    if !asked {
        return false;
    }
    let here = std::env::current_dir().ok();
    let with_paths = || with_vault_paths(command());
    // A shell has no use for a message; nothing is suggested then.
    let _ = clap_complete::CompleteEnv::with_factory(with_paths)
        .var(ASKED_BY)
        .try_complete(std::env::args_os(), here.as_deref());
    true
}

/// Says of every argument that is a path of the vault how it is completed.
fn with_vault_paths(command: clap::Command) -> clap::Command {
    let verbs: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let goes_between = matches!(command.get_name(), "put" | "get");
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default().join(" ");
        if !argument.is_positional() {
            argument
        } else if goes_between {
            argument.add(ArgValueCompleter::new(both))
        } else if names.contains("PATH") || names.contains("DESTINATION") {
            argument.add(ArgValueCompleter::new(vault_paths))
        } else {
            argument
        }
    });
    verbs.into_iter().fold(command, |command, verb| command.mut_subcommand(verb, with_vault_paths))
}

/// Of the vault and of this machine: which one is meant depends on the place, which may still change.
fn both(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = vault_paths(typed);
    all.extend(PathCompleter::any().complete(typed));
    all
}

fn vault_paths(typed: &OsStr) -> Vec<CompletionCandidate> {
    let (Some(typed), Some(context)) = (typed.to_str(), context()) else { return Vec::new() };
    suggest::vault_paths(&context, typed).into_iter().map(CompletionCandidate::new).collect()
}

/// The home of the command line that is being completed, as far as it is written.
fn context() -> Option<Context> {
    let words: Vec<_> = std::env::args_os().collect();
    let after = words.iter().position(|word| word == "--home").map(|place| place + 1);
    let home = after.and_then(|place| words.get(place)).cloned().or_else(|| std::env::var_os("LARDER_HOME"));
    let home = home.map(std::path::PathBuf::from);
    let folders = Folders::locate(home.as_deref(), &|name| std::env::var_os(name)).ok()?;
    Some(Context { folders, output: Output::new(true), working_folder: None })
}
