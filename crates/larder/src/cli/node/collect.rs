//! `larder node collect`: the node gives all space back that nothing needs, now.

use larder_client::remote::Remote;
use larder_format::error::Kind;
use larder_wire::v1::CollectProgress;
use serde_json::json;

use crate::cli::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::size;

/// Collects, and says what came of it.
///
/// # Errors
/// Closed if the node does not run; conflict if a collection is under way; damaged while a loss is not accepted.
pub fn run(context: &Context) -> Outcome {
    crate::session::with_node(&context.folders, async |remote| {
        let done = collect(context, remote).await?;
        context.output.document(&json!({
            "leases": done.leases_seen,
            "leases_ended": done.leases_ended,
            "blobs": done.blobs,
            "blob_bytes": done.blob_bytes,
            "read_bytes": done.read_bytes,
            "copied_bytes": done.copied_bytes,
            "freed_segments": done.freed_segments,
            "free_before_bytes": done.disk_free_before_bytes,
            "free_bytes": done.disk_free_bytes,
        }))?;
        context.output.text(&format!(
            "collected {} ({}) that nothing needs, freed {}; the disk has {} left, {} before\n",
            size::count(done.blobs, "chunk"),
            size::show(done.blob_bytes),
            size::count(done.freed_segments, "log file"),
            size::show(done.disk_free_bytes),
            size::show(done.disk_free_before_bytes),
        ))
    })
}

/// Has the node collect, and shows how far it is.
///
/// # Errors
/// As [`run`].
pub async fn collect(context: &Context, remote: &Remote) -> Outcome<CollectProgress> {
    let progress = Progress::begin("collecting", context.output);
    let mut steps = remote.collect().await?;
    let mut last = None;
    let (mut expected, mut done) = (0, 0);
    while let Some(step) = steps.next().await? {
        // How much will have to be looked at is not known before; at least what is to be freed.
        let wanted = step.blob_bytes.max(step.read_bytes).max(expected);
        progress.meter().expect(0, wanted - expected);
        progress.meter().advance(step.read_bytes.saturating_sub(done));
        (expected, done) = (wanted, step.read_bytes);
        last = Some(step);
    }
    drop(progress);
    let Some(done) = last.filter(|done| done.finished) else {
        return Err(Failure::new(Kind::Closed, "the node ended the collection early; try again"));
    };
    Ok(done)
}
