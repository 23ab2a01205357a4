//! What a node holds, how much it may, and how it looks after it, as far as a client asks: quotas, usage, upkeep.

use larder_wire::answer::Failure;
use larder_wire::v1;

use crate::remote::{Remote, failure};

impl Remote {
    /// Sets or lifts (`None`) a quota, in bytes: of a namespace, or of the node. Answers the one before.
    ///
    /// # Errors
    /// [`larder_format::error::Kind::NotFound`] for an unknown namespace;
    /// [`larder_format::error::Kind::Invalid`] for a quota out of range; [`Failure`].
    pub async fn set_quota(
        &self,
        namespace: Option<&str>,
        bytes: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        let request = v1::SetQuotaRequest { namespace: namespace.unwrap_or_default().to_owned(), bytes };
        let response = self.node.clone().set_quota(request).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner().before_bytes)
    }

    /// What the node and each namespace hold, and their quotas.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn usage(&self) -> Result<v1::UsageResponse, Failure> {
        let response = self.node.clone().usage(v1::UsageRequest {}).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner())
    }

    /// What the node's background work did, found, and does next.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn upkeep(&self) -> Result<v1::UpkeepResponse, Failure> {
        let response = self.node.clone().upkeep(v1::UpkeepRequest {}).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner())
    }
}
