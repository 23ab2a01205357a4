//! The page of limits is made from the source that enforces them, so that it cannot say something else.
//! `UPDATE_DOCS=1 cargo test -p larder-tidy` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where the page lives, from the root.
pub const PAGE: &str = "docs/reference/limits.md";

/// Where the limits live, from the root.
pub const SOURCE: &str = "crates/format/src/limits.rs";

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Name of the constant.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// Its documentation as one line.
    pub meaning: String,
}

/// The public constants of the source, in its order. A value that cannot be computed is left out as an error.
///
/// # Errors
/// The name of a constant whose value is not a sum or product of numbers and constants before it.
pub fn parse(source: &str) -> Result<Vec<Limit>, String> {
    let mut limits = Vec::new();
    let mut known = BTreeMap::new();
    let mut meaning = String::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push_str(text);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let (name, rest) = rest.split_once(':').ok_or("a constant without a type")?;
            let expression = rest.split_once('=').map_or("", |(_, e)| e).trim().trim_end_matches(';');
            let value = evaluate(expression, &known).ok_or_else(|| name.to_owned())?;
            known.insert(name.to_owned(), value);
            limits.push(Limit { name: name.to_owned(), value, meaning: meaning.trim().to_owned() });
            meaning.clear();
        } else {
            meaning.clear();
        }
    }
    Ok(limits)
}

/// A sum of products of numbers and known names.
fn evaluate(expression: &str, known: &BTreeMap<String, u64>) -> Option<u64> {
    expression.split('+').try_fold(0_u64, |sum, term| {
        let product = term.split('*').try_fold(1_u64, |product, factor| {
            let factor = factor.trim();
            let value = known.get(factor).copied().or_else(|| factor.replace('_', "").parse().ok())?;
            product.checked_mul(value)
        })?;
        sum.checked_add(product)
    })
}

/// The whole page.
#[must_use]
pub fn page(limits: &[Limit]) -> String {
    let mut out = String::from(
        "# Limits\n\n\
        Made from `crates/format/src/limits.rs` by `UPDATE_DOCS=1 cargo test -p larder-tidy`; a test compares the two.\n\
        Whatever is beyond a limit is refused with a message that names it; nothing is clamped silently.\n\
        Connections, times and sizes of the HTTP door are in [its page](../doors/http.md#limits).\n\n\
        | limit | value | meaning |\n|---|---|---|\n",
    );
    for limit in limits {
        let meaning = plain_links(&limit.meaning);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| `{}` | {} | {meaning} |", limit.name, shown(&limit.name, limit.value));
    }
    out
}

/// Documentation links (`[`NAME`]`) as plain code.
fn plain_links(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`")
}

/// A value with its unit, as the name says it.
fn shown(name: &str, value: u64) -> String {
    let scaled = |units: &[(u64, &str)]| {
        let unit = units.iter().find(|(size, _)| value >= *size && value.is_multiple_of(*size));
        unit.map_or_else(|| value.to_string(), |(size, unit)| format!("{} {unit}", value / size))
    };
    if name.contains("_MS_") {
        scaled(&[(365 * 86_400_000, "years"), (86_400_000, "d"), (3_600_000, "h"), (1_000, "s"), (1, "ms")])
    } else if name.contains("_LEN_") || name.contains("_BYTES_") {
        scaled(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes")])
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE_TEXT: &str = "//! Limits.\n\n/// Longest key,\n/// see [`B_MS_MAX`].\npub const A_LEN_MAX: usize = 4 * 1024 * 1024 + 256 * 1024;\n\n/// B.\npub const B_MS_MAX: u64 = 100 * 365 * 24 * 3600 * 1000;\n/// C.\npub const C_MAX: u32 = 1_000;\n";

    #[test]
    fn reads_and_shows_values_with_units() {
        let limits = parse(SOURCE_TEXT).expect("all can be computed");
        assert_eq!(limits[0].value, 4_456_448);
        let page = page(&limits);
        assert!(page.contains("| `A_LEN_MAX` | 4352 KiB | Longest key, see `B_MS_MAX`. |"), "{page}");
        assert!(page.contains("| `B_MS_MAX` | 100 years | B. |"), "{page}");
        assert!(page.contains("| `C_MAX` | 1000 | C. |"), "{page}");
    }

    #[test]
    fn a_value_beyond_this_reader_is_an_error() {
        assert_eq!(parse("pub const A: u8 = f();\n"), Err("A".to_owned()));
    }
}
