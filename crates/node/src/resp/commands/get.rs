//! Reading one value: GET, GETDEL, GETEX, GETRANGE, STRLEN.

use larder_door::resp::{Args, numbers};
use larder_format::record::Expiry;

use super::Run;
use super::fault::{Fault, NOT_AN_INTEGER, SYNTAX, denied};
use super::lifetime::{self, Unit};

/// `GET key`
pub(super) fn get(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let out = &mut *run.out;
    run.held
        .read(args.at(1), |seen| match seen {
            Some(seen) => out.bulk(seen.value),
            None => out.null(),
        })
        .map_err(denied(run.verb))
}

/// `STRLEN key`
pub(super) fn strlen(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let was = run.held.was(args.at(1)).map_err(denied(run.verb))?;
    run.out.count(was.map_or(0, |was| was.len));
    Ok(())
}

/// `GETDEL key`
pub(super) fn getdel(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let key = args.at(1);
    get(run, args)?;
    if run.held.remove(key).map_err(denied(run.verb))? {
        run.tell("del", key);
    }
    Ok(())
}

/// `GETRANGE key start end`: both count from the end where they are negative, and the end is part of it.
pub(super) fn getrange(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let start = numbers::integer(args.at(2)).ok_or(NOT_AN_INTEGER)?;
    let end = numbers::integer(args.at(3)).ok_or(NOT_AN_INTEGER)?;
    let out = &mut *run.out;
    run.held
        .read(args.at(1), |seen| {
            let value = seen.map_or(&[][..], |seen| seen.value);
            out.bulk(part(value, start, end));
        })
        .map_err(denied(run.verb))
}

fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    let len = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return &[];
    }
    let place = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => &value[start..=end],
        _ => &[],
    }
}

/// What `GETEX` does to a lifetime.
enum Change {
    None,
    Persist,
    End(Unit, usize),
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) fn getex(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let change = read_change(args)?;
    let key = args.at(1);
    let Some(was) = run.held.was(key).map_err(denied(run.verb))? else {
        run.out.null();
        return Ok(());
    };
    let (verb, now_ms) = (run.verb, run.now_ms());
    match change {
        Change::None => get(run, args),
        Change::Persist => {
            if was.expiry != Expiry::NEVER {
                run.held.touch(key, Expiry::NEVER).map_err(denied(verb))?;
                run.tell("persist", key);
            }
            get(run, args)
        }
        Change::End(unit, at) => {
            let moment = lifetime::read(verb, unit, args.at(at), now_ms)?;
            if moment.is_past(now_ms) {
                return getdel(run, args);
            }
            let expiry = moment.expiry().map_err(denied(verb))?;
            run.held.touch(key, expiry).map_err(denied(verb))?;
            run.tell("expire", key);
            get(run, args)
        }
    }
}

fn read_change(args: Args<'_>) -> Result<Change, Fault> {
    let mut change = Change::None;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        change = match (Unit::named(word), change) {
            // The same unit again is allowed, another is not.
            (Some(unit), Change::End(other, _)) if unit != other => return Err(SYNTAX),
            (Some(unit), Change::None | Change::End(..)) if at + 1 < args.len() => {
                at += 1;
                Change::End(unit, at)
            }
            (None, Change::None | Change::Persist) if word.eq_ignore_ascii_case(b"persist") => {
                Change::Persist
            }
            _ => return Err(SYNTAX),
        };
        at += 1;
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_as_redis_cuts_them() {
        let value = b"This is a string";
        for (start, end, expected) in [
            (0, 3, &b"This"[..]),
            (-3, -1, b"ing"),
            (0, -1, value),
            (10, 100, b"string"),
            (5, 2, b""),
            (-1, -5, b""),
            (-100, 3, b"This"),
            (0, -100, b"T"),
            (16, 20, b""),
            (i64::MIN, i64::MAX, value),
            (i64::MAX, i64::MIN, b""),
        ] {
            assert_eq!(part(value, start, end), expected, "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }
}
