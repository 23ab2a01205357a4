//! How far a long piece of work is. Workers count, whoever shows it reads; neither waits for the other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one piece of work.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_present: AtomicU64,
    bytes_fetched: AtomicU64,
    bytes_kept: AtomicU64,
    files_total: AtomicU64,
    files_done: AtomicU64,
}

/// What a [`Meter`] showed at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of content known of so far; may still grow while a folder is walked.
    pub bytes_total: u64,
    /// Bytes of content dealt with.
    pub bytes_done: u64,
    /// Bytes that travelled to the node, sealed.
    pub bytes_sent: u64,
    /// Sealed bytes that did not have to travel because the node had them already.
    pub bytes_present: u64,
    /// Bytes that travelled from the node, sealed.
    pub bytes_fetched: u64,
    /// Bytes of content that an interrupted fetch had brought already.
    pub bytes_kept: u64,
    /// Files known of so far.
    pub files_total: u64,
    /// Files dealt with.
    pub files_done: u64,
}

impl Meter {
    /// Adds work to be done.
    pub fn expect(&self, files: u64, bytes: u64) {
        self.files_total.fetch_add(files, Ordering::Relaxed);
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Content dealt with.
    pub fn advance(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Content taken back, because a file has to be read again.
    pub fn rewind(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that travelled to the node.
    pub fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that the node had already.
    pub fn present(&self, bytes: u64) {
        self.bytes_present.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that travelled from the node.
    pub fn fetched(&self, bytes: u64) {
        self.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Content that an interrupted fetch had brought already.
    pub fn kept(&self, bytes: u64) {
        self.bytes_kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file is done.
    pub fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Where it stands.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading {
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_present: self.bytes_present.load(Ordering::Relaxed),
            bytes_fetched: self.bytes_fetched.load(Ordering::Relaxed),
            bytes_kept: self.bytes_kept.load(Ordering::Relaxed),
            files_total: self.files_total.load(Ordering::Relaxed),
            files_done: self.files_done.load(Ordering::Relaxed),
        }
    }
}
