//! Projectiles: launched in the present, moving on as anybody can foresee, until they meet something or burst.

use super::aim::{aim, eye, feet};
use super::damage::{Strike, Strikes};
use super::event::{Event, What};
use super::ground::Ground;
use super::input::Input;
use super::rulebook::{Attack, ProjectileAttack};
use super::schema::{
    FLAGS, GROUNDED, LAUNCHED, LAUNCHED_TURN, OWNER, PLAYER, PROJECTILE, QUANTA_PER_M, SCHEMA, VELOCITY_QUANTA, VX, VY,
    VZ, WEAPON_SHIFT, X, Y, YAW, Z, weapon,
};
use super::{Hidden, Skirmish, is_target};
use crate::contact::{HEIGHT, RADIUS};
use crate::engine::Stage;
use crate::entity::EntityId;
use crate::movement::{MAX_HEIGHT_M, shown_yaw};
use crate::ray::{Ray, body_hit};
use crate::rewind::Moment;
use glam::Vec3;
use netcode::schema::{State, extrapolate};

/// How far anybody can have gone since the newest frame, m, rounded up.
const ELSEWHERE_M: f32 = 1.0;
/// How far before a wall a projectile bursts (1/256 m), so that the wall does not hide everybody from it.
const SKIN: f32 = 4.0;

/// What a projectile remembers unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missile {
    /// Who launched it.
    pub owner: EntityId,
    /// The tick of the input that launched it.
    pub launched: u64,
    /// The tick in which it bursts, wherever it is.
    pub until: u64,
}

impl Missile {
    pub(super) fn fold(&self, word: &mut impl FnMut(u64)) {
        word(u64::from(self.owner.raw()));
        word(self.launched);
        word(self.until);
    }
}

/// The first state of a projectile, that after the tick of the input. `before` and `state` are the player's after the two
/// ticks before ([`super::aim::eye`]). For weapons that launch nothing it stands still.
#[must_use]
pub fn launch(
    ground: &Ground,
    tick: u64,
    id: EntityId,
    before: &State,
    state: &State,
    input: &Input,
    weapon: u8,
) -> State {
    let mut out = State::default();
    let round = |value: f32| (value + 0.5).floor() as i32;
    [out[X], out[Y], out[Z]] = eye(before, state, input.instant).map(round);
    out[YAW] = shown_yaw(input.yaw);
    out[FLAGS] = i32::from(weapon) << WEAPON_SHIFT;
    if let Some(Attack::Projectile(flight)) = ground.book.weapon(weapon).map(|weapon| &weapon.attack) {
        let velocity = aim(input) * (flight.speed_mps * VELOCITY_QUANTA as f32);
        [out[VX], out[VY], out[VZ]] = velocity.to_array().map(round);
        out[FLAGS] |= if flight.falls { 0 } else { GROUNDED };
    }
    out[OWNER] = (id.raw() & ((1 << 28) - 1)) as i32;
    out[LAUNCHED] = (tick % LAUNCHED_TURN) as i32;
    out
}

/// One tick of a projectile among what stands around; `None` where it meets something, or leaves the world.
#[must_use]
pub fn fly(ground: &Ground, tick: u64, state: &State) -> Option<State> {
    let flight = Flight::new(ground, tick, state);
    flight.wall.is_none().then_some(flight.next)
}

/// One tick's way.
struct Flight {
    /// The state after it, if nothing is in the way.
    next: State,
    from: Vec3,
    /// Of length 1; zero for one that does not move.
    direction: Vec3,
    length: f32,
    /// How far along it something static is.
    wall: Option<f32>,
}

impl Flight {
    fn new(ground: &Ground, tick: u64, state: &State) -> Self {
        let kind = &SCHEMA.kinds[usize::from(PROJECTILE)];
        let next = extrapolate(kind, ground.rate_hz, 1, state);
        let (from, to) = (feet(state), feet(&next));
        let way = Vec3::from_array(to) - Vec3::from_array(from);
        let length = way.length();
        let direction = if length > 0.0 { way / length } else { Vec3::ZERO };
        let edge = ground.half_extent;
        let outside = next[X].abs() > edge || next[Z].abs() > edge || next[Y] > MAX_HEIGHT_M * QUANTA_PER_M;
        // What leaves the world bursts where it does, about.
        let wall = ground.wall(from, to, Moment::after(tick)).or(outside.then_some(length));
        Self { next, from: Vec3::from_array(from), direction, length, wall }
    }

    fn at(&self, along: f32) -> Vec3 {
        self.from + self.direction * along
    }
}

/// Moves all projectiles and lets those that end strike.
pub fn step(stage: &mut Stage<'_, Skirmish>, ground: &Ground, strikes: &mut Strikes) {
    for row in 0..stage.ids.len() {
        if stage.kinds[row] != PROJECTILE {
            continue;
        }
        let Hidden::Projectile(missile) = stage.hidden[row] else { continue };
        let flight = Flight::new(ground, stage.tick, &stage.states[row]);
        let met = meet(stage, ground, &missile, &flight, &mut strikes.rows);
        if met.is_none() && flight.wall.is_none() && stage.tick < missile.until {
            stage.states[row] = flight.next;
            continue;
        }
        let along = match met {
            Some((_, along)) => along,
            None => flight.wall.map_or(flight.length, |wall| (wall - SKIN).max(0.0)),
        };
        let burst = Burst { missile, at: flight.at(along), direct: met.map(|(row, _)| row) };
        burst.strike(stage, ground, weapon(&stage.states[row]), strikes);
        stage.despawn(stage.ids[row]);
    }
}

/// The first body on its way before any wall, and how far along that is.
fn meet(
    stage: &Stage<'_, Skirmish>,
    ground: &Ground,
    missile: &Missile,
    flight: &Flight,
    rows: &mut Vec<u32>,
) -> Option<(usize, f32)> {
    let reach = flight.wall.unwrap_or(flight.length);
    let ray = Ray { from: flight.from.to_array(), direction: flight.direction, reach };
    near(stage, flight.at(reach / 2.0), reach / 2.0, rows);
    let mut first: Option<(usize, f32)> = None;
    for row in rows.iter().map(|row| *row as usize) {
        if stage.ids[row] == missile.owner || !is_target(ground, stage.kinds[row], &stage.states[row]) {
            continue;
        }
        if let Some(at) = body_hit(&ray, feet(&stage.states[row]))
            && first.is_none_or(|(_, nearest)| at < nearest)
        {
            first = Some((row, at));
        }
    }
    first
}

/// Replaces `rows` by those of everybody whose body may be within `radius` (1/256 m) of a place, ascending.
fn near(stage: &Stage<'_, Skirmish>, place: Vec3, radius: f32, rows: &mut Vec<u32>) {
    rows.clear();
    let Some(frame) = stage.past.newest() else { return };
    let metres = 1.0 / QUANTA_PER_M as f32;
    let radius = (radius + RADIUS as f32) * metres + ELSEWHERE_M;
    frame.query([place.x * metres, place.z * metres], radius, rows);
    // Rows of that frame are rows of now, but for who came and went since.
    rows.retain_mut(|row| {
        let id = frame.id(*row as usize);
        if stage.ids.get(*row as usize) == Some(&id) {
            return true;
        }
        let now = stage.row(id);
        *row = now.unwrap_or(0) as u32;
        now.is_some()
    });
}

/// The end of a projectile.
struct Burst {
    missile: Missile,
    at: Vec3,
    /// The row of whom it hit.
    direct: Option<usize>,
}

impl Burst {
    fn strike(&self, stage: &mut Stage<'_, Skirmish>, ground: &Ground, number: u8, strikes: &mut Strikes) {
        let Some(weapon) = ground.book.weapon(number) else { return };
        let Attack::Projectile(attack) = &weapon.attack else { return };
        let Missile { owner, launched, .. } = self.missile;
        let mut ordinal = 0;
        let mut hit = |victim: usize, damage: i32| {
            strikes.all.push(Strike {
                attacker: owner,
                victim,
                damage,
                shot: Some((launched, ordinal)),
                rewound_ms: 0,
            });
            ordinal = ordinal.saturating_add(1);
        };
        if let Some(victim) = self.direct {
            hit(victim, weapon.damage);
        }
        if attack.splash_m > 0.0 {
            near(stage, self.at, attack.splash_m * QUANTA_PER_M as f32, &mut strikes.rows);
            for row in strikes.rows.iter().map(|row| *row as usize) {
                let damage = if Some(row) == self.direct { 0 } else { self.splash(stage, ground, attack, row) };
                if damage > 0 {
                    hit(row, damage);
                }
            }
        }
        if ordinal == 0 && stage.row(owner).is_some() {
            let what = What::Shot { target: None, damage: 0, killed: false, rewound_ms: 0 };
            stage.events.push((owner, Event { tick: launched, ordinal: 0, what }));
        }
    }

    /// What the splash takes of the body of a row: nothing where a wall is between.
    fn splash(&self, stage: &Stage<'_, Skirmish>, ground: &Ground, attack: &ProjectileAttack, row: usize) -> i32 {
        let (kind, state) = (stage.kinds[row], &stage.states[row]);
        let own = stage.ids[row] == self.missile.owner;
        if !own && !is_target(ground, kind, state) || own && kind != PLAYER {
            return 0;
        }
        let nearest = axis_point(state, self.at.y);
        let radius = attack.splash_m * QUANTA_PER_M as f32;
        let distance = ((Vec3::from_array(nearest) - self.at).length() - RADIUS as f32).max(0.0);
        if distance >= radius || !ground.sees(self.at.to_array(), nearest, Moment::after(stage.tick)) {
            return 0;
        }
        let damage = (attack.splash_damage as f32 * (radius - distance) / radius) as i32;
        if own { damage * ground.book.player.hurts_itself_percent as i32 / 100 } else { damage }
    }
}

/// The point of a body's axis that is nearest to that height (1/256 m).
#[must_use]
pub fn axis_point(state: &State, y: f32) -> [f32; 3] {
    axis_point_at(feet(state), y)
}

/// The same of a body with its feet there.
#[must_use]
pub fn axis_point_at([x, low, z]: [f32; 3], y: f32) -> [f32; 3] {
    [x, y.clamp(low + RADIUS as f32, low + (HEIGHT - RADIUS) as f32), z]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::input::PITCH_UP;
    use crate::game::player;
    use crate::game::rulebook::Rulebook;
    use crate::game::schema::in_range;
    use crate::map::{Map, StaticBox};

    const ROCKET: u8 = 2;
    const MORTAR: u8 = 3;

    fn ground() -> Ground {
        let wall = StaticBox { min: [-500, 0, 2560], max: [500, 1024, 2600] };
        Ground::new(&Map::from_boxes(32, &[wall]), 20, Rulebook::standard())
    }

    fn launched(ground: &Ground, weapon: u8, yaw: u16, pitch: i16) -> State {
        let state = player::fresh(&ground.book, [0; 2]);
        let id = EntityId::from_raw(7 << 12 | 1).unwrap();
        let input = Input { yaw, pitch, instant: 15, ..Input::default() };
        launch(ground, 5000, id, &state, &state, &input, weapon)
    }

    #[test]
    fn a_rocket_flies_straight_on_until_the_wall() {
        let ground = ground();
        let mut state = launched(&ground, ROCKET, 0, 0);
        assert_eq!((state[LAUNCHED], state[OWNER]), (904, 7 << 12 | 1));
        assert!(in_range(PROJECTILE, &state));
        let mut ticks = 0;
        while let Some(next) = fly(&ground, 5001 + ticks, &state) {
            assert_eq!((next[Z] - state[Z], next[Y]), (384, state[Y]));
            (state, ticks) = (next, ticks + 1);
        }
        // 30 m/s make 1.5 m a tick, and the wall is 10 m away.
        assert_eq!(ticks, 6);
    }

    #[test]
    fn a_mortar_falls_and_ends_on_the_ground() {
        let ground = ground();
        let mut state = launched(&ground, MORTAR, 1 << 15, 1 << 13);
        let mut top = 0;
        for tick in 5001..5100 {
            let Some(next) = fly(&ground, tick, &state) else { break };
            assert!(in_range(PROJECTILE, &next) && next[Y] >= 0);
            (top, state) = (top.max(next[Y]), next);
        }
        // 22 m/s at 45° against 20 m/s²: 6 m up from the eye, and some 25 m away.
        assert!((1700..2100).contains(&top), "{top}");
        assert!((-6900..-5900).contains(&state[Z]), "{}", state[Z]);
    }

    #[test]
    fn every_direction_and_weapon_stays_in_range_until_it_ends() {
        let ground = ground();
        for weapon in 0..8 {
            for (yaw, pitch) in [(0, PITCH_UP), (9999, -PITCH_UP), (40_000, 20), (50_000, i16::MIN), (1, i16::MAX)] {
                let mut state = launched(&ground, weapon, yaw, pitch);
                for tick in 5001..5400 {
                    assert!(in_range(PROJECTILE, &state), "{weapon} {yaw} {pitch}: {state:?}");
                    let Some(next) = fly(&ground, tick, &state) else { break };
                    state = next;
                }
            }
        }
    }
}
