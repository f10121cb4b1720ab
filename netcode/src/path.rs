//! Roaming: a connection's address changes only when its client answers a challenge from the new one (rule W-7).
//!
//! Whoever copies a packet on its way can deliver it from an address of its own before the original arrives. So a valid
//! packet proves nothing about its address; only the answer to random bytes that were sealed and sent there does
//! (RFC 9000, section 8.2). One candidate is watched at a time, the newest, so no number of addresses costs memory.

use core::net::SocketAddr;
use core::time::Duration;

use crate::time::Time;

/// The shortest time between two challenges to one address.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_millis(50);
/// A candidate that has not answered for so long is given up.
pub const CHALLENGE_TIME: Duration = Duration::from_secs(3);
/// The most bytes of a datagram with a challenge and nothing else but its ack and tick.
pub const CHALLENGE_BYTES: usize = 48;
/// An address that has not answered is sent at most so many times the bytes that came from it.
pub const AMPLIFICATION: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    address: SocketAddr,
    data: [u8; 8],
    received: usize,
    sent: usize,
    next_send: Time,
    give_up: Time,
}

impl Candidate {
    const fn allowance(&self) -> usize {
        self.received.saturating_mul(AMPLIFICATION).saturating_sub(self.sent)
    }
}

/// Watches where a connection's packets come from; the server has one for each connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathWatch {
    candidate: Option<Candidate>,
}

impl PathWatch {
    /// A packet of `bytes` bytes passed its authentication. `from` is where it came from, `current` the connection's
    /// address, `newest` whether its number is above all received before; `draw` gives 8 unpredictable bytes.
    ///
    /// A newest packet from a new address makes that the candidate; one from the current address says that the client
    /// still lives there, and ends the challenge. Older packets were overtaken by a move or were delayed by somebody:
    /// they change nothing.
    pub fn on_authentic(
        &mut self,
        now: Time,
        from: SocketAddr,
        current: SocketAddr,
        newest: bool,
        bytes: usize,
        draw: impl FnOnce() -> Option<[u8; 8]>,
    ) {
        self.expire(now);
        if from == current {
            if newest {
                self.candidate = None;
            }
            return;
        }
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.address == from) {
            candidate.received = candidate.received.saturating_add(bytes);
        } else if newest && let Some(data) = draw() {
            let give_up = now + CHALLENGE_TIME;
            self.candidate = Some(Candidate { address: from, data, received: bytes, sent: 0, next_send: now, give_up });
        }
    }

    /// The challenge that is due now, and the address to send it to, if there is one and the address may be sent
    /// [`CHALLENGE_BYTES`].
    #[must_use]
    pub fn challenge_due(&self, now: Time) -> Option<(SocketAddr, [u8; 8])> {
        let candidate = self.candidate.filter(|candidate| candidate.give_up > now)?;
        (candidate.next_send <= now && candidate.allowance() >= CHALLENGE_BYTES)
            .then_some((candidate.address, candidate.data))
    }

    /// Whether no address is watched.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.candidate.is_none_or(|candidate| candidate.give_up <= now)
    }

    /// How many bytes the candidate's address may be sent: the most that a datagram with a challenge may have.
    #[must_use]
    pub fn allowance(&self) -> usize {
        self.candidate.as_ref().map_or(0, Candidate::allowance)
    }

    /// The challenge was sent, in a datagram of so many bytes.
    pub fn on_challenge_sent(&mut self, now: Time, bytes: usize) {
        if let Some(candidate) = &mut self.candidate {
            candidate.sent = candidate.sent.saturating_add(bytes);
            candidate.next_send = now + CHALLENGE_INTERVAL;
        }
    }

    /// When [`challenge_due`](Self::challenge_due) is to be called next: a challenge may be due, or be given up.
    #[must_use]
    pub fn next_time(&self) -> Time {
        self.candidate.as_ref().map_or(Time::NEVER, |candidate| {
            let may_send = candidate.allowance() >= CHALLENGE_BYTES;
            if may_send { candidate.next_send.min(candidate.give_up) } else { candidate.give_up }
        })
    }

    /// A valid packet from `from` carried this answer. Returns the address when that is now the connection's.
    pub fn on_response(&mut self, now: Time, from: SocketAddr, data: &[u8; 8]) -> Option<SocketAddr> {
        self.expire(now);
        let candidate = self.candidate?;
        // `sent`: without a challenge on its way the answer would be a guess.
        if candidate.address != from || candidate.data != *data || candidate.sent == 0 {
            return None;
        }
        self.candidate = None;
        Some(from)
    }

    fn expire(&mut self, now: Time) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.give_up <= now) {
            self.candidate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::rng::Rng;

    const MS: Duration = Duration::from_millis(1);
    const START: Time = Time::from_millis(1000);
    const DATA: [u8; 8] = *b"01234567";
    const SMALLEST: usize = 24;

    fn address(number: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 4000)
    }

    fn home() -> SocketAddr {
        address(0)
    }

    fn draw() -> Option<[u8; 8]> {
        Some(DATA)
    }

    fn watch_of(number: u32) -> PathWatch {
        let mut watch = PathWatch::default();
        watch.on_authentic(START, address(number), home(), true, SMALLEST, draw);
        watch
    }

    #[test]
    fn a_move_is_challenged_at_the_new_address_and_ends_with_its_answer() {
        let mut watch = watch_of(1);
        assert_eq!(watch.next_time(), START);
        assert_eq!(watch.challenge_due(START), Some((address(1), DATA)));
        watch.on_challenge_sent(START, 40);
        let now = START + MS * 80;
        assert_eq!(watch.on_response(now, address(1), b"01234568"), None, "other bytes");
        assert_eq!(watch.on_response(now, address(2), &DATA), None, "from elsewhere");
        assert_eq!(watch.on_response(now, home(), &DATA), None, "from the old address");
        assert_eq!(watch.on_response(now, address(1), &DATA), Some(address(1)));
        assert_eq!(watch.on_response(now, address(1), &DATA), None, "once");
        assert_eq!(watch.next_time(), Time::NEVER);
    }

    #[test]
    fn an_answer_to_a_challenge_that_was_never_sent_moves_nothing() {
        assert_eq!(watch_of(1).on_response(START, address(1), &DATA), None);
    }

    #[test]
    fn only_the_newest_packet_starts_or_ends_a_challenge() {
        let mut watch = PathWatch::default();
        watch.on_authentic(START, address(1), home(), false, SMALLEST, draw);
        assert_eq!(watch.challenge_due(START), None, "an old packet, delivered late by somebody");
        watch.on_authentic(START, address(1), home(), true, SMALLEST, draw);
        watch.on_authentic(START, home(), home(), false, SMALLEST, draw);
        assert!(watch.challenge_due(START).is_some(), "packets from before the move arrive late");
        watch.on_authentic(START, home(), home(), true, SMALLEST, draw);
        assert_eq!(watch.challenge_due(START), None, "the client still lives at its address");
    }

    #[test]
    fn a_copier_does_not_move_a_client_that_lives() {
        let (mut watch, mut now) = (PathWatch::default(), START);
        for _ in 0..1000 {
            // The copy arrives before the original, which is then a duplicate; the next packet comes from home.
            watch.on_authentic(now, address(66), home(), true, SMALLEST, draw);
            assert!(watch.challenge_due(now).is_some());
            watch.on_challenge_sent(now, 40);
            now = now + MS * 50;
            watch.on_authentic(now, home(), home(), true, SMALLEST, draw);
            assert_eq!(watch.on_response(now, address(66), &DATA), None);
        }
    }

    #[test]
    fn an_address_is_sent_at_most_three_times_what_came_from_it() {
        let mut watch = watch_of(1);
        let (mut now, mut sent, mut received) = (START, 0, SMALLEST);
        for step in 0..58 {
            while watch.challenge_due(now).is_some() {
                watch.on_challenge_sent(now, 40);
                sent += 40;
                assert!(sent <= AMPLIFICATION * received);
            }
            if step == 0 {
                assert_eq!((sent, watch.next_time()), (40, START + CHALLENGE_TIME), "no more until more arrives");
            }
            if step % 4 == 3 {
                watch.on_authentic(now, address(1), home(), step % 8 == 3, SMALLEST, draw);
                received += SMALLEST;
            }
            now = now + MS * 50;
        }
        assert!(sent >= 2 * received, "an honest client gets its resends: {sent} for {received}");
    }

    #[test]
    fn challenges_are_50_ms_apart_and_end_after_three_seconds() {
        let mut watch = PathWatch::default();
        watch.on_authentic(START, address(1), home(), true, 1200, draw);
        let mut times = Vec::new();
        for ms in 0..5000 {
            let now = START + MS * ms;
            if watch.challenge_due(now).is_some() {
                watch.on_challenge_sent(now, 40);
                times.push(ms);
            }
        }
        assert_eq!(times, (0..60).map(|n| n * 50).collect::<Vec<_>>());
        assert!(watch.is_idle(START + CHALLENGE_TIME));
        assert_eq!(watch.on_response(START + CHALLENGE_TIME, address(1), &DATA), None);
        let mut late = watch_of(1);
        late.on_challenge_sent(START, 40);
        assert_eq!(late.on_response(START + CHALLENGE_TIME, address(1), &DATA), None, "too late by a moment");
    }

    #[test]
    fn of_two_candidates_the_newest_wins() {
        let mut watch = watch_of(1);
        watch.on_challenge_sent(START, 40);
        watch.on_authentic(START, address(2), home(), true, SMALLEST, || Some(*b"abcdefgh"));
        assert_eq!(watch.challenge_due(START), Some((address(2), *b"abcdefgh")), "without waiting for the first");
        watch.on_challenge_sent(START, 40);
        assert_eq!(watch.on_response(START, address(1), &DATA), None);
        assert_eq!(watch.on_response(START, address(2), b"abcdefgh"), Some(address(2)));
    }

    #[test]
    fn ten_thousand_forged_candidates_move_nothing_and_cost_no_memory() {
        let (mut watch, mut rng, mut now) = (PathWatch::default(), Rng::new(8), START);
        let mut random = Rng::new(9);
        let mut bytes = move || {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            bytes
        };
        for number in 1..=10_000 {
            let from = address(number);
            watch.on_authentic(now, from, home(), rng.chance(0.9), SMALLEST, || Some(bytes()));
            if watch.challenge_due(now).is_some() {
                watch.on_challenge_sent(now, 40);
            }
            let mut guess = [0; 8];
            rng.fill(&mut guess);
            assert_eq!(watch.on_response(now, from, &guess), None);
            now = now + MS;
        }
        // One candidate, by value: there is nothing that could grow.
        assert!(size_of::<PathWatch>() <= 104, "{}", size_of::<PathWatch>());
    }

    #[test]
    fn without_entropy_there_is_no_challenge() {
        let mut watch = PathWatch::default();
        watch.on_authentic(START, address(1), home(), true, SMALLEST, || None);
        assert_eq!((watch.challenge_due(START), watch.next_time()), (None, Time::NEVER));
    }
}
