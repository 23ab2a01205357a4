//! Tokens of a node's raw doors, made, listed and revoked over a connection that may do so; and namespaces changed and
//! deleted.

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::TokenId;
use larder_format::namespace::Namespace;
use larder_format::token::Grant;
use larder_wire::answer::Failure;
use larder_wire::token::{TokenInfo, wanted};
use larder_wire::v1;

use crate::remote::{Remote, failure};

fn info(message: Option<v1::Token>) -> Result<TokenInfo, Failure> {
    let message = message.ok_or_else(|| Failure::new(Kind::Bug, "the node answered without a token"))?;
    TokenInfo::from_message(message).map_err(|e| Failure::new(Kind::Bug, e.message))
}

impl Remote {
    /// Makes a token; answers its text, which is a secret and told only here, and what the node keeps of it.
    ///
    /// # Errors
    /// [`Kind::Denied`] without the right admin; [`Kind::NotFound`] for a namespace that is not there; [`Failure`].
    pub async fn create_token(&self, name: &str, grant: Grant) -> Result<(String, TokenInfo), Failure> {
        let request = v1::CreateTokenRequest { token: Some(wanted(name.to_owned(), grant)) };
        let response = self.node.clone().create_token(request).await.map_err(|s| failure(&s))?.into_inner();
        Ok((response.text, info(response.token)?))
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// [`Kind::Denied`] without the right admin; [`Failure`].
    pub async fn list_tokens(&self) -> Result<Vec<TokenInfo>, Failure> {
        let response = self.node.clone().list_tokens(v1::ListTokensRequest {}).await;
        let tokens = response.map_err(|s| failure(&s))?.into_inner().tokens;
        tokens.into_iter().map(|token| info(Some(token))).collect()
    }

    /// Revokes a token and all that were made of it; answers what it was.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Denied`] without the right admin; [`Failure`].
    pub async fn revoke_token(&self, id: TokenId) -> Result<TokenInfo, Failure> {
        let request = v1::RevokeTokenRequest { id: Bytes::copy_from_slice(&id.0) };
        info(self.node.clone().revoke_token(request).await.map_err(|s| failure(&s))?.into_inner().token)
    }

    /// Changes what may be changed of a namespace, if it still is as it was.
    ///
    /// # Errors
    /// [`Kind::Retry`] if somebody else was quicker; [`Kind::Invalid`] for what cannot be changed; [`Failure`].
    pub async fn set_namespace(&self, before: &Namespace, settings: &Namespace) -> Result<(), Failure> {
        let request = v1::SetNamespaceRequest { before: before.encode(), settings: settings.encode() };
        self.node.clone().set_namespace(request).await.map(|_| ()).map_err(|s| failure(&s))
    }

    /// Deletes a namespace, with `force` also if there is something in it; answers how many values went with it.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if there is something in it, or a door serves it; [`Kind::NotFound`]; [`Failure`].
    pub async fn delete_namespace(&self, name: &str, force: bool) -> Result<u64, Failure> {
        let request = v1::DeleteNamespaceRequest { name: name.to_owned(), force };
        let response = self.node.clone().delete_namespace(request).await.map_err(|s| failure(&s))?;
        Ok(response.into_inner().records)
    }
}
