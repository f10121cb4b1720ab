//! What a bot sees of its world: as its client shows it, or as a frame has it.

use client::Client;
use netcode::Time;
use netcode::schema::State;
use sim::game::ground::Ground;
use sim::schema::{DEAD, FLAGS, HEALTH, LOOT, NPC, PLAYER, X, Z, position_m};
use sim::{EntityId, Frame};

use super::aim::flat2;

/// What a bot looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prey {
    /// Living players and NPCs.
    Body,
    /// What lies around.
    Loot,
}

impl Prey {
    fn is(self, kind: u8, state: &State) -> bool {
        match self {
            Self::Body => (kind == PLAYER || kind == NPC) && state[FLAGS] & DEAD == 0 && state[HEALTH] > 0,
            Self::Loot => kind == LOOT,
        }
    }
}

/// A bot's own body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Own {
    /// Its feet in metres.
    pub feet: [f32; 3],
    /// All its fields.
    pub state: State,
}

/// What a bot sees when it chooses what to do.
pub trait Eyes {
    /// Its own body; `None` as long as it has none.
    fn own(&self) -> Option<Own>;

    /// Where the feet of a living body, or a thing, are seen, in metres; `None` when it is not.
    fn feet(&self, id: u32) -> Option<[f32; 3]>;

    /// Appends those within so many metres, in any order: who, and the squared distance.
    fn look(&self, prey: Prey, within_m: f32, out: &mut Vec<(u32, f32)>);

    /// What stands around and by which rules, if that is known.
    fn ground(&self) -> Option<&Ground>;

    /// Whether nothing stands between two places (metres) now.
    fn sees(&self, from: [f32; 3], to: [f32; 3]) -> bool;
}

/// Sees nothing.
#[derive(Clone, Copy, Debug)]
pub struct Blind;

impl Eyes for Blind {
    fn own(&self) -> Option<Own> {
        None
    }

    fn feet(&self, _id: u32) -> Option<[f32; 3]> {
        None
    }

    fn look(&self, _prey: Prey, _within_m: f32, _out: &mut Vec<(u32, f32)>) {}

    fn ground(&self) -> Option<&Ground> {
        None
    }

    fn sees(&self, _from: [f32; 3], _to: [f32; 3]) -> bool {
        false
    }
}
