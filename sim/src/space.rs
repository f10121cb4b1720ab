//! Who and what is near: the R-trees over the map's solids and over the entities. The only file that names rstar.
//!
//! Both trees are loaded in one go and never changed. That of the solids is rstar's (OMT: Lee and Lee, "Overlap minimizing
//! top-down bulk loading", 2003); that of the entities has three levels in two arrays, which the next tree but some takes
//! over ([`Space::rebuild`]), so that a world makes no new ones. It is fat: it is built every [`REBUILD_TICKS`] ticks, remembers where
//! everybody was then, and a look grows by the margin that hardly anybody can have left since; the few who did
//! (or who came later) are listed beside it ([`crate::spots`]). Coordinates are x and z; height is left to the caller.

use crate::grid::{QUANTA_PER_M, X, Z};
use crate::ray::Strip;
use crate::spots::NO_SLOT;
use core::ops::{ControlFlow, Range};
use netcode::schema::State;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, Envelope, ParentNode, RTree, RTreeNode, RTreeObject};

pub use crate::statics::{Solid, Statics};

/// Ticks for which one entity tree serves.
pub const REBUILD_TICKS: u64 = 8;
/// Slots of a tile.
pub const TILE: usize = 16;

/// Rectangles of x and z (1/256 m) by place; each has its number in the order in which they were given.
pub(crate) struct Rectangles {
    tree: RTree<GeomWithData<Rectangle<[f32; 2]>, u32>>,
}

impl Rectangles {
    pub(crate) fn new(rectangles: impl Iterator<Item = [[i32; 2]; 2]>) -> Self {
        let items = rectangles.zip(0..).map(|([min, max], number)| {
            GeomWithData::new(Rectangle::from_corners(to_floats(min), to_floats(max)), number)
        });
        Self { tree: RTree::bulk_load(items.collect()) }
    }

    /// Shows to `visit` the number of every rectangle that touches this one; the order is the tree's.
    pub(crate) fn touching(&self, min: [i32; 2], max: [i32; 2], mut visit: impl FnMut(u32)) {
        let area = AABB::from_corners(to_floats(min), to_floats(max));
        let _ = self.tree.locate_in_envelope_intersecting_int(area, |item| -> ControlFlow<()> {
            visit(item.data);
            ControlFlow::Continue(())
        });
    }

    /// The same for a strip; some that only come near may be among them.
    pub(crate) fn along(&self, strip: &Strip, mut visit: impl FnMut(u32)) {
        descend(self.tree.root(), strip, &mut |item| visit(item.data));
    }
}

/// Exact for positions, which have at most 21 bits; rstar's own sums could overflow integers.
fn to_floats(corner: [i32; 2]) -> [f32; 2] {
    corner.map(|value| value as f32)
}

/// Shows to `visit` all below a node that the strip may touch: each node is tested against the strip itself, since the
/// rectangle around a long one holds many times as much.
fn descend<T: RTreeObject<Envelope = AABB<[f32; 2]>>>(node: &ParentNode<T>, strip: &Strip, visit: &mut impl FnMut(&T)) {
    for child in node.children() {
        let bounds = child.envelope();
        if strip.touches(bounds.lower(), bounds.upper()) {
            match child {
                RTreeNode::Leaf(item) => visit(item),
                RTreeNode::Parent(node) => descend(node, strip, visit),
            }
        }
    }
}

/// Neighbours, and the rectangle of x and z (1/256 m) around them.
struct Tile {
    bounds: AABB<[f32; 2]>,
    entities: u32,
}

/// Tiles in a row along z, and the rectangle around them.
struct Lane {
    bounds: AABB<[f32; 2]>,
    tiles: Range<usize>,
}

/// The entities by place, as of some recent tick: each has a slot, and neighbours share a tile of [`TILE`] slots.
///
/// A tree of tiles instead of entities is built in a third of the time, and a look at a tile is a walk along an array.
/// Of `n` tiles there are about `sqrt(n)` lanes of as many tiles each.
pub struct Space {
    lanes: Vec<Lane>,
    tiles: Vec<Tile>,
    bounds: AABB<[f32; 2]>,
    entities: usize,
    /// Scratch: places and rows to sort.
    keys: Vec<u64>,
    /// By tile and slot: x and z, 1/256 m; zeros where a tile is not full.
    places: Vec<[[i32; 2]; TILE]>,
}

impl Space {
    /// Indexes entities where they are now, and replaces `slots` by theirs, row by row.
    ///
    /// The tiles are those of a sort-tile-recursive tree (Leutenegger, Edgington, Lopez: "STR: a simple and efficient
    /// algorithm for R-tree packing", 1997): strips of equal numbers along x, each cut along z.
    #[must_use]
    pub fn new(states: &[State], slots: &mut Vec<u32>) -> Self {
        let bounds = AABB::new_empty();
        let (lanes, tiles) = (Vec::new(), Vec::new());
        let mut space = Self { lanes, tiles, bounds, entities: 0, keys: Vec::new(), places: Vec::new() };
        space.rebuild(states, slots);
        space
    }

    /// As [`Space::new`], in the memory of a space that is of no use any more.
    pub fn rebuild(&mut self, states: &[State], slots: &mut Vec<u32>) {
        let key = |axis: usize, row: u32| {
            let place = states.get(row as usize).map_or(0, |state| state[axis]);
            u64::from(place.wrapping_sub(i32::MIN) as u32) << 32 | u64::from(row)
        };
        let Self { lanes, tiles, bounds, entities, keys, places } = self;
        (*bounds, *entities) = (AABB::new_empty(), states.len());
        lanes.clear();
        tiles.clear();
        places.clear();
        keys.clear();
        keys.extend((0..states.len() as u32).map(|row| key(X, row)));
        keys.sort_unstable();
        let strips = (keys.len() as f32 / TILE as f32).sqrt().ceil() as usize;
        slots.clear();
        slots.resize(states.len(), NO_SLOT);
        for strip in shares(keys.len(), strips) {
            let Some(strip) = keys.get_mut(strip) else { continue };
            strip.iter_mut().for_each(|key_x| *key_x = key(Z, *key_x as u32));
            strip.sort_unstable();
            let mut lane = Lane { bounds: AABB::new_empty(), tiles: tiles.len()..tiles.len() };
            for tile in shares(strip.len(), strip.len().div_ceil(TILE)) {
                let rows = strip.get(tile).unwrap_or_default().iter().map(|key| *key as u32);
                let tile = place_tile(rows, states, places, slots);
                lane.bounds.merge(&tile.bounds);
                tiles.push(tile);
            }
            lane.tiles.end = tiles.len();
            bounds.merge(&lane.bounds);
            lanes.push(lane);
        }
    }

    /// How many tiles there are.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.places.len()
    }

    /// Where the entity of a slot was when the tree was built (x and z, 1/256 m); slot `s` is the `s % TILE`-th of tile
    /// `s / TILE`.
    #[must_use]
    pub fn place(&self, slot: u32) -> Option<[i32; 2]> {
        self.places.as_flattened().get(slot as usize).copied()
    }

    /// Shows to `visit` the number of every tile that touches the rectangle (1/256 m); the order is the tree's.
    pub fn touching(&self, [min, max]: [[f32; 2]; 2], mut visit: impl FnMut(usize)) {
        let area = AABB::from_corners(min, max);
        self.visit(|bounds| area.intersects(bounds), |number, _| visit(number));
    }

    /// Shows to `visit` the number of every tile that the strip may touch; the order is the tree's.
    pub(crate) fn along(&self, strip: &Strip, mut visit: impl FnMut(usize)) {
        self.visit(|bounds| strip.touches(bounds.lower(), bounds.upper()), |number, _| visit(number));
    }

    /// Entities per square of 1/256 m by 1/256 m in the tiles that touch the rectangle; overall where none does.
    #[must_use]
    pub fn density(&self, [min, max]: [[f32; 2]; 2]) -> f32 {
        let (mut entities, mut area) = (0, 0.0);
        let within = AABB::from_corners(min, max);
        self.visit(
            |bounds| within.intersects(bounds),
            |_, tile| {
                entities += tile.entities;
                area += tile.bounds.area();
            },
        );
        if entities == 0 {
            (entities, area) = (self.entities as u32, self.bounds.area());
        }
        entities as f32 / area
    }

    fn visit(&self, touches: impl Fn(&AABB<[f32; 2]>) -> bool, mut visit: impl FnMut(usize, &Tile)) {
        for lane in self.lanes.iter().filter(|lane| touches(&lane.bounds)) {
            let tiles = self.tiles.get(lane.tiles.clone()).unwrap_or_default();
            for (number, tile) in lane.tiles.clone().zip(tiles).filter(|(_, tile)| touches(&tile.bounds)) {
                visit(number, tile);
            }
        }
    }
}

/// The ranges of `parts` equal shares of `0..len`, the longest one longer by one at most.
fn shares(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    (0..parts).map(move |part| len * part / parts..len * (part + 1) / parts)
}

/// Makes the next tile, of these rows.
fn place_tile(
    rows: impl Iterator<Item = u32>,
    states: &[State],
    places: &mut Vec<[[i32; 2]; TILE]>,
    slots: &mut [u32],
) -> Tile {
    let (mut tile, mut bounds, mut entities) = ([[0; 2]; TILE], AABB::new_empty(), 0);
    let number = places.len() as u32;
    for (row, place) in rows.zip(&mut tile) {
        if let (Some(state), Some(slot)) = (states.get(row as usize), slots.get_mut(row as usize)) {
            *place = [state[X], state[Z]];
            *slot = number * TILE as u32 + entities;
            bounds.merge(&AABB::from_point(place.map(|quanta| quanta as f32)));
            entities += 1;
        }
    }
    places.push(tile);
    Tile { bounds, entities }
}

/// How far (1/256 m) an entity gets at that speed in so many ticks, rounded up.
#[must_use]
pub fn margin(speed_mps: f32, rate_hz: u16, ticks: u64) -> i32 {
    let metres = speed_mps * ticks.min(REBUILD_TICKS) as f32 / f32::from(rate_hz);
    (metres * QUANTA_PER_M as f32).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_tiles_and_every_row_has_a_slot() {
        let state = |n: i32| {
            let mut state = State::default();
            (state[X], state[Z]) = (n * 7919 % 1000, n * 104_729 % 997);
            state
        };
        let states: Vec<State> = (0..300).map(state).collect();
        let mut slots = vec![5; 2];
        let space = Space::new(&states, &mut slots);
        assert_eq!(slots.len(), 300);
        assert!((300 / TILE..300 / TILE * 2).contains(&space.tiles()));
        let mut tiles: Vec<u32> = Vec::new();
        for (slot, state) in slots.iter().zip(&states) {
            assert_eq!(space.place(*slot), Some([state[X], state[Z]]));
            tiles.push(slot / TILE as u32);
        }
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), 300);
        let place = [states[0][X] as f32, states[0][Z] as f32];
        let mut touched = Vec::new();
        space.touching([place; 2], |tile| touched.push(tile as u32));
        assert!(touched.contains(&tiles[0]) && touched.len() <= 2, "{touched:?}");
    }

    #[test]
    fn density_is_that_of_the_place_or_else_of_all() {
        let state = |x: i32, n: i32| {
            let mut state = State::default();
            (state[X], state[Z]) = (x, n % 4);
            state
        };
        let states: Vec<State> = (0..16).flat_map(|n| [state(n, n), state(100_000 + 16 * n, n)]).collect();
        let space = Space::new(&states, &mut Vec::new());
        let at = |x: f32| space.density([[x, 0.0], [x, 3.0]]);
        assert!((at(5.0) - 16.0 / 45.0).abs() < 1e-6);
        assert!(at(5.0) > at(100_050.0) && at(100_050.0) > at(50_000.0) && at(50_000.0) > 0.0);
        assert!(Space::new(&[], &mut Vec::new()).density([[0.0; 2]; 2]).is_nan());
    }

    #[test]
    fn areas_that_are_no_numbers_hold_nobody() {
        let space = Space::new(&[State::default()], &mut Vec::new());
        for corner in [f32::NAN, f32::INFINITY] {
            space.touching([[corner; 2]; 2], |_| panic!("nobody is there"));
        }
    }
}
