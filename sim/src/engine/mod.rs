//! The engine: entities in columns, ticks, frames, what was, digests. It knows no rule of any game.
//!
//! A game is a [`Game`]: its table of fields, its inputs, what an entity remembers unseen, and one function that makes
//! a tick of all of that. [`World`] runs it: it hands out names, keeps the columns sorted, finds out who left its
//! course, indexes who is where, remembers the frames of the last moments and folds the digest. The shipped game is
//! [`crate::game`]; whoever makes another one replaces that module and leaves this one alone.

mod pool;
mod rows;
mod stage;
mod world;

pub use self::stage::{SpawnError, Stage};
pub use self::world::World;

use crate::EntityId;
use netcode::schema::{Schema, State};

/// What the engine must know of a world before anything happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Seeds all luck ([`crate::rng`]).
    pub seed: u64,
    /// Ticks a second.
    pub rate_hz: u16,
    /// The most entities at a time, at most [`crate::config::MAX_ENTITIES`].
    pub max_entities: u32,
}

/// The rules of a game. All of its functions are functions of their arguments and of what the game kept itself: no
/// clock, no entropy, no thread.
pub trait Game: Sized {
    /// The kinds of entities and their fields; the first three of each kind are x, y and z ([`crate::grid`]).
    const SCHEMA: &'static Schema;
    /// How fast bodies move by themselves along x and z, and along y, m/s. Whoever is faster costs more to look for, and
    /// whoever shoots at it as it was does not find it between two ticks: it counts as having jumped.
    const SPEEDS_MPS: [f32; 2];
    /// What a world is made from.
    type Config: Clone;
    /// What a player wants in one tick.
    type Input: Copy;
    /// What an entity remembers and nobody is shown.
    type Hidden: Clone + Default;
    /// Something that a player is told once.
    type Event: Copy;

    /// What the engine must know.
    fn setup(&self) -> Setup;

    /// What this game was made from.
    fn config(&self) -> &Self::Config;

    /// Puts into the world what is there from the start.
    fn populate(&mut self, stage: &mut Stage<'_, Self>);

    /// A player comes: spawns its entity.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing was spawned then.
    fn join(&mut self, stage: &mut Stage<'_, Self>) -> Result<EntityId, SpawnError>;

    /// One tick. Inputs of who is no player are ignored; of two for one player the later one counts.
    fn step(&mut self, stage: &mut Stage<'_, Self>, inputs: &[(EntityId, Self::Input)]);

    /// Hands all of what an entity remembers to `word`, for the digest.
    fn fold(hidden: &Self::Hidden, word: &mut impl FnMut(u64));

    /// An input as integers in the order of the schema's input fields, all in range.
    fn pack(input: &Self::Input) -> State;

    /// The input with these integers, each brought into its range.
    fn unpack(state: &State) -> Self::Input;
}
