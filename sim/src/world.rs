//! The authoritative world: columns of entities and the order of a step.

use crate::config::{ConfigError, WorldConfig};
use crate::contact::{RADIUS, deeper_than};
use crate::course::{Course, Span};
use crate::entity::{Allocator, EntityId};
use crate::frame::{Frame, Names};
use crate::input::Input;
use crate::map::Map;
use crate::movement::{Intent, Rules, advance};
use crate::npc::{self, Brain};
use crate::rng::{Stream, below, draw, mix};
use crate::schema::{ARCHETYPE, FLAGS, GROUNDED, NPC, PLAYER, QUANTA_PER_M, STAMINA, STAMINA_FULL, X, YAW, Z};
use crate::space::{REBUILD_TICKS, Solid, Space, Statics, margin};
use crate::spots::{NO_SLOT, Spots};
use crate::stamina;
use netcode::schema::State;
use std::sync::Arc;

/// Newcomers beyond this bring the next rebuild of the entity tree forward.
const MAX_NEWCOMERS: usize = 32;
/// Places that a spawn tries before it gives up.
const SPAWN_TRIES: u32 = 64;

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

/// The entities of a zone. All that it becomes is a function of its configuration and the calls made.
pub struct World {
    config: WorldConfig,
    rules: Rules,
    map: Map,
    statics: Statics,
    tick: u64,
    /// The tick of the last step, and of the one before it.
    stepped: u64,
    prev: u64,
    digest: u64,
    allocator: Allocator,
    spawned: u32,

    // The columns, one row per entity, ascending by id.
    ids: Vec<EntityId>,
    kinds: Vec<u8>,
    states: Vec<State>,
    courses: Vec<Course>,
    intents: Vec<Intent>,
    brains: Vec<Brain>,
    /// Slots in `space`.
    slots: Vec<u32>,

    /// Rows that left their course in the last step, ascending.
    turned: Vec<u32>,
    /// Who went between the last two steps, ascending.
    removed: Vec<EntityId>,
    /// Who went since the last step.
    gone: Vec<EntityId>,

    space: Arc<Space>,
    space_tick: u64,
    /// Spawned since `space` was made.
    newcomers: usize,
    names: Names,
    /// Somebody came or went since `names` was made.
    moved_in_or_out: bool,
    /// Scratch: the boxes around one body.
    near: Vec<Solid>,
}

impl World {
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
        let mut world = Self {
            rules: Rules::new(config.rate_hz, map.half_extent()),
            statics: Statics::new(&map, config.rate_hz),
            map,
            tick: 0,
            stepped: 0,
            prev: 0,
            digest: 0,
            allocator: Allocator::new(config.max_entities),
            spawned: 0,
            ids: Vec::new(),
            kinds: Vec::new(),
            states: Vec::new(),
            courses: Vec::new(),
            intents: Vec::new(),
            brains: Vec::new(),
            slots: Vec::new(),
            turned: Vec::new(),
            removed: Vec::new(),
            gone: Vec::new(),
            space: Arc::new(Space::new(&[], &mut Vec::new())),
            space_tick: 0,
            newcomers: 0,
            names: Names::new(&[], &[]),
            moved_in_or_out: false,
            near: Vec::new(),
            config,
        };
        for _ in 0..config.npcs {
            // A crowded map holds fewer; the configuration keeps the number below the capacity.
            let _ = world.spawn(NPC);
        }
        world.keep_space();
        world.digest = world.fold();
        Ok(world)
    }

    /// Puts a new player on the map, standing; it is part of the next frame.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing changed then.
    pub fn spawn_player(&mut self) -> Result<EntityId, SpawnError> {
        self.spawn(PLAYER)
    }

    /// Removes an entity; whether it was there. Its name is not used again for long.
    pub fn despawn(&mut self, id: EntityId) -> bool {
        let Ok(row) = self.ids.binary_search(&id) else { return false };
        self.ids.remove(row);
        self.kinds.remove(row);
        self.states.remove(row);
        if self.courses.remove(row).whole <= self.stepped {
            self.gone.push(id);
        }
        self.intents.remove(row);
        self.brains.remove(row);
        self.slots.remove(row);
        self.allocator.release(id);
        self.moved_in_or_out = true;
        true
    }

    /// One tick. Players without an input stand still; inputs of anybody else are ignored; of two inputs for one
    /// player the later one counts.
    pub fn step(&mut self, inputs: &[(EntityId, Input)]) {
        self.tick += 1;
        self.prev = core::mem::replace(&mut self.stepped, self.tick);
        self.list_removed();
        self.take_inputs(inputs);
        let Self { config, tick, ids, kinds, states, intents, brains, .. } = self;
        npc::wander(config, *tick, ids, kinds, states, brains, intents);
        self.move_bodies();
        self.keep_space();
        self.digest = self.fold();
    }

    /// Leaves out ticks: their numbers pass, but nothing happens in them. So a world that could not keep up stays a
    /// function of time: tick `n` is due when it always was. Whoever moves in the next step leaves its course then,
    /// since it would have moved in the ticks between, too.
    pub fn skip(&mut self, ticks: u32) {
        self.tick += u64::from(ticks);
    }

    /// The world as of the last step, with spawns and despawns since.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let mut removed = self.removed.clone();
        if !self.gone.is_empty() {
            removed.extend(&self.gone);
            removed.sort_unstable();
        }
        let margin = margin(self.config.rate_hz, self.tick - self.space_tick);
        let turned = if self.moved_in_or_out { self.list_turned() } else { self.turned.clone() };
        Frame {
            tick: self.stepped,
            prev: self.prev,
            digest: self.digest,
            names: if self.moved_in_or_out { Names::new(&self.ids, &self.kinds) } else { self.names.clone() },
            states: self.states.clone(),
            courses: self.courses.clone(),
            turned,
            removed,
            spots: Spots::new(Arc::clone(&self.space), &self.slots, &self.states, margin),
        }
    }

    /// The number of the last tick: steps made and ticks left out.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// A 64-bit fold of tick, ids, kinds and states after the last step: equal worlds have equal digests, and
    /// different ones almost surely different ones. It is no defence against anybody who constructs collisions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What the world was made from.
    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The static world.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Entities alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The state of an entity, if it lives.
    #[must_use]
    pub fn state(&self, id: EntityId) -> Option<&State> {
        self.states.get(self.ids.binary_search(&id).ok()?)
    }

    fn spawn(&mut self, kind: u8) -> Result<EntityId, SpawnError> {
        if self.allocator.live() >= self.config.max_entities {
            return Err(SpawnError::Full);
        }
        let [x, z] = self.free_place().ok_or(SpawnError::NoRoom)?;
        let id = self.allocator.allocate().ok_or(SpawnError::Full)?;
        let mut state = State::default();
        (state[X], state[Z], state[FLAGS]) = (x, z, GROUNDED);
        if kind == NPC {
            let bits = draw(self.config.seed, Stream::Spawn, self.tick, id.raw());
            state[ARCHETYPE] = below(bits, npc::ARCHETYPES) as i32;
        } else {
            state[STAMINA] = STAMINA_FULL;
        }
        let row = self.ids.partition_point(|other| *other < id);
        self.ids.insert(row, id);
        self.kinds.insert(row, kind);
        self.states.insert(row, state);
        self.courses.insert(row, Course::new(self.tick + 1));
        self.intents.insert(row, Intent::default());
        self.brains.insert(row, Brain::at([x, z]));
        self.slots.insert(row, NO_SLOT);
        self.newcomers += 1;
        self.moved_in_or_out = true;
        Ok(id)
    }

    /// The next place of the spawn sequence on which nothing stands.
    fn free_place(&mut self) -> Option<[i32; 2]> {
        let area = i32::from(self.config.spawn_half_extent_m) * QUANTA_PER_M;
        let half = area.min(self.map.half_extent()) - RADIUS;
        for number in (0..SPAWN_TRIES).map(|attempt| self.spawned.wrapping_add(attempt)) {
            let [x, z] = spread(self.config.seed, number, half);
            self.statics.near([x - RADIUS, z - RADIUS], [x + RADIUS, z + RADIUS], self.tick, &mut self.near);
            if self.near.iter().all(|solid| !deeper_than(0, [x, 0, z], solid)) {
                self.spawned = number.wrapping_add(1);
                return Some([x, z]);
            }
        }
        None
    }

    /// Who went since the step before.
    fn list_removed(&mut self) {
        core::mem::swap(&mut self.removed, &mut self.gone);
        self.gone.clear();
        self.removed.sort_unstable();
    }

    /// Turns inputs into the intents of players.
    fn take_inputs(&mut self, inputs: &[(EntityId, Input)]) {
        let Self { config, tick, ids, kinds, states, intents, .. } = self;
        for (((intent, state), kind), id) in intents.iter_mut().zip(&*states).zip(&*kinds).zip(&*ids) {
            let beat = *kind == PLAYER && stamina::beat(*tick, *id, config.rate_hz);
            *intent = Intent { beat, ..Intent::idle(state[YAW]) };
        }
        for (id, input) in inputs {
            if let Ok(row) = ids.binary_search(id)
                && kinds[row] == PLAYER
            {
                intents[row] = Intent { beat: intents[row].beat, ..Intent::from_input(*input, &states[row]) };
            }
        }
    }

    /// Moves everybody and notes who left their course.
    fn move_bodies(&mut self) {
        let Self { statics, rules, near, turned, .. } = self;
        let span = Span { tick: self.tick, prev: self.prev, rate_hz: self.config.rate_hz };
        turned.clear();
        let bodies = self.states.iter_mut().zip(&self.intents).zip(&self.kinds).zip(&mut self.courses);
        for ((((state, intent), kind), course), row) in bodies.zip(0..) {
            let next = advance(state, intent, statics, rules, span.tick, near);
            if course.follow(&span, *kind, state, &next) {
                turned.push(row);
            }
            *state = next;
        }
    }

    /// As `turned`, where rows have moved since: those who came are among them.
    fn list_turned(&self) -> Vec<u32> {
        let rows = self.courses.iter().zip(0..);
        rows.filter(|(course, _)| course.whole >= self.stepped).map(|(_, row)| row).collect()
    }

    /// Rebuilds the entity tree when it is old or knows too few.
    fn keep_space(&mut self) {
        if core::mem::take(&mut self.moved_in_or_out) {
            self.names = Names::new(&self.ids, &self.kinds);
        }
        if self.tick - self.space_tick < REBUILD_TICKS && self.newcomers <= MAX_NEWCOMERS {
            return;
        }
        self.space = Arc::new(Space::new(&self.states, &mut self.slots));
        self.space_tick = self.tick;
        self.newcomers = 0;
    }

    fn fold(&self) -> u64 {
        let mut hash = mix(self.tick);
        let mut word = |value: u64| hash = (hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for ((id, kind), state) in self.ids.iter().zip(&self.kinds).zip(&self.states) {
            word(u64::from(id.raw()) << 32 | u64::from(*kind));
            for [low, high] in state.as_chunks().0 {
                word(u64::from(*low as u32) << 32 | u64::from(*high as u32));
            }
        }
        mix(hash)
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
