//! One entity of a view: what is held of it, and how it shows.

use super::field::padded;
use super::history::{History, Row};
use crate::schema::{Kind, State};

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

impl Held {
    /// Notes in the history that the newest state held still until the newest complete snapshot.
    pub fn hold_until(&mut self, complete_at: Option<u64>) {
        if let Some(tick) = complete_at {
            self.history.hold_until(tick);
        }
    }
}

/// One entity of a [`View`](super::View).
#[derive(Clone, Copy, Debug)]
pub struct Entity<'a> {
    held: &'a Held,
    complete_at: Option<u64>,
}

impl<'a> Entity<'a> {
    pub(super) const fn new(held: &'a Held, complete_at: Option<u64>) -> Self {
        Self { held, complete_at }
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

    /// Its newest state.
    #[must_use]
    pub fn state(&self) -> State {
        self.held.history.newest().map_or_else(State::default, |row| padded(row.fields))
    }

    /// The newest tick for which its newest state is known to be the server's: that of the newest
    /// snapshot that had a record of it, or that was complete.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.rows().next().map_or(0, |row| row.until)
    }

    /// Its recent states, newest first; at least one, and as many as [`Limits::keep_ticks`](super::Limits::keep_ticks) demands.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let complete_at = self.complete_at;
        self.held.history.rows().enumerate().map(move |(age, row)| match complete_at {
            Some(tick) if age == 0 => Row { until: row.until.max(tick), ..row },
            _ => row,
        })
    }
}
