//! Several values at once: MGET, MSET, MSETNX.

use larder_door::resp::Args;
use larder_door::resp::limits::REPLACED_BYTES_MAX;
use larder_format::record::Expiry;

use super::Run;
use super::fault::{Fault, denied};
use crate::plain::{Denied, Until};

/// What is replaced could not be put back.
const TOO_MUCH: Fault =
    Fault::Words("ERR the values that are there are too long to be replaced as one; set fewer keys at once");

/// `MGET key [key …]`: nothing stands for what is no plain value, as in Redis for what is no string.
pub(super) fn mget(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let keys = args.from(1);
    run.out.array(keys.len());
    for key in keys.iter() {
        let out = &mut *run.out;
        let shown = run.held.read(key, |seen| match seen {
            Some(seen) => out.bulk(seen.value),
            None => out.null(),
        });
        if shown.is_err() {
            run.out.null();
        }
        if run.out.is_over() {
            // An error takes the place of all of it.
            break;
        }
    }
    Ok(())
}

/// `MSET key value [key value …]`
pub(super) fn mset(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    set_all(run, args)?;
    run.out.ok();
    Ok(())
}

/// `MSETNX key value [key value …]`: all, or none if any of them is there.
pub(super) fn msetnx(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    if args.len().is_multiple_of(2) {
        return Err(Fault::Count(run.verb));
    }
    run.check_atomic()?;
    let free = !args.from(1).iter().step_by(2).any(|key| run.held.is_there(key));
    if free {
        set_all(run, args)?;
    }
    run.out.integer(i64::from(free));
    Ok(())
}

/// Sets all pairs, or none: where there is no room for one of them, what was there before is put back.
fn set_all(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    if args.len().is_multiple_of(2) {
        return Err(Fault::Count(run.verb));
    }
    let pairs = || args.from(1).iter().step_by(2).zip(args.from(2).iter().step_by(2));
    let mut before = Vec::with_capacity(args.len() / 2);
    let mut bytes = 0;
    for (key, _) in pairs() {
        let was = run.held.was(key).map_err(denied(run.verb))?;
        bytes += was.map_or(0, |was| was.len);
        if bytes > REPLACED_BYTES_MAX {
            return Err(TOO_MUCH);
        }
        before.push((key, run.held.copied(key).map_err(denied(run.verb))?));
    }
    for (at, (key, value)) in pairs().enumerate() {
        if let Err(why) = run.held.put(key, &[value], Until::Default) {
            before.truncate(at);
            return Err(put_back(run, &before, why));
        }
    }
    pairs().for_each(|(key, _)| run.tell("set", key));
    Ok(())
}

/// A key, and its value and end if it had one.
type Before<'a> = (&'a [u8], Option<(Vec<u8>, Expiry)>);

/// Puts back what was there; a key that was named twice ends as it was before the first time.
fn put_back(run: &mut Run<'_, '_>, before: &[Before<'_>], why: Denied) -> Fault {
    let mut lost = 0;
    for (key, value) in before.iter().rev() {
        let done = match value {
            Some((value, expiry)) => run.held.put(key, &[value], Until::At(*expiry)).is_ok(),
            None => run.held.remove(key).is_ok(),
        };
        lost += usize::from(!done);
    }
    if lost == 0 { Fault::Denied(run.verb, why) } else { Fault::Half { verb: run.verb, lost, why } }
}
