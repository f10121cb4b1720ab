//! Names of entities: an index that is reused late, and a generation that tells the users of an index apart.

use std::collections::VecDeque;

/// Bits of the generation in an [`EntityId`].
const GENERATION_BITS: u32 = 12;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
/// The most indices, since an index has 20 bits.
pub const MAX_INDICES: u32 = 1 << (32 - GENERATION_BITS);
/// How many indices must lie free before the oldest of them is used again.
///
/// A name thus comes back after at least this many despawns times 4,095 generations, and even its index
/// stays unused for a while, so that late packets meet nobody.
pub const REUSE_AFTER: usize = 256;

/// The name of an entity: 20 bits of index above 12 bits of generation (never 0).
///
/// The order of ids is the order of indices, and so the order of rows in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(u32);

impl EntityId {
    /// The id with these raw bits; `None` where the generation is 0, which nobody ever has.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw & GENERATION_MASK == 0 { None } else { Some(Self(raw)) }
    }

    /// The id of that index and generation; `None` where one is out of range.
    #[must_use]
    pub const fn from_parts(index: u32, generation: u32) -> Option<Self> {
        if index < MAX_INDICES && generation <= GENERATION_MASK {
            Self::from_raw(index << GENERATION_BITS | generation)
        } else {
            None
        }
    }

    /// The raw bits, never 0.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The index, below [`MAX_INDICES`].
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 >> GENERATION_BITS
    }

    /// The generation, 1..=4095.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 & GENERATION_MASK
    }

    /// The next user of the same index.
    const fn next(self) -> Self {
        let generation = if self.generation() == GENERATION_MASK { 1 } else { self.generation() + 1 };
        Self(self.index() << GENERATION_BITS | generation)
    }
}

/// Hands out ids: fresh indices first, then the index that has been free for longest.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// What each freed index will be called next, oldest first.
    free: VecDeque<EntityId>,
    fresh: u32,
    capacity: u32,
}

impl Allocator {
    /// An allocator for at most `capacity` entities at a time.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { free: VecDeque::new(), fresh: 0, capacity: capacity.min(MAX_INDICES - REUSE_AFTER as u32) }
    }

    /// A new id; `None` when `capacity` entities live.
    pub fn allocate(&mut self) -> Option<EntityId> {
        if self.live() >= self.capacity {
            return None;
        }
        if self.free.len() >= REUSE_AFTER {
            return self.free.pop_front();
        }
        let id = EntityId(self.fresh << GENERATION_BITS | 1);
        self.fresh += 1;
        Some(id)
    }

    /// Takes an id back. The caller makes sure that it was live.
    pub fn release(&mut self, id: EntityId) {
        self.free.push_back(id.next());
    }

    /// How many ids are in use.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.fresh - self.free.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_index_comes_back_late_and_renamed() {
        let mut ids = Allocator::new(10);
        let first = ids.allocate().unwrap();
        ids.release(first);
        for _ in 1..REUSE_AFTER {
            let id = ids.allocate().unwrap();
            assert_ne!(id.index(), first.index());
            ids.release(id);
        }
        let again = ids.allocate().unwrap();
        assert_eq!(again.index(), first.index());
        assert_eq!(again.generation(), first.generation() + 1);
    }

    #[test]
    fn capacity_is_a_limit_on_the_living() {
        let mut ids = Allocator::new(2);
        let (a, _b) = (ids.allocate().unwrap(), ids.allocate().unwrap());
        assert_eq!(ids.allocate(), None);
        ids.release(a);
        assert!(ids.allocate().is_some());
        assert_eq!(ids.allocate(), None);
    }

    #[test]
    fn generation_zero_never_appears() {
        let last = EntityId::from_raw(5 << 12 | 4095).unwrap();
        assert_eq!(last.next().generation(), 1);
        assert_eq!(last.next().index(), 5);
        assert_eq!(EntityId::from_raw(0), None);
        assert_eq!(EntityId::from_raw(7 << 12), None);
    }
}
