//! Get: shows the value, or of a value that may only be taken, that it is there.

use bytes::Bytes;
use larder_format::operation::{Found, Outcome};
use larder_format::record::Content;

use super::{Base, Context, Decision, NeedState, unchanged};
use crate::planted::Planted;

pub(super) fn get(base: &Base<'_>, ctx: &Context) -> Result<Decision, NeedState> {
    let Some(meta) = base.alive else { return Ok(unchanged(Outcome::Absent)) };
    let mut found = Found {
        version: meta.version,
        expiry: meta.expiry,
        takes_left: meta.takes_left,
        tokens: Vec::new(),
        head: Bytes::new(),
        body: Bytes::new(),
    };
    // Bytes that may only be taken never leave by a get, so they need not be loaded either.
    if meta.takes_left.is_none() || ctx.faults.has(Planted::GetShowsTakes) {
        let Content::Live(live) = &base.state()?.content else {
            return Ok(unchanged(Outcome::Absent));
        };
        found.tokens.clone_from(&live.tokens);
        found.head = live.head.clone();
        found.body = live.body.clone();
    }
    Ok(unchanged(Outcome::Found(found)))
}
