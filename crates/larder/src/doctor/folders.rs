//! Folders and the files in them: whose they are, who else can read them, and on what kind of file system they lie.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use larder_client::local::io_words;
use larder_format::error::Kind;

use crate::cli::Context;
use crate::doctor::Finding;
use crate::failure::shown;
use crate::size;

/// Most files looked at in one folder: config and state have a handful, and a store's files are counted by the node.
const FILES_MAX: usize = 10_000;

/// File systems that live in memory, by the number that `statfs` gives.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// File systems on another machine.
const REMOTE: [u64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x5346_414f, 0x6573_5546];

pub(super) fn look(context: &Context, findings: &mut Vec<Finding>) {
    let folders = &context.folders;
    let mut open = Vec::new();
    for folder in [folders.config(), folders.data(), folders.state(), &folders.certificates()] {
        if let Err(error) = look_for_open(folder, &mut open) {
            findings.push(Finding::bad(
                "folders",
                if error.kind() == std::io::ErrorKind::PermissionDenied { Kind::Denied } else { Kind::Closed },
                format!("{}: {}", shown(folder), io_words(&error)),
                "larder up makes what is missing; what belongs to another user has to be given back with chown",
            ));
            return;
        }
    }
    match open.first() {
        None => findings.push(Finding::good("folders", "nobody else can read or change them")),
        Some(first) => findings.push(Finding::warning(
            "folders",
            format!("other users can reach {} of {} such files or folders", first, open.len()),
            format!("chmod go= {first}"),
        )),
    }
    file_system(folders.data(), findings);
    kept_aside(folders.data(), findings);
}

/// What was given up and kept takes room for nothing, unless somebody hopes for it.
fn kept_aside(data: &Path, findings: &mut Vec<Finding>) {
    let Ok(kept) = larder_node::unread_end::kept_aside(data) else { return };
    let bytes = kept.iter().map(|file| file.len).sum();
    if !kept.is_empty() {
        findings.push(Finding::advice(
            "data folder",
            format!(
                "{} that the disk could not read {} kept aside and {} {}",
                size::count(kept.len() as u64, "file"),
                if kept.len() == 1 { "is" } else { "are" },
                if kept.len() == 1 { "takes" } else { "take" },
                size::show(bytes)
            ),
            "larder node unread --remove, when nobody hopes to get anything back from there",
        ));
    }
}

/// Collects what others can reach in a folder, itself included.
fn look_for_open(folder: &Path, open: &mut Vec<String>) -> std::io::Result<()> {
    let us = rustix::process::geteuid().as_raw();
    let mut check = |path: &Path, metadata: &std::fs::Metadata| {
        if metadata.mode() & 0o077 != 0 || metadata.uid() != us {
            open.push(shown(path));
        }
    };
    check(folder, &std::fs::metadata(folder)?);
    for entry in std::fs::read_dir(folder)?.take(FILES_MAX) {
        let entry = entry?;
        // What has disappeared meanwhile is nobody's trouble.
        if let Ok(metadata) = entry.metadata()
            && !metadata.is_symlink()
        {
            check(&entry.path(), &metadata);
        }
    }
    Ok(())
}

fn file_system(data: &Path, findings: &mut Vec<Finding>) {
    let Ok(stat) = rustix::fs::statfs(data) else { return };
    let kind = u64::try_from(stat.f_type).unwrap_or(0) & 0xffff_ffff;
    if IN_MEMORY.contains(&kind) {
        findings.push(Finding::warning(
            "data folder",
            format!("{} lies in memory: a restart of the machine loses everything", shown(data)),
            "keep it on a disk: larder --home DIR",
        ));
    } else if REMOTE.contains(&kind) {
        findings.push(Finding::warning(
            "data folder",
            format!("{} lies on a network file system, which may tell a sync done that is not", shown(data)),
            "keep it on a disk of this machine: larder --home DIR",
        ));
    } else {
        findings.push(Finding::good("data folder", "on a file system of this machine"));
    }
    if stat.f_files > 0 && stat.f_ffree < stat.f_files / 100 {
        findings.push(Finding::warning(
            "data folder",
            "less than 1 % of the file system's inodes are free",
            "delete files you do not need from that file system",
        ));
    }
}
