//! Where a player looks from, and where to.

use super::input::{INSTANT_PARTS, Input, PITCH_UP};
use super::schema::{DEAD, FLAGS, QUANTA_PER_M, X, Y, Z};
use crate::rng::{Stream, draw};
use core::f32::consts::TAU;
use glam::Vec3;
use netcode::schema::State;

/// How far above the feet the eye is, m.
pub const EYE_M: f32 = 1.6;
/// The same in position quanta.
pub const EYE: f32 = EYE_M * QUANTA_PER_M as f32;

/// The feet of a body (1/256 m).
#[must_use]
pub const fn feet(state: &State) -> [f32; 3] {
    // Exact: 21 bits fit a float's 24.
    [state[X] as f32, state[Y] as f32, state[Z] as f32]
}

/// Where the eye of a body is (1/256 m).
#[must_use]
pub fn eye_of(state: &State) -> [f32; 3] {
    let [x, y, z] = feet(state);
    [x, y + EYE, z]
}

/// Where the eye of the player was (1/256 m) when it pulled the trigger: `before` is its state after the tick two before
/// the input's, `state` the one after. Who was dead or not there yet then has only the latter.
#[must_use]
pub fn eye(before: &State, state: &State, instant: u8) -> [f32; 3] {
    let (from, to) = (eye_of(if before[FLAGS] & DEAD == 0 { before } else { state }), eye_of(state));
    let share = f32::from(instant.min(INSTANT_PARTS - 1) + 1) / f32::from(INSTANT_PARTS);
    [0, 1, 2].map(|axis| from[axis] + (to[axis] - from[axis]) * share)
}

/// The direction of angles in 1/65536 turn: yaw 0 is +z, a quarter +x; a pitch above 0 is up. Of length 1.
#[must_use]
pub fn direction(yaw: u16, pitch: i16) -> Vec3 {
    let angle = |part: f32| part * (TAU / 65536.0);
    let (yaw, pitch) = (angle(f32::from(yaw)), angle(f32::from(pitch)));
    let flat = libm::cosf(pitch);
    Vec3::new(libm::sinf(yaw) * flat, libm::sinf(pitch), libm::cosf(yaw) * flat)
}

/// Where an input aims.
#[must_use]
pub fn aim(input: &Input) -> Vec3 {
    direction(input.yaw, input.clamped().pitch)
}

/// The yaw and pitch (1/65536 turn) at which one looks from `from` to `to` (1/256 m).
#[must_use]
pub fn toward(from: [f32; 3], to: [f32; 3]) -> (u16, i16) {
    let way = Vec3::from_array(to) - Vec3::from_array(from);
    let flat = (way.x * way.x + way.z * way.z).sqrt();
    let turn = |angle: f32| (angle * (65536.0 / TAU) + 0.5).floor() as i32;
    let pitch = turn(libm::atan2f(way.y, flat)).clamp(-i32::from(PITCH_UP), i32::from(PITCH_UP));
    // Half a turn to either side wraps as angles do.
    (turn(libm::atan2f(way.x, way.z)) as u16, pitch as i16)
}

/// The direction of one ray of a shot that aims along `middle`: anywhere within `spread_deg` of it, evenly over the disc.
///
/// The draw depends on the shooter (raw id), the tick of the input and the number of the ray alone, so that a client shows
/// the same rays.
#[must_use]
pub fn spread(middle: Vec3, spread_deg: f32, shooter: u32, tick: u64, ray: u32) -> Vec3 {
    if spread_deg <= 0.0 {
        return middle;
    }
    let bits = draw(u64::from(ray), Stream::Spread, tick, shooter);
    let unit = |bits: u64| (bits >> 40) as f32 / (1u32 << 24) as f32;
    let (around, out) = (unit(bits) * TAU, unit(bits << 24).sqrt() * libm::tanf(spread_deg * (TAU / 360.0)));
    // Two directions across: the first one lies flat, unless the player looks straight up or down.
    let flat = Vec3::new(middle.z, 0.0, -middle.x);
    let right = if flat.length_squared() > 1e-6 { flat / flat.length() } else { Vec3::X };
    let up = middle.cross(right);
    let ray = middle + right * (out * libm::cosf(around)) + up * (out * libm::sinf(around));
    ray / ray.length()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_are_where_the_contract_says() {
        let near = |direction: Vec3, x: f32, y: f32, z: f32| (direction - Vec3::new(x, y, z)).length() < 1e-6;
        assert!(near(direction(0, 0), 0.0, 0.0, 1.0));
        assert!(near(direction(1 << 14, 0), 1.0, 0.0, 0.0));
        assert!(near(direction(5000, 1 << 14), 0.0, 1.0, 0.0));
        assert!(near(direction(1 << 15, -(1 << 13)), 0.0, -0.5f32.sqrt(), -0.5f32.sqrt()));
    }

    #[test]
    fn who_looks_toward_something_aims_at_it() {
        let from = [300.0, 400.0, -20.0];
        for to in
            [[0.0, 0.0, 0.0], [9000.0, 410.0, 3.0], [300.0, 0.0, -20.0], [-5.0, 800.0, -9000.0], [301.0, 400.0, -20.0]]
        {
            let (yaw, pitch) = toward(from, to);
            let way = Vec3::from_array(to) - Vec3::from_array(from);
            let miss = direction(yaw, pitch).cross(way).length() / way.length();
            assert!(miss < 1e-4 && direction(yaw, pitch).dot(way) > 0.0, "{to:?}: {miss}");
        }
    }

    #[test]
    fn rays_stay_within_the_spread_and_fill_it() {
        for middle in [direction(9000, 3000), direction(0, 1 << 14), direction(77, -(1 << 14))] {
            let cosines = (0..400).map(|ray| spread(middle, 5.0, 77, 9, ray).dot(middle));
            let least = libm::cosf(5.0 * TAU / 360.0);
            assert!(cosines.clone().all(|cosine| (least - 1e-5..=1.0 + 1e-6).contains(&cosine)));
            // Half of the disc's area is within 0.7 of its radius.
            let inner = cosines.filter(|cosine| *cosine > libm::cosf(5.0 * 0.707 * TAU / 360.0)).count();
            assert!((150..250).contains(&inner), "{inner}");
        }
        let middle = direction(1, 2);
        assert_eq!(spread(middle, 0.0, 1, 2, 3), middle);
        assert_ne!(spread(middle, 5.0, 1, 2, 3), spread(middle, 5.0, 1, 2, 4));
    }

    #[test]
    fn the_eye_is_between_the_last_two_places_unless_one_came_back_from_the_dead() {
        let (mut before, mut state) = (State::default(), State::default());
        (before[X], state[X]) = (1000, 1160);
        assert_eq!(eye(&before, &state, 15)[0], 1160.0);
        assert_eq!(eye(&before, &state, 0)[0], 1010.0);
        assert_eq!(eye(&before, &state, 255)[0], 1160.0);
        before[FLAGS] = DEAD;
        assert_eq!(eye(&before, &state, 0), [1160.0, EYE, 0.0]);
    }
}
