//! Repair of single damaged bytes by trying: 64 bits of checksum tell the right one among all candidates.
//!
//! Headers and name parts are small and say what exists, so losing one costs more than its bytes. Value
//! parts are not repaired: they are large, and what they belong to is known.

use larder_format::segment::{FRAME_HEADER_LEN, FrameHeader, checksum};

/// Longest name part that is repaired, in bytes: trying takes quadratic time, here about half a second.
const NAME_LEN_MAX: usize = 4096 + 256;

/// Longest name part that is repaired where it is not known that anything was there, in bytes: a torn tail
/// looks the same, and opening must stay fast.
pub(super) const TAIL_NAME_LEN_MAX: usize = 512;

/// The one header that differs from `bytes` in one byte and holds, if `wanted` agrees.
pub(super) fn header(
    bytes: &[u8],
    salt: u64,
    place: u32,
    wanted: impl Fn(&FrameHeader) -> bool,
) -> Option<([u8; FRAME_HEADER_LEN], FrameHeader)> {
    let mut tried = [0; FRAME_HEADER_LEN];
    tried.copy_from_slice(bytes.get(..FRAME_HEADER_LEN)?);
    // What no frame ever covered is not worth trying.
    if tried.iter().filter(|byte| **byte == 0).count() > FRAME_HEADER_LEN - 12 {
        return None;
    }
    for at in 0..FRAME_HEADER_LEN {
        let original = tried[at];
        for change in 1..=u8::MAX {
            tried[at] = original ^ change;
            if let Some(header) = FrameHeader::decode(&tried, salt, place)
                && wanted(&header)
            {
                return Some((tried, header));
            }
        }
        tried[at] = original;
    }
    None
}

/// Repairs a name part in place; answers whether its checksum holds now.
pub(super) fn name(bytes: &mut [u8], sum: u64, len_max: usize) -> bool {
    if checksum(bytes, 0) == sum {
        return true;
    }
    if bytes.len() > len_max.min(NAME_LEN_MAX) {
        return false;
    }
    for at in 0..bytes.len() {
        let original = bytes[at];
        for change in 1..=u8::MAX {
            bytes[at] = original ^ change;
            if checksum(bytes, 0) == sum {
                return true;
            }
        }
        bytes[at] = original;
    }
    false
}

/// [`name`] without a limit of its own, for places where something is known to be.
pub(super) fn known_name(bytes: &mut [u8], sum: u64) -> bool {
    name(bytes, sum, NAME_LEN_MAX)
}
