//! Numbers as `INCRBYFLOAT` has them: read from text, added, and written as Redis does on the machines it runs on most.
//!
//! There a `long double` has 64 bits of mantissa (x87), is read exactly rounded to nearest, and is written with 17
//! digits after the point, zeros at the end left out. This is that arithmetic in integers: a client that sums up gets
//! the same digits from either server. Long texts and large exponents cost time in proportion to Redis' own limit of
//! [`TEXT_LEN_MAX`] bytes.

/// Longest text that is read as a number, in bytes: as Redis.
pub const TEXT_LEN_MAX: usize = 5 * 1024 - 1;

/// Digits after the point that are written.
const DECIMALS: usize = 17;

/// 10 to the [`DECIMALS`].
const DECIMALS_POWER: u128 = 100_000_000_000_000_000;

/// Largest exponent of a number's lowest bit.
const EXPONENT_MAX: i32 = 16383 - 63;

/// Smallest exponent of a number's lowest bit.
const EXPONENT_MIN: i32 = -16445;

/// Decimal digits before the point beyond which a number is too large, and after it beyond which it is nothing.
const DIGITS_MAX: i64 = 4_940;
const DIGITS_MIN: i64 = -4_960;

/// The same in bits.
const BITS_MAX: i64 = 16_400;
const BITS_MIN: i64 = -16_460;

/// A number: `mantissa` times two to the `exponent`, or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    /// With its highest bit set, except for zero and the smallest numbers.
    mantissa: u64,
    exponent: i32,
    infinite: bool,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, mantissa: 0, exponent: EXPONENT_MIN, infinite: false };

    fn infinity(negative: bool) -> Self {
        Self { negative, infinite: true, ..Self::ZERO }
    }

    /// Reads what `strtold` reads, if that is all of the text: decimal, hexadecimal, infinite. `None` for what is no
    /// number, too large, or nothing although it does not say so.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > TEXT_LEN_MAX {
            return None;
        }
        let (negative, rest) = match text[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::infinity(negative));
        }
        let is_hex = rest.len() > 2 && rest[..2].eq_ignore_ascii_case(b"0x");
        let (digits, exponent) = if is_hex { read(&rest[2..], 16, b'p')? } else { read(rest, 10, b'e')? };
        if digits.is_empty() {
            return Some(Self { negative, ..Self::ZERO });
        }
        let (base, bits) = if is_hex { (16, 4) } else { (10, 1) };
        let magnitude = i64::try_from(digits.len()).unwrap_or(i64::MAX) * bits + exponent;
        let mut over = Natural::default();
        digits.iter().for_each(|digit| over.multiply_add(base, u32::from(*digit)));
        let (over, under, power) = if is_hex {
            check(magnitude, BITS_MIN, BITS_MAX)?;
            (over, Natural::of(1, 0), exponent)
        } else {
            check(magnitude, DIGITS_MIN, DIGITS_MAX)?;
            let tens = power_of_ten(exponent.unsigned_abs());
            if exponent < 0 { (over, tens, 0) } else { (over.times(&tens), Natural::of(1, 0), 0) }
        };
        let number = nearest(negative, &over, &under, power);
        (!number.infinite && number.mantissa != 0).then_some(number)
    }

    /// The sum, rounded to nearest; `None` if it is infinite or no number.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.infinite || other.infinite {
            return None;
        }
        let (large, small) = if (self.top(), self.mantissa) >= (other.top(), other.mantissa) {
            (self, other)
        } else {
            (other, self)
        };
        if small.mantissa == 0 {
            return Some(large);
        }
        // Two bits stay free above for a carry; what falls off below is remembered in the lowest bit.
        const SHIFT: u32 = 62;
        let wide = u128::from(large.mantissa) << SHIFT;
        // The larger one's exponent is not the smaller: numbers that are not normal have the lowest there is.
        let apart = (large.exponent - small.exponent).unsigned_abs();
        let other = shifted_sticky(u128::from(small.mantissa) << SHIFT, apart);
        let sum = if large.negative == small.negative { wide + other } else { wide - other };
        if sum == 0 {
            return Some(Self::ZERO);
        }
        let sum = round(large.negative, sum, large.exponent - SHIFT.cast_signed());
        (!sum.infinite).then_some(sum)
    }

    /// The exponent of the highest bit: orders numbers with that bit set by size.
    fn top(&self) -> i32 {
        if self.mantissa == 0 {
            i32::MIN
        } else {
            self.exponent + 63 - self.mantissa.leading_zeros().cast_signed()
        }
    }

    /// As text: 17 digits after the point, without zeros at the end; never with an exponent.
    #[must_use]
    pub fn show(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        if self.exponent > 0 && self.mantissa != 0 {
            out = Natural::of(self.mantissa, self.exponent.unsigned_abs()).digits();
        } else {
            // The product takes less than 121 bits.
            let scaled = u128::from(self.mantissa) * DECIMALS_POWER;
            let scaled = rounded_shift(scaled, self.exponent.unsigned_abs());
            out.extend_from_slice((scaled / DECIMALS_POWER).to_string().as_bytes());
            let part = scaled % DECIMALS_POWER;
            if part > 0 {
                let part = format!(".{part:0DECIMALS$}");
                out.extend_from_slice(part.trim_end_matches('0').as_bytes());
            }
        }
        if self.negative && out != b"0" {
            out.insert(0, b'-');
        }
        out
    }
}

/// Nothing to compute beyond what can be the answer.
fn check(magnitude: i64, min: i64, max: i64) -> Option<()> {
    (min..=max).contains(&magnitude).then_some(())
}

/// Reads digits with a point, and an exponent. Answers the digits without zeros before and after, and the exponent of
/// what follows the last one (of ten, or of two for hexadecimal digits).
fn read(text: &[u8], base: u32, mark: u8) -> Option<(Vec<u8>, i64)> {
    let per_digit = if base == 16 { 4 } else { 1 };
    let mut digits = Vec::new();
    let (mut exponent, mut seen, mut point) = (0, false, false);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'.' && !point {
            point = true;
        } else if let Some(digit) = char::from(*first).to_digit(base) {
            seen = true;
            exponent -= if point { per_digit } else { 0 };
            if digit > 0 || !digits.is_empty() {
                // A digit of these bases fits a byte.
                digits.push(u8::try_from(digit).unwrap_or(0));
            }
        } else {
            break;
        }
        rest = after;
    }
    if !seen {
        return None;
    }
    if let Some((first, after)) = rest.split_first() {
        if !first.eq_ignore_ascii_case(&mark) {
            return None;
        }
        exponent += read_exponent(after)?;
    }
    while digits.last() == Some(&0) {
        digits.pop();
        exponent += per_digit;
    }
    Some((digits, exponent))
}

/// Reads a signed decimal exponent; one that is too long is as good as infinite.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0_i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if negative { -size } else { size })
}

/// `value` shifted right, with the lowest bit set if anything fell off.
fn shifted_sticky(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..=127 => (value >> by) | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// `value` shifted right, rounded to nearest, halves to even.
fn rounded_shift(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..=127 => {
            let (kept, lost, half) = (value >> by, value << (128 - by), 1_u128 << 127);
            kept + u128::from(lost > half || (lost == half && kept & 1 == 1))
        }
        _ => 0,
    }
}

/// The number nearest to `value` times two to the `exponent`; the lowest bit of `value` may stand for what is below it.
fn round(negative: bool, value: u128, exponent: i32) -> LongDouble {
    let surplus = 64 - value.leading_zeros().cast_signed();
    let by = surplus.max(EXPONENT_MIN - exponent);
    if by <= 0 {
        // Not more than 64 bits: nothing is lost by moving them up.
        let up = (-by).unsigned_abs();
        let mantissa = u64::try_from(value << up).unwrap_or(u64::MAX);
        return within(negative, mantissa, exponent + by);
    }
    let kept = rounded_shift(value, by.unsigned_abs());
    match u64::try_from(kept) {
        Ok(mantissa) => within(negative, mantissa, exponent + by),
        // Rounded up to the next power of two.
        Err(_) => within(negative, 1 << 63, exponent + by + 1),
    }
}

fn within(negative: bool, mantissa: u64, exponent: i32) -> LongDouble {
    if exponent > EXPONENT_MAX && mantissa != 0 {
        return LongDouble::infinity(negative);
    }
    LongDouble { negative, mantissa, exponent, infinite: false }
}

/// The number nearest to `over / under × 2^power`.
fn nearest(negative: bool, over: &Natural, under: &Natural, power: i64) -> LongDouble {
    // So that the quotient has 66 or 67 bits: more than a mantissa, and what is below is one bit.
    let shift = 67 + under.bits() - over.bits();
    let (mut rest, step) = if shift >= 0 {
        (over.shifted(shift.unsigned_abs()), under.clone())
    } else {
        (over.clone(), under.shifted(shift.unsigned_abs()))
    };
    let mut quotient = 0_u128;
    for bit in (0..68_u32).rev() {
        let part = step.shifted(bit);
        if part.is_at_most(&rest) {
            rest.subtract(&part);
            quotient |= 1 << bit;
        }
    }
    let sticky = quotient << 1 | u128::from(!rest.is_zero());
    let exponent = power - shift - 1;
    round(negative, sticky, i32::try_from(exponent).unwrap_or(i32::MIN / 2))
}

/// A natural number of any size, in digits of 32 bits, lowest first, without zeros above.
#[derive(Debug, Clone, Default)]
struct Natural(Vec<u32>);

/// 10 to the `power`.
fn power_of_ten(power: u64) -> Natural {
    let mut out = Natural::of(1, 0);
    for _ in 0..power / 9 {
        out.multiply_add(1_000_000_000, 0);
    }
    for _ in 0..power % 9 {
        out.multiply_add(10, 0);
    }
    out
}

impl Natural {
    /// `value` times two to the `exponent`.
    fn of(value: u64, exponent: u32) -> Self {
        // The halves of a number of 64 bits.
        #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let mut out = Self(vec![value as u32, (value >> 32) as u32]);
        out.trim();
        out.shifted(exponent)
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i64 {
        let Some(top) = self.0.last() else { return 0 };
        i64::try_from(self.0.len()).unwrap_or(i64::MAX) * 32 - i64::from(top.leading_zeros())
    }

    #[allow(clippy::cast_possible_truncation, reason = "the rest is carried")]
    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the rest is carried")]
    fn times(&self, other: &Self) -> Self {
        let mut out = vec![0_u32; self.0.len() + other.0.len()];
        for (at, digit) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (place, factor) in out[at..].iter_mut().zip(other.0.iter().chain(std::iter::repeat(&0))) {
                carry += u64::from(*digit) * u64::from(*factor) + u64::from(*place);
                *place = carry as u32;
                carry >>= 32;
            }
        }
        let mut out = Self(out);
        out.trim();
        out
    }

    fn shifted(&self, by: impl Into<u64>) -> Self {
        let by = by.into();
        if self.is_zero() {
            return self.clone();
        }
        let mut out = Self(vec![0; usize::try_from(by / 32).unwrap_or(0)]);
        out.0.extend_from_slice(&self.0);
        let (low, above) = (usize::try_from(by / 32).unwrap_or(0), by % 32);
        if above > 0 {
            let mut carry = 0;
            for digit in &mut out.0[low..] {
                let next = *digit >> (32 - above);
                *digit = *digit << above | carry;
                carry = next;
            }
            out.0.push(carry);
            out.trim();
        }
        out
    }

    fn is_at_most(&self, other: &Self) -> bool {
        let by_len = self.0.len().cmp(&other.0.len());
        by_len.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_le()
    }

    /// Takes away what is at most this.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (digit, less) in self.0.iter_mut().zip(other.0.iter().chain(std::iter::repeat(&0))) {
            let (first, under) = digit.overflowing_sub(*less);
            let (second, again) = first.overflowing_sub(u32::from(borrow));
            *digit = second;
            borrow = under || again;
        }
        self.trim();
    }

    /// Its decimal digits.
    fn digits(mut self) -> Vec<u8> {
        let mut parts = Vec::new();
        while !self.is_zero() {
            let mut rest = 0_u64;
            for digit in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*digit);
                *digit = u32::try_from(value / 1_000_000_000).unwrap_or(0);
                rest = value % 1_000_000_000;
            }
            self.trim();
            parts.push(rest);
        }
        let mut out = parts.pop().unwrap_or(0).to_string();
        parts.iter().rev().for_each(|part| out.push_str(&format!("{part:09}")));
        out.into_bytes()
    }
}

#[cfg(test)]
#[path = "long_double_tests.rs"]
mod tests;
