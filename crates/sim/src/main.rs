//! The simulator's command line: `sim register` runs seeds, `sim planted` shows that planted bugs are caught,
//! `sim single` measures the one-acceptor path.
//! Exit code 1 means a violation was found (or a planted bug was not).

use std::ops::Range;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use larder_format::clock::{Clock, SystemClock};
use larder_mesh::planted::{Faults, Planted};
use larder_sim::register::checker::{self, Verdict};
use larder_sim::register::plan::Settings;
use larder_sim::register::sweep::{Summary, sweep};
use larder_sim::register::{history, run};

/// Planted bugs that no run can tell from none; `docs/design/register.md` says why.
const UNSEEN: &[Planted] = &[Planted::LateAccept];

/// Runs that the checker may leave unjudged, because nearly all their requests went unanswered: five in ten
/// thousand, and one in a few.
fn undecided_max(runs: u64) -> u64 {
    (runs / 2_000).max(1)
}

/// Seeded simulation of Larder's register.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the register under faults and checks what clients were told.
    Register(RegisterArgs),
    /// Plants each known bug in turn and says at which seed it is caught.
    Planted(PlantedArgs),
    /// Measures what one decision of the one-acceptor path costs.
    Single,
}

#[derive(Debug, Args)]
struct RegisterArgs {
    /// Which seeds, as FROM..TO (TO not included).
    #[arg(long, value_parser = parse_range, default_value = "0..10000")]
    seeds: Range<u64>,
    /// One seed only, with its history.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Number of acceptors: 1, 3 or 5. By seed if not given.
    #[arg(long, value_parser = parse_acceptors)]
    acceptors: Option<u8>,
    /// Plant a bug; `sim planted` lists their names.
    #[arg(long, value_parser = parse_planted)]
    planted: Option<Planted>,
    /// With --seed: print every message as well.
    #[arg(long, requires = "seed")]
    verbose: bool,
}

#[derive(Debug, Args)]
struct PlantedArgs {
    /// Which seeds to try for each bug.
    #[arg(long, value_parser = parse_range, default_value = "0..20000")]
    seeds: Range<u64>,
    /// Only this bug.
    #[arg(long, value_parser = parse_planted)]
    only: Option<Planted>,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("want FROM..TO, got {text}");
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    let range = from.parse().map_err(|_| bad())?..to.parse().map_err(|_| bad())?;
    if range.is_empty() { Err(bad()) } else { Ok(range) }
}

fn parse_acceptors(text: &str) -> Result<u8, String> {
    match text {
        "1" | "3" | "5" => Ok(text.as_bytes()[0] - b'0'),
        _ => Err(format!("want 1, 3 or 5, got {text}")),
    }
}

fn parse_planted(text: &str) -> Result<Planted, String> {
    let names: Vec<_> = Planted::ALL.iter().map(|p| p.name()).collect();
    Planted::ALL
        .iter()
        .find(|p| p.name() == text)
        .copied()
        .ok_or_else(|| format!("no such bug; there are: {}", names.join(", ")))
}

#[expect(clippy::print_stdout, reason = "this program's output is its standard output")]
fn main() -> ExitCode {
    let ok = match Cli::parse().verb {
        Verb::Register(args) => {
            let faults = args.planted.map_or(Faults::NONE, Faults::plant);
            let settings = Settings { acceptors: args.acceptors, faults, verbose: args.verbose };
            match args.seed {
                Some(seed) => {
                    let (text, ok) = one(seed, settings);
                    print!("{text}");
                    ok
                }
                None => {
                    let clock = SystemClock::new();
                    let summary = sweep(args.seeds, settings, args.planted.is_some());
                    print!("{}", summary_text(&summary, clock.monotonic().as_secs_f64()));
                    if let Some(seed) = summary.violation.or(summary.undecided_seed) {
                        print!("{}", one(seed, settings).0);
                    }
                    summary.violation.is_none() && summary.undecided <= undecided_max(summary.runs)
                }
            }
        }
        Verb::Single => {
            let cost = larder_sim::single_cost::measure();
            println!("get {:.0} ns, put {:.0} ns per decision on a warm record", cost.get_ns, cost.put_ns);
            true
        }
        Verb::Planted(args) => {
            let bugs = args.only.as_ref().map_or(Planted::ALL, std::slice::from_ref);
            println!("{:24} {:>10} {:>8} {:>9}", "bug", "caught at", "runs", "seconds");
            let (mut caught, mut surprises) = (0, 0);
            for bug in bugs {
                let clock = SystemClock::new();
                let settings = Settings { faults: Faults::plant(*bug), ..Settings::default() };
                let summary = sweep(args.seeds.clone(), settings, true);
                let at = summary.violation.map_or("-".to_owned(), |seed| seed.to_string());
                let as_expected = summary.violation.is_some() != UNSEEN.contains(bug);
                surprises += usize::from(!as_expected);
                caught += usize::from(summary.violation.is_some());
                let seconds = clock.monotonic().as_secs_f64();
                println!("{:24} {at:>10} {:>8} {seconds:>9.2}", bug.name(), summary.runs);
            }
            println!("{caught} of {} caught", bugs.len());
            surprises == 0
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary_text(summary: &Summary, seconds: f64) -> String {
    let runs = summary.runs.max(1);
    let verdict = match summary.violation {
        Some(seed) => format!("VIOLATION at seed {seed}"),
        None if summary.undecided > 0 => format!("{} runs undecided", summary.undecided),
        None => "every run is linearizable".to_owned(),
    };
    format!(
        "{} runs in {seconds:.2} s ({:.0} seeds/s): {verdict}\nper run: {} requests ({} answered), {} messages, {} faults\n",
        summary.runs,
        summary.runs as f64 / seconds,
        summary.calls / runs,
        summary.answered / runs,
        summary.messages / runs,
        summary.faults / runs,
    )
}

fn one(seed: u64, settings: Settings) -> (String, bool) {
    let report = run(seed, settings);
    let plan = &report.plan;
    let key = match report.verdict {
        Verdict::Linearizable => None,
        Verdict::Violation { key } | Verdict::Undecided { key } => Some(key),
    };
    let ttl = plan.ttl_max_ms.map_or("none".to_owned(), |ms| format!("{ms} ms"));
    let mut text = format!(
        "seed {seed}: {} acceptors, {:?}, longest time to live {ttl}, {} faults, trace {:016x}\nverdict: {:?}\n",
        plan.replicas, plan.class, report.faults, report.trace, report.verdict
    );
    for line in &report.log {
        text += line;
        text.push('\n');
    }
    text += "times in ms since the run began: asked – answered\n";
    text += &history::text(&report.calls, key);
    if let Verdict::Violation { key } = report.verdict {
        text += "no order explains all of the above; the search ended before one of:\n";
        for call in checker::stuck(plan, &report.calls, key) {
            let index = report.calls.iter().position(|c| std::ptr::eq(c, call)).unwrap_or(0);
            text += &(history::call_text(index, call) + "\n");
        }
    }
    (text, report.verdict == Verdict::Linearizable)
}
