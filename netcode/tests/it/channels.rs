//! What each kind of channel promises, both ways, over good and terrible networks.

use netcode::channel::{Channel, Kind, Table};
use netcode::emulator::LinkConfig;
use netcode::error::SendError;
use netcode::rng::Rng;

use crate::lab::{DATAGRAM, End, GOOD, MS, ORDERED, SECOND, STATE, TERRIBLE, UNORDERED, noise};
use crate::pair::Pair;

/// A quarter of all packets vanish, in runs of about ten.
const BURSTY: LinkConfig = LinkConfig { burst_enter: 0.03, burst_exit: 0.1, ..GOOD };

/// A message that starts with its number, where it is long enough.
fn message(seed: u64, number: u32, len: usize) -> Vec<u8> {
    let mut bytes = noise(seed + u64::from(number) * 1000, len);
    for (byte, low) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *byte = low;
    }
    bytes
}

/// What is still to be sent, and what was.
struct Flow {
    end: End,
    channel: u8,
    messages: Vec<Vec<u8>>,
    sent: usize,
}

impl Flow {
    /// Messages of every size that is special, in a random order.
    fn new(end: End, channel: u8, seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork(&format!("{end:?} {channel}"));
        let special = [0, 1, 1024, 1025, 65_536];
        let size =
            |rng: &mut Rng| if rng.chance(0.2) { rng.below(5000) as usize } else { special[rng.below(4) as usize] };
        let mut sizes: Vec<_> = (0..60).map(|_| size(&mut rng)).collect();
        (sizes[10], sizes[40]) = (special[4], special[4]);
        let messages = (0u32..).zip(sizes).map(|(number, len)| message(seed, number, len)).collect();
        Self { end, channel, messages, sent: 0 }
    }

    /// Sends until the channel is full.
    fn push(&mut self, pair: &mut Pair) {
        while let Some(message) = self.messages.get(self.sent) {
            match pair.send_from(self.end, self.channel, message) {
                Ok(()) => self.sent += 1,
                Err(SendError::Full { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn is_there(&self, pair: &Pair) -> bool {
        let mut arrived = pair.arrived(self.end.other(), self.channel);
        let mut sent = self.messages.clone();
        if self.channel == UNORDERED {
            arrived.sort();
            sent.sort();
        }
        // A part of what was sent may be there, but nothing else and nothing twice.
        if self.channel == ORDERED {
            assert!(sent.starts_with(&arrived), "{:?} {}", self.end, self.channel);
        }
        arrived == sent
    }
}

#[test]
fn reliable_messages_of_every_size_arrive_once_whole_and_where_promised_in_order() {
    for (name, link) in [("good", GOOD), ("bursty", BURSTY), ("terrible", TERRIBLE)] {
        let mut pair = Pair::lab(1, link);
        let start = pair.now;
        let mut flows: Vec<_> = End::BOTH
            .into_iter()
            .flat_map(|end| [ORDERED, UNORDERED].map(|channel| Flow::new(end, channel, 7)))
            .collect();
        for _ in 0..2000 {
            flows.iter_mut().for_each(|flow| flow.push(&mut pair));
            pair.run_for(100 * MS);
            if flows.iter().all(|flow| pair.count(flow.end.other(), flow.channel) >= flow.messages.len()) {
                break;
            }
        }
        for flow in &flows {
            assert!(flow.is_there(&pair), "{name} {:?} {}", flow.end, flow.channel);
        }
        let bytes: usize = flows.iter().flat_map(|flow| &flow.messages).map(Vec::len).sum();
        println!("{name}: {bytes} bytes in {:?}", pair.now.saturating_since(start));
        pair.assert_honest();
    }
}

#[test]
fn unreliable_messages_of_up_to_eight_parts_arrive_at_most_once_and_unaltered() {
    for (link, least) in [(GOOD, 100), (BURSTY, 30), (TERRIBLE, 20)] {
        let mut pair = Pair::lab(2, link);
        for end in End::BOTH {
            assert_eq!(pair.send_from(end, DATAGRAM, &[0; 8193]), Err(SendError::TooLong { limit: 8192 }));
        }
        let sizes = [4, 1024, 1025, 8192];
        for number in 0..100 {
            for end in End::BOTH {
                let bytes = message(2, number, sizes[number as usize % 4]);
                pair.send_from(end, DATAGRAM, &bytes).unwrap();
            }
            pair.run_for(300 * MS);
        }
        pair.run_for(SECOND);
        for end in End::BOTH {
            let mut arrived = pair.arrived(end, DATAGRAM);
            let count = arrived.len();
            for bytes in &arrived {
                let number = u32::from_le_bytes(*bytes.first_chunk().unwrap());
                assert!(*bytes == message(2, number, sizes[number as usize % 4]), "{end:?} {number}");
            }
            let long = arrived.iter().filter(|bytes| bytes.len() == 8192).count();
            arrived.sort();
            arrived.dedup();
            println!("{end:?}: {count} of 100, of eight parts {long} of 25");
            assert!(arrived.len() == count && count >= least, "{count}");
        }
        pair.assert_honest();
    }
}

#[test]
fn an_empty_unreliable_message_arrives_as_such() {
    let mut pair = Pair::lab(3, GOOD);
    for end in End::BOTH {
        pair.send_from(end, DATAGRAM, &[]).unwrap();
        pair.run_for(200 * MS);
        assert_eq!(pair.arrived(end.other(), DATAGRAM), [Vec::<u8>::new()]);
    }
}

#[test]
fn sequenced_messages_only_ever_get_newer() {
    for (link, least) in [(GOOD, 1000), (BURSTY, 600), (TERRIBLE, 300)] {
        let mut pair = Pair::lab(4, link);
        for number in 0..1000 {
            for end in End::BOTH {
                pair.send_from(end, STATE, &message(4, number, 100)).unwrap();
            }
            // Longer than a message waits for a ride.
            pair.run_for(70 * MS);
        }
        pair.run_for(SECOND);
        for end in End::BOTH {
            let arrived = pair.arrived(end, STATE);
            let numbers = arrived.iter().map(|bytes| u32::from_le_bytes(*bytes.first_chunk().unwrap()));
            let numbers: Vec<_> = numbers.collect();
            assert!(numbers.is_sorted_by(|older, newer| older < newer), "{end:?}");
            assert!(numbers.iter().zip(&arrived).all(|(number, bytes)| *bytes == message(4, *number, 100)));
            println!("{end:?}: {} of 1000", numbers.len());
            assert!(numbers.len() >= least, "{end:?}: {}", numbers.len());
        }
        pair.assert_honest();
    }
}

/// What an outbox of these limits has room for, by the book.
struct Room {
    bytes: usize,
    segments: usize,
}

impl Room {
    /// What `send` must say.
    fn take(&mut self, len: usize) -> Result<(), SendError> {
        let (segments, free) = (len.div_ceil(1024).max(1), self.bytes.min(self.segments * 1024));
        if segments > self.segments || len > free {
            return Err(SendError::Full { free });
        }
        (self.bytes, self.segments) = (self.bytes - len, self.segments - segments);
        Ok(())
    }
}

#[test]
fn send_says_full_exactly_when_it_does_not_fit_and_drops_nothing() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed).fork("sizes");
        let mut pair = Pair::lab(seed, LinkConfig { loss: 0.2, ..GOOD });
        let end = End::BOTH[rng.below(2) as usize];
        let channel = [ORDERED, UNORDERED][rng.below(2) as usize];
        let most = [100, 2000, 65_537][rng.below(3) as usize];
        let mut accepted = Vec::new();
        for _ in 0..3 {
            let mut room = Room { bytes: 256 * 1024, segments: 256 };
            let mut refused = 0;
            while refused < 20 {
                let message = noise(seed, rng.below(most) as usize);
                let result = pair.send_from(end, channel, &message);
                assert_eq!(result, room.take(message.len()), "seed {seed}");
                refused += u32::from(result.is_err());
                if result.is_ok() {
                    accepted.push(message);
                }
            }
            // All of it arrives, and then there is all the room again.
            let sum = |pair: &Pair| pair.count(end.other(), channel);
            assert!(pair.run_while(100 * SECOND, |pair| sum(pair) == accepted.len()), "seed {seed}");
            pair.run_for(2 * SECOND);
        }
        let mut arrived = pair.arrived(end.other(), channel);
        if channel == UNORDERED {
            arrived.sort();
            accepted.sort();
        }
        assert!(arrived == accepted, "seed {seed}");
    }
}

#[test]
fn an_unreliable_channel_that_refuses_says_how_much_is_free_and_drops_nothing() {
    let mut table = Table::lab();
    table.0[usize::from(DATAGRAM)] = Channel::new("datagram", Kind::Unreliable, 8192, 20_000);
    for end in End::BOTH {
        let mut pair = Pair::lab_with(5, GOOD, table.clone(), |_, _| ());
        pair.send_from(end, DATAGRAM, &[1; 8192]).unwrap();
        pair.send_from(end, DATAGRAM, &[2; 8192]).unwrap();
        assert_eq!(pair.send_from(end, DATAGRAM, &[3; 8192]), Err(SendError::Full { free: 20_000 - 2 * 8192 }));
        pair.send_from(end, DATAGRAM, &[3; 20_000 - 2 * 8192]).unwrap();
        assert_eq!(pair.send_from(end, DATAGRAM, &[4]), Err(SendError::Full { free: 0 }));
        pair.run_for(SECOND);
        let first: Vec<_> = pair.arrived(end.other(), DATAGRAM).iter().map(|bytes| bytes[0]).collect();
        assert_eq!((first, pair.quality(end).dropped), (vec![1, 2, 3], 0));
        pair.send_from(end, DATAGRAM, &[5; 8192]).unwrap();
    }
}

#[test]
fn where_the_oldest_make_room_they_are_counted_and_the_newest_arrive() {
    for end in End::BOTH {
        let mut pair = Pair::lab(6, GOOD);
        // 64 KiB are 64 of these; nothing leaves meanwhile.
        for number in 0..100 {
            pair.send_from(end, DATAGRAM, &message(6, number, 1024)).unwrap();
        }
        assert_eq!(pair.quality(end).dropped, 36);
        pair.run_for(2 * SECOND);
        let newest: Vec<_> = (36..100).map(|number| message(6, number, 1024)).collect();
        assert!(pair.arrived(end.other(), DATAGRAM) == newest);
        assert_eq!((pair.quality(end).dropped, pair.quality(end.other()).dropped), (36, 0));
    }
}
