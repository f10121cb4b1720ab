//! What a bot sees of its world: as its client shows it, or as a frame has it.

use client::Client;
use netcode::Time;
use netcode::schema::State;
use sim::game::{Ground, can_fire};
use sim::input::FIRE;
use sim::rewind::Moment;
use sim::schema::{DEAD, FLAGS, HEALTH, LOOT, NPC, PLAYER, QUANTA_PER_M, position_m};
use sim::{EntityId, Frame, Input};

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

/// Sees what a client shows its player.
#[derive(Clone, Copy)]
pub struct ClientEyes<'a> {
    /// The client.
    pub client: &'a Client,
    /// Now.
    pub now: Time,
    /// What stands around, as far as that is known.
    pub ground: Option<&'a Ground>,
}

impl Eyes for ClientEyes<'_> {
    fn own(&self) -> Option<Own> {
        let (_, state) = self.client.predicted()?;
        let feet = self.client.own_pose(self.now)?.position;
        Some(Own { feet, state })
    }

    fn feet(&self, id: u32) -> Option<[f32; 3]> {
        let entity = self.client.view().entity(id)?;
        let here = [Prey::Body, Prey::Loot].into_iter().any(|prey| prey.is(entity.kind(), &entity.state()));
        here.then(|| self.client.interpolate(self.now, id).map(|pose| pose.position)).flatten()
    }

    fn look(&self, prey: Prey, within_m: f32, out: &mut Vec<(u32, f32)>) {
        let Some(own) = self.own() else { return };
        let own_id = self.client.own().map_or(0, |own| own.raw());
        let others = self.client.view().entities().filter(|entity| entity.id() != own_id);
        // Where they were last heard of is near enough for a look around, and costs less than where they are shown.
        out.extend(others.filter_map(|entity| {
            let state = entity.state();
            near(prey, entity.kind(), &state, own.feet, within_m).map(|d2| (entity.id(), d2))
        }));
    }

    fn ground(&self) -> Option<&Ground> {
        self.ground
    }

    fn sees(&self, from: [f32; 3], to: [f32; 3]) -> bool {
        let tick = self.client.render_tick(self.now).map_or(0, |tick| tick.max(0.0) as u64);
        self.ground.is_none_or(|ground| sees(ground, tick, from, to))
    }
}

/// Sees the world of a frame as the body of an entity would: for worlds that are stepped without clients.
#[derive(Clone, Copy)]
pub struct FrameEyes<'a> {
    /// The newest frame.
    pub frame: &'a Frame,
    /// What stands around.
    pub ground: &'a Ground,
    /// Whose eyes they are.
    pub id: EntityId,
}

impl FrameEyes<'_> {
    /// The intent as an honest client sends it in the tick that follows the frame: a trigger that is held goes into those
    /// ticks only in which the weapon fires.
    #[must_use]
    pub fn gate(&self, input: Input) -> Input {
        let state = self.frame.row(self.id).map(|row| self.frame.state(row));
        let fires = state.is_some_and(|state| can_fire(self.ground, self.frame.tick + 1, state, &input));
        if fires { input } else { Input { buttons: input.buttons & !FIRE, ..input } }
    }
}

impl Eyes for FrameEyes<'_> {
    fn own(&self) -> Option<Own> {
        let row = self.frame.row(self.id)?;
        Some(Own { feet: self.frame.position_m(row), state: *self.frame.state(row) })
    }

    fn feet(&self, id: u32) -> Option<[f32; 3]> {
        let row = self.frame.row(EntityId::from_raw(id)?)?;
        let (kind, state) = (self.frame.kind(row), self.frame.state(row));
        let here = [Prey::Body, Prey::Loot].into_iter().any(|prey| prey.is(kind, state));
        here.then(|| self.frame.position_m(row))
    }

    fn look(&self, prey: Prey, within_m: f32, out: &mut Vec<(u32, f32)>) {
        let Some(own) = self.own() else { return };
        let mut rows = Vec::new();
        self.frame.query([own.feet[0], own.feet[2]], within_m, &mut rows);
        let rows = rows.into_iter().map(|row| row as usize).filter(|row| self.frame.id(*row) != self.id);
        out.extend(rows.filter_map(|row| {
            let (kind, state) = (self.frame.kind(row), self.frame.state(row));
            near(prey, kind, state, own.feet, within_m).map(|d2| (self.frame.id(row).raw(), d2))
        }));
    }

    fn ground(&self) -> Option<&Ground> {
        Some(self.ground)
    }

    fn sees(&self, from: [f32; 3], to: [f32; 3]) -> bool {
        sees(self.ground, self.frame.tick, from, to)
    }
}

/// The squared distance to what is looked for, if it is one and within that.
fn near(prey: Prey, kind: u8, state: &State, from: [f32; 3], within_m: f32) -> Option<f32> {
    let d2 = flat2(from, position_m(state));
    (prey.is(kind, state) && d2 <= within_m * within_m).then_some(d2)
}

fn sees(ground: &Ground, tick: u64, from: [f32; 3], to: [f32; 3]) -> bool {
    let quanta = |place: [f32; 3]| place.map(|metres| metres * QUANTA_PER_M as f32);
    ground.sees(quanta(from), quanta(to), Moment::after(tick))
}
