//! Queries: `name=value` pairs of names that the route knows. A name it does not know is refused, because a misspelt
//! lifetime that is silently ignored is worse than an error.

use super::{Bad, percent};

/// Values of the names that a route knows, in their order.
pub type Values<const N: usize> = [Option<Vec<u8>>; N];

/// Reads a query into the values of `names`, in their order.
///
/// # Errors
/// [`Bad`] names the parameter that is unknown, there twice or badly encoded.
pub fn read<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<Values<N>, Bad> {
    Ok(read_into(query, names, None)?.0)
}

/// As [`read`], with one more name that may be there several times. How many is bounded by the head's length.
///
/// # Errors
/// As [`read`].
pub fn read_with_list<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
    list: &str,
) -> Result<(Values<N>, Vec<Vec<u8>>), Bad> {
    read_into(query, names, Some(list))
}

fn read_into<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
    list: Option<&str>,
) -> Result<(Values<N>, Vec<Vec<u8>>), Bad> {
    let (mut values, mut listed) = ([const { None }; N], Vec::new());
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || percent::decode(&value.replace('+', " "));
        if list == Some(name) {
            listed.push(value()?);
            continue;
        }
        let Some(at) = names.iter().position(|known| *known == name) else {
            let known: Vec<&str> = names.into_iter().chain(list).collect();
            let known = match &known[..] {
                [] => "none is known here".to_owned(),
                known => format!("known: {}", known.join(", ")),
            };
            let name: String = name.chars().take(40).collect();
            return Err(Bad::new(format!("unknown query parameter name={name}; {known}")));
        };
        if values[at].is_some() {
            return Err(Bad::new(format!("a query parameter is there twice name={name}")));
        }
        values[at] = Some(value()?);
    }
    Ok((values, listed))
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
        let (one, list) = read_with_list(Some("key=a&p=1&key=b%26"), ["p"], "key").unwrap();
        assert_eq!((one, list), ([Some(b"1".to_vec())], vec![b"a".to_vec(), b"b&".to_vec()]));
    }

    #[test]
    fn slips_are_refused_by_name() {
        for (query, why) in [("tll=5", "name=tll"), ("ttl=1&ttl=2", "twice"), ("ttl=%1", "percent")] {
            let bad = read(Some(query), ["ttl"]).unwrap_err();
            assert!(bad.0.contains(why), "{query}: {bad}");
        }
    }
}
