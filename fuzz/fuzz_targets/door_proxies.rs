//! What proxies say of their clients, at the start of a connection and in headers: whatever the bytes, reading ends, takes no more
//! than a header's length, and no word of a client makes it a trusted proxy's or this machine's.
#![no_main]

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderValue};
use larder_door::Caller;
use larder_door::proxies::protocol::{HEADER_LEN_MAX, Step, looks_like, step};
use larder_door::proxies::{Proxies, Range, Told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut taken = 0;
    while let Ok(Step::Read(more)) = step(&data[..taken]) {
        assert!(more > 0);
        taken += more;
        assert!(taken <= HEADER_LEN_MAX);
        if taken > data.len() {
            break;
        }
    }
    let _ = looks_like(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(range) = text.parse::<Range>()
    {
        assert_eq!(range.to_string().parse(), Ok(range));
    }
    let proxy: IpAddr = [10, 0, 0, 1].into();
    let Ok(trusted) = "10.0.0.0/8".parse() else { return };
    for told in [Told::XForwardedFor, Told::Forwarded] {
        let proxies = Proxies { trusted: vec![trusted], told };
        let mut headers = HeaderMap::new();
        for line in data.split(|byte| *byte == b'\n') {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append("x-forwarded-for", value.clone());
                headers.append("forwarded", value);
            }
        }
        assert_eq!(proxies.of_request(&Caller::at([192, 0, 2, 1].into()), &headers), None);
        assert!(proxies.of_request(&proxies.at(proxy), &headers).is_some_and(|caller| caller.is_stranger()));
        // What the proxy adds is what counts, whatever came before.
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.5"));
        headers.append("forwarded", HeaderValue::from_static("for=203.0.113.5"));
        let caller = proxies.of_request(&proxies.at(proxy), &headers);
        assert_eq!(caller, Some(Caller::behind_proxy([203, 0, 113, 5].into())));
    }
});
