//! A body alone on a small map, shared by the tests.

use netcode::schema::State;
use sim::contact::deeper_than;
use sim::movement::{Intent, MAX_DEPTH, Rules, advance};
use sim::schema::{STAMINA, STAMINA_FULL, X, Y, Z};
use sim::statics::{Solid, Statics};
use sim::{Gate, Input, Map, Ramp, StaticBox};

/// Half the side of its map.
pub const HALF_EXTENT_M: u16 = 16;

/// A body alone on a map, where nothing tires it.
pub struct Lone {
    pub map: Map,
    pub state: State,
    pub tick: u64,
    rate_hz: u16,
    statics: Statics,
    rules: Rules,
    near: Vec<Solid>,
}

impl Lone {
    pub fn new(rate_hz: u16, boxes: &[StaticBox], at: [i32; 3]) -> Self {
        Self::on(Map::from_boxes(HALF_EXTENT_M, boxes), rate_hz, at)
    }

    pub fn among(rate_hz: u16, ramps: &[Ramp], gates: &[Gate], at: [i32; 3]) -> Self {
        Self::on(Map::from_parts(HALF_EXTENT_M, &[], ramps, gates), rate_hz, at)
    }

    pub fn on(map: Map, rate_hz: u16, at: [i32; 3]) -> Self {
        let mut state = State::default();
        (state[X], state[Y], state[Z]) = (at[0], at[1], at[2]);
        state[STAMINA] = STAMINA_FULL;
        let (statics, rules) = (Statics::new(&map, rate_hz), Rules::new(rate_hz, map.half_extent()));
        Self { map, state, tick: 0, rate_hz, statics, rules, near: Vec::new() }
    }

    pub fn step(&mut self, input: Input) -> State {
        self.tick += 1;
        let intent = Intent::from_input(input, &self.state);
        self.state = advance(&self.state, &intent, &self.statics, &self.rules, self.tick, &mut self.near);
        self.state
    }

    pub fn feet(&self) -> [i32; 3] {
        [self.state[X], self.state[Y], self.state[Z]]
    }

    /// Whether it is in nothing that stands still.
    pub fn free(&self) -> bool {
        let (boxes, ramps) = (self.map.boxes().iter().copied(), self.map.ramps().iter().copied());
        let mut solids = boxes.map(Solid::from).chain(ramps.map(Solid::from));
        solids.all(|solid| !deeper_than(MAX_DEPTH, self.feet(), &solid))
    }

    /// Whether it is in no gate.
    pub fn free_of_gates(&self) -> bool {
        let places = self.map.gates().iter().map(|gate| gate.place(self.tick, self.rate_hz));
        places.into_iter().all(|place| !deeper_than(MAX_DEPTH, self.feet(), &place.into()))
    }
}
