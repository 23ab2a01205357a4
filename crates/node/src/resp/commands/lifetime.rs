//! Lifetimes as commands have them: seconds or milliseconds, from now or since 1970, checked in the order and refused in
//! the words of Redis.

use larder_door::resp::{Verb, numbers};
use larder_format::record::Expiry;

use super::fault::{Fault, NOT_AN_INTEGER};
use crate::plain::{Denied, EXPIRY_MS_MAX};

/// What a number of a lifetime means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: seconds since 1970.
    AtSeconds,
    /// `PXAT`: milliseconds since 1970.
    AtMilliseconds,
}

impl Unit {
    /// The unit of this option, in any case.
    pub(super) fn named(word: &[u8]) -> Option<Self> {
        let all = [
            (&b"ex"[..], Unit::Seconds),
            (b"px", Unit::Milliseconds),
            (b"exat", Unit::AtSeconds),
            (b"pxat", Unit::AtMilliseconds),
        ];
        all.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, unit)| unit)
    }

    fn is_seconds(self) -> bool {
        matches!(self, Unit::Seconds | Unit::AtSeconds)
    }

    fn is_from_now(self) -> bool {
        matches!(self, Unit::Seconds | Unit::Milliseconds)
    }

    /// Milliseconds since 1970; `None` if no number of 64 bits holds them.
    fn moment(self, number: i64, now_ms: u64) -> Option<i64> {
        let ms = number.checked_mul(if self.is_seconds() { 1000 } else { 1 })?;
        let base = if self.is_from_now() { i64::try_from(now_ms).ok()? } else { 0 };
        ms.checked_add(base)
    }
}

/// When a value ends, as `SET` and the like take it: a number above nothing. It may be past.
///
/// # Errors
/// [`Fault`]: no number, nothing or less, too much.
pub(super) fn read(verb: Verb, unit: Unit, number: &[u8], now_ms: u64) -> Result<Moment, Fault> {
    let number = numbers::integer(number).ok_or(NOT_AN_INTEGER)?;
    let ms = Some(number).filter(|number| *number > 0).and_then(|number| unit.moment(number, now_ms));
    let ms = ms.ok_or(Fault::ExpireTime(verb))?;
    Ok(Moment::of(ms))
}

/// As [`read`], as `EXPIRE` and the like take it: also numbers below nothing.
///
/// # Errors
/// [`Fault`]: no number, too much.
pub(super) fn read_any(verb: Verb, unit: Unit, number: &[u8], now_ms: u64) -> Result<Moment, Fault> {
    let number = numbers::integer(number).ok_or(NOT_AN_INTEGER)?;
    let ms = unit.moment(number, now_ms).ok_or(Fault::ExpireTime(verb))?;
    Ok(Moment::of(ms))
}

/// When a value is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Moment {
    fn of(ms: i64) -> Self {
        Self(ms)
    }

    /// Whether it is not later than now.
    pub(super) fn is_past(self, now_ms: u64) -> bool {
        self.0 <= i64::try_from(now_ms).unwrap_or(i64::MAX)
    }

    /// Whether it is later than an end; none is later than never.
    pub(super) fn is_after(self, end: Expiry) -> bool {
        end.ms().is_some_and(|end| i128::from(self.0) > i128::from(end))
    }

    /// Whether it is before an end; every one is before never.
    pub(super) fn is_before(self, end: Expiry) -> bool {
        end.ms().is_none_or(|end| i128::from(self.0) < i128::from(end))
    }

    /// As the values take it.
    ///
    /// # Errors
    /// [`Denied::TooLate`].
    pub(super) fn expiry(self) -> Result<Expiry, Denied> {
        let ms = u64::try_from(self.0).unwrap_or(0);
        if ms > EXPIRY_MS_MAX { Err(Denied::TooLate) } else { Ok(Expiry::at_ms(ms)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn lifetimes_are_read_and_refused_as_redis_does() {
        let read = |unit, text: &[u8]| read(Verb::Set, unit, text, NOW).ok();
        assert_eq!(read(Unit::Seconds, b"10"), Some(Moment(1_700_000_010_000)));
        assert_eq!(read(Unit::Milliseconds, b"10"), Some(Moment(1_700_000_000_010)));
        assert_eq!(read(Unit::AtSeconds, b"1"), Some(Moment(1_000)), "past is for others to judge");
        assert_eq!(read(Unit::AtMilliseconds, b"9223372036854775807"), Some(Moment(i64::MAX)));
        for (unit, text) in [
            (Unit::Seconds, "0"),
            (Unit::Milliseconds, "-1"),
            (Unit::Seconds, "9223372036854775"),
            (Unit::AtSeconds, "9223372036854776"),
            (Unit::Milliseconds, "9223372036854775807"),
            (Unit::Seconds, "x"),
            (Unit::Seconds, "1.5"),
        ] {
            assert_eq!(read(unit, text.as_bytes()), None, "{unit:?} {text}");
        }
        let any = read_any(Verb::Expire, Unit::Seconds, b"-10", NOW).unwrap();
        assert!(any.is_past(NOW) && any == Moment(1_699_999_990_000));
    }

    #[test]
    fn moments_are_compared_with_ends_and_with_never() {
        let moment = Moment(50);
        assert!(moment.is_after(Expiry::at_ms(49)) && !moment.is_after(Expiry::at_ms(50)));
        assert!(!moment.is_after(Expiry::NEVER) && moment.is_before(Expiry::NEVER));
        assert!(moment.is_before(Expiry::at_ms(51)) && !moment.is_before(Expiry::at_ms(50)));
        assert!(Moment(i64::MAX).expiry().is_err());
        assert_eq!(Moment(-5).expiry().ok(), Some(Expiry::at_ms(0)));
    }
}
