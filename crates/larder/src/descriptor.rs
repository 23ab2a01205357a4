//! The one place that turns a descriptor number given by the caller (`--passphrase-fd 3`) into a file.
//!
//! It must be a real take-over and not a second opening through `/dev/fd`: the descriptor would otherwise stay open
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
    // SAFETY: the number was just seen to be open. It was inherited from the process that started us and named on our
    // command line for this purpose, and verbs take it before they start a runtime or open a file, so nobody else in
    // this process owns it.
    Ok(unsafe { File::from_raw_fd(number) })
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
