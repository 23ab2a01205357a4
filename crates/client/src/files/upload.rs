//! Sealed chunks on their way to the node, under one lease: asks which are there, sends the others, and holds what is not
//! answered yet. A node that goes away is waited for as long as there is patience; then what it does not hold of that is
//! sent again, and nothing else, also where the source cannot be read twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use larder_format::error::Kind;
use larder_format::ids::{BlobId, LeaseToken};
use larder_format::manifest::Content;
use larder_seal::names::SealedKey;
use larder_seal::pipeline::seal::{SealedChunk, Summary};
use larder_seal::tree::{SealedPage, TreeBuilder};
use larder_wire::answer::Failure;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::attempts::Attempts;
use super::content::{ASK_CHUNKS, Chunks};
use crate::meter::Meter;
use crate::remote::{BlobAnswers, BlobSender, Lease};
use crate::transfer::{Outage, pass};
use crate::vault::{Vault, seal_failure};

/// Most bytes of one upload that the node has not answered for. Twice what the node queues, so that it always has some.
const UNANSWERED_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A lease is renewed when it is this old, or half through: what is interrupted can be found for nearly as long as asked.
const LEASE_RENEW_MS: u64 = 30 * 60 * 1000;

/// What was sent and not answered yet.
#[derive(Default)]
struct Unanswered {
    blobs: Mutex<VecDeque<(BlobId, Bytes)>>,
    bytes: AtomicU64,
    answered: AtomicU64,
    ended: AtomicBool,
    changed: Notify,
}

impl Unanswered {
    fn push(&self, id: BlobId, bytes: Bytes) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.blobs.lock().push_back((id, bytes));
    }

    fn pop(&self, id: BlobId) -> Result<(), Failure> {
        let first = self.blobs.lock().pop_front();
        match first {
            Some((sent, bytes)) if sent == id => {
                self.bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.changed.notify_one();
                Ok(())
            }
            _ => Err(Failure::new(Kind::Bug, "the node answered for another blob than was sent")),
        }
    }

    fn take(&self) -> VecDeque<(BlobId, Bytes)> {
        self.bytes.store(0, Ordering::Relaxed);
        self.ended.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.blobs.lock())
    }

    /// Waits until there is room for more, or nothing will make any.
    async fn room(&self) {
        while self.bytes.load(Ordering::Relaxed) > UNANSWERED_BYTES_MAX && !self.ended.load(Ordering::Acquire)
        {
            self.changed.notified().await;
        }
    }
}

/// A stream of blobs that is open.
struct Stream {
    sender: BlobSender,
    answering: JoinHandle<Result<(), Failure>>,
}

impl Stream {
    fn new(sender: BlobSender, mut answers: BlobAnswers, unanswered: Arc<Unanswered>) -> Self {
        let answering = tokio::spawn(async move {
            let ended = loop {
                match answers.next().await {
                    Ok(Some(id)) => {
                        if let Err(failure) = unanswered.pop(id) {
                            break Err(failure);
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failure),
                }
            };
            unanswered.ended.store(true, Ordering::Release);
            unanswered.changed.notify_one();
            ended
        });
        Self { sender, answering }
    }

    /// Sends no more and waits for the answers that are to come.
    async fn end(self) -> Result<(), Failure> {
        drop(self.sender);
        self.answering.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))?
    }
}

struct Upload<'a> {
    vault: &'a Vault,
    stream: Option<Stream>,
    unanswered: Arc<Unanswered>,
    lease: Lease,
    outage: Outage,
    /// Answers there were when the node was last missed.
    answered_then: u64,
    meter: &'a Arc<Meter>,
}

impl Vault {
    /// Until when what an upload sends is kept without a record that lists it.
    pub(super) fn upload_deadline_ms(&self) -> u64 {
        self.now_ms() + self.resume_within_ms()
    }

    fn resume_within_ms(&self) -> u64 {
        u64::try_from(self.transfers().resume_within.as_millis()).unwrap_or(u64::MAX / 4)
    }

    /// Gives up what was sent under a lease, rather than at the lease's deadline. If this fails, the deadline does it.
    pub(crate) async fn give_up(&self, token: LeaseToken) {
        if self.remote.release(token).await.is_ok() {
            self.attempts().ended(token);
        }
    }

    /// After a record that lists this lease is in place: what earlier tries have left is given up.
    pub(crate) async fn in_place(&self, key: SealedKey, token: LeaseToken) {
        self.attempts().ended(token);
        for left in self.attempts().left_over(key) {
            self.give_up(left).await;
        }
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    pub(super) async fn upload_chunks(
        &self,
        (mut sealed, sealing): Chunks,
        lease: Lease,
        meter: &Arc<Meter>,
    ) -> Result<(Summary, Content, u64), Failure> {
        let mut out = Upload {
            vault: self,
            stream: None,
            unanswered: Arc::default(),
            lease,
            outage: Outage::default(),
            answered_then: 0,
            meter,
        };
        let mut tree = TreeBuilder::new(self.blobs.clone());
        let mut batch = Vec::with_capacity(ASK_CHUNKS);
        while sealed.recv_many(&mut batch, ASK_CHUNKS).await > 0 {
            for chunk in out.send_missing(&mut batch).await? {
                let pages = tree.push(chunk.entry).map_err(seal_failure)?;
                out.send_pages(pages).await?;
            }
        }
        let summary = sealing.await.map_err(|e| Failure::new(Kind::Bug, e.to_string()))??;
        let (content, pages) = tree.finish().map_err(seal_failure)?;
        out.send_pages(pages).await?;
        out.finish().await?;
        Ok((summary, content, out.lease.deadline_ms))
    }
}

impl Upload<'_> {
    /// Asks which chunks are there already and sends the others. Hands the chunks back, in order.
    async fn send_missing(&mut self, batch: &mut Vec<SealedChunk>) -> Result<Vec<SealedChunk>, Failure> {
        let ids: Vec<BlobId> = batch.iter().map(|chunk| chunk.entry.blob).collect();
        let present = self.ask(&ids).await?;
        let mut done = Vec::with_capacity(batch.len());
        for (mut chunk, present) in batch.drain(..).zip(present) {
            // The blob's memory goes back to the pipeline as soon as the node has answered for it.
            let bytes = std::mem::take(&mut chunk.bytes);
            self.send(chunk.entry.blob, bytes, present).await?;
            self.meter.advance(chunk.entry.plain_len.into());
            done.push(chunk);
        }
        Ok(done)
    }

    async fn send_pages(&mut self, pages: Vec<SealedPage>) -> Result<(), Failure> {
        if pages.is_empty() {
            return Ok(());
        }
        let ids: Vec<BlobId> = pages.iter().map(|page| page.blob).collect();
        let present = self.ask(&ids).await?;
        for (page, present) in pages.into_iter().zip(present) {
            self.send(page.blob, page.bytes, present).await?;
        }
        Ok(())
    }

    /// Which of these the node has; those are leased from now on.
    async fn ask(&mut self, ids: &[BlobId]) -> Result<Vec<bool>, Failure> {
        self.renew();
        loop {
            match self.vault.remote.lease(&self.lease, ids).await {
                Err(failure) => {
                    // The stream broke with it.
                    let _ = self.end_stream().await;
                    self.go_on(failure).await?;
                }
                present => return present,
            }
        }
    }

    async fn send(&mut self, id: BlobId, bytes: Bytes, present: bool) -> Result<(), Failure> {
        let len = bytes.len() as u64;
        if present {
            self.meter.present(len);
            return Ok(());
        }
        pass(self.vault.transfers().up.as_ref(), len).await;
        self.unanswered.room().await;
        self.meter.sent(len);
        if self.stream.is_none()
            && let Err(failure) = self.open().await
        {
            self.unanswered.push(id, bytes);
            return self.go_on(failure).await;
        }
        self.unanswered.push(id, bytes.clone());
        let Some(stream) = &mut self.stream else { return Err(Failure::new(Kind::Bug, "no stream")) };
        match stream.sender.send(id, bytes).await {
            Ok(()) => Ok(()),
            Err(ended) => {
                let why = self.end_stream().await.err().unwrap_or(ended);
                self.go_on(why).await
            }
        }
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let (sender, answers) = self.vault.remote.put_blobs(&self.lease).await?;
        self.stream = Some(Stream::new(sender, answers, self.unanswered.clone()));
        Ok(())
    }

    async fn end_stream(&mut self) -> Result<(), Failure> {
        match self.stream.take() {
            Some(stream) => stream.end().await,
            None => Ok(()),
        }
    }

    /// Waits for a node that was missed. Every answer since the last time it was missed is progress.
    async fn missed(&mut self, failure: Failure) -> Result<(), Failure> {
        let answered = self.unanswered.answered.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.answered_then, answered) != answered {
            self.outage.over();
        }
        self.outage.ride_out(self.vault, failure).await
    }

    /// After the stream broke: waits for the node and sends what it does not hold of what it has not answered for.
    async fn go_on(&mut self, mut failure: Failure) -> Result<(), Failure> {
        loop {
            self.missed(failure).await?;
            match self.send_again().await {
                Ok(()) => return Ok(()),
                Err(next) => failure = next,
            }
            failure = self.end_stream().await.err().unwrap_or(failure);
        }
    }

    async fn send_again(&mut self) -> Result<(), Failure> {
        let ids: Vec<BlobId> = self.unanswered.blobs.lock().iter().map(|(id, _)| *id).collect();
        self.renew();
        let present = self.vault.remote.lease(&self.lease, &ids).await?;
        let mut rest = self.unanswered.take();
        let mut missing = present.into_iter();
        rest.retain(|_| !missing.next().unwrap_or(false));
        for (id, bytes) in &rest {
            self.unanswered.push(*id, bytes.clone());
        }
        self.open().await?;
        for (id, bytes) in rest {
            self.meter.sent(bytes.len() as u64);
            let Some(stream) = &mut self.stream else { break };
            stream.sender.send(id, bytes).await?;
        }
        Ok(())
    }

    /// Waits until everything is durable.
    async fn finish(&mut self) -> Result<(), Failure> {
        loop {
            let ended = self.end_stream().await;
            let all = self.unanswered.blobs.lock().is_empty();
            match ended {
                Ok(()) if all => return Ok(()),
                Ok(()) => {
                    let message = "the node did not store all that was sent; try again";
                    self.go_on(Failure::new(Kind::Closed, message)).await?;
                }
                // All are durable, however the stream ended.
                Err(failure) if all && failure.kind == Kind::Closed => return Ok(()),
                Err(failure) => self.go_on(failure).await?,
            }
        }
    }

    fn renew(&mut self) {
        let within = self.vault.resume_within_ms();
        let left = self.lease.deadline_ms.saturating_sub(self.vault.now_ms());
        if left < within - LEASE_RENEW_MS.min(within / 2) {
            self.lease.deadline_ms = self.vault.upload_deadline_ms();
            if let Some(stream) = &mut self.stream {
                stream.sender.renew(&self.lease);
            }
        }
    }
}
