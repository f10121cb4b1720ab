//! Lines for people and scripts. Whoever reads them may leave at any time: that must neither end a run nor hold it up,
//! as the panics of `println!` and `eprintln!` would.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

use super::error::RunError;

/// A line on stdout. A reader that has left has read enough; any other failure is an error, since a result was lost.
pub fn result(text: impl Display) -> Result<(), RunError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(RunError::system("write to stdout")(error)),
        _ => Ok(()),
    }
}

/// A line on stderr, if anybody reads it.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
