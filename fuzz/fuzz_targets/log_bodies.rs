//! Frames of the log: no input panics, and what decodes has one encoding.
#![no_main]

use bytes::Bytes;
use larder_format::segment::body::{
    Accept, Floor, Grant, RecordName, Release, Remove, Segments, decode_blob, decode_number, decode_token,
};
use larder_format::segment::sidecar::SidecarEntry;
use larder_format::segment::{FrameHeader, Stamp, StampKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(header) = FrameHeader::decode(data, 0, 0) {
        assert_eq!(header.encode(0)[..], data[..64]);
    }
    for kind in [StampKind::Store, StampKind::Segment, StampKind::Mark, StampKind::Sidecar] {
        if let Some(stamp) = Stamp::decode(kind, data) {
            assert_eq!(stamp.encode()[..], data[..64]);
        }
        let _ = Stamp::decode_block(kind, data);
    }
    if let Ok((name, len)) = RecordName::decode(data) {
        let mut again = Vec::new();
        name.encode_into(&mut again);
        assert_eq!(again, data[..len]);
    }
    if let Some((entry, rest)) = SidecarEntry::decode(data) {
        let mut again = Vec::new();
        entry.encode_into(&mut again);
        again.extend_from_slice(rest);
        assert_eq!(again, data);
    }
    let shared = Bytes::copy_from_slice(data);
    macro_rules! round_trip {
        ($($kind:ty),*) => {
            $(if let Ok(body) = <$kind>::decode(shared.clone()) {
                assert_eq!(body.encode(), shared);
            })*
        };
    }
    round_trip!(Accept, Floor, Grant, Release, Remove, Segments);
    let _ = decode_blob(shared.clone());
    let _ = decode_number(shared.clone());
    let _ = decode_token(shared);
});
