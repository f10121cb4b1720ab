//! What became of the packets that this side sent: round-trip time, acknowledgement, loss.
//!
//! The ideas are RFC 9002's: a packet is lost once a packet sent [`PACKET_THRESHOLD`] later was
//! acknowledged, or one sent later was and 9/8 of a round trip has passed; a probe timeout covers the tail.

use core::time::Duration;
use std::collections::VecDeque;

use crate::packet::AckBlock;
use crate::seq::expand16;
use crate::stats::Quality;
use crate::time::Time;

/// How many later packets must be acknowledged before an earlier one counts as lost.
pub const PACKET_THRESHOLD: u64 = 3;
/// The most packets whose fate is tracked; beyond it the oldest counts as lost.
pub const MAX_IN_FLIGHT: usize = 256;
/// The round-trip time assumed before the first sample.
const INITIAL_RTT: u64 = 200_000;
/// Lower bound of the time threshold and of the probe timeout's variance term, in microseconds.
const GRANULARITY: u64 = 5_000;
/// The most that the probe timeout is doubled.
const MAX_BACKOFF: u32 = 5;

/// Round-trip time by RFC 6298's smoothing.
#[derive(Clone, Debug, Default)]
pub struct Rtt {
    smoothed: u64,
    variance: u64,
    latest: u64,
    min: u64,
    samples: u64,
}

impl Rtt {
    /// Takes a sample: `elapsed` from sending to the ack, of which the peer held `ack_delay`.
    ///
    /// Unlike in RFC 9002, 5.3, the delay is always taken out, also where that gives a new minimum: here acks ride in
    /// the packets of the tick, so *every* ack may have waited. A peer that overstates its delay only cheats itself.
    pub fn sample(&mut self, elapsed: u64, ack_delay: u64) {
        let adjusted = elapsed.saturating_sub(ack_delay);
        self.min = if self.samples == 0 { adjusted } else { self.min.min(adjusted) };
        self.latest = adjusted;
        if self.samples == 0 {
            self.smoothed = adjusted;
            self.variance = adjusted / 2;
        } else {
            self.variance = (3 * self.variance + self.smoothed.abs_diff(adjusted)) / 4;
            self.smoothed = (7 * self.smoothed + adjusted) / 8;
        }
        self.samples += 1;
    }

    fn smoothed_or_initial(&self) -> u64 {
        if self.samples == 0 { INITIAL_RTT } else { self.smoothed }
    }

    fn loss_delay(&self) -> u64 {
        (self.smoothed_or_initial().max(self.latest) * 9 / 8).max(GRANULARITY)
    }

    fn probe_delay(&self, max_ack_delay: u64) -> u64 {
        let variance = if self.samples == 0 { INITIAL_RTT / 2 } else { self.variance };
        self.smoothed_or_initial() + (4 * variance).max(GRANULARITY) + max_ack_delay
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InFlight,
    Settled,
}

/// A packet whose fate is open.
#[derive(Clone, Copy, Debug)]
struct Sent {
    pn: u64,
    time: Time,
    packet: Packet,
    fate: Fate,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// e
    pub eliciting: bool,
    /// s
    pub snapshot: bool,
    /// p
    pub probe: bool,
    /// b
    pub bytes: u16,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its number.
    pub pn: u64,
    /// Acknowledged, or given up.
    pub acked: bool,
    /// packet
    pub packet: Packet,
    /// sent
    pub sent: Time,
    /// rtt
    pub rtt: Option<Duration>,
}

/// The peer acknowledged a packet that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedUnsent;

/// The packets in flight of one connection.
#[derive(Debug, Default)]
pub struct Recovery {
    rtt: Rtt,
    sent: VecDeque<Sent>,
    largest_acked: Option<u64>,
    acked: u64,
    lost: u64,
    backoff: u32,
    /// When the newest ack-eliciting packet was sent.
    last_eliciting: Time,
    eliciting_in_flight: usize,
}

impl Recovery {
    /// Records packet `pn`, which carries something the peer must acknowledge (`eliciting`), perhaps a snapshot.
    /// Reports the packets that are given up for its sake.
    pub fn on_sent(&mut self, now: Time, pn: u64, packet: Packet, mut settled: impl FnMut(Settled)) {
        if self.sent.len() >= MAX_IN_FLIGHT
            && let Some(oldest) = self.sent.pop_front()
            && oldest.fate == Fate::InFlight
        {
            self.give_up(oldest, &mut settled);
        }
        if packet.eliciting {
            self.last_eliciting = now;
            self.eliciting_in_flight += 1;
        }
        self.sent.push_back(Sent { pn, time: now, packet, fate: Fate::InFlight });
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
        for at in 0..self.sent.len() {
            let Some(packet) = self.sent.get_mut(at) else { break };
            if packet.pn > largest {
                break;
            }
            let back = largest - packet.pn;
            let named = back == 0 || (back <= 32 && ack.mask >> (back - 1) & 1 == 1);
            if !named || packet.fate == Fate::Settled {
                continue;
            }
            packet.fate = Fate::Settled;
            let packet = *packet;
            if packet.packet.eliciting {
                self.eliciting_in_flight -= 1;
                self.acked += 1;
                self.backoff = 0;
                if back == 0
                    && let Some(delay) = ack.delay_micros()
                {
                    let elapsed = now.saturating_since(packet.time).as_micros() as u64;
                    self.rtt.sample(elapsed, delay);
                }
            }
            settled(Settled { pn: packet.pn, acked: true, packet: packet.packet, sent: packet.time, rtt: None });
        }
        self.largest_acked = self.largest_acked.max(Some(largest));
        self.detect_losses(now, settled);
        Ok(())
    }

    /// Gives up what the thresholds say is lost.
    pub fn detect_losses(&mut self, now: Time, mut settled: impl FnMut(Settled)) {
        let Some(largest) = self.largest_acked else { return };
        let delay = Duration::from_micros(self.rtt.loss_delay());
        for at in 0..self.sent.len() {
            let Some(packet) = self.sent.get_mut(at) else { break };
            if packet.pn >= largest {
                break;
            }
            let late = packet.pn + PACKET_THRESHOLD <= largest || packet.time + delay <= now;
            if packet.fate == Fate::InFlight && late {
                packet.fate = Fate::Settled;
                let packet = *packet;
                self.give_up(packet, &mut settled);
            }
        }
        while self.sent.front().is_some_and(|packet| packet.fate == Fate::Settled) {
            self.sent.pop_front();
        }
    }

    /// When a packet below the largest acknowledged one passes the time threshold.
    #[must_use]
    pub fn loss_time(&self) -> Time {
        let first = self.sent.front().filter(|packet| Some(packet.pn) < self.largest_acked);
        first.map_or(Time::NEVER, |packet| packet.time + Duration::from_micros(self.rtt.loss_delay()))
    }

    /// When the peer's silence about ack-eliciting packets calls for a probe; `max_ack_delay` is the longest
    /// the peer may hold an ack, in microseconds.
    #[must_use]
    pub fn probe_time(&self, max_ack_delay: u64) -> Time {
        if self.eliciting_in_flight == 0 {
            return Time::NEVER;
        }
        let delay = self.rtt.probe_delay(max_ack_delay) << self.backoff.min(MAX_BACKOFF);
        self.last_eliciting + Duration::from_micros(delay)
    }

    /// A probe is about to be sent: the next one waits twice as long.
    pub fn on_probe(&mut self) {
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
    }

    /// The figures so far.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> { self.sent.front().map(|s| s.pn) }
    /// l
    pub fn loss_recent(&self) -> u64 { 0 }
    /// q
    pub fn quality(&self, _: Time) -> Quality {
        Quality {
            rtt: self.rtt.smoothed,
            rtt_min: self.rtt.min,
            rtt_latest: self.rtt.latest,
            jitter: self.rtt.variance,
            acked: self.acked,
            lost: self.lost,
            ..Quality::default()
        }
    }

    fn give_up(&mut self, packet: Sent, settled: &mut impl FnMut(Settled)) {
        if packet.packet.eliciting {
            self.eliciting_in_flight = self.eliciting_in_flight.saturating_sub(1);
            self.lost += 1;
        }
        settled(Settled { pn: packet.pn, acked: false, packet: packet.packet, sent: packet.time, rtt: None });
    }
}

