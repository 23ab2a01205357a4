//! Files with a key as text: read with a limit, into memory that is wiped.

use std::path::Path;

use larder_format::error::Kind;
use larder_seal::recipient::KEY_TEXT_LEN_MAX;
use zeroize::Zeroizing;

use crate::atomic_file;
use crate::failure::{Failure, Outcome, shown};

/// Reads a key file that must be there.
///
/// # Errors
/// Not found; invalid if it is larger than any key; what the file system says.
pub fn read(path: &Path) -> Outcome<Zeroizing<Vec<u8>>> {
    match atomic_file::read(path, KEY_TEXT_LEN_MAX) {
        Ok(Some(bytes)) => Ok(Zeroizing::new(bytes)),
        Ok(None) => Err(Failure::new(Kind::NotFound, format!("{} is missing", shown(path)))),
        Err(failure) if failure.kind() == Some(Kind::Damaged) => {
            Err(Failure::invalid(format!("{} is no key: it is too large", shown(path))))
        }
        Err(failure) => Err(failure),
    }
}

/// The same as text.
///
/// # Errors
/// As [`read`]; invalid if it is not text.
pub fn read_text(path: &Path) -> Outcome<Zeroizing<String>> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::invalid(format!("{} is no key: it is not text", shown(path))))?;
    Ok(Zeroizing::new(text.to_owned()))
}
