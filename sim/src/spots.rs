//! Where everybody is in one frame, in the order of the entity tree, so that a look around reads neighbours in a row.
//!
//! The tree ([`Space`]) is some ticks old and fat; the positions here are the frame's own. Each entity that the tree
//! knows well enough has a slot of it, the others are in a short list: everybody is in one place only.

use crate::grid::{QUANTA_PER_M, X, Z};
use crate::ray::Strip;
use crate::space::{Space, TILE};
use core::f32::consts::PI;
use netcode::schema::State;
use std::sync::Arc;

/// The slot of an entity that the tree does not know.
pub const NO_SLOT: u32 = u32::MAX;
/// [`Spots::nearest`] looks around places up to so far out along x and z (m): twice as far as anybody can be.
pub const MAX_CENTER_M: f32 = 8192.0;

/// Rows have 16 bits.
const ROW_BITS: u32 = 16;
const _: () = assert!(crate::config::MAX_ENTITIES <= 1 << ROW_BITS);

/// Somebody near; the nearer one is the lesser, and of equally near ones that of the lower row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour(u64);

impl Neighbour {
    /// In this row, at that squared distance ((1/256 m)², below 2^48).
    #[must_use]
    pub const fn new(square: u64, row: u32) -> Self {
        Self(square << ROW_BITS | row as u64)
    }

    /// The row in its frame.
    #[must_use]
    pub const fn row(self) -> u32 {
        self.0 as u32 & ((1 << ROW_BITS) - 1)
    }

    /// The squared distance along x and z, (1/256 m)².
    #[must_use]
    pub const fn square(self) -> u64 {
        self.0 >> ROW_BITS
    }
}

/// The entities of a tile, by slot.
#[derive(Clone, Copy)]
struct Tile {
    /// 1/256 m (exact: 21 bits fit a float's 24); no number where nobody is or nobody is any more.
    x: [f32; TILE],
    z: [f32; TILE],
    rows: [u32; TILE],
}

/// The positions of one frame.
#[derive(Clone)]
pub struct Spots {
    space: Arc<Space>,
    /// How far anybody with a slot may be from where the tree has it (1/256 m).
    margin: f32,
    tiles: Vec<Tile>,
    /// Rows of those without a slot, ascending.
    loose: Vec<u32>,
}

impl Spots {
    /// The entities of the rows `states`, whose slots in `space` are `slots`; who is more than `margin` (1/256 m) away
    /// from where the tree has it counts as one without a slot.
    #[must_use]
    pub fn new(space: Arc<Space>, slots: &[u32], states: &[State], margin: i32) -> Self {
        let mut spots = Self { space, margin: 0.0, tiles: Vec::new(), loose: Vec::new() };
        spots.place(slots, states, margin);
        spots
    }

    /// As [`Spots::new`], in the memory of a frame that is of no use any more.
    pub(crate) fn renew(&mut self, space: &Arc<Space>, slots: &[u32], states: &[State], margin: i32) {
        if !Arc::ptr_eq(&self.space, space) {
            self.space = Arc::clone(space);
        }
        self.place(slots, states, margin);
    }

    fn place(&mut self, slots: &[u32], states: &[State], margin: i32) {
        let nobody = Tile { x: [f32::NAN; TILE], z: [f32::NAN; TILE], rows: [0; TILE] };
        let Self { space, tiles, loose, .. } = self;
        self.margin = margin as f32;
        loose.clear();
        loose.reserve(states.len());
        tiles.clear();
        tiles.resize(space.tiles(), nobody);
        let limit = i64::from(margin).pow(2);
        for ((slot, state), row) in slots.iter().zip(states).zip(0..) {
            let (number, at) = (*slot as usize / TILE, *slot as usize % TILE);
            let near = |[x, z]: [i32; 2]| square(state[X] - x) + square(state[Z] - z) <= limit;
            match tiles.get_mut(number) {
                Some(tile) if space.place(*slot).is_some_and(near) => {
                    (tile.x[at], tile.z[at], tile.rows[at]) = (state[X] as f32, state[Z] as f32, row);
                }
                _ => loose.push(row),
            }
        }
    }

    /// As [`crate::Frame::query`], `states` being the frame's.
    pub fn query(&self, states: &[State], center: [f32; 2], radius_m: f32, out: &mut Vec<u32>) {
        out.clear();
        let Some(circle) = Circle::new(center, radius_m) else { return };
        self.collect(&circle, states, out, |_, row| row);
        sort_rows(out, states.len());
    }

    /// As [`crate::Frame::nearest`].
    ///
    /// Looks within a radius that should hold enough by the density around, and farther as long as it does not.
    pub fn nearest(
        &self,
        states: &[State],
        center: [f32; 2],
        max_radius_m: f32,
        at_most: usize,
        out: &mut Vec<Neighbour>,
    ) {
        out.clear();
        let known = center.iter().all(|metres| metres.abs() <= MAX_CENTER_M);
        let center = center.map(|metres| (metres * QUANTA_PER_M as f32 + 0.5).floor() / QUANTA_PER_M as f32);
        let Some(widest) = Circle::new(center, max_radius_m).filter(|_| known && at_most > 0) else { return };
        let mut circle = Circle { radius: self.first_radius(&widest, at_most), ..widest };
        loop {
            out.clear();
            if circle.radius >= widest.radius {
                circle = widest;
            }
            self.collect(&circle, states, out, |square, row| Neighbour::new(square as u64, row));
            if out.len() >= at_most || circle.radius >= widest.radius {
                break;
            }
            let growth = (1.5 * at_most as f64 / out.len().max(1) as f64).sqrt();
            circle = Circle { radius: circle.radius * growth.clamp(1.25, 2.0), ..widest };
        }
        if out.len() > at_most {
            out.select_nth_unstable(at_most);
            out.truncate(at_most);
        }
        out.sort_unstable();
    }

    /// As [`crate::Frame::along`], `states` being the frame's.
    pub(crate) fn along(&self, states: &[State], strip: &Strip, mut visit: impl FnMut(u32)) {
        self.space.along(&strip.wider(self.margin), |tile| {
            let Some(tile) = self.tiles.get(tile) else { return };
            // Which slots are in, as bits: without a branch for each.
            let mut inside = 0u32;
            for ((x, z), at) in tile.x.iter().zip(&tile.z).zip(0..) {
                inside |= u32::from(strip.holds(*x, *z)) << at;
            }
            while inside != 0 {
                visit(tile.rows[inside.trailing_zeros() as usize % TILE]);
                inside &= inside - 1;
            }
        });
        for row in &self.loose {
            let state = &states[*row as usize];
            if strip.holds(state[X] as f32, state[Z] as f32) {
                visit(*row);
            }
        }
    }

    /// The radius (1/256 m) around the centre of `widest` that should hold a third more than `at_most`.
    fn first_radius(&self, widest: &Circle, at_most: usize) -> f64 {
        let point = Circle { radius: f64::from(QUANTA_PER_M), ..*widest };
        let density = self.space.density(point.bounds(self.margin));
        let radius = f64::from((at_most as f32 * 4.0 / (3.0 * PI * density)).sqrt());
        // At least a metre: so few rounds lead to any radius.
        if radius.is_finite() { radius.max(point.radius) } else { point.radius }
    }

    /// Adds an item for everybody within the circle, made from the squared distance to its centre and the row.
    fn collect<T>(&self, circle: &Circle, states: &[State], out: &mut Vec<T>, item: impl Fn(f64, u32) -> T) {
        self.space.touching(circle.bounds(self.margin), |tile| {
            let Some(tile) = self.tiles.get(tile) else { return };
            let mut squares = [0.0; TILE];
            for ((square, x), z) in squares.iter_mut().zip(&tile.x).zip(&tile.z) {
                *square = circle.square_to(*x, *z);
            }
            // Whether one is in is as good as random: written at any rate and kept or not, nothing has to guess.
            let (mut hits, mut count) = ([0; TILE], 0);
            for (square, at) in squares.iter().zip(0..) {
                hits[count] = at;
                count += usize::from(*square <= circle.limit());
            }
            out.extend(hits[..count].iter().map(|at| item(squares[*at % TILE], tile.rows[*at % TILE])));
        });
        for row in &self.loose {
            let state = &states[*row as usize];
            let square = circle.square_to(state[X] as f32, state[Z] as f32);
            if square <= circle.limit() {
                out.push(item(square, *row));
            }
        }
    }
}

/// Rows from which on a set of bits sorts them sooner than comparisons do.
const MANY: usize = 128;

/// Sorts rows below `len`, each there once. Where they are many of all, through a set of bits behind them.
fn sort_rows(rows: &mut Vec<u32>, len: usize) {
    let (count, words) = (rows.len(), len.div_ceil(32));
    if count < MANY || count < words {
        return rows.sort_unstable();
    }
    rows.resize(count + words, 0);
    let (sorted, set) = rows.split_at_mut(count);
    for row in sorted.iter() {
        if let Some(word) = set.get_mut(*row as usize / 32) {
            *word |= 1 << (*row % 32);
        }
    }
    let mut places = sorted.iter_mut();
    for (word, first) in set.iter().zip((0..).step_by(32)) {
        let mut left = *word;
        while left != 0 {
            if let Some(place) = places.next() {
                *place = first + left.trailing_zeros();
            }
            left &= left - 1;
        }
    }
    rows.truncate(count);
}

fn square(quanta: i32) -> i64 {
    i64::from(quanta) * i64::from(quanta)
}

/// A circle in position quanta.
#[derive(Clone, Copy)]
struct Circle {
    center: [f64; 2],
    radius: f64,
}

impl Circle {
    /// `None` for what is no circle.
    fn new(center: [f32; 2], radius_m: f32) -> Option<Self> {
        let number = center.iter().all(|value| value.is_finite()) && radius_m.is_finite() && radius_m >= 0.0;
        let quanta = |metres: f32| f64::from(metres) * f64::from(QUANTA_PER_M);
        number.then(|| Self { center: center.map(quanta), radius: quanta(radius_m) })
    }

    /// The squared distance of a point, exact where the centre is on the grid; no number where the point is none.
    #[inline]
    fn square_to(&self, x: f32, z: f32) -> f64 {
        let (dx, dz) = (f64::from(x) - self.center[0], f64::from(z) - self.center[1]);
        dx * dx + dz * dz
    }

    #[inline]
    fn limit(&self) -> f64 {
        self.radius * self.radius
    }

    /// The square around it, `margin` wider and a little more, since it is rounded.
    fn bounds(&self, margin: f32) -> [[f32; 2]; 2] {
        let reach = (self.radius as f32 + margin) * 1.0001 + 4.0;
        [self.center.map(|at| at as f32 - reach), self.center.map(|at| at as f32 + reach)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_whether_they_are_few_or_many() {
        for (count, step, len) in
            [(0, 1, 0), (1, 1, 1), (127, 7, 1000), (128, 7, 1000), (500, 3, 40_000), (2000, 1, 2000)]
        {
            let mut rows: Vec<u32> = (0..count).map(|at| at * step).rev().collect();
            rows.rotate_left(count as usize / 3);
            sort_rows(&mut rows, len);
            assert!(rows.iter().copied().eq((0..count).map(|at| at * step)), "{count} of {len}");
        }
    }
}
