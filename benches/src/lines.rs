//! Lines on standard output, whose reader may leave at any time: `cubes | head` is no failure.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process;

/// As the standard library's, but where nobody reads any more, the process ends with 0: there is nobody to go on measuring for. If
/// a line cannot be written for another reason, it ends with 1 and says why.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => { $crate::lines::line(::core::format_args!($($text)*)) };
}

/// What `println!` does.
pub fn line(text: Arguments<'_>) {
    match written(&mut io::stdout().lock(), text) {
        Ok(true) => {}
        Ok(false) => process::exit(0),
        Err(error) => {
            eprintln!("cannot write to standard output: {error}");
            process::exit(1)
        }
    }
}

/// Whether somebody still reads.
fn written(out: &mut impl Write, text: Arguments<'_>) -> io::Result<bool> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_left_is_no_failure_and_a_full_disk_is_one() {
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(written(&mut writer, format_args!("{}", 1)).unwrap());
        drop(reader);
        assert!(!written(&mut writer, format_args!("2")).unwrap());
        let mut full = &mut [0u8; 1][..];
        assert!(written(&mut full, format_args!("3")).is_err());
    }
}
