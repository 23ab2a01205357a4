//! Looking for planted strings in heaps of bytes, however they may be written there: plain, UTF-16, hexadecimal, base64
//! at any alignment, or inside a zstd frame.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;

/// Bytes that a pattern is first looked up by; every pattern is longer.
const START_LEN: usize = 8;
/// Fewest bytes of a needle: shorter ones turn up by chance.
const NEEDLE_LEN_MIN: usize = 10;
/// How much of a zstd frame is unpacked, in bytes.
const UNPACKED_LEN_MAX: u64 = 16 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BASE64: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What is looked for.
#[derive(Default)]
pub(crate) struct Needles {
    patterns: Vec<(String, Vec<u8>)>,
    by_start: HashMap<[u8; START_LEN], Vec<usize>>,
    /// Which first two bytes any pattern has: rules out nearly every place at once.
    starts: Vec<bool>,
}

impl Needles {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { starts: vec![false; 1 << 16], ..Self::default() }
    }

    /// Adds a needle under a name, in every form.
    pub(crate) fn add(&mut self, what: &str, bytes: &[u8]) {
        assert!(bytes.len() >= NEEDLE_LEN_MIN, "{what} is too short to look for");
        self.pattern(what, "plain", bytes.to_vec());
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        self.pattern(what, "hex", hex.to_uppercase().into_bytes());
        self.pattern(what, "hex", hex.into_bytes());
        for shift in 0..3 {
            self.pattern(what, "base64", base64(bytes, shift, *b"+/"));
            self.pattern(what, "base64 for addresses", base64(bytes, shift, *b"-_"));
        }
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.pattern(what, "UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect());
            self.pattern(what, "UTF-16", text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        }
    }

    /// Adds a sample of bytes that do not repeat: a window at its begin, at its end, and every 64 KiB.
    pub(crate) fn add_sample(&mut self, what: &str, bytes: &[u8]) {
        let last = bytes.len() - 24;
        for at in (0..last).step_by(64 << 10).chain([last]) {
            self.add(&format!("{what} at {at}"), &bytes[at..at + 24]);
        }
    }

    fn pattern(&mut self, what: &str, form: &str, bytes: Vec<u8>) {
        if self.patterns.iter().any(|(_, known)| *known == bytes) {
            return;
        }
        let start: [u8; START_LEN] = bytes[..START_LEN].try_into().unwrap();
        self.starts[usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))] = true;
        self.by_start.entry(start).or_default().push(self.patterns.len());
        self.patterns.push((format!("{what} ({form})"), bytes));
    }

    /// The name of every needle in every form.
    pub(crate) fn names(&self) -> Vec<String> {
        self.patterns.iter().map(|(what, _)| what.clone()).collect()
    }

    /// Which needles are in these bytes, each named once with its form.
    pub(crate) fn find(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = self.find_here(bytes);
        for (at, _) in bytes.windows(4).enumerate().filter(|(_, window)| **window == ZSTD_MAGIC) {
            let mut unpacked = Vec::new();
            if let Ok(frame) = zstd::stream::read::Decoder::new(&bytes[at..]) {
                // Four bytes that only look like a frame end in an error; what came out before it is searched too.
                let _ = frame.take(UNPACKED_LEN_MAX).read_to_end(&mut unpacked);
            }
            found.extend(self.find_here(&unpacked).into_iter().map(|what| format!("{what} in zstd")));
        }
        found
    }

    fn find_here(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, window) in bytes.windows(START_LEN).enumerate() {
            if !self.starts[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            let start: &[u8; START_LEN] = window.try_into().unwrap();
            for index in self.by_start.get(start).into_iter().flatten() {
                let (what, pattern) = &self.patterns[*index];
                if bytes[at..].starts_with(pattern) {
                    found.insert(what.clone());
                }
            }
        }
        found
    }

    /// Fails if any of them is in these bytes.
    #[track_caller]
    pub(crate) fn must_not_be_in(&self, place: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert!(found.is_empty(), "{place} ({} bytes) holds {found:#?}", bytes.len());
    }
}

/// Base64 of what stands `shift` bytes into a longer text, without the symbols that also depend on its neighbours.
fn base64(bytes: &[u8], shift: usize, last_two: [u8; 2]) -> Vec<u8> {
    let mut whole = vec![0; shift];
    whole.extend_from_slice(bytes);
    whole.truncate(whole.len() / 3 * 3);
    let symbols = whole.chunks(3).flat_map(|three| {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        [18, 12, 6, 0].map(|by| match (bits >> by & 63) as usize {
            at @ ..62 => BASE64[at],
            at => last_two[at - 62],
        })
    });
    symbols.skip((shift * 8).div_ceil(6)).collect()
}

#[test]
fn every_form_is_found_and_nothing_else() {
    let mut needles = Needles::new();
    needles.add("marker", b"planted>marker?77");
    needles.add("bytes", &[0xfb; 12]);
    let forms: [(&[u8], &str); 8] = [
        (b"..planted>marker?77..", "marker (plain)"),
        (b"706c616e7465643e6d61726b65723f3737", "marker (hex)"),
        (b"706C616E7465643E6D61726B65723F3737", "marker (hex)"),
        (b"cGxhbnRlZD5tYXJrZXI/NzcK", "marker (base64)"),
        (b"eHBsYW50ZWQ+bWFya2VyPzc3", "marker (base64)"),
        (b"eHhwbGFudGVkPm1hcmtlcj83Nw==", "marker (base64)"),
        (b"cGxhbnRlZD5tYXJrZXI_NzcK", "marker (base64 for addresses)"),
        (b"p\0l\0a\0n\0t\0e\0d\0>\0m\0a\0r\0k\0e\0r\0?\x007\x007\0", "marker (UTF-16)"),
    ];
    for (bytes, what) in forms {
        assert!(needles.find(bytes).contains(what), "{what} in {}", bytes.escape_ascii());
    }
    // Enough other text before it that the marker's letters are written in fewer bits, not as bytes.
    let before: String = (0..4000_u32).map(|n| format!("{} ", n.wrapping_mul(2_654_435_761))).collect();
    let packed = zstd::encode_all(format!("{before}planted>marker?77").as_bytes(), 3).unwrap();
    let mut around = vec![7; 1000];
    around.extend_from_slice(&packed);
    around.extend_from_slice(&[9; 1000]);
    assert_eq!(needles.find(&around), BTreeSet::from(["marker (plain) in zstd".to_owned()]));
    assert!(needles.find(b"planted>marker?7 7").is_empty());
    assert!(needles.find(&[0xfb; 11]).is_empty());
}
