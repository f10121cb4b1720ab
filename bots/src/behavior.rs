//! How bots play.

use netcode::rng::Rng;
use sim::Input;
use sim::input::{JUMP, SPRINT};

/// What a bot does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behavior {
    /// Walks in straight lines of a few seconds, rests, jumps and sprints now and then.
    #[default]
    Wander,
    /// Connects and stands still.
    Idle,
    /// Runs in a circle: every entity changes in every tick.
    Circle,
    /// Wanders; leaves after a while and comes back with a new token.
    Churn,
}

/// The sixteen directions, in fifteenths of full speed along x and z; the index times 256 is the yaw.
const DIRECTIONS: [(i8, i8); 16] = [
    (0, 15),
    (6, 14),
    (11, 11),
    (14, 6),
    (15, 0),
    (14, -6),
    (11, -11),
    (6, -14),
    (0, -15),
    (-6, -14),
    (-11, -11),
    (-14, -6),
    (-15, 0),
    (-14, 6),
    (-11, 11),
    (-6, 14),
];
const YAW_STEP: u16 = 256;

/// The player inside a bot: an intent for each tick, from a seed.
#[derive(Clone, Debug)]
pub struct Pilot {
    behavior: Behavior,
    rng: Rng,
    intent: Input,
    /// Ticks that the intent still lasts.
    left: u64,
    heading: usize,
}

impl Pilot {
    /// A player that draws from `rng`.
    #[must_use]
    pub fn new(behavior: Behavior, rng: Rng) -> Self {
        let mut pilot = Self { behavior, rng, intent: Input::default(), left: 0, heading: 0 };
        pilot.heading = pilot.rng.below(DIRECTIONS.len() as u64) as usize;
        pilot
    }

    /// What it wants in the next tick, at `rate` ticks a second.
    pub fn next(&mut self, rate: u16) -> Input {
        match self.behavior {
            Behavior::Idle => Input::default(),
            Behavior::Circle => self.circle(rate),
            Behavior::Wander | Behavior::Churn => self.wander(rate),
        }
    }

    /// How long it stays this time, in milliseconds; `None`: for good.
    pub fn stay_ms(&mut self) -> Option<u64> {
        (self.behavior == Behavior::Churn).then(|| 2_000 + self.rng.below(10_000))
    }

    /// How long it then stays away, in milliseconds.
    pub fn away_ms(&mut self) -> u64 {
        200 + self.rng.below(2_000)
    }

    /// A full turn in about four seconds.
    fn circle(&mut self, rate: u16) -> Input {
        if self.left == 0 {
            self.left = (u64::from(rate) / 4).max(1);
            self.heading = (self.heading + 1) % DIRECTIONS.len();
        }
        self.left -= 1;
        walk(self.heading, 0)
    }

    fn wander(&mut self, rate: u16) -> Input {
        if self.left == 0 {
            let rate = u64::from(rate);
            self.left = rate + self.rng.below(3 * rate);
            self.heading = self.rng.below(DIRECTIONS.len() as u64) as usize;
            let buttons = if self.rng.chance(0.3) { SPRINT } else { 0 };
            let rests = self.rng.chance(0.2);
            self.intent = walk(self.heading, buttons);
            if rests {
                self.intent = Input { yaw: self.intent.yaw, ..Input::default() };
            }
        }
        self.left -= 1;
        let jump = if self.rng.chance(0.01) { JUMP } else { 0 };
        Input { buttons: self.intent.buttons | jump, ..self.intent }
    }
}

fn walk(heading: usize, buttons: u8) -> Input {
    let (move_x, move_z) = DIRECTIONS.get(heading).copied().unwrap_or_default();
    Input { move_x, move_z, yaw: heading as u16 * YAW_STEP, buttons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(behavior: Behavior, seed: u64) -> Vec<Input> {
        let mut pilot = Pilot::new(behavior, Rng::new(seed));
        (0..400).map(|_| pilot.next(20)).collect()
    }

    #[test]
    fn the_same_seed_plays_the_same_and_another_differently() {
        assert_eq!(first(Behavior::Wander, 1), first(Behavior::Wander, 1));
        assert_ne!(first(Behavior::Wander, 1), first(Behavior::Wander, 2));
    }

    #[test]
    fn the_idle_stand_and_the_circling_never_rest() {
        assert!(first(Behavior::Idle, 1).iter().all(|input| *input == Input::default()));
        assert!(first(Behavior::Circle, 1).iter().all(|input| input.move_x != 0 || input.move_z != 0));
    }

    #[test]
    fn only_churn_leaves() {
        assert!(Pilot::new(Behavior::Churn, Rng::new(1)).stay_ms().is_some());
        assert!(Pilot::new(Behavior::Wander, Rng::new(1)).stay_ms().is_none());
    }
}
