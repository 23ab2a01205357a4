//! The command line: what can be asked, and the frame every verb runs in.
//!
//! One verb, one file; each has its `Args` and a `run`. Global flags, the folders and the output form arrive as
//! [`Context`]. A new verb is a file, a line in [`Verb`] and a line in [`dispatch`].

pub mod agent;
pub mod attr;
pub mod ca;
pub mod cat;
pub mod config;
pub mod content;
pub mod doctor;
pub mod down;
pub mod exit_codes;
pub mod get;
pub mod lifetime;
pub mod listing;
pub mod lock;
pub mod ls;
pub mod mkdir;
pub mod node;
pub mod proof;
pub mod purge;
pub mod put;
pub mod report;
pub mod restore;
pub mod rm;
pub mod selection;
pub mod setting_flags;
pub mod span;
pub mod stat;
pub mod status;
pub mod transfer;
pub mod trash;
pub mod undelete;
pub mod unlock;
pub mod up;
pub mod value;
pub mod vault;
pub mod versions;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::output::Output;

/// Private storage across machines you own, rent, or do not even trust.
///
/// Files stay, with versions, until you delete them; values live in memory until their time is up. What leaves this
/// machine is sealed first: the node that stores it is blind.
#[derive(Debug, Parser)]
#[command(name = "larder", version, disable_help_subcommand = false)]
#[command(after_help = "Start with: larder up\nExit codes: larder help exit-codes")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Keep everything under this folder instead of the XDG folders
    #[arg(long, global = true, value_name = "DIR", env = "LARDER_HOME", hide_env_values = true)]
    home: Option<PathBuf>,
    /// Answer in JSON: one document (or one a line) on stdout, errors as {"error": ...} on stderr
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make what is missing and start everything
    Up(up::Args),
    /// Stop everything; what is stored stays
    Down,
    /// What runs, what it holds, and whether the vault is open
    Status,
    /// Forget the opened vault's key
    Lock,
    /// Open the vault
    Unlock(unlock::Args),
    /// Store files and folders
    Put(put::Args),
    /// Fetch files and folders
    Get(get::Args),
    /// List a folder
    Ls(ls::Args),
    /// Show contents of files
    Cat(cat::Args),
    /// Delete files and folders
    Rm(rm::Args),
    /// All that is known of a file or folder
    Stat(stat::Args),
    /// Attributes and lifetime of a file or folder, shown or changed
    Attr(attr::Args),
    /// The versions of a file
    Versions(versions::Args),
    /// Make an older version current, or bring back a deleted file
    Restore(restore::Args),
    /// What was deleted and can be brought back, until when
    Trash(trash::Args),
    /// Bring back what was deleted
    Undelete(undelete::Args),
    /// Delete for good what was deleted, and older versions
    Purge(purge::Args),
    /// What proves to anyone who wrote a file
    Proof(proof::Args),
    /// Check a local file against a proof; needs no vault
    Check(proof::CheckArgs),
    /// Make folders
    Mkdir(mkdir::Args),
    /// Values that expire
    Value(value::Args),
    /// What is unsafe or broken, and what to do about it
    Doctor(doctor::Args),
    /// Settings, and where each comes from
    Config(config::Args),
    /// What opens the vault: passphrase, recovery code, people and devices
    Vault(vault::Args),
    /// The blind node itself: run it, give space back, verify what it holds
    Node(node::Args),
    /// The authority: certificates for other devices, people and programs
    Ca(ca::Args),
    /// Run the agent itself (what `up` starts)
    #[command(hide = true)]
    Agent(agent::Args),
    /// What each exit code means
    #[command(name = "exit-codes", hide = true, long_about = exit_codes::long_about())]
    ExitCodes,
}

/// What every verb gets.
#[derive(Debug)]
pub struct Context {
    /// Where things lie.
    pub folders: Folders,
    /// Where words go.
    pub output: Output,
}

/// Parses the arguments, runs the verb, says how it failed. Answers the exit code.
pub fn run() -> u8 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Needed before parsing, because a parse error has to come in the form asked for.
    let json = arguments.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json");
    let output = Output::new(json);
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => dispatch(cli, output),
        Err(error) => refused(&error, output),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            if failure.reason() != crate::exit::Reason::BrokenPipe {
                output.failure(&failure);
            }
            failure.reason().code()
        }
    }
}

fn dispatch(cli: Cli, output: Output) -> Outcome {
    let folders = Folders::locate(cli.global.home.as_deref(), &|name| std::env::var_os(name))?;
    let context = Context { folders, output };
    match cli.verb {
        Verb::Up(args) => up::run(&context, &args),
        Verb::Down => down::run(&context),
        Verb::Status => status::run(&context),
        Verb::Lock => lock::run(&context),
        Verb::Unlock(args) => unlock::run(&context, &args),
        Verb::Put(args) => put::run(&context, &args),
        Verb::Get(args) => get::run(&context, &args),
        Verb::Ls(args) => ls::run(&context, &args),
        Verb::Cat(args) => cat::run(&context, &args),
        Verb::Rm(args) => rm::run(&context, &args),
        Verb::Stat(args) => stat::run(&context, &args),
        Verb::Attr(args) => attr::run(&context, &args),
        Verb::Versions(args) => versions::run(&context, &args),
        Verb::Restore(args) => restore::run(&context, &args),
        Verb::Trash(args) => trash::run(&context, &args),
        Verb::Undelete(args) => undelete::run(&context, &args),
        Verb::Purge(args) => purge::run(&context, &args),
        Verb::Proof(args) => proof::run(&context, &args),
        Verb::Check(args) => proof::check(&context, &args),
        Verb::Mkdir(args) => mkdir::run(&context, &args),
        Verb::Value(args) => value::run(&context, args),
        Verb::Doctor(args) => doctor::run(&context, &args),
        Verb::Config(args) => config::run(&context, &args),
        Verb::Vault(args) => vault::run(&context, args),
        Verb::Node(args) => node::run(&context, args),
        Verb::Ca(args) => ca::run(&context, &args),
        Verb::Agent(args) => agent::run(args),
        Verb::ExitCodes => exit_codes::run(&context),
    }
}

/// Help and version are answers; everything else is a request that could not be understood.
fn refused(error: &clap::Error, output: Output) -> Outcome {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Output::new(false).text(&error.render().to_string())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !output.json() => {
            output.note(error.render().to_string().trim_end());
            Err(Failure::invalid("no command was given"))
        }
        _ => {
            let text = error.render().to_string();
            let text = text.split("\n\nFor more information").next().unwrap_or(&text);
            let text = text.trim_end().trim_start_matches("error: ");
            Err(Failure::invalid(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_page_has_every_command_and_every_flag() {
        fn look(command: &clap::Command, path: &str, page: &str, missing: &mut Vec<String>) {
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let flag = argument.get_long().map(|long| format!("`--{long}"));
                missing.extend(
                    flag.filter(|flag| !page.contains(flag.as_str())).map(|f| format!("{path} {f}`")),
                );
            }
            for verb in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
                let path = format!("{path} {}", verb.get_name());
                let group = verb.has_subcommands();
                if !group && !page.contains(&format!("`{path}")) {
                    missing.push(path.clone());
                }
                look(verb, &path, page, missing);
            }
        }
        let mut missing = Vec::new();
        look(&Cli::command(), "larder", include_str!("../../../../docs/reference/cli.md"), &mut missing);
        assert!(missing.is_empty(), "docs/reference/cli.md lacks: {missing:#?}");
    }

    #[test]
    fn global_flags_work_before_and_after_the_verb() {
        for arguments in [["larder", "--json", "status"], ["larder", "status", "--json"]] {
            assert!(Cli::try_parse_from(arguments).unwrap().global.json);
        }
    }
}
