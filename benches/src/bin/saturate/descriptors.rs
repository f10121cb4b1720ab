//! File descriptors: a socket per client takes more than most shells allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;

/// Those that a process needs beside its clients' sockets.
pub const SPARE: u64 = 64;

/// The most that a process may have.
pub fn most() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Makes sure that this process, and those that it starts from now on, may have that many.
pub fn raise(wanted: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < wanted) {
        return Err(Error::Descriptors { wanted, limit: maximum });
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
        .map_err(Error::system(format!("get {wanted} file descriptors")))
}
