//! Why the server does not start or stops.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use netcode::crypto::CryptoError;
use server::config::ConfigError;
use server::dev_token::IssueError;
use thiserror::Error;

/// What the process ends with; [`RunError::exit_code`] tells the two families apart.
#[derive(Debug, Error)]
pub enum RunError {
    /// A flag or a key of the configuration is not allowed.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The configuration file is not usable.
    #[error("{}: {error}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: ConfigError,
    },
    /// A file that flags or configuration name cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file is longer than what it may hold.
    #[error("{} has more than {max} bytes, the most for such a file", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// The most bytes.
        max: usize,
    },
    /// A file that should be text is not.
    #[error("{} is no text (UTF-8)", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// Recordings are to go into what is no directory.
    #[error(
        "{} is no directory: record.dir (--record) takes one, and each start puts a file of its own there",
        path.display()
    )]
    NoDirectory {
        /// What it is told to be.
        path: PathBuf,
    },
    /// A file that a flag names cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A socket could not be bound.
    #[error("cannot listen on {protocol} {addr}: {error}{}", hint(error, flag))]
    Bind {
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The address asked for.
        addr: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// Another system call failed.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A core that a thread is to stay on is not there.
    #[error("{key} = {core} is not allowed: this process may use core {allowed}")]
    Core {
        /// The key of the configuration.
        key: &'static str,
        /// The core.
        core: u32,
        /// The cores that are there.
        allowed: String,
    },
    /// The configuration makes no world.
    #[error("{0}")]
    World(sim::ConfigError),
    /// The rulebook's file holds none.
    #[error("{}: {error}", path.display())]
    Rulebook {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: sim::game::RulebookError,
    },
    /// The world cannot be recorded.
    #[error("cannot record: {0}")]
    Record(sim::log::LogError),
    /// A recording is damaged, or its replay went another way.
    #[error("{}: {error}", path.display())]
    Replay {
        /// The file.
        path: PathBuf,
        /// What it met.
        error: super::replay::Error,
    },
    /// Not all that happened is in the recording.
    #[error("{}: the recording is not whole: not all of it could be written", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
    },
    /// What is to be replayed is a directory.
    #[error("{} is a directory: replay takes one recording, a file (record.dir has one for each start)", path.display())]
    Directory {
        /// What it is told to be.
        path: PathBuf,
    },
    /// A recording ends before the tick that was asked for.
    #[error("{}: --tick is beyond the last tick of the recording, which is {last}", path.display())]
    NoSuchTick {
        /// The file.
        path: PathBuf,
        /// Its last tick.
        last: u64,
    },
    /// The system gives no randomness.
    #[error("{0}")]
    Entropy(CryptoError),
    /// Tokens asked for on the command line are not issued.
    #[error("{0}")]
    Issue(#[from] IssueError),
    /// A thread ended by panicking; its message is on standard error.
    #[error("the {0} thread ended unexpectedly")]
    Thread(String),
}

impl RunError {
    /// 2 for what the operator wrote, 1 for what happened at run time.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::ConfigFile { .. }
            | Self::Read { .. }
            | Self::FileLength { .. }
            | Self::NoText { .. }
            | Self::NoDirectory { .. }
            | Self::Directory { .. }
            | Self::Write { .. }
            | Self::Core { .. }
            | Self::World(_)
            | Self::Rulebook { .. }
            | Self::Record(_)
            | Self::NoSuchTick { .. }
            | Self::Issue(IssueError::Count(_) | IssueError::Overflow { .. }) => 2,
            Self::Bind { .. }
            | Self::System { .. }
            | Self::Entropy(_)
            | Self::Issue(_)
            | Self::Thread(_)
            | Self::NotWhole { .. }
            | Self::Replay { .. } => 1,
        }
    }

    /// For `map_err`: what was tried.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

fn hint(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("; another process has it, choose another with {flag}"),
        io::ErrorKind::AddrNotAvailable => {
            format!("; this machine does not have that address, choose another with {flag}")
        }
        io::ErrorKind::PermissionDenied => format!("; choose a port above 1023 with {flag}"),
        _ => String::new(),
    }
}
