//! Changing a part of a value: APPEND, SETRANGE. Its lifetime stays as it is.

use larder_door::resp::{Args, numbers};

use super::Run;
use super::fault::{Fault, NOT_AN_INTEGER, STRING_TOO_LONG, denied};
use crate::plain::Until;

/// `APPEND key value`
pub(super) fn append(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let (key, more) = (args.at(1), args.at(2));
    let before = run.held.copied(key).map_err(denied(run.verb))?;
    let before = before.map(|(value, _)| value).unwrap_or_default();
    check_len(run, before.len(), more.len())?;
    run.put(key, &[&before, more], Until::Kept)?;
    run.tell("append", key);
    run.out.count(before.len() + more.len());
    Ok(())
}

/// `SETRANGE key offset value`: bytes before the offset that were not there are zeros.
pub(super) fn setrange(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let (key, part) = (args.at(1), args.at(3));
    let offset = numbers::integer(args.at(2)).ok_or(NOT_AN_INTEGER)?;
    let offset = usize::try_from(offset).map_err(|_| Fault::Words("ERR offset is out of range"))?;
    if part.is_empty() {
        let was = run.held.was(key).map_err(denied(run.verb))?;
        run.out.count(was.map_or(0, |was| was.len));
        return Ok(());
    }
    check_len(run, offset, part.len())?;
    let end = offset + part.len();
    let before = run.held.copied(key).map_err(denied(run.verb))?;
    let mut value = before.map(|(value, _)| value).unwrap_or_default();
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(part);
    run.put(key, &[&value], Until::Kept)?;
    run.tell("setrange", key);
    run.out.count(value.len());
    Ok(())
}

/// Refuses a value that would be too long before anything is made for it.
fn check_len(run: &Run<'_, '_>, len: usize, more: usize) -> Result<(), Fault> {
    match len.checked_add(more) {
        Some(len) if len <= run.held.values().value_len_max => Ok(()),
        _ => Err(STRING_TOO_LONG),
    }
}
