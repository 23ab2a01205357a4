//! JSON bodies: `{"data":base64,"ttl":seconds}` of `PUT /data/{key}`, `{"data":text,"ttl":seconds,"key":name}` of
//! `POST /raw/put`. Unknown fields are refused.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use larder_format::record::Key;
use serde::Deserialize;

use super::{Bad, lifetime, target};

/// The standard alphabet, padded or not: both are in use.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value with its lifetime, in milliseconds; `None`: the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its bytes.
    pub data: Bytes,
    /// How long it lives.
    pub ttl_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataForm<'a> {
    #[serde(borrow)]
    data: std::borrow::Cow<'a, str>,
    ttl: Option<serde_json::Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawForm {
    data: String,
    ttl: Option<serde_json::Number>,
    key: Option<String>,
}

fn not_json(error: &serde_json::Error, form: &str) -> Bad {
    Bad::new(format!("the body is not {form}: {error}"))
}

fn ttl_ms(number: Option<&serde_json::Number>) -> Result<Option<u64>, Bad> {
    number.map(lifetime::from_json).transpose()
}

/// The body of `PUT /data/{key}` with `Content-Type: application/json`.
///
/// # Errors
/// [`Bad`] says what is wrong with it.
pub fn data(body: &[u8]) -> Result<Value, Bad> {
    let form: DataForm<'_> = serde_json::from_slice(body).map_err(|e| {
        not_json(
            &e,
            "{\"data\":base64,\"ttl\":seconds}; send bytes with Content-Type: application/octet-stream",
        )
    })?;
    let data = BASE64.decode(form.data.as_bytes()).map_err(|e| {
        // Its words end in a full stop, and answers add one.
        Bad::new(format!("the field data is not base64: {}", e.to_string().trim_end_matches('.')))
    })?;
    Ok(Value { data: data.into(), ttl_ms: ttl_ms(form.ttl.as_ref())? })
}

/// The body of `POST /raw/put`; the key it names, if it does.
///
/// # Errors
/// [`Bad`] says what is wrong with it.
pub fn raw(body: &[u8]) -> Result<(Value, Option<Key>), Bad> {
    let form: RawForm = serde_json::from_slice(body)
        .map_err(|e| not_json(&e, "{\"data\":text,\"ttl\":seconds,\"key\":name}"))?;
    // An empty name asks for one to be chosen, as no name does.
    let key = form.key.filter(|key| !key.is_empty()).map(|key| target::key(key.into_bytes())).transpose()?;
    Ok((Value { data: form.data.into(), ttl_ms: ttl_ms(form.ttl.as_ref())? }, key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms() {
        let value = data(br#"{"data":"aGVsbG8=","ttl":300}"#).unwrap();
        assert_eq!(value, Value { data: "hello".into(), ttl_ms: Some(300_000) });
        assert_eq!(data(br#"{"data":"aGVsbG8"}"#).unwrap().data, "hello", "unpadded");
        let (value, key) = raw(br#"{"data":"hi \u00e9","ttl":0.5,"key":"a/b"}"#).unwrap();
        assert_eq!(value, Value { data: "hi é".into(), ttl_ms: Some(500) });
        assert_eq!(key.unwrap().as_bytes(), b"a/b");
        assert_eq!(raw(br#"{"data":"","key":""}"#).unwrap().1, None);
    }

    #[test]
    fn slips_say_what_is_wrong() {
        for (body, why) in [
            (&b"hello"[..], "octet-stream"),
            (br#"{"data":"!!"}"#, "not base64"),
            (br#"{"data":"","tll":1}"#, "tll"),
            (br#"{"ttl":1}"#, "data"),
            (br#"{"data":"","ttl":"1h"}"#, "ttl"),
            (br#"{"data":"","ttl":-1}"#, "ttl"),
            (br#"{"data":"","data":""}"#, "duplicate"),
        ] {
            let bad = data(body).unwrap_err();
            assert!(bad.0.contains(why), "{}: {bad}", String::from_utf8_lossy(body));
        }
        assert!(raw(br#"{"data":1}"#).is_err());
        assert!(raw(format!(r#"{{"data":"","key":"{}"}}"#, "k".repeat(5000)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..300), ttl in 0u64..1_000_000) {
            let body = serde_json::json!({ "data": BASE64.encode(&bytes), "ttl": ttl }).to_string();
            let value = data(body.as_bytes()).unwrap();
            prop_assert_eq!((&value.data[..], value.ttl_ms), (&bytes[..], Some(ttl * 1000)));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = data(&body);
            let _ = raw(&body);
        }
    }
}
