//! How a body moves in one tick: steering, gravity, jump, slide along solids, steps and slopes, rounding.
//!
//! One function, [`advance`], from integers to integers: the server steps the world with it and a client may
//! predict with it, and both get the same bits. It uses `+ - * /` and `sqrt` alone, on floats that are exact
//! wherever a body stands, walks, flies or leans on a face. Gravity and the way that a velocity makes in a tick are
//! the rounded integers of [`netcode::schema::extrapolate`], so that who only watches can guess them.
//!
//! Who is on the ground and does not jump walks: what carries it follows from where it is ([`crate::support`]), and on
//! a slope its velocity says how fast it climbs. All others fly: gravity pulls, and solids push them out.

use crate::config::MIN_RATE_HZ;
use crate::contact::{Mover, Obstacle, RADIUS, deeper_than};
use crate::game::stamina;
use crate::gate::MAX_GATE_SPEED;
use crate::input::{Input, JUMP, SPRINT};
use crate::ramp::Slope;
use crate::schema::{
    FLAGS, GROUNDED, QUANTA_PER_M, QUANTA_PER_VELOCITY, SPRINTING, STAMINA, VELOCITY_QUANTA, VX, VY, VZ, X, Y, YAW,
    YAW_TURN, Z,
};
use crate::statics::{Shape, Solid, Statics};
use crate::support::{Floor, STEP, footing};
use glam::{Vec2, Vec3};
use netcode::schema::State;

/// Full speed without sprint, m/s.
pub const WALK_SPEED_MPS: f32 = 5.0;
/// Full speed with sprint, m/s.
pub const SPRINT_SPEED_MPS: f32 = 7.5;
/// Nobody's horizontal velocity exceeds this, m/s.
pub const MAX_HORIZONTAL_SPEED_MPS: f32 = SPRINT_SPEED_MPS;
/// Nobody falls faster, m/s.
pub const MAX_FALL_SPEED_MPS: f32 = 30.0;
/// Velocity upwards at a jump, m/s: about 1.1 m high.
pub const JUMP_SPEED_MPS: f32 = 7.0;
/// Gravity, m/s²: twice the real one, since real jumps feel like floating.
pub const GRAVITY_MPS2: f32 = 20.0;
/// How fast velocity follows the intent on the ground, m/s².
pub const GROUND_ACCELERATION_MPS2: f32 = 50.0;
/// How fast velocity follows the intent in the air, m/s².
pub const AIR_ACCELERATION_MPS2: f32 = 10.0;
/// Feet never get higher, m.
pub const MAX_HEIGHT_M: i32 = 500;

/// The longest way (quanta) between two looks at the solids: half a radius, so that the capsule's segment
/// never enters a box, however thin.
const SUBSTEP: f32 = RADIUS as f32 / 2.0;
/// A gate comes first: it must not reach the segment before the next look either.
const _: () = assert!(MAX_GATE_SPEED * QUANTA_PER_VELOCITY / MIN_RATE_HZ as i32 + RADIUS / 2 < RADIUS);
/// Rounds of pushing per substep; two faces of a corner need one, a body between two boxes never ends.
const PUSH_ROUNDS: u32 = 4;
/// How far beyond its own motion solids that stand still may push a body sideways in one tick, in quanta.
const MAX_PUSH: i32 = RADIUS / 2;
/// And how far gates may: who is inside one is out of it in a few ticks.
pub const MAX_SHOVE: i32 = 2 * RADIUS;
/// How deep in a solid that stands still rounding may leave a body, in quanta.
pub const MAX_DEPTH: i32 = 1;

/// What a body wants in one tick, and what the tick asks of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Intent {
    /// The velocity it wants along x and z, m/s, at most [`MAX_HORIZONTAL_SPEED_MPS`] long.
    pub wish: Vec2,
    /// Where it looks, 1/4096 turn.
    pub yaw: i32,
    /// Jump if grounded.
    pub jump: bool,
    /// It sprints: shown, and paid for in stamina.
    pub sprint: bool,
    /// Stamina makes a step in this tick ([`stamina::beat`]); never for what has none.
    pub beat: bool,
}

impl Intent {
    /// Stand still and keep looking there.
    #[must_use]
    pub fn idle(yaw: i32) -> Self {
        Self { yaw, ..Self::default() }
    }

    /// What a player's input means in that state: a diagonal is no faster than an axis, and without stamina there is
    /// no sprint. `beat` is left to the caller.
    #[must_use]
    pub fn from_input(input: Input, state: &State) -> Self {
        let input = input.clamped();
        let share = Vec2::new(f32::from(input.move_x), f32::from(input.move_z)) / 15.0;
        let share = share / share.length().max(1.0);
        let sprint = input.buttons & SPRINT != 0 && share != Vec2::ZERO && stamina::may_sprint(state);
        let speed = if sprint { SPRINT_SPEED_MPS } else { WALK_SPEED_MPS };
        let (yaw, jump) = (shown_yaw(input.yaw), input.buttons & JUMP != 0);
        Self { wish: share * speed, yaw, jump, sprint, beat: false }
    }
}

/// A direction of an input (1/65536 turn) as others are shown it (1/4096 turn).
#[must_use]
pub const fn shown_yaw(yaw: u16) -> i32 {
    (yaw >> 4) as i32
}

/// The constants of movement at one tick rate and on one map.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    rate: i32,
    half_extent: i32,
    /// Position quanta a tick in one velocity quantum, and in 1 m/s.
    travel: f32,
    full: f32,
    /// Velocity quanta that gravity takes each tick.
    gravity: i32,
    ground_step: f32,
    air_step: f32,
    /// The most quanta that a gate moves in a tick.
    gate_step: i32,
}

impl Rules {
    /// The rules at `rate_hz` on a map of that half extent (position quanta).
    #[must_use]
    pub fn new(rate_hz: u16, half_extent: i32) -> Self {
        let rate = f32::from(rate_hz);
        let step = |acceleration: f32| acceleration * QUANTA_PER_M as f32 / (rate * rate);
        Self {
            rate: i32::from(rate_hz),
            half_extent,
            travel: QUANTA_PER_VELOCITY as f32 / rate,
            full: QUANTA_PER_M as f32 / rate,
            gravity: per_tick(GRAVITY_MPS2 as i32 * VELOCITY_QUANTA, i32::from(rate_hz)),
            ground_step: step(GROUND_ACCELERATION_MPS2),
            air_step: step(AIR_ACCELERATION_MPS2),
            gate_step: MAX_GATE_SPEED * QUANTA_PER_VELOCITY / i32::from(rate_hz),
        }
    }
}

/// What an amount a second makes in a tick, rounded as the schema's predictors do.
const fn per_tick(amount: i32, rate: i32) -> i32 {
    (amount + rate / 2).div_euclid(rate)
}

/// Whether a body does nothing by itself: it stands still and wants to.
#[must_use]
pub fn rests(state: &State, intent: &Intent) -> bool {
    let still = state[VX] == 0 && state[VY] == 0 && state[VZ] == 0 && state[FLAGS] & GROUNDED != 0;
    still && intent.wish == Vec2::ZERO && !intent.jump
}

/// The state after `tick`, from that one tick before. `near` is scratch space for the solids around, kept by the caller.
///
/// What came out too deep in a solid (between two boxes, say) does not move at all, and counts as standing, so
/// that it can jump out. Gates push what is in their way; where there is no room for that they pass through it, and
/// shove it out.
#[must_use]
pub fn advance(
    state: &State,
    intent: &Intent,
    statics: &Statics,
    rules: &Rules,
    tick: u64,
    near: &mut Vec<Solid>,
) -> State {
    let mut next = *state;
    next[YAW] = intent.yaw.rem_euclid(YAW_TURN);
    next[FLAGS] = state[FLAGS] & !SPRINTING | if intent.sprint { SPRINTING } else { 0 };
    if intent.beat {
        next[STAMINA] = stamina::stepped(state[STAMINA], intent.sprint);
    }
    let origin = [state[X], state[Y], state[Z]];
    if rests(state, intent) && !statics.moves_near([origin[0], origin[2]]) {
        return next;
    }
    gather(state, intent, statics, rules, tick, near);
    let body = Body { origin, grounded: state[FLAGS] & GROUNDED != 0, rules, near: near.as_slice() };
    let flat = body.steer(state, intent);
    let walked = if body.grounded && !intent.jump { body.walk(flat) } else { None };
    let moved = walked.or_else(|| body.fly(flat, body.rise(state, intent)));
    // Who can neither walk nor fly stays, and can jump.
    let moved = moved.unwrap_or(Moved { feet: origin, velocity: [0; 3], grounded: true });
    [next[X], next[Y], next[Z]] = moved.feet;
    [next[VX], next[VY], next[VZ]] = moved.velocity;
    next[FLAGS] = next[FLAGS] & !GROUNDED | if moved.grounded { GROUNDED } else { 0 };
    next
}

/// The broad phase, once a tick: all solids that the way can meet, pushes included.
fn gather(state: &State, intent: &Intent, statics: &Statics, rules: &Rules, tick: u64, near: &mut Vec<Solid>) {
    let at = [state[X], state[Z]];
    let shove = if statics.moves_near(at) { MAX_SHOVE } else { 0 };
    let reach = RADIUS + MAX_PUSH + shove + 2;
    // The velocity that it gets lies between the one that it has and the one that it wants.
    let wish = intent.wish * rules.full;
    let way = |has: i32, wants: f32| {
        // Rounded towards zero: the reach has room for that.
        let (has, wants) = ((has as f32 * rules.travel) as i32, wants as i32);
        [has.min(wants).min(0), has.max(wants).max(0)]
    };
    let (x, z) = (way(state[VX], wish.x), way(state[VZ], wish.y));
    let min = [at[0].saturating_add(x[0] - reach), at[1].saturating_add(z[0] - reach)];
    let max = [at[0].saturating_add(x[1] + reach), at[1].saturating_add(z[1] + reach)];
    statics.near(min, max, tick, near);
}

/// What a body became.
struct Moved {
    feet: [i32; 3],
    velocity: [i32; 3],
    grounded: bool,
}

/// A body in one tick.
struct Body<'a> {
    origin: [i32; 3],
    grounded: bool,
    rules: &'a Rules,
    near: &'a [Solid],
}

impl Body<'_> {
    /// The velocity along x and z to try in this tick.
    ///
    /// It is a whole number of quanta a tick, rounded towards zero: a body moves in whole quanta anyhow, and when its
    /// velocity says exactly how many, a client's guess is exact for any number of ticks. On a slope it is a multiple
    /// of the slope's run, so that the climb is a whole number, too.
    fn steer(&self, state: &State, intent: &Intent) -> Vec2 {
        let slope = self.slope();
        let run = slope.map_or(1.0, |slope| slope.run as f32);
        let now = Vec2::new(state[VX] as f32, state[VZ] as f32) * self.rules.travel;
        let wish = intent.wish * self.rules.full;
        let step = if self.grounded { self.rules.ground_step } else { self.rules.air_step };
        // A step below two of what it is rounded to could round away to nothing.
        let step = step.max(2.0 * run);
        let change = wish - now;
        let length = change.length();
        let flat = if length <= step { wish } else { now + change * (step / length) };
        let whole = |value: f32, run: f32| (value / run).trunc() * run;
        match slope {
            Some(Slope { axis: 0, .. }) => Vec2::new(whole(flat.x, run), flat.y.trunc()),
            Some(_) => Vec2::new(flat.x.trunc(), whole(flat.y, run)),
            None => flat.trunc(),
        }
    }

    /// The slope that it stands on.
    fn slope(&self) -> Option<Slope> {
        if !self.grounded || !self.near.iter().any(|solid| matches!(solid.shape, Shape::Wedge(_))) {
            return None;
        }
        let [x, y, z] = self.origin;
        Floor::find([x, z], y, self.near)?.support.slope
    }

    /// The velocity upwards to try in this tick (1/64 m/s), for who flies.
    fn rise(&self, state: &State, intent: &Intent) -> i32 {
        match (self.grounded, intent.jump) {
            (true, true) => JUMP_SPEED_MPS as i32 * VELOCITY_QUANTA,
            (true, false) => -self.rules.gravity,
            (false, _) => (state[VY] - self.rules.gravity).max(-(MAX_FALL_SPEED_MPS as i32) * VELOCITY_QUANTA),
        }
    }

    /// In how many parts to go, with a look at the solids after each.
    fn parts(&self, velocity: Vec3) -> u32 {
        if self.near.is_empty() { 1 } else { (velocity.abs().max_element() / SUBSTEP).ceil().max(1.0) as u32 }
    }

    /// Moves along the ground; `None` where it loses that, or would get into something.
    fn walk(&self, flat: Vec2) -> Option<Moved> {
        let velocity = Vec3::new(flat.x, 0.0, flat.y);
        let mut mover = Mover::new(velocity);
        if self.near.is_empty() {
            // On open ground there is nothing to follow.
            mover.at = velocity - Vec3::Y * self.origin[1] as f32;
            self.keep_inside(&mut mover);
            let feet = self.whole(mover.at);
            let velocity = [0, 1, 2].map(|axis| self.quanta(mover.velocity[axis] as i32));
            return (self.origin[1] <= STEP).then_some(Moved { feet, velocity, grounded: true });
        }
        let parts = self.parts(velocity);
        for _ in 0..parts {
            mover.at += mover.velocity / parts as f32;
            self.follow(&mut mover)?;
        }
        let [x, y, z] = self.whole(mover.at);
        let floor = Floor::find([x, z], y, self.near)?;
        let feet = [x, floor.support.height, z];
        let mut velocity = self.check(feet, velocity, &mover)?;
        if let Some(slope) = floor.support.slope {
            let along = mover.velocity[slope.axis].trunc() as i32;
            velocity[1] = self.quanta(slope.sign * (along / slope.run));
        }
        Some(Moved { feet, velocity, grounded: true })
    }

    /// Puts a walker onto the floor and out of the walls, which are all that is no part of the floor.
    fn follow(&self, mover: &mut Mover) -> Option<()> {
        for _ in 0..PUSH_ROUNDS {
            let [x, y, z] = self.whole(mover.at);
            let floor = Floor::find([x, z], y, self.near)?;
            mover.at.y = (floor.support.height - self.origin[1]) as f32;
            let mut touched = false;
            for solid in self.near {
                let obstacle = Obstacle::new(solid, self.origin);
                if obstacle.touches(mover) && !floor.has(solid, [x, z]) {
                    touched |= obstacle.push_aside(mover);
                }
            }
            self.keep_inside(mover);
            if !touched {
                break;
            }
        }
        Some(())
    }

    /// Moves through the air; `None` where it would get into something.
    fn fly(&self, flat: Vec2, rise: i32) -> Option<Moved> {
        let climb = per_tick(rise * QUANTA_PER_VELOCITY, self.rules.rate) as f32;
        let velocity = Vec3::new(flat.x, climb, flat.y);
        let mut mover = Mover::new(velocity);
        let parts = self.parts(velocity);
        for _ in 0..parts {
            mover.at += mover.velocity / parts as f32;
            self.push_out(&mut mover);
            self.keep_inside(&mut mover);
        }
        // What stops a climb or a fall stops it altogether.
        let mut rise = if mover.velocity.y == climb { rise } else { 0 };
        let mut feet = self.whole(mover.at);
        let support = if rise <= 0 { footing(feet, self.near) } else { None };
        if let Some(height) = support {
            feet[1] = height;
            rise = 0;
        }
        let mut velocity = self.check(feet, velocity, &mover)?;
        velocity[1] = rise;
        Some(Moved { feet, velocity, grounded: support.is_some() })
    }

    fn push_out(&self, mover: &mut Mover) {
        for _ in 0..PUSH_ROUNDS {
            let mut touched = false;
            for solid in self.near {
                touched |= Obstacle::new(solid, self.origin).push_out(mover);
            }
            if !touched {
                break;
            }
        }
    }

    /// The ground, the edges of the map and the ceiling of the world.
    fn keep_inside(&self, mover: &mut Mover) {
        let edge = self.rules.half_extent - RADIUS;
        let limits = [(-edge, edge), (0, MAX_HEIGHT_M * QUANTA_PER_M), (-edge, edge)];
        for (axis, (min, max)) in limits.into_iter().enumerate() {
            let (min, max) = ((min - self.origin[axis]) as f32, (max - self.origin[axis]) as f32);
            if mover.at[axis] <= min {
                mover.at[axis] = min;
                mover.velocity[axis] = mover.velocity[axis].max(0.0);
            } else if mover.at[axis] >= max {
                mover.at[axis] = max;
                mover.velocity[axis] = mover.velocity[axis].min(0.0);
            }
        }
    }

    /// Rounded to the grid.
    fn whole(&self, at: Vec3) -> [i32; 3] {
        [0, 1, 2].map(|axis| {
            let (value, down) = (at[axis] + 0.5, (at[axis] + 0.5) as i32);
            self.origin[axis] + if down as f32 > value { down - 1 } else { down }
        })
    }

    /// The velocity that makes so many quanta in each tick.
    fn quanta(&self, way: i32) -> i32 {
        way * self.rules.rate / QUANTA_PER_VELOCITY
    }

    /// The velocity along x and z of who came there; `None` where it is too deep in something or too far away.
    fn check(&self, feet: [i32; 3], tried: Vec3, mover: &Mover) -> Option<[i32; 3]> {
        let blocked = |feet| {
            let fixed = self.near.iter().filter(|solid| !matches!(solid.shape, Shape::Gate(_)));
            fixed.into_iter().any(|solid| deeper_than(MAX_DEPTH, feet, solid))
        };
        let push = if mover.gate.is_some() { MAX_SHOVE } else { MAX_PUSH };
        let strayed = |axis: usize| (feet[axis] - self.origin[axis]).abs() > tried[axis].abs() as i32 + push;
        // Who already was too deep (nobody, unless put there) must be let out.
        if strayed(0) || strayed(2) || blocked(feet) && !blocked(self.origin) {
            return None;
        }
        let mut velocity = [0, 2].map(|axis| mover.velocity[axis].trunc() as i32);
        if let Some(axis) = mover.gate {
            // Who is pushed or held back by a gate goes where that goes, and may be expected to go on.
            let pace = velocity[axis / 2].abs().max(self.rules.gate_step);
            velocity[axis / 2] = (feet[axis] - self.origin[axis]).clamp(-pace, pace);
        }
        Some([self.quanta(velocity[0]), 0, self.quanta(velocity[1])])
    }
}
