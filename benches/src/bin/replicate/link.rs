//! The way to the clients and back: what arrives, and when the server hears of it.
//!
//! Every client sends a packet in every tick, and acknowledges with it all that reached it. A snapshot takes half the
//! round trip; its acknowledgement waits for the client's next packet, and the server for its next tick: together that
//! is the first tick after a whole round trip. What is lost counts as lost once a packet sent
//! [`PACKET_THRESHOLD`] later is acknowledged, as in [`netcode::recovery`].

use std::collections::VecDeque;

use netcode::packet::AckBlock;
use netcode::recovery::PACKET_THRESHOLD;
use netcode::rng::Rng;
use netcode::seq::low16;

use crate::setup::Setup;

/// A snapshot on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    pn: u64,
    /// The tick from which the server can know that it arrived.
    due: u64,
    arrives: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub client: u16,
    pub pn: u64,
    /// Whether it was acknowledged; otherwise it is lost.
    pub acked: bool,
}

/// The links of all clients.
pub struct Link {
    delay: u64,
    loss: f64,
    up: Rng,
    down: Rng,
    flights: Vec<VecDeque<Flight>>,
    /// By client: which of its last packets the server has, the newest in the lowest bit.
    heard: Vec<u64>,
}

impl Link {
    /// Links on which nothing is under way.
    pub fn new(setup: &Setup, clients: u16) -> Self {
        let rng = Rng::new(setup.seed);
        Self {
            delay: u64::from(setup.rtt_ms) * u64::from(setup.rate) / 1000 + 1,
            loss: setup.loss / 100.0,
            up: rng.fork("loss up"),
            down: rng.fork("loss down"),
            flights: vec![VecDeque::new(); usize::from(clients)],
            heard: vec![0; usize::from(clients)],
        }
    }

    /// The clients' packets of a tick: replaces `out` by what they settle, by client and packet number.
    pub fn hear(&mut self, tick: u64, out: &mut Vec<Settled>) {
        out.clear();
        for ((client, flights), heard) in (0..).zip(&mut self.flights).zip(&mut self.heard) {
            *heard <<= 1;
            if self.up.chance(self.loss) {
                continue;
            }
            *heard |= 1;
            let acked = |flight: &Flight| flight.arrives && flight.due <= tick;
            let largest = flights.iter().rev().find(|flight| acked(flight)).map_or(0, |flight| flight.pn);
            flights.retain(|flight| {
                let acked = acked(flight);
                let settled = acked || !flight.arrives && flight.pn + PACKET_THRESHOLD <= largest;
                if settled {
                    out.push(Settled { client, pn: flight.pn, acked });
                }
                !settled
            });
        }
    }

    /// What the server says to a client of the packets that it has from it.
    pub fn ack(&self, client: u16, tick: u64) -> Option<AckBlock> {
        let heard = *self.heard.get(usize::from(client))?;
        let missing = heard.trailing_zeros();
        let mask = heard.checked_shr(missing + 1)? as u32;
        Some(AckBlock { largest: low16(tick.saturating_sub(u64::from(missing))), delay: 0, mask })
    }

    /// A snapshot goes out in packet `pn`; whether it will arrive.
    pub fn send(&mut self, client: u16, pn: u64, tick: u64) -> bool {
        let arrives = !self.down.chance(self.loss);
        if let Some(flights) = self.flights.get_mut(usize::from(client)) {
            flights.push_back(Flight { pn, due: tick + self.delay, arrives });
        }
        arrives
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Scenario;
    use crate::setup::tests::setup;

    /// The tick in which each packet of one client was settled, and how; packet `n` goes out in tick `n`.
    fn run(setup: &Setup, ticks: u64) -> (Vec<(u64, Settled)>, Vec<bool>) {
        let mut link = Link::new(setup, 1);
        let (mut all, mut arrived, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for tick in 1..=ticks {
            link.hear(tick, &mut out);
            all.extend(out.iter().map(|settled| (tick, *settled)));
            arrived.push(link.send(0, tick, tick));
        }
        (all, arrived)
    }

    #[test]
    fn an_acknowledgement_takes_the_first_tick_after_the_round_trip() {
        for (rtt_ms, delay) in [(0, 1), (49, 1), (50, 2), (100, 3), (149, 3)] {
            let (all, _) = run(&Setup { rtt_ms, ..setup(1, Scenario::Idle) }, 20);
            assert_eq!(all.len() as u64, 20 - delay);
            assert!(all.iter().all(|(tick, settled)| settled.acked && *tick == settled.pn + delay), "{rtt_ms} ms");
        }
    }

    #[test]
    fn so_much_is_lost_as_asked_for_and_each_packet_is_settled_once_by_its_fate() {
        let (all, arrived) = run(&Setup { loss: 20.0, ..setup(1, Scenario::Idle) }, 5000);
        let lost = arrived.iter().filter(|arrived| !**arrived).count();
        assert!((900..1100).contains(&lost), "{lost} of 5000 lost");
        let mut seen = vec![false; 5001];
        for (tick, settled) in all {
            assert_eq!(settled.acked, arrived[settled.pn as usize - 1]);
            assert!(tick >= settled.pn + if settled.acked { 3 } else { 3 + PACKET_THRESHOLD });
            assert!(!core::mem::replace(&mut seen[settled.pn as usize], true), "settled twice");
        }
        assert!(seen[1..4900].iter().all(|seen| *seen), "all are settled in the end");
    }

    #[test]
    fn the_server_acknowledges_all_of_the_last_packets_or_says_which() {
        let mut link = Link::new(&Setup { loss: 0.0, ..setup(1, Scenario::Idle) }, 1);
        assert_eq!(link.ack(0, 0), None);
        (1..=40).for_each(|tick| link.hear(tick, &mut Vec::new()));
        assert_eq!(link.ack(0, 40), Some(AckBlock { largest: 40, delay: 0, mask: u32::MAX }));
        link.heard[0] = 0b1011 << 2;
        assert_eq!(link.ack(0, 40), Some(AckBlock { largest: 38, delay: 0, mask: 0b101 }));
    }
}
