//! Rays against boxes and bodies.

use crate::contact::{HEIGHT, RADIUS};
use crate::entity::EntityId;
use crate::space::{Solid, Statics};
use glam::Vec3;

/// A ray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ray {
    /// Where it begins (1/256 m).
    pub from: [f32; 3],
    /// Its direction, of length 1.
    pub direction: Vec3,
    /// How far it reaches (1/256 m).
    pub reach: f32,
}

/// A moment between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The tick before it.
    pub tick: u64,
    /// How much of the way to the next tick, in 1/32.
    pub share: u8,
}

impl Moment {
    /// So many 1/32 ticks before `tick`.
    #[must_use]
    pub fn before(tick: u64, parts: u32) -> Self {
        let at = (tick * 32).saturating_sub(u64::from(parts));
        Self { tick: at / 32, share: (at % 32) as u8 }
    }
}

/// What a ray struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// A body.
    Body(EntityId),
    /// Something static.
    Wall,
}

/// Where a ray ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// At what.
    pub what: Struck,
    /// So far along the ray (1/256 m).
    pub at: f32,
}

impl Statics {
    /// How far the ray gets (1/256 m), if anything static stops it.
    #[must_use]
    pub fn cast(&self, ray: &Ray, _moment: Moment) -> Option<f32> {
        let mut near: Vec<Solid> = Vec::new();
        let from = Vec3::from_array(ray.from);
        let to = from + ray.direction * ray.reach;
        let (low, high) = (from.min(to), from.max(to));
        self.near([low.x as i32 - 1, low.z as i32 - 1], [high.x as i32 + 1, high.z as i32 + 1], &mut near);
        let hits = near.iter().filter_map(|(_, solid)| {
            let (mut enter, mut leave) = (0.0f32, ray.reach);
            for axis in 0..3 {
                let (d, a) = (ray.direction[axis], from[axis]);
                let (lo, hi) = (solid.min[axis] as f32, solid.max[axis] as f32);
                if d == 0.0 {
                    if a < lo || a > hi {
                        return None;
                    }
                    continue;
                }
                let (s, e) = ((lo - a) / d, (hi - a) / d);
                enter = enter.max(s.min(e));
                leave = leave.min(s.max(e));
            }
            (enter <= leave).then_some(enter)
        });
        hits.reduce(f32::min)
    }

    /// Whether anything static is between two places (1/256 m).
    #[must_use]
    pub fn blocked(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> bool {
        let way = Vec3::from_array(to) - Vec3::from_array(from);
        let reach = way.length();
        reach > 0.0 && self.cast(&Ray { from, direction: way / reach, reach }, moment).is_some()
    }
}

/// How far along the ray it meets the body with its feet there.
#[must_use]
pub fn body_hit(ray: &Ray, feet: [f32; 3]) -> Option<f32> {
    let r = RADIUS as f32;
    let from = Vec3::from_array(ray.from) - Vec3::from_array(feet);
    let (low, high) = (r, HEIGHT as f32 - r);
    let sphere = |y: f32| {
        let to = from - Vec3::new(0.0, y, 0.0);
        let b = to.dot(ray.direction);
        let c = to.length_squared() - r * r;
        let d = b * b - c;
        if c <= 0.0 {
            return Some(0.0);
        }
        (d >= 0.0 && -b - d.sqrt() >= 0.0).then(|| -b - d.sqrt())
    };
    let flat = ray.direction.x * ray.direction.x + ray.direction.z * ray.direction.z;
    let side = (flat > 1e-9).then(|| {
        let b = (from.x * ray.direction.x + from.z * ray.direction.z) / flat;
        let c = (from.x * from.x + from.z * from.z - r * r) / flat;
        let d = b * b - c;
        let at = if d >= 0.0 { -b - d.sqrt() } else { f32::NAN };
        let y = from.y + ray.direction.y * at;
        (at >= 0.0 && y >= low && y <= high).then_some(at)
    });
    let hits = [side.flatten(), sphere(low), sphere(high)];
    hits.into_iter().flatten().reduce(f32::min).filter(|at| *at <= ray.reach)
}
