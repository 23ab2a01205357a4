//! The command line: what can be asked, and the frame every verb runs in.
//!
//! One verb, one file; each has its `Args` and a `run`. Global flags, the folders and the output form arrive as
//! [`Context`]. A new verb is a file, a line in [`Verb`] and a line in [`dispatch`].

pub mod agent;
pub mod attr;
pub mod bench;
pub mod ca;
pub mod cat;
pub mod completions;
pub mod config;
pub mod content;
pub mod cp;
pub mod doctor;
pub mod down;
pub mod exit_codes;
pub mod export;
pub mod find;
pub mod fsck;
pub mod get;
pub mod given_back;
pub mod lifetime;
pub mod listing;
pub mod lock;
pub mod ls;
pub mod man;
pub mod mkdir;
pub mod mv;
pub mod namespace;
pub mod node;
pub mod proof;
pub mod purge;
pub mod put;
pub mod quota;
pub mod report;
pub mod restore;
pub mod retention;
pub mod rm;
pub mod selection;
pub mod setting_flags;
pub mod several;
pub mod shell;
pub mod span;
pub mod stat;
pub mod status;
pub mod token;
pub mod transfer;
pub mod trash;
pub mod undelete;
pub mod unlock;
pub mod up;
pub mod upkeep;
pub mod value;
pub mod vault;
pub mod verify;
pub mod versions;
pub mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use larder_client::path::VaultPath;

use crate::failure::{Failure, Outcome};
use crate::folders::{self, Folders};
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
    // Not as clap's own variable: that counts as a flag that was given, and shows it in every usage.
    /// Keep everything under this folder instead of the XDG folders [env: LARDER_HOME]
    #[arg(long, global = true, value_name = "DIR")]
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
    /// Everything to plain files, with an index
    Export(export::Args),
    /// List a folder
    Ls(ls::Args),
    /// Find files and folders by name, size, time, attributes
    Find(find::Args),
    /// What happens in the vault, as it happens
    Watch(watch::Args),
    /// Show contents of files
    Cat(cat::Args),
    /// Delete files and folders
    Rm(rm::Args),
    /// Give files and folders other names, or other folders to be in
    Mv(mv::Args),
    /// Copy files and folders inside the vault, without sending their content
    Cp(cp::Args),
    /// Check all names of the vault, and mend what interrupted commands left
    Fsck(fsck::Args),
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
    /// Rules of the vault: which older versions stay, trash time, lifetimes of new files
    Retention(retention::Args),
    /// What proves to anyone who wrote a file
    Proof(proof::Args),
    /// Check a local file against a proof; needs no vault
    Check(proof::CheckArgs),
    /// Make folders
    Mkdir(mkdir::Args),
    /// Read files back end to end, and say what is damaged
    Verify(verify::Args),
    /// How much is stored and may be; what could be deleted
    Quota(quota::Args),
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
    /// Namespaces: what raw doors serve, with settings of their own
    Namespace(namespace::Args),
    /// Tokens: what programs show at the raw doors
    Token(token::Args),
    /// The authority: certificates for other devices, people and programs
    Ca(ca::Args),
    /// Load on a server (Redis protocol, HTTP, memcached); measures, and verifies what it reads
    Bench(bench::Args),
    /// Type commands one after the other, with a working folder, history and completion
    Shell(shell::Args),
    /// What a shell needs to complete commands and paths of the vault
    Completions(completions::Args),
    /// Manual pages
    Man(man::Args),
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
    /// The folder that paths in the vault begin at, in `larder shell`; elsewhere they begin at the root.
    pub working_folder: Option<VaultPath>,
}

impl Context {
    /// Where something goes, or begins, when nothing is said: the working folder, else the root.
    pub fn here(&self) -> &'static str {
        if self.working_folder.is_some() { "./" } else { "/" }
    }

    /// A path as it was typed, or [`Context::here`].
    ///
    /// # Errors
    /// As [`Context::path`].
    pub fn path_or_here(&self, typed: Option<&str>) -> Outcome<VaultPath> {
        self.path(typed.unwrap_or(self.here()))
    }

    /// A path in the vault as it was typed. In a shell it begins at the working folder unless it begins with `/`, and
    /// `.` and `..` mean what they mean there; elsewhere it begins at the root.
    ///
    /// # Errors
    /// Invalid, with what is wrong about it.
    pub fn path(&self, typed: &str) -> Outcome<VaultPath> {
        let Some(at) = &self.working_folder else { return Ok(VaultPath::parse(typed)?) };
        let mut names: Vec<&str> =
            if typed.starts_with('/') { Vec::new() } else { at.names().iter().map(String::as_str).collect() };
        for name in typed.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        Ok(VaultPath::parse(&names.join("/"))?)
    }
}

/// Parses the arguments, runs the verb, says how it failed. Answers the exit code.
pub fn run() -> u8 {
    if completions::answer_shell(Cli::command) {
        return 0;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    run_words(&arguments, None)
}

/// Runs one command line, the program's name first. Answers the exit code.
fn run_words(arguments: &[OsString], working_folder: Option<&VaultPath>) -> u8 {
    // Needed before parsing, because a parse error has to come in the form asked for.
    let json = arguments.iter().skip(1).take_while(|a| *a != "--").any(|a| a == "--json");
    let output = Output::new(json);
    let result = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli, output, working_folder.cloned()),
        Err(error) => refused(&error, output),
    };
    ended(result, output)
}

/// Says how a command failed, if it did. Answers the exit code.
fn ended(result: Outcome, output: Output) -> u8 {
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

fn dispatch(cli: Cli, output: Output, working_folder: Option<VaultPath>) -> Outcome {
    let home = folders::home(cli.global.home, &|name| std::env::var_os(name));
    let folders = Folders::locate(home.as_deref(), &|name| std::env::var_os(name))?;
    let context = Context { folders, output, working_folder };
    match cli.verb {
        Verb::Up(args) => up::run(&context, &args),
        Verb::Down => down::run(&context),
        Verb::Status => status::run(&context),
        Verb::Lock => lock::run(&context),
        Verb::Unlock(args) => unlock::run(&context, &args),
        Verb::Put(args) => quota::offer::after(&context, put::run(&context, &args)),
        Verb::Get(args) => get::run(&context, &args),
        Verb::Export(args) => export::run(&context, &args),
        Verb::Ls(args) => ls::run(&context, &args),
        Verb::Find(args) => find::run(&context, &args),
        Verb::Watch(args) => watch::run(&context, &args),
        Verb::Cat(args) => cat::run(&context, &args),
        Verb::Rm(args) => rm::run(&context, &args),
        Verb::Mv(args) => mv::run(&context, &args),
        Verb::Cp(args) => cp::run(&context, &args),
        Verb::Fsck(args) => fsck::run(&context, &args),
        Verb::Stat(args) => stat::run(&context, &args),
        Verb::Attr(args) => attr::run(&context, &args),
        Verb::Versions(args) => versions::run(&context, &args),
        Verb::Restore(args) => quota::offer::after(&context, restore::run(&context, &args)),
        Verb::Trash(args) => trash::run(&context, &args),
        Verb::Undelete(args) => undelete::run(&context, &args),
        Verb::Purge(args) => purge::run(&context, &args),
        Verb::Retention(args) => retention::run(&context, &args),
        Verb::Proof(args) => proof::run(&context, &args),
        Verb::Check(args) => proof::check(&context, &args),
        Verb::Mkdir(args) => mkdir::run(&context, &args),
        Verb::Verify(args) => verify::run(&context, &args),
        Verb::Quota(args) => quota::run(&context, &args),
        Verb::Value(args) => value::run(&context, args),
        Verb::Doctor(args) => doctor::run(&context, &args),
        Verb::Config(args) => config::run(&context, &args),
        Verb::Vault(args) => vault::run(&context, args),
        Verb::Node(args) => node::run(&context, args),
        Verb::Namespace(args) => namespace::run(&context, &args),
        Verb::Token(args) => token::run(&context, &args),
        Verb::Ca(args) => ca::run(&context, &args),
        Verb::Bench(args) => bench::run(&context, &args),
        Verb::Shell(args) => shell::run(&context, home.as_deref(), &args),
        Verb::Completions(args) => completions::run(&context, &args),
        Verb::Man(args) => man::run(&context, &args, Cli::command()),
        Verb::Agent(args) => agent::run(&context, args),
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
