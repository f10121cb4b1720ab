//! Which channel writes next: guarantees first, then strict priority, then weights.
//!
//! Inside a level of priority this is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): every channel has
//! a virtual time that advances by what it sent over its weight, and the one that is furthest behind is next. One that
//! was idle starts at the level's own time: silence earns nothing.

use core::mem::offset_of;

use arrayvec::ArrayVec;

use crate::bits;
use crate::channel::MAX_CHANNELS;

/// Levels of priority.
pub const PRIORITIES: usize = 8;
/// What virtual time advances for one byte of a channel of weight 1.
const SCALE: u64 = 1 << 16;

/// What a channel is entitled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// 0 is the most urgent, 7 the least; what is beyond counts as 7.
    pub priority: u8,
    /// Its part among the channels of its priority; 0 counts as 1.
    pub weight: u8,
    /// Bytes of each tick that come before any priority, and are not taken off its weight; 0 for none.
    pub min_bytes: u32,
    /// The most bytes of each tick; 0 for no limit.
    pub max_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    share: Share,
    /// Bytes of this tick.
    used: u32,
    /// Bytes by which it ran over its limit in earlier ticks.
    debt: u32,
    /// Virtual time at which what it sent is paid for.
    finish: u64,
}

impl Lane {
    const fn level(&self) -> usize {
        let priority = self.share.priority as usize;
        if priority < PRIORITIES { priority } else { PRIORITIES - 1 }
    }

    const fn is_guaranteed(&self) -> bool {
        self.used < self.share.min_bytes
    }

    const fn room(&self) -> Option<u32> {
        match self.share.max_bytes {
            0 => None,
            max => Some(max.saturating_sub(self.used).saturating_sub(self.debt)),
        }
    }
}

/// Shares the bytes of a connection among its channels. The order in memory is that of use.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Scheduler {
    /// The channels that have used bytes of this tick, or have a debt, by bit.
    used: u16,
    /// Virtual time of each level: where the channel that sent last stood.
    levels: [u64; PRIORITIES],
    lanes: ArrayVec<Lane, MAX_CHANNELS>,
}

const _: () = assert!(MAX_CHANNELS <= u16::BITS as usize);

impl Scheduler {
    /// Where what each packet needs ends, the first channels being those of most packets; it begins with this struct.
    pub(crate) const HOT: usize = offset_of!(Self, lanes) + 3 * size_of::<Lane>();

    /// Shares by channel number; more than [`MAX_CHANNELS`] are left out.
    #[must_use]
    pub fn new(shares: &[Share]) -> Self {
        let lane = |share: &Share| Lane { share: *share, used: 0, debt: 0, finish: 0 };
        Self { lanes: shares.iter().map(lane).take(MAX_CHANNELS).collect(), used: 0, levels: [0; PRIORITIES] }
    }

    /// Begins a tick: guarantees and limits start anew, less what a channel ran over its limit.
    pub fn new_tick(&mut self) {
        for number in bits::numbers(core::mem::take(&mut self.used)) {
            let Some(lane) = self.lanes.get_mut(number) else { continue };
            let max = lane.share.max_bytes;
            lane.debt = if max == 0 { 0 } else { lane.used.saturating_add(lane.debt).saturating_sub(max) };
            lane.used = 0;
            self.used |= u16::from(lane.debt > 0) << number;
        }
    }

    /// The channel that writes next, of those that are ready (have something that fits); `None` when none may.
    #[must_use]
    pub fn pick(&self, ready: impl Fn(usize) -> bool) -> Option<usize> {
        // Whoever has nothing is not looked at.
        let may = |(number, lane): &(usize, &Lane)| ready(*number) && lane.room() != Some(0);
        let order = |(number, lane): &(usize, &Lane)| (!lane.is_guaranteed(), lane.level(), self.start(lane), *number);
        self.lanes.iter().enumerate().filter(may).min_by_key(order).map(|(number, _)| number)
    }

    /// Bytes that a channel may still write in this tick; `None` without a limit.
    ///
    /// A caller that never writes more than this keeps the limit in every tick. One that has nothing so short may run
    /// over it, and the next ticks have the less.
    #[must_use]
    pub fn room(&self, channel: usize) -> Option<u32> {
        self.lanes.get(channel).and_then(Lane::room)
    }

    /// Counts the bytes that the channel just picked has written.
    pub fn charge(&mut self, channel: usize, bytes: usize) {
        let Some(lane) = self.lanes.get(channel) else { return };
        let (level, start) = (lane.level(), self.start(lane));
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.used |= 1 << channel;
        let used = lane.used.saturating_add(bytes);
        let beyond = used.saturating_sub(lane.used.max(lane.share.min_bytes));
        lane.used = used;
        if beyond > 0 {
            lane.finish = start.saturating_add(u64::from(beyond) * SCALE / u64::from(lane.share.weight.max(1)));
            if let Some(time) = self.levels.get_mut(level) {
                *time = start;
            }
        }
    }

    /// Where a channel's next bytes start in virtual time: at the end of its last, or now if it was idle since.
    fn start(&self, lane: &Lane) -> u64 {
        let now = self.levels.get(lane.level()).copied().unwrap_or(0);
        lane.finish.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const PLAIN: Share = Share { priority: 3, weight: 1, min_bytes: 0, max_bytes: 0 };

    /// Picks and charges `picks` times with sizes of `size`; returns the bytes of each channel.
    fn run(
        scheduler: &mut Scheduler,
        ready: &[bool],
        picks: usize,
        mut size: impl FnMut(usize) -> usize,
    ) -> Vec<usize> {
        let mut sent = vec![0; ready.len()];
        for _ in 0..picks {
            let Some(channel) = scheduler.pick(|channel| ready[channel]) else { break };
            let bytes = size(channel);
            scheduler.charge(channel, bytes);
            sent[channel] += bytes;
        }
        sent
    }

    fn shares() -> impl Strategy<Value = Vec<Share>> {
        let share = (0u8..8, 1u8..=255, prop_oneof![Just(0u32), 1u32..3000], prop_oneof![Just(0u32), 1u32..5000]);
        let share = share.prop_map(|(priority, weight, min_bytes, max_bytes)| {
            let min_bytes = if max_bytes == 0 { min_bytes } else { min_bytes.min(max_bytes) };
            Share { priority, weight, min_bytes, max_bytes }
        });
        prop::collection::vec(share, 1..=MAX_CHANNELS)
    }

    proptest! {
        #[test]
        fn nobody_writes_while_a_more_urgent_channel_is_ready(shares in shares(), ready: [bool; MAX_CHANNELS], seed: u64) {
            let mut scheduler = Scheduler::new(&shares);
            let mut rng = Rng::new(seed);
            for _ in 0..300 {
                if rng.chance(0.02) {
                    scheduler.new_tick();
                }
                let Some(chosen) = scheduler.pick(|channel| ready[channel]) else { continue };
                prop_assert!(ready[chosen]);
                let lane = scheduler.lanes[chosen];
                for (number, other) in scheduler.lanes.iter().enumerate() {
                    let waits = ready[number] && other.room() != Some(0);
                    let same = other.is_guaranteed() == lane.is_guaranteed();
                    prop_assert!(!(waits && same && other.level() < lane.level()));
                    prop_assert!(!(waits && other.is_guaranteed() && !lane.is_guaranteed()), "guarantees come first");
                }
                scheduler.charge(chosen, 1 + rng.below(1400) as usize);
            }
        }

        #[test]
        fn weights_are_honoured_within_a_tenth(weights in prop::collection::vec(1u8..=8, 2..6), longest in prop::collection::vec(100u64..600, 6), seed: u64) {
            let shares: Vec<_> = weights.iter().map(|weight| Share { weight: *weight, ..PLAIN }).collect();
            let mut scheduler = Scheduler::new(&shares);
            let mut rng = Rng::new(seed);
            // Channels of short messages against ones of long messages: bytes count, not messages.
            let sent = run(&mut scheduler, &vec![true; shares.len()], 1000, |at| 1 + rng.below(longest[at]) as usize);
            let total: usize = sent.iter().sum();
            let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
            for (bytes, weight) in sent.iter().zip(&weights) {
                let fair = total * usize::from(*weight) / sum;
                // A message is never cut: one that has just gone, or has just not, is nobody's fault.
                prop_assert!(bytes.abs_diff(fair) <= fair / 10 + 600, "{} of {}", bytes, fair);
            }
        }

        #[test]
        fn guarantees_are_given_and_limits_kept(shares in shares(), seed: u64) {
            let mut scheduler = Scheduler::new(&shares);
            let mut rng = Rng::new(seed);
            let mut total = vec![0u64; shares.len()];
            let all = vec![true; shares.len()];
            for tick in 1..=20u64 {
                scheduler.new_tick();
                // The rest of the budget is enough for all guarantees, wherever a message ends.
                let budget: usize = shares.iter().map(|share| share.min_bytes as usize + 1400).sum();
                let mut spent = 0;
                let mut sent = vec![0; shares.len()];
                while spent < budget && let Some(channel) = scheduler.pick(|channel| all[channel]) {
                    let room = scheduler.room(channel).map_or(usize::MAX, |room| room as usize);
                    let bytes = (1 + rng.below(1400) as usize).min(room);
                    scheduler.charge(channel, bytes);
                    spent += bytes;
                    sent[channel] += bytes;
                }
                for (at, share) in shares.iter().enumerate() {
                    total[at] += sent[at] as u64;
                    prop_assert!(sent[at] >= share.min_bytes as usize, "{:?} got {}", share, sent[at]);
                    prop_assert!(share.max_bytes == 0 || sent[at] <= share.max_bytes as usize);
                    prop_assert!(share.max_bytes == 0 || total[at] <= tick * u64::from(share.max_bytes));
                }
            }
        }

        #[test]
        fn who_must_run_over_its_limit_pays_in_later_ticks(max in 1u32..3000, size in 1usize..1400, ticks in 1usize..50) {
            let mut scheduler = Scheduler::new(&[Share { max_bytes: max, ..PLAIN }]);
            let mut sent = 0;
            for _ in 0..ticks {
                scheduler.new_tick();
                sent += run(&mut scheduler, &[true], 10_000, |_| size)[0];
            }
            prop_assert!(sent < ticks * max as usize + size, "{} in {} ticks", sent, ticks);
        }

        #[test]
        fn silence_earns_no_credit(weights: [u8; 2], idle in 1usize..2000, min_bytes in prop_oneof![Just(0u32), 1u32..2000]) {
            let shares = weights.map(|weight| Share { weight: weight.clamp(1, 10), min_bytes, ..PLAIN });
            let mut scheduler = Scheduler::new(&shares);
            for _ in 0..idle {
                scheduler.new_tick();
                run(&mut scheduler, &[true, false], 5, |_| 700);
            }
            // From now on nobody is below its guarantee.
            let mut sent = run(&mut scheduler, &[true, true], 2, |_| 2000);
            sent.fill(0);
            for (all, now) in sent.iter_mut().zip(run(&mut scheduler, &[true, true], 1000, |_| 100)) {
                *all += now;
            }
            let [a, b] = shares.map(|share| usize::from(share.weight));
            let fair = 100_000 * b / (a + b);
            // What one message of 2000 bytes at weight 1 puts the other ahead is allowed for.
            prop_assert!(sent[1].abs_diff(fair) <= fair / 10 + 2000 * 10, "{} of {}", sent[1], fair);
        }
    }

    #[test]
    fn a_channel_that_wakes_shares_from_then_on() {
        let mut scheduler = Scheduler::new(&[PLAIN, PLAIN]);
        assert_eq!(run(&mut scheduler, &[true, false], 1000, |_| 100), [100_000, 0]);
        let sent = run(&mut scheduler, &[true, true], 10, |_| 100);
        assert_eq!(sent, [500, 500]);
    }

    #[test]
    fn bad_shares_do_no_harm() {
        let odd = Share { priority: 255, weight: 0, min_bytes: u32::MAX, max_bytes: 1 };
        let mut scheduler = Scheduler::new(&[odd; 20]);
        assert_eq!(scheduler.lanes.len(), MAX_CHANNELS);
        scheduler.charge(0, usize::MAX);
        scheduler.charge(99, 1);
        assert_eq!((scheduler.pick(|_| true), scheduler.room(99)), (Some(1), None));
        assert_eq!(Scheduler::new(&[]).pick(|_| true), None);
    }
}
