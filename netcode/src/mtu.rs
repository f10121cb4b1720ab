//! How long a datagram the path takes, found by trying (the ideas are RFC 8899's, DPLPMTUD).
//!
//! The longest allowed size is tried first, since most paths take it; then a binary search narrows what is left to
//! [`RESOLUTION`] bytes. A probe is a packet of its own that carries nothing else, so its loss costs nothing. When
//! long packets vanish one after another while short ones arrive, the path has shrunk (a black hole): packets are
//! short again at once, and only a probe that arrives makes them long again.

use core::time::Duration;

use crate::recovery::Settled;
use crate::time::Time;

/// How often a size is tried before it counts as too long for the path.
pub const PROBES: u8 = 3;
/// The search ends when it would gain less than so many bytes.
pub const RESOLUTION: u16 = 16;
/// So many long packets lost in a row, while short ones arrive, are taken for a black hole; and one more for each of
/// the last 16 short ones that was lost, because then the path is bad rather than narrow.
pub const BLACK_HOLE: u8 = 3;
/// From the answer to a probe to the next one.
pub const PROBE_GAP: Duration = Duration::from_millis(50);
/// From a black hole to the next search.
pub const BLACK_HOLE_PAUSE: Duration = Duration::from_secs(60);
/// From the end of a search that did not reach the longest size to the next (RFC 8899's `PMTU_RAISE_TIMER`).
pub const RAISE_AFTER: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not established yet, or no longer size is allowed.
    Off,
    /// Sizes of `too_long` and more do not pass, or may not be tried.
    Search { too_long: u16 },
    /// Long packets vanished: is the path still what it was?
    Doubt { before: u16 },
    /// Until the time comes to search anew.
    Rest,
}

/// The long packets lost since one last arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    lost: u8,
    /// When the first of them was sent.
    since: Time,
    /// Whether a short packet, sent since, arrived.
    short_arrived: bool,
}

/// The longest datagram of one path, as far as it is known.
#[derive(Clone, Debug)]
pub struct Mtu {
    base: u16,
    max: u16,
    current: u16,
    phase: Phase,
    /// The size of the probe under way, and when it was sent.
    in_flight: Option<(u16, Time)>,
    /// How often that size was lost before.
    lost: u8,
    next: Time,
    run: Run,
    /// Which of the last 16 short packets were lost.
    short_lost: u16,
}

impl Mtu {
    /// A path that is taken to pass `base` bytes and may pass up to `max` (bytes of UDP payload).
    #[must_use]
    pub const fn new(base: u16, max: u16) -> Self {
        let run = Run { lost: 0, since: Time::ZERO, short_arrived: false };
        Self {
            base,
            max,
            current: base,
            phase: Phase::Off,
            in_flight: None,
            lost: 0,
            next: Time::NEVER,
            run,
            short_lost: 0,
        }
    }

    /// The peer is proven, so probing may begin. Called again, for a new path, it begins anew from the base.
    pub fn on_established(&mut self, now: Time) {
        *self = Self::new(self.base, self.max);
        self.search(now);
    }

    /// The most bytes that a datagram other than a probe should have.
    #[must_use]
    pub const fn current(&self) -> u16 {
        self.current
    }

    /// The size of the probe that is to be sent now, if any.
    #[must_use]
    pub fn probe_due(&self, now: Time) -> Option<u16> {
        if self.in_flight.is_some() || self.next > now {
            return None;
        }
        match self.phase {
            Phase::Off => None,
            Phase::Search { too_long } => Some(self.candidate(too_long)),
            Phase::Doubt { before } => Some(before),
            Phase::Rest => Some(self.max),
        }
    }

    /// When a probe is next due.
    #[must_use]
    pub const fn next_time(&self) -> Time {
        if self.in_flight.is_some() { Time::NEVER } else { self.next }
    }

    /// A probe of `size` bytes was sent, as [`Mtu::probe_due`] wanted.
    pub fn on_sent_probe(&mut self, now: Time, size: u16) {
        if self.phase == Phase::Rest {
            self.search(now);
        }
        self.in_flight = Some((size, now));
    }

    /// Takes the fate of any packet; returns the new [`Mtu::current`] if that changed.
    pub fn on_settled(&mut self, now: Time, settled: &Settled) -> Option<u16> {
        let before = self.current;
        if settled.packet.probe {
            // One of an earlier path or search is passed over.
            if self.in_flight.is_some_and(|(size, sent)| size == settled.packet.bytes && sent <= settled.sent) {
                self.in_flight = None;
                self.next = now + PROBE_GAP;
                self.on_probed(now, settled.packet.bytes, settled.acked);
            }
        } else if settled.packet.bytes > self.base {
            self.on_long(now, settled);
        } else {
            self.on_short(now, settled);
        }
        (self.current != before).then_some(self.current)
    }

    fn on_probed(&mut self, now: Time, size: u16, passed: bool) {
        self.lost = if passed { 0 } else { self.lost + 1 };
        let failed = self.lost >= PROBES;
        if !passed && !failed {
            return;
        }
        self.lost = 0;
        match self.phase {
            Phase::Search { too_long } => {
                if passed {
                    self.current = size;
                }
                let too_long = if failed { size } else { too_long };
                self.phase = Phase::Search { too_long };
                if too_long - self.current <= RESOLUTION {
                    self.rest(if self.current == self.max { Time::NEVER } else { now + RAISE_AFTER });
                }
            }
            Phase::Doubt { before } if passed => {
                self.current = before;
                self.rest(Time::NEVER);
                self.search(now);
            }
            Phase::Doubt { .. } => self.rest(now + BLACK_HOLE_PAUSE),
            Phase::Off | Phase::Rest => {}
        }
    }

    fn on_long(&mut self, now: Time, settled: &Settled) {
        if settled.acked {
            self.run = Run::default();
            return;
        }
        // What was sent before the path came into doubt adds nothing.
        if self.current == self.base {
            return;
        }
        if self.run.lost == 0 {
            self.run.since = settled.sent;
        }
        self.run.lost = self.run.lost.saturating_add(1);
        self.suspect(now);
    }

    fn on_short(&mut self, now: Time, settled: &Settled) {
        self.short_lost = self.short_lost << 1 | u16::from(!settled.acked);
        if settled.acked && self.run.lost > 0 && settled.sent >= self.run.since {
            self.run.short_arrived = true;
            self.suspect(now);
        }
    }

    fn suspect(&mut self, now: Time) {
        let suspicious = BLACK_HOLE + self.short_lost.count_ones() as u8;
        if self.run.lost < suspicious || !self.run.short_arrived {
            return;
        }
        self.run = Run::default();
        self.phase = Phase::Doubt { before: self.current };
        self.current = self.base;
        self.in_flight = None;
        self.lost = 0;
        self.next = now;
    }

    fn search(&mut self, now: Time) {
        self.lost = 0;
        if self.max > self.current {
            self.phase = Phase::Search { too_long: self.max.saturating_add(1) };
            self.next = now;
        }
    }

    const fn rest(&mut self, until: Time) {
        self.phase = Phase::Rest;
        self.next = until;
    }

    /// The longest size at first, then the middle of what is left.
    const fn candidate(&self, too_long: u16) -> u16 {
        if too_long > self.max { self.max } else { self.current + (too_long - self.current) / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::LinkConfig;
    use crate::flow::{Flow, Load, Report, World};
    use crate::rate::{RateConfig, RateControl};

    /// Long and short packets in turn, and few short ones among many long.
    const MIXED: Load = Load::Packets(&[1452, 200], 5);
    const MOSTLY_LONG: Load = Load::Packets(&[1452, 1452, 1452, 1452, 1452, 1452, 1452, 80], 5);

    fn path(mtu: u16) -> LinkConfig {
        LinkConfig { delay: Duration::from_millis(25), mtu: Some(mtu), ..LinkConfig::default() }
    }

    fn world(seed: u64, link: LinkConfig, load: Load) -> World {
        let rate = RateConfig { start: 1_000_000, floor: 1, cap: 1_000_000, tick: Duration::from_millis(50) };
        let mut world = World::new(seed, link);
        world.add(Flow::new(RateControl::new(rate)).with_load(load).with_mtu(Mtu::new(1200, 1452)));
        world
    }

    fn current(world: &World) -> u16 {
        world.flows[0].mtu.current()
    }

    /// How long the MTU was below what it came from, until `end`.
    fn time_below(report: &Report, end: Time) -> Duration {
        let ends = report.mtus.iter().skip(1).map(|(at, _)| *at).chain([end]);
        let low = report.mtus.iter().zip(ends).filter(|((_, mtu), _)| *mtu == 1200);
        low.map(|((from, _), to)| to.saturating_since(*from)).sum()
    }

    #[test]
    fn a_path_of_the_longest_size_takes_one_probe() {
        let mut world = world(1, path(1452), MIXED);
        world.run(300);
        assert_eq!((current(&world), world.report(0).probes), (1452, 1));
        world.run(20_000);
        assert_eq!((world.report(0).probes, world.flows[0].mtu.next_time()), (1, Time::NEVER));
    }

    #[test]
    fn any_narrower_path_is_found_within_15_probes_and_no_packet_lost() {
        for width in (1200..1452).step_by(4).chain([1300, 1451]) {
            let mut world = world(1, path(width), MIXED);
            world.run(5_000);
            let report = world.report(0);
            let found = current(&world);
            assert!(found <= width && found + RESOLUTION >= width, "{found} on a path of {width}");
            assert!(report.probes <= 15 && report.lost == [0, 0], "{width}: {report:?}");
        }
    }

    #[test]
    fn a_path_that_widens_is_found_after_ten_minutes() {
        let mut world = world(1, path(1300), Load::Packets(&[1452, 200], 100));
        world.run(20_000);
        world.set_link(path(1452));
        world.run(560_000);
        assert!(current(&world) <= 1300);
        world.run(60_000);
        assert_eq!(current(&world), 1452);
    }

    #[test]
    fn a_path_that_narrows_costs_few_packets_and_is_searched_again_after_a_minute() {
        for load in [MIXED, MOSTLY_LONG] {
            let mut world = world(1, path(1452), load);
            world.run(5_003);
            world.mark();
            world.set_link(path(1250));
            world.run(1_000);
            let report = world.report(0);
            assert_eq!(current(&world), 1200);
            assert!(report.lost[1] <= 40, "{report:?}");
            world.mark();
            world.run(50_000);
            let report = world.report(0);
            assert_eq!((report.lost, report.probes), ([0, 0], 0), "nothing is tried for a minute");
            world.run(20_000);
            assert!((1234..=1250).contains(&current(&world)), "{}", current(&world));
        }
    }

    #[test]
    fn a_path_that_narrows_is_noticed_under_loss_too() {
        for seed in 0..20 {
            let mut world = world(seed, path(1452), MIXED);
            world.run(5_000);
            world.mark();
            world.set_link(LinkConfig { loss: 0.1, ..path(1250) });
            world.run(5_000);
            let report = world.report(0);
            assert_eq!(current(&world), 1200);
            assert!(report.lost[1] <= 100, "{report:?}");
        }
    }

    #[test]
    fn loss_and_congestion_are_not_taken_for_a_narrow_path() {
        let congested = LinkConfig { rate_bytes_per_s: Some(150_000), queue_bytes: 8_000, ..path(1452) };
        for load in [MIXED, MOSTLY_LONG] {
            for link in [LinkConfig { loss: 0.05, ..path(1452) }, LinkConfig { loss: 0.2, ..path(1452) }, congested] {
                let mut world = world(3, path(1452), load);
                world.run(5_000);
                world.set_link(link);
                world.mark();
                world.run(300_000);
                let report = world.report(0);
                let below = time_below(&report, world.now);
                assert!(below < Duration::from_secs(3), "1 %: {below:?}");
                assert_eq!(current(&world), 1452);
            }
        }
    }

    #[test]
    fn a_doubt_ends_with_the_first_probe_that_arrives() {
        let mut mtu = Mtu::new(1200, 1452);
        let at = Time::from_millis;
        let settled = |ms, bytes, acked, probe| {
            let packet = crate::recovery::Packet { eliciting: true, snapshot: false, probe, bytes };
            Settled { pn: 0, acked, packet, sent: at(ms) }
        };
        assert_eq!(mtu.probe_due(at(0)), None, "nothing before the peer is proven");
        mtu.on_established(at(0));
        assert_eq!(mtu.probe_due(at(0)), Some(1452));
        mtu.on_sent_probe(at(0), 1452);
        assert_eq!((mtu.probe_due(at(9)), mtu.next_time()), (None, Time::NEVER));
        assert_eq!(mtu.on_settled(at(50), &settled(0, 1452, true, true)), Some(1452));
        (100..103).for_each(|ms| assert_eq!(mtu.on_settled(at(160), &settled(ms, 1400, false, false)), None));
        assert_eq!(mtu.on_settled(at(161), &settled(99, 100, true, false)), None, "sent before the long ones");
        assert_eq!(mtu.on_settled(at(161), &settled(101, 100, true, false)), Some(1200));
        assert_eq!(mtu.probe_due(at(161)), Some(1452));
        mtu.on_sent_probe(at(161), 1452);
        assert_eq!(mtu.on_settled(at(220), &settled(161, 1452, false, true)), None);
        mtu.on_sent_probe(at(270), 1452);
        assert_eq!(mtu.on_settled(at(320), &settled(161, 1452, true, true)), None, "the fate of an earlier probe");
        assert_eq!(mtu.on_settled(at(320), &settled(270, 1452, true, true)), Some(1452));
    }

    #[test]
    fn where_nothing_longer_is_allowed_nothing_is_tried() {
        for max in [0, 1200] {
            let mut mtu = Mtu::new(1200, max);
            mtu.on_established(Time::ZERO);
            assert_eq!((mtu.probe_due(Time::NEVER), mtu.next_time(), mtu.current()), (None, Time::NEVER, 1200));
        }
    }
}
