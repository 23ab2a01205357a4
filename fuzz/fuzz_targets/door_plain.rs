//! The short way's reader: whatever comes, it says no, or what a full decoder says too: the same path, one `Host`, no body,
//! nothing that could change the answer, and an end that is the head's.
#![no_main]

use larder_door::http::plain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(plain) = plain::read(data) else { return };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(data).expect("what passed is a request");
    assert_eq!(parsed, httparse::Status::Complete(plain.len));
    assert!(data[..plain.len].ends_with(b"\n"));
    assert_eq!((request.method, request.version, request.path), (Some("GET"), Some(1), Some(plain.path)));
    assert!(plain.path.starts_with('/') && !plain.path.contains(['?', '#']));
    let of = |name: &str| request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).count();
    assert_eq!(of("host"), 1);
    for name in [
        "content-length",
        "transfer-encoding",
        "expect",
        "upgrade",
        "origin",
        "sec-fetch-site",
        "if-match",
        "if-none-match",
        "range",
        "if-range",
    ] {
        assert_eq!(of(name), 0, "{name}");
    }
    // Less of it is none: nobody is answered before the whole head has come.
    for len in [plain.len - 1, plain.len / 2] {
        assert_eq!(plain::read(&data[..len]), None);
    }
    assert_eq!(plain::read(&data[..plain.len]), Some(plain));
});
