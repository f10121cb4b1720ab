//! The shipped game: who comes, what everybody does, how a tick is made of it.
//!
//! This module is what a game team replaces; see [`crate::engine::Game`]. What is mere numbers is in the
//! [`rulebook`]. What a player does by itself ([`act`], [`launch`], [`fly`], [`can_fire`]) is a function of its own state
//! and input on the [`Ground`], for clients to predict; all else only the server does.

pub mod aim;
pub mod damage;
pub mod event;
pub mod ground;
pub mod hands;
pub mod input;
pub mod loot;
pub mod npc;
pub mod origin;
pub mod player;
pub mod projectile;
pub mod rulebook;
pub mod schema;
pub mod shots;
pub mod stamina;

pub use self::ground::Ground;
pub use self::hands::{Shot, can_fire};
pub use self::player::{Acted, FOREIGN, FOREIGN_FLAGS, act, is_foreign};
pub use self::projectile::{fly, launch};
pub use self::rulebook::{Rulebook, RulebookError};

use crate::config::{ConfigError, WorldConfig};
use crate::contact::{RADIUS, deeper_than};
use crate::engine::{Game, Setup, SpawnError, Stage, World};
use crate::entity::EntityId;
use crate::map::Map;
use crate::movement::{Intent, MAX_FALL_SPEED_MPS, MAX_HORIZONTAL_SPEED_MPS, advance};
use crate::rng::{Stream, below, draw};
use crate::space::Solid;
use damage::Strikes;
use event::{Event, Refusal, Refusals, What};
use glam::Vec2;
use input::Input;
use netcode::schema::{Schema, State};
use npc::{Mind, yaw_of};
use player::{Person, fresh};
use projectile::Missile;
use schema::{
    ARCHETYPE, DEAD, FLAGS, GROUNDED, HEALTH, LEVEL, LOOT, NPC, PITCH, PLAYER, QUANTA_PER_M, SCHEMA, SHIELDED, X, YAW,
    Z,
};
use shots::Fired;
use std::sync::Arc;

/// Places that a spawn tries before it gives up.
const SPAWN_TRIES: u32 = 64;

/// The shipped game.
pub struct Skirmish {
    config: WorldConfig,
    map: Map,
    ground: Ground,
    spawned: u32,
    /// How many things lie around, counted in each tick.
    lying: u32,
    /// Scratch: what players want in this tick, by row.
    inputs: Vec<Option<Input>>,
    /// Scratch: shots, and who is hit.
    strikes: Strikes,
    /// Scratch: the boxes around one body.
    near: Vec<Solid>,
}

/// What an entity remembers unseen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Hidden {
    /// Nothing.
    #[default]
    Nothing,
    /// A player.
    Player(Person),
    /// An NPC.
    Npc(Mind),
    /// A projectile.
    Projectile(Missile),
    /// Something that lies there.
    Loot {
        /// The tick in which it is gone.
        until: u64,
    },
}

impl World<Skirmish> {
    /// A world at tick 0 on its generated map, with its NPCs.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn new(config: WorldConfig) -> Result<Self, ConfigError> {
        Self::with_book(config, Rulebook::standard())
    }

    /// The same by other rules.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn with_book(config: WorldConfig, book: Arc<Rulebook>) -> Result<Self, ConfigError> {
        config.validate()?;
        let map = Map::generate(config.seed, config.map)?;
        Self::with_map_and_book(config, map, book)
    }

    /// A world on a map made elsewhere (a replay would not know it). `config.map` is not looked at.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn with_map(config: WorldConfig, map: Map) -> Result<Self, ConfigError> {
        Self::with_map_and_book(config, map, Rulebook::standard())
    }

    /// The same by other rules.
    ///
    /// # Errors
    /// As [`WorldConfig::validate`].
    pub fn with_map_and_book(config: WorldConfig, map: Map, book: Arc<Rulebook>) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::with_game(Skirmish {
            ground: Ground::new(&map, config.rate_hz, book),
            map,
            spawned: 0,
            lying: 0,
            inputs: Vec::new(),
            strikes: Strikes::default(),
            near: Vec::new(),
            config,
        }))
    }

    /// What players and NPCs act on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.game().ground
    }

    /// What a player was refused so far, if it is here.
    #[must_use]
    pub fn refusals(&self, id: EntityId) -> Option<Refusals> {
        match self.hidden(id)? {
            Hidden::Player(person) => Some(person.refusals),
            _ => None,
        }
    }

    /// The static world.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.game().map
    }
}

impl Game for Skirmish {
    const SCHEMA: &'static Schema = &SCHEMA;
    const SPEEDS_MPS: [f32; 2] = [MAX_HORIZONTAL_SPEED_MPS, MAX_FALL_SPEED_MPS];
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
        for number in 0..self.config.npcs {
            // A crowded map holds fewer; the configuration keeps the number below the capacity.
            let _ = self.spawn_npc(stage, number);
        }
    }

    fn join(&mut self, stage: &mut Stage<'_, Self>) -> Result<EntityId, SpawnError> {
        if stage.room() == 0 {
            return Err(SpawnError::Full);
        }
        let place = self.free_place(stage.tick).ok_or(SpawnError::NoRoom)?;
        // It is there from the next tick on.
        let until = stage.tick + 1 + self.ground.ticks(self.ground.book.player.shield_ms);
        stage.spawn(PLAYER, fresh(&self.ground.book, place), Hidden::Player(Person { until, ..Person::default() }))
    }

    fn step(&mut self, stage: &mut Stage<'_, Self>, inputs: &[(EntityId, Input)]) {
        self.take_inputs(stage, inputs);
        self.lying = stage.kinds.iter().filter(|kind| **kind == LOOT).count() as u32;
        npc::step(stage, &self.ground, &mut self.strikes);
        self.move_bodies(stage);
        shots::step(stage, &self.ground, self.config.max_rewind_ms, &mut self.strikes);
        projectile::step(stage, &self.ground, &mut self.strikes);
        damage::step(stage, &self.ground, &mut self.lying, &mut self.strikes);
        loot::step(stage, &self.ground, &self.inputs);
        self.pass_time(stage);
    }

    fn fold(hidden: &Hidden, word: &mut impl FnMut(u64)) {
        match hidden {
            Hidden::Nothing => {}
            Hidden::Player(person) => person.fold(word),
            Hidden::Npc(mind) => mind.fold(word),
            Hidden::Projectile(missile) => missile.fold(word),
            Hidden::Loot { until } => word(*until),
        }
    }

    fn pack(input: &Input) -> State {
        input.to_state()
    }

    fn unpack(state: &State) -> Input {
        Input::from_state(state)
    }
}

impl Skirmish {
    fn spawn_npc(&mut self, stage: &mut Stage<'_, Self>, number: u32) -> Result<EntityId, SpawnError> {
        if stage.room() == 0 {
            return Err(SpawnError::Full);
        }
        let kinds = &self.ground.book.npc;
        // Below a million each, and few.
        let mut lot = below(
            draw(self.config.seed, Stream::Kind, stage.tick, number),
            kinds.iter().map(|kind| kind.share).sum::<u32>(),
        );
        let mut state = State::default();
        for (kind, archetype) in kinds.iter().zip(0..) {
            (state[ARCHETYPE], state[HEALTH]) = (archetype, kind.health);
            match lot.checked_sub(kind.share) {
                Some(left) => lot = left,
                None => break,
            }
        }
        let home = self.free_place(stage.tick).ok_or(SpawnError::NoRoom)?;
        (state[X], state[Z], state[FLAGS]) = (home[0], home[1], GROUNDED);
        stage.spawn(NPC, state, Hidden::Npc(Mind::at(home)))
    }

    /// The next place of the spawn sequence on which nothing stands.
    fn free_place(&mut self, tick: u64) -> Option<[i32; 2]> {
        let area = i32::from(self.config.spawn_half_extent_m) * QUANTA_PER_M;
        let half = area.min(self.map.half_extent()) - RADIUS;
        for attempt in 0..SPAWN_TRIES {
            let number = self.spawned.wrapping_add(attempt);
            let [x, z] = spread(self.config.seed, number, half);
            if self.is_free([x, z], tick) {
                self.spawned = number.wrapping_add(1);
                return Some([x, z]);
            }
        }
        None
    }

    /// Whether nothing stands on that place of the ground.
    fn is_free(&mut self, [x, z]: [i32; 2], tick: u64) -> bool {
        self.ground.statics.near([x - RADIUS, z - RADIUS], [x + RADIUS, z + RADIUS], tick, &mut self.near);
        self.near.iter().all(|solid| !deeper_than(0, [x, 0, z], solid))
    }

    /// Puts inputs into the rows of their players.
    fn take_inputs(&mut self, stage: &Stage<'_, Self>, inputs: &[(EntityId, Input)]) {
        self.inputs.clear();
        self.inputs.resize(stage.ids.len(), None);
        for (id, input) in inputs {
            if let Some(row) = stage.row(*id)
                && stage.kinds[row] == PLAYER
            {
                self.inputs[row] = Some(*input);
            }
        }
    }

    /// Moves everybody who moves by itself, and collects the shots.
    fn move_bodies(&mut self, stage: &mut Stage<'_, Self>) {
        let Self { ground, inputs, strikes, near, .. } = self;
        for (row, input) in inputs.iter().enumerate() {
            let state = stage.states[row];
            match &stage.hidden[row] {
                Hidden::Player(_) => {
                    let input = input.unwrap_or_else(|| stand(&state));
                    let acted = act(ground, stage.tick, stage.ids[row], &state, &input, near);
                    stage.states[row] = acted.state;
                    strikes.fired.extend(acted.shot.map(|shot| Fired { row, state, input, shot }));
                    if let Some(cause) = acted.refused {
                        refuse(stage, row, 0, cause);
                    }
                }
                Hidden::Npc(mind) => {
                    let intent = if mind.heading == Vec2::ZERO || state[FLAGS] & DEAD != 0 {
                        Intent::idle(state[YAW])
                    } else {
                        Intent { wish: mind.heading, ..Intent::idle(yaw_of(mind.heading)) }
                    };
                    stage.states[row] = advance(&state, &intent, &ground.statics, &ground.rules, stage.tick, near);
                }
                _ => {}
            }
        }
    }

    /// What is over in this tick: death, shields, things that lie around.
    fn pass_time(&mut self, stage: &mut Stage<'_, Self>) {
        let tick = stage.tick;
        for row in 0..stage.ids.len() {
            let flags = stage.states[row][FLAGS];
            match &stage.hidden[row] {
                Hidden::Player(person) if flags & (DEAD | SHIELDED) != 0 && tick >= person.until => {
                    if flags & DEAD == 0 {
                        stage.states[row][FLAGS] &= !SHIELDED;
                    } else {
                        self.bring_back(stage, row);
                    }
                }
                Hidden::Npc(mind) if flags & DEAD != 0 && tick >= mind.until => {
                    let home = mind.home;
                    // A gate may stand there.
                    if !self.is_free(home, tick) {
                        continue;
                    }
                    stage.hidden[row] = Hidden::Npc(Mind::at(home));
                    let mut state = State::default();
                    (state[X], state[Z], state[FLAGS]) = (home[0], home[1], GROUNDED);
                    state[ARCHETYPE] = stage.states[row][ARCHETYPE];
                    state[HEALTH] = self.ground.book.npc(state[ARCHETYPE]).map_or(0, |kind| kind.health);
                    stage.states[row] = state;
                }
                Hidden::Loot { until } if tick >= *until => stage.despawn(stage.ids[row]),
                _ => {}
            }
        }
    }

    /// A dead player comes back somewhere; on a map that is too full, it waits.
    fn bring_back(&mut self, stage: &mut Stage<'_, Self>, row: usize) {
        let Some(place) = self.free_place(stage.tick) else { return };
        let mut state = fresh(&self.ground.book, place);
        state[LEVEL] = stage.states[row][LEVEL];
        stage.states[row] = state;
        if let Hidden::Player(person) = &mut stage.hidden[row] {
            person.until = stage.tick + self.ground.ticks(self.ground.book.player.shield_ms);
        }
        stage.events.push((stage.ids[row], Event { tick: stage.tick, ordinal: 0, what: What::Respawned }));
    }
}

/// What a player does who wants nothing: it keeps looking where it looks.
fn stand(state: &State) -> Input {
    // 12 bits of a turn, and a quarter of 128 parts of one up or down.
    Input { yaw: (state[YAW] << 4) as u16, pitch: (state[PITCH] << 9) as i16, ..Input::default() }
}

/// Counts that a player is refused something, and tells it.
fn refuse(stage: &mut Stage<'_, Skirmish>, row: usize, ordinal: u8, cause: Refusal) {
    if let Hidden::Player(person) = &mut stage.hidden[row] {
        person.refusals.count(cause);
        let what = What::Refused { cause };
        stage.events.push((stage.ids[row], Event { tick: stage.tick, ordinal, what }));
    }
}

/// Whether the rules let a player hurt that body: anybody alive who is no player, and players where they may.
fn is_target(ground: &Ground, kind: u8, state: &State) -> bool {
    shots::lives(kind, state) && (kind != PLAYER || ground.book.player.hurts_players)
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
