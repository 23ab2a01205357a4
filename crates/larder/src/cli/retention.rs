//! `larder retention`: the vault's rules for older versions, trash time and lifetimes of new files; shown, set, applied.
//! The rules lie in the vault, sealed, so every device follows them. What they promise: docs/reference/retention.md.

use std::time::Duration;

use larder_client::files::{TRASH_MS_DEFAULT, VersionsReport};
use larder_client::path::VaultPath;
use larder_format::error::Kind;
use larder_format::limits::TTL_MS_MAX;
use larder_format::retention::{Keep, KeepRule, LifetimeRule, RETENTION_RULES_MAX, Rule, TRASH_MS_MIN};
use serde_json::{Value, json};

use crate::cli::given_back::{Before, GivenBack};
use crate::cli::{Context, given_back, report};
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::progress::Progress;
use crate::size;
use crate::terminal::{self, Consent};

/// Flags of `retention`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// The rules, or what they come to for one path
    Show(ShowArgs),
    /// Set the rule of a folder and all below it; what is not said stays as it was
    Set(SetArgs),
    /// Delete the older versions that the rules do not keep
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// File or folder in the vault, which need not be there
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// Folder in the vault, which need not be there; / is the whole vault
    #[arg(value_name = "PATH")]
    path: String,
    #[command(flatten)]
    keep: KeepArgs,
    /// How long what is deleted can be brought back: a minute to 100 years, or default for what holds above
    #[arg(long, value_name = "TIME", value_parser = trash_time)]
    trash: Option<Setting<u64>>,
    /// How long new files live, never for no end, or default for what holds above
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    ttl: Option<Setting<LifetimeRule>>,
    /// Take the folder's whole rule away
    #[arg(long, conflicts_with_all = ["trash", "ttl", "Keep"])]
    clear: bool,
    /// Also in the place of rules that cannot be read: all of them are lost
    #[arg(long)]
    force: bool,
}

/// Which older versions stay: those that any of these keeps.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[group(id = "Keep", multiple = true)]
struct KeepArgs {
    /// Keep all older versions
    #[arg(long, conflicts_with_all = ["keep_default", "last", "within", "daily", "weekly", "monthly", "yearly"])]
    keep_all: bool,
    /// Keep what holds above
    #[arg(long, conflicts_with_all = ["last", "within", "daily", "weekly", "monthly", "yearly"])]
    keep_default: bool,
    /// Keep the newest N older versions
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// Keep all that were replaced less than this ago
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime)]
    within: Option<Duration>,
    /// Keep the last version of each day, for N days that have any
    #[arg(long, value_name = "N")]
    daily: Option<u32>,
    /// The same by weeks
    #[arg(long, value_name = "N")]
    weekly: Option<u32>,
    /// The same by months
    #[arg(long, value_name = "N")]
    monthly: Option<u32>,
    /// The same by years
    #[arg(long, value_name = "N")]
    yearly: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// File or folder in the vault [default: /]
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Say what would go, and how much it is
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask first; needed without a terminal
    #[arg(short = 'y', long, visible_short_alias = 'f')]
    yes: bool,
}

/// Something to set, or to leave to the folder above.
#[derive(Debug, Clone, Copy)]
enum Setting<T> {
    Default,
    To(T),
}

impl<T> Setting<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Default => None,
            Self::To(value) => Some(value),
        }
    }
}

fn trash_time(text: &str) -> Result<Setting<u64>, String> {
    if text == "default" {
        return Ok(Setting::Default);
    }
    let (min, max) = (Duration::from_millis(TRASH_MS_MIN), Duration::from_millis(TTL_MS_MAX));
    duration::parse(text, min, max).map(|time| Setting::To(millis(time)))
}

fn lifetime(text: &str) -> Result<Setting<LifetimeRule>, String> {
    match text {
        "default" => Ok(Setting::Default),
        "never" => Ok(Setting::To(LifetimeRule::Never)),
        _ => duration::lifetime(text).map(|time| Setting::To(LifetimeRule::Ttl(millis(time)))),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl KeepArgs {
    /// `None`: nothing was said of it.
    fn setting(self) -> Option<Setting<KeepRule>> {
        let Self { keep_all, keep_default, last, within, daily, weekly, monthly, yearly } = self;
        if keep_all {
            return Some(Setting::To(KeepRule::All));
        }
        if keep_default {
            return Some(Setting::Default);
        }
        if within.is_none() && [last, daily, weekly, monthly, yearly].iter().all(Option::is_none) {
            return None;
        }
        Some(Setting::To(KeepRule::Some(Keep {
            last: last.unwrap_or(0),
            within_ms: within.map_or(0, millis),
            daily: daily.unwrap_or(0),
            weekly: weekly.unwrap_or(0),
            monthly: monthly.unwrap_or(0),
            yearly: yearly.unwrap_or(0),
        })))
    }
}

/// Runs a verb.
///
/// # Errors
/// As the verb says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.verb {
        Verb::Show(args) => show(context, args),
        Verb::Set(args) => set(context, args),
        Verb::Apply(args) => apply(context, args),
    }
}

fn show(context: &Context, args: &ShowArgs) -> Outcome {
    let path = args.path.as_deref().map(|typed| context.path(typed)).transpose()?;
    crate::session::with_vault(context, async |vault| {
        let rules = vault.retention().await?;
        if let Some(path) = path {
            let path = path.to_string();
            let rule = Rule {
                folder: path.clone(),
                keep: Some(rules.keep(&path).map_or(KeepRule::All, KeepRule::Some)),
                trash_ms: Some(rules.trash_ms(&path, false, TRASH_MS_DEFAULT)),
                lifetime: Some(rules.ttl_ms(&path).map_or(LifetimeRule::Never, LifetimeRule::Ttl)),
            };
            context.output.document(&object(&rule))?;
            return context.output.text(&text(&rule));
        }
        for rule in rules.all() {
            context.output.document(&object(rule))?;
            context.output.text(&text(rule))?;
        }
        if rules.of("/").is_none() {
            let trash = duration::show(Duration::from_millis(TRASH_MS_DEFAULT));
            context.output.note(&format!(
                "where nothing is set: all versions stay, what is deleted for {trash}, files have no end"
            ));
        }
        Ok(())
    })
}

fn set(context: &Context, args: &SetArgs) -> Outcome {
    let path = context.path(&args.path)?.to_string();
    let keep = args.keep.setting();
    if keep.is_none() && args.trash.is_none() && args.ttl.is_none() && !args.clear {
        return Err(Failure::invalid("nothing to set was named").hint("larder retention set --help"));
    }
    crate::session::with_vault(context, async |vault| {
        let rules = vault
            .change_retention(args.force, |rules| {
                let mut rule = rules.of(&path).cloned().unwrap_or_default();
                rule.folder.clone_from(&path);
                if args.clear {
                    rule = Rule { folder: path.clone(), ..Rule::default() };
                }
                rule.keep = keep.map_or(rule.keep, Setting::value);
                rule.trash_ms = args.trash.map_or(rule.trash_ms, Setting::value);
                rule.lifetime = args.ttl.map_or(rule.lifetime, Setting::value);
                if rules.set(rule) {
                    return Ok(());
                }
                let message = format!("there are {RETENTION_RULES_MAX} rules already: take one away first");
                Err(larder_client::Failure::new(Kind::Full, message))
            })
            .await?;
        let rule = rules.of(&path).cloned().unwrap_or(Rule { folder: path.clone(), ..Rule::default() });
        context.output.document(&object(&rule))?;
        context.output.text(&text(&rule))?;
        if matches!(rule.keep, Some(KeepRule::Some(_))) {
            context.output.note(
                "older versions go by it when a file is written again; for all at once: larder retention apply",
            );
        }
        Ok(())
    })
}

fn apply(context: &Context, args: &ApplyArgs) -> Outcome {
    let path = context.path_or_here(args.path.as_deref())?;
    crate::session::with_vault(context, async |vault| {
        let rules = vault.retention().await?.clone();
        let mut listed = Vec::new();
        let keep = |path: &VaultPath| rules.keep(&path.to_string());
        let note = |version: &larder_client::files::Superfluous| {
            listed.push(version.listed());
            Ok(())
        };
        let planned = vault.purge_versions(&path, keep, true, note).await?;
        let words = format!(
            "{} of {}, {}",
            size::count(planned.versions, "older version"),
            size::count(planned.files, "file"),
            size::show(planned.bytes)
        );
        let kept = size::count(planned.kept, "older version");
        if args.dry_run || planned.versions == 0 {
            context.output.document(&applied(&planned, args.dry_run, None))?;
            let would = if planned.versions == 0 {
                "nothing to delete".to_owned()
            } else {
                format!("would delete {words}")
            };
            context.output.note(&format!("{would}; {kept} that a rule limits stay"));
            return report::unreadable(planned.damaged, "records");
        }
        if !args.yes {
            let question = format!("Delete {words} for good? {kept} stay.");
            match terminal::consent(context.output, &question)? {
                Consent::Yes => {}
                Consent::No => {
                    context.output.note("nothing was deleted");
                    return Ok(());
                }
                Consent::Nobody => {
                    return Err(Failure::invalid(format!("not deleted: {words}"))
                        .hint("--yes does it without asking, --dry-run says what it is"));
                }
            }
        }
        let before = Before::look(vault.remote()).await?;
        let progress = Progress::begin("deleting", context.output);
        progress.meter().expect(planned.versions, planned.bytes);
        // What was counted and asked about, and nothing that came to be superfluous since.
        let gone = vault.purge_listed(&listed, |version| {
            progress.meter().advance(version.size());
            progress.meter().file_done();
        });
        let gone = gone.await?;
        let done = VersionsReport { versions: gone.versions, bytes: gone.bytes, ..planned };
        drop(progress);
        let freed = before.give_back(context, vault.remote()).await?;
        context.output.document(&applied(&done, false, Some(freed)))?;
        let left = match planned.versions - gone.versions {
            0 => String::new(),
            left => format!(" ({left} of them changed meanwhile and stay)"),
        };
        context.output.note(&format!("deleted {words}{left}; {kept} stay; {}", given_back::words(freed)));
        report::unreadable(done.damaged, "records")
    })
}

fn applied(report: &VersionsReport, dry_run: bool, freed: Option<Option<GivenBack>>) -> Value {
    let mut document = json!({
        "dry_run": dry_run,
        "files": report.files,
        "versions": report.versions,
        "bytes": report.bytes,
        "versions_kept": report.kept,
    });
    if let (Some(freed), Some(fields)) = (freed, document.as_object_mut()) {
        given_back::add_fields(fields, freed);
    }
    document
}

fn object(rule: &Rule) -> Value {
    let keep = match rule.keep {
        None => Value::Null,
        Some(KeepRule::All) => json!("all"),
        Some(KeepRule::Some(k)) => json!({
            "last": k.last, "within_ms": k.within_ms,
            "daily": k.daily, "weekly": k.weekly, "monthly": k.monthly, "yearly": k.yearly,
        }),
    };
    let ttl = match rule.lifetime {
        None => Value::Null,
        Some(LifetimeRule::Never) => json!("never"),
        Some(LifetimeRule::Ttl(ms)) => json!(ms),
    };
    json!({ "path": rule.folder, "keep": keep, "trash_ms": rule.trash_ms, "ttl_ms": ttl })
}

fn text(rule: &Rule) -> String {
    let time = |ms: u64| duration::show(Duration::from_millis(ms));
    let above = |default: &str| {
        if rule.folder == "/" { format!("{default} (default)") } else { "as above".to_owned() }
    };
    let keep = match rule.keep {
        None => above("all"),
        Some(KeepRule::All) => "all".to_owned(),
        Some(KeepRule::Some(keep)) => keep_words(&keep),
    };
    let lifetime = match rule.lifetime {
        None => above("no end"),
        Some(LifetimeRule::Never) => "no end".to_owned(),
        Some(LifetimeRule::Ttl(ms)) => time(ms),
    };
    let trash = rule.trash_ms.map_or_else(|| above(&time(TRASH_MS_DEFAULT)), time);
    let folder = clean(&rule.folder);
    format!("{folder}\n  older versions  {keep}\n  trash time      {trash}\n  new files live  {lifetime}\n")
}

fn keep_words(keep: &Keep) -> String {
    let mut words = Vec::new();
    if keep.last > 0 {
        words.push(format!("the last {}", keep.last));
    }
    if keep.within_ms > 0 {
        words.push(format!("all replaced within {}", duration::show(Duration::from_millis(keep.within_ms))));
    }
    for (count, period) in
        [(keep.daily, "day"), (keep.weekly, "week"), (keep.monthly, "month"), (keep.yearly, "year")]
    {
        if count > 0 {
            words.push(format!("one a {period} for {}", size::count(count.into(), period)));
        }
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
