//! What became of the packets that this side sent: round-trip time, acknowledgement, loss.
//!
//! The ideas are RFC 9002's: a packet is lost once a packet sent [`PACKET_THRESHOLD`] later was
//! acknowledged, or one sent later was and 9/8 of a round trip has passed; a probe timeout covers the tail.

use core::mem::offset_of;
use core::time::Duration;
use std::collections::VecDeque;

use crate::packet::AckBlock;
use crate::prefetch::{Prefetch, Way};
use crate::seq::expand16;
use crate::stats::Quality;
use crate::time::Time;
use crate::window::{LossWindow, MinWindow, Samples};

/// How many later packets must be acknowledged before an earlier one counts as lost.
pub const PACKET_THRESHOLD: u64 = 3;
/// The most packets whose fate is tracked; beyond it the oldest counts as lost.
pub const MAX_IN_FLIGHT: usize = 1024;
/// How far below its largest number an ack reaches. Lost packets are remembered as long as an ack can still name them.
const ACK_REACH: u64 = 32;
/// So many packets in flight are worth to be asked for ahead.
const NEAR_PACKETS: usize = 16;
/// The round-trip time assumed before the first sample.
const INITIAL_RTT: u64 = 200_000;
/// Lower bound of the time threshold and of the probe timeout's variance term, in microseconds.
const GRANULARITY: u64 = 5_000;
/// The most that the probe timeout is doubled.
const MAX_BACKOFF: u32 = 5;

/// Round-trip time by RFC 6298's smoothing, in microseconds. The order in memory is that of use.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Rtt {
    smoothed: u64,
    variance: u64,
    latest: u64,
    min: u64,
    samples: u64,
    recent_min: MinWindow,
    recent: Samples,
}

impl Rtt {
    /// Takes a sample: `elapsed` from sending to the ack, of which the peer held `ack_delay`.
    ///
    /// Unlike in RFC 9002, 5.3, the delay is always taken out, also where that gives a new minimum: here acks ride in
    /// the packets of the tick, so *every* ack may have waited. A peer that overstates its delay only cheats itself.
    pub fn sample(&mut self, now: Time, elapsed: u64, ack_delay: u64) {
        let adjusted = elapsed.saturating_sub(ack_delay);
        self.min = if self.samples == 0 { adjusted } else { self.min.min(adjusted) };
        self.latest = adjusted;
        let short = u32::try_from(adjusted).unwrap_or(u32::MAX);
        self.recent_min.add(now, short);
        self.recent.add(short);
        if self.samples == 0 {
            self.smoothed = adjusted;
            self.variance = adjusted / 2;
        } else {
            self.variance = (3 * self.variance + self.smoothed.abs_diff(adjusted)) / 4;
            self.smoothed = (7 * self.smoothed + adjusted) / 8;
        }
        self.samples += 1;
    }

    /// How many samples there were. It grows exactly when [`Rtt::latest`] is a new one.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// The latest sample; 0 before the first.
    #[must_use]
    pub const fn latest(&self) -> u64 {
        self.latest
    }

    /// Its mean deviation in microseconds; 0 before the first sample.
    #[must_use]
    pub const fn variance(&self) -> u64 {
        self.variance
    }

    /// The smoothed round-trip time; 200 ms before the first sample.
    #[must_use]
    pub const fn smoothed_or_initial(&self) -> u64 {
        if self.samples == 0 { INITIAL_RTT } else { self.smoothed }
    }

    /// The smallest of the ten seconds before the latest sample; 0 before the first.
    #[must_use]
    pub fn recent_min(&self) -> u64 {
        self.recent_min.min().map_or(self.min, u64::from)
    }

    /// How long after its sending a packet is lost when a later one was acknowledged.
    #[must_use]
    pub const fn loss_delay(&self) -> Duration {
        Duration::from_micros(self.loss_micros())
    }

    const fn loss_micros(&self) -> u64 {
        let (smoothed, latest) = (self.smoothed_or_initial(), self.latest);
        let delay = if smoothed > latest { smoothed } else { latest }.saturating_mul(9) / 8;
        if delay > GRANULARITY { delay } else { GRANULARITY }
    }

    fn probe_delay(&self, max_ack_delay: u64) -> u64 {
        let variance = if self.samples == 0 { INITIAL_RTT / 2 } else { self.variance };
        self.smoothed_or_initial() + (4 * variance).max(GRANULARITY) + max_ack_delay
    }
}

/// What is remembered of a packet that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// It carries something that the peer must acknowledge.
    pub eliciting: bool,
    /// It carries a snapshot.
    pub snapshot: bool,
    /// It tries whether the path takes a datagram of its size: its loss says nothing of the path's load, so it is not
    /// counted and no probe timeout waits for it.
    pub probe: bool,
    /// Bytes of the datagram.
    pub bytes: u16,
}

impl Packet {
    /// Whether its fate counts, and its silence calls for a probe timeout.
    const fn counts(self) -> bool {
        self.eliciting && !self.probe
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InFlight,
    Acked,
    Lost,
}

/// A packet number from the first whose fate is open, or could still turn out different, to the last sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    time: Time,
    packet: Packet,
    fate: Fate,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its number.
    pub pn: u64,
    /// Acknowledged, or given up.
    pub acked: bool,
    /// What it was.
    pub packet: Packet,
    /// When it was sent.
    pub sent: Time,
}

/// The peer acknowledged a packet that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedUnsent;

/// The packets in flight of one connection. The order in memory is that of use.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Recovery {
    /// By packet number: the front one's is `first`.
    sent: VecDeque<Sent>,
    first: u64,
    /// No packet below this number is in flight.
    open: u64,
    largest_acked: Option<u64>,
    acked: u64,
    lost: u64,
    spurious: u64,
    recent: LossWindow,
    backoff: u32,
    /// When the newest packet was sent for which a probe timeout waits.
    last_counted: Time,
    counted_in_flight: usize,
    /// Since when no acknowledgement settles any of those in flight.
    silent_since: Time,
    path_since: Time,
    /// Last, for the end of it is the one long thing here.
    rtt: Rtt,
}

impl Recovery {
    /// Where what each packet needs ends; it begins with this struct.
    pub(crate) const HOT: usize = offset_of!(Self, rtt.recent) + Samples::HEAD;

    /// Records packet `pn`, which was sent now; reports the packets that are given up for its sake.
    ///
    /// Numbers grow. One that was left out counts as settled; one that does not grow is ignored.
    pub fn on_sent(&mut self, now: Time, pn: u64, packet: Packet, mut settled: impl FnMut(Settled)) {
        if pn < self.next() {
            return;
        }
        if self.sent.is_empty() || pn - self.next() >= MAX_IN_FLIGHT as u64 {
            self.make_room(MAX_IN_FLIGHT, &mut settled);
            self.first = pn;
        }
        let left_out = Sent { time: now, packet: Packet::default(), fate: Fate::Acked };
        while self.next() < pn {
            self.make_room(1, &mut settled);
            self.sent.push_back(left_out);
        }
        self.make_room(1, &mut settled);
        if packet.counts() {
            self.last_counted = now;
            if self.counted_in_flight == 0 {
                self.silent_since = now;
            }
            self.counted_in_flight += 1;
        }
        self.sent.push_back(Sent { time: now, packet, fate: Fate::InFlight });
    }

    /// Asks for what is found only now: the packets in flight, and the place of the next sample.
    #[inline]
    pub(crate) fn prefetch_contents(&self, way: Way, prefetch: Prefetch) {
        let (front, back) = self.sent.as_slices();
        // A burst's are too many, and each looked at long after.
        if front.len() + back.len() <= NEAR_PACKETS {
            prefetch.of(front);
            prefetch.of(back);
        }
        if way == Way::In {
            self.rtt.recent.prefetch_next(prefetch);
        }
    }

    fn next(&self) -> u64 {
        self.first + self.sent.len() as u64
    }

    fn make_room(&mut self, room: usize, settled: &mut impl FnMut(Settled)) {
        while self.sent.len() + room > MAX_IN_FLIGHT
            && let Some(&oldest) = self.sent.front()
        {
            if oldest.fate == Fate::InFlight {
                self.give_up(self.first, oldest, settled);
            }
            self.sent.pop_front();
            self.first += 1;
        }
    }

    /// Takes the peer's ack; reports every packet that it settles. `next_pn` is one past the last number sent.
    ///
    /// # Errors
    /// [`AckedUnsent`] when it names a packet that was never sent; nothing is changed then.
    pub fn on_ack(
        &mut self,
        now: Time,
        ack: &AckBlock,
        next_pn: u64,
        mut settled: impl FnMut(Settled),
    ) -> Result<(), AckedUnsent> {
        // L-4
        let newest = next_pn.checked_sub(1).ok_or(AckedUnsent)?;
        let largest = expand16(newest, ack.largest);
        if largest > newest {
            return Err(AckedUnsent);
        }
        // What lies before the first packet that is remembered is settled.
        let reach = largest.saturating_sub(self.first).min(ACK_REACH);
        for back in (0..=reach).rev() {
            let named = back == 0 || ack.mask >> (back - 1) & 1 == 1;
            if let Some(pn) = largest.checked_sub(back).filter(|_| named) {
                let delay = ack.delay_micros().filter(|_| back == 0);
                self.acknowledge(now, pn, delay, &mut settled);
            }
        }
        self.largest_acked = self.largest_acked.max(Some(largest));
        self.detect_losses(now, settled);
        Ok(())
    }

    /// Settles one packet that an ack names; `delay` is given for the one that measures the round trip.
    fn acknowledge(&mut self, now: Time, pn: u64, delay: Option<u64>, settled: &mut impl FnMut(Settled)) {
        let Some(at) = pn.checked_sub(self.first) else { return };
        let Some(entry) = usize::try_from(at).ok().and_then(|at| self.sent.get_mut(at)) else { return };
        let Sent { time, packet, fate } = *entry;
        entry.fate = Fate::Acked;
        if fate == Fate::Acked {
            return;
        }
        if packet.eliciting
            && time >= self.path_since
            && let Some(delay) = delay
        {
            self.rtt.sample(now, now.micros_since(time), delay);
        }
        if fate == Fate::Lost {
            self.spurious += u64::from(packet.counts());
            return;
        }
        if packet.counts() {
            self.counted_in_flight = self.counted_in_flight.saturating_sub(1);
            self.silent_since = now;
            self.acked += 1;
            self.recent.add(false);
            self.backoff = 0;
        }
        settled(Settled { pn, acked: true, packet, sent: time });
    }

    /// Gives up what the thresholds say is lost.
    pub fn detect_losses(&mut self, now: Time, mut settled: impl FnMut(Settled)) {
        let Some(largest) = self.largest_acked else { return };
        let delay = self.rtt.loss_micros();
        let mut still_open = None;
        let mut pn = self.open.max(self.first);
        // Each number is passed once or twice in all: what is left open lies less than the packet threshold below.
        while pn < largest
            && let Some(&entry) = self.sent.get((pn - self.first) as usize)
        {
            if entry.fate == Fate::InFlight {
                if pn + PACKET_THRESHOLD <= largest || entry.time.plus_micros(delay) <= now {
                    self.give_up(pn, entry, &mut settled);
                } else {
                    still_open.get_or_insert(pn);
                }
            }
            pn += 1;
        }
        self.open = still_open.unwrap_or(pn);
        self.forget(largest);
    }

    /// Drops the settled packets at the front that no ack changes any more.
    fn forget(&mut self, largest: u64) {
        while let Some(front) = self.sent.front() {
            let done = match front.fate {
                Fate::InFlight => false,
                Fate::Acked => true,
                Fate::Lost => self.first + ACK_REACH < largest,
            };
            if !done {
                break;
            }
            self.sent.pop_front();
            self.first += 1;
        }
        // A burst's memory is given back, by halves so that it costs little.
        if self.sent.capacity() > 64 && self.sent.len() < self.sent.capacity() / 8 {
            self.sent.shrink_to(self.sent.capacity() / 2);
        }
    }

    /// When a packet below the largest acknowledged one passes the time threshold.
    #[must_use]
    pub fn loss_time(&self) -> Time {
        let Some(largest) = self.largest_acked else { return Time::NEVER };
        let open = self.open.max(self.first)..largest;
        let entries = open.map_while(|pn| self.sent.get((pn - self.first) as usize));
        let first = entries.into_iter().find(|entry| entry.fate == Fate::InFlight);
        first.map_or(Time::NEVER, |entry| entry.time.plus_micros(self.rtt.loss_micros()))
    }

    /// When the peer's silence about ack-eliciting packets calls for a probe; `max_ack_delay` is the longest
    /// the peer may hold an ack, in microseconds.
    #[must_use]
    pub fn probe_time(&self, max_ack_delay: u64) -> Time {
        if self.counted_in_flight == 0 {
            return Time::NEVER;
        }
        let delay = self.rtt.probe_delay(max_ack_delay) << self.backoff.min(MAX_BACKOFF);
        self.last_counted.plus_micros(delay)
    }

    /// When nothing in flight was acknowledged for two probe timeouts, however much was sent meanwhile: the path is dead, or
    /// takes nothing as long as what was sent.
    #[must_use]
    pub fn silence_time(&self, max_ack_delay: u64) -> Time {
        if self.counted_in_flight == 0 {
            return Time::NEVER;
        }
        self.silent_since.plus_micros(2 * self.rtt.probe_delay(max_ack_delay))
    }

    /// A probe is about to be sent: the next one waits twice as long.
    pub fn on_probe(&mut self) {
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
    }

    /// The oldest packet whose fate is open or could still turn out different; everything before it is settled.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.first
    }

    /// Share of the last settled packets that was lost, in parts per 10,000.
    #[must_use]
    pub fn loss_recent(&self) -> u32 {
        self.recent.per_10_000()
    }

    /// What is sent now takes another path: its round trip may be longer, and its silence is not known to be long.
    /// What was sent before is not measured any more.
    pub fn on_path_changed(&mut self, now: Time) {
        self.path_since = now;
        self.rtt.recent_min = MinWindow::default();
        self.backoff = 0;
    }

    /// The round-trip time.
    #[must_use]
    pub const fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// How many packets were acknowledged after they had been given up: they came late, out of order.
    #[must_use]
    pub const fn spurious(&self) -> u64 {
        self.spurious
    }

    /// The figures so far: round-trip times and losses; the rest is for others to fill in.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let (p50, p99) = self.rtt.recent.median_and_p99();
        Quality {
            rtt: self.rtt.smoothed,
            rtt_min: self.rtt.min,
            rtt_min_recent: self.rtt.recent_min(),
            rtt_latest: self.rtt.latest,
            rtt_p50: u64::from(p50),
            rtt_p99: u64::from(p99),
            jitter: self.rtt.variance,
            acked: self.acked,
            lost: self.lost,
            spurious: self.spurious,
            loss_recent: self.recent.per_10_000(),
            ..Quality::default()
        }
    }

    fn give_up(&mut self, pn: u64, entry: Sent, settled: &mut impl FnMut(Settled)) {
        let Sent { time, packet, .. } = entry;
        if let Some(entry) = self.sent.get_mut((pn - self.first) as usize) {
            entry.fate = Fate::Lost;
        }
        if packet.counts() {
            self.counted_in_flight = self.counted_in_flight.saturating_sub(1);
            self.lost += 1;
            self.recent.add(true);
        }
        settled(Settled { pn, acked: false, packet, sent: time });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: Packet = Packet { eliciting: true, snapshot: false, probe: false, bytes: 100 };
    const SNAPSHOT: Packet = Packet { snapshot: true, ..MESSAGE };
    const PROBE: Packet = Packet { probe: true, bytes: 1452, ..MESSAGE };

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn ack(largest: u16, mask: u32) -> AckBlock {
        AckBlock { largest, delay: 0, mask }
    }

    fn with_packets(count: u64) -> Recovery {
        let mut recovery = Recovery::default();
        for pn in 0..count {
            recovery.on_sent(at(pn), pn, SNAPSHOT, |_| panic!("nothing is lost yet"));
        }
        recovery
    }

    fn settle(recovery: &mut Recovery, now: Time, block: AckBlock, next: u64) -> Vec<(u64, bool)> {
        let mut out = Vec::new();
        recovery.on_ack(now, &block, next, |settled| out.push((settled.pn, settled.acked))).unwrap();
        out
    }

    #[test]
    fn three_later_acks_make_a_loss_and_two_do_not() {
        let mut recovery = with_packets(10);
        assert_eq!(settle(&mut recovery, at(20), ack(2, 0b01), 10), [(1, true), (2, true)]);
        assert_eq!(settle(&mut recovery, at(20), ack(3, 0b011), 10), [(3, true), (0, false)]);
    }

    #[test]
    fn a_round_trip_and_an_eighth_make_a_loss() {
        let mut recovery = with_packets(2);
        assert_eq!(settle(&mut recovery, at(101), ack(1, 0), 2), [(1, true)]);
        let due = recovery.loss_time();
        assert_eq!(due, Time::from_micros(112_500));
        let mut lost = Vec::new();
        recovery.detect_losses(due, |settled| lost.push((settled.pn, settled.acked)));
        assert_eq!(lost, [(0, false)]);
        assert_eq!(recovery.loss_time(), Time::NEVER);
    }

    #[test]
    fn an_ack_of_the_never_sent_is_refused_and_changes_nothing() {
        let mut recovery = with_packets(3);
        assert_eq!(recovery.on_ack(at(9), &ack(3, u32::MAX), 3, |_| panic!()), Err(AckedUnsent));
        assert_eq!(recovery.on_ack(at(9), &ack(0, 0), 0, |_| panic!()), Err(AckedUnsent));
        assert_eq!(recovery.quality().acked, 0);
    }

    #[test]
    fn each_packet_settles_once() {
        let mut recovery = with_packets(5);
        assert_eq!(settle(&mut recovery, at(20), ack(4, u32::MAX), 5).len(), 5);
        assert!(settle(&mut recovery, at(20), ack(4, u32::MAX), 5).is_empty());
        assert_eq!(recovery.probe_time(0), Time::NEVER);
    }

    #[test]
    fn a_silent_peer_costs_bounded_memory_and_probes_back_off() {
        let mut recovery = Recovery::default();
        let mut lost = 0;
        for pn in 0..3000 {
            recovery.on_sent(at(pn), pn, MESSAGE, |settled| lost += u64::from(!settled.acked));
        }
        assert_eq!(recovery.sent.len(), MAX_IN_FLIGHT);
        assert_eq!(lost, 3000 - MAX_IN_FLIGHT as u64);
        let first = recovery.probe_time(0).saturating_since(at(2999));
        recovery.on_probe();
        assert_eq!(recovery.probe_time(0).saturating_since(at(2999)), first * 2);
    }

    #[test]
    fn the_peers_delay_is_taken_out_from_the_first_sample_on() {
        let mut rtt = Rtt::default();
        for _ in 0..10 {
            rtt.sample(at(1), 100_000, 40_000);
        }
        assert_eq!((rtt.smoothed, rtt.min, rtt.latest), (60_000, 60_000, 60_000));
        rtt.sample(at(1), 10_000, 40_000);
        assert_eq!(rtt.latest, 0, "a peer that overstates its delay does not make time negative");
    }

    #[test]
    fn a_packet_acknowledged_after_it_was_given_up_is_counted_and_settles_no_second_time() {
        let mut recovery = with_packets(10);
        assert_eq!(settle(&mut recovery, at(20), ack(4, 0b0_0111), 10).len(), 5, "0 is lost");
        let before = recovery.quality();
        assert_eq!(settle(&mut recovery, at(21), ack(5, 0b1_1111), 10), [(5, true)]);
        assert_eq!((recovery.spurious(), recovery.quality().lost), (1, before.lost));
        assert!(settle(&mut recovery, at(22), ack(5, 0b1_1111), 10).is_empty());
        assert_eq!(recovery.spurious(), 1);
    }

    #[test]
    fn a_lost_mtu_probe_is_reported_but_neither_counted_nor_waited_for() {
        let mut recovery = Recovery::default();
        recovery.on_sent(at(0), 0, PROBE, |_| panic!());
        assert_eq!(recovery.probe_time(0), Time::NEVER);
        for pn in 1..4 {
            recovery.on_sent(at(pn), pn, MESSAGE, |_| panic!());
        }
        assert_eq!(settle(&mut recovery, at(50), ack(3, 0b011), 4), [(1, true), (2, true), (3, true), (0, false)]);
        let quality = recovery.quality();
        assert_eq!((quality.acked, quality.lost, quality.loss_recent), (3, 0, 0));
    }

    #[test]
    fn numbers_that_were_left_out_are_nobodys_loss() {
        let mut recovery = Recovery::default();
        for pn in [7, 9, 5000, 5000, 4000, 5003] {
            recovery.on_sent(at(pn), pn, MESSAGE, |settled| assert!(settled.pn < 5000));
        }
        assert_eq!(settle(&mut recovery, at(6000), ack(5003, u32::MAX), 5004), [(5000, true), (5003, true)]);
        assert_eq!((recovery.quality().lost, recovery.counted_in_flight), (2, 0));
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut recovery = with_packets(1000);
        assert!(recovery.sent.capacity() >= 1000);
        for pn in (0..1000).step_by(20) {
            settle(&mut recovery, at(1000), ack(pn, u32::MAX), 1000);
        }
        settle(&mut recovery, at(1000), ack(999, u32::MAX), 1000);
        assert!(recovery.sent.is_empty());
        assert!(recovery.sent.capacity() <= 64, "{}", recovery.sent.capacity());
    }

    /// The thresholds by definition: everything is kept, everything is looked at each time.
    #[derive(Default)]
    struct Model {
        packets: Vec<(u64, Time, Option<bool>)>,
        largest: Option<u64>,
    }

    impl Model {
        fn on_ack(&mut self, now: Time, largest: u64, mask: u32, delay: Duration) -> Vec<(u64, bool)> {
            let mut out = Vec::new();
            for (pn, _, fate) in &mut self.packets {
                let back = largest.wrapping_sub(*pn);
                let named = back == 0 || (back <= 32 && mask >> (back - 1) & 1 == 1);
                if named && fate.is_none() {
                    *fate = Some(true);
                    out.push((*pn, true));
                }
            }
            self.largest = self.largest.max(Some(largest));
            self.lose(now, delay, &mut out);
            out
        }

        fn lose(&mut self, now: Time, delay: Duration, out: &mut Vec<(u64, bool)>) {
            let Some(largest) = self.largest else { return };
            for (pn, sent, fate) in &mut self.packets {
                if fate.is_none() && *pn < largest && (*pn + 3 <= largest || *sent + delay <= now) {
                    *fate = Some(false);
                    out.push((*pn, false));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn packets_settle_as_in_the_model(steps in prop::collection::vec((0u8..4, 0u64..60, any::<u32>(), any::<u32>()), 1..300)) {
            let mut recovery = Recovery::default();
            let mut model = Model::default();
            let (mut now, mut next) = (Time::ZERO, 0);
            for (step, back, a, b) in steps {
                now = now + Duration::from_micros(u64::from(a % 20_000));
                let mut got = Vec::new();
                let mut note = |settled: Settled| got.push((settled.pn, settled.acked));
                if step < 2 {
                    for _ in 0..=b % 8 {
                        recovery.on_sent(now, next, MESSAGE, &mut note);
                        model.packets.push((next, now, None));
                        next += 1;
                    }
                    continue;
                }
                let mut expected = Vec::new();
                if let Some(largest) = next.checked_sub(1 + back) && step == 2 {
                    let block = AckBlock { largest: crate::seq::low16(largest), delay: 0, mask: a | b };
                    recovery.on_ack(now, &block, next, &mut note).unwrap();
                    expected = model.on_ack(now, largest, a | b, recovery.rtt.loss_delay());
                } else {
                    recovery.detect_losses(now, &mut note);
                    model.lose(now, recovery.rtt.loss_delay(), &mut expected);
                }
                prop_assert_eq!(got, expected);
                let open = model.packets.iter().filter(|(_, _, fate)| fate.is_none()).count();
                prop_assert_eq!(recovery.counted_in_flight, open);
                let due = model.packets.iter().find(|(pn, _, fate)| fate.is_none() && Some(*pn) < model.largest);
                let due = due.map_or(Time::NEVER, |(_, sent, _)| *sent + recovery.rtt.loss_delay());
                prop_assert_eq!(recovery.loss_time(), due);
            }
        }
    }
}
