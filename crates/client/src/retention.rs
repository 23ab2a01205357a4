//! The vault's retention rules: read once for a command, kept in one sealed record of the vault, so that every device
//! follows them. What the record says is [`larder_format::retention`]; what that comes to is [`mod@evaluate`].
//!
//! The record is in the namespace of files under a key of its own, outside all folders. Its body carries a revision, and
//! a device takes no older rules than it has seen. A vault without the record has no rules.

mod evaluate;

use larder_format::error::Kind;
use larder_format::head::{Attributes, Head, ValueHead};
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::{Condition, Outcome};
use larder_format::record::Version;
use larder_format::retention::Rules;
use larder_wire::answer::Failure;
use larder_wire::request::{Ask, AskPut};

use crate::path::VaultPath;
use crate::vault::{Vault, seal_failure, unexpected};

pub use evaluate::stays;

/// The name in the record's head.
const NAME: &str = "retention";

impl Vault {
    /// The vault's rules, as they were when this session first asked.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if they cannot be read, or are older than what this device has seen.
    pub async fn retention(&self) -> Result<&Rules, Failure> {
        self.rules.get_or_try_init(|| async { Ok(self.retention_now().await?.1) }).await
    }

    /// The vault's rules, or none if they cannot be read: then nothing is deleted and nothing gets an end because of them.
    ///
    /// # Errors
    /// As [`Vault::retention`], but for [`Kind::Damaged`].
    pub async fn retention_if_readable(&self) -> Result<Rules, Failure> {
        match self.retention().await {
            Err(failure) if failure.kind == Kind::Damaged => Ok(Rules::default()),
            rules => rules.cloned(),
        }
    }

    /// The vault's rules as they are now, and the version of their record; `None`: there is none yet.
    ///
    /// # Errors
    /// As [`Vault::retention`].
    pub async fn retention_now(&self) -> Result<(Option<Version>, Rules), Failure> {
        let key = self.names.retention_key();
        let named = |f: Failure| Failure::new(f.kind, format!("the vault's retention rules: {}", f.message));
        let Some(found) = self.read(self.files, key.as_bytes(), false).await.map_err(named)? else {
            if self.seen_revision(key) > 0 {
                let message = "the node shows no retention rules, and this machine has seen some";
                return Err(Failure::new(Kind::Damaged, message));
            }
            return Ok((None, Rules::default()));
        };
        match self.open_head(self.files, key.as_bytes(), &found.head).map_err(named)? {
            Head::Value(head) if head.name == NAME => {}
            _ => {
                let message = "the node shows another kind of record where the retention rules belong";
                return Err(Failure::new(Kind::Damaged, message));
            }
        }
        let body = self.open_body(self.files, key.as_bytes(), &found).map_err(named)?;
        let rules = Rules::decode(body).map_err(|e| named(seal_failure(e.into())))?;
        self.observe_revision(key, rules.revision).map_err(named)?;
        Ok((Some(found.version), rules))
    }

    /// Makes the record of rules if there is none, with no rule in it: who may add but not replace can then not be the
    /// one who makes them.
    ///
    /// # Errors
    /// As [`Vault::change_retention`].
    pub async fn ensure_retention(&self) -> Result<(), Failure> {
        if self.retention_now().await?.0.is_none() {
            self.change_retention(false, |_| Ok(())).await?;
        }
        Ok(())
    }

    /// Changes the vault's rules. `change` may be asked again if another device was quicker; what it fails with stands.
    /// Rules that cannot be read are replaced only with `over_damaged`, by what `change` makes of none.
    ///
    /// # Errors
    /// What `change` fails with; [`Kind::Retry`] if others keep changing them.
    pub async fn change_retention(
        &self,
        over_damaged: bool,
        mut change: impl FnMut(&mut Rules) -> Result<(), Failure>,
    ) -> Result<Rules, Failure> {
        let key = self.names.retention_key();
        for _ in 0..8 {
            let (condition, mut rules) = match self.retention_now().await {
                Err(failure) if failure.kind == Kind::Damaged && over_damaged => {
                    (Condition::Any, Rules::default())
                }
                now => match now? {
                    (Some(version), rules) => (Condition::Version(version), rules),
                    (None, rules) => (Condition::Absent, rules),
                },
            };
            change(&mut rules)?;
            rules.revision = rules.revision.max(self.seen_revision(key)) + 1;
            let head = Head::Value(ValueHead { name: NAME.to_owned(), attributes: Attributes::default() });
            let sealed = self.seal(self.files, key.as_bytes(), &head, &rules.encode())?;
            let put = AskPut {
                condition,
                lifetime: LifetimeRequest::Never,
                head: sealed.head,
                body: sealed.body,
                ..AskPut::default()
            };
            match self.change(self.files, key.as_bytes(), Ask::Put(put)).await? {
                Outcome::Written { .. } => {
                    self.observe_revision(key, rules.revision)?;
                    return Ok(rules);
                }
                Outcome::Conflict { .. } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Err(Failure::new(Kind::Retry, "others keep changing the retention rules; try again"))
    }
}

/// How long a file put at a path lives: as asked for, else as the rules say.
pub(crate) fn lifetime_by(rules: &Rules, path: &VaultPath, asked: LifetimeRequest) -> LifetimeRequest {
    match (asked, rules.ttl_ms(&path.to_string())) {
        (LifetimeRequest::Default, Some(ms)) => LifetimeRequest::Ttl(ms),
        _ => asked,
    }
}
