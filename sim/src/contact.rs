//! The capsule against solids: gaps and pushes. What carries it is in [`crate::support`].
//!
//! All lengths are in position quanta (1/256 m). The capsule stands upright on its feet: a vertical
//! segment swept by a sphere (Ericson, "Real-Time Collision Detection", 4.5 and 5.1.3: distance from a box by
//! clamping each axis). Radius and height are whole quanta, so a body against a face or on a top lies exactly
//! on the grid, and rounding never makes it tremble.

use crate::map::StaticBox;
use crate::statics::{Shape, Solid};
use glam::{Vec2, Vec3};

/// Radius: 0.40625 m.
pub const RADIUS: i32 = 104;
/// Height from feet to crown: 1.797 m.
pub const HEIGHT: i32 = 460;

const R: f32 = RADIUS as f32;
/// Squared depth below which a contact is float noise.
const NOISE: f32 = 0.1;

/// What is being moved within a step, relative to where the step began (so that all numbers are small).
#[derive(Clone, Copy, Debug)]
pub struct Mover {
    /// Displacement of the feet, in quanta.
    pub at: Vec3,
    /// Velocity in quanta a tick.
    pub velocity: Vec3,
    /// The axis of a gate that it touched.
    pub gate: Option<usize>,
    /// It was inside a gate and has been moved: that happens once a tick.
    shoved: bool,
}

impl Mover {
    /// At its beginning.
    #[must_use]
    pub const fn new(velocity: Vec3) -> Self {
        Self { at: Vec3::ZERO, velocity, gate: None, shoved: false }
    }
}

/// How a ramp rises, relative to where the step began.
#[derive(Clone, Copy, Debug)]
struct Rise {
    axis: usize,
    sign: f32,
    low: f32,
    run: f32,
}

/// A solid relative to where the step began.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle {
    min: Vec3,
    max: Vec3,
    rise: Option<Rise>,
    gate: Option<usize>,
}

/// The vector from the interval `min..=max` to the interval `low..=high`, 0 where they meet.
fn apart(low: f32, high: f32, min: f32, max: f32) -> f32 {
    if low > max {
        low - max
    } else if high < min {
        high - min
    } else {
        0.0
    }
}

impl Obstacle {
    /// The solid as seen from `origin`; exact, since differences of 21-bit integers fit a float.
    #[must_use]
    pub fn new(solid: &Solid, origin: [i32; 3]) -> Self {
        let from = |corner: [i32; 3]| {
            Vec3::new((corner[0] - origin[0]) as f32, (corner[1] - origin[1]) as f32, (corner[2] - origin[2]) as f32)
        };
        let (rise, gate) = match solid.shape {
            Shape::Block => (None, None),
            Shape::Gate(axis) => (None, Some(axis)),
            Shape::Wedge(slope) => {
                let low = (slope.low - origin[slope.axis]) as f32;
                (Some(Rise { axis: slope.axis, sign: slope.sign as f32, low, run: slope.run as f32 }), None)
            }
        };
        Self { min: from(solid.bounds.min), max: from(solid.bounds.max), rise, gate }
    }

    /// The vector from the nearest point of the solid to the nearest point of the capsule's segment.
    fn gap(&self, feet: Vec3) -> Vec3 {
        let (low, high) = (feet.y + R, feet.y + HEIGHT as f32 - R);
        let flat = |axis: usize| apart(feet[axis], feet[axis], self.min[axis], self.max[axis]);
        let Some(rise) = &self.rise else {
            return Vec3::new(flat(0), apart(low, high, self.min.y, self.max.y), flat(2));
        };
        let far = R + 1.0;
        let (dx, dz) = (flat(0), flat(2));
        if dx.abs() > far || dz.abs() > far {
            return Vec3::new(dx, 0.0, dz);
        }
        // Along the slope and up, from where it begins.
        let climb = rise.sign * (feet[rise.axis] - rise.low);
        let [along, up] = rise.gap(climb, low - self.min.y, high - self.min.y, self.max.y - self.min.y);
        let mut gap = Vec3::new(dx, up, dz);
        gap[rise.axis] = rise.sign * along;
        gap
    }

    /// How far up the mover must go to rest on the solid, where it touches it from above (or from within).
    fn lift(&self, feet: Vec3) -> f32 {
        let flat = |axis: usize| apart(feet[axis], feet[axis], self.min[axis], self.max[axis]);
        let Some(rise) = &self.rise else {
            let level = flat(0) * flat(0) + flat(2) * flat(2);
            return self.max.y - feet.y + (R * R - level).max(0.0).sqrt() - R;
        };
        let across = flat(2 - rise.axis);
        let room = (R * R - across * across).max(0.0);
        let (climb, length) = (rise.sign * (feet[rise.axis] - rise.low), (self.max.y - self.min.y) * rise.run);
        let foot = (climb + (room / (rise.run * rise.run + 1.0)).sqrt()).clamp(0.0, length);
        let ball = (room - (climb - foot) * (climb - foot)).max(0.0).sqrt();
        self.min.y + foot / rise.run + ball - R - feet.y
    }

    /// The gap to the mover, where they touch.
    fn contact(&self, mover: &Mover) -> Option<Vec3> {
        let gap = self.gap(mover.at);
        (R * R - gap.length_squared() > NOISE).then_some(gap)
    }

    /// Whether the mover touches it.
    #[must_use]
    pub fn touches(&self, mover: &Mover) -> bool {
        self.contact(mover).is_some()
    }

    /// Pushes the mover out of the solid and takes away the velocity into it. Whether there was contact.
    ///
    /// What is flat enough to stand on pushes straight up, what is flat enough above pushes straight down,
    /// all else pushes sideways: so nobody slides off an edge he stands on, and landing on a low edge costs
    /// no speed and gives none.
    pub fn push_out(&self, mover: &mut Mover) -> bool {
        let Some(gap) = self.contact(mover) else { return false };
        let level = gap.x * gap.x + gap.z * gap.z;
        if gap.y * gap.y < level || self.gate.is_some() && gap == Vec3::ZERO {
            return self.push_aside(mover);
        }
        // 45° or flatter. A segment inside the solid (no gap at all) leaves through the top.
        if gap.y >= 0.0 {
            mover.at.y += self.lift(mover.at);
            mover.velocity.y = mover.velocity.y.max(0.0);
        } else {
            mover.at.y -= (R * R - level).sqrt() + gap.y;
            mover.velocity.y = mover.velocity.y.min(0.0);
        }
        true
    }

    /// As [`Obstacle::push_out`], but sideways only. No contact where there is no way to the side.
    pub fn push_aside(&self, mover: &mut Mover) -> bool {
        let Some(gap) = self.contact(mover) else { return false };
        let flat = Vec2::new(gap.x, gap.z);
        let distance = flat.length();
        let (normal, push) = if distance > 0.0 {
            (flat / distance, (R * R - gap.y * gap.y).max(0.0).sqrt() - distance)
        } else {
            match self.way_out(mover) {
                Some(way) => way,
                None => return false,
            }
        };
        mover.gate = mover.gate.or(self.gate);
        mover.at += Vec3::new(normal.x * push, 0.0, normal.y * push);
        let into = normal.dot(Vec2::new(mover.velocity.x, mover.velocity.z));
        if into < 0.0 {
            mover.velocity -= Vec3::new(normal.x * into, 0.0, normal.y * into);
        }
        true
    }

    /// The way out for who is inside a gate: the nearer one along its axis, by a radius a tick at most.
    fn way_out(&self, mover: &mut Mover) -> Option<(Vec2, f32)> {
        let axis = self.gate.filter(|_| !mover.shoved)?;
        mover.shoved = true;
        let (back, on) = (mover.at[axis] - self.min[axis] + R, self.max[axis] - mover.at[axis] + R);
        let sign = if back < on { -1.0 } else { 1.0 };
        let normal = if axis == 0 { Vec2::new(sign, 0.0) } else { Vec2::new(0.0, sign) };
        Some((normal, back.min(on).min(R)))
    }
}

impl Rise {
    /// The vector from the triangle under the slope to the segment `low..=high` that stands at `climb` along it; all from
    /// where the slope begins, `height` being that of its end.
    fn gap(&self, climb: f32, low: f32, high: f32, height: f32) -> [f32; 2] {
        let (run, length) = (self.run, height * self.run);
        if climb >= length {
            return [climb - length, apart(low, high, 0.0, height)];
        }
        if high < 0.0 || climb < 0.0 && low <= 0.0 {
            return [climb.min(0.0), high.min(0.0)];
        }
        if run * low <= climb {
            return [0.0; 2];
        }
        // The nearest point of the slope, by its height.
        let foot = ((run * climb + low) / (run * run + 1.0)).clamp(0.0, height);
        [climb - run * foot, low - foot]
    }
}

/// The interval gap, in exact integers.
fn apart_exactly(low: i32, high: i32, min: i32, max: i32) -> i64 {
    i64::from(if low > max { low - max } else { (high - min).min(0) })
}

/// Whether a body with its feet there is more than `allowed` quanta inside the solid; exact.
#[must_use]
pub fn deeper_than(allowed: i32, feet: [i32; 3], solid: &Solid) -> bool {
    let StaticBox { min, max } = solid.bounds;
    let (low, high) = (feet[1] + RADIUS, feet[1] + HEIGHT - RADIUS);
    let flat = |axis: usize| apart_exactly(feet[axis], feet[axis], min[axis], max[axis]);
    let room = i64::from(RADIUS - allowed).pow(2);
    let Shape::Wedge(slope) = solid.shape else {
        let up = apart_exactly(low, high, min[1], max[1]);
        return flat(0).pow(2) + up.pow(2) + flat(2).pow(2) < room;
    };
    let (run, height) = (i64::from(slope.run), i64::from(max[1] - min[1]));
    let climb = i64::from(slope.sign) * i64::from(feet[slope.axis] - slope.low);
    let (low, high) = (i64::from(low - min[1]), i64::from(high - min[1]));
    let across = flat(2 - slope.axis).pow(2);
    let (above, scale) = (run * low - climb, run * run + 1);
    let foot = run * climb + low;
    let square = if climb >= height * run {
        let up = if low > height { low - height } else { high.min(0) };
        (climb - height * run).pow(2) + up.pow(2)
    } else if high < 0 || climb < 0 && low <= 0 {
        climb.min(0).pow(2) + high.min(0).pow(2)
    } else if above <= 0 {
        0
    } else if foot < 0 {
        climb.pow(2) + low.pow(2)
    } else if foot > height * scale {
        (climb - height * run).pow(2) + (low - height).pow(2)
    } else {
        // The distance from the slope is above / sqrt(scale).
        return above.pow(2) + across * scale < room * scale;
    };
    square + across < room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramp::Slope;

    const CRATE: Solid = block([200, 0, -500], [600, 256, 500]);
    /// One in two along x, 200 to 600.
    const RAMP: Solid = Solid {
        number: 0,
        bounds: StaticBox { min: [200, 0, -500], max: [600, 200, 500] },
        shape: Shape::Wedge(Slope { axis: 0, sign: 1, low: 200, run: 2 }),
    };

    const fn block(min: [i32; 3], max: [i32; 3]) -> Solid {
        Solid { number: 0, bounds: StaticBox { min, max }, shape: Shape::Block }
    }

    fn pushed(at: Vec3, velocity: Vec3) -> Option<Mover> {
        let mut mover = Mover { at, ..Mover::new(velocity) };
        Obstacle::new(&CRATE, [0; 3]).push_out(&mut mover).then_some(mover)
    }

    #[test]
    fn a_face_stops_exactly_on_the_grid_and_keeps_the_slide() {
        let mover = pushed(Vec3::new(120.0, 0.0, 3.0), Vec3::new(30.0, 0.0, 7.0)).unwrap();
        assert_eq!(mover.at, Vec3::new(96.0, 0.0, 3.0));
        assert_eq!(mover.velocity, Vec3::new(0.0, 0.0, 7.0));
    }

    #[test]
    fn a_top_carries_exactly_on_the_grid() {
        let mover = pushed(Vec3::new(400.0, 250.0, 0.0), Vec3::new(5.0, -9.0, 0.0)).unwrap();
        assert_eq!(mover.at.y, 256.0);
        assert_eq!(mover.velocity, Vec3::new(5.0, 0.0, 0.0));
    }

    #[test]
    fn touching_is_no_contact() {
        assert!(pushed(Vec3::new(96.0, 0.0, 0.0), Vec3::ZERO).is_none());
        assert!(!deeper_than(0, [96, 0, 0], &CRATE));
        assert!(deeper_than(0, [97, 0, 0], &CRATE));
        assert!(!deeper_than(1, [97, 0, 0], &CRATE));
        assert!(deeper_than(1, [98, 0, 0], &CRATE));
    }

    #[test]
    fn the_head_is_stopped_by_what_hangs_above() {
        let roof = block([-500, 480, -500], [500, 600, 500]);
        let mut mover = Mover { at: Vec3::new(0.0, 30.0, 0.0), ..Mover::new(Vec3::new(0.0, 30.0, 0.0)) };
        assert!(Obstacle::new(&roof, [0; 3]).push_out(&mut mover));
        assert_eq!(mover.at.y, 20.0);
        assert_eq!(mover.velocity.y, 0.0);
    }

    #[test]
    fn a_slope_lifts_until_the_ball_just_touches_it() {
        let mut mover = Mover { at: Vec3::new(400.0, 50.0, 0.0), ..Mover::new(Vec3::new(9.0, -9.0, 0.0)) };
        assert!(Obstacle::new(&RAMP, [0; 3]).push_out(&mut mover));
        // 100 up the slope, and what the ball stands above the point below its middle: R (sqrt(5) / 2 - 1).
        assert!((mover.at.y - 112.276).abs() < 1e-3, "{}", mover.at.y);
        assert_eq!(mover.velocity, Vec3::new(9.0, 0.0, 0.0));
        assert!(!deeper_than(0, [400, 113, 0], &RAMP) && deeper_than(0, [400, 112, 0], &RAMP));
        assert!(!deeper_than(1, [400, 112, 0], &RAMP) && deeper_than(1, [400, 110, 0], &RAMP));
    }

    #[test]
    fn depths_and_contacts_agree_all_around_a_ramp() {
        let obstacle = Obstacle::new(&RAMP, [0; 3]);
        for x in (50..750).step_by(7) {
            for y in (-500..350).step_by(9) {
                for z in [-590, -550, -500, 0, 560] {
                    let feet = [x, y, z];
                    let mover = Mover { at: Vec3::new(x as f32, y as f32, z as f32), ..Mover::new(Vec3::ZERO) };
                    let touches = obstacle.touches(&mover);
                    assert!(!deeper_than(1, feet, &RAMP) || touches, "{feet:?}");
                    assert!(deeper_than(-1, feet, &RAMP) || !touches, "{feet:?}");
                    let mut out = mover;
                    for _ in 0..3 {
                        obstacle.push_out(&mut out);
                    }
                    assert!(!obstacle.touches(&out), "{feet:?} {out:?}");
                }
            }
        }
    }

    #[test]
    fn who_is_inside_a_gate_is_shoved_out_along_its_axis() {
        let gate = Solid { shape: Shape::Gate(2), ..CRATE };
        let mut mover = Mover { at: Vec3::new(400.0, 0.0, 450.0), ..Mover::new(Vec3::ZERO) };
        assert!(Obstacle::new(&gate, [0; 3]).push_out(&mut mover));
        assert_eq!((mover.at, mover.gate), (Vec3::new(400.0, 0.0, 554.0), Some(2)));
        assert!(Obstacle::new(&gate, [0; 3]).push_out(&mut mover));
        assert_eq!(mover.at, Vec3::new(400.0, 0.0, 604.0));
    }
}
