//! Rays: what a look or a shot meets first, among bodies and solids.
//!
//! All lengths are in position quanta (1/256 m). Floats of the map's size are exact to an eighth of one, and each test
//! works with differences to the ray's beginning, with `+ - * /` and `sqrt` alone: the same bits everywhere.

use crate::contact::{HEIGHT, RADIUS};
use crate::map::StaticBox;
use crate::ramp::Slope;
use glam::Vec3;

/// Below this share of a unit a direction counts as parallel to an axis.
const PARALLEL: f32 = 1e-9;

/// A straight line with a beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ray {
    /// Where it begins, position quanta.
    pub from: [f32; 3],
    /// Where to, a unit vector.
    pub direction: Vec3,
    /// How far, position quanta.
    pub reach: f32,
}

impl Ray {
    /// The ray from one point to another (position quanta). Between equal points it has no reach.
    #[must_use]
    pub fn between(from: [f32; 3], to: [f32; 3]) -> Self {
        let way = Vec3::from(to) - Vec3::from(from);
        let reach = way.length();
        if reach > 0.0 {
            Self { from, direction: way / reach, reach }
        } else {
            Self { from, direction: Vec3::Y, reach: 0.0 }
        }
    }

    /// The point so far along (position quanta).
    #[must_use]
    pub fn at(&self, way: f32) -> [f32; 3] {
        (Vec3::from(self.from) + self.direction * way).into()
    }

    /// The part of it that is in the box, as the ways to where it enters and leaves; one that begins inside enters at 0.
    fn within(&self, min: Vec3, max: Vec3) -> Option<[f32; 2]> {
        let from = Vec3::from(self.from);
        let mut part = [0.0, self.reach];
        for axis in 0..3 {
            let (near, far) = (min[axis] - from[axis], max[axis] - from[axis]);
            let pace = self.direction[axis];
            if pace.abs() < PARALLEL {
                if near > 0.0 || far < 0.0 {
                    return None;
                }
                continue;
            }
            let (a, b) = (near / pace, far / pace);
            let (enter, leave) = if a < b { (a, b) } else { (b, a) };
            part = [if enter > part[0] { enter } else { part[0] }, if leave < part[1] { leave } else { part[1] }];
        }
        (part[0] <= part[1]).then_some(part)
    }
}

fn corner(corner: [i32; 3]) -> Vec3 {
    Vec3::new(corner[0] as f32, corner[1] as f32, corner[2] as f32)
}

/// How far along the ray the box begins (slabs: Kay and Kajiya, "Ray tracing complex scenes", 1986); 0 from inside.
#[must_use]
pub fn box_hit(ray: &Ray, solid: &StaticBox) -> Option<f32> {
    box_hit_at(ray, solid, Vec3::ZERO)
}

/// The same for a box that has moved by `offset`.
pub(crate) fn box_hit_at(ray: &Ray, solid: &StaticBox, offset: Vec3) -> Option<f32> {
    ray.within(corner(solid.min) + offset, corner(solid.max) + offset).map(|[enter, _]| enter)
}

/// How far along the ray the wedge begins that the slope makes of its box; 0 from inside.
#[must_use]
pub fn wedge_hit(ray: &Ray, bounds: &StaticBox, slope: &Slope) -> Option<f32> {
    let [enter, leave] = ray.within(corner(bounds.min), corner(bounds.max))?;
    // How far above the slope, times `run`: at the ray's beginning, and gained with each quantum.
    let (run, sign) = (slope.run as f32, slope.sign as f32);
    let above = run * (ray.from[1] - bounds.min[1] as f32) - sign * (ray.from[slope.axis] - slope.low as f32);
    let gain = run * ray.direction.y - sign * ray.direction[slope.axis];
    if above + gain * enter <= 0.0 {
        return Some(enter);
    }
    let meets = if gain < 0.0 { -above / gain } else { return None };
    (meets <= leave).then_some(meets)
}

/// How far along the ray a body begins whose feet are there (position quanta); 0 from inside.
///
/// The body is the upright capsule of [`RADIUS`] and [`HEIGHT`]. Distances are taken across the ray, not as the
/// difference of large squares (Haines et al., "Precision improvements for ray/sphere intersection", 2019).
#[must_use]
pub fn body_hit(ray: &Ray, feet: [f32; 3]) -> Option<f32> {
    let radius = RADIUS as f32;
    let from = Vec3::from(ray.from) - Vec3::from(feet);
    let (low, high) = (radius, (HEIGHT - RADIUS) as f32);
    let inside = from - Vec3::new(0.0, from.y.clamp(low, high), 0.0);
    if inside.length_squared() <= radius * radius {
        return Some(0.0);
    }
    // Where the ray enters the endless cylinder around the body, seen from above.
    let (dx, dz) = (ray.direction.x, ray.direction.z);
    let pace = dx * dx + dz * dz;
    let mut y = from.y;
    if pace > PARALLEL {
        let nearest = -(from.x * dx + from.z * dz) / pace;
        let (x, z) = (from.x + nearest * dx, from.z + nearest * dz);
        let room = radius * radius - (x * x + z * z);
        if room < 0.0 {
            return None;
        }
        let enter = nearest - (room / pace).sqrt();
        if enter >= 0.0 {
            y = from.y + enter * ray.direction.y;
            if (low..=high).contains(&y) {
                return (enter <= ray.reach).then_some(enter);
            }
        }
    }
    // Above or below the cylinder's part, only the ball at that end can be met.
    let ball = from - Vec3::new(0.0, if y > high { high } else { low }, 0.0);
    let nearest = -ball.dot(ray.direction);
    let room = radius * radius - (ball + ray.direction * nearest).length_squared();
    if room < 0.0 {
        return None;
    }
    let enter = nearest - room.sqrt();
    (0.0..=ray.reach).contains(&enter).then_some(enter)
}

/// A rectangle of x and z in any direction: a ray seen from above, made wider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip {
    from: [f32; 2],
    /// A unit vector.
    along: [f32; 2],
    length: f32,
    /// How far it goes beyond the ray on all sides.
    width: f32,
}

impl Strip {
    pub(crate) fn new(ray: &Ray, width: f32) -> Self {
        let (dx, dz) = (ray.direction.x, ray.direction.z);
        let pace = (dx * dx + dz * dz).sqrt();
        // A ray straight up is a point from above.
        let along = if pace > PARALLEL { [dx / pace, dz / pace] } else { [1.0, 0.0] };
        Self { from: [ray.from[0], ray.from[2]], along, length: ray.reach * pace, width }
    }

    pub(crate) fn wider(self, by: f32) -> Self {
        Self { width: self.width + by, ..self }
    }

    /// Whether a point is in it.
    #[inline]
    pub(crate) fn holds(&self, x: f32, z: f32) -> bool {
        let (x, z) = (x - self.from[0], z - self.from[1]);
        let (along, across) = (x * self.along[0] + z * self.along[1], x * self.along[1] - z * self.along[0]);
        (across.abs() <= self.width) & (along >= -self.width) & (along <= self.length + self.width)
    }

    /// Whether it touches an upright rectangle; may be true for one that only comes near. By separating axes (Ericson,
    /// "Real-Time Collision Detection", 4.4), those of the strip.
    #[inline]
    pub(crate) fn touches(&self, min: [f32; 2], max: [f32; 2]) -> bool {
        let (x, z) = ((min[0] + max[0]) * 0.5 - self.from[0], (min[1] + max[1]) * 0.5 - self.from[1]);
        let (dx, dz) = ((max[0] - min[0]) * 0.5, (max[1] - min[1]) * 0.5);
        let [ux, uz] = [self.along[0].abs(), self.along[1].abs()];
        let (along, across) = (x * self.along[0] + z * self.along[1], x * self.along[1] - z * self.along[0]);
        // A little more, for what was rounded.
        let (deep, wide) = (dx * ux + dz * uz + self.width + 1.0, dx * uz + dz * ux + self.width + 1.0);
        (across.abs() <= wide) & (along >= -deep) & (along <= self.length + deep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramp::{MAX_RUN, Ramp, Side};
    use proptest::prelude::*;

    fn ray(from: [f32; 3], direction: [f32; 3]) -> Ray {
        Ray { from, direction: Vec3::from(direction).normalize(), reach: 10_000.0 }
    }

    #[test]
    fn a_body_is_met_at_its_side_its_head_and_its_feet() {
        let feet = [1000.0, 0.0, 0.0];
        assert_eq!(body_hit(&ray([0.0, 200.0, 0.0], [1.0, 0.0, 0.0]), feet), Some(896.0));
        assert_eq!(body_hit(&ray([1000.0, 1000.0, 0.0], [0.0, -1.0, 0.0]), feet), Some(540.0));
        assert_eq!(body_hit(&ray([1000.0, -50.0, 0.0], [0.0, 1.0, 0.0]), feet), Some(50.0));
        // Over the shoulder: beside the ball of the head, though within the cylinder.
        assert_eq!(body_hit(&ray([0.0, 450.0, 80.0], [1.0, 0.0, 0.0]), feet), None);
        assert!(body_hit(&ray([0.0, 450.0, 20.0], [1.0, 0.0, 0.0]), feet).is_some());
    }

    #[test]
    fn a_body_behind_or_out_of_reach_is_not_met() {
        assert_eq!(body_hit(&ray([0.0, 200.0, 0.0], [-1.0, 0.0, 0.0]), [1000.0, 0.0, 0.0]), None);
        let short = Ray { reach: 895.0, ..ray([0.0, 200.0, 0.0], [1.0, 0.0, 0.0]) };
        assert_eq!(body_hit(&short, [1000.0, 0.0, 0.0]), None);
        assert_eq!(body_hit(&Ray { reach: 896.0, ..short }, [1000.0, 0.0, 0.0]), Some(896.0));
    }

    #[test]
    fn from_within_a_body_or_a_box_the_way_is_nothing() {
        let inside = ray([10.0, 200.0, 5.0], [0.3, 1.0, -0.2]);
        assert_eq!(body_hit(&inside, [0.0; 3]), Some(0.0));
        assert_eq!(box_hit(&inside, &StaticBox { min: [0; 3], max: [300; 3] }), Some(0.0));
    }

    #[test]
    fn a_box_is_met_at_its_face_and_missed_beside_it() {
        let solid = StaticBox { min: [100, 0, -50], max: [200, 300, 50] };
        assert_eq!(box_hit(&ray([0.0, 100.0, 0.0], [1.0, 0.0, 0.0]), &solid), Some(100.0));
        assert_eq!(box_hit(&ray([0.0, 100.0, 51.0], [1.0, 0.0, 0.0]), &solid), None);
        assert_eq!(box_hit(&ray([0.0, 100.0, 0.0], [-1.0, 0.0, 0.0]), &solid), None);
        assert_eq!(box_hit(&ray([150.0, 400.0, 0.0], [0.0, -1.0, 0.0]), &solid), Some(100.0));
    }

    #[test]
    fn a_wedge_is_met_at_its_slope_and_passed_above_it() {
        let (bounds, slope) =
            (StaticBox { min: [0, 0, 0], max: [200, 100, 100] }, Slope { axis: 0, sign: 1, low: 0, run: 2 });
        assert_eq!(wedge_hit(&ray([-50.0, 25.0, 50.0], [1.0, 0.0, 0.0]), &bounds, &slope), Some(100.0));
        assert_eq!(wedge_hit(&ray([100.0, 150.0, 50.0], [0.0, -1.0, 0.0]), &bounds, &slope), Some(100.0));
        assert_eq!(wedge_hit(&ray([300.0, 25.0, 50.0], [-1.0, 0.0, 0.0]), &bounds, &slope), Some(100.0));
        // Above the low end, within the box around it.
        assert_eq!(wedge_hit(&ray([20.0, 90.0, -50.0], [0.0, 0.0, 1.0]), &bounds, &slope), None);
        let away = ray([20.0, 90.0, 50.0], [-1.0, 1.0, 0.0]);
        assert_eq!(wedge_hit(&away, &bounds, &slope), None);
    }

    #[test]
    fn a_strip_touches_what_it_crosses_and_not_all_of_the_rectangle_around() {
        let strip = Strip::new(&ray([0.0, 0.0, 0.0], [1.0, 0.0, 1.0]), 10.0);
        assert!(strip.holds(500.0, 505.0) && !strip.holds(500.0, 520.0) && strip.holds(-5.0, -5.0));
        assert!(strip.touches([490.0, 400.0], [510.0, 500.0]));
        assert!(!strip.touches([0.0, 400.0], [100.0, 500.0]));
        assert!(!strip.touches([-100.0, -100.0], [-20.0, -20.0]));
        let up = Strip::new(&ray([5.0, 0.0, 5.0], [0.0, 1.0, 0.0]), 10.0);
        assert!(up.holds(0.0, 0.0) && !up.holds(20.0, 5.0) && up.touches([10.0, 10.0], [30.0, 30.0]));
    }

    proptest! {
        #[test]
        fn a_solid_begins_where_the_first_point_of_the_ray_is_in_it(
            size in prop::array::uniform3(1i32..400),
            low in prop::array::uniform3(-400i32..400),
            run in 1..=MAX_RUN,
            side in 0usize..4,
            from in prop::array::uniform3(-900f32..900.0),
            to in prop::array::uniform3(-500f32..500.0),
        ) {
            let up = [Side::East, Side::West, Side::South, Side::North][side];
            let ramp = Ramp { min: low, height: size[1], width: size[2], run, up };
            let (bounds, slope) = (ramp.bounds(), ramp.slope());
            let ray = Ray { reach: 3000.0, ..Ray::between(from, to) };
            // Whether the point so far along is in the solid made smaller by `margin` all around.
            let inside = |way: f32, wedge: bool, margin: f32| {
                let at = ray.at(way);
                let within = |axis: usize| {
                    at[axis] > bounds.min[axis] as f32 + margin && at[axis] < bounds.max[axis] as f32 - margin
                };
                let climb = slope.sign as f32 * (at[slope.axis] - slope.low as f32) / run as f32;
                (0..3).all(within) && (!wedge || at[1] - (bounds.min[1] as f32) < climb - 1.5 * margin)
            };
            for (wedge, hit) in [(false, box_hit(&ray, &bounds)), (true, wedge_hit(&ray, &bounds, &slope))] {
                let before = hit.unwrap_or(ray.reach);
                let ways = (0..3000).map(|way| way as f32).take_while(|way| *way < before - 0.1);
                for way in ways {
                    prop_assert!(!inside(way, wedge, 0.1), "{way} {hit:?} {ramp:?}");
                }
                prop_assert!(hit.is_none_or(|way| inside(way, wedge, -0.1)), "{hit:?} {ramp:?}");
            }
        }
    }
}
