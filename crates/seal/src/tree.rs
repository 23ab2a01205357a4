//! The tree of pages under a manifest: built as chunks are sealed, walked as they are needed.
//!
//! Both sides work in bounded memory and do no I/O: the builder hands out sealed pages to store, the walker asks
//! for pages by reference. Page and chunk secrets stand in the page above, up to the signed manifest, so a page
//! or chunk in another place does not open.

use std::ops::Range;

use bytes::Bytes;
use larder_format::ids::BlobId;
use larder_format::manifest::{Chunking, Content, MANIFEST_CHUNKS_MAX, MANIFEST_REFS_MAX, Manifest};
use larder_format::pages::{ChunkEntry, PAGE_ITEMS_MAX, PAGE_LEVELS_MAX, Page, PageRef};

use crate::chunk::{BlobOpener, BlobSealer};
use crate::error::SealError;

/// A sealed page to store before the manifest that refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPage {
    /// The blob's id.
    pub blob: BlobId,
    /// The blob.
    pub bytes: Bytes,
}

/// Takes a file's chunks in order and makes its manifest's content.
#[derive(Debug)]
pub struct TreeBuilder {
    sealer: BlobSealer,
    chunks: Vec<ChunkEntry>,
    /// References to finished pages that no page holds yet, by level.
    levels: Vec<Vec<PageRef>>,
    /// Bytes of the file under finished leaves.
    paged_len: u64,
}

impl TreeBuilder {
    /// An empty tree.
    #[must_use]
    pub fn new(sealer: BlobSealer) -> Self {
        Self { sealer, chunks: Vec::new(), levels: Vec::new(), paged_len: 0 }
    }

    /// Adds the next chunk. Returns the pages that it filled: mostly none.
    ///
    /// # Errors
    /// [`SealError::TooLong`] beyond what [`PAGE_LEVELS_MAX`] levels hold.
    pub fn push(&mut self, chunk: ChunkEntry) -> Result<Vec<SealedPage>, SealError> {
        self.chunks.push(chunk);
        let mut pages = Vec::new();
        if self.chunks.len() == PAGE_ITEMS_MAX {
            self.close_leaf(&mut pages)?;
            let mut level = 0;
            while self.levels[level].len() == PAGE_ITEMS_MAX {
                self.close_level(level, &mut pages)?;
                level += 1;
            }
        }
        Ok(pages)
    }

    /// Ends the file. Returns the content and the last pages.
    ///
    /// # Errors
    /// As [`TreeBuilder::push`].
    ///
    /// # Panics
    /// Never: levels are bounded when they are closed.
    pub fn finish(mut self) -> Result<(Content, Vec<SealedPage>), SealError> {
        let mut pages = Vec::new();
        if self.levels.is_empty() && self.chunks.is_empty() {
            return Ok((Content::Inline(Bytes::new()), pages));
        }
        if self.levels.is_empty() && self.chunks.len() <= MANIFEST_CHUNKS_MAX {
            return Ok((Content::Chunks(self.chunks), pages));
        }
        if !self.chunks.is_empty() {
            self.close_leaf(&mut pages)?;
        }
        let mut level = 0;
        // Climb until a level holds few enough references and nothing is above it.
        while level + 1 < self.levels.len() || self.levels[level].len() > MANIFEST_REFS_MAX {
            if !self.levels[level].is_empty() {
                self.close_level(level, &mut pages)?;
            }
            level += 1;
        }
        let refs = std::mem::take(&mut self.levels[level]);
        let level = u8::try_from(level).expect("levels are bounded when they are closed");
        Ok((Content::Pages { level, refs }, pages))
    }

    fn close_leaf(&mut self, pages: &mut Vec<SealedPage>) -> Result<(), SealError> {
        let page = Page::Leaf(std::mem::take(&mut self.chunks));
        let reference = self.seal(&page, self.paged_len, pages)?;
        self.paged_len += reference.len;
        self.push_reference(0, reference);
        Ok(())
    }

    fn close_level(&mut self, level: usize, pages: &mut Vec<SealedPage>) -> Result<(), SealError> {
        let above = u8::try_from(level + 1).unwrap_or(u8::MAX);
        if above >= PAGE_LEVELS_MAX {
            let max = usize::from(PAGE_LEVELS_MAX);
            return Err(SealError::TooLong { what: "manifest levels", len: usize::from(above) + 1, max });
        }
        let refs = std::mem::take(&mut self.levels[level]);
        let offset = refs[0].offset;
        let reference = self.seal(&Page::Interior { level: above, refs }, offset, pages)?;
        self.push_reference(level + 1, reference);
        Ok(())
    }

    fn push_reference(&mut self, level: usize, reference: PageRef) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(reference);
    }

    fn seal(&self, page: &Page, offset: u64, pages: &mut Vec<SealedPage>) -> Result<PageRef, SealError> {
        let len = page.span().ok_or(SealError::Contradiction { what: "file size" })?;
        let encoded = page.encode();
        let (key, blob, bytes) = self.sealer.seal_page(&encoded)?;
        pages.push(SealedPage { blob, bytes: bytes.into() });
        let page_len = u32::try_from(encoded.len()).expect("a page is below 128 KiB");
        Ok(PageRef { blob, key, page_len, offset, len })
    }
}

/// What a [`TreeWalker`] has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A chunk that overlaps the range.
    Chunk {
        /// Where it begins in the file.
        offset: u64,
        /// What opens it.
        entry: ChunkEntry,
    },
    /// Fetch this page's blob and give it to [`TreeWalker::supply`].
    NeedPage(PageRef),
    /// Nothing more overlaps the range.
    Done,
}

/// Walks a manifest's chunks in file order, within a range of bytes.
#[derive(Debug)]
pub struct TreeWalker {
    opener: BlobOpener,
    stack: Vec<Frame>,
    needed: Option<(PageRef, u8)>,
    range: Range<u64>,
    size: u64,
    fixed_len: Option<u64>,
}

#[derive(Debug)]
enum Frame {
    Chunks { offset: u64, rest: std::vec::IntoIter<ChunkEntry> },
    Refs { level: u8, rest: std::vec::IntoIter<PageRef> },
}

impl TreeWalker {
    /// Walks what overlaps `range` of the file; inline content has no chunks and is done at once. The manifest's
    /// signature must have been checked.
    #[must_use]
    pub fn new(opener: BlobOpener, manifest: &Manifest, range: Range<u64>) -> Self {
        let frame = match &manifest.content {
            Content::Inline(_) => None,
            Content::Chunks(chunks) => Some(Frame::Chunks { offset: 0, rest: chunks.clone().into_iter() }),
            Content::Pages { level, refs } => {
                Some(Frame::Refs { level: *level, rest: refs.clone().into_iter() })
            }
        };
        let fixed_len = match manifest.chunking {
            Chunking::Fixed { len } => Some(u64::from(len)),
            Chunking::ContentDefined { .. } => None,
        };
        let stack = frame.into_iter().collect();
        Self { opener, stack, needed: None, range, size: manifest.size, fixed_len }
    }

    /// The next step. After [`Step::NeedPage`] the same step comes again until the page is supplied.
    ///
    /// # Errors
    /// [`SealError::Contradiction`] if chunk lengths do not fit the manifest.
    pub fn step(&mut self) -> Result<Step, SealError> {
        loop {
            if let Some((page, _)) = self.needed {
                return Ok(Step::NeedPage(page));
            }
            let Some(frame) = self.stack.last_mut() else { return Ok(Step::Done) };
            match frame {
                Frame::Chunks { offset, rest } => {
                    let Some(entry) = rest.next() else {
                        self.stack.pop();
                        continue;
                    };
                    let begin = *offset;
                    let end = begin + u64::from(entry.plain_len);
                    *offset = end;
                    let len = u64::from(entry.plain_len);
                    let fits =
                        self.fixed_len.is_none_or(|fixed| len == fixed || (len < fixed && end == self.size));
                    if !fits {
                        return Err(SealError::Contradiction { what: "chunk length" });
                    }
                    if begin >= self.range.end {
                        self.stack.clear();
                    } else if end > self.range.start {
                        return Ok(Step::Chunk { offset: begin, entry });
                    }
                }
                Frame::Refs { level, rest } => {
                    let Some(page) = rest.next() else {
                        self.stack.pop();
                        continue;
                    };
                    if page.offset >= self.range.end {
                        self.stack.clear();
                    } else if page.offset + page.len > self.range.start {
                        self.needed = Some((page, *level));
                    }
                }
            }
        }
    }

    /// Takes the blob of the page that [`Step::NeedPage`] asked for.
    ///
    /// # Errors
    /// As [`BlobOpener::open_page`]; [`SealError::Contradiction`] if the page does not describe the bytes its
    /// reference says. The page is still needed then: another copy may be tried.
    ///
    /// # Panics
    /// If no page was asked for.
    pub fn supply(&mut self, blob: &[u8]) -> Result<(), SealError> {
        let (reference, level) = self.needed.expect("a page is supplied only when one was asked for");
        let encoded = self.opener.open_page(&reference.key, reference.page_len as usize, blob)?;
        let page = Page::decode(encoded.into())?;
        if page.level() != level || page.span() != Some(reference.len) {
            return Err(SealError::Contradiction { what: "page" });
        }
        let frame = match page {
            Page::Leaf(chunks) => Frame::Chunks { offset: reference.offset, rest: chunks.into_iter() },
            Page::Interior { refs, .. } if refs[0].offset != reference.offset => {
                return Err(SealError::Contradiction { what: "page offset" });
            }
            Page::Interior { level, refs } => Frame::Refs { level: level - 1, rest: refs.into_iter() },
        };
        self.stack.push(frame);
        self.needed = None;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
