//! How fast and how soon messages and blocks arrive over a bad network, beside what theory allows.
//!
//! A real server's endpoint and a real client's, joined by the emulator, in one thread on virtual time, with the
//! laboratory's channel table. Everything goes from the server to the client. A seed decides everything: the same seed
//! gives the same [`Report`], whatever the keys.
//!
//! Each [`Row`] is two runs. In the *full* one the channel always has something to send: that gives goodput and overhead.
//! In the *light* one now and then a message (or a small block) is sent, at moments that have nothing to do with ticks:
//! that gives the delay. [`bound`] says what the theoretical bounds are.

pub mod bound;
mod cases;
mod lab;
mod load;
mod report;

pub use cases::{Options, run};
pub use lab::{Broken, Path};
pub use report::{BigBlock, Report, Row, SmallMessages};

use serde::Serialize;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// Messages that arrive in their order.
    ReliableOrdered,
    /// Messages that arrive in any order.
    ReliableUnordered,
    /// Blocks.
    Block,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReliableOrdered, Self::ReliableUnordered, Self::Block];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReliableOrdered => "reliable-ordered",
            Self::ReliableUnordered => "reliable-unordered",
            Self::Block => "block",
        }
    }

    /// The name of its channel in the laboratory's table.
    const fn channel(self) -> &'static str {
        match self {
            Self::ReliableOrdered => "ordered",
            Self::ReliableUnordered => "unordered",
            Self::Block => "block",
        }
    }
}
