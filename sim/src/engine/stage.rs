//! What a game sees and changes during a tick.

use super::Game;
use super::rows::Newcomer;
use crate::entity::{Allocator, EntityId};
use crate::rewind::History;
use netcode::schema::State;

/// Why nobody was spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// As many entities live as the configuration allows.
    #[error("the world is full")]
    Full,
    /// No free place was found.
    #[error("no free place to spawn at")]
    NoRoom,
}

/// The entities of a world, row by row and ascending by id, and what else a game may use in a tick.
///
/// The columns have equal lengths, and nobody changes rows before the game's function returns: who is spawned is there
/// from then on, who is despawned stays until then.
pub struct Stage<'a, G: Game> {
    /// The tick that is being made.
    pub tick: u64,
    /// The tick before it that was made; further back than one where ticks were left out.
    pub prev: u64,
    /// Ticks a second.
    pub rate_hz: u16,
    /// The world's seed.
    pub seed: u64,
    /// Who is in a row.
    pub ids: &'a [EntityId],
    /// Kind numbers in [`Game::SCHEMA`].
    pub kinds: &'a [u8],
    /// All fields. At the end of the step they are what clients are told, so they must be in the ranges of the schema.
    pub states: &'a mut [State],
    /// What nobody is told.
    pub hidden: &'a mut [G::Hidden],
    /// The frames of the last moments, the newest being that of [`Stage::prev`].
    pub past: &'a History,
    /// What players are told once, and who.
    pub events: &'a mut Vec<(EntityId, G::Event)>,
    pub(super) allocator: &'a mut Allocator,
    pub(super) max_entities: u32,
    pub(super) newcomers: &'a mut Vec<Newcomer<G::Hidden>>,
    pub(super) leavers: &'a mut Vec<EntityId>,
}

impl<G: Game> Stage<'_, G> {
    /// The row of an entity that is here.
    #[must_use]
    pub fn row(&self, id: EntityId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// A new entity, there when the game's function has returned.
    ///
    /// # Errors
    /// [`SpawnError::Full`].
    pub fn spawn(&mut self, kind: u8, state: State, hidden: G::Hidden) -> Result<EntityId, SpawnError> {
        if self.allocator.live() >= self.max_entities {
            return Err(SpawnError::Full);
        }
        let id = self.allocator.allocate().ok_or(SpawnError::Full)?;
        self.newcomers.push(Newcomer { id, kind, state, hidden });
        Ok(id)
    }

    /// Removes an entity when the game's function has returned. Who is not here is not missed; who was spawned in this
    /// very call stays.
    pub fn despawn(&mut self, id: EntityId) {
        self.leavers.push(id);
    }

    /// How many more entities there may be.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.max_entities.saturating_sub(self.allocator.live())
    }
}
