//! `larder bench`: load on a server that speaks the Redis protocol or HTTP, with every value that is read verified; and
//! `larder bench compare`: two reports beside each other. The generator is the crate `larder-load`.
//!
//! [`asked`] turns flags into a plan, [`secure`] finds certificates and secrets, [`live`] says how it goes, [`table`]
//! what came of it.

mod asked;
mod compare;
mod live;
mod secure;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_format::clock::SystemClock;
use larder_format::error::Kind;
use larder_load::LoadError;
use larder_load::plan::Plan;
use larder_load::report::Report;
use larder_load::require::Requirement;

use crate::cli::Context;
use crate::failure::{Failure, Outcome, shown};
use crate::folders::Folders;
use crate::life::{daemon, pid_file};
use crate::output::Output;
use crate::up;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Where: redis://HOST:PORT, rediss://…, http://HOST:PORT/PATH/ (keys are put behind the path), https://…,
    /// memcached://… (default: this home's own Redis door, or else its HTTP door)
    #[arg(value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    asked: asked::Asked,
    #[command(flatten)]
    secure: secure::Secure,
    /// What has to be reached, or the exit code is 12: p99<2ms, rate>=50k, errors=0, reads.p99.9<5ms (may be repeated)
    #[arg(long, value_name = "METRIC<BOUND", value_parser = requirement)]
    require: Vec<Requirement>,
    /// Draw latency and throughput into this file (SVG)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Two reports (written with --json) beside each other
    Compare(compare::Args),
}

fn requirement(text: &str) -> Result<Requirement, String> {
    text.parse().map_err(|error: LoadError| error.to_string())
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let failure = Failure::new(error.kind(), error.to_string());
        match &error {
            LoadError::Connect { .. } => failure.hint("larder status shows which doors are open, and where"),
            LoadError::Ended { .. } | LoadError::NotTheProtocol(_) => {
                failure.hint("is that its protocol? redis://, rediss://, http:// or https://")
            }
            LoadError::Refused { .. } if error.kind() == Kind::Denied => {
                failure.hint("--user ID --token-file FILE, or LARDER_BENCH_TOKEN")
            }
            LoadError::Refused { .. } if error.kind() == Kind::Retry => {
                failure.hint("the server limits how often you may ask; raise its limit, or ask from loopback")
            }
            LoadError::Target { .. } => failure.hint("larder bench redis://127.0.0.1:6379"),
            _ => failure,
        }
    }
}

/// Runs the load, or compares.
///
/// # Errors
/// If the load cannot be run; damaged if the server answered with other than what was stored; unmet if there were
/// errors, or a requirement is not met.
pub fn run(context: &Context, args: &Args) -> Outcome {
    if let Some(Verb::Compare(args)) = &args.verb {
        return compare::run(context, args);
    }
    let url = match &args.url {
        Some(url) => url.clone(),
        None => own_door(&context.folders)?,
    };
    let mut plan = args.asked.plan(&url)?;
    args.secure.complete(&context.folders, &mut plan)?;
    plan.check()?;
    let output = context.output;
    let report = with_signals(&plan, output)?;
    if let Some(file) = &args.svg {
        std::fs::File::create(file)
            .and_then(|mut out| {
                std::io::Write::write_all(&mut out, larder_load::picture::svg(&report).as_bytes())
            })
            .map_err(|e| Failure::io("write", file, &e))?;
        output.note(&format!("picture: {}", shown(file)));
    }
    output.document(&report)?;
    output.text(&table::text(&report, output))?;
    if report.interrupted {
        return Err(Failure::interrupted());
    }
    judge(&report, &args.require)
}

/// The address of a raw door of this home's node.
fn own_door(folders: &Folders) -> Outcome<String> {
    let closed = |message: &str, hint: &str| Err(Failure::new(Kind::Closed, message).hint(hint));
    let Some(running) = pid_file::look(&folders.pid_file(up::NODE))? else {
        return closed("no node of this home runs", "larder up, or give a URL");
    };
    let secure =
        |door: &str| running.settings.get(&format!("{door}_auth")).is_some_and(|auth| auth == "certificate");
    match (&running.redis, &running.http) {
        (Some(redis), _) => Ok(format!("redis{}://{redis}", if secure("redis") { "s" } else { "" })),
        (None, Some(http)) => Ok(format!("http{}://{http}/v1/data/", if secure("http") { "s" } else { "" })),
        (None, None) => closed("this home's node has no raw door open", "give a URL"),
    }
}

/// Runs the plan on a thread of its own, so that ctrl-C ends it early with what was measured; a second one ends it
/// at once.
fn with_signals(plan: &Plan, output: Output) -> Outcome<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io_text(format!("cannot start the runtime: {e}"), &e))?;
    let stop = Arc::new(AtomicBool::new(false));
    let plan = plan.clone();
    let told = stop.clone();
    let result = runtime.block_on(async {
        let mut running = tokio::task::spawn_blocking(move || {
            let mut live = live::Live::new(output);
            larder_load::run::run(&plan, Arc::new(SystemClock::new()), told, &mut |progress| {
                live.show(progress);
            })
        });
        for _ in 0..2 {
            tokio::select! {
                done = &mut running => {
                    let done = done.map_err(|_| Failure::from(LoadError::Thread))?;
                    return Ok(done?);
                }
                asked = daemon::stop_requested() => {
                    asked?;
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        Err(Failure::interrupted())
    });
    runtime.shutdown_background();
    result
}

/// What a report means for whoever waits for the exit code.
fn judge(report: &Report, requirements: &[Requirement]) -> Outcome {
    if report.false_answers() > 0 {
        let samples = report.phases.iter().flat_map(|phase| phase.samples.first()).next();
        let sample = samples.map_or_else(String::new, |sample| format!(": {sample}"));
        let message =
            format!("{} answers were not what was stored{sample}", table::grouped(report.false_answers()));
        return Err(Failure::new(Kind::Damaged, message));
    }
    let unmet: Vec<String> =
        requirements.iter().flat_map(|one| one.unmet(report)).map(|one| one.to_string()).collect();
    if !unmet.is_empty() {
        return Err(Failure::unmet(unmet.join("; ")));
    }
    let errors = report.errors();
    if errors > 0 && !requirements.iter().any(Requirement::is_about_errors) {
        let sample = report.phases.iter().flat_map(|phase| phase.samples.first()).next();
        let sample = sample.map_or_else(String::new, |sample| format!(", such as: {sample}"));
        let message = format!("{} requests failed{sample}", table::grouped(errors));
        return Err(Failure::unmet(message).hint("--require 'errors<1%' allows some"));
    }
    Ok(())
}
