//! How bots play.

pub mod aim;
pub mod eyes;
mod fighter;

use netcode::rng::Rng;
use sim::Input;
use sim::input::{JUMP, SPRINT};

use eyes::Eyes;
use fighter::Fighter;

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
    /// Strafes to and fro and jumps a lot: nobody could guess what comes next. Aims at the nearest living body it sees and
    /// fires, with all weapons in turn; reloads, picks up what lies near by. Who sees nobody looks elsewhere in nearly every tick.
    Fight,
    /// Mills about where it came in: short ways there and back, never far, so that a crowd stays one.
    Crowd,
}

/// The sixteen directions, in fifteenths of full speed along x and z; the index times 4096 is the yaw.
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
const YAW_STEP: u16 = 4096;
/// 20° in 1/65536 turn.
const GLANCE: u16 = 3641;

/// Chance of a new way of one that fights to lead to what lies near by.
const GREED: f64 = 0.5;

/// The player inside a bot: an intent for each tick, from a seed.
#[derive(Clone, Debug)]
pub struct Pilot {
    behavior: Behavior,
    rng: Rng,
    intent: Input,
    /// Ticks that the intent still lasts.
    left: u64,
    heading: usize,
    /// Ticks of the way back that follows.
    back: Option<u64>,
    fighter: Fighter,
}

impl Pilot {
    /// A player that draws from `rng`.
    #[must_use]
    pub fn new(behavior: Behavior, rng: Rng) -> Self {
        let fighter = Fighter::new(rng.fork("fighter"));
        let mut pilot = Self { behavior, rng, intent: Input::default(), left: 0, heading: 0, back: None, fighter };
        pilot.heading = pilot.rng.below(DIRECTIONS.len() as u64) as usize;
        pilot
    }

    /// What it wants in the next tick, at `rate` ticks a second. It asks its eyes only if it plays so that it needs them.
    pub fn next(&mut self, rate: u16, eyes: &dyn Eyes) -> Input {
        match self.behavior {
            Behavior::Idle => Input::default(),
            Behavior::Circle => self.circle(rate),
            Behavior::Wander | Behavior::Churn => self.wander(rate),
            Behavior::Fight => self.fight(rate, eyes),
            Behavior::Crowd => self.mill(rate),
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

    /// New directions every 0.2 to 0.6 s, about one jump a second.
    fn fight(&mut self, rate: u16, eyes: &dyn Eyes) -> Input {
        if self.left == 0
            && let Some(way) = self.fighter.lure(eyes)
            && self.rng.chance(GREED)
        {
            // There, and not back.
            (self.heading, self.left, self.back) = (heading(way), u64::from(rate) / 2, None);
        }
        self.sway(rate, [200, 600]);
        let mut yaw = self.intent.yaw;
        if self.rng.chance(0.9) {
            // Up to 20° either way.
            yaw = yaw.wrapping_sub(GLANCE).wrapping_add(self.rng.below(2 * u64::from(GLANCE) + 1) as u16);
        }
        let jump = if self.rng.chance(1.0 / f64::from(rate.max(1))) { JUMP } else { 0 };
        self.intent = Input { yaw, buttons: jump, ..walk(self.heading, 0) };
        self.fighter.hands(rate, eyes, self.intent)
    }

    /// New directions every 0.3 to 1 s.
    fn mill(&mut self, rate: u16) -> Input {
        self.sway(rate, [300, 1000]);
        walk(self.heading, 0)
    }

    /// One tick of ways that last so many milliseconds, each followed by the same way back.
    fn sway(&mut self, rate: u16, [least_ms, most_ms]: [u64; 2]) {
        if self.left == 0 {
            self.left = if let Some(ticks) = self.back.take() {
                self.heading = (self.heading + DIRECTIONS.len() / 2) % DIRECTIONS.len();
                ticks
            } else {
                self.heading = self.rng.below(DIRECTIONS.len() as u64) as usize;
                let ticks = (least_ms + self.rng.below(most_ms - least_ms + 1)) * u64::from(rate) / 1000;
                *self.back.insert(ticks.max(1))
            };
        }
        self.left -= 1;
    }
}

/// The direction nearest to that of a way along x and z.
fn heading([x, z]: [f32; 2]) -> usize {
    let along = |(dx, dz): &(i8, i8)| x * f32::from(*dx) + z * f32::from(*dz);
    let best = DIRECTIONS.iter().enumerate().max_by(|(_, a), (_, b)| along(a).total_cmp(&along(b)));
    best.map_or(0, |(heading, _)| heading)
}

fn walk(heading: usize, buttons: u8) -> Input {
    let (move_x, move_z) = DIRECTIONS.get(heading).copied().unwrap_or_default();
    Input { move_x, move_z, yaw: heading as u16 * YAW_STEP, buttons, ..Input::default() }
}

#[cfg(test)]
mod tests {
    use super::eyes::Blind;
    use super::*;

    fn first(behavior: Behavior, seed: u64) -> Vec<Input> {
        let mut pilot = Pilot::new(behavior, Rng::new(seed));
        (0..400).map(|_| pilot.next(20, &Blind)).collect()
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

    /// How far it would be from where it started if it moved at once as it wants to, in metres, tick by tick.
    fn ways(behavior: Behavior, seed: u64) -> Vec<f64> {
        let mut at = [0.0; 2];
        let step = |input: Input| {
            at[0] += f64::from(input.move_x) / 15.0 * 5.0 / 20.0;
            at[1] += f64::from(input.move_z) / 15.0 * 5.0 / 20.0;
            f64::hypot(at[0], at[1])
        };
        first(behavior, seed).into_iter().map(step).collect()
    }

    #[test]
    fn a_crowd_stays_where_it_is_and_moves_all_the_time() {
        for seed in 0..20 {
            assert!(ways(Behavior::Crowd, seed).iter().all(|way| *way < 5.5));
            let inputs = first(Behavior::Crowd, seed);
            assert!(inputs.iter().all(|input| input.move_x != 0 || input.move_z != 0));
            let turns = inputs.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!((20..70).contains(&turns), "{turns}");
        }
    }

    #[test]
    fn a_fight_looks_elsewhere_in_nearly_every_tick_jumps_and_stays() {
        for seed in 0..20 {
            let inputs = first(Behavior::Fight, seed);
            let turns = inputs.windows(2).filter(|pair| pair[0].yaw != pair[1].yaw).count();
            let strafes = inputs.windows(2).filter(|pair| pair[0].move_x != pair[1].move_x).count();
            let jumps = inputs.iter().filter(|input| input.buttons & JUMP != 0).count();
            assert!(turns > 330 && strafes > 30 && (5..50).contains(&jumps), "{turns} {strafes} {jumps}");
            assert!(ways(Behavior::Fight, seed).iter().all(|way| *way < 4.0));
        }
    }

    #[test]
    fn only_churn_leaves() {
        assert!(Pilot::new(Behavior::Churn, Rng::new(1)).stay_ms().is_some());
        assert!(Pilot::new(Behavior::Wander, Rng::new(1)).stay_ms().is_none());
    }
}
