//! How much a connection may send: a budget of bytes per tick, not a window.
//!
//! What a game sends is due at its tick or is worthless, so this side keeps a rate that the path carries with short
//! queues and fits its ticks into it. Time goes by in *rounds*: at least a round trip and a half, and only what was
//! sent within a round speaks about it, so that no decision is taken on what the one before it caused. At the end of a
//! round the rate
//! - falls to 85 % when a queue of more than [`MAX_QUEUE_DELAY`] stands on the path and is not already shrinking, or
//!   when significantly more than 5 % of the packets are lost. Less is taken for the path's own noise;
//! - else doubles, until it first fell, and from then on grows by a step that depends on it by its square root at most
//!   (so that flows that share a path converge: Bansal and Balakrishnan's binomial algorithms, INFOCOM 2001); but only
//!   when the budget was really used.
//!
//! The queue is judged by the *smallest* round-trip time of the round against the smallest of the last ten seconds:
//! a queue delays every packet, jitter only some.

use core::time::Duration;

use crate::recovery::Settled;
use crate::time::Time;

/// A queue that delays by more than this is too long.
pub const MAX_QUEUE_DELAY: Duration = Duration::from_millis(40);
/// The rate does not double while a queue delays by more than this.
pub const FIRST_QUEUE_DELAY: Duration = Duration::from_millis(10);
/// The shortest round.
pub const MIN_ROUND: Duration = Duration::from_millis(100);
/// The fewest settled packets by which loss is judged, and the shortest time.
pub const MIN_LOSS_PACKETS: u32 = 20;
const MIN_LOSS_TIME: Duration = Duration::from_millis(500);
/// The fewest round-trip times by which a queue is judged.
const MIN_SAMPLES: u32 = 4;
/// The bucket holds this much at the least: two datagrams of the longest kind.
const MIN_BURST: u64 = 2 * LONGEST;
const LONGEST: u64 = 1452;
/// What a round adds at any rate, in bytes per second: one datagram.
const STEP: u64 = 1200;
/// What it adds besides, as a part of the geometric mean of rate and cap.
const STEP_PART: u64 = 192;
/// One byte of the token bucket. With it, bytes/s times µs needs no division.
const BYTE: i64 = 1_000_000;

/// Between what and what a rate moves. Bytes are those of whole datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Bytes per second at first. Up to here the rate also grows when it is not used.
    pub start: u32,
    /// It never falls below.
    pub floor: u32,
    /// It never grows above.
    pub cap: u32,
    /// The time between two packets that are sent for their own sake.
    pub tick: Duration,
}

impl RateConfig {
    /// For a connection that may send `cap` bytes a second, or what its token says if that is less (0: nothing): at
    /// first half of it, but 256 kB/s at least, and never below 16 kB/s, as far as the cap allows.
    #[must_use]
    pub fn capped(cap: u32, token: u32, tick: Duration) -> Self {
        let cap = if token == 0 { cap } else { cap.min(token) };
        Self { start: cap.min(256_000).max(cap / 2), floor: cap.min(16_000), cap, tick }
    }
}

/// What a round has shown so far.
#[derive(Clone, Copy, Debug)]
struct Round {
    since: Time,
    /// When the first packet of the round was answered.
    answered: Option<Time>,
    /// The smallest round-trip time of its packets, of so many, and the last few of them.
    min_rtt: u64,
    samples: u32,
    newest: [u64; MIN_SAMPLES as usize],
    /// Bytes acknowledged after `answered`.
    acked: u64,
    spent: u64,
    /// The budget ran out at least once.
    exhausted: bool,
}

impl Round {
    const fn new(since: Time) -> Self {
        Self {
            since,
            answered: None,
            min_rtt: u64::MAX,
            samples: 0,
            newest: [0; MIN_SAMPLES as usize],
            acked: 0,
            spent: 0,
            exhausted: false,
        }
    }
}

/// The rate of one direction of one connection.
#[derive(Clone, Debug)]
pub struct RateControl {
    config: RateConfig,
    rate: u32,
    /// Bytes times [`BYTE`] that may be sent at `filled`; below zero, a debt.
    tokens: i64,
    filled: Time,
    /// The rate has not fallen yet, so it doubles.
    doubling: bool,
    round: Round,
    /// The queue's delay at the end of the last round.
    queue: u64,
    fell_at: Time,
    /// Packets settled since `judged_at` (when the first of them was), and how many of them were lost.
    settled: u32,
    lost: u32,
    judged_at: Time,
}

impl RateControl {
    /// A rate at its start; floor and start are cut to the cap.
    #[must_use]
    pub fn new(config: RateConfig) -> Self {
        let mut control = Self {
            config,
            rate: 1,
            tokens: 0,
            filled: Time::ZERO,
            doubling: true,
            round: Round::new(Time::ZERO),
            queue: 0,
            fell_at: Time::ZERO,
            settled: 0,
            lost: 0,
            judged_at: Time::ZERO,
        };
        control.rate = control.start();
        control.tokens = control.burst();
        control
    }

    fn cap(&self) -> u32 {
        self.config.cap.max(1)
    }

    fn floor(&self) -> u32 {
        self.config.floor.clamp(1, self.cap())
    }

    fn start(&self) -> u32 {
        self.config.start.clamp(self.floor(), self.cap())
    }

    /// Bytes per second.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Bytes that a tick may send.
    #[must_use]
    pub fn tick_budget(&self) -> usize {
        let bytes = u128::from(self.rate) * self.config.tick.as_micros() / 1_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Sets the most that the rate may be, in bytes per second.
    pub fn set_cap(&mut self, cap: u32) {
        self.config.cap = cap;
        self.rate = self.rate.clamp(self.floor(), self.cap());
    }

    /// What is sent now takes another path, of which nothing is known: back to the start, unless the rate is lower.
    pub fn on_path_changed(&mut self, now: Time) {
        self.set_rate(now, self.rate.min(self.start()).into());
        (self.doubling, self.queue, self.fell_at) = (true, 0, now);
        (self.settled, self.lost) = (0, 0);
        self.round = Round::new(now);
    }

    /// Whether `bytes` may be sent now.
    #[must_use]
    pub fn allows(&self, now: Time, bytes: usize) -> bool {
        self.tokens_at(now) >= self.price(bytes)
    }

    /// When `bytes` may be sent; `now` may lie in the past.
    #[must_use]
    pub fn next_at(&self, now: Time, bytes: usize) -> Time {
        // The bucket knows nothing of the time before it was last filled.
        let now = now.max(self.filled);
        let missing = self.price(bytes).saturating_sub(self.tokens_at(now)).max(0).unsigned_abs();
        // What is missing was counted when the bucket was last filled, if that is later.
        now.max(self.filled) + Duration::from_micros(missing.div_ceil(u64::from(self.rate)))
    }

    /// Counts bytes that were sent. The tick's packet goes even where the budget has no room: later ones wait for it,
    /// but for no more than four ticks.
    pub fn spend(&mut self, now: Time, bytes: usize) {
        self.fill(now);
        let debt = 4 * self.burst();
        let price = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE);
        self.tokens = self.tokens.saturating_sub(price).max(-debt);
        self.round.spent = self.round.spent.saturating_add(bytes as u64);
        self.round.exhausted |= self.tokens < LONGEST as i64 * BYTE;
    }

    /// Takes the fate of any packet.
    pub fn on_settled(&mut self, now: Time, settled: &Settled) {
        let packet = settled.packet;
        if packet.probe {
            return;
        }
        if settled.sent >= self.round.since && settled.acked {
            // The bytes of the first ack were sent before the measurement begins.
            if now > *self.round.answered.get_or_insert(now) {
                self.round.acked = self.round.acked.saturating_add(u64::from(packet.bytes));
            }
        }
        // What was sent before the rate fell says nothing of the rate as it is.
        if packet.eliciting && settled.sent >= self.fell_at {
            if self.settled == 0 {
                self.judged_at = now;
            }
            self.settled = self.settled.saturating_add(1);
            self.lost = self.lost.saturating_add(u32::from(!settled.acked));
        }
    }

    /// So many packets were only late that had been reported as lost.
    pub fn on_spurious(&mut self, packets: u32) {
        self.lost = self.lost.saturating_sub(packets);
    }

    /// Takes a new sample of the round-trip time, and the smallest of the last ten seconds; all in microseconds.
    pub fn on_rtt(&mut self, now: Time, rtt: u64, rtt_min: u64) {
        let sent = now.as_micros().saturating_sub(rtt);
        if sent < self.round.since.as_micros() {
            return;
        }
        if let Some(oldest) = self.round.newest.get_mut((self.round.samples % MIN_SAMPLES) as usize) {
            *oldest = rtt;
        }
        self.round.samples += 1;
        self.round.min_rtt = self.round.min_rtt.min(rtt);
        // The queue's own delay does not lengthen a round: its packets took that long to answer anyway.
        let length = Duration::from_micros(rtt_min.saturating_mul(3) / 2).max(MIN_ROUND);
        if self.round.samples >= MIN_SAMPLES && now.saturating_since(self.round.since) >= length {
            self.end_round(now, rtt_min);
        }
    }

    fn end_round(&mut self, now: Time, rtt_min: u64) {
        // Doubling fills a queue within a round, which only the last packets of the round show.
        let newest = self.round.newest.iter().copied().min().unwrap_or(0);
        let rtt = if self.doubling { newest } else { self.round.min_rtt };
        let queue = rtt.saturating_sub(rtt_min);
        let shrinks = queue < self.queue - self.queue / 16;
        let long = u128::from(queue) > MAX_QUEUE_DELAY.as_micros();
        let lossy = self.judge_loss(now);
        if lossy || (long && !shrinks) {
            self.fall(now, queue);
        } else if u128::from(queue) <= self.longest_queue_to_rise() {
            self.rise(now);
        }
        self.queue = queue;
        self.round = Round::new(now);
    }

    const fn longest_queue_to_rise(&self) -> u128 {
        let delay = if self.doubling { FIRST_QUEUE_DELAY } else { MAX_QUEUE_DELAY };
        delay.as_micros()
    }

    /// Whether more than 5 % of the packets were lost, beyond what chance makes of 5 %.
    fn judge_loss(&mut self, now: Time) -> bool {
        if self.settled < MIN_LOSS_PACKETS || now.saturating_since(self.judged_at) < MIN_LOSS_TIME {
            return false;
        }
        let high = is_significant(self.lost, self.settled);
        (self.settled, self.lost) = (0, 0);
        high
    }

    fn fall(&mut self, now: Time, queue: u64) {
        let reduced = u64::from(self.rate) * 85 / 100;
        let excessive = u128::from(queue) > 2 * MAX_QUEUE_DELAY.as_micros();
        let rate = if (self.doubling || excessive) && self.is_used(now) {
            // Far above what the path carries; then what arrived shows what that is.
            (self.delivered(now) * 85 / 100).clamp(u64::from(self.rate) / 4, reduced)
        } else {
            reduced
        };
        self.doubling = false;
        self.fell_at = now;
        (self.settled, self.lost) = (0, 0);
        self.set_rate(now, rate);
    }

    fn rise(&mut self, now: Time) {
        let step = self.step();
        if self.is_used(now) {
            let more = if self.doubling { self.rate } else { step };
            self.set_rate(now, u64::from(self.rate) + u64::from(more));
        } else if self.rate < self.start() {
            self.set_rate(now, u64::from(self.rate.saturating_add(step).min(self.start())));
        }
    }

    /// Less than proportional to the rate, else flows that share a path would keep their ratio; but not the same at
    /// any rate either, for what is little at the cap would flood a path far narrower.
    fn step(&self) -> u32 {
        let mean = (u64::from(self.rate) * u64::from(self.cap())).isqrt();
        u32::try_from(STEP + mean / STEP_PART).unwrap_or(u32::MAX)
    }

    fn set_rate(&mut self, now: Time, rate: u64) {
        self.fill(now);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        self.rate = rate.clamp(self.floor(), self.cap());
    }

    /// Whether the round ran out of budget, and not by one burst alone.
    fn is_used(&self, now: Time) -> bool {
        let allowed = u128::from(self.rate) * now.saturating_since(self.round.since).as_micros() / 1_000_000;
        self.round.exhausted && u128::from(self.round.spent) * 2 >= allowed
    }

    /// Bytes per second that arrived in this round.
    fn delivered(&self, now: Time) -> u64 {
        let since = self.round.answered.unwrap_or(now);
        let micros = now.saturating_since(since).as_micros() as u64;
        self.round.acked.saturating_mul(1_000_000).checked_div(micros).unwrap_or(u64::from(self.rate))
    }

    /// What the bucket holds when full: a tick's budget.
    fn burst(&self) -> i64 {
        let bytes = (self.tick_budget() as u64).clamp(MIN_BURST, u64::from(u32::MAX));
        bytes as i64 * BYTE
    }

    fn tokens_at(&self, now: Time) -> i64 {
        let micros = i64::try_from(now.saturating_since(self.filled).as_micros()).unwrap_or(i64::MAX);
        self.tokens.saturating_add(micros.saturating_mul(i64::from(self.rate))).min(self.burst())
    }

    fn fill(&mut self, now: Time) {
        self.tokens = self.tokens_at(now);
        self.filled = self.filled.max(now);
    }

    /// A datagram longer than the bucket goes when the bucket is full.
    fn price(&self, bytes: usize) -> i64 {
        i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(BYTE).min(self.burst())
    }
}

/// Whether `lost` of `n` is more than 5 % by over two standard deviations of the binomial distribution:
/// `lost > 0.05 n + 2 sqrt(0.05 · 0.95 n)`, squared, and times 10,000, to stay in integers.
fn is_significant(lost: u32, n: u32) -> bool {
    let (lost, n) = (u128::from(lost), u128::from(n));
    let beyond = (100 * lost).saturating_sub(5 * n);
    beyond * beyond > 4 * 475 * n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_rates_gets_out_of_its_debt_when_it_says() {
        let tick = Duration::from_millis(50);
        for rate in [1, 10, 1000] {
            let mut control = RateControl::new(RateConfig { start: rate, floor: rate, cap: rate, tick });
            control.spend(Time::ZERO, 100_000);
            let at = control.next_at(Time::ZERO, 1200);
            assert!(at > Time::from_millis(10_000) && control.allows(at, 1200), "{rate} bytes a second: {at:?}");
        }
    }

    #[test]
    fn what_is_asked_about_a_time_before_the_rate_changed_may_be_sent_when_the_answer_says_so() {
        let tick = Duration::from_millis(50);
        let mut control = RateControl::new(RateConfig { start: 100_000, floor: 1000, cap: 1_000_000, tick });
        control.spend(Time::from_millis(10), 10_000);
        control.set_rate(Time::from_millis(30), 50_000);
        let at = control.next_at(Time::from_millis(10), 1200);
        assert!(at > Time::from_millis(30) && control.allows(at, 1200), "{at:?}");
    }
    use crate::emulator::LinkConfig;
    use crate::flow::{Flow, Load, World};
    use crate::recovery::Packet;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn config(cap: u32) -> RateConfig {
        RateConfig { start: 32_000, floor: 16_000, cap, tick: 50 * MS }
    }

    /// A path of 50 ms there and back, and its narrow place.
    fn path(bottleneck: Option<u32>, loss: f64) -> LinkConfig {
        let delay = 25 * MS;
        LinkConfig { delay, loss, rate_bytes_per_s: bottleneck, queue_bytes: 60_000, ..LinkConfig::default() }
    }

    fn world(seed: u64, link: LinkConfig, flows: usize, cap: u32) -> World {
        let mut world = World::new(seed, link);
        for _ in 0..flows {
            world.add(Flow::new(RateControl::new(config(cap))));
        }
        world
    }

    fn per_second(bytes: u64, seconds: u64) -> u64 {
        bytes / seconds
    }

    #[test]
    fn a_bottleneck_is_filled_and_its_queue_stays_short() {
        for (queue_bytes, load) in
            [(20_000, Load::Bulk), (60_000, Load::Bulk), (250_000, Load::Bulk), (60_000, Load::Ticks(50))]
        {
            let mut world = World::new(1, LinkConfig { queue_bytes, ..path(Some(250_000), 0.0) });
            world.add(Flow::new(RateControl::new(config(1_000_000))).with_load(load));
            world.run(5_000);
            world.mark();
            world.run(30_000);
            let report = world.report(0);
            assert!(per_second(report.delivered, 30) >= 212_500, "85 %: {report:?}");
            let burst = if matches!(load, Load::Bulk) { 0 } else { 25_000 };
            assert!(report.mean_queue <= 45_000 + burst && report.longest_queue <= 90_000 + 2 * burst, "{report:?}");
        }
    }

    #[test]
    fn when_bytes_may_be_sent_does_not_depend_on_when_one_asks() {
        let mut rate = RateControl::new(config(32_000));
        let [spent, filled] = [1000, 1150].map(Time::from_millis);
        rate.spend(spent, 8000);
        rate.fill(filled);
        let at = rate.next_at(filled, 1200);
        assert_eq!(rate.next_at(spent, 1200), at, "or an endpoint wakes up early, again and again");
        assert!(at > filled && rate.allows(at, 1200) && !rate.allows(filled, 1200));
    }

    #[test]
    fn the_first_overshoot_ends_within_seconds_even_where_nothing_is_dropped() {
        let deep = LinkConfig { queue_bytes: 1_000_000, ..path(Some(250_000), 0.0) };
        let mut world = world(1, deep, 1, 4_000_000);
        world.run(5_000);
        assert!(world.report(0).longest_queue <= 700_000, "{:?}", world.report(0));
        world.mark();
        world.run(10_000);
        let report = world.report(0);
        assert!(report.mean_queue <= 60_000 && report.longest_queue <= 200_000, "{report:?}");
    }

    #[test]
    fn random_loss_up_to_five_percent_leaves_the_cap_in_reach() {
        for (seed, loss) in [(1, 0.0), (1, 0.01), (1, 0.05), (2, 0.05), (3, 0.05), (4, 0.05)] {
            let mut world = world(seed, path(None, loss), 1, 1_000_000);
            world.run(3_000);
            world.mark();
            world.run(30_000);
            let report = world.report(0);
            assert!(per_second(report.sent, 30) >= 900_000, "loss {loss}: {report:?}");
        }
    }

    #[test]
    fn heavy_random_loss_leaves_the_floor_and_a_steady_rate() {
        for seed in 0..5 {
            let mut world = world(seed, path(None, 0.2), 1, 1_000_000);
            world.run(10_000);
            world.mark();
            world.run(60_000);
            let report = world.report(0);
            assert!(report.lowest_rate >= 16_000, "{report:?}");
            assert!(report.highest_rate <= 4 * report.lowest_rate, "{report:?}");
        }
    }

    #[test]
    fn jitter_is_not_taken_for_a_queue() {
        for (jitter, least) in [(10, 900_000), (20, 900_000), (50, 200_000)] {
            let mut world = world(1, LinkConfig { jitter: jitter * MS, ..path(None, 0.0) }, 1, 1_000_000);
            world.run(5_000);
            world.mark();
            world.run(30_000);
            let report = world.report(0);
            assert!(per_second(report.sent, 30) >= least, "jitter {jitter}: {report:?}");
        }
    }

    #[test]
    fn two_flows_come_to_share_a_bottleneck() {
        for phase in 0..8 {
            let mut world = world(1, path(Some(250_000), 0.0), 1, 1_000_000);
            world.run(10_000 + phase * 230);
            world.add(Flow::new(RateControl::new(config(1_000_000))));
            world.run(25_000);
            world.mark();
            world.run(20_000);
            let [a, b] = [0, 1].map(|flow| world.report(flow));
            assert!(a.delivered <= 2 * b.delivered && b.delivered <= 2 * a.delivered, "{a:?} {b:?}");
            assert!(per_second(a.delivered + b.delivered, 20) >= 212_500, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_path_that_narrows_is_followed() {
        let mut world = world(1, path(Some(800_000), 0.0), 1, 1_000_000);
        world.run(10_000);
        world.set_link(path(Some(100_000), 0.0));
        world.run(8_000);
        world.mark();
        world.run(10_000);
        let report = world.report(0);
        assert!(report.highest_rate <= 140_000 && per_second(report.delivered, 10) >= 80_000, "{report:?}");
    }

    #[test]
    fn a_longer_path_is_not_taken_for_a_queue_once_it_is_told() {
        let mut world = world(1, path(None, 0.0), 1, 1_000_000);
        world.run(5_000);
        world.set_link(LinkConfig { delay: 100 * MS, ..path(None, 0.0) });
        let now = world.now;
        world.flows[0].recovery.on_path_changed(now);
        world.flows[0].rate.on_path_changed(now);
        assert_eq!(world.flows[0].rate.rate(), 32_000);
        world.run(15_000);
        assert_eq!(world.flows[0].rate.rate(), 1_000_000);
    }

    #[test]
    fn who_does_not_use_the_budget_neither_earns_more_nor_loses_it_to_chance() {
        for loss in [0.0, 0.05] {
            let mut world = World::new(7, path(None, loss));
            world.add(Flow::new(RateControl::new(config(1_000_000))).with_load(Load::Packets(&[400, 100], 50)));
            world.run(300_000);
            let report = world.report(0);
            assert!(report.highest_rate <= 32_000 && report.lowest_rate >= 20_000, "{report:?}");
        }
    }

    #[test]
    fn the_budget_of_a_tick_is_its_part_of_the_rate() {
        let mut rate = RateControl::new(RateConfig { start: 64_000, ..config(100_000) });
        assert_eq!((rate.rate(), rate.tick_budget()), (64_000, 3_200));
        rate.set_cap(20_000);
        assert_eq!((rate.rate(), rate.tick_budget()), (20_000, 1_000));
        rate.set_cap(0);
        assert_eq!(rate.rate(), 1, "the least cap is a byte per second, not a division by zero");
        rate.set_cap(50_000);
        assert_eq!(rate.rate(), 16_000, "the floor is back with the cap");
        assert_eq!(RateControl::new(config(8_000)).rate(), 8_000, "a cap below the floor is obeyed");
    }

    #[test]
    fn a_tick_may_go_into_debt_and_no_deeper() {
        let mut rate = RateControl::new(config(100_000));
        (0..100).for_each(|_| rate.spend(Time::ZERO, 60_000));
        let due = rate.next_at(Time::ZERO, 1200);
        // Four full buckets of two datagrams, and the 1,200 bytes.
        assert_eq!(due.as_micros(), (4 * 2 * 1452 + 1200) * 1_000_000 / 32_000);
        assert!(!rate.allows(Time::from_micros(due.as_micros() - 1), 1200) && rate.allows(due, 1200));
    }

    #[test]
    fn an_mtu_probe_and_a_packet_from_before_the_fall_say_nothing_of_loss() {
        let mut rate = RateControl::new(config(100_000));
        rate.fall(Time::from_millis(10), 0);
        let packet = Packet { eliciting: true, bytes: 1000, ..Packet::default() };
        let lost = |ms, packet| Settled { pn: 0, acked: false, packet, sent: Time::from_millis(ms) };
        rate.on_settled(Time::from_millis(60), &lost(9, packet));
        rate.on_settled(Time::from_millis(60), &lost(20, Packet { probe: true, ..packet }));
        assert_eq!((rate.settled, rate.lost), (0, 0));
        rate.on_settled(Time::from_millis(60), &lost(20, packet));
        assert_eq!((rate.settled, rate.lost), (1, 1));
        rate.on_spurious(5);
        assert_eq!((rate.settled, rate.lost), (1, 0));
    }

    proptest! {
        #[test]
        fn no_interval_carries_more_than_the_rate_and_one_bucket(start in 1_000u32..2_000_000, seed: u64) {
            let mut rate = RateControl::new(RateConfig { start, floor: 1, cap: u32::MAX, tick: 50 * MS });
            let mut rng = Rng::new(seed);
            let mut sends: Vec<(u64, u64)> = Vec::new();
            let mut now = Time::ZERO;
            for _ in 0..200 {
                let bytes = 1 + rng.below(1452);
                let due = rate.next_at(now, bytes as usize);
                prop_assert_eq!(due <= now, rate.allows(now, bytes as usize));
                now = due + Duration::from_micros(if rng.chance(0.3) { rng.below(100_000) } else { 0 });
                prop_assert!(rate.allows(now, bytes as usize));
                rate.spend(now, bytes as usize);
                sends.push((now.as_micros(), bytes));
            }
            let bucket = (rate.burst() / BYTE) as u64;
            for first in 0..sends.len() {
                let mut sum = 0;
                for (at, bytes) in &sends[first..] {
                    sum += bytes;
                    let most = bucket + (at - sends[first].0) * u64::from(start) / 1_000_000 + 1;
                    prop_assert!(sum <= most, "{} of {}", sum, most);
                }
            }
        }

        #[test]
        fn significance_is_the_formula(n in 1u32..100_000, share in 0u32..=1000) {
            let lost = u64::from(n) * u64::from(share) / 1000;
            let limit = 0.05 * f64::from(n) + 2.0 * (0.0475 * f64::from(n)).sqrt();
            prop_assume!((lost as f64 - limit).abs() > 1e-6);
            prop_assert_eq!(is_significant(lost as u32, n), lost as f64 > limit);
        }

        #[test]
        fn no_feedback_breaks_its_bounds(steps in prop::collection::vec((0u8..4, any::<u32>(), any::<u64>()), 0..300), floor: u32, cap: u32, start: u32) {
            let mut rate = RateControl::new(RateConfig { start, floor, cap, tick: 50 * MS });
            let mut now = Time::ZERO;
            for (step, a, b) in steps {
                now = now + Duration::from_micros(u64::from(a % 200_000));
                match step {
                    0 => rate.on_rtt(now, b >> (a % 64), b >> 32),
                    1 => rate.spend(now, a as usize),
                    2 => rate.on_spurious(a % 4),
                    _ => {
                        let packet = Packet { eliciting: b % 5 > 0, probe: b % 7 == 0, bytes: a as u16, ..Packet::default() };
                        let sent = Time::from_micros(now.as_micros().saturating_sub(b % 1_000_000));
                        rate.on_settled(now, &Settled { pn: b, acked: b % 2 == 0, packet, sent });
                    }
                }
                let cap = cap.max(1);
                prop_assert!(rate.rate() <= cap && rate.rate() >= floor.min(cap));
                let _ = (rate.tick_budget(), rate.allows(now, a as usize), rate.next_at(now, a as usize));
            }
        }
    }
}
