//! The script's world: the shipped game, with the client's player and some others in it.

use std::collections::BTreeMap;

use netcode::message::{Message, Welcome};
use sim::schema::PLAYER;
use sim::{EntityId, Input, MapConfig, World, WorldConfig};

use crate::rig::{OWN_SLOT, RATE};

/// How long the server repeats an input for a late one, in ticks.
const REPEATS: u32 = RATE as u32 / 4;
/// A slot that was emptied is told to be empty for so many ticks.
const TOLD_EMPTY: u64 = 40;

/// What the others want in a tick.
pub type Others = fn(u64, usize) -> Input;

pub struct Host {
    pub world: World,
    pub own: EntityId,
    pub others: Vec<EntityId>,
    pub wants: Others,
    /// Ticks since the first input for which none had come in time.
    pub late: Vec<u64>,
    last: Option<Input>,
    repeated: u32,
    slots: BTreeMap<EntityId, u16>,
    /// Slots that were emptied, and when.
    emptied: BTreeMap<u16, u64>,
}

/// What a snapshot says of a slot: an entity's id and kind, or that there is none.
pub type Told = Option<(u32, u8, netcode::schema::State)>;

impl Host {
    pub fn new(map: MapConfig, others: usize, wants: Others) -> Self {
        let config = WorldConfig { seed: 11, rate_hz: RATE, map, spawn_half_extent_m: 15, ..WorldConfig::default() };
        let mut world = World::new(config).unwrap();
        let own = world.spawn_player().unwrap();
        let others = (0..others).map(|_| world.spawn_player().unwrap()).collect();
        let slots = [(own, OWN_SLOT)].into();
        Self { world, own, others, wants, late: Vec::new(), last: None, repeated: 0, slots, emptied: BTreeMap::new() }
    }

    pub fn welcome(&self) -> Message<'static> {
        let WorldConfig { seed, map, .. } = *self.world.config();
        Message::Welcome(Welcome {
            entity: self.own.raw(),
            zone: 1,
            map_seed: seed,
            aoi_radius_m: 80,
            half_extent_m: map.half_extent_m,
            boxes: map.boxes,
            gates: map.gates,
            ramps: map.ramps,
            rules: self.world.ground().book.hash(),
        })
    }

    /// Makes the next tick, with what has come of the client.
    pub fn step(&mut self, inputs: &BTreeMap<u64, Input>) {
        let tick = self.world.tick() + 1;
        let input = match (inputs.get(&tick), self.last) {
            (Some(input), _) => {
                self.repeated = 0;
                self.last = Some(*input);
                *input
            }
            (None, None) => Input::default(),
            (None, Some(last)) => {
                self.late.push(tick);
                self.repeated += 1;
                if self.repeated <= REPEATS {
                    last.repeated()
                } else {
                    Input { yaw: last.yaw, pitch: last.pitch, ..Input::default() }
                }
            }
        };
        let others = self.others.iter().enumerate().map(|(number, id)| (*id, (self.wants)(tick, number)));
        let all: Vec<_> = core::iter::once((self.own, input)).chain(others).collect();
        self.world.step(&all);
    }

    /// The contents of a snapshot.
    pub fn told(&mut self) -> BTreeMap<u16, Told> {
        let (frame, tick) = (self.world.frame(), self.world.tick());
        let gone = self.slots.extract_if(.., |id, _| frame.row(*id).is_none()).map(|(_, slot)| (slot, tick));
        self.emptied.extend(gone);
        self.emptied.retain(|_, since| tick - *since < TOLD_EMPTY);
        let mut told: BTreeMap<_, _> = self.emptied.keys().map(|slot| (*slot, None)).collect();
        for row in 0..frame.len() {
            let id = frame.id(row);
            let taken = |slot: &u16| self.slots.values().any(|used| used == slot) || self.emptied.contains_key(slot);
            let free = (1..).find(|slot| !taken(slot)).unwrap();
            let slot = *self.slots.entry(id).or_insert(free);
            told.insert(slot, Some((id.raw(), frame.kind(row), *frame.state(row))));
        }
        told
    }

    pub fn place(&self, id: EntityId) -> [f32; 3] {
        sim::schema::position_m(self.world.state(id).unwrap())
    }
}

/// What is shown without a world, as players.
pub fn players(shown: &BTreeMap<u16, (u32, netcode::schema::State)>) -> BTreeMap<u16, Told> {
    shown.iter().map(|(slot, (id, state))| (*slot, Some((*id, PLAYER, *state)))).collect()
}
