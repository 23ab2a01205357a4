//! A request of the HTTP door: whatever method, path, query, headers and body say, decoding ends with an answer, and a
//! key that was decoded is written and read again as the same.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use larder_door::http::conditions::Conditions;
use larder_door::http::events::Cursor;
use larder_door::http::origin::Hosts;
use larder_door::http::ranges::{Ranges, Wanted};
use larder_door::http::target;
use larder_door::http::{forms, idempotency, percent, suspicion};
use larder_format::record::Version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (method, uri, head, body) = (next(), next(), next(), next());
    let _ = forms::data(body);
    let _ = forms::raw(body);
    let _ = suspicion::look_at_bytes(data);
    let Ok(method) = Method::from_bytes(method) else { return };
    let Ok(uri) = Uri::try_from(uri) else { return };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\r') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(halves.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(halves.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let _ = Cursor::parse(body);
    let _ = idempotency::read(&headers);
    if let Ok(Some(conditions)) = Conditions::read(&headers) {
        let _ = (conditions.look(None), conditions.look(Some(Version::from_u64(7))), conditions.as_one());
    }
    let (len, version) = (body.len() as u64, Version::from_u64(7));
    match Ranges::read(&headers).map_or(Wanted::Whole, |ranges| ranges.of(len, version)) {
        Wanted::Part(part) => assert!(part.start < part.end && part.end <= len),
        Wanted::Parts(parts) => assert!(parts.iter().all(|part| part.start < part.end && part.end <= len)),
        Wanted::Whole | Wanted::Nothing => {}
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let _ = Hosts::default().check(&method, http::Version::HTTP_11, authority, &headers);
    match target::decode(&method, uri.path(), uri.query()) {
        Ok(asked) => {
            if let Some(key) = asked.key() {
                let again = percent::decode(&percent::encode(key.as_bytes()));
                assert_eq!(again.as_deref(), Ok(key.as_bytes()));
            }
        }
        Err(_) => {
            let _ = suspicion::look(&method, &uri);
        }
    }
});
