//! The model of moves: several clients put, move, copy, delete and restore in one small tree, stopped between any two of
//! their requests, in an order that follows from a seed. While they do, and after a check has mended what is left, nothing
//! is lost, nothing hangs in itself, and what was protected is there exactly once. Planted bugs must be noticed.
#![allow(unreachable_pub, clippy::print_stderr, reason = "a test of one program, which says what it noticed")]

mod node;
mod world;

use larder_client::planted::{BUGS, plant};
use parking_lot::Mutex;

use world::{Settings, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 24;

/// Seeds within which a planted bug must be noticed.
const SEEDS_TO_NOTICE: u64 = 400;

/// A planted bug is planted for the whole process, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// More seeds, or one: `MOVES_SEEDS=1000`, `MOVES_SEED=17`.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("MOVES_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MOVES_SEEDS").unwrap_or(SEEDS),
    }
}

fn run(seed: u64, settings: Settings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(World::run(seed, settings))
}

#[test]
fn nothing_is_lost_and_nothing_hangs_in_itself() {
    let _turn = TURN.lock();
    for seed in seeds() {
        let settings = Settings { deletes_folders: seed % 4 == 3 };
        if let Err(why) = run(seed, settings) {
            panic!("seed={seed}: {why}");
        }
    }
}

#[test]
fn planted_bugs_are_noticed() {
    let _turn = TURN.lock();
    for bug in BUGS {
        plant(bug);
        let noticed = (0..SEEDS_TO_NOTICE).find_map(|seed| {
            let why = run(seed, Settings::default()).err()?;
            Some((seed, why))
        });
        plant("");
        let (seed, why) = noticed.unwrap_or_else(|| panic!("not noticed: {bug}"));
        eprintln!("noticed at seed {seed}: {bug}: {why}");
    }
}
