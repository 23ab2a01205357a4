//! The one place that turns descriptor numbers from outside into files: `--passphrase-fd 3`, and whatever a daemon
//! inherited and has to close.
//!
//! The former must be a real take-over and not a second opening through `/dev/fd`: the descriptor would otherwise stay open
//! and be inherited by the node, which must never hold a way to the passphrase.
#![allow(unsafe_code, reason = "a number from outside can only become a descriptor unsafely; argued below")]

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};

/// Highest number accepted: the usual hard limit of open files.
pub const DESCRIPTOR_MAX: RawFd = 1 << 20;

/// Takes over an inherited descriptor; it is closed when the file is dropped.
///
/// Call it before anything else in the process opens files, and once per number.
///
/// # Errors
/// If the number is out of range or nothing is open there.
pub fn take(number: RawFd) -> io::Result<File> {
    if !(0..=DESCRIPTOR_MAX).contains(&number) {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()));
    }
    // SAFETY: `fcntl(F_GETFD)` on a number that is not open fails with EBADF and does nothing; the borrow ends here.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: the number was just seen to be open. It was inherited from the process that started us, and named on our
    // command line for this purpose or about to be closed; both happen before this process starts a runtime or opens
    // a file of its own, so nobody else in it owns it.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// Closes everything inherited beyond the standard streams: a daemon must keep nobody's pipe or file open. Call it first
/// thing in the process. What cannot be listed or closed stays open, which harms only tidiness.
pub fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    // Collected first: the listing's own descriptor is in the list, and is closed again before any is taken.
    let numbers: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|n| *n > 2)
        .collect();
    for number in numbers {
        drop(take(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    #[test]
    fn takes_an_open_one_and_refuses_others() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        take(std::os::fd::OwnedFd::from(reader).into_raw_fd()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(take(DESCRIPTOR_MAX).is_err());
        assert!(take(-1).is_err());
    }
}
