//! Roaming: a connection's address changes only when its client answers a challenge from the new one (rule W-7).
//!
//! Whoever copies a packet on its way can deliver it from an address of its own before the original arrives. So a valid
//! packet proves nothing about its address; only the answer to random bytes that were sealed and sent there does
//! (RFC 9000, section 8.2). A few candidates are watched at a time, the newest: so no number of addresses costs memory, and
//! somebody who copies most packets does not push out the client's own address before the client can answer from there.
//!
//! At the opening a connection has no address yet, and where its ACCEPTs went are *claims*: they are challenged without having
//! sent anything since, and are not pushed out. So who copies all packets of a client cannot keep it out, either.

use core::net::SocketAddr;
use core::time::Duration;

use arrayvec::ArrayVec;

use crate::time::Time;

/// The shortest time between two challenges to one address.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_millis(50);
/// A candidate that has not answered for so long is given up.
pub const CHALLENGE_TIME: Duration = Duration::from_secs(3);
/// The most bytes of a datagram with a challenge and nothing else but its ack and tick.
pub const CHALLENGE_BYTES: usize = 48;
/// An address that has not answered is sent at most so many times the bytes that came from it.
pub const AMPLIFICATION: usize = 3;
/// The most addresses that are challenged at a time.
pub const CANDIDATES: usize = 4;
/// The most of them that are claims: one place is left for where packets come from.
pub const CLAIMS: usize = CANDIDATES - 1;

#[derive(Clone, Debug)]
struct Candidate {
    address: SocketAddr,
    data: [u8; 8],
    claim: bool,
    received: usize,
    sent: usize,
    next_send: Time,
    give_up: Time,
}

impl Candidate {
    fn new(now: Time, address: SocketAddr, data: [u8; 8], received: usize) -> Self {
        Self { address, data, claim: false, received, sent: 0, next_send: now, give_up: now + CHALLENGE_TIME }
    }

    /// When the next challenge may go; never, as long as too little came from there.
    const fn next_send(&self) -> Time {
        let allowance = self.received.saturating_mul(AMPLIFICATION).saturating_sub(self.sent);
        if allowance >= CHALLENGE_BYTES { self.next_send } else { Time::NEVER }
    }
}

/// Watches where a connection's packets come from; the server has one for each connection that is challenged.
#[derive(Clone, Debug, Default)]
pub struct PathWatch {
    /// The oldest first.
    candidates: ArrayVec<Candidate, CANDIDATES>,
}

impl PathWatch {
    /// The connection has no address yet, and this may be it: an ACCEPT went there, and so many bytes from there are not
    /// used up. Of more than [`CLAIMS`] the first count. `data`: 8 unpredictable bytes.
    pub fn claim(&mut self, now: Time, address: SocketAddr, bytes: usize, data: [u8; 8]) {
        if self.candidates.len() < CLAIMS && self.at(address).is_none() {
            self.candidates.push(Candidate { claim: true, ..Candidate::new(now, address, data, bytes) });
        }
    }

    /// A packet of `bytes` bytes passed its authentication. `from` is where it came from, `current` the connection's
    /// address, `newest` whether its number is above all received before; `draw` gives 8 unpredictable bytes.
    ///
    /// A newest packet from a new address makes that a candidate, in the oldest one's place if there are [`CANDIDATES`]; one
    /// from the current address says that the client still lives there, and ends the challenges. Older packets were overtaken
    /// by a move or were delayed by somebody: they change nothing.
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
                self.candidates.clear();
            }
            return;
        }
        if let Some(candidate) = self.at(from) {
            candidate.received = candidate.received.saturating_add(bytes);
        } else if newest && let Some(data) = draw() {
            if self.candidates.is_full()
                && let Some(oldest) = self.candidates.iter().position(|candidate| !candidate.claim)
            {
                self.candidates.remove(oldest);
            }
            // There is room: not all of them are claims.
            let _ = self.candidates.try_push(Candidate::new(now, from, data, bytes));
        }
    }

    /// A challenge that is due now, and the address to send it to, if there is one and the address may be sent
    /// [`CHALLENGE_BYTES`].
    #[must_use]
    pub fn challenge_due(&self, now: Time) -> Option<(SocketAddr, [u8; 8])> {
        let due = |candidate: &&Candidate| candidate.next_send() <= now && candidate.give_up > now;
        self.candidates.iter().find(due).map(|candidate| (candidate.address, candidate.data))
    }

    /// Whether no address is watched.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        self.candidates.iter().all(|candidate| candidate.give_up <= now)
    }

    /// The challenge was sent to this address, in a datagram of so many bytes.
    pub fn on_challenge_sent(&mut self, now: Time, to: SocketAddr, bytes: usize) {
        if let Some(candidate) = self.at(to) {
            candidate.sent = candidate.sent.saturating_add(bytes);
            candidate.next_send = now + CHALLENGE_INTERVAL;
        }
    }

    /// When [`challenge_due`](Self::challenge_due) is to be called next: a challenge may be due, or be given up.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let times = self.candidates.iter().map(|candidate| candidate.next_send().min(candidate.give_up));
        times.min().unwrap_or(Time::NEVER)
    }

    /// A valid packet from `from` carried this answer. Returns the address that is now the connection's, if one is.
    ///
    /// The bytes went to one address, sealed: whoever answers has read them there. That is enough for a claim, also when a
    /// copy of the answer overtakes it from elsewhere (RFC 9000, section 8.2.3). A client that moves on while it is challenged
    /// is not to be taken back to where it was: any other candidate must have sent the answer.
    pub fn on_response(&mut self, now: Time, from: SocketAddr, data: &[u8; 8]) -> Option<SocketAddr> {
        self.expire(now);
        // `sent`: without a challenge on its way the answer would be a guess.
        let answered = |candidate: &&Candidate| {
            (candidate.address == from || candidate.claim) && candidate.data == *data && candidate.sent > 0
        };
        let address = self.candidates.iter().find(answered)?.address;
        self.candidates.clear();
        Some(address)
    }

    fn at(&mut self, address: SocketAddr) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|candidate| candidate.address == address)
    }

    fn expire(&mut self, now: Time) {
        self.candidates.retain(|candidate| candidate.give_up > now);
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
        watch.on_challenge_sent(START, address(1), 40);
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
            watch.on_challenge_sent(now, address(66), 40);
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
                watch.on_challenge_sent(now, address(1), 40);
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
                watch.on_challenge_sent(now, address(1), 40);
                times.push(ms);
            }
        }
        assert_eq!(times, (0..60).map(|n| n * 50).collect::<Vec<_>>());
        assert!(watch.is_idle(START + CHALLENGE_TIME));
        assert_eq!(watch.on_response(START + CHALLENGE_TIME, address(1), &DATA), None);
        let mut late = watch_of(1);
        late.on_challenge_sent(START, address(1), 40);
        assert_eq!(late.on_response(START + CHALLENGE_TIME, address(1), &DATA), None, "too late by a moment");
    }

    /// All challenges that are due, sent.
    fn challenged(watch: &mut PathWatch, now: Time) -> Vec<(SocketAddr, [u8; 8])> {
        let mut sent = Vec::new();
        while let Some((to, data)) = watch.challenge_due(now) {
            watch.on_challenge_sent(now, to, 40);
            sent.push((to, data));
        }
        sent
    }

    #[test]
    fn of_several_candidates_the_one_that_answers_wins() {
        let mut watch = watch_of(1);
        watch.on_authentic(START, address(2), home(), true, SMALLEST, || Some(*b"abcdefgh"));
        assert_eq!(challenged(&mut watch, START), [(address(1), DATA), (address(2), *b"abcdefgh")]);
        assert_eq!(watch.on_response(START, address(2), &DATA), None, "where another one was challenged");
        let mut other = watch.clone();
        assert_eq!(watch.on_response(START, address(1), &DATA), Some(address(1)));
        assert_eq!(watch.on_response(START, address(2), b"abcdefgh"), None, "that is decided");
        assert_eq!(other.on_response(START, address(2), b"abcdefgh"), Some(address(2)));
    }

    #[test]
    fn a_copier_that_is_mostly_first_does_not_keep_a_client_from_moving() {
        let mut watch = watch_of(1);
        assert_eq!(challenged(&mut watch, START), [(address(1), DATA)]);
        for step in 1..5 {
            watch.on_authentic(START + MS * 20 * step, address(66), home(), true, SMALLEST, || Some([66; 8]));
        }
        assert_eq!(watch.on_response(START + MS * 100, address(1), &DATA), Some(address(1)));
    }

    #[test]
    fn of_more_candidates_than_there_is_room_for_the_oldest_goes_and_claims_stay() {
        let mut watch = PathWatch::default();
        for number in 0..10 {
            watch.claim(START, address(100 + number), SMALLEST, DATA);
            watch.claim(START, address(100), SMALLEST, DATA);
        }
        for number in 1..10 {
            watch.on_authentic(START, address(number), home(), true, SMALLEST, draw);
        }
        let sent: Vec<_> = challenged(&mut watch, START).into_iter().map(|(to, _)| to).collect();
        assert_eq!(sent, [100, 101, 102, 9].map(address));
        let mut watch = PathWatch::default();
        for number in 1..=6 {
            watch.on_authentic(START, address(number), home(), true, SMALLEST, draw);
        }
        let sent: Vec<_> = challenged(&mut watch, START).into_iter().map(|(to, _)| to).collect();
        assert_eq!(sent, [3, 4, 5, 6].map(address));
    }

    #[test]
    fn a_claim_is_challenged_within_what_it_sent_and_a_copy_of_its_answer_speaks_for_it() {
        let mut watch = PathWatch::default();
        watch.claim(START, address(1), SMALLEST, DATA);
        assert_eq!(watch.on_response(START, address(1), &DATA), None, "nothing was sent");
        assert_eq!(challenged(&mut watch, START), [(address(1), DATA)]);
        assert_eq!(challenged(&mut watch, START + MS * 50), [], "the next one would be more than three times as much");
        watch.on_authentic(START + MS * 60, address(66), home(), true, SMALLEST, || Some([66; 8]));
        assert_eq!(watch.on_response(START + MS * 60, address(66), &DATA), Some(address(1)));
        assert!(watch.is_idle(START + MS * 60));
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
            challenged(&mut watch, now);
            let mut guess = [0; 8];
            rng.fill(&mut guess);
            assert_eq!(watch.on_response(now, from, &guess), None);
            now = now + MS;
        }
        // A few candidates, by value: there is nothing that could grow.
        assert!(size_of::<PathWatch>() <= 16 + 88 * CANDIDATES, "{}", size_of::<PathWatch>());
    }

    #[test]
    fn without_entropy_there_is_no_challenge() {
        let mut watch = PathWatch::default();
        watch.on_authentic(START, address(1), home(), true, SMALLEST, || None);
        assert_eq!((watch.challenge_due(START), watch.next_time()), (None, Time::NEVER));
    }
}
