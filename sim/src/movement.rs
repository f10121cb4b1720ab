//! How a body moves in one tick: steering, gravity, jump, slide along boxes, rounding.
//!
//! One function, [`advance`], from integers to integers: the server steps the world with it and a client may
//! predict with it, and both get the same bits. It uses `+ - * /` and `sqrt` alone, on floats that are exact
//! wherever a body stands, walks, flies or leans on a face. Gravity and the way that a velocity makes in a tick are
//! the rounded integers of [`netcode::schema::extrapolate`], so that who only watches can guess them.

use crate::contact::{Mover, Obstacle, RADIUS, deeper_than, footing};
use crate::game::stamina;
use crate::input::{Input, JUMP, SPRINT};
use crate::schema::{
    FLAGS, GROUNDED, QUANTA_PER_M, QUANTA_PER_VELOCITY, SPRINTING, STAMINA, VELOCITY_QUANTA, VX, VY, VZ, X, Y, YAW,
    YAW_TURN, Z,
};
use crate::space::{Solid, Statics};
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

/// The longest way (quanta) between two looks at the boxes: half a radius, so that the capsule's segment
/// never enters a box, however thin.
const SUBSTEP: f32 = RADIUS as f32 / 2.0;
/// Rounds of pushing per substep; two faces of a corner need one, a body between two boxes never ends.
const PUSH_ROUNDS: u32 = 4;
/// How far beyond its own motion boxes may push a body sideways in one tick, in quanta.
const MAX_PUSH: i32 = RADIUS / 2;
/// How deep in a box rounding may leave a body, in quanta.
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
    /// Position quanta a tick in one velocity quantum.
    travel: f32,
    /// Velocity quanta that gravity takes each tick.
    gravity: i32,
    ground_step: f32,
    air_step: f32,
}

impl Rules {
    /// The rules at `rate_hz` on a map of that half extent (position quanta).
    #[must_use]
    pub fn new(rate_hz: u16, half_extent: i32) -> Self {
        let rate = f32::from(rate_hz);
        // Velocities are whole quanta a tick: a step below two of them could round away to nothing.
        let step = |acceleration: f32| (acceleration * QUANTA_PER_M as f32 / (rate * rate)).max(2.0);
        Self {
            rate: i32::from(rate_hz),
            half_extent,
            travel: QUANTA_PER_VELOCITY as f32 / rate,
            gravity: per_tick(GRAVITY_MPS2 as i32 * VELOCITY_QUANTA, i32::from(rate_hz)),
            ground_step: step(GROUND_ACCELERATION_MPS2),
            air_step: step(AIR_ACCELERATION_MPS2),
        }
    }
}

/// What an amount a second makes in a tick, rounded as the schema's predictors do.
const fn per_tick(amount: i32, rate: i32) -> i32 {
    (amount + rate / 2).div_euclid(rate)
}

/// Whether nothing can happen to a body: it stands still and wants to.
#[must_use]
pub fn rests(state: &State, intent: &Intent) -> bool {
    let still = state[VX] == 0 && state[VY] == 0 && state[VZ] == 0 && state[FLAGS] & GROUNDED != 0;
    still && intent.wish == Vec2::ZERO && !intent.jump
}

/// The state one tick later. `near` is scratch space for the boxes around, kept by the caller.
///
/// What came out too deep in a box (between two boxes, say) does not move at all, and counts as standing, so
/// that it can jump out.
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
    if rests(state, intent) {
        return next;
    }
    let effort = steer(state, intent, rules);
    let origin = [state[X], state[Y], state[Z]];
    gather(origin, effort.velocity, statics, tick, near);
    let mover = sweep(origin, effort.velocity, near, rules);
    settle(&mut next, origin, effort, mover, near, rules);
    next
}

/// What a body tries in a tick.
#[derive(Clone, Copy)]
struct Effort {
    /// Quanta a tick, whole ones.
    velocity: Vec3,
    /// The velocity upwards in its own quanta, of which `velocity.y` is the rounded way.
    rise: i32,
}

/// The velocity to try in this tick.
///
/// It is a whole number of quanta a tick, along x and z rounded towards zero: a body moves in whole quanta anyhow, and
/// when its velocity says exactly how many, a client's guess is exact for any number of ticks.
fn steer(state: &State, intent: &Intent, rules: &Rules) -> Effort {
    let grounded = state[FLAGS] & GROUNDED != 0;
    let now = Vec2::new(state[VX] as f32, state[VZ] as f32) * rules.travel;
    let wish = intent.wish * (QUANTA_PER_M as f32 / rules.rate as f32);
    let step = if grounded { rules.ground_step } else { rules.air_step };
    let change = wish - now;
    let length = change.length();
    let flat = if length <= step { wish } else { now + change * (step / length) };
    let rise = if grounded && intent.jump {
        JUMP_SPEED_MPS as i32 * VELOCITY_QUANTA
    } else {
        (state[VY] - rules.gravity).max(-(MAX_FALL_SPEED_MPS as i32) * VELOCITY_QUANTA)
    };
    let climb = per_tick(rise * QUANTA_PER_VELOCITY, rules.rate);
    Effort { velocity: Vec3::new(flat.x.trunc(), climb as f32, flat.y.trunc()), rise }
}

/// The broad phase, once a tick: all boxes that the way can meet, pushes included.
fn gather(origin: [i32; 3], velocity: Vec3, statics: &Statics, tick: u64, near: &mut Vec<Solid>) {
    let reach = RADIUS + MAX_PUSH + 1;
    let (dx, dz) = (velocity.x as i32, velocity.z as i32);
    let min = [origin[0] + dx.min(0) - reach, origin[2] + dz.min(0) - reach];
    let max = [origin[0] + dx.max(0) + reach, origin[2] + dz.max(0) + reach];
    statics.near(min, max, tick, near);
}

/// Moves in substeps, sliding along what is in the way.
fn sweep(origin: [i32; 3], velocity: Vec3, near: &[Solid], rules: &Rules) -> Mover {
    let mut mover = Mover { at: Vec3::ZERO, velocity };
    let substeps = if near.is_empty() { 1.0 } else { (velocity.abs().max_element() / SUBSTEP).ceil().max(1.0) };
    for _ in 0..substeps as u32 {
        mover.at += mover.velocity / substeps;
        for _ in 0..PUSH_ROUNDS {
            let mut touched = false;
            for solid in near {
                touched |= Obstacle::new(&solid.bounds, origin).push_out(&mut mover);
            }
            if !touched {
                break;
            }
        }
        keep_inside(origin, &mut mover, rules);
    }
    mover
}

/// The ground, the edges of the map and the ceiling of the world.
fn keep_inside(origin: [i32; 3], mover: &mut Mover, rules: &Rules) {
    let edge = rules.half_extent - RADIUS;
    let limits = [(-edge, edge), (0, MAX_HEIGHT_M * QUANTA_PER_M), (-edge, edge)];
    for (axis, (min, max)) in limits.into_iter().enumerate() {
        let (min, max) = ((min - origin[axis]) as f32, (max - origin[axis]) as f32);
        if mover.at[axis] <= min {
            mover.at[axis] = min;
            mover.velocity[axis] = mover.velocity[axis].max(0.0);
        } else if mover.at[axis] >= max {
            mover.at[axis] = max;
            mover.velocity[axis] = mover.velocity[axis].min(0.0);
        }
    }
}

/// Rounds to the grid, checks the result in integers and finds the footing.
fn settle(next: &mut State, origin: [i32; 3], tried: Effort, mover: Mover, near: &[Solid], rules: &Rules) {
    let round = |value: f32| (value + 0.5).floor() as i32;
    let mut feet = [origin[0] + round(mover.at.x), origin[1] + round(mover.at.y), origin[2] + round(mover.at.z)];
    let solids = || near.iter().map(|solid| &solid.bounds);
    // What stops a climb or a fall stops it altogether.
    let mut rise = if mover.velocity.y == tried.velocity.y { tried.rise } else { 0 };
    let support = if rise <= 0 { footing(feet, solids()) } else { None };
    if let Some(height) = support {
        feet[1] = height;
        rise = 0;
    }

    let blocked = |feet| solids().any(|solid| deeper_than(MAX_DEPTH, feet, solid));
    let strayed = |axis: usize| (feet[axis] - origin[axis]).abs() > tried.velocity[axis].abs() as i32 + MAX_PUSH;
    // Who already was too deep (nobody, unless put there) must be let out.
    if strayed(0) || strayed(2) || blocked(feet) && !blocked(origin) {
        [next[VX], next[VY], next[VZ]] = [0; 3];
        next[FLAGS] |= GROUNDED;
        return;
    }

    let whole = |value: f32| value.trunc() as i32 * rules.rate / QUANTA_PER_VELOCITY;
    [next[X], next[Y], next[Z]] = feet;
    [next[VX], next[VY], next[VZ]] = [whole(mover.velocity.x), rise, whole(mover.velocity.z)];
    next[FLAGS] = next[FLAGS] & !GROUNDED | if support.is_some() { GROUNDED } else { 0 };
}
