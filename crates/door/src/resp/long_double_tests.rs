//! Expected digits are those of Redis 7.0.15 on x86-64.

use proptest::prelude::*;

use super::*;

fn sum(a: &str, b: &str) -> Option<String> {
    let sum = LongDouble::parse(a.as_bytes())?.plus(LongDouble::parse(b.as_bytes())?)?;
    Some(String::from_utf8(sum.show()).unwrap())
}

fn shown(text: &str) -> Option<String> {
    Some(String::from_utf8(LongDouble::parse(text.as_bytes())?.show()).unwrap())
}

#[test]
fn sums_have_the_digits_that_redis_writes() {
    for (a, b, expected) in [
        ("0", "0.1", "0.1"),
        ("0.1", "0.2", "0.3"),
        ("10.5", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("3", "-3", "0"),
        ("-0", "0", "0"),
        ("1", "-1.1", "-0.1"),
        ("1e17", "0.5", "100000000000000000.5"),
        ("1e20", "1e-3", "100000000000000000000"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("1e-17", "0", "0.00000000000000001"),
        ("4e-18", "0", "0"),
        ("-4e-18", "0", "0"),
        ("0x10", "0x.8p0", "16.5"),
    ] {
        assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
    }
}

#[test]
fn what_strtold_refuses_is_no_number() {
    for text in
        ["", " 1", "1 ", "1e", "1e+", "e5", ".", "-", "+-1", "0x", "nan", "1e5000", "1e-5000", "1.2.3", "1,5"]
    {
        assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
    }
    for text in ["1.", ".5", "+1", "-.5e1", "INF", "-Infinity", "0e99999999999", "0x1P-3"] {
        assert!(LongDouble::parse(text.as_bytes()).is_some(), "{text}");
    }
    assert_eq!(sum("inf", "1"), None);
    assert_eq!(sum("1e4932", "1e4932"), None);
    assert!(LongDouble::parse(&[b'1'; TEXT_LEN_MAX + 1]).is_none());
}

#[test]
fn rounding_is_to_nearest_and_to_even_between() {
    // 2^64 + 1 lies between two numbers of 64 bits.
    assert_eq!(shown("18446744073709551617").unwrap(), "18446744073709551616");
    assert_eq!(shown("18446744073709551619").unwrap(), "18446744073709551620");
    assert_eq!(sum("18446744073709551616", "1").unwrap(), "18446744073709551616");
    assert_eq!(sum("18446744073709551616", "3").unwrap(), "18446744073709551620");
    // Just above the half, by something far below.
    assert_eq!(sum("18446744073709551616", "1.000000001").unwrap(), "18446744073709551618");
    assert_eq!(sum("18446744073709551616", "-0.5").unwrap(), "18446744073709551616");
    assert_eq!(sum("18446744073709551616", "-0.500000001").unwrap(), "18446744073709551615");
    assert_eq!(shown("1e4932").unwrap().len(), 4933);
}

proptest! {
    #[test]
    fn whole_numbers_are_exact(a in any::<i32>(), b in any::<i32>()) {
        let expected = (i64::from(a) + i64::from(b)).to_string();
        prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some(expected));
    }

    #[test]
    fn what_a_double_can_hold_is_read_and_written_as_it_is(number in -1e15..1e15_f64) {
        let text = format!("{number:.17}");
        let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        let trimmed = if trimmed == "-0" { "0" } else { trimmed };
        prop_assert_eq!(shown(&format!("{number:e}")).map(|t| t.parse::<f64>()), Some(Ok(number)));
        prop_assert_eq!(shown(&text).map(|t| t.parse::<f64>()), Some(trimmed.parse::<f64>()));
    }

    #[test]
    fn any_bytes_are_read_without_harm(text in proptest::collection::vec(any::<u8>(), 0..60), other in "[-+]?[0-9]{1,30}(\\.[0-9]{0,30})?(e[-+]?[0-9]{1,5})?") {
        for text in [&text[..], other.as_bytes()] {
            if let Some(number) = LongDouble::parse(text) {
                let _ = number.show();
                let _ = number.plus(number);
            }
        }
    }
}
