//! How files, links and folders are shown: one line each for people, one object each for programs.

use larder_client::files::{Listed, ListedKind};
use serde_json::{Value, json};

use crate::failure::clean;
use crate::moment;
use crate::output::{Output, Tone};
use crate::size;

/// As JSON. Versions are strings: they have more bits than a JSON number keeps.
pub fn object(listed: &Listed) -> Value {
    let (kind, size) = match &listed.kind {
        ListedKind::File { size, .. } => ("file", Some(*size)),
        ListedKind::Symlink { .. } => ("link", None),
        ListedKind::Folder { .. } => ("folder", None),
    };
    // Values that are not text are shown as what text they hold.
    let custom: serde_json::Map<String, Value> = listed
        .attributes
        .custom
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into()))
        .collect();
    json!({
        "path": listed.path.to_string(),
        "kind": kind,
        "size": size,
        "mode": listed.attributes.mode & 0o7777,
        "mtime_ns": listed.attributes.mtime_ns,
        "version": listed.version.to_string(),
        "expires_ms": listed.expiry.ms(),
        "deleting": listed.deleting,
        "content_type": listed.attributes.content_type,
        "attributes": custom,
    })
}

/// The name shown for people: of the last component, or the whole path; folders end in `/`.
pub fn name(listed: &Listed, whole_path: bool, output: Output) -> String {
    let plain = match listed.path.split() {
        Some((_, name)) if !whole_path => clean(name),
        _ => clean(&listed.path.to_string()),
    };
    match listed.kind {
        ListedKind::Folder { .. } if listed.deleting => {
            format!("{plain}/  {}", output.paint(Tone::Warn, "(being deleted)"))
        }
        ListedKind::Folder { .. } => output.paint(Tone::Strong, &format!("{plain}/")),
        ListedKind::Symlink { .. } => format!("{plain}@"),
        ListedKind::File { .. } => plain,
    }
}

/// The long line: mode, size, time, lifetime, name.
pub fn long_line(listed: &Listed, whole_path: bool, now_ms: u64, output: Output) -> String {
    let (letter, len) = match &listed.kind {
        ListedKind::File { size, .. } => ('-', size::show(*size)),
        ListedKind::Symlink { .. } => ('l', "-".to_owned()),
        ListedKind::Folder { .. } => ('d', "-".to_owned()),
    };
    let end = match listed.expiry.ms() {
        Some(_) => format!(
            "  {}",
            output.paint(Tone::Warn, &format!("(ends {})", moment::show_left(listed.expiry, now_ms)))
        ),
        None => String::new(),
    };
    format!(
        "{letter}{} {len:>10}  {:<17}  {}{end}\n",
        mode_letters(listed.attributes.mode),
        moment::show_ns(listed.attributes.mtime_ns),
        name(listed, whole_path, output)
    )
}

/// `rwxr-x---` for permission bits; `---------` where they are not known.
fn mode_letters(mode: u32) -> String {
    (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' }).collect()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits_as_letters() {
        assert_eq!(mode_letters(0o750), "rwxr-x---");
        assert_eq!(mode_letters(0o644), "rw-r--r--");
        assert_eq!(mode_letters(0), "---------");
    }
}
