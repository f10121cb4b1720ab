//! Who and what is near: the R-trees over the map's boxes and over the entities. The only file that names rstar.
//!
//! Both trees are loaded in one go (OMT: Lee and Lee, "Overlap minimizing top-down bulk loading", 2003)
//! and never changed. The entity tree is fat: it is built every [`REBUILD_TICKS`] ticks, remembers where
//! everybody was then, and a query grows by the margin that nobody can have left since; the few who did
//! (or who came later) are kept in a list by the world. Coordinates are x and z; height is left to the caller.

use crate::entity::EntityId;
use crate::map::{Map, StaticBox};
use crate::movement::MAX_HORIZONTAL_SPEED_MPS;
use crate::schema::{QUANTA_PER_M, X, Z};
use core::ops::ControlFlow;
use netcode::schema::State;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RStarInsertionStrategy, RTree, RTreeObject, RTreeParams};

/// Ticks for which one entity tree serves.
pub const REBUILD_TICKS: u64 = 8;

/// Leaves of 16: loading takes half of what it does with the default 6 (0.16 against 0.31 µs an entity), and a
/// query is no slower (measured with 2,000 and 8,000 entities).
struct Wide;

impl RTreeParams for Wide {
    const MIN_SIZE: usize = 6;
    const MAX_SIZE: usize = 16;
    const REINSERTION_COUNT: usize = 4;
    type DefaultInsertionStrategy = RStarInsertionStrategy;
}

/// A box and its number on the map.
pub type Solid = (u32, StaticBox);

/// The map's boxes by place.
pub struct Statics {
    tree: RTree<GeomWithData<Rectangle<[f32; 2]>, Solid>>,
}

impl Statics {
    /// Indexes the boxes of a map.
    #[must_use]
    pub fn new(map: &Map) -> Self {
        // Box corners have at most 21 bits, which floats hold exactly; rstar's own sums could overflow integers.
        let corner = |corner: [i32; 3]| [corner[0] as f32, corner[2] as f32];
        let items = map.boxes().iter().zip(0..).map(|(solid, number)| {
            GeomWithData::new(Rectangle::from_corners(corner(solid.min), corner(solid.max)), (number, *solid))
        });
        Self { tree: RTree::bulk_load(items.collect()) }
    }

    /// Replaces `out` by the boxes that touch the rectangle `min..=max` of x and z (1/256 m), with their
    /// numbers on the map, in that order.
    pub fn near(&self, min: [i32; 2], max: [i32; 2], out: &mut Vec<Solid>) {
        out.clear();
        let area = AABB::from_corners(min.map(|value| value as f32), max.map(|value| value as f32));
        let _ = self.tree.locate_in_envelope_intersecting_int(area, |item| -> ControlFlow<()> {
            out.push(item.data);
            ControlFlow::Continue(())
        });
        // The order of pushes decides bits, so it must not be the tree's business.
        out.sort_unstable_by_key(|(number, _)| *number);
    }
}

struct Spot {
    at: [f32; 2],
    id: EntityId,
}

impl RTreeObject for Spot {
    type Envelope = AABB<[f32; 2]>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_point(self.at)
    }
}

/// The entities by place, as of some recent tick.
pub struct Space {
    tree: RTree<Spot, Wide>,
    margin_m: f32,
}

impl Space {
    /// Indexes entities where they are now.
    #[must_use]
    pub fn new(ids: &[EntityId], states: &[State], rate_hz: u16) -> Self {
        let metres = |quanta: i32| quanta as f32 / QUANTA_PER_M as f32;
        let spots =
            ids.iter().zip(states).map(|(id, state)| Spot { at: [metres(state[X]), metres(state[Z])], id: *id });
        Self { tree: RTree::bulk_load_with_params(spots.collect()), margin_m: metres(margin(rate_hz)) }
    }

    /// Shows to `visit` every indexed entity that can now be within `radius_m` of `center` (x and z in
    /// metres), and some that are not; the order is the tree's.
    pub fn candidates(&self, center: [f32; 2], radius_m: f32, mut visit: impl FnMut(EntityId)) {
        // The slack covers rounding: the caller's exact test is finer than this one.
        let reach = (radius_m + self.margin_m) * 1.0001 + 1.0 / 64.0;
        if !(reach.is_finite() && center[0].is_finite() && center[1].is_finite() && radius_m >= 0.0) {
            return;
        }
        let area = AABB::from_corners(center.map(|value| value - reach), center.map(|value| value + reach));
        let _ = self.tree.locate_in_envelope_intersecting_int(area, |spot| -> ControlFlow<()> {
            let (dx, dz) = (spot.at[0] - center[0], spot.at[1] - center[1]);
            if dx * dx + dz * dz <= reach * reach {
                visit(spot.id);
            }
            ControlFlow::Continue(())
        });
    }
}

/// How far (1/256 m) an entity may be from where the tree has it and still be found by the tree.
#[must_use]
pub fn margin(rate_hz: u16) -> i32 {
    let metres = MAX_HORIZONTAL_SPEED_MPS * REBUILD_TICKS as f32 / f32::from(rate_hz);
    (metres * QUANTA_PER_M as f32).ceil() as i32
}

/// Where the tree has an entity, or `None` where the tree does not know it well enough.
pub type Anchor = Option<[i32; 2]>;

/// Drops the anchors that their entities have strayed from, and lists everybody without one.
pub fn list_loose(ids: &[EntityId], states: &[State], anchors: &mut [Anchor], margin: i32, loose: &mut Vec<EntityId>) {
    loose.clear();
    let limit = i64::from(margin).pow(2);
    for ((id, state), anchor) in ids.iter().zip(states).zip(anchors) {
        if let Some([x, z]) = *anchor {
            let (dx, dz) = (i64::from(state[X] - x), i64::from(state[Z] - z));
            if dx * dx + dz * dz <= limit {
                continue;
            }
            *anchor = None;
        }
        loose.push(*id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_in_the_order_of_the_map() {
        let solid = |x: i32| StaticBox { min: [x, 0, 0], max: [x + 10, 10, 10] };
        let map = Map::from_boxes(100, &[solid(300), solid(0), solid(100), solid(9000)]);
        let mut out = Vec::new();
        Statics::new(&map).near([0, 0], [310, 10], &mut out);
        let numbers: Vec<_> = out.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn an_entity_beyond_the_margin_is_listed_as_loose() {
        let id = EntityId::from_raw(1).unwrap();
        let mut state = State::default();
        let mut anchors = [Some([0, 0])];
        let mut loose = Vec::new();
        state[X] = 100;
        list_loose(&[id], &[state], &mut anchors, 100, &mut loose);
        assert!(loose.is_empty());
        state[X] = 101;
        list_loose(&[id], &[state], &mut anchors, 100, &mut loose);
        assert_eq!(loose, [id]);
        assert_eq!(anchors, [None]);
    }

    #[test]
    fn areas_that_are_no_numbers_hold_nobody() {
        let id = EntityId::from_raw(1).unwrap();
        let space = Space::new(&[id], &[State::default()], 20);
        for (center, radius) in
            [([f32::NAN, 0.0], 1.0), ([0.0, 0.0], -1.0), ([f32::INFINITY, 0.0], 1.0), ([0.0; 2], f32::NAN)]
        {
            space.candidates(center, radius, |_| panic!("nobody is there"));
        }
    }
}
