//! A body alone on a small map, shared by the tests.

use netcode::schema::State;
use sim::contact::deeper_than;
use sim::movement::{Intent, MAX_DEPTH, Rules, advance};
use sim::schema::{STAMINA, STAMINA_FULL, X, Y, Z};
use sim::space::{Solid, Statics};
use sim::{Input, Map, StaticBox};

/// Half the side of its map.
pub const HALF_EXTENT_M: u16 = 16;

/// A body alone on a map, where nothing tires it.
pub struct Lone {
    pub tick: u64,
    pub map: Map,
    statics: Statics,
    rules: Rules,
    near: Vec<Solid>,
    pub state: State,
}

impl Lone {
    pub fn new(rate_hz: u16, boxes: &[StaticBox], at: [i32; 3]) -> Self {
        let map = Map::from_boxes(HALF_EXTENT_M, boxes);
        let mut state = State::default();
        (state[X], state[Y], state[Z]) = (at[0], at[1], at[2]);
        state[STAMINA] = STAMINA_FULL;
        let (statics, rules) = (Statics::new(&map, rate_hz), Rules::new(rate_hz, map.half_extent()));
        Self { tick: 0, map, statics, rules, near: Vec::new(), state }
    }

    pub fn step(&mut self, input: Input) -> State {
        self.tick += 1;
        self.state = advance(
            &self.state,
            &Intent::from_input(input, &self.state),
            &self.statics,
            &self.rules,
            self.tick,
            &mut self.near,
        );
        self.state
    }

    pub fn feet(&self) -> [i32; 3] {
        [self.state[X], self.state[Y], self.state[Z]]
    }

    pub fn free(&self) -> bool {
        self.map.boxes().iter().all(|solid| !deeper_than(MAX_DEPTH, self.feet(), solid))
    }
}
