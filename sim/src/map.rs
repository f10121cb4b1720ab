//! The world that no player changes: a ground plane at y = 0, a square bound, boxes, ramps and gates.
//!
//! Everything is aligned to the position grid. A map is generated from a seed with integers alone, so server, client and replay make the same one.

use crate::config::ConfigError;
use crate::gate::{Axis, Gate, MAX_GATE_SPEED};
use crate::grid::QUANTA_PER_M;
use crate::ramp::{MAX_RUN, Ramp, Side};
use crate::rng::{Stream, below, draw};

/// How large a generated map is and how much stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapConfig {
    /// Half the side of the square map around the origin, in metres.
    pub half_extent_m: u16,
    /// Boxes that stand on the ground. Boxes, gates and ramps together are at most one per cell of
    /// [`MapConfig::CELL_M`] metres.
    pub boxes: u32,
    /// Boxes that slide to and fro ([`Gate`]).
    pub gates: u32,
    /// Wedges that one can walk up ([`Ramp`]).
    pub ramps: u32,
}

impl MapConfig {
    /// The smallest half extent in metres.
    pub const MIN_HALF_EXTENT_M: u16 = 16;
    /// The largest half extent in metres (positions have ±4096 m).
    pub const MAX_HALF_EXTENT_M: u16 = 4000;
    /// The side in metres of the cells of which each holds at most one box, gate or ramp.
    pub const CELL_M: u16 = 16;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ConfigError::HalfExtent`] or [`ConfigError::Boxes`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(Self::MIN_HALF_EXTENT_M..=Self::MAX_HALF_EXTENT_M).contains(&self.half_extent_m) {
            return Err(ConfigError::HalfExtent);
        }
        if self.solids() > u64::from(self.cells_per_side().pow(2)) {
            return Err(ConfigError::Boxes);
        }
        Ok(())
    }

    fn solids(&self) -> u64 {
        u64::from(self.boxes) + u64::from(self.gates) + u64::from(self.ramps)
    }

    fn cells_per_side(&self) -> u32 {
        u32::from(self.half_extent_m) * 2 / u32::from(Self::CELL_M)
    }
}

impl Default for MapConfig {
    fn default() -> Self {
        Self { half_extent_m: 256, boxes: 200, gates: 0, ramps: 0 }
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

/// The world that no player changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    half_extent: i32,
    boxes: Vec<StaticBox>,
    ramps: Vec<Ramp>,
    gates: Vec<Gate>,
}

impl Map {
    /// The map of `seed`. Boxes, ramps and gates (wherever they slide) keep at least 2 m from each other, and 1 m from
    /// the edge.
    ///
    /// # Errors
    /// As [`MapConfig::validate`].
    pub fn generate(seed: u64, config: MapConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut map = Self::from_parts(config.half_extent_m, &[], &[], &[]);
        // Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): each set of cells is equally likely, and each way
        // to share them out.
        let side = config.cells_per_side();
        let (mut boxes, mut ramps, mut gates) = (config.boxes, config.ramps, config.gates);
        for number in 0..side * side {
            let wanted = boxes + ramps + gates;
            if below(draw(seed, Stream::Map, 0, number), side * side - number) >= wanted {
                continue;
            }
            let cell = Cell { seed, number, side };
            let pick = below(draw(seed, Stream::Map, 4, number), wanted);
            if pick < boxes {
                boxes -= 1;
                map.boxes.push(cell.block());
            } else if pick < boxes + ramps {
                ramps -= 1;
                map.ramps.push(cell.ramp());
            } else {
                gates -= 1;
                map.gates.push(cell.gate());
            }
        }
        Ok(map)
    }

    /// A map with these boxes, for tests and tools: [`Map::from_parts`] without ramps and gates.
    #[must_use]
    pub fn from_boxes(half_extent_m: u16, boxes: &[StaticBox]) -> Self {
        Self::from_parts(half_extent_m, boxes, &[], &[])
    }

    /// A map with these parts, for tests and tools. All numbers are brought into range; what has no volume is dropped.
    #[must_use]
    pub fn from_parts(half_extent_m: u16, boxes: &[StaticBox], ramps: &[Ramp], gates: &[Gate]) -> Self {
        let metres = half_extent_m.clamp(MapConfig::MIN_HALF_EXTENT_M, MapConfig::MAX_HALF_EXTENT_M);
        let boxes = boxes.iter().filter_map(fit_box).collect();
        let gates = gates.iter().filter_map(|gate| Some(Gate { home: fit_box(&gate.home)?, ..gate.fitted() }));
        Self {
            half_extent: i32::from(metres) * QUANTA_PER_M,
            boxes,
            ramps: ramps.iter().filter_map(fit_ramp).collect(),
            gates: gates.collect(),
        }
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

    /// The ramps.
    #[must_use]
    pub fn ramps(&self) -> &[Ramp] {
        &self.ramps
    }

    /// The gates.
    #[must_use]
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }
}

/// No coordinate lies farther out: 4096 m, as positions.
const FAR: i32 = 1 << 20;

fn fit_box(solid: &StaticBox) -> Option<StaticBox> {
    let fit = |corner: [i32; 3]| corner.map(|value| value.clamp(-FAR, FAR));
    let solid = StaticBox { min: fit(solid.min), max: fit(solid.max) };
    (0..3).all(|axis| solid.min[axis] < solid.max[axis]).then_some(solid)
}

fn fit_ramp(ramp: &Ramp) -> Option<Ramp> {
    let side = |value: i32| value.clamp(0, FAR / MAX_RUN);
    let (height, width, run) = (side(ramp.height), side(ramp.width), ramp.run.clamp(1, MAX_RUN));
    let min = ramp.min.map(|value| value.clamp(-FAR, FAR));
    (height > 0 && width > 0).then_some(Ramp { min, height, width, run, ..*ramp })
}

/// A cell of the generated map; what stands in it keeps 1 m away from its edges.
#[derive(Clone, Copy)]
struct Cell {
    seed: u64,
    number: u32,
    /// Cells on a side of the map.
    side: u32,
}

impl Cell {
    const SIDE: i32 = MapConfig::CELL_M as i32 * QUANTA_PER_M;
    const EDGE: i32 = QUANTA_PER_M;

    fn draw(self, salt: u64) -> u64 {
        draw(self.seed, Stream::Map, salt, self.number)
    }

    /// `least` and up to `steps - 1` times `step` more.
    fn pick(self, salt: u64, least: i32, step: i32, steps: u32) -> i32 {
        least + step * below(self.draw(salt), steps) as i32
    }

    /// Where something so long begins along x and along z.
    fn place(self, salts: [u64; 2], lengths: [i32; 2]) -> [i32; 2] {
        let corner = |index: u32| index as i32 * Self::SIDE - self.side as i32 * Self::SIDE / 2;
        let start = |index, salt, length: i32| {
            let room = (Self::SIDE - 2 * Self::EDGE - length) as u32;
            corner(index) + Self::EDGE + below(self.draw(salt), room) as i32
        };
        [start(self.number % self.side, salts[0], lengths[0]), start(self.number / self.side, salts[1], lengths[1])]
    }

    /// 1.5 to 9 m wide, half a metre to 4 m high.
    fn block(self) -> StaticBox {
        let width = |salt| 3 * QUANTA_PER_M / 2 + below(self.draw(salt) << 32, (15 * QUANTA_PER_M / 2) as u32) as i32;
        let (dx, dz) = (width(1), width(2));
        let [x, z] = self.place([1, 2], [dx, dz]);
        let height = self.pick(3, QUANTA_PER_M / 2, QUANTA_PER_M / 2, 8);
        StaticBox { min: [x, 0, z], max: [x + dx, height, z + dz] }
    }

    /// One in two, 1 to 4 m high, 2 to 6 m wide.
    fn ramp(self) -> Ramp {
        let (height, width) =
            (self.pick(5, QUANTA_PER_M, QUANTA_PER_M / 2, 7), self.pick(6, 2 * QUANTA_PER_M, QUANTA_PER_M, 5));
        let up = match below(self.draw(7), 4) {
            0 => Side::East,
            1 => Side::West,
            2 => Side::South,
            _ => Side::North,
        };
        let mut ramp = Ramp { min: [0; 3], height, width, run: 2, up };
        let [dx, _, dz] = ramp.bounds().max;
        let [x, z] = self.place([8, 9], [dx, dz]);
        ramp.min = [x, 0, z];
        ramp
    }

    /// A wall 3 to 5 m long, 0.5 to 1 m thick and 2.5 to 4 m high that slides 3 to 7 m, 1 to 2 m/s fast.
    fn gate(self) -> Gate {
        let (long, thick) =
            (self.pick(10, 3 * QUANTA_PER_M, QUANTA_PER_M, 3), self.pick(11, QUANTA_PER_M / 2, QUANTA_PER_M / 4, 3));
        let [dx, dz] = if self.draw(12) & 1 == 0 { [long, thick] } else { [thick, long] };
        let height = self.pick(13, 5 * QUANTA_PER_M / 2, QUANTA_PER_M / 2, 4);
        let travel = self.pick(14, 3 * QUANTA_PER_M, QUANTA_PER_M, 5);
        let (along, room) = if self.draw(15) & 1 == 0 { (Axis::X, [travel, 0]) } else { (Axis::Z, [0, travel]) };
        let [x, z] = self.place([16, 17], [dx + room[0], dz + room[1]]);
        let home = StaticBox { min: [x, 0, z], max: [x + dx, height, z + dz] };
        let speed = self.pick(18, MAX_GATE_SPEED / 2, 1, MAX_GATE_SPEED as u32 / 2 + 1);
        Gate { home, along, travel, speed, ahead_ms: below(self.draw(19), 20_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_as_many_solids_as_asked_for_and_they_keep_apart() {
        let config = MapConfig { half_extent_m: 100, boxes: 60, gates: 44, ramps: 40 };
        let map = Map::generate(7, config).unwrap();
        assert_eq!((map.boxes().len(), map.gates().len(), map.ramps().len()), (60, 44, 40));
        let gap = 2 * QUANTA_PER_M;
        let (ramps, gates) = (map.ramps().iter().map(Ramp::bounds), map.gates().iter().map(Gate::swept));
        let solids: Vec<_> = map.boxes().iter().copied().chain(ramps).chain(gates).collect();
        for (i, a) in solids.iter().enumerate() {
            assert!(a.min.iter().zip(&a.max).all(|(min, max)| min < max));
            assert!(a.min[0] > -map.half_extent() && a.max[0] < map.half_extent());
            for b in &solids[..i] {
                let apart = |axis: usize| a.min[axis] - b.max[axis] >= gap || b.min[axis] - a.max[axis] >= gap;
                assert!(apart(0) || apart(2));
            }
        }
    }

    #[test]
    fn the_seed_decides_the_map() {
        let config = MapConfig { half_extent_m: 64, boxes: 10, gates: 5, ramps: 3 };
        assert_eq!(Map::generate(1, config), Map::generate(1, config));
        assert_ne!(Map::generate(1, config), Map::generate(2, config));
    }

    #[test]
    fn solids_without_volume_are_dropped() {
        let flat = StaticBox { min: [0, 0, 0], max: [5, 0, 5] };
        let ramp = Ramp { min: [0; 3], height: 9, width: -3, run: 2, up: Side::East };
        let gate = Gate { home: flat, along: Axis::X, travel: 9, speed: 9, ahead_ms: 0 };
        let map = Map::from_parts(32, &[flat], &[ramp], &[gate]);
        assert!(map.boxes().is_empty() && map.ramps().is_empty() && map.gates().is_empty());
    }
}
