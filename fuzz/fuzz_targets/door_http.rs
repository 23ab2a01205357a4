//! A request of the HTTP door: whatever method, path, query, headers and body say, decoding ends with an answer, and a
//! key that was decoded is written and read again as the same.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use larder_door::http::origin::Hosts;
use larder_door::http::target::{self, Asked};
use larder_door::http::{forms, percent, suspicion};
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
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let _ = Hosts::default().check(&method, Version::HTTP_11, authority, &headers);
    match target::decode(&method, uri.path(), uri.query()) {
        Ok(Asked::Get { key, .. } | Asked::Put { key, .. } | Asked::Delete { key }) => {
            let again = percent::decode(&percent::encode(key.as_bytes()));
            assert_eq!(again.as_deref(), Ok(key.as_bytes()));
        }
        Ok(_) => {}
        Err(_) => {
            let _ = suspicion::look(&method, &uri);
        }
    }
});
