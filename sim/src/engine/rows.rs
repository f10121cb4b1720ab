//! The columns of a world, one row per entity, ascending by id.

use crate::course::Course;
use crate::entity::EntityId;
use crate::spots::NO_SLOT;
use netcode::schema::State;

/// Who is to come.
#[derive(Clone)]
pub struct Newcomer<H> {
    pub id: EntityId,
    pub kind: u8,
    pub state: State,
    pub hidden: H,
}

/// The columns; all have the same length.
pub struct Rows<H> {
    pub ids: Vec<EntityId>,
    pub kinds: Vec<u8>,
    pub states: Vec<State>,
    pub courses: Vec<Course>,
    pub hidden: Vec<H>,
    /// Slots in the tree of entities.
    pub slots: Vec<u32>,
    /// Scratch: the rows that newcomers take.
    places: Vec<usize>,
}

impl<H: Clone + Default> Rows<H> {
    pub fn new() -> Self {
        let (ids, kinds, states, courses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { ids, kinds, states, courses, hidden: Vec::new(), slots: Vec::new(), places: Vec::new() }
    }

    /// Takes out the rows of those in `leavers` (ascending, each once); who is not here is not missed.
    pub fn remove(&mut self, leavers: &[EntityId]) {
        if leavers.is_empty() {
            return;
        }
        let (mut kept, mut leaving) = (0, leavers.iter().peekable());
        for row in 0..self.ids.len() {
            let id = self.ids[row];
            while leaving.next_if(|leaver| **leaver < id).is_some() {}
            if leaving.peek() == Some(&&id) {
                continue;
            }
            if kept < row {
                (self.ids[kept], self.kinds[kept], self.states[kept]) = (id, self.kinds[row], self.states[row]);
                (self.courses[kept], self.slots[kept]) = (self.courses[row], self.slots[row]);
                self.hidden.swap(kept, row);
            }
            kept += 1;
        }
        self.ids.truncate(kept);
        self.kinds.truncate(kept);
        self.states.truncate(kept);
        self.courses.truncate(kept);
        self.hidden.truncate(kept);
        self.slots.truncate(kept);
    }

    /// Puts newcomers, none of them here yet, into their rows; they are first shown in `tick`.
    pub fn insert(&mut self, newcomers: &mut Vec<Newcomer<H>>, tick: u64) {
        if newcomers.is_empty() {
            return;
        }
        newcomers.sort_unstable_by_key(|newcomer| newcomer.id);
        self.places.clear();
        for (newcomer, earlier) in newcomers.iter().zip(0..) {
            self.places.push(self.ids.partition_point(|id| *id < newcomer.id) + earlier);
        }
        let Self { ids, kinds, states, courses, hidden, slots, places } = self;
        merge(ids, places, newcomers.iter().map(|newcomer| newcomer.id));
        merge(kinds, places, newcomers.iter().map(|newcomer| newcomer.kind));
        merge(states, places, newcomers.iter().map(|newcomer| newcomer.state));
        merge(courses, places, newcomers.iter().map(|_| Course::new(tick)));
        merge(slots, places, newcomers.iter().map(|_| NO_SLOT));
        merge(hidden, places, newcomers.drain(..).map(|newcomer| newcomer.hidden));
    }
}

/// Puts the items into the rows `places` (ascending, as of afterwards); what was there before keeps its order.
fn merge<T: Clone>(column: &mut Vec<T>, places: &[usize], items: impl DoubleEndedIterator<Item = T>) {
    let mut old = column.len();
    let mut new = old + places.len();
    for (place, item) in places.iter().rev().zip(items.rev()) {
        // What lies behind the place moves to the end, in one go.
        let behind = new - 1 - place;
        if column.len() < new {
            // The first time: the column grows by the last rows, whatever they hold for now.
            column.resize(new, item.clone());
        }
        column[old - behind..new].rotate_right(new - old);
        (old, new) = (old - behind, *place);
        column[*place] = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(index: u32) -> EntityId {
        EntityId::from_raw(index << 12 | 1).expect("a generation")
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_sorted_map(rounds in proptest::collection::vec((proptest::collection::btree_set(0..40u32, 0..12), proptest::collection::btree_set(0..40u32, 0..12)), 1..12)) {
            let mut rows: Rows<u32> = Rows::new();
            let mut model = std::collections::BTreeMap::new();
            for (round, (leaving, coming)) in rounds.into_iter().enumerate() {
                let leavers: Vec<EntityId> = leaving.iter().map(|index| id(*index)).collect();
                rows.remove(&leavers);
                model.retain(|id, _| !leavers.contains(id));
                let coming = coming.into_iter().map(id).filter(|id| !model.contains_key(id));
                let mut newcomers: Vec<_> = coming.map(|id| Newcomer { id, kind: id.index() as u8, state: [round as i32; 16], hidden: id.raw() }).collect();
                newcomers.reverse();
                for newcomer in &newcomers {
                    model.insert(newcomer.id, round);
                }
                rows.insert(&mut newcomers, round as u64);
                prop_assert!(newcomers.is_empty());
                prop_assert!(rows.ids.iter().eq(model.keys()));
                for (row, (id, round)) in model.iter().enumerate() {
                    prop_assert_eq!(rows.kinds[row], id.index() as u8);
                    prop_assert_eq!(rows.states[row], [*round as i32; 16]);
                    prop_assert_eq!(rows.hidden[row], id.raw());
                    prop_assert_eq!(rows.courses[row], Course::new(*round as u64));
                }
                prop_assert_eq!(rows.slots.len(), rows.ids.len());
            }
        }
    }
}
