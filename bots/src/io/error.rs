//! Why a run could not be made, in words that say what to do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a rulebook's file gives none.
#[derive(Debug, Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] super::files::ReadError),
    /// It is no text.
    #[error("it is no text (UTF-8)")]
    NoText,
    /// It is no rulebook.
    #[error(transparent)]
    Rulebook(#[from] sim::game::RulebookError),
}

/// Why a run could not be made.
#[derive(Debug, Error)]
pub enum RunError {
    /// Nobody answers.
    #[error(
        "no HTTP server answers at {at}: {cause}\n\
         Is the server running? Connect tokens come from its HTTP address: name it with --http IP:PORT."
    )]
    NoHttp {
        /// The address.
        at: SocketAddr,
        /// The failure.
        cause: String,
    },
    /// Neither of the usual addresses gives tokens.
    #[error("no connect tokens:\n- {0}\n- {1}")]
    Neither(Box<Self>, Box<Self>),
    /// It answers, but gives no tokens.
    #[error(
        "http://{at}/v1/dev/token answers {status}: {text}\n\
         The server must run with access.dev_tokens = true, and gives tokens to its own machine only."
    )]
    NoTokens {
        /// The address.
        at: SocketAddr,
        /// The HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// It answers something else.
    #[error("http://{at}/v1/dev/token answers something that is no development token: {text}")]
    BadReply {
        /// The address.
        at: SocketAddr,
        /// What is wrong.
        text: String,
    },
    /// No socket for another client.
    #[error(
        "cannot open a UDP socket for client {index}: {error}\nEach client has one: `ulimit -n` must allow for that."
    )]
    Socket {
        /// The client.
        index: usize,
        /// The system's reason.
        error: io::Error,
    },
    /// Fewer sockets than clients.
    #[error(
        "{wanted} open files are needed (each client has a socket), and the hard limit is {limit}: raise it \
         (ulimit -Hn), or ask for fewer clients"
    )]
    Descriptors {
        /// How many it takes.
        wanted: u64,
        /// The hard limit.
        limit: u64,
    },
    /// Something the system does not give.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// A file that cannot be read or written.
    #[error("cannot {what} {}: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// `--rules` names no rulebook.
    #[error("--rules {}: {error}", path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: RulesError,
    },
    /// A trace that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        error: super::files::ReadError,
    },
    /// The file is no trace.
    #[error("{}: {error}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: bots::trace::ReadError,
    },
    /// The picture would replace the trace.
    #[error("{} is the trace itself: name another file with --out", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// The arena's world cannot be made.
    #[error("no world can be made for this arena: {0}")]
    World(#[from] sim::ConfigError),
    /// No tokens for the echo server's clients.
    #[error(transparent)]
    Issue(#[from] server::dev_token::IssueError),
    /// No HELLO can be made.
    #[error(transparent)]
    Connect(#[from] netcode::error::ConnectError),
    /// The server gave no token.
    #[error("the server gave no token that is still good")]
    NoToken,
    /// The transfer table's ends do not work.
    #[error("no table: {0}")]
    Transfer(#[from] bots::transfer::Broken),
    /// SIGINT or SIGTERM came before it was done.
    #[error("interrupted")]
    Interrupted {
        /// Its number.
        signal: u8,
    },
    /// No randomness.
    #[error(transparent)]
    Crypto(#[from] netcode::crypto::CryptoError),
}

impl RunError {
    /// 2 for what the command line says, 1 for what happened; 128 and the signal's number for one that came, as shells say it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Rules { .. } => 2,
            Self::Interrupted { signal } => signal.saturating_add(128),
            _ => 1,
        }
    }

    /// For `map_err`, about a file.
    pub fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { what, path: path.to_owned(), error }
    }

    /// For `map_err`.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}
