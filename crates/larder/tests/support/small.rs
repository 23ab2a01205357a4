//! A small disk: a file system of its own, in memory. Mounting takes root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, in memory.
pub struct Small(PathBuf);

impl Small {
    /// `None`, said on stderr, where nothing can be mounted.
    pub fn mount(at: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|o| o.status.success());
        if !mounted {
            eprintln!("NOT RUN: nothing can be mounted here (it takes root)");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Small {
    /// Bytes it has left.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}
