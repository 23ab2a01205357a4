//! Writing one value: SET with its options, SETEX, PSETEX, SETNX, GETSET.

use larder_door::resp::Args;
use larder_format::record::Expiry;

use super::Run;
use super::fault::{Fault, SYNTAX, denied};
use super::lifetime::{self, Moment, Unit};
use crate::plain::Until;

/// When a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum If {
    #[default]
    Always,
    Absent,
    Present,
    /// It is there, and these are its bytes (an argument's place).
    Equal(usize),
}

/// How long it then lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Life {
    #[default]
    Default,
    Keep,
    /// The number is at this place.
    End(Unit, usize),
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Answer {
    /// OK, or nothing.
    #[default]
    Ok,
    /// The value before, or nothing.
    Before,
    /// 1 or 0.
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Options {
    condition: If,
    life: Life,
    answer: Answer,
}

/// `SET key value [NX | XX | IFEQ value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(super) fn set(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let options = if args.len() == 3 { Options::default() } else { read_options(args)? };
    let moment = match options.life {
        Life::End(unit, at) => Some(lifetime::read(run.verb, unit, args.at(at), run.now_ms())?),
        Life::Default | Life::Keep => None,
    };
    store(run, args, args.at(2), options, moment)
}

/// `SETEX key s value`, `PSETEX key ms value`
pub(super) fn setex(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let unit = if run.verb == larder_door::resp::Verb::SetEx { Unit::Seconds } else { Unit::Milliseconds };
    let moment = lifetime::read(run.verb, unit, args.at(2), run.now_ms())?;
    store(run, args, args.at(3), Options::default(), Some(moment))
}

/// `SETNX key value`
pub(super) fn setnx(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let options = Options { condition: If::Absent, answer: Answer::Count, ..Options::default() };
    store(run, args, args.at(2), options, None)
}

/// `GETSET key value`
pub(super) fn getset(run: &mut Run<'_, '_>, args: Args<'_>) -> Result<(), Fault> {
    let options = Options { answer: Answer::Before, ..Options::default() };
    store(run, args, args.at(2), options, None)
}

fn read_options(args: Args<'_>) -> Result<Options, Fault> {
    let mut options = Options::default();
    let mut at = 3;
    while let Some(word) = args.get(at) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let has_next = at + 1 < args.len();
        // An option may be repeated, but not beside one that it contradicts.
        match (options.condition, options.life) {
            (If::Always | If::Absent, _) if is(b"nx") => options.condition = If::Absent,
            (If::Always | If::Present, _) if is(b"xx") => options.condition = If::Present,
            (If::Always, _) if is(b"ifeq") && has_next => {
                at += 1;
                options.condition = If::Equal(at);
            }
            _ if is(b"get") => options.answer = Answer::Before,
            (_, Life::Default | Life::Keep) if is(b"keepttl") => options.life = Life::Keep,
            (_, life) => {
                let unit = Unit::named(word).filter(|_| has_next).ok_or(SYNTAX)?;
                match life {
                    Life::Default => {}
                    Life::End(other, _) if other == unit => {}
                    Life::End(..) | Life::Keep => return Err(SYNTAX),
                }
                at += 1;
                options.life = Life::End(unit, at);
            }
        }
        at += 1;
    }
    Ok(options)
}

fn store(
    run: &mut Run<'_, '_>,
    args: Args<'_>,
    value: &[u8],
    options: Options,
    moment: Option<Moment>,
) -> Result<(), Fault> {
    let key = args.at(1);
    let refused = denied(run.verb);
    let before = match options.answer {
        Answer::Before => run.held.copied(key).map_err(&refused)?,
        Answer::Ok | Answer::Count => None,
    };
    let met = match options.condition {
        If::Always => true,
        If::Absent => !run.held.is_there(key),
        If::Present => run.held.is_there(key),
        If::Equal(at) => {
            let wanted = args.at(at);
            run.held.read(key, |seen| seen.is_some_and(|seen| seen.value == wanted)).map_err(&refused)?
        }
    };
    if met {
        write(run, key, value, options.life, moment)?;
    }
    match options.answer {
        Answer::Before => match before {
            Some((value, _)) => run.out.bulk(&value),
            None => run.out.null(),
        },
        Answer::Ok if met => run.out.ok(),
        Answer::Ok => run.out.null(),
        Answer::Count => run.out.integer(i64::from(met)),
    }
    Ok(())
}

fn write(
    run: &mut Run<'_, '_>,
    key: &[u8],
    value: &[u8],
    life: Life,
    moment: Option<Moment>,
) -> Result<(), Fault> {
    let now_ms = run.now_ms();
    let Some(moment) = moment else {
        run.put(key, &[value], if life == Life::Keep { Until::Kept } else { Until::Default })?;
        run.tell("set", key);
        return Ok(());
    };
    if moment.is_past(now_ms) {
        // It is written and has ended at once: whoever watches the key sees that something happened.
        run.put(key, &[value], Until::At(Expiry::at_ms(now_ms + 1)))?;
        run.held.remove(key).map_err(denied(run.verb))?;
    } else {
        run.put(key, &[value], Until::At(moment.expiry().map_err(denied(run.verb))?))?;
    }
    run.tell("set", key);
    run.tell("expire", key);
    Ok(())
}
