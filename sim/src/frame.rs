//! One tick's outcome, immutable: what the server shares between its threads and replicates from.

use crate::course::Course;
use crate::entity::EntityId;
use crate::grid::position_m;
use crate::ray::Strip;
use crate::spots::{Neighbour, Spots};
use netcode::schema::State;
use std::sync::Arc;

/// No row has this number.
const NO_ROW: u32 = u32::MAX;

/// Who is in which row. It changes only when somebody comes or goes, so frames share it.
#[derive(Default)]
pub(crate) struct Names {
    ids: Vec<EntityId>,
    kinds: Vec<u8>,
    /// Row numbers by entity index.
    rows: Vec<u32>,
}

impl Names {
    pub(crate) fn new(ids: &[EntityId], kinds: &[u8]) -> Self {
        let mut names = Self::default();
        names.renew(ids, kinds);
        names
    }

    /// As [`Names::new`], in the memory of names that are of no use any more.
    pub(crate) fn renew(&mut self, ids: &[EntityId], kinds: &[u8]) {
        let len = ids.last().map_or(0, |id| id.index() as usize + 1);
        self.rows.clear();
        self.rows.resize(len, NO_ROW);
        for (id, row) in ids.iter().zip(0..) {
            self.rows[id.index() as usize] = row;
        }
        self.ids.clear();
        self.ids.extend_from_slice(ids);
        self.kinds.clear();
        self.kinds.extend_from_slice(kinds);
    }
}

/// The world after one tick, in columns sorted by entity id.
///
/// Rows are `0..len()`. Functions that take a row panic when it is not below `len()`: rows come from [`Frame::row`]
/// and [`Frame::query`], never from the wire.
#[derive(Clone)]
pub struct Frame {
    /// The tick that this is the outcome of.
    pub tick: u64,
    /// The tick of the frame before it, which is further back where ticks were left out (0 for the first step's). Who
    /// last read another one has missed some of what turned and was removed.
    pub prev: u64,
    /// Digest of the world after that tick.
    pub digest: u64,
    pub(crate) names: Arc<Names>,
    pub(crate) states: Vec<State>,
    pub(crate) courses: Vec<Course>,
    pub(crate) turned: Vec<u32>,
    pub(crate) removed: Vec<EntityId>,
    pub(crate) spots: Spots,
}

impl Frame {
    /// How many entities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The row of an entity, if it lives.
    #[must_use]
    pub fn row(&self, id: EntityId) -> Option<usize> {
        let row = *self.names.rows.get(id.index() as usize)? as usize;
        (*self.names.ids.get(row)? == id).then_some(row)
    }

    /// Who is in a row.
    #[must_use]
    pub fn id(&self, row: usize) -> EntityId {
        self.names.ids[row]
    }

    /// The kind number in [`crate::SCHEMA`].
    #[must_use]
    pub fn kind(&self, row: usize) -> u8 {
        self.names.kinds[row]
    }

    /// The quantised fields.
    #[must_use]
    pub fn state(&self, row: usize) -> &State {
        &self.states[row]
    }

    /// The last tick in which a field that everybody gets was not what [`netcode::schema::extrapolate`] makes of the
    /// step before; at first the tick of the first frame with the entity (so beyond `tick`, where it came since).
    ///
    /// A fall counts as left every [`crate::course::FALL_TICKS`] ticks: from any tick since, the guess is exact.
    #[must_use]
    pub fn course(&self, row: usize) -> u64 {
        self.courses[row].shown
    }

    /// As [`Frame::course`] for all fields, those of the owner included; never before it.
    #[must_use]
    pub fn course_own(&self, row: usize) -> u64 {
        self.courses[row].whole
    }

    /// The rows of all whose [`Frame::course_own`] is this tick, ascending: those who are new among them.
    #[must_use]
    pub fn turned(&self) -> &[u32] {
        &self.turned
    }

    /// Who was in the frame of `prev` and is not in this one, ascending.
    #[must_use]
    pub fn removed(&self) -> &[EntityId] {
        &self.removed
    }

    /// x, y, z in metres.
    #[must_use]
    pub fn position_m(&self, row: usize) -> [f32; 3] {
        position_m(&self.states[row])
    }

    /// All ids, ascending; the index is the row.
    #[must_use]
    pub fn ids(&self) -> &[EntityId] {
        &self.names.ids
    }

    /// All states by row.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Replaces `out` by the rows of all entities whose x and z lie within `radius_m` of `center` (metres, the
    /// border included), ascending. Exact in this frame, however old the tree; nobody for an area that is no number.
    pub fn query(&self, center: [f32; 2], radius_m: f32, out: &mut Vec<u32>) {
        self.spots.query(&self.states, center, radius_m, out);
    }

    /// Replaces `out` by the `at_most` entities nearest to `center` (x and z in metres, rounded to 1/256 m) among those
    /// within `max_radius_m` of it, nearest first, equally near ones by row.
    ///
    /// Exact as [`Frame::query`]; nobody also for a centre beyond [`crate::spots::MAX_CENTER_M`]. Where people stand
    /// more or less evenly around `center`, the cost follows how many are asked for, not how many there are.
    pub fn nearest(&self, center: [f32; 2], max_radius_m: f32, at_most: usize, out: &mut Vec<Neighbour>) {
        self.spots.nearest(&self.states, center, max_radius_m, at_most, out);
    }

    /// Shows to `visit` the rows of all entities whose x and z lie in the strip, in no particular order.
    pub(crate) fn along(&self, strip: &Strip, visit: impl FnMut(u32)) {
        self.spots.along(&self.states, strip, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Space;

    fn frame(spots: &[(u32, i32)]) -> Frame {
        let ids: Vec<_> = spots.iter().map(|(raw, _)| EntityId::from_raw(*raw).unwrap()).collect();
        let states: Vec<State> =
            spots.iter().map(|(_, x)| core::array::from_fn(|column| if column == 0 { *x } else { 0 })).collect();
        let mut slots = Vec::new();
        let space = Arc::new(Space::new(&states, &mut slots));
        Frame {
            tick: 1,
            prev: 0,
            digest: 0,
            names: Arc::new(Names::new(&ids, &vec![0; ids.len()])),
            courses: vec![Course::new(1); ids.len()],
            turned: Vec::new(),
            removed: Vec::new(),
            spots: Spots::new(space, &slots, &states, 0),
            states,
        }
    }

    #[test]
    fn a_row_is_found_by_the_whole_id_only() {
        let frame = frame(&[(2 << 12 | 1, 0), (5 << 12 | 3, 0)]);
        assert_eq!(frame.row(EntityId::from_raw(5 << 12 | 3).unwrap()), Some(1));
        assert_eq!(frame.row(EntityId::from_raw(5 << 12 | 2).unwrap()), None);
        assert_eq!(frame.row(EntityId::from_raw(3 << 12 | 1).unwrap()), None);
        assert_eq!(frame.row(EntityId::from_raw(900 << 12 | 1).unwrap()), None);
    }

    #[test]
    fn the_border_belongs_to_the_area() {
        let frame = frame(&[(1 << 12 | 1, 256), (2 << 12 | 1, 257), (3 << 12 | 1, -256)]);
        let mut out = vec![7];
        frame.query([0.0, 0.0], 1.0, &mut out);
        assert_eq!(out, [0, 2]);
        for (center, radius) in [
            ([0.0, f32::NAN], 1.0),
            ([0.0; 2], -1.0),
            ([f32::INFINITY, 0.0], 1.0),
            ([0.0; 2], f32::NAN),
            ([0.0; 2], f32::INFINITY),
        ] {
            frame.query(center, radius, &mut out);
            assert!(out.is_empty());
            let mut nearest = vec![Neighbour::new(1, 1)];
            frame.nearest(center, radius, 5, &mut nearest);
            assert!(nearest.is_empty());
        }
    }

    #[test]
    fn equally_near_ones_come_by_row() {
        let frame = frame(&[(1 << 12 | 1, 256), (2 << 12 | 1, 100), (3 << 12 | 1, -256), (4 << 12 | 1, 257)]);
        let mut out = Vec::new();
        let mut nearest = |at_most| {
            frame.nearest([0.0, 0.0], 1.0, at_most, &mut out);
            out.iter().map(|one| (one.square(), one.row())).collect::<Vec<_>>()
        };
        assert_eq!(nearest(2), [(100 * 100, 1), (256 * 256, 0)]);
        assert_eq!(nearest(9), [(100 * 100, 1), (256 * 256, 0), (256 * 256, 2)]);
        assert!(nearest(0).is_empty());
    }
}
