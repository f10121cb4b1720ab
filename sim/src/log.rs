//! The input log: all that a replay needs, appended tick by tick, and what it takes to say where a replay went astray.
//!
//! Numbers are little endian; `number` is one of seven bits a byte (LEB128), `zigzag` one whose sign is its lowest bit.
//! An `id` is a number: zigzag of (index - index of the id before it in the list - 1; the first one's as if after -1)
//! times 4, plus 2 where the generation is not 1 and follows as a number, plus a mark.
//!
//! - Header: magic `ZWIL` · version u16 · flags u8 (1: rows) · schema hash u64 · rate in Hz u16 · bytes of the
//!   configuration u16 · bytes of the rulebook u32 · configuration · rulebook (UTF-8) · check u32 of all before it.
//! - Per tick a record: bytes of the body u32 · check u16 of these four · check u32 of the body · body.
//! - Body: events, a number of them, each tag u8 (0 join, 1 leave, 2 skip) and a number (the raw id, or how many ticks) in
//!   the order in which they happened before the step · inputs, a number of them, each id · groups that are not all 0 u8
//!   (a bit for each) · their fields as numbers (signed ones zigzag) · digest after the step u64 · rows, if the header says so.
//! - Rows: who went since the tick before, a number of ids · who left their course, a number of them, each id (mark: new) ·
//!   kind u8 if new · a number with a bit for each field that is not as guessed · zigzag of how much it is more. The guess is
//!   what [`extrapolate`](netcode::schema::extrapolate) makes of the last row of the entity, zeros for a new one.
//!
//! A check is the lower part of FNV-1a. A writer that dies leaves at worst a torn last record, which the reader drops.
//! [`LogReader`] takes a file piece by piece: what it keeps is one record, and a row for each entity.

mod bytes;
mod header;
mod reader;
mod rows;
mod writer;

pub use header::Header;
pub use reader::{LogReader, Next};
pub use writer::InputLog;

use crate::entity::EntityId;
use netcode::schema::State;

/// Version of the format.
pub const VERSION: u16 = 2;
/// The most bytes of a configuration.
pub const MAX_CONFIG_BYTES: usize = 1024;
/// The most bytes of a rulebook's text.
pub const MAX_RULES_BYTES: usize = 1 << 16;
/// The longest body: with an input and a whole row for each of the most entities, two events each, and then some.
pub const MAX_BODY_BYTES: usize = 1 << 24;
const MAGIC: [u8; 4] = *b"ZWIL";
/// Bytes before a record's body.
const PREFIX_BYTES: usize = 10;

/// Why a log can't be read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Shorter than its header.
    #[error("shorter than its header")]
    NoHeader,
    /// Does not begin like an input log.
    #[error("not an input log")]
    Magic,
    /// Another version of the format.
    #[error("input log version {0}, this build reads {VERSION}")]
    Version(u16),
    /// The header does not match its check, or says what no writer does.
    #[error("the header is damaged")]
    Header,
    /// Written by a build with other fields.
    #[error("written under schema {found:016x}, this build has {ours:016x}")]
    Schema {
        /// The log's schema hash.
        found: u64,
        /// This build's schema hash.
        ours: u64,
    },
    /// A record does not match its check, or says what no writer does, and is not a torn last one.
    #[error("the record after tick {after} is damaged")]
    Record {
        /// The last tick before it, 0 for the first record.
        after: u64,
    },
    /// What is to be written has a configuration or a rulebook beyond what a reader takes.
    #[error("the configuration has more than {MAX_CONFIG_BYTES} bytes, or the rulebook more than {MAX_RULES_BYTES}")]
    TooLong,
}

/// What changed the set of entities between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A player was spawned and got this id.
    Join(EntityId),
    /// The entity was despawned.
    Leave(EntityId),
    /// So many ticks were left out.
    Skip(u32),
}

/// One step of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The tick of the step.
    pub tick: u64,
    /// What happened before the step, in order.
    pub changes: Vec<Change>,
    /// The step's inputs.
    pub inputs: Vec<(EntityId, State)>,
    /// The digest after the step.
    pub digest: u64,
}
