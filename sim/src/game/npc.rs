//! What NPCs have in mind: wander around home, hunt whom they see or who hurt them, go home when that leads too far.
//!
//! An NPC thinks rarely, each at ticks of its own, and in between walks straight on at a constant velocity, which costs
//! the network nothing. All luck is drawn from `(seed, tick, entity)` alone.

use super::aim::eye_of;
use super::damage::{Strike, Strikes};
use super::ground::Ground;
use super::projectile::axis_point;
use super::rulebook::Npc;
use super::schema::{ARCHETYPE, DEAD, FLAGS, HEALTH, NPC, PLAYER, QUANTA_PER_M, SHIELDED, X, Y, YAW, YAW_TURN, Z};
use super::shots::lives;
use super::{Hidden, Skirmish};
use crate::contact::RADIUS;
use crate::engine::Stage;
use crate::entity::EntityId;
use crate::rewind::Moment;
use crate::rng::{Stream, below, draw};
use glam::Vec2;
use netcode::schema::State;

/// Thoughts a second of one that hunts or goes home.
const BUSY_THOUGHTS_PER_S: u64 = 4;
/// Looks around a second of one that wanders.
const LOOKS_PER_S: u64 = 2;
/// Home is where it is nearer than this to it, m.
const HOME_M: f32 = 1.5;

/// What an NPC remembers unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mind {
    /// x and z of where it belongs, position quanta.
    pub home: [i32; 2],
    /// The velocity that it wants, m/s along x and z.
    pub heading: Vec2,
    /// What it is about.
    pub mode: Mode,
    /// The tick in which it thinks again.
    pub next: u64,
    /// The tick in which its leg or pause ends; of one that is dead, in which it comes back.
    pub until: u64,
    /// The tick from which on it may attack again.
    pub ready: u64,
    /// x and z of where it was when it last thought.
    pub last: [i32; 2],
}

/// What an NPC is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It wanders around its home, and looks for prey.
    #[default]
    Wander,
    /// It hunts somebody.
    Hunt(EntityId),
    /// It goes home and minds nobody.
    Return,
}

impl Mind {
    /// Of one at home that thinks in its first tick.
    #[must_use]
    pub fn at(home: [i32; 2]) -> Self {
        Self { home, last: home, ..Self::default() }
    }

    /// Somebody hurt it.
    pub(super) fn provoke(&mut self, by: EntityId, is_player: bool) {
        if is_player && self.mode == Mode::Wander {
            (self.mode, self.next) = (Mode::Hunt(by), 0);
        }
    }

    pub(super) fn fold(&self, word: &mut impl FnMut(u64)) {
        let pair = |[low, high]: [u32; 2]| u64::from(low) << 32 | u64::from(high);
        word(pair(self.home.map(|value| value as u32)));
        word(pair([self.heading.x.to_bits(), self.heading.y.to_bits()]));
        word(match self.mode {
            Mode::Wander => 0,
            Mode::Return => 1,
            Mode::Hunt(prey) => 2 | u64::from(prey.raw()) << 2,
        });
        [self.next, self.until, self.ready].into_iter().for_each(&mut *word);
        word(pair(self.last.map(|value| value as u32)));
    }
}

/// Lets all NPCs think whose time it is; their attacks are among the strikes.
pub fn step(stage: &mut Stage<'_, Skirmish>, ground: &Ground, strikes: &mut Strikes) {
    for row in 0..stage.ids.len() {
        let Hidden::Npc(mind) = stage.hidden[row] else { continue };
        if stage.kinds[row] != NPC || stage.tick < mind.next || stage.states[row][FLAGS] & DEAD != 0 {
            continue;
        }
        let Some(kind) = ground.book.npc(stage.states[row][ARCHETYPE]) else { continue };
        let mut thought = Thought { row, kind, mind, ground, turn: None, healed: false };
        thought.think(stage, strikes);
        let Thought { mut mind, turn, healed, .. } = thought;
        mind.last = place(&stage.states[row]);
        stage.hidden[row] = Hidden::Npc(mind);
        if let Some(yaw) = turn {
            stage.states[row][YAW] = yaw;
        }
        if healed {
            stage.states[row][HEALTH] = kind.health;
        }
    }
}

/// One NPC's thought.
struct Thought<'a> {
    row: usize,
    kind: &'a Npc,
    mind: Mind,
    ground: &'a Ground,
    /// Where it turns without walking there, 1/4096 turn.
    turn: Option<i32>,
    /// It came home, and is whole again.
    healed: bool,
}

impl Thought<'_> {
    fn think(&mut self, stage: &Stage<'_, Skirmish>, strikes: &mut Strikes) {
        if self.mind.mode == Mode::Wander {
            self.look_around(stage, strikes);
        }
        match self.mind.mode {
            Mode::Wander => self.wander(stage),
            Mode::Hunt(prey) => self.hunt(stage, prey, strikes),
            Mode::Return => self.go_home(stage),
        }
    }

    /// Looks for the nearest player in sight.
    fn look_around(&mut self, stage: &Stage<'_, Skirmish>, strikes: &mut Strikes) {
        let Some(frame) = stage.past.newest().filter(|_| self.kind.sight_m > 0.0) else { return };
        let state = &stage.states[self.row];
        let here = place(state);
        frame.query(here.map(|quanta| quanta as f32 / QUANTA_PER_M as f32), self.kind.sight_m, &mut strikes.rows);
        let prey = strikes.rows.iter().map(|row| *row as usize).filter(|row| {
            let flags = frame.state(*row)[FLAGS];
            frame.kind(*row) == PLAYER && flags & (DEAD | SHIELDED) == 0
        });
        let square = |row: &usize| way(here, place(frame.state(*row))).length_squared();
        // Of equally near ones the first.
        let nearest = prey.min_by(|one, other| square(one).total_cmp(&square(other)));
        let Some(prey) = nearest else { return };
        if self.ground.sees(eye_of(state), eye_of(frame.state(prey)), Moment::after(stage.tick)) {
            self.mind.mode = Mode::Hunt(frame.id(prey));
        }
    }

    /// After a leg a pause of 1 to 4 s, after a pause a leg to somewhere near home.
    fn wander(&mut self, stage: &Stage<'_, Skirmish>) {
        let (tick, rate) = (stage.tick, u32::from(stage.rate_hz));
        if tick >= self.mind.until {
            let bits = draw(stage.seed, Stream::Wander, tick, stage.ids[self.row].raw());
            let range = (self.kind.roam_m * QUANTA_PER_M as f32) as i32;
            let offset = |bits: u64| below(bits, range as u32 * 2) as i32 - range;
            let goal = [self.mind.home[0] + offset(bits), self.mind.home[1] + offset(bits << 32)];
            let way = way(place(&stage.states[self.row]), goal) / QUANTA_PER_M as f32;
            let length = way.length();
            if self.mind.heading != Vec2::ZERO || length < 1.0 {
                self.mind.heading = Vec2::ZERO;
                self.mind.until = tick + u64::from(rate + below(bits << 16, 3 * rate));
            } else {
                self.mind.heading = way * (self.kind.speed_mps / length);
                self.mind.until = tick + (length / self.kind.speed_mps * rate as f32) as u64 + 1;
            }
        }
        let look = if self.kind.sight_m > 0.0 { self.pause(stage, LOOKS_PER_S) } else { u64::MAX };
        self.mind.next = look.min(self.mind.until);
    }

    fn hunt(&mut self, stage: &Stage<'_, Skirmish>, prey: EntityId, strikes: &mut Strikes) {
        let row = stage.row(prey).filter(|row| stage.kinds[*row] == PLAYER);
        let Some(row) = row.filter(|row| lives(PLAYER, &stage.states[*row])) else { return self.give_up(stage) };
        let (state, prey_state) = (&stage.states[self.row], &stage.states[row]);
        let (here, there) = (place(state), place(prey_state));
        let metres = |quanta: f32| quanta / QUANTA_PER_M as f32;
        let beyond = |place, limit_m: f32| metres(way(self.mind.home, place).length()) > limit_m;
        let farthest = self.kind.sight_m.max(self.kind.reach_m) * 1.5 + self.kind.leash_m;
        if beyond(here, self.kind.leash_m) || beyond(there, farthest) {
            return self.give_up(stage);
        }
        self.mind.next = self.pause(stage, BUSY_THOUGHTS_PER_S);
        let eye = eye_of(state);
        let flat = way(here, there);
        let gap = (flat.length_squared() + square((prey_state[Y] - state[Y]) as f32)).sqrt() - RADIUS as f32;
        let skin = axis_point(prey_state, eye[1]);
        if metres(gap) <= self.kind.reach_m && self.ground.sees(eye, skin, Moment::after(stage.prev)) {
            self.mind.heading = Vec2::ZERO;
            self.turn = Some(yaw_of(flat).rem_euclid(YAW_TURN));
            self.attack(stage, row, strikes);
        } else {
            self.head(stage, flat);
        }
    }

    fn attack(&mut self, stage: &Stage<'_, Skirmish>, victim: usize, strikes: &mut Strikes) {
        if stage.tick < self.mind.ready {
            return;
        }
        self.mind.ready = stage.tick + self.ground.ticks(self.kind.cooldown_ms);
        let attacker = stage.ids[self.row];
        let luck = below(draw(stage.seed, Stream::Attack, stage.tick, attacker.raw()), 100);
        if luck < self.kind.hit_percent {
            strikes.all.push(Strike { attacker, victim, damage: self.kind.damage, shot: None, rewound_ms: 0 });
        }
    }

    fn give_up(&mut self, stage: &Stage<'_, Skirmish>) {
        self.mind.mode = Mode::Return;
        self.go_home(stage);
    }

    fn go_home(&mut self, stage: &Stage<'_, Skirmish>) {
        let way = way(place(&stage.states[self.row]), self.mind.home);
        if way.length() <= HOME_M * QUANTA_PER_M as f32 {
            self.healed = true;
            let Mind { home, ready, .. } = self.mind;
            // It pauses first, as after a leg.
            self.mind = Mind { ready, until: stage.tick + u64::from(stage.rate_hz), ..Mind::at(home) };
            self.mind.next = self.pause(stage, LOOKS_PER_S);
            return;
        }
        self.mind.next = self.pause(stage, BUSY_THOUGHTS_PER_S);
        self.head(stage, way);
    }

    /// Goes that way as fast as it hunts; past what is in the way, if it hardly moved since it last thought.
    fn head(&mut self, stage: &Stage<'_, Skirmish>, way: Vec2) {
        let length = way.length();
        if length < 1.0 {
            self.mind.heading = Vec2::ZERO;
            return;
        }
        let moved = self::way(self.mind.last, place(&stage.states[self.row])).length() / QUANTA_PER_M as f32;
        let stuck = self.mind.heading != Vec2::ZERO && moved < 0.25 * self.kind.chase_mps / BUSY_THOUGHTS_PER_S as f32;
        let ahead = way / length;
        let bits = draw(stage.seed, Stream::Wander, stage.tick, stage.ids[self.row].raw());
        // 72° to one side.
        let side = if bits & 1 == 0 { ahead.perp() } else { -ahead.perp() };
        let direction = if stuck { ahead * 0.3 + side * 0.95 } else { ahead };
        self.mind.heading = direction * (self.kind.chase_mps / direction.length());
    }

    /// The next of its own ticks at which it does something so many times a second.
    fn pause(&self, stage: &Stage<'_, Skirmish>, per_s: u64) -> u64 {
        let period = (u64::from(stage.rate_hz) / per_s).max(1);
        let phase = (stage.tick + u64::from(stage.ids[self.row].index())) % period;
        stage.tick + period - phase
    }
}

/// x and z of a state (1/256 m).
const fn place(state: &State) -> [i32; 2] {
    [state[X], state[Z]]
}

/// From one place to another (1/256 m).
fn way(from: [i32; 2], to: [i32; 2]) -> Vec2 {
    // Exact: 22 bits fit a float's 24.
    Vec2::new((to[0] - from[0]) as f32, (to[1] - from[1]) as f32)
}

fn square(value: f32) -> f32 {
    value * value
}

/// The direction of a velocity, 1/4096 turn from +z towards +x.
pub(super) fn yaw_of(heading: Vec2) -> i32 {
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
    fn only_players_provoke_and_only_those_who_do_not_go_home() {
        let id = EntityId::from_raw(5 << 12 | 1).unwrap();
        let mut mind = Mind::at([0; 2]);
        mind.provoke(id, false);
        assert_eq!(mind.mode, Mode::Wander);
        mind.provoke(id, true);
        assert_eq!(mind.mode, Mode::Hunt(id));
        mind.mode = Mode::Return;
        mind.provoke(id, true);
        assert_eq!(mind.mode, Mode::Return);
    }
}
