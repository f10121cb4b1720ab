//! The static world: a ground plane at y = 0, a square bound, and boxes aligned to the position grid.
//!
//! A map is generated from a seed with integers alone, so server, client and replay make the same one.

use crate::config::ConfigError;
use crate::rng::{Stream, below, draw};
use crate::schema::QUANTA_PER_M;

/// How large a generated map is and how much stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapConfig {
    /// Half the side of the square map around the origin, in metres.
    pub half_extent_m: u16,
    /// Boxes that stand on the ground, at most one per cell of [`MapConfig::CELL_M`] metres.
    pub boxes: u32,
}

impl MapConfig {
    /// The smallest half extent in metres.
    pub const MIN_HALF_EXTENT_M: u16 = 16;
    /// The largest half extent in metres (positions have ±4096 m).
    pub const MAX_HALF_EXTENT_M: u16 = 4000;
    /// The side in metres of the cells of which each holds at most one box.
    pub const CELL_M: u16 = 16;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ConfigError::HalfExtent`] or [`ConfigError::Boxes`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(Self::MIN_HALF_EXTENT_M..=Self::MAX_HALF_EXTENT_M).contains(&self.half_extent_m) {
            return Err(ConfigError::HalfExtent);
        }
        if self.boxes > self.cells_per_side().pow(2) {
            return Err(ConfigError::Boxes);
        }
        Ok(())
    }

    fn cells_per_side(&self) -> u32 {
        u32::from(self.half_extent_m) * 2 / u32::from(Self::CELL_M)
    }
}

impl Default for MapConfig {
    fn default() -> Self {
        Self { half_extent_m: 256, boxes: 200 }
    }
}

/// An axis-aligned solid, in position quanta (1/256 m).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticBox {
    /// The least x, y and z.
    pub min: [i32; 3],
    /// The greatest x, y and z.
    pub max: [i32; 3],
}

/// The static world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    half_extent: i32,
    boxes: Vec<StaticBox>,
}

impl Map {
    /// The map of `seed`. Boxes keep at least 2 m from each other and from the edge.
    ///
    /// # Errors
    /// As [`MapConfig::validate`].
    pub fn generate(seed: u64, config: MapConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let side = config.cells_per_side();
        let mut boxes = Vec::with_capacity(config.boxes as usize);
        // Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): each set of cells is equally likely.
        let mut wanted = config.boxes;
        for cell in 0..side * side {
            let bits = draw(seed, Stream::Map, 0, cell);
            if below(bits, side * side - cell) < wanted {
                wanted -= 1;
                boxes.push(box_in_cell(seed, cell, side));
            }
        }
        Ok(Self { half_extent: i32::from(config.half_extent_m) * QUANTA_PER_M, boxes })
    }

    /// A map with these boxes, for tests and tools. The half extent and the boxes are brought into range;
    /// boxes without volume are dropped.
    #[must_use]
    pub fn from_boxes(half_extent_m: u16, boxes: &[StaticBox]) -> Self {
        let metres = half_extent_m.clamp(MapConfig::MIN_HALF_EXTENT_M, MapConfig::MAX_HALF_EXTENT_M);
        let fit = |corner: [i32; 3]| corner.map(|value| value.clamp(-(1 << 20), 1 << 20));
        let boxes = boxes.iter().map(|solid| StaticBox { min: fit(solid.min), max: fit(solid.max) });
        let boxes = boxes.filter(|solid| (0..3).all(|axis| solid.min[axis] < solid.max[axis])).collect();
        Self { half_extent: i32::from(metres) * QUANTA_PER_M, boxes }
    }

    /// Half the side of the map, in position quanta.
    #[must_use]
    pub const fn half_extent(&self) -> i32 {
        self.half_extent
    }

    /// The boxes.
    #[must_use]
    pub fn boxes(&self) -> &[StaticBox] {
        &self.boxes
    }
}

/// The box of a cell: 1.5 to 9 m wide, half a metre to 4 m high, at least 1 m away from the cell's edges.
fn box_in_cell(seed: u64, cell: u32, side: u32) -> StaticBox {
    const CELL: i32 = MapConfig::CELL_M as i32 * QUANTA_PER_M;
    const EDGE: i32 = QUANTA_PER_M;
    let corner = |index: u32| index as i32 * CELL - side as i32 * CELL / 2;
    let span = |salt: u64, from: i32| {
        let bits = draw(seed, Stream::Map, salt, cell);
        let width = 3 * QUANTA_PER_M / 2 + below(bits << 32, (15 * QUANTA_PER_M / 2) as u32) as i32;
        let start = from + EDGE + below(bits, (CELL - 2 * EDGE - width) as u32) as i32;
        (start, start + width)
    };
    let (x, z) = (span(1, corner(cell % side)), span(2, corner(cell / side)));
    let height = QUANTA_PER_M / 2 * (1 + below(draw(seed, Stream::Map, 3, cell), 8) as i32);
    StaticBox { min: [x.0, 0, z.0], max: [x.1, height, z.1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_as_many_boxes_as_asked_for_and_they_keep_apart() {
        let config = MapConfig { half_extent_m: 100, boxes: 144 };
        let map = Map::generate(7, config).unwrap();
        assert_eq!(map.boxes().len(), 144);
        let gap = 2 * QUANTA_PER_M;
        for (i, a) in map.boxes().iter().enumerate() {
            assert!(a.min.iter().zip(&a.max).all(|(min, max)| min < max));
            assert!(a.min[0] > -map.half_extent() && a.max[0] < map.half_extent());
            for b in &map.boxes()[..i] {
                let apart = |axis: usize| a.min[axis] - b.max[axis] >= gap || b.min[axis] - a.max[axis] >= gap;
                assert!(apart(0) || apart(2));
            }
        }
    }

    #[test]
    fn the_seed_decides_the_map() {
        let config = MapConfig { half_extent_m: 64, boxes: 10 };
        assert_eq!(Map::generate(1, config), Map::generate(1, config));
        assert_ne!(Map::generate(1, config), Map::generate(2, config));
    }

    #[test]
    fn boxes_without_volume_are_dropped() {
        let flat = StaticBox { min: [0, 0, 0], max: [5, 0, 5] };
        assert!(Map::from_boxes(32, &[flat]).boxes().is_empty());
    }
}
