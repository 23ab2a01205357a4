//! Looks at crash points exhaustively: every I/O call of every workload, every fault, every subset of
//! unsynced changes (all of them where there are few), and every call of the recovery that follows a kill.
//!
//! `cargo run -p larder-store --example crashpoints -- --all --resume FILE` notes in FILE how far it has come
//! and goes on from there when it is started again. `--workloads N` and `--steps N` set the size.

#[allow(dead_code, reason = "the tests draw points at random")]
mod explore;
mod model;
#[allow(dead_code, reason = "the tests play scripts of their own")]
mod workload;

use std::io::Write;
use std::path::PathBuf;

use explore::{FAULTS, Point, calls, look, losses, losses_at};
use larder_store::disk::sim::{Fault, Loss};

struct Options {
    workloads: u64,
    steps: usize,
    resume: Option<PathBuf>,
    again: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { workloads: 40, steps: 40, resume: None, again: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--all" => options.again = true,
            "--resume" => options.resume = Some(value()?.into()),
            "--workloads" => options.workloads = value()?.parse().map_err(|e| format!("{e}"))?,
            "--steps" => options.steps = value()?.parse().map_err(|e| format!("{e}"))?,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

/// Where an earlier run stopped: workload, call, states seen.
fn resume(options: &Options) -> (u64, u64, u64) {
    let text = options.resume.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let numbers: Vec<u64> =
        text.iter().flat_map(|text| text.split_whitespace()).filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [seed, call, states] => (seed, call, states),
        _ => (0, 0, 0),
    }
}

#[allow(clippy::disallowed_methods, reason = "a note of progress, written by a test program")]
fn note(options: &Options, seed: u64, call: u64, states: u64) {
    if let Some(path) = &options.resume
        && let Err(error) = std::fs::write(path, format!("{seed} {call} {states}\n"))
    {
        let _ = writeln!(std::io::stderr(), "cannot note progress: {error}");
    }
}

/// All states at one call of a workload.
fn points(options: &Options, seed: u64, call: u64) -> Vec<Point> {
    let mut out = Vec::new();
    for fault in FAULTS {
        for loss in losses_at(seed, options.steps, call, fault) {
            let point = Point { seed, steps: options.steps, call, fault, loss, again: None };
            out.push(point);
            if options.again && fault == Fault::Kill && matches!(loss, Loss::Random(_)) {
                for inner in 0..40 {
                    for second in [Fault::Kill, Fault::Torn { piece_len: 512, seed: inner }, Fault::Error] {
                        for lost in losses(5, inner) {
                            out.push(Point { again: Some((inner, second, lost)), ..point });
                        }
                    }
                }
            }
        }
    }
    out
}

fn main() -> std::process::ExitCode {
    let mut stderr = std::io::stderr();
    let options = match options() {
        Ok(options) => options,
        Err(what) => {
            let _ = writeln!(stderr, "{what}");
            return 2.into();
        }
    };
    for (what, script) in workload::scripts() {
        if let Err(wrong) = explore::follow(&script) {
            let _ = writeln!(stderr, "{what}: {wrong}");
            return 1.into();
        }
    }
    let (mut seed, mut call, mut states) = resume(&options);
    while seed < options.workloads {
        let total = calls(seed, options.steps);
        while call <= total {
            for point in points(&options, seed, call) {
                states += 1;
                if let Err(what) = look(&point) {
                    let _ = writeln!(stderr, "{what}");
                    return 1.into();
                }
            }
            call += 1;
            note(&options, seed, call, states);
        }
        let _ = writeln!(stderr, "workload {seed}: {total} calls; {states} states so far");
        seed += 1;
        call = 0;
        note(&options, seed, call, states);
    }
    let _ = writeln!(stderr, "{states} states, none wrong");
    0.into()
}
