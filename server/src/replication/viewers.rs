//! Who has to be told when an entity turns: the reverse of what each client knows.

use sim::EntityId;

/// One client that follows an entity, and the slot it has it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Viewer {
    /// The client's place among the worker's.
    pub client: u16,
    /// The slot there.
    pub slot: u16,
}

/// The viewers of every entity, by its index. A few bytes for each pair of client and entity in sight.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    lists: Vec<Vec<Viewer>>,
}

impl Viewers {
    pub fn of(&self, id: EntityId) -> &[Viewer] {
        self.lists.get(id.index() as usize).map_or(&[], Vec::as_slice)
    }

    pub fn add(&mut self, id: EntityId, viewer: Viewer) {
        let at = id.index() as usize;
        if self.lists.len() <= at {
            self.lists.resize_with(at + 1, Vec::new);
        }
        if let Some(list) = self.lists.get_mut(at) {
            list.push(viewer);
        }
    }

    pub fn remove(&mut self, id: EntityId, viewer: Viewer) {
        if let Some(list) = self.lists.get_mut(id.index() as usize)
            && let Some(at) = list.iter().position(|other| *other == viewer)
        {
            list.swap_remove(at);
        }
    }

    /// Viewers in all lists.
    pub fn listed(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    pub fn bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(|list| list.capacity() * size_of::<Viewer>()).sum();
        lists + self.lists.capacity() * size_of::<Vec<Viewer>>()
    }
}
