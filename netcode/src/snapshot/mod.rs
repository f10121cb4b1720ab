//! Snapshots: what of the entities that a client sees went another way than it would guess.
//!
//! One codec for every [`Schema`](crate::schema::Schema), integers only. The writer's side is a set of
//! functions, one per part of a body; the shard decides what goes in. The reader's side is the same parts
//! ([`read_codec`], [`read_header`], [`read_gap`], [`read_op`], [`read_fields`]) and the [`View`], which applies bodies.
//!
//! # Courses
//!
//! [`extrapolate`](crate::schema::extrapolate) says what becomes of a state in so many ticks if nothing unforeseen
//! happens. An entity is *on course* as long as the state of each tick is what that makes of the tick before, in the
//! fields that the receiver gets. Each record of an entity begins a course: the state at the snapshot's tick, and all
//! that follows from it. Guesses add up, so any tick of a course leads to the same later ones, and an entity needs a
//! record only when it has left its course. What stands still and what walks straight on cost nothing.
//!
//! The receiver keeps the courses of the last ticks ([`Row`]): for each its first tick, the state then, and the last
//! tick up to which the entity is known to have followed it. An update that goes out from a course, at a tick `T - a`,
//! says that the entity followed it until then; a *complete* snapshot says it, for its tick, of every entity that
//! it does not mention.
//!
//! # Body
//!
//! Bits as in [`bits`](crate::bits), least significant first; prefix codes are given in stream order. A
//! body is the codec's bit, a header, `count` records in ascending slot order, and zero bits to the end of the byte. The
//! snapshot's tick `T` is the packet's.
//!
//! The codec's bit is 0 for what is described here ([`Codec::Fast`]). With 1 ([`Codec::Compact`]) all that follows is
//! coded in another way; that is refused where the feature was not agreed on.
//!
//! | header | bits | |
//! |---|---|---|
//! | margin | 3, 2, 10 | newest input tick the server holds minus `T`, saturated to -128..=127. `0` + 2 bits: 0 to 3 · `10`: none yet · `11` + 8 bits: any, in two's complement |
//! | complete | 1 | 1: every known entity without a record is on its course (see below); 0: the budget cut some |
//! | records follow | 1 | 0: the body ends here |
//! | first age | 6 | the baseline age that most updates share |
//! | second age follows | 1 | |
//! | second age | 6 | if it follows: the next most common one, 1 to 63 |
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
//! | age | 1, 2, 7, 8 | 1 to 63. `1`: the first age. Where there is a second age: `01`: that · `00` + 6 bits: any; where there is none: `0` + 6 bits: any |
//! | fields | | [`fast`]: a bit for each group that the kind has and the receiver gets, ascending, and the residuals of those that differ |
//!
//! A **spawn** goes on with:
//!
//! | spawn | bits | |
//! |---|---|---|
//! | id | 32 | |
//! | kind | 4 | one of the schema's |
//! | owner | 1 | whether the receiver owns the entity; it does until it is spawned anew |
//! | groups | one each | a bit for each group that the receiver gets, ascending: whether its fields follow; all fields of a group that does not follow are 0 |
//! | fields | | each field of a set group, in field order, raw |
//!
//! A **despawn** has no more.
//!
//! # Fields
//!
//! Fields (and their groups) whose [`Audience`](crate::schema::Audience) is the owner come to the client that owns the
//! entity; for any other they are 0 and take no bits, neither as fields nor among the groups.
//!
//! A *raw* field is its value in two's complement, in the field's width. The *baseline* of an update of age
//! `a` is the newest course the receiver holds for that slot that began at `T - a` or before. The *guess* is what
//! that course comes to at `T`: `extrapolate` of its first state over all ticks since. A field of a group that is not
//! set takes the guess. An update without any group is legal: it says "as guessed".
//!
//! In each tick every [`Fall`](crate::schema::Predictor::Fall) goes first: unless one of its `supported` bits is set
//! in `flags`, the velocity becomes `max(velocity - floor((gravity + floor(rate / 2)) / rate), -terminal)`. Then every
//! [`Linear`](crate::schema::Predictor::Linear): the field grows by
//! `floor((velocity * numerator + floor(rate / 2)) / rate)`, computed exactly; the step of a tick is rounded, not the
//! whole way. After each, cyclic fields wrap and others saturate. [`Hold`](crate::schema::Predictor::Hold) keeps its
//! value. While something falls only [`MAX_FALL_TICKS`](crate::schema::MAX_FALL_TICKS) are followed, in all fields.
//!
//! How the fields of an update are coded is in [`fast`].
//!
//! # What a writer promises
//!
//! - A snapshot it counts as acknowledged was applied: a receiver must not acknowledge a packet whose
//!   snapshot it dropped as stale.
//! - It uses an age only where it knows the entity to be on an acknowledged course at `T - a`, or to have been given to
//!   the receiver in a record of just that tick, which was acknowledged: so its own state of `T - a`, extrapolated
//!   over `a` ticks, is the receiver's guess, whatever else arrived. Baselines of a slot never go back.
//! - It says *complete* only if, for each known entity without a record, the newest record sent was
//!   acknowledged and the entity is still on the course that began with it. So unmentioned in a complete snapshot means
//!   moved on as guessed.
//! - A body that falls gets a record before it was on one course for more than
//!   [`MAX_FALL_TICKS`](crate::schema::MAX_FALL_TICKS), any age included.
//! - A despawn may be repeated until it is acknowledged: on an empty slot it means nothing.

mod codec;
pub mod compact;
mod drift;
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
    Codec, Op, gap_bits, max_spawn_bits, max_update_bits, read_codec, read_gap, read_header, read_op, write_age,
    write_codec, write_despawn, write_gap, write_header, write_spawn,
};
pub use self::entity::Entity;
pub use self::fast::{read_fields, write_fields};
pub(crate) use self::field::{read_raw, write_raw};
pub use self::history::Row;
pub use self::view::{Applied, Event, Limits, MAX_TABLES, View};
use crate::bits::{BadPadding, OutOfBits};

/// Slots of one client; so also the most entities it can know at a time.
pub const MAX_SLOTS: u16 = 4096;
/// The most records of one snapshot.
pub const MAX_RECORDS: u16 = 4095;
/// The oldest baseline, in ticks.
pub const MAX_AGE: u8 = 63;

/// The most bits of the codec and a header.
pub const MAX_HEADER_BITS: usize = 1 + 2 + 8 + 1 + 1 + 6 + 7 + 2 + 12;
/// The most bits of a gap.
pub const MAX_GAP_BITS: usize = 3 + 12;
/// The bits of a despawn after its gap.
pub const DESPAWN_BITS: usize = 2;

/// Ages of baselines, in ticks, that updates name in few bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// The age that most updates share, 1..=[`MAX_AGE`]; 0 if no update does.
    pub first: u8,
    /// The next most common one, if it is worth naming: 1..=[`MAX_AGE`].
    pub second: Option<u8>,
}

/// The first part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Newest input tick that the server holds of this client minus the snapshot's tick, saturated;
    /// `None` before the first input.
    pub margin: Option<i8>,
    /// Whether every known entity without a record is on the course that its newest record began.
    pub complete: bool,
    /// The ages that most updates have.
    pub ages: Ages,
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
    /// The body is in a codec that was not agreed on.
    #[error("the codec was not agreed on")]
    CodecNotAgreed,
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
    /// More records than [`MAX_RECORDS`].
    #[error("too many records")]
    TooManyRecords,
    /// The body starts from tables that the receiver does not hold.
    #[error("the body starts from tables of version {0}, which are not held")]
    UnknownTables(u8),
    /// A compact body is shorter or longer than its records.
    #[error(transparent)]
    Length(#[from] compact::BadLength),
    /// An update of age 0, or a second age of 0.
    #[error("an age of 0")]
    ZeroAge,
    /// An update against a course that the receiver does not hold.
    #[error("an update against a baseline that is not held")]
    UnknownBaseline,
    /// Guess plus residual lies outside the field's range.
    #[error("a value lies outside its field's range")]
    ValueOutOfRange,
    /// More entities than the receiver's limit.
    #[error("more entities than the limit")]
    TooManyEntities,
}
