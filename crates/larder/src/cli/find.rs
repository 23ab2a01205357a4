//! `larder find`: what is below a folder and passes all conditions, by path, one a line, whole or in pages.

use std::io::{BufWriter, StdoutLock, Write};
use std::time::Duration;

use larder_client::files::Listed;
use larder_client::index::Filter;
use larder_client::index::filter::{ATTRIBUTE_CONDITIONS_MAX, Ends, Kinds};
use larder_client::index::glob::Glob;
use larder_client::path::VaultPath;
use larder_format::clock::{Clock, SystemClock};

use crate::cli::{Context, listing, report};
use crate::failure::{Failure, Outcome, clean};
use crate::names::{self, Range, Walked};
use crate::output::{Output, write_failure};
use crate::{duration, moment, size};

/// Flags of `find`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder in the vault [default: /]
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Names like this: `*` any characters, `?` one, `[a-z]` one of these
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Only these kinds of things; may be given several times
    #[arg(long = "type", value_name = "KIND")]
    kinds: Vec<Type>,
    /// Files of at least (`+1M`), at most (`-1M`) or exactly (`1M`) this size; may be given twice
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = Bound::parse)]
    size: Vec<Bound>,
    /// Modified at or after: a date (`2026-01-31`), a time (`2026-01-31T12:00Z`) or so long ago (`2d`)
    #[arg(long, value_name = "WHEN")]
    newer: Option<String>,
    /// Modified at or before, in the same ways
    #[arg(long, value_name = "WHEN")]
    older: Option<String>,
    /// Modified at most (`-2d`) or at least (`+30d`) so long ago; may be given twice
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    mtime: Vec<String>,
    /// With this attribute, or with this value of it; may be given several times
    #[arg(long, value_name = "NAME[=VALUE]")]
    attr: Vec<String>,
    /// Content types like this, as `image/*`
    #[arg(long, value_name = "PATTERN")]
    content_type: Option<String>,
    /// Whose time is up never (`never`), some time (`some`), or within this time (`7d`)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Show at most this many, by path; `--after` with the last of them shows the next
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show only what comes after this path
    #[arg(long, value_name = "PATH")]
    after: Option<String>,
    /// End each path with a NUL instead of a newline
    #[arg(short = '0', long, conflicts_with = "json")]
    print0: bool,
}

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    #[value(alias = "f")]
    File,
    #[value(alias = "l")]
    Link,
    #[value(alias = "d", alias = "dir", alias = "directory")]
    Folder,
}

/// At least, at most or exactly so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Least(u64),
    Most(u64),
    Exactly(u64),
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        let parse = |text: &str| size::parse(text, 0, u64::MAX / 2);
        match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => parse(rest).map(Self::Least),
            (_, Some(rest)) => parse(rest).map(Self::Most),
            _ => parse(text).map(Self::Exactly),
        }
    }
}

/// Finds.
///
/// # Errors
/// Invalid for conditions that make no sense; not found; damaged if something below cannot be read (the rest is shown).
pub fn run(context: &Context, args: &Args) -> Outcome {
    let path = context.path_or_here(args.path.as_deref())?;
    let filter = filter(args)?;
    let after = args.after.as_deref().map(VaultPath::parse).transpose()?;
    let out = BufWriter::new(std::io::stdout().lock());
    let mut shown = Shown { out, output: context.output, print0: args.print0, last: None };
    let range = Range { after: after.map(|path| path.to_string()), most: args.limit };
    let mut count = 0;
    let walked = names::find(&context.folders, &path, &filter, range, |listed, _| {
        count += 1;
        shown.show(listed)
    })?;
    match walked {
        Walked::End { unreadable } => shown.end(false, unreadable, &path),
        Walked::More => shown.end(true, 0, &path),
        Walked::AskNode { after } => {
            let after = after.as_deref().map(VaultPath::parse).transpose()?;
            let most = args.limit.map(|most| most - count);
            ask_node(context, &path, &filter, after.as_ref(), most, shown)
        }
    }
}

/// Where lines go.
struct Shown {
    out: BufWriter<StdoutLock<'static>>,
    output: Output,
    print0: bool,
    last: Option<String>,
}

impl Shown {
    fn show(&mut self, listed: &Listed) -> Outcome {
        let path = listed.path.to_string();
        let line = match (self.output.json(), self.print0) {
            (true, _) => format!("{}\n", listing::object(listed)),
            (_, true) => format!("{path}\0"),
            _ => format!("{}\n", clean(&path)),
        };
        self.last = Some(path);
        self.out.write_all(line.as_bytes()).map_err(|e| write_failure(&e))
    }

    fn end(mut self, more: bool, unreadable: u64, path: &VaultPath) -> Outcome {
        self.out.flush().map_err(|e| write_failure(&e))?;
        if let (true, Some(last)) = (more, self.last) {
            self.output.note(&format!("There is more: --after {}", clean(&last)));
        }
        report::unreadable(unreadable, &format!("things below {}", clean(&path.to_string())))
    }
}

fn ask_node(
    context: &Context,
    path: &VaultPath,
    filter: &Filter,
    after: Option<&VaultPath>,
    most: Option<u64>,
    mut shown: Shown,
) -> Outcome {
    crate::session::with_vault(context, async |vault| {
        let mut found = Vec::new();
        let listing = vault
            .list(path, true, |listed| {
                let later = after.is_none_or(|after| listed.path > *after);
                if later && filter.matches_listed(&listed) {
                    found.push(listed);
                }
                Ok(())
            })
            .await?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        found.iter().take(most).try_for_each(|listed| shown.show(listed))?;
        shown.end(found.len() > most, listing.damaged, path)
    })
}

fn filter(args: &Args) -> Outcome<Filter> {
    let clock = SystemClock::new();
    let now_ms = clock.wall_ms();
    let glob = |text: &Option<String>| text.as_deref().map(Glob::parse).transpose();
    let mut filter =
        Filter { name: glob(&args.name)?, content_type: glob(&args.content_type)?, ..Filter::default() };
    if !args.kinds.is_empty() {
        let has = |kind| args.kinds.contains(&kind);
        filter.kinds = Kinds { files: has(Type::File), links: has(Type::Link), folders: has(Type::Folder) };
    }
    for bound in &args.size {
        let (least, most) = match *bound {
            Bound::Least(size) => (size, u64::MAX),
            Bound::Most(size) => (0, size),
            Bound::Exactly(size) => (size, size),
        };
        filter.size_min = Some(filter.size_min.unwrap_or(0).max(least));
        filter.size_max = Some(filter.size_max.unwrap_or(u64::MAX).min(most));
    }
    let when = |flag: &str, text: &str| {
        moment::parse_ns(text, now_ms)
            .map_err(|why| Failure::invalid(format!("--{flag} {}: {why}", clean(text))))
    };
    filter.modified_from_ns = args.newer.as_deref().map(|text| when("newer", text)).transpose()?;
    filter.modified_to_ns = args.older.as_deref().map(|text| when("older", text)).transpose()?;
    for text in &args.mtime {
        let ago = text.strip_prefix(['+', '-']).ok_or_else(|| {
            Failure::invalid(format!(
                "--mtime {}: begins with - (at most so long ago) or + (at least)",
                clean(text)
            ))
        })?;
        let at = when("mtime", ago)?;
        if text.starts_with('-') {
            filter.modified_from_ns = Some(filter.modified_from_ns.map_or(at, |other| other.max(at)));
        } else {
            filter.modified_to_ns = Some(filter.modified_to_ns.map_or(at, |other| other.min(at)));
        }
    }
    if args.attr.len() > ATTRIBUTE_CONDITIONS_MAX {
        return Err(Failure::invalid(format!("too many --attr max={ATTRIBUTE_CONDITIONS_MAX}")));
    }
    for text in &args.attr {
        let (name, value) =
            text.split_once('=').map_or((text.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
        if name.is_empty() {
            return Err(Failure::invalid("--attr: the name before = is missing"));
        }
        filter.attributes.push((name.to_owned(), value));
    }
    filter.ends = ends(args.expires.as_deref(), now_ms)?;
    Ok(filter)
}

fn ends(text: Option<&str>, now_ms: u64) -> Outcome<Ends> {
    Ok(match text {
        None => Ends::Whenever,
        Some("never") => Ends::Never,
        Some("some") => Ends::By(u64::MAX),
        Some(text) => {
            let within: Duration = duration::lifetime(text).map_err(|why| {
                Failure::invalid(format!("--expires {}: never, some, or a time: {why}", clean(text)))
            })?;
            Ends::By(now_ms.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)))
        }
    })
}
