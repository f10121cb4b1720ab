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
mod spawn;
pub mod stamina;

pub use self::ground::Ground;
pub use self::hands::{Shot, can_fire};
pub use self::player::{Acted, FOREIGN, FOREIGN_FLAGS, act, is_foreign};
pub use self::projectile::{fly, launch};
pub use self::rulebook::{Rulebook, RulebookError};

use crate::config::{ConfigError, WorldConfig};
use crate::engine::{Game, Setup, SpawnError, Stage, World};
use crate::entity::EntityId;
use crate::map::Map;
use crate::movement::{Intent, MAX_FALL_SPEED_MPS, MAX_HORIZONTAL_SPEED_MPS, advance};
use crate::space::Solid;
use damage::Strikes;
use event::{Event, Refusal, Refusals, What};
use glam::Vec2;
use input::Input;
use netcode::schema::{Schema, State};
use npc::{Mind, yaw_of};
use player::Person;
use projectile::Missile;
use schema::{DEAD, FLAGS, LOOT, PITCH, PLAYER, SCHEMA, YAW};
use shots::Fired;
use std::sync::Arc;

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
        self.spawn_player(stage)
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
