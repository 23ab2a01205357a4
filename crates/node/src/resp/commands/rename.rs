//! Another key for a value: RENAME, RENAMENX, COPY. Its lifetime goes with it.

use larder_door::resp::{Args, Verb, numbers};

use super::Run;
use super::fault::{Fault, NO_SUCH_KEY, NOT_AN_INTEGER, SYNTAX, denied};
use crate::plain::Until;

/// `RENAME key newkey`, `RENAMENX key newkey`
pub(super) fn rename(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let (from, to) = (args.at(1), args.at(2));
    run.check_atomic()?;
    let only_new = run.verb == Verb::RenameNx;
    let refused = denied(run.verb);
    if from == to {
        run.held.was(from).map_err(&refused)?.ok_or(NO_SUCH_KEY)?;
        answer(run, 0);
        return Ok(());
    }
    let (value, expiry) = run.held.copied(from).map_err(&refused)?.ok_or(NO_SUCH_KEY)?;
    if only_new && run.held.is_there(to) {
        run.out.integer(0);
        return Ok(());
    }
    run.put(to, &[&value], Until::At(expiry))?;
    run.held.remove(from).map_err(&refused)?;
    run.tell("rename_from", from);
    run.tell("rename_to", to);
    answer(run, 1);
    Ok(())
}

/// RENAMENX counts what it did, RENAME has done it in any case.
fn answer(run: &mut Run<'_, '_>, count: i64) {
    if run.verb == Verb::RenameNx {
        run.out.integer(count);
    } else {
        run.out.ok();
    }
}

/// `COPY source destination [DB 0] [REPLACE]`
pub(super) fn copy(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let (from, to) = (args.at(1), args.at(2));
    let replace = read_replace(args)?;
    if from == to {
        return Err(Fault::Words("ERR source and destination objects are the same"));
    }
    run.check_atomic()?;
    let Some((value, expiry)) = run.held.copied(from).map_err(denied(run.verb))? else {
        run.out.integer(0);
        return Ok(());
    };
    if !replace && run.held.is_there(to) {
        run.out.integer(0);
        return Ok(());
    }
    run.put(to, &[&value], Until::At(expiry))?;
    run.tell("copy_to", to);
    run.out.integer(1);
    Ok(())
}

/// Whether there is `REPLACE`. There is one database, 0.
fn read_replace(args: Args<'_>) -> Result<bool, Fault> {
    let mut replace = false;
    let mut at = 3;
    while let Some(word) = args.get(at) {
        if word.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"db") && at + 1 < args.len() {
            at += 1;
            let number = numbers::integer(args.at(at)).ok_or(NOT_AN_INTEGER)?;
            if i32::try_from(number).is_err() {
                return Err(Fault::Words(
                    "ERR value is out of range, value must between -2147483648 and 2147483647",
                ));
            }
            if number != 0 {
                return Err(Fault::Words("ERR DB index is out of range"));
            }
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(replace)
}
