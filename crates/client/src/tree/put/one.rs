//! One file of a run: small ones are sealed whole and go with the stream; of larger ones that are new the content goes
//! ahead; what replaces something, or was changed by somebody else meanwhile, goes the careful way and waits for answers.

use std::path::PathBuf;

use larder_format::head::Attributes;
use larder_format::limits::INLINE_FILE_LEN_MAX;
use larder_format::namespace::LifetimeRequest;
use larder_format::operation::Condition;
use larder_wire::answer::Failure;
use larder_wire::request::RecordRequest;

use super::{Run, Sent, Small};
use crate::files::{NewFile, PutOptions, Uploaded};
use crate::local::source::read_small;
use crate::path::VaultPath;
use crate::remote::ApplySender;
use crate::retention::lifetime_by;

impl Run {
    /// Reads and seals small files. What cannot be read is reported; what changes while it is read goes the
    /// careful way, which reads again.
    pub(super) fn seal_batch(&self, batch: Vec<Small>) -> Vec<(Sent, RecordRequest)> {
        let mut out = Vec::with_capacity(batch.len());
        for small in batch {
            match self.seal_small(small) {
                Ok(sealed) => out.push(sealed),
                Err((path, failure)) => self.fail(path, failure),
            }
        }
        out
    }

    fn seal_small(&self, mut small: Small) -> Result<(Sent, RecordRequest), (PathBuf, Failure)> {
        let content = match &small.content {
            Some(target) => target.clone(),
            None => match read_small(&small.local, INLINE_FILE_LEN_MAX) {
                Ok((content, mode, mtime_ns)) => {
                    small.attributes = Attributes { mode, mtime_ns, ..small.attributes };
                    content
                }
                Err(failure) => return Err((small.local, failure)),
            },
        };
        let new = NewFile {
            kind: small.kind,
            attributes: small.attributes.clone(),
            uploaded: Uploaded::inline(content),
        };
        match self.record(&small, &new) {
            Ok((request, revision)) => {
                let size = new.uploaded.size;
                Ok((Sent::File { small: Box::new(small), size, ahead: None, revision }, request))
            }
            Err(failure) => Err((small.local, failure)),
        }
    }

    /// Sends a new file's content, and its record with the stream.
    pub(super) async fn put_new(
        &self,
        mut file: Small,
        options: &PutOptions,
        sender: &ApplySender,
    ) -> Result<(), Failure> {
        let new = self.vault.upload_file(file.key, &file.local, options, &self.meter).await?;
        file.uploaded = true;
        let lease = new.uploaded.lease;
        let sent = match self.record(&file, &new) {
            Ok((request, revision)) => {
                let size = new.uploaded.size;
                let sent = Sent::File { small: Box::new(file), size, ahead: Some(Box::new(new)), revision };
                self.send(sender, sent, request).await.map(|_| ())
            }
            Err(failure) => Err(failure),
        };
        if let (Err(_), Some((token, _))) = (&sent, lease) {
            // Its record never left.
            self.vault.give_up(token).await;
        }
        sent
    }

    /// How long a file lives: as asked for, else as the vault's rules say.
    pub(super) fn lifetime(&self, path: &VaultPath) -> LifetimeRequest {
        lifetime_by(&self.retention, path, self.options.lifetime)
    }

    /// The request that makes a new file's record, and its revision.
    fn record(&self, small: &Small, new: &NewFile) -> Result<(RecordRequest, u64), Failure> {
        let vault = &self.vault;
        let name = small.path.names().last().map_or("", String::as_str);
        let (ask, revision) = vault.file_request(small.key, name, new, None, self.lifetime(&small.path))?;
        let mut request = vault.request(vault.files, small.key.as_bytes(), ask)?;
        request.identity = None;
        Ok((request, revision))
    }

    pub(super) async fn commit(
        &self,
        small: &Small,
        new: &NewFile,
        options: &PutOptions,
    ) -> Result<(), Failure> {
        let name = small.path.names().last().map_or("", String::as_str);
        let unconditional =
            PutOptions { condition: Condition::Any, lifetime: self.lifetime(&small.path), ..options.clone() };
        self.vault.commit(small.dir, &small.path, name, new, &unconditional).await.map(|_| ())
    }

    pub(super) async fn put_large(&self, file: &Small, options: &PutOptions) -> Result<(), Failure> {
        let new = match &file.content {
            Some(target) => NewFile {
                kind: file.kind,
                attributes: file.attributes.clone(),
                uploaded: Uploaded::inline(target.clone()),
            },
            None => self.vault.upload_file(file.key, &file.local, options, &self.meter).await?,
        };
        let made = match file.folder_made_by {
            Some(tag) => self.made(tag).await,
            None => Ok(()),
        };
        if let Err(failure) = made {
            if let Some((token, _)) = new.uploaded.lease {
                self.vault.give_up(token).await;
            }
            return Err(failure);
        }
        self.commit(file, &new, options).await?;
        self.done(new.uploaded.size);
        Ok(())
    }
}
