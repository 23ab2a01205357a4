//! What the service about the node does about who may do what, and where: tokens made, listed and revoked, namespaces
//! changed and deleted.

use larder_format::error::Kind;
use larder_format::ids::{NamespaceId, TokenId};
use larder_format::namespace::{Namespace, Privacy};
use larder_format::token::Grant;
use larder_wire::answer::Failure;
use larder_wire::token::{TokenInfo, asked};
use larder_wire::v1;
use tonic::{Request, Status};

use super::guard::caller;
use super::{NodeService, status};
use crate::identity::{Identity, Right};
use crate::registers::store_failure;

fn decode(settings: bytes::Bytes) -> Result<Namespace, Status> {
    Namespace::decode(settings).map_err(|e| status(Failure::new(Kind::Invalid, e.to_string())))
}

/// Whether somebody has the right admin wherever a token grants anything.
fn may_grant(who: &Identity, grant: &Grant) -> Result<(), Failure> {
    match (&grant.namespaces, &who.namespaces) {
        (Some(namespaces), _) => namespaces.iter().try_for_each(|name| who.check_named(Right::Admin, name)),
        (None, None) => who.check(Right::Admin),
        (None, Some(own)) => {
            let message = format!(
                "the {} has rights only in {}: a token for all namespaces is not its to make or revoke; name some with --namespace",
                who.shown(),
                own.join(", ")
            );
            Err(Failure::new(Kind::Denied, message))
        }
    }
}

impl NodeService {
    pub(super) async fn set_settings(
        &self,
        request: Request<v1::SetNamespaceRequest>,
    ) -> Result<v1::SetNamespaceResponse, Status> {
        let who = caller(&request)?;
        let asked = request.into_inner();
        let (before, settings) = (decode(asked.before)?, decode(asked.settings)?);
        who.check_in(Right::Admin, settings.id()).map_err(status)?;
        let ticket = self.namespaces.set(&before, settings, self.time.now()).map_err(status)?;
        ticket.await.map_err(|e| status(store_failure(e)))?;
        Ok(v1::SetNamespaceResponse {})
    }

    pub(super) async fn delete_all(
        &self,
        request: Request<v1::DeleteNamespaceRequest>,
    ) -> Result<v1::DeleteNamespaceResponse, Status> {
        let who = caller(&request)?;
        let v1::DeleteNamespaceRequest { name, force } = request.into_inner();
        who.check_in(Right::Admin, NamespaceId::of(&name)).map_err(status)?;
        if let Some(door) = self.raw_doors.iter().find(|door| door.namespace == name) {
            let message = format!(
                "the {} door at {} serves the namespace {name:?}: close that door first (larder config show)",
                door.protocol, door.address
            );
            return Err(status(Failure::new(Kind::Conflict, message)));
        }
        let records = self.emptying.clone().delete(name, force).await.map_err(status)?;
        Ok(v1::DeleteNamespaceResponse { records })
    }

    pub(super) async fn make_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<v1::CreateTokenResponse, Status> {
        let who = caller(&request)?;
        let (name, grant) = asked(request.into_inner().token.unwrap_or_default()).map_err(status)?;
        may_grant(&who, &grant).map_err(status)?;
        for name in grant.namespaces.iter().flatten() {
            let namespace = self.namespaces.named(name).map_err(status)?;
            if namespace.privacy == Privacy::Sealed {
                let message = format!(
                    "the namespace {name:?} is sealed, and tokens open raw ones only; certificates open it (larder ca issue)"
                );
                return Err(status(Failure::new(Kind::Invalid, message)));
            }
        }
        let made = self.tokens.create(&name, grant, self.time.now()).map_err(status)?;
        // Not told before it would be there after a restart.
        made.durable.await.map_err(|e| status(store_failure(e)))?;
        let token = Some(TokenInfo::from(made.record).into_message());
        Ok(v1::CreateTokenResponse { text: made.text, token })
    }

    /// The tokens that are somebody's to make and revoke.
    pub(super) fn tokens_of(&self, who: &Identity) -> v1::ListTokensResponse {
        let own = self.tokens.list().into_iter().filter(|record| may_grant(who, &record.grant).is_ok());
        let tokens = own.map(|record| TokenInfo::from(record).into_message());
        v1::ListTokensResponse { tokens: tokens.collect() }
    }

    pub(super) async fn end_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<v1::RevokeTokenResponse, Status> {
        let who = caller(&request)?;
        let id = TokenId::try_from(&request.into_inner().id[..])
            .map_err(|e| status(Failure::new(Kind::Invalid, e.to_string())))?;
        may_grant(&who, &self.tokens.get(id).map_err(status)?.grant).map_err(status)?;
        let (record, ticket) = self.tokens.revoke(id).map_err(status)?;
        ticket.await.map_err(|e| status(store_failure(e)))?;
        Ok(v1::RevokeTokenResponse { token: Some(TokenInfo::from(record).into_message()) })
    }
}
