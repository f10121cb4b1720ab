//! What each snapshot in flight carried.

use core::ops::{Range, RangeInclusive};
use std::collections::VecDeque;

use netcode::prefetch::Prefetch;

/// Records that a snapshot carried: of one slot, or of a run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    slot: u16,
    count: u16,
}

const DESPAWN: u16 = 1 << 15;

impl Carried {
    pub(super) const fn new(slot: u16, despawn: bool) -> Self {
        Self { slot: slot | if despawn { DESPAWN } else { 0 }, count: 1 }
    }

    /// A run of slots, each with a record that is no despawn, or with nothing to say.
    pub(super) const fn run(slots: &Range<u16>) -> Self {
        Self { slot: slots.start, count: slots.end.saturating_sub(slots.start) }
    }

    pub(super) const fn slots(self) -> Range<u16> {
        let start = self.slot & !DESPAWN;
        start..start + self.count
    }

    pub(super) const fn is_despawn(self) -> bool {
        self.slot & DESPAWN != 0
    }
}

/// So many snapshots, and records in them, are worth to be asked for ahead.
const NEAR_SNAPSHOTS: usize = 4;
const NEAR_RECORDS: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    pn: u64,
    tick: u64,
    records: u16,
}

/// The snapshots in flight, oldest first; what all of them carried in one queue.
#[derive(Debug, Default)]
pub(super) struct SentSnapshots {
    snapshots: VecDeque<Snapshot>,
    records: VecDeque<Carried>,
}

impl SentSnapshots {
    pub(super) fn push(&mut self, pn: u64, tick: u64, records: &[Carried]) {
        self.snapshots.push_back(Snapshot { pn, tick, records: u16::try_from(records.len()).unwrap_or(u16::MAX) });
        self.records.extend(records);
    }

    /// Takes out the snapshot of packet `pn`: its records go to `visit` with its tick, which is also returned.
    ///
    /// Each is settled at most once and mostly in order, so the entries before it are few. They stay, since packets
    /// settle out of order.
    pub(super) fn take(&mut self, pn: u64, mut visit: impl FnMut(u64, Carried)) -> Option<u64> {
        let at = self.snapshots.binary_search_by_key(&pn, |snapshot| snapshot.pn).ok()?;
        let start: usize = self.snapshots.iter().take(at).map(|snapshot| usize::from(snapshot.records)).sum();
        let snapshot = self.snapshots.get_mut(at)?;
        let (tick, count) = (snapshot.tick, usize::from(snapshot.records));
        for carried in self.records.range(start..start + count) {
            visit(tick, *carried);
        }
        if at == 0 {
            self.snapshots.pop_front();
            self.records.drain(..count);
        } else {
            self.snapshots.remove(at);
            self.records.drain(start..start + count);
        }
        Some(tick)
    }

    /// Visits what the snapshots of those ticks carried that are still in flight, with their ticks.
    pub(super) fn visit_in_flight(&self, ticks: RangeInclusive<u64>, mut visit: impl FnMut(u64, Carried)) {
        let mut start = 0;
        for snapshot in &self.snapshots {
            let count = usize::from(snapshot.records);
            if ticks.contains(&snapshot.tick) {
                self.records.range(start..start + count).for_each(|carried| visit(snapshot.tick, *carried));
            }
            start += count;
        }
    }

    /// What the oldest one carried.
    pub(super) fn oldest(&self) -> impl Iterator<Item = Carried> + '_ {
        let count = self.snapshots.front().map_or(0, |snapshot| usize::from(snapshot.records));
        self.records.iter().take(count).copied()
    }

    /// Asks for the oldest ones, which are settled next.
    #[inline]
    pub(super) fn prefetch_oldest(&self, prefetch: Prefetch) {
        let (snapshots, records) = (self.snapshots.as_slices().0, self.records.as_slices().0);
        prefetch.of(snapshots.get(..NEAR_SNAPSHOTS).unwrap_or(snapshots));
        prefetch.of(records.get(..NEAR_RECORDS).unwrap_or(records));
    }

    /// Asks for where the next one goes, or lies beside it.
    #[inline]
    pub(super) fn prefetch_end(&self, prefetch: Prefetch) {
        if let Some(last) = self.snapshots.back() {
            prefetch.of(last);
        }
        if let Some(last) = self.records.back() {
            prefetch.of(last);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.snapshots.capacity() * size_of::<Snapshot>() + self.records.capacity() * size_of::<Carried>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_snapshot_gives_back_its_own_records_in_any_order() {
        let mut sent = SentSnapshots::default();
        for pn in 0..5u16 {
            let records: Vec<Carried> = (0..pn).map(|i| Carried::new(pn * 10 + i, i == 1)).collect();
            sent.push(u64::from(pn) * 2, 100 + u64::from(pn), &records);
        }
        for pn in [3u16, 0, 4, 1, 2] {
            let mut slots = Vec::new();
            let tick =
                sent.take(u64::from(pn) * 2, |_, carried| slots.push((carried.slots().start, carried.is_despawn())));
            assert_eq!(tick, Some(100 + u64::from(pn)));
            assert_eq!(slots, (0..pn).map(|i| (pn * 10 + i, i == 1)).collect::<Vec<_>>());
            assert_eq!(sent.take(u64::from(pn) * 2, |_, _| panic!("settled twice")), None);
        }
        assert!(sent.snapshots.is_empty() && sent.records.is_empty());
    }
}
