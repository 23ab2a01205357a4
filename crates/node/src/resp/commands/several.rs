//! Several values at once: MGET, MSET, MSETNX.

use larder_door::resp::Args;

use super::Run;
use super::fault::Fault;
use crate::plain::Until;

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

/// Sets all pairs. Where there is no room for one of them it says how many were set.
fn set_all(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    if args.len().is_multiple_of(2) {
        return Err(Fault::Count(run.verb));
    }
    let pairs = args.len() / 2;
    for pair in 0..pairs {
        let (key, value) = (args.at(1 + 2 * pair), args.at(2 + 2 * pair));
        if let Err(why) = run.held.put(key, &[value], Until::Default) {
            return Err(Fault::Half { set: pair, of: pairs, why });
        }
        run.tell("set", key);
    }
    Ok(())
}
