//! Keeping a file's version beside it, before another takes its place or it is deleted. What lies where it is to be kept
//! counts as kept only if it is that very version, whole and for long enough: somebody who may only add can have put
//! anything there before.

use larder_format::error::Kind;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Found, Outcome};
use larder_format::record::{Expiry, Version};
use larder_seal::names::SealedKey;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use super::put::WRITE_TRIES;
use crate::transfer::Outage;
use crate::vault::{OpenFile, Vault, unexpected};

/// How soon after a file was read its old version must be kept, in milliseconds. If it was deleted for good
/// meanwhile, the node refuses anyway; this bounds how late a version of a file that is gone can still appear.
pub(crate) const KEEP_WITHIN_MS: u64 = 10 * 60 * 1000;

/// What became of a version that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is kept.
    Kept,
    /// The node does not hold its content, or the file is another by now: read the file again.
    Lost,
}

impl Vault {
    /// Keeps a version beside the file, as it is, before it is replaced or deleted. `until_ms`: no longer
    /// than that. `keep_by_ms`: when this is refused, [`KEEP_WITHIN_MS`] after the file was read. If the node
    /// does not hold its content any more, somebody else has deleted it since; whoever finds the same version
    /// there again has found damage, and nothing to keep.
    ///
    /// # Errors
    /// [`Kind::Denied`] if something else lies in its place and this client may not replace it; [`Failure`]
    /// otherwise. Then it is not certain to be kept, and must not be replaced.
    pub(crate) async fn keep_version(
        &self,
        key: SealedKey,
        current: &OpenFile,
        until_ms: Option<u64>,
        keep_by_ms: u64,
    ) -> Result<Kept, Failure> {
        let own_end = current.info.expiry.ms();
        let lifetime = match (own_end, until_ms) {
            (None, None) => LifetimeRequest::Never,
            (Some(ms), None) | (None, Some(ms)) => LifetimeRequest::Until(ms),
            (Some(a), Some(b)) => LifetimeRequest::Until(a.min(b)),
        };
        let version_key = key.version_key(current.info.version);
        let mut there: Option<Found> = None;
        let mut outage = Outage::default();
        for _ in 0..WRITE_TRIES {
            let condition = match &there {
                None => Condition::Absent,
                Some(kept) if is_same(kept, &current.found) => {
                    match self.keep_for(&version_key, kept, lifetime, until_ms.is_some()).await? {
                        Outcome::Written { .. } => return Ok(Kept::Kept),
                        // Changed in between, by whomever: it is looked at again.
                        Outcome::Conflict { .. } | Outcome::Absent => {}
                        other => return Err(unexpected(&other)),
                    }
                    there = self.read(self.files, &version_key, false).await?;
                    continue;
                }
                Some(other) => Condition::Version(other.version),
            };
            let put = AskPut {
                condition,
                lifetime,
                tokens: current.found.tokens.clone(),
                not_after_ms: Some(keep_by_ms),
                head: current.found.head.clone(),
                body: current.found.body.clone(),
                ..AskPut::default()
            };
            match self.change(self.files, &version_key, Ask::Put(put)).await {
                Ok(Outcome::Written { .. }) => return Ok(Kept::Kept),
                Ok(Outcome::Conflict { .. }) => {}
                Ok(other) => return Err(unexpected(&other)),
                Err(failure) if failure.kind == Kind::Retry => return Ok(Kept::Lost),
                Err(failure) if failure.kind == Kind::Denied && there.is_some() => {
                    return Err(in_its_place(current.info.version, &failure));
                }
                Err(failure) => outage.ride_out(self, failure).await?,
            }
            // An earlier try, or another writer, has kept it already: perhaps for a deletion that did not happen,
            // and then not for as long as it should be. Or it is something else.
            there = self.read(self.files, &version_key, false).await?;
        }
        Err(Failure::new(Kind::Retry, "its older version could not be kept; try again"))
    }

    /// Makes what is kept live for as long as it should; a client that may not shorten lifetimes leaves what lives
    /// longer.
    async fn keep_for(
        &self,
        version_key: &[u8],
        kept: &Found,
        lifetime: LifetimeRequest,
        is_deletion: bool,
    ) -> Result<Outcome, Failure> {
        let wanted = match lifetime {
            LifetimeRequest::Until(ms) => Expiry::at_ms(ms),
            _ => Expiry::NEVER,
        };
        let as_it_is = Outcome::Written { version: kept.version, expiry: kept.expiry };
        if !is_deletion && kept.expiry == wanted {
            return Ok(as_it_is);
        }
        let condition = Condition::Version(kept.version);
        match self.change(self.files, version_key, Ask::Touch { condition, lifetime }).await {
            Err(failure) if failure.kind == Kind::Denied && !is_deletion && kept.expiry > wanted => {
                Ok(as_it_is)
            }
            done => done,
        }
    }
}

/// Whether this is that version, and holds all that it held.
fn is_same(kept: &Found, current: &Found) -> bool {
    kept.takes_left.is_none()
        && kept.head == current.head
        && kept.body == current.body
        && current.tokens.iter().all(|token| kept.tokens.contains(token))
}

fn in_its_place(version: Version, failure: &Failure) -> Failure {
    let message = format!(
        "something else lies where its older version is to be kept, so it was left as it is: whoever may write can \
         replace it ({}) version={version}",
        failure.message
    );
    Failure::new(failure.kind, message)
}
