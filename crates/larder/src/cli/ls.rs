//! `larder ls`: what is in a folder. With `--json` one object a line, as they come.

use std::io::{BufWriter, Write};

use larder_format::error::Kind;

use crate::cli::{Context, listing, report};
use crate::failure::{Outcome, clean};
use crate::output::write_failure;
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
}

/// Lists.
///
/// # Errors
/// Not found; damaged if something in the folder cannot be read (the rest is listed).
pub fn run(context: &Context, args: &Args) -> Outcome {
    let output = context.output;
    let path = context.path_or_here(args.path.as_deref())?;
    crate::session::with_vault(context, async |vault| {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let now_ms = vault.now_ms();
        // The client's callback has the client's error type; what went wrong with stdout is kept aside.
        let mut stdout_error = None;
        let listed = vault
            .list(&path, args.recursive, |listed| {
                let line = if output.json() {
                    format!("{}\n", listing::object(&listed))
                } else if args.long {
                    listing::long_line(&listed, args.recursive, now_ms, output)
                } else {
                    format!("{}\n", listing::name(&listed, args.recursive, output))
                };
                out.write_all(line.as_bytes()).map_err(|error| {
                    stdout_error = Some(write_failure(&error));
                    larder_client::Failure::new(Kind::Closed, "standard output failed")
                })
            })
            .await;
        if let Some(failure) = stdout_error {
            return Err(failure);
        }
        let total = listed?;
        out.flush().map_err(|e| write_failure(&e))?;
        drop(out);
        if args.long {
            let bytes = size::show(total.bytes);
            output.note(&format!(
                "{}, {}, {bytes}",
                size::count(total.files, "file"),
                size::count(total.folders, "folder")
            ));
        }
        report::unreadable(total.damaged, &format!("things in {}", clean(&path.to_string())))
    })
}
