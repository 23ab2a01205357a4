//! Keys, whatever their values: DEL, UNLINK, EXISTS, TOUCH, TYPE.

use larder_door::resp::Args;

use super::Run;
use super::fault::{Fault, denied};

/// `DEL key [key …]`, `UNLINK key [key …]`: the number of those that were there.
pub(super) fn del(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let mut gone = 0;
    for key in args.from(1).iter() {
        if run.held.remove(key).map_err(denied(run.verb))? {
            run.tell("del", key);
            gone += 1;
        }
    }
    run.out.integer(gone);
    Ok(())
}

/// `EXISTS key [key …]`, `TOUCH key [key …]`: a key that is named twice counts twice. Nothing here goes by when a value
/// was read last, so TOUCH changes nothing.
pub(super) fn exists(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let there = args.from(1).iter().filter(|key| run.held.is_there(key)).count();
    run.out.count(there);
    Ok(())
}

/// `TYPE key`
pub(super) fn kind(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let was = run.held.was(args.at(1)).map_err(denied(run.verb))?;
    run.out.simple(if was.is_some() { "string" } else { "none" });
    Ok(())
}
