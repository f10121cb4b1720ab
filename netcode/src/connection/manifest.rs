//! What each packet in flight carried, so that its fate can be told to the lanes.

use std::collections::VecDeque;

/// Something that a packet carried and that must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) channel: u8,
    /// What the channel's lane calls it.
    pub(super) name: u64,
}

/// The items of the packets in flight, in the order of their packets.
#[derive(Debug, Default)]
pub(super) struct Manifest(VecDeque<(u64, Item)>);

impl Manifest {
    /// Packet `pn`, which is not older than any before, carries `item`.
    pub(super) fn push(&mut self, pn: u64, item: Item) {
        debug_assert!(self.0.back().is_none_or(|(last, _)| *last <= pn));
        self.0.push_back((pn, item));
    }

    /// What packet `pn` carried.
    pub(super) fn of(&self, pn: u64) -> impl Iterator<Item = Item> + '_ {
        let start = self.0.partition_point(|(packet, _)| *packet < pn);
        self.0.range(start..).take_while(move |(packet, _)| *packet == pn).map(|(_, item)| *item)
    }

    /// Forgets packets before `pn`: their fate is known.
    pub(super) fn forget_before(&mut self, pn: u64) {
        while self.0.front().is_some_and(|(packet, _)| *packet < pn) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packets_items_are_found_until_they_are_forgotten() {
        let mut manifest = Manifest::default();
        let item = |name| Item { channel: 1, name };
        for (pn, name) in [(3, 0), (3, 1), (7, 2), (9, 3)] {
            manifest.push(pn, item(name));
        }
        let names = |manifest: &Manifest, pn| manifest.of(pn).map(|item| item.name).collect::<Vec<_>>();
        assert_eq!(names(&manifest, 3), [0, 1]);
        assert!(names(&manifest, 4).is_empty());
        assert_eq!(names(&manifest, 7), [2]);
        manifest.forget_before(7);
        assert!(names(&manifest, 3).is_empty());
        assert_eq!(names(&manifest, 9), [3]);
    }
}
