//! Shots that hit at once: rays and blades, at the moment that the shooter saw.

use super::aim::{aim, direction, eye, spread};
use super::damage::{Strike, Strikes};
use super::event::{Event, What};
use super::ground::Ground;
use super::hands::Shot;
use super::input::{Input, VIEW_PARTS};
use super::projectile::{Missile, axis_point_at, launch};
use super::rulebook::{Attack, BladeAttack, RayAttack, Weapon};
use super::schema::{DEAD, FLAGS, NPC, PLAYER, PROJECTILE, QUANTA_PER_M};
use super::{Hidden, Skirmish, is_target};
use crate::contact::RADIUS;
use crate::engine::Stage;
use crate::entity::EntityId;
use crate::frame::Frame;
use crate::movement::MAX_HORIZONTAL_SPEED_MPS;
use crate::ray::Ray;
use crate::rewind::{Hit, Moment, Struck};
use arrayvec::ArrayVec;
use core::f32::consts::TAU;
use glam::{Vec2, Vec3};
use netcode::schema::State;

const MAX_RAYS: usize = RayAttack::MAX_RAYS as usize;

/// A shot that is made in this tick.
#[derive(Clone, Copy)]
pub struct Fired {
    /// The row of who shoots.
    pub row: usize,
    /// Its state before this tick.
    pub state: State,
    /// What it wants.
    pub input: Input,
    /// With what.
    pub shot: Shot,
}

/// How far the others are set back for a shot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    /// What the shooter saw, or the oldest that it may be.
    pub moment: Moment,
    /// What it says it saw; without any compensation the same as `moment`.
    pub seen: Moment,
    /// How long before the tick of its input that was, ms.
    pub ms: u16,
}

impl Rewind {
    /// For an input of `tick` with that view, at most `max_ms` back.
    #[must_use]
    pub fn new(tick: u64, view: u16, rate_hz: u16, max_ms: u16) -> Self {
        let a_second = u32::from(rate_hz) * u32::from(VIEW_PARTS);
        let parts = u32::from(view).min(u32::from(max_ms) * a_second / 1000) as u16;
        let moment = Moment::before(tick, parts);
        let seen = if max_ms == 0 { moment } else { Moment::before(tick, view) };
        // Below `max_ms`, or the 100 ms and more that 2047 parts are.
        Self { moment, seen, ms: (u32::from(parts) * 1000 / a_second) as u16 }
    }
}

/// Makes all shots of a tick, in order of their rows.
pub fn step(stage: &mut Stage<'_, Skirmish>, ground: &Ground, max_rewind_ms: u16, strikes: &mut Strikes) {
    let fired = core::mem::take(&mut strikes.fired);
    for one in &fired {
        let id = stage.ids[one.row];
        let Some(weapon) = ground.book.weapon(one.shot.weapon) else { continue };
        let rewind = Rewind::new(stage.tick, one.input.view, stage.rate_hz, max_rewind_ms);
        let before = state_before(stage, id).unwrap_or(one.state);
        match &weapon.attack {
            Attack::Ray(_) | Attack::Blade(_) => {
                let from = eye(&before, &one.state, one.input.instant);
                let stroke = Stroke { id, from, input: one.input, rewind };
                stroke.make(stage, ground, weapon, strikes);
            }
            Attack::Projectile(flight) => {
                let state = launch(ground, stage.tick, id, &before, &one.state, &one.input, one.shot.weapon);
                let until = stage.tick + ground.ticks(flight.life_ms);
                let missile = Missile { owner: id, launched: stage.tick, until };
                // A full world swallows it.
                let _ = stage.spawn(PROJECTILE, state, Hidden::Projectile(missile));
            }
        }
    }
    strikes.fired = fired;
    strikes.fired.clear();
}

/// The state of an entity one step before the newest frame.
fn state_before(stage: &Stage<'_, Skirmish>, id: EntityId) -> Option<State> {
    let frame = stage.past.get(stage.past.newest()?.prev)?;
    Some(*frame.state(frame.row(id)?))
}

/// One shot that hits at once.
struct Stroke {
    id: EntityId,
    from: [f32; 3],
    input: Input,
    rewind: Rewind,
}

impl Stroke {
    fn make(&self, stage: &mut Stage<'_, Skirmish>, ground: &Ground, weapon: &Weapon, strikes: &mut Strikes) {
        let mut hits: ArrayVec<(usize, i32), MAX_RAYS> = ArrayVec::new();
        match &weapon.attack {
            Attack::Ray(rays) => self.rays(stage, ground, rays, weapon.damage, &mut hits),
            Attack::Blade(blade) => {
                hits.extend(self.blade(stage, ground, blade, strikes).map(|row| (row, weapon.damage)));
            }
            Attack::Projectile(_) => {}
        }
        for ((victim, damage), ordinal) in hits.iter().copied().zip(0..) {
            let (shot, rewound_ms) = (Some((stage.tick, ordinal)), self.rewind.ms);
            strikes.all.push(Strike { attacker: self.id, victim, damage, shot, rewound_ms });
        }
        if hits.is_empty() {
            let what = What::Shot { target: None, damage: 0, killed: false, rewound_ms: self.rewind.ms };
            stage.events.push((self.id, Event { tick: stage.tick, ordinal: 0, what }));
        }
    }

    /// All rays of a shot; whom several hit is hit once, by their sum.
    fn rays(
        &self,
        stage: &Stage<'_, Skirmish>,
        ground: &Ground,
        attack: &RayAttack,
        damage: i32,
        hits: &mut ArrayVec<(usize, i32), MAX_RAYS>,
    ) {
        let middle = aim(&self.input);
        let may_hit = |frame: &Frame, row: usize| is_target(ground, frame.kind(row), frame.state(row));
        for number in 0..attack.rays {
            let direction = spread(middle, attack.spread_deg, self.id.raw(), stage.tick, number);
            // Nobody is below the ground: most rays need not be looked at in all their length.
            let ground_at = if direction.y < 0.0 { self.from[1] / -direction.y } else { f32::INFINITY };
            let reach = (attack.range_m * QUANTA_PER_M as f32).min(ground_at.max(0.0));
            let ray = Ray { from: self.from, direction, reach };
            let hit = stage.past.cast(self.rewind.moment, &ray, &ground.statics, self.id, may_hit);
            let Some(Hit { what: Struck::Body(victim), at }) = hit else { continue };
            if self.was_hidden(ground, &Ray { reach: at, ..ray }) {
                continue;
            }
            // Who has left since is missed.
            let Some(victim) = stage.row(victim) else { continue };
            match hits.iter_mut().find(|(other, _)| *other == victim) {
                Some((_, sum)) => *sum += damage,
                // There are no more victims than rays.
                None => drop(hits.try_push((victim, damage))),
            }
        }
    }

    /// Whether a solid was in the way when the shooter looked, if others are not set back as far as that: nobody hits
    /// through a gate that it saw closed.
    fn was_hidden(&self, ground: &Ground, ray: &Ray) -> bool {
        self.rewind.seen != self.rewind.moment
            && ground.statics.cast(ray, self.rewind.seen).is_some_and(|at| at < ray.reach)
    }

    /// The row of the nearest body that a blade reaches.
    fn blade(
        &self,
        stage: &Stage<'_, Skirmish>,
        ground: &Ground,
        attack: &BladeAttack,
        strikes: &mut Strikes,
    ) -> Option<usize> {
        let frame = stage.past.newest()?;
        let metres = 1.0 / QUANTA_PER_M as f32;
        let reach = attack.reach_m * QUANTA_PER_M as f32 + RADIUS as f32;
        // Bodies are looked for where they are now, which may be as far off as they walk while they are set back.
        let walked = MAX_HORIZONTAL_SPEED_MPS * (f32::from(self.rewind.ms) / 1000.0 + 2.0 / f32::from(stage.rate_hz));
        frame.query([self.from[0] * metres, self.from[2] * metres], reach * metres + walked, &mut strikes.rows);
        let narrowest = libm::cosf(attack.arc_deg * (TAU / 720.0));
        let ahead = flat(direction(self.input.yaw, 0));
        let mut nearest: Option<(f32, usize)> = None;
        for row in strikes.rows.iter().map(|row| *row as usize) {
            let id = frame.id(row);
            if id == self.id || !is_target(ground, frame.kind(row), frame.state(row)) {
                continue;
            }
            let Some(feet) = stage.past.place(self.rewind.moment, id) else { continue };
            let point = axis_point_at(feet, self.from[1]);
            let way = Vec3::from_array(point) - Vec3::from_array(self.from);
            let (distance, side) = (way.length(), flat(way));
            let before = side.length() <= RADIUS as f32 || side.dot(ahead) >= narrowest * side.length();
            if distance > reach || !before || nearest.is_some_and(|(least, _)| least <= distance) {
                continue;
            }
            let hidden = self.was_hidden(ground, &Ray::between(self.from, point));
            if !hidden && ground.sees(self.from, point, self.rewind.moment) {
                nearest = stage.row(id).map(|row| (distance, row)).or(nearest);
            }
        }
        nearest.map(|(_, row)| row)
    }
}

fn flat(way: Vec3) -> Vec2 {
    Vec2::new(way.x, way.z)
}

/// Whether a body can be struck at all: of a kind that lives, and alive.
#[must_use]
pub fn lives(kind: u8, state: &State) -> bool {
    (kind == PLAYER || kind == NPC) && state[FLAGS] & DEAD == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewind_is_clamped_and_says_how_far_it_went() {
        let at = |view, max| {
            let Rewind { moment, ms, .. } = Rewind::new(100, view, 20, max);
            (moment.tick, moment.share, ms)
        };
        assert_eq!(at(80, 250), (97, 16, 125));
        assert_eq!(at(2047, 250), (95, 0, 250));
        assert_eq!(at(80, 0), (100, 0, 0));
        assert_eq!(at(1, 250), (99, 31, 1));
        assert_eq!(Rewind::new(1, 2047, 10, 400).moment.tick, 0);
    }
}
