//! Lifetimes: EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT with their conditions; TTL, PTTL, EXPIRETIME, PEXPIRETIME; PERSIST.

use larder_door::resp::{Args, Verb};
use larder_format::record::Expiry;

use super::Run;
use super::fault::{Fault, denied};
use super::lifetime::{self, Moment, Unit};

/// Under which conditions an end is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Conditions {
    /// There is none.
    nx: bool,
    /// There is one.
    xx: bool,
    /// It becomes later.
    gt: bool,
    /// It becomes earlier.
    lt: bool,
}

impl Conditions {
    fn read(args: Args<'_>) -> Result<Self, Fault> {
        let mut all = Self::default();
        for word in args.from(3).iter() {
            let place = match word.to_ascii_lowercase().as_slice() {
                b"nx" => &mut all.nx,
                b"xx" => &mut all.xx,
                b"gt" => &mut all.gt,
                b"lt" => &mut all.lt,
                _ => {
                    // As much of it as anybody needs to see which.
                    let shown = String::from_utf8_lossy(&word[..word.len().min(64)]).into_owned();
                    return Err(Fault::Option(shown));
                }
            };
            *place = true;
        }
        if all.nx && (all.xx || all.gt || all.lt) {
            return Err(Fault::Words("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if all.gt && all.lt {
            return Err(Fault::Words("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(all)
    }

    /// Whether a value that ends then may be given this end.
    fn allow(self, end: Expiry, moment: Moment) -> bool {
        let has_end = end != Expiry::NEVER;
        !(self.nx && has_end
            || self.xx && !has_end
            || self.gt && !moment.is_after(end)
            || self.lt && !moment.is_before(end))
    }
}

/// `EXPIRE key s [NX | XX | GT | LT]`, and its like for other units.
pub(super) fn expire(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let key = args.at(1);
    let (verb, now_ms) = (run.verb, run.now_ms());
    let unit = match verb {
        Verb::Expire => Unit::Seconds,
        Verb::PExpire => Unit::Milliseconds,
        Verb::ExpireAt => Unit::AtSeconds,
        _ => Unit::AtMilliseconds,
    };
    let conditions = Conditions::read(args)?;
    let moment = lifetime::read_any(verb, unit, args.at(2), now_ms)?;
    let was = run.held.was(key).map_err(denied(verb))?;
    if !was.is_some_and(|was| conditions.allow(was.expiry, moment)) {
        run.out.integer(0);
        return Ok(());
    }
    if moment.is_past(now_ms) {
        run.held.remove(key).map_err(denied(verb))?;
        run.tell("del", key);
    } else {
        let expiry = moment.expiry().map_err(denied(verb))?;
        run.held.touch(key, expiry).map_err(denied(verb))?;
        run.tell("expire", key);
    }
    run.out.integer(1);
    Ok(())
}

/// `TTL key` and its like: -2 if there is no value, -1 if it has no end.
pub(super) fn ttl(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let was = run.held.was(args.at(1)).map_err(denied(run.verb))?;
    let from_ms = match run.verb {
        Verb::Ttl | Verb::PTtl => run.now_ms(),
        _ => 0,
    };
    let is_seconds = matches!(run.verb, Verb::Ttl | Verb::ExpireTime);
    run.out.integer(match was.map(|was| was.expiry.ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(end_ms)) => {
            let ms = end_ms.saturating_sub(from_ms);
            i64::try_from(if is_seconds { (ms + 500) / 1000 } else { ms }).unwrap_or(i64::MAX)
        }
    });
    Ok(())
}

/// `PERSIST key`
pub(super) fn persist(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let key = args.at(1);
    let was = run.held.was(key).map_err(denied(run.verb))?;
    let ends = was.is_some_and(|was| was.expiry != Expiry::NEVER);
    if ends {
        run.held.touch(key, Expiry::NEVER).map_err(denied(run.verb))?;
        run.tell("persist", key);
    }
    run.out.integer(i64::from(ends));
    Ok(())
}
