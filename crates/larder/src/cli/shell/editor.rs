//! The prompt: editing, history and completion. The history lies in the state folder, for nobody else to read; lines that
//! write values, and lines that begin with a blank, are not kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::CommandFactory;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Editor, Helper};

use super::{Next, Shell, own, words};
use crate::cli::{Cli, Context};
use crate::exit::Reason;
use crate::failure::{Failure, Outcome};
use crate::folders::Folders;
use crate::suggest;

/// Lines kept in the history.
const HISTORY_LINES_MAX: usize = 1000;

/// Exit code of a shell that was told to stop.
const STOPPED: i32 = 130;

impl Folders {
    /// Lines typed in the shell.
    pub fn shell_history_file(&self) -> PathBuf {
        self.state().join("shell-history")
    }
}

/// Asks for lines and runs them until the end of input or `quit`.
///
/// # Errors
/// If the terminal cannot be used.
pub fn prompt(shell: &mut Shell, no_history: bool) -> Outcome {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .auto_add_history(false);
    let config = config.max_history_size(HISTORY_LINES_MAX).map_err(failure)?.build();
    let mut editor: Editor<Completion, FileHistory> = Editor::with_config(config).map_err(failure)?;
    editor.set_helper(Some(Completion::of(shell)?));
    let history = (!no_history).then(|| shell.context.folders.shell_history_file());
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    end_when_told(shell);
    shell.output().note("larder shell: help lists commands, quit or ctrl-D ends");
    loop {
        let at = own::prompt_path(shell.context.working_folder.as_ref());
        let code = if shell.last == 0 { String::new() } else { format!(" [{}]", shell.last) };
        match editor.readline(&format!("larder:{at}{code}> ")) {
            Ok(line) => {
                if is_kept(&line)
                    && let Some(file) = &history
                {
                    // A history that cannot be written is not worth an error after every line.
                    let _ = editor.add_history_entry(line.as_str());
                    let _ = editor.append_history(file);
                }
                if shell.line(&line) == Next::Quit {
                    shell.last =
                        if shell.stop.load(Ordering::SeqCst) { Reason::Interrupted.code() } else { 0 };
                    return Ok(());
                }
                if let Some(helper) = editor.helper_mut() {
                    helper.context.working_folder.clone_from(&shell.context.working_folder);
                }
            }
            Err(ReadlineError::Interrupted) => shell.last = Reason::Interrupted.code(),
            Err(ReadlineError::Eof) => {
                shell.last = 0;
                return Ok(());
            }
            Err(ReadlineError::Signal(_)) => {}
            Err(error) => return Err(failure(error)),
        }
    }
}

/// Whether a line goes into the history: values may be secrets.
fn is_kept(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with(' ') && !line.contains("value set")
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err, which gives the error away")]
fn failure(error: ReadlineError) -> Failure {
    let error = std::io::Error::other(error.to_string());
    Failure::io_text(format!("cannot use the terminal: {error}"), &error)
}

/// Once a command has run, the process no longer ends by itself when it is told to (SIGTERM): this ends it, at the prompt
/// at once and with the terminal as it was, otherwise after the command.
fn end_when_told(shell: &Shell) {
    let before = tcgetattr(std::io::stdin()).ok();
    let (busy, stop) = (shell.busy.clone(), shell.stop.clone());
    std::thread::spawn(move || wait_for_the_end(before.as_ref(), &busy, &stop));
}

fn wait_for_the_end(before: Option<&Termios>, busy: &Arc<AtomicBool>, stop: &Arc<AtomicBool>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut told) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return;
        };
        while told.recv().await.is_some() {
            stop.store(true, Ordering::SeqCst);
            if !busy.load(Ordering::SeqCst) {
                if let Some(before) = before {
                    let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
                }
                std::process::exit(STOPPED);
            }
        }
    });
}

/// Completes commands, flags and paths.
struct Completion {
    context: Context,
    command: clap::Command,
    files: FilenameCompleter,
}

impl Completion {
    fn of(shell: &Shell) -> Outcome<Self> {
        let mut command = Cli::command();
        command.build();
        let folders = Folders::locate(shell.home.as_deref(), &|name| std::env::var_os(name))?;
        let (output, working_folder) =
            (crate::output::Output::new(true), shell.context.working_folder.clone());
        Ok(Self {
            context: Context { folders, output, working_folder },
            command,
            files: FilenameCompleter::new(),
        })
    }

    /// What the word at the end may become, written so that it can be typed.
    fn candidates(&self, words: &[String]) -> Vec<String> {
        let (typed, before) = words.split_last().map_or(("", words), |(typed, rest)| (typed.as_str(), rest));
        if before.is_empty() {
            return begin_with(typed, verbs(&self.command).chain(own_verbs()));
        }
        let spelled = own::spelled_out(before);
        let mut command = &self.command;
        for word in &spelled {
            command = command.find_subcommand(word).unwrap_or(command);
        }
        if typed.starts_with('-') {
            let flags = command.get_arguments().filter(|a| !a.is_hide_set()).filter_map(|a| a.get_long());
            return begin_with(typed, flags.map(|flag| format!("--{flag}")));
        }
        if command.has_subcommands() && command.get_name() != "larder" {
            return begin_with(typed, verbs(command));
        }
        let place = before.len();
        if own::is_local(before, place) && !own::is_either(before, place) {
            return Vec::new();
        }
        suggest::vault_paths(&self.context, typed).iter().map(|path| words::escaped(path)).collect()
    }
}

fn verbs(command: &clap::Command) -> impl Iterator<Item = String> {
    command.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned())
}

/// The first word of each of the shell's own commands.
fn own_verbs() -> impl Iterator<Item = String> {
    own::OWN.iter().flat_map(|(usage, _)| {
        let names = usage.split([' ', ',']).filter(|word| !word.is_empty());
        names.filter(|word| word.bytes().all(|b| b.is_ascii_lowercase())).map(str::to_owned)
    })
}

fn begin_with(typed: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let mut some: Vec<String> = all.filter(|one| one.starts_with(typed)).collect();
    some.sort_unstable();
    some.dedup();
    some
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        ctx: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (words, start) = words::before_cursor(&line[..pos]);
        let mut pairs: Vec<Pair> = self
            .candidates(&words)
            .into_iter()
            .map(|word| {
                // What may go on gets no blank after it.
                let end = if word.ends_with('/') { "" } else { " " };
                Pair { display: word.clone(), replacement: format!("{word}{end}") }
            })
            .collect();
        if words.len() > 1 && own::is_local(&words, words.len() - 1) {
            let (local_start, local) = self.files.complete(line, pos, ctx)?;
            if pairs.is_empty() {
                return Ok((local_start, local));
            }
            if local_start == start {
                pairs.extend(local);
            }
        }
        Ok((start, pairs))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lines_after_a_blank_are_not_kept() {
        assert!(is_kept("ls /a"));
        for line in ["", "  ", " ls", "value set token hunter2", "pwd; value set a b"] {
            assert!(!is_kept(line), "{line:?}");
        }
    }

    #[test]
    fn the_shells_own_commands_are_known() {
        let all: Vec<String> = own_verbs().collect();
        for verb in ["cd", "metrics", "peers", "discover", "send", "fetch", "help", "quit", "exit", "store"] {
            assert!(all.iter().any(|v| v == verb), "{verb}: {all:?}");
        }
    }
}
