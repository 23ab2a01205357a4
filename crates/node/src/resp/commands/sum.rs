//! Values that are numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT. Their lifetime stays as it is.

use std::io::Write;

use larder_door::resp::long_double::LongDouble;
use larder_door::resp::{Args, numbers};

use super::Run;
use super::fault::{Fault, NOT_A_FLOAT, NOT_AN_INTEGER, denied};
use crate::plain::Until;

/// Longest whole number of 64 bits as text, its sign included.
const DIGITS_MAX: usize = 20;

/// Adds to a whole number; none counts as 0.
pub(super) fn add(run: &mut Run<'_, '_>, key: &[u8], by: i64) -> Result<(), Fault> {
    let before = run
        .held
        .read(key, |seen| seen.map_or(Some(0), |seen| numbers::integer(seen.value)))
        .map_err(denied(run.verb))?
        .ok_or(NOT_AN_INTEGER)?;
    let after = before.checked_add(by).ok_or(Fault::Words("ERR increment or decrement would overflow"))?;
    let mut digits = [0; DIGITS_MAX];
    let mut rest = &mut digits[..];
    // It always fits.
    let _ = write!(rest, "{after}");
    let len = DIGITS_MAX - rest.len();
    run.put(key, &[&digits[..len]], Until::Kept)?;
    run.tell("incrby", key);
    run.out.integer(after);
    Ok(())
}

/// `INCRBY key number`
pub(super) fn incrby(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let by = numbers::integer(args.at(2)).ok_or(NOT_AN_INTEGER)?;
    add(run, args.at(1), by)
}

/// `DECRBY key number`
pub(super) fn decrby(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let by = numbers::integer(args.at(2)).ok_or(NOT_AN_INTEGER)?;
    let by = by.checked_neg().ok_or(Fault::Words("ERR decrement would overflow"))?;
    add(run, args.at(1), by)
}

/// `INCRBYFLOAT key number`
pub(super) fn incrbyfloat(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let key = args.at(1);
    let before = run
        .held
        .read(key, |seen| seen.map_or(Some(LongDouble::ZERO), |seen| LongDouble::parse(seen.value)))
        .map_err(denied(run.verb))?
        .ok_or(NOT_A_FLOAT)?;
    let by = LongDouble::parse(args.at(2)).ok_or(NOT_A_FLOAT)?;
    let after = before.plus(by).ok_or(Fault::Words("ERR increment would produce NaN or Infinity"))?;
    let text = after.show();
    run.put(key, &[&text], Until::Kept)?;
    run.tell("incrbyfloat", key);
    run.out.bulk(&text);
    Ok(())
}
