//! Key phases: each direction's packet keys roll on by themselves while the connection lives (rules K-4 to K-6).
//!
//! The idea is that of RFC 9001, section 6: one bit of the header tells two neighbouring phases apart, and since a
//! sender rolls only when a packet of the current phase has been acknowledged, its peer is never two phases behind.
//! The directions roll independently. Packet numbers go on across phases.

use core::mem::{self, offset_of};
use core::time::Duration;

use crate::crypto::{Aead, CryptoError, PacketKey, Secret, TAG_BYTES};
use crate::time::{Time, micros};

/// How long after a roll the receiver still opens packets of the phase before.
pub const OLD_KEY_TIME: Duration = Duration::from_secs(3);

/// When a sender rolls its key: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Packets sealed under one key. Default 2^22: half of what RFC 9001, section 6.6, allows AES-128-GCM.
    pub packets: u64,
    /// Age of a key. Default 60 minutes.
    pub age: Duration,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self { packets: 1 << 22, age: Duration::from_secs(3600) }
    }
}

/// The keys of the direction in which this end sends. The order in memory is that of use: what only a new key needs, what each
/// packet out needs, what its ack needs as well.
#[derive(Debug)]
#[repr(C)]
pub struct TxKeys {
    aead: Aead,
    secret: Secret,
    key: PacketKey,
    limits: KeyLimits,
    /// When the phase began, and with which packet number.
    since: Time,
    generation: u64,
    first_pn: u64,
    /// A packet of this phase has been acknowledged.
    confirmed: bool,
}

impl TxKeys {
    /// Where what a packet out needs begins, and what its ack needs; both go to the end.
    pub(crate) const HOT: usize = offset_of!(Self, key);
    pub(crate) const ACKED: usize = offset_of!(Self, generation);

    /// Phase 0 of a connection that begins at `now` with packet number 0.
    #[must_use]
    pub fn new(aead: Aead, secret: Secret, limits: KeyLimits, now: Time) -> Self {
        let key = PacketKey::from_secret(aead, &secret);
        Self { aead, limits, secret, key, generation: 0, since: now, first_pn: 0, confirmed: false }
    }

    /// The phase bit of packets that are sealed now.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.generation & 1 != 0
    }

    /// How often the key has rolled.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Rolls on when the key is used up or too old and the peer is known to have the current one; to be called before
    /// packet `next_pn` is written. Says whether it rolled.
    pub fn roll_if_due(&mut self, now: Time, next_pn: u64) -> bool {
        let sealed = next_pn.saturating_sub(self.first_pn);
        let due = sealed >= self.limits.packets || now.micros_since(self.since) >= micros(self.limits.age);
        // Unconfirmed, the peer may not have seen this phase yet, and one bit cannot tell it that it missed two.
        if !due || !self.confirmed {
            return false;
        }
        self.secret = self.secret.next();
        self.key = PacketKey::from_secret(self.aead, &self.secret);
        self.generation += 1;
        self.since = now;
        self.first_pn = next_pn;
        self.confirmed = false;
        true
    }

    /// The peer acknowledged packet `pn`.
    pub const fn on_acked(&mut self, pn: u64) {
        if pn >= self.first_pn {
            self.confirmed = true;
        }
    }

    /// Seals `plaintext` in place; the returned tag goes behind it.
    ///
    /// # Errors
    /// Those of [`PacketKey::seal`].
    pub fn seal(&self, pn: u64, aad: &[u8], plaintext: &mut [u8]) -> Result<[u8; TAG_BYTES], CryptoError> {
        self.key.seal(pn, aad, plaintext)
    }
}

/// The phase to come. Boxed like the previous one, since most of the time a connection has neither.
#[derive(Debug)]
struct Next {
    secret: Secret,
    key: Box<PacketKey>,
}

/// The keys of the direction in which this end receives. The order in memory is that of use.
#[derive(Debug)]
#[repr(C)]
pub struct RxKeys {
    /// The phase before, and until when it is held.
    previous: Option<(Box<PacketKey>, Time)>,
    generation: u64,
    /// The lowest packet number opened in the current phase: everything below it with the other bit is older.
    first_pn: u64,
    current: PacketKey,
    aead: Aead,
    secret: Secret,
    /// Derived when a packet first asks for it and kept even if that was a forgery: a flood of packets with the other
    /// bit then costs one failed opening each, as any other forgery does, and no key derivation.
    next: Option<Next>,
}

/// Which key a packet asks for.
enum Choice {
    Current,
    Previous,
    Next,
}

impl RxKeys {
    /// Where what each packet needs ends; it begins with this struct.
    pub(crate) const HOT: usize = offset_of!(Self, aead);

    /// Phase 0.
    #[must_use]
    pub fn new(aead: Aead, secret: Secret) -> Self {
        let current = PacketKey::from_secret(aead, &secret);
        Self { aead, secret, current, generation: 0, first_pn: u64::MAX, previous: None, next: None }
    }

    /// How often the peer's key has rolled, as far as is known here.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Opens `sealed` (ciphertext and tag) of packet `pn` in place, with exactly one attempt, and returns the plaintext
    /// and whether this packet was the first of a new phase.
    ///
    /// # Errors
    /// [`CryptoError::AuthFailed`] when the tag does not match; the buffer's content is then garbage and nothing has
    /// changed, except that the next phase's key may be ready.
    pub fn open<'a>(
        &mut self,
        now: Time,
        phase: bool,
        pn: u64,
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<(&'a mut [u8], bool), CryptoError> {
        if self.previous.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.previous = None;
        }
        let choice = self.choose(phase, pn);
        let plaintext = match (&choice, &self.previous) {
            (Choice::Current, _) => self.current.open(pn, aad, sealed)?,
            (Choice::Previous, Some((key, _))) => key.open(pn, aad, sealed)?,
            (Choice::Previous, None) => return Err(CryptoError::AuthFailed),
            (Choice::Next, _) => self.next_key().open(pn, aad, sealed)?,
        };
        // Only from here on is the packet known to be the peer's.
        let rolled = match choice {
            Choice::Next => self.roll(now, pn),
            Choice::Current => {
                self.first_pn = self.first_pn.min(pn);
                false
            }
            Choice::Previous => false,
        };
        Ok((plaintext, rolled))
    }

    fn choose(&self, phase: bool, pn: u64) -> Choice {
        if phase == (self.generation & 1 != 0) {
            Choice::Current
        } else if self.previous.is_some() && pn < self.first_pn {
            Choice::Previous
        } else {
            Choice::Next
        }
    }

    fn next_key(&mut self) -> &PacketKey {
        let (aead, secret) = (self.aead, &self.secret);
        &self
            .next
            .get_or_insert_with(|| {
                let secret = secret.next();
                Next { key: Box::new(PacketKey::from_secret(aead, &secret)), secret }
            })
            .key
    }

    fn roll(&mut self, now: Time, pn: u64) -> bool {
        let Some(Next { secret, mut key }) = self.next.take() else { return false };
        mem::swap(&mut self.current, &mut key);
        self.previous = Some((key, now + OLD_KEY_TIME));
        self.secret = secret;
        self.generation += 1;
        self.first_pn = pn;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::work::{self, Work};
    use crate::replay::ReplayWindow;
    use crate::rng::Rng;

    const START: Time = Time::from_millis(1000);
    const MS: Duration = Duration::from_millis(1);

    fn pair(limits: KeyLimits) -> (TxKeys, RxKeys) {
        let secret = || Secret::new([9; 32]);
        (TxKeys::new(Aead::Aes128Gcm, secret(), limits, START), RxKeys::new(Aead::Aes128Gcm, secret()))
    }

    fn every(packets: u64) -> KeyLimits {
        KeyLimits { packets, ..KeyLimits::default() }
    }

    #[derive(Clone)]
    struct Packet {
        pn: u64,
        phase: bool,
        generation: u64,
        sealed: Vec<u8>,
    }

    fn seal(now: Time, tx: &mut TxKeys, pn: u64) -> Packet {
        tx.roll_if_due(now, pn);
        let mut sealed = pn.to_le_bytes().to_vec();
        let tag = tx.seal(pn, &[u8::from(tx.phase())], &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        Packet { pn, phase: tx.phase(), generation: tx.generation(), sealed }
    }

    fn open(now: Time, rx: &mut RxKeys, packet: &Packet) -> Result<bool, CryptoError> {
        let mut sealed = packet.sealed.clone();
        let (plaintext, rolled) = rx.open(now, packet.phase, packet.pn, &[u8::from(packet.phase)], &mut sealed)?;
        assert_eq!(plaintext, packet.pn.to_le_bytes());
        Ok(rolled)
    }

    /// One direction on a bad network: packets on their way, and those that arrived.
    struct Direction {
        tx: TxKeys,
        rx: RxKeys,
        window: ReplayWindow,
        flying: Vec<(Time, Packet)>,
        rng: Rng,
        opened: Vec<bool>,
        late: u64,
    }

    impl Direction {
        fn new(name: &str, packets: u64) -> Self {
            let ((tx, rx), rng) = (pair(every(packets)), Rng::new(3).fork(name));
            Self { tx, rx, window: ReplayWindow::default(), flying: Vec::new(), rng, opened: Vec::new(), late: 0 }
        }

        /// A fifth is lost, a fifth doubled, and delays of up to 60 packets change the order.
        fn send(&mut self, now: Time, pn: u64) {
            let packet = seal(now, &mut self.tx, pn);
            self.opened.push(false);
            if self.rng.chance(0.2) {
                return;
            }
            for _ in 0..1 + u64::from(self.rng.chance(0.2)) {
                self.flying.push((now + MS * self.rng.below(60) as u32, packet.clone()));
            }
        }

        fn arrive(&mut self, now: Time) {
            let (due, flying) = self.flying.drain(..).partition(|(at, _)| *at <= now);
            self.flying = flying;
            for (_, packet) in due {
                self.receive(now, &packet);
            }
        }

        fn receive(&mut self, now: Time, packet: &Packet) {
            if self.window.check(packet.pn).is_err() {
                return;
            }
            let before = self.rx.generation();
            // Accepted are the current phase, the next one, and the one before for a short time.
            if packet.generation + 1 < before {
                self.late += 1;
                return;
            }
            assert_eq!(open(now, &mut self.rx, packet), Ok(packet.generation > before), "packet {}", packet.pn);
            self.window.commit(packet.pn);
            let place = &mut self.opened[packet.pn as usize];
            assert!(!*place, "packet {} opened twice", packet.pn);
            *place = true;
            // An ack finds its way back now and then.
            if self.rng.chance(0.1) {
                self.tx.on_acked(packet.pn);
            }
        }
    }

    #[test]
    fn rolls_every_hundred_or_so_packets_lose_nothing_in_disorder_in_both_directions() {
        let mut directions = [Direction::new("up", 100), Direction::new("down", 130)];
        let mut now = START;
        for pn in 0..100_000 {
            now = now + MS;
            for direction in &mut directions {
                direction.send(now, pn);
                direction.arrive(now);
            }
        }
        for direction in &mut directions {
            direction.arrive(now + MS * 100);
            assert_eq!(direction.late, 0, "60 packets of disorder never span two rolls");
            let opened = direction.opened.iter().filter(|opened| **opened).count();
            assert!((79_000..81_000).contains(&opened), "{opened}");
            assert_eq!(direction.rx.generation(), direction.tx.generation());
        }
        assert_eq!(directions.map(|direction| direction.tx.generation()), [999, 769]);
    }

    #[test]
    fn a_phase_whose_first_packets_are_lost_is_found_by_the_next_one() {
        let (mut tx, mut rx) = pair(every(10));
        let packets: Vec<Packet> = (0..20)
            .map(|pn| {
                tx.on_acked(0);
                seal(START, &mut tx, pn)
            })
            .collect();
        assert_eq!(packets[10].generation, 1);
        assert_eq!(open(START, &mut rx, &packets[9]), Ok(false));
        assert_eq!(open(START, &mut rx, &packets[13]), Ok(true));
        assert_eq!(open(START, &mut rx, &packets[8]), Ok(false), "of the phase before");
        assert_eq!(open(START, &mut rx, &packets[11]), Ok(false), "of the new phase, before the first seen");
        assert_eq!(rx.generation(), 1);
    }

    #[test]
    fn a_sender_does_not_roll_again_before_the_new_phase_is_acknowledged() {
        let (mut tx, _) = pair(KeyLimits { packets: 10, age: MS * 500 });
        assert!(!tx.roll_if_due(START + MS * 10_000, 1_000_000), "phase 0 was never acknowledged");
        tx.on_acked(3);
        assert!(!tx.roll_if_due(START, 9));
        assert!(tx.roll_if_due(START, 10));
        tx.on_acked(9);
        assert!(!tx.roll_if_due(START + MS * 10_000, 1_000_000), "9 was of the phase before");
        tx.on_acked(10);
        assert!(!tx.roll_if_due(START + MS * 499, 19));
        assert!(tx.roll_if_due(START + MS * 500, 19), "by age");
        assert_eq!((tx.generation(), tx.phase()), (2, false));
    }

    #[test]
    fn the_previous_key_is_forgotten_after_three_seconds() {
        let (mut tx, mut rx) = pair(every(2));
        let (late, later) = (seal(START, &mut tx, 0), seal(START, &mut tx, 1));
        tx.on_acked(0);
        assert_eq!(open(START, &mut rx, &seal(START, &mut tx, 2)), Ok(true));
        assert_eq!(open(START + MS * 2999, &mut rx, &late), Ok(false));
        assert_eq!(open(START + MS * 3000, &mut rx, &later), Err(CryptoError::AuthFailed));
        assert!(rx.previous.is_none());
        tx.on_acked(2);
        assert_eq!(open(START + MS * 3000, &mut rx, &seal(START, &mut tx, 4)), Ok(true), "and the rest goes on");
    }

    #[test]
    fn a_flood_of_forgeries_with_either_bit_costs_one_attempt_each_and_changes_nothing() {
        let (mut tx, mut rx) = pair(every(2));
        let kept = seal(START, &mut tx, 0);
        tx.on_acked(0);
        assert_eq!(open(START, &mut rx, &seal(START, &mut tx, 10)), Ok(true));
        let mut rng = Rng::new(5);
        work::take();
        for _ in 0..10_000 {
            let mut sealed = vec![0; 24];
            rng.fill(&mut sealed);
            let forged = Packet { pn: rng.below(30), phase: rng.chance(0.5), generation: 0, sealed };
            assert_eq!(open(START, &mut rx, &forged), Err(CryptoError::AuthFailed));
        }
        assert_eq!(work::take(), Work { keys: 1, openings: 10_000 });
        assert_eq!((rx.generation(), rx.first_pn), (1, 10));
        assert_eq!(open(START, &mut rx, &kept), Ok(false), "the previous key is still held");
        tx.on_acked(10);
        assert_eq!(open(START, &mut rx, &seal(START, &mut tx, 20)), Ok(true));
        assert_eq!(work::take(), Work { keys: 1, openings: 2 }, "the sender's; the receiver's was ready");
    }
}
