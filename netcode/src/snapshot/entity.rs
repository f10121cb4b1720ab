//! One entity of a view: what is held of it, and how it shows.

use super::field::padded;
use super::history::{History, Row};
use crate::schema::{Kind, State, extrapolate};

/// What a view holds of an entity.
#[derive(Debug)]
pub(super) struct Held {
    pub id: u32,
    pub slot: u16,
    pub number: u8,
    pub kind: &'static Kind,
    /// Whether the owner's fields come with it.
    pub owner: bool,
    pub history: History,
}

/// The state at that tick on a course; before its first tick the one then.
#[inline]
pub(super) fn at(kind: &Kind, rate: u16, row: &Row<'_>, tick: u64) -> State {
    let ticks = u32::try_from(tick.saturating_sub(row.from)).unwrap_or(u32::MAX);
    extrapolate(kind, rate, ticks, &padded(row.fields))
}

/// One entity of a [`View`](super::View).
#[derive(Clone, Copy, Debug)]
pub struct Entity<'a> {
    held: &'a Held,
    rate: u16,
    complete_at: Option<u64>,
}

impl<'a> Entity<'a> {
    pub(super) const fn new(held: &'a Held, rate: u16, complete_at: Option<u64>) -> Self {
        Self { held, rate, complete_at }
    }

    /// The entity's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.held.id
    }

    /// Number of its kind.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.held.number
    }

    /// Its slot.
    #[must_use]
    pub const fn slot(&self) -> u16 {
        self.held.slot
    }

    /// Whether the client owns it, and so gets the fields that are for the owner; for others they are 0.
    #[must_use]
    pub const fn owner(&self) -> bool {
        self.held.owner
    }

    /// Its state at [`confirmed`](Self::confirmed): the newest that is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.rows().next().map_or_else(State::default, |row| self.on_course(&row, row.until))
    }

    /// Its state at that tick as far as its courses tell: by the newest one that began by then. The server's, if `tick` is
    /// at most that row's `until`, else a guess. `None` before the oldest that is kept.
    #[must_use]
    pub fn state_at(&self, tick: u64) -> Option<State> {
        self.held.history.at_or_before(tick).map(|row| self.on_course(&row, tick))
    }

    /// The state at that tick on one of its courses; before the course's first tick the one then.
    #[must_use]
    pub fn on_course(&self, row: &Row<'_>, tick: u64) -> State {
        at(self.held.kind, self.rate, row, tick)
    }

    /// The newest tick for which its state is known to be the server's: that of the newest snapshot that had a record of
    /// it, or that was complete.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.rows().next().map_or(0, |row| row.until)
    }

    /// Its recent courses, newest first; at least one, and as many as [`Limits::keep_ticks`](super::Limits::keep_ticks)
    /// demands.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let complete_at = self.complete_at;
        self.held.history.rows().enumerate().map(move |(age, row)| match complete_at {
            Some(tick) if age == 0 => Row { until: row.until.max(tick), ..row },
            _ => row,
        })
    }
}
