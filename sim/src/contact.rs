//! The capsule against boxes: gaps, pushes, footing.
//!
//! All lengths are in position quanta (1/256 m). The capsule stands upright on its feet: a vertical
//! segment swept by a sphere (Ericson, "Real-Time Collision Detection", 4.5 and 5.1.3: distance from a box by
//! clamping each axis). Radius and height are whole quanta, so a body against a face or on a top lies exactly
//! on the grid, and rounding never makes it tremble.

use crate::map::StaticBox;
use glam::{Vec2, Vec3};

/// Radius: 0.40625 m.
pub const RADIUS: i32 = 104;
/// Height from feet to crown: 1.797 m.
pub const HEIGHT: i32 = 460;
/// How far above a surface a body may hang and still stand on it; rounding lifts it less than this.
pub const PROBE: i32 = 2;

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
}

/// A box relative to where the step began.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle {
    min: Vec3,
    max: Vec3,
}

impl Obstacle {
    /// The box as seen from `origin`; exact, since differences of 21-bit integers fit a float.
    #[must_use]
    pub fn new(solid: &StaticBox, origin: [i32; 3]) -> Self {
        let from = |corner: [i32; 3]| {
            Vec3::new((corner[0] - origin[0]) as f32, (corner[1] - origin[1]) as f32, (corner[2] - origin[2]) as f32)
        };
        Self { min: from(solid.min), max: from(solid.max) }
    }

    /// The vector from the nearest point of the box to the nearest point of the capsule's segment.
    fn gap(&self, feet: Vec3) -> Vec3 {
        let axis = |low: f32, high: f32, min: f32, max: f32| {
            if low > max {
                low - max
            } else if high < min {
                high - min
            } else {
                0.0
            }
        };
        Vec3::new(
            axis(feet.x, feet.x, self.min.x, self.max.x),
            axis(feet.y + R, feet.y + HEIGHT as f32 - R, self.min.y, self.max.y),
            axis(feet.z, feet.z, self.min.z, self.max.z),
        )
    }

    /// Pushes the mover out of the box and takes away the velocity into it. Whether there was contact.
    ///
    /// What is flat enough to stand on pushes straight up, what is flat enough above pushes straight down,
    /// all else pushes sideways: so nobody slides off an edge he stands on, and walking up a low edge costs
    /// no speed and gives none.
    pub fn push_out(&self, mover: &mut Mover) -> bool {
        let gap = self.gap(mover.at);
        let depth = R * R - gap.length_squared();
        if depth <= NOISE {
            return false;
        }
        let flat = Vec2::new(gap.x, gap.z);
        let level = flat.length_squared();
        if gap.y * gap.y >= level {
            // 45° or flatter. A segment inside the box (no gap at all) leaves through the top.
            let reach = (R * R - level).sqrt();
            if gap.y >= 0.0 {
                mover.at.y += if gap.y > 0.0 { reach - gap.y } else { self.max.y - mover.at.y };
                mover.velocity.y = mover.velocity.y.max(0.0);
            } else {
                mover.at.y -= reach + gap.y;
                mover.velocity.y = mover.velocity.y.min(0.0);
            }
        } else {
            let distance = level.sqrt();
            let normal = flat / distance;
            let push = normal * ((R * R - gap.y * gap.y).sqrt() - distance);
            mover.at += Vec3::new(push.x, 0.0, push.y);
            let into = normal.dot(Vec2::new(mover.velocity.x, mover.velocity.z));
            if into < 0.0 {
                mover.velocity -= Vec3::new(normal.x * into, 0.0, normal.y * into);
            }
        }
        true
    }
}

/// As [`Obstacle`]'s gap, in exact integers.
fn gap(feet: [i32; 3], solid: &StaticBox) -> [i64; 3] {
    let low = [feet[0], feet[1] + RADIUS, feet[2]];
    let high = [feet[0], feet[1] + HEIGHT - RADIUS, feet[2]];
    [0, 1, 2].map(|axis| {
        let (above, below) = (low[axis] - solid.max[axis], high[axis] - solid.min[axis]);
        i64::from(if above > 0 { above } else { below.min(0) })
    })
}

/// Whether a body with its feet there is more than `allowed` quanta inside the box.
#[must_use]
pub fn deeper_than(allowed: i32, feet: [i32; 3], solid: &StaticBox) -> bool {
    let [x, y, z] = gap(feet, solid);
    x * x + y * y + z * z < i64::from(RADIUS - allowed).pow(2)
}

/// The height at which a body with its feet about there stands; `None` where nothing carries it.
#[must_use]
pub fn footing<'a>(feet: [i32; 3], solids: impl Iterator<Item = &'a StaticBox>) -> Option<i32> {
    let ground = (feet[1] <= PROBE).then_some(0);
    let lowered = [feet[0], feet[1] - PROBE, feet[2]];
    let tops = solids.filter_map(|solid| {
        let [x, y, z] = gap(lowered, solid);
        let (level, distance) = (x * x + z * z, x * x + y * y + z * z);
        // A little steeper than what pushes up, so that rounding does not tip a body that stands.
        let stands = y > 0 && distance <= i64::from(RADIUS).pow(2) && 9 * y * y >= 4 * distance;
        stands.then_some(if level == 0 { solid.max[1] } else { feet[1] })
    });
    tops.chain(ground).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRATE: StaticBox = StaticBox { min: [200, 0, -500], max: [600, 256, 500] };

    fn pushed(at: Vec3, velocity: Vec3) -> Option<Mover> {
        let mut mover = Mover { at, velocity };
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
        assert_eq!(footing([400, 256, 0], [CRATE].iter()), Some(256));
        assert_eq!(footing([400, 258, 0], [CRATE].iter()), Some(256));
        assert_eq!(footing([400, 259, 0], [CRATE].iter()), None);
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
        let roof = StaticBox { min: [-500, 480, -500], max: [500, 600, 500] };
        let mut mover = Mover { at: Vec3::new(0.0, 30.0, 0.0), velocity: Vec3::new(0.0, 30.0, 0.0) };
        assert!(Obstacle::new(&roof, [0; 3]).push_out(&mut mover));
        assert_eq!(mover.at.y, 20.0);
        assert_eq!(mover.velocity.y, 0.0);
    }
}
