//! The lanes of a connection, and which of them may have something to send.
//!
//! Most of the time nothing waits but the snapshot. A lane is some cache lines, and each packet asked all of them; now it
//! asks a word of bits.

use super::lane::Lane;
use crate::bits::numbers;
use crate::channel::{Channel, INPUT, Kind, MAX_CHANNELS, Table};
use crate::prefetch::{Prefetch, Way};

/// The lanes by channel number.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Box<[Lane]>,
    /// The lanes that may have something to send, by bit; the others have nothing.
    stirred: u16,
    /// Those that were changed since the last packet out, and those that were before it: they will be again.
    changed: u16,
    before: u16,
    snapshot: Option<(u8, Channel)>,
}

const _: () = assert!(MAX_CHANNELS <= u16::BITS as usize);

impl Lanes {
    /// A lane for each channel.
    pub(super) fn new(table: &Table) -> Self {
        let snapshot = (0..).zip(&table.0).find(|(_, channel)| channel.kind == Kind::Snapshot);
        Self {
            lanes: table.0.iter().map(Lane::new).collect(),
            stirred: 0,
            changed: 0,
            before: 0,
            snapshot: snapshot.map(|(at, channel)| (at, *channel)),
        }
    }

    /// Asks for those that may have something to send, and on the way in for the inputs, which come with each packet.
    #[inline]
    pub(super) fn prefetch_contents(&self, way: Way, prefetch: Prefetch) {
        numbers(self.stirred | self.before).filter_map(|at| self.get(at)).for_each(|lane| prefetch.of(lane));
        if let Some(lane) = self.get(usize::from(INPUT)).filter(|_| way == Way::In) {
            prefetch.of(lane);
        }
    }

    /// The first channel for snapshots.
    pub(super) const fn snapshot(&self) -> Option<&Channel> {
        match &self.snapshot {
            Some((_, channel)) => Some(channel),
            None => None,
        }
    }

    /// Whether a newer snapshot than that of packet `pn` was taken.
    pub(super) fn is_late_snapshot(&self, pn: u64) -> bool {
        self.snapshot.and_then(|(at, _)| self.get(at.into())).is_some_and(|lane| lane.is_late_snapshot(pn))
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&Lane> {
        self.lanes.get(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// All lanes with their numbers, to be changed in any way.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u8, &mut Lane)> {
        self.stirred = u16::MAX;
        (0..).zip(&mut self.lanes)
    }

    /// A lane to be changed in any way.
    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Lane> {
        let lane = self.lanes.get_mut(at)?;
        self.stirred |= 1 << at;
        self.changed |= 1 << at;
        Some(lane)
    }

    /// A lane that something arrives on. Only what arrives of blocks is answered on their own channel.
    #[inline]
    pub(super) fn taking(&mut self, at: usize) -> Option<&mut Lane> {
        let lane = self.lanes.get_mut(at)?;
        if lane.channel.kind == Kind::Block {
            self.stirred |= 1 << at;
        }
        Some(lane)
    }

    /// What a lane would send next, as [`Lane::due_bytes`].
    #[inline]
    pub(super) fn due_bytes(&self, at: usize, bulk: bool) -> Option<usize> {
        self.stirred(at).and_then(|lane| lane.due_bytes(bulk))
    }

    /// Whether a lane must not wait for the rate.
    #[inline]
    pub(super) fn is_urgent(&self, at: usize) -> bool {
        self.stirred(at).is_some_and(Lane::is_urgent)
    }

    /// The first lane that has something to send.
    pub(super) fn first_due(&self) -> Option<usize> {
        self.stirred_numbers().find(|at| self.due_bytes(*at, true).is_some())
    }

    /// Whether any must not wait for the rate.
    pub(super) fn any_urgent(&self) -> bool {
        self.stirred_numbers().any(|at| self.is_urgent(at))
    }

    /// A packet is written: looks which lanes still have something to send.
    pub(super) fn calm(&mut self) {
        let due = self.stirred_numbers().filter(|at| self.due_bytes(*at, true).is_some());
        self.stirred = due.fold(0, |bits, at| bits | 1 << at);
        self.before = core::mem::take(&mut self.changed);
    }

    #[inline]
    fn stirred(&self, at: usize) -> Option<&Lane> {
        let bit = u32::try_from(at).ok().and_then(|at| 1u16.checked_shl(at)).unwrap_or(0);
        self.lanes.get(at).filter(|_| self.stirred & bit != 0)
    }

    fn stirred_numbers(&self) -> impl Iterator<Item = usize> + use<> {
        numbers(self.stirred)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::SESSION;
    use crate::time::Time;

    #[test]
    fn a_lane_is_asked_only_while_it_may_have_something_to_send() {
        let mut lanes = Lanes::new(&Table::standard());
        assert_eq!(lanes.first_due(), None);
        lanes.get_mut(usize::from(SESSION)).unwrap().send(SESSION, &[1; 9]).unwrap();
        assert_eq!(lanes.first_due(), Some(usize::from(SESSION)));
        assert_eq!(lanes.due_bytes(usize::from(SESSION), true), Some(9));
        lanes.calm();
        assert_eq!(lanes.stirred, 1 << SESSION);
        let mut bytes = [0; 64];
        let mut w = crate::bits::BitWriter::new(&mut bytes);
        let carried = lanes.get_mut(usize::from(SESSION)).unwrap().carry(Time::ZERO, SESSION, &mut w);
        assert!(carried.is_some());
        assert_eq!(lanes.stirred, 1 << SESSION, "not looked at yet");
        lanes.calm();
        assert_eq!((lanes.stirred, lanes.first_due()), (0, None));
        // What arrives is no reason to send.
        lanes.taking(usize::from(INPUT)).unwrap();
        assert_eq!(lanes.stirred, 0);
    }
}
