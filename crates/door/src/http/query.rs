//! Queries: `name=value` pairs of names that the route knows. A name it does not know is refused, because a misspelt
//! lifetime that is silently ignored is worse than an error.

use super::{Bad, percent};

/// Reads a query into the values of `names`, in their order.
///
/// # Errors
/// [`Bad`] names the parameter that is unknown, there twice or badly encoded.
pub fn read<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<Vec<u8>>; N], Bad> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            let known =
                if N == 0 { "none is known here".to_owned() } else { format!("known: {}", names.join(", ")) };
            let name: String = name.chars().take(40).collect();
            return Err(Bad::new(format!("unknown query parameter name={name}; {known}")));
        };
        if values[at].is_some() {
            return Err(Bad::new(format!("query parameter is there twice name={name}")));
        }
        values[at] = Some(percent::decode(&value.replace('+', " "))?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_in_any_order() {
        let read = |query| read(Some(query), ["prefix", "limit"]);
        assert_eq!(read("limit=5&prefix=a%2Bb+c").unwrap(), [Some(b"a+b c".to_vec()), Some(b"5".to_vec())]);
        assert_eq!(read("&&limit").unwrap(), [None, Some(Vec::new())]);
        assert_eq!(super::read(None, ["x"]).unwrap(), [None]);
    }

    #[test]
    fn slips_are_refused_by_name() {
        for (query, why) in [("tll=5", "name=tll"), ("ttl=1&ttl=2", "twice"), ("ttl=%1", "percent")] {
            let bad = read(Some(query), ["ttl"]).unwrap_err();
            assert!(bad.0.contains(why), "{query}: {bad}");
        }
    }
}
