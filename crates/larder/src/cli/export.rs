//! `larder export`: everything to plain files, with an index, so that one can leave Larder at any time.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use larder_client::local::same::Compare;
use larder_client::tree::export::{ExportOptions, ExportReport, Exported};
use larder_format::error::Kind;
use larder_format::head::FileKind;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::listing::hex;
use crate::cli::report;
use crate::cli::selection::ExcludeArgs;
use crate::cli::transfer::TransferArgs;
use crate::failure::{Failure, Outcome, shown};
use crate::moment;
use crate::progress::Progress;
use crate::size;

/// The list of everything that is in an export, one JSON object a line.
const INDEX: &str = "index.jsonl";

/// Its mode.
const INDEX_MODE: u32 = 0o600;

/// How often it is begun again because somebody else's took its name in between.
const BEGIN_TRIES: u32 = 8;

/// Flags of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Local folder to export to: files/ gets what is there, versions/ and deleted/ what was, index.jsonl lists it all
    #[arg(value_name = "FOLDER")]
    to: PathBuf,
    /// Only this folder of the vault
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Older versions too, each as versions/PATH/VERSION
    #[arg(long)]
    versions: bool,
    /// What was deleted and is still kept, too, as deleted/PATH/VERSION
    #[arg(long)]
    deleted: bool,
    /// What was there at this moment, as far as it is still kept: 2026-11-21, "2026-11-21 09:30" (UTC), or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = moment::parse_ms, conflicts_with_all = ["versions", "deleted"])]
    at: Option<u64>,
    /// Files of an earlier export count as unchanged by their content, which is read, and not by length, time and mode
    #[arg(long)]
    checksum: bool,
    #[command(flatten)]
    exclude: ExcludeArgs,
    #[command(flatten)]
    transfer: TransferArgs,
}

/// Exports. What an earlier run brought and is unchanged is left alone; nothing is deleted.
///
/// # Errors
/// The kind of the first thing that is missing from the export, if there is any.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path_or_here(args.path.as_deref())?;
    let options = ExportOptions {
        versions: args.versions,
        deleted: args.deleted,
        at_ms: args.at,
        exclude: args.exclude.patterns()?,
        compare: if args.checksum { Compare::Content } else { Compare::Attributes },
    };
    if std::fs::canonicalize(&args.to).is_ok_and(|to| to == Path::new("/")) {
        let message = "/ is the top of this machine's own files here, and no place for an export";
        return Err(
            Failure::invalid(message).hint("larder export FOLDER; --path PATH names a folder of the vault")
        );
    }
    std::fs::create_dir_all(&args.to).map_err(|e| Failure::io("make", &args.to, &e))?;
    let transfers = args.transfer.transfers(context, None)?;
    crate::session::with_vault_as(context, transfers, async |vault| {
        let progress = Progress::begin("export", context.output);
        let mut index = Index::begin(&args.to)?;
        let done =
            vault.export(&path, &args.to, options, progress.meter(), |exported| index.add(exported)).await;
        let moved = progress.meter().read();
        drop(progress);
        let done = done?;
        index.end()?;
        context.output.document(&json!({
            "path": path.to_string(),
            "local": args.to.to_string_lossy(),
            "index": args.to.join(INDEX).to_string_lossy(),
            "files": done.files,
            "folders": done.folders,
            "versions": done.versions,
            "deleted": done.deleted,
            "bytes": done.bytes,
            "unchanged": done.unchanged,
            "excluded": done.excluded,
            "fetched": moved.bytes_fetched,
            "kept": moved.bytes_kept,
            "failed": report::failures(&done.failed),
        }))?;
        context.output.note(&summary(&args.to, &done));
        report::some_failed(context, &shown(&args.to), "are missing from the export", &done.failed)
    })
}

fn summary(to: &Path, done: &ExportReport) -> String {
    let mut line = format!(
        "{}: exported {}, {}",
        shown(to),
        size::count(done.files, "file"),
        size::count(done.folders, "folder")
    );
    for (count, what) in [(done.versions, "older version"), (done.deleted, "deleted file")] {
        if count > 0 {
            line.push_str(&format!(", {}", size::count(count, what)));
        }
    }
    line.push_str(&format!(", {}", size::show(done.bytes)));
    if done.unchanged > 0 {
        line.push_str(&format!("; {} were there already", done.unchanged));
    }
    if done.excluded > 0 {
        line.push_str(&format!("; {} left out", done.excluded));
    }
    line
}

/// The index being written: beside the one of an earlier run, whose place it takes at the end.
struct Index {
    out: BufWriter<File>,
    beside: PathBuf,
    path: PathBuf,
}

impl Index {
    /// Begins an index, for its owner's eyes: it names what lies in folders that nobody else can look into. It is locked
    /// until it ends: two exports to one folder would write over each other.
    fn begin(to: &Path) -> Outcome<Self> {
        let (path, beside) = (to.join(INDEX), to.join(format!(".{INDEX}.new")));
        let failed = |e: std::io::Error| Failure::io("write", &beside, &e);
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(INDEX_MODE).custom_flags(nofollow);
        for _ in 0..BEGIN_TRIES {
            let file = options.open(&beside).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let message = format!("another export to {} is under way", shown(to));
                    return Err(
                        Failure::new(Kind::Conflict, message).hint("wait for it, or name another folder")
                    );
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever had the lock may have given it its name meanwhile.
            let (ours, there) = (file.metadata().map_err(failed)?, std::fs::symlink_metadata(&beside));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                file.set_len(0)
                    .and_then(|()| file.set_permissions(Permissions::from_mode(INDEX_MODE)))
                    .map_err(failed)?;
                return Ok(Self { out: BufWriter::new(file), beside, path });
            }
        }
        Err(Failure::new(Kind::Retry, format!("others keep exporting to {}; try again", shown(to))))
    }

    fn add(&mut self, exported: &Exported) -> Result<(), larder_client::Failure> {
        let line = line(exported).to_string();
        writeln!(self.out, "{line}").map_err(|e| {
            let failure = Failure::io("write", &self.beside, &e);
            let kind = failure.kind().unwrap_or(Kind::Io);
            larder_client::Failure::new(kind, failure.message())
        })
    }

    fn end(mut self) -> Outcome {
        let failed = |e: std::io::Error| Failure::io("write", &self.beside, &e);
        self.out.flush().map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(&self.beside, &self.path).map_err(|e| Failure::io("write", &self.path, &e))
    }
}

fn line(exported: &Exported) -> Value {
    let kind = match exported.kind {
        None => "folder",
        Some(FileKind::File) => "file",
        Some(FileKind::Symlink) => "link",
    };
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    };
    let attributes: serde_json::Map<String, Value> =
        exported.attributes.custom.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    json!({
        "path": exported.path.to_string(),
        "local": exported.local.to_string_lossy(),
        "kind": kind,
        "version": exported.version.to_string(),
        "current": exported.current,
        "deleted": exported.deleted,
        "size": exported.size,
        "blake3": exported.kind.map(|_| hex(&exported.content_hash)),
        "mode": exported.attributes.mode,
        "mtime_ns": exported.attributes.mtime_ns,
        "written_ms": exported.version.0.ms(),
        "expires_ms": exported.expiry.ms(),
        "content_type": exported.attributes.content_type,
        "attributes": attributes,
    })
}
