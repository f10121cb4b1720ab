//! Programs of the system that server and bots are started through, and such that look at them.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::Error;
use crate::process::binds;

/// Checks that what such a run takes is there, so that it is told in time, and by its own name.
pub fn check(shares_core: bool, perf: bool) -> Result<(), Error> {
    if shares_core && !is_there("chrt") {
        return Err(Error::Tool {
            tool: "chrt",
            why: "bots that share a core with the server run under it",
            package: "util-linux",
            instead: "give the bots cores of their own (--bots-core)",
        });
    }
    if perf && !is_there("perf") {
        return Err(Error::Tool {
            tool: "perf",
            why: "--perf takes it",
            package: "linux-perf",
            instead: "leave --perf out",
        });
    }
    // It tells by itself what is missing.
    binds();
    Ok(())
}

/// Whether a program of that name would be found.
fn is_there(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|place| can_run(&place.join(name))))
}

/// Whether that is a file that somebody may run.
pub fn can_run(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_file_that_can_be_run() {
        assert!(is_there("sh") && !is_there("no-such-program"));
        assert!(can_run(&env::current_exe().unwrap()));
        assert!(!can_run(Path::new("/tmp")) && !can_run(Path::new("/proc/self/status")));
    }
}
