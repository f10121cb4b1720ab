//! Where players and NPCs appear, and what ends by itself: death, shields, things that lie around.

use super::event::{Event, What};
use super::npc::Mind;
use super::player::{Person, fresh};
use super::schema::{ARCHETYPE, DEAD, FLAGS, GROUNDED, HEALTH, LEVEL, NPC, PLAYER, QUANTA_PER_M, SHIELDED, X, Z};
use super::{Hidden, Skirmish};
use crate::contact::{RADIUS, deeper_than};
use crate::engine::{SpawnError, Stage};
use crate::entity::EntityId;
use crate::rng::{Stream, below, draw};
use netcode::schema::State;

/// Places that a spawn tries before it gives up.
const SPAWN_TRIES: u32 = 64;

impl Skirmish {
    pub(super) fn spawn_player(&mut self, stage: &mut Stage<'_, Self>) -> Result<EntityId, SpawnError> {
        if stage.room() == 0 {
            return Err(SpawnError::Full);
        }
        let place = self.free_place(stage.tick).ok_or(SpawnError::NoRoom)?;
        // It is there from the next tick on.
        let until = stage.tick + 1 + self.ground.ticks(self.ground.book.player.shield_ms);
        stage.spawn(PLAYER, fresh(&self.ground.book, place), Hidden::Player(Person { until, ..Person::default() }))
    }

    pub(super) fn spawn_npc(&mut self, stage: &mut Stage<'_, Self>, number: u32) -> Result<EntityId, SpawnError> {
        if stage.room() == 0 {
            return Err(SpawnError::Full);
        }
        let kinds = &self.ground.book.npc;
        // Below a million each, and few.
        let shares = kinds.iter().map(|kind| kind.share).sum::<u32>();
        let mut lot = below(draw(self.config.seed, Stream::Kind, stage.tick, number), shares);
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

    /// What is over in this tick: death, shields, things that lie around.
    pub(super) fn pass_time(&mut self, stage: &mut Stage<'_, Self>) {
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

/// The `number`-th place of an even spread over the square of that half side (position quanta): the R2
/// sequence (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018), shifted by the seed.
fn spread(seed: u64, number: u32, half: i32) -> [i32; 2] {
    // 2^32 / g and 2^32 / g², where g is the plastic number.
    let shift = draw(seed, Stream::Spawn, 0, 0);
    let x = (shift as u32).wrapping_add(number.wrapping_mul(3_242_174_889));
    let z = ((shift >> 32) as u32).wrapping_add(number.wrapping_mul(2_447_445_414));
    [x, z].map(|share| below(u64::from(share) << 32, half as u32 * 2 + 1) as i32 - half)
}
