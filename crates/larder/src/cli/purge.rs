//! `larder purge`: deletes for good what was deleted and could be brought back, and older versions of what is there.
//! What goes is worked out first and said; it asks, or wants `--yes`; and at the end the node gives the space back.

use std::sync::Arc;
use std::time::Duration;

use larder_client::files::{Gone, ListedVersion, Superfluous, Trashed, VersionsReport};
use larder_client::path::VaultPath;
use larder_client::vault::Vault;
use larder_format::error::Kind;
use larder_format::retention::Keep;
use serde_json::{Value, json};

use crate::cli::given_back::{Before, GivenBack};
use crate::cli::several::Several;
use crate::cli::{Context, given_back, report, trash};
use crate::duration;
use crate::failure::{Failure, Outcome, clean};
use crate::moment;
use crate::progress::Progress;
use crate::size;
use crate::terminal::{self, Consent};

/// Flags of `purge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in the vault, or what was deleted; everything below counts [default: /]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// What was deleted and can be brought back (so without --versions, too)
    #[arg(long)]
    trash: bool,
    /// Older versions of files that are there
    #[arg(long)]
    versions: bool,
    /// Only what was deleted or replaced longer ago than this
    #[arg(long, value_name = "TIME", value_parser = duration::lifetime, allow_hyphen_values = true)]
    older_than: Option<Duration>,
    /// Keep this many older versions of each file, the newest
    #[arg(long, value_name = "N", requires = "versions", default_value_t = 0)]
    keep: u32,
    /// Say what would go, and how much it is
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask first; needed without a terminal
    #[arg(short = 'y', long, visible_short_alias = 'f')]
    yes: bool,
}

/// What goes.
#[derive(Default)]
struct Plan {
    trashed: Vec<Trashed>,
    versions: Vec<ListedVersion>,
    /// The same with their paths, where they are to be shown.
    shown: Vec<Superfluous>,
    report: VersionsReport,
    damaged: u64,
}

impl Plan {
    fn bytes(&self) -> u64 {
        self.trashed.iter().map(|t| t.all_bytes).sum::<u64>() + self.report.bytes
    }

    fn is_empty(&self) -> bool {
        self.trashed.is_empty() && self.report.versions == 0
    }

    /// In words: `3 deleted things and 12 older versions, 4.0 MiB`.
    fn words(&self) -> String {
        let things = size::count(self.trashed.len() as u64, "deleted thing");
        let versions = size::count(self.report.versions, "older version");
        let what = match (self.trashed.len(), self.report.versions) {
            (_, 0) => things,
            (0, _) => versions,
            _ => format!("{things} and {versions}"),
        };
        format!("{what}, {}", size::show(self.bytes()))
    }
}

/// Works out what goes, asks, deletes, collects.
///
/// # Errors
/// Invalid without a terminal and without `--yes`; not found; what the node says.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut paths = args.paths.iter().map(|p| context.path(p)).collect::<Outcome<Vec<_>>>()?;
    if paths.is_empty() {
        paths.push(context.path_or_here(None)?);
    }
    crate::session::with_vault(context, async |vault| {
        let mut several = Several::new(context, paths.len());
        let shows = args.dry_run || context.output.json();
        let plan = plan(vault, args, &paths, shows, &mut several).await?;
        let missing = several.end();
        if plan.is_empty() && paths.len() == 1 {
            // Of a path that leads nowhere there is nothing to be said but that.
            missing.clone()?;
        }
        let rest = |plan: &Plan| missing.clone().and(report::unreadable(plan.damaged, "records"));
        if args.dry_run || plan.is_empty() {
            say_plan(context, vault, args, &plan)?;
            return rest(&plan);
        }
        if !args.yes {
            let question = format!("Delete {} for good? Nothing of it can be brought back.", plan.words());
            match terminal::consent(context.output, &question)? {
                Consent::Yes => {}
                Consent::No => {
                    context.output.note("nothing was deleted");
                    return Ok(());
                }
                Consent::Nobody => {
                    return Err(Failure::invalid(format!("not deleted: {}", plan.words()))
                        .hint("--yes does it without asking, --dry-run lists what it is"));
                }
            }
        }
        carry_out(context, vault, &plan).await?;
        rest(&plan)
    })
}

fn keep_of(args: &Args) -> Keep {
    let within_ms = args.older_than.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
    Keep { last: args.keep, within_ms, ..Keep::default() }
}

/// What goes of all paths together. One that leads nowhere does not keep the others from being looked at.
async fn plan(
    vault: &Arc<Vault>,
    args: &Args,
    paths: &[VaultPath],
    shows: bool,
    several: &mut Several,
) -> Outcome<Plan> {
    let mut plan = Plan::default();
    for path in paths {
        several.one(plan_one(vault, args, path, shows, &mut plan).await)?;
    }
    Ok(plan)
}

async fn plan_one(
    vault: &Arc<Vault>,
    args: &Args,
    path: &VaultPath,
    shows: bool,
    plan: &mut Plan,
) -> Outcome {
    let (keep, now_ms) = (keep_of(args), vault.now_ms());
    if args.trash || !args.versions {
        plan.damaged += vault
            .trash(path, false, async |thing| {
                let age_ms = now_ms.saturating_sub(thing.deleted_ms);
                if age_ms >= keep.within_ms && !thing.deleting {
                    plan.trashed.push(thing);
                }
                Ok(())
            })
            .await?;
    }
    if args.versions {
        let each = |version: &Superfluous| {
            plan.versions.push(version.listed());
            plan.shown.extend(shows.then(|| version.clone()));
            Ok(())
        };
        let some = match vault.purge_versions(path, |_| Some(keep), true, each).await {
            // Of what was deleted there are no versions beside the trash.
            Err(failure) if failure.kind == Kind::NotFound && args.trash => VersionsReport::default(),
            some => some?,
        };
        plan.report.files += some.files;
        plan.report.versions += some.versions;
        plan.report.bytes += some.bytes;
        plan.report.kept += some.kept;
        // What cannot be read was counted above already where both were looked at.
        plan.damaged += if args.trash { 0 } else { some.damaged };
    }
    Ok(())
}

fn say_plan(context: &Context, vault: &Arc<Vault>, args: &Args, plan: &Plan) -> Outcome {
    context.output.document(&document(plan, args.dry_run, None))?;
    let now_ms = vault.now_ms();
    for thing in &plan.trashed {
        context.output.text(&trash::line(context, thing, now_ms))?;
    }
    for version in &plan.shown {
        context.output.text(&format!(
            "{:>10}  {}  {:<16}  {}\n",
            size::show(version.size),
            moment::show_ms(version.version.0.ms()),
            "older version",
            clean(&version.path.to_string())
        ))?;
    }
    let words = if plan.is_empty() { "nothing to delete".to_owned() } else { plan.words() };
    let kept = match plan.report.kept {
        0 => String::new(),
        kept => format!("; {} would stay", size::count(kept, "older version")),
    };
    let shared = "what they share with anything that stays does not come back";
    context.output.note(&if plan.is_empty() {
        words
    } else {
        format!("would delete {words}{kept}; {shared}")
    });
    Ok(())
}

/// Deletes what was worked out and shown, and nothing else; then has the node give the space back.
async fn carry_out(context: &Context, vault: &Arc<Vault>, plan: &Plan) -> Outcome {
    let before = Before::look(vault.remote()).await?;
    let progress = Progress::begin("deleting", context.output);
    progress.meter().expect(plan.trashed.len() as u64 + plan.report.versions, plan.bytes());
    let mut gone = 0;
    for thing in &plan.trashed {
        gone += u64::from(vault.purge_trashed(thing).await?);
        progress.meter().advance(thing.all_bytes);
        progress.meter().file_done();
    }
    let each = |version: &ListedVersion| {
        progress.meter().advance(version.size());
        progress.meter().file_done();
    };
    let versions = vault.purge_listed(&plan.versions, each).await?;
    drop(progress);
    let freed = before.give_back(context, vault.remote()).await?;
    context.output.document(&document(plan, false, Some((gone, versions, freed))))?;
    context.output.note(&format!("deleted for good: {}; {}", plan.words(), given_back::words(freed)));
    Ok(())
}

fn document(plan: &Plan, dry_run: bool, done: Option<(u64, Gone, Option<GivenBack>)>) -> Value {
    let versions: Vec<_> = plan
        .shown
        .iter()
        .map(|v| json!({ "path": v.path.to_string(), "version": v.version.to_string(), "size": v.size }))
        .collect();
    let mut document = json!({
        "dry_run": dry_run,
        "trashed": plan.trashed.iter().map(trash::object).collect::<Vec<_>>(),
        "versions": versions,
        "bytes": plan.bytes(),
        "versions_kept": plan.report.kept,
    });
    if let (Some((gone, versions, freed)), Some(fields)) = (done, document.as_object_mut()) {
        fields.insert("trashed_deleted".to_owned(), gone.into());
        fields.insert("versions_deleted".to_owned(), versions.versions.into());
        given_back::add_fields(fields, freed);
    }
    document
}
