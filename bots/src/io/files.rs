//! Files that the command line names, read as far as they may be long.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's reason.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is longer than what it may hold, or has no end (`/dev/zero`).
    #[error("it has more than {0} bytes, the most for such a file")]
    Length(usize),
}

/// Reads a file of at most `max` bytes.
pub fn read(path: &Path, max: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(ReadError::Length(max)) } else { Ok(bytes) }
}
