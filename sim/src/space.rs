//! Who and what is near: the R-trees over the map's boxes and over the entities. The only file that names rstar.
//!
//! Both trees are loaded in one go (OMT: Lee and Lee, "Overlap minimizing top-down bulk loading", 2003)
//! and never changed. The entity tree is fat: it is built every [`REBUILD_TICKS`] ticks, remembers where
//! everybody was then, and a look grows by the margin that nobody can have left since; the few who did
//! (or who came later) are listed beside it ([`crate::spots`]). Coordinates are x and z; height is left to the caller.

use crate::map::{Map, StaticBox};
use crate::movement::MAX_HORIZONTAL_SPEED_MPS;
use crate::schema::{QUANTA_PER_M, X, Z};
use crate::spots::NO_SLOT;
use core::ops::{ControlFlow, Range};
use netcode::schema::State;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, Envelope, RStarInsertionStrategy, RTree, RTreeObject, RTreeParams};

/// Ticks for which one entity tree serves.
pub const REBUILD_TICKS: u64 = 8;
/// The most entities of a tile.
pub const TILE: usize = 16;

/// Nodes of 16: fewer levels than with the default 6.
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

/// Neighbours: the slots `first..first + len`, at most [`TILE`], and the rectangle of x and z (1/256 m) around them.
struct Tile {
    bounds: AABB<[f32; 2]>,
    first: u32,
    len: u32,
}

impl RTreeObject for Tile {
    type Envelope = AABB<[f32; 2]>;

    fn envelope(&self) -> Self::Envelope {
        self.bounds
    }
}

/// The entities by place, as of some recent tick: each has a slot, and neighbours have neighbouring slots.
///
/// A tree of tiles instead of entities is built in a third of the time, and a look at a tile is a walk along an array.
pub struct Space {
    tree: RTree<Tile, Wide>,
    /// By slot: x and z, 1/256 m.
    places: Vec<[i32; 2]>,
}

impl Space {
    /// Indexes entities where they are now, and replaces `slots` by theirs, row by row.
    ///
    /// The tiles are those of a sort-tile-recursive tree (Leutenegger, Edgington, Lopez: "STR: a simple and efficient
    /// algorithm for R-tree packing", 1997): strips of equal numbers along x, each cut along z.
    #[must_use]
    pub fn new(states: &[State], slots: &mut Vec<u32>) -> Self {
        let key = |axis: usize, row: u32| {
            let place = states.get(row as usize).map_or(0, |state| state[axis]);
            u64::from(place.wrapping_sub(i32::MIN) as u32) << 32 | u64::from(row)
        };
        let mut keys: Vec<u64> = (0..states.len() as u32).map(|row| key(X, row)).collect();
        keys.sort_unstable();
        let strips = (keys.len() as f32 / TILE as f32).sqrt().ceil() as usize;
        let (mut tiles, mut places) = (Vec::new(), Vec::with_capacity(keys.len()));
        slots.clear();
        slots.resize(states.len(), NO_SLOT);
        for strip in shares(keys.len(), strips) {
            let Some(strip) = keys.get_mut(strip) else { continue };
            strip.iter_mut().for_each(|key_x| *key_x = key(Z, *key_x as u32));
            strip.sort_unstable();
            for tile in shares(strip.len(), strip.len().div_ceil(TILE)) {
                let rows = strip.get(tile).unwrap_or_default().iter().map(|key| *key as u32);
                tiles.push(place_tile(rows, states, &mut places, slots));
            }
        }
        Self { tree: RTree::bulk_load_with_params(tiles), places }
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Where the entity of a slot was when the tree was built (x and z, 1/256 m).
    #[must_use]
    pub fn known(&self, slot: usize) -> Option<[i32; 2]> {
        self.places.get(slot).copied()
    }

    /// Shows to `visit` the slots of every tile that touches the rectangle (1/256 m; not a number nowhere); the order is
    /// the tree's.
    pub fn tiles(&self, [min, max]: [[f32; 2]; 2], mut visit: impl FnMut(Range<usize>)) {
        self.visit(AABB::from_corners(min, max), |tile| visit(tile.first as usize..(tile.first + tile.len) as usize));
    }

    /// Entities per square of 1/256 m by 1/256 m in the tiles that touch the rectangle; overall where none does.
    #[must_use]
    pub fn density(&self, [min, max]: [[f32; 2]; 2]) -> f32 {
        let (mut entities, mut area) = (0, 0.0);
        self.visit(AABB::from_corners(min, max), |tile| {
            entities += tile.len;
            area += tile.bounds.area();
        });
        if entities == 0 {
            (entities, area) = (self.places.len() as u32, self.tree.root().envelope().area());
        }
        entities as f32 / area
    }

    fn visit(&self, area: AABB<[f32; 2]>, mut visit: impl FnMut(&Tile)) {
        let _ = self.tree.locate_in_envelope_intersecting_int(area, |tile| -> ControlFlow<()> {
            visit(tile);
            ControlFlow::Continue(())
        });
    }
}

/// The ranges of `parts` equal shares of `0..len`, the longest one longer by one at most.
fn shares(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    (0..parts).map(move |part| len * part / parts..len * (part + 1) / parts)
}

/// Gives the next slots to these rows.
fn place_tile(
    rows: impl Iterator<Item = u32>,
    states: &[State],
    places: &mut Vec<[i32; 2]>,
    slots: &mut [u32],
) -> Tile {
    let first = places.len();
    for row in rows {
        let row = row as usize;
        if let (Some(state), Some(slot)) = (states.get(row), slots.get_mut(row)) {
            *slot = places.len() as u32;
            places.push([state[X], state[Z]]);
        }
    }
    let members = places.get(first..).unwrap_or_default();
    let corner = |place: &[i32; 2]| place.map(|quanta| quanta as f32);
    let bounds =
        members.iter().map(corner).fold(AABB::new_empty(), |bounds, point| bounds.merged(&AABB::from_point(point)));
    Tile { bounds, first: first as u32, len: members.len() as u32 }
}

/// How far (1/256 m) an entity can walk in so many ticks, rounded up.
#[must_use]
pub fn margin(rate_hz: u16, ticks: u64) -> i32 {
    let metres = MAX_HORIZONTAL_SPEED_MPS * ticks.min(REBUILD_TICKS) as f32 / f32::from(rate_hz);
    (metres * QUANTA_PER_M as f32).ceil() as i32
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
    fn neighbours_share_tiles_and_every_row_has_a_slot() {
        let state = |n: i32| {
            let mut state = State::default();
            (state[X], state[Z]) = (n * 7919 % 1000, n * 104_729 % 997);
            state
        };
        let states: Vec<State> = (0..300).map(state).collect();
        let mut slots = vec![5; 2];
        let space = Space::new(&states, &mut slots);
        assert_eq!((space.len(), slots.len()), (300, 300));
        let mut seen = [false; 300];
        for (slot, state) in slots.iter().zip(&states) {
            assert_eq!(space.known(*slot as usize), Some([state[X], state[Z]]));
            assert!(!core::mem::replace(&mut seen[*slot as usize], true));
        }
        let (mut tiles, mut held) = (0, 0);
        space.tiles([[-1e6; 2], [1e6; 2]], |tile| (tiles, held) = (tiles + 1, held + tile.len()));
        assert_eq!(held, 300);
        assert!((300 / TILE..2 * 300 / TILE).contains(&tiles));
        let mut around_one = 0;
        space.tiles([[500.0; 2], [500.0; 2]], |tile| around_one += tile.len());
        assert!(around_one <= 2 * TILE);
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
            space.tiles([[corner; 2]; 2], |_| panic!("nobody is there"));
        }
    }
}
