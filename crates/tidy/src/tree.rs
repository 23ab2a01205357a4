//! Which files belong to the project: everything under its root except what is built, fetched or made by
//! running it. The same list as `.gitignore`, so that the checks also work without git.

use std::io;
use std::path::{Path, PathBuf};

/// Folder names that hold nothing committed.
const SKIPPED: &[&str] =
    &[".git", "target", ".venv", ".bench", ".larder-run", "__pycache__", "corpus", "artifacts", "coverage"];

/// Endings of files that are text. Others are looked at only if they have no ending at all.
const TEXT_ENDINGS: &[&str] =
    &["rs", "toml", "lock", "md", "sh", "py", "proto", "yml", "yaml", "json", "txt", "service"];

/// A text file of the project.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The project's root folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All text files under `root`, sorted by path.
///
/// # Errors
/// Whatever the file system says.
pub fn text_files(root: &Path) -> io::Result<Vec<TextFile>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    folders.push(entry.path());
                }
            } else if kind.is_file() && is_text_name(&name) {
                // A file without an ending may still be binary; then it is none of ours to read.
                if let Ok(text) = String::from_utf8(std::fs::read(entry.path())?) {
                    found.push(TextFile { path: from_root(root, &entry.path()), text });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_text_name(name: &str) -> bool {
    match name.rsplit_once('.') {
        Some((stem, ending)) => TEXT_ENDINGS.contains(&ending) || stem.is_empty(),
        None => true,
    }
}

fn from_root(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    relative.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_file_and_nothing_built() {
        let files = text_files(&root()).expect("readable");
        assert!(files.iter().any(|f| f.path == "crates/tidy/src/tree.rs"));
        assert!(files.iter().any(|f| f.path == "Cargo.toml"));
        assert!(!files.iter().any(|f| f.path.starts_with("target/") || f.path.starts_with(".git/")));
    }

    #[test]
    fn tells_text_by_name() {
        assert!(is_text_name("a.rs") && is_text_name("Makefile") && is_text_name(".gitignore"));
        assert!(!is_text_name("a.bin") && !is_text_name("00000001.seg"));
    }
}
