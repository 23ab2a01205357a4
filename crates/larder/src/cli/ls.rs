//! `larder ls`: what is in a folder, whole or in pages. With `--json` one object a line, as they come.
//!
//! The agent's index of names answers; where it cannot, the node does, with the same outcome.

use std::io::{BufWriter, StdoutLock, Write};

use larder_client::files::{Listed, ListedKind, Listing};
use larder_client::path::VaultPath;
use larder_format::error::Kind;

use crate::cli::{Context, listing, report};
use crate::failure::{Failure, Outcome, clean};
use crate::names::{self, Range, Walked};
use crate::output::{Output, write_failure};
use crate::size;

/// Flags of `ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder or file in the vault [default: /]
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Mode, size, time and lifetime too
    #[arg(short, long)]
    long: bool,
    /// Everything below, with whole paths
    #[arg(short = 'R', long, visible_short_alias = 'r')]
    recursive: bool,
    /// Show at most this many, by name; `--after` with the last of them shows the next
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "recursive")]
    limit: Option<u64>,
    /// Show only what comes after this name
    #[arg(long, value_name = "NAME", conflicts_with = "recursive")]
    after: Option<String>,
}

/// Where lines go, and what they came to.
struct Shown<'a> {
    args: &'a Args,
    output: Output,
    out: BufWriter<StdoutLock<'static>>,
    total: Listing,
    last: Option<String>,
}

impl Shown<'_> {
    fn show(&mut self, listed: &Listed, now_ms: u64) -> Outcome {
        match listed.kind {
            ListedKind::File { size, .. } => {
                self.total.files += 1;
                self.total.bytes += size;
            }
            ListedKind::Symlink { .. } => self.total.files += 1,
            ListedKind::Folder { .. } => self.total.folders += 1,
        }
        self.last = listed.path.split().map(|(_, name)| name.to_owned());
        let (whole, output) = (self.args.recursive, self.output);
        let line = if output.json() {
            format!("{}\n", listing::object(listed))
        } else if self.args.long {
            listing::long_line(listed, whole, now_ms, output)
        } else {
            format!("{}\n", listing::name(listed, whole, output))
        };
        self.out.write_all(line.as_bytes()).map_err(|e| write_failure(&e))
    }

    fn end(mut self, more: bool, path: &VaultPath) -> Outcome {
        self.out.flush().map_err(|e| write_failure(&e))?;
        if self.args.long {
            let bytes = size::show(self.total.bytes);
            self.output.note(&format!(
                "{}, {}, {bytes}",
                size::count(self.total.files, "file"),
                size::count(self.total.folders, "folder")
            ));
        }
        if let (true, Some(last)) = (more, self.last) {
            self.output.note(&format!("There is more: --after {}", clean(&last)));
        }
        report::unreadable(self.total.damaged, &format!("things in {}", clean(&path.to_string())))
    }
}

/// Lists.
///
/// # Errors
/// Not found; damaged if something in the folder cannot be read (the rest is listed).
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path_or_here(args.path.as_deref())?;
    let out = BufWriter::new(std::io::stdout().lock());
    let mut shown = Shown { args, output: context.output, out, total: Listing::default(), last: None };
    let mut range = Range { after: args.after.clone(), most: args.limit };
    if !args.recursive {
        let walked =
            names::list(&context.folders, &path, range.clone(), |listed, now_ms| shown.show(listed, now_ms))?;
        match walked {
            Walked::End { .. } => return shown.end(false, &path),
            Walked::More => return shown.end(true, &path),
            Walked::AskNode { after } => {
                let so_far = shown.total.files + shown.total.folders;
                range = Range { after, most: range.most.map(|most| most - so_far) };
            }
        }
    }
    ask_node(context, &path, &range, shown)
}

fn ask_node(context: &Context, path: &VaultPath, range: &Range, mut shown: Shown<'_>) -> Outcome {
    let more = crate::session::with_vault(context, async |vault| {
        let now_ms = vault.now_ms();
        let (mut left, mut more) = (range.most.unwrap_or(u64::MAX), false);
        // The client's callback has the client's error type; what went wrong with stdout is kept aside.
        let mut stdout_failure: Option<Failure> = None;
        let listed = vault
            .list(path, shown.args.recursive, |listed| {
                let name = listed.path.split().map(|(_, name)| name);
                if range.after.as_deref().is_some_and(|after| name.is_some_and(|name| name <= after)) {
                    return Ok(());
                }
                if left == 0 {
                    more = true;
                    return Ok(());
                }
                left -= 1;
                shown.show(&listed, now_ms).map_err(|failure| {
                    stdout_failure = Some(failure);
                    larder_client::Failure::new(Kind::Closed, "standard output failed")
                })
            })
            .await;
        if let Some(failure) = stdout_failure {
            return Err(failure);
        }
        shown.total.damaged = listed?.damaged;
        Ok(more)
    })?;
    shown.end(more, path)
}
