//! One tick's outcome, immutable: what the server shares between its threads and replicates from.

use crate::course::Course;
use crate::entity::EntityId;
use crate::schema::{QUANTA_PER_M, X, Z, position_m};
use crate::space::Space;
use netcode::schema::State;
use std::sync::Arc;

/// No row has this number.
const NO_ROW: u32 = u32::MAX;

/// Row numbers by entity index.
pub(crate) fn index_rows(ids: &[EntityId]) -> Arc<[u32]> {
    let len = ids.last().map_or(0, |id| id.index() as usize + 1);
    let mut rows = vec![NO_ROW; len];
    for (id, row) in ids.iter().zip(0..) {
        rows[id.index() as usize] = row;
    }
    rows.into()
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
    pub(crate) ids: Vec<EntityId>,
    pub(crate) kinds: Vec<u8>,
    pub(crate) states: Vec<State>,
    pub(crate) courses: Vec<Course>,
    pub(crate) turned: Vec<u32>,
    pub(crate) removed: Vec<EntityId>,
    pub(crate) rows: Arc<[u32]>,
    pub(crate) space: Arc<Space>,
    /// Those whom `space` does not know well enough.
    pub(crate) loose: Vec<EntityId>,
}

impl Frame {
    /// How many entities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The row of an entity, if it lives.
    #[must_use]
    pub fn row(&self, id: EntityId) -> Option<usize> {
        let row = *self.rows.get(id.index() as usize)? as usize;
        (*self.ids.get(row)? == id).then_some(row)
    }

    /// Who is in a row.
    #[must_use]
    pub fn id(&self, row: usize) -> EntityId {
        self.ids[row]
    }

    /// The kind number in [`crate::SCHEMA`].
    #[must_use]
    pub fn kind(&self, row: usize) -> u8 {
        self.kinds[row]
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
        &self.ids
    }

    /// All states by row.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Replaces `out` by the rows of all entities whose x and z lie within `radius_m` of `center` (metres, the
    /// border included), ascending. Exact in this frame, however old the tree; nobody for an area that is no number.
    pub fn query(&self, center: [f32; 2], radius_m: f32, out: &mut Vec<u32>) {
        out.clear();
        let area = Area::new(center, radius_m);
        let mut visit = |id| {
            if let Some(row) = self.row(id)
                && area.holds(&self.states[row])
            {
                out.push(row as u32);
            }
        };
        self.space.candidates(center, radius_m, &mut visit);
        self.loose.iter().copied().for_each(visit);
        out.sort_unstable();
        // Who strayed from the tree is both in it and loose.
        out.dedup();
    }

    /// Replaces `out` by the `at_most` entities nearest to `center` (x and z in metres, rounded to 1/256 m) among those
    /// within `max_radius_m` of it: squared distance (1/256 m, squared) and row, nearest first, equal ones by row.
    /// Exact in this frame; nobody for an area that is no number.
    pub fn nearest(&self, center: [f32; 2], max_radius_m: f32, at_most: usize, out: &mut Vec<(u64, u32)>) {
        out.clear();
        let center = center.map(|metres| (metres * QUANTA_PER_M as f32 + 0.5).floor() / QUANTA_PER_M as f32);
        let mut rows = Vec::new();
        self.query(center, max_radius_m, &mut rows);
        let quanta = center.map(|metres| (metres * QUANTA_PER_M as f32) as i64);
        out.extend(rows.iter().map(|row| {
            let state = &self.states[*row as usize];
            let (dx, dz) = (i64::from(state[X]) - quanta[0], i64::from(state[Z]) - quanta[1]);
            ((dx * dx + dz * dz) as u64, *row)
        }));
        out.sort_unstable();
        out.truncate(at_most);
    }
}

/// A circle, in position quanta.
struct Area {
    x: f64,
    z: f64,
    limit: f64,
}

impl Area {
    fn new([x, z]: [f32; 2], radius_m: f32) -> Self {
        let quanta = |metres: f32| f64::from(metres) * f64::from(QUANTA_PER_M);
        let limit = if radius_m >= 0.0 { quanta(radius_m) * quanta(radius_m) } else { -1.0 };
        Self { x: quanta(x), z: quanta(z), limit }
    }

    fn holds(&self, state: &State) -> bool {
        let (dx, dz) = (f64::from(state[X]) - self.x, f64::from(state[Z]) - self.z);
        dx * dx + dz * dz <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(spots: &[(u32, i32)]) -> Frame {
        let ids: Vec<_> = spots.iter().map(|(raw, _)| EntityId::from_raw(*raw).unwrap()).collect();
        let states: Vec<State> = spots.iter().map(|(_, x)| [*x, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).collect();
        Frame {
            tick: 1,
            prev: 0,
            digest: 0,
            kinds: vec![0; ids.len()],
            courses: vec![Course::new(1); ids.len()],
            turned: Vec::new(),
            removed: Vec::new(),
            rows: index_rows(&ids),
            space: Arc::new(Space::new(&ids, &states, 20)),
            loose: Vec::new(),
            ids,
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
        frame.query([0.0, f32::NAN], 1.0, &mut out);
        assert!(out.is_empty());
    }
}
