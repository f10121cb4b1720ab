//! Snapshots: what changed of the entities a client sees, against what it is known to have.
//!
//! One codec for every [`Schema`](crate::schema::Schema), integers only. The writer's side is a set of
//! functions, one per part of a body; the shard decides what goes in. The reader's side is the same parts
//! ([`read_header`], [`read_gap`], [`read_op`], [`read_fields`]) and the [`View`], which applies bodies.
//!
//! # Body
//!
//! Bits as in [`bits`](crate::bits), least significant first; prefix codes are given in stream order. A
//! body is a header, `count` records in ascending slot order, and zero bits to the end of the byte. The
//! snapshot's tick `T` is the packet's.
//!
//! | header | bits | |
//! |---|---|---|
//! | margin present | 1 | |
//! | margin | 8 | if present: newest input tick the server holds minus `T`, two's complement, saturated |
//! | complete | 1 | 1: every known entity without a record is unchanged (see below); 0: the budget cut some |
//! | age0 | 6 | the baseline age that most updates share |
//! | count class | 2 | 0, 1, 2, 3: the count has 4, 6, 8, 12 bits |
//! | count | 4, 6, 8, 12 | number of records |
//!
//! | record | bits | |
//! |---|---|---|
//! | gap | 1, 5, 9, 15 | slot minus the slot before minus 1; in the first record the slot. `0`: 0 · `10` + 3 bits · `110` + 6 bits · `111` + 12 bits |
//! | op | 1, 2 | `0` update · `10` spawn · `11` despawn |
//!
//! An **update** goes on with:
//!
//! | update | bits | |
//! |---|---|---|
//! | same age | 1 | 1: the age is age0; 0: it follows |
//! | age | 6 | if not the same; 1 to 63 in either case |
//! | groups | one each | a bit for each group that the kind has, ascending: whether its fields follow |
//! | fields | | for each field of a set group, in field order: its residual |
//!
//! A **spawn** goes on with id (32), kind (4) and every field raw. A **despawn** has no more.
//!
//! # Fields
//!
//! A *raw* field is its value in two's complement, in the field's width. The *baseline* of an update of age
//! `a` is the newest state the receiver holds for that slot whose tick is at most `T - a`. The *guess* for
//! a field follows from the baseline's fields and `a` ([`Predictor`](crate::schema::Predictor)): `Hold`
//! is the baseline's value; `Linear` is `base + floor((velocity * numerator * a + floor(rate / 2)) / rate)`
//! with the baseline's velocity, computed exactly, then brought into the field's range: cyclic fields
//! wrap, others saturate. A field of a group that is not set takes the guess, so a body that moves on as
//! predicted costs no field bits. An update without any group is legal: it says "as guessed".
//!
//! A field of width 1 is coded raw. Any other is coded as a class (2 bits) and what the class asks for:
//!
//! | class | bits | value |
//! |---|---|---|
//! | 0 | 0 | the guess |
//! | 1 | `classes[0]` | the guess plus a small residual |
//! | 2 | `classes[1]` | the guess plus a medium residual |
//! | 3 | width | raw |
//!
//! The residual `r` is value minus guess, for cyclic fields the representative in
//! `-2^(width-1) .. 2^(width-1)` of the difference modulo `2^width`. It is never 0 in classes 1 and 2, so
//! these hold `zigzag(r) - 1`, where `zigzag(r)` is `2r` for `r > 0` and `-2r - 1` for `r < 0`: the
//! numbers 0, 1, 2, 3 mean -1, 1, -2, 2. A writer takes the lowest class that holds the residual. A reader
//! refuses a sum outside the range of a field that is not cyclic.
//!
//! # What a writer promises
//!
//! - A snapshot it counts as acknowledged was applied: a receiver must not acknowledge a packet whose
//!   snapshot it dropped as stale.
//! - An update's baseline is acknowledged, and baselines of a slot never go back.
//! - It says *complete* only if, for each known entity without a record, the newest record sent was
//!   acknowledged and holds the entity's present state. So unmentioned in a complete snapshot means held
//!   still, not moved as predicted.
//! - A despawn may be repeated until it is acknowledged: on an empty slot it means nothing.

mod codec;
pub mod compact;
mod entity;
pub mod fast;
mod field;
mod history;
pub mod predict;
mod rotation;
#[cfg(test)]
mod samples;
mod view;

use thiserror::Error;

pub use self::codec::{
    Op, max_update_bits, read_fields, read_gap, read_header, read_op, write_age, write_despawn, write_fields,
    write_gap, write_header, write_spawn, write_update,
};
pub use self::entity::Entity;
pub(crate) use self::field::{read_raw, write_raw};
pub use self::history::Row;
pub use self::view::{Applied, Event, Limits, View};
use crate::bits::{BadPadding, OutOfBits};

/// Slots of one client; so also the most entities it can know at a time.
pub const MAX_SLOTS: u16 = 4096;
/// The most records of one snapshot.
pub const MAX_RECORDS: u16 = 4095;
/// The oldest baseline, in ticks.
pub const MAX_AGE: u8 = 63;

/// The most bits of a header.
pub const MAX_HEADER_BITS: usize = 1 + 8 + 1 + 6 + 2 + 12;
/// The most bits of a gap.
pub const MAX_GAP_BITS: usize = 3 + 12;
/// The bits of a despawn after its gap.
pub const DESPAWN_BITS: usize = 2;

/// The first part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Newest input tick that the server holds of this client minus the snapshot's tick, saturated;
    /// `None` before the first input.
    pub margin: Option<i8>,
    /// Whether every known entity without a record holds still.
    pub complete: bool,
    /// The age that most updates share, in ticks, 1..=[`MAX_AGE`]; 0 if no update does.
    pub age0: u8,
    /// Number of records, at most [`MAX_RECORDS`].
    pub count: u16,
}

/// A body that breaks the format, or does not fit what the receiver holds.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The data ended early.
    #[error(transparent)]
    Truncated(#[from] OutOfBits),
    /// More follows the last field than zero padding.
    #[error(transparent)]
    Padding(#[from] BadPadding),
    /// The snapshot is not newer than the newest one applied.
    #[error("the snapshot is not newer than the newest one applied")]
    Stale,
    /// A slot number is too high.
    #[error("a slot number is out of range")]
    SlotOutOfRange,
    /// The schema has no such kind.
    #[error("the schema has no kind {0}")]
    UnknownKind(u8),
    /// An update of a slot that holds nothing.
    #[error("an update of an empty slot")]
    EmptySlot,
    /// An update of age 0.
    #[error("an update against its own tick")]
    ZeroAge,
    /// An update against a state that the receiver does not hold.
    #[error("an update against a baseline that is not held")]
    UnknownBaseline,
    /// Guess plus residual lies outside the field's range.
    #[error("a value lies outside its field's range")]
    ValueOutOfRange,
    /// More entities than the receiver's limit.
    #[error("more entities than the limit")]
    TooManyEntities,
}
