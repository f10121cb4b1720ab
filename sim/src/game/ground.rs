//! All that a tick needs besides the entities: what stands around, the laws of motion, the rulebook.

use super::rulebook::{Rulebook, ticks};
use crate::map::Map;
use crate::movement::Rules;
use crate::ray::Ray;
use crate::rewind::Moment;
use crate::space::Statics;
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
        Self {
            statics: Statics::new(map, rate_hz),
            rules: Rules::new(rate_hz, half_extent),
            book,
            rate_hz,
            half_extent,
        }
    }

    /// How many ticks so many milliseconds take, rounded up, at least one.
    #[must_use]
    pub fn ticks(&self, ms: u32) -> u64 {
        ticks(ms, self.rate_hz)
    }

    /// How far from `from` towards `to` (1/256 m) the first solid or the ground is, as things stand at that moment; `None`
    /// where the way is free.
    #[must_use]
    pub fn wall(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> Option<f32> {
        self.statics.cast(&Ray::between(from, to), moment)
    }

    /// Whether one sees from `from` to `to` (1/256 m), as things stand at that moment.
    #[must_use]
    pub fn sees(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> bool {
        !self.statics.blocked(from, to, moment)
    }
}
