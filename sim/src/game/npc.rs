//! What NPCs want: wander around home, pause, wander on.
//!
//! An NPC decides rarely and then walks a straight leg at a constant velocity, which costs the network nothing
//! until the leg ends. Each decision is drawn from `(seed, tick, entity)` alone.

use super::Skirmish;
use super::schema::{NPC, QUANTA_PER_M, X, YAW, YAW_TURN, Z};
use crate::engine::Stage;
use crate::movement::Intent;
use crate::rng::{Stream, below, draw};
use glam::Vec2;
use netcode::schema::State;

/// Speed of a wandering NPC, m/s.
pub const SPEED_MPS: f32 = 2.5;
/// Targets lie in the square of this half side around home, in metres.
pub const HOME_RANGE_M: i32 = 8;
/// How many archetypes there are.
pub const ARCHETYPES: u32 = 4;

/// What an NPC remembers; players have one too, unused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Brain {
    /// x and z of where it belongs, position quanta.
    pub home: [i32; 2],
    /// The velocity of this leg, m/s; zero while it pauses.
    heading: Vec2,
    /// The tick at which it decides again.
    until: u64,
}

impl Brain {
    /// An NPC at home that decides at its first tick.
    #[must_use]
    pub fn at(home: [i32; 2]) -> Self {
        Self { home, ..Self::default() }
    }

    pub(super) fn fold(&self, word: &mut impl FnMut(u64)) {
        let pair = |[low, high]: [u32; 2]| u64::from(low) << 32 | u64::from(high);
        word(pair(self.home.map(|value| value as u32)));
        word(pair([self.heading.x.to_bits(), self.heading.y.to_bits()]));
        word(self.until);
    }
}

/// Sets the intents of all NPCs.
pub fn wander(stage: &mut Stage<'_, Skirmish>, intents: &mut [Intent]) {
    let rows = stage.ids.iter().zip(stage.kinds).zip(&*stage.states).zip(&mut *stage.hidden).zip(intents);
    for ((((id, kind), state), hidden), intent) in rows {
        if *kind != NPC {
            continue;
        }
        let brain = &mut hidden.brain;
        if stage.tick >= brain.until {
            let bits = draw(stage.seed, Stream::Wander, stage.tick, id.raw());
            decide(brain, state, stage.tick, stage.rate_hz, bits);
        }
        let yaw = if brain.heading == Vec2::ZERO { state[YAW] } else { yaw_of(brain.heading) };
        *intent = Intent { wish: brain.heading, ..Intent::idle(yaw) };
    }
}

/// After a leg a pause of 1 to 4 s, after a pause a leg to somewhere near home.
fn decide(brain: &mut Brain, state: &State, tick: u64, rate_hz: u16, bits: u64) {
    let rate = u32::from(rate_hz);
    let range = HOME_RANGE_M * QUANTA_PER_M;
    let offset = |bits: u64| below(bits, range as u32 * 2) as i32 - range;
    let target = [brain.home[0] + offset(bits), brain.home[1] + offset(bits << 32)];
    let way = Vec2::new((target[0] - state[X]) as f32, (target[1] - state[Z]) as f32) / QUANTA_PER_M as f32;
    let length = way.length();
    if brain.heading != Vec2::ZERO || length < 1.0 {
        brain.heading = Vec2::ZERO;
        brain.until = tick + u64::from(rate + below(bits << 16, 3 * rate));
    } else {
        brain.heading = way * (SPEED_MPS / length);
        brain.until = tick + (length / SPEED_MPS * rate as f32) as u64 + 1;
    }
}

/// The direction of a velocity, 1/4096 turn from +z towards +x.
fn yaw_of(heading: Vec2) -> i32 {
    let turns = libm::atan2f(heading.x, heading.y) / core::f32::consts::TAU;
    (turns * YAW_TURN as f32 + 0.5).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaw_grows_from_z_towards_x() {
        assert_eq!(yaw_of(Vec2::new(0.0, 1.0)), 0);
        assert_eq!(yaw_of(Vec2::new(1.0, 0.0)), 1024);
        assert_eq!(yaw_of(Vec2::new(-1.0, 0.0)), -1024);
    }

    #[test]
    fn legs_and_pauses_alternate_and_end() {
        let mut brain = Brain::at([0, 0]);
        let state = State::default();
        let mut tick = 0;
        for round in 0..100 {
            decide(&mut brain, &state, tick, 20, draw(1, Stream::Wander, tick, 1));
            assert!(brain.until > tick && brain.until <= tick + 20 * 8, "round {round}");
            assert!(brain.heading.length() < SPEED_MPS + 1e-3);
            tick = brain.until;
        }
    }
}
