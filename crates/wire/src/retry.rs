//! Refusals that say when to come back: as `google.rpc.RetryInfo` in the status' details, which client libraries show, and
//! as `grpc-retry-pushback-ms`, by which they retry.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Name of the metadata that retrying clients go by.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What the details' type is called.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Detailed {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// An error that says after which time trying again makes sense, in whole milliseconds, at least one.
#[must_use]
pub fn later(code: Code, message: &str, after: Duration) -> Status {
    let ms = i64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX).max(1);
    // Below a second, so that it fits.
    let delay = Delay { seconds: ms / 1000, nanos: (ms % 1000) as i32 * 1_000_000 };
    let info = RetryInfo { retry_delay: Some(delay) };
    let detail = Detail { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() };
    let detailed =
        Detailed { code: code as i32, message: message.to_owned(), details: vec![detail] }.encode_to_vec();
    let mut metadata = MetadataMap::new();
    metadata.insert(PUSHBACK, MetadataValue::from(ms));
    Status::with_details_and_metadata(code, message, Bytes::from(detailed), metadata)
}

/// After which time trying again makes sense, if the error says so.
#[must_use]
pub fn after(status: &Status) -> Option<Duration> {
    let ms = status.metadata().get(PUSHBACK)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        for (asked, ms) in [(0, 1), (1_000_000, 1), (1_500_001, 2), (2_345_000_000, 2345)] {
            let status = later(Code::ResourceExhausted, "wait", Duration::from_nanos(asked));
            assert_eq!(after(&status), Some(Duration::from_millis(ms)));
            let detailed = Detailed::decode(status.details()).unwrap();
            assert_eq!((detailed.code, detailed.message.as_str()), (8, "wait"));
            let info = RetryInfo::decode(&detailed.details[0].value[..]).unwrap().retry_delay.unwrap();
            let nanos = i64::from(info.nanos);
            assert_eq!(info.seconds * 1000 + nanos / 1_000_000, i64::try_from(ms).unwrap());
        }
        assert_eq!(after(&Status::internal("x")), None);
    }
}
