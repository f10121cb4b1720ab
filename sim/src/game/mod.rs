//! The shipped game: who comes, what everybody wants, how a tick is made of it.
//!
//! This module is what a game team replaces; see [`crate::engine::Game`].

pub mod event;
pub mod input;
pub mod npc;
pub mod schema;
pub mod stamina;

use crate::config::{ConfigError, WorldConfig};
use crate::contact::{RADIUS, deeper_than};
use crate::engine::{Game, Setup, SpawnError, Stage, World};
use crate::entity::EntityId;
use crate::map::Map;
use crate::movement::{Intent, MAX_HORIZONTAL_SPEED_MPS, Rules, advance};
use crate::rng::{Stream, below, draw};
use crate::space::{Solid, Statics};
use event::Event;
use input::Input;
use netcode::schema::{Schema, State};
use npc::Brain;
use schema::{
    ARCHETYPE, FLAGS, GROUNDED, HEALTH, HEALTH_FULL, NPC, PLAYER, QUANTA_PER_M, SCHEMA, STAMINA, STAMINA_FULL, X, YAW,
    Z,
};

/// Places that a spawn tries before it gives up.
const SPAWN_TRIES: u32 = 64;

/// The shipped game.
pub struct Skirmish {
    config: WorldConfig,
    rules: Rules,
    map: Map,
    statics: Statics,
    spawned: u32,
    /// Scratch: what everybody wants in this tick, by row.
    intents: Vec<Intent>,
    /// Scratch: the boxes around one body.
    near: Vec<Solid>,
}

/// What an entity remembers unseen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hidden {
    /// What an NPC has in mind.
    pub brain: Brain,
}

impl World<Skirmish> {
    /// A world at tick 0 on its generated map, with its NPCs.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn new(config: WorldConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let map = Map::generate(config.seed, config.map)?;
        Self::with_map(config, map)
    }

    /// A world on a map made elsewhere (a replay would not know it). `config.map` is not looked at.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn with_map(config: WorldConfig, map: Map) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::with_game(Skirmish {
            rules: Rules::new(config.rate_hz, map.half_extent()),
            statics: Statics::new(&map, config.rate_hz),
            map,
            spawned: 0,
            intents: Vec::new(),
            near: Vec::new(),
            config,
        }))
    }

    /// The static world.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.game().map
    }
}

impl Game for Skirmish {
    const SCHEMA: &'static Schema = &SCHEMA;
    const USUAL_SPEED_MPS: f32 = MAX_HORIZONTAL_SPEED_MPS;
    type Config = WorldConfig;
    type Input = Input;
    type Hidden = Hidden;
    type Event = Event;

    fn setup(&self) -> Setup {
        let WorldConfig { seed, rate_hz, max_entities, .. } = self.config;
        Setup { seed, rate_hz, max_entities }
    }

    fn config(&self) -> &WorldConfig {
        &self.config
    }

    fn populate(&mut self, stage: &mut Stage<'_, Self>) {
        for _ in 0..self.config.npcs {
            // A crowded map holds fewer; the configuration keeps the number below the capacity.
            let _ = self.spawn(stage, NPC);
        }
    }

    fn join(&mut self, stage: &mut Stage<'_, Self>) -> Result<EntityId, SpawnError> {
        self.spawn(stage, PLAYER)
    }

    fn step(&mut self, stage: &mut Stage<'_, Self>, inputs: &[(EntityId, Input)]) {
        self.take_inputs(stage, inputs);
        npc::wander(stage, &mut self.intents);
        self.move_bodies(stage);
    }

    fn fold(hidden: &Hidden, word: &mut impl FnMut(u64)) {
        hidden.brain.fold(word);
    }

    fn pack(input: &Input) -> State {
        input.to_state()
    }

    fn unpack(state: &State) -> Input {
        Input::from_state(state)
    }
}

impl Skirmish {
    fn spawn(&mut self, stage: &mut Stage<'_, Self>, kind: u8) -> Result<EntityId, SpawnError> {
        if stage.room() == 0 {
            return Err(SpawnError::Full);
        }
        let number = self.spawned;
        let [x, z] = self.free_place(stage.tick).ok_or(SpawnError::NoRoom)?;
        let mut state = State::default();
        (state[X], state[Z], state[FLAGS], state[HEALTH]) = (x, z, GROUNDED, HEALTH_FULL);
        if kind == NPC {
            let bits = draw(self.config.seed, Stream::Spawn, stage.tick, number);
            state[ARCHETYPE] = below(bits, npc::ARCHETYPES) as i32;
        } else {
            state[STAMINA] = STAMINA_FULL;
        }
        stage.spawn(kind, state, Hidden { brain: Brain::at([x, z]) })
    }

    /// The next place of the spawn sequence on which nothing stands.
    fn free_place(&mut self, tick: u64) -> Option<[i32; 2]> {
        let area = i32::from(self.config.spawn_half_extent_m) * QUANTA_PER_M;
        let half = area.min(self.map.half_extent()) - RADIUS;
        for number in (0..SPAWN_TRIES).map(|attempt| self.spawned.wrapping_add(attempt)) {
            let [x, z] = spread(self.config.seed, number, half);
            self.statics.near([x - RADIUS, z - RADIUS], [x + RADIUS, z + RADIUS], tick, &mut self.near);
            if self.near.iter().all(|solid| !deeper_than(0, [x, 0, z], &solid.bounds)) {
                self.spawned = number.wrapping_add(1);
                return Some([x, z]);
            }
        }
        None
    }

    /// Turns inputs into the intents of players.
    fn take_inputs(&mut self, stage: &Stage<'_, Self>, inputs: &[(EntityId, Input)]) {
        self.intents.clear();
        let rows = stage.ids.iter().zip(stage.kinds).zip(&*stage.states);
        self.intents.extend(rows.map(|((id, kind), state)| {
            let beat = *kind == PLAYER && stamina::beat(stage.tick, *id, stage.rate_hz);
            Intent { beat, ..Intent::idle(state[YAW]) }
        }));
        for (id, input) in inputs {
            if let Some(row) = stage.row(*id)
                && stage.kinds[row] == PLAYER
            {
                let beat = self.intents[row].beat;
                self.intents[row] = Intent { beat, ..Intent::from_input(*input, &stage.states[row]) };
            }
        }
    }

    fn move_bodies(&mut self, stage: &mut Stage<'_, Self>) {
        let Self { statics, rules, near, intents, .. } = self;
        for (state, intent) in stage.states.iter_mut().zip(intents) {
            *state = advance(state, intent, statics, rules, stage.tick, near);
        }
    }
}

/// The `number`-th place of an even spread over the square of that half side (position quanta): the R2
/// sequence (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018), shifted by the seed.
fn spread(seed: u64, number: u32, half: i32) -> [i32; 2] {
    // 2^32 / g and 2^32 / g², where g is the plastic number.
    let shift = draw(seed, Stream::Spawn, 0, 0);
    let x = (shift as u32).wrapping_add(number.wrapping_mul(3_242_174_889));
    let z = ((shift >> 32) as u32).wrapping_add(number.wrapping_mul(2_447_445_414));
    [x, z].map(|share| below(u64::from(share) << 32, half as u32 * 2 + 1) as i32 - half)
}
