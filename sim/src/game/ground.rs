//! All that a tick needs besides the entities: what stands around, the laws of motion, the rulebook.

use super::rulebook::{Rulebook, ticks};
use crate::map::Map;
use crate::movement::Rules;
use crate::ray::{Moment, Ray};
use crate::space::Statics;
use glam::Vec3;
use std::sync::Arc;

/// What server and client both act on. Nothing in it changes.
pub struct Ground {
    /// What stands around.
    pub statics: Statics,
    /// The laws of motion.
    pub rules: Rules,
    /// The rules of the game.
    pub book: Arc<Rulebook>,
    /// Ticks a second.
    pub rate_hz: u16,
    /// Half the side of the map (1/256 m).
    pub half_extent: i32,
}

impl Ground {
    /// The ground of a map.
    #[must_use]
    pub fn new(map: &Map, rate_hz: u16, book: Arc<Rulebook>) -> Self {
        let half_extent = map.half_extent();
        Self { statics: Statics::new(map), rules: Rules::new(rate_hz, half_extent), book, rate_hz, half_extent }
    }

    /// How many ticks so many milliseconds take, rounded up, at least one.
    #[must_use]
    pub fn ticks(&self, ms: u32) -> u64 {
        ticks(ms, self.rate_hz)
    }

    /// How far from `from` towards `to` (1/256 m) the first static thing or the ground of the map is, as things stand at
    /// that moment; `None` where the way is free.
    #[must_use]
    pub fn wall(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> Option<f32> {
        let way = Vec3::from_array(to) - Vec3::from_array(from);
        let reach = way.length();
        if reach <= 0.0 {
            return None;
        }
        let solid = self.statics.cast(&Ray { from, direction: way / reach, reach }, moment);
        let floor = (to[1] < 0.0 && way.y < 0.0).then(|| reach * (from[1] / -way.y).clamp(0.0, 1.0));
        match (solid, floor) {
            (Some(solid), Some(floor)) => Some(solid.min(floor)),
            (one, other) => one.or(other),
        }
    }

    /// Whether one sees from `from` to `to` (1/256 m), as things stand at that moment.
    #[must_use]
    pub fn sees(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> bool {
        !self.statics.blocked(from, to, moment)
    }
}

/// The moment of a tick.
#[must_use]
pub const fn at_tick(tick: u64) -> Moment {
    Moment { tick, share: 0 }
}
