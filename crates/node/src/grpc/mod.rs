//! The gRPC door of the node: messages in, messages out. One file per service.

mod access;
mod applying;
mod arriving;
mod blobs;
mod bulk;
mod giving;
mod guard;
mod limits;
mod node;
mod records;
mod taking;

pub(crate) use blobs::BlobsService;
pub(crate) use bulk::bulk;
pub(crate) use giving::Giving;
pub(crate) use guard::guard;
pub(crate) use limits::Limits;
pub(crate) use node::NodeService;
pub(crate) use records::RecordsService;

use larder_format::error::Kind;
use larder_wire::answer::{Failure, Limit};
use larder_wire::request::BadRequest;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Answers of one stream that may wait for a slow reader before its requests stop being read.
const ANSWERS_QUEUED_MAX: usize = 64;

/// The one table from kinds of failure to gRPC codes.
fn status(failure: Failure) -> Status {
    let code = match failure.kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Full => Code::ResourceExhausted,
        Kind::Damaged => Code::DataLoss,
        Kind::Denied | Kind::Locked => Code::PermissionDenied,
        Kind::Retry => Code::Aborted,
        Kind::Unknown => Code::DeadlineExceeded,
        Kind::TooNew => Code::Unimplemented,
        Kind::Closed => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, failure.message);
    if let Some(limit) = failure.no_room {
        status.metadata_mut().insert(Limit::METADATA, MetadataValue::from_static(limit.name()));
    }
    status
}

fn bad_request(error: &BadRequest) -> Failure {
    Failure::new(Kind::Invalid, error.to_string())
}
