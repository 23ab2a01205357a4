//! Requests of the Redis door: whatever bytes come, in whatever pieces, the same requests come out of them, or the same
//! error; and nothing they say makes memory be held that has not come.
#![no_main]

use larder_door::resp::request::{Bounds, Parser, Step, Wrong};
use larder_door::resp::table::Verb;
use larder_door::resp::glob;
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { arguments_max: 1 << 20, bulk_len_max: 10 << 20, stranger: false };

type Requests = Vec<Vec<Vec<u8>>>;

/// All requests in these bytes when they come in pieces, whose lengths are given (the rest at once).
fn requests(bytes: &[u8], lens: &[u8]) -> (Requests, Option<Wrong>) {
    let mut parser = Parser::new();
    let (mut found, mut start, mut end) = (Vec::new(), 0, 0);
    let mut lens = lens.iter().copied();
    loop {
        end = lens.next().map_or(bytes.len(), |len| (end + usize::from(len)).min(bytes.len()));
        loop {
            match parser.step(&bytes[start..end], BOUNDS) {
                Ok(Step::Request(len)) => {
                    let args = parser.args(&bytes[start..end]);
                    assert!(len > 0 && len <= end - start && args.bytes_len() <= len);
                    if let Some(verb) = Verb::find(args.at(0)) {
                        assert!(verb.name().as_bytes().eq_ignore_ascii_case(args.at(0)));
                        assert!(verb.command().keys(args).count() < args.len());
                    }
                    found.push(args.iter().map(<[u8]>::to_vec).collect());
                    start += len;
                }
                Ok(Step::More) => break,
                Err(wrong) => return (found, Some(wrong)),
            }
            assert!(parser.held_bytes() <= 1024 + 64 * bytes.len());
        }
        if end == bytes.len() {
            return (found, None);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (lens, bytes) = rest.split_at(usize::from(*count).min(rest.len()));
    let whole = requests(bytes, &[]);
    assert_eq!(whole, requests(bytes, lens));
    assert_eq!(whole, requests(bytes, &vec![1; bytes.len()]));
    let _ = glob::Pattern::new(lens).map(|pattern| pattern.matches(&bytes[..bytes.len().min(256)]));
});
