//! `larder cat`: contents of files to standard output. A reader that has had enough ends it quietly.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_client::files::Destination;
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::record::Version;

use crate::cli::Context;
use crate::cli::lifetime::parse_version;
use crate::cli::several::Several;
use crate::cli::span::Span;
use crate::cli::transfer::TransferArgs;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;

/// Flags of `cat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files in the vault
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// An older version
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    version: Option<Version>,
    /// Only these bytes: FIRST-END (END not included), FIRST-, or -LAST; like 10M-20M. Only the chunks that hold them
    /// are fetched
    #[arg(long, value_name = "RANGE", value_parser = Span::parse, allow_hyphen_values = true)]
    range: Option<Span>,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// Writes each file's content, verified piece by piece before it is shown.
///
/// # Errors
/// As [`Several`] says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    let transfers = args.transfer.transfers(context, None)?;
    crate::session::with_vault_as(context, transfers, async |vault| {
        let mut several = Several::new(context, paths.len());
        for path in &paths {
            several.one(print(context, vault, path, args.version, args.range).await)?;
        }
        several.end()
    })
}

/// Writes one file's content to standard output.
///
/// # Errors
/// As [`run`].
pub async fn print(
    context: &Context,
    vault: &Arc<Vault>,
    path: &VaultPath,
    version: Option<Version>,
    range: Option<Span>,
) -> Outcome {
    let gone = Arc::new(AtomicBool::new(false));
    let stdout = Stdout { gone: gone.clone() };
    let progress = Progress::beside_stdout("cat", context.output);
    let result = match range {
        None => vault.get_file(path, version, stdout.destination(), progress.meter()).await.map(|_| ()),
        Some(span) => {
            let file = vault.file(path, version).await?;
            let range = span.within(file.info.size)?;
            progress.meter().expect(1, range.end - range.start);
            let destination = Destination::Range { out: Box::new(stdout), range };
            vault.read_out(&file, destination, progress.meter()).await
        }
    };
    drop(progress);
    if gone.load(Ordering::Relaxed) {
        return Err(Failure::broken_pipe());
    }
    Ok(result?)
}

/// Standard output that remembers when its reader went away.
#[derive(Debug)]
pub struct Stdout {
    gone: Arc<AtomicBool>,
}

impl Stdout {
    fn noticing<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            self.gone.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = io::stdout().lock().write(bytes);
        self.noticing(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = io::stdout().lock().flush();
        self.noticing(result)
    }
}
