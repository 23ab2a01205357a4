//! The user's own files: finding them, reading them without being fooled by changes, and writing them so that
//! a crash leaves the old file or the new one and nothing between.

pub mod exclude;
pub mod part;
pub mod same;
pub mod source;
pub mod target;
pub mod walk;
pub mod xattrs;

/// The system's words for an I/O error, without its number.
#[must_use]
pub fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
