//! Why a run could not be made, in words that say what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a run could not be made.
#[derive(Debug, Error)]
pub enum Error {
    /// A program that is to be run is not there, or none.
    #[error(
        "{flag} {}: there is no such program{}; build it (cargo build --profile dist -p {package}) or name another",
        path.display(),
        if path.exists() { " (this is no file that can be run)" } else { "" }
    )]
    Missing {
        /// What names it on the command line.
        flag: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What it is built from.
        package: &'static str,
    },
    /// A core that is not there, or that this process may not use.
    #[error("{flag} {core}: this process may use cores {allowed}")]
    Core {
        /// What names it on the command line.
        flag: &'static str,
        /// The core asked for.
        core: usize,
        /// Those that there are.
        allowed: String,
    },
    /// A program of the system that it takes is not there.
    #[error("{tool}(1) is not there, and {why}: install it (Debian: apt install {package}), or {instead}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// What it is for.
        why: &'static str,
        /// What it comes with.
        package: &'static str,
        /// What else can be done.
        instead: &'static str,
    },
    /// A file that the command line names cannot be written.
    #[error("{flag}: cannot write {}: {error}", path.display())]
    Unwritable {
        /// What names it on the command line.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Each client has a socket.
    #[error(
        "{wanted} file descriptors are needed (a socket per client), and the hard limit is {limit}: raise it (ulimit -Hn), or ask for fewer players"
    )]
    Descriptors {
        /// How many it takes.
        wanted: u64,
        /// How many there are.
        limit: u64,
    },
    /// A child ended, or did not say what it should.
    #[error("{who} {what}{}", tail(.said))]
    Child {
        /// Which.
        who: &'static str,
        /// What happened.
        what: String,
        /// The last that it said.
        said: Vec<String>,
    },
    /// Not one step of the ramp held its bounds.
    #[error("not even {players} players hold the bounds: {why}")]
    Nobody {
        /// The fewest that were tried.
        players: u16,
        /// What broke.
        why: String,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// Something the system does not give.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        error: io::Error,
    },
}

impl Error {
    /// 2 for what the command line says, 1 for what happened.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Missing { .. } | Self::Core { .. } | Self::Unwritable { .. } => 2,
            Self::Tool { .. }
            | Self::Descriptors { .. }
            | Self::Child { .. }
            | Self::Nobody { .. }
            | Self::Interrupted
            | Self::System { .. } => 1,
        }
    }

    /// For `map_err`.
    pub fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::System { what, error: error.into() }
    }
}

fn tail(said: &[String]) -> String {
    if said.is_empty() { String::new() } else { format!("; it said:\n  {}", said.join("\n  ")) }
}
