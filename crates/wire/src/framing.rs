//! Messages with blobs, put into gRPC frames and taken out of them by hand, so that who does it decides how long the
//! bytes of a blob are in memory: the general codec keeps a stream's last message until the next one.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::{MESSAGE_LEN_MAX, v1};

/// Bytes before each message: whether it is compressed, and how long it is.
pub const FRAME_HEAD_LEN: usize = 5;

/// Number of the field `data` of `GetBlobResponse`.
const DATA_FIELD: u32 = 2;

/// Why a message cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nobody agreed to compress.
    #[error("compressed messages are not taken")]
    Compressed,
    /// It is longer than [`MESSAGE_LEN_MAX`].
    #[error("message too long len={len} max={MESSAGE_LEN_MAX}")]
    TooLong {
        /// Length announced.
        len: usize,
    },
    /// It is not a message of its type.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
}

/// An answer with a blob, as what goes before the blob's bytes. Those come last and are not copied.
#[must_use]
pub fn answer_with_blob(mut answer: v1::GetBlobResponse) -> (Bytes, Bytes) {
    let data = std::mem::take(&mut answer.data);
    let len = data.len() as u64;
    let field_len =
        if data.is_empty() { 0 } else { key_len(DATA_FIELD) + encoded_len_varint(len) + data.len() };
    let message_len = answer.encoded_len() + field_len;
    let mut head = BytesMut::with_capacity(FRAME_HEAD_LEN + message_len - data.len());
    head.put_u8(0);
    head.put_u32(u32::try_from(message_len).unwrap_or(u32::MAX));
    // A buffer that grows has room for everything.
    let _ = answer.encode(&mut head);
    if !data.is_empty() {
        encode_key(DATA_FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(len, &mut head);
    }
    (head.freeze(), data)
}

/// A message as it goes over the wire.
#[must_use]
pub fn framed(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_LEN + len);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    // A buffer that grows has room for everything.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// How long the message is that follows.
///
/// # Errors
/// [`FrameError::Compressed`], [`FrameError::TooLong`].
pub fn message_len(head: [u8; FRAME_HEAD_LEN]) -> Result<usize, FrameError> {
    let [compressed, len @ ..] = head;
    if compressed != 0 {
        return Err(FrameError::Compressed);
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > MESSAGE_LEN_MAX { Err(FrameError::TooLong { len }) } else { Ok(len) }
}

/// A message, whose bytes are a part of these.
///
/// # Errors
/// [`FrameError::Malformed`].
pub fn unframed<M: Message + Default>(message: Bytes) -> Result<M, FrameError> {
    M::decode(message).map_err(|e| FrameError::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_the_general_codec_reads() {
        let error = Some(v1::Error { message: "no".to_owned(), ..v1::Error::default() });
        for (len, error) in [(0, None), (0, error), (1, None), (127, None), (128, None), (1 << 20, None)] {
            let answer = v1::GetBlobResponse { id: vec![7; 32].into(), data: vec![3; len].into(), error };
            let (head, data) = answer_with_blob(answer.clone());
            let whole = [&head[..], &data[..]].concat();
            let (frame_head, message) = whole.split_first_chunk().unwrap();
            assert_eq!(message_len(*frame_head), Ok(message.len()));
            assert_eq!(v1::GetBlobResponse::decode(message).unwrap(), answer);
        }
    }

    #[test]
    fn requests_are_read_and_what_is_none_is_refused() {
        let request = v1::PutBlobRequest { id: vec![7; 32].into(), data: vec![3; 999].into(), lease: None };
        let frame = framed(&request);
        let (head, message) = frame.split_first_chunk().unwrap();
        assert_eq!(message_len(*head), Ok(message.len()));
        assert_eq!(unframed(frame.slice(FRAME_HEAD_LEN..)), Ok(request));
        let none = unframed::<v1::PutBlobRequest>(vec![0x12, 0xff].into());
        assert!(matches!(none, Err(FrameError::Malformed(_))));
        assert_eq!(message_len([1, 0, 0, 0, 1]), Err(FrameError::Compressed));
        let len = MESSAGE_LEN_MAX + 1;
        let [a, b, c, d] = u32::try_from(len).unwrap().to_be_bytes();
        assert_eq!(message_len([0, a, b, c, d]), Err(FrameError::TooLong { len }));
    }
}
