//! The map's solids by place: what is near a body, and what a ray meets, at any tick.

use crate::contact::RADIUS;
use crate::gate::Slide;
use crate::map::{Map, StaticBox};
use crate::ramp::{Ramp, Slope};
use crate::ray::{Ray, Strip, box_hit, box_hit_at, wedge_hit};
use crate::rewind::Moment;
use crate::space::Rectangles;
use core::ops::RangeInclusive;
use glam::Vec3;

/// What a solid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A box that stands still.
    Block,
    /// A ramp: the part of its box that lies under the slope.
    Wedge(Slope),
    /// A box that slides along this axis (0 or 2).
    Gate(usize),
}

/// A solid at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solid {
    /// Its number: first gates, then boxes, then ramps, in the order of the map.
    pub number: u32,
    /// The box around it.
    pub bounds: StaticBox,
    /// What it is of that box.
    pub shape: Shape,
}

impl From<StaticBox> for Solid {
    fn from(bounds: StaticBox) -> Self {
        Self { number: 0, bounds, shape: Shape::Block }
    }
}

impl From<Ramp> for Solid {
    fn from(ramp: Ramp) -> Self {
        Self { number: 0, bounds: ramp.bounds(), shape: Shape::Wedge(ramp.slope()) }
    }
}

/// The solids of a map, with the gates where they are at any tick of one rate.
pub struct Statics {
    rectangles: Rectangles,
    /// Where any of them is, and where gates may move a body.
    built: Cells,
    stirred: Cells,
    gates: Vec<Slide>,
    /// Those that stand still.
    fixed: Vec<(StaticBox, Shape)>,
}

impl Statics {
    /// Indexes the solids of a map, for so many ticks a second.
    #[must_use]
    pub fn new(map: &Map, rate_hz: u16) -> Self {
        let boxes = map.boxes().iter().map(|solid| (*solid, Shape::Block));
        let ramps = map.ramps().iter().map(|ramp| (ramp.bounds(), Shape::Wedge(ramp.slope())));
        let fixed: Vec<_> = boxes.chain(ramps).collect();
        let flat = |StaticBox { min, max }: StaticBox| [[min[0], min[2]], [max[0], max[2]]];
        let mut bounds: Vec<_> = map.gates().iter().map(|gate| flat(gate.swept())).collect();
        let mut stirred = Cells::new(map.half_extent());
        for [min, max] in &bounds {
            stirred.fill(min.map(|at| at - RADIUS - 2), max.map(|at| at + RADIUS + 2));
        }
        bounds.extend(fixed.iter().map(|(bounds, _)| flat(*bounds)));
        let mut built = Cells::new(map.half_extent());
        bounds.iter().for_each(|[min, max]| built.fill(*min, *max));
        let rectangles = Rectangles::new(bounds.into_iter());
        Self {
            rectangles,
            built,
            stirred,
            gates: map.gates().iter().map(|gate| Slide::new(gate, rate_hz)).collect(),
            fixed,
        }
    }

    /// Replaces `out` by the solids that touch the rectangle `min..=max` of x and z (1/256 m) after `tick`, by number.
    pub fn near(&self, min: [i32; 2], max: [i32; 2], tick: u64, out: &mut Vec<Solid>) {
        out.clear();
        // Most looks are at empty ground, and cost nothing.
        if !self.built.holds(min, max) {
            return;
        }
        self.rectangles.touching(min, max, |number| {
            let Some(solid) = self.solid(number, tick) else { return };
            let StaticBox { min: low, max: high } = solid.bounds;
            let moved_away = low[0] > max[0] || low[2] > max[1] || high[0] < min[0] || high[2] < min[1];
            if !moved_away {
                out.push(solid);
            }
        });
        // The order of pushes decides bits, so it must not be the tree's business.
        out.sort_unstable_by_key(|solid| solid.number);
    }

    /// Whether a gate ever comes near a body at that x and z (1/256 m).
    #[must_use]
    pub fn moves_near(&self, at: [i32; 2]) -> bool {
        !self.gates.is_empty() && self.stirred.holds(at, at)
    }

    /// How far along the ray (1/256 m) the first solid of that moment begins, or the ground.
    #[must_use]
    pub fn cast(&self, ray: &Ray, moment: Moment) -> Option<f32> {
        let ground = (ray.direction.y < 0.0).then(|| (ray.from[1] / -ray.direction.y).max(0.0));
        let mut best = ground.filter(|at| *at <= ray.reach);
        self.rectangles.along(&Strip::new(ray, 0.0), |number| {
            let rest = Ray { reach: best.unwrap_or(ray.reach), ..*ray };
            best = self.hit(number, &rest, moment).or(best);
        });
        best
    }

    /// Whether anything solid lies between the two points (1/256 m) at that moment.
    #[must_use]
    pub fn blocked(&self, from: [f32; 3], to: [f32; 3], moment: Moment) -> bool {
        self.cast(&Ray::between(from, to), moment).is_some()
    }

    fn solid(&self, number: u32, tick: u64) -> Option<Solid> {
        let at = number as usize;
        if let Some(slide) = self.gates.get(at) {
            return Some(Solid { number, bounds: slide.place(tick), shape: Shape::Gate(slide.axis()) });
        }
        let (bounds, shape) = *self.fixed.get(at - self.gates.len())?;
        Some(Solid { number, bounds, shape })
    }

    fn hit(&self, number: u32, ray: &Ray, moment: Moment) -> Option<f32> {
        let at = number as usize;
        if let Some(slide) = self.gates.get(at) {
            let mut offset = Vec3::ZERO;
            offset[slide.axis()] = slide.offset_between(moment.tick, moment.share);
            return box_hit_at(ray, slide.home(), offset);
        }
        match self.fixed.get(at - self.gates.len())? {
            (bounds, Shape::Wedge(slope)) => wedge_hit(ray, bounds, slope),
            (bounds, _) => box_hit(ray, bounds),
        }
    }
}

/// Which cells of the map hold something.
struct Cells {
    half_extent: i32,
    /// Cells on a side, and a cell's side as a power of two of quanta.
    side: i32,
    shift: u32,
    bits: Vec<u64>,
}

impl Cells {
    /// The most cells on a side, so that all fit a processor's nearer caches.
    const MAX_SIDE: i32 = 512;

    fn new(half_extent: i32) -> Self {
        // From 4 m on.
        let mut shift = 10;
        while (2 * half_extent) >> shift >= Self::MAX_SIDE {
            shift += 1;
        }
        let side = ((2 * half_extent) >> shift) + 1;
        Self { half_extent, side, shift, bits: vec![0; (side * side) as usize / 64 + 1] }
    }

    /// The first and the last cell of an interval, those beyond the map as the ones at its edge.
    fn cells(&self, from: i32, to: i32) -> RangeInclusive<i32> {
        let cell = |at: i32| (at.saturating_add(self.half_extent) >> self.shift).clamp(0, self.side - 1);
        cell(from)..=cell(to)
    }

    fn fill(&mut self, min: [i32; 2], max: [i32; 2]) {
        for z in self.cells(min[1], max[1]) {
            for x in self.cells(min[0], max[0]) {
                let at = (z * self.side + x) as usize;
                if let Some(word) = self.bits.get_mut(at / 64) {
                    *word |= 1 << (at % 64);
                }
            }
        }
    }

    fn holds(&self, min: [i32; 2], max: [i32; 2]) -> bool {
        for z in self.cells(min[1], max[1]) {
            for x in self.cells(min[0], max[0]) {
                let at = (z * self.side + x) as usize;
                if self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 != 0) {
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Axis, Gate};

    fn crate_at(x: i32) -> StaticBox {
        StaticBox { min: [x, 0, 0], max: [x + 10, 10, 10] }
    }

    fn near(map: &Map, max_x: i32, tick: u64) -> Vec<u32> {
        let mut out = Vec::new();
        Statics::new(map, 20).near([0, 0], [max_x, 10], tick, &mut out);
        out.iter().map(|solid| solid.number).collect()
    }

    #[test]
    fn solids_come_in_the_order_of_the_map() {
        let map = Map::from_boxes(100, &[crate_at(300), crate_at(0), crate_at(100), crate_at(9000)]);
        assert_eq!(near(&map, 310, 0), [0, 1, 2]);
    }

    #[test]
    fn a_gate_is_near_while_it_is_there() {
        let gate = Gate { home: crate_at(0), along: Axis::X, travel: 500, speed: 100, ahead_ms: 0 };
        let map = Map::from_parts(100, &[crate_at(5)], &[], &[gate]);
        assert_eq!(near(&map, 50, 0), [0, 1]);
        assert_eq!(near(&map, 50, 25), [1]);
    }

    #[test]
    fn a_ray_meets_the_nearest_solid_and_the_ground() {
        let map = Map::from_boxes(100, &[crate_at(300), crate_at(100)]);
        let statics = Statics::new(&map, 20);
        let at = Moment::after(1);
        let level = Ray { from: [0.0, 5.0, 5.0], direction: Vec3::X, reach: 1000.0 };
        assert_eq!(statics.cast(&level, at), Some(100.0));
        assert_eq!(statics.cast(&Ray { reach: 99.0, ..level }, at), None);
        assert_eq!(statics.cast(&Ray { from: [0.0, 11.0, 5.0], ..level }, at), None);
        assert_eq!(statics.cast(&Ray { direction: Vec3::NEG_Y, ..level }, at), Some(5.0));
        assert!(statics.blocked([0.0, 5.0, 5.0], [400.0, 5.0, 5.0], at));
        assert!(!statics.blocked([0.0, 5.0, 20.0], [400.0, 5.0, 20.0], at));
    }

    #[test]
    fn a_gate_hides_what_was_behind_it_at_that_moment() {
        // 20 quanta a tick along z.
        let gate = Gate { home: crate_at(100), along: Axis::Z, travel: 1000, speed: 100, ahead_ms: 0 };
        let statics = Statics::new(&Map::from_parts(100, &[], &[], &[gate]), 20);
        let through = |z: f32, moment| statics.blocked([0.0, 5.0, z], [400.0, 5.0, z], moment);
        assert!(through(5.0, Moment::after(0)) && !through(5.0, Moment::after(1)));
        assert!(through(15.0, Moment { tick: 0, share: 16 }) && !through(9.0, Moment { tick: 0, share: 16 }));
    }
}
