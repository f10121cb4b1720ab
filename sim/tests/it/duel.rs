//! Players put where a test wants them, on a map of its own.

use crate::script::CROWDED;
use netcode::schema::State;
use sim::event::What;
use sim::game::Rulebook;
use sim::game::aim::{eye_of, toward};
use sim::input::FIRE;
use sim::schema::{FLAGS, GROUNDED, SHIELDED, VX, VY, VZ, WEAPON_MASK, WEAPON_SHIFT, X, Y, Z};
use sim::{EntityId, Event, Input, Map, MapConfig, StaticBox, World, WorldConfig};
use std::sync::Arc;

pub const RIFLE: u8 = 0;
pub const SCATTER: u8 = 1;
pub const ROCKET: u8 = 2;
pub const MORTAR: u8 = 3;
pub const BLADE: u8 = 4;

/// Half the side of the map, m.
pub const HALF_EXTENT_M: u16 = 100;

/// A metre in quanta.
pub const M: i32 = 256;

/// A world with players whom nothing shields.
pub struct Duel {
    pub world: World,
    pub ids: Vec<EntityId>,
    /// All that was told since the last [`Duel::take_events`].
    events: Vec<(EntityId, Event)>,
}

impl Duel {
    /// Players at these places (1/256 m), by the shipped rules.
    pub fn new(boxes: &[StaticBox], places: &[[i32; 3]]) -> Self {
        Self::by(Rulebook::standard(), WorldConfig { npcs: 0, ..CROWDED }, boxes, places)
    }

    /// The same by other rules.
    pub fn by(book: Arc<Rulebook>, config: WorldConfig, boxes: &[StaticBox], places: &[[i32; 3]]) -> Self {
        Self::on(Map::from_boxes(HALF_EXTENT_M, boxes), book, config, places)
    }

    /// The same on any map.
    pub fn on(map: Map, book: Arc<Rulebook>, config: WorldConfig, places: &[[i32; 3]]) -> Self {
        let nothing = MapConfig { half_extent_m: HALF_EXTENT_M, boxes: 0, gates: 0, ramps: 0 };
        let config = WorldConfig { map: nothing, ..config };
        let mut world = World::with_map_and_book(config, map, book).unwrap();
        let ids: Vec<_> = places.iter().map(|_| world.spawn_player().unwrap()).collect();
        let mut duel = Self { world, ids, events: Vec::new() };
        for (n, place) in places.iter().enumerate() {
            duel.put(n, *place);
        }
        // The past is as long as any look into it.
        for _ in 0..12 {
            duel.step(&[]);
        }
        duel
    }

    /// Puts a player somewhere, standing and without a shield.
    pub fn put(&mut self, n: usize, place: [i32; 3]) {
        self.edit(n, |state| {
            [state[X], state[Y], state[Z]] = place;
            [state[VX], state[VY], state[VZ]] = [0; 3];
            state[FLAGS] = state[FLAGS] & !SHIELDED | GROUNDED;
        });
    }

    pub fn edit(&mut self, n: usize, change: impl FnOnce(&mut State)) {
        assert!(self.world.edit(self.ids[n], |state, _| change(state)));
    }

    /// Puts a weapon in a player's hand.
    pub fn arm(&mut self, n: usize, weapon: u8) {
        self.edit(n, |state| {
            state[FLAGS] = state[FLAGS] & !(WEAPON_MASK << WEAPON_SHIFT) | i32::from(weapon) << WEAPON_SHIFT;
        });
    }

    /// One tick in which these players want something.
    pub fn step(&mut self, wanted: &[(usize, Input)]) {
        let inputs: Vec<_> = wanted.iter().map(|(n, input)| (self.ids[*n], *input)).collect();
        self.world.step(&inputs);
        self.events.extend_from_slice(self.world.events());
    }

    pub fn wait(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.step(&[]);
        }
    }

    pub fn state(&self, n: usize) -> &State {
        self.world.state(self.ids[n]).unwrap()
    }

    /// An input of one player that aims at the chest of another one.
    pub fn at(&self, n: usize, target: usize) -> Input {
        let mut chest = eye_of(self.state(target));
        chest[1] -= 100.0;
        let (yaw, pitch) = toward(eye_of(self.state(n)), chest);
        Input { yaw, pitch, instant: 15, ..Input::default() }
    }

    /// The same that shoots.
    pub fn shot(&self, n: usize, target: usize) -> Input {
        Input { buttons: FIRE, ..self.at(n, target) }
    }

    /// What one player was told since it was last asked.
    pub fn take_events(&mut self, n: usize) -> Vec<What> {
        let id = self.ids[n];
        let told = self.events.iter().filter(|(to, _)| *to == id).map(|(_, event)| event.what).collect();
        self.events.retain(|(to, _)| *to != id);
        told
    }

    /// One shot of a player at another one, and whom it hit: the events of that very tick.
    pub fn fire(&mut self, n: usize, target: usize) -> Option<EntityId> {
        let input = self.shot(n, target);
        self.take_events(n);
        self.step(&[(n, input)]);
        let told = self.take_events(n);
        let shot = told.iter().find_map(|what| match what {
            What::Shot { target, .. } => Some(*target),
            _ => None,
        });
        shot.unwrap_or_else(|| panic!("no shot: {told:?}"))
    }
}

/// A box from its corners in metres.
pub fn solid(min: [i32; 3], max: [i32; 3]) -> StaticBox {
    StaticBox { min: min.map(|metres| metres * M), max: max.map(|metres| metres * M) }
}
